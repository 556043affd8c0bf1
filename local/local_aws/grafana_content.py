"""Folders and dashboards as Grafana 10.4 keeps them, in memory.

Behaviour and words are those of Grafana's own sources and documentation:
https://github.com/grafana/grafana/tree/v10.4.1/docs/sources/developers/http_api
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

#: Status and body.
Answer = tuple[int, Any]

#: Method, pattern of the path, and who answers.
Route = tuple[str, str, Callable[..., Answer]]

#: In a path.
UID = "([^/]+)"


@dataclass(frozen=True)
class Request:
    """A request as it came, without its token."""

    method: str
    path: str
    query: dict[str, list[str]] = field(default_factory=dict)
    body: Any = None


@dataclass
class Dashboard:
    """A dashboard with its history."""

    id: int
    uid: str
    folder_uid: str
    versions: list[dict[str, Any]]
    """What was saved, the first version first."""

    messages: list[str]

    @property
    def content(self) -> dict[str, Any]:
        """As Grafana tells it."""
        return self.versions[-1] | {"id": self.id, "uid": self.uid, "version": len(self.versions)}


class Dashboards:
    """Dashboards, and the folders that they are in."""

    def __init__(self, ids: Iterator[int]) -> None:
        self._ids = ids
        self.folders: dict[str, dict[str, Any]] = {}
        self.by_uid: dict[str, Dashboard] = {}
        self.folders_with_rules: set[str] = set()
        """Folders in which somebody has alert rules."""

    def routes(self) -> list[Route]:
        """Requests that it answers."""
        return [
            ("GET", "/api/search", self._search),
            ("POST", "/api/folders", self._create_folder),
            ("GET", f"/api/folders/{UID}", self._folder),
            ("DELETE", f"/api/folders/{UID}", self._delete_folder),
            ("POST", "/api/dashboards/db", self._save),
            ("GET", f"/api/dashboards/uid/{UID}", self._told),
            ("DELETE", f"/api/dashboards/uid/{UID}", self._delete),
        ]

    def _folder(self, _: Request, uid: str) -> Answer:
        if uid not in self.folders:
            return 404, {"message": "folder not found", "status": "not-found"}
        return 200, self.folders[uid]

    def _create_folder(self, request: Request) -> Answer:
        title = request.body.get("title")
        if not title:
            return 400, {"message": "folder title cannot be empty"}
        uid = request.body.get("uid") or f"generated{next(self._ids)}"
        if wrong := _wrong_uid(uid):
            return wrong
        if uid in self.folders or uid in self.by_uid:
            return 409, {"message": "a folder/dashboard with the same uid already exists"}
        if title in [one["title"] for one in self.folders.values()]:
            return 409, {"message": "a folder with the same name already exists in the current location"}
        url = f"/dashboards/f/{uid}/{_slug(title)}"
        self.folders[uid] = {"id": next(self._ids), "uid": uid, "title": title, "url": url, "version": 1}
        return 200, self.folders[uid]

    def _delete_folder(self, request: Request, uid: str) -> Answer:
        if uid not in self.folders:
            return 404, {"message": "folder not found", "status": "not-found"}
        if uid in self.folders_with_rules and request.query.get("forceDeleteRules") != ["true"]:
            return 400, {"message": "folder cannot be deleted: folder is not empty"}
        del self.folders[uid]
        for dashboard in [one for one in self.by_uid.values() if one.folder_uid == uid]:
            del self.by_uid[dashboard.uid]
        return 200, {"message": "Folder deleted", "id": 0}

    def _told(self, _: Request, uid: str) -> Answer:
        if uid not in self.by_uid:
            return 404, {"message": "Dashboard not found"}
        found = self.by_uid[uid]
        folder = self.folders.get(found.folder_uid, {"title": "General"})["title"]
        meta = {"folderUid": found.folder_uid, "folderTitle": folder, "version": len(found.versions), "isFolder": False}
        return 200, {"dashboard": found.content, "meta": meta}

    def _save(self, request: Request) -> Answer:
        content, overwrite = dict(request.body["dashboard"]), bool(request.body.get("overwrite"))
        folder = request.body.get("folderUid") or ""
        uid, title = content.get("uid") or "", content.get("title")
        if not title:
            return 400, {"message": "Dashboard title cannot be empty", "status": "empty-name"}
        if wrong := _wrong_uid(uid):
            return wrong
        if folder and folder not in self.folders:
            return 404, {"message": "Folder not found"}
        there = self.by_uid.get(uid)
        if there and content.get("version") != len(there.versions) and not overwrite:
            return 412, {"message": "The dashboard has been changed by someone else", "status": "version-mismatch"}
        for other in self.by_uid.values():
            if other is there or other.folder_uid != folder or other.content["title"] != title:
                continue
            if not overwrite:
                message = "A dashboard with the same name in the folder already exists"
                return 412, {"message": message, "status": "name-exists"}
            there, uid = other, other.uid  # Grafana has it take the other's place
        uid = uid or f"generated{next(self._ids)}"
        if there is None:
            there = self.by_uid[uid] = Dashboard(next(self._ids), uid, folder, [], [])
        there.folder_uid = folder
        there.versions.append(content | {"uid": uid})
        there.messages.append(request.body.get("message", ""))
        told = {"id": there.id, "uid": uid, "slug": _slug(title), "url": f"/d/{uid}/{_slug(title)}"}
        return 200, told | {"status": "success", "version": len(there.versions)}

    def _delete(self, _: Request, uid: str) -> Answer:
        found = self.by_uid.pop(uid, None)
        if found is None:
            return 404, {"message": "Dashboard not found", "status": "not-found"}
        title = found.content["title"]
        return 200, {"id": found.id, "message": f"Dashboard {title} deleted", "title": title}

    def _search(self, request: Request) -> Answer:
        folders = set(request.query.get("folderUIDs", ()))
        limit = int(request.query.get("limit", ["1000"])[0])
        found = [
            {
                "id": one.id,
                "uid": one.uid,
                "title": one.content["title"],
                "type": "dash-db",
                "folderUid": one.folder_uid,
            }
            for one in self.by_uid.values()
            if not folders or one.folder_uid in folders
        ]
        return 200, found[: min(limit, 5000)]


def _wrong_uid(uid: str) -> Answer | None:
    if len(uid) > 40:
        return 400, {"message": "uid too long, max 40 characters"}
    if not re.fullmatch("[a-zA-Z0-9_-]*", uid):
        return 400, {"message": "uid contains illegal characters"}
    return None


def _slug(title: str) -> str:
    return re.sub("[^a-z0-9]+", "-", title.lower()).strip("-")
