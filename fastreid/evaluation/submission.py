"""Codalab submissions: ``result.npy`` as the DIRA 2022 challenge defines it, and a check of any such file.

An integer array (Q, min(10, N)): row i answers line i of the query list, the values are 0-based lines of the database
list, nearest first.
"""

import argparse
import os
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastreid.utils.command import entry_point
from fastreid.utils.files import atomic_write

TOPK = 10
LISTED_PROBLEMS = 5  # rows named per kind of problem


def write_submission(indices: np.ndarray, path: str | os.PathLike = "result.npy") -> tuple[Path, Path]:
    """Write ``indices`` to ``path`` and, beside it, a zip archive that holds it as ``result.npy``.

    Args:
        indices: integers (Q, k), 0-based gallery lines, nearest first; columns beyond the tenth are left out.

    Returns:
        paths of the ``.npy`` file and of the archive.

    Raises:
        ValueError: not a two-dimensional array of whole non-negative numbers.
    """
    indices = np.asarray(indices)
    if indices.ndim != 2 or not np.issubdtype(indices.dtype, np.integer):
        given = f"{indices.dtype} {indices.shape}"
        raise ValueError(f"indices of a submission must be integers of shape (Q, k); got {given}")
    if indices.size and indices.min() < 0:
        row = int(np.flatnonzero((indices < 0).any(axis=1))[0])
        raise ValueError(
            f"query line {row + 1} has fewer than {min(TOPK, indices.shape[1])} permitted gallery items; a submission "
            f"ranks the whole database: use TEST.RULE all"
        )
    path = Path(path)
    if path.suffix != ".npy":
        raise ValueError(f"a submission must be named *.npy; got {path}")
    with atomic_write(path) as file:
        np.save(file, np.ascontiguousarray(indices[:, :TOPK], dtype=np.int64))
    archive = path.with_suffix(".zip")
    with atomic_write(archive) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.write(path, "result.npy")
    return path, archive


def check_submission(
    path: str | os.PathLike, query_list: str | os.PathLike, database_list: str | os.PathLike
) -> list[str]:
    """Return everything that is wrong with a submission, as sentences; an empty list means that it is valid.

    Args:
        path: a ``.npy`` file or a ``.zip`` archive that holds ``result.npy``.
        query_list, database_list: text files with one image per line (blank lines do not count).
    """
    lists = query_list, database_list  # the same file may be both
    lengths = [count_lines(listed) for listed in lists]
    empty = [f"the list {listed} is empty" for listed, length in zip(lists, lengths, strict=True) if not length]
    return list(dict.fromkeys(empty)) or find_problems(path, *lengths)


def find_problems(path: str | os.PathLike, num_query: int, num_database: int) -> list[str]:
    """As :func:`check_submission`, with the lengths of the lists."""
    try:
        ranks = _read(Path(path))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        return [f"cannot read {path}: {error}"]
    return [*_shape_problems(ranks, num_query, num_database), *_value_problems(ranks, num_database)]


def count_lines(path: str | os.PathLike) -> int:
    """Number of lines of a text file that are not blank."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
        return sum(1 for line in file if line.strip())


def _read(path: Path) -> np.ndarray:
    if zipfile.is_zipfile(path) and path.suffix != ".npz":
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            if names != ["result.npy"]:
                held = ", ".join(names) or "no file"
                raise ValueError(f"the archive must hold result.npy and nothing else; it holds {held}")
            with archive.open("result.npy") as file:
                return np.lib.format.read_array(file, allow_pickle=False)
    with open(path, "rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _shape_problems(ranks: np.ndarray, num_query: int, num_database: int) -> list[str]:
    columns = min(TOPK, num_database)
    if ranks.ndim != 2:
        return [f"the array must have shape ({num_query}, {columns}); it has {ranks.shape}"]
    problems = []
    if ranks.shape[0] != num_query:
        problems.append(f"there must be one row per query: {num_query} lines in the list, {ranks.shape[0]} rows here")
    if ranks.shape[1] != columns:
        problems.append(f"there must be {columns} columns, min(10, size of the database); there are {ranks.shape[1]}")
    if ranks.dtype != np.int64:
        problems.append(f"the type must be int64; it is {ranks.dtype}")
    return problems


def _value_problems(ranks: np.ndarray, num_database: int) -> list[str]:
    if not np.issubdtype(ranks.dtype, np.number) or np.issubdtype(ranks.dtype, np.complexfloating):
        return ["the values must be whole numbers"]
    if ranks.ndim != 2 or ranks.size == 0:
        return []
    if np.issubdtype(ranks.dtype, np.floating):
        broken = ~np.isfinite(ranks) | (ranks != np.floor(ranks))
        if broken.any():
            return [f"{_rows(broken)}: values that are not whole numbers (NaN, infinite or fractional)"]
    problems = []
    if (ranks < 0).any():
        problems.append(f"{_rows(ranks < 0)}: negative values (-1 marks a missing item and is not allowed)")
    if (ranks >= num_database).any():
        last = num_database - 1
        problems.append(f"{_rows(ranks > last)}: values above {last}, the last 0-based database line")
        if ranks.max() == num_database and ranks.min() >= 1:
            problems.append(f"the values run from 1 to {num_database}: they look 1-based, but must be 0-based")
    ordered = np.sort(ranks, axis=1)
    repeated = ordered[:, 1:] == ordered[:, :-1]
    if repeated.any():
        problems.append(f"{_rows(repeated)}: the same database line more than once")
    return problems


def _rows(mask: np.ndarray) -> str:
    """Name the first query lines (1-based, as an editor counts them) in which ``mask`` (Q, k) holds."""
    rows = np.flatnonzero(mask.any(axis=1))
    named = ", ".join(str(row + 1) for row in rows[:LISTED_PROBLEMS])
    more = f" and {len(rows) - LISTED_PROBLEMS} more" if len(rows) > LISTED_PROBLEMS else ""
    return f"query line{'s' if len(rows) > 1 else ''} {named}{more}"


@entry_point()
def main(argv: Sequence[str] | None = None) -> int:
    """Command line of the check; returns the exit status, 1 when something is wrong."""
    parser = argparse.ArgumentParser(description="Check a submission; the exit status is 1 when something is wrong.")
    parser.add_argument("result", help="result.npy or result.zip")
    parser.add_argument("--queries", required=True, metavar="LIST", help="text file with one query image per line")
    parser.add_argument("--database", required=True, metavar="LIST", help="text file with one database image per line")
    args = parser.parse_args(argv)
    try:
        problems = check_submission(args.result, args.queries, args.database)
    except OSError as error:
        problems = [f"cannot read the lists: {error}"]
    if problems:
        print("\n".join(f"wrong: {problem}" for problem in problems), file=sys.stderr)
        return 1
    print(f"valid: {count_lines(args.queries)} queries against {count_lines(args.database)} database images")
    return 0
