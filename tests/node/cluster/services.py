"""What nodes use and are not: a package mirror, AWS, a workspace for metrics, a database and a directory."""

import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3

from tests.node.cluster.machine import Machine
from tests.node.cluster.network import HUB_ADDRESS, METADATA_ADDRESS, Network, address_of
from tests.node.cluster.tree import Trees
from tests.prometheus_programs import program

REGION = "us-west-2"
_AWS_PORT = 4566
_HYPERPOD_PORT = 4567
_ACCOUNT = "111122223333"
_MINISTACK = Path(__file__).resolve().parents[3] / "local/.venv/bin/ministack"

_BACKROOM = 200
DATABASE_ENDPOINT = "db.cluster-x.us-west-2.rds.amazonaws.com"
DATABASE_USER, DATABASE_PASSWORD = "admin", "an RDS#password"
DIRECTORY_URI = "ldaps://ldap.example.com"
DIRECTORY_BASE_DN = "dc=example,dc=com"
DIRECTORY_BIND_DN, DIRECTORY_BIND_PASSWORD = f"cn=reader,{DIRECTORY_BASE_DN}", "reader-password"
#: Who is in the directory, with a password.
DIRECTORY_USER, DIRECTORY_USER_ID, DIRECTORY_USER_PASSWORD = "dora", 30001, "dora-password"

_TESTS = Path(__file__).resolve().parents[2]
METRICS_ENDPOINT = f"aps-workspaces.{REGION}.amazonaws.com"
METRICS_WORKSPACE = f"https://{METRICS_ENDPOINT}/workspaces/ws-0123abcd-0123-0123-0123-0123456789ab"
#: Where Prometheus listens in the hub.
_PROMETHEUS = "127.0.0.1:9090"
PROMETHEUS = f"http://{_PROMETHEUS}"
_RECORDED_PORT = "9191"
#: What the metadata of a node says its role's credentials are.
_ROLE = {"AccessKeyId": "ASIAEXAMPLENODEROLE0", "SecretAccessKey": "of/the+node/role", "Token": "of-the-session=="}

#: The name server's answers about what is here.
HOSTS = f"{address_of(_BACKROOM)} {DATABASE_ENDPOINT} ldap.example.com\n{HUB_ADDRESS} {METRICS_ENDPOINT}\n"


class PackageMirror:
    """An apt repository at the hub's port 80."""

    def __init__(self, network: Network, packages: Path) -> None:
        self._network, self._packages = network, packages
        self._end: Callable[[], None] | None = None

    def start(self) -> None:
        command = (sys.executable, "-m", "http.server", f"--bind={HUB_ADDRESS}", f"--directory={self._packages}", "80")
        self._end = self._network.serve("mirror", *command)

    def stop(self) -> None:
        """Be down: connections are refused."""
        if self._end:
            self._end()


class LocalAws:
    """MiniStack in the hub: Secrets Manager, S3 and others, with nothing in them."""

    def __init__(self, network: Network) -> None:
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://{HUB_ADDRESS}:{_AWS_PORT}",
            "AWS_ACCESS_KEY_ID": _ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        """What a node needs to find it."""

        if not _MINISTACK.exists():
            raise RuntimeError(f"{_MINISTACK} is not installed: make local-aws")
        self._network = network
        state = network.directory / "aws"
        state.mkdir()
        self.stop = network.serve(
            "aws",
            str(_MINISTACK),
            environment={
                "BIND_HOST": HUB_ADDRESS,
                "GATEWAY_PORT": str(_AWS_PORT),
                "HOME": str(state),
                "IOT_MTLS_ENABLED": "0",
                "MINISTACK_ACCOUNT_ID": _ACCOUNT,
                "MINISTACK_HOST": HUB_ADDRESS,
                "MINISTACK_REGION": REGION,
                "S3_DATA_DIR": str(state / "s3"),
                "STATE_DIR": str(state / "state"),
                "TMPDIR": str(state),
            },
        )
        self._wait()

    def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """Call an operation from this process, by boto3's names: `call("s3", "put_object", Bucket=…, …)`."""
        with self._network.entered():
            client = boto3.client(
                service,
                region_name=REGION,
                endpoint_url=self.environment["AWS_ENDPOINT_URL"],
                aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            )
            return getattr(client, operation)(**parameters)

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                self.call("sts", "get_caller_identity")
            except Exception:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return


class HyperPodFront:
    """What AWS tells of a cluster's nodes, and its way to those that run."""

    def __init__(self, network: Network) -> None:
        self._file = network.directory / "hyperpod.json"
        self.tell([])
        address = (HUB_ADDRESS, str(_HYPERPOD_PORT))
        script = str(_TESTS / "node/cluster/hyperpod_front.py")
        network.serve("hyperpod", sys.executable, "-P", script, str(self._file), *address)
        self.url = f"http://{HUB_ADDRESS}:{_HYPERPOD_PORT}"
        self.environment = {"AWS_ENDPOINT_URL_SAGEMAKER": self.url, "AWS_ENDPOINT_URL_SSM": self.url}
        """What a machine needs to find it, beside `LocalAws.environment`."""

    def tell(self, nodes: Sequence[Mapping[str, str]], *, name: str = "ml-cluster") -> None:
        """Have a cluster with these nodes: `group`, `id`, `address` and `status` of each."""
        arn = f"arn:aws:sagemaker:{REGION}:{_ACCOUNT}:cluster/abcd1234wxyz"
        self._file.write_text(json.dumps({"name": name, "arn": arn, "nodes": list(nodes)}), "utf-8")


class MetricsWorkspace:
    """A workspace of Amazon Managed Service for Prometheus, and the metadata that tells nodes of their role.

    Prometheus behind a front that speaks TLS and takes what is signed for the service, and nothing else. Both go on
    when the front is down.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._directory = network.directory / "metrics"
        self.ca_certificate = _make_certificates(self._directory, [METRICS_ENDPOINT])
        """In PEM; nodes trust it as if it were Amazon's, once it is among their authorities."""

        self.url = f"{METRICS_WORKSPACE}/api/v1/remote_write"
        self._credentials = self._directory / "role.json"
        self._credentials.write_text(json.dumps(_ROLE), "utf-8")
        self._configuration: dict[str, Any] = {}
        self._configure()
        network.serve(
            "prometheus",
            *(str(program("prometheus")), f"--config.file={self._directory}/prometheus.yml"),
            *("--web.enable-remote-write-receiver", "--web.enable-lifecycle", f"--web.listen-address={_PROMETHEUS}"),
            f"--storage.tsdb.path={self.data}",
        )
        network.add_metadata_address()
        self._serve("instance_metadata.py", METADATA_ADDRESS)
        self._wait()
        self.start()

    def start(self) -> None:
        listen = (HUB_ADDRESS, f"{self._directory}/server.pem", f"{self._directory}/server.key")
        self._end = self._serve("metrics_front.py", *listen, METRICS_WORKSPACE, f"http://{_PROMETHEUS}")

    def stop(self) -> None:
        """Be down: connections are refused."""
        self._end()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what an expression has as its value now."""
        found: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return found

    def shows(self, expression: str, minutes: float = 20) -> bool:
        """Return whether a graph of an expression over the last minutes has anything in it."""
        now = time.time()
        past = {"start": str(now - 60 * minutes), "end": str(now), "step": "15"}
        return bool(self._get("query_range", query=expression, **past)["result"])

    @property
    def data(self) -> Path:
        """Where Prometheus keeps what it has."""
        return self._directory / "data"

    def evaluate(self, rules: str) -> None:
        """Evaluate alert rules from now on; nobody is told."""
        (self._directory / "rules.yml").write_text(rules, "utf-8")
        self._reload(rule_files=["rules.yml"])

    def scrape(self, recorded: str, **labels: str) -> None:
        """Take in what an exporter once answered, as of one that answers so all the time."""
        directory = self._directory / "recorded"
        jobs: list[dict[str, Any]] = self._configuration.setdefault("scrape_configs", [])
        if not jobs:
            directory.mkdir()
            server = (sys.executable, "-m", "http.server", "--bind=127.0.0.1", f"--directory={directory}")
            self._network.serve("recorded", *server, _RECORDED_PORT)
        (directory / f"{len(jobs)}.txt").write_text(recorded, "utf-8")
        target = {"targets": [f"127.0.0.1:{_RECORDED_PORT}"], "labels": labels}
        job = {"job_name": f"recorded-{len(jobs)}", "metrics_path": f"/{len(jobs)}.txt", "static_configs": [target]}
        jobs.append(job | {"scrape_interval": "15s"})
        self._reload()

    def _configure(self, **more: Any) -> None:
        self._configuration |= more
        # JSON is YAML.
        (self._directory / "prometheus.yml").write_text(json.dumps(self._configuration), "utf-8")

    def _reload(self, **more: Any) -> None:
        self._configure(**more)
        request = urllib.request.Request(f"http://{_PROMETHEUS}/-/reload", method="POST")
        with self._network.entered(), urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request):
            pass

    def refused(self) -> list[str]:
        """Return why requests were refused, in the words of the front's log."""
        log = (self._network.directory / "metrics_front.py.log").read_text("utf-8")
        return [line for line in log.splitlines() if line.startswith("refused")]

    def _get(self, what: str, **parameters: str) -> Any:
        url = f"http://{_PROMETHEUS}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with self._network.entered(), opener.open(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def _serve(self, name: str, *arguments: str) -> Callable[[], None]:
        # -P: beside the script is a `platform` that is not Python's.
        script = ("-P", str(_TESTS / "node/cluster" / name))
        return self._network.serve(name, sys.executable, *script, str(self._credentials), *arguments)

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                self._get("status/buildinfo")
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return


class Backroom:
    """A machine that is no node, with a database and a directory; both speak TLS, neither runs at first.

    Nodes know its names.
    """

    def __init__(self, network: Network, trees: Trees) -> None:
        self.machine = Machine(network, _BACKROOM, lowers=[trees.services, trees.base], hosts=HOSTS)
        names = (DATABASE_ENDPOINT, "ldap.example.com")
        self.ca_certificate = _make_certificates(self.machine.root / "etc/ssl/test", names)
        """In PEM."""

        self.machine.boot()

    def start_database(self, *, user: str = DATABASE_USER, password: str = DATABASE_PASSWORD) -> None:
        """Start MariaDB at `DATABASE_ENDPOINT` with one user, who may do all, and no connection without TLS."""
        self.machine.write("/etc/mysql/mariadb.conf.d/60-test.cnf", _MARIADB)
        self.machine.run("systemctl", "start", "mariadb")
        account = f"'{user}'@'%'"
        self.machine.run(
            "mariadb",
            f"--execute=CREATE OR REPLACE USER {account} IDENTIFIED BY '{password}' REQUIRE SSL;"
            f"GRANT ALL ON *.* TO {account} WITH GRANT OPTION;",
        )

    def stop_database(self) -> None:
        self.machine.run("systemctl", "stop", "mariadb")

    def start_directory(self) -> None:
        """Start slapd at `DIRECTORY_URI`, which tells nothing to whoever does not bind."""
        self.machine.write("/etc/ldap/test.conf", _SLAPD, mode=0o600)
        self.machine.run("install", "--directory", "/var/lib/ldap-test")
        self.machine.run("slapadd", "-f", "/etc/ldap/test.conf", input=_ENTRIES)
        listen = ("slapd", "-d", "0", "-f", "/etc/ldap/test.conf", "-h", "ldap:/// ldaps:///")
        self.machine.run("systemd-run", "--unit=slapd-test", *listen)


_MARIADB = """\
[mariadbd]
bind-address = 0.0.0.0
ssl_ca = /etc/ssl/test/ca.pem
ssl_cert = /etc/ssl/test/server.pem
ssl_key = /etc/ssl/test/server.key
require_secure_transport = ON
"""

_SLAPD = f"""\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCACertificateFile /etc/ssl/test/ca.pem
TLSCertificateFile /etc/ssl/test/server.pem
TLSCertificateKeyFile /etc/ssl/test/server.key
database mdb
directory /var/lib/ldap-test
suffix {DIRECTORY_BASE_DN}
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact={DIRECTORY_BIND_DN} read by * none
"""

_ENTRIES = f"""\
dn: {DIRECTORY_BASE_DN}
objectClass: dcObject
objectClass: organization
dc: example
o: example

dn: {DIRECTORY_BIND_DN}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: {DIRECTORY_BIND_PASSWORD}

dn: uid={DIRECTORY_USER},{DIRECTORY_BASE_DN}
objectClass: account
objectClass: posixAccount
uid: {DIRECTORY_USER}
cn: {DIRECTORY_USER}
uidNumber: {DIRECTORY_USER_ID}
gidNumber: {DIRECTORY_USER_ID}
homeDirectory: /home/{DIRECTORY_USER}
userPassword: {DIRECTORY_USER_PASSWORD}

dn: cn={DIRECTORY_USER},{DIRECTORY_BASE_DN}
objectClass: posixGroup
cn: {DIRECTORY_USER}
gidNumber: {DIRECTORY_USER_ID}
"""


def _make_certificates(directory: Path, server_names: Sequence[str]) -> str:
    """Make a certificate for these names, and return that of the authority that signed it."""
    directory.mkdir()
    key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    names = f"subjectAltName={','.join(f'DNS:{name}' for name in server_names)}"
    for command in (
        f"-x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=ca",
        f"-x509 {key} -CA ca.pem -CAkey ca.key -keyout server.key -out server.pem -days 2 -subj /CN=server"
        f" -addext {names} -addext basicConstraints=CA:FALSE",
    ):
        subprocess.run(["openssl", "req", *command.split()], cwd=directory, check=True, capture_output=True)
    for file in directory.iterdir():
        file.chmod(0o644)
    return (directory / "ca.pem").read_text("utf-8")
