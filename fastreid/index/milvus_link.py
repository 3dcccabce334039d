"""The way to an index in Milvus: its address, and clients that share a file of Milvus Lite within one process."""

import logging
import os
import re
import threading
from collections import Counter
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from fastreid.index.errors import IndexCorrupt, IndexLocked
from fastreid.utils.files import hold_lock

COLLECTION = "fastreid_index"
PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,100}")
_OPEN: Counter = Counter()  # files of Milvus Lite, and how often they are open in this process
_GUARD = threading.Lock()


class Link:
    """A client of Milvus.

    Attributes:
        client: a ``pymilvus.MilvusClient``.
        collection: name of the index.
        where: the address without user and password, for messages.
        local: whether it is a file of Milvus Lite.

    Raises:
        ConnectionError: Milvus does not answer, or another process has the file open.
        IndexCorrupt: Milvus Lite cannot read the file.
        IndexLocked: another process has the file open, and this one is to ``write``.
        FileNotFoundError: there is no such file, and none is to be made (``new``).
        ValueError: an address that is none, or a name of a collection that is not plain.
        ImportError: pymilvus is not installed.
    """

    def __init__(self, uri: str, new: bool = False, write: bool = False):
        try:
            from pymilvus import MilvusClient
            from pymilvus.exceptions import MilvusException
        except ImportError as error:
            raise ImportError("an index in Milvus needs pymilvus: pip install 'fastreid[milvus]'") from error
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs each error that it raises, and Lite's lacks
        self._server, self.collection, login, self.local = parts_of(uri)
        self.where = f"milvus:{self._server}?collection={self.collection}"
        if self.local:
            if not new and not os.path.exists(self._server):
                raise self.nothing_here()
            os.makedirs(os.path.dirname(os.path.abspath(self._server)), exist_ok=True)
        with _GUARD:  # or another thread might let go of the file in between
            try:
                self.client = MilvusClient(self._server, **login)
            except (MilvusException, OSError) as error:
                raise self._refusal(error, write) from None
            _OPEN[self._server] += self.local

    def _refusal(self, error: Exception, write: bool) -> Exception:
        if not self.local:
            return ConnectionError(f"cannot connect to {self.where}: {reason(error)}")
        if not _is_held(self._server):
            return IndexCorrupt(f"the file of the index at '{self.where}' is damaged, or none of Milvus Lite")
        if write:
            return IndexLocked(f"another process is writing to the index at '{self.where}', or has its file open")
        return ConnectionError(f"cannot open {self.where}: another process has this file of Milvus Lite open")

    def nothing_here(self) -> FileNotFoundError:
        return FileNotFoundError(f"No index at '{self.where}'. tools/build_index.py makes one")

    def close(self) -> None:
        """Close the client; the last one of a file lets other processes open it."""
        self.client.close()
        with _GUARD:
            if self.local:
                _OPEN[self._server] -= 1
                if not _OPEN[self._server]:
                    from milvus_lite.server_manager import server_manager_instance

                    server_manager_instance.release_server(self._server)


def _is_held(path: str) -> bool:
    """Whether a process has a file of Milvus Lite (a folder, in which it locks LOCK) open."""
    try:
        with hold_lock(os.path.join(path, "LOCK"), BlockingIOError()):
            return False
    except BlockingIOError:
        return True
    except OSError:  # not even a folder
        return False


def parts_of(uri: str) -> tuple[str, str, dict[str, Any], bool]:
    """Return the server without login, or the path; the collection; the login for the client; whether it is a file."""
    try:
        parts = urlsplit(uri.removeprefix("milvus:"))
        port = f":{parts.port}" if parts.port else ""
    except ValueError:  # whose words may repeat the password
        raise ValueError(
            "the address of an index in Milvus must be like milvus:http://host:19530?collection=NAME; the given one "
            "cannot be read"
        ) from None
    collection = dict(parse_qsl(parts.query)).get("collection", COLLECTION)
    if not PLAIN_NAME.fullmatch(collection):
        raise ValueError(f"collection of an index in Milvus must be letters, digits and _; got '{collection}'")
    if parts.scheme in ("http", "https") and parts.hostname:
        login = {"token": ":".join(unquote(part) for part in (parts.username, parts.password) if part)}
        server = f"{parts.scheme}://{parts.hostname}{port}{parts.path}"
        return server, collection, login if parts.username else {}, False
    if parts.netloc or not parts.path.endswith(".db"):
        given = parts.path or parts.scheme
        raise ValueError(f"an index in Milvus must be at milvus:PATH.db or milvus:http://host:port; got '{given}'")
    return parts.path, collection, {}, True


def reason(error: Exception) -> str:
    """The first line of an error of pymilvus."""
    return (str(getattr(error, "message", "") or error).strip() or type(error).__name__).splitlines()[0]
