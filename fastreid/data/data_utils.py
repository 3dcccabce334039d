"""fast-reid's module for reading images; the code is in ``fastreid.data.images`` and ``fastreid.data.loader``."""

from fastreid.data.images import read_image
from fastreid.data.loader import ReidLoader as DataLoaderX

__all__ = ["DataLoaderX", "read_image"]
