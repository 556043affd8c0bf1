"""Rules of the directory of people's accounts."""

import base64
import re
from collections.abc import Iterator

from cdk_slurm.rules.cluster import is_private_key
from cdk_slurm.rules.engine import Violation, rule
from cdk_slurm.rules.service_model import problem
from cdk_slurm.spec import DirectoryConfig

_SSSD = "https://manpages.ubuntu.com/manpages/noble/en/man5/sssd-ldap.5.html"
_PEM = "https://www.rfc-editor.org/rfc/rfc7468"

_HOST = r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?"
_URI = re.compile(rf"(?P<scheme>ldaps?)://{_HOST}(:\d{{1,5}})?/?")

#: A distinguished name: pairs of attribute and value; a comma in a value follows a backslash.
_DN = re.compile(r"[A-Za-z][A-Za-z0-9.-]*=(\\[^\n\r]|[^,\\\n\r])+(, *[A-Za-z][A-Za-z0-9.-]*=(\\[^\n\r]|[^,\\\n\r])+)*")
#: Active Directory takes a person's own form too.
_PRINCIPAL = re.compile(r"[^\s@,=]+@[^\s@,=]+")

#: IAM compares a policy's ARN with the whole of a secret's, random end included.
_WHOLE_ARN = re.compile(r"arn:[^\s*?$]+-[A-Za-z0-9]{6}")

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_DER_SEQUENCE = b"\x30"


@rule("error", _SSSD)
def directory_uri(directory: DirectoryConfig) -> Iterator[Violation]:
    """A directory's address is `ldaps://` or `ldap://` and a host.

    Neither a path, nor a user and password. For several servers, use a name that stands for all of them.
    """
    if not _URI.fullmatch(directory.uri):
        yield (
            "uri",
            "found text that is no such address (not shown, it may hold a password); "
            "allowed: text of the form ldaps://ldap.example.com or ldaps://ldap.example.com:636",
        )


@rule("warning", _SSSD)
def directory_start_tls(directory: DirectoryConfig) -> Iterator[Violation]:
    """A directory is asked over TLS.

    `ldaps://` is TLS from the first byte. A plain `ldap://` server is asked to go over to TLS (StartTLS) before
    anything else is said, for names and passwords would cross the network in clear; one that cannot is not used.
    """
    if directory.uri.startswith("ldap://"):
        yield (
            "uri",
            "found ldap://, which works only where the server goes over to TLS (StartTLS); "
            "allowed without this warning: ldaps://",
        )


@rule("error", "https://www.rfc-editor.org/rfc/rfc4514")
def directory_names(directory: DirectoryConfig) -> Iterator[Violation]:
    """Names in a directory are distinguished names.

    Such as `ou=people,dc=example,dc=com`. Whom to log in as may be written `name@domain` too, as Active
    Directory takes it.
    """
    if not _DN.fullmatch(directory.base_dn):
        yield "base_dn", f"found {directory.base_dn!r}; allowed: text of the form dc=example,dc=com"
    bind_dn = directory.bind_dn
    if bind_dn is not None and not _DN.fullmatch(bind_dn) and not _PRINCIPAL.fullmatch(bind_dn):
        yield "bind_dn", f"found {bind_dn!r}; allowed: text of the form cn=slurm,dc=example,dc=com or name@domain"


@rule("error", _SSSD)
def directory_bind(directory: DirectoryConfig) -> Iterator[Violation]:
    """Who logs in to a directory has a name and a password.

    Give both `bind_dn` and `bind_secret`, or neither for a directory that answers everybody.
    """
    if (directory.bind_dn is None) != (directory.bind_secret is None):
        there, missing = ("bind_dn", "bind_secret") if directory.bind_secret is None else ("bind_secret", "bind_dn")
        yield there, f"found it without {missing}; allowed: both or neither"


@rule("error", "https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html")
def directory_bind_secret(directory: DirectoryConfig) -> Iterator[Violation]:
    """A directory's password is in a secret, which is named by its ARN.

    With the six letters at its end: the nodes' policy allows that one secret. Never write a password here.
    """
    secret = directory.bind_secret
    if secret is None:
        return
    if problem("sagemaker", "ClusterAccountingDatabaseSecretArn", secret) or not _WHOLE_ARN.fullmatch(secret):
        yield (
            "bind_secret",
            "found text that is no secret's whole ARN (not shown, it may be a password); "
            "allowed: arn:aws:secretsmanager:<region>:<account>:secret:<name>-<six letters>",
        )


@rule("error", _PEM)
def directory_ca_certificate(directory: DirectoryConfig) -> Iterator[Violation]:
    """An authority's certificate is PEM text.

    From `-----BEGIN CERTIFICATE-----` to `-----END CERTIFICATE-----`, lines included: use YAML's `|`.
    """
    text = directory.ca_certificate
    if text is not None and not is_private_key(text) and not _are_certificates(text):
        yield (
            "ca_certificate",
            "found text that is no certificate in PEM; allowed: -----BEGIN CERTIFICATE-----, lines of base64, "
            "-----END CERTIFICATE-----, once or several times",
        )


@rule("error", _PEM)
def directory_private_key(directory: DirectoryConfig) -> Iterator[Violation]:
    """An authority's private key is nobody else's business.

    Whoever has read this file can issue certificates that the nodes believe. Replace the authority, and write
    the new one's certificate here without its key.
    """
    if directory.ca_certificate is not None and is_private_key(directory.ca_certificate):
        yield (
            "ca_certificate",
            "found a PRIVATE key (not shown), which must be replaced now that it is in a file; "
            "allowed: certificates only",
        )


def _are_certificates(text: str) -> bool:
    blocks = _BLOCK.findall(text)
    if not blocks or len(blocks) != text.count("-----BEGIN "):
        return False
    return all(label == "CERTIFICATE" and _decoded(body).startswith(_DER_SEQUENCE) for label, body in blocks)


def _decoded(body: str) -> bytes:
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except ValueError:
        return b""
