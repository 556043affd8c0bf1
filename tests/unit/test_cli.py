"""The command: every form of output, every exit status."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cdk_slurm.cli import main
from cdk_slurm.cli.catalogue import catalogue
from cdk_slurm.cli.formats import github
from cdk_slurm.rules import RULES, Rule
from cdk_slurm.spec import ClusterSpec, ComputeGroup, Finding, json_schema

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "clusters").glob("*.yaml"))
PAGE = "https://example.com/page"


def demo_name(spec: ClusterSpec) -> Iterator[tuple[str, str]]:
    if spec.name != "demo":
        yield "name", f"found {spec.name}; allowed: demo"


def demo_count(group: ComputeGroup) -> Iterator[tuple[str, str]]:
    if group.count > 10:
        yield "count", f"found {group.count}; allowed: 10 or fewer"


@pytest.fixture(autouse=True)
def two_rules() -> Iterator[None]:
    """Only two rules, whatever others there are: an error about the name and a warning about a group's count."""
    saved = dict(RULES)
    RULES.clear()
    RULES["DEMO_NAME"] = Rule(
        id="DEMO_NAME",
        level="error",
        judges=ClusterSpec,
        title="The name is demo.",
        explanation="Because tests\nare written so.",
        reference=PAGE,
        violations=demo_name,
    )
    RULES["DEMO_COUNT"] = Rule(
        id="DEMO_COUNT",
        level="warning",
        judges=ComputeGroup,
        title="A group is small.",
        explanation="",
        reference=PAGE,
        violations=demo_count,
    )
    yield
    RULES.clear()
    RULES.update(saved)


GOOD = """\
kind: hyperpod
name: demo
region: us-west-2
availability_zone: usw2-az4
hyperpod: {compute: [{name: worker, type: ml.c5.4xlarge, count: 2}]}
"""
WARNED = GOOD.replace("count: 2", "count: 20")
WRONG = WARNED.replace("demo", "other")
SILENCED = WRONG + "silence: [{rule: DEMO_NAME, reason: it is an older cluster}]\n"


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files above, and those that cannot be read, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name, text in {"good": GOOD, "warned": WARNED, "wrong": WRONG, "silenced": SILENCED}.items():
        Path(f"{name}.yaml").write_text(text, "utf-8")
    Path("misspelt.yaml").write_text(GOOD.replace("region", "regoin"), "utf-8")


def run(*arguments: str, **options: Any) -> Result:
    result = CliRunner().invoke(main, arguments, **options)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.parametrize("form", ["human", "json", "sarif", "github"])
@pytest.mark.parametrize(
    ("names", "status"),
    [
        (["good.yaml"], 0),
        (["warned.yaml"], 0),
        (["silenced.yaml"], 0),
        (["wrong.yaml"], 1),
        (["misspelt.yaml"], 1),
        (["good.yaml", "wrong.yaml"], 1),
        (["missing.yaml"], 2),
        (["."], 2),
        (["wrong.yaml", "missing.yaml"], 2),
    ],
)
def test_exit_status(form: str, names: list[str], status: int) -> None:
    result = run("validate", *names, "--format", form)
    assert result.exit_code == status
    assert result.stderr == ""


HUMAN = {
    "good.yaml": "good.yaml: no errors, no warnings\n",
    "wrong.yaml": f"""\
wrong.yaml:2:1: error DEMO_NAME name: found other; allowed: demo
    {PAGE}
wrong.yaml:5:58: warning DEMO_COUNT hyperpod.compute[0].count: found 20; allowed: 10 or fewer
    {PAGE}
wrong.yaml: 1 error, 1 warning
""",
    "silenced.yaml": f"""\
silenced.yaml:2:1: silenced DEMO_NAME name: found other; allowed: demo
    silenced: it is an older cluster
silenced.yaml:5:58: warning DEMO_COUNT hyperpod.compute[0].count: found 20; allowed: 10 or fewer
    {PAGE}
silenced.yaml: no errors, 1 warning, 1 silenced
""",
    "missing.yaml": """\
missing.yaml: error FILE_UNREADABLE cannot be read: No such file or directory
missing.yaml: 1 error, no warnings
""",
}


@pytest.mark.parametrize(("name", "text"), HUMAN.items())
def test_human(name: str, text: str) -> None:
    assert run("validate", name).stdout == text


def test_human_of_several_files() -> None:
    result = run("validate", "wrong.yaml", "good.yaml", "missing.yaml")
    assert result.stdout.splitlines()[-1] == "3 files: 2 errors, 1 warning"


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_on_a_terminal(environment: dict[str, str], coloured: bool) -> None:
    result = run("validate", "wrong.yaml", color=True, env={"NO_COLOR": None, **environment})
    assert ("\x1b[31m" in result.stdout) == coloured


def test_a_file_cannot_steer_the_terminal() -> None:
    Path("x.yaml").write_text(GOOD.replace("demo", r'"\e[2J\u202e\n::error::"'), "utf-8")
    result = run("validate", "x.yaml")
    assert r"found \x1b[2J\u202e\n::error::; allowed: demo" in result.stdout


def test_a_terminal_without_the_letters(tmp_path: Path) -> None:
    text = GOOD.replace("demo", "ä").encode()
    Path(os.fsdecode(b"\xff.yaml")).write_bytes(text)
    result = subprocess.run(
        [sys.executable, "-m", "cdk_slurm.cli", "validate", b"\xff.yaml"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert result.stdout.startswith(rb"\udcff.yaml:"), result.stderr


def test_json() -> None:
    result = run("validate", "silenced.yaml", "missing.yaml", "--format", "json")
    assert json.loads(result.stdout) == {
        "version": 1,
        "files": ["silenced.yaml", "missing.yaml"],
        "errors": 1,
        "warnings": 1,
        "silenced": 1,
        "findings": [
            {
                "rule": "DEMO_NAME",
                "level": "error",
                "file": "silenced.yaml",
                "line": 2,
                "column": 1,
                "field": "name",
                "path": ["name"],
                "message": "found other; allowed: demo",
                "reference": PAGE,
                "silenced": "it is an older cluster",
            },
            {
                "rule": "DEMO_COUNT",
                "level": "warning",
                "file": "silenced.yaml",
                "line": 5,
                "column": 58,
                "field": "hyperpod.compute[0].count",
                "path": ["hyperpod", "compute", 0, "count"],
                "message": "found 20; allowed: 10 or fewer",
                "reference": PAGE,
                "silenced": None,
            },
            {
                "rule": "FILE_UNREADABLE",
                "level": "error",
                "file": "missing.yaml",
                "line": None,
                "column": None,
                "field": "",
                "path": [],
                "message": "cannot be read: No such file or directory",
                "reference": None,
                "silenced": None,
            },
        ],
    }


def test_sarif() -> None:
    """What SARIF 2.1.0 requires; the whole output was also checked once against OASIS's JSON Schema."""
    result = run("validate", "silenced.yaml", str(Path("wrong.yaml").resolve()), "no such.yaml", "--format", "sarif")
    log = json.loads(result.stdout)
    assert log["version"] == "2.1.0"
    [run_] = log["runs"]
    driver = run_["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("cdk-slurm", version("cdk-slurm"))
    assert driver["rules"][0] == {
        "id": "DEMO_NAME",
        "shortDescription": {"text": "The name is demo."},
        "fullDescription": {"text": "Because tests\nare written so."},
        "helpUri": PAGE,
        "defaultConfiguration": {"level": "error"},
    }
    assert all(rule["fullDescription"]["text"] for rule in driver["rules"])
    for one in run_["results"]:
        assert driver["rules"][one["ruleIndex"]]["id"] == one["ruleId"]
        assert one["message"]["text"]
    silenced, warning, *_, unreadable = run_["results"]
    assert silenced["suppressions"] == [{"kind": "inSource", "justification": "it is an older cluster"}]
    assert warning["level"] == "warning"
    assert warning["message"]["text"] == "hyperpod.compute[0].count: found 20; allowed: 10 or fewer"
    assert warning["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "silenced.yaml"},
                "region": {"startLine": 5, "startColumn": 58},
            }
        }
    ]
    assert "suppressions" not in warning
    assert unreadable["ruleId"] == "FILE_UNREADABLE"
    assert unreadable["locations"] == [{"physicalLocation": {"artifactLocation": {"uri": "no%20such.yaml"}}}]
    absolute = run_["results"][2]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert absolute == Path("wrong.yaml").resolve().as_uri()


def test_github() -> None:
    result = run("validate", "silenced.yaml", "missing.yaml", "--format", "github")
    assert result.stdout.splitlines() == [
        "::notice file=silenced.yaml,line=2,col=1,title=DEMO_NAME::name: found other; allowed: demo"
        f"%0Asilenced: it is an older cluster%0A{PAGE}",
        "::warning file=silenced.yaml,line=5,col=58,title=DEMO_COUNT::"
        f"hyperpod.compute[0].count: found 20; allowed: 10 or fewer%0A{PAGE}",
        "::error file=missing.yaml,title=FILE_UNREADABLE::cannot be read: No such file or directory",
    ]


def test_github_without_findings() -> None:
    assert run("validate", "good.yaml", "--format", "github").stdout == ""


def test_github_escapes() -> None:
    finding = Finding(
        rule="R", level="error", path=("a",), message="100 %,\r\n::x", file="a,b:c%d\n.yaml", line=1, column=2
    )
    assert github.render({"x": (finding,)}) == (
        "::error file=a%2Cb%3Ac%25d%0A.yaml,line=1,col=2,title=R::a: 100 %25,%0D%0A::x\n"
    )


def test_rules() -> None:
    lines = run("rules").stdout.splitlines()
    assert lines[:4] == [
        "DEMO_NAME  error  the cluster",
        "  The name is demo.",
        "DEMO_COUNT  warning  hyperpod.compute",
        "  A group is small.",
    ]
    assert "FIELD_MISSING  error  the file" in lines


def test_rules_as_json() -> None:
    first, *_ = entries = json.loads(run("rules", "--format", "json").stdout)
    assert first == {
        "id": "DEMO_NAME",
        "level": "error",
        "judges": "the cluster",
        "title": "The name is demo.",
        "explanation": "Because tests\nare written so.",
        "reference": PAGE,
    }
    assert [entry["id"] for entry in entries] == list(catalogue())


@pytest.mark.parametrize("id_", ["DEMO_NAME", "demo_name"])
def test_explain(id_: str) -> None:
    assert (
        run("rules", "explain", id_).stdout
        == f"""\
DEMO_NAME  error  the cluster

The name is demo.

Because tests are written so.

{PAGE}
"""
    )


def test_explain_an_unknown_id() -> None:
    result = run("rules", "explain", "DEMO_NAMES")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "there is no DEMO_NAMES; did you mean DEMO_NAME?" in result.stderr


def test_everything_that_is_found_can_be_explained() -> None:
    sources = [*(ROOT / "constructs/cdk_slurm/spec").glob("*.py"), ROOT / "constructs/cdk_slurm/rules/engine.py"]
    prefixed = re.compile('"((?:YAML|FIELD|FILE|SILENCE)_[A-Z]+)"')
    ids = {id_ for file in sources for id_ in prefixed.findall(file.read_text("utf-8"))}
    assert ids == set(catalogue()) - set(RULES)


def test_schema() -> None:
    assert run("schema").stdout == json.dumps(json_schema(), indent=2) + "\n"


def test_version() -> None:
    assert run("--version").stdout == f"cdk-slurm, version {version('cdk-slurm')}\n"


@pytest.mark.parametrize("arguments", ["validate", "validate x --format xml", "rules explain", "summary", "no"])
def test_wrong_use(arguments: str) -> None:
    result = run(*arguments.split())
    assert result.exit_code == 2
    assert "Usage: " in result.stderr


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_every_example_is_valid_and_checked_without_the_cdk(file: Path) -> None:
    script = (
        "import sys\n"
        "from cdk_slurm.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "print([name for name in ('aws_cdk', 'jsii', 'constructs', 'rich', 'botocore') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, "validate", str(file)], capture_output=True, text=True, check=False
    )
    assert result.stdout == f"{file}: no errors, no warnings\n[]\n", result.stderr


def test_as_a_module() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "cdk_slurm.cli", "validate", "missing.yaml"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "FILE_UNREADABLE" in result.stdout


class TestSummary:
    """A small cloud assembly, written by hand."""

    @pytest.fixture
    def assembly(self) -> Path:
        directory = Path("cdk.out")
        write(
            directory / "manifest.json",
            {
                "version": "55.0.0",
                "artifacts": {
                    "Tree": {"type": "cdk:tree", "properties": {"file": "tree.json"}},
                    "demo-Network.assets": {"type": "cdk:asset-manifest", "properties": {"file": "x.json"}},
                    "demo-Network": stack("demo-Network", terminationProtection=True),
                    "Storage": stack("Storage", ["demo-Network", "Storage.assets"], stackName="demo-Storage"),
                    "assembly-Later": {
                        "type": "cdk:cloud-assembly",
                        "properties": {"directoryName": "assembly-Later"},
                    },
                },
            },
        )
        vpc = {"Type": "AWS::EC2::VPC", "DeletionPolicy": "Delete"}
        file_system = {"Type": "AWS::FSx::FileSystem", "DeletionPolicy": "Retain"}
        metadata = {"Type": "AWS::CDK::Metadata"}
        write(directory / "demo-Network.template.json", {"Resources": {"Vpc": vpc, "CDKMetadata": metadata}})
        write(directory / "Storage.template.json", {"Resources": {"A": file_system, "B": file_system, "C": vpc}})
        write(directory / "assembly-Later/manifest.json", {"artifacts": {"demo-Cluster": stack("demo-Cluster")}})
        write(directory / "assembly-Later/demo-Cluster.template.json", {})
        violation = {"ruleName": "X1", "violatingConstructs": [{}, {}]}
        write(
            directory / "validation-report.json",
            {
                "pluginReports": [
                    {"pluginName": "AwsSolutions", "violations": [], "suppressedViolations": [violation, violation]},
                    {"pluginName": "Own", "violations": [violation]},
                ]
            },
        )
        return directory

    def rows(self, result: Result) -> list[list[str]]:
        """The cells of the rows of all tables."""
        assert result.exit_code == 0, result.stderr
        return [re.split(r" {2,}", line.strip()) for line in result.stdout.splitlines()]

    def test_of_the_assembly(self, assembly: Path) -> None:
        rows = self.rows(run("summary", "good.yaml"))
        assert ["demo-Network", "1", "yes"] in rows
        assert ["demo-Storage", "3", "no", "demo-Network"] in rows
        assert ["demo-Cluster", "0", "no"] in rows
        assert ["demo-Storage", "2 FSx FileSystem"] in rows
        assert ["AwsSolutions", "0", "4"] in rows
        assert ["Own", "2", "0"] in rows
        assert rows[-1] == ["cdk deploy --all --concurrency 4 -c cluster=good.yaml"]

    def test_without_policy_packs(self, assembly: Path) -> None:
        (assembly / "validation-report.json").unlink()
        assert ["none was applied"] in self.rows(run("summary", "good.yaml"))

    def test_with_nothing_to_report(self, assembly: Path) -> None:
        write(assembly / "validation-report.json", {"pluginReports": []})
        assert ["all", "0", "0"] in self.rows(run("summary", "good.yaml"))

    def test_of_the_smallest_cluster(self, assembly: Path) -> None:
        rows = self.rows(run("summary", "good.yaml"))
        assert rows[0] == ["demo"]
        assert ["Region", "us-west-2, zone usw2-az4"] in rows
        assert ["Slurm configuration", "api"] in rows
        assert ["Provisioning", "continuous"] in rows
        assert ["Name", "Node type", "Instance type", "Count", "Partition"] in rows, "no column for GPUs"
        assert ["worker", "compute", "ml.c5.4xlarge", "2", "worker"] in rows
        assert ["Total", "3"] in rows
        assert ["Storage"] not in rows
        assert ["Mounted buckets"] not in rows

    def test_of_a_large_cluster(self, assembly: Path) -> None:
        Path("large [bold].yaml").write_text(
            """\
kind: hyperpod
name: demo
region: us-west-2
availability_zone: usw2-az4
network: {additional_zones: [{availability_zone: usw2-az1, private_cidr: 10.2.0.0/16}]}
storage:
  lustre: {storage_class: INTELLIGENT_TIERING, throughput_mbps: 4000, removal_policy: destroy}
  openzfs: {existing: fs-0123456789abcdef0}
  s3: [{bucket: my-sets, prefix: text/, mount: /sets}, {bucket: my-results, mount: /results, read_only: false}]
data:
  bucket: my-data
  associations: [{path: /data, prefix: sets/, export_events: []}]
hyperpod:
  slurm_configuration: provisioning_parameters
  controller: {count: 2}
  accounting_database: {}
  compute:
    - {name: gpu, type: ml.p5.48xlarge, count: 4, partition: "[red]"}
  restrict_ssh_to_jobs: true
users: [{name: alice, uid: 10001}]
directory: {uri: "ldaps://ldap.example.com", base_dn: "dc=example,dc=com"}
studio: {domain: null}
observability:
  alert_emails: [ml-platform@example.com]
  slack: {workspace_id: T07EA123LEP, channel_id: C07EZ1ABC23}
""",
            "utf-8",
        )
        rows = self.rows(run("summary", "large [bold].yaml", env={"COLUMNS": "120"}))
        assert ["gpu", "compute", "ml.p5.48xlarge", "4", "8", "32", "[red]"] in rows
        assert ["Total", "6", "32"] in rows
        assert ["Private subnet", "10.2.0.0/16", "usw2-az1"] in rows
        assert ["Lustre", "PERSISTENT_2 INTELLIGENT_TIERING", "elastic", "4000 MB/s", "/fsx", "destroyed"] in rows
        assert ["OpenZFS", "fs-0123456789abcdef0", "/home", "not touched"] in rows
        assert ["Accounting", "MariaDB db.m6g.large", "100 GiB", "kept"] in rows
        assert ["my-sets", "text/", "/sets", "read"] in rows
        assert ["my-results", "whole bucket", "/results", "read and write"] in rows
        assert ["Log in to compute nodes", "only while a job of one's own runs there"] in rows
        assert ["Accounts", "ldaps://ldap.example.com, beside 1 of the file"] in rows
        assert ["Studio workspace", "/fsx/shared/studio-workspace"] in rows
        assert ["Studio domain", "none of ours"] in rows
        assert ["Metrics", "150 days, kept on destroy"] in rows
        assert ["Dashboards", "for people of IAM Identity Center"] in rows
        assert ["Alerts", "ml-platform@example.com"] in rows
        assert ["Slack channel C07EZ1ABC23"] in rows
        assert ["Data: the existing bucket my-data"] in rows
        assert ["/fsx/data", "sets/", "new, changed, deleted", "nothing"] in rows
        assert rows[-1] == ["cdk deploy --all --concurrency 4 -c cluster='large [bold].yaml'"]

    @pytest.mark.parametrize(
        ("observability", "told"),
        [
            (
                "{workspace: {existing: ws-0123abcd}, grafana: null}",
                [["Metrics", "the existing workspace ws-0123abcd"], ["Dashboards", "none"], ["Alerts", "to nobody"]],
            ),
            (
                "{workspace: {removal_policy: destroy, retention_days: 7}, "
                'grafana: {saml: {metadata_url: "https://idp.example.com", admin_roles: [admin]}}}',
                [["Metrics", "7 days, destroyed on destroy"], ["Dashboards", "for people with SAML"]],
            ),
        ],
    )
    def test_of_what_a_cluster_is_seen_with(self, assembly: Path, observability: str, told: list[list[str]]) -> None:
        Path("seen.yaml").write_text(f"{Path('good.yaml').read_text('utf-8')}observability: {observability}\n", "utf-8")
        rows = self.rows(run("summary", "seen.yaml"))
        assert [one for one in rows if one in told] == told

    @pytest.mark.parametrize(
        ("domain", "told"),
        [
            ("{apps: [code_editor, jupyter_lab]}", "code editor and jupyter lab for alice, bob, kept on destroy"),
            ("{users: [{name: bob}], removal_policy: destroy}", "code editor for bob, destroyed on destroy"),
            ("{users: []}", "code editor for nobody, kept on destroy"),
        ],
    )
    def test_of_who_is_in_studio(self, assembly: Path, domain: str, told: str) -> None:
        people = "users: [{name: alice, uid: 10001, gid: 1001}, {name: bob, uid: 10002, gid: 1001}]"
        more = f"storage: {{lustre: {{}}}}\n{people}\nstudio: {{domain: {domain}}}\n"
        Path("good.yaml").write_text(f"{Path('good.yaml').read_text('utf-8')}{more}", "utf-8")
        assert ["Studio domain", told] in self.rows(run("summary", "good.yaml", env={"COLUMNS": "120"}))

    @pytest.mark.parametrize("columns", ["80", "120"])
    @pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
    def test_it_fits_a_terminal(self, assembly: Path, example: Path, columns: str) -> None:
        name = re.search(r"(?m)^name: (\S+)", example.read_text("utf-8"))
        assert name
        write(assembly / "manifest.json", {"artifacts": {name[1]: stack("Storage")}})
        result = run("summary", str(example), env={"COLUMNS": columns})
        assert result.exit_code == 0, result.stderr
        told = [line for line in result.stdout.splitlines() if not line.startswith("  cdk")]  # to be copied whole
        assert max(map(len, told)) <= int(columns)

    def test_a_missing_assembly(self) -> None:
        result = run("summary", "good.yaml", "--assembly", "elsewhere")
        assert result.exit_code == 2
        assert "elsewhere/manifest.json is missing; has `cdk synth` written elsewhere?" in result.stderr
        assert result.stdout == ""

    @pytest.mark.parametrize("manifest", [[], {}, {"artifacts": []}, {"artifacts": {"a": {}}}, "not JSON"])
    def test_a_foreign_assembly(self, assembly: Path, manifest: Any) -> None:
        write(assembly / "manifest.json", manifest)
        result = run("summary", "good.yaml")
        assert result.exit_code == 2
        assert "cdk.out is not what `cdk synth` writes" in result.stderr

    def test_an_assembly_of_another_cluster(self, assembly: Path) -> None:
        result = run("summary", "wrong.yaml")
        assert result.exit_code == 2
        assert "holds no stack of other, but demo-Network, demo-Storage, demo-Cluster" in " ".join(
            result.stderr.split()
        )

    @pytest.mark.parametrize(("name", "status"), [("misspelt.yaml", 1), ("missing.yaml", 2)])
    def test_a_wrong_file(self, assembly: Path, name: str, status: int) -> None:
        result = run("summary", name)
        assert result.exit_code == status
        assert result.stdout == ""
        assert f"{name}:" in result.stderr


def stack(file: str, dependencies: list[str] | None = None, **properties: Any) -> dict[str, Any]:
    return {
        "type": "aws:cloudformation:stack",
        "properties": {"templateFile": f"{file}.template.json", **properties},
        "dependencies": dependencies or [],
    }


def write(file: Path, content: Any) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content) if content != "not JSON" else content, "utf-8")
