"""A cluster in what exists already: the rehearsal stands in for it, and nothing of it is changed."""

from collections.abc import Iterator

import pytest

from cdk_slurm.assembly import Assembly
from cdk_slurm.rehearsal import LocalAws, Stage
from tests.deploy.inventory import everything
from tests.deploy.lives import Scene, loaded, scene, synthesised

DESCRIBED = {
    "kind": "hyperpod",
    "name": "guest",
    "region": "eu-west-1",
    "availability_zone": "euw1-az2",
    "account": "111122223333",
    "kms_key": "arn:aws:kms:eu-west-1:111122223333:key/0123abcd-0123-4567-89ab-0123456789ab",
    "network": {
        "existing": "vpc-0123456789abcdef0",
        "private_subnet": "subnet-0123456789abcdef0",
        "private_subnet_cidr": "10.1.0.0/16",
        "security_group": "sg-0123456789abcdef0",
    },
    "storage": {
        "lustre": {"existing": "fs-0123456789abcdef0", "mount_name": "abcdefgh"},
        "openzfs": {"existing": "fs-0123456789abcdef1", "dns_name": "fs-0123456789abcdef1.fsx.eu-west-1.amazonaws.com"},
        "s3": [{"bucket": "someones-results", "mount": "/results"}],
    },
    "data": {"bucket": "someones-data", "associations": [{"path": "/", "prefix": "sets/"}]},
    "hyperpod": {
        "compute": [{"name": "worker", "type": "ml.c5.large", "count": 1, "subnet": "subnet-0123456789abcdef1"}],
        "accounting_database": {
            "existing": "slurm.abcdefghijkl.eu-west-1.rds.amazonaws.com",
            "secret": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:slurm-AbCdEf",
        },
    },
    "directory": {
        "uri": "ldaps://ldap.example.com",
        "base_dn": "dc=example,dc=com",
        "bind_dn": "cn=slurm,dc=example,dc=com",
        "bind_secret": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:ldap-AbCdEf",
    },
    "observability": {"workspace": {"existing": "ws-0123abcd-0123-0123-0123-0123456789ab"}},
}

EXISTING = {
    ("VPC", "vpc-0123456789abcdef0"),
    ("subnet", "subnet-0123456789abcdef0"),
    ("subnet", "subnet-0123456789abcdef1"),
    ("security group", "sg-0123456789abcdef0"),
    ("file system", "fs-0123456789abcdef0"),
    ("file system", "fs-0123456789abcdef1"),
    ("metrics workspace", "ws-0123abcd-0123-0123-0123-0123456789ab"),
    ("bucket", "someones-data"),
    ("bucket", "someones-results"),
    ("secret", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:slurm-AbCdEf"),
    ("secret", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:ldap-AbCdEf"),
}


@pytest.fixture(scope="module")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    return synthesised(loaded(DESCRIBED), tmp_path_factory.mktemp("guest"))


@pytest.fixture(scope="module")
def aws(assembly: Assembly) -> Iterator[LocalAws]:
    with LocalAws(region="eu-west-1", account="111122223333") as started:
        Stage(started).bootstrap(assembly)
        yield started


def test_what_exists_is_used_and_left(aws: LocalAws, assembly: Assembly):
    before = everything(aws)
    ids = aws.provide(loaded(DESCRIBED))
    assert everything(aws) - before >= EXISTING
    assert {id_ for _, id_ in EXISTING} < set(ids)
    with_it = everything(aws)
    aws.provide(loaded(DESCRIBED))
    assert everything(aws) == with_it, "the description that it is updated to names the same"
    stage = Stage(aws)
    stage.deploy(assembly)
    told = scene(aws, "guest")
    assert told.missing == []
    assert mounts(told) == {
        ("fs-0123456789abcdef0.fsx.eu-west-1.amazonaws.com", "abcdefgh", "/fsx"),
        ("fs-0123456789abcdef1.fsx.eu-west-1.amazonaws.com", None, "/home"),
    }
    [association] = told.associations
    assert (association["FileSystemPath"], association["DataRepositoryPath"]) == ("/", "s3://someones-data/sets")
    stage.destroy(assembly)
    assert everything(aws) == with_it


def mounts(told: Scene) -> set[tuple[str, str | None, str]]:
    return {
        (mount["DnsName"], mount.get("MountName"), mount["MountPath"])
        for group in told.cluster["InstanceGroups"]
        for storage in group["InstanceStorageConfigs"]
        for kind, mount in storage.items()
        if kind.startswith("Fsx")
    }
