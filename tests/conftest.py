"""Fixtures shared by all tests."""

import functools
import logging
import multiprocessing
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repo() -> Path:
    """Folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def testdata() -> Path:
    """Folder of the shared real data (``FASTREID_TESTDATA``, default ``../shared/data``); skips where it is absent."""
    path = Path(os.environ.get("FASTREID_TESTDATA") or ROOT.parent / "shared" / "data")
    if not path.is_dir():
        pytest.skip(f"no shared test data at {path}; set FASTREID_TESTDATA")
    return path


@pytest.fixture(scope="module")
def quick_launch():
    """Let ``launch`` take its processes from a server that has imported torch once for all of them.

    Their environment is that of the first such test. What a new interpreter alone shows (arguments that cannot be
    pickled, the death of the parent) needs the real way.
    """
    from fastreid.engine import launcher

    multiprocessing.set_forkserver_preload(["fastreid.engine.defaults"])
    started = functools.partial(launcher.mp.start_processes, start_method="forkserver")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launcher.mp, "spawn", started)
        patch.setattr(launcher, "GRACE_SECONDS", 1.0)
        yield


@pytest.fixture(autouse=True)
def restored_logger():
    """A command sets up the logger of its process; the next test, of any folder, finds it as it was."""
    logger = logging.getLogger("fastreid")
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    yield
    for handler in set(logger.handlers) - set(handlers):
        handler.close()
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)
