"""One snapshot for each example: what a change of the constructs changes in templates, for a reviewer to see.

`pytest tests/synth/test_snapshots.py --snapshot-update` writes them anew.
"""

import filecmp
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from syrupy.extensions.json import JSONSnapshotExtension

ROOT = Path(__file__).resolve().parents[2]

#: What differs with every byte of a script, a dashboard or CDK's own functions: hashes of assets, of the lifecycle
#: bundle, of the tag by which CDK's upload function knows its prefix, of the dashboards, and of spaces' scripts.
HASHES = [
    (re.compile(r"\b[0-9a-f]{64}\b"), "<asset>"),
    (re.compile(r"\blifecycle/[0-9a-f]{16}\b"), "lifecycle/<bundle>"),
    (re.compile(r"(aws-cdk:cr-owned:lifecycle/<bundle>):[0-9a-f]{8}\b"), r"\1:<owner>"),
    (re.compile(r'("DashboardsHash"): "[0-9a-f]{16}"'), r'\1: "<dashboards>"'),
    (re.compile(r'("StudioLifecycleConfigName": "[^"]+)-[0-9a-f]{8}"'), r'\1-<script>"'),
]

#: Long texts that other tests read: alert rules, the alert manager's templates and scripts of spaces.
TEXTS = {
    "AWS::APS::RuleGroupsNamespace": "Data",
    "AWS::APS::Workspace": "AlertManagerDefinition",
    "AWS::SageMaker::StudioLifecycleConfig": "StudioLifecycleConfigContent",
}


def normalised(template):
    text = json.dumps(template)
    for pattern, replacement in HASHES:
        text = pattern.sub(replacement, text)
    template = json.loads(text)
    # The bootstrap stack's version: CDK's affair.
    for section in ("Parameters", "Rules"):
        assert len(template.pop(section, {})) <= 1
    template["Resources"] = {
        id: resource
        for id, resource in template.get("Resources", {}).items()
        if resource["Type"] != "AWS::CDK::Metadata"
    }
    for resource in template["Resources"].values():
        if text := TEXTS.get(resource["Type"]):
            resource["Properties"][text] = "<text>"
    return template


def test_templates_are_as_reviewed(synthesise, example, snapshot):
    templates = synthesise.example(example).templates
    found = {name: normalised(template.body) for name, template in templates.items()}
    assert found == snapshot.use_extension(JSONSnapshotExtension)


def test_two_syntheses_are_the_same_byte_by_byte(synthesise, tmp_path):
    """What a set's order, a clock or a random name would spoil: every deployment would then change something."""
    name = "hyperpod-multihead"
    started = [
        (outdir, app(name, outdir, hash_seed)) for outdir, hash_seed in [(tmp_path / "1", 1), (tmp_path / "2", 2)]
    ]
    for outdir, process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        # What the other tests look at is what the app writes.
        for stack, template in synthesise.example(name).templates.items():
            assert template.body == json.loads((outdir / f"{stack}.template.json").read_text("utf-8"))
    first, second = (sorted(path.relative_to(outdir) for path in outdir.rglob("*")) for outdir, _ in started)
    assert first == second
    differing = [
        str(path)
        for path in first
        if (tmp_path / "1" / path).is_file()
        and not filecmp.cmp(tmp_path / "1" / path, tmp_path / "2" / path, shallow=False)
    ]
    assert differing == []


def app(name, outdir, hash_seed):
    """`app.py` in a process of its own, started as the CDK CLI does."""
    context = json.loads((ROOT / "cdk.json").read_text("utf-8"))["context"] | {"cluster": f"clusters/{name}.yaml"}
    environment = os.environ | {
        "CDK_OUTDIR": str(outdir),
        "CDK_CONTEXT_JSON": json.dumps(context),
        "CDK_VALIDATION": "false",
        # A warning's says where jsii unpacked itself.
        "CDK_DISABLE_STACK_TRACE": "true",
        "PYTHONHASHSEED": str(hash_seed),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return subprocess.Popen(
        [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
