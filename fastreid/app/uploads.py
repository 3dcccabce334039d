"""Query images in memory: bounded, named by their content."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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
        width, height: upright, in pixels.
    """

    key: str
    name: str
    content: bytes
    width: int
    height: int

    def described(self) -> dict:
        return {
            "upload": self.key, "sha256": self.key, "name": self.name, "width": self.width, "height": self.height
        }  # fmt: skip


class Uploads:
    """The images that were brought lately; the least recently used go when there are too many.

    Their contents are kept. Pixels take up to a thousand times as much, so that only a few decoded images are kept,
    and the others are decoded when they are needed: a query of eight scans must not push out its own first ones.
    """

    def __init__(self, limits: Limits):
        self._limits, self._lock = limits, threading.Lock()
        self._decoding = threading.Semaphore(limits.decoding)
        self._kept: OrderedDict[str, Upload] = OrderedDict()
        self._decoded: OrderedDict[str, Image.Image] = OrderedDict()

    def put(self, content: bytes, name: str) -> Upload:
        """Keep an image.

        Raises:
            NoImage, TooManyPixels: see `open_query_image`.
        """
        shown = "".join(sign for sign in name if sign.isprintable()).strip()[-NAME_LENGTH:] or "image"
        key = hashlib.sha256(content).hexdigest()
        image = self._decode(content)  # now, so that what is no image is refused now
        upload = Upload(key, shown, content, *image.size)
        with self._lock:
            self._kept[key] = upload
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and self._too_many():
                self._forget(next(iter(self._kept)))
            self._keep_decoded(key, image)
        return upload

    def _too_many(self) -> bool:
        return len(self._kept) > self._limits.uploads or (
            sum(len(each.content) for each in self._kept.values()) > self._limits.uploads_bytes
        )

    def get(self, key: str) -> Upload:
        """Return an upload; one that is gone, or never was, is a ``Problem`` 410."""
        with self._lock:
            if key not in self._kept:
                raise Problem(410, "upload_gone", "this image is no longer kept; upload it again")
            self._kept.move_to_end(key)
            return self._kept[key]

    def image(self, upload: Upload) -> Image.Image:
        """Return the image of an upload, which need not be kept any more."""
        with self._lock:
            if upload.key in self._decoded:
                self._decoded.move_to_end(upload.key)
                return self._decoded[upload.key]
        image = self._decode(upload.content)
        with self._lock:
            if upload.key in self._kept:  # what was forgotten meanwhile stays forgotten
                self._keep_decoded(upload.key, image)
        return image

    def regions(self, upload: Upload) -> list[Region]:
        """Return the figures on an image."""
        return split_page(self.image(upload))

    def drop(self, key: str) -> None:
        with self._lock:
            self._forget(key)

    def _forget(self, key: str) -> None:
        self._kept.pop(key, None)
        self._decoded.pop(key, None)

    def _decode(self, content: bytes) -> Image.Image:
        with self._decoding:
            return open_query_image(content, self._limits.upload_pixels)

    def _keep_decoded(self, key: str, image: Image.Image) -> None:
        self._decoded[key] = image
        while len(self._decoded) > 1 and sum(map(_pixel_bytes, self._decoded.values())) > self._limits.pixel_bytes:
            self._decoded.popitem(last=False)


class Images(Mapping):
    """The images of some uploads by their keys, each decoded when it is asked for: a query is never all in memory."""

    def __init__(self, kept: Uploads, uploads: Mapping[str, Upload]):
        self._kept, self._uploads = kept, uploads

    def __getitem__(self, key: str) -> Image.Image:
        return self._kept.image(self._uploads[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._uploads)

    def __len__(self) -> int:
        return len(self._uploads)


def _pixel_bytes(image: Image.Image) -> int:
    return image.width * image.height * len(image.getbands())
