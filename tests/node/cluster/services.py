"""What nodes use and are not: a package mirror, AWS, and a machine with a database and a directory."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3

from tests.node.cluster.machine import Machine
from tests.node.cluster.network import HUB_ADDRESS, Network, address_of
from tests.node.cluster.tree import Trees

REGION = "us-west-2"
_AWS_PORT = 4566
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

#: The name server's answers about what is here.
HOSTS = f"{address_of(_BACKROOM)} {DATABASE_ENDPOINT} ldap.example.com\n"


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


class Backroom:
    """A machine that is no node, with a database and a directory; both speak TLS, neither runs at first.

    Nodes know its names.
    """

    def __init__(self, network: Network, trees: Trees) -> None:
        self.machine = Machine(network, _BACKROOM, lowers=[trees.services, trees.base], hosts=HOSTS)
        self.ca_certificate = _make_certificates(self.machine.root / "etc/ssl/test")
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


def _make_certificates(directory: Path) -> str:
    """Make a certificate for the names of the backroom, and return that of the authority that signed it."""
    directory.mkdir()
    key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    names = f"subjectAltName=DNS:{DATABASE_ENDPOINT},DNS:ldap.example.com"
    for command in (
        f"-x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=ca",
        f"-x509 {key} -CA ca.pem -CAkey ca.key -keyout server.key -out server.pem -days 2 -subj /CN=server"
        f" -addext {names} -addext basicConstraints=CA:FALSE",
    ):
        subprocess.run(["openssl", "req", *command.split()], cwd=directory, check=True, capture_output=True)
    for file in directory.iterdir():
        file.chmod(0o644)
    return (directory / "ca.pem").read_text("utf-8")
