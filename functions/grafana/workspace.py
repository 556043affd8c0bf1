"""The workspace of Amazon Managed Grafana around Grafana: whether it is ready, who may do what, and our way in.

https://docs.aws.amazon.com/grafana/latest/APIReference/Welcome.html
"""

import json
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from patience import Deadline, Unavailable, patiently

#: Names of our service accounts begin so.
_ACCOUNT_PREFIX = "cdk-slurm-"

#: Minutes are enough; one that was lost is good for no longer.
TOKEN_SECONDS = 600

#: On their way to `ACTIVE`.
_CHANGING = ("CREATING", "UPDATING", "UPGRADING", "VERSION_UPDATING")

#: How long a workspace may take until it says that it is being changed.
_BEGIN_SECONDS = 10


@dataclass(frozen=True, order=True)
class Permission:
    """A role that a user or a group of IAM Identity Center has in a workspace."""

    role: str
    """`ADMIN`, `EDITOR` or `VIEWER`."""

    type: str
    """`SSO_USER` or `SSO_GROUP`."""

    id: str


class WorkspaceGoneError(Exception):
    """The workspace does not exist, or is being deleted."""


class Workspace:
    """One workspace. `version` is Grafana's, such as `10.4`."""

    def __init__(self, *, id: str, region: str, deadline: Deadline) -> None:
        self._id = id
        self._deadline = deadline
        # Most of the operations are allowed once a second. All attempts of one fit into what the handler reserves.
        retries = {"mode": "standard", "max_attempts": 5}
        config = Config(connect_timeout=3, read_timeout=10, retries=retries)
        self._amg = boto3.client("grafana", region_name=region, config=config)
        self.version = ""
        self._identity_center = True

    def wait(self) -> None:
        """Wait until it is not being changed. Raises `WorkspaceGoneError`."""
        # A change of a workspace takes minutes.
        patiently(self._look, deadline=self._deadline, attempts=None)

    def _look(self) -> None:
        status = self._status()
        if status in _CHANGING:
            raise Unavailable(f"workspace {self._id} is {status}")

    def _status(self) -> str:
        try:
            told = self._amg.describe_workspace(workspaceId=self._id)["workspace"]
        except self._amg.exceptions.ResourceNotFoundException as error:
            raise WorkspaceGoneError(f"workspace {self._id} does not exist: {error}") from None
        self.version = told["grafanaVersion"]
        self._identity_center = "AWS_SSO" in told["authentication"]["providers"]
        if told["status"] == "DELETING":
            raise WorkspaceGoneError(f"workspace {self._id} is being deleted")
        return str(told["status"])

    def turn_alerting_on(self) -> None:
        """Have Grafana show the alerts of its data sources, which CloudFormation has no property for.

        Raises `RuntimeError` where the workspace does not take the change.
        """
        configuration = json.loads(self._amg.describe_workspace_configuration(workspaceId=self._id)["configuration"])
        if configuration.get("unifiedAlerting", {}).get("enabled"):
            return
        print("turning alerting on")
        # What is left out would be as it was at first.
        wanted = {"plugins": {"pluginAdminEnabled": False}} | configuration | {"unifiedAlerting": {"enabled": True}}
        self._amg.update_workspace_configuration(workspaceId=self._id, configuration=json.dumps(wanted))
        begun = Deadline(seconds=_BEGIN_SECONDS)
        while self._status() == "ACTIVE" and begun.seconds_left > 0:
            time.sleep(1)
        self.wait()
        if (status := self._status()) != "ACTIVE":
            raise RuntimeError(f"alerting could not be turned on: workspace {self._id} is {status}")

    @contextmanager
    def service_account(self) -> Iterator[str]:
        """An administrator's account, by its id; it goes at the end, and its tokens with it."""
        # All of them first: pages shift when something goes.
        for id_ in list(self._left_accounts()):
            self._delete_account(id_)
        name = f"{_ACCOUNT_PREFIX}{secrets.token_hex(6)}"
        made = self._amg.create_workspace_service_account(workspaceId=self._id, name=name, grafanaRole="ADMIN")
        try:
            yield made["id"]
        except BaseException:
            try:
                self._delete_account(made["id"])
            except Exception as error:  # what happened before is what is told
                print(f"service account {made['id']} stays: {error}")
            raise
        self._delete_account(made["id"])

    def _left_accounts(self) -> Iterator[str]:
        """Those of runs that were ended from outside."""
        for page in self._amg.get_paginator("list_workspace_service_accounts").paginate(workspaceId=self._id):
            for one in page["serviceAccounts"]:
                if one["name"].startswith(_ACCOUNT_PREFIX):
                    yield one["id"]

    def new_token(self, account_id: str) -> str:
        """A token of a service account's, for some minutes."""
        made = self._amg.create_workspace_service_account_token(
            workspaceId=self._id,
            serviceAccountId=account_id,
            name=f"{_ACCOUNT_PREFIX}{secrets.token_hex(6)}",
            secondsToLive=TOKEN_SECONDS,
        )
        return str(made["serviceAccountToken"]["key"])

    def _delete_account(self, account_id: str) -> None:
        try:
            self._amg.delete_workspace_service_account(workspaceId=self._id, serviceAccountId=account_id)
        except self._amg.exceptions.ResourceNotFoundException:
            print(f"service account {account_id} is gone already")

    def give_permissions(self, *, wanted: Iterable[Permission], formerly: Iterable[Permission]) -> None:
        """Give what is wanted, and take what was given formerly and is wanted no longer; nobody else is touched.

        Raises `RuntimeError` with the service's words.
        """
        given, former = set(wanted), set(formerly)
        # Without IAM Identity Center nobody is left to take anything from, nor may the function ask.
        if not self._identity_center or not given | former:
            return
        there = set(self._permissions())
        own = {(one.type, one.id) for one in given}
        # One who is to have another role loses the present one first.
        taken = {one for one in there - given if one in former or (one.type, one.id) in own}
        self._update_permissions("REVOKE", taken)
        self._update_permissions("ADD", given - there)

    def _permissions(self) -> Iterator[Permission]:
        for page in self._amg.get_paginator("list_permissions").paginate(workspaceId=self._id):
            for one in page["permissions"]:
                yield Permission(one["role"], one["user"]["type"], one["user"]["id"])

    def _update_permissions(self, action: str, permissions: set[Permission]) -> None:
        if not permissions:
            return
        users: dict[str, list[dict[str, Any]]] = {}
        for one in sorted(permissions):
            users.setdefault(one.role, []).append({"id": one.id, "type": one.type})
        told = self._amg.update_permissions(
            workspaceId=self._id,
            updateInstructionBatch=[{"action": action, "role": role, "users": of} for role, of in users.items()],
        )
        print(f"{action} {len(permissions)} permissions")
        if told["errors"]:
            text = "; ".join(f"{one['code']} {one['message']}" for one in told["errors"])
            raise RuntimeError(f"UpdatePermissions of {self._id} ({action}): {text}")
