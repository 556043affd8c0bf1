"""A person in a Studio domain, with spaces that are ready to be run."""

import hashlib
import json

import aws_cdk as cdk
import jsii
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from cdk_slurm.findings import tell
from cdk_slurm.hyperpod.munge_secret import munge_secret_name
from cdk_slurm.rules.studio import user_findings
from cdk_slurm.spec import StudioApp, User
from cdk_slurm.studio.domain import StudioDomain, keep
from cdk_slurm.studio_script import studio_script

_Profile = sagemaker.CfnUserProfile
_Space = sagemaker.CfnSpace

#: What the service calls them, and how spaces are named after them.
_APPS: dict[StudioApp, tuple[str, str]] = {
    "code_editor": ("CodeEditor", "code-editor"),
    "jupyter_lab": ("JupyterLab", "jupyter-lab"),
}
_NAME_LENGTH = 63
_DIGITS = 8


class StudioUser(Construct):
    """A profile with the ids that the person has on the nodes, and a private space for each app of the domain.

    Spaces have Lustre attached and a lifecycle configuration that sets Slurm up, so that running one is all that is
    left. Ids cannot be changed later. Ids that Studio does not take are an error at synthesis.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CustomPosixUserConfig.html

    >>> alice = User(name="alice", uid=10001, gid=1001)
    >>> StudioUser(stack, "Alice", domain=domain, user=alice, login_groups=["login", "controller"])
    """

    user_profile_name: str

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        domain: StudioDomain,
        user: User,
        login_groups: list[str],
        sso_user: str | None = None,
    ) -> None:
        super().__init__(scope, id)
        for finding in user_findings(user):
            tell(self, finding)
        config, lustre = domain.config, domain.lustre
        uid, gid = user.uid, user.uid if user.gid is None else user.gid
        mounted = domain.studio.mounted_on(lustre.mount_path, user.name)
        script = studio_script(
            {
                "cluster": domain.cluster_name,
                "region": cdk.Stack.of(self).region,
                "munge_secret": munge_secret_name(domain.cluster_name),
                "user": {"name": user.name, "uid": uid, "gid": gid},
                "file_system_id": lustre.file_system_id,
                "mounted": mounted,
                "login_groups": login_groups,
            }
        )
        scripts = {app: self._script(app, script, domain.cluster_name, user.name) for app in config.apps}
        sso = config.auth == "sso"
        profile = sagemaker.CfnUserProfile(
            self,
            "Profile",
            domain_id=domain.domain_id,
            user_profile_name=user.name,
            single_sign_on_user_identifier="UserName" if sso else None,
            single_sign_on_user_value=(sso_user or user.name) if sso else None,
            user_settings=_Profile.UserSettingsProperty(
                custom_posix_user_config=_Profile.CustomPosixUserConfigProperty(uid=uid, gid=gid),
                custom_file_system_configs=[
                    _Profile.CustomFileSystemConfigProperty(
                        f_sx_lustre_file_system_config=_Profile.FSxLustreFileSystemConfigProperty(
                            file_system_id=lustre.file_system_id,
                            file_system_path=mounted.removeprefix(lustre.mount_path) or "/",
                        )
                    )
                ],
                code_editor_app_settings=_Profile.CodeEditorAppSettingsProperty(
                    lifecycle_config_arns=[scripts["code_editor"]]
                )
                if "code_editor" in scripts
                else None,
                jupyter_lab_app_settings=_Profile.JupyterLabAppSettingsProperty(
                    lifecycle_config_arns=[scripts["jupyter_lab"]]
                )
                if "jupyter_lab" in scripts
                else None,
            ),
        )
        self.user_profile_name = user.name
        for app in config.apps:
            self._space(app, domain, scripts[app]).add_resource_dependency(profile)
        keep(self, config)

    def _script(self, app: StudioApp, script: str, cluster_name: str, user_name: str) -> str:
        """Make a lifecycle configuration; return its ARN."""
        app_type, words = _APPS[app]
        configuration = sagemaker.CfnStudioLifecycleConfig(
            self,
            f"{app_type}Script",
            studio_lifecycle_config_app_type=app_type,
            studio_lifecycle_config_name="",
            studio_lifecycle_config_content=cdk.Fn.base64(script),
        )
        name = _ScriptName(f"{cluster_name}-{user_name}-{words}", configuration)
        configuration.studio_lifecycle_config_name = cdk.Lazy.string(name)
        return configuration.attr_studio_lifecycle_config_arn

    def _space(self, app: StudioApp, domain: StudioDomain, script_arn: str) -> sagemaker.CfnSpace:
        app_type, words = _APPS[app]
        resources = _Space.ResourceSpecProperty(
            instance_type=domain.config.instance_type, lifecycle_config_arn=script_arn
        )
        return sagemaker.CfnSpace(
            self,
            app_type,
            domain_id=domain.domain_id,
            space_name=f"{self.user_profile_name}-{words}",
            ownership_settings=_Space.OwnershipSettingsProperty(owner_user_profile_name=self.user_profile_name),
            space_sharing_settings=_Space.SpaceSharingSettingsProperty(sharing_type="Private"),
            space_settings=_Space.SpaceSettingsProperty(
                app_type=app_type,
                code_editor_app_settings=_Space.SpaceCodeEditorAppSettingsProperty(default_resource_spec=resources)
                if app == "code_editor"
                else None,
                jupyter_lab_app_settings=_Space.SpaceJupyterLabAppSettingsProperty(default_resource_spec=resources)
                if app == "jupyter_lab"
                else None,
                space_storage_settings=_Space.SpaceStorageSettingsProperty(
                    ebs_storage_settings=_Space.EbsStorageSettingsProperty(
                        ebs_volume_size_in_gb=domain.config.volume_gib
                    )
                ),
                custom_file_systems=[
                    _Space.CustomFileSystemProperty(
                        f_sx_lustre_file_system=_Space.FSxLustreFileSystemProperty(
                            file_system_id=domain.lustre.file_system_id
                        )
                    )
                ],
            ),
        )


@jsii.implements(cdk.IStableStringProducer)
class _ScriptName:
    """A name with a digest of all that a lifecycle configuration is made of.

    None can be changed, not even its tags, and CloudFormation makes the next one before it deletes this one. Stacks'
    tags are given to it too; both kinds are known in the end only.
    """

    def __init__(self, words: str, configuration: sagemaker.CfnStudioLifecycleConfig) -> None:
        self._words, self._configuration = words, configuration

    def produce(self) -> str:
        own = self._configuration
        stack = cdk.Stack.of(own)
        made_of: list[object] = [own.studio_lifecycle_config_app_type, own.studio_lifecycle_config_content]
        made_of += [own.cdk_tag_manager.render_tags(), stack.tags.render_tags()]
        digest = hashlib.sha256(json.dumps(stack.resolve(made_of), sort_keys=True).encode()).hexdigest()[:_DIGITS]
        return f"{self._words[: _NAME_LENGTH - _DIGITS - 1].strip('-')}-{digest}"
