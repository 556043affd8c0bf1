"""The function as CloudFormation runs it: its own modules, AMG's API and a Grafana on loopback, and an answer that is
given at an address of CloudFormation's.
"""

import http.server
import importlib
import io
import itertools
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from local_aws import rest
from local_aws.amg import Amg, Workspace
from local_aws.certificate import trusted_certificate
from local_aws.grafana_api import Grafana
from local_aws.grafana_content import Request
from local_aws.grafana_server import Instead

FUNCTION = Path(__file__).resolve().parents[2] / "functions" / "grafana"

DASHBOARDS = {
    "cdk-slurm-jobs": {"uid": "cdk-slurm-jobs", "title": "Jobs", "panels": [{"id": 1, "title": "Waiting"}]},
    "cdk-slurm-node": {"uid": "cdk-slurm-node", "title": "Node", "panels": []},
}


class Context:
    """What Lambda tells a function of its own run."""

    def __init__(self, seconds: float = 900) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tls")
    trusted_certificate(directory)
    return directory / "certificate.pem"


@pytest.fixture
def amg(certificate: Path) -> Iterator[Amg]:
    made = Amg(certificate=certificate, key=certificate.with_suffix(".key"), change_seconds=0.01)
    yield made
    for id_ in list(made.workspaces):
        made.remove(id_)


@pytest.fixture
def function(
    amg: Amg, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], ModuleType]:
    """The function's modules, with dashboards of the test's own and pauses that nobody feels."""
    monkeypatch.syspath_prepend(str(FUNCTION))
    names = [path.stem for path in FUNCTION.glob("*.py")]
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)

    def module(name: str) -> ModuleType:
        return importlib.import_module(name)

    monkeypatch.setattr(module("content"), "_DASHBOARDS", tmp_path / "dashboards")
    monkeypatch.setattr(module("patience"), "FIRST_PAUSE_SECONDS", 0.002)
    monkeypatch.setattr(module("workspace"), "_BEGIN_SECONDS", 0)
    monkeypatch.setattr(module("workspace").boto3, "client", lambda *args, **kwargs: client_of(amg, *args, **kwargs))
    return module


#: It reads megabytes once.
_SESSION = boto3.session.Session()


def client_of(amg: Amg, service: str, **kwargs: Any) -> Any:
    """A genuine client, which holds requests to the service's model and reads answers by it, without a network."""
    keys = {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key": "x"}
    made = _SESSION.client(service, **keys, **kwargs)

    def answer(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        path, _, query = request.url.partition("amazonaws.com")[2].partition("?")
        pairs = dict(pair.split("=", 1) for pair in query.split("&") if pair)
        status, headers, body = rest.answer(
            service, amg.operations(), method=request.method, path=path, query=pairs, body=request.body or b""
        )
        return AWSResponse(request.url, status, headers, _Raw(body))

    made.meta.events.register("before-send", answer)
    return made


class _Raw(io.BytesIO):
    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


class CloudFormation:
    """Asks the function, as for one resource of a stack, and takes its answers."""

    def __init__(self, handler: Callable[[dict[str, Any], Context], None], directory: Path) -> None:
        self._handler = handler
        self._directory = directory
        self._numbers = itertools.count(1)
        self.answers: list[dict[str, Any]] = []
        self.refuse = 0
        """How many answers are not taken."""

        cloudformation = self

        class Handler(http.server.BaseHTTPRequestHandler):
            disable_nagle_algorithm = True

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "", "the address is signed for none"
                assert len(body) <= 4096
                cloudformation.refuse -= 1
                if cloudformation.refuse < 0:
                    cloudformation.answers.append(json.loads(body))
                self.send_response(503 if cloudformation.refuse >= 0 else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def ask(
        self,
        kind: str,
        properties: dict[str, Any],
        *,
        old: dict[str, Any] | None = None,
        physical_id: str = "",
        dashboards: dict[str, Any] | None = None,
        seconds: float = 900,
    ) -> dict[str, Any]:
        """One request; returns the answer to it. The dashboards are what the function's package brings."""
        self.bring(DASHBOARDS if dashboards is None else dashboards)
        event = {
            "RequestType": kind,
            "RequestId": f"request-{next(self._numbers)}",
            "StackId": "arn:aws:cloudformation:us-west-2:111122223333:stack/x/y",
            "LogicalResourceId": "Dashboards",
            "ResponseURL": f"http://127.0.0.1:{self._server.server_port}/secret?signature=x",
            "ResourceProperties": properties,
        }
        if kind != "Create":
            event["PhysicalResourceId"] = physical_id or f"{properties['WorkspaceId']}/cdk-slurm"
        if old is not None:
            event["OldResourceProperties"] = old
        number = len(self.answers)
        self._handler(event, Context(seconds))
        [answer] = self.answers[number:]
        assert answer["RequestId"] == event["RequestId"]
        return answer

    def bring(self, dashboards: dict[str, Any]) -> None:
        self._directory.mkdir(exist_ok=True)
        for path in self._directory.iterdir():
            path.unlink()
        for uid, dashboard in dashboards.items():
            (self._directory / f"{uid}.json").write_text(json.dumps(dashboard), "utf-8")


@pytest.fixture
def cloudformation(function: Callable[[str], ModuleType], tmp_path: Path) -> Iterator[CloudFormation]:
    made = CloudFormation(function("index").handler, tmp_path / "dashboards")
    yield made
    made.close()


@pytest.fixture
def workspace(amg: Amg) -> Workspace:
    return amg.add(version="10.4")


@pytest.fixture
def grafana(workspace: Workspace) -> Grafana:
    return workspace.server.grafana


@pytest.fixture
def properties(workspace: Workspace) -> dict[str, Any]:
    return properties_of(workspace)


def properties_of(workspace: Workspace) -> dict[str, Any]:
    """What CloudFormation gives: texts, lists and maps."""
    nobody: dict[str, list[str]] = {"Users": [], "Groups": []}
    return {
        "ServiceToken": "arn:aws:lambda:us-west-2:111122223333:function:x",
        "WorkspaceId": workspace.id,
        "Endpoint": workspace.server.endpoint,
        "Region": "us-west-2",
        "PrometheusUrl": "https://aps-workspaces.us-west-2.amazonaws.com/workspaces/ws-x",
        "Admins": nobody,
        "Viewers": nobody,
        "DashboardsHash": "0123456789abcdef",
    }


@pytest.fixture
def token(grafana: Grafana) -> str:
    """Somebody else's, who works in Grafana by hand."""
    grafana.tokens["somebody"] = float("inf")
    return "somebody"


def by_hand(grafana: Grafana, token: str, method: str, path: str, body: Any = None) -> Any:
    """What somebody does in Grafana."""
    status, told = grafana.answer(Request(method, path, {}, body), token)
    assert status == 200, told
    grafana.requests.pop()
    return told


def instead(status: int, message: str = "", **headers: str) -> Instead:
    return status, headers, json.dumps({"message": message}).encode()


def writes(grafana: Grafana) -> list[str]:
    """Requests that change something, since the last look."""
    found = [f"{one.method} {one.path}" for one in grafana.requests if one.method != "GET"]
    grafana.requests.clear()
    return found
