"""Find the backend of an index by its address."""

import json
import os
from pathlib import Path
from typing import Any

from fastreid.index.base import INDEX_REGISTRY, Index
from fastreid.index.errors import IndexCorrupt
from fastreid.utils.command import message_of

MANIFEST = "manifest.json"
# module of each backend, imported when it is asked for
MODULES = {
    "store": "fastreid.index.store",
    "faiss": "fastreid.index.faiss_index",
    "milvus": "fastreid.index.milvus",
    "pgvector": "fastreid.index.pgvector",
}


def backend_of(uri: str) -> type[Index]:
    """Return the backend class of the index at ``uri``.

    ``milvus:PATH.db`` and ``milvus:http://host:port`` are Milvus, ``postgresql://...`` is PostgreSQL with pgvector; all
    else is a folder whose manifest names the backend.

    Raises:
        FileNotFoundError: no such folder, or no index in it.
        IndexCorrupt: its manifest cannot be read.
    """
    if uri.startswith("milvus:"):
        return get_backend("milvus")
    if uri.startswith(("postgresql://", "postgres://")):
        return get_backend("pgvector")
    path = Path(uri, MANIFEST)
    if not path.is_file():
        raise FileNotFoundError(f"No index at '{os.fspath(uri)}': {path} is missing. tools/build_index.py makes one")
    try:
        return get_backend(json.loads(path.read_text(encoding="utf-8"))["backend"])
    except (ValueError, KeyError, TypeError) as error:
        raise IndexCorrupt(f"{path} is damaged: {message_of(error)}") from error


def get_backend(name: str) -> type[Index]:
    """Return the backend registered as ``name``, importing fastreid's own on demand."""
    if name in MODULES:
        __import__(MODULES[name])
    return INDEX_REGISTRY.get(name)


def open_index(uri: str, write: bool = False) -> Index:
    """Open the index at ``uri`` (see :meth:`Index.open`)."""
    return backend_of(uri).open(uri, write)


def create_index(uri: str, backend: str = "store", **settings: Any) -> Index:
    """Make an empty index at ``uri`` and open it for writing (see :meth:`Index.create`)."""
    return get_backend(backend).create(uri, **settings)
