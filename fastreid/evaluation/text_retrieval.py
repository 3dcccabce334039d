"""Text-to-image and image-to-text retrieval: images in the space of the texts of a text bank.

Both directions rank all images of a feature file, queries and gallery alike, against all different texts of them, by
the cosine. No candidate rule holds: a text is as old as its image.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fastreid.data.feature_file import FeatureFile
from fastreid.data.text_bank import TextBank
from fastreid.evaluation.columns import with_derived
from fastreid.retrieval import topk
from fastreid.retrieval.graded import is_known
from fastreid.retrieval.search import BLOCK_MIB
from fastreid.utils.errors import require_whole

RANKS = (1, 5, 10)
OWN = "own"
DIRECTIONS = ("text-to-image", "image-to-text")
HEADLINE = tuple(f"{direction} R@{k}" for direction in DIRECTIONS for k in RANKS)
Pairs = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class TextRetrieval:
    """R@1, R@5 and R@10 in percent: the share of queries with a right item among the first k (``hit@k``).

    Attributes:
        found: per direction and what makes an item right ``{"queries": n, "dropped queries": n, "R@1": ...}``. "own":
            the text is one of the image's texts; "patent", "subclass": it is one of an image that shares these.
        counts: images, those of them without a text, and different texts.
    """

    found: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    def headline(self) -> dict[str, float]:
        """The figures of the images' own texts, ``{"text-to-image R@1": ...}``."""
        values = (self.found[direction][OWN][f"R@{k}"] for direction in DIRECTIONS for k in RANKS)
        return dict(zip(HEADLINE, values, strict=True))

    def table(self) -> str:
        """Draw the figures as a text table."""
        from tabulate import tabulate

        rows = [
            {"direction": direction, "a right one has": kind, **values}
            for direction, kinds in self.found.items()
            for kind, values in kinds.items()
        ]
        return tabulate(rows, headers="keys", tablefmt="simple", floatfmt=".2f")

    def as_json(self) -> dict:
        return {"counts": dict(self.counts), **self.found}


def text_retrieval(
    features: FeatureFile, bank: TextBank, texts_per_image: int = 0, block_mib: float = BLOCK_MIB
) -> TextRetrieval:
    """Rank the images for every text and the texts for every image.

    Equal distances are in the order of the rows. An image that is named twice counts once, and so does a text that
    several images have: for it any of these is right.

    Args:
        texts_per_image: how many texts of an image take part, its first ones; 0: all.

    Raises:
        ValueError: features of another width than the texts, or no image with a text.
    """
    require_whole("TEST.TEXTS_PER_IMAGE", texts_per_image, 0)
    if features.features.shape[1] != bank.width:
        raise ValueError(
            f"the features have width {features.features.shape[1]}, the texts of {bank.folder} {bank.width}: text "
            "retrieval needs images in the space of the texts (MODEL.HEADS.NAME ProjectionHead, trained with this bank)"
        )
    _, first = np.unique(np.array(features.paths), return_index=True)
    images = np.sort(first)
    own, rows = _texts_of([features.paths[row] for row in images], bank, texts_per_image)
    kinds = {OWN: np.arange(len(images)), **{name: values[images] for name, values in _labels(features).items()}}
    kinds = {name: values for name, values in kinds.items() if is_known(values[own[1]]).any()}
    sides = np.asarray(bank.vectors[rows], dtype=np.float32), features.features[images]
    found = {}
    for direction, (queries, items) in zip(DIRECTIONS, (sides, sides[::-1]), strict=True):
        nearest, _ = topk(queries, items, max(RANKS), block_mib=block_mib)
        texts, pictures = np.indices(nearest.shape)[0], nearest
        if direction != DIRECTIONS[0]:
            texts, pictures = pictures, texts
        found[direction] = {
            name: _shares(_right(own, values, texts, pictures), _answerable(own, values, direction))
            for name, values in kinds.items()
        }
    counts = {"images": len(images), "images without text": len(images) - len(np.unique(own[1])), "texts": len(rows)}
    return TextRetrieval(found, counts)


def _texts_of(paths: list[str], bank: TextBank, most: int) -> tuple[Pairs, np.ndarray]:
    """Return the pairs of a text and its image, numbers int64 (p,) of both, and the rows in the bank of the texts."""
    rows = [bank.rows(path)[: most or None] for path in paths]
    pictures = np.repeat(np.arange(len(paths)), [len(of_image) for of_image in rows])
    if not len(pictures):
        raise ValueError(f"{bank.folder} has no text of any of the {len(paths)} images, such as {paths[0]}")
    used, texts = np.unique(np.concatenate(rows), return_inverse=True)
    return (texts, pictures), used


def _labels(features: FeatureFile) -> dict[str, np.ndarray]:
    """What images can share beside a text, as far as the features say it."""
    columns, labels = features.columns, {}
    if features.relevance_known:
        labels["patent"] = columns["pids"]
    if "taxonomy" in columns:
        labels["subclass"] = with_derived(columns, columns, ["subclass"], "")[0]["subclass"]
    return labels


def _right(own: Pairs, labels: np.ndarray, texts: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """Whether a text is one of some image with the label of the picture; bool of the shape of the arrays."""
    values, codes = np.unique(labels, return_inverse=True)
    codes = np.where(is_known(labels), codes, -1)
    keys = own[0] * len(values) + codes[own[1]]
    known = keys[codes[own[1]] >= 0]
    listed = (texts >= 0) & (pictures >= 0)
    return listed & (codes[pictures] >= 0) & np.isin(texts * len(values) + codes[pictures], known)


def _answerable(own: Pairs, labels: np.ndarray, direction: str) -> np.ndarray:
    """Whether there is a right item at all for each query, bool (n,)."""
    known = is_known(labels)
    if direction == DIRECTIONS[0]:
        return np.bincount(own[0], weights=known[own[1]]) > 0
    return known & np.isin(labels, labels[own[1]])


def _shares(right: np.ndarray, answerable: np.ndarray) -> dict[str, float]:
    counted = right[answerable]
    shares = {f"R@{k}": 100 * float(counted[:, :k].any(axis=1).mean()) for k in RANKS}
    return {"queries": len(right), "dropped queries": int((~answerable).sum()), **shares}
