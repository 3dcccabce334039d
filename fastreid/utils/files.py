"""Files: atomic writes, the data root, downloads with cache and checksum."""

import contextlib
import hashlib
import http.client
import os
import re
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "wb") -> Iterator[IO]:
    """Open a temporary file beside ``path`` and rename it over ``path`` when the block ends without an error.

    A reader sees the old file or the whole new one; a full disk or a kill leaves the old file as it was. An
    ``OSError`` without a file name, as of a full disk, gets that of ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    encoding = None if "b" in mode else "utf-8"
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; give the permissions that an ordinary open() would have given
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def require_writable(folder: str | os.PathLike, name: str) -> None:
    """Make ``folder`` and try a file in it, before the work whose results it is to take.

    Raises:
        OSError: it cannot be made or written; ``name`` is the setting or option that names it.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(error.errno, f"{name} cannot be written: {error.strerror}", str(folder)) from error


@contextlib.contextmanager
def hold_lock(path: str | os.PathLike, busy: Exception | None = None) -> Iterator[IO]:
    """Hold the lock of the file ``path``; it goes with the process, even a killed one, and with those that inherit it.

    Args:
        busy: raised where another process holds it; ``None``: wait until it is free.
    """
    import fcntl

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if busy is None else fcntl.LOCK_NB))
        except BlockingIOError:
            raise busy from None
        yield file


def expand(path: str) -> Path:
    """Expand ``~`` and ``${VARIABLES}``; a variable that is not set or empty raises ``ValueError`` naming it."""
    expanded = os.path.expanduser(os.path.expandvars(path))
    # an empty one would make ${FOLDER}/list.txt a file of the root folder
    unset = [name for name in re.findall(r"\$\{?(\w+)", path) if not os.environ.get(name)]
    if unset or "$" in expanded:
        names = ", ".join(unset) or "$"
        raise ValueError(f"The path '{path}' uses an environment variable that is not set: {names}")
    return Path(expanded)


def data_root() -> Path:
    """Folder of all data sets: the environment variable ``FASTREID_DATASETS``, by default ``datasets``."""
    return Path(os.environ.get("FASTREID_DATASETS") or "datasets").expanduser()


def cache_root() -> Path:
    """Folder for downloaded weights: ``FASTREID_CACHE``, by default ``~/.cache/fastreid``."""
    return Path(os.environ.get("FASTREID_CACHE") or Path.home() / ".cache" / "fastreid")


def sha256_of(path: str | os.PathLike) -> str:
    """Hex SHA-256 of a file, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def cached_download(url: str, sha256_prefix: str | None = None, cache: Path | None = None) -> Path:
    """Return the local copy of ``url``, downloading it into the cache on first use, once for all processes.

    Args:
        url: http(s) address, or a Google Drive link (needs the core package gdown).
        sha256_prefix: leading hex digits of the file's SHA-256, checked after the download and on each use.

    Raises:
        ConnectionError: the download failed; the message says where to put the file by hand.
        ValueError: the checksum differs.
    """
    name = url.rstrip("/").rsplit("/", 1)[-1].split("?")[0] or "download"
    if sha256_prefix is None or "drive.google.com" in url:
        # without a checksum nothing else would tell model_best.pth from that of another address
        name = f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}"
    target = (cache or cache_root()) / name
    if not target.exists():
        with _one_process(target):
            if not target.exists():  # another process may have fetched it meanwhile
                _fetch(url, target)
    if sha256_prefix and not sha256_of(target).startswith(sha256_prefix):
        raise ValueError(
            f"{target} has the wrong checksum: expected SHA-256 {sha256_prefix}..., got {sha256_of(target)[:16]}.... "
            f"Delete it to download {url} again."
        )
    return target


@contextlib.contextmanager
def _one_process(target: Path) -> Iterator[None]:
    """Let one process of this user and machine at a time into the block; the lock of one that dies is free again."""
    try:
        import fcntl
    except ImportError:  # Windows: each process fetches, and the last one's file stays
        yield
        return
    name = hashlib.sha256(os.fsencode(target.absolute())).hexdigest()[:16]
    # not beside the file: network file systems lock badly, or not at all. Others may write there too, so a link that
    # one of them left under this name is refused, and nothing is emptied
    path = Path(tempfile.gettempdir(), f"fastreid-{os.getuid()}-{name}.lock")
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _fetch(url: str, target: Path) -> None:
    try:
        with atomic_write(target) as file:
            (_from_google_drive if "drive.google.com" in url else _from_server)(url, file)
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(
            f"Cannot download {url} ({error}). Without a network, fetch it on another machine and save it as {target}."
        ) from error


def _from_server(url: str, file: IO) -> None:
    with urllib.request.urlopen(url, timeout=60) as response:
        while block := response.read(1 << 20):
            file.write(block)
    expected = response.headers.get("Content-Length")
    if expected and file.tell() != int(expected):
        raise OSError(f"the connection ended after {file.tell()} of {expected} bytes")


def _from_google_drive(url: str, file: IO) -> None:
    import gdown

    try:
        found = gdown.download(url, file, quiet=True)
    except Exception as error:  # gdown's own errors have no common base in its older releases
        raise OSError(str(error)) from error
    if found is None:
        raise OSError("gdown returned no file")
