"""The captioner that needs neither an image nor a model: it repeats what the patent says of its figure."""

from collections.abc import Sequence

from PIL import Image

from fastreid.enrich.components import CAPTIONER_REGISTRY, Captioner
from fastreid.enrich.source import Source
from fastreid.utils.english import with_article

LONGEST = 200  # characters; a longer description of a figure is left out in favour of the view
BROKEN_LINES = ", with any broken lines forming no part of the claimed design"


@CAPTIONER_REGISTRY.register(node="ENRICH.CAPTIONER")
class MetadataCaptioner(Captioner):
    """Details from the metadata alone: the description of the figure, or its view, and that broken lines do not count.

    Nothing is added to what the patent says, so these details tell figures of one view and article not apart.
    """

    recipe = {"version": 1, "broken lines": BROKEN_LINES, "longest": LONGEST}

    def describe(self, sources: Sequence[Source], images: Sequence[Image.Image] = ()) -> list[str]:
        return [_details(source) for source in sources]


def _details(source: Source) -> str:
    article = f" of {with_article(source.object)}" if source.object else ""
    if source.caption and len(source.caption) <= LONGEST:
        text = source.caption
    elif source.view:
        text = f"{with_article(source.view)}{article}"
    elif article:
        text = f"the ornamental design{article}"
    else:
        return ""
    return text + (BROKEN_LINES if source.broken_lines else "")
