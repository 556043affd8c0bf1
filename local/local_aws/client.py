"""The emulator as a client of itself: what MiniStack's own services do is asked of them as anybody asks."""

import os
from functools import cache
from typing import Any

import boto3


@cache
def client(service: str) -> Any:
    """A boto3 client of a service on this very server, as the account's root user.

    Only for worker threads: on the event loop it would wait for itself.
    """
    return boto3.client(service, endpoint_url=os.environ["LOCAL_AWS_URL"])
