"""Parts of a collection, each read once, whole or not at all.

A shard is two files: ``NAME.jsonl`` with a line of metadata per patent, and ``NAME.json``, written after it, with what
it was made from and what was counted. A run that was killed finds the finished shards again.
"""

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fastreid.data.ingest.tally import Tally
from fastreid.utils.errors import require_choice
from fastreid.utils.files import atomic_write


class ShardWriter:
    """Takes the patents of one shard, and what is counted on the way.

    Attributes:
        records: number of records read, by year; "" for those without a readable date.
        skipped: records or patents left out, by reason.
        notes: what was read with a doubt, by reason.
    """

    def __init__(self, file: IO[str]):
        self._file, self._digest = file, hashlib.sha256()
        self.records: Counter[str] = Counter()
        self.skipped, self.notes = Tally(), Tally()
        self.patents = self.images = 0

    def write(self, patent: Mapping[str, Any]) -> None:
        """Take a patent in the metadata form, with a ``patent_id``, a ``date`` and at least one figure."""
        line = json.dumps(patent) + "\n"
        self._file.write(line)
        self._digest.update(line.encode())
        self.patents += 1
        self.images += len(patent["figures"])

    def summary(self) -> dict[str, Any]:
        return {
            "records": dict(sorted(self.records.items())),
            "patents": self.patents,
            "images": self.images,
            "skipped": self.skipped.as_dict(),
            "notes": self.notes.as_dict(),
            "sha256": self._digest.hexdigest(),
        }


@dataclass(frozen=True)
class Source:
    """One part of a collection.

    Args:
        name: of the shard; a file name.
        state: what the input is now; a shard of another state is read again.
        read: reads the input into the writer.
    """

    name: str
    state: str
    read: Callable[[ShardWriter], None]


def state_of(paths: Iterable[str | os.PathLike]) -> str:
    """Digest of names, sizes and times of change of files and folders; cheap, and blind to a file changed in secret."""
    digest = hashlib.sha256()
    for path in paths:
        facts = os.stat(path)
        digest.update(f"{os.path.basename(path)}\n{facts.st_size}\n{facts.st_mtime_ns}\n".encode(errors="replace"))
    return digest.hexdigest()


class Shards:
    """The shards in a folder.

    Args:
        settings: options that decide what a shard holds.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        self.folder, self.settings = folder, dict(settings)

    def lines(self, source: Source) -> Iterator[dict[str, Any]]:
        with open(self.folder / f"{source.name}.jsonl", encoding="utf-8") as file:
            yield from map(json.loads, file)

    def summary(self, source: Source) -> dict[str, Any]:
        """Return what was counted, with ``state`` and ``settings``; ``{}`` for a shard that is not there."""
        try:
            return json.loads(self._summary_file(source).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}

    def is_done(self, source: Source) -> bool:
        there = self.summary(source)
        return there.get("state") == source.state and there.get("settings") == self.settings

    def prepare(self, sources: Sequence[Source], redo: Sequence[str] | None = None) -> None:
        """Remove what a kill has left, and the shards named in ``redo`` (empty: all).

        Raises:
            ValueError: a shard was read with other settings and is not named, or a name is unknown.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for stale in self.folder.glob(".*.tmp"):
            stale.unlink()
        for name in redo or ():
            require_choice("--redo", name, [source.name for source in sources])
        for source in sources:
            if redo is not None and (not redo or source.name in redo):
                self._summary_file(source).unlink(missing_ok=True)
            self._check_settings(source)

    def _check_settings(self, source: Source) -> None:
        there = self.summary(source).get("settings", self.settings)
        for name, wanted in self.settings.items():
            if there.get(name) != wanted:
                raise ValueError(
                    f"{self.folder} holds {source.name} read with {name}={there.get(name)!r}, but {name}={wanted!r} is "
                    f"asked. Choose another --output, or read everything again with --redo"
                )

    @contextlib.contextmanager
    def writer(self, source: Source) -> Iterator[ShardWriter]:
        """Write a shard; it is there when the block ends without an error."""
        with atomic_write(self.folder / f"{source.name}.jsonl", "w") as file:
            writer = ShardWriter(file)
            yield writer
        with atomic_write(self._summary_file(source), "w") as file:
            json.dump({"state": source.state, "settings": self.settings, **writer.summary()}, file, indent=1)

    def _summary_file(self, source: Source) -> Path:
        return self.folder / f"{source.name}.json"
