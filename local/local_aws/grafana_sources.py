"""Data sources as Grafana 10.4 keeps them, in memory.

https://github.com/grafana/grafana/blob/v10.4.1/docs/sources/developers/http_api/data_source.md
"""

from collections.abc import Iterator
from typing import Any

from local_aws.grafana_content import UID, Answer, Request, Route


class DataSources:
    """What Grafana reads from."""

    def __init__(self, ids: Iterator[int]) -> None:
        self._ids = ids
        self.by_uid: dict[str, dict[str, Any]] = {}

    def routes(self) -> list[Route]:
        """Requests that it answers."""
        return [
            ("GET", "/api/datasources", lambda _: (200, list(self.by_uid.values()))),
            ("POST", "/api/datasources", self._add),
            ("GET", f"/api/datasources/uid/{UID}", self._told),
            ("PUT", f"/api/datasources/uid/{UID}", self._update),
            ("DELETE", f"/api/datasources/uid/{UID}", self._delete),
        ]

    def _told(self, _: Request, uid: str) -> Answer:
        if uid not in self.by_uid:
            return 404, {"message": "Data source not found"}
        return 200, self.by_uid[uid]

    def _add(self, request: Request) -> Answer:
        body = request.body
        if missing := [name for name in ("name", "type", "access") if not body.get(name)]:
            return 400, {"message": "bad request data", "error": f"{missing[0]} is required"}
        uid = body.get("uid") or f"generated{next(self._ids)}"
        if uid in self.by_uid:
            return 409, {"message": "data source with the same uid already exists"}
        if body["name"] in [one["name"] for one in self.by_uid.values()]:
            return 409, {"message": "data source with the same name already exists"}
        return self._stored(uid, {"id": next(self._ids), "version": 1}, body, "Datasource added")

    def _update(self, request: Request, uid: str) -> Answer:
        there = self.by_uid.get(uid)
        if there is None:
            return 404, {"message": "Data source not found"}
        if request.body["name"] in [one["name"] for one in self.by_uid.values() if one is not there]:
            return 409, {"message": "data source with the same name already exists"}
        own = {"id": there["id"], "version": there["version"] + 1}
        return self._stored(uid, own, request.body, "Datasource updated")

    def _stored(self, uid: str, own: dict[str, Any], body: dict[str, Any], message: str) -> Answer:
        told = {"url": "", "user": "", "database": "", "basicAuth": False, "isDefault": False, "jsonData": {}}
        if body.get("isDefault"):
            for one in self.by_uid.values():
                one["isDefault"] = False
        self.by_uid[uid] = told | body | own | {"uid": uid, "orgId": 1, "readOnly": False, "typeLogoUrl": ""}
        data_source = self.by_uid[uid]
        return 200, {"datasource": data_source, "id": own["id"], "message": message, "name": data_source["name"]}

    def _delete(self, _: Request, uid: str) -> Answer:
        if self.by_uid.pop(uid, None) is None:
            return 404, {"message": "Data source not found"}
        return 200, {"message": "Data source deleted"}
