"""The custom resource that installs data sources and dashboards in a workspace of Amazon Managed Grafana.

CloudFormation makes the workspace only; what is in it goes in over Grafana's own HTTP API. Properties: `WorkspaceId`,
`Endpoint` (a host), `Region`, `PrometheusUrl`, `Admins` and `Viewers` (`Users` and `Groups`, by their ids in IAM
Identity Center), and `DashboardsHash`, which changes when a dashboard does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import content
from answer import send
from http_api import HttpApi
from patience import Deadline, patiently
from workspace import Permission, Workspace, WorkspaceGoneError

#: Of the function's time, what is kept for giving the account back and for the answer.
RESERVE_SECONDS = 100

#: How long Grafana may take until it answers at all.
_FIRST_ANSWER_SECONDS = 300

#: The physical id of a resource that failed before it had changed anything.
_NOTHING_MADE = "nothing-was-made"


def handler(event: dict[str, Any], context: Any) -> None:
    """Do what CloudFormation asks, and tell it how that went."""
    run = _Run(event, Deadline(seconds=context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS))
    reason = ""
    try:
        run.do()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        print(f"failed: {reason}")
    send(event, physical_id=run.physical_id(failed=bool(reason)), reason=reason, data=run.told)


@dataclass
class _Run:
    event: dict[str, Any]
    deadline: Deadline
    told: dict[str, str] = field(default_factory=dict)
    api: HttpApi | None = None

    @property
    def properties(self) -> dict[str, Any]:
        return dict(self.event["ResourceProperties"])

    @property
    def workspace_id(self) -> str:
        return str(self.properties["WorkspaceId"])

    def physical_id(self, *, failed: bool) -> str:
        """The same for all that is done to one workspace, so that no update has CloudFormation delete what it made."""
        if self.event["RequestType"] == "Delete" or (failed and self.event["RequestType"] == "Update"):
            return str(self.event["PhysicalResourceId"])
        if failed and not (self.api and self.api.wrote):
            return _NOTHING_MADE
        return f"{self.workspace_id}/{content.FOLDER}"

    def do(self) -> None:
        """Raises whatever keeps it from being done."""
        print(f"{self.event['RequestType']} {self.workspace_id} of {self.event['StackId']}")
        workspace = Workspace(id=self.workspace_id, region=self.properties["Region"], deadline=self.deadline)
        if self.event["RequestType"] == "Delete":
            if self.event["PhysicalResourceId"] != _NOTHING_MADE:
                self._delete(workspace)
        else:
            self._install(workspace)

    def _install(self, workspace: Workspace) -> None:
        workspace.wait()
        workspace.turn_alerting_on()
        note = f"cdk-slurm {self.properties['DashboardsHash'][:12]}"
        with workspace.service_account() as account:
            api = self._open(workspace, account)
            content.install(api, self._sources(workspace), content.dashboards(), note=note, deadline=self.deadline)
        self.told = {"FolderUrl": f"https://{self.properties['Endpoint']}/dashboards/f/{content.FOLDER}"}
        former = self.event.get("OldResourceProperties", {})
        same = former.get("WorkspaceId") == self.workspace_id
        workspace.give_permissions(wanted=_permissions(self.properties), formerly=_permissions(former) if same else ())

    def _delete(self, workspace: Workspace) -> None:
        try:
            workspace.wait()
            with workspace.service_account() as account:
                api = self._open(workspace, account)
                content.remove(api, self._sources(workspace), content.dashboards(), deadline=self.deadline)
            workspace.give_permissions(wanted=(), formerly=_permissions(self.properties))
        except WorkspaceGoneError as error:
            print(f"nothing to delete: {error}")

    def _open(self, workspace: Workspace, account: str) -> HttpApi:
        api = self.api = HttpApi(
            endpoint=self.properties["Endpoint"],
            new_token=lambda: workspace.new_token(account),
            deadline=self.deadline,
        )
        first = Deadline(seconds=min(_FIRST_ANSWER_SECONDS, self.deadline.seconds_left))
        patiently(lambda: api.get("/api/org"), deadline=first, attempts=None)
        return api

    def _sources(self, workspace: Workspace) -> tuple[dict[str, Any], ...]:
        return content.data_sources(
            region=self.properties["Region"],
            prometheus_url=self.properties["PrometheusUrl"],
            version=workspace.version,
        )


def _permissions(properties: Mapping[str, Any]) -> Iterator[Permission]:
    for role, name in (("ADMIN", "Admins"), ("VIEWER", "Viewers")):
        given = properties.get(name) or {}
        for type_, kind in (("SSO_USER", "Users"), ("SSO_GROUP", "Groups")):
            for id_ in given.get(kind) or ():
                yield Permission(role, type_, str(id_))
