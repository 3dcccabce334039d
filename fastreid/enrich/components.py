"""What captioners and rewriters are, and the tables that they are registered in."""

from collections.abc import Sequence
from typing import Any

from PIL import Image

from fastreid.enrich.source import Source
from fastreid.utils.registry import Registry

CAPTIONER_REGISTRY = Registry("CAPTIONER", "ENRICH.CAPTIONER.NAME")
REWRITER_REGISTRY = Registry("REWRITER", "ENRICH.REWRITER.NAME")


class Rejected(Exception):
    """There are no acceptable texts for a figure; the message says why. The other figures go on."""


class BudgetSpent(Exception):
    """The next request could cost more than what is left; the message is for the user."""


class Captioner:
    """Says what a drawing shows.

    Attributes:
        model: what wrote the text, for the provenance of the texts.
        recipe: a JSON value, everything else that decides the text: prompt, parameters. Texts of another recipe are
            made anew.
        sees_images: whether ``describe`` gets images.
        batch_size: figures that it is given at a time.
    """

    model = ""
    recipe: Any = None
    sees_images = False
    batch_size = 64

    def describe(self, sources: Sequence[Source], images: Sequence[Image.Image]) -> list[str]:
        """Return for each source the details, a noun phrase or sentences; "" where there is nothing to say.

        Args:
            images: as many upright RGB images; none where ``sees_images`` is False.
        """
        raise NotImplementedError

    def to(self, device: Any) -> "Captioner":
        """Move to a device of PyTorch, where there is anything to move."""
        return self


class Rewriter:
    """Turns what is known of a figure, and its details, into several texts.

    Attributes:
        model: what writes the texts, for their provenance.
        concurrency: figures that are rewritten at the same time, each in a thread.
    """

    model = ""
    concurrency = 1

    def recipe(self, variants: int) -> Any:
        """Return, as a JSON value, everything else that decides the texts: prompt, parameters."""
        raise NotImplementedError

    def rewrite(self, source: Source, details: str, variants: int) -> list[str]:
        """Return distinct texts, ``variants`` of them or, where so many cannot be made, fewer.

        Raises:
            Rejected: nothing acceptable was written for this figure.
            BudgetSpent: what is left does not suffice for a request.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """Let no ``rewrite`` that runs in another thread wait any longer, as after Ctrl-C."""

    def status(self) -> str:
        """Return a few words for the progress line, such as the costs; "" for none."""
        return ""

    def close(self) -> None:
        """Called once at the end."""
