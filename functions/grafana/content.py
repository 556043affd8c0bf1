"""What is ours in a workspace's Grafana: two data sources, and a folder with dashboards.

Everything is looked at before it is changed, so that each step may be done again, and a second run changes nothing.
"""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from http_api import GrafanaError, HttpApi
from patience import Deadline, patiently

FOLDER = "cdk-slurm"
_FOLDER_TITLE = "Slurm clusters"

#: How uids of our dashboards begin. What else is in our folder was put there by somebody.
_OWN_PREFIX = "cdk-slurm-"

#: Beside the handler in the function's package.
_DASHBOARDS = Path(__file__).parent / "dashboards"

Dashboard = dict[str, Any]


def dashboards() -> dict[str, Dashboard]:
    """The dashboards that are to be there, by uid."""
    found = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(_DASHBOARDS.glob("*.json"))}
    if not found:
        raise RuntimeError(f"there are no dashboards in {_DASHBOARDS}")
    return found


def data_sources(*, region: str, prometheus_url: str, version: str) -> tuple[dict[str, Any], ...]:
    """Amazon Managed Service for Prometheus and CloudWatch, both asked with the workspace's role.

    From version 12 on only Amazon's plugin signs requests to Prometheus.
    https://docs.aws.amazon.com/grafana/latest/userguide/version-differences.html
    """
    signed: dict[str, Any] = {"sigV4Auth": True, "sigV4AuthType": "ec2_iam_role", "sigV4Region": region}
    own_plugin = int(version.partition(".")[0]) >= 12
    return (
        {
            "uid": "cdk-slurm-amp",
            "name": "Slurm clusters (Prometheus)",
            "type": "grafana-amazonprometheus-datasource" if own_plugin else "prometheus",
            "access": "proxy",
            "url": prometheus_url,
            "jsonData": signed
            | {"httpMethod": "POST", "manageAlerts": True, "timeInterval": "15s"}
            | ({"sigv4Service": "aps"} if own_plugin else {}),
        },
        {
            "uid": "cdk-slurm-cloudwatch",
            "name": "Slurm clusters (CloudWatch)",
            "type": "cloudwatch",
            "access": "proxy",
            "jsonData": {"authType": "ec2_iam_role", "defaultRegion": region},
        },
    )


def install(
    api: HttpApi, sources: tuple[dict[str, Any], ...], wanted: Mapping[str, Dashboard], *, note: str, deadline: Deadline
) -> None:
    """Have all of it there as it should be; dashboards of ours that are no longer wanted go.

    `note` is what Grafana's history of a dashboard says of a version.
    """
    for source in sources:
        patiently(partial(_ensure_data_source, api, source), deadline=deadline)
    patiently(partial(_ensure_folder, api), deadline=deadline)
    for uid, dashboard in wanted.items():
        patiently(partial(_ensure_dashboard, api, uid, dashboard, note), deadline=deadline)
    patiently(lambda: _delete_dashboards(api, set(_own_in_folder(api)) - wanted.keys()), deadline=deadline)


def remove(
    api: HttpApi, sources: tuple[dict[str, Any], ...], wanted: Mapping[str, Dashboard], *, deadline: Deadline
) -> None:
    """Have all that is ours go. The folder stays where somebody else has something in it."""
    patiently(lambda: _delete_dashboards(api, {*_own_in_folder(api), *wanted}), deadline=deadline)
    patiently(partial(_delete_folder, api), deadline=deadline)
    for source in sources:
        patiently(partial(api.delete, f"/api/datasources/uid/{source['uid']}"), deadline=deadline)


def _ensure_data_source(api: HttpApi, wanted: dict[str, Any]) -> None:
    there = api.get(f"/api/datasources/uid/{wanted['uid']}")
    if there is None:
        api.send("POST", "/api/datasources", wanted)
    elif not _holds(there, wanted):
        # Which one is the default is for people to choose.
        api.send("PUT", f"/api/datasources/uid/{wanted['uid']}", wanted | {"isDefault": there.get("isDefault", False)})


def _holds(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether all that is wanted is there; Grafana adds something of its own to it."""
    return all(
        _holds(there.get(key) or {}, value) if isinstance(value, Mapping) else there.get(key) == value
        for key, value in wanted.items()
    )


def _ensure_folder(api: HttpApi) -> None:
    if api.get(f"/api/folders/{FOLDER}") is None:  # its title is for people to change
        api.send("POST", "/api/folders", {"uid": FOLDER, "title": _FOLDER_TITLE})


def _ensure_dashboard(api: HttpApi, uid: str, wanted: Dashboard, note: str) -> None:
    there = api.get(f"/api/dashboards/uid/{uid}")
    version = {}
    if there is not None:
        stored = dict(there["dashboard"])
        version = {"version": stored["version"]}
        own = {name: value for name, value in stored.items() if name not in ("id", "version")}
        if own == wanted and there["meta"].get("folderUid") == FOLDER:
            return
    # Never with `overwrite`: Grafana would put ours in the place of another one that has the same title here.
    # With the version that it replaces, ours is replaced, and nothing that was saved meanwhile.
    body = {"dashboard": wanted | version, "folderUid": FOLDER, "overwrite": False, "message": note}
    api.send("POST", "/api/dashboards/db", body)


def _in_folder(api: HttpApi) -> list[dict[str, Any]]:
    found = api.get("/api/search", folderUIDs=FOLDER, limit="5000") or []
    return [one for one in found if one.get("folderUid") == FOLDER]


def _own_in_folder(api: HttpApi) -> Iterator[str]:
    for one in _in_folder(api):
        if one["type"] == "dash-db" and one["uid"].startswith(_OWN_PREFIX):
            yield one["uid"]


def _delete_dashboards(api: HttpApi, uids: set[str]) -> None:
    for uid in sorted(uids):
        api.delete(f"/api/dashboards/uid/{uid}")


def _delete_folder(api: HttpApi) -> None:
    if others := _in_folder(api):
        print(f"the folder stays: somebody has {len(others)} dashboards in it, {others[0]['title']} among them")
        return
    try:
        api.delete(f"/api/folders/{FOLDER}")
    except GrafanaError as error:
        if error.status not in (400, 403):
            raise
        print(f"the folder stays: {error}")  # somebody's alert rules or library panels are in it
