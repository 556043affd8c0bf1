"""What an alert manager's definition and rules may say, as Amazon Managed Service for Prometheus documents it."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml
from ministack.core.responses import get_region

from local_aws import sns

# https://docs.aws.amazon.com/prometheus/latest/userguide/AMP_quotas.html
_LARGEST_FILE_BYTES = 1024 * 1024
_MOST_RULES = 2000
_MOST_ROUTES = 100
_SHORTEST_INTERVAL_SECONDS = 30
_LONGEST_REPEAT_SECONDS = 5 * 24 * 3600

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def topics_in(text: str) -> list[str]:
    """The topics that an alert manager sends to."""
    _, manager = _definition(text)
    return [one["topic_arn"] for one in _sns_configs(manager)]


def check_alert_manager(text: str) -> None:
    """Raise `ValueError` in words about what is not as it may be.

    https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-alertmanager-config.html
    """
    templates, manager = _definition(text)
    if unknown := [one for one in manager.get("templates", ()) if one not in templates]:
        raise ValueError(f"AlertManagerDefinition: there is no template file '{unknown[0]}'")
    receivers = [one["name"] for one in manager.get("receivers", ())]
    routes = list(_routes(manager.get("route") or {}))
    if len(routes) > _MOST_ROUTES:
        raise ValueError(f"AlertManagerDefinition: {len(routes)} nodes in the routing tree, of {_MOST_ROUTES}")
    for route in routes:
        if "receiver" in route and route["receiver"] not in receivers:
            raise ValueError(f"AlertManagerDefinition: undefined receiver '{route['receiver']}' used in route")
        if _seconds(route.get("repeat_interval", "0s")) > _LONGEST_REPEAT_SECONDS:
            raise ValueError(f"AlertManagerDefinition: repeat_interval {route['repeat_interval']} is over 5 days")
    for one in manager.get("receivers", ()):
        if wrong := one.keys() - {"name", "sns_configs", "pagerduty_configs"}:
            raise ValueError(f"AlertManagerDefinition: receivers are SNS and PagerDuty; found {min(wrong)}")
    for one in _sns_configs(manager):
        if wrong := one.keys() & {"api_url", "http_config"}:
            raise ValueError(f"AlertManagerDefinition: sns_configs may not hold {min(wrong)}")
        if one.get("sigv4", {}).get("region") != get_region():
            raise ValueError("AlertManagerDefinition: sigv4.region is required, and is the workspace's Region")
        if not sns.exists(one["topic_arn"]):
            raise ValueError(f"AlertManagerDefinition: the topic {one['topic_arn']} does not exist")


def _definition(text: str) -> tuple[Mapping[str, str], dict[str, Any]]:
    """Template files, and the configuration as Alertmanager has it."""
    outer = _parsed(text, "AlertManagerDefinition")
    if wrong := outer.keys() - {"template_files", "alertmanager_config"}:
        raise ValueError(f"AlertManagerDefinition: unknown key '{min(wrong)}'")
    inner = outer.get("alertmanager_config")
    if not isinstance(inner, str):
        raise ValueError("AlertManagerDefinition: alertmanager_config is a text of its own")
    return outer.get("template_files") or {}, _parsed(inner, "alertmanager_config")


def _routes(route: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield route
    for one in route.get("routes", ()):
        yield from _routes(one)


def _sns_configs(manager: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for receiver in manager.get("receivers", ()):
        yield from receiver.get("sns_configs", ())


def check_rules(text: str, others: Iterable[str]) -> None:
    """Raise `ValueError` in words about what is not as it may be; `others` are the workspace's other files of rules.

    https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-Ruler.html
    """
    groups = _parsed(text, "Data").get("groups")
    if not isinstance(groups, list) or not groups:
        raise ValueError("Data: there are no groups")
    names = [group.get("name") for group in groups]
    if not all(names) or len(set(names)) < len(names):
        raise ValueError(f"Data: groups have names, each its own; found {names}")
    for group in groups:
        interval = group.get("interval", "60s")
        if _seconds(interval) < _SHORTEST_INTERVAL_SECONDS:
            raise ValueError(f"Data: group '{group['name']}' has the interval {interval}; 30 s is the shortest")
        for rule in group.get("rules", ()):
            if not rule.get("expr") or ("alert" in rule) == ("record" in rule):
                raise ValueError(f"Data: a rule of group '{group['name']}' is no alert and no record: {rule}")
    count = sum(map(_rules_in, [text, *others]))
    if count > _MOST_RULES:
        raise ValueError(f"Data: the workspace would have {count} rules, of {_MOST_RULES}")


def _rules_in(data: str) -> int:
    return sum(len(group.get("rules", ())) for group in _parsed(data, "Data")["groups"])


def _parsed(text: str, what: str) -> dict[str, Any]:
    if len(text.encode()) > _LARGEST_FILE_BYTES:
        raise ValueError(f"{what}: {len(text.encode())} bytes; 1 MB is the most")
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{what}: no YAML: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{what}: no mapping")
    return found


def _seconds(text: str) -> float:
    """Prometheus's durations, such as 1h30m."""
    if not re.fullmatch(r"(\d+[smhdw])+", text):
        raise ValueError(f"'{text}' is no duration")
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smhdw])", text))
