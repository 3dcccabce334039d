"""Fixtures shared by all tests."""

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
