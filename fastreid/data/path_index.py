"""Find what is known about an image by the end of its path."""

from collections.abc import Iterable
from pathlib import PurePath


class PathIndex:
    """Positions of named files, found by any path that ends in a name.

    Metadata and text banks name files relative to their data set ("I20180220/x.png"), records by where they lie
    ("/data/I20180220/x.png"). Whole components are compared, and of several names that fit the longest is taken.

    Raises:
        ValueError: a name occurs twice.
    """

    def __init__(self, names: Iterable[str]):
        self.names = [PurePath(name).as_posix() for name in names]
        self._places = {name: place for place, name in enumerate(self.names)}
        if len(self._places) < len(self.names):
            twice = next(name for place, name in enumerate(self.names) if self._places[name] != place)
            raise ValueError(f"'{twice}' is named more than once")

    def __len__(self) -> int:
        return len(self.names)

    def find(self, path: str) -> int:
        """Return the place of the longest name that ``path`` ends in; -1 when there is none."""
        path = PurePath(path).as_posix()
        while path not in self._places:
            _, slash, path = path.partition("/")
            if not slash:
                return -1
        return self._places[path]
