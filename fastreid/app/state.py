"""What searchers save: searches with their query images, and sets of marked figures, one folder or file each."""

import contextlib
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from fastreid.app.problems import Problem
from fastreid.engine.search_record import load_record, save_record
from fastreid.engine.search_request import SearchRequest
from fastreid.utils.files import atomic_write, hold_lock

logger = logging.getLogger(__name__)
ID = re.compile(r"[0-9a-f]{16}")
SHA256 = re.compile(r"[0-9a-f]{64}")
RECORD = "record.json"
LOCK = ".lock"
ABANDONED = 3600  # seconds


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class State:
    """The state folder, for its owner only (0700, files 0600).

    A search is a folder ``searches/ID`` with ``record.json`` and its query images, named by their SHA-256; a set is a
    file ``sets/ID.json``. Everything is written whole or not at all; what cannot be read is left alone, and said.
    Several servers may use one folder: what is read to be changed is locked.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self.searches_folder, self.sets_folder = self.folder / "searches", self.folder / "sets"
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in (self.searches_folder, self.sets_folder):
            path.mkdir(mode=0o700, exist_ok=True)
            path.chmod(0o700)
        self._threads = threading.Lock()
        os.close(os.open(self.folder / LOCK, os.O_CREAT | os.O_RDONLY, 0o600))  # now: later the disk may be full
        for path in self.searches_folder.glob(".*"):  # half a search, of a process that was killed
            with contextlib.suppress(FileNotFoundError):  # another server clears it away, too
                if time.time() - path.stat().st_mtime > ABANDONED:
                    shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads and servers from changes."""
        with self._threads, hold_lock(self.folder / LOCK):
            yield

    # -- searches ----------------------------------------------------------------------------------------------------

    def save_search(self, record: Mapping[str, Any], images: Mapping[str, bytes]) -> dict[str, Any]:
        """Save a record with the contents of its images, by SHA-256; return its summary."""
        name = secrets.token_hex(8)
        unfinished = self.searches_folder / f".{name}"
        unfinished.mkdir(mode=0o700)
        try:
            for key, content in images.items():
                with open(os.open(unfinished / key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            self._write(unfinished / RECORD, record, save_record)
            unfinished.rename(self.searches_folder / name)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        return _summary(name, record)

    def searches(self) -> tuple[list[dict[str, Any]], list[str]]:
        """Return summaries of all searches, the newest first, and the names of folders that cannot be read."""
        found, damaged = [], []
        for path in self.searches_folder.iterdir():
            if ID.fullmatch(path.name):
                try:
                    found.append(_summary(path.name, load_record(path / RECORD)))
                except (OSError, ValueError) as error:
                    logger.warning("the saved search %s is skipped: %s", path.name, type(error).__name__)
                    damaged.append(path.name)
        return sorted(found, key=lambda each: (each["saved"], each["id"]), reverse=True), sorted(damaged)

    def search(self, name: str) -> dict[str, Any]:
        """Return the record of a search; ``Problem`` 404 when there is none."""
        path = self._search_folder(name) / RECORD
        try:
            return load_record(path)
        except ValueError as error:
            raise Problem(409, "damaged", f"this saved search is damaged: {_reason(error, path)}") from error

    def image(self, name: str, key: str) -> bytes:
        """Return a query image of a search; ``Problem`` 409 when it is not what was saved."""
        folder = self._search_folder(name)
        if not SHA256.fullmatch(key) or not (folder / key).is_file():
            raise Problem(404, "not_found", "this search has no such image")
        content = (folder / key).read_bytes()
        if hashlib.sha256(content).hexdigest() != key:
            raise Problem(409, "damaged", "a query image of this saved search is damaged")
        return content

    def edit_search(self, name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Change ``name`` or ``notes`` of a record; return its summary."""
        with self._alone():
            record = {**self.search(name), **changes}
            self._write(self._search_folder(name) / RECORD, record, save_record)
        return _summary(name, record)

    def delete_search(self, name: str) -> None:
        with self._alone():
            hidden = self.searches_folder / f".{name}-{secrets.token_hex(4)}"
            self._search_folder(name).rename(hidden)  # at once for all who look
        shutil.rmtree(hidden)

    def _search_folder(self, name: str) -> Path:
        folder = self.searches_folder / name
        if not ID.fullmatch(name) or not folder.is_dir():
            raise Problem(404, "not_found", "there is no such saved search")
        return folder

    # -- sets --------------------------------------------------------------------------------------------------------

    def new_set(self, title: str) -> dict[str, Any]:
        made = {"id": secrets.token_hex(8), "name": title, "notes": "", "created": now(), "changed": now(), "items": []}
        self._write_set(made)
        return made

    def sets(self) -> tuple[list[dict[str, Any]], list[str]]:
        """Return all sets, the newest first, and the names of those that cannot be read."""
        found, damaged = [], []
        for path in self.sets_folder.glob("*.json"):
            if ID.fullmatch(path.stem):
                try:
                    found.append(_read_set(path))
                except (OSError, ValueError) as error:
                    logger.warning("the set %s is skipped: %s", path.stem, type(error).__name__)
                    damaged.append(path.stem)
        return sorted(found, key=lambda each: (each["created"], each["id"]), reverse=True), sorted(damaged)

    def set(self, name: str) -> dict[str, Any]:
        """Return a set; ``Problem`` 404 when there is none."""
        path = self._set_path(name)
        try:
            return _read_set(path)
        except ValueError as error:
            raise Problem(409, "damaged", f"this set is damaged: {_reason(error, path)}") from error

    def _set_path(self, name: str) -> Path:
        path = self.sets_folder / f"{name}.json"
        if not ID.fullmatch(name) or not path.is_file():
            raise Problem(404, "not_found", "there is no such set")
        return path

    def edit_set(self, name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        with self._alone():
            changed = {**self.set(name), **changes, "changed": now()}
            self._write_set(changed)
        return changed

    def delete_set(self, name: str) -> None:
        with self._alone():
            self._set_path(name).unlink(missing_ok=True)

    def put_item(self, name: str, item: Mapping[str, Any]) -> dict[str, Any]:
        """Add a figure to a set, or change its note."""
        with self._alone():
            found = self.set(name)
            places = {each["figure_id"]: place for place, each in enumerate(found["items"])}
            place = places.get(item["figure_id"])
            if place is None:
                found["items"].append({**item, "added": now()})
            else:
                found["items"][place] = {**found["items"][place], **item}
            found["changed"] = now()
            self._write_set(found)
        return found

    def drop_item(self, name: str, figure_id: str) -> dict[str, Any]:
        with self._alone():
            found = self.set(name)
            kept = [each for each in found["items"] if each["figure_id"] != figure_id]
            if len(kept) == len(found["items"]):
                raise Problem(404, "not_found", "this set has no such figure")
            found = {**found, "items": kept, "changed": now()}
            self._write_set(found)
        return found

    def _write_set(self, value: Mapping[str, Any]) -> None:
        def write(path: Path, content: Mapping[str, Any]) -> None:
            with atomic_write(path, "w") as file:
                json.dump(content, file, ensure_ascii=False, indent=1)

        self._write(self.sets_folder / f"{value['id']}.json", value, write)

    @staticmethod
    def _write(path: Path, value: Mapping[str, Any], write) -> None:
        write(path, value)
        path.chmod(0o600)


def _read_set(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        texts = [found[name] for name in ("id", "name", "notes", "created", "changed")]
        texts += [item[name] for item in found["items"] for name in ("figure_id", "patent", "note", "added")]
        texts += [item.get("search", "") for item in found["items"]]
        if found["id"] != path.stem or not all(isinstance(text, str) for text in texts):
            raise ValueError("it does not hold this set")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is no set: {error}") from error
    return found


def _reason(error: ValueError, path: Path) -> str:
    """What is wrong with a file, without where it lies."""
    return str(error).replace(str(path), "its file")


def _summary(name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    best, request = record["results"][0] if record["results"] else None, SearchRequest.from_json(record["request"])
    return {
        "id": name,
        "name": record["name"],
        "notes": record["notes"],
        "time": record["time"],
        "saved": record.get("saved", record["time"]),
        "version": record["index"]["version"],
        "query_figures": len(request.query),
        "text": request.text,
        "filter": request.filter.as_json(),
        "total": record["total"],
        "best": best and (best.get("patent") or best["figure"]["figure_id"]),
    }
