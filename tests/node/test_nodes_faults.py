"""What goes wrong on real nodes: each ends well after trying again, or fails and names its cause; never half-set."""

import hashlib
import json
import subprocess
import threading
import time
from dataclasses import replace

import pytest

from tests.node.cluster.machine import Machine, eventually
from tests.node.cluster.platform import LUSTRE, OPENZFS, Platform, in_parallel
from tests.node.cluster.services import DATABASE_ENDPOINT, DATABASE_PASSWORD, DATABASE_USER
from tests.node.test_nodes_legacy import GROUPS, SCHEDULER, install, partitions_become_right, report

#: A controller and a worker.
PAIR = (GROUPS[0], replace(GROUPS[2], count=1))


@pytest.fixture
def platform(workplace, trees):
    """A cluster of a controller and a worker on which no script has run."""
    with Platform(workplace, trees, form="provisioning_parameters", groups=PAIR, slurm_conf=SCHEDULER) as platform:
        install(platform, platform.all)
        yield platform


def failed(platform: Platform, machine: Machine, *arguments: str) -> str:
    """Run the entry script, which is to fail; return the step and its error."""
    result = platform.run_lifecycle(machine, *arguments, check=False)
    assert result.returncode == 1, result.stdout
    found = report(machine)
    assert found["state"] == "failed"
    step = found["steps"][-1]
    assert f"ERROR {step['name']}: failed" in result.stdout
    return f"{step['name']}: {step['error']}"


def failed_soon(platform: Platform, machine: Machine) -> str:
    """Return what `failed` does, without the patience that steps have with what may pass."""
    return failed(platform, machine, "--patience-seconds=3")


def is_up(machine: Machine, *units: str) -> bool:
    return machine.shell(f"systemctl is-active {' '.join(units)}", check=False).split() == ["active"] * len(units)


CONTROLLER_UNITS = ("mariadb", "slurmdbd", "slurmctld")


def test_a_package_mirror_that_is_down_for_a_while(platform):
    platform.mirror.stop()
    timer = threading.Timer(10, platform.mirror.start)
    timer.start()
    result = platform.run_lifecycle(platform.controller)
    timer.join()
    assert "accounting: the package mirror does not deliver: " in result.stdout
    assert is_up(platform.controller, *CONTROLLER_UNITS)


def test_a_package_mirror_that_stays_down(platform):
    platform.mirror.stop()
    error = failed_soon(platform, platform.controller)
    assert error.startswith("accounting: the package mirror does not deliver: ")
    assert error.endswith("(tried again for 3 s)")
    assert not is_up(platform.controller, "slurmctld"), "without accounting, its jobs would not be counted"


def test_dpkg_that_another_program_has_locked(platform):
    script = "import fcntl, time; fcntl.lockf(open('/var/lib/dpkg/lock-frontend', 'w'), fcntl.LOCK_EX); time.sleep(8)"
    holder = platform.controller.start("python3", "-c", script)
    time.sleep(0.5)
    started = time.monotonic()
    platform.run_lifecycle(platform.controller)
    assert time.monotonic() - started > 6
    assert holder.wait(10) == 0
    assert is_up(platform.controller, *CONTROLLER_UNITS)


def test_an_installation_that_was_killed_in_the_middle(platform):
    controller = platform.controller
    run = threading.Thread(target=lambda: platform.run_lifecycle(controller, check=False))
    run.start()
    eventually(lambda: controller.run("pgrep", "-f", "dpkg .*--unpack", check=False).returncode == 0)
    controller.shell("pkill -9 -f 'm lifecycle'; pkill -9 apt-get; pkill -9 dpkg", check=False)
    run.join(60)
    platform.run_lifecycle(controller)
    assert controller.shell("dpkg --audit") == ""
    assert is_up(controller, *CONTROLLER_UNITS)


@pytest.mark.parametrize(
    ("mounts", "error"),
    [
        (
            {"lustre": LUSTRE | {"mount_name": "wrongone"}, "openzfs": OPENZFS},
            f"mount-lustre: {LUSTRE['dns_name']}@tcp:/wrongone cannot be mounted at /fsx: fsx.mount does not start: ",
        ),
        (
            {"lustre": LUSTRE, "openzfs": OPENZFS | {"dns_name": "fs-09.fsx.us-west-2.amazonaws.com"}},
            "mount-openzfs: fs-09.fsx.us-west-2.amazonaws.com:/fsx cannot be mounted at /home: home.mount ",
        ),
    ],
)
def test_a_file_system_that_is_wrongly_named(platform, mounts, error):
    worker = platform.workers[0]
    install(platform, [worker], mounts=mounts)
    found = failed_soon(platform, worker)
    assert found.startswith(error)
    assert "Is the MGS specification correct?" in found or "Failed to resolve server" in found
    assert worker.run("getent", "passwd", "alice", check=False).returncode == 2, "users have their homes there"
    install(platform, [worker])
    in_parallel(platform.run_lifecycle, platform.all)
    assert report(worker)["state"] == "done"
    assert partitions_become_right(platform)


def test_a_bundle_that_lacks_an_object(platform):
    controller = platform.controller
    controller.shell("rm /opt/ml/lifecycle/*/cluster.json")
    assert (
        failed(platform, controller) == "identify: cluster.json is missing: the deployment writes it beside the scripts"
    )
    install(platform, [controller])
    controller.shell("rm /opt/ml/lifecycle/*/lifecycle/steps/accounting.py")
    result = platform.run_lifecycle(controller, check=False)
    assert result.returncode == 1
    assert "cannot import name 'accounting'" in result.stdout
    install(platform, [controller])
    platform.run_lifecycle(controller)


def test_a_disk_that_is_full(workplace, trees):
    with Platform(
        workplace, trees, form="provisioning_parameters", groups=PAIR, slurm_conf=SCHEDULER, disk_mib=150
    ) as platform:
        controller = platform.controller
        install(platform, [controller])
        assert failed_soon(platform, controller).startswith("accounting: the disk is full: ")
        assert not is_up(controller, "slurmctld")
        # Somebody makes room.
        controller.resize_disk(2000)
        platform.run_lifecycle(controller)
        assert is_up(controller, *CONTROLLER_UNITS)


def test_a_controller_that_loses_power_in_the_middle(platform):
    controller, worker = platform.controller, platform.workers[0]
    runs = [threading.Thread(target=platform.run_lifecycle, args=(worker,))]
    runs.append(threading.Thread(target=lambda: platform.run_lifecycle(controller, check=False)))
    for run in runs:
        run.start()
    eventually(lambda: controller.run("pgrep", "-f", "dpkg", check=False).returncode == 0)
    controller.lose_power()
    runs[1].join(60)
    controller.boot()
    assert report(controller)["state"] == "running", "the report of a run that was cut says how far it came"
    platform.run_lifecycle(controller)
    runs[0].join(120)
    assert report(worker)["state"] == "done"
    assert partitions_become_right(platform)


def test_an_external_database_over_tls_that_is_late(platform):
    """It takes encrypted connections only, with a certificate of the authority that the bundle brings."""
    install(platform, platform.all, accounting_database=database_of(platform))
    put_authority(platform.controller, platform.backroom.ca_certificate)
    timer = threading.Timer(4, platform.backroom.start_database)
    timer.start()
    result = platform.run_lifecycle(platform.controller, environment=platform.aws.environment)
    timer.join()
    assert f"the accounting database does not answer at {DATABASE_ENDPOINT}:3306; trying again" in result.stdout
    platform.run_lifecycle(platform.workers[0])
    platform.workers[0].shell("srun --job-name=counted true", user="alice")
    eventually(lambda: "counted|COMPLETED" in platform.controller.shell("sacct -anPX -o jobname,state"))
    stored = "SELECT count(*) FROM slurm_acct_db.`ml-cluster_job_table`"
    eventually(lambda: platform.backroom.machine.run("mariadb", "-NB", f"--execute={stored}").stdout.strip() == "1")
    assert DATABASE_PASSWORD not in platform.controller.shell(
        "cat /var/log/provision/* /var/log/slurm/*; journalctl --no-pager"
    )
    assert platform.controller.shell("stat --format=%a:%U /opt/slurm/etc/slurmdbd.conf").strip() == "600:slurm"
    assert not platform.controller.exists("/usr/sbin/mariadbd")


def test_a_database_whose_certificate_is_of_somebody_else(platform, tmp_path):
    platform.backroom.start_database()
    install(platform, [platform.controller], accounting_database=database_of(platform))
    put_authority(platform.controller, another_authority(tmp_path))
    result = platform.run_lifecycle(
        platform.controller, "--patience-seconds=3", check=False, environment=platform.aws.environment
    )
    assert result.returncode == 1
    assert "slurmdbd" in report(platform.controller)["steps"][-1]["error"]
    assert not is_up(platform.controller, "slurmctld")


def database_of(platform: Platform) -> dict[str, object]:
    """Return what cluster.json says of the backroom's database, whose user and password are in a secret."""
    secret = json.dumps({"username": DATABASE_USER, "password": DATABASE_PASSWORD})
    arn = platform.aws.call("secretsmanager", "create_secret", Name="db", SecretString=secret)["ARN"]
    return {"endpoint": DATABASE_ENDPOINT, "port": 3306, "name": "slurm_acct_db", "secret_arn": arn}


def another_authority(directory) -> str:
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out ca.pem -subj /CN=other"
    )
    subprocess.run(command.split(), cwd=directory, check=True, capture_output=True)
    return (directory / "ca.pem").read_text()


def put_authority(controller: Machine, certificates: str) -> None:
    """Put an authority's certificates in the bundle in the place of Amazon's, with the checksum that they have."""
    [bundle] = (controller.root / "opt/ml/lifecycle").iterdir()
    lock = json.loads((bundle / "parts.lock.json").read_text())
    [part] = [part for part in lock["parts"] if part["name"] == "rds-ca"]
    (bundle / "parts").mkdir(exist_ok=True)
    (bundle / "parts" / part["file"]).write_text(certificates)
    part["sha256"] = hashlib.sha256(certificates.encode()).hexdigest()
    (bundle / "parts.lock.json").write_text(json.dumps(lock))
