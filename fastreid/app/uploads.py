"""Query images in memory: bounded, named by their content."""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

from PIL import Image

from fastreid.app.limits import Limits
from fastreid.app.problems import Problem
from fastreid.data.pages import Region, split_page
from fastreid.engine.query_image import open_query_image

NAME_LENGTH = 120


@dataclass(frozen=True)
class Upload:
    """An image that was brought. Its name is only ever shown.

    Attributes:
        key: SHA-256 of its content, hex.
    """

    key: str
    name: str
    content: bytes
    max_pixels: int

    @cached_property
    def image(self) -> Image.Image:
        """The decoded image; see `open_query_image` for the errors."""
        return open_query_image(self.content, self.max_pixels)

    @property
    def bytes(self) -> int:
        """What it takes of the memory."""
        width, height = self.image.size
        return len(self.content) + width * height * len(self.image.getbands())

    @cached_property
    def regions(self) -> list[Region]:
        """The figures on it."""
        return split_page(self.image)

    def described(self) -> dict:
        width, height = self.image.size
        return {"upload": self.key, "sha256": self.key, "name": self.name, "width": width, "height": height}


class Uploads:
    """The images that were brought lately; the least recently used go when there are too many."""

    def __init__(self, limits: Limits):
        self._limits, self._lock = limits, threading.Lock()
        self._kept: OrderedDict[str, Upload] = OrderedDict()

    def put(self, content: bytes, name: str) -> Upload:
        """Keep an image.

        Raises:
            NoImage, TooManyPixels: see `open_query_image`.
        """
        shown = "".join(sign for sign in name if sign.isprintable()).strip()[-NAME_LENGTH:] or "image"
        upload = Upload(hashlib.sha256(content).hexdigest(), shown, content, self._limits.upload_pixels)
        upload.image  # noqa: B018  decoded now, so that what is no image is refused now
        with self._lock:
            self._kept[upload.key] = upload
            self._kept.move_to_end(upload.key)
            while len(self._kept) > 1 and self._too_much():
                self._kept.popitem(last=False)
        return upload

    def _too_much(self) -> bool:
        return len(self._kept) > self._limits.uploads or (
            sum(each.bytes for each in self._kept.values()) > self._limits.uploads_bytes
        )

    def get(self, key: str) -> Upload:
        """Return an image; one that is gone, or never was, is a ``Problem`` 410."""
        with self._lock:
            if key not in self._kept:
                raise Problem(410, "upload_gone", "this image is no longer kept; upload it again")
            self._kept.move_to_end(key)
            return self._kept[key]

    def drop(self, key: str) -> None:
        with self._lock:
            self._kept.pop(key, None)
