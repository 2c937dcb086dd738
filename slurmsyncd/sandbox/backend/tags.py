"""Tags of committed jobs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurmsyncd.sandbox.backend.database import BackendDatabase, Row
    from slurmsyncd.sandbox.backend.tokens import User


class Tags:
    """The tables ``tag`` and ``jobtag``."""

    def __init__(self, database: BackendDatabase) -> None:
        self._database = database

    def add(self, dbid: int, tag: dict[str, Any], user: User) -> None:
        """
        Put a tag on a job, made if it is new.

        Raises:
            PermissionError: The scope is not the user's.
            sqlite3.Error: It is on the job already, or exists under another scope.
        """
        type_, name, scope = tag.get("type", ""), tag.get("name", ""), tag.get("scope") or "global"
        allowed = scope in {"global", user.name} or (scope == "admin" and "admin" in user.roles)
        if not allowed:
            raise PermissionError(f"not permitted to use tags of scope {scope}")
        link = self._database.link
        found = self.find(tag)
        tag_id = found["id"] if found else None
        if tag_id is None:
            sql = "INSERT INTO tag (type, name, scope) VALUES (?, ?, ?)"
            tag_id = link.execute(sql, (type_, name, scope)).lastrowid
        link.execute("INSERT INTO jobtag (job_id, tag_id) VALUES (?, ?)", (dbid, tag_id))

    def find(self, tag: dict[str, Any]) -> Row | None:
        """Return the row of a tag, None if there is none of that type, name and scope."""
        return self._database.one(
            "SELECT * FROM tag WHERE type = ? AND name = ? AND scope = ?",
            tag.get("type", ""),
            tag.get("name", ""),
            tag.get("scope") or "global",
        )

    def remove(self, dbid: int, tag: dict[str, Any]) -> None:
        """Take a tag off a job; private scopes are left alone."""
        if (tag.get("scope") or "global") in {"global", "admin"} and (found := self.find(tag)):
            sql = "DELETE FROM jobtag WHERE job_id = ? AND tag_id = ?"
            self._database.link.execute(sql, (dbid, found["id"]))

    def forget(self, tag_id: int) -> None:
        """Remove a tag from everywhere."""
        self._database.link.execute("DELETE FROM tag WHERE id = ?", (tag_id,))

    def of(self, dbids: Iterable[int]) -> dict[int, list[dict[str, Any]]]:
        """Return job id → its tags; jobs without any are left out."""
        found: dict[int, list[dict[str, Any]]] = {}
        rows = self._database.all(
            "SELECT jobtag.job_id AS dbid, tag.id, type, name, scope FROM jobtag JOIN tag ON tag.id = tag_id"
            " WHERE jobtag.job_id IN (SELECT value FROM json_each(?)) ORDER BY tag.id",
            json.dumps(list(dbids)),
        )
        for row in rows:
            found.setdefault(row.pop("dbid"), []).append(row)
        return found
