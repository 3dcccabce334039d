"""Where the bytes of an image come from."""

import os
from dataclasses import dataclass

from fastreid.data.image_store import digest
from fastreid.data.tar_files import is_inside, member_state, read_member


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
    """Return the state of an image file, also of one in a tar archive; ``None`` where there is none."""
    try:
        if is_inside(path):
            return FileState(path, *member_state(path))
        facts = os.stat(path)
    except OSError:
        return None
    return FileState(path, facts.st_size, facts.st_mtime_ns)


def read_bytes(path: str) -> bytes:
    """Return the bytes of an image file, also of one in a tar archive; raises ``OSError``."""
    if is_inside(path):
        return read_member(path)
    with open(path, "rb") as file:
        return file.read()
