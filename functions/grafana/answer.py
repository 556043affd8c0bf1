"""The answer to CloudFormation, at the address that it gave.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-responses.html
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

#: In characters. CloudFormation takes 4,096 bytes in all, and some characters are written as two.
_LONGEST_REASON = 1500

_ATTEMPTS = 4


def send(event: Mapping[str, Any], *, physical_id: str, reason: str, data: Mapping[str, str]) -> None:
    """Say how it went: well where there is no reason why not. Raises `OSError` when the answer cannot be given."""
    answer: dict[str, Any] = {
        "Status": "FAILED" if reason else "SUCCESS",
        "PhysicalResourceId": physical_id,
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    if reason:
        answer["Reason"] = reason.encode("ascii", "replace").decode()[:_LONGEST_REASON]
    else:
        answer["Data"] = dict(data)
    body = json.dumps(answer).encode()
    # The address is signed for a request without a content type.
    request = urllib.request.Request(  # noqa: S310
        event["ResponseURL"], data=body, method="PUT", headers={"Content-Type": ""}
    )
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(request, timeout=10):  # noqa: S310
                return
        except (urllib.error.URLError, TimeoutError):
            if attempt == _ATTEMPTS:
                raise
            time.sleep(2**attempt)
