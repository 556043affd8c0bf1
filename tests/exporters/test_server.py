"""The way from an exporter to Prometheus."""

import os
import re
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from exporters import server
from exporters.server import server_of

SCRIPTS = Path(__file__).resolve().parents[2] / "lifecycle_scripts"


class One(Collector):
    def collect(self):
        yield GaugeMetricFamily("one", "A number.", value=1)


@pytest.fixture
def address():
    listening = server_of(One(), address="127.0.0.1", port=0)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield listening.server_address
    listening.shutdown()
    thread.join()
    listening.server_close()


def scraped(address) -> str:
    with urllib.request.urlopen(f"http://{address[0]}:{address[1]}/metrics", timeout=5) as answer:
        return answer.read().decode()


def test_it_tells_what_the_collector_has_and_nothing_of_itself(address):
    assert scraped(address) == "# HELP one A number.\n# TYPE one gauge\none 1.0\n"


def test_who_connects_and_hangs_up_leaves_no_trace(address, capfd):
    for linger in (b"\0" * 8, b"\1\0\0\0\0\0\0\0"):
        with socket.create_connection(address) as connection:
            # The second is gone without a farewell.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    assert "one 1.0" in scraped(address)
    assert capfd.readouterr() == ("", "")


def test_who_says_nothing_keeps_nobody_waiting_and_is_hung_up_on(address, capfd, monkeypatch):
    assert server._Handler.timeout == 10
    monkeypatch.setattr(server._Handler, "timeout", 0.2)
    with socket.create_connection(address, timeout=5) as silent:
        assert "one 1.0" in scraped(address)
        assert silent.recv(1) == b""
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["slurm", "fabric"])
def test_as_a_program(name, tmp_path):
    """With the path that units give it, except that prometheus_client is this environment's."""
    options = {"slurm": ["--state-file", str(tmp_path / "state.json")], "fabric": ["--root", str(tmp_path)]}
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS), "PATH": str(tmp_path)}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-B", "-m", f"exporters.{name}", "--address", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen([*command, *options[name]], env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            text = answer_of(port)
        finally:
            process.terminate()
            said = process.stderr.read()
    expected = {"slurm": r"^slurm_up 0\.0$", "fabric": r'^fabric_collector_success\{collector="efa"\} 1\.0$'}
    assert re.search(expected[name], text, re.MULTILINE)
    assert {"slurm": "cannot run squeue", "fabric": "node.json is missing"}[name] in said
    assert "Traceback" not in said


def answer_of(port: int) -> str:
    for _ in range(100):
        try:
            return scraped(("127.0.0.1", port))
        except OSError:
            threading.Event().wait(0.1)
    raise TimeoutError


def test_nothing_but_the_standard_library_prometheus_client_and_the_lifecycle_is_needed():
    script = (
        "import sys; before = set(sys.modules);"
        "import exporters.slurm.__main__, exporters.fabric.__main__;"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(*sorted(new - sys.stdlib_module_names))"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", script],
        env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["exporters", "lifecycle", "prometheus_client"]
