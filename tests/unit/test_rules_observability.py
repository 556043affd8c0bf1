"""Rules of metrics, dashboards and alerts: for each rule what passes, what does not, and what is said."""

from typing import Any

import pytest

from cdk_slurm.rules import RULES, check
from cdk_slurm.rules.observability import registry_and_repository
from cdk_slurm.spec import (
    AlertThresholds,
    ClusterSpec,
    ExportersConfig,
    GrafanaConfig,
    HyperPodSpec,
    MetricsWorkspaceConfig,
    Model,
    ObservabilityConfig,
    RepeatIntervals,
    SamlConfig,
    SlackConfig,
)

MODULES = {"cdk_slurm.rules.grafana", "cdk_slurm.rules.observability"}
DEFINED = [one for one in RULES.values() if one.violations.__module__ in MODULES]

ID = "1a2b3c4d-1234-5678-9abc-1a2b3c4d5e6f"
LONG_ID = f"906754c8a1-{ID}"
EXISTING = {"existing": "ws-0123abcd-0123-0123-0123-0123456789ab"}
SLACK = {"workspace_id": "T07EA123LEP", "channel_id": "C07EZ1ABC23"}
EMAIL = "ml-platform@example.com"
DIGEST = f"sha256:{'0123456789abcdef' * 4}"
IMAGE = f"nvcr.io/nvidia/k8s/dcgm-exporter@{DIGEST}"
RETENTION = "1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653"


def cluster(*types: str, region: str = "us-west-2", **observability: Any) -> ClusterSpec:
    """A cluster with a compute group of each type, observed."""
    groups = [{"name": f"g{index}", "type": one, "count": 1} for index, one in enumerate(types or ["ml.g5.xlarge"])]
    return HyperPodSpec.model_validate(
        {
            "kind": "hyperpod",
            "name": "ml-cluster",
            "region": region,
            "availability_zone": f"{region}a",
            "hyperpod": {"compute": groups},
            "observability": {"alert_emails": [EMAIL]} | observability,
        }
    )


def unobserved(**fields: Any) -> ClusterSpec:
    return HyperPodSpec.model_validate(cluster(**fields).model_dump() | {"observability": None})


def observed(**fields: Any) -> ObservabilityConfig:
    return ObservabilityConfig.model_validate(fields)


def grafana(**fields: Any) -> GrafanaConfig:
    return GrafanaConfig.model_validate(fields)


def saml(url: str = "https://idp.example.com/metadata", admin_roles: tuple[str, ...] = ("admin",), **fields: Any):
    return SamlConfig(metadata_url=url, admin_roles=admin_roles, **fields)


def slack(**fields: str) -> SlackConfig:
    return SlackConfig.model_validate(SLACK | fields)


def pinned(image: str) -> ExportersConfig:
    return ExportersConfig(dcgm_image=image)


PASSING: list[tuple[str, Model]] = [
    *(("METRICS_RETENTION", MetricsWorkspaceConfig(retention_days=days)) for days in (1, 150, 1095)),
    *(("QUERY_LOG_RETENTION", MetricsWorkspaceConfig(query_log_retention_days=days)) for days in (None, 1, 3653)),
    ("OBSERVABILITY_REGION", cluster(slack=SLACK)),
    ("OBSERVABILITY_REGION", cluster(region="eu-north-1", grafana=None)),
    ("OBSERVABILITY_REGION", unobserved(region="eu-north-1")),
    # REGION_KNOWN says it.
    ("OBSERVABILITY_REGION", cluster(region="us-nowhere-1")),
    *(("ALERT_EMAIL", observed(alert_emails=[one])) for one in (EMAIL, "a+b@mail.example.co.uk", "o'neill@x-y.io")),
    ("ALERT_EMAILS_UNIQUE", observed(alert_emails=[EMAIL, "other@example.com"])),
    ("SLACK_IDS", slack()),
    ("SLACK_IDS", slack(workspace_id="E0123ABCD", channel_id="G01")),
    ("ALERTS_REACH_NOBODY", observed(alert_emails=[EMAIL])),
    ("ALERTS_REACH_NOBODY", observed(slack=SLACK)),
    ("ALERT_MANAGER_EXISTING", observed(workspace=EXISTING)),
    ("ALERT_MANAGER_EXISTING", observed(workspace=EXISTING, alert_emails=[], slack=None)),
    ("ALERT_MANAGER_EXISTING", observed(alert_emails=[EMAIL], slack=SLACK, repeat_hours={"info": 24.0})),
    ("ALERT_PERCENT", AlertThresholds()),
    ("ALERT_PERCENT", AlertThresholds(node_loss_percent=0.5, idle_gpu_percent=99)),
    ("ALERT_DURATION", AlertThresholds()),
    ("ALERT_DURATION", AlertThresholds(gpu_temperature_minutes=1, silence_minutes=10080, idle_gpu_hours=168)),
    ("ALERT_DURATION", AlertThresholds(idle_gpu_hours=0.5)),
    *(("ALERT_TEMPERATURE", AlertThresholds(max_gpu_temperature_celsius=one)) for one in (40, 85, 110)),
    ("ALERT_REPEAT", RepeatIntervals()),
    ("ALERT_REPEAT", RepeatIntervals(critical=0.25, info=120)),
    ("DCGM_IMAGE_DIGEST", ExportersConfig()),
    *(
        ("DCGM_IMAGE_DIGEST", pinned(image))
        for image in (
            IMAGE,
            IMAGE.replace("@", ":4.6.0-4.8.3-distroless@"),
            f"111122223333.dkr.ecr.us-west-2.amazonaws.com/mirror/dcgm@{DIGEST}",
            f"registry.example.com:5000/dcgm__x@{DIGEST}",
        )
    ),
    ("DCGM_WITHOUT_GPUS", cluster("ml.c5.large", "ml.g5.xlarge", exporters={"optional": ["dcgm"]})),
    ("DCGM_WITHOUT_GPUS", cluster("ml.p6e-gb200.36xlarge", exporters={"dcgm_image": IMAGE})),
    ("DCGM_WITHOUT_GPUS", cluster("ml.c5.large", exporters={"optional": ["fabric", "slurm"]})),
    ("DCGM_WITHOUT_GPUS", unobserved()),
    *(("SAML_METADATA", saml(url)) for url in ("https://idp.example.com", "https://idp:8443/app/x?y=z&t=1")),
    ("SAML_ROLES", saml(role_assertion="r" * 256, editor_roles=("a", "b" * 256))),
    ("GRAFANA_ACCESS_SAML", grafana(saml=saml())),
    ("GRAFANA_ACCESS_SAML", grafana(admins={"users": [ID]}, viewers={"groups": [LONG_ID]})),
    ("GRAFANA_ACCESS_IDS", grafana(admins={"users": [ID], "groups": [LONG_ID]})),
    ("GRAFANA_ACCESS_UNIQUE", grafana(admins={"users": [ID]}, viewers={"users": [LONG_ID]})),
    ("GRAFANA_REACHES_NOBODY", grafana(admins={"groups": [ID]})),
    ("GRAFANA_REACHES_NOBODY", grafana(saml=saml())),
    ("GRAFANA_REACHES_NOBODY", cluster(grafana=None)),
]

_NO_IMAGE = "allowed: text of the form registry.example.com/nvidia/dcgm-exporter@sha256:<64 digits>"
_ITS_OWNERS = f"beside the existing workspace {EXISTING['existing']}, whose own alert manager sends alerts"

FAILING: list[tuple[str, Model, str, str]] = [
    *(
        (
            "METRICS_RETENTION",
            MetricsWorkspaceConfig(retention_days=days),
            "retention_days",
            f"found {days} days; allowed: 1 to 1095 days",
        )
        for days in (-1, 0, 1096)
    ),
    *(
        (
            "QUERY_LOG_RETENTION",
            MetricsWorkspaceConfig(query_log_retention_days=days),
            "query_log_retention_days",
            f"found {days}; allowed: {RETENTION}",
        )
        for days in (0, 8)
    ),
    (
        "OBSERVABILITY_REGION",
        cluster(region="eu-north-1", slack=SLACK),
        "observability.grafana",
        "found it in eu-north-1, where nobody saw Amazon Managed Grafana; allowed: Regions that have it, such as "
        "us-west-2",
    ),
    *(
        (
            "ALERT_EMAIL",
            observed(alert_emails=[EMAIL, address]),
            "alert_emails[1]",
            f"found {address!r}; allowed: an address such as ml-platform@example.com",
        )
        for address in (
            "",
            "ml-platform",
            "ml-platform@",
            "@example.com",
            "a@localhost",
            "a@b.c,d@e.f",
            "mailto:a@b.com",
            "Ann <a@b.com>",
            "a b@c.com",
            "a@b@c.com",
            "a@b.com\n",
        )
    ),
    (
        "ALERT_EMAILS_UNIQUE",
        observed(alert_emails=[EMAIL, "x@example.com", EMAIL]),
        "alert_emails[2]",
        f"found {EMAIL}, as alert_emails[0]; allowed: addresses that differ",
    ),
    *(
        ("SLACK_IDS", slack(workspace_id=id_), "workspace_id", f"found {id_!r}; allowed: an id such as T07EA123LEP")
        for id_ in ("", "example", "t07ea123lep", "C07EZ1ABC23", "T07-EA1", "T" * 256)
    ),
    *(
        ("SLACK_IDS", slack(channel_id=id_), "channel_id", f"found {id_!r}; allowed: an id such as C07EZ1ABC23")
        for id_ in ("", "#alerts", "alerts", "c07ez1abc23", "D07EZ1ABC23", "C07EZ1ABC23\n")
    ),
    (
        "ALERTS_REACH_NOBODY",
        observed(),
        "alert_emails",
        "found no address and no slack; allowed without this warning: at least one of the two",
    ),
    *(
        (
            "ALERT_MANAGER_EXISTING",
            observed(workspace=EXISTING, **{field: value}),
            field,
            f"found it {_ITS_OWNERS}; allowed for alerts: a new workspace",
        )
        for field, value in (("alert_emails", [EMAIL]), ("slack", SLACK), ("repeat_hours", {"info": 24.0}))
    ),
    *(
        (
            "ALERT_PERCENT",
            AlertThresholds.model_validate({field: value}),
            field,
            f"found {shown} %; allowed: more than 0 and less than 100 %",
        )
        for field, value, shown in (
            ("node_loss_percent", 0.0, "0"),
            ("max_disk_used_percent", 100.0, "100"),
            ("max_lustre_used_percent", -5.0, "-5"),
            ("idle_gpu_percent", float("nan"), "nan"),
        )
    ),
    *(
        ("ALERT_DURATION", AlertThresholds.model_validate({field: value}), field, message)
        for field, value, message in (
            ("silence_minutes", 0.5, "found 0.5 minutes; allowed: 1 minute to 10080 minutes"),
            ("max_pending_minutes", 10081.0, "found 10081 minutes; allowed: 1 minute to 10080 minutes"),
            ("node_unavailable_minutes", float("inf"), "found inf minutes; allowed: 1 minute to 10080 minutes"),
            ("idle_gpu_hours", 0.0, "found 0 hours; allowed: 1 minute (0.0167 hours) to 168 hours"),
            ("idle_gpu_hours", 169.0, "found 169 hours; allowed: 1 minute (0.0167 hours) to 168 hours"),
        )
    ),
    *(
        (
            "ALERT_TEMPERATURE",
            AlertThresholds(max_gpu_temperature_celsius=value),
            "max_gpu_temperature_celsius",
            f"found {value} °C; allowed: 40 to 110 °C",
        )
        for value in (39, 185)
    ),
    *(
        (
            "ALERT_REPEAT",
            RepeatIntervals.model_validate({field: value}),
            field,
            f"found {value:g} hours; allowed: 0.25 to 120 hours",
        )
        for field, value in (("critical", 0.0), ("warning", 0.1), ("info", 121.0))
    ),
    *(
        ("DCGM_IMAGE_DIGEST", pinned(image), "dcgm_image", f"found {image!r}; {_NO_IMAGE}")
        for image in (
            "",
            "nvcr.io/nvidia/k8s/dcgm-exporter",
            "nvcr.io/nvidia/k8s/dcgm-exporter:4.6.0-4.8.3-distroless",
            f"dcgm-exporter@{DIGEST}",
            f"https://nvcr.io/nvidia/k8s/dcgm-exporter@{DIGEST}",
            IMAGE[:-1],
            f"{IMAGE} --privileged",
            f"{IMAGE}\n",
        )
    ),
    *(
        (
            "DCGM_WITHOUT_GPUS",
            cluster("ml.c5.large", exporters=exporters),
            f"observability.exporters.{next(iter(exporters))}",
            "found the DCGM exporter on a cluster without GPUs; allowed without this warning: compute groups with GPUs",
        )
        for exporters in ({"optional": ["dcgm"]}, {"dcgm_image": IMAGE})
    ),
    *(
        (
            "SAML_METADATA",
            saml(url),
            "metadata_url",
            f"found {url!r}; allowed: an https address without a user's name or password",
        )
        for url in (
            "",
            "http://idp.example.com",
            "idp.example.com",
            "https://",
            "https://user:secret@idp.example.com",
            "https://idp.example.com/a b",
            "https://idp.example.com/metadata\n",
            f"https://{'x' * 2048}",
        )
    ),
    ("SAML_ROLES", saml(role_assertion=""), "role_assertion", "found '' (0 characters); allowed: 1 to 256 characters"),
    (
        "SAML_ROLES",
        saml(admin_roles=("a", "")),
        "admin_roles[1]",
        "found '' (0 characters); allowed: 1 to 256 characters",
    ),
    (
        "SAML_ROLES",
        saml(editor_roles=("",)),
        "editor_roles[0]",
        "found '' (0 characters); allowed: 1 to 256 characters",
    ),
    *(
        (
            "GRAFANA_ACCESS_SAML",
            grafana(saml=saml(), **{field: {"users": [ID]}}),
            field,
            "found people beside saml; allowed: saml with admin_roles, or admins and viewers",
        )
        for field in ("admins", "viewers")
    ),
    *(
        (
            "GRAFANA_ACCESS_IDS",
            grafana(admins={"users": [ID]}, viewers={"groups": [LONG_ID, id_]}),
            "viewers.groups[1]",
            f"found {id_!r}; allowed: an id such as 906754c8a1-1a2b3c4d-1234-5678-9abc-1a2b3c4d5e6f",
        )
        for id_ in ("", "alice", "alice@example.com", ID[:-1], f"{ID}\n", f"12345-{ID}")
    ),
    (
        "GRAFANA_ACCESS_UNIQUE",
        grafana(admins={"users": [ID]}, viewers={"users": [LONG_ID, ID]}),
        "viewers.users[1]",
        f"found {ID}, as admins.users[0]; allowed: ids that differ",
    ),
    (
        "GRAFANA_REACHES_NOBODY",
        grafana(viewers={"users": [ID]}),
        "admins",
        "found nobody, and no saml; allowed without this warning: an administrator, or saml",
    ),
]


@pytest.mark.parametrize(("rule", "model"), PASSING)
def test_passes(rule: str, model: Model) -> None:
    assert rule not in [finding.rule for finding in check(model)]


@pytest.mark.parametrize(("rule", "model", "field", "message"), FAILING)
def test_fails(rule: str, model: Model, field: str, message: str) -> None:
    found = [(finding.field, finding.message) for finding in check(model) if finding.rule == rule]
    assert found == [(field, message)]


def test_every_rule_is_tested_with_both_outcomes() -> None:
    defined = {one.id for one in DEFINED}
    assert {rule for rule, *_ in PASSING} == {rule for rule, *_ in FAILING} == defined


def test_what_only_warns() -> None:
    assert {one.id for one in DEFINED if one.level == "warning"} == {
        "ALERTS_REACH_NOBODY",
        "ALERT_MANAGER_EXISTING",
        "DCGM_WITHOUT_GPUS",
        "GRAFANA_REACHES_NOBODY",
        "OBSERVABILITY_REGION",
    }


def test_several_services_may_be_missing_in_a_region() -> None:
    found = [
        one.field for one in check(cluster(region="cn-north-1", slack=SLACK)) if one.rule == "OBSERVABILITY_REGION"
    ]
    assert found == ["observability.workspace", "observability.grafana", "observability.slack"]


def test_defaults_are_sound_but_for_whom_they_reach() -> None:
    assert {one.rule for one in check(observed())} == {"ALERTS_REACH_NOBODY", "GRAFANA_REACHES_NOBODY"}
    assert check(observed(alert_emails=[EMAIL], grafana={"admins": {"users": [ID]}})) == ()


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (IMAGE, ("nvcr.io", "nvidia/k8s/dcgm-exporter")),
        (IMAGE.replace("@", ":1.2-x@"), ("nvcr.io", "nvidia/k8s/dcgm-exporter")),
        (f"registry.example.com:5000/a/b@{DIGEST}", ("registry.example.com:5000", "a/b")),
        ("nvcr.io/nvidia/k8s/dcgm-exporter:4.6.0", None),
    ],
)
def test_parts_of_an_image(image: str, found: tuple[str, str] | None) -> None:
    assert registry_and_repository(image) == found
