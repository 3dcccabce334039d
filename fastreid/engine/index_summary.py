"""What came of adding figures to an index, in words."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastreid.engine.search_words import count_words, counted

if TYPE_CHECKING:
    from fastreid.engine.figure_metadata import FigureMetadata
    from fastreid.index import Figures, Index

SHOWN = 10  # figures left out that are named
NAMED = 3  # of what does not match that are named
BLOCK = 4096  # figures whose metadata are compared at once
FROM_FILES = ("figure_id", "path")  # columns that metadata do not tell


@dataclass
class Summary:
    """What came of adding.

    Attributes:
        bad: why figures were left out, by path.
        unknown: images that are in none of the metadata files.
        unused: files of the metadata that are none of the images.
        outdated: figures that were there already, of which the metadata now say something else.
    """

    added: int = 0
    skipped: int = 0
    bad: dict[str, str] = field(default_factory=dict)
    blank: int = 0
    unknown: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    start: float = field(default_factory=time.perf_counter)

    def match(self, metadata: "FigureMetadata", paths: Mapping[str, str]) -> None:
        """Note which images have no metadata and which metadata no image; nothing where no metadata were given.

        Args:
            paths: of all images, by their names.
        """
        if not len(metadata):
            return
        places = {name: metadata.find(path) for name, path in paths.items()}
        self.unknown = [name for name, place in places.items() if place < 0]
        used = set(places.values())
        self.unused = [name for place, name in enumerate(metadata.files) if place not in used]

    def compare(self, figures: "Figures", row_of: Callable[[str], Mapping[str, Any]]) -> None:
        """Note which figures that are there already would have other columns now.

        Args:
            row_of: the columns that a figure would have, by its name.
        """
        from fastreid.index import Figures

        unknown = set(self.unknown)
        for start in range(0, len(figures), BLOCK):
            there = figures.take(slice(start, start + BLOCK))
            names = there["figure_id"].tolist()
            now = Figures.of(row_of(name) for name in names)
            told = [name for name in now.columns if name not in FROM_FILES]
            differs = sum((now[name] != there[name]).astype(int) for name in told)
            self.outdated += [n for n, count in zip(names, differs, strict=True) if count and n not in unknown]

    def words(self, index: "Index") -> str:
        seconds = time.perf_counter() - self.start
        speed = self.added / max(seconds, 1e-9)
        lines = [
            f"Added {counted(self.added, 'figure')} in {seconds:.1f} s ({speed:.1f} a second); "
            f"{self.skipped:,} were there already, {len(self.bad):,} were left out, {self.blank:,} of them blank.",
            *(f"  left out: {path}: {reason}" for path, reason in list(self.bad.items())[:SHOWN]),
        ]
        if len(self.bad) > SHOWN:
            lines.append(f"  and {len(self.bad) - SHOWN:,} more")
        lines.append(f"The index has {count_words(index.info)}, version {index.info.version}.")
        return "\n".join([*lines, *self._mismatches()])

    def _mismatches(self) -> list[str]:
        lines = []
        if self.unknown:
            lines.append(
                f"Warning: {counted(len(self.unknown), 'image')} without metadata: {_first(self.unknown)}. Only what "
                "their paths tell is known of them; a search with a cut-off date finds none without a date."
            )
        if self.unused:  # where each image has its metadata, these may well be those of a larger collection
            kind = "Warning" if self.unknown else "Note"
            lines.append(
                f"{kind}: metadata of {counted(len(self.unused), 'file')} without an image: {_first(self.unused)}."
            )
        if self.outdated:
            lines.append(
                f"Warning: {len(self.outdated):,} of those that were there already have other metadata now: "
                f"{_first(self.outdated)}. They were left as they are; --replace makes them anew."
            )
        return lines


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
