"""People's accounts from an LDAP directory, through SSSD.

Before anything is set, the directory is asked as SSSD will ask it: SSSD itself starts without one, says nothing,
and leaves a node where nobody of the directory can log in.

https://sssd.io/docs/ldap/ldap-introduction.html
"""

import re
import urllib.parse

from lifecycle import aws, packages, units
from lifecycle.cluster import Directory
from lifecycle.errors import CommandError, NotYetError, StepError
from lifecycle.host import File, Host, all_held
from lifecycle.step import Context, Step

SSSD_CONF = "/etc/sssd/sssd.conf"
CA_FILE = "/usr/local/share/cdk-slurm/ldap-ca.pem"
_SYSTEM_CA_FILE = "/etc/ssl/certs/ca-certificates.crt"
_PACKAGES = ("sssd-ldap", "libnss-sss", "libpam-sss", "ldap-utils")
_PORTS = {"ldap": 389, "ldaps": 636}

# By LDAP's result codes, what stays as it is: protocol and kind of login not taken, no such base, no such name,
# password wrong, not allowed.
_LASTING = ("2", "7", "8", "13", "32", "34", "48", "49", "50")

# Ubuntu's cloud images allow keys only, and who comes from the directory has none here. Accounts of these scripts
# have no password. sshd takes the first value it reads: this is before 50-cloud-init and 60-cloudimg-settings.
_SSHD = File(
    "/etc/ssh/sshd_config.d/50-cdk-slurm-directory.conf",
    "# Written by cdk-slurm: people of the directory log in with their password there.\nPasswordAuthentication yes\n",
)
# Those of the services that are named in sssd.conf fail, at every boot. The last one is gone since 2.10.
_SOCKETS = ("sssd-nss.socket", "sssd-pam.socket", "sssd-pam-priv.socket")
_PAM = {"/etc/pam.d/common-auth": "pam_sss.so", "/etc/pam.d/common-session": "pam_mkhomedir.so"}


def _directory(context: Context) -> Directory:
    assert context.cluster.directory
    return context.cluster.directory


def _ca_files(context: Context) -> list[File]:
    certificate = _directory(context).ca_certificate
    return [File(CA_FILE, certificate.rstrip() + "\n")] if certificate else []


def _ca_file(context: Context) -> str:
    # Always named: what libldap trusts by itself is in a package that is only recommended.
    return CA_FILE if _directory(context).ca_certificate else _SYSTEM_CA_FILE


def _lines(context: Context) -> list[str]:
    """All of sssd.conf but the password."""
    directory = _directory(context)
    return [
        "# Written by cdk-slurm.",
        "[sssd]",
        "domains = directory",
        # Named here they are up when sssd.service is. Started by their sockets, the first who asks after a start of
        # SSSD hears that nobody is known.
        "services = nss, pam",
        "",
        "[nss]",
        "filter_users = root,slurm,munge",
        "",
        "[domain/directory]",
        "id_provider = ldap",
        "auth_provider = ldap",
        # The directory says who people are, not who is root here.
        "sudo_provider = none",
        f"ldap_uri = {directory.uri}",
        f"ldap_search_base = {directory.base_dn}",
        # SSSD sends no password without TLS.
        *([] if directory.uri.startswith("ldaps:") else ["ldap_id_use_start_tls = true"]),
        "ldap_tls_reqcert = demand",
        f"ldap_tls_cacert = {_ca_file(context)}",
        *([f"ldap_default_bind_dn = {directory.bind_dn}"] if directory.bind_dn else []),
        f"override_homedir = {context.cluster.homes}/%u",
        "default_shell = /bin/bash",
        "cache_credentials = true",
        "enumerate = false",
    ]


def _is_done(context: Context) -> bool:
    host = context.host
    text = host.read(SSSD_CONF) or ""
    kept = [line for line in text.splitlines() if not line.startswith("ldap_default_authtok")]
    return (
        kept == _lines(context)
        # From 2.10 on, sssd.service itself has root's group read it.
        and host.mode_of(SSSD_CONF) in (0o600, 0o640)
        and all_held(host, [_SSHD, *_ca_files(context)])
        and _pam_is_set(host)
        and units.is_up(host, "sssd.service")
    )


def _do(context: Context) -> None:
    host = context.host
    password = _password(context)
    if not packages.are_installed(context, _PACKAGES):
        packages.install(context, *_PACKAGES)
    for file in _ca_files(context):
        host.put(file)
    _ask(context, password)
    lines = [*_lines(context), *([] if password is None else [f"ldap_default_authtok = {password}"])]
    host.put(File(SSSD_CONF, "\n".join([*lines, ""]), mode=0o600))
    # A home is made at the first login, by that node's root. Where OpenZFS squashes root, outside its own zone, there
    # is none to be had and the session begins in /: who logs in first on a node of that zone has it everywhere.
    quietly = {"DEBIAN_FRONTEND": "noninteractive"}
    host.run("pam-auth-update", "--package", "--enable", "sss", "mkhomedir", environment=quietly)
    if not _pam_is_set(host):
        # It says so, and exits with 0.
        raise StepError(f"pam-auth-update leaves {' and '.join(_PAM)} alone, for they have been changed by hand")
    host.run("systemctl", "mask", *_SOCKETS)
    units.restart(host, "sssd.service")
    host.put(_SSHD)
    units.reread_sshd(host)


def _pam_is_set(host: Host) -> bool:
    return all(module in (host.read(path) or "") for path, module in _PAM.items())


def _password(context: Context) -> str | None:
    arn = _directory(context).bind_secret_arn
    if arn is None:
        return None
    password = aws.secret_string(context, arn)
    if password != password.strip() or len(password.splitlines()) != 1:
        raise StepError(
            f"the text of secret {arn} is no password that {SSSD_CONF} can hold: one line, no blanks around"
        )
    return password


def _ask(context: Context, password: str | None) -> None:
    """Read the directory's base with SSSD's own library, name and password."""
    directory = _directory(context)
    command = ["ldapsearch", "-x", "-LLL", "-H", directory.uri, "-b", directory.base_dn, "-s", "base"]
    if not directory.uri.startswith("ldaps:"):
        command.append("-ZZ")
    if directory.bind_dn and password is not None:
        # No file and no argument ever holds it.
        command += ["-D", directory.bind_dn, "-y", "/dev/stdin"]
    trust = {"LDAPTLS_CACERT": _ca_file(context), "LDAPTLS_REQCERT": "demand"}
    try:
        # Some of its versions wait for ever for a server that says nothing.
        context.host.run("timeout", "20", *command, "1.1", input=password or "", environment=trust)
    except CommandError as error:
        said = " ".join(error.errors.split())
        code = re.search(r"\((-?\d+)\)", said)
        if code and code[1] in _LASTING:
            raise StepError(f"the directory at {directory.uri} refuses {directory.base_dn}: {said}") from error
        if distrust := _distrust(context):
            raise StepError(
                f"the directory at {directory.uri} has a certificate that is not trusted: {distrust}"
            ) from error
        raise NotYetError(f"the directory at {directory.uri} does not answer: {said}") from error


def _distrust(context: Context) -> str | None:
    """Say what is wrong with the directory's certificate: GnuTLS, which libldap has on Ubuntu, does not."""
    address = urllib.parse.urlsplit(_directory(context).uri)
    name = address.hostname or ""
    command = ["openssl", "s_client", "-connect", f"{name}:{address.port or _PORTS[address.scheme]}", "-brief"]
    command += ["-CAfile", _ca_file(context), "-verify_hostname", name, "-verify_return_error"]
    command += [] if address.scheme == "ldaps" else ["-starttls", "ldap"]
    try:
        context.host.run("timeout", "20", *command)
    except CommandError as error:
        found = re.search(r"verify error:num=\d+:(.*)", error.errors)
        return found[1] if found else None
    return None


STEP = Step(
    name="directory",
    summary="take accounts from the LDAP directory",
    is_done=_is_done,
    do=_do,
    is_wanted=lambda context: context.cluster.directory is not None,
    patience_seconds=packages.PATIENCE_SECONDS,
)
