"""Rules of HyperPod clusters and their instance groups: a table of what each finds, and what it lets pass."""

import pytest

from cdk_slurm.rules import RULES, check
from cdk_slurm.rules.hyperpod import api_partition_name, partition_of
from cdk_slurm.spec import (
    AccountingDatabaseConfig,
    ComputeGroup,
    ControllerGroup,
    ExistingAccountingDatabase,
    HyperPodConfig,
    HyperPodSpec,
    LoginGroup,
)

SECRET = "arn:aws:secretsmanager:us-west-2:123456789012:secret:slurm-AbCdEf"
PLAN = "arn:aws:sagemaker:us-west-2:123456789012:training-plan/p5-in-may"
TOPIC = "arn:aws:sns:us-west-2:123456789012:failover"
EXISTING_DATABASE = {"existing": "db.example.com", "secret": SECRET}
EXISTING_NETWORK = {"existing": "vpc-01234567", "private_subnet": "subnet-01234567", "security_group": "sg-01234567"}
TWO_ZONES = {"additional_zones": [{"availability_zone": "usw2-az1", "private_cidr": "10.2.0.0/16"}]}
CONTINUOUS = "only with continuous provisioning (slurm_configuration: api, no slurm_config_strategy)"


def group(**fields):
    return ComputeGroup.model_validate({"name": "gpu", "type": "ml.p5.48xlarge", "count": 2} | fields)


def config(*compute, **fields):
    return HyperPodConfig.model_validate({"compute": compute or (group(),)} | fields)


def legacy(*compute, **fields):
    return config(*compute, slurm_configuration="provisioning_parameters", **fields)


def cluster(*compute, hyperpod=None, **fields):
    return HyperPodSpec.model_validate(
        {
            "kind": "hyperpod",
            "name": "ml-cluster",
            "region": "us-west-2",
            "availability_zone": "usw2-az4",
            "hyperpod": hyperpod or config(*compute),
        }
        | fields
    )


def elsewhere(**fields):
    return group(name="far", availability_zone="usw2-az1", **fields)


TWO = {"count": 2}
FAR_CPU = elsewhere(type="ml.c5.4xlarge")

#: Rule, what it refuses, the field that it names, and what it says of it.
REFUSED = [
    ("INSTANCE_GROUP_NAME", group(name="gpu_1"), "name", "found 'gpu_1'; allowed: text of the form [a-zA-Z0-9]"),
    ("INSTANCE_GROUP_NAME", ControllerGroup(name="c" * 64), "name", "(64 characters); allowed: 1 to 63 characters"),
    ("INSTANCE_GROUP_NAME", group(name="gpu\n"), "name", r"found 'gpu\n'; allowed: text of the form"),
    ("INSTANCE_TYPE", group(type="ml.p5.48xlrge"), "type", "'ml.p5.48xlrge' (did you mean ml.p5.48xlarge?); allowed:"),
    (
        "INSTANCE_TYPE",
        LoginGroup(type="m5.xlarge"),
        "type",
        "found 'm5.xlarge' without its prefix; did you mean ml.m5.xlarge? allowed: a type of HyperPod",
    ),
    (
        "INSTANCE_TYPE",
        group(type=["ml.g5.xlarge", "ml.zz9.huge"]),
        "type[1]",
        "found 'ml.zz9.huge'; allowed: a type of",
    ),
    ("INSTANCE_COUNT", group(count=-1), "count", "found -1; allowed: 0 to 6758"),
    ("INSTANCE_COUNT", LoginGroup(count=6759), "count", "found 6759; allowed: 0 to 6758"),
    ("THREADS_PER_CORE", group(threads_per_core=3), "threads_per_core", "found 3; allowed: 1 to 2"),
    ("EBS_VOLUME_SIZE", group(ebs_volume_gib=0), "ebs_volume_gib", "found 0; allowed: 1 to 16384"),
    ("MIN_COUNT", group(min_count=3), "min_count", "found 3; allowed: 0 to 2, the group's count"),
    ("MIN_COUNT", group(min_count=-1), "min_count", "found -1; allowed: 0 to 2"),
    (
        "TRAINING_PLAN_ARN",
        group(training_plan="p5-in-may"),
        "training_plan",
        "found 'p5-in-may' (9 characters); allowed",
    ),
    (
        "TRAINING_PLAN_ARN",
        group(training_plan=PLAN.replace("training-plan", "plan")),
        "training_plan",
        "allowed: text of the form arn:aws",
    ),
    (
        "TRAINING_PLAN_AND_SPOT",
        group(training_plan=PLAN, spot=True),
        "spot",
        "found true beside a training_plan; allowed: one of the two in a group",
    ),
    ("SPOT_ON_SLURM", group(spot=True), "spot", "found true; allowed: false, as AWS documents spot"),
    (
        "INSTANCE_TYPES_ON_SLURM",
        group(type=["ml.g5.xlarge", "ml.g6.xlarge"]),
        "type",
        "found 2 types; allowed: one, as",
    ),
    (
        "DEEP_HEALTH_CHECK_TYPE",
        group(type="ml.c5.4xlarge", deep_health_checks=["InstanceStress"]),
        "deep_health_checks",
        "found checks on ml.c5.4xlarge; allowed: GPU families g5, p4, p5 and later",
    ),
    (
        "DEEP_HEALTH_CHECK_TYPE",
        group(type="ml.trn1.32xlarge", deep_health_checks=["InstanceStress"]),
        "deep_health_checks",
        "found checks on ml.trn1.32xlarge; allowed: GPU families",
    ),
    (
        "DEEP_HEALTH_CHECK_CONNECTIVITY",
        group(count=1, deep_health_checks=["InstanceConnectivity"]),
        "deep_health_checks",
        "found InstanceConnectivity on 1 instance; allowed: on 2 or more",
    ),
    (
        "DEEP_HEALTH_CHECK_CONNECTIVITY",
        group(type="ml.g5.xlarge", deep_health_checks=["InstanceConnectivity"]),
        "deep_health_checks",
        "found InstanceConnectivity on ml.g5.xlarge; allowed: on types with EFA",
    ),
    (
        "DEEP_HEALTH_CHECK_ON_SLURM",
        group(deep_health_checks=["MultiNodeTrainingValidation"]),
        "deep_health_checks",
        "found MultiNodeTrainingValidation; allowed: InstanceStress and InstanceConnectivity",
    ),
    (
        "DEEP_HEALTH_CHECKS_UNIQUE",
        group(deep_health_checks=["InstanceStress", "InstanceStress"]),
        "deep_health_checks[1]",
        "found InstanceStress again; allowed: each check once",
    ),
    (
        "INSTANCE_GROUP_NAMES_UNIQUE",
        config(group(), group()),
        "compute[1].name",
        "found 'gpu', the name of compute[0] too; allowed: names that differ",
    ),
    (
        "INSTANCE_GROUP_NAMES_UNIQUE",
        config(login={"name": "controller"}),
        "login.name",
        "found 'controller', the name of controller too",
    ),
    (
        "INSTANCE_GROUP_LIMIT",
        config(*(group(name=f"g{number}") for number in range(99)), login={}),
        "compute",
        "found 101 instance groups with controller and login; allowed: 100 or fewer",
    ),
    (
        "MIN_COUNT_CONTINUOUS",
        config(group(min_count=1), slurm_config_strategy="Merge"),
        "compute[0].min_count",
        f"found 1; allowed: {CONTINUOUS}",
    ),
    ("MIN_COUNT_CONTINUOUS", legacy(group(min_count=0)), "compute[0].min_count", "found 0; allowed: only with"),
    (
        "SLURM_CONFIG_STRATEGY",
        legacy(slurm_config_strategy="Merge"),
        "slurm_config_strategy",
        "found Merge with slurm_configuration: provisioning_parameters; allowed: only with slurm_configuration: api",
    ),
    (
        "CONTROLLER_COUNT",
        config(controller=TWO),
        "controller.count",
        "found 2; allowed: 1 (2 need slurm_configuration: provisioning_parameters)",
    ),
    ("CONTROLLER_COUNT", config(controller={"count": 0}), "controller.count", "found 0; allowed: 1"),
    ("CONTROLLER_COUNT", legacy(controller={"count": 3}), "controller.count", "found 3; allowed: 1 or 2"),
    (
        "TWO_CONTROLLERS_DATABASE",
        legacy(controller=TWO),
        "controller.count",
        "found 2 without an accounting_database; allowed: 2 with one, 1 without",
    ),
    (
        "TWO_CONTROLLERS_STORAGE",
        cluster(hyperpod=legacy(controller=TWO)),
        "hyperpod.controller.count",
        "found 2 without shared storage; allowed: 2 with storage.openzfs or storage.lustre, 1 without",
    ),
    (
        "FAILOVER_TOPIC",
        legacy(failover_topic=TOPIC),
        "failover_topic",
        "found a topic with one controller; allowed: only with two controllers",
    ),
    (
        "FAILOVER_TOPIC_ARN",
        legacy(failover_topic="ops@example.com"),
        "failover_topic",
        "found 'ops@example.com'; allowed: the ARN of a standard SNS topic, arn:aws:sns:<region>:<account>:<name>",
    ),
    (
        "ACCOUNTING_DATABASE_CONTINUOUS",
        config(accounting_database=EXISTING_DATABASE, slurm_config_strategy="Managed"),
        "accounting_database",
        f"found one with slurm_config_strategy: Managed; allowed: {CONTINUOUS}",
    ),
    (
        "ACCOUNTING_DATABASE_ONE_CONTROLLER",
        legacy(accounting_database={}),
        "accounting_database",
        "found one with 1 controller; allowed: with 2, or with slurm_configuration: api",
    ),
    (
        "EXISTING_ACCOUNTING_DATABASE",
        ExistingAccountingDatabase(existing="db:3306", secret=SECRET),
        "existing",
        "found text that is no host's name (not shown, it may hold a password); allowed: a DNS name without scheme",
    ),
    (
        "EXISTING_ACCOUNTING_DATABASE",
        ExistingAccountingDatabase(existing="db", secret=SECRET, port=0),
        "port",
        "found 0; allowed: 1 to 65535",
    ),
    (
        "EXISTING_ACCOUNTING_DATABASE",
        ExistingAccountingDatabase(existing="db", secret=SECRET, name="slurm-acct"),
        "name",
        "found 'slurm-acct'; allowed: text of the form [a-zA-Z0-9$_]+",
    ),
    (
        "EXISTING_ACCOUNTING_DATABASE",
        ExistingAccountingDatabase(existing="db", secret="hunter2"),  # noqa: S106
        "secret",
        "found text that is no secret's ARN (not shown, it may be a password); allowed: arn:aws:secretsmanager:",
    ),
    (
        "ACCOUNTING_DATABASE_NAME",
        AccountingDatabaseConfig(name="2slurm"),
        "name",
        "found '2slurm'; allowed: 1 to 64 letters, digits and underscores, beginning with a letter",
    ),
    (
        "ACCOUNTING_DATABASE_INSTANCE_TYPE",
        AccountingDatabaseConfig(instance_type="db.m6g.large"),
        "instance_type",
        "found 'db.m6g.large'; allowed: text of the form m6g.large, without db.",
    ),
    (
        "ACCOUNTING_DATABASE_ZONES",
        cluster(hyperpod=config(accounting_database={})),
        "hyperpod.accounting_database",
        "found a new database in a network of one zone; allowed: with a second zone in network.additional_zones",
    ),
    (
        "ACCOUNTING_DATABASE_ZONES",
        cluster(hyperpod=config(accounting_database={}), network=EXISTING_NETWORK),
        "hyperpod.accounting_database",
        "allowed: with a second zone in network.additional_private_subnets",
    ),
    (
        "PARTITION_NAME",
        config(group(partition="gpu_a")),
        "compute[0].partition",
        "found 'gpu_a'; allowed: text of the form",
    ),
    (
        "PARTITION_NAME",
        config(group(partition="gpu.")),
        "compute[0].partition",
        "found 'gpu-'; allowed: text of the form",
    ),
    (
        "PARTITION_NAME",
        legacy(group(partition="gpu a")),
        "compute[0].partition",
        "found 'gpu a'; allowed: letters, digits, '_', '.' and '-'",
    ),
    (
        "PARTITION_NAME_DOTTED",
        config(group(partition="ml.p5.48xlarge")),
        "compute[0].partition",
        "found 'ml.p5.48xlarge', which becomes ml-p5-48xlarge; allowed: names without dots, so write ml-p5-48xlarge",
    ),
    (
        "PARTITION_NAME_RESERVED",
        config(group(partition="dev")),
        "compute[0].partition",
        "found 'dev'; allowed: partitions other than dev, default and hyperpod-system-maintenance",
    ),
    ("PARTITION_NAME_RESERVED", legacy(group(name="Default")), "compute[0].name", "found 'Default'; allowed:"),
    (
        "PARTITION_SHARED",
        config(group(name="a", partition="gpu.a"), group(name="b", partition="gpu-a")),
        "compute[1].partition",
        "found 'gpu-a', the partition of compute[0] too; allowed: one for each group",
    ),
    (
        "PARTITION_SHARED",
        legacy(group(name="a", partition="b"), group(name="b")),
        "compute[1].name",
        "found 'b', the partition of compute[0] too",
    ),
    (
        "INSTANCE_TYPE_OFFERED",
        cluster(region="ap-southeast-4", availability_zone="apse4-az1"),
        "hyperpod.compute[0].type",
        "found ml.p5.48xlarge, which nobody saw in ap-southeast-4; allowed: types offered in the Region",
    ),
    (
        "HYPERPOD_REGION",
        cluster(region="ca-west-1", availability_zone="caw1-az1"),
        "region",
        "found ca-west-1, where nobody saw HyperPod; allowed: Regions that have it, such as us-west-2",
    ),
    (
        "GROUP_ZONE",
        cluster(
            FAR_CPU, network={"additional_zones": [{"availability_zone": "usw2-az2", "private_cidr": "10.2.0.0/16"}]}
        ),
        "hyperpod.compute[0].availability_zone",
        "found usw2-az1; allowed: usw2-az4, usw2-az2",
    ),
    (
        "GROUP_ZONE",
        cluster(FAR_CPU, network=EXISTING_NETWORK),
        "hyperpod.compute[0].availability_zone",
        "found usw2-az1; allowed: usw2-az4, or another zone together with the group's subnet",
    ),
    (
        "GROUP_SUBNET",
        cluster(group(subnet="subnet-01234567")),
        "hyperpod.compute[0].subnet",
        "found subnet-01234567 with a new network; allowed: only with network.existing",
    ),
    (
        "EFA_ACROSS_ZONES",
        cluster(group(), elsewhere(), network=TWO_ZONES),
        "hyperpod.compute[1].availability_zone",
        "found EFA instances in usw2-az1 and in usw2-az4; allowed: one zone for all of them",
    ),
    (
        "LUSTRE_EFA_OTHER_ZONE",
        cluster(elsewhere(), storage={"lustre": {"efa": True}}, network=TWO_ZONES),
        "hyperpod.compute[0].availability_zone",
        "found usw2-az1, with EFA instances and Lustre on EFA; allowed: usw2-az4, the zone of Lustre",
    ),
    (
        "LUSTRE_OTHER_ZONE",
        cluster(elsewhere(), storage={"lustre": {}}, network=TWO_ZONES),
        "hyperpod.compute[0].availability_zone",
        "found usw2-az1; allowed: usw2-az4, the zone of Lustre",
    ),
    (
        "LUSTRE_OTHER_ZONE",
        cluster(FAR_CPU, storage={"lustre": {"efa": True}}, network=TWO_ZONES),
        "hyperpod.compute[0].availability_zone",
        "found usw2-az1; allowed: usw2-az4",
    ),
    (
        "LUSTRE_EFA_UNSUPPORTED_TYPE",
        cluster(group(type="ml.trn2.48xlarge"), storage={"lustre": {"efa": True}}),
        "hyperpod.compute[0].type",
        "found ml.trn2.48xlarge, which reaches Lustre over TCP only; allowed: types on Nitro 4 or later, not trn2",
    ),
]

BOTH_CONTROLLERS = legacy(controller=TWO, accounting_database=EXISTING_DATABASE, failover_topic=TOPIC)

#: Rule, and something near to what it refuses that it lets pass.
PASSED = [
    ("INSTANCE_GROUP_NAME", group(name="gpu--1")),
    ("INSTANCE_TYPE", group(type="ml.p5.48xlarge")),
    ("INSTANCE_TYPE", group(type=["ml.g5.xlarge", "ml.g6.xlarge"])),
    ("INSTANCE_COUNT", group(count=0)),
    ("INSTANCE_COUNT", group(count=6758)),
    ("THREADS_PER_CORE", group(threads_per_core=1)),
    ("THREADS_PER_CORE", group()),
    ("EBS_VOLUME_SIZE", group(ebs_volume_gib=16384)),
    ("EBS_VOLUME_SIZE", group(ebs_volume_gib=None)),
    ("MIN_COUNT", group(min_count=2)),
    ("TRAINING_PLAN_ARN", group(training_plan=PLAN)),
    ("TRAINING_PLAN_AND_SPOT", group(training_plan=PLAN)),
    ("TRAINING_PLAN_AND_SPOT", group(spot=True)),
    ("SPOT_ON_SLURM", group()),
    ("INSTANCE_TYPES_ON_SLURM", group(type=["ml.g5.xlarge"])),
    ("DEEP_HEALTH_CHECK_TYPE", group(type="ml.p6-b200.48xlarge", deep_health_checks=["InstanceStress"])),
    ("DEEP_HEALTH_CHECK_TYPE", group(type="ml.c5.4xlarge")),
    ("DEEP_HEALTH_CHECK_CONNECTIVITY", group(deep_health_checks=["InstanceConnectivity"])),
    ("DEEP_HEALTH_CHECK_CONNECTIVITY", group(count=0, deep_health_checks=["InstanceConnectivity"])),
    ("DEEP_HEALTH_CHECK_CONNECTIVITY", group(count=1, deep_health_checks=["InstanceStress"])),
    ("DEEP_HEALTH_CHECK_ON_SLURM", group(deep_health_checks=["InstanceStress"])),
    ("DEEP_HEALTH_CHECKS_UNIQUE", group(deep_health_checks=["InstanceStress", "InstanceConnectivity"])),
    ("INSTANCE_GROUP_NAMES_UNIQUE", config(group(), group(name="cpu"), login={})),
    ("INSTANCE_GROUP_LIMIT", config(*(group(name=f"g{number}") for number in range(99)))),
    ("MIN_COUNT_CONTINUOUS", config(group(min_count=1))),
    ("SLURM_CONFIG_STRATEGY", config(slurm_config_strategy="Merge")),
    ("CONTROLLER_COUNT", config()),
    ("CONTROLLER_COUNT", legacy(controller=TWO)),
    ("TWO_CONTROLLERS_DATABASE", BOTH_CONTROLLERS),
    ("TWO_CONTROLLERS_DATABASE", legacy()),
    ("TWO_CONTROLLERS_STORAGE", cluster(hyperpod=BOTH_CONTROLLERS, storage={"openzfs": {}})),
    ("TWO_CONTROLLERS_STORAGE", cluster(hyperpod=BOTH_CONTROLLERS, storage={"lustre": {}})),
    ("FAILOVER_TOPIC", BOTH_CONTROLLERS),
    ("FAILOVER_TOPIC_ARN", BOTH_CONTROLLERS),
    ("ACCOUNTING_DATABASE_CONTINUOUS", config(accounting_database={})),
    ("ACCOUNTING_DATABASE_ONE_CONTROLLER", BOTH_CONTROLLERS),
    ("ACCOUNTING_DATABASE_ONE_CONTROLLER", config(accounting_database={})),
    ("EXISTING_ACCOUNTING_DATABASE", ExistingAccountingDatabase.model_validate(EXISTING_DATABASE)),
    ("ACCOUNTING_DATABASE_NAME", AccountingDatabaseConfig()),
    ("ACCOUNTING_DATABASE_INSTANCE_TYPE", AccountingDatabaseConfig()),
    ("ACCOUNTING_DATABASE_ZONES", cluster(hyperpod=config(accounting_database={}), network=TWO_ZONES)),
    (
        "ACCOUNTING_DATABASE_ZONES",
        cluster(
            hyperpod=config(accounting_database={}),
            network=EXISTING_NETWORK | {"additional_private_subnets": ["subnet-76543210"]},
        ),
    ),
    ("ACCOUNTING_DATABASE_ZONES", cluster(hyperpod=config(accounting_database=EXISTING_DATABASE))),
    ("PARTITION_NAME", config(group(partition="gpu-1"))),
    ("PARTITION_NAME", config(group(partition="ml.p5.48xlarge"))),
    ("PARTITION_NAME", legacy(group(partition="ml.p5_48xlarge-"))),
    ("PARTITION_NAME", config(group(name="bad_name"))),
    ("PARTITION_NAME_DOTTED", legacy(group(partition="ml.p5.48xlarge"))),
    ("PARTITION_NAME_DOTTED", config(group(partition="ml-p5-48xlarge"))),
    ("PARTITION_NAME_RESERVED", config(group(partition="Dev"))),
    ("PARTITION_NAME_RESERVED", config(group(name="dev", partition="gpu"))),
    ("PARTITION_SHARED", legacy(group(name="a", partition="gpu.a"), group(name="b", partition="gpu-a"))),
    ("INSTANCE_TYPE_OFFERED", cluster()),
    ("HYPERPOD_REGION", cluster()),
    ("HYPERPOD_REGION", cluster(region="nowhere-1")),
    ("INSTANCE_TYPE_OFFERED", cluster(region="eu-west-3", availability_zone="euw3-az1")),
    ("GROUP_ZONE", cluster(FAR_CPU, network=TWO_ZONES)),
    ("GROUP_ZONE", cluster(elsewhere(subnet="subnet-76543210"), network=EXISTING_NETWORK)),
    ("GROUP_SUBNET", cluster(group(subnet="subnet-76543210"), network=EXISTING_NETWORK)),
    ("EFA_ACROSS_ZONES", cluster(group(), FAR_CPU, network=TWO_ZONES)),
    ("LUSTRE_EFA_OTHER_ZONE", cluster(elsewhere(), storage={"lustre": {}}, network=TWO_ZONES)),
    ("LUSTRE_EFA_OTHER_ZONE", cluster(FAR_CPU, storage={"lustre": {"efa": True}}, network=TWO_ZONES)),
    ("LUSTRE_OTHER_ZONE", cluster(group(availability_zone="usw2-az4"), storage={"lustre": {}})),
    ("LUSTRE_OTHER_ZONE", cluster(elsewhere(), storage={"lustre": {"efa": True}}, network=TWO_ZONES)),
    ("LUSTRE_EFA_UNSUPPORTED_TYPE", cluster(storage={"lustre": {"efa": True}})),
    ("LUSTRE_EFA_UNSUPPORTED_TYPE", cluster(group(type="ml.trn2.48xlarge"), storage={"lustre": {}})),
]

WARNINGS = {
    "DEEP_HEALTH_CHECK_CONNECTIVITY",
    "DEEP_HEALTH_CHECK_ON_SLURM",
    "DEEP_HEALTH_CHECK_TYPE",
    "DEEP_HEALTH_CHECKS_UNIQUE",
    "EFA_ACROSS_ZONES",
    "HYPERPOD_REGION",
    "INSTANCE_TYPES_ON_SLURM",
    "INSTANCE_TYPE_OFFERED",
    "LUSTRE_EFA_UNSUPPORTED_TYPE",
    "LUSTRE_OTHER_ZONE",
    "PARTITION_NAME_DOTTED",
    "PARTITION_SHARED",
    "SPOT_ON_SLURM",
}


@pytest.mark.parametrize(("identifier", "model", "field", "message"), REFUSED)
def test_refuses(identifier, model, field, message):
    findings = [finding for finding in check(model) if finding.rule == identifier]
    assert [finding.field for finding in findings] == [field]
    assert message in findings[0].message


@pytest.mark.parametrize(("identifier", "model"), PASSED)
def test_lets_pass(identifier, model):
    assert identifier not in {finding.rule for finding in check(model)}


def test_every_rule_is_in_both_tables():
    defined = {rule.id for rule in RULES.values() if rule.violations.__module__.startswith("cdk_slurm.rules.hyperpod.")}
    assert {row[0] for row in REFUSED} == defined
    assert {row[0] for row in PASSED} == defined


def test_levels():
    defined = [rule for rule in RULES.values() if rule.violations.__module__.startswith("cdk_slurm.rules.hyperpod.")]
    assert {rule.id for rule in defined if rule.level == "warning"} == WARNINGS


def test_password_in_the_wrong_place_is_not_repeated():
    findings = check(ExistingAccountingDatabase(existing="mysql://slurm:hunter2@db", secret="hunter2"))  # noqa: S106
    assert findings
    assert not any("hunter2" in str(finding) for finding in findings)


def test_values_that_are_wrong_in_many_ways_break_no_rule():
    bad = group(name="", type="", count=-5, min_count=9, partition="", deep_health_checks=["InstanceConnectivity"])
    spec = cluster(
        hyperpod=config(bad, bad, controller={"count": -1, "type": "x"}, failover_topic="", accounting_database={}),
        region="",
        storage={"lustre": {"efa": True}},
    )
    assert {"INSTANCE_TYPE", "INSTANCE_COUNT", "PARTITION_NAME"} <= {finding.rule for finding in check(spec)}


def test_partitions_are_named_by_one_rule():
    assert api_partition_name("ml.p5.48xlarge") == "ml-p5-48xlarge"
    dotted = group(partition="ml.p5.48xlarge")
    assert partition_of(dotted, "api") == "ml-p5-48xlarge"
    assert partition_of(dotted, "provisioning_parameters") == "ml.p5.48xlarge"
    assert partition_of(group(), "api") == "gpu"
