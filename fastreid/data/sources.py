"""Where the bytes of an image come from."""

import os
from dataclasses import dataclass

from fastreid.data.image_store import digest


@dataclass(frozen=True, slots=True)
class FileState:
    """An image file as it is now.

    Attributes:
        stamp: time of its last change, ns.
    """

    path: str
    size: int
    stamp: int

    @property
    def key(self) -> tuple[int, int]:
        """Digest of path and state; a changed file has another one."""
        return digest(os.fsencode(os.path.abspath(self.path)) + b"\0%d\0%d" % (self.size, self.stamp))


def state_of(path: str) -> FileState | None:
    """Return the state of an image file; ``None`` where there is none."""
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return FileState(path, facts.st_size, facts.st_mtime_ns)


def read_bytes(path: str) -> bytes:
    """Return the bytes of an image file; raises ``OSError``."""
    with open(path, "rb") as file:
        return file.read()
