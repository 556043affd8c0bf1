"""What a space of Studio may do in AWS without any cluster."""

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from cdk_slurm.findings import acknowledge, shown
from cdk_slurm.storage import DataBucket

#: As whom somebody in Studio acts, and whose spaces are theirs: what AWS's own policies for Studio go by.
_OWN = {
    "ArnLike": {
        "sagemaker:OwnerUserProfileArn": (
            "arn:*:sagemaker:*:*:user-profile/${sagemaker:DomainId}/${sagemaker:UserProfileName}"
        )
    },
    "StringEquals": {"sagemaker:SpaceSharingType": "Private"},
}


class ExecutionRole(Construct):
    """The role of a domain's spaces: looking at the domain, running one's own spaces, and the data bucket.

    What it may do with a cluster `StudioAccess` adds.

    https://docs.aws.amazon.com/sagemaker/latest/dg/security-iam-awsmanpol.html
    """

    role: iam.Role

    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id)
        self.role = iam.Role(
            self,
            "Role",
            description="Spaces of a SageMaker Studio domain beside a Slurm cluster",
            assumed_by=iam.ServicePrincipal("sagemaker.amazonaws.com"),
        )

    def _bucket_arn(self, bucket: DataBucket) -> str:
        """Its ARN; of a bucket in another stack as that stack exports it, which is what cdk-nag sees of it."""
        owner = cdk.Stack.of(bucket)
        made = bucket.bucket.node.default_child is not None
        arn = bucket.bucket.bucket_arn
        return owner.export_value(arn) if made and owner is not cdk.Stack.of(self) else arn

    def allow(self, domain_id: str, *, bucket: DataBucket | None, kms_key_arn: str | None) -> None:
        """Allow what people do in a domain."""
        stack = cdk.Stack.of(self)

        def arn(resource: str, name: str) -> str:
            return stack.format_arn(service="sagemaker", resource=resource, resource_name=name)

        domain = arn("domain", domain_id)
        profiles, spaces = arn("user-profile", f"{domain_id}/*"), arn("space", f"{domain_id}/*")
        apps = arn("app", f"{domain_id}/*")
        logs = stack.format_arn(
            service="logs",
            resource="log-group",
            resource_name="/aws/sagemaker/studio:*",
            arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
        )
        statements = [
            iam.PolicyStatement(
                sid="List",
                actions=["sagemaker:ListApps", "sagemaker:ListDomains", "sagemaker:ListSpaces"],
                resources=["*"],
            ),
            iam.PolicyStatement(
                sid="Look",
                actions=[
                    "sagemaker:DescribeApp",
                    "sagemaker:DescribeDomain",
                    "sagemaker:DescribeSpace",
                    "sagemaker:DescribeUserProfile",
                ],
                resources=[domain, profiles, spaces, apps],
            ),
            iam.PolicyStatement(
                sid="RunOwnSpaces",
                actions=["sagemaker:CreateApp", "sagemaker:DeleteApp"],
                resources=[apps],
                conditions=_OWN,
            ),
            iam.PolicyStatement(
                sid="ChangeOwnSpaces", actions=["sagemaker:UpdateSpace"], resources=[spaces], conditions=_OWN
            ),
            # Studio tags what it makes.
            iam.PolicyStatement(
                sid="TagApps",
                actions=["sagemaker:AddTags"],
                resources=[apps],
                conditions={"StringEquals": {"sagemaker:TaggingAction": "CreateApp"}},
            ),
            iam.PolicyStatement(
                sid="WriteLogs",
                actions=["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
                resources=[logs],
            ),
        ]
        wild = [profiles, spaces, apps, logs]
        if bucket:
            objects = f"{self._bucket_arn(bucket)}/*"
            wild.append(objects)
            statements += [
                iam.PolicyStatement(
                    sid="ListData",
                    actions=["s3:GetBucketLocation", "s3:ListBucket"],
                    resources=[self._bucket_arn(bucket)],
                ),
                iam.PolicyStatement(
                    sid="UseData",
                    actions=["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"],
                    resources=[objects],
                ),
            ]
        if kms_key_arn:
            statements += [
                iam.PolicyStatement(
                    sid="UseKey",
                    actions=["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"],
                    resources=[kms_key_arn],
                ),
                # Volumes of spaces: https://docs.aws.amazon.com/sagemaker/latest/dg/encryption-at-rest-studio.html
                iam.PolicyStatement(
                    sid="GrantVolumeKey",
                    actions=["kms:CreateGrant"],
                    resources=[kms_key_arn],
                    conditions={"Bool": {"kms:GrantIsForAWSResource": "true"}},
                ),
            ]
        policy = iam.ManagedPolicy(
            self,
            "Policy",
            description="What people do in a Studio domain, without its cluster",
            roles=[self.role],
            statements=statements,
        )
        acknowledge(policy, "IAM has no resources for these lists.", "AwsSolutions-IAM5[Resource::*]")
        acknowledge(
            policy,
            "People, their spaces, logs and data have names that are not known before; domain and bucket are named.",
            *(f"AwsSolutions-IAM5[Resource::{shown(self, one)}]" for one in wild),
        )
