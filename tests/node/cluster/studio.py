"""A space of SageMaker Studio, as far as its lifecycle configuration sees it: a machine without any Slurm."""

import subprocess
from collections.abc import Mapping

from cdk_slurm.studio_script import studio_script
from tests.node.cluster.platform import CLUSTER_NAME, LUSTRE, REGION, Platform

USER = "sagemaker-user"
HOME = f"/home/{USER}"
DIRECTORY = f"{HOME}/.cdk-slurm"
FILE_SYSTEM = str(LUSTRE["dns_name"]).partition(".")[0]
MOUNT = f"{HOME}/custom-file-systems/fsx_lustre/{FILE_SYSTEM}"
#: Where its user works.
WORKSPACE = f"{MOUNT}/studio-workspace"
SECRET = f"cdk-slurm/{CLUSTER_NAME}/munge-key"

_BUCKET = "sagemaker-lifecycle"
#: What cluster.json says of Studio.
STUDIO = {
    "workspace": {"path": "/fsx/shared/studio-workspace", "uid": 10001, "gid": 1001},
    "directories": [],
    "mounted": ["/fsx/shared"],
    "munge_secret_arn": SECRET,
    "client_s3_uri": f"s3://{_BUCKET}/studio",
}


def make_what_studio_takes(platform: Platform) -> None:
    """Make what CloudFormation makes before the nodes: the bucket, and the secret without a value."""
    platform.aws.call("secretsmanager", "create_secret", Name=SECRET)
    where = {"LocationConstraint": REGION}
    platform.aws.call("s3", "create_bucket", Bucket=_BUCKET, CreateBucketConfiguration=where)


#: Opens the tunnel that a session is, where AWS has its session manager.
_PLUGIN = """\
#!/usr/bin/python3
import json, os, socket, sys, threading
if sys.argv[1] == "--version":
    sys.exit(print("1.2.835.0"))
session = json.loads(os.environ.get(sys.argv[1], sys.argv[1]))
host, port = session["StreamUrl"].removeprefix("wss://").split(":")
tunnel = socket.create_connection((host, int(port)))
def back():
    while data := tunnel.recv(65536):
        os.write(1, data)
    os._exit(0)
threading.Thread(target=back).start()
while data := os.read(0, 65536):
    tunnel.sendall(data)
tunnel.shutdown(socket.SHUT_WR)
"""


class Studio:
    """A space: what is at `mounted` on nodes it has in its custom file system, and nothing else of the cluster.

    Its user has the ids `uid` and `gid`; in the cluster it is `name` with those of `account`.
    """

    def __init__(
        self,
        platform: Platform,
        *,
        uid: int,
        gid: int,
        name: str = "alice",
        account: tuple[int, int] = (10001, 1001),
        mounted: str = "/fsx/shared",
    ) -> None:
        shared = platform.shared["lustre"] / mounted.removeprefix(str(LUSTRE["path"])).lstrip("/")
        self.machine = platform.new_machine([platform.trees.studio, platform.trees.base], binds={MOUNT: shared})
        self._settings = {
            "cluster": CLUSTER_NAME,
            "region": REGION,
            "munge_secret": SECRET,
            "user": {"name": name, "uid": account[0], "gid": account[1]},
            "file_system_id": FILE_SYSTEM,
            "mounted": mounted,
            "login_groups": [group.name for group in platform.groups if group.node_type in ("login", "controller")][
                ::-1
            ],
        }
        self.environment = platform.aws.environment | platform.hyperpod.environment
        self.machine.boot()
        self.machine.shell(
            f"{{ getent group {gid} || groupadd --gid {gid} users-of-studio; }} >/dev/null && "
            f"useradd --uid {uid} --gid {gid} --home-dir {HOME} --shell /bin/bash {USER} && "
            f"chown {uid}:{gid} {HOME} && echo '{USER} ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/{USER}"
        )
        self.machine.write("/usr/local/bin/session-manager-plugin", _PLUGIN, mode=0o755)

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start the space; its lifecycle configuration has half a minute where Studio gives it five."""
        self.machine.write(f"{HOME}/on_start.sh", studio_script(self._settings))
        known = self.environment | dict(environment or {})
        self.machine.run("bash", f"{HOME}/on_start.sh", user=USER, environment=known, timeout_seconds=30)

    def stop(self) -> None:
        """Stop the space; what is in its home stays."""
        self.machine.run("pkill", "--full", "slurm_client.py", check=False)
        self.machine.run("pkill", "munged", check=False)

    def run(
        self, command: str, *, check: bool = True, directory: str = WORKSPACE
    ) -> "subprocess.CompletedProcess[str]":
        """Run a line of shell in a terminal of the space."""
        line = f"cd {directory} && {command}"
        return self.machine.run("bash", "-c", line, user=USER, environment=self.environment, check=check)

    def state(self) -> str:
        """What the space says of Slurm, with the name of the file; empty as long as it says nothing."""
        return self.machine.shell(
            f"cd {DIRECTORY} && grep --no-messages '' slurm-ready slurm-failed", check=False
        ).strip()

    @property
    def log(self) -> str:
        return self.machine.read(f"{DIRECTORY}/slurm.log")
