"""Roles that services take on: whether a service may take one on, and whether it then may do what it has to.

What a service does with a role is what its documentation says. Calls that functions make are not judged here:
MiniStack judges each call itself where IAM is enforced.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as changed
from functools import cache
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.responses import get_account_id, get_region
from ministack.services import iam

from local_aws.hooks import replace
from local_aws.references import role_named

_MANAGED = "arn:aws:iam::aws:policy/"

_VARIABLE = re.compile(r"\$\{([^{}]+)\}")


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


def require_role(role_arn: str, *, service: str, needs: Iterable[Need], source_arn: str = "") -> None:
    """Raise `ValueError` where a service may not take on a role, or may not do with it what it needs to.

    `source_arn` is what the service takes it on for, where it tells.
    """
    role = role_named(role_arn)
    if not _trusts(role, service, get_account_id(), source_arn):
        raise ValueError(f"{service} is not authorized to assume the role {role_arn}")
    for need in needs:
        if not _allows(role["RoleName"], service, need):
            raise ValueError(
                f"The role {role_arn} is not authorized to perform: {need.action} on resource: {need.resource}"
            )


def require_caller(needs: Iterable[Need]) -> None:
    """Raise `ValueError` where who makes the present request may not do what a service does in his name."""
    _, _, name = iam_evaluator.caller_arn().partition(":assumed-role/")
    if not name:
        return  # the account's root user
    role = name.partition("/")[0]
    for need in needs:
        if not _allows(role, "", need):
            raise ValueError(
                f"The role {role} is not authorized to perform: {need.action} on resource: {need.resource}"
            )


def lets_in(policy: str | Mapping[str, Any], *, service: str, need: Need) -> bool:
    """Whether a resource's own policy lets a service do something, over TLS and in this account's name."""
    document = json.loads(policy) if isinstance(policy, str) else policy
    context = _context("", service, need)
    effects = {
        statement["Effect"]
        for statement in document["Statement"]
        if _names(statement, service)
        and iam_evaluator._action_matches(need.action, _listed(statement["Action"]), [])
        and iam_evaluator._resource_matches(need.resource, _listed(statement["Resource"]), [])
        and iam_evaluator._conditions_met(statement.get("Condition", {}), context)
    }
    return effects == {"Allow"}


def user_id(role_arn: str, service: str) -> str:
    """What IAM calls `aws:userid` of a service that has taken on a role."""
    return f"{role_named(role_arn)['RoleId']}:{service}"


def _allows(role: str, service: str, need: Need) -> bool:
    context = _context(role, service, need)
    policies = iam_evaluator._gather_role_policies(role, get_account_id())
    filled = [[_filled(statement, context) for statement in policy] for policy in policies]
    return bool(iam_evaluator.evaluate(context, filled).decision == "Allow")


def _filled(
    statement: iam_evaluator.ParsedStatement, context: iam_evaluator.EvalContext
) -> iam_evaluator.ParsedStatement:
    """A statement with its variables' values, which MiniStack does not fill in. One without a value matches nothing.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
    """

    def value(found: re.Match[str]) -> str:
        return str(iam_evaluator._resolve_condition_key(found[1], context) or found[0])

    text = json.dumps([statement.resources, statement.conditions])
    resources, conditions = json.loads(_VARIABLE.sub(value, text))
    return changed(statement, resources=resources, conditions=conditions)


def _names(statement: Mapping[str, Any], service: str) -> bool:
    """Whether a statement is about a service: by its name, or as about everybody whom it denies something."""
    everybody = statement["Effect"] == "Deny" and statement.get("Principal") in ("*", {"AWS": "*"})
    return everybody or iam_evaluator._service_principal_matches(statement.get("Principal"), service)


def _trusts(role: Mapping[str, Any], service: str, account: str, source_arn: str) -> bool:
    """MiniStack's own reading of trust policies knows no services."""
    source = {"aws:SourceArn": source_arn} if source_arn else {}
    context = _context("", service, Need("sts:AssumeRole", context=source))
    effects = {
        statement["Effect"]
        for statement in json.loads(role["AssumeRolePolicyDocument"])["Statement"]
        if iam_evaluator._service_principal_matches(statement.get("Principal"), service)
        and "sts:AssumeRole" in _listed(statement["Action"])
        and iam_evaluator._conditions_met(statement.get("Condition", {}), context)
    }
    return effects == {"Allow"}


def _context(role: str, service: str, need: Need) -> iam_evaluator.EvalContext:
    """A request of a role's, for a service where one is named, or of a service itself."""
    account = get_account_id()
    told = {"aws:resourceaccount": account} | ({} if role else {"aws:sourceaccount": account})
    return iam_evaluator.EvalContext(
        principal_arn=f"arn:aws:sts::{account}:assumed-role/{role}/{service}" if role else service,
        principal_type="AssumedRole" if role else "Service",
        principal_account=account,
        action=need.action,
        resource_arn=need.resource,
        region=get_region(),
        secure_transport=True,
        service_context=told | {key.lower(): value for key, value in need.context.items()},
        principal_keys={"aws:principalaccount": account}
        | ({"aws:userid": f"{iam._roles[role]['RoleId']}:{service}"} if role else {}),
    )


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
