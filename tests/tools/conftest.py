"""Commands set up the logger; other tests must find it as it was."""

from tests.engine.conftest import restored_logger  # noqa: F401
