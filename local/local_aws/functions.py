"""Lambda: what is asked of a function's role before there is a function."""

from typing import Any

from ministack.core.responses import get_account_id, get_region

from local_aws.permissions import Need, require_role

FUNCTION = "AWS::Lambda::Function"


def checks() -> dict[str, Any]:
    """Lambda refuses a role that it may not take on; one that may not write a log would leave none, without a word."""
    return {FUNCTION: _check}


def _check(properties: dict[str, Any], _standing: Any) -> None:
    group = properties.get("LoggingConfig", {}).get("LogGroup")
    needs = []
    if group:
        # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-loggroups.html
        stream = f"arn:aws:logs:{get_region()}:{get_account_id()}:log-group:{group}:log-stream:any"
        needs = [Need("logs:CreateLogStream", stream), Need("logs:PutLogEvents", stream)]
    require_role(properties["Role"], service="lambda.amazonaws.com", needs=needs)
