"""Rules of a whole description: a table of what each finds, and what it lets pass."""

import base64

import pytest

from cdk_slurm.rules import RULES, check
from cdk_slurm.rules.cluster import region_code
from cdk_slurm.rules.service_model import shape
from cdk_slurm.spec import HyperPodSpec, Silence, User

KEY = "arn:aws:kms:us-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
PLAN = "arn:aws:sagemaker:us-east-1:123456789012:training-plan/p5-in-may"
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:slurm"
TOPIC = "arn:aws:sns:us-east-1:123456789012:failover"


def public_key(kind="ssh-ed25519", comment=" alice@laptop"):
    blob = len(kind).to_bytes(4, "big") + kind.encode() + bytes(36)
    return f"{kind} {base64.b64encode(blob).decode()}{comment}"


PRIVATE_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----"


def cluster(*, compute=(), hyperpod=(), **fields):
    return HyperPodSpec.model_validate(
        {
            "kind": "hyperpod",
            "name": "ml-cluster",
            "region": "us-west-2",
            "availability_zone": "usw2-az4",
            "hyperpod": {"compute": [{"name": "cpu", "type": "ml.c5.4xlarge", "count": 2} | dict(compute)]}
            | dict(hyperpod),
        }
        | fields
    )


def user(name="alice", uid=10001, **fields):
    return User.model_validate({"name": name, "uid": uid} | fields)


def with_key(*keys):
    return user(ssh_public_keys=keys)


def zone(name, cidr="10.2.0.0/16"):
    return {"additional_zones": [{"availability_zone": name, "private_cidr": cidr}]}


NO_KEY = "found text that is no public key (not shown); allowed: one line, such as ssh-ed25519 AAAA… a comment"

#: Rule, what it refuses, the field that it names, and what it says of it.
REFUSED = [
    ("CLUSTER_NAME", cluster(name="ml_cluster"), "name", "found 'ml_cluster'; allowed: text of the form [a-zA-Z0-9]"),
    ("CLUSTER_NAME", cluster(name="c" * 64), "name", "(64 characters); allowed: 1 to 63 characters"),
    (
        "CLUSTER_NAME_OF_STACKS",
        cluster(name="1st"),
        "name",
        "found '1st'; allowed: a letter first, as the stacks' names begin with it",
    ),
    ("REGION_KNOWN", cluster(region="us-wset-2"), "region", "found 'us-wset-2' (did you mean us-west-2?); allowed:"),
    ("REGION_KNOWN", cluster(region="Oregon"), "region", "found 'Oregon'; allowed: a Region of AWS, such as us-west-2"),
    (
        "ZONE_IN_REGION",
        cluster(availability_zone="us-east-1a"),
        "availability_zone",
        "found us-east-1a; allowed: zones of us-west-2, such as us-west-2a",
    ),
    (
        "ZONE_IN_REGION",
        cluster(availability_zone="use1-az1"),
        "availability_zone",
        "found use1-az1; allowed: zones of us-west-2, such as usw2-az1",
    ),
    (
        "ZONE_IN_REGION",
        cluster(network=zone("usw1-az1")),
        "network.additional_zones[0].availability_zone",
        "found usw1-az1; allowed: zones of us-west-2",
    ),
    (
        "ZONES_WRITTEN_ALIKE",
        cluster(network=zone("us-west-2b")),
        "network.additional_zones[0].availability_zone",
        "found us-west-2b, a name, beside usw2-az4, an id; allowed: an id for every zone",
    ),
    (
        "ZONES_WRITTEN_ALIKE",
        cluster(availability_zone="us-west-2a", compute={"availability_zone": "usw2-az1"}),
        "hyperpod.compute[0].availability_zone",
        "found usw2-az1, an id, beside us-west-2a, a name; allowed: a name for every zone",
    ),
    ("USER_NAME", user("Alice"), "name", "found 'Alice'; allowed: 1 to 32 of a to z, 0 to 9, '_' and '-', beginning"),
    ("USER_NAME", user("a" * 33), "name", "allowed: 1 to 32 of"),
    ("USER_NAME", user("alice\n"), "name", r"found 'alice\n'; allowed"),
    ("USER_NAME_RESERVED", user("ubuntu"), "name", "found ubuntu, which nodes have already; allowed: other names"),
    ("USER_IDS", user(uid=999), "uid", "found 999; allowed: 1001 to 4294967293 without 65534 and 65535"),
    (
        "USER_IDS",
        user(uid=1000),
        "uid",
        "found 1000; allowed: 1001 to 4294967293 without 65534 and 65535 (1000 is ubuntu's)",
    ),
    ("USER_IDS", user(gid=65534), "gid", "found 65534; allowed: 1001 to"),
    ("USER_IDS", user(uid=4294967295), "uid", "found 4294967295; allowed: 1001 to"),
    (
        "USER_NAMES_UNIQUE",
        cluster(users=[user(), user(uid=10002)]),
        "users[1].name",
        "found 'alice', as users[0].name; allowed: names that differ",
    ),
    (
        "USER_IDS_UNIQUE",
        cluster(users=[user(), user("bob")]),
        "users[1].uid",
        "found 10001, as users[0].uid; allowed: ids that differ",
    ),
    ("SSH_PUBLIC_KEY", with_key("alice"), "ssh_public_keys[0]", NO_KEY),
    ("SSH_PUBLIC_KEY", with_key(public_key(), "ssh-ed25519 not*base64"), "ssh_public_keys[1]", NO_KEY),
    ("SSH_PUBLIC_KEY", with_key(f"{public_key()}\n{public_key()}"), "ssh_public_keys[0]", NO_KEY),
    ("SSH_PUBLIC_KEY", with_key(f'command="rm" {public_key()}'), "ssh_public_keys[0]", NO_KEY),
    ("SSH_PUBLIC_KEY", with_key(public_key().replace("ed25519", "rsa", 1)), "ssh_public_keys[0]", NO_KEY),
    (
        "SSH_PRIVATE_KEY",
        with_key(PRIVATE_KEY),
        "ssh_public_keys[0]",
        "found a PRIVATE key (not shown), which must be replaced now that it is in a file; allowed: the text of",
    ),
    (
        "KMS_KEY_ARN",
        cluster(kms_key="alias/training"),
        "kms_key",
        "found 'alias/training', an alias; allowed: a key's ARN, arn:aws:kms:<region>:<account>:key/<id>",
    ),
    ("KMS_KEY_ARN", cluster(kms_key=KEY.replace("key/", "alias/")), "kms_key", ", an alias; allowed: a key's ARN"),
    (
        "KMS_KEY_ARN",
        cluster(kms_key=KEY[-36:]),
        "kms_key",
        "found '1234abcd-12ab-34cd-56ef-1234567890ab'; allowed: a key's",
    ),
    (
        "KMS_KEY_CONTINUOUS",
        cluster(kms_key=KEY, hyperpod={"slurm_configuration": "provisioning_parameters"}),
        "kms_key",
        "found a key, which nodes' volumes are not encrypted with here; allowed for volumes: only with continuous ",
    ),
    (
        "ARN_REGION",
        cluster(kms_key=KEY.replace("us-west-2", "eu-west-1")),
        "kms_key",
        "found an ARN of Region 'eu-west-1'; allowed: of us-west-2",
    ),
    (
        "ARN_REGION",
        cluster(compute={"training_plan": PLAN}),
        "hyperpod.compute[0].training_plan",
        "'us-east-1'; allowed:",
    ),
    ("ARN_REGION", cluster(hyperpod={"failover_topic": TOPIC}), "hyperpod.failover_topic", "'us-east-1'; allowed:"),
    (
        "ARN_REGION",
        cluster(hyperpod={"accounting_database": {"existing": "db", "secret": SECRET}}),
        "hyperpod.accounting_database.secret",
        "found an ARN of Region 'us-east-1'; allowed: of us-west-2",
    ),
    (
        "ARN_REGION",
        cluster(directory={"uri": "ldaps://ldap", "base_dn": "dc=x", "bind_dn": "cn=y", "bind_secret": SECRET}),
        "directory.bind_secret",
        "found an ARN of Region 'us-east-1'; allowed: of us-west-2",
    ),
    (
        "TAG_COUNT",
        cluster(tags={f"t{number}": "" for number in range(41)}),
        "tags",
        "found 41 tags; allowed: 40 or fewer",
    ),
    ("TAG_TEXT", cluster(tags={"": "x"}), "tags['']", "found a key of 0 characters; allowed: 1 to 128"),
    ("TAG_TEXT", cluster(tags={"a": "x" * 257}), "tags.a", "found a value of 257 characters; allowed: 0 to 256"),
    (
        "TAG_TEXT",
        cluster(tags={"a": "x;y\n"}),
        "tags.a",
        r"found a value of ';\n'; allowed: letters, digits, spaces and _",
    ),
    (
        "TAG_KEY_RESERVED",
        cluster(tags={"AWS:team": "x"}),
        "tags['AWS:team']",
        "found 'AWS:team'; allowed: keys that do not begin with aws:",
    ),
    (
        "SILENCE_UNKNOWN",
        Silence(rule="SPOT_ON_SLRUM", reason="tried"),
        "rule",
        "(did you mean SPOT_ON_SLURM?); allowed:",
    ),
    (
        "SILENCE_REPEATED",
        cluster(silence=[{"rule": "SPOT_ON_SLURM", "reason": "tried"}] * 2),
        "silence[1].rule",
        "found SPOT_ON_SLURM, as silence[0].rule; allowed: each rule once",
    ),
]

#: Rule, and something near to what it refuses that it lets pass.
PASSED = [
    ("CLUSTER_NAME", cluster(name="ml--cluster")),
    ("CLUSTER_NAME_OF_STACKS", cluster(name="a1")),
    ("REGION_KNOWN", cluster(region="us-gov-west-1")),
    ("ZONE_IN_REGION", cluster()),
    ("ZONE_IN_REGION", cluster(availability_zone="us-west-2d")),
    ("ZONE_IN_REGION", cluster(region="us-iso-east-1", availability_zone="usie1-az1")),
    ("ZONE_IN_REGION", cluster(region="us-wset-2")),
    ("ZONES_WRITTEN_ALIKE", cluster(network=zone("usw2-az1"), compute={"availability_zone": "usw2-az1"})),
    ("USER_NAME", user("_a-1")),
    ("USER_NAME_RESERVED", user("ubuntu2")),
    ("USER_IDS", user(uid=1001, gid=4294967293)),
    ("USER_NAMES_UNIQUE", cluster(users=[user(), user("bob", 10002)])),
    ("USER_IDS_UNIQUE", cluster(users=[user(gid=2000), user("bob", 10002, gid=2000)])),
    (
        "SSH_PUBLIC_KEY",
        with_key(public_key(), public_key("ssh-rsa", ""), public_key("sk-ssh-ed25519@openssh.com") + "\n"),
    ),
    ("SSH_PUBLIC_KEY", with_key(PRIVATE_KEY)),
    ("SSH_PRIVATE_KEY", with_key(public_key(), "alice")),
    ("KMS_KEY_ARN", cluster(kms_key=KEY)),
    ("KMS_KEY_ARN", cluster(kms_key=KEY.replace("key/", "key/mrk-").replace("arn:aws", "arn:aws-us-gov"))),
    ("KMS_KEY_CONTINUOUS", cluster(kms_key=KEY)),
    ("KMS_KEY_CONTINUOUS", cluster(hyperpod={"slurm_configuration": "provisioning_parameters"})),
    ("ARN_REGION", cluster(kms_key=KEY)),
    ("ARN_REGION", cluster(kms_key="alias/a:b:c:d:e:f")),
    ("TAG_COUNT", cluster(tags={f"t{number}": "" for number in range(40)})),
    ("TAG_TEXT", cluster(tags={"Kostenträger Nr": "½ ٣ 数据_.:/=+-@", "b": ""})),
    ("TAG_KEY_RESERVED", cluster(tags={"awsome": "x"})),
    ("TAG_KEYS_CASE", cluster(tags={"team": "a", "teams": "b"})),
    ("SILENCE_UNKNOWN", Silence(rule="SPOT_ON_SLURM", reason="tried")),
    ("SILENCE_REPEATED", cluster(silence=[{"rule": "SPOT_ON_SLURM", "reason": "tried"}])),
]

WARNINGS = {"KMS_KEY_CONTINUOUS", "SILENCE_REPEATED", "SILENCE_UNKNOWN"}


@pytest.mark.parametrize(("identifier", "model", "field", "message"), REFUSED)
def test_refuses(identifier, model, field, message):
    findings = [finding for finding in check(model) if finding.rule == identifier]
    assert [finding.field for finding in findings] == [field]
    assert message in findings[0].message


def test_keys_of_tags_that_differ_in_case_are_all_named():
    findings = check(cluster(tags={"team": "a", "Team": "b", "x": ""}))
    assert {(finding.rule, finding.field) for finding in findings} == {
        ("TAG_KEYS_CASE", "tags.team"),
        ("TAG_KEYS_CASE", "tags.Team"),
    }
    assert "found 'team' in several cases of letters; allowed: one of them" in findings[0].message


@pytest.mark.parametrize(("identifier", "model"), PASSED)
def test_lets_pass(identifier, model):
    assert identifier not in {finding.rule for finding in check(model)}


def test_every_rule_is_in_both_tables():
    defined = {rule.id for rule in RULES.values() if rule.violations.__module__ == "cdk_slurm.rules.cluster"}
    assert {row[0] for row in REFUSED} | {"TAG_KEYS_CASE"} == defined
    assert {row[0] for row in PASSED} == defined


def test_levels():
    defined = [rule for rule in RULES.values() if rule.violations.__module__ == "cdk_slurm.rules.cluster"]
    assert {rule.id for rule in defined if rule.level == "warning"} == WARNINGS


@pytest.mark.parametrize("text", [PRIVATE_KEY, "ssh-ed25519 c2VjcmV0", "c2VjcmV0"])
def test_text_of_keys_is_never_shown(text):
    findings = check(cluster(users=[with_key(text)]))
    assert findings
    assert not any("c2VjcmV0" in str(finding) for finding in findings)


@pytest.mark.parametrize(
    ("region", "code"),
    [
        ("us-west-2", "usw2"),
        ("ap-northeast-1", "apne1"),
        ("us-gov-west-1", "usgw1"),
        ("ap-southeast-3", "apse3"),
        ("ca-central-1", "cac1"),
        ("cn-northwest-1", "cnnw1"),
        ("ap-south-2", "aps2"),
        ("us-iso-east-1", None),
        ("eusc-de-east-1", None),
        ("nowhere", None),
    ],
)
def test_zone_ids_begin_with_a_short_form_of_the_region(region, code):
    assert region_code(region) == code


def test_characters_of_tags_are_those_of_the_service_model():
    # `cluster._tag_problem` says this pattern in Python.
    assert shape("sagemaker", "TagKey")["pattern"] == r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)"
    assert shape("sagemaker", "TagValue")["pattern"] == shape("sagemaker", "TagKey")["pattern"]


def test_values_that_are_wrong_in_many_ways_break_no_rule():
    spec = cluster(
        name="",
        region="",
        users=[user("", -1, gid=-1, ssh_public_keys=["", "ssh-rsa", "ssh-rsa ü"])] * 2,
        kms_key="",
        tags={"": ""},
        silence=[{"rule": "", "reason": "none"}] * 2,
    )
    found = {finding.rule for finding in check(spec)}
    assert {"CLUSTER_NAME", "REGION_KNOWN", "USER_NAME", "SSH_PUBLIC_KEY", "KMS_KEY_ARN", "SILENCE_UNKNOWN"} <= found


def test_smallest_cluster_is_sound():
    assert check(cluster()) == ()


@pytest.mark.parametrize(
    "module", ["cluster", "directory", "grafana", "hyperpod", "mounts", "network", "observability", "studio"]
)
def test_every_rule_explains_itself(module):
    for rule in RULES.values():
        if rule.violations.__module__ == f"cdk_slurm.rules.{module}":
            assert rule.title.endswith("."), rule.id
            assert rule.explanation, rule.id
            assert rule.reference.startswith("https://") or rule.id.startswith("SILENCE_"), rule.id
