"""The APIs of services that MiniStack lacks."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from ministack import app
from ministack.core import iam_actions, router

from local_aws import rest
from local_aws.hooks import replace

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


def serve_rest(service: str, *, scope: str, operations: Mapping[str, Operation], arn_of: Callable[[str], str]) -> None:
    """Answer a REST service's requests, and have IAM judge them where it is enforced.

    `service` is botocore's name of it and `scope` the one that requests are signed for and actions begin with;
    `arn_of` tells what a request's path is about.
    """

    async def handle(
        method: str, path: str, _headers: Mapping[str, str], body: bytes, query: Mapping[str, Any]
    ) -> rest.Response:
        return rest.answer(service, operations, method=method, path=path, query=query, body=body)

    app.SERVICE_HANDLERS[scope] = handle
    router.SERVICE_PATTERNS[scope] = {"credential_scope": scope, "host_patterns": [rf"{scope}\."]}
    iam_actions.SERVICE_TO_IAM_NAMESPACE[scope] = scope
    iam_actions._BOTOCORE_SERVICE_MAP[scope] = [service]

    def resource_arn(asked: str, method: str, path: str, *rest_: Any) -> str:
        return arn_of(path) if asked == scope else str(theirs(asked, method, path, *rest_))

    theirs = replace(iam_actions, "extract_resource_arn", resource_arn)


#: What each service calls it when there is no such thing.
_NOT_FOUND = {"fsx": "FileSystemNotFound", "sagemaker": "ResourceNotFound"}


def _error(code: str, message: str) -> bytes:
    return json.dumps({"__type": code, "message": message}).encode()
