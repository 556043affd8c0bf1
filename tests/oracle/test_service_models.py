"""What may be written, and what is synthesised of it, is what the services' own API models accept."""

import copy
import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
import regex
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from cdk_slurm import spec
from cdk_slurm.rules import errors
from cdk_slurm.rules import service_model as models
from cdk_slurm.rules.engine import check
from cdk_slurm.rules.studio import studio_people
from tests.oracle import observability_requests


def literals_of(annotation: Any) -> tuple[Any, ...]:
    """The values of every Literal in an annotation, of lists, optional and annotated ones too."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) in (Annotated, Union, types.UnionType, tuple):
        return tuple(value for part in get_args(annotation) for value in literals_of(part))
    return ()


def models_below(model: type[spec.Model]) -> Iterator[type[spec.Model]]:
    yield model
    for each in model.model_fields.values():
        stack = [each.annotation]
        while stack:
            part = stack.pop()
            stack += get_args(part) if get_origin(part) is not Literal else ()
            if isinstance(part, type) and issubclass(part, spec.Model):
                yield from models_below(part)


LITERALS = {
    f"{model.__name__}.{name}": values
    for kind in (spec.HyperPodSpec, spec.ParallelClusterSpec)
    for model in dict.fromkeys(models_below(kind))
    for name, each in model.model_fields.items()
    if (values := literals_of(each.annotation))
}


def same(value: str) -> str:
    return value


# Field, service, shape of its enum, and how the constructs write a value of ours.
ENUMS = [
    ("LustreConfig.deployment_type", "fsx", "LustreDeploymentType", same),
    ("LustreConfig.storage_class", "fsx", "StorageType", same),
    ("LustreConfig.compression", "fsx", "DataCompressionType", same),
    ("OpenZfsConfig.deployment_type", "fsx", "OpenZFSDeploymentType", same),
    ("OpenZfsConfig.compression", "fsx", "OpenZFSDataCompressionType", same),
    ("AssociationConfig.import_events", "fsx", "EventType", same),
    ("AssociationConfig.export_events", "fsx", "EventType", same),
    ("ComputeGroup.deep_health_checks", "sagemaker", "DeepHealthCheckType", same),
    ("HyperPodConfig.slurm_config_strategy", "sagemaker", "ClusterSlurmConfigStrategy", same),
    ("StudioDomainConfig.auth", "sagemaker", "AuthMode", str.upper),
    ("HyperPodConfig.node_recovery", "sagemaker", "ClusterNodeRecovery", str.capitalize),
]
# The service documents the values of these in words only.
DOCUMENTED = [
    ("LustreConfig.version", "CreateFileSystemRequest", "FileSystemTypeVersion"),
    ("OpenZfsConfig.record_size_kib", "OpenZFSCreateRootVolumeConfiguration", "RecordSizeKiB"),
]
# Ours, which no service knows.
OWN = {"HyperPodSpec.kind", "HyperPodConfig.slurm_configuration", "ExportersConfig.optional"}
# ParallelCluster's own, which no service of botocore's knows: test_parallelcluster.py asks it.
OWN |= {"ParallelClusterSpec.kind", "ParallelClusterConfig.os", "ParallelClusterConfig.queue_update_strategy"}
OWN |= {"HeadNode.subnet", "Queue.capacity"}
OWN |= {"StudioDomainConfig.lustre", "StudioDomainConfig.apps"}
OWN |= {name for name in LITERALS if name.endswith(".removal_policy")}


def test_every_choice_is_judged_or_is_our_own():
    assert set(LITERALS) == OWN | {row[0] for row in (*ENUMS, *DOCUMENTED)}


@pytest.mark.parametrize(("name", "service", "shape", "written"), ENUMS, ids=[row[0] for row in ENUMS])
def test_a_choice_is_the_enum_of_the_service(name, service, shape, written):
    assert sorted(written(value) for value in LITERALS[name]) == sorted(models.shape(service, shape)["enum"])


@pytest.mark.parametrize(("name", "structure", "member"), DOCUMENTED, ids=[row[0] for row in DOCUMENTED])
def test_a_choice_is_what_the_service_documents(name, structure, member):
    text = re.sub("<[^>]+>", "", models.shape("fsx", structure)["members"][member]["documentation"])
    values = re.search(r"Valid values are ([\d., ]+?,? (?:and|or) [\d.]+\b)", text)[1]
    assert sorted(map(str, LITERALS[name])) == sorted(re.findall(r"\d+(?:\.\d+)?", values))


def test_node_types_are_those_of_slurm_config():
    ours = get_args(spec.hyperpod.NodeType)
    assert sorted(one.capitalize() for one in ours) == sorted(models.shape("sagemaker", "ClusterSlurmNodeType")["enum"])


def test_continuous_is_the_only_provisioning_mode():
    """The constructs write it as a constant."""
    assert models.shape("sagemaker", "ClusterNodeProvisioningMode")["enum"] == ["Continuous"]


# Bounds that a field states itself: with the service's, they may be narrower where a rule of ours says so.
BOUNDS = [
    (spec.LustreConfig, "backup_retention_days", "AutomaticBackupRetentionDays"),
    (spec.OpenZfsConfig, "backup_retention_days", "AutomaticBackupRetentionDays"),
    (spec.AssociationConfig, "imported_file_chunk_size_mib", "Megabytes"),
]


@pytest.mark.parametrize(("model", "name", "shape"), BOUNDS)
def test_bounds_are_those_of_the_service(model, name, shape):
    stated = {key: value for part in model.model_fields[name].metadata for key, value in vars_of(part).items()}
    service = models.shape("fsx", shape)
    assert (stated["ge"], stated["le"]) == (service["min"], service["max"])


def vars_of(part: Any) -> dict[str, Any]:
    return {key: getattr(part, key) for key in ("ge", "le") if hasattr(part, key)}


# --- What is synthesised ---


@pytest.fixture(scope="session")
def judge():
    """All that botocore refuses of a request, and that lists' lengths, enums and patterns, which it passes over, do."""
    services: dict[str, ServiceModel] = {}

    def problems(service: str, shape: str, request: dict[str, Any]) -> list[str]:
        if service not in services:
            services[service] = ServiceModel(Loader().load_service_model(service, "service-2"), service)
        report = ParamValidator().validate(request, services[service].shape_for(shape))
        found = report.generate_report().splitlines() if report.has_errors() else []
        return [*found, *(f"{path}: {text}" for path, text in leaf_problems(service, shape, request, shape))]

    return problems


def leaf_problems(service: str, name: str, value: Any, path: str) -> Iterator[tuple[str, str]]:
    shape = models.shape(service, name)
    if shape["type"] == "structure":
        for key, item in value.items():
            if key in shape["members"]:  # the validator tells the others
                yield from leaf_problems(service, shape["members"][key]["shape"], item, f"{path}.{key}")
    elif shape["type"] == "list":
        if len(value) > shape.get("max", len(value)):
            yield path, f"found {len(value)} items; allowed: at most {shape['max']}"
        for index, item in enumerate(value):
            yield from leaf_problems(service, shape["member"]["shape"], item, f"{path}[{index}]")
    elif r"\p{" in shape.get("pattern", ""):  # Java's; Python's own expressions know no categories
        if not regex.fullmatch(shape["pattern"], value):
            yield path, f"found {value!r}; allowed: text of the form {shape['pattern']}"
    elif shape["type"] in ("string", "integer", "long") and (text := models.problem(service, name, value)):
        yield path, text


#: Without the `:*` that stands for its streams.
LOG_GROUP = "arn:aws:logs:us-west-2:111122223333:log-group:/aws/vendedlogs/prometheus/c"


def as_it_is(properties: dict[str, Any]) -> dict[str, Any]:
    """CloudFormation's names are the API's."""
    return properties


def create_file_system(properties: dict[str, Any]) -> dict[str, Any]:
    """CloudFormation's names are the API's, but for options that it keeps for deleting."""
    request = copy.deepcopy(properties)
    options = request.get("OpenZFSConfiguration", {}).pop("Options", [])
    assert set(options) <= set(models.shape("fsx", "DeleteFileSystemOpenZFSOption")["enum"])
    return request


REQUESTS = [
    ("AWS::SageMaker::Cluster", "sagemaker", "CreateClusterRequest", as_it_is),
    ("AWS::FSx::FileSystem", "fsx", "CreateFileSystemRequest", create_file_system),
    ("AWS::FSx::DataRepositoryAssociation", "fsx", "CreateDataRepositoryAssociationRequest", as_it_is),
    ("AWS::SageMaker::Domain", "sagemaker", "CreateDomainRequest", as_it_is),
    ("AWS::SageMaker::UserProfile", "sagemaker", "CreateUserProfileRequest", as_it_is),
    ("AWS::SageMaker::Space", "sagemaker", "CreateSpaceRequest", as_it_is),
    ("AWS::SageMaker::StudioLifecycleConfig", "sagemaker", "CreateStudioLifecycleConfigRequest", as_it_is),
    *observability_requests.REQUESTS,
]


def test_the_descriptions_break_no_rule(example):
    assert errors(check(example.described)) == ()


@pytest.mark.parametrize(("type_", "service", "shape", "request_of"), REQUESTS, ids=[row[2] for row in REQUESTS])
def test_the_service_would_accept_what_is_synthesised(example, judge, type_, service, shape, request_of):
    wrong = {
        name: problems
        for name, _, properties in example.resources(type_)
        if (request := request_of(properties)) is not None and (problems := judge(service, shape, request))
    }
    assert wrong == {}


@pytest.fixture
def number(example):
    """How many resources of a type there are."""
    return lambda type_: len(list(example.resources(type_)))


def test_a_description_becomes_one_cluster_and_its_file_systems(example, number):
    storage = example.described.storage
    new = sum(isinstance(one, spec.LustreConfig | spec.OpenZfsConfig) for one in (storage.lustre, storage.openzfs))
    data = example.described.data
    assert number("AWS::SageMaker::Cluster") == 1
    observed = example.described.observability
    new_workspace = observed is not None and isinstance(observed.workspace, spec.MetricsWorkspaceConfig)
    assert number("AWS::APS::Workspace") == new_workspace
    assert number("AWS::Grafana::Workspace") == (observed is not None and observed.grafana is not None)
    assert number("AWS::Chatbot::SlackChannelConfiguration") == (observed is not None and observed.slack is not None)
    assert number("AWS::FSx::FileSystem") == new
    assert number("AWS::FSx::DataRepositoryAssociation") == (len(data.associations) if data else 0)


def test_a_description_becomes_a_studio_with_a_space_for_each_app_of_everybody(example, number):
    studio = example.described.studio
    domain = studio.domain if studio else None
    people = len(studio_people(domain, example.described.users)) if domain else 0
    spaces = people * len(domain.apps) if domain else 0
    kinds = ("Domain", "UserProfile", "Space", "StudioLifecycleConfig")
    found = [number(f"AWS::SageMaker::{kind}") for kind in kinds]
    assert found == [domain is not None, people, spaces, spaces]


@pytest.mark.parametrize(
    ("service", "shape", "request_", "text"),
    [
        ("amp", "CreateLoggingConfigurationRequest", {"logGroupArn": f"{LOG_GROUP}"}, "text of the form"),
        ("amp", "UpdateWorkspaceConfigurationRequest", {"retentionPeriodInDays": 0}, "allowed: 1 to"),
        ("amp", "CreateRuleGroupsNamespaceRequest", {"name": "", "data": b""}, "allowed: 1 to 128"),
        ("grafana", "UpdateWorkspaceAuthenticationRequest", {"authenticationProviders": ["SSO"]}, "AWS_SSO, SAML"),
    ],
)
def test_a_broken_request_about_metrics_is_refused(judge, service, shape, request_, text):
    assert any(text in problem for problem in judge(service, shape, {"workspaceId": "g-0123456789"} | request_))


@pytest.mark.parametrize(
    ("kind", "request_", "text"),
    [
        ("Domain", {"AuthMode": "OIDC"}, "allowed: SSO, IAM"),
        ("Domain", {"DomainName": "under_score"}, "text of the form"),
        ("Domain", {"AppNetworkAccessType": "VPCOnly"}, "allowed: PublicInternetOnly, VpcOnly"),
        ("Domain", {"DefaultUserSettings": {"SecurityGroups": ["sg-0"] * 6}}, "allowed: at most 5"),
        ("UserProfile", {"UserSettings": {"CustomPosixUserConfig": {"Uid": 1000}}}, "allowed: 10000 to 4000000"),
        ("UserProfile", {"UserSettings": {"CustomPosixUserConfig": {"Uid": 10001}}}, 'CustomPosixUserConfig: "Gid"'),
        ("UserProfile", {"UserSettings": {"JupyterLabAppSettings": {"LifecycleConfigArns": ["x"]}}}, "of the form"),
        ("Space", {"SpaceSettings": {"AppType": "VSCode"}}, "allowed: JupyterServer, "),
        (
            "Space",
            {"SpaceSettings": {"CustomFileSystems": [{"FSxLustreFileSystem": {"FileSystemId": "fsx-01234567"}}]}},
            "text of the form (fs-",
        ),
        ("Space", {"SpaceSharingSettings": {"SharingType": "private"}}, "allowed: Private, Shared"),
        ("StudioLifecycleConfig", {"StudioLifecycleConfigContent": "x" * 16385}, "allowed: 1 to 16384 characters"),
        ("StudioLifecycleConfig", {"StudioLifecycleConfigName": "a" * 64}, "allowed: 0 to 63 characters"),
        ("StudioLifecycleConfig", {"StudioLifecycleConfigAppType": "Code"}, "allowed: JupyterServer, "),
    ],
)
def test_a_broken_request_about_studio_is_refused(judge, kind, request_, text):
    assert any(text in problem for problem in judge("sagemaker", f"Create{kind}Request", request_))


# A request that passes, and what one change each makes of it: the judges do refuse.
GOOD_CLUSTER = {
    "ClusterName": "ml-cluster",
    "InstanceGroups": [
        {
            "InstanceGroupName": "worker",
            "InstanceCount": 2,
            "InstanceType": "ml.c5.large",
            "ExecutionRole": "arn:aws:iam::111122223333:role/a-role",
            "LifeCycleConfig": {"SourceS3Uri": "s3://sagemaker-a/b", "OnInitComplete": "on_init_complete.sh"},
            "SlurmConfig": {"NodeType": "Compute", "PartitionNames": ["worker"]},
        }
    ],
    "Tags": [{"Key": "team", "Value": "speech"}],
}
GROUP = ("InstanceGroups", 0)
BROKEN = [
    (("ClusterName",), None, "Missing required parameter"),
    (("ClusterName",), "x" * 64, "allowed: 1 to 63 characters"),
    (("ClusterName",), "under_score", "text of the form"),
    (("ClusterNmae",), "x", "Unknown parameter"),
    (("NodeRecovery",), "automatic", "allowed: Automatic, None"),
    (("Orchestrator",), {"Slurm": {"SlurmConfigStrategy": "managed"}}, "allowed: Overwrite, Managed, Merge"),
    (("Tags", 0, "Key"), "a*", "text of the form"),
    ((*GROUP, "InstanceCount"), "2", "Invalid type"),
    ((*GROUP, "InstanceCount"), 6759, "allowed: 0 to 6758"),
    ((*GROUP, "InstanceType"), "ml.c5.tiny", "allowed: ml.p4d.24xlarge"),
    ((*GROUP, "ExecutionRole"), "arn:aws:iam::1:role/x", "text of the form"),
    ((*GROUP, "LifeCycleConfig", "SourceS3Uri"), "ftp://bucket/key", "text of the form"),
    ((*GROUP, "SlurmConfig", "NodeType"), "Worker", "allowed: Controller, Login, Compute"),
    ((*GROUP, "SlurmConfig", "PartitionNames"), ["ml.c5.large"], "text of the form"),
    ((*GROUP, "SlurmConfig", "PartitionNames"), ["a", "b"], "allowed: at most 1"),
]


def test_a_good_request_passes(judge):
    assert judge("sagemaker", "CreateClusterRequest", GOOD_CLUSTER) == []


@pytest.mark.parametrize(("path", "value", "text"), BROKEN, ids=[f"{row[0][-1]}-{row[1]!s:.12}" for row in BROKEN])
def test_a_broken_request_is_refused(judge, path, value, text):
    request = copy.deepcopy(GOOD_CLUSTER)
    part: Any = request
    for key in path[:-1]:
        part = part[key]
    if value is None:
        del part[path[-1]]
    else:
        part[path[-1]] = value
    found = judge("sagemaker", "CreateClusterRequest", request)
    assert any(text in problem for problem in found), found
