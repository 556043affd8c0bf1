"""Grafana's HTTP API on a port of loopback, with TLS."""

import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from local_aws.grafana_api import Grafana
from local_aws.grafana_content import Request

#: Status, headers and body of an answer that is given in the place of Grafana's own.
Instead = tuple[int, dict[str, str], bytes]


class GrafanaServer:
    """Serves one Grafana until it is closed. `endpoint` is its host and port.

    `interfere`, where it is set, sees every request first, and may answer it.
    """

    def __init__(self, grafana: Grafana, *, certificate: Path, key: Path) -> None:
        self.grafana = grafana
        self.interfere: Callable[[Request], Instead | None] | None = None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        # Without the handshake, which is made on a request's own thread: else somebody who says nothing holds all.
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.endpoint = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        """Nobody answers at its address any more."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Who does not trust the certificate, or does not wait for an answer, says so himself."""


def _handler(server: GrafanaServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def _serve(self) -> None:
            url = urlsplit(self.path)
            text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = Request(self.command, url.path, parse_qs(url.query), json.loads(text) if text else None)
            instead = server.interfere(request) if server.interfere else None
            if instead is None:
                token = self.headers.get("Authorization", "").removeprefix("Bearer ")
                status, body = server.grafana.answer(request, token)
                instead = (status, {"Content-Type": "application/json"}, json.dumps(body).encode())
            status, headers, payload = instead
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(payload))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815  (names that the library looks for)

        def log_message(self, *_: Any) -> None:
            """Grafana's requests are recorded elsewhere."""

    return Handler
