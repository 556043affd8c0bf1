"""People's accounts from an LDAP directory, through SSSD.

https://sssd.io/docs/ldap/ldap-introduction.html
"""

import urllib.parse

from lifecycle import aws, packages, units
from lifecycle.errors import NotYetError
from lifecycle.host import File
from lifecycle.step import Context, Step

SSSD_CONF = "/etc/sssd/sssd.conf"
CA_FILE = "/usr/local/share/cdk-slurm/ldap-ca.pem"
_PACKAGES = ("sssd-ldap", "libnss-sss", "libpam-sss")
_PORTS = {"ldap": 389, "ldaps": 636}


def _ca_files(context: Context) -> list[File]:
    directory = context.cluster.directory
    assert directory
    return [File(CA_FILE, directory.ca_certificate.rstrip() + "\n")] if directory.ca_certificate else []


def _lines(context: Context) -> list[str]:
    """All of sssd.conf but the password."""
    directory = context.cluster.directory
    assert directory
    return [
        "# Written by cdk-slurm.",
        "[sssd]",
        "domains = directory",
        "services = nss, pam",
        "",
        "[nss]",
        "filter_users = root,slurm,munge",
        "",
        "[domain/directory]",
        "id_provider = ldap",
        "auth_provider = ldap",
        f"ldap_uri = {directory.uri}",
        f"ldap_search_base = {directory.base_dn}",
        # SSSD sends no password without TLS.
        *([] if directory.uri.startswith("ldaps:") else ["ldap_id_use_start_tls = true"]),
        "ldap_tls_reqcert = demand",
        *([f"ldap_tls_cacert = {CA_FILE}"] if directory.ca_certificate else []),
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
        and host.mode_of(SSSD_CONF) == 0o600
        and all(host.holds(file) for file in _ca_files(context))
        and units.is_up(host, "sssd.service")
    )


def _do(context: Context) -> None:
    host, directory = context.host, context.cluster.directory
    assert directory
    lines = _lines(context)
    if directory.bind_secret_arn:
        lines.append(f"ldap_default_authtok = {aws.secret_string(context, directory.bind_secret_arn)}")
    if not packages.are_installed(context, _PACKAGES):
        packages.install(context, *_PACKAGES)
    for file in _ca_files(context):
        host.put(file)
    host.put(File(SSSD_CONF, "\n".join([*lines, ""]), mode=0o600))
    host.run("pam-auth-update", "--package", "--enable", "sss", "mkhomedir")
    units.restart(host, "sssd.service")
    address = urllib.parse.urlsplit(directory.uri)
    if not host.answers(address.hostname or "", address.port or _PORTS[address.scheme]):
        raise NotYetError(f"the directory at {directory.uri} does not answer")


STEP = Step(
    name="directory",
    summary="take accounts from the LDAP directory",
    is_done=_is_done,
    do=_do,
    is_wanted=lambda context: context.cluster.directory is not None,
    patience_seconds=packages.PATIENCE_SECONDS,
)
