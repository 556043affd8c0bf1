"""People of an LDAP directory on real nodes: SSSD, PAM and sshd against a slapd that speaks TLS only."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.node.cluster.machine import Machine, eventually
from tests.node.cluster.platform import Platform
from tests.node.cluster.services import (
    DIRECTORY_BASE_DN,
    DIRECTORY_BIND_DN,
    DIRECTORY_BIND_PASSWORD,
    DIRECTORY_URI,
    DIRECTORY_USER,
    DIRECTORY_USER_ID,
    DIRECTORY_USER_PASSWORD,
)
from tests.node.test_nodes_faults import another_authority
from tests.node.test_nodes_legacy import GROUPS, SCHEDULER, changes, install, report

DORA = f"{DIRECTORY_USER}:*:{DIRECTORY_USER_ID}:{DIRECTORY_USER_ID}:{DIRECTORY_USER}:/home/{DIRECTORY_USER}:/bin/bash"
START_TLS_URI = DIRECTORY_URI.replace("ldaps:", "ldap:")


@pytest.fixture(scope="module")
def platform(workplace, trees):
    """A controller, a login node and a worker on which no script has run, and a directory that is down."""
    groups = (*GROUPS[:2], replace(GROUPS[2], count=1))
    with Platform(workplace, trees, form="api", groups=groups, slurm_conf=SCHEDULER) as platform:
        for machine in platform.all:
            # As Ubuntu's cloud images have it.
            machine.write("/etc/ssh/sshd_config.d/60-cloudimg-settings.conf", "PasswordAuthentication no\n")
        yield platform


@pytest.fixture(scope="module")
def directory(platform):
    """The `directory` of cluster.json."""
    return {
        "uri": DIRECTORY_URI,
        "base_dn": DIRECTORY_BASE_DN,
        "bind_dn": DIRECTORY_BIND_DN,
        "bind_secret_arn": secret(platform, DIRECTORY_BIND_PASSWORD),
        "ca_certificate": platform.backroom.ca_certificate,
    }


@pytest.fixture(scope="module")
def slapd(platform):
    """The directory, which answers from now on."""
    platform.backroom.start_directory()


@pytest.fixture(scope="module")
def cluster(platform, directory, slapd):
    """The cluster after the entry script has run everywhere."""
    install(platform, platform.all, directory=directory)
    platform.run_everywhere(platform.aws.environment)
    return platform


def secret(platform: Platform, text: str) -> str:
    names = len(platform.aws.call("secretsmanager", "list_secrets")["SecretList"])
    return platform.aws.call("secretsmanager", "create_secret", Name=f"ldap-{names}", SecretString=text)["ARN"]


def run_step(platform: Platform, machine: Machine, *arguments: str, check: bool = True) -> str:
    """Run the step alone, and return all that was said."""
    command = ("--only", "directory", *arguments)
    return platform.run_lifecycle(machine, *command, check=check, environment=platform.aws.environment).stdout


def log_in(source: Machine, target: Machine, user: str, password: str, command: str) -> subprocess.CompletedProcess:
    """Run a command as somebody who logs in with a password, with ssh from another node."""
    source.write("/usr/local/bin/askpass", '#!/bin/sh\necho "$PASSWORD"\n', mode=0o755)
    options = ("-o", "PreferredAuthentications=password", "-o", "NumberOfPasswordPrompts=1")
    asking = {"SSH_ASKPASS": "/usr/local/bin/askpass", "SSH_ASKPASS_REQUIRE": "force", "PASSWORD": password}
    told = ("ssh", *options, f"{user}@{target.name}", f"bash -lc '{command}'")
    return source.run(*told, user="alice", check=False, environment=asking)


# What is wrong is told before anything is set


def test_a_directory_that_does_not_answer_is_waited_for(platform, directory, request):
    worker = platform.workers[0]
    install(platform, [worker], directory=directory)
    run_step(platform, worker, "--patience-seconds=3", check=False)
    step = report(worker)["steps"][-1]
    assert (step["name"], step["state"]) == ("directory", "failed")
    assert step["error"] == (
        f"the directory at {DIRECTORY_URI} does not answer: "
        "ldap_sasl_bind(SIMPLE): Can't contact LDAP server (-1) (tried again for 3 s)"
    )
    assert is_untouched(worker)
    log, waiting = "/var/log/provision/provisioning.log", f"the directory at {DIRECTORY_URI} does not answer"
    before = worker.read(log).count(waiting)
    with ThreadPoolExecutor() as pool:
        said = pool.submit(run_step, platform, worker)
        eventually(lambda: worker.read(log).count(waiting) > before)
        request.getfixturevalue("slapd")
    assert waiting in said.result()
    assert "directory: done" in said.result()
    assert worker.shell("getent passwd dora").strip() == DORA


def is_untouched(machine: Machine) -> bool:
    """Return whether nothing of the step is on the machine but packages and a certificate."""
    return (
        not machine.exists("/etc/sssd/sssd.conf")
        and "mkhomedir" not in machine.read("/etc/pam.d/common-session")
        and not machine.exists("/etc/ssh/sshd_config.d/50-cdk-slurm-directory.conf")
    )


UNTRUSTED = "has a certificate that is not trusted: self-signed certificate in certificate chain"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"ca_certificate": "another's"}, f"the directory at {DIRECTORY_URI} {UNTRUSTED}"),
        (
            {"ca_certificate": "another's", "uri": START_TLS_URI},
            f"the directory at {START_TLS_URI} {UNTRUSTED}",
        ),
        (
            {"uri": "ldaps://10.78.0.200"},
            "the directory at ldaps://10.78.0.200 has a certificate that is not trusted: hostname mismatch",
        ),
        (
            {"bind_secret_arn": "wrong"},
            f"the directory at {DIRECTORY_URI} refuses {DIRECTORY_BASE_DN}: ldap_bind: Invalid credentials (49)",
        ),
        (
            {"base_dn": "dc=example,dc=org"},
            f"the directory at {DIRECTORY_URI} refuses dc=example,dc=org: No such object (32)",
        ),
        (
            {"bind_dn": None, "bind_secret_arn": None},
            f"the directory at {DIRECTORY_URI} refuses {DIRECTORY_BASE_DN}: No such object (32)",
        ),
    ],
)
def test_what_will_not_pass_fails_at_once_and_names_its_cause(platform, slapd, directory, tmp_path, change, error):
    if "ca_certificate" in change:
        change = change | {"ca_certificate": another_authority(tmp_path)}
    if change.get("bind_secret_arn"):
        change = change | {"bind_secret_arn": secret(platform, change["bind_secret_arn"])}
    install(platform, [platform.login], directory=directory | change)
    said = run_step(platform, platform.login, check=False)
    assert report(platform.login)["steps"][-1]["error"] == error
    assert "trying again" not in said
    assert is_untouched(platform.login)


def test_start_tls_and_the_authorities_that_the_system_trusts(platform, slapd, directory):
    worker = platform.workers[0]
    worker.write("/usr/local/share/ca-certificates/test.crt", platform.backroom.ca_certificate)
    worker.run("update-ca-certificates")
    install(platform, [worker], directory=directory | {"uri": START_TLS_URI, "ca_certificate": None})
    run_step(platform, worker)
    worker.shell("rm /var/lib/sss/db/* && systemctl restart sssd")
    assert worker.shell("getent passwd dora").strip() == DORA


# People of the directory are on the cluster


def test_everybody_is_known_on_every_node(cluster):
    for machine in cluster.all:
        assert machine.shell("getent passwd dora").strip() == DORA
        assert machine.shell("id dora").strip() == "uid=30001(dora) gid=30001(dora) groups=30001(dora)"
        assert machine.shell("id", user="alice").startswith("uid=10001(alice) gid=1001")
        assert machine.shell("id", user="bob").startswith("uid=10002(bob) gid=1001")
        assert machine.shell("systemctl --failed --plain --no-legend") == ""


def test_somebody_of_the_directory_logs_in_with_the_password_and_has_a_home_everywhere(cluster):
    login = cluster.login
    home = cluster.shared["openzfs"] / "dora"
    assert not home.exists()
    with ThreadPoolExecutor() as pool:
        strangers = (("dora", "wrong"), ("nobody-of-it", "wrong"), ("alice", DIRECTORY_USER_PASSWORD))
        for refused in pool.map(lambda who: log_in(cluster.controller, login, *who, "id"), strangers):
            assert (refused.returncode, "Permission denied" in refused.stderr) == (255, True), refused
    done = log_in(cluster.controller, login, "dora", DIRECTORY_USER_PASSWORD, "pwd; echo of dora >kept")
    assert (done.returncode, done.stdout) == (0, "/home/dora\n"), done.stderr
    assert (home / "kept").exists()
    for machine in cluster.all:
        assert machine.shell("stat --format=%U:%G /home/dora /home/dora/.bashrc").split() == ["dora:dora"] * 2
        assert machine.shell("cat ~/kept", user="dora") == "of dora\n"
        assert machine.shell("cat /home/dora/kept", user="alice", check=False) == "", "homes are of their owners"


def test_somebody_of_the_directory_runs_jobs(cluster):
    done = log_in(cluster.controller, cluster.login, "dora", DIRECTORY_USER_PASSWORD, "srun id -un; srun pwd")
    assert done.stdout.split() == ["dora", "/home/dora"], done.stderr
    assert cluster.login.shell("srun id -un", user="alice").strip() == "alice"


def test_a_second_run_changes_nothing(cluster):
    before = {machine.name: (machine.files(), machine.units()) for machine in cluster.all}
    cluster.run_everywhere(cluster.aws.environment)
    for machine in cluster.all:
        states = {step["name"]: step["state"] for step in report(machine)["steps"]}
        assert states["directory"] == "already-done"
        # The controller still waits for accounting, which nobody sets up here.
        if machine is not cluster.controller:
            assert set(states.values()) <= {"already-done", "not-for-this-node", "not-wanted"}, states
            files, units = before[machine.name]
            assert changes(files, machine.files()) == {}
            assert changes(units, machine.units()) == {}


def test_the_password_of_the_nodes_is_in_one_file_and_nowhere_else(cluster):
    for machine in cluster.all:
        owner, mode = machine.shell("stat --format='%U:%G %a' /etc/sssd/sssd.conf").split()
        # From 2.10 on, SSSD's own unit has root's group read it.
        assert (owner, mode[-1], int(mode, 8) & 0o037) == ("root:root", "0", 0)
        logs = machine.shell("cat /var/log/provision/* /var/log/sssd/*; journalctl --no-pager")
        assert DIRECTORY_BIND_PASSWORD not in logs
        assert DIRECTORY_USER_PASSWORD not in logs
        holders = machine.shell(f"grep --recursive --files-with-matches {DIRECTORY_BIND_PASSWORD} /etc /opt /var /run")
        assert set(holders.split()) == {"/etc/sssd/sssd.conf", "/var/lib/sss/db/config.ldb"}


def test_after_a_reboot_and_without_the_directory_who_was_there_still_logs_in(cluster):
    login = cluster.login
    cluster.backroom.machine.run("systemctl", "stop", "slapd-test")
    login.restart()
    assert login.shell("systemctl is-system-running --wait").strip() == "running"
    done = log_in(cluster.controller, login, "dora", DIRECTORY_USER_PASSWORD, "id -un")
    assert done.stdout == "dora\n", done.stderr
    assert log_in(cluster.controller, login, "dora", "wrong", "id -un").returncode == 255
    assert "directory: already-done" in run_step(cluster, login)
