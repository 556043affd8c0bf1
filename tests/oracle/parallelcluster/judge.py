"""Judge configurations by ParallelCluster's own schema and validators. Runs in an environment of its own, as
ParallelCluster's packages cannot be beside ours: `python judge.py <requests.json >judgements.json`.

A request has a `document` (cluster.yaml, loaded), a cluster's `name`, and maybe `facts`: what is otherwise than
assumed of an id, such as `{"cr-0123456789abcdef0": {"TotalInstanceCount": 4}}`. AWS is moto, in this process, and
holds exactly what the document refers to; what would leave the machine ends the process. A judgement has `findings`
(validator, level, message, path), and which validators `ran`, and which `could_not`. The request `null` asks for the
facts that our rules hold too.
"""

import asyncio
import gc
import hashlib
import inspect
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any
from unittest import mock
from urllib.error import URLError

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)
os.environ |= {
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
    "PCLUSTER_CACHE_DISABLED": "1",
}

import boto3
import botocore.client
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters
from marshmallow import ValidationError
from moto import mock_aws
from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.moto_api._internal.models import moto_api_backend
from pcluster import constants
from pcluster.aws.aws_api import AWSApi
from pcluster.aws.common import AWSClientError, Cache
from pcluster.config.common import Resource
from pcluster.schemas import cluster_schema
from pcluster.utils import get_installed_version, to_pascal_case
from pcluster.validators import cluster_validators, slurm_settings_validator
from pcluster.validators.common import AsyncValidator, Validator, ValidatorContext
from pcluster.validators.s3_validators import UrlValidator

ACCOUNT = "123456789012"
IMAGE_GIB = constants.EBS_ROOT_VOLUME_SIZE_DEFAULT

Answer = dict[str, Any]


def _stays_here(event: str, arguments: object) -> None:
    """Ends the process: nobody can catch that by mistake."""
    if event in ("socket.getaddrinfo", "socket.connect"):
        raise SystemExit(f"judge.py would leave the machine: {event} {arguments}")


sys.addaudithook(_stays_here)


def strings(node: Any) -> list[str]:
    if isinstance(node, dict | list):
        return [text for one in (node.values() if isinstance(node, dict) else node) for text in strings(one)]
    return [node] if isinstance(node, str) else []


class World:
    """What a document refers to, in moto; what moto lacks, or does not know by a given id, is answered here."""

    def __init__(self, document: Any, facts: dict[str, Answer]) -> None:
        self.document, self.region, self.seen = document, document["Region"], strings(document)
        self.zone, self.facts = f"{self.region}a", facts

    def build(self) -> None:
        ec2, s3 = boto3.client("ec2"), boto3.client("s3")
        self.vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        for attribute in ("EnableDnsSupport", "EnableDnsHostnames"):
            ec2.modify_vpc_attribute(VpcId=self.vpc, **{attribute: {"Value": True}})
        for number, subnet in enumerate(self.ids("subnet-")):
            with mock.patch("moto.ec2.models.subnets.random_subnet_id", return_value=subnet):
                cidr = f"10.0.{number * 16}.0/20"
                ec2.create_subnet(VpcId=self.vpc, AvailabilityZone=self.zone, CidrBlock=cidr)
        for group in self.ids("sg-"):
            with mock.patch("moto.ec2.models.security_groups.random_security_group_id", return_value=group):
                ec2.create_security_group(GroupName=group, Description="x", VpcId=self.vpc)
            open_ = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}]
            ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=open_)
            ec2.authorize_security_group_egress(GroupId=group, IpPermissions=open_)
        if key := self.document.get("HeadNode", {}).get("Ssh", {}).get("KeyName"):
            ec2.create_key_pair(KeyName=key, KeyType="ed25519")
        image = constants.OS_TO_IMAGE_NAME_PART_MAP.get(self.document["Image"]["Os"], "ubuntu-2204-lts-hvm")
        for architecture in ("x86_64", "arm64"):
            ec2.register_image(
                Name=f"aws-parallelcluster-{get_installed_version()}-{image}-{architecture}-1",
                Architecture=architecture,
                RootDeviceName="/dev/sda1",
                VirtualizationType="hvm",
                BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": IMAGE_GIB}}],
            )
        objects = {
            found.groups() for text in self.seen if (found := re.fullmatch("s3://([a-z0-9.-]{3,63})/(.+)", text))
        }
        where = {} if self.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": self.region}}
        for bucket in {bucket for bucket, _ in objects}:
            s3.create_bucket(Bucket=bucket, **where)
        for bucket, name in objects:
            s3.put_object(Bucket=bucket, Key=name, Body=b"#!/bin/sh\n")

    def ids(self, prefix: str) -> list[str]:
        return list(dict.fromkeys(text for text in self.seen if re.fullmatch(rf"{prefix}[0-9a-f]{{8,17}}", text)))

    def reservations(self) -> dict[str, Answer]:
        """Every reservation, as what uses it needs it; a group has one for each instance type."""
        found = {}
        for queue in self.document["Scheduling"]["SlurmQueues"]:
            for one in queue["ComputeResources"]:
                target = one.get("CapacityReservationTarget", {})
                group, own = target.get("CapacityReservationResourceGroupArn"), target.get("CapacityReservationId")
                types = [each["InstanceType"] for each in one.get("Instances", [one])]
                for type_ in types if group or own else ():
                    digest = hashlib.sha256(f"{group}{type_}".encode()).hexdigest()[:17]
                    id_ = own or f"cr-{digest}"
                    found[id_] = {
                        "CapacityReservationId": id_,
                        "CapacityReservationArn": f"arn:aws:ec2:{self.region}:{ACCOUNT}:capacity-reservation/{id_}",
                        "InstanceType": type_,
                        "AvailabilityZone": self.zone,
                        "TotalInstanceCount": one["MaxCount"],
                        "AvailableInstanceCount": one["MaxCount"],
                        "State": "active",
                        "Tenancy": "default",
                        "InstanceMatchCriteria": "targeted",
                        "InstancePlatform": constants.CAPACITY_RESERVATION_OS_MAP.get(
                            self.document["Image"]["Os"], "Linux/UNIX"
                        ),
                        "ReservationType": "capacity-block" if queue["CapacityType"] == "CAPACITY_BLOCK" else "default",
                        "group": group,
                    } | self.facts.get(id_, {})
        return found

    def answer(self, service: str, operation: str, request: Answer) -> Answer | None:
        """An answer, or None for moto's."""
        match f"{service}:{operation}":
            case "ec2:DescribeCapacityReservations":
                have = self.reservations()
                ids = request.get("CapacityReservationIds") or have
                return {"CapacityReservations": [have[id_] for id_ in ids if id_ in have]}
            case "ec2:DescribeCapacityBlockStatus":
                return {"CapacityBlockStatuses": []}
            case "resource-groups:ListGroupResources":
                own = [one for one in self.reservations().values() if one["group"] == request["Group"]]
                type_ = "AWS::EC2::CapacityReservation"
                identifiers = [{"ResourceArn": one["CapacityReservationArn"], "ResourceType": type_} for one in own]
                return {"Resources": [{"Identifier": one} for one in identifiers]}
            case "resource-groups:GetGroupConfiguration":
                return {"GroupConfiguration": {"Configuration": [{"Type": "AWS::EC2::CapacityReservationPool"}]}}
            case "fsx:DescribeFileSystems":
                return {"FileSystems": [self.file_system(id_) for id_ in request["FileSystemIds"]]}
            case "fsx:DescribeVolumes":
                return {"Volumes": [self.volume(id_) for id_ in request["VolumeIds"]]}
            case "ec2:DescribeNetworkInterfaces":
                groups = [{"GroupId": group} for group in self.ids("sg-")]
                place = {"SubnetId": self.ids("subnet-")[0], "VpcId": self.vpc, "AvailabilityZone": self.zone}
                own = [{"NetworkInterfaceId": id_, "Groups": groups} for id_ in request["NetworkInterfaceIds"]]
                return {"NetworkInterfaces": [one | place for one in own]}
            case "iam:GetPolicy":  # loaded into moto's IAM, all of AWS's policies take seconds for each document
                prefix, _, name = request["PolicyArn"].rpartition("/")
                if not (prefix.endswith(":iam::aws:policy") and name in _aws_policies()):
                    raise ClientError({"Error": {"Code": "NoSuchEntity", "Message": f"no policy {name}"}}, operation)
                return {"Policy": {"PolicyName": name, "Arn": request["PolicyArn"]}}
            case "secretsmanager:DescribeSecret":
                return {"ARN": request["SecretId"], "Name": "x"}
        return None

    def file_system(self, id_: str) -> Answer:
        type_ = "OPENZFS" if f"fsvol-{id_[3:]}" in self.seen else "LUSTRE"
        return {
            "FileSystemId": id_,
            "FileSystemType": type_,
            "FileSystemTypeVersion": "2.15",
            "Lifecycle": "AVAILABLE",
            "StorageCapacity": 1200,
            "VpcId": self.vpc,
            "SubnetIds": self.ids("subnet-")[:1],
            "NetworkInterfaceIds": [f"eni-{id_[3:]}"],
            "DNSName": f"{id_}.fsx.{self.region}.amazonaws.com",
            "ResourceARN": f"arn:aws:fsx:{self.region}:{ACCOUNT}:file-system/{id_}",
            "LustreConfiguration": {"MountName": "abcdefgh", "DeploymentType": "PERSISTENT_2"},
        } | self.facts.get(id_, {})

    def volume(self, id_: str) -> Answer:
        own = {"VolumeId": id_, "VolumeType": "OPENZFS", "FileSystemId": f"fs-{id_[6:]}", "Name": "fsx"}
        return own | {"Lifecycle": "AVAILABLE", "OpenZFSConfiguration": {"VolumePath": "/fsx"}}


@cache
def _aws_policies() -> dict[str, Any]:
    return json.loads(aws_managed_policies_data)


class Judgement:
    """What came of one document."""

    def __init__(self) -> None:
        self.findings: list[dict[str, str]] = []
        self.ran: set[str] = set()
        self.could_not: set[str] = set()
        self.paths: dict[int, str] = {}

    def found(self, validator: str, level: str, message: object, path: str) -> None:
        self.findings.append({"validator": validator, "level": level, "message": str(message), "path": path})

    def misread(self, messages: Any, path: str = "") -> None:
        """What the schema says, in the form of the document."""
        if isinstance(messages, dict):
            for key, value in messages.items():
                self.misread(value, path if key == "_schema" else f"{path}/{key}")
        else:
            self.found("(schema)", "ERROR", messages, path)

    def place(self, resource: Resource, path: str = "") -> None:
        """Remember where in the document each resource is."""
        self.paths[id(resource)] = path
        for name, value in vars(resource).items():
            here = f"{path}/{to_pascal_case(name)}"
            for number, one in enumerate(value) if isinstance(value, list) else [("", value)]:
                if isinstance(one, Resource):
                    self.place(one, f"{here}/{number}".rstrip("/"))

    def validate(self, resource: Resource, context: ValidatorContext) -> None:
        """In place of `Resource._validate_self`: the same, and tells which validators ran."""
        path = self.paths.get(id(resource), "?")
        resource._validators.clear()
        try:
            resource._register_validators(context)
        except AWSClientError as error:  # which ends a run of ParallelCluster's
            self.found("(registration)", "ERROR", error, path)
        for validator_class, arguments in resource._validators:
            validator, name = validator_class(), _name(validator_class)
            try:
                if issubclass(validator_class, AsyncValidator):
                    asyncio.get_event_loop().run_until_complete(validator.execute_async(**arguments))
                else:
                    validator._validate(**arguments)
                self.ran.add(name)
            except AWSClientError as error:
                self.could_not.add(name)
                self.found(name, "ERROR", error, path)
            for failure in validator._failures:
                self.found(name, failure.level.name, failure.message, path)


def _name(validator_class: type) -> str:
    return validator_class.__name__.removeprefix("AsyncTimed")


#: Of a Region's instance types, which are the same for every document and large.
_INSTANCE_TYPES = ("DescribeInstanceTypes", "DescribeInstanceTypeOfferings")
_known: dict[str, Answer] = {}


def judge(document: Any, name: str, facts: dict[str, Answer] | None = None) -> dict[str, Any]:
    os.environ |= {"AWS_DEFAULT_REGION": document["Region"], "AWS_REGION": document["Region"]}
    asyncio.set_event_loop(asyncio.new_event_loop())
    world, judgement, built = World(document, facts or {}), Judgement(), False

    def call(client: Any, operation: str, request: Answer) -> Answer:
        if not built:
            return moto(client, operation, request)
        if operation == "RunInstances":  # moto takes no ephemeral block devices: only the request's form is judged
            validate_parameters(request, client.meta.service_model.operation_model(operation).input_shape)
            raise ClientError({"Error": {"Code": "DryRunOperation", "Message": "x"}}, operation)
        service = client.meta.service_model.service_name
        answer = world.answer(service, operation, request)
        if answer is not None:
            return answer
        if operation == "DescribeImages":  # moto's are nobody's, and forget what they are for and their size
            request = {key: value for key, value in request.items() if key not in ("Owners", "IncludeDeprecated")}
        # Nothing changes once the world is built, and validators ask the same again and again.
        known = _known if operation in _INSTANCE_TYPES else told
        asked = json.dumps([world.region, service, operation, request], sort_keys=True)
        if asked not in known:
            known[asked] = moto(client, operation, request)
            for image in known[asked].get("Images", ()):
                image["Architecture"] = "arm64" if "-arm64-" in image["Name"] else "x86_64"
                image["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] = IMAGE_GIB
        return known[asked]

    told: dict[str, Answer] = {}
    moto = botocore.client.BaseClient._make_api_call
    moto_api_backend.reset()
    with (
        mock.patch.object(botocore.client.BaseClient, "_make_api_call", call),
        mock.patch.object(UrlValidator, "_validate_https_uri"),  # such a script is on somebody else's machine
        mock.patch("urllib.request.urlopen", side_effect=URLError("offline")),  # its list of Regions is in the package
    ):
        world.build()
        built = True
        AWSApi.reset()
        Cache.clear_all()
        for cell in UrlValidator._validate_async.__closure__:  # it says of an address only once what is wrong with it
            if isinstance(cell.cell_contents, dict):
                cell.cell_contents.clear()
        try:
            config = cluster_schema.ClusterSchema(cluster_name=name).load(document)
        except ValidationError as error:
            judgement.misread(error.messages)
        else:
            judgement.place(config)
            validate = lambda resource, context, _: judgement.validate(resource, context)  # noqa: E731
            with mock.patch.object(Resource, "_validate_self", validate):
                config.validate(context=ValidatorContext())
    return {
        "findings": judgement.findings,
        "ran": sorted(judgement.ran),
        "could_not": sorted(judgement.could_not),
    }


def _validators(base: type = Validator) -> Iterator[str]:
    """Names of all validators of clusters."""
    for one in base.__subclasses__():
        if not inspect.isabstract(one) and "imagebuilder" not in one.__module__:
            yield _name(one)
        yield from _validators(one)


def facts() -> dict[str, Any]:
    denied = slurm_settings_validator.SLURM_SETTINGS_DENY_LIST["SlurmConf"]
    retention = cluster_schema.CloudWatchLogsSchema().fields["retention_in_days"]
    grace = cluster_schema.LoginNodesPoolSchema().fields["gracetime_period"]
    return {
        "version": get_installed_version(),
        "os": constants.SUPPORTED_OSES,
        "queues": constants.MAX_NUMBER_OF_QUEUES,
        "compute_resources": constants.MAX_NUMBER_OF_COMPUTE_RESOURCES_PER_CLUSTER,
        "name": [constants.PCLUSTER_NAME_MAX_LENGTH, constants.PCLUSTER_NAME_MAX_LENGTH_SLURM_ACCOUNTING],
        "queue_name": [cluster_validators.NAME_REGEX, cluster_validators.NAME_MAX_LENGTH],
        "log_retention_days": list(retention.validators[0].choices),
        "grace_period_minutes": [grace.validators[0].min, grace.validators[0].max],
        "root_volume_gib": IMAGE_GIB,
        "denied": denied["Global"],
        "denied_with_accounting": denied["Accounting"],
        "validators": sorted(set(_validators())),
    }


def main() -> None:
    requests = json.load(sys.stdin)
    gc.set_threshold(100_000)  # looking for garbage takes a quarter of the time
    # A session reads the models of services, which takes longer than all that is asked of it: one for everything.
    with mock_aws():
        session = boto3._get_default_session()
        with mock.patch("boto3.session.Session", lambda: session):
            json.dump({key: facts() if one is None else judge(**one) for key, one in requests.items()}, sys.stdout)


if __name__ == "__main__":
    main()
