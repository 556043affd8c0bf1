"""A real Alertmanager with our definition, and a server in the place of SNS that keeps what it is sent."""

import http.client
import http.server
import json
import os
import socket
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.prometheus_programs import program

_PUBLISHED = b"""<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult><MessageId>m-1</MessageId>
</PublishResult><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></PublishResponse>"""


@dataclass(frozen=True)
class Message:
    """What was published to a topic."""

    topic: str
    subject: str
    text: str
    attributes: dict[str, str]


@dataclass
class Sns:
    """Keeps messages in the order in which they come."""

    messages: list[Message] = field(default_factory=list)
    _came: threading.Condition = field(default_factory=threading.Condition)

    def keep(self, message: Message) -> None:
        with self._came:
            self.messages.append(message)
            self._came.notify_all()

    def about(self, word: str, topic: str, *, number: int = 1, seconds: float = 15) -> Message:
        """Return the `number`th message to a topic with a word in its subject or text, once it has come."""

        def found() -> list[Message]:
            return [each for each in self.messages if each.topic.endswith(topic) and word in each.subject + each.text]

        with self._came:
            assert self._came.wait_for(lambda: len(found()) >= number, timeout=seconds), f"{word}: {self.messages}"
            return found()[number - 1]


@contextmanager
def recorded_sns() -> Iterator[tuple[str, Sns]]:
    """Serve on the loopback: its address, and what it keeps."""
    sns = Sns()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            sns.keep(_message(dict(urllib.parse.parse_qsl(body))))
            self.send_response(200)
            self.send_header("Content-Length", str(len(_PUBLISHED)))
            self.end_headers()
            self.wfile.write(_PUBLISHED)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", sns
        server.shutdown()


def _message(fields: dict[str, str]) -> Message:
    assert fields["Action"] == "Publish", fields
    entries = [key.removesuffix(".Name") for key in fields if key.endswith(".Name")]
    attributes = {fields[f"{entry}.Name"]: fields[f"{entry}.Value.StringValue"] for entry in entries}
    return Message(fields["TopicArn"], fields.get("Subject", ""), fields["Message"], attributes)


def written(definition: str, directory: Path, *, sns_url: str | None = None) -> Path:
    """Write a definition as a plain Alertmanager has it, with its templates as files; return its configuration.

    With `sns_url` messages go there, and soon.
    """
    parts = yaml.safe_load(definition)
    configuration = yaml.safe_load(parts["alertmanager_config"])
    for name, text in parts["template_files"].items():
        (directory / f"{name}.tmpl").write_text(text, "utf-8")
    configuration["templates"] = [str(directory / f"{name}.tmpl") for name in configuration["templates"]]
    if sns_url:
        for route in (configuration["route"], *configuration["route"]["routes"]):
            route |= {"group_wait": "1s", "group_interval": "1s"}
        for receiver in configuration["receivers"][0]["sns_configs"]:
            receiver["api_url"] = sns_url
    path = directory / "alertmanager.yml"
    path.write_text(yaml.safe_dump(configuration), "utf-8")
    return path


@contextmanager
def alert_manager(configuration: Path) -> Iterator[str]:
    """Run an Alertmanager; its address."""
    url = f"http://127.0.0.1:{_free_port()}"
    command = [
        *_program(),
        f"--config.file={configuration}",
        f"--storage.path={configuration.parent / 'data'}",
        f"--web.listen-address={url.removeprefix('http://')}",
        "--cluster.listen-address=",
    ]
    keys = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example", "AWS_EC2_METADATA_DISABLED": "true"}
    log = configuration.with_name("log")
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=os.environ | keys, stdout=output, stderr=output)
    try:
        _wait_until_ready(url, process, log)
        yield url
    finally:
        process.terminate()
        process.wait(10)
    assert "level=ERROR" not in log.read_text(), log.read_text()


def _program() -> list[str]:
    """Return how to start it. Debian's looks for templates in a fixed place, where they are not if only unpacked."""
    path = program("prometheus-alertmanager")
    share = path.parents[1] / "share"
    if share == Path("/usr/share") or not (share / "prometheus/alertmanager").is_dir():
        return [str(path)]
    root = () if os.geteuid() == 0 else ("--map-root-user",)
    script = 'mount --bind "$0" /usr/share && exec "$@"'
    return ["unshare", "--mount", *root, "sh", "-c", script, str(share), str(path)]


def post(url: str, *alerts: dict[str, Any]) -> None:
    """Send alerts, as Prometheus does."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    connection.request("POST", "/api/v2/alerts", json.dumps(alerts), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=1)
        try:
            connection.request("GET", "/-/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise AssertionError(log.read_text())
