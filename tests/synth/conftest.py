"""Synthesis in process, once for each description, and what tests ask of the templates it leaves."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest

from cdk_slurm import rules, spec
from cdk_slurm.hyperpod import HyperPodCluster
from cdk_slurm.network import TrainingNetwork
from cdk_slurm.observability import (
    AlertManager,
    AlertTopic,
    ClusterEvents,
    Dashboards,
    GrafanaWorkspace,
    MetricsWorkspace,
    RuleGroups,
)
from cdk_slurm.spec import (
    AssociationConfig,
    ClusterSpec,
    ComputeGroup,
    GrafanaAccess,
    GrafanaConfig,
    HyperPodConfig,
    HyperPodSpec,
    LustreConfig,
    NetworkConfig,
    OpenZfsConfig,
    S3Mount,
    SlackConfig,
    StudioConfig,
    User,
)
from cdk_slurm.storage import (
    AccountingDatabase,
    DataBucket,
    DataRepositoryAssociation,
    LustreFileSystem,
    OpenZfsFileSystem,
)
from stacks import ClusterStacks

ROOT = Path(__file__).resolve().parents[2]
#: Feature flags decide what CDK writes: without cdk.json's, tests would see other templates than users.
CONTEXT = json.loads((ROOT / "cdk.json").read_text("utf-8"))["context"]
EXAMPLES = {path.stem: path for path in sorted((ROOT / "clusters").glob("*.yaml"))}

#: The smallest description; tests add to it.
SMALLEST = {
    "kind": "hyperpod",
    "name": "c",
    "region": "us-west-2",
    "availability_zone": "usw2-az4",
    "hyperpod": {"compute": [{"name": "worker", "type": "ml.c5.4xlarge", "count": 2}]},
}

_COMPUTE = SMALLEST["hyperpod"]["compute"]
_SECOND_ZONE = {"additional_zones": [{"availability_zone": "usw2-az1", "private_cidr": "10.2.0.0/16"}]}
_KEY = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
_S3 = [
    {"bucket": "someones-sets", "mount": "/sets", "prefix": "text/"},
    {"bucket": "someones-results", "mount": "/results", "read_only": False},
]
_IMAGE = f"111122223333.dkr.ecr.us-west-2.amazonaws.com/mirror/dcgm-exporter@sha256:{'0123456789abcdef' * 4}"
_ADMIN = "906754c8a1-0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"
_OBSERVABILITY = {
    "alert_emails": ["ml-platform@example.com"],
    "slack": {"workspace_id": "T07EA123LEP", "channel_id": "C07EZ1ABC23"},
    "grafana": {"admins": {"users": [_ADMIN]}},
}
_EVERYTHING = {
    "network": _SECOND_ZONE,
    "storage": {"lustre": {}, "openzfs": {}, "s3": _S3},
    "data": {"associations": [{"path": "/data"}]},
    "hyperpod": {"compute": _COMPUTE, "login": {}, "accounting_database": {}},
    "users": [{"name": "alice", "uid": 10001}],
    "directory": {
        "uri": "ldaps://ldap.example.com",
        "base_dn": "dc=example,dc=com",
        "bind_dn": "cn=slurm,dc=example,dc=com",
        "bind_secret": "arn:aws:secretsmanager:us-west-2:111122223333:secret:ldap-AbCdEf",
    },
    "studio": {"domain": {"apps": ["code_editor", "jupyter_lab"]}},
    "observability": _OBSERVABILITY,
}

#: What the examples leave out: what each adds to `SMALLEST`.
VARIANTS: dict[str, dict[str, Any]] = {
    "no-storage": {},
    "everything": _EVERYTHING,
    "destroy": _EVERYTHING
    | {
        "storage": {"lustre": {"removal_policy": "destroy"}, "openzfs": {"removal_policy": "destroy"}},
        "data": {"associations": [{"path": "/data"}], "removal_policy": "destroy"},
        "hyperpod": {
            "compute": _COMPUTE,
            "accounting_database": {"removal_policy": "destroy", "multi_az": False},
        },
        "studio": {
            "domain": {
                "auth": "sso",
                "lustre": "per_user",
                "users": [{"name": "alice", "sso_user": "alice@example.com"}],
                "removal_policy": "destroy",
            }
        },
        "observability": _OBSERVABILITY
        | {
            "workspace": {"removal_policy": "destroy", "query_log_retention_days": 14},
            "grafana": {"saml": {"metadata_url": "https://idp.example.com/metadata", "admin_roles": ["admin"]}},
        },
    },
    "kms-key": _EVERYTHING
    | {
        "account": "111122223333",
        "kms_key": _KEY,
    },
    "existing": {
        "network": {
            "existing": "vpc-0123456789abcdef0",
            "private_subnet": "subnet-0123456789abcdef0",
            "private_subnet_cidr": "10.1.0.0/16",
            "public_subnet": "subnet-0123456789abcdef1",
            "security_group": "sg-0123456789abcdef0",
        },
        "storage": {
            "lustre": {"existing": "fs-0123456789abcdef0", "mount_name": "2p3fhbmv"},
            "openzfs": {"existing": "fs-0123456789abcdef1", "root_volume": "fsvol-0123456789abcdef0"},
        },
        "data": {"bucket": "someones-data", "associations": [{"path": "/data", "prefix": "sets/"}]},
        "hyperpod": {
            "compute": _COMPUTE,
            "accounting_database": {
                "existing": "slurm.example.com",
                "secret": "arn:aws:secretsmanager:us-west-2:111122223333:secret:slurm-AbCdEf",
                "port": 3307,
            },
        },
        "users": [{"name": "alice", "uid": 10001}],
        "studio": {},
        "observability": {
            "workspace": {"existing": "ws-0123abcd-0123-0123-0123-0123456789ab"},
            "alert_emails": ["ml-platform@example.com"],
            "grafana": {"admins": {"groups": [_ADMIN]}},
            "exporters": {"dcgm_image": _IMAGE, "optional": ["dcgm", "fabric"]},
        },
    },
    "two-zones": {
        "account": "111122223333",
        "availability_zone": "us-west-2a",
        "network": {"additional_zones": [{"availability_zone": "us-west-2b", "private_cidr": "10.2.0.0/16"}]},
        "hyperpod": {
            "slurm_config_strategy": "Managed",
            "compute": [
                *_COMPUTE,
                {"name": "far", "type": "ml.c5.large", "count": 1, "availability_zone": "us-west-2b"},
            ],
        },
    },
    "legacy-kms-key": _EVERYTHING
    | {
        "kms_key": _KEY,
        "hyperpod": {
            "slurm_configuration": "provisioning_parameters",
            "controller": {"count": 2},
            "compute": _COMPUTE,
            "accounting_database": {},
            "failover_topic": "arn:aws:sns:us-west-2:111122223333:failover",
        },
    },
    "alerts-only": {"observability": {"grafana": None, "alert_emails": ["ml-platform@example.com"]}},
    "single-az-database": {
        "network": _SECOND_ZONE,
        "hyperpod": {"compute": _COMPUTE, "accounting_database": {"multi_az": False, "name": "accounting"}},
    },
}


@dataclass(frozen=True)
class Resource:
    """A resource of a template. Its id is for following references; no test says what it is."""

    id: str
    body: dict[str, Any]

    @property
    def type(self) -> str:
        return self.body["Type"]

    @property
    def properties(self) -> dict[str, Any]:
        return self.body.get("Properties", {})

    @property
    def depends_on(self) -> set[str]:
        return set(self.body.get("DependsOn", ()))

    @property
    def kept(self) -> tuple[str | None, str | None]:
        """What becomes of it when its stack goes, and when it is replaced."""
        return self.body.get("DeletionPolicy"), self.body.get("UpdateReplacePolicy")

    @property
    def ref(self) -> dict[str, str]:
        return {"Ref": self.id}

    def att(self, name: str) -> dict[str, list[str]]:
        return {"Fn::GetAtt": [self.id, name]}

    def at(self, path: str) -> Any:
        """A property by its path, as in `LustreConfiguration.EfaEnabled`; None where there is none."""
        value: Any = self.properties
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return value


class Template:
    """A stack's template."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.resources = {id: Resource(id, resource) for id, resource in body.get("Resources", {}).items()}

    def all(self, type: str, **properties: Any) -> list[Resource]:
        """Every resource of a type that has these properties."""
        return [
            resource
            for resource in self.resources.values()
            if resource.type == type
            and all(resource.properties.get(name) == value for name, value in properties.items())
        ]

    def one(self, type: str, **properties: Any) -> Resource:
        """The only resource of a type that has these properties."""
        found = self.all(type, **properties)
        assert len(found) == 1, f"{len(found)} resources of {type} with {properties}"
        return found[0]

    def policies_of(self, role: Resource) -> list[Resource]:
        """The policies of this template that a role has, whichever of the two names the other."""
        return [
            policy
            for policy in (*self.all("AWS::IAM::ManagedPolicy"), *self.all("AWS::IAM::Policy"))
            if policy.ref in role.properties.get("ManagedPolicyArns", ())
            or role.ref in policy.properties.get("Roles", ())
        ]

    @property
    def outputs(self) -> dict[str, Any]:
        """Outputs that are for people, not for other stacks."""
        return {
            name: output["Value"] for name, output in self.body.get("Outputs", {}).items() if "Export" not in output
        }

    @property
    def exports(self) -> dict[str, Any]:
        """What other stacks may import, by its export name."""
        outputs = self.body.get("Outputs", {}).values()
        return {output["Export"]["Name"]: output["Value"] for output in outputs if "Export" in output}


class Assembly:
    """What a synthesis left."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.templates = {
            path.name.removesuffix(".template.json"): Template(json.loads(path.read_text("utf-8")))
            for path in sorted(directory.glob("*.template.json"))
        }

    def __getitem__(self, suffix: str) -> Template:
        """The template of the stack whose name ends so, as in `assembly["storage"]`."""
        [found] = [name for name in self.templates if name.rpartition("-")[2] == suffix]
        return self.templates[found]

    def __iter__(self) -> Iterator[Template]:
        return iter(self.templates.values())

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return json.loads((self.directory / "manifest.json").read_text("utf-8"))

    def stack(self, suffix: str) -> dict[str, Any]:
        """What the manifest says of a stack."""
        artifacts = self.manifest["artifacts"].items()
        [found] = [
            artifact
            for name, artifact in artifacts
            if artifact["type"] == "aws:cloudformation:stack" and name.rpartition("-")[2] == suffix
        ]
        return found

    def resolved(self, value: Any) -> Any:
        """A value with what other stacks export in place of its imports."""
        if isinstance(value, list):
            return [self.resolved(item) for item in value]
        if not isinstance(value, dict):
            return value
        if list(value) == ["Fn::ImportValue"]:
            [exported] = [t.exports[value["Fn::ImportValue"]] for t in self if value["Fn::ImportValue"] in t.exports]
            return exported
        return {key: self.resolved(item) for key, item in value.items()}

    def text(self, value: Any) -> str:
        """A value as one text: `${Id}` for a reference, `${Id.Attribute}` for an attribute."""
        value = self.resolved(value)
        if isinstance(value, str):
            return value
        [(function, argument)] = value.items()
        if function == "Fn::Join":
            return argument[0].join(self.text(part) for part in argument[1])
        if function == "Fn::GetAtt":
            return f"${{{'.'.join(argument)}}}"
        if function == "Fn::Select":
            index, parts = argument
            delimiter, whole = parts["Fn::Split"]
            return self.text(whole).split(delimiter)[int(index)]
        assert function in ("Ref", "Fn::Sub"), value
        return argument if function == "Fn::Sub" else f"${{{argument}}}"

    def beside_scripts(self, name: str) -> dict[str, Any] | None:
        """A JSON file that is uploaded beside the lifecycle scripts, with `text` of what is known at deployment."""
        upload = self["cluster"].one("Custom::CDKBucketDeployment").properties
        for key, markers in zip(upload["SourceObjectKeys"], upload["SourceMarkers"], strict=True):
            file = self.directory / f"asset.{key.removesuffix('.zip')}" / name
            if file.exists():
                content = file.read_text("utf-8")
                for marker, value in markers.items():
                    content = content.replace(marker, self.text(value))
                return json.loads(content)
        return None


class Synthesiser:
    """Makes assemblies; a description that was synthesised before is not synthesised again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made: dict[str, Assembly] = {}

    def __call__(self, **fields: Any) -> Assembly:
        """Of the smallest description with other fields, which must break no rule."""
        return self.described(HyperPodSpec.model_validate(SMALLEST | fields))

    def example(self, name: str) -> Assembly:
        """Of an example file or a variant."""
        return self.described(self.description(name))

    @staticmethod
    def description(name: str) -> ClusterSpec:
        """What an example file or a variant describes."""
        if name in EXAMPLES:
            return spec.load(EXAMPLES[name]).spec
        return HyperPodSpec.model_validate(SMALLEST | VARIANTS[name])

    def described(self, description: ClusterSpec) -> Assembly:
        key = description.model_dump_json()
        if key not in self._made:
            assert not rules.errors(rules.check(description))
            self._made[key] = self.app(lambda app: ClusterStacks(app, description))
        return self._made[key]

    def app(self, build: Callable[[cdk.App], object], **context: Any) -> Assembly:
        """Of an app of its own. CDK's own rules judge in test_policy_packs.py only: here they would cost a second."""
        directory = Path(tempfile.mkdtemp(dir=self._directory))
        app = cdk.App(context=CONTEXT | context, outdir=str(directory), builtin_cloud_formation_validation=False)
        build(app)
        app.synth()
        for layer in directory.glob("asset.*.zip"):  # AWS's command line: 22 MB that no test reads
            layer.unlink()
        for parts in directory.glob("asset.*/parts"):  # what was fetched for nodes, as large
            shutil.rmtree(parts)
        return Assembly(directory)

    def in_stack(self, build: Callable[[cdk.Stack], object], **context: Any) -> Template:
        """Of a stack that any account and Region may deploy, as another app would write it."""
        [template] = self.app(lambda app: build(cdk.Stack(app, "stack")), **context)
        return template


@pytest.fixture(scope="session")
def synthesise() -> Iterator[Synthesiser]:
    with tempfile.TemporaryDirectory(prefix="synth-") as directory:
        yield Synthesiser(Path(directory))


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest) -> str:
    """Each example file, by name."""
    return request.param


@pytest.fixture(params=[*EXAMPLES, *VARIANTS])
def any_cluster(request: pytest.FixtureRequest) -> str:
    """Each example file, and what the examples leave out, by name."""
    return request.param


@pytest.fixture(params=[*(name for name in EXAMPLES if name.startswith("hyperpod-")), *VARIANTS])
def any_hyperpod(request: pytest.FixtureRequest) -> str:
    """As `any_cluster`, of HyperPod only."""
    return request.param


def observed(stack: cdk.Stack) -> MetricsWorkspace:
    """Adds everything that a cluster is seen with."""
    metrics = MetricsWorkspace(stack, "Metrics", alias="ml-cluster")
    slack = SlackConfig(workspace_id="T07EA123LEP", channel_id="C07EZ1ABC23")
    topic = AlertTopic(stack, "Alerts", name="ml-cluster", emails=["ml-platform@example.com"], slack=slack)
    AlertManager(stack, "AlertManager", workspace=metrics, topic=topic)
    grafana = GrafanaWorkspace(
        stack,
        "Grafana",
        name="ml-cluster",
        metrics=metrics,
        config=GrafanaConfig(admins=GrafanaAccess(users=(_ADMIN,))),
    )
    Dashboards(stack, "Dashboards", grafana=grafana, metrics=metrics)
    RuleGroups(stack, "Rules", workspace=metrics, cluster_name="ml-cluster", grafana_url=grafana.url)
    ClusterEvents(stack, "Events", cluster_name="ml-cluster", topic=topic)
    return metrics


@pytest.fixture(scope="session")
def everything() -> Callable[[cdk.Stack], HyperPodCluster]:
    """Adds all constructs to a stack, as an app of somebody else's does."""

    def add(stack: cdk.Stack) -> HyperPodCluster:
        zones = [{"availability_zone": "us-west-2b", "private_cidr": "10.2.0.0/16"}]
        network = TrainingNetwork(
            stack,
            "Network",
            availability_zone="us-west-2a",
            config=NetworkConfig.model_validate({"additional_zones": zones}),
        )
        lustre = LustreFileSystem(stack, "Lustre", network=network, config=LustreConfig(capacity_gib=2400))
        data = DataBucket(stack, "Data")
        DataRepositoryAssociation(stack, "Follow", lustre=lustre, bucket=data, config=AssociationConfig(path="/data"))
        return HyperPodCluster(
            stack,
            "Cluster",
            cluster_name="ml-cluster",
            network=network,
            config=HyperPodConfig(compute=(ComputeGroup(name="gpu", type="ml.p5.48xlarge", count=8),)),
            lustre=lustre,
            openzfs=OpenZfsFileSystem(stack, "Home", network=network, config=OpenZfsConfig()),
            accounting_database=AccountingDatabase(stack, "Accounting", network=network),
            s3_mounts=[S3Mount(bucket="someones-results", mount="/results", read_only=False)],
            users=[User(name="alice", uid=10001)],
            studio=StudioConfig(),
            metrics=observed(stack),
        )

    return add
