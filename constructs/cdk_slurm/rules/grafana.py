"""Rules of Grafana, and of who may log in to it."""

import re
from collections.abc import Iterator

from cdk_slurm.rules.engine import Violation, rule
from cdk_slurm.rules.likeness import repeated
from cdk_slurm.rules.service_model import problem
from cdk_slurm.spec import GrafanaConfig, Model, Path, SamlConfig
from cdk_slurm.spec.finding import dotted

_AMG = "https://docs.aws.amazon.com/grafana/latest/"

#: As the API's reference describes it, and its model does not.
_IDENTITY = re.compile(r"([0-9a-fA-F]{10}-)?[A-Fa-f0-9]{8}(-[A-Fa-f0-9]{4}){3}-[A-Fa-f0-9]{12}")


@rule("error", _AMG + "userguide/authentication-in-AMG-SAML.html")
def saml_metadata(saml: SamlConfig) -> Iterator[Violation]:
    """An identity provider's metadata is read over https.

    Who could change it on its way could log in as anybody.
    """
    url = saml.metadata_url
    if problem("grafana", "IdpMetadataUrl", url) or not re.fullmatch(r"https://[^\s/@]+(/\S*)?", url):
        yield "metadata_url", f"found {url!r}; allowed: an https address without a user's name or password"


@rule("error", _AMG + "APIReference/API_RoleValues.html")
def saml_roles(saml: SamlConfig) -> Iterator[Violation]:
    """Names and values of assertions have 1 to 256 characters.

    They are what the identity provider sends, letter by letter.
    """
    if text := problem("grafana", "AssertionAttribute", saml.role_assertion):
        yield "role_assertion", text
    for field in ("admin_roles", "editor_roles"):
        for index, value in enumerate(getattr(saml, field)):
            if text := problem("grafana", "RoleValue", value):
                yield (field, index), text


@rule("error", _AMG + "userguide/AMG-manage-users-and-groups-AMG.html")
def grafana_access_saml(grafana: GrafanaConfig) -> Iterator[Violation]:
    """People log in through IAM Identity Center or through SAML.

    `admins` and `viewers` are people of IAM Identity Center. With `saml`, its roles say who may do what.
    """
    for field in ("admins", "viewers"):
        if grafana.saml is not None and _named(grafana, field):
            yield field, "found people beside saml; allowed: saml with admin_roles, or admins and viewers"


@rule("error", _AMG + "APIReference/API_User.html")
def grafana_access_ids(grafana: GrafanaConfig) -> Iterator[Violation]:
    """People and groups are named by their ids in IAM Identity Center.

    `aws identitystore list-users` and `list-groups` print them. Names and e-mail addresses are not taken.
    """
    for path, id_ in [*_named(grafana, "admins"), *_named(grafana, "viewers")]:
        if not _IDENTITY.fullmatch(id_):
            yield path, f"found {id_!r}; allowed: an id such as 906754c8a1-1a2b3c4d-1234-5678-9abc-1a2b3c4d5e6f"


@rule("error", _AMG + "APIReference/API_UpdatePermissions.html")
def grafana_access_unique(grafana: GrafanaConfig) -> Iterator[Violation]:
    """A person or group has one role.

    An administrator may look anyway.
    """
    for path, id_, first in repeated([*_named(grafana, "admins"), *_named(grafana, "viewers")]):
        yield path, f"found {id_}, as {dotted(first)}; allowed: ids that differ"


@rule("warning", _AMG + "userguide/AMG-manage-users-and-groups-AMG.html")
def grafana_reaches_nobody(grafana: GrafanaConfig) -> Iterator[Violation]:
    """Somebody may log in to Grafana.

    Name administrators by their ids in IAM Identity Center, or an identity provider as `saml`. Until then
    the account's owner can give access in the console; `grafana: null` does without dashboards.
    """
    if grafana.saml is None and not _named(grafana, "admins"):
        yield "admins", "found nobody, and no saml; allowed without this warning: an administrator, or saml"


def _named(grafana: GrafanaConfig, field: str) -> list[tuple[Path, str]]:
    """Ids that have a role, each with where it stands."""
    access: Model = getattr(grafana, field)
    return [
        ((field, kind, index), id_) for kind in ("users", "groups") for index, id_ in enumerate(getattr(access, kind))
    ]
