"""What an update did, told from what stood before and after."""

import pytest

from cdk_slurm.rehearsal import DATA_TYPES, Change, changes_between


def resource(type_="AWS::S3::Bucket", id_="a-bucket", stack="c-storage", **properties):
    return {
        "stack": stack,
        "logical_id": "Thing",
        "type": type_,
        "physical_id": id_,
        "properties": properties,
    }


def template(type_="AWS::S3::Bucket", policy="Retain", stack="c-storage"):
    definition = {
        "Type": type_,
        "DeletionPolicy": policy,
        "UpdateReplacePolicy": policy,
        "Metadata": {"aws:cdk:path": f"{stack}/Data/Thing/Resource"},
    }
    return {stack: {"Resources": {"Thing": definition}}}


EMPTY = {"c-storage": {"Resources": {}}}


def only_change(before, after, old=None, new=None) -> Change:
    [change] = changes_between(before, after, old=old or template(), new=new or template())
    return change


def test_what_was_not_there_is_created():
    change = only_change([], [resource()], old=EMPTY)
    assert (change.action, change.path, change.physical_id) == ("created", "Data/Thing", "a-bucket")
    assert not change.loses_data


def test_another_property_is_an_update_in_place():
    change = only_change([resource(A=1, B=2, C=3)], [resource(A=1, B=4, D=5)])
    assert (change.action, change.properties) == ("updated in place", ("B", "C", "D"))
    assert not change.loses_data


def test_what_is_as_it_was_is_no_change():
    assert changes_between([resource(A=1)], [resource(A=1)], old=template(), new=template()) == []


@pytest.mark.parametrize(("policy", "kept"), [("Retain", True), ("RetainExceptOnCreate", True), ("Delete", False)])
def test_another_physical_id_is_a_replacement(policy, kept):
    change = only_change([resource(A=1)], [resource(id_="another", A=2)], new=template(policy=policy))
    assert (change.action, change.properties, change.kept) == ("replaced", ("A",), kept)
    assert change.physical_id == "a-bucket", "the one that people know"
    assert change.loses_data


@pytest.mark.parametrize(("policy", "kept"), [("Retain", True), ("Delete", False)])
def test_what_is_not_there_any_more_is_deleted(policy, kept):
    change = only_change([resource()], [], old=template(policy=policy), new=EMPTY)
    assert (change.action, change.path, change.kept) == ("deleted", "Data/Thing", kept)
    assert change.loses_data


def test_only_what_holds_data_loses_any():
    vpc = "AWS::EC2::VPC"
    assert vpc not in DATA_TYPES
    change = only_change([resource(vpc)], [resource(vpc, "another")], old=template(vpc), new=template(vpc))
    assert (change.action, change.loses_data) == ("replaced", False)


def test_a_stack_that_is_not_deployed_any_more_is_left_as_it_is():
    """`cdk deploy` does not touch it."""
    before = [resource(stack="c-data"), resource()]
    changes = changes_between(before, before, old=template() | template(stack="c-data"), new=template())
    assert changes == []
