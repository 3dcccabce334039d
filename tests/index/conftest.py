"""Addresses at which tests make indexes: folders, a file of Milvus Lite, a PostgreSQL that runs for the tests."""

import importlib.util
import os
import shutil
import tempfile
import uuid

import pytest

ELSEWHERE = os.environ.get("FASTREID_INDEX_URI", "")
PACKAGES = {"faiss": ["faiss"], "milvus": ["pymilvus", "milvus_lite"], "pgvector": ["psycopg", "pgvector", "pgserver"]}


@pytest.fixture(scope="session")
def postgres():
    """Address of a PostgreSQL with pgvector that runs for the tests only."""
    pgserver = pytest.importorskip("pgserver", reason="pgserver is missing: no PostgreSQL to test with")
    folder = tempfile.mkdtemp(prefix="fastreid-pg-")  # not in pytest's, which the server's own user may not enter
    server = pgserver.get_server(folder, cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def place(tmp_path, request):
    """Return ``place(backend) -> (uri, backend to create)``, another one at each call."""
    dropped = []

    def another(backend):
        name = f"test_{uuid.uuid4().hex[:12]}"
        if backend == "elsewhere":
            if ELSEWHERE.startswith("postgres"):
                return with_name(ELSEWHERE, "table", name), "pgvector"
            if ELSEWHERE.startswith("milvus:"):
                return with_name(ELSEWHERE, "collection", name), "milvus"
            return os.path.join(ELSEWHERE, name), "store"
        for package in PACKAGES.get(backend, ()):
            if importlib.util.find_spec(package) is None:
                pytest.skip(f"backend {backend}: {package} is missing")
        if backend == "pgvector":
            return with_name(request.getfixturevalue("postgres"), "table", name), backend
        return (f"milvus:{tmp_path}/{name}.db" if backend == "milvus" else str(tmp_path / name)), backend

    def made(backend):
        uri, kind = another(backend)
        dropped.append(uri)
        return uri, kind

    yield made
    for uri in dropped:
        drop(uri)


def with_name(uri, key, name):
    return f"{uri}{'&' if '?' in uri else '?'}{key}={name}"


def drop(uri):
    """Remove what a test has left on a server."""
    server, _, name = uri.rpartition("=")
    if uri.startswith("postgres"):
        import psycopg

        with psycopg.connect(server.rpartition("table")[0].rstrip("?&")) as connection:
            connection.execute(f"DROP TABLE IF EXISTS {name}, {name}_manifest")
    elif uri.startswith("milvus:http"):
        from pymilvus import MilvusClient

        client = MilvusClient(server.rpartition("collection")[0].rstrip("?&").removeprefix("milvus:"))
        for collection in (name, f"{name}_manifest"):
            client.drop_collection(collection)
    elif uri.startswith(ELSEWHERE or "\0"):
        shutil.rmtree(uri, ignore_errors=True)
