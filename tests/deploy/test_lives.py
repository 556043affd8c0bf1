"""Every example: deployed, updated, drift looked for, destroyed, deployed again, and gone in the end."""

import json
from collections import Counter

from cdk_slurm.dashboards import dashboards
from cdk_slurm.rehearsal import DATA_TYPES
from cdk_slurm.rehearsal.local_aws import CHECKOUT
from cdk_slurm.rules.hyperpod import partition_of
from cdk_slurm.rules.studio import studio_people
from cdk_slurm.spec import ClusterSpec, ComputeGroup
from tests.deploy.lives import Life, Scene


def test_a_cluster_has_the_groups_that_are_described(life: Life, described: ClusterSpec, successor: ClusterSpec):
    for description, scene in ((described, life.deployed), (successor, life.updated)):
        told = {
            one["InstanceGroupName"]: (one["InstanceType"], one["CurrentCount"], one["TargetCount"], _slurm(one))
            for one in scene.cluster["InstanceGroups"]
        }
        wanted = {
            group.name: (group.types[0], group.count, group.count, _described_slurm(description, node_type, group))
            for node_type, group in description.hyperpod.groups
        }
        assert told == wanted
        assert scene.cluster["ClusterName"] == description.name
        assert scene.cluster["ClusterStatus"] == "InService"


def test_the_update_is_one(life: Life, described: ClusterSpec, successor: ClusterSpec):
    """Otherwise the tests of updates would say nothing."""
    names = [{group.name for _, group in one.hyperpod.groups} for one in (described, successor)]
    assert names[1] - names[0] == {"more"}
    before, after = (dict(_counts(scene)) for scene in (life.deployed, life.updated))
    assert [name for name in before if before[name] != after[name]] == [described.hyperpod.compute[0].name]


def test_nodes_mount_what_is_described(life: Life, described: ClusterSpec):
    by_type = {one["FileSystemType"]: one for one in life.deployed.file_systems.values()}
    wanted = []
    if lustre := described.storage.lustre:
        told = by_type["LUSTRE"]
        wanted.append(
            {
                "FsxLustreConfig": {
                    "DnsName": told["DNSName"],
                    "MountName": told["LustreConfiguration"]["MountName"],
                    "MountPath": lustre.mount,
                }
            }
        )
    if openzfs := described.storage.openzfs:
        wanted.append({"FsxOpenZfsConfig": {"DnsName": by_type["OPENZFS"]["DNSName"], "MountPath": openzfs.mount}})
    for group in life.deployed.cluster["InstanceGroups"]:
        mounts = [one for one in group.get("InstanceStorageConfigs", []) if "EbsVolumeConfig" not in one]
        assert mounts == (wanted if _api(described) else [])


def test_file_systems_are_of_the_described_size(life: Life, described: ClusterSpec):
    wanted = Counter()
    if lustre := described.storage.lustre:
        wanted["LUSTRE", lustre.resolved_capacity_gib] += 1
    if openzfs := described.storage.openzfs:
        wanted["OPENZFS", openzfs.capacity_gib] += 1
    told = life.deployed.file_systems.values()
    assert Counter((one["FileSystemType"], one["StorageCapacity"]) for one in told) == wanted


def test_lustre_follows_the_bucket(life: Life, described: ClusterSpec):
    associations = described.data.associations if described.data else ()
    told = {one["FileSystemPath"]: one["DataRepositoryPath"] for one in life.deployed.associations}
    assert told.keys() == {one.path for one in associations}
    for one in associations:
        assert told[one.path].endswith(f"/{one.prefix.rstrip('/')}" if one.prefix else "")


def test_the_bundle_in_s3_is_the_scripts_byte_for_byte(life: Life, described: ClusterSpec):
    """Those of Studio's spaces are not for nodes."""
    scripts = CHECKOUT / "lifecycle_scripts"
    wanted = {
        path.relative_to(scripts).as_posix(): path.read_bytes()
        for path in scripts.rglob("*")
        if path.is_file() and not {"__pycache__", "studio"} & set(path.parts) and not path.name.startswith(".")
    }
    beside = {"cluster.json"} | (set() if _api(described) else {"provisioning_parameters.json"})
    assert life.deployed.objects.keys() == wanted.keys() | beside
    assert {name: life.deployed.objects[name] for name in wanted} == wanted
    changed = {name for name in wanted if life.updated.objects[name] != wanted[name]}
    assert changed == {"on_init_complete.sh"}


def test_the_bundle_knows_the_real_file_systems(life: Life, described: ClusterSpec):
    """What exists at deployment only is not in the template, but written by the upload."""
    by_type = {one["FileSystemType"]: one for one in life.deployed.file_systems.values()}
    lustre, openzfs = by_type["LUSTRE"], by_type["OPENZFS"]
    mounts = json.loads(life.deployed.objects["cluster.json"])["mounts"]
    assert mounts["lustre"]["dns_name"] == lustre["DNSName"]
    assert mounts["lustre"]["mount_name"] == lustre["LustreConfiguration"]["MountName"]
    assert mounts["openzfs"]["dns_name"] == openzfs["DNSName"]
    if not _api(described):
        parameters = json.loads(life.deployed.objects["provisioning_parameters.json"])
        assert parameters["fsx_dns_name"] == lustre["DNSName"]
        assert parameters["fsx_mountname"] == lustre["LustreConfiguration"]["MountName"]
        assert parameters["fsx_openzfs_dns_name"] == openzfs["DNSName"]
        groups = {one["instance_group_name"]: one["partition_name"] for one in parameters["worker_groups"]}
        assert groups == {
            group.name: partition_of(group, "provisioning_parameters") for group in described.hyperpod.compute
        }
        secret = parameters["slurm_configurations"]["slurm_database_secret_arn"]
        assert ("secret", secret) in life.deployed.things


def test_the_bundle_knows_the_real_secret_of_the_munge_key(life: Life, described: ClusterSpec):
    known = json.loads(life.deployed.objects["cluster.json"])
    assert ("studio" in known) == (described.studio is not None)
    if described.studio:
        secret = ("secret", known["studio"]["munge_secret_arn"])
        assert secret in life.deployed.things & life.updated.things
        assert secret not in life.kept, "the cluster that is made anew has another key"


def test_everybody_has_a_space_with_their_ids(life: Life, described: ClusterSpec):
    people = studio_people(described.studio.domain, described.users) if _has_domain(described) else []
    wanted = {(f"{user.name}-code-editor", user.uid, user.gid) for user, _ in people}
    for scene in (life.deployed, life.updated, life.again):
        assert {(one.name, one.uid, one.gid) for one in scene.spaces} == wanted
    kinds = Counter(kind for kind, _ in life.kept)
    assert (kinds["domain"], kinds["profile"], kinds["space"]) == (1 if wanted else 0, len(wanted), len(wanted))
    assert kinds["space's script"] == len(wanted), "no script of before the update"


def test_what_is_described_is_seen(life: Life, described: ClusterSpec):
    wanted = described.observability
    kinds = Counter(kind for kind, _ in life.deployed.things)
    assert (kinds["metrics workspace"], kinds["rules"]) == ((1, 1) if wanted else (0, 0))
    assert kinds["Grafana"] == (1 if wanted and wanted.grafana else 0)
    assert kinds["Slack channel"] == (1 if wanted and wanted.slack else 0)
    addresses = {id_ for kind, id_ in life.deployed.things if kind == "subscription"}
    assert addresses == set(wanted.alert_emails if wanted else ())


def test_dashboards_are_in_grafana_and_read_the_workspace_that_nodes_write_to(life: Life, described: ClusterSpec):
    for scene in (life.deployed, life.updated, life.again):
        if not (described.observability and described.observability.grafana):
            assert scene.dashboards == ()
            continue
        assert {one.uid: (one.title, one.folder) for one in scene.dashboards} == {
            one.uid: (one.title, "Slurm clusters") for one in dashboards()
        }
        assert {one.version for one in scene.dashboards} == {1}, "an update that is not about them saves none again"
        url = scene.data_sources["cdk-slurm-amp"]["url"]
        assert json.loads(scene.objects["cluster.json"])["metrics"]["remote_write_url"] == f"{url}/api/v1/remote_write"


def test_services_can_do_their_work_afterwards(life: Life):
    """Alert managers and events publish, and Grafana reads."""
    for scene in (life.deployed, life.updated, life.again):
        assert scene.refusals == []


def test_every_resource_is_read_back_from_its_service(life: Life):
    for scene in (life.deployed, life.updated, life.again):
        assert len(scene.resources) > 20
        assert scene.missing == []


def test_an_update_replaces_and_deletes_nothing_that_holds_data(life: Life):
    assert [one for one in life.changes if one.loses_data] == []
    changed = {one.type: one.action for one in life.changes}
    assert changed["AWS::SageMaker::Cluster"] == "updated in place"
    assert "deleted" not in changed.values()
    replaced = {type_ for type_, action in changed.items() if action == "replaced"}
    assert replaced <= {"AWS::SageMaker::StudioLifecycleConfig"}, "which cannot be changed, not even its tags"
    assert life.updated.file_systems.keys() == life.deployed.file_systems.keys()


def test_a_tag_reaches_what_stands_without_replacing_it(life: Life):
    before, after = life.deployed.tags, life.updated.tags
    assert before.keys() == after.keys()
    assert len(before) > 4
    assert not any("season" in tags for tags in before.values())
    assert {tags.get("season") for tags in after.values()} == {"winter"}


def test_nothing_drifted(life: Life):
    """That drift is found where there is some is tested in test_local_aws.py."""
    assert "Number of resources with drift: 0" in life.drift


def test_destroying_takes_the_cluster_and_leaves_the_data(life: Life, described: ClusterSpec):
    kept = {kind for kind, _ in life.kept}
    data = {("file system", id_) for id_ in life.deployed.file_systems}
    assert data <= life.kept
    assert "cluster" not in kept
    assert "association" not in kept
    stacks = {id_.removeprefix(f"{described.name}-") for kind, id_ in life.kept if kind == "stack"}
    outliving = {"observability": described.observability is not None, "studio": _has_domain(described)}
    assert stacks == {"network", "storage"} | {name for name, wanted in outliving.items() if wanted}


def test_deploying_again_finds_the_data(life: Life):
    assert life.again.file_systems.keys() == life.deployed.file_systems.keys()
    buckets = [
        {one["physical_id"] for one in scene.resources if one["type"] in DATA_TYPES and "storage" in one["stack"]}
        for scene in (life.deployed, life.again)
    ]
    assert buckets[0] == buckets[1]
    metrics = [
        {id_ for kind, id_ in scene.things if kind == "metrics workspace"} for scene in (life.deployed, life.again)
    ]
    assert metrics[0] == metrics[1]


def test_what_is_to_go_leaves_nothing(life: Life):
    assert life.left == set()


def _api(described: ClusterSpec) -> bool:
    return described.hyperpod.slurm_configuration == "api"


def _has_domain(described: ClusterSpec) -> bool:
    return described.studio is not None and described.studio.domain is not None


def _counts(scene: Scene) -> list[tuple[str, int]]:
    return [(one["InstanceGroupName"], one["CurrentCount"]) for one in scene.cluster["InstanceGroups"]]


def _slurm(group: dict) -> tuple[str, tuple[str, ...]] | None:
    slurm = group.get("SlurmConfig")
    return (slurm["NodeType"].lower(), tuple(slurm.get("PartitionNames", ()))) if slurm else None


def _described_slurm(described: ClusterSpec, node_type: str, group) -> tuple[str, tuple[str, ...]] | None:
    form = described.hyperpod.slurm_configuration
    if form != "api":
        return None
    return node_type, (partition_of(group, form),) if isinstance(group, ComputeGroup) else ()
