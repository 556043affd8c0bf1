"""Amazon Managed Grafana as CloudFormation makes it, and what the service looks at before."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ministack.core.responses import get_account_id, get_region

from local_aws.amg import Amg
from local_aws.cloudformation import Type
from local_aws.permissions import Need, require_caller, require_role
from local_aws.rest import AwsError, Operation
from local_aws.world import Resource

WORKSPACE = "AWS::Grafana::Workspace"
_SERVICE = "grafana.amazonaws.com"

#: https://docs.aws.amazon.com/grafana/latest/userguide/version-differences.html
_VERSIONS = ("8.4", "9.4", "10.4", "12.4")

#: What the service asks of IAM Identity Center in the name of who gives a role.
#: https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AWSGrafanaWorkspacePermissionManagementV2.html
_IDENTITY_CENTER = (
    "sso:DescribeRegisteredRegions",
    "sso:GetSharedSsoConfiguration",
    "sso:ListDirectoryAssociations",
    "sso:GetManagedApplicationInstance",
    "sso:ListProfiles",
    "sso:GetProfile",
    "sso:ListProfileAssociations",
    "sso-directory:DescribeUser",
    "sso-directory:DescribeGroup",
)


class ManagedGrafana:
    """The service: its types, its API, and who would be refused something in the end.

    A workspace's endpoint is a port of loopback, where a Grafana answers with the local AWS's own certificate: in
    CloudFormation's and in the function's eyes it is a host as any other.
    """

    def __init__(self, directory: Path) -> None:
        self._amg = Amg(certificate=directory / "certificate.pem", key=directory / "certificate.key")

    def types(self) -> dict[str, Type]:
        """CloudFormation types."""
        return {WORKSPACE: Type(create=self._create, update=self._update, delete=self._delete)}

    def checks(self) -> dict[str, Any]:
        """What the service looks at before it makes or changes a workspace."""
        return {WORKSPACE: _check}

    def operations(self) -> dict[str, Operation]:
        """The API."""
        found = self._amg.operations()
        update = found["UpdatePermissions"]

        def update_permissions(request: dict[str, Any]) -> dict[str, Any]:
            try:
                require_caller(Need(action) for action in _IDENTITY_CENTER)
            except ValueError as error:
                raise AwsError("AccessDeniedException", str(error), status=403) from None
            return update(request)

        return found | {"UpdatePermissions": update_permissions}

    def arn_of(self, path: str) -> str:
        """The workspace that a request to the API is about."""
        found = re.match("/workspaces/([^/]+)", path)
        return workspace_arn(found[1] if found else "")

    def data_sources(self, workspace: Resource) -> Iterator[dict[str, Any]]:
        """What is read by a workspace's Grafana, in Grafana's words."""
        yield from self._amg.workspaces[workspace.physical_id].server.grafana.data_sources.values()

    def _create(self, _name: str, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        made = self._amg.add(version=properties.get("GrafanaVersion", _VERSIONS[-1]))
        self._tell(made.id, properties)
        return made.id, {"Id": made.id, "Endpoint": made.server.endpoint, "Status": "ACTIVE"}

    def _update(self, standing: Resource, properties: dict[str, Any]) -> None:
        self._tell(standing.physical_id, properties)

    def _tell(self, id_: str, properties: dict[str, Any]) -> None:
        workspace = self._amg.workspaces[id_]
        workspace.providers = properties["AuthenticationProviders"]
        workspace.version = properties.get("GrafanaVersion", workspace.version)
        workspace.configuration["plugins"]["pluginAdminEnabled"] = properties.get("PluginAdminEnabled", False)

    def _delete(self, standing: Resource) -> None:
        self._amg.remove(standing.physical_id)


def workspace_arn(id_: str) -> str:
    """https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonmanagedgrafana.html"""
    return f"arn:aws:grafana:{get_region()}:{get_account_id()}:/workspaces/{id_}"


def _check(properties: dict[str, Any], _standing: Resource | None) -> None:
    if properties["PermissionType"] == "CUSTOMER_MANAGED" and "RoleArn" not in properties:
        raise ValueError("RoleArn is required where PermissionType is CUSTOMER_MANAGED")
    version = properties.get("GrafanaVersion", _VERSIONS[-1])
    if version not in _VERSIONS:
        raise ValueError(f"Value '{version}' at 'grafanaVersion' is not supported; supported: {', '.join(_VERSIONS)}")
    saml = "SAML" in properties["AuthenticationProviders"]
    if "SamlConfiguration" in properties and not saml:
        raise ValueError("SamlConfiguration is given, and SAML is not among AuthenticationProviders")
    if role := properties.get("RoleArn"):
        require_role(role, service=_SERVICE, needs=(), source_arn=workspace_arn("g-0123456789"))
