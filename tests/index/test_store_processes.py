"""The embedded index among processes: writers that are killed, readers beside a writer, one writer at a time."""

import random
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from fastreid.index import IndexLocked, create_index, open_index
from tests.index.writer import DIM, model_of, names_of, vectors_of

KILLS = 100
READER = """
import sys, time
import numpy as np
from fastreid.index import open_index
from tests.index.writer import DIM, model_of
index, seen, end = open_index(sys.argv[1]), set(), time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    index.refresh()
    version = index.info.version
    rows = index.search(np.ones((1, DIM)), 10_000).rows[0]
    figures = index.figures(rows[rows >= 0])
    found = dict(zip(figures["figure_id"], map(int, figures["title"])))
    assert found == model_of(version), (version, found)
    assert index.count().figures == index.info.figures == len(found)
    seen.add(version)
print(len(seen), max(seen))
"""


@pytest.fixture
def path(tmp_path):
    create_index(str(tmp_path / "index"), dim=DIM).close()
    return tmp_path / "index"


def start(repo, path, *calls):
    command = [sys.executable, "-m", "tests.index.writer", path, *calls]
    return subprocess.Popen(list(map(str, command)), cwd=repo, stdout=subprocess.PIPE, text=True)


def assert_whole(path, least):
    """The index opens and holds exactly what its version holds, which is ``least`` or the one that was under way."""
    with open_index(str(path)) as index:
        version = index.info.version
        assert least <= version <= least + 1
        rows = index.search(np.ones((1, DIM)), 10_000).rows[0]
        rows = rows[rows >= 0]
        figures = index.figures(rows)
        assert dict(zip(figures["figure_id"], map(int, figures["title"]), strict=True)) == model_of(version)
        assert index.info.figures == len(rows)
        for row, name, added in zip(rows, figures["figure_id"], figures["title"], strict=True):
            names = names_of(int(added))
            if name in names:
                vector = vectors_of(int(added), len(names))[names.index(name)]
                np.testing.assert_allclose(
                    index.vectors(np.array([row]))[0], vector / np.linalg.norm(vector), rtol=1e-5
                )
        return version


@pytest.mark.slow
def test_a_writer_killed_a_hundred_times_loses_nothing_that_it_announced(path, repo):
    """Half of the times at a random moment, half exactly at a call that makes something lasting."""
    choose, announced = random.Random(0), 1
    for number in range(KILLS):
        calls = [choose.randrange(1, 40)] if number % 2 else []
        writer = start(repo, path, *calls)
        opened = int(writer.stdout.readline().split()[1])
        assert announced <= opened <= announced + 1  # the last word may have been lost with its process
        announced = opened
        if not calls:
            threading.Timer(choose.uniform(0, 0.03), writer.kill).start()
        for line in writer.stdout:
            announced = int(line)
        assert writer.wait() == -9
        announced = assert_whole(path, announced)
    assert announced > KILLS
    with open_index(str(path), write=True) as index:
        assert len(list(path.iterdir())) == 2 + len(index.snapshot.manifest.entries())  # nothing is left over


def test_readers_beside_a_writer_see_whole_versions_only(path, repo):
    readers = [
        subprocess.Popen([sys.executable, "-c", READER, str(path), "2.5"], cwd=repo, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    writer = start(repo, path)
    try:
        words = [reader.communicate(timeout=60)[0].split() for reader in readers]
    finally:
        writer.kill()
        writer.communicate()
    assert [reader.returncode for reader in readers] == [0, 0, 0]
    assert all(int(seen) > 3 for seen, _ in words)


def test_one_process_writes_and_the_lock_goes_with_it(path, repo):
    writer = start(repo, path)
    writer.stdout.readline()
    with pytest.raises(IndexLocked, match="another process is writing"):
        open_index(str(path), write=True)
    writer.kill()
    writer.communicate()
    for _ in range(50):  # the death of a process takes a moment
        try:
            open_index(str(path), write=True).close()
            return
        except IndexLocked:
            time.sleep(0.1)
    pytest.fail("the lock of a killed writer stayed")
