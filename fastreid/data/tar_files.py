"""Files inside tar archives: read at once, anywhere in the archive, by the path ``archive.tar!/name``.

Training draws images in an order of its own, which streams cannot give; so a table of where each file lies is made by
one pass over the archive's headers, and kept in the cache folder (``FASTREID_CACHE``). An archive with an address
(http, https) is fetched into that folder once, whole.
"""

import functools
import hashlib
import json
import os
import tarfile
from pathlib import Path

from fastreid.utils.files import atomic_write, cache_root, cached_download

INSIDE = "!/"  # between an archive and the name of a file in it


def is_inside(path: str | os.PathLike) -> bool:
    """Whether a path names a file in an archive."""
    return INSIDE in os.fspath(path)


def members(archive: str) -> dict[str, tuple[int, int]]:
    """Return (begin, size) in bytes of each file of an archive, by name.

    Raises:
        OSError: it is missing, cannot be fetched, or is no whole tar archive without compression.
    """
    return _Archive.of(archive).members


def member_state(path: str) -> tuple[int, int]:
    """Return size and time of change, ns, of a file in an archive; raises as ``read_member``."""
    archive, name = os.fspath(path).split(INSIDE, 1)
    own = _Archive.of(archive)
    return own.place_of(name)[1], own.stamp


def read_member(path: str) -> bytes:
    """Return the bytes of a file in an archive.

    Raises:
        OSError: as ``members``; or there is no such file in it.
    """
    archive, name = os.fspath(path).split(INSIDE, 1)
    own = _Archive.of(archive)
    begin, size = own.place_of(name)
    with open(own.local, "rb") as file:
        file.seek(begin)
        data = file.read(size)
    if len(data) != size:
        raise OSError(f"{archive} ends within {name}")
    return data


class _Archive:
    """One archive of this process, opened when it is first asked for."""

    def __init__(self, archive: str):
        self.archive, self.local = archive, _local(archive)
        facts = os.stat(self.local)
        self.stamp = facts.st_mtime_ns
        state = f"{os.path.abspath(self.local)}\n{facts.st_size}\n{self.stamp}"
        table = cache_root() / "tar-tables" / f"{hashlib.sha256(os.fsencode(state)).hexdigest()[:24]}.json"
        try:
            self.members = {name: tuple(place) for name, place in json.loads(table.read_text()).items()}
        except (FileNotFoundError, ValueError):
            self.members = _scan(self.local, archive)
            with atomic_write(table, "w") as file:
                json.dump(self.members, file)

    @staticmethod
    @functools.lru_cache(maxsize=4096)
    def of(archive: str) -> "_Archive":
        return _Archive(archive)

    def place_of(self, name: str) -> tuple[int, int]:
        try:
            return self.members[name]
        except KeyError:
            raise FileNotFoundError(f"{self.archive} holds no file {name}") from None


def _local(archive: str) -> Path:
    if archive.startswith(("http://", "https://")):
        return cached_download(archive, cache=cache_root() / "tar-files")
    return Path(archive)


def _scan(path: Path, archive: str) -> dict[str, tuple[int, int]]:
    try:
        with tarfile.open(path, "r:") as tar:
            found = {each.name: (each.offset_data, each.size) for each in tar if each.isfile()}
            end = tar.fileobj.seek(0, os.SEEK_END)
    except tarfile.TarError as error:
        raise OSError(f"{archive} is no tar archive without compression: {error}") from error
    cut = [name for name, (begin, size) in found.items() if begin + size > end]
    if cut:
        raise OSError(f"{archive} ends within {cut[0]}: it is not whole")
    return found
