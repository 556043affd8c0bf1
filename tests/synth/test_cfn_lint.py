"""cfn-lint finds neither error nor warning in any template."""

import json
from functools import cache

import pytest
from cfnlint.config import ConfigMixIn
from cfnlint.decode import decode_str
from cfnlint.runner import Runner

#: Rules that do not hold of templates that CDK writes, each with why.
IGNORED = {
    "W3010": "a description says which zone, as nodes, file systems and reserved capacity must share it",
    "W3005": "CDK says of everything in a construct that is depended upon that it is waited for, references or not",
}


@cache
def runner(region):
    """One for all templates of a Region: it takes as long to load its rules as to apply them."""
    return Runner(ConfigMixIn(regions=[region], ignore_checks=list(IGNORED)))


@cache
def findings(template, region):
    content, unreadable = decode_str(template)
    found = unreadable or runner(region).validate_template(content)
    return [f"{one.rule.id} at {'/'.join(map(str, one.path or []))}: {one.message}" for one in found]


def test_templates_are_sound(synthesise, any_cluster):
    assembly = synthesise.example(any_cluster)
    region = synthesise.description(any_cluster).region
    found = {
        name: findings((assembly.directory / f"{name}.template.json").read_text("utf-8"), region)
        for name, template in assembly.templates.items()
        if template.resources  # test_stacks.py looks for stacks of nothing
    }
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    ("section", "rule"),
    [
        ({"Resources": {"Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"NoSuchProperty": 1}}}}, "E3002"),
        ({"Parameters": {"Unused": {"Type": "String"}}}, "W2001"),
    ],
)
def test_errors_and_warnings_are_found(section, rule):
    sound = {"Resources": {"Bucket": {"Type": "AWS::S3::Bucket"}}}
    [found] = findings(json.dumps(sound | section), "us-west-2")
    assert found.startswith(rule)
