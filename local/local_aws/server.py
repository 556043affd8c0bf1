"""The server: MiniStack behind a few ways in of our own, on a loopback port that is free."""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: Where the ways in of our own begin.
PREFIX = "/_local_aws/"


def serve(*, tls: bool, directory: Path) -> None:
    """Serve until the process is told to stop. `directory/url` tells the address once it answers."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    # What MiniStack reads while it is imported.
    os.environ["GATEWAY_PORT"] = str(port)
    os.environ["LOCAL_AWS_URL"] = url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"

    from hypercorn.asyncio import serve as hypercorn
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.accesslog = None
    if tls:
        config.certfile, config.keyfile = os.environ["MINISTACK_SSL_CERT"], os.environ["MINISTACK_SSL_KEY"]
    application = _application(directory)
    (directory / "url.new").write_text(url, "utf-8")
    (directory / "url.new").rename(directory / "url")  # whole, or not there

    async def forever() -> None:
        await asyncio.Event().wait()

    # With a trigger of its own, hypercorn leaves the signals alone: a graceful end could wait for ever.
    asyncio.run(hypercorn(application, config, shutdown_trigger=forever))


def _application(directory: Path) -> Callable[[Message, Receive, Send], Awaitable[None]]:
    from ministack.app import app as ministack

    from local_aws import (
        api,
        aps,
        chatbot,
        cloudformation,
        ec2,
        existing,
        fsx,
        functions,
        grafana,
        notifications,
        permissions,
        refusals,
        s3,
        sagemaker,
        secretsmanager,
        sns,
        studio,
    )

    managed_grafana = grafana.ManagedGrafana(directory)
    makers: tuple[Any, ...] = (ec2, fsx, sagemaker, studio, aps, chatbot, managed_grafana)
    ec2.install()
    s3.install()
    secretsmanager.install()
    sns.install()
    permissions.install()
    cloudformation.install(
        types={name: type_ for part in makers for name, type_ in part.types().items()},
        checks={name: check for part in (*makers, functions, sns) for name, check in part.checks().items()},
    )
    api.serve("fsx", target_prefix="AWSSimbaAPIService", operations=fsx.operations())
    api.serve("sagemaker", target_prefix="SageMaker", operations=sagemaker.operations() | studio.operations())
    rest_services: tuple[tuple[str, str, Any], ...] = (
        ("amp", "aps", aps),
        ("chatbot", "chatbot", chatbot),
        ("grafana", "grafana", managed_grafana),
    )
    for service, scope, part in rest_services:
        api.serve_rest(service, scope=scope, operations=part.operations(), arn_of=part.arn_of)
    callers: set[str] = set()

    def faults(body: Any) -> None:
        cloudformation.FAULTS[:] = [cloudformation.Fault(**one) for one in body]

    ways_in: dict[str, Callable[[Any], Any]] = {
        "callers": lambda _: sorted(callers),
        "event": notifications.tell,
        "existing": existing.provide,
        "faults": faults,
        "left-behind": lambda _: cloudformation.left_behind(),
        "refusals": lambda _: refusals.refusals(managed_grafana),
        "resources": lambda _: cloudformation.resources(),
    }

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith(PREFIX):
            callers.update(_access_keys(scope))
            await ministack(scope, receive, send)
            return
        body = b""
        while (message := await receive()).get("more_body") or message.get("body"):
            body += message["body"]
            if not message.get("more_body"):
                break
        # On a thread: some of them ask this server in turn.
        answer = await asyncio.to_thread(ways_in[path.removeprefix(PREFIX)], json.loads(body or b"null"))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    return application


def _access_keys(scope: Message) -> set[str]:
    """The access key that a request is signed with, in its header or its query."""
    text = b" ".join(value for name, value in scope.get("headers", ()) if name == b"authorization").decode("latin-1")
    text += " " + scope.get("query_string", b"").decode("latin-1").replace("%2F", "/").replace(
        "X-Amz-Credential=", "Credential="
    )
    return {part.partition("/")[0] for part in text.split("Credential=")[1:]}
