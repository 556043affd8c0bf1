"""Grafana's HTTP API: requests, and what comes back, with Grafana's own words where something is wrong.

https://github.com/grafana/grafana/tree/v10.4.1/docs/sources/developers/http_api
"""

import contextlib
import json
import ssl
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlencode

from patience import Deadline, Unavailable

_LONGEST_ANSWER_SECONDS = 30
_LONGEST_TEXT = 800


class GrafanaError(Exception):
    """Grafana refused a request; the message holds the request and Grafana's own words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class HttpApi:
    """The HTTP API of one workspace, used with tokens that expire.

    `new_token` makes a token; it is asked for a second one, once, when Grafana does not take the first any more.
    Redirections are not followed: they would take the token to another host.
    """

    def __init__(self, *, endpoint: str, new_token: Callable[[], str], deadline: Deadline) -> None:
        self._endpoint = endpoint
        self._new_token = new_token
        self._deadline = deadline
        self._token = ""
        self._tokens_made = 0
        self._context = ssl.create_default_context()
        self.wrote = False
        """Whether anything was sent that may have changed something."""

    def get(self, path: str, **query: str) -> Any:
        """What is there; None where there is no such thing."""
        return self.send("GET", f"{path}?{urlencode(query)}" if query else path, missing_is_none=True)

    def delete(self, path: str) -> None:
        """Have something go; it may be gone already."""
        self.send("DELETE", path, missing_is_none=True)

    def send(self, method: str, path: str, body: Any = None, *, missing_is_none: bool = False) -> Any:
        """Raises `GrafanaError` where Grafana refuses, and `patience.Unavailable` where it may not later."""
        if not self._token:
            self._renew()
        status, answer = self._once(method, path, body)
        if status == 401 and self._tokens_made == 1:
            print("the token is not taken any more: another one")
            self._renew()
            status, answer = self._once(method, path, body)
        if status == 404 and missing_is_none:
            return None
        if not 200 <= status < 300:
            raise GrafanaError(status, self._told(method, path, status, answer))
        try:
            return json.loads(answer or b"null")
        except ValueError:
            # A page for people, as something between us and Grafana may show.
            raise Unavailable(self._told(method, path, status, answer)) from None

    def _renew(self) -> None:
        self._token = self._new_token()
        self._tokens_made += 1

    def _once(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        self.wrote |= method != "GET"
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        payload = None if body is None else json.dumps(body).encode()
        if payload is not None:
            headers["Content-Type"] = "application/json"
        seconds = min(_LONGEST_ANSWER_SECONDS, self._deadline.seconds_left)
        if seconds <= 0:
            raise Unavailable(f"{method} {self._url(path)}: no time is left")
        connection = HTTPSConnection(self._endpoint, timeout=seconds, context=self._context)
        try:
            connection.request(method, path, payload, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, HTTPException) as error:
            raise Unavailable(f"{method} {self._url(path)}: {type(error).__name__}: {error}") from error
        finally:
            connection.close()
        print(f"{method} {path} {response.status}")
        if response.status == 429 or response.status >= 500:
            told = self._told(method, path, response.status, answer)
            raise Unavailable(told, retry_after_seconds=_retry_after_seconds(response))
        return response.status, answer

    def _told(self, method: str, path: str, status: int, answer: bytes) -> str:
        text = answer.decode("utf-8", errors="replace").strip()
        with contextlib.suppress(ValueError, LookupError, TypeError):
            text = str(json.loads(text)["message"])
        if self._token:  # should somebody send back what was sent
            text = text.replace(self._token, "(token)")
        return f"{method} {self._url(path)}: {status} {text[:_LONGEST_TEXT]}"

    def _url(self, path: str) -> str:
        return f"https://{self._endpoint}{path}"


def _retry_after_seconds(response: HTTPResponse) -> float:
    """0 where it says nothing, or a date."""
    text = response.getheader("Retry-After", "")
    return float(text) if text.isdigit() else 0
