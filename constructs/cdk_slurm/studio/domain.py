"""A SageMaker Studio domain in the network of a cluster."""

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from cdk_slurm.findings import report, tell
from cdk_slurm.network import TrainingNetwork
from cdk_slurm.rules.studio import workspace_findings
from cdk_slurm.spec import StudioConfig, StudioDomainConfig
from cdk_slurm.storage import DataBucket, LustreFileSystem
from cdk_slurm.storage.file_system import removal_policy
from cdk_slurm.studio.execution_role import ExecutionRole

_Props = sagemaker.CfnDomain

#: To which people may enlarge volumes by themselves.
_MOST_GIB = 100


class StudioDomain(Construct):
    """A domain without a way to the internet of its own, in the cluster's private subnet, with Lustre in its spaces.

    It needs no cluster, and outlives clusters: what people have in their spaces is data, and is retained unless
    `destroy` is asked for, with the role and the security group that spaces take to start. Configuration that breaks
    a rule is an error at synthesis; `studio` without a domain raises `ValueError`.

    https://docs.aws.amazon.com/sagemaker/latest/dg/studio-notebooks-and-internet-access.html

    >>> domain = StudioDomain(
    ...     stack, "Studio", name="ml-cluster", network=network, lustre=lustre, studio=StudioConfig(domain={})
    ... )
    """

    domain_id: str
    role: iam.IRole
    """Role of all spaces, to grant more to."""

    security_group_id: str
    """Security group of all spaces."""

    config: StudioDomainConfig
    """As described."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        name: str,
        network: TrainingNetwork,
        lustre: LustreFileSystem,
        studio: StudioConfig,
        bucket: DataBucket | None = None,
        kms_key_arn: str | None = None,
    ) -> None:
        super().__init__(scope, id)
        if studio.domain is None:
            raise ValueError("studio.domain: found none; allowed: a StudioDomainConfig")
        self.config = studio.domain
        report(self, studio)
        for finding in workspace_findings(studio, lustre.mount_path):
            tell(self, finding)
        self.studio, self.lustre, self.cluster_name = studio, lustre, name
        group, rules = self._security_group(network)
        execution_role = ExecutionRole(self, "ExecutionRole")
        self.role = execution_role.role
        groups = [group]
        if lustre.security_group_id is None:
            # What lets nodes reach a file system that somebody else made lets spaces too.
            groups.append(network.security_group.security_group_id)
        domain = sagemaker.CfnDomain(
            self,
            "Domain",
            domain_name=name,
            auth_mode=self.config.auth.upper(),
            app_network_access_type="VpcOnly",
            vpc_id=network.vpc.vpc_id,
            # Where Lustre is.
            subnet_ids=[network.private_subnet().subnet_id],
            kms_key_id=kms_key_arn,
            # Spaces have volumes of their own. A home file system would outlive the domain, outside every stack, and
            # its mount targets would keep the network from going.
            home_efs_file_system_creation="Disabled",
            tag_propagation="ENABLED",
            default_user_settings=_Props.UserSettingsProperty(
                execution_role=self.role.role_arn,
                security_groups=groups,
                studio_web_portal="ENABLED",
                default_landing_uri="studio::",
                space_storage_settings=_Props.DefaultSpaceStorageSettingsProperty(
                    default_ebs_storage_settings=_Props.DefaultEbsStorageSettingsProperty(
                        default_ebs_volume_size_in_gb=self.config.volume_gib,
                        maximum_ebs_volume_size_in_gb=max(self.config.volume_gib, _MOST_GIB),
                    )
                ),
            ),
        )
        for rule in rules:
            domain.add_resource_dependency(rule)
        self.domain_id = domain.attr_domain_id
        execution_role.allow(self.domain_id, bucket=bucket, kms_key_arn=kms_key_arn)
        keep(self, self.config)

    def _security_group(self, network: TrainingNetwork) -> tuple[str, list[cdk.CfnResource]]:
        """Make the group and what it takes to work; return its id, and rules that spaces need from their start."""
        group = ec2.CfnSecurityGroup(
            self,
            "Spaces",
            group_description="Spaces of a SageMaker Studio domain beside a Slurm cluster",
            vpc_id=network.vpc.vpc_id,
            security_group_egress=[
                ec2.CfnSecurityGroup.EgressProperty(
                    ip_protocol="-1", cidr_ip="0.0.0.0/0", description="To the internet, through NAT"
                )
            ],
        )
        own = group.attr_group_id
        self.security_group_id = own
        rules: list[cdk.CfnResource] = [
            # What a domain asks for in whose spaces programs talk to each other.
            ec2.CfnSecurityGroupIngress(
                self,
                "FromSpaces",
                group_id=own,
                source_security_group_id=own,
                ip_protocol="tcp",
                from_port=8192,
                to_port=65535,
                description="From spaces of the domain",
            ),
            ec2.CfnSecurityGroupIngress(
                self,
                "ToSlurm",
                group_id=network.security_group.security_group_id,
                source_security_group_id=own,
                ip_protocol="tcp",
                from_port=6817,
                to_port=6819,
                description="Slurm's commands in spaces of Studio: slurmctld and slurmdbd",
            ),
        ]
        return own, [*rules, *self.lustre.allow_clients(self, own)]


def keep(construct: Construct, config: StudioDomainConfig) -> None:
    """Retain everything of a construct, or let it go, when its stack goes."""
    for child in construct.node.find_all():
        if isinstance(child, cdk.CfnResource):
            child.apply_removal_policy(removal_policy(config.removal_policy))
            if isinstance(child, sagemaker.CfnStudioLifecycleConfig):
                # One that another has taken the place of is nobody's any more.
                child.cfn_options.update_replace_policy = cdk.CfnDeletionPolicy.DELETE
