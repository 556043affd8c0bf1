"""Answers Prometheus over HTTP."""

import contextlib
import logging
import socketserver
import sys
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.registry import Collector

#: Who has connected and says nothing for so long is hung up on: a scanner of ports would hold a thread for ever.
_PATIENCE_SECONDS = 10


def serve(collector: Collector, *, address: str, port: int) -> None:
    """Serve what the collector collects, and nothing of this process, until the process is ended."""
    server_of(collector, address=address, port=port).serve_forever()


def server_of(collector: Collector, *, address: str, port: int) -> WSGIServer:
    """Return a server that listens, with port 0 on any that is free."""
    registry = CollectorRegistry()
    registry.register(collector)
    server = _Server((address, port), _Handler)
    server.set_app(make_wsgi_app(registry))
    return server


def log_to_journal() -> None:
    """Log to standard error, which is the journal's under systemd."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)


class _Handler(WSGIRequestHandler):
    timeout = _PATIENCE_SECONDS

    def handle(self) -> None:
        # Peers connect, which tells them the round trip, and hang up.
        with contextlib.suppress(ConnectionError, TimeoutError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """A line for each scrape is of no use to anybody."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 256

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks the name server for this machine's name, and waits for it.
        socketserver.TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)
        self.setup_environ()
