"""The front of Amazon Managed Service for Prometheus.

`metrics_front.py CREDENTIALS ADDRESS CERTIFICATE KEY URL UPSTREAM`

It speaks TLS, takes what was signed with the credentials for this service and Region (Signature Version 4), knows one
workspace by its exact address, and hands what it takes to a Prometheus. Why it refuses something is in its log.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-authentication-methods.html
"""

import datetime
import hmac
import json
import re
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

_SERVICE = "aps"
_SKEW = datetime.timedelta(minutes=5)
_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, ?"
    r"SignedHeaders=(?P<headers>[^,]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


class RefusedError(Exception):
    """A request that the service does not take; the first argument is the status that it answers."""


def check(*, method: str, url: str, headers: dict[str, str], body: bytes, role: dict[str, str], region: str) -> None:
    """Raise `RefusedError` unless the request was signed with the role's credentials, lately, for the service.

    `headers` are by their names in lower case.
    """
    signed = _SIGNED.fullmatch(headers.get("authorization", ""))
    if not signed:
        raise RefusedError(403, "it is not signed")
    if (signed["key"], headers.get("x-amz-security-token")) != (role["AccessKeyId"], role["Token"]):
        raise RefusedError(403, "it is signed as somebody else")
    if (signed["service"], signed["region"]) != (_SERVICE, region):
        raise RefusedError(403, f"it is signed for {signed['service']} in {signed['region']}")
    names = signed["headers"].split(";")
    if not {"host", "x-amz-date", "x-amz-security-token"} <= {*names}:
        raise RefusedError(403, f"what is signed is only {signed['headers']}")
    date = headers["x-amz-date"]
    signed_at = datetime.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    if abs(datetime.datetime.now(datetime.timezone.utc) - signed_at) > _SKEW or not date.startswith(signed["day"]):
        raise RefusedError(403, f"it was signed at {date}")
    signer = SigV4Auth(Credentials(role["AccessKeyId"], role["SecretAccessKey"], role["Token"]), _SERVICE, region)
    request = AWSRequest(method, url, data=body, headers={name: headers[name] for name in names})
    request.context["timestamp"] = date
    expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    if not hmac.compare_digest(expected, signed["signature"]):
        raise RefusedError(403, "the signature is another one")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    role: dict[str, str]
    workspace: str
    upstream: str

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        address = urllib.parse.urlsplit(self.workspace)
        try:
            if self.path != f"{address.path}/api/v1/remote_write":
                raise RefusedError(404, "there is no such address")
            check(
                method="POST",
                url=f"{address.scheme}://{address.netloc}{self.path}",
                headers={name.lower(): value for name, value in self.headers.items()},
                body=body,
                role=self.role,
                region=address.netloc.split(".")[1],
            )
            self._answer(*self._handed_on(body))
        except RefusedError as refused:
            status, reason = refused.args
            print(f"refused {self.client_address[0]} {self.path}: {reason}", flush=True)
            self._answer(status, json.dumps({"message": reason}).encode())

    def _handed_on(self, body: bytes) -> tuple[int, bytes]:
        names = ("Content-Type", "Content-Encoding", "X-Prometheus-Remote-Write-Version")
        request = urllib.request.Request(  # noqa: S310
            f"{self.upstream}/api/v1/write", body, {name: self.headers[name] for name in names}
        )
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            said = error.read()
            print(f"refused {self.client_address[0]} by Prometheus: {said.decode()}", flush=True)
            return error.code, said

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    """Serve at port 443."""
    credentials, address, certificate, key, workspace, upstream = sys.argv[1:]
    _Handler.role = json.loads(Path(credentials).read_text("utf-8"))
    _Handler.workspace, _Handler.upstream = workspace, upstream
    server = ThreadingHTTPServer((address, 443), _Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    # Each in its own thread, so that nobody waits for somebody who says nothing.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    main()
