"""What the service answers when it cannot do what was asked: one form for all of it."""

import errno
import logging
from urllib.parse import quote

from fastreid.data.images import BadImage
from fastreid.engine.query_image import NoImage, TooManyPixels
from fastreid.engine.searcher import NoFigure, NoModel
from fastreid.index.errors import IndexCorrupt, OtherModel, VersionGone
from fastreid.utils.command import message_of

logger = logging.getLogger(__name__)
# of each kind of exception its status and code, the first that fits
KINDS = (
    (TooManyPixels, 413, "too_many_pixels"),
    (NoImage, 415, "no_image"),
    (NoModel, 409, "no_model"),
    (VersionGone, 409, "version_gone"),
    (OtherModel, 409, "other_model"),
    (KeyError, 404, "not_found"),
    (ValueError, 422, "invalid"),
    (TypeError, 422, "invalid"),
)
CODES = {400: "bad_request", 404: "not_found", 405: "method", 408: "too_slow", 413: "too_large"}
NO_FILE = "the image of this figure cannot be read where the index says it lies; --images names another folder"
# of each kind that is for whoever runs the server, whose log tells more: status, code, words, seconds to come back
ILLS = (
    (IndexCorrupt, 503, "index_damaged", "a file of the index is damaged; the log of the server says which", 0),
    (ConnectionError, 503, "index_away", "the server that keeps the index does not answer; try again in a moment", 5),
    (OSError, 503, "system", "the server cannot read or write what it needs; its log says why", 5),
)


class Problem(Exception):
    """An answer that is not the one asked for.

    Args:
        message: one sentence for the reader.
        retry: seconds after which to try again, for a busy server.
    """

    def __init__(self, status: int, code: str, message: str, retry: int = 0):
        super().__init__(message)
        self.status, self.code, self.message, self.retry = status, code, message, retry

    def body(self) -> dict:
        shown = self.message.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be sent
        return {"error": {"code": self.code, "message": shown}}

    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry)} if self.retry else {}


def problem_of(error: Exception) -> Problem | None:
    """Return the answer to a user's mistake or to a full disk; ``None`` for what is a bug.

    Where files of the server lie is told to its log only.
    """
    if isinstance(error, Problem):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Problem(507, "disk_full", "the disk is full: nothing was saved, and nothing was lost")
    if isinstance(error, BadImage):
        return Problem(404, "image_missing", NO_FILE)
    if isinstance(error, FileNotFoundError):
        return Problem(404, "not_found", "it has just been deleted")
    if isinstance(error, NoFigure) and error.patent:
        where = f"/api/designs?patent={quote(error.patent, safe='')}"
        return Problem(404, "not_found", f"{message_of(error)}; GET {where} tells the figure_id of all")
    for kind, status, code, words, retry in ILLS:
        if isinstance(error, kind):
            logger.error("%s", message_of(error))
            return Problem(status, code, words, retry)
    for kind, status, code in KINDS:
        if isinstance(error, kind):
            bare = isinstance(error, KeyError) and " " not in message_of(error)
            return None if bare else Problem(status, code, message_of(error))
    return None
