"""Amazon Managed Grafana: workspaces, their service accounts and permissions, each with a Grafana that answers.

https://docs.aws.amazon.com/grafana/latest/APIReference/Welcome.html
"""

import itertools
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local_aws.grafana_api import Grafana
from local_aws.grafana_server import GrafanaServer
from local_aws.rest import AwsError, Operation

_PAGE = 10


@dataclass
class Account:
    """A service account of a workspace's, and the keys of its tokens."""

    id: str
    name: str
    role: str
    tokens: list[str] = field(default_factory=list)


class Workspace:
    """One workspace."""

    def __init__(self, id: str, version: str, server: GrafanaServer, *, change_seconds: float) -> None:
        self.id = id
        self.version = version
        self.providers = ["AWS_SSO"]
        """How people log in."""

        self._change_seconds = change_seconds
        self.server = server
        self.accounts: dict[str, Account] = {}
        self.permissions: dict[tuple[str, str], str] = {}
        """Role by type and id of user or group."""

        # As the API makes one: without alerting.
        self.configuration = {"plugins": {"pluginAdminEnabled": False}, "unifiedAlerting": {"enabled": False}}
        self.changed_at = 0.0

    @property
    def status(self) -> str:
        """`ACTIVE`, or `UPDATING` for a moment after a change."""
        return "UPDATING" if time.monotonic() < self.changed_at + self._change_seconds else "ACTIVE"


class Amg:
    """The workspaces of an account, and the operations of the API on them. `calls` holds every call with its name.

    `change_seconds` is how long a workspace is being changed: minutes in AWS.
    """

    def __init__(self, *, certificate: Path, key: Path, change_seconds: float = 0.5) -> None:
        self._change_seconds = change_seconds
        self._tls = {"certificate": certificate, "key": key}
        self._ids = itertools.count(1)
        self.workspaces: dict[str, Workspace] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def add(self, *, version: str) -> Workspace:
        """Make a workspace, whose Grafana answers at once."""
        id_ = f"g-{secrets.token_hex(5)}"
        server = GrafanaServer(Grafana(), **self._tls)
        self.workspaces[id_] = Workspace(id_, version, server, change_seconds=self._change_seconds)
        return self.workspaces[id_]

    def remove(self, id: str) -> None:
        """Delete a workspace with all that is in it."""
        self.workspaces.pop(id).server.close()

    def operations(self) -> dict[str, Operation]:
        """The API: from a request's parameters to the answer."""
        own: tuple[Callable[[Workspace, dict[str, Any]], dict[str, Any]], ...] = (
            self._create_workspace_service_account,
            self._create_workspace_service_account_token,
            self._delete_workspace_service_account,
            self._describe_workspace,
            self._describe_workspace_configuration,
            self._list_permissions,
            self._list_workspace_service_accounts,
            self._update_permissions,
            self._update_workspace_configuration,
        )
        names = ["".join(map(str.capitalize, one.__name__.split("_"))) for one in own]
        return {name: self._operation(name, one) for name, one in zip(names, own, strict=True)} | {
            "ListWorkspaces": lambda _: {"workspaces": [_told(one) for one in self.workspaces.values()]}
        }

    def _operation(self, name: str, own: Callable[[Workspace, dict[str, Any]], dict[str, Any]]) -> Operation:
        def operation(parameters: dict[str, Any]) -> dict[str, Any]:
            self.calls.append((name, parameters))
            id_ = parameters["workspaceId"]
            if id_ not in self.workspaces:
                raise AwsError("ResourceNotFoundException", f"Workspace {id_} does not exist", status=404)
            return own(self.workspaces[id_], parameters)

        return operation

    def _describe_workspace(self, workspace: Workspace, _: dict[str, Any]) -> dict[str, Any]:
        return {"workspace": _told(workspace)}

    def _describe_workspace_configuration(self, workspace: Workspace, _: dict[str, Any]) -> dict[str, Any]:
        return {"configuration": json.dumps(workspace.configuration), "grafanaVersion": workspace.version}

    def _update_workspace_configuration(self, workspace: Workspace, asked: dict[str, Any]) -> dict[str, Any]:
        _require_active(workspace)
        workspace.configuration = json.loads(asked["configuration"])
        workspace.changed_at = time.monotonic()
        return {}

    # --- service accounts ---

    def _list_workspace_service_accounts(self, workspace: Workspace, asked: dict[str, Any]) -> dict[str, Any]:
        told = [
            {"id": one.id, "name": one.name, "grafanaRole": one.role, "isDisabled": "false"}
            for one in workspace.accounts.values()
        ]
        return {"workspaceId": workspace.id, **_page("serviceAccounts", told, asked)}

    def _create_workspace_service_account(self, workspace: Workspace, asked: dict[str, Any]) -> dict[str, Any]:
        _require_active(workspace)
        if asked["name"] in [one.name for one in workspace.accounts.values()]:
            raise AwsError("ConflictException", f"Service account {asked['name']} already exists", status=409)
        made = Account(str(next(self._ids)), asked["name"], asked["grafanaRole"])
        workspace.accounts[made.id] = made
        return {"id": made.id, "name": made.name, "grafanaRole": made.role, "workspaceId": workspace.id}

    def _create_workspace_service_account_token(self, workspace: Workspace, asked: dict[str, Any]) -> dict[str, Any]:
        account = _account(workspace, asked)
        key = f"glsa_{secrets.token_urlsafe(24)}_{secrets.token_hex(4)}"
        account.tokens.append(key)
        workspace.server.grafana.tokens[key] = time.time() + asked["secondsToLive"]
        token = {"id": str(next(self._ids)), "name": asked["name"], "key": key}
        return {"serviceAccountToken": token, "serviceAccountId": account.id, "workspaceId": workspace.id}

    def _delete_workspace_service_account(self, workspace: Workspace, asked: dict[str, Any]) -> dict[str, Any]:
        account = _account(workspace, asked)
        del workspace.accounts[account.id]
        for key in account.tokens:
            workspace.server.grafana.tokens.pop(key, None)
        return {"serviceAccountId": account.id, "workspaceId": workspace.id}

    # --- permissions ---

    def _list_permissions(self, workspace: Workspace, asked: dict[str, Any]) -> dict[str, Any]:
        told = [
            {"user": {"type": type_, "id": id_}, "role": role} for (type_, id_), role in workspace.permissions.items()
        ]
        return _page("permissions", told, asked)

    def _update_permissions(self, workspace: Workspace, asked: dict[str, Any]) -> dict[str, Any]:
        errors = []
        for instruction in asked["updateInstructionBatch"]:
            for user in instruction["users"]:
                own, role = (user["type"], user["id"]), instruction["role"]
                there = workspace.permissions.get(own)
                if instruction["action"] == "ADD" and there in (None, role):
                    workspace.permissions[own] = role
                elif instruction["action"] == "REVOKE" and there == role:
                    del workspace.permissions[own]
                else:
                    message = f"{user['type']} {user['id']} has {there or 'no role'}"
                    errors.append({"code": 400, "message": message, "causedBy": instruction})
        return {"errors": errors}


def _told(workspace: Workspace) -> dict[str, Any]:
    return {
        "id": workspace.id,
        "endpoint": workspace.server.endpoint,
        "grafanaVersion": workspace.version,
        "status": workspace.status,
        "authentication": {"providers": workspace.providers},
        "created": 0,
        "modified": 0,
        "dataSources": [],
    }


def _page(name: str, told: list[dict[str, Any]], asked: dict[str, Any]) -> dict[str, Any]:
    """A few at a time, so that who reads the first page only is found out."""
    first = int(asked.get("nextToken", 0))
    more = {"nextToken": str(first + _PAGE)} if len(told) > first + _PAGE else {}
    return {name: told[first : first + _PAGE]} | more


def _account(workspace: Workspace, asked: dict[str, Any]) -> Account:
    id_ = asked["serviceAccountId"]
    if id_ not in workspace.accounts:
        raise AwsError("ResourceNotFoundException", f"Service account {id_} does not exist", status=404)
    return workspace.accounts[id_]


def _require_active(workspace: Workspace) -> None:
    if workspace.status != "ACTIVE":
        raise AwsError("ConflictException", f"Workspace {workspace.id} is {workspace.status}", status=409)
