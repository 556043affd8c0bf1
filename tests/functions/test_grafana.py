"""The custom resource of the dashboards: what it makes, what it leaves, and what it says when something is wrong."""

import itertools
import time

import pytest

from local_aws.amg import Account
from tests.functions.conftest import DASHBOARDS, by_hand, instead, properties_of, writes

JOBS = "cdk-slurm-jobs"
ANN, BOB = "93670dab11-0a1b2c3d-1111-2222-3333-444455556666", "93670dab11-0a1b2c3d-1111-2222-3333-444455557777"


def stored(grafana, uid):
    found = grafana.dashboards[uid]
    return {name: value for name, value in found.content.items() if name not in ("id", "version")}


def made(cloudformation, properties):
    answer = cloudformation.ask("Create", properties)
    assert answer["Status"] == "SUCCESS", answer
    return answer


# --- create ---


def test_it_makes_data_sources_a_folder_and_the_dashboards(cloudformation, properties, grafana, workspace):
    answer = made(cloudformation, properties)
    assert answer["PhysicalResourceId"] == f"{workspace.id}/cdk-slurm"
    assert answer["Data"] == {"FolderUrl": f"https://{workspace.server.endpoint}/dashboards/f/cdk-slurm"}
    assert {uid: one.folder_uid for uid, one in grafana.dashboards.items()} == dict.fromkeys(DASHBOARDS, "cdk-slurm")
    assert {uid: stored(grafana, uid) for uid in DASHBOARDS} == DASHBOARDS
    assert {one.messages[-1] for one in grafana.dashboards.values()} == {"cdk-slurm 0123456789ab"}
    prometheus, cloudwatch = (grafana.data_sources[f"cdk-slurm-{name}"] for name in ("amp", "cloudwatch"))
    assert (prometheus["type"], prometheus["url"]) == ("prometheus", properties["PrometheusUrl"])
    assert prometheus["jsonData"] == {
        "httpMethod": "POST",
        "manageAlerts": True,
        "sigV4Auth": True,
        "sigV4AuthType": "ec2_iam_role",
        "sigV4Region": "us-west-2",
        "timeInterval": "15s",
    }
    assert cloudwatch["type"] == "cloudwatch"
    assert cloudwatch["jsonData"] == {"authType": "ec2_iam_role", "defaultRegion": "us-west-2"}


def test_its_account_is_an_administrators_lives_minutes_and_is_gone(
    cloudformation, properties, amg, workspace, grafana
):
    made(cloudformation, properties)
    calls = dict(amg.calls)
    assert calls["CreateWorkspaceServiceAccount"]["grafanaRole"] == "ADMIN"
    assert calls["CreateWorkspaceServiceAccountToken"]["secondsToLive"] == 600
    assert workspace.accounts == {}
    assert grafana.tokens == {}


def test_alerting_is_turned_on_once_and_the_rest_of_the_configuration_left(cloudformation, properties, amg, workspace):
    workspace.configuration["plugins"]["pluginAdminEnabled"] = True
    made(cloudformation, properties)
    assert workspace.configuration == {"plugins": {"pluginAdminEnabled": True}, "unifiedAlerting": {"enabled": True}}
    amg.calls.clear()
    cloudformation.ask("Update", properties, old=properties)
    assert "UpdateWorkspaceConfiguration" not in dict(amg.calls)


def test_from_version_12_on_prometheus_is_asked_by_amazons_plugin(cloudformation, amg):
    newer = amg.add(version="12.4")
    made(cloudformation, properties_of(newer))
    source = newer.server.grafana.data_sources["cdk-slurm-amp"]
    assert source["type"] == "grafana-amazonprometheus-datasource"
    assert source["jsonData"]["sigv4Service"] == "aps"


def test_accounts_of_runs_that_were_ended_from_outside_are_deleted(cloudformation, properties, workspace):
    names = [f"cdk-slurm-{number}" for number in range(25)] + ["somebodys"]
    workspace.accounts |= {name: Account(name, name, "ADMIN") for name in names}
    made(cloudformation, properties)
    assert list(workspace.accounts) == ["somebodys"]


# --- update ---


def test_what_is_as_it_should_be_is_left_alone(cloudformation, properties, grafana):
    made(cloudformation, properties)
    assert len(writes(grafana)) == 5
    assert cloudformation.ask("Update", properties, old=properties)["Status"] == "SUCCESS"
    assert made(cloudformation, properties), "an answer that was lost has it asked again"
    assert writes(grafana) == []
    assert [len(one.versions) for one in grafana.dashboards.values()] == [1, 1]


def test_only_what_changed_is_written(cloudformation, properties, grafana):
    made(cloudformation, properties)
    writes(grafana)
    changed = {**DASHBOARDS, JOBS: DASHBOARDS[JOBS] | {"panels": []}}
    answer = cloudformation.ask("Update", properties, old=properties, dashboards=changed)
    assert answer["Status"] == "SUCCESS"
    assert writes(grafana) == ["POST /api/dashboards/db"]
    assert stored(grafana, JOBS) == changed[JOBS]
    assert len(grafana.dashboards[JOBS].versions) == 2
    moved = properties | {"PrometheusUrl": "https://aps-workspaces.us-west-2.amazonaws.com/workspaces/ws-y"}
    cloudformation.ask("Update", moved, old=properties, dashboards=changed)
    assert writes(grafana) == ["PUT /api/datasources/uid/cdk-slurm-amp"]
    assert grafana.data_sources["cdk-slurm-amp"]["url"].endswith("ws-y")


def test_a_dashboard_that_is_no_longer_ours_goes(cloudformation, properties, grafana):
    made(cloudformation, properties)
    writes(grafana)
    cloudformation.ask("Update", properties, old=properties, dashboards={JOBS: DASHBOARDS[JOBS]})
    assert writes(grafana) == ["DELETE /api/dashboards/uid/cdk-slurm-node"]


def test_what_somebody_did_to_a_dashboard_of_ours_is_undone(cloudformation, properties, grafana, token):
    made(cloudformation, properties)
    by_hand(grafana, token, "POST", "/api/folders", {"uid": "theirs", "title": "Theirs"})
    changed = DASHBOARDS[JOBS] | {"title": "Changed", "version": 1}
    by_hand(grafana, token, "POST", "/api/dashboards/db", {"dashboard": changed, "folderUid": "theirs"})
    cloudformation.ask("Update", properties, old=properties)
    assert (stored(grafana, JOBS), grafana.dashboards[JOBS].folder_uid) == (DASHBOARDS[JOBS], "cdk-slurm")


def test_the_default_data_source_and_the_folders_title_are_for_people_to_choose(
    cloudformation, properties, grafana, token
):
    made(cloudformation, properties)
    theirs = grafana.data_sources["cdk-slurm-amp"] | {"isDefault": True}
    by_hand(grafana, token, "PUT", "/api/datasources/uid/cdk-slurm-amp", theirs)
    grafana.folders["cdk-slurm"]["title"] = "Our clusters"
    writes(grafana)
    cloudformation.ask("Update", properties, old=properties)
    assert writes(grafana) == []
    cloudformation.ask("Update", properties | {"PrometheusUrl": "https://x"}, old=properties)
    assert grafana.data_sources["cdk-slurm-amp"]["isDefault"]


def test_another_workspace_is_another_resource_and_the_old_one_goes_by_itself(cloudformation, properties, grafana, amg):
    first = made(cloudformation, properties)
    other = amg.add(version="10.4")
    moved = properties_of(other)
    answer = cloudformation.ask("Update", moved, old=properties, physical_id=first["PhysicalResourceId"])
    assert answer["PhysicalResourceId"] == f"{other.id}/cdk-slurm" != first["PhysicalResourceId"]
    assert cloudformation.ask("Delete", properties, physical_id=first["PhysicalResourceId"])["Status"] == "SUCCESS"
    assert grafana.dashboards == {}
    assert other.server.grafana.dashboards.keys() == DASHBOARDS.keys()


# --- what is somebody else's ---


@pytest.fixture
def theirs(grafana, token):
    by_hand(grafana, token, "POST", "/api/folders", {"uid": "theirs", "title": "Theirs"})
    for uid, title, folder in (("a", "Jobs", "theirs"), ("b", "Node", ""), ("cdk-slurm-mine", "Mine", "theirs")):
        body = {"dashboard": {"uid": uid, "title": title}, "folderUid": folder}
        by_hand(grafana, token, "POST", "/api/dashboards/db", body)
    own = {"uid": "own", "name": "Own", "type": "prometheus", "access": "proxy"}
    by_hand(grafana, token, "POST", "/api/datasources", own)


def test_nothing_of_others_is_touched(theirs, cloudformation, properties, grafana):
    made(cloudformation, properties)
    cloudformation.ask("Update", properties, old=properties, dashboards={JOBS: DASHBOARDS[JOBS]})
    assert cloudformation.ask("Delete", properties)["Status"] == "SUCCESS"
    assert set(grafana.dashboards) == {"a", "b", "cdk-slurm-mine"}
    assert [len(one.versions) for one in grafana.dashboards.values()] == [1, 1, 1]
    assert set(grafana.folders) == {"theirs"}
    assert set(grafana.data_sources) == {"own"}


def test_a_dashboard_that_somebody_saved_in_our_folder_stays_with_the_folder(
    cloudformation, properties, grafana, token
):
    made(cloudformation, properties)
    body = {"dashboard": {"uid": "copy", "title": "A copy"}, "folderUid": "cdk-slurm"}
    by_hand(grafana, token, "POST", "/api/dashboards/db", body)
    cloudformation.ask("Update", properties, old=properties)
    assert cloudformation.ask("Delete", properties)["Status"] == "SUCCESS"
    assert set(grafana.dashboards) == {"copy"}
    assert set(grafana.folders) == {"cdk-slurm"}


def test_one_of_the_same_title_in_our_folder_is_told_and_not_overwritten(cloudformation, properties, grafana, token):
    made(cloudformation, properties)
    body = {"dashboard": {"uid": "copy", "title": "New"}, "folderUid": "cdk-slurm"}
    by_hand(grafana, token, "POST", "/api/dashboards/db", body)
    new = {**DASHBOARDS, "cdk-slurm-new": {"uid": "cdk-slurm-new", "title": "New"}}
    answer = cloudformation.ask("Update", properties, old=properties, dashboards=new)
    assert answer["Status"] == "FAILED"
    assert "412 A dashboard with the same name in the folder already exists" in answer["Reason"]
    assert stored(grafana, "copy") == {"uid": "copy", "title": "New"}


def test_the_folder_stays_where_somebody_has_alert_rules_in_it(cloudformation, properties, grafana):
    made(cloudformation, properties)
    grafana.folders_with_rules.add("cdk-slurm")
    assert cloudformation.ask("Delete", properties)["Status"] == "SUCCESS"
    assert (set(grafana.folders), grafana.dashboards) == ({"cdk-slurm"}, {})


# --- delete ---


def test_delete_takes_all_that_is_ours(cloudformation, properties, grafana, workspace):
    made(cloudformation, properties)
    answer = cloudformation.ask("Delete", properties)
    assert answer["Status"] == "SUCCESS"
    assert answer["PhysicalResourceId"] == f"{workspace.id}/cdk-slurm"
    assert (grafana.dashboards, grafana.folders, grafana.data_sources, grafana.tokens) == ({}, {}, {}, {})
    assert cloudformation.ask("Delete", properties)["Status"] == "SUCCESS", "and once more, when the answer was lost"


def test_a_workspace_that_is_gone_has_nothing_to_delete(cloudformation, properties, amg, workspace):
    made(cloudformation, properties)
    amg.remove(workspace.id)
    assert cloudformation.ask("Delete", properties)["Status"] == "SUCCESS"
    answer = cloudformation.ask("Update", properties, old=properties)
    assert answer["Status"] == "FAILED"
    assert f"workspace {workspace.id} does not exist" in answer["Reason"]


def test_a_creation_that_failed_before_anything_was_made_leaves_nothing_to_delete(
    cloudformation, properties, workspace, amg
):
    workspace.server.interfere = lambda _: instead(403, "You'll need additional permissions")
    answer = cloudformation.ask("Create", properties)
    assert answer["Status"] == "FAILED"
    amg.calls.clear()
    assert cloudformation.ask("Delete", properties, physical_id=answer["PhysicalResourceId"])["Status"] == "SUCCESS"
    assert amg.calls == []


def test_a_creation_that_failed_in_the_middle_is_deleted(cloudformation, properties, workspace, grafana):
    workspace.server.interfere = lambda request: instead(400, "no") if request.path.endswith("/db") else None
    answer = cloudformation.ask("Create", properties)
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("FAILED", f"{workspace.id}/cdk-slurm")
    assert set(grafana.folders) == {"cdk-slurm"}
    workspace.server.interfere = None
    assert cloudformation.ask("Delete", properties, physical_id=answer["PhysicalResourceId"])["Status"] == "SUCCESS"
    assert (grafana.folders, grafana.data_sources) == ({}, {})


# --- permissions ---


def permitted(properties, **given):
    return properties | {role: {"Users": [], "Groups": []} | who for role, who in given.items()}


def test_permissions_follow_the_description(cloudformation, properties, workspace, amg):
    workspace.permissions["SSO_USER", "of-somebody"] = "EDITOR"
    first = permitted(properties, Admins={"Users": [ANN], "Groups": ["g"]}, Viewers={"Users": [BOB]})
    made(cloudformation, first)
    assert workspace.permissions == {
        ("SSO_USER", "of-somebody"): "EDITOR",
        ("SSO_USER", ANN): "ADMIN",
        ("SSO_GROUP", "g"): "ADMIN",
        ("SSO_USER", BOB): "VIEWER",
    }
    amg.calls.clear()
    cloudformation.ask("Update", first, old=first)
    assert "UpdatePermissions" not in dict(amg.calls)
    # Ann may only look from now on, the group nothing, and Bob what he could.
    second = permitted(properties, Viewers={"Users": [ANN, BOB]})
    assert cloudformation.ask("Update", second, old=first)["Status"] == "SUCCESS"
    assert workspace.permissions == {
        ("SSO_USER", "of-somebody"): "EDITOR",
        ("SSO_USER", ANN): "VIEWER",
        ("SSO_USER", BOB): "VIEWER",
    }
    assert cloudformation.ask("Delete", second)["Status"] == "SUCCESS"
    assert workspace.permissions == {("SSO_USER", "of-somebody"): "EDITOR"}


def test_what_was_taken_away_by_hand_already_is_no_error(cloudformation, properties, workspace):
    first = permitted(properties, Admins={"Users": [ANN]})
    made(cloudformation, first)
    workspace.permissions.clear()
    assert cloudformation.ask("Update", properties, old=first)["Status"] == "SUCCESS"


def test_people_who_log_in_by_saml_from_now_on_are_left_to_their_provider(cloudformation, properties, workspace, amg):
    first = permitted(properties, Admins={"Users": [ANN]})
    made(cloudformation, first)
    workspace.providers = ["SAML"]
    amg.calls.clear()
    assert cloudformation.ask("Update", properties, old=first)["Status"] == "SUCCESS"
    assert {name for name, _ in amg.calls if "Permissions" in name} == set()


def test_without_any_permission_nobody_asks_for_them(cloudformation, properties, amg):
    made(cloudformation, properties)
    assert {name for name, _ in amg.calls if "Permissions" in name} == set()


def test_an_error_among_permissions_is_told(cloudformation, properties, amg, monkeypatch):
    told = {"errors": [{"code": 404, "message": "no such user", "causedBy": {"action": "ADD", "role": "ADMIN"}}]}
    monkeypatch.setattr(amg, "_update_permissions", lambda *_: told)
    amg._update_permissions.__name__ = "_update_permissions"
    answer = cloudformation.ask("Create", permitted(properties, Admins={"Users": [ANN]}))
    assert answer["Status"] == "FAILED"
    assert "404 no such user" in answer["Reason"]


# --- when something is wrong ---


def test_a_token_that_expired_in_the_middle_is_replaced_once(cloudformation, properties, workspace, grafana, amg):
    numbers = itertools.count()

    def expire(request):
        if next(numbers) == 5:
            grafana.tokens = dict.fromkeys(grafana.tokens, 0.0)

    workspace.server.interfere = expire
    made(cloudformation, properties)
    assert [name for name, _ in amg.calls].count("CreateWorkspaceServiceAccountToken") == 2
    assert grafana.dashboards.keys() == DASHBOARDS.keys()
    assert (workspace.accounts, grafana.tokens) == ({}, {})


def test_a_token_that_is_never_taken_is_told_without_itself(
    cloudformation, properties, workspace, grafana, amg, capsys
):
    keys = []

    def refuse(_):
        keys.append(list(grafana.tokens)[-1])
        return instead(401, f"Expired API key {keys[-1]}")

    workspace.server.interfere = refuse
    answer = cloudformation.ask("Create", properties)
    assert answer["Status"] == "FAILED"
    assert f"GET https://{workspace.server.endpoint}/api/org: 401 Expired API key (token)" in answer["Reason"]
    assert [name for name, _ in amg.calls].count("CreateWorkspaceServiceAccountToken") == 2
    written = answer["Reason"] + capsys.readouterr().out
    assert len(set(keys)) == 2
    assert not any(key in written for key in keys)
    assert workspace.accounts == {}


@pytest.mark.parametrize(
    ("status", "headers"), [(500, {}), (502, {}), (503, {"Retry-After": "soon"}), (429, {"Retry-After": "0"})]
)
def test_what_passes_is_waited_for(cloudformation, properties, workspace, grafana, status, headers):
    """Every request fails at first, the writing ones after they were done: as when an answer is lost."""
    failed = set()

    def stumble(request):
        key = (request.method, request.path, str(request.body))
        if key in failed:
            return None
        failed.add(key)
        if request.method == "POST":
            [token] = grafana.tokens
            grafana.answer(request, token)
        return instead(status, "later", **headers)

    workspace.server.interfere = stumble
    made(cloudformation, properties)
    assert {uid: stored(grafana, uid) for uid in DASHBOARDS} == DASHBOARDS
    assert [len(one.versions) for one in grafana.dashboards.values()] == [1, 1]


def test_it_comes_back_when_it_is_told_to(cloudformation, properties, workspace):
    asked = []

    def limit(request):
        asked.append(time.monotonic())
        return instead(429, "Rate limit exceeded", **{"Retry-After": "1"}) if len(asked) == 1 else None

    workspace.server.interfere = limit
    made(cloudformation, properties)
    assert asked[1] - asked[0] >= 1


def test_what_does_not_pass_is_told_in_grafanas_words(cloudformation, properties, workspace):
    workspace.server.interfere = lambda request: (
        instead(500, "Failed to save dashboard") if request.method == "POST" and "/db" in request.path else None
    )
    answer = cloudformation.ask("Create", properties)
    assert answer["Status"] == "FAILED"
    url = f"https://{workspace.server.endpoint}/api/dashboards/db"
    assert f"Unavailable: POST {url}: 500 Failed to save dashboard (8 attempts in" in answer["Reason"]
    assert workspace.accounts == {}


def test_a_page_for_people_is_no_answer(cloudformation, properties, workspace):
    pages = iter([b"<html>Sign in</html>"])

    def show(request):
        page = next(pages, None)
        return (200, {}, page) if page else None

    workspace.server.interfere = show
    made(cloudformation, properties)


def test_a_server_that_hangs_is_told_in_time(cloudformation, properties, workspace, function, monkeypatch):
    monkeypatch.setattr(function("http_api"), "_LONGEST_ANSWER_SECONDS", 0.2)
    workspace.server.interfere = lambda _: time.sleep(3)
    began = time.monotonic()
    answer = cloudformation.ask("Create", properties, seconds=function("index").RESERVE_SECONDS + 2)
    assert answer["Status"] == "FAILED"
    assert "/api/org: TimeoutError" in answer["Reason"]
    assert time.monotonic() - began < 3
    assert workspace.accounts == {}


def test_nothing_is_begun_when_no_time_is_left(cloudformation, properties, function, grafana, workspace):
    workspace.configuration["unifiedAlerting"]["enabled"] = True
    answer = cloudformation.ask("Create", properties, seconds=function("index").RESERVE_SECONDS)
    assert "no time is left" in answer["Reason"]
    assert grafana.requests == []


def test_a_workspace_at_whose_address_nobody_is_is_told(cloudformation, properties, workspace, function):
    workspace.server.close()
    seconds = function("index").RESERVE_SECONDS + 1.5
    answer = cloudformation.ask("Create", properties, seconds=seconds)
    assert "ConnectionRefusedError" in answer["Reason"]


def test_a_certificate_of_somebody_else_is_not_trusted(cloudformation, properties, function, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    answer = cloudformation.ask("Create", properties, seconds=function("index").RESERVE_SECONDS + 1.5)
    assert "CERTIFICATE_VERIFY_FAILED" in answer["Reason"]


def test_a_failed_update_keeps_its_id_whatever_it_was_to_be(cloudformation, properties, amg):
    """CloudFormation would delete what has another id, and what stands is the former one's."""
    first = made(cloudformation, properties)["PhysicalResourceId"]
    other = amg.add(version="10.4")
    other.server.interfere = lambda _: instead(403, "no")
    answer = cloudformation.ask("Update", properties_of(other), old=properties, physical_id=first)
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("FAILED", first)


def test_a_package_without_dashboards_fails_and_deletes_nothing(cloudformation, properties, grafana):
    made(cloudformation, properties)
    answer = cloudformation.ask("Update", properties, old=properties, dashboards={})
    assert "there are no dashboards" in answer["Reason"]
    assert grafana.dashboards.keys() == DASHBOARDS.keys()


def test_properties_that_are_missing_are_told(cloudformation, properties):
    del properties["WorkspaceId"]
    answer = cloudformation.ask("Create", properties)
    assert answer["Status"] == "FAILED"
    assert "WorkspaceId" in answer["Reason"]


def test_a_long_reason_is_cut(cloudformation, properties, workspace):
    workspace.server.interfere = lambda _: instead(400, '"\\é' * 5000)
    assert len(cloudformation.ask("Create", properties)["Reason"]) <= 1500


def test_an_answer_that_is_not_taken_is_given_again(cloudformation, properties, function, monkeypatch):
    monkeypatch.setattr(function("answer").time, "sleep", lambda _: None)
    cloudformation.refuse = 2
    made(cloudformation, properties)


def test_an_account_that_cannot_be_deleted_is_a_failure(cloudformation, properties, amg, workspace, monkeypatch):
    def refuse(*_):
        from local_aws.rest import AwsError

        raise AwsError("AccessDeniedException", "not authorized", status=403)

    refuse.__name__ = "_delete_workspace_service_account"
    monkeypatch.setattr(amg, "_delete_workspace_service_account", refuse)
    answer = cloudformation.ask("Create", properties)
    assert "AccessDeniedException" in answer["Reason"]
    # Where something else failed before, that is what is told.
    workspace.accounts.clear()
    workspace.server.interfere = lambda _: instead(403, "no")
    assert "/api/org: 403 no" in cloudformation.ask("Create", properties)["Reason"]
