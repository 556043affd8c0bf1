"""AwsSolutions, NIST 800-53 R5 and CDK's own rules find nothing that is not acknowledged, and no reason is stale.

The one place where CDK's own rules are on: they take a second to start.
"""

import json
from functools import cache

import aws_cdk as cdk
import pytest
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_deployment as s3_deployment
from cdk_nag import AwsSolutionsChecks, NIST80053R5Checks

from cdk_slurm.hyperpod.lifecycle_bundle import LifecycleBundle
from stacks import ClusterStacks

#: What acknowledgements are made for: cdk-nag's packs, by the names that stand before a finding's id.
PACKS = {"AwsSolutions", "NIST.800.53.R5"}

#: What is found of this checkout, and not of a template.
FETCHING = "Annotation::LIFECYCLE_PART_MISSING"

#: What the CDK command line adds to an app's context: some rules see the difference.
COMMAND_LINE = {
    "aws:cdk:enable-path-metadata": True,
    "aws:cdk:enable-asset-metadata": True,
    "aws:cdk:version-reporting": True,
    "@aws-cdk/core:failSynthOnValidationErrors": False,
}


class Verdict:
    """What the packs said of an assembly, and what was acknowledged in it."""

    def __init__(self, assembly):
        report = json.loads((assembly.directory / "validation-report.json").read_text("utf-8"))
        self.plugins = {plugin["pluginName"]: plugin for plugin in report["pluginReports"]}
        self.open = [
            f"{construct['constructPath']}: {violation['ruleName']}: {violation['description']}"
            for plugin in self.plugins.values()
            for violation in plugin["violations"]
            if violation["ruleName"] != FETCHING
            for construct in violation["violatingConstructs"]
        ]
        suppressed = [v for plugin in self.plugins.values() for v in plugin.get("suppressedViolations", [])]
        #: Where each finding is that an acknowledgement accepts.
        self.findings = {
            (construct["constructPath"], violation["ruleName"])
            for violation in suppressed
            for construct in violation["violatingConstructs"]
        }
        #: Construct and finding of each acknowledgement that accepts one.
        self.used = {(violation["acknowledgedAt"], violation["acknowledgedId"]) for violation in suppressed}
        #: The reason of each acknowledgement, by construct and finding.
        self.reasons = {
            (path.removeprefix("/"), finding): reason
            for metadata in assembly.directory.glob("*.metadata.json")
            for path, entries in json.loads(metadata.read_text("utf-8")).items()
            for entry in entries
            if entry["type"] == "aws:cdk:acknowledged-rules"
            for finding, reason in entry["data"].items()
            if finding.partition("::")[0] in PACKS  # CDK acknowledges some of its own rules in constructs of its own
        }


@pytest.fixture(scope="session")
def cdks_own_rules():
    """One instance, as each brings an engine of 150 MB. Registered by hand, no environment variable turns it off."""
    return cdk.CloudFormationValidatePlugin()


@pytest.fixture(scope="module")
def judge(synthesise, cdks_own_rules):
    """The verdict on an app."""

    def judge(build):
        def judged(app):
            build(app)
            packs = (AwsSolutionsChecks(app), NIST80053R5Checks(app))
            cdk.Validations.of(app).add_plugins(*packs, cdks_own_rules)

        return Verdict(synthesise.app(judged, **COMMAND_LINE))

    return judge


@pytest.fixture(scope="module")
def verdict(synthesise, judge):
    """The verdict on an example file or a variant."""
    return cache(lambda name: judge(lambda app: ClusterStacks(app, synthesise.description(name))))


def test_nothing_is_open(verdict, any_cluster):
    assert verdict(any_cluster).open == []


def test_every_acknowledgement_has_a_reason(verdict, any_cluster):
    reasons = verdict(any_cluster).reasons
    assert reasons
    assert [finding for finding, reason in reasons.items() if len(reason.split()) < 4] == []


def test_no_acknowledgement_is_stale(verdict, any_cluster):
    """One that accepts nothing would hide what the same rule finds there tomorrow."""
    judged = verdict(any_cluster)
    assert set(judged.reasons) - judged.used == set()


def test_nothing_is_open_in_a_stack_for_any_account_and_region(judge, everything):
    """There names of accounts and Regions are known at deployment only, and stand in findings otherwise."""
    judged = judge(lambda app: everything(cdk.Stack(app, "stack")))
    assert judged.open == []
    assert set(judged.reasons) - judged.used == set()


def test_without_acknowledgements_the_packs_find_what_they_accept(judge, verdict, synthesise, monkeypatch):
    """The packs are at work, and an acknowledgement takes away what it names and no more."""
    accepted = verdict("destroy").findings
    monkeypatch.setattr(cdk.Validations, "acknowledge", lambda *_: None)
    raw = judge(lambda app: ClusterStacks(app, synthesise.description("destroy")))
    assert raw.reasons == {}
    assert len(raw.open) > 45
    assert {tuple(finding.split(": ")[:2]) for finding in raw.open} == accepted
    assert {rule.split("-")[0] for _, rule in accepted} == PACKS


def test_cdks_own_rules_are_at_work(synthesise, cdks_own_rules):
    def build(app):
        cdk.CfnResource(
            cdk.Stack(app, "stack"), "Cluster", type="AWS::SageMaker::Cluster", properties={"NoSuchProperty": 1}
        )
        cdk.Validations.of(app).add_plugins(cdks_own_rules)

    judged = Verdict(synthesise.app(build, **COMMAND_LINE))
    assert any("NoSuchProperty" in finding for finding in judged.open)


def test_nothing_is_accepted_on_an_upload_of_somebody_elses(judge):
    """Whose function, made by CDK too, comes before ours in the same stack."""

    def build(app):
        stack = cdk.Stack(app, "stack")
        page = s3_deployment.Source.data("index.html", "Hello")
        s3_deployment.BucketDeployment(stack, "Site", destination_bucket=s3.Bucket(stack, "Pages"), sources=[page])
        LifecycleBundle(stack, "Bundle", cluster_name="c", files={})

    judged = judge(build)
    uploads = {path for path, _ in judged.reasons if "Custom::CDKBucketDeployment" in path}
    assert {path.endswith("320MiB") for path in uploads} == {True}
    assert [one for one in judged.open if "CDKBucketDeployment" in one and "LambdaDLQ" in one and "320MiB" not in one]
