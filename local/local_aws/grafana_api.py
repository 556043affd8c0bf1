"""Grafana's HTTP API: who may ask, and who answers."""

import copy
import itertools
import re
import threading
import time

from local_aws.grafana_content import Answer, Dashboards, Request, Route
from local_aws.grafana_sources import DataSources


class Grafana:
    """One Grafana, in memory. `requests` holds all that it was asked with a good token."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        ids = itertools.count(1)
        sources, dashboards = DataSources(ids), Dashboards(ids)
        organisation: Route = ("GET", "/api/org", lambda _: (200, {"id": 1, "name": "Main Org."}))
        self._routes = [organisation, *sources.routes(), *dashboards.routes()]
        self.data_sources = sources.by_uid
        self.dashboards = dashboards.by_uid
        self.folders = dashboards.folders
        self.folders_with_rules = dashboards.folders_with_rules
        self.tokens: dict[str, float] = {}
        """When each token expires, in seconds since the epoch. A revoked one is not among them."""

        self.requests: list[Request] = []

    def answer(self, request: Request, token: str) -> Answer:
        """Status and body."""
        with self._lock:
            if refused := self._refused(token):
                return refused
            self.requests.append(request)
            for method, pattern, handle in self._routes:
                found = re.fullmatch(pattern, request.path)
                if found and method == request.method:
                    return copy.deepcopy(handle(request, *found.groups()))
            return 404, {"message": "Not found"}

    def _refused(self, token: str) -> Answer | None:
        told = {"statusCode": 401, "traceID": ""}
        if token not in self.tokens:
            return 401, {"message": "Invalid API key", "messageId": "api-key.invalid"} | told
        if time.time() >= self.tokens[token]:
            return 401, {"message": "Expired API key", "messageId": "api-key.expired"} | told
        return None
