"""How a command ends: a user's mistake in one line, a bug with its traceback."""

import argparse
import functools
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence

TRACEBACK = "FASTREID_TRACEBACK"
# what wrong input, settings, files and networks raise, BadImage, FileNotFoundError and ConnectionError among them
USER_ERRORS = (OSError, ValueError, KeyError, ImportError, FloatingPointError)


def at_least_one(text: str) -> int:
    """Type of an ``argparse`` option: a whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; got {number}")
    return number


def entry_point(interrupted: str = "Interrupted.") -> Callable:
    """Decorate the ``main(argv)`` of a command, which then returns an exit status instead of raising user errors.

    Those become ``error: <message>`` on stderr and status 1. Their traceback goes to the log file where one is open,
    and to stderr when the environment variable ``FASTREID_TRACEBACK`` is set. Ctrl-C prints ``interrupted``, status
    130. All other exceptions are bugs and pass.
    """

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def main(argv: Sequence[str] | None = None) -> int:
            try:
                return function(argv) or 0
            except KeyboardInterrupt:
                print(f"\n{interrupted}", file=sys.stderr)
                return 130
            except Exception as error:
                if not is_user_error(error):
                    raise
                report(error)
                return 1

        return main

    return decorate


def is_user_error(error: Exception) -> bool:
    kind, message = _original(error)
    if issubclass(kind, KeyError):  # a bare key is a look-up that failed, a sentence was written for the user
        return " " in message
    return issubclass(kind, USER_ERRORS) or kind.__module__.partition(".")[0] == "yaml"


def report(error: Exception) -> None:
    """Print the message on stderr; the traceback goes to the log file and, if wanted, to stderr before it."""
    logging.getLogger("fastreid").debug("Stopped by an error", exc_info=error)  # the console shows no DEBUG
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    print(f"error: {message_of(error)}", file=sys.stderr)
    if not os.environ.get(TRACEBACK):
        print(f"({TRACEBACK}=1 shows the traceback{_log_file()})", file=sys.stderr)


def message_of(error: Exception) -> str:
    """Return the message: a ``KeyError``'s without quotes, that of another process without the traceback in it."""
    return _original(error)[1]


def _original(error: Exception) -> tuple[type, str]:
    """Class and message, looking into what torch makes of an error in a process of a loader or of a training."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if "Traceback (most recent call last):\n" not in text:
        return type(error), text or type(error).__name__
    frames = text.rstrip().rpartition('\n  File "')[2].splitlines()
    end = next((i for i, line in enumerate(frames) if i and not line.startswith(" ")), 0)
    name, _, message = "\n".join(frames[end:]).partition(": ")
    module, _, leaf = name.rpartition(".")
    kind = getattr(sys.modules.get(module or "builtins"), leaf, type(error))
    kind = kind if isinstance(kind, type) else type(error)
    return kind, (message[1:-1] if issubclass(kind, KeyError) else message) or name


def _log_file() -> str:
    files = [h.baseFilename for h in logging.getLogger("fastreid").handlers if isinstance(h, logging.FileHandler)]
    return f", which is also in {os.path.relpath(files[0])}" if files else ""
