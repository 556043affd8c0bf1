"""Rules of a whole description: name, Region, zones, users, keys, tags and silences."""

import base64
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator

from cdk_slurm.rules.engine import RULES, Violation, rule
from cdk_slurm.rules.hyperpod.instance_groups import located_groups
from cdk_slurm.rules.likeness import did_you_mean, repeated
from cdk_slurm.rules.service_model import problem, regions, shape
from cdk_slurm.spec import ClusterSpec, ExistingAccountingDatabase, HyperPodSpec, NetworkConfig, Path, Silence, User
from cdk_slurm.spec.finding import dotted

_SAGEMAKER = "https://docs.aws.amazon.com/sagemaker/latest/"
_ZONE_IDS = "https://docs.aws.amazon.com/ram/latest/userguide/working-with-az-ids.html"
_KEY_ARN = "https://docs.aws.amazon.com/kms/latest/developerguide/find-cmk-id-arn.html"
_TAGS = _SAGEMAKER + "APIReference/API_Tag.html"
_USERADD = "https://manpages.ubuntu.com/manpages/noble/en/man8/useradd.8.html"
_IDS = "https://www.debian.org/doc/debian-policy/ch-opersys.html#uid-and-gid-classes"
_SSH_KEYS = "https://manpages.ubuntu.com/manpages/noble/en/man8/sshd.8.html"

#: Tags that a user may give: AWS allows 50, and CloudFormation and this library need some.
_MOST_TAGS = 40

#: Accounts and groups of HyperPod's images. A user gets a group of the same name.
_RESERVED_NAMES = (
    "root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody nogroup "
    "adm admin sudo wheel staff users disk kmem tty shadow video render docker ssh sshd ssm-user ec2-user ubuntu "
    "messagebus syslog systemd-network systemd-resolve systemd-timesync tcpdump uuidd tss landscape pollinate lxd "
    "munge slurm prometheus node-exporter"
)

_SSH_KEY_TYPES = (
    *("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"),
    *("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"),
)


def region_code(region: str) -> str | None:
    """What zone ids begin with: `usw2` in us-west-2, `apne1` in ap-northeast-1.

    None where ids are not known to be made so, as in the isolated Regions.
    """
    match = re.fullmatch(r"([a-z]+)-(gov-)?(north|south)?(east|west|central)?-(\d)", region)
    return match and "".join(part if index in (0, 4) else part[:1] for index, part in enumerate(match.groups("")))


def is_private_key(text: str) -> bool:
    """Whether a text holds a private key, in PEM or in PuTTY's form."""
    return "PRIVATE KEY" in text or "PuTTY-User-Key-File" in text


# Name, Region and zones


@rule("error", _SAGEMAKER + "APIReference/API_CreateCluster.html")
def cluster_name(spec: HyperPodSpec) -> Iterator[Violation]:
    """The name of a cluster is letters, digits and hyphens.

    HyperPod takes 1 to 63 of them, with a letter or digit first and last.
    """
    if text := problem("sagemaker", "ClusterName", spec.name):
        yield "name", text


@rule("error", "https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateStack.html")
def cluster_name_of_stacks(spec: ClusterSpec) -> Iterator[Violation]:
    """The name of a cluster begins with a letter.

    The names of its stacks begin with it, and CloudFormation wants a letter there.
    """
    if spec.name[:1].isdigit():
        yield "name", f"found {spec.name!r}; allowed: a letter first, as the stacks' names begin with it"


@rule("error", "https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html")
def region_known(spec: ClusterSpec) -> Iterator[Violation]:
    """The Region is one of AWS's.

    The list is that of the installed botocore: for a Region opened since, upgrade it.
    """
    if spec.region not in regions():
        hint = did_you_mean(spec.region, regions())
        yield "region", f"found {spec.region!r}{hint}; allowed: a Region of AWS, such as us-west-2"


@rule("error", _ZONE_IDS)
def zone_in_region(spec: ClusterSpec) -> Iterator[Violation]:
    """Every zone belongs to the cluster's Region.

    The name of a zone is the Region and a letter; its id begins with a short form of the Region.
    """
    if spec.region not in regions():
        return
    code = region_code(spec.region)
    for path, zone in _zones(spec):
        if not _is_id(zone) and zone[:-1] != spec.region:
            yield path, f"found {zone}; allowed: zones of {spec.region}, such as {spec.region}a"
        elif _is_id(zone) and code and zone.split("-")[0] != code:
            yield path, f"found {zone}; allowed: zones of {spec.region}, such as {code}-az1"


@rule("error", _ZONE_IDS)
def zones_written_alike(spec: ClusterSpec) -> Iterator[Violation]:
    """All zones of a file are written by name, or all by id.

    Each account maps names to zones in its own way, so nobody can tell from a file whether a name and an
    id mean the same zone. Prefer ids: they mean the same zone in every account.
    """
    kinds = {False: "a name", True: "an id"}
    main = _is_id(spec.availability_zone)
    for path, zone in _zones(spec):
        if _is_id(zone) != main:
            yield (
                path,
                f"found {zone}, {kinds[not main]}, beside {spec.availability_zone}, {kinds[main]}; "
                f"allowed: {kinds[main]} for every zone",
            )


# Users


@rule("error", _USERADD)
def user_name(user: User) -> Iterator[Violation]:
    """The name of a user is one that Linux takes.

    Capitals and dots are legal on some systems, and break tools on others.
    """
    if not re.fullmatch("[a-z_][a-z0-9_-]{0,31}", user.name):
        yield (
            "name",
            f"found {user.name!r}; allowed: 1 to 32 of a to z, 0 to 9, '_' and '-', beginning with a letter or '_'",
        )


@rule("error", _USERADD)
def user_name_reserved(user: User) -> Iterator[Violation]:
    """The name of a user is not one of the system's.

    The nodes have accounts and groups of their own. A person with such a name would get their files and
    rights, or the account could not be made.
    """
    if user.name in _RESERVED_NAMES.split():
        yield "name", f"found {user.name}, which nodes have already; allowed: other names"


@rule("error", _IDS)
def user_ids(user: User) -> Iterator[Violation]:
    """Ids of users and groups are outside of the system's ranges.

    Below 1000 are the system's own, 1000 is `ubuntu`, and 65534 and up to 65535 mean nobody. Choose high
    ones, from 2001 on, that your other systems use too.
    """
    for field, found in (("uid", user.uid), ("gid", user.gid)):
        if found is not None and not (1000 < found <= 4294967293 and found not in (65534, 65535)):
            taken = " (1000 is ubuntu's)" if found == 1000 else ""
            yield field, f"found {found}; allowed: 1001 to 4294967293 without 65534 and 65535{taken}"


@rule("error", _USERADD)
def user_names_unique(spec: ClusterSpec) -> Iterator[Violation]:
    """Users have different names.

    The second account could not be made, and its owner would get the first one's files.
    """
    for path, name, first in repeated((("users", index, "name"), user.name) for index, user in enumerate(spec.users)):
        yield path, f"found {name!r}, as {dotted(first)}; allowed: names that differ"


@rule("error", _USERADD)
def user_ids_unique(spec: ClusterSpec) -> Iterator[Violation]:
    """Users have different user ids.

    Two names of one id are one user: each may read and delete the other's files.
    """
    for path, uid, first in repeated((("users", index, "uid"), str(user.uid)) for index, user in enumerate(spec.users)):
        yield path, f"found {uid}, as {dotted(first)}; allowed: ids that differ"


@rule("error", _SSH_KEYS)
def ssh_public_key(user: User) -> Iterator[Violation]:
    """A key is one line in OpenSSH's public form.

    It is the text of a file such as id_ed25519.pub, with neither options before the key nor a second line.
    """
    for index, key in enumerate(user.ssh_public_keys):
        if not is_private_key(key) and not _is_public_key(key):
            yield (
                ("ssh_public_keys", index),
                "found text that is no public key (not shown); allowed: one line, such as ssh-ed25519 AAAA… a comment; "
                f"types: {', '.join(_SSH_KEY_TYPES)}",
            )


@rule("error", _SSH_KEYS)
def ssh_private_key(user: User) -> Iterator[Violation]:
    """A private key is nobody else's business.

    Whoever has read this file can log in with it. Remove the key's public half wherever it may log in, make
    a new pair with `ssh-keygen -t ed25519`, and write the new .pub file's text here.
    """
    for index, key in enumerate(user.ssh_public_keys):
        if is_private_key(key):
            yield (
                ("ssh_public_keys", index),
                "found a PRIVATE key (not shown), which must be replaced now that it is in a file; "
                "allowed: the text of its .pub file",
            )


# Keys and tags


@rule("error", _KEY_ARN)
def kms_key_arn(spec: ClusterSpec) -> Iterator[Violation]:
    """A key is named by its ARN.

    Ids and aliases do not say the account or can be pointed at another key, and policies that grant the
    use of a key need the key itself.
    """
    key = spec.kms_key
    if key is not None and not re.fullmatch(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+", key):
        alias = ", an alias" if re.search(r"(^|:)alias/", key) else ""
        yield "kms_key", f"found {key!r}{alias}; allowed: a key's ARN, arn:aws:kms:<region>:<account>:key/<id>"


@rule("warning", _SAGEMAKER + "dg/smcluster-cmk.html")
def kms_key_continuous(spec: HyperPodSpec) -> Iterator[Violation]:
    """A customer managed key for nodes' volumes needs continuous provisioning.

    HyperPod refuses it otherwise, so that volumes are encrypted with a key of AWS's own; file systems and
    buckets take yours. For volumes too, use form `api` without `slurm_config_strategy`.
    """
    if spec.kms_key is not None and not spec.hyperpod.continuous_provisioning:
        yield (
            "kms_key",
            "found a key, which nodes' volumes are not encrypted with here; allowed for volumes: only with "
            "continuous provisioning (hyperpod.slurm_configuration: api, no slurm_config_strategy)",
        )


@rule("error", "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html")
def arn_region(spec: ClusterSpec) -> Iterator[Violation]:
    """What is named by an ARN is in the cluster's Region.

    Keys, topics, secrets and training plans do not work across Regions.
    """
    for path, arn in _arns(spec):
        parts = arn.split(":")
        if parts[0] == "arn" and len(parts) > 5 and parts[3] != spec.region:
            yield path, f"found an ARN of Region {parts[3]!r}; allowed: of {spec.region}"


@rule("error", _TAGS)
def tag_count(spec: ClusterSpec) -> Iterator[Violation]:
    """There are at most 40 tags.

    A resource has room for 50, of which CloudFormation and this library use some.
    """
    if len(spec.tags) > _MOST_TAGS:
        yield "tags", f"found {len(spec.tags)} tags; allowed: {_MOST_TAGS} or fewer"


@rule("error", _TAGS)
def tag_text(spec: ClusterSpec) -> Iterator[Violation]:
    """Keys and values of tags have the length and characters that AWS takes.

    Letters, digits and spaces of every language, and `_ . : / = + - @`. A value may be empty.
    """
    for key, value in spec.tags.items():
        if text := _tag_problem("TagKey", key):
            yield ("tags", key), f"found a key of {text}"
        if text := _tag_problem("TagValue", value):
            yield ("tags", key), f"found a value of {text}"


@rule("error", _TAGS)
def tag_key_reserved(spec: ClusterSpec) -> Iterator[Violation]:
    """Keys of tags do not begin with `aws:`.

    AWS keeps them, in any case of letters, for itself.
    """
    for key in spec.tags:
        if key.lower().startswith("aws:"):
            yield ("tags", key), f"found {key!r}; allowed: keys that do not begin with aws:"


@rule("error", "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html")
def tag_keys_case(spec: ClusterSpec) -> Iterator[Violation]:
    """Keys of tags differ in more than the case of letters.

    IAM does not tell `Team` from `team`, and refuses a role with both.
    """
    spelled = Counter(key.lower() for key in spec.tags)
    for key in spec.tags:
        if spelled[key.lower()] > 1:
            yield ("tags", key), f"found {key!r} in several cases of letters; allowed: one of them"


# Silences


@rule("warning", "")
def silence_unknown(silence: Silence) -> Iterator[Violation]:
    """A silence names a rule that exists.

    Whatever it was to silence is still reported. `cdk-slurm rules` lists all ids.
    """
    if silence.rule not in RULES:
        yield "rule", f"found {silence.rule!r}{did_you_mean(silence.rule, RULES)}; allowed: the id of a rule"


@rule("warning", "")
def silence_repeated(spec: ClusterSpec) -> Iterator[Violation]:
    """A rule is silenced once, with one reason.

    Only the last reason would be shown. Put both into one entry.
    """
    silences = ((("silence", index, "rule"), silence.rule) for index, silence in enumerate(spec.silence))
    for path, name, first in repeated(silences):
        yield path, f"found {name}, as {dotted(first)}; allowed: each rule once"


def _zones(spec: ClusterSpec) -> Iterator[tuple[Path, str]]:
    """Every zone that the description names."""
    yield ("availability_zone",), spec.availability_zone
    if isinstance(spec.network, NetworkConfig):
        for index, zone in enumerate(spec.network.additional_zones):
            yield ("network", "additional_zones", index, "availability_zone"), zone.availability_zone
    for path, group in located_groups(spec.hyperpod) if isinstance(spec, HyperPodSpec) else ():
        if group.availability_zone is not None:
            yield ("hyperpod", *path, "availability_zone"), group.availability_zone


def _is_id(zone: str) -> bool:
    return "-az" in zone


def _arns(spec: ClusterSpec) -> Iterator[tuple[Path, str]]:
    """Every ARN that the description holds."""
    found: list[tuple[Path, str | None]] = [
        (("kms_key",), spec.kms_key),
    ]
    if isinstance(spec.accounting_database, ExistingAccountingDatabase):
        found.append(((spec.kind, "accounting_database", "secret"), spec.accounting_database.secret))
    if spec.directory is not None:
        found.append((("directory", "bind_secret"), spec.directory.bind_secret))
    if isinstance(spec, HyperPodSpec):
        found.append((("hyperpod", "failover_topic"), spec.hyperpod.failover_topic))
        for index, group in enumerate(spec.hyperpod.compute):
            found.append((("hyperpod", "compute", index, "training_plan"), group.training_plan))
    for path, arn in found:
        if arn is not None:
            yield path, arn


def _is_public_key(text: str) -> bool:
    words = text.split()
    if len(text.strip().splitlines()) != 1 or len(words) < 2 or words[0] not in _SSH_KEY_TYPES:
        return False
    try:
        blob = base64.b64decode(words[1], validate=True)
    except ValueError:
        return False
    # The key's own first field says its type again.
    return blob.startswith(len(words[0]).to_bytes(4, "big") + words[0].encode())


def _tag_problem(name: str, text: str) -> str | None:
    # The shapes' pattern has classes of Unicode (\p{L}, \p{Z}, \p{N}) that Python's `re` does not know.
    allowed = shape("sagemaker", name)
    if not allowed["min"] <= len(text) <= allowed["max"]:
        return f"{len(text)} characters; allowed: {allowed['min']} to {allowed['max']}"
    wrong = [one for one in text if unicodedata.category(one)[0] not in "LZN" and one not in "_.:/=+-@"]
    return f"{''.join(wrong)!r}; allowed: letters, digits, spaces and _ . : / = + - @" if wrong else None
