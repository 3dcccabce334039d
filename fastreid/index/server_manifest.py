"""The manifest of an index on a server: one text that the server keeps."""

import json
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from fastreid.index.base import IndexInfo
from fastreid.index.errors import IndexCorrupt
from fastreid.utils.errors import require_whole

FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """What the server's one row about the index says: its description, and the number of the next new row."""

    info: IndexInfo
    next_row: int = 0

    def as_text(self) -> str:
        return json.dumps({"format": FORMAT, "next_row": self.next_row, **self.info.as_json()})

    @classmethod
    def of_text(cls, text: str, where: str) -> "Manifest":
        """Read `as_text`; anything else raises ``IndexCorrupt``, which names ``where`` it was."""
        try:
            values = json.loads(text)
            form, next_row = values.pop("format"), values.pop("next_row")
            if form != FORMAT:
                raise IndexCorrupt(f"the manifest of {where} has format {form}; this fastreid reads format {FORMAT}")
            return cls(IndexInfo(**values), require_whole("next_row", next_row, 0))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, IndexCorrupt):
                raise
            raise IndexCorrupt(f"the manifest of {where} is damaged: {error}") from error

    def next(self, **changed: Any) -> "Manifest":
        """Return the manifest of the next version."""
        next_row = changed.pop("next_row", self.next_row)
        return Manifest(replace(self.info, version=self.info.version + 1, changed=now(), **changed), next_row)


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")
