"""The parts that nodes may lack: the lock file that names them, and how they are fetched."""

import hashlib
import json
import os
import re
import ssl
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cdk_slurm import parts
from cdk_slurm.cli import main
from cdk_slurm.parts import Part, PartError, fetch, locked_parts

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "lifecycle_scripts"
LOCKED = locked_parts(SCRIPTS)
NAMES = [f"{part.name}-{part.architecture}" for part in LOCKED]

CONTENT = b"what a node lacks\n" * 1000


# --- The lock file ---


def test_the_lock_names_each_part_once_for_each_kind_of_machine():
    assert len({(part.name, part.architecture) for part in LOCKED}) == len(LOCKED)
    assert len({part.file for part in LOCKED}) == len(LOCKED)
    for name in {part.name for part in LOCKED}:
        architectures = {part.architecture for part in LOCKED if part.name == name}
        assert architectures == {"any"} or architectures <= {"amd64", "arm64"}


def test_the_lock_says_all_of_every_part_and_nothing_else():
    lock = json.loads((SCRIPTS / "parts.lock.json").read_text("utf-8"))
    assert set(lock) == {"parts", "images", "studio"}
    for part in lock["parts"]:
        assert list(part) == [
            "name",
            "version",
            "architecture",
            "file",
            "url",
            "sha256",
            "verified",
            "checksum_from",
            "license",
            "needed_for",
        ]
        assert all(part[field.name] not in ("", None) for field in fields(Part))
    for image in lock["images"]:
        assert list(image) == ["name", "version", "image", "verified", "checksum_from", "license", "needed_for"]
        assert re.fullmatch(r"[\w.:/-]+@sha256:[0-9a-f]{64}", image["image"]), "a tag may name another image tomorrow"
    for part in lock["studio"]:
        assert list(part) == [
            *("name", "version", "url", "sha256", "verified", "checksum_from", "license", "needed_for")
        ]
        assert re.fullmatch(r"[0-9a-f]{64}", part["sha256"])
        assert part["version"] in part["url"]


@pytest.mark.parametrize("part", LOCKED, ids=NAMES)
def test_a_part_is_pinned(part):
    assert re.fullmatch(r"[0-9a-f]{64}", part.sha256)
    assert re.fullmatch(r"\d+(\.\d+)+", part.version)
    assert part.version in part.url, "it comes from an address that another version does not have"
    assert re.match(r"https://|pkg:pypi/.+@.+", part.url)
    assert re.fullmatch(r"[\w+][\w.+-]*", part.file)


@pytest.mark.parametrize("name", dict.fromkeys(part.name for part in LOCKED if not part.verified))
def test_a_part_whose_checksum_was_not_checked_is_named_in_the_readme(name):
    assert f"`{name}`" in (ROOT / "README.md").read_text("utf-8")


def test_fetched_parts_are_not_committed():
    assert "/lifecycle_scripts/parts/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()


# --- Fetching ---


class Server:
    """Answers with what it is told to, one after the other, and the last again and again."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes, int]] = []
        self.requests = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests += 1
                status, content, length = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
                self.send_response(status)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/1.0/part.tar.gz"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def answer(self, status: int = 200, content: bytes = CONTENT, length: int | None = None) -> None:
        self.answers.append((status, content, len(content) if length is None else length))

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def pauses() -> list[float]:
    return []


def part(url: str, *, content: bytes = CONTENT, **changed: Any) -> Part:
    told: dict[str, Any] = {
        "name": "part",
        "version": "1.0",
        "architecture": "any",
        "file": "part.tar.gz",
        "url": url,
        "sha256": hashlib.sha256(content).hexdigest(),
        "verified": True,
        "checksum_from": "a test",
        "license": "MIT",
        "needed_for": "tests",
    }
    return Part(**(told | changed))


def files(directory: Path) -> dict[str, bytes]:
    """Every file below, hidden ones too."""
    paths = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}


def test_a_part_is_fetched(server, tmp_path):
    server.answer()
    assert fetch(part(server.url), tmp_path)
    assert files(tmp_path) == {"parts/part.tar.gz": CONTENT}


def test_a_part_that_is_there_is_not_fetched_again(server, tmp_path):
    server.answer()
    fetch(part(server.url), tmp_path)
    before = (tmp_path / "parts/part.tar.gz").stat()
    assert not fetch(part(server.url), tmp_path)
    assert server.requests == 1
    after = (tmp_path / "parts/part.tar.gz").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_file_with_another_checksum_is_replaced(server, tmp_path):
    server.answer()
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/part.tar.gz").write_bytes(b"of an earlier version")
    (tmp_path / "parts/.part.tar.gz.partial").write_bytes(b"left by a killed run")
    assert fetch(part(server.url), tmp_path)
    assert files(tmp_path) == {"parts/part.tar.gz": CONTENT}


def test_another_checksum_is_an_error_that_names_both(server, tmp_path):
    server.answer(content=b"something else")
    with pytest.raises(PartError) as raised:
        fetch(part(server.url), tmp_path)
    found, expected = hashlib.sha256(b"something else").hexdigest(), hashlib.sha256(CONTENT).hexdigest()
    assert str(raised.value) == f"{server.url} has sha256 {found}, expected {expected}"
    assert files(tmp_path) == {}


def test_a_server_that_is_busy_is_asked_again_a_little_later(server, tmp_path, pauses):
    server.answer(503, b"busy")
    server.answer(503, b"busy")
    server.answer()
    assert fetch(part(server.url), tmp_path, sleep=pauses.append)
    assert (server.requests, pauses) == (3, [1, 2])


def test_a_download_that_breaks_off_leaves_nothing_and_is_tried_again(server, tmp_path, pauses):
    server.answer(content=CONTENT[:100], length=len(CONTENT))
    left: list[dict[str, bytes]] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        left.append(files(tmp_path))

    with pytest.raises(PartError, match=r"IncompleteRead\(100 bytes read, 17900 more expected\), after 5 attempts"):
        fetch(part(server.url), tmp_path, sleep=sleep)
    assert pauses == [1, 2, 4, 8]
    assert left == [{}] * 4
    assert files(tmp_path) == {}


def test_what_is_not_there_is_not_asked_for_again(server, tmp_path, pauses):
    server.answer(404, b"")
    with pytest.raises(PartError, match=r"part\.tar\.gz: HTTP 404 Not Found$"):
        fetch(part(server.url), tmp_path, sleep=pauses.append)
    assert (server.requests, pauses) == (1, [])


def test_no_server(server, tmp_path, pauses):
    server.stop()
    with pytest.raises(PartError, match=r"Connection refused, after 5 attempts$"):
        fetch(part(server.url), tmp_path, sleep=pauses.append)


def test_a_directory_that_cannot_be_written(server, tmp_path):
    server.answer()
    (tmp_path / "parts").write_text("a file in its place")
    with pytest.raises(PartError, match=r"cannot write .*/parts/part\.tar\.gz: "):
        fetch(part(server.url), tmp_path)


# --- Files of wheels ---

WHEEL_URL = "pkg:pypi/some-package@1.0#some_package/certificates.pem"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is pip's only package index, with one wheel."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    directory = tmp_path / "index"
    directory.mkdir()
    with zipfile.ZipFile(directory / "some_package-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some_package/certificates.pem", CONTENT)
        wheel.writestr(
            "some_package-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: some-package\nVersion: 1.0\n"
        )
        wheel.writestr("some_package-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("some_package-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return directory


def test_a_file_of_a_wheel_comes_from_the_index_that_pip_is_set_up_for(index, tmp_path):
    assert fetch(part(WHEEL_URL, file="certificates.pem"), tmp_path)
    assert files(tmp_path / "parts") == {"certificates.pem": CONTENT}


def test_a_wheel_comes_from_there_as_it_is(index, tmp_path):
    [wheel] = index.iterdir()
    url = WHEEL_URL.partition("#")[0]
    assert fetch(part(url, file=wheel.name, content=wheel.read_bytes()), tmp_path)
    assert files(tmp_path / "parts") == {wheel.name: wheel.read_bytes()}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (WHEEL_URL.replace("1.0", "2.0"), r"pip cannot download some-package 2\.0: .*No matching distribution"),
        (WHEEL_URL.replace("certificates", "other"), r"some_package-1\.0-py3-none-any\.whl is not the wheel with"),
    ],
)
def test_a_wheel_that_is_not_there_or_lacks_the_file(index, tmp_path, url, message):
    with pytest.raises(PartError, match=message):
        fetch(part(url), tmp_path)
    assert not (tmp_path / "parts").exists()


def test_the_certificates_of_amazon_rds(tmp_path):
    """The real ones, from the real package: three authorities for every commercial Region, and time to spare."""
    [locked] = [one for one in LOCKED if one.name == "rds-ca"]
    try:
        fetch(locked, tmp_path)
    except PartError as error:
        if "has sha256" in str(error) or os.environ.get("CI"):
            raise
        pytest.skip(f"there is no package index: {error}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=str(tmp_path / "parts" / locked.file))
    trusted = context.get_ca_certs()
    names = {dict(item for pair in one["subject"] for item in pair)["commonName"] for one in trusted}
    commercial = boto3_regions()
    assert len(commercial) >= 34
    for region in commercial:
        for kind in ("RSA2048", "RSA4096", "ECC384"):
            assert f"Amazon RDS {region} Root CA {kind} G1" in names
    assert min(ssl.cert_time_to_seconds(one["notAfter"]) for one in trusted) > ssl.cert_time_to_seconds(
        "Jan  1 00:00:00 2050 GMT"
    )


def test_the_client_of_prometheus_needs_nothing_else(tmp_path):
    """The real wheel: Python takes it from where it is, and it asks for no other package."""
    [locked] = [one for one in LOCKED if one.name == "prometheus-client"]
    try:
        fetch(locked, tmp_path)
    except PartError as error:
        if "has sha256" in str(error) or os.environ.get("CI"):
            raise
        pytest.skip(f"there is no package index: {error}")
    wheel = tmp_path / "parts" / locked.file
    script = "import prometheus_client; prometheus_client.make_wsgi_app(); print(prometheus_client.__file__)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(wheel)!r}); {script}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"{wheel}/prometheus_client/__init__.py"


def boto3_regions() -> list[str]:
    import boto3

    return boto3.session.Session().get_available_regions("rds", partition_name="aws")


# --- The command ---


@pytest.fixture
def lock(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Scripts whose lock names a verified part, and an unverified one for two kinds of machines."""
    unverified = {"name": "other", "verified": False}
    locked = [
        part(server.url),
        part(server.url, file="other-amd64.deb", architecture="amd64", **unverified),
        part(server.url, file="other-arm64.deb", architecture="arm64", **unverified),
    ]
    content = {"parts": [vars(one) for one in locked]}
    (tmp_path / "parts.lock.json").write_text(json.dumps(content), "utf-8")
    monkeypatch.setattr(parts, "lifecycle_scripts", lambda: tmp_path)
    return tmp_path


def run(*names: str) -> Result:
    return CliRunner().invoke(main, ["bundle", *names])


def lines(result: Result) -> list[list[str]]:
    return [line.split() for line in result.stdout.splitlines()]


def test_bundle_fetches_what_was_verified(server, lock):
    server.answer()
    result = run()
    assert result.exit_code == 0
    assert lines(result)[:3] == [
        ["part", "1.0", "any", "verified", "fetched"],
        ["other", "1.0", "amd64", "unverified", "left", "out"],
        ["other", "1.0", "arm64", "unverified", "left", "out"],
    ]
    assert "`cdk-slurm bundle NAME` fetches it" in result.stdout
    assert set(files(lock / "parts")) == {"part.tar.gz"}
    assert lines(run())[0] == ["part", "1.0", "any", "verified", "present"]


def test_bundle_fetches_what_is_named_for_every_kind_of_machine(server, lock):
    server.answer()
    result = run("other")
    assert result.exit_code == 0
    assert lines(result) == [
        ["other", "1.0", "amd64", "unverified", "fetched"],
        ["other", "1.0", "arm64", "unverified", "fetched"],
    ]
    assert set(files(lock / "parts")) == {"other-amd64.deb", "other-arm64.deb"}


def test_bundle_goes_on_after_a_part_that_failed_and_says_so(server, lock):
    server.answer(content=b"something else")
    server.answer()
    result = run("part", "other")
    assert result.exit_code == 1
    assert [line[-1] for line in lines(result)] == ["failed", "fetched", "fetched"]
    assert re.fullmatch(r"Error: part: http://127.* has sha256 \w{64}, expected \w{64}\n", result.stderr)


def test_bundle_of_a_name_that_is_not_in_the_lock(server, lock):
    result = run("part", "wrong")
    assert result.exit_code == 2
    assert "there is no part wrong; there are part, other" in result.stderr
    assert server.requests == 0


def test_the_scripts_are_those_that_a_deployment_takes():
    assert parts.lifecycle_scripts() == SCRIPTS
