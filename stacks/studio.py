"""Studio beside the cluster: outlives clusters, as what people have in their spaces does."""

import aws_cdk as cdk

from cdk_slurm.network import TrainingNetwork
from cdk_slurm.rules.studio import studio_people
from cdk_slurm.spec import HyperPodSpec
from cdk_slurm.studio import StudioDomain, StudioUser
from stacks.storage import StorageParts


def add_studio(
    stack: cdk.Stack, spec: HyperPodSpec, *, network: TrainingNetwork, storage: StorageParts
) -> StudioDomain | None:
    """Add a Studio domain with its people, where one is described; its role is all that the cluster needs of it."""
    if not spec.studio or not spec.studio.domain or not storage.lustre:
        return None
    domain = StudioDomain(
        stack,
        "Studio",
        name=spec.name,
        network=network,
        lustre=storage.lustre,
        studio=spec.studio,
        bucket=storage.bucket,
        kms_key_arn=spec.kms_key,
    )
    login = [spec.hyperpod.login.name] if spec.hyperpod.login else []
    for user, person in studio_people(spec.studio.domain, spec.users):
        StudioUser(
            stack,
            f"User-{user.name}",
            domain=domain,
            user=user,
            login_groups=[*login, spec.hyperpod.controller.name],
            sso_user=person.sso_user,
        )
    cdk.CfnOutput(stack, "StudioDomainId", value=domain.domain_id)
    # Exported whether used or not, as in the network's stack.
    stack.export_value(domain.role.role_name)
    return domain
