"""Files of JSON lines: an object per line, blank lines between them allowed."""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any


def read_json_lines(path: str | os.PathLike, check: Callable[[Any], None], form: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file.

    Args:
        check: called with each; it raises ``ValueError``, ``KeyError`` or ``TypeError`` for a wrong one.
        form: what a line must be, for the message: "a line of texts must be ...".

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line is no JSON or is refused by ``check``, naming file and line.
    """
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
                check(value)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}:{number}: {form}; {type(error).__name__}: {error}") from error
            yield value
