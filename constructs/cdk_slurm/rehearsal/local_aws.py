"""The local AWS as a process: started on a free port, asked, and stopped with everything that it started."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from ssl import SSLContext, create_default_context
from types import TracebackType
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES

from cdk_slurm.rehearsal.existing import what_exists
from cdk_slurm.spec import ClusterSpec

#: The checkout: `app.py` and `local/` are beside the folder that this package is in.
CHECKOUT = Path(__file__).resolve().parents[3]

#: An account of AWS's own examples, for descriptions that name none.
EXAMPLE_ACCOUNT = "111122223333"

_START_SECONDS = 60

#: All that a rehearsal's processes get of the user's environment: no setting of AWS's, and no proxy.
_PASSED_ON = ("LANG", "LC_ALL", "NO_COLOR", "PATH", "TERM", "TZ")


class NotInstalledError(Exception):
    """What a rehearsal needs is not there; the message says what to do."""


class LocalAws:
    """One account in one Region of an AWS that lives in memory, on loopback.

    As a context manager it stops when the context ends. `keep` leaves it to itself: it then runs until it is
    told to stop by `pid`, and otherwise no longer than this process.

    Raises `NotInstalledError` where the local AWS is not installed, and `RuntimeError` when it does not start.
    """

    account: str
    region: str
    url: str
    pid: int

    environment: dict[str, str]
    """What a program needs in order to use this AWS and no other."""

    def __init__(
        self, *, region: str, account: str | None = None, enforce_iam: bool = False, keep: bool = False
    ) -> None:
        python = CHECKOUT / "local" / ".venv" / "bin" / "python"
        if not python.exists():
            raise NotInstalledError(
                f"{python} is missing: a rehearsal works in a checkout of cdk-slurm, after `make local-aws`"
            )
        self.account = account or EXAMPLE_ACCOUNT
        self.region = region
        self._clients: dict[str, Any] = {}
        self.directory = Path(tempfile.mkdtemp(prefix="cdk-slurm-"))
        home = self.directory / "home"
        home.mkdir()
        self.environment = {
            **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            "AWS_ACCESS_KEY_ID": self.account,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_DEFAULT_REGION": region,  # boto3 reads this one, everybody else the other
            "AWS_REGION": region,
            "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20),
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "HOME": str(home),
            "TMPDIR": str(self.directory),
        }
        secret = self.environment["AWS_SECRET_ACCESS_KEY"]
        self._session = boto3.Session(self.account, secret, region_name=region, botocore_session=_session_of_nobody())
        command = [str(python), "-m", "local_aws", str(self.directory), "--region", region, "--account", self.account]
        command += ["--enforce-iam"] if enforce_iam else []
        command += [] if keep else ["--while-stdin-is-open"]
        self.log = self.directory / "local-aws.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                # Out of the checkout, where `constructs` would be imported for PyPI's.
                cwd=home,
                env=self.environment
                | {
                    "NODE_PATH": str(CHECKOUT / "local" / "node_modules"),
                    # Functions are run by the interpreters that this process has.
                    "PATH": os.pathsep.join([str(_interpreters()), os.environ["PATH"]]),
                    "PYTHONPATH": str(CHECKOUT / "local"),
                },
                stdin=subprocess.DEVNULL if keep else subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid = self._process.pid
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> "LocalAws":
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop it, with every function that still runs, and remove its files."""
        # The server takes its whole process group with it; when it cannot any more, the group goes without it.
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def client(self, service: str) -> Any:
        """A boto3 client, as the account's root user; the same one whenever it is asked for."""
        if service not in self._clients:  # making one reads megabytes
            self._clients[service] = self._session.client(
                service,
                endpoint_url=self.url,
                verify=self._certificate or False,
                config=Config(proxies={}),
            )
        return self._clients[service]

    def provide(self, spec: ClusterSpec) -> list[str]:
        """Make stand-ins for what a description says exists already; returns their ids."""
        wanted, ids = what_exists(spec)
        self.ask("existing", wanted)
        return ids

    def fail(self, type_: str, *, operation: str = "create", nth: int = 1) -> None:
        """Have the nth operation (`create`, `update` or `delete`) on a resource type fail from now on."""
        self.ask("faults", [{"type": type_, "operation": operation, "nth": nth}])

    def resources(self) -> list[dict[str, Any]]:
        """Every resource of every stack: `stack`, `logical_id`, `type`, `physical_id`, `properties`."""
        found: list[dict[str, Any]] = self.ask("resources")
        return found

    def refusals(self) -> list[str]:
        """What services would be refused in their work, and CloudFormation is not told: alerts that no topic takes."""
        found: list[str] = self.ask("refusals")
        return found

    @property
    def certificate(self) -> Path:
        """What proves whoever answers over TLS: Grafana in any case, all others where IAM is enforced."""
        return self.directory / "certificate.pem"

    def left_behind(self) -> list[dict[str, Any]]:
        """What CloudFormation made and let go of: as `resources`, without the properties."""
        found: list[dict[str, Any]] = self.ask("left-behind")
        return found

    def ask(self, way_in: str, body: Any = None) -> Any:
        """Use one of the ways in that AWS has not."""
        request = urllib.request.Request(f"{self.url}/_local_aws/{way_in}", data=json.dumps(body).encode())  # noqa: S310
        with urllib.request.build_opener(*self._handlers()).open(request, timeout=60) as answer:
            return json.load(answer)

    @property
    def _certificate(self) -> str | None:
        return self.environment.get("AWS_CA_BUNDLE")

    def _handlers(self) -> list[urllib.request.BaseHandler]:
        context: SSLContext | None = create_default_context(cafile=self._certificate) if self._certificate else None
        return [urllib.request.ProxyHandler({}), *([urllib.request.HTTPSHandler(context=context)] if context else [])]

    def _wait(self) -> None:
        address, deadline = self.directory / "url", time.monotonic() + _START_SECONDS
        while not address.exists():
            self._check_alive(deadline)
            time.sleep(0.02)
        self.url = address.read_text("utf-8")
        self.environment["AWS_ENDPOINT_URL"] = self.url
        if self.url.startswith("https:"):
            trusting = ("AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE")
            self.environment |= dict.fromkeys(trusting, str(self.certificate))
        while True:
            try:
                self.ask("resources")
                return
            except urllib.error.URLError:
                self._check_alive(deadline)
                time.sleep(0.02)

    def _check_alive(self, deadline: float) -> None:
        if self._process.poll() is not None or time.monotonic() > deadline:
            text = self.log.read_text("utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"The local AWS did not start:\n{text}")


def _session_of_nobody() -> Any:
    """A session of botocore's that reads neither the environment nor a file of the user's."""
    variables = {
        name: (None, None, default, conversion)
        for name, (_, _, default, conversion) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()
    }
    files = dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
    return botocore.session.Session(session_vars=variables | files)


def _interpreters() -> Path:
    """Where Node is: functions of CDK's own are written for it."""
    return CHECKOUT / ".venv" / "bin"
