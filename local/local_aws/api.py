"""The APIs of services that MiniStack lacks: requests told apart by botocore's model of each service."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from ministack import app
from ministack.core import router

Operation = Callable[[dict[str, Any]], dict[str, Any]]


def serve(service: str, *, target_prefix: str, operations: Mapping[str, Operation]) -> None:
    """Answer a JSON service's requests. An operation that is not among these is refused by its name."""

    async def handle(
        _method: str, _path: str, request_headers: Mapping[str, str], body: bytes, _query: Any
    ) -> tuple[int, dict[str, str], bytes]:
        headers = {"Content-Type": "application/x-amz-json-1.1"}  # MiniStack writes into them
        name = request_headers.get("x-amz-target", "").rpartition(".")[2]
        if name not in operations:
            return 501, headers, _error("NotImplemented", f"{service}:{name} is not served by the local AWS")
        try:
            answer = operations[name](json.loads(body or b"{}"))
        except KeyError as error:
            return 400, headers, _error(_NOT_FOUND[service], str(error.args[0]))
        return 200, headers, json.dumps(answer, default=str).encode()

    app.SERVICE_HANDLERS[service] = handle
    router.SERVICE_PATTERNS[service] = {
        "credential_scope": service,
        "host_patterns": [rf"{service}\."],
        "target_prefixes": [target_prefix],
    }


#: What each service calls it when there is no such thing.
_NOT_FOUND = {"fsx": "FileSystemNotFound", "sagemaker": "ResourceNotFound"}


def _error(code: str, message: str) -> bytes:
    return json.dumps({"__type": code, "message": message}).encode()
