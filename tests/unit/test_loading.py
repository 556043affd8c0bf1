"""Whatever a file may hold, loading it ends in a description or in findings that say where and what."""

import os
from pathlib import Path

import pytest

from cdk_slurm.spec import HyperPodSpec, SpecError, UnreadableError, load, loads

# Four lines and three: what a test adds stands in line 8.
HEAD = """\
kind: hyperpod
name: demo
region: us-west-2
availability_zone: usw2-az4
"""
GROUPS = """\
hyperpod:
  compute:
    - {name: worker, type: ml.c5.4xlarge, count: 2}
"""
SMALLEST = HEAD + GROUPS


def findings(text: str) -> list[str]:
    """The errors found in a text, as `line:column RULE field: message`."""
    with pytest.raises(SpecError) as caught:
        loads(text, file="x.yaml")
    return [str(finding).removeprefix("x.yaml:").replace(": error ", " ", 1) for finding in caught.value.findings]


def test_the_smallest_file() -> None:
    loaded = loads(SMALLEST)
    assert loaded.spec.name == "demo"
    assert loaded.spec.hyperpod.compute[0].count == 2


def test_positions_of_values() -> None:
    loaded = loads(SMALLEST)
    assert loaded.position(("name",)) == (2, 1)
    assert loaded.position(("hyperpod", "compute", 0)) == (7, 7)
    assert loaded.position(("hyperpod", "compute", 0, "type")) == (7, 22)
    assert loaded.position(("hyperpod", "compute", 0, "partition")) == (7, 7), (
        "what is left out: what it is left out of"
    )
    assert loaded.position(("storage", "lustre", "capacity_gib")) == (1, 1)


NOT_YAML = {
    "empty": ("", "1:1 the file is empty; allowed: a mapping that begins with kind, name, region"),
    "only a comment": (
        "# later\n",
        "1:1 the file is empty; allowed: a mapping that begins with kind, name, region",
    ),
    "an open bracket": (
        "a: [1",
        "2:1 while parsing a flow sequence did not find expected ',' or ']'",
    ),
    "a tab": (
        "a:\n\t- b",
        "2:1 while scanning for the next token found character that cannot start any token",
    ),
    "two documents": (
        "a: 1\n---\nb: 2\n",
        "2:1 expected a single document in the stream but found another document",
    ),
    "a key twice": (SMALLEST + "name: other\n", "8:1 name stands a second time, after line 2"),
    "a key twice, deep": (
        SMALLEST + "storage: {lustre: {mount: /a, mount: /b}}\n",
        "8:31 storage.lustre.mount stands a second time, after line 8",
    ),
    "an unknown tag": ("a: !Ref b", "1:4 the tag !Ref has no meaning here"),
    "an unknown tag on a mapping": ("a: !Sub {b: c}", "1:4 the tag !Sub has no meaning here"),
    "an unknown tag on a list": ("a: !Join [b]", "1:4 the tag !Join has no meaning here"),
    "an unknown tag on a key": ("!Ref a: b", "1:1 the tag !Ref has no meaning here"),
    "a tag of Python": (
        "a: !!python/object/apply:os.system [id]",
        "1:4 the tag !!python/object/apply:os.system has no meaning here",
    ),
    "a tag of another kind": ("a: !!map [b]", "1:4 the tag !!map has no meaning here"),
    "a tag that does not fit": ("a: !!int b", "1:4 cannot read 'b' as int"),
    "a tag without a value": ("a: !!float ''", "1:4 cannot read '' as float"),
    "no truth": ("a: !!bool perhaps", "1:4 cannot read 'perhaps' as bool"),
    "a number of 5000 digits": ("a: " + "7" * 5000, f"1:4 cannot read '{'7' * 40}' as int"),
    "a number of 5000 hexadecimal digits": (
        "a: 0x" + "f" * 5000,
        f"1:4 cannot read '0x{'f' * 38}' as int",
    ),
    "a mapping as key": ("{{ name }}: b", "1:1 a key must be a name"),
    "an unknown alias": ("a: *b", "1:4 found undefined alias"),
    "a merge of text": ("a: {<<: b}", "1:5 << takes a mapping, or a list of mappings"),
    "a merge of a list of text": ("a: {<<: [b]}", "1:5 << takes a mapping, or a list of mappings"),
    "a control character": ("a: b\nc: é\0", "2:5 the character '\\x00' cannot stand in YAML"),
    "half a character": ("a: \ud800", "1:4 the character '\\ud800' cannot stand in YAML"),
    "an alias of itself": (
        "a: &a [*a]",
        "1:4 aliases expand to more than 100000 values or 50 levels",
    ),
    "a merge of itself": (
        "&a\n<<: *a",
        "1:1 aliases expand to more than 100000 values or 50 levels",
    ),
    "lists 100000 deep": ("[" * 100_000, "1:51 nested deeper than 50 levels"),
    "mappings 100000 deep": ("{a: " * 100_000, "1:201 nested deeper than 50 levels"),
    "dashes 100000 deep": ("- " * 100_000, "1:101 nested deeper than 50 levels"),
    "indented 1000 deep": (
        "\n".join(" " * depth + "a:" for depth in range(1000)),
        "51:51 nested deeper than 50 levels",
    ),
}


@pytest.mark.parametrize(("text", "finding"), NOT_YAML.values(), ids=NOT_YAML.keys())
def test_not_yaml(text: str, finding: str) -> None:
    where, message = finding.split(" ", 1)
    assert findings(text) == [f"{where} YAML_SYNTAX {message}"]


@pytest.mark.parametrize("levels", [40, 100])
@pytest.mark.parametrize(
    "line", ["a{n}: &a{n} [*a{m}, *a{m}, *a{m}, *a{m}]", "a{n}: &a{n} {{<<: [*a{m}, *a{m}, *a{m}, *a{m}]}}"]
)
def test_aliases_that_expand_without_end(line: str, levels: int) -> None:
    bomb = "a0: &a0 {x: y}\n" + "\n".join(line.format(n=n, m=n - 1) for n in range(1, levels))
    [finding] = findings(bomb)
    assert finding.endswith("YAML_SYNTAX aliases expand to more than 100000 values or 50 levels")


def test_a_long_chain_of_merges() -> None:
    chain = "a0: &a0 {x: y}\n" + "\n".join(f"a{n}: &a{n} {{<<: *a{n - 1}}}" for n in range(1, 2000))
    [finding] = findings(chain)
    assert finding.endswith("YAML_SYNTAX aliases expand to more than 100000 values or 50 levels")


def test_anchors_aliases_and_merge_keys() -> None:
    text = HEAD + (
        "hyperpod:\n"
        "  compute:\n"
        "    - &worker {name: worker, type: ml.c5.4xlarge, count: 2, ebs_volume_gib: 200}\n"
        "    - {count: 4, <<: *worker, name: second}\n"
        "    - <<: [{name: third, spot: true}, *worker]\n"
    )
    loaded = loads(text)
    first, second, third = loaded.spec.hyperpod.compute
    assert (second.name, second.count, second.ebs_volume_gib) == ("second", 4, 200)
    assert (third.name, third.spot, third.type) == ("third", True, first.type)
    assert loaded.position(("hyperpod", "compute", 1, "count")) == (8, 8), "its own, not the merged one"
    assert loaded.position(("hyperpod", "compute", 1, "type")) == (7, 30), "where the merged one stands"


def test_what_looks_like_something_else_is_text_where_text_is_wanted() -> None:
    spec = loads(SMALLEST.replace("demo", "2026-01-01") + "tags: {2026: a, on: b, 2026-01-01: c, ~: d, a b: e}\n").spec
    assert spec.name == "2026-01-01"
    assert spec.tags == {"2026": "a", "on": "b", "2026-01-01": "c", "~": "d", "a b": "e"}


def test_a_byte_order_mark_and_carriage_returns(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + SMALLEST.replace("\n", "\r\n").encode())
    assert load(file).position(("name",)) == (2, 1)


def group(fields: str) -> str:
    """A cluster whose only compute group has these fields, from line 7, column 7 on."""
    return f"{HEAD}hyperpod:\n  compute:\n    - {{{fields}}}\n"


ALL_FIELDS = ", ".join(HyperPodSpec.model_fields)

NO_DESCRIPTION = {
    "a list": ("- kind: hyperpod", "1:1 FIELD_TYPE found a list; allowed: a mapping"),
    "text": ("hyperpod", "1:1 FIELD_TYPE found 'hyperpod'; allowed: a mapping"),
    "nothing": ("~", "1:1 FIELD_TYPE found nothing; allowed: a mapping"),
    "unknown field": (
        SMALLEST + "colour: blue\n",
        f"8:1 FIELD_UNKNOWN colour: is not a field of a cluster; allowed: {ALL_FIELDS}",
    ),
    "misspelt field": (
        SMALLEST + "storgae: {}\n",
        f"8:1 FIELD_UNKNOWN storgae: is not a field of a cluster; did you mean storage? allowed: {ALL_FIELDS}",
    ),
    "a key to be escaped": (
        SMALLEST + r'"\e[31mred\n": 1' + "\n",
        f"8:1 FIELD_UNKNOWN ['\\x1b[31mred\\n']: is not a field of a cluster; allowed: {ALL_FIELDS}",
    ),
    "missing": (
        group("name: worker, type: ml.c5.4xlarge"),
        "7:7 FIELD_MISSING hyperpod.compute[0].count: is required and missing: "
        "Number of instances that the group is to have.",
    ),
    "empty section": (SMALLEST + "storage:\n", "8:1 FIELD_TYPE storage: found nothing; allowed: a mapping"),
    "text for a number": (
        group("name: worker, type: ml.c5.4xlarge, count: two"),
        "7:43 FIELD_TYPE hyperpod.compute[0].count: found 'two'; allowed: a whole number",
    ),
    "a number in quotes": (
        group("name: worker, type: ml.c5.4xlarge, count: '2'"),
        "7:43 FIELD_TYPE hyperpod.compute[0].count: found '2'; allowed: a whole number",
    ),
    "true for a number": (
        group("name: worker, type: ml.c5.4xlarge, count: yes"),
        "7:43 FIELD_TYPE hyperpod.compute[0].count: found true; allowed: a whole number",
    ),
    "a fraction": (
        group("name: worker, type: ml.c5.4xlarge, count: 2.0"),
        "7:43 FIELD_TYPE hyperpod.compute[0].count: found 2.0; allowed: a whole number",
    ),
    "a number for true": (
        group("name: worker, type: ml.c5.4xlarge, count: 2, spot: 1"),
        "7:53 FIELD_TYPE hyperpod.compute[0].spot: found 1; allowed: true or false",
    ),
    "a number for text": (
        group("name: 7, type: ml.c5.4xlarge, count: 2"),
        "7:8 FIELD_TYPE hyperpod.compute[0].name: found 7; allowed: text (put it in quotes)",
    ),
    "false for text": (
        SMALLEST.replace("demo", "no"),
        "2:1 FIELD_TYPE name: found false; allowed: text (put it in quotes)",
    ),
    "an account as a number": (
        SMALLEST + "account: 123456789012\n",
        "8:1 FIELD_TYPE account: found 123456789012; allowed: text (put it in quotes)",
    ),
    "a mapping for a list": (
        HEAD + "hyperpod: {compute: {name: worker}}\n",
        "5:12 FIELD_TYPE hyperpod.compute: found a mapping; allowed: a list",
    ),
    "a list for a mapping": (
        SMALLEST + "storage: [lustre]\n",
        "8:1 FIELD_TYPE storage: found a list; allowed: a mapping",
    ),
    "a list for text": (SMALLEST.replace("demo", "[demo]"), "2:1 FIELD_TYPE name: found a list; allowed: text"),
    "neither text nor list": (
        group("name: worker, type: {a: b}, count: 2"),
        "7:22 FIELD_TYPE hyperpod.compute[0].type: found a mapping; allowed: text or a list",
    ),
    "a number for text or list": (
        group("name: worker, type: 5, count: 2"),
        "7:22 FIELD_TYPE hyperpod.compute[0].type: found 5; allowed: text (put it in quotes) or a list",
    ),
    "an item of a list": (
        group("name: worker, type: [ml.c5.4xlarge, 5], count: 2"),
        "7:44 FIELD_TYPE hyperpod.compute[0].type[1]: found 5; allowed: text (put it in quotes)",
    ),
    "an empty list": (
        HEAD + "hyperpod: {compute: []}\n",
        "5:12 FIELD_VALUE hyperpod.compute: found 0 items; allowed: 1 or more",
    ),
    "a wrong word": (
        SMALLEST + "storage: {lustre: {storage_class: SDD}}\n",
        "8:20 FIELD_VALUE storage.lustre.storage_class: found 'SDD'; allowed: "
        "SSD, HDD or INTELLIGENT_TIERING (did you mean SSD?)",
    ),
    "the wrong only word": (
        SMALLEST.replace("kind: hyperpod", "kind: hyperpods"),
        "1:1 FIELD_VALUE kind: found 'hyperpods'; allowed: hyperpod or parallelcluster (did you mean hyperpod?)",
    ),
    "a wrong form": (
        SMALLEST + "storage: {lustre: {mount: fsx}}\n",
        "8:20 FIELD_VALUE storage.lustre.mount: found 'fsx'; allowed: "
        "text of the form ^(/[A-Za-z0-9][A-Za-z0-9._-]*)+$, such as /fsx",
    ),
    "too small": (
        SMALLEST + "storage: {lustre: {capacity_gib: 0}}\n",
        "8:20 FIELD_VALUE storage.lustre.capacity_gib: found 0; it should be greater than or equal to 1",
    ),
    "too short": (
        SMALLEST + "silence: [{rule: X, reason: ''}]\n",
        "8:21 FIELD_VALUE silence[0].reason: found ''; it should have at least 1 character",
    ),
    "a long value": (
        group(f"name: worker, type: ml.c5.4xlarge, count: {'x' * 200}"),
        f"7:43 FIELD_TYPE hyperpod.compute[0].count: found '{'x' * 76}...; allowed: a whole number",
    ),
    "an existing one with a wrong id": (
        SMALLEST + "storage: {openzfs: {existing: fsvol-1}}\n",
        "8:21 FIELD_VALUE storage.openzfs.existing: found 'fsvol-1'; allowed: "
        "text of the form ^fs-[0-9a-f]{8,17}$, such as fs-0123456789abcdef0",
    ),
    "an existing one with a field of a new one": (
        SMALLEST + "storage: {openzfs: {existing: fs-0123456789abcdef0, capacity_gib: 64}}\n",
        "8:53 FIELD_UNKNOWN storage.openzfs.capacity_gib: is not a field of storage.openzfs; allowed: "
        "existing, dns_name, root_volume, mount",
    ),
    "an existing one that lacks a field": (
        SMALLEST + "storage: {lustre: {existing: fs-0123456789abcdef0}}\n",
        "8:11 FIELD_MISSING storage.lustre.mount_name: is required and missing: "
        "Its Lustre mount name, as `aws fsx describe-file-systems` shows it.",
    ),
    "neither new nor existing": (
        SMALLEST + "storage: {openzfs: fs-0123456789abcdef0}\n",
        "8:11 FIELD_TYPE storage.openzfs: found 'fs-0123456789abcdef0'; allowed: a mapping",
    ),
}


@pytest.mark.parametrize(("text", "finding"), NO_DESCRIPTION.values(), ids=NO_DESCRIPTION.keys())
def test_no_description(text: str, finding: str) -> None:
    assert findings(text) == [finding]


def test_existing_misspelt() -> None:
    [finding] = findings(SMALLEST + "storage: {lustre: {existin: fs-0123456789abcdef0}}\n")
    assert finding.startswith(
        "8:20 FIELD_UNKNOWN storage.lustre.existin: is not a field of storage.lustre; did you mean existing? allowed: "
    )


def test_all_errors_at_once_in_the_order_of_the_file() -> None:
    text = """\
kind: hyperpods
regoin: us-west-2
availability_zone: us-west-2
storage:
  lustre: {capacity_gib: lots, mount: fsx}
hyperpod:
  compute:
    - {name: worker, type: ml.c5.4xlarge, count: true}
    - {name: second, count: 1}
tags: {owner: 7}
"""
    assert [finding.partition(": ")[0] for finding in findings(text)] == [
        "1:1 FIELD_VALUE kind",
        "1:1 FIELD_MISSING name",
        "1:1 FIELD_MISSING region",
        "2:1 FIELD_UNKNOWN regoin",
        "3:1 FIELD_VALUE availability_zone",
        "5:12 FIELD_TYPE storage.lustre.capacity_gib",
        "5:32 FIELD_VALUE storage.lustre.mount",
        "8:43 FIELD_TYPE hyperpod.compute[0].count",
        "9:7 FIELD_MISSING hyperpod.compute[1].type",
        "10:8 FIELD_TYPE tags.owner",
    ]


def test_the_error_says_all_of_it() -> None:
    with pytest.raises(
        SpecError, match=r"^<text>:1:1: error FIELD_MISSING name: .*\n<text>:1:1: error FIELD_MISSING region: "
    ):
        loads(SMALLEST.replace("name: demo\nregion: us-west-2\n", ""))


def directory(path: Path) -> None:
    path.mkdir()


def latin_1(path: Path) -> None:
    path.write_bytes(b"name: caf\xe9")


def ten_megabytes(path: Path) -> None:
    path.write_bytes(b"#" * 10_000_000)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def missing(path: Path) -> None:
    assert not path.exists()


def below_a_file(path: Path) -> None:
    path.symlink_to("/dev/null/x")


def loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (missing, "cannot be read: No such file or directory"),
        (below_a_file, "cannot be read: Not a directory"),
        (loop, "cannot be read: Too many levels of symbolic links"),
        (directory, "is a directory; name a YAML file in it"),
        (latin_1, "is not UTF-8 text (byte 9)"),
        (ten_megabytes, "is larger than 1 MiB; a cluster file is a few kilobytes"),
        (pipe, "is not a regular file"),
        (endless, "is not a regular file"),
    ],
)
def test_unreadable(tmp_path: Path, make, reason: str) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "x.yaml"
    make(file)
    with pytest.raises(UnreadableError) as caught:
        load(file)
    assert str(caught.value) == f"{file}: {reason}"
    [finding] = caught.value.findings
    assert (finding.rule, finding.file, finding.message) == ("FILE_UNREADABLE", str(file), reason)
