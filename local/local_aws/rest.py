"""Services that speak REST with JSON: requests told apart by botocore's model of each service."""

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote

import botocore.session

Operation = Callable[[dict[str, Any]], dict[str, Any]]

#: Status, headers and body.
Response = tuple[int, dict[str, str], bytes]


class AwsError(Exception):
    """An error in a service's own terms."""

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def answer(
    service: str,
    operations: Mapping[str, Operation],
    *,
    method: str,
    path: str,
    query: Mapping[str, Any],
    body: bytes,
) -> Response:
    """What one of the operations says to a request. One that is not among them is refused by its name."""
    headers = {"Content-Type": "application/json"}
    try:
        name, parameters = _parsed(service, method, path, query, body)
        if name not in operations:
            raise AwsError("NotImplemented", f"{service}:{name} is not served by the local AWS", status=501)
        return 200, headers, json.dumps(operations[name](parameters), default=str).encode()
    except AwsError as error:
        told = {"message": str(error)}
        return error.status, headers | {"x-amzn-ErrorType": error.code}, json.dumps(told).encode()


def _parsed(service: str, method: str, path: str, query: Mapping[str, Any], body: bytes) -> tuple[str, dict[str, Any]]:
    for name, verb, pattern, places in _routes(service):
        if verb == method and (found := pattern.fullmatch(path.rstrip("/"))):
            in_path = {key: unquote(value) for key, value in found.groupdict().items()}
            in_query = {member: _one(query[key]) for member, key in places.items() if key in query}
            return name, {**json.loads(body or b"{}"), **in_path, **in_query}
    raise AwsError("UnknownOperationException", f"{service}: {method} {path}", status=404)


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


@cache
def _routes(service: str) -> tuple[tuple[str, str, re.Pattern[str], dict[str, str]], ...]:
    """Name, method, path and what is in the query (member to key), of each operation."""
    model = botocore.session.get_session().get_service_model(service)
    routes = []
    for name in model.operation_names:
        operation = model.operation_model(name)
        members = operation.input_shape.members if operation.input_shape else {}
        places = {
            member: shape.serialization.get("name", member)
            for member, shape in members.items()
            if shape.serialization.get("location") == "querystring"
        }
        path = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(operation.http["requestUri"].rstrip("/")))
        routes.append((name, operation.http["method"], re.compile(path), places))
    return tuple(routes)
