"""Makes a SageMaker Studio space a place to use a Slurm cluster from, and keeps it one.

Runs in the background for as long as the space does, started by its lifecycle configuration. In ~/.cdk-slurm it leaves
`slurm-ready`, or `slurm-failed` with the reason; `slurm.log` says the rest. Until it has succeeded it tries again, and
then looks every few minutes whether the cluster has another key or is another one.

What it needs the cluster's controller has published in a secret: MUNGE's key, where Slurm's programs of the cluster's
version are, and who answers. The key goes from there to its file through pipes only.

https://docs.aws.amazon.com/sagemaker/latest/dg/studio-lifecycle-configurations.html
"""

import base64
import binascii
import fcntl
import grp
import hashlib
import json
import logging
import platform
import pwd
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HOME = Path.home()
DIRECTORY = HOME / ".cdk-slurm"
READY, FAILED = DIRECTORY / "slurm-ready", DIRECTORY / "slurm-failed"

TRY_AGAIN_SECONDS = 20
LOOK_AGAIN_SECONDS = 300

MUNGE_KEY = "/etc/munge/munge.key"
#: What MUNGE takes as a key, in bytes.
KEY_BYTES = range(32, 1025)
COMMANDS = ("sacct", "sbatch", "scancel", "scontrol", "sinfo", "sprio", "squeue", "sstat")
#: They wait for the nodes to call them, and nodes cannot call a space.
IMPOSSIBLE = ("salloc", "sattach", "sbcast", "srun")
PATH_ON_NODES = "/opt/slurm/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

log = logging.getLogger("cdk-slurm")


class NotReadyError(Exception):
    """Why Slurm cannot be used from this space now."""


def main() -> None:
    """Set the space up, and go on looking."""
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stdout)
    # One that runs for this home already does all of it.
    with (DIRECTORY / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        settings = json.loads((DIRECTORY / "settings.json").read_text("utf-8"))
        while True:
            try:
                log_in_over_ssh(settings)
            except (NotReadyError, OSError) as error:
                log.warning("ssh %s does not work yet: %s", settings["cluster"], error)
            try:
                tell(READY, use_slurm(settings))
                wait = LOOK_AGAIN_SECONDS
            except (NotReadyError, OSError) as error:
                tell(FAILED, str(error))
                wait = TRY_AGAIN_SECONDS
            time.sleep(wait)


def tell(file: Path, text: str) -> None:
    """Leave one of the two files, and not the other."""
    if not file.exists() or file.read_text("utf-8") != f"{text}\n":
        log.info("%s: %s", file.name, text)
        partial = file.with_suffix(".partial")
        partial.write_text(f"{text}\n", "utf-8")
        partial.replace(file)
    (READY if file is FAILED else FAILED).unlink(missing_ok=True)


# Slurm's commands


def use_slurm(settings: dict[str, Any]) -> str:
    """Make Slurm's commands work, and return what they are; raise `NotReadyError` with the reason."""
    published = read_published(settings)
    key = checked_key(published)
    if not shutil.which("munged", path="/usr/sbin:/usr/bin"):
        install_package("munge")
    make_account(published["slurm_user"]["name"], published["slurm_user"]["uid"], published["slurm_user"]["gid"])
    user = settings["user"]
    make_account(user["name"], user["uid"], user["gid"])
    install_client(settings, published)
    start_munge(key)
    write_commands(settings, published)
    try:
        run("/usr/local/bin/sinfo", "--noheader")
    except NotReadyError as error:
        raise NotReadyError(
            f"no controller of {settings['cluster']} answers ({published['controllers']}): {error}"
        ) from None
    return (
        f"Slurm {published['slurm_version']} of {settings['cluster']}, as {user['name']} ({user['uid']}:{user['gid']})"
    )


def read_published(settings: dict[str, Any]) -> dict[str, Any]:
    """Return what the controller published for spaces."""
    name, cluster = settings["munge_secret"], settings["cluster"]
    try:
        text = aws(settings, "secretsmanager", "get-secret-value", "--secret-id", name, "--query", "SecretString")
        published: dict[str, Any] = json.loads(json.loads(text))
        found = published["cluster"]
    except NotReadyError as error:
        if "AccessDenied" in str(error):
            reason = f"this space may not read secret {name}: cluster {cluster} is not deployed, or without studio"
            raise NotReadyError(reason) from None
        if "ResourceNotFound" in str(error):
            reason = f"cluster {cluster} is not there, or its controller has not come up yet: no value of secret {name}"
            raise NotReadyError(reason) from None
        raise
    except (ValueError, KeyError, TypeError):
        # Not a word of what is in it.
        raise NotReadyError(f"secret {name} is not what a controller of {cluster} publishes") from None
    if found != cluster:
        raise NotReadyError(f"secret {name} is of another cluster, {found}")
    return published


def checked_key(published: dict[str, Any]) -> bytes:
    """Return MUNGE's key, if it is the one that the controller has."""
    try:
        key = base64.b64decode(published["munge_key"], validate=True)
    except (KeyError, binascii.Error):
        raise NotReadyError("the published MUNGE key is not Base64") from None
    if len(key) not in KEY_BYTES:
        raise NotReadyError(
            f"the published MUNGE key has {len(key)} bytes, MUNGE takes {KEY_BYTES[0]} to {KEY_BYTES[-1]}"
        )
    if hashlib.sha256(key).hexdigest() != published.get("munge_key_sha256"):
        raise NotReadyError("the published MUNGE key is damaged: it has another sha256 than the controller's")
    return key


def make_account(name: str, uid: int, gid: int) -> None:
    """Have an account with these ids: Slurm's as on the nodes, and the person's, whose commands they are."""
    try:
        grp.getgrgid(gid)
    except KeyError:
        run("groupadd", "--gid", str(gid), name, root=True)
    try:
        if (owner := pwd.getpwuid(uid).pw_name) != name:
            # Slurm goes by numbers, but its own account by name too.
            if name != "slurm":
                return
            raise NotReadyError(f"uid {uid}, which is {name}'s on the nodes, is {owner}'s in this image")
        return
    except KeyError:
        pass
    options = ("--uid", str(uid), "--gid", str(gid), "--no-create-home", "--home-dir", "/nonexistent")
    run("useradd", *options, "--shell", "/usr/sbin/nologin", name, root=True)


def install_client(settings: dict[str, Any], published: dict[str, Any]) -> None:
    """Put Slurm's programs where they are on the nodes."""
    client, marker = published["client"], Path("/opt/slurm/.cdk-slurm-client")
    if client["machine"] != platform.machine():
        raise NotReadyError(f"the cluster's Slurm is for {client['machine']}, this space is {platform.machine()}")
    if marker.exists() and marker.read_text("utf-8") == client["sha256"]:
        return
    with tempfile.TemporaryDirectory() as directory:
        archive = Path(directory) / "client.tar.gz"
        aws(settings, "s3", "cp", "--only-show-errors", client["s3_uri"], str(archive))
        check_sum(archive, client["sha256"])
        options = ("--no-same-owner", "--no-overwrite-dir", "--keep-directory-symlink", "--directory=/")
        run("tar", "--extract", "--gzip", *options, f"--file={archive}", root=True)
        run("tee", str(marker), root=True, input=client["sha256"].encode())
    log.info("installed Slurm %s", published["slurm_version"])


def start_munge(key: bytes) -> None:
    """Have MUNGE run with this key."""
    command = f"sha256sum {MUNGE_KEY} 2>/dev/null || true"
    if not run("sh", "-c", command, root=True).startswith(hashlib.sha256(key).hexdigest()):
        run("install", "--owner=munge", "--group=munge", "--mode=400", "/dev/stdin", MUNGE_KEY, root=True, input=key)
        log.info("took the cluster's MUNGE key")
    elif munge_works():
        return
    for directory in ("/run/munge", "/var/log/munge", "/var/lib/munge"):
        run("install", "--directory", "--owner=munge", "--group=munge", "--mode=755", directory, root=True)
    run("sh", "-c", "munged --stop >/dev/null 2>&1; munged --force", root=True, as_user="munge")
    if not munge_works():
        raise NotReadyError("munged was started and does not answer: see /var/log/munge/munged.log")


def munge_works() -> bool:
    """Return whether MUNGE takes what it made itself."""
    try:
        run("sh", "-c", "munge --no-input | unmunge >/dev/null")
    except NotReadyError:
        return False
    return True


def write_commands(settings: dict[str, Any], published: dict[str, Any]) -> None:
    """Write Slurm's commands to /usr/local/bin: for this cluster, as this person, with paths as nodes know them."""
    user = settings["user"]
    home = f"{published['homes']}/{user['name']}"
    servers = ",".join(f"{address}:{published['port']}" for address in published["controllers"])
    fixed = {"HOME": home, "USER": user["name"], "LOGNAME": user["name"], "SHELL": "/bin/bash", "PATH": PATH_ON_NODES}
    fixed |= {"SLURM_CONF_SERVER": servers, "LANG": "C.UTF-8"}
    script = COMMAND.format(
        cluster=settings["cluster"],
        impossible="|".join(IMPOSSIBLE),
        here=shlex.quote(studio_mount(settings)),
        mounted=shlex.quote(settings["mounted"].rstrip("/")),
        home=shlex.quote(home),
        uid=user["uid"],
        gid=user["gid"],
        environment=" ".join(f"{name}={shlex.quote(value)}" for name, value in fixed.items()),
    )
    for name in (*COMMANDS, *IMPOSSIBLE):
        file = Path("/usr/local/bin", name)
        if not file.exists() or file.read_text("utf-8") != script:
            run("install", "--mode=755", "/dev/stdin", str(file), root=True, input=script.encode())


COMMAND = """#!/usr/bin/env bash
# Written by cdk-slurm: a command of Slurm of cluster {cluster}.
name=${{0##*/}}
case $name in {impossible})
  echo "$name cannot work in Studio, which nodes cannot call back: use sbatch, or ssh {cluster}" >&2
  exit 1 ;;
esac
options=() own=() as=()
# A job has the environment of a login on the cluster, and not this space's, whose paths no node has.
while IFS= read -r -d '' one; do
  [[ $one =~ ^(SACCT|SBATCH|SCANCEL|SINFO|SLURM|SQUEUE|TZ)(_|=) ]] && own+=("$one")
done < <(env --null)
if [[ $name == sbatch ]]; then
  shared=$(readlink --canonicalize {here}) here=$(pwd -P)
  if [[ $here/ == "$shared"/* ]]; then
    options=(--chdir={mounted}"${{here#"$shared"}}/")
  else
    options=(--chdir={home})
    echo "sbatch: this directory is not on the cluster: what the job writes is in {home} there" >&2
  fi
fi
[[ $(id -u) == {uid} ]] || as=(sudo --non-interactive --user='#{uid}' --group='#{gid}')
exec "${{as[@]}}" env --ignore-environment "${{own[@]}}" TERM="${{TERM:-dumb}}" {environment} \\
  "/opt/slurm/bin/$name" "${{options[@]}}" "$@"
"""


def studio_mount(settings: dict[str, Any]) -> str:
    """Return where this space has what it shares with the cluster."""
    return f"{HOME}/custom-file-systems/fsx_lustre/{settings['file_system_id']}"


# SSH


def log_in_over_ssh(settings: dict[str, Any]) -> None:
    """Have `ssh CLUSTER` log in to the cluster, through AWS Systems Manager, with a key that the nodes know."""
    user, cluster = settings["user"]["name"], settings["cluster"]
    key = HOME / ".ssh/id_ed25519"
    key.parent.mkdir(mode=0o700, exist_ok=True)
    if not shutil.which("ssh-keygen"):
        install_package("openssh-client")
    if not key.exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{user}@studio", "-f", str(key))
    proxy = DIRECTORY / "ssh-proxy"
    proxy.write_text(
        PROXY.format(
            **{name: shlex.quote(settings[name]) for name in ("cluster", "region")},
            groups=" ".join(map(shlex.quote, settings["login_groups"])),
        ),
        "utf-8",
    )
    proxy.chmod(0o755)
    # The tunnel ends where AWS says; a node that was replaced has another key.
    (DIRECTORY / "ssh_config").write_text(
        f"Host {cluster}\n  User {user}\n  IdentityFile {key}\n  ProxyCommand {proxy} %p\n"
        "  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n",
        "utf-8",
    )
    config, line = key.with_name("config"), "Include ~/.cdk-slurm/ssh_config\n"
    lines = config.read_text("utf-8") if config.exists() else ""
    if line not in lines:
        config.write_text(f"{line}\n{lines}", "utf-8")
        config.chmod(0o600)
    # Nodes take it from there, if the person owns it.
    known = Path(studio_mount(settings), ".studio-keys", f"{user}.pub")
    public = key.with_suffix(".pub").read_text("utf-8")
    try:
        known.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise NotReadyError(f"the cluster has not made {known.parent} yet ({error.strerror})") from None
    if not known.exists() or public not in known.read_text("utf-8"):
        with known.open("a", encoding="utf-8") as file:
            file.write(public)
        log.info("ssh %s logs in as %s", cluster, user)
    if not shutil.which("session-manager-plugin"):
        install_session_manager_plugin(settings["session_manager_plugin"])


PROXY = """#!/usr/bin/env bash
# Written by cdk-slurm: a tunnel to port $1 of a login node, or of the controller where there is none that runs.
set -euo pipefail
cluster={cluster} region={region}
arn=$(aws sagemaker describe-cluster --region "$region" --cluster-name "$cluster" --query ClusterArn --output text)
for group in {groups}; do
  node=$(aws sagemaker list-cluster-nodes --region "$region" --cluster-name "$cluster" --output text \\
    --instance-group-name-contains "$group" \\
    --query "ClusterNodeSummaries[?InstanceGroupName=='$group' && InstanceStatus.Status=='Running'].InstanceId | [0]")
  [[ $node == None ]] || exec aws ssm start-session --region "$region" --document-name AWS-StartSSHSession \\
    --target "sagemaker-cluster:${{arn##*/}}_$group-$node" --parameters "portNumber=$1"
done
echo "cluster $cluster has no node of {groups} that runs" >&2
exit 1
"""


def install_session_manager_plugin(part: dict[str, Any]) -> None:
    """Install what the AWS command line opens tunnels with."""
    with tempfile.TemporaryDirectory() as directory:
        package = Path(directory) / "session-manager-plugin.deb"
        run("curl", "--fail", "--silent", "--show-error", "--location", "--output", str(package), part["url"])
        check_sum(package, part["sha256"])
        run("dpkg", "--install", str(package), root=True)


# Programs


def install_package(name: str) -> None:
    """Install a package of the distribution; its services do not start."""
    environment = ("env", "DEBIAN_FRONTEND=noninteractive")
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        run("install", "--mode=755", "/dev/stdin", str(policy), root=True, input=b"#!/bin/sh\nexit 101\n")
    try:
        run(*environment, "apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any", root=True)
        run(*environment, "apt-get", "install", "-q", "-y", "--no-install-recommends", name, root=True)
    finally:
        if ours:
            run("rm", str(policy), root=True)
    log.info("installed %s", name)


def check_sum(file: Path, sha256: str) -> None:
    """Raise `NotReadyError` for another file than the one that was meant."""
    if (found := hashlib.sha256(file.read_bytes()).hexdigest()) != sha256:
        raise NotReadyError(f"{file.name} is damaged: it has sha256 {found}, expected {sha256}")


def aws(settings: dict[str, Any], *arguments: str) -> str:
    """Run a command of the AWS command line in the cluster's Region."""
    return run("aws", *arguments, "--region", settings["region"])


def run(*command: str, root: bool = False, as_user: str = "root", input: bytes | None = None) -> str:
    """Run a program and return what it prints; raise `NotReadyError` with the end of what it says of an error."""
    if root:
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        command = ("sudo", "--non-interactive", "--user", as_user, "env", path, *command)
    try:
        done = subprocess.run(command, input=input or b"", capture_output=True, timeout=900)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotReadyError(f"{command[0]} does not run: {type(error).__name__}") from None
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit status {done.returncode}"]
        told = next((line for line in words if line.startswith("E: ")), words[-1])
        raise NotReadyError(f"{Path(command[6] if root else command[0]).name}: {told}")
    return done.stdout.decode("utf-8", "replace")


if __name__ == "__main__":
    main()
