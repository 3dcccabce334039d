"""Bodies of requests: read no further than their limits, in memory, and not for ever."""

import asyncio
import time

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from fastreid.app.limits import Limits
from fastreid.app.problems import Problem

FORM_BYTES = 4096  # of a form around its file
UPLOADS = "/api/uploads"


class Bounded:
    """ASGI layer that stops reading a body at its limit, whatever its header says, or when its sender dawdles."""

    def __init__(self, app, limits: Limits):
        self.app, self.limits = app, limits

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limits, whole, read = self.limits, False, 0
        end = time.monotonic() + limits.body_seconds
        limit = limits.upload_bytes + FORM_BYTES if scope["path"] == UPLOADS else limits.body_bytes

        async def bounded():
            nonlocal whole, read
            if whole:
                return await receive()  # the end of the connection, which may be far away
            try:
                message = await asyncio.wait_for(receive(), min(limits.patience, end - time.monotonic()))
            except asyncio.TimeoutError:
                raise HTTPException(408, "the body of this request did not arrive in time") from None
            whole = not message.get("more_body", False)
            read += len(message.get("body", b""))
            if read > limit:
                raise HTTPException(413, too_large(limits, scope["path"]))
            return message

        await self.app(scope, bounded, send)


def too_large(limits: Limits, path: str) -> str:
    if path == UPLOADS:
        return f"an image may have {limits.upload_bytes / (1 << 20):.3g} MB at most"
    return f"the body of a request may have {limits.body_bytes / (1 << 20):.3g} MB at most"


class InMemory(MultiPartParser):
    """Reads a form without a file on the disk, where others might find an application that is not yet published."""

    def __init__(self, request: Request, limit: int):
        super().__init__(
            request.headers, request.stream(), max_files=1, max_fields=4, max_part_size=FORM_BYTES
        )  # fmt: skip
        self.spool_max_size = limit + FORM_BYTES


async def read_file(request: Request, limits: Limits) -> tuple[bytes, str]:
    """Return content and name of the file in a form.

    Raises:
        Problem: 413 where it is announced to be too large, 400 or 422 for another form.
    """
    if int(request.headers.get("content-length") or 0) > limits.upload_bytes + FORM_BYTES:
        raise Problem(413, "too_large", too_large(limits, UPLOADS))
    try:
        form = await InMemory(request, limits.upload_bytes).parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise Problem(400, "bad_request", "the form of this request cannot be read") from error
    file = form.get("file")
    try:
        if not isinstance(file, UploadFile):
            raise Problem(422, "invalid", "the form needs an image as its part 'file'")
        content = await file.read()
    finally:
        await form.close()
    if len(content) > limits.upload_bytes:
        raise Problem(413, "too_large", too_large(limits, UPLOADS))
    return content, file.filename or ""
