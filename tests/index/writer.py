"""A process that writes to an index until it is killed: each commit is announced once it has returned.

    python -m tests.index.writer PATH [CALLS]

Each commit follows from the version before it alone (`step`), so that whoever looks on knows what any version holds.
With CALLS it kills itself at that call by which something becomes lasting (`places_of`), half way through a commit.
"""

import os
import pathlib
import signal
import sys

import numpy as np

from fastreid.index import Figures, open_index

DIM = 8


def figures_of(version: int, names: list[str]) -> Figures:
    """Figures whose title is the version that added them."""
    return Figures.of({"figure_id": name, "patent": f"P{version}", "title": str(version)} for name in names)


def vectors_of(version: int, count: int) -> np.ndarray:
    return np.random.default_rng(version).standard_normal((count, DIM)).astype(np.float32)


def names_of(version: int) -> list[str]:
    return [f"{version}-{i}" for i in range(3 + version % 4)]


def step(model: dict[str, int], version: int, index=None) -> dict[str, int]:
    """Return what a version makes of the one before, ``{figure_id: version that added it}``; ``index`` does it too."""
    model, kind = dict(model), version % 5
    if kind in (0, 1, 2) or len(model) < 8:
        names = names_of(version)
        if kind == 1 and model:
            names = [*names[:2], *sorted(model)[:2]]
        if index is not None:
            index.update(figures_of(version, names), vectors_of(version, len(names)))
        return {**model, **dict.fromkeys(names, version)}
    if kind == 3:
        gone = sorted(model)[-3:]
        if index is not None:
            index.delete(gone)
        return {name: added for name, added in model.items() if name not in gone}
    if index is not None:
        index.compact()
    return model


def model_of(version: int) -> dict[str, int]:
    model: dict[str, int] = {}
    for number in range(2, version + 1):
        model = step(model, number)
    return model


def places_of(path: str) -> list[tuple[object, str]]:
    """The functions by which something becomes lasting at an address."""
    if path.startswith("postgres"):
        import psycopg

        return [(psycopg.Connection, "execute"), (psycopg.Transaction, "__exit__")]
    if path.startswith("milvus:"):
        from pymilvus import MilvusClient

        return [(MilvusClient, name) for name in ("upsert", "delete", "flush")]
    return [(os, "fsync"), (os, "replace"), (pathlib.Path, "unlink")]


def die_at(call: int, places: list[tuple[object, str]]) -> None:
    """Kill this process at the ``call``-th call of one of the ``places``, before or after it."""
    left = [call]

    def counted(real):
        def wrapped(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0 and call % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*args, **kwargs)
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return wrapped

    for owner, name in places:
        setattr(owner, name, counted(getattr(owner, name)))


def main(path: str, calls: int = 0) -> None:
    with open_index(path, write=True) as index:
        model = model_of(index.info.version)
        print(f"open {index.info.version}", flush=True)
        if calls:
            die_at(calls, places_of(path))
        while True:
            version = index.info.version + 1
            model = step(model, version, index)
            print(index.info.version, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
