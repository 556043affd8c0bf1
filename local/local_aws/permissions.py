"""Roles that services take on: whether a service may take one on, and whether it then may do what it has to.

What a service does with a role is what its documentation says. Calls that functions make are not judged here:
MiniStack judges each call itself where IAM is enforced.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.responses import get_account_id, get_region
from ministack.services import iam

from local_aws.hooks import replace
from local_aws.references import role_named

_MANAGED = "arn:aws:iam::aws:policy/"


@dataclass(frozen=True)
class Need:
    """An action that a service takes with a role, on one resource, with the keys of the request that matter."""

    action: str
    resource: str = "*"
    context: Mapping[str, str] = field(default_factory=dict)


def install() -> None:
    """Have AWS's managed policies in the wording that moto carries; MiniStack knows a few and invents none."""

    @cache
    def managed(arn: str) -> Any:
        return _managed(arn) if arn.startswith(_MANAGED) else None

    def find(arn: str) -> Any:
        return lookup(arn) or managed(arn)

    lookup = replace(iam, "_lookup_policy", find)


def require_role(role_arn: str, *, service: str, needs: Iterable[Need]) -> None:
    """Raise `ValueError` where a service may not take on a role, or may not do with it what it needs to."""
    role = role_named(role_arn)
    account, name = get_account_id(), role["RoleName"]
    if not _trusts(role, service, account):
        raise ValueError(f"{service} is not authorized to assume the role {role_arn}")
    policies = iam_evaluator._gather_role_policies(name, account)
    for need in needs:
        context = iam_evaluator.EvalContext(
            principal_arn=f"arn:aws:sts::{account}:assumed-role/{name}/{service}",
            principal_type="AssumedRole",
            principal_account=account,
            action=need.action,
            resource_arn=need.resource,
            region=get_region(),
            service_context={"aws:resourceaccount": account, **{key.lower(): v for key, v in need.context.items()}},
            principal_keys={"aws:principalaccount": account},
        )
        if iam_evaluator.evaluate(context, policies).decision != "Allow":
            raise ValueError(
                f"The role {role_arn} is not authorized to perform: {need.action} on resource: {need.resource}"
            )


def _trusts(role: Mapping[str, Any], service: str, account: str) -> bool:
    """MiniStack's own reading of trust policies knows no services."""
    context = iam_evaluator.EvalContext(
        principal_arn=service,
        principal_type="Service",
        principal_account=account,
        action="sts:AssumeRole",
        resource_arn="*",
        region=get_region(),
        service_context={"aws:sourceaccount": account},
    )
    effects = {
        statement["Effect"]
        for statement in json.loads(role["AssumeRolePolicyDocument"])["Statement"]
        if iam_evaluator._service_principal_matches(statement.get("Principal"), service)
        and "sts:AssumeRole" in _listed(statement["Action"])
        and iam_evaluator._conditions_met(statement.get("Condition", {}), context)
    }
    return effects == {"Allow"}


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _managed(arn: str) -> dict[str, Any] | None:
    path, _, name = arn.removeprefix(_MANAGED).rpartition("/")
    found = _catalogue().get(name)
    if found is None or found["Path"].strip("/") != path:
        return None
    # The only variable in them that matters here; MiniStack's reading of policies knows none.
    document = json.dumps(found["Document"]).replace("${aws:PrincipalAccount}", get_account_id())
    return dict(iam._make_aws_managed_record(arn.removeprefix(_MANAGED), document))


@cache
def _catalogue() -> dict[str, Any]:
    from moto.iam.aws_managed_policies import aws_managed_policies_data  # four megabytes, which few runs need

    return dict(json.loads(aws_managed_policies_data))
