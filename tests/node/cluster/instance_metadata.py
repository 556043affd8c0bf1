"""The metadata service of a machine of AWS, version 2: `instance_metadata.py CREDENTIALS ADDRESS`.

It tells the credentials of the machine's role, which are in a file, to who shows a token that it gave out.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
"""

import json
import secrets
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_TOKEN = secrets.token_urlsafe()
_ROLE = "/latest/meta-data/iam/security-credentials/"
_NAME = "node-role"


class _Handler(BaseHTTPRequestHandler):
    credentials: Path

    def do_PUT(self) -> None:
        if self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]:
            self._answer(200, _TOKEN)
        else:
            self._answer(400)

    def do_GET(self) -> None:
        if self.headers["X-aws-ec2-metadata-token"] != _TOKEN:
            self._answer(401)
        elif self.path == _ROLE:
            self._answer(200, _NAME)
        elif self.path == _ROLE + _NAME:
            told = {"Code": "Success", "Type": "AWS-HMAC", "Expiration": "2099-01-01T00:00:00Z"}
            self._answer(200, json.dumps(told | json.loads(self.credentials.read_text("utf-8"))))
        else:
            self._answer(404)

    def _answer(self, status: int, text: str = "") -> None:
        self.send_response(status)
        # Without it, AWS's SDK takes the token for none.
        self.send_header("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


if __name__ == "__main__":
    _Handler.credentials = Path(sys.argv[1])
    ThreadingHTTPServer((sys.argv[2], 80), _Handler).serve_forever()
