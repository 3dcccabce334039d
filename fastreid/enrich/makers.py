"""Who makes the texts: captioner, rewriter, what they are told, and what is written down about that."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from fastreid.enrich.components import Captioner, Rewriter
from fastreid.enrich.source import Source, digest
from fastreid.utils.files import sha256_of


class Makers:
    """A captioner and a rewriter, and the provenance of what they make together.

    Args:
        variants: texts of a figure.
        images: folder of the images, and the function that opens one as an upright RGB image, for captioners that look
            at them.
        fallback: writes the texts of figures for which ``rewriter`` has none; their provenance says so.
    """

    def __init__(
        self,
        captioner: Captioner,
        rewriter: Rewriter,
        variants: int,
        images: tuple[Path, Callable[[Path], Image.Image]] | None = None,
        fallback: Rewriter | None = None,
    ):
        if variants < 1:
            raise ValueError(f"ENRICH.VARIANTS must be at least 1; got {variants}")
        if captioner.sees_images and images is None:
            raise ValueError(f"{type(captioner).__name__} looks at the images: --images FOLDER says where they are")
        self.captioner, self.rewriter, self.variants, self.fallback = captioner, rewriter, variants, fallback
        self._images = images if captioner.sees_images else None
        self._shared = {
            "captioner": {**_identity(captioner), "prompt_sha256": digest(captioner.recipe)},
            "rewriter": _identity(rewriter),
            "prompt_sha256": digest([captioner.recipe, rewriter.recipe(variants)]),
        }

    def looked_at(self, source: Source) -> Source:
        """Return the source with the hash of its image, where the captioner looks at it.

        Raises:
            OSError: there is no such image.
        """
        return replace(source, image=sha256_of(self._images[0] / source.file)) if self._images else source

    def image(self, source: Source) -> list[Image.Image]:
        """Return the image of a source, none for a captioner that does not look; raises ``OSError`` for a bad one."""
        return [self._images[1](self._images[0] / source.file)] if self._images else []

    def provenance(self, source: Source) -> dict[str, Any]:
        """Return what the lines of a figure say beside its texts."""
        return {"file": source.file, **self._shared, "source_sha256": source.sha256}

    def instead(self, head: Mapping[str, Any]) -> dict[str, Any]:
        """Return the provenance of texts that the fallback writes in place of those of ``head``."""
        return {**head, "rewriter": {**_identity(self.fallback), "instead_of": head["rewriter"]}}


def _identity(component: Captioner | Rewriter) -> dict[str, str]:
    return {"name": type(component).__name__, "model": component.model}
