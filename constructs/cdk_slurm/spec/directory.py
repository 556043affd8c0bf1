"""The directory that knows people's accounts, when there is one."""

from typing import Annotated

from pydantic import Field

from cdk_slurm.spec.model import Model


class DirectoryConfig(Model):
    """An LDAP directory with POSIX accounts (schema rfc2307, such as OpenLDAP's) for people on the nodes.

    The nodes ask it through SSSD, and its people log in with their passwords. It must be reachable from the
    cluster's network. Accounts in `users` are there beside the directory's.
    """

    uri: Annotated[str, Field(examples=["ldaps://ldap.example.com"])]
    """Its address: `ldaps://` and a host, with a port if it is not 636."""

    base_dn: Annotated[str, Field(examples=["dc=example,dc=com"])]
    """Distinguished name below which people and groups are found."""

    bind_dn: Annotated[str, Field(examples=["cn=slurm,ou=services,dc=example,dc=com"])] | None = None
    """Whom the nodes log in as; left out, they look things up without logging in."""

    bind_secret: str | None = None
    """ARN of a Secrets Manager secret whose text is that password and nothing else. It is encrypted with Secrets
    Manager's own key or with `kms_key`."""

    ca_certificate: str | None = None
    """Certificate of the authority that the directory's is signed by, in PEM; several may follow one another. Left
    out, those that the nodes' system trusts."""
