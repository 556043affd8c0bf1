"""All steps on every kind of node, on recorded machines: what they run, and what becomes of them when it fails."""

import json
import logging
import re
from dataclasses import replace
from typing import Any

import pytest

from lifecycle import runner
from lifecycle.host import File
from lifecycle.step import Context
from lifecycle.steps import STEPS
from tests.node.recording import RecordingHost, new_host

ADDRESSES = {"controller": "10.0.0.10", "login": "10.0.0.11", "worker": "10.0.0.12", "gpu": "10.0.0.14"}


def instance(name: str, address: str) -> dict[str, Any]:
    return {"InstanceName": name, "CustomerIpAddress": address, "InstanceId": f"i-{name}"}


PLATFORM = {
    "ClusterConfig": {
        "ClusterName": "ml-cluster",
        "ClusterArn": "arn:aws:sagemaker:us-west-2:111122223333:cluster/abcd1234wxyz",
    },
    "InstanceGroups": [
        {"Name": "controller", "Instances": [instance("controller-1", "10.0.0.10")]},
        {"Name": "login", "Instances": [instance("login-1", "10.0.0.11")]},
        {
            "Name": "worker",
            "Instances": [instance("worker-1", "10.0.0.12"), instance("worker-2", "10.0.0.13")],
        },
        {"Name": "gpu", "Instances": [instance("gpu-1", "10.0.0.14")]},
    ],
}

SECRETS = "arn:aws:secretsmanager:us-west-2:111122223333:secret:"
PASSWORD = "correct#horse"


def group(name: str, node_type: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "node_type": node_type, "instance_type": "ml.m5.xlarge", "ebs_volume": True} | fields


#: A cluster that wants everything but metrics.
CLUSTER = {
    "schema_version": 1,
    "cluster_name": "ml-cluster",
    "region": "us-west-2",
    "slurm_configuration": "provisioning_parameters",
    "instance_groups": [
        group("controller", "controller"),
        group("login", "login"),
        group("worker", "compute", partition="cpu"),
        group("gpu", "compute", partition="ml.g5.xlarge"),
    ],
    "mounts": {
        "lustre": {"dns_name": "fs-01.fsx", "mount_name": "abcdefgh", "path": "/fsx", "efa": True},
        "openzfs": {"dns_name": "fs-02.fsx", "path": "/home"},
        "s3": [{"bucket": "models", "prefix": "llm/", "path": "/s3/models", "read_only": True}],
    },
    "users": [{"name": "alice", "uid": 10001, "gid": 1001, "ssh_public_keys": ["ssh-ed25519 AAAA alice"]}],
    "restrict_ssh_to_jobs": True,
    "directory": {
        "uri": "ldaps://ldap.example.com",
        "base_dn": "dc=example,dc=com",
        "bind_dn": "cn=reader",
        "bind_secret_arn": f"{SECRETS}ldap",
        "ca_certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
    },
    "studio": {
        "workspace": {"path": "/fsx/shared/studio-workspace", "uid": 10001, "gid": 1001},
        "directories": [],
        "mounted": ["/fsx/shared"],
        "munge_secret_arn": f"{SECRETS}munge",
        "client_s3_uri": "s3://sagemaker-bucket/studio",
    },
}
SMALLEST = {key: value for key, value in CLUSTER.items() if key not in ("directory", "studio", "restrict_ssh_to_jobs")}
SMALLEST |= {"mounts": {}, "users": []}
DATABASE = {
    "accounting_database": {"endpoint": "db.internal", "port": 3306, "name": "acct", "secret_arn": f"{SECRETS}db"}
}
API = {"slurm_configuration": "api"}
WORKSPACE = "https://aps-workspaces.us-west-2.amazonaws.com/workspaces/ws-1"
IMAGE = f"111122223333.dkr.ecr.eu-west-1.amazonaws.com/nvidia/dcgm-exporter@sha256:{'a' * 64}"
METRICS = {
    "metrics": {"remote_write_url": f"{WORKSPACE}/api/v1/remote_write", "dcgm_image": IMAGE, "optional": ["fabric"]},
    "instance_groups": [*CLUSTER["instance_groups"][:3], CLUSTER["instance_groups"][3] | {"gpu": True}],
}

KINDS = {
    "everything": CLUSTER,
    "smallest": SMALLEST,
    "database": CLUSTER | DATABASE,
    "api": CLUSTER | API,
    # An AMI that lacks what the deployment brings.
    "bare": CLUSTER | {"directory": None, "studio": None, "restrict_ssh_to_jobs": False},
    "observed": SMALLEST | METRICS,
}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return a maker of machines: of a kind of cluster and a node of it."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # thousands of files that need not outlive a test
    made = []

    def make(kind: str, node: str, platform: dict[str, Any] = PLATFORM, **fields: Any) -> RecordingHost:
        directory = tmp_path / str(len(made))
        cluster = KINDS[kind] if isinstance(kind, str) else kind
        host = new_host(directory, cluster=cluster, platform=platform, address=ADDRESSES.get(node, node), **fields)
        made.append(host)
        host.listening.update({("db.internal", 3306), ("ldap.example.com", 636)})
        host.state.secrets |= {
            f"{SECRETS}db": json.dumps({"username": "admin", "password": PASSWORD}),
            f"{SECRETS}ldap": PASSWORD,
        }
        host.put_program("mount-s3")
        if cluster["slurm_configuration"] == "api":
            as_hyperpod_does(host)
        if kind == "bare":
            bring_parts(host)
        if "metrics" in cluster:
            bring_exporters(host)
        return host

    return make


CONTAINERS = ("/usr/bin/enroot", "/etc/enroot", "/opt/slurm/lib/slurm", "/opt/slurm/etc/plugstack.conf")


def bring_parts(host: RecordingHost) -> None:
    """Have the AMI lack them, and the deployment bring them."""
    for path in (*CONTAINERS, "/usr/bin/mount-s3"):
        host.remove(path)
    host.write("/opt/slurm/include/slurm/spank.h", "")
    packages = {"enroot": "a package", "enroot+caps": "a package"}
    host.put_parts(**{"mount-s3": "bin/mount-s3 LICENSE", "pyxis": "Makefile config.c"} | packages)


def bring_exporters(host: RecordingHost) -> None:
    """Have the deployment bring what metrics take, and the AMI tell which job has a GPU."""
    programs = {"prometheus": "usr/bin/prometheus", "node-exporter": "usr/bin/prometheus-node-exporter"}
    host.put_parts(**{"prometheus-client": "a wheel"} | programs)
    host.write("/opt/slurm/etc/prolog.d/700_dcgm_job_map_register.sh", "#!/bin/bash\n")


def as_hyperpod_does(host: RecordingHost) -> None:
    """Mount, write the partitions and start Slurm, as in form `api`."""
    host.state.mounts |= {"/fsx": "fs-01.fsx@tcp:/abcdefgh", "/home": "fs-02.fsx:/fsx"}
    host.make_directory("/fsx")
    host.make_directory("/home")
    controller = host.addresses == ["10.0.0.10"]
    host.state.units["slurmctld.service" if controller else "slurmd.service"] |= {"active", "enabled"}
    if controller:
        text = host.read("/opt/slurm/etc/slurm.conf")
        host.write(
            "/opt/slurm/etc/slurm.conf",
            f"{text}AccountingStorageType=accounting_storage/slurmdbd\nPrologFlags=Contain\n"
            "PartitionName=cpu Nodes=ip-10-0-0-[12-13]\n"
            "PartitionName=ml.g5.xlarge Nodes=ip-10-0-0-14\n",
        )
        host.state.units["slurmdbd.service"] |= {"active", "enabled"}
        host.state.accounting["clusters"].add("ml-cluster")


def run(host: RecordingHost) -> list[dict[str, Any]]:
    host.commands.clear()
    succeeded = runner.run(STEPS, Context(host))
    report = json.loads(host.read(runner.REPORT_FILE) or "")
    assert report["state"] == ("done" if succeeded else "failed")
    return report["steps"]


def states(results: list[dict[str, Any]]) -> dict[str, str]:
    return {result["name"]: result["state"] for result in results}


def errors(results: list[dict[str, Any]]) -> list[str]:
    return [f"{result['name']}: {result['error']}" for result in results if result["error"]]


ALL_NODES = [(kind, node) for kind in KINDS for node in ADDRESSES]
#: Every command of every step is among what these run.
DIFFERENT_NODES = [
    *(("everything", node) for node in ("controller", "login", "worker")),
    *(("api", node) for node in ("controller", "worker")),
    ("database", "controller"),
    *(("bare", node) for node in ("controller", "worker")),
    *(("observed", node) for node in ("controller", "gpu")),
]


@pytest.mark.parametrize(("kind", "node"), ALL_NODES)
def test_a_node_is_provisioned_and_a_second_run_changes_nothing(machine, kind, node):
    host = machine(kind, node)
    results = run(host)
    assert errors(results) == []
    assert [result["name"] for result in results] == [step.name for step in STEPS]
    before = host.snapshot()
    again = run(host)
    assert set(states(again).values()) <= {"already-done", "not-for-this-node", "not-wanted"}, again
    assert host.snapshot() == before


FOR = {
    "slurm-configuration": {"controller"},
    "accounting": {"controller"},
    "partitions": {"controller"},
    "slurm-accounts": {"controller"},
    "studio-workspace": {"controller"},
    "studio-client": {"controller"},
    "munge-secret": {"controller"},
    "studio-ssh": {"controller", "login"},
    "announce": {"worker", "gpu"},
    "ssh-restriction": {"worker", "gpu"},
    "install-enroot": {"login", "worker", "gpu"},
    "enroot": {"login", "worker", "gpu"},
    "slurm-state": set(),
    "library": {"controller"},
    "background": set(),
    **dict.fromkeys(("node-exporter", "dcgm-exporter", "fabric-exporter", "slurm-exporter", "collector"), frozenset()),
}
#: The same where nothing is wanted but metrics.
FOR_METRICS = {
    "library": set(ADDRESSES),
    "node-exporter": set(ADDRESSES),
    "dcgm-exporter": {"gpu"},
    "fabric-exporter": set(ADDRESSES),
    "slurm-exporter": {"controller"},
    "collector": set(ADDRESSES),
}


@pytest.mark.parametrize("node", ADDRESSES)
def test_each_step_is_for_the_node_types_that_it_names(machine, node):
    done = {
        name for name, state in states(run(machine("everything", node))).items() if state in ("done", "already-done")
    }
    assert done == {step.name for step in STEPS if node in FOR.get(step.name, ADDRESSES)}


@pytest.mark.parametrize("node", ADDRESSES)
def test_metrics_are_of_the_nodes_that_have_what_they_are_about(machine, node):
    done = {name for name, state in states(run(machine("observed", node))).items() if state == "done"}
    assert done & FOR_METRICS.keys() == {name for name, nodes in FOR_METRICS.items() if node in nodes}


def test_of_the_optional_nothing_is_done_unless_wanted(machine):
    not_wanted = {
        name for name, state in states(run(machine("smallest", "controller"))).items() if state == "not-wanted"
    }
    assert not_wanted == {
        *("mount-lustre", "mount-openzfs", "directory", "slurm-state", "slurm-accounts", "s3-mounts"),
        *("studio-workspace", "studio-ssh", "studio-client", "munge-secret", "background"),
        *("node-exporter", "fabric-exporter", "slurm-exporter", "collector"),
    }


# What fails


def clean_end(machine, kind, node):
    host = machine(kind, node)
    assert errors(run(host)) == []
    return host


def end_state(host: RecordingHost) -> dict[str, Any]:
    """Return what two machines have in common that were provisioned alike: no times, no counts."""
    snapshot = host.snapshot()
    files = {
        str(path.relative_to(host.root)): content
        for path, (content, _) in snapshot["files"].items()
        if "started" not in path.parts
    }
    return {"files": files, "state": snapshot["state"]}


@pytest.mark.parametrize(("kind", "node"), DIFFERENT_NODES)
def test_whatever_command_fails_the_step_is_named_and_the_next_run_ends_where_all_do(machine, kind, node, caplog):
    caplog.set_level(logging.CRITICAL)
    clean = clean_end(machine, kind, node)
    expected, commands = end_state(clean), list(dict.fromkeys(clean_commands(machine, kind, node)))
    failed = 0
    for command in commands:
        host = machine(kind, node)
        host.fails.append(lambda run, command=command: run == command)
        results = run(host)
        if errors(results):
            failed += 1
            [error] = errors(results)
            # A unit that does not start is told by its own last words, everything else by its own error.
            assert "is broken" in error or command[-1] in error, (command, error)
            assert "Traceback" not in error
        host.fails.clear()
        assert errors(run(host)) == [], command
        assert end_state(host) == expected, command
    assert failed > 1


def test_nothing_is_left_out(machine):
    """Of what any node runs, nothing is run only by nodes that the two tests before pass over."""
    chosen = {command for kind, node in DIFFERENT_NODES for command in clean_commands(machine, kind, node)}
    for kind, node in ALL_NODES:
        passed_over = set(map(without_names, clean_commands(machine, kind, node))) - set(map(without_names, chosen))
        assert passed_over == set(), (kind, node)


def without_names(command: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(re.sub(r"10\.0\.0\.\d+|ip-10-0-0-\d+|/\S+/bundle(?=/)", "THIS", word) for word in command)


def clean_commands(machine, kind, node) -> list[tuple[str, ...]]:
    host = machine(kind, node)
    run(host)
    return host.commands


@pytest.mark.parametrize(("kind", "node"), DIFFERENT_NODES)
def test_wherever_a_run_is_killed_the_next_ends_where_all_do(machine, kind, node, caplog):
    caplog.set_level(logging.CRITICAL)
    expected = end_state(clean_end(machine, kind, node))
    for number in range(len(clean_commands(machine, kind, node))):
        host = machine(kind, node)

        def kill(command, host=host, number=number):
            if len(host.commands) == number + 1:
                raise KeyboardInterrupt
            return False

        host.fails.append(kill)
        with pytest.raises(KeyboardInterrupt):
            run(host)
        killed_at = host.commands[-1]
        host.fails.clear()
        assert errors(run(host)) == [], killed_at
        assert end_state(host) == expected, killed_at


def test_a_secret_is_in_no_argument_no_log_and_no_report(machine, caplog):
    caplog.set_level(logging.DEBUG)
    host = machine("database", "controller")
    run(host)
    for secret in (PASSWORD, "the cluster's key"):
        assert secret not in str(host.commands)
        assert secret not in caplog.text
        assert secret not in (host.read(runner.REPORT_FILE) or "")
    assert host.mode_of("/opt/slurm/etc/slurmdbd.conf") == 0o600
    assert host.mode_of("/etc/sssd/sssd.conf") == 0o600
    assert 'StoragePass="correct\\#horse"' in (host.read("/opt/slurm/etc/slurmdbd.conf") or "")


# What steps say


def warnings(results: list[dict[str, Any]]) -> list[str]:
    return [warning for result in results for warning in result["warnings"]]


def with_change(change: dict[str, Any], cluster: dict[str, Any] = CLUSTER) -> dict[str, Any]:
    return cluster | change


def test_lustre_that_is_not_on_efa_is_told(machine, monkeypatch):
    monkeypatch.setattr(RecordingHost, "_lnetctl", lambda host, *arguments: "net:\n    - net type: tcp\n")
    for kind in ("everything", "api"):
        [warning] = warnings(run(machine(kind, "worker")))
        assert "made for EFA and this node reaches it over TCP" in warning
    without = with_change({"mounts": {"lustre": CLUSTER["mounts"]["lustre"] | {"efa": False}}})
    assert warnings(run(machine(without, "worker"))) == []


def test_mounts_that_hyperpod_has_not_made_are_waited_for_and_never_made_here(machine):
    host = machine("api", "worker")
    del host.state.mounts["/fsx"]
    [error] = errors(run(host))
    assert error == "mount-lustre: HyperPod has not mounted FSx for Lustre at /fsx (tried again for 600 s)"
    assert host.read("/etc/systemd/system/fsx.mount") is None


def test_in_form_api_partitions_are_looked_at_and_never_written(machine):
    host = machine("api", "controller")
    text = (host.read("/opt/slurm/etc/slurm.conf") or "").replace("PartitionName=ml.g5.xlarge", "PartitionName=other")
    host.write("/opt/slurm/etc/slurm.conf", text.replace("ip-10-0-0-[12-13]", "ip-10-0-0-12"))
    before = host.read("/opt/slurm/etc/slurm.conf")
    assert warnings(run(host)) == [
        "partition cpu lacks ip-10-0-0-13 of instance group worker",
        "slurm.conf has no partition ml.g5.xlarge, which instance group gpu is to have",
    ]
    assert host.read("/opt/slurm/etc/slurm.conf") == before
    assert host.names_in("/opt/slurm/etc") == ["accounting.conf", "plugstack.conf", "slurm.conf"]


@pytest.mark.parametrize("node", ADDRESSES)
def test_in_form_api_what_needs_slurm_is_done_when_hyperpod_has_started_it(machine, node):
    host = machine("api", node)
    daemon = "slurmctld.service" if node == "controller" else "slurmd.service"
    host.state.units[daemon] = {"known"}
    host.state.units["slurmdbd.service"] = {"known"}
    if node == "controller":
        slurm_conf = host.read("/opt/slurm/etc/slurm.conf") or ""
        host.remove("/opt/slurm/etc/slurm.conf")
    results = run(host)
    assert errors(results) == []
    assert host.waits == [], "HyperPod may start Slurm only after the script has ended"
    background = {name for name, state in states(results).items() if state == "in-background"}
    waiting = {"slurm-configuration", "accounting", "partitions", "slurm-daemon", "slurm-accounts"}
    assert background == (waiting if node == "controller" else {"slurm-daemon"})
    assert host.commands[-1] == ("systemctl", "restart", "--no-block", "cdk-slurm-background.service")
    assert host.holds(File("/usr/local/lib/cdk-slurm/cluster.json", host.read_bundled("cluster.json") or ""))

    def start_slurm(host: RecordingHost) -> None:
        host.state.units[daemon] |= {"active"}
        if node == "controller":
            host.write("/opt/slurm/etc/slurm.conf", slurm_conf)
            host.state.units["slurmdbd.service"] |= {"active"}

    afterwards = replace(host, while_waiting=start_slurm)
    assert runner.run(
        [step for step in STEPS if step.waits_for_slurm or step.name == "identify"],
        Context(afterwards, in_background=True),
    )
    report = json.loads(afterwards.read(runner.BACKGROUND_REPORT_FILE) or "")
    assert report["state"] == "done"
    assert {states(report["steps"])[name] for name in background} <= {"done", "already-done"}


def test_users_data_is_never_given_to_somebody_else(machine):
    host = machine("everything", "worker")
    host.make_directory("/home/alice")
    host.set_owner("/home/alice", 4711, 4711)
    [error] = errors(run(host))
    assert error == "users: /home/alice belongs to uid 4711, user alice has 10001: nothing was changed"


@pytest.mark.parametrize(
    ("passwd", "message"),
    [
        ({"alice": (5, 5, "/home/alice")}, "user alice is to have uid 10001, and has 5 on this node"),
        ({"mallory": (10001, 5, "/")}, "uid 10001 of user alice belongs to mallory on this node"),
    ],
)
def test_an_account_that_is_somebody_elses_is_a_failure(machine, passwd, message):
    host = machine("everything", "worker")
    host.state.passwd |= passwd
    assert errors(run(host)) == [f"users: {message}"]


def test_keys_that_leave_the_cluster_file_no_longer_open_the_door(machine):
    host = machine("everything", "worker")
    run(host)
    assert host.read("/etc/ssh/authorized_keys.d/alice") == "ssh-ed25519 AAAA alice\n"
    cluster = with_change({"users": [CLUSTER["users"][0] | {"ssh_public_keys": []}]})
    (host.bundle / "cluster.json").write_text(json.dumps(cluster))
    assert states(run(host))["users"] == "done"
    assert host.read("/etc/ssh/authorized_keys.d/alice") == ""


def test_a_node_without_a_disk_of_its_own_keeps_containers_off_its_root_volume(machine):
    groups = [{**group, "ebs_volume": False} for group in CLUSTER["instance_groups"]]
    host = machine(with_change({"instance_groups": groups}), "worker")
    del host.state.mounts["/opt/sagemaker"]
    told = warnings(run(host))
    assert any("no disk beside the root volume" in warning for warning in told)
    assert any("docker is turned off" in warning for warning in told)
    assert host.state.units["docker.service"] == {"known"}
    assert "/opt/" not in (host.read("/etc/enroot/enroot.conf") or "")


def test_a_disk_that_is_late_is_waited_for(machine):
    def mount(host: RecordingHost) -> None:
        if len(host.waits) == 3:
            host.state.mounts["/opt/dlami/nvme"] = "/dev/md0"

    groups = [{**group, "nvme": True} for group in CLUSTER["instance_groups"]]
    host = machine(with_change({"instance_groups": groups}), "gpu", while_waiting=mount)
    assert errors(run(host)) == []
    assert host.waits == [1, 2, 4]
    assert host.link_target("/scratch") == "/opt/dlami/nvme/scratch"
    docker = json.loads(host.read("/etc/docker/daemon.json") or "")
    assert docker == {
        "runtimes": {"nvidia": {"path": "nvidia-container-runtime"}},
        "data-root": "/opt/dlami/nvme/docker",
    }
    assert (host.read("/etc/enroot/enroot.conf") or "").splitlines() == [
        "ENROOT_MAX_CONNECTIONS 10",
        "ENROOT_RUNTIME_PATH /opt/dlami/nvme/enroot/runtime/user-$(id -u)",
        "ENROOT_DATA_PATH /opt/dlami/nvme/enroot/data/user-$(id -u)",
        "ENROOT_TEMP_PATH /opt/dlami/nvme/enroot/tmp",
        "ENROOT_CACHE_PATH /fsx/enroot/user-$(id -u)",
    ]


# Parts

TARGET = "/opt/slurm/lib/slurm/spank_pyxis.so"
REQUIRED = f"required {TARGET}\n"


@pytest.mark.parametrize("node", ADDRESSES)
def test_what_the_ami_has_is_used_and_nothing_installed(machine, node):
    host = machine("everything", node)
    before = host.read("/opt/slurm/etc/plugstack.conf")
    assert warnings(run(host)) == []
    assert not any(command[0] in ("make", "mv") or command[:2] == ("tar", "--extract") for command in host.commands)
    assert not {"gcc", "enroot.deb", "libfuse2", "squashfuse"} & host.state.packages
    assert host.read("/opt/slurm/etc/plugstack.conf") == before


@pytest.mark.parametrize("node", ADDRESSES)
def test_what_the_ami_lacks_comes_from_the_bundle(machine, node):
    host = machine("bare", node)
    results = run(host)
    assert warnings(results) == []
    runs_containers = node != "controller"
    assert host.finds("enroot") == runs_containers
    assert ({"enroot.deb", "enroot+caps.deb", "squashfuse", "fuse-overlayfs"} <= host.state.packages) == runs_containers
    assert host.exists("/etc/enroot/enroot.conf") == runs_containers
    assert host.exists(TARGET)
    assert host.names_in("/opt/slurm/lib/slurm") == ["spank_pyxis.so"], "no source is left"
    # Workers have theirs from the controller.
    assert host.read("/opt/slurm/etc/plugstack.conf") == (REQUIRED if node == "controller" else None)
    assert host.link_target("/usr/bin/mount-s3") == "/opt/aws/mountpoint-s3/bin/mount-s3"
    assert "libfuse2" in host.state.packages
    assert "fuse" not in host.state.packages, "it would remove fuse3"
    assert "/s3/models" in host.state.mounts


@pytest.mark.parametrize("node", ADDRESSES)
def test_an_ami_without_containers_is_still_a_cluster(machine, node):
    host = machine("everything", node)
    for path in CONTAINERS:
        host.remove(path)
    host.put_parts()
    results = run(host)
    assert errors(results) == []
    told = warnings(results)
    assert any("this AMI lacks pyxis, so srun knows no --container-image: " in warning for warning in told)
    assert any("this AMI lacks enroot" in warning for warning in told) == (node != "controller")
    assert host.read("/opt/slurm/etc/plugstack.conf") is None
    assert host.read("/etc/enroot/enroot.conf") is None
    # Nor does looking again change anything.
    before = host.snapshot()
    assert warnings(run(host)) == told
    assert host.snapshot() == before


@pytest.mark.parametrize(
    ("part", "step"), [("enroot+caps", "install-enroot"), ("pyxis", "pyxis"), ("mount-s3", "s3-mounts")]
)
def test_a_part_that_is_damaged_is_a_failure(machine, part, step):
    host = machine("bare", "worker")
    (host.bundle / "parts" / f"{part}.deb").write_text("something else")
    [error] = errors(run(host))
    assert error.startswith(f"{step}: part {part} 1 is damaged: ")
    assert host.waits == [], "it does not pass by itself"


def test_a_bucket_that_was_asked_for_is_missed_where_it_cannot_be_mounted(machine):
    host = machine("everything", "worker")
    host.remove("/usr/bin/mount-s3")
    host.put_parts()
    assert errors(run(host)) == [
        "s3-mounts: parts.lock.json has no part mount-s3 for amd64 machines: choose an AMI that has it"
    ]


def test_pyxis_is_built_with_the_headers_of_the_ami_s_slurm_only(machine, monkeypatch):
    host = machine("bare", "worker")
    host.remove("/opt/slurm/include")
    [error] = errors(run(host))
    assert error == "pyxis: pyxis cannot be built: this AMI has no /opt/slurm/include/slurm/spank.h of its own Slurm"
    said = "config.c:7:10: fatal error: slurm/slurm_errno.h: No such file or directory\nmake: *** [config.o] Error 1"
    monkeypatch.setattr(RecordingHost, "_make", lambda host, *arguments: host._exit("make", 2, said))
    host = machine("bare", "worker")
    [error] = errors(run(host))
    assert error == f"pyxis: pyxis cannot be built with this AMI's Slurm: {said.splitlines()[0]}"
    assert not host.exists(TARGET)


@pytest.mark.parametrize("state", ["active", "failed"])
def test_slurmd_that_came_up_without_pyxis_is_started_anew(machine, state):
    host = machine("everything", "worker")
    bring_parts(host)
    host.put_program("mount-s3")
    host.state.units["slurmd.service"] |= {state}
    assert errors(run(host)) == []
    restarted = host.commands.index(("systemctl", "restart", "slurmd.service"))
    assert host.commands.index(("mv", "/opt/slurm/lib/slurm/.pyxis/spank_pyxis.so", TARGET)) < restarted
    assert restarted < next(
        n for n, command in enumerate(host.commands) if command[0] == "scontrol" or "--now" in command
    )


def test_a_controller_that_runs_hands_out_the_plugin(machine):
    host = machine(KINDS["bare"] | API, "controller")
    bring_parts(host)
    assert errors(run(host)) == []
    assert ("scontrol", "reconfigure") in host.commands
    assert host.read("/opt/slurm/etc/plugstack.conf") == REQUIRED
    assert errors(run(host)) == []
    assert ("scontrol", "reconfigure") not in host.commands


@pytest.mark.parametrize(
    ("plugin", "plugstack", "included", "expected"),
    [
        # As HyperPod's AMIs have it, and other ways in which every node is told.
        (TARGET, REQUIRED, None, REQUIRED),
        (
            TARGET,
            f"# pyxis\noptional {TARGET} runtime_path=/run",
            None,
            f"# pyxis\noptional {TARGET} runtime_path=/run",
        ),
        (TARGET, "required spank_pyxis.so\n", None, "required spank_pyxis.so\n"),
        (
            "/opt/pyxis/spank_pyxis.so",
            "required /opt/pyxis/spank_pyxis.so\n",
            None,
            "required /opt/pyxis/spank_pyxis.so\n",
        ),
        # Not told at all.
        (TARGET, None, None, REQUIRED),
        (
            TARGET,
            f"#{REQUIRED}optional /opt/other.so x=1\n",
            None,
            f"#{REQUIRED}optional /opt/other.so x=1\n{REQUIRED}",
        ),
        ("/usr/local/lib/slurm/spank_pyxis.so", "", None, "required /usr/local/lib/slurm/spank_pyxis.so\n"),
        # Told of one that is not there.
        (TARGET, "optional /usr/local/lib/slurm/spank_pyxis.so\n", None, REQUIRED),
        # Told on the controller alone: Slurm hands out what a file includes from elsewhere to nobody.
        (TARGET, "include /opt/slurm/etc/plugstack.conf.d/*\n", f"{REQUIRED}", REQUIRED),
        (TARGET, "include plugstack.conf.d/*.conf\n", f"optional {TARGET} a=b", f"optional {TARGET} a=b\n"),
        (TARGET, "include plugstack.conf.d/*\n", "optional /opt/x.so\n", f"include plugstack.conf.d/*\n{REQUIRED}"),
    ],
)
def test_every_node_is_told_of_the_plugin_once(machine, plugin, plugstack, included, expected):
    host = machine("everything", "controller")
    for path in CONTAINERS:
        host.remove(path)
    host.write(plugin, "ELF")
    if plugstack is not None:
        host.write("/opt/slurm/etc/plugstack.conf", plugstack)
    if included is not None:
        host.write("/opt/slurm/etc/plugstack.conf.d/pyxis.conf", included)
    results = run(host)
    assert (errors(results), warnings(results)) == ([], [])
    assert host.read("/opt/slurm/etc/plugstack.conf") == expected
    assert states(run(host))["pyxis"] == "already-done"
    assert states(run(machine("everything", "worker")))["pyxis"] == "already-done"


def test_what_the_ami_s_file_is_to_slurmctld_it_remains(machine):
    host = machine("everything", "controller")
    host.write("/opt/slurm/etc/plugstack.conf", "optional /opt/other.so\n", mode=0o640, owner="slurm")
    assert errors(run(host)) == []
    assert host.owner_of("/opt/slurm/etc/plugstack.conf") == (992, 992)
    assert host.mode_of("/opt/slurm/etc/plugstack.conf") == 0o640


def s3_cluster(*mounts: dict[str, Any]) -> dict[str, Any]:
    return with_change({"mounts": CLUSTER["mounts"] | {"s3": list(mounts)}})


def test_a_mounted_bucket_is_left_alone_when_another_is_added(machine):
    first = {"bucket": "a", "path": "/a-b", "read_only": True}
    host = machine(s3_cluster(first), "worker")
    run(host)
    both = s3_cluster(first, {"bucket": "b", "path": "/a/b", "read_only": False, "prefix": "x/"})
    (host.bundle / "cluster.json").write_text(json.dumps(both))
    assert errors(run(host)) == []
    names = [r"cdk-slurm-s3-a\x2db.service", "cdk-slurm-s3-a-b.service"]
    assert [command[2] for command in host.commands if command[:2] == ("systemctl", "restart")] == names[1:]
    assert set(names) <= set(host.names_in("/etc/systemd/system"))
    assert (host.state.mounts["/a-b"], host.state.mounts["/a/b"]) == ("a", "b")


def test_everybody_on_the_cluster_may_write_a_bucket_that_may_be_written(machine):
    paths = {True: "/read", False: "/write"}
    host = machine(s3_cluster(*({"bucket": "b", "path": paths[one], "read_only": one} for one in paths)), "worker")
    run(host)
    read, write = (
        (host.read(f"/etc/systemd/system/cdk-slurm-s3-{path[1:]}.service") or "").splitlines()
        for path in paths.values()
    )
    assert "ExecStart=mount-s3 --region=us-west-2 --allow-other --read-only b /read" in read
    assert (
        "ExecStart=mount-s3 --region=us-west-2 --allow-other --allow-delete --allow-overwrite --dir-mode=0777 "
        "--file-mode=0666 b /write"
    ) in write


def test_a_mount_that_has_died_is_made_again(machine):
    host = machine("everything", "worker")
    run(host)
    del host.state.mounts["/s3/models"]
    assert states(run(host))["s3-mounts"] == "done"
    assert "/s3/models" in host.state.mounts


def test_without_the_ami_s_own_module_the_restriction_fails_rather_than_stay_away(machine):
    host = machine("everything", "worker")
    host.remove("/lib/x86_64-linux-gnu/security")
    [error] = errors(run(host))
    assert error.startswith("ssh-restriction: restrict_ssh_to_jobs: this AMI has no pam_slurm_adopt.so")


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (
            "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7",
            "another program holds dpkg's lock",
        ),
        ("E: Failed to fetch http://mirror/x.deb  Could not connect", "the package mirror does not deliver"),
        ("E: You don't have enough free space: No space left on device", "the disk is full"),
        ("E: Unable to locate package mariadb-server", "apt-get cannot install"),
    ],
)
def test_apts_failure_is_told_as_such(machine, monkeypatch, said, error):
    monkeypatch.setattr(RecordingHost, "_apt_get", lambda host, *arguments: host._exit("apt-get", 100, said))
    host = machine("everything", "controller")
    host.state.packages |= {"sssd-ldap", "libnss-sss", "libpam-sss", "ldap-utils"}
    host.state.units["sssd.service"] = {"known"}
    [found] = errors(run(host))
    assert found.startswith(f"accounting: {error}: {said}")
    passes = "lock" in error or "mirror" in error
    assert ("(tried again for 900 s)" in found) == passes == bool(host.waits)


@pytest.mark.parametrize(
    ("said", "distrust", "error"),
    [
        ("ldap_bind: Invalid credentials (49)", "", "refuses dc=example,dc=com: ldap_bind: Invalid credentials (49)"),
        ("No such object (32)", "", "refuses dc=example,dc=com: No such object (32)"),
        # GnuTLS, OpenSSL, and a directory that is asked to go over to TLS.
        *(
            (
                said,
                "depth=0 CN=server\nverify error:num=62:hostname mismatch\n4087:error:",
                "not trusted: hostname mismatch",
            )
            for said in (
                "ldap_sasl_bind(SIMPLE): Can't contact LDAP server (-1)",
                "ldap_start_tls: Connect error (-11)\n\tadditional info: (unknown error code)",
            )
        ),
        ("ldap_sasl_bind(SIMPLE): Can't contact LDAP server (-1)", "", "does not answer: ldap_sasl_bind(SIMPLE): "),
        ("ldap_bind: Server is busy (51)", "", "does not answer: ldap_bind: Server is busy (51)"),
        ("", "", "does not answer: "),
    ],
)
def test_a_directory_that_is_not_to_be_used_is_told_before_anything_is_set(machine, monkeypatch, said, distrust, error):
    def timeout(host: RecordingHost, _seconds: str, program: str, *arguments: str) -> None:
        host._exit("timeout", 1, said if program == "ldapsearch" else distrust)

    monkeypatch.setattr(RecordingHost, "_timeout", timeout)
    host = machine("everything", "login")
    [found] = errors(run(host))
    assert found.startswith("directory: the directory at ldaps://ldap.example.com ")
    assert error in found
    assert ("(tried again for 900 s)" in found) == ("does not answer" in error) == bool(host.waits)
    assert host.read("/etc/sssd/sssd.conf") is None
    assert not any(command[0] == "pam-auth-update" for command in host.commands)


@pytest.mark.parametrize("password", ["two\nlines", " blank before", ""])
def test_a_text_that_is_no_password_of_a_directory_is_refused(machine, password):
    host = machine("everything", "login")
    host.state.secrets[f"{SECRETS}ldap"] = password
    [error] = errors(run(host))
    assert error == (
        f"directory: the text of secret {SECRETS}ldap is no password that /etc/sssd/sssd.conf can hold: "
        "one line, no blanks around"
    )


def test_pam_s_files_that_were_changed_by_hand_fail_the_directory(machine, monkeypatch):
    monkeypatch.setattr(RecordingHost, "_pam_auth_update", lambda host, *arguments: None)
    [error] = errors(run(machine("everything", "login")))
    assert error == (
        "directory: pam-auth-update leaves /etc/pam.d/common-auth and /etc/pam.d/common-session alone, "
        "for they have been changed by hand"
    )


def test_a_database_that_is_late_is_waited_for(machine):
    def listen(host: RecordingHost) -> None:
        if len(host.waits) == 4:
            host.listening.add(("db.internal", 3306))

    host = machine("database", "controller", while_waiting=listen)
    host.listening.remove(("db.internal", 3306))
    assert errors(run(host)) == []
    assert host.waits == [1, 2, 4, 8]
    assert not any(command[0] == "mariadb" for command in host.commands)


def test_the_restriction_has_slurm_make_what_it_looks_for(machine):
    host = machine("everything", "controller")
    assert errors(run(host)) == []
    assert "PrologFlags=Contain" in (host.read("/opt/slurm/etc/accounting.conf") or "")
    other = machine("everything", "controller")
    other.write("/opt/slurm/etc/slurm.conf", f"{other.read('/opt/slurm/etc/slurm.conf')}PrologFlags=Alloc\n")
    assert any("without PrologFlags=Contain" in warning for warning in warnings(run(other)))
    assert "PrologFlags" not in (other.read("/opt/slurm/etc/accounting.conf") or "")


def test_login_nodes_that_slurm_does_not_know_fetch_its_configuration_themselves(machine):
    host = machine("everything", "login")
    run(host)
    assert host.read("/etc/profile.d/cdk-slurm.sh") == "export SLURM_CONF_SERVER=10.0.0.10\n"
    assert "active" not in host.state.units["slurmd.service"]


def test_two_controllers_share_state_and_stand_by_for_each_other(machine):
    platform = json.loads(json.dumps(PLATFORM))
    platform["InstanceGroups"][0]["Instances"].append(instance("controller-2", "10.0.0.20"))
    first = machine("database", "controller", platform)
    second = machine("database", "10.0.0.20", platform)
    second.listening.add(("10.0.0.10", 6819))
    for host in (first, second):
        assert errors(run(host)) == []
        assert host.link_target("/var/spool/slurmctld") == "/fsx/.cdk-slurm/ml-cluster/slurmctld"
        assert "AccountingStorageBackupHost=10.0.0.20" in (host.read("/opt/slurm/etc/accounting.conf") or "")
        assert "DbdHost=ip-10-0-0-10\nDbdAddr=10.0.0.10\nDbdBackupHost=ip-10-0-0-20\n" in (
            host.read("/opt/slurm/etc/slurmdbd.conf") or ""
        )
    done = states(run(machine("database", "10.0.0.20", platform)))
    assert done["slurm-accounts"] == done["munge-secret"] == "not-wanted"


@pytest.mark.parametrize("node", ADDRESSES)
def test_the_plan_tells_of_every_step_and_changes_nothing(machine, node, capsys):
    host = machine("everything", node)
    before = host.snapshot()
    assert runner.plan(STEPS, Context(host))
    assert host.snapshot() == before
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [step.name for step in STEPS]
    assert "mount-lustre: would mount FSx for Lustre" in lines
    assert not any(command[1] in ("start", "restart", "enable") for command in host.commands if len(command) > 1)
