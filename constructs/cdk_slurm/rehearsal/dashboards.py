"""What is in the Grafana workspaces of the local AWS, asked over Grafana's own HTTP API."""

import http.client
import json
import secrets
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cdk_slurm.rehearsal.local_aws import LocalAws


@dataclass(frozen=True, kw_only=True)
class DeployedDashboard:
    """A dashboard that people find in Grafana."""

    folder: str
    title: str
    uid: str
    version: int
    """How often it was saved."""


class Grafana:
    """Grafana's HTTP API in one workspace, as an administrator asks it."""

    def __init__(self, aws: LocalAws, *, endpoint: str, token: str) -> None:
        self._endpoint = endpoint
        self._token = token
        self._context = ssl.create_default_context(cafile=str(aws.certificate))

    def get(self, path: str) -> Any:
        """What is there."""
        return self.send("GET", path)

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """What Grafana answers. Raises `RuntimeError` with its words where it refuses."""
        connection = http.client.HTTPSConnection(self._endpoint, timeout=10, context=self._context)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        if response.status != 200:
            raise RuntimeError(f"{method} {path}: {response.status} {text}")
        return json.loads(text)


@contextmanager
def grafana(aws: LocalAws, workspace_id: str) -> Iterator[Grafana]:
    """Grafana of a workspace, with an account that goes when the context ends."""
    amg = aws.client("grafana")
    endpoint = amg.describe_workspace(workspaceId=workspace_id)["workspace"]["endpoint"]
    name = f"rehearsal-{secrets.token_hex(4)}"
    made = amg.create_workspace_service_account(workspaceId=workspace_id, name=name, grafanaRole="ADMIN")
    account = {"workspaceId": workspace_id, "serviceAccountId": made["id"]}
    try:
        token = amg.create_workspace_service_account_token(**account, name=name, secondsToLive=60)
        yield Grafana(aws, endpoint=endpoint, token=token["serviceAccountToken"]["key"])
    finally:
        amg.delete_workspace_service_account(**account)


def deployed_dashboards(aws: LocalAws) -> tuple[DeployedDashboard, ...]:
    """The dashboards of all workspaces."""
    return tuple(
        DeployedDashboard(
            folder=told["meta"]["folderTitle"],
            title=told["dashboard"]["title"],
            uid=told["dashboard"]["uid"],
            version=told["dashboard"]["version"],
        )
        for workspace in aws.client("grafana").list_workspaces()["workspaces"]
        for told in _dashboards(aws, workspace["id"])
    )


def _dashboards(aws: LocalAws, workspace_id: str) -> Iterator[dict[str, Any]]:
    with grafana(aws, workspace_id) as own:
        for one in own.get("/api/search?type=dash-db&limit=5000"):
            yield own.get(f"/api/dashboards/uid/{one['uid']}")
