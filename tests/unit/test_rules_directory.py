"""Rules of the directory of accounts: for each rule what passes, what does not, and what is said."""

import base64
from typing import Any

import pytest

from cdk_slurm.rules import RULES, check
from cdk_slurm.spec import DirectoryConfig

DEFINED = [one for one in RULES.values() if one.violations.__module__ == "cdk_slurm.rules.directory"]

SECRET = "arn:aws:secretsmanager:us-west-2:123456789012:secret:ldap-AbCdEf"
BIND_DN = "cn=slurm,dc=example,dc=com"


def pem(label: str = "CERTIFICATE", content: bytes = b"\x30\x82" + bytes(60)) -> str:
    lines = base64.encodebytes(content).decode()
    return f"-----BEGIN {label}-----\n{lines}-----END {label}-----\n"


def directory(uri: str = "ldaps://ldap.example.com", base_dn: str = "dc=example,dc=com", **fields: Any):
    return DirectoryConfig(uri=uri, base_dn=base_dn, **fields)


def certificate(text: str) -> DirectoryConfig:
    return directory(ca_certificate=text)


PASSING: list[tuple[str, DirectoryConfig]] = [
    *(
        ("DIRECTORY_URI", directory(uri))
        for uri in ("ldaps://ldap.example.com", "ldaps://10.1.2.3:1636", "ldap://dc1:389", "ldaps://ldap/")
    ),
    ("DIRECTORY_START_TLS", directory()),
    *(
        ("DIRECTORY_NAMES", directory(base_dn=name))
        for name in ("dc=example,dc=com", "OU=Users, DC=example, DC=com", r"o=Example\, Inc.")
    ),
    ("DIRECTORY_NAMES", directory(bind_dn=BIND_DN, bind_secret=SECRET)),
    ("DIRECTORY_NAMES", directory(bind_dn="slurm@example.com", bind_secret=SECRET)),
    ("DIRECTORY_BIND", directory()),
    ("DIRECTORY_BIND", directory(bind_dn=BIND_DN, bind_secret=SECRET)),
    ("DIRECTORY_BIND_SECRET", directory()),
    ("DIRECTORY_BIND_SECRET", directory(bind_dn=BIND_DN, bind_secret=SECRET)),
    ("DIRECTORY_CA_CERTIFICATE", directory()),
    ("DIRECTORY_CA_CERTIFICATE", certificate(pem())),
    ("DIRECTORY_CA_CERTIFICATE", certificate(f"Example's root\n{pem()}\nand the one below it\n{pem()}")),
    ("DIRECTORY_CA_CERTIFICATE", certificate(pem().replace("\n", "\r\n"))),
    ("DIRECTORY_CA_CERTIFICATE", certificate(pem("PRIVATE KEY"))),
    ("DIRECTORY_PRIVATE_KEY", certificate(pem())),
    ("DIRECTORY_PRIVATE_KEY", certificate("")),
]

NO_URI = (
    "found text that is no such address (not shown, it may hold a password); "
    "allowed: text of the form ldaps://ldap.example.com or ldaps://ldap.example.com:636"
)
NO_SECRET = (
    "found text that is no secret's whole ARN (not shown, it may be a password); "
    "allowed: arn:aws:secretsmanager:<region>:<account>:secret:<name>-<six letters>"
)
NO_CERTIFICATE = (
    "found text that is no certificate in PEM; allowed: -----BEGIN CERTIFICATE-----, lines of base64, "
    "-----END CERTIFICATE-----, once or several times"
)

FAILING: list[tuple[str, DirectoryConfig, str, str]] = [
    *(
        ("DIRECTORY_URI", directory(uri), "uri", NO_URI)
        for uri in (
            "",
            "ldap.example.com",
            "https://ldap.example.com",
            "ldaps://",
            "ldaps://slurm:secret@ldap.example.com",
            "ldaps://ldap.example.com/dc=example,dc=com",
            "ldaps://a,ldaps://b",
            "ldaps://ldap.example.com\nldap_tls_reqcert = never",
        )
    ),
    (
        "DIRECTORY_START_TLS",
        directory("ldap://ldap.example.com"),
        "uri",
        "found ldap://, which works only where the server goes over to TLS (StartTLS); "
        "allowed without this warning: ldaps://",
    ),
    *(
        (
            "DIRECTORY_NAMES",
            directory(base_dn=name),
            "base_dn",
            f"found {name!r}; allowed: text of the form dc=example,dc=com",
        )
        for name in ("", "example.com", "dc=example,", "dc=", "=com", "dc=example\nx = y", "dc=example,dc=com\n")
    ),
    *(
        (
            "DIRECTORY_NAMES",
            directory(bind_dn=name, bind_secret=SECRET),
            "bind_dn",
            f"found {name!r}; allowed: text of the form cn=slurm,dc=example,dc=com or name@domain",
        )
        for name in ("", "slurm", "a@b@c", "slurm@example.com\n")
    ),
    (
        "DIRECTORY_BIND",
        directory(bind_dn=BIND_DN),
        "bind_dn",
        "found it without bind_secret; allowed: both or neither",
    ),
    (
        "DIRECTORY_BIND",
        directory(bind_secret=SECRET),
        "bind_secret",
        "found it without bind_dn; allowed: both or neither",
    ),
    *(
        ("DIRECTORY_BIND_SECRET", directory(bind_dn=BIND_DN, bind_secret=secret), "bind_secret", NO_SECRET)
        for secret in (
            "",
            "hunter2",
            "ldap-AbCdEf",
            SECRET.removesuffix("-AbCdEf"),
            SECRET.replace("secretsmanager", "ssm"),
            SECRET.replace("ldap", "*"),
            SECRET + "\n",
        )
    ),
    *(
        ("DIRECTORY_CA_CERTIFICATE", certificate(text), "ca_certificate", NO_CERTIFICATE)
        for text in (
            "",
            "ca.pem",
            pem("TRUSTED CERTIFICATE"),
            pem(content=b"not DER"),
            pem().replace("MI", "*!"),
            pem().partition("-----END")[0],
            pem() + pem().partition("-----END")[0],
            pem() + pem("X509 CRL"),
        )
    ),
    *(
        (
            "DIRECTORY_PRIVATE_KEY",
            certificate(text),
            "ca_certificate",
            "found a PRIVATE key (not shown), which must be replaced now that it is in a file; "
            "allowed: certificates only",
        )
        for text in (pem("PRIVATE KEY"), pem() + pem("RSA PRIVATE KEY"), pem("ENCRYPTED PRIVATE KEY"))
    ),
]


@pytest.mark.parametrize(("rule", "model"), PASSING)
def test_passes(rule: str, model: DirectoryConfig) -> None:
    assert rule not in [finding.rule for finding in check(model)]


@pytest.mark.parametrize(("rule", "model", "field", "message"), FAILING)
def test_fails(rule: str, model: DirectoryConfig, field: str, message: str) -> None:
    found = [(finding.field, finding.message) for finding in check(model) if finding.rule == rule]
    assert found == [(field, message)]


def test_every_rule_is_tested_with_both_outcomes() -> None:
    defined = {one.id for one in DEFINED}
    assert {rule for rule, *_ in PASSING} == {rule for rule, *_ in FAILING} == defined


def test_what_only_warns() -> None:
    assert {one.id for one in DEFINED if one.level == "warning"} == {"DIRECTORY_START_TLS"}


@pytest.mark.parametrize(
    "model",
    [
        directory("ldaps://slurm:c2VjcmV0@ldap.example.com"),
        directory(bind_dn=BIND_DN, bind_secret="c2VjcmV0"),  # noqa: S106
        certificate("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----"),
    ],
)
def test_what_may_be_secret_is_never_shown(model: DirectoryConfig) -> None:
    findings = check(model)
    assert findings
    assert not any("c2VjcmV0" in str(finding) for finding in findings)
