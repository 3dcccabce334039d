"""From feature files to a map with its legend, its numbers and its caption."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastreid.data.feature_file import FeatureFile
from fastreid.evaluation.color_groups import Groups, join_small, labels_of
from fastreid.evaluation.embedding_map import (
    NEIGHBORS,
    UMAP_NEIGHBORS,
    distinct_rows,
    fitting_perplexity,
    neighbor_purity,
    project,
    sample_rows,
)
from fastreid.evaluation.image_words import kind_of_class, words_of
from fastreid.evaluation.map_picture import Panel
from fastreid.evaluation.markers import MOST


@dataclass(frozen=True, eq=False)
class MapFigure:
    """A panel per model; the points of all are the images ``rows`` of the files, in classes of the kind ``heading``."""

    panels: tuple[Panel, ...]
    groups: Groups
    rows: np.ndarray
    heading: str
    caption: str


def map_figure(
    files: Sequence[FeatureFile], names: Sequence[str], column: str = "class", method: str = "tsne",
    metric: str = "cosine", size: int = 2000, stratified: bool = False, classes: int = MOST,
    perplexity: float | None = None, seed: int = 0,
) -> MapFigure:  # fmt: skip
    """Draw a sample of images and map it by the features of each file.

    Args:
        files: features of the same images in the same order; their classes are those of the first.
        column: see :func:`fastreid.evaluation.color_groups.labels_of`.
        size, stratified: see :func:`fastreid.evaluation.embedding_map.sample_rows`; 2,000 at random are those of Lo et
            al. (arXiv 2404.19360, figure 4).
        classes: number of marks; small classes are joined as "other".
        method, metric, perplexity, seed: see :func:`fastreid.evaluation.embedding_map.project`.

    Raises:
        ValueError: no such column, or what ``project`` refuses.
    """
    first = files[0]
    labels, values = labels_of(first, column, "--color-by")
    distinct = distinct_rows(first.paths)
    rows = distinct[sample_rows(labels[distinct], size, seed, stratified)]
    heading = kind_of_class(column, first.paths)
    panels = []
    for features, name in zip(files, names, strict=True):
        points = project(features.features[rows], method, metric, perplexity, seed)
        notes = _purities(features, rows, labels[rows], points, metric, heading, apart=column != "pids")
        panels.append(Panel(name, points, notes))
    how = _how(method, metric, perplexity, len(rows), seed)
    caption = f"{how} of {_which(first, len(rows), len(distinct), heading if stratified else '')}."
    groups = join_small(labels[rows], words_of(column, values, first), classes)
    return MapFigure(tuple(panels), groups, rows, heading, caption)


def _purities(
    features: FeatureFile, rows: np.ndarray, labels: np.ndarray, points: np.ndarray, metric: str, kind: str, apart: bool
) -> tuple[str, ...]:
    """How pure the neighbourhoods are among the features, on the map, and without the other figures of a patent."""
    vectors, own = features.features[rows], np.arange(len(rows))
    among = neighbor_purity(vectors, labels, own, metric)
    drawn = neighbor_purity(points, labels, own, "euclidean")
    notes = [f"Same {kind} among the {NEIGHBORS} nearest: {among}; on this map {100 * drawn.found:.1f} %"]
    if apart and features.relevance_known:
        others = neighbor_purity(vectors, labels, features.columns["pids"][rows], metric)
        notes.append(f"Without figures of the same {kind_of_class('pids', features.paths)}: {others}")
    return tuple(notes)


def _how(method: str, metric: str, perplexity: float | None, count: int, seed: int) -> str:
    if method == "umap":
        return f"UMAP ({min(UMAP_NEIGHBORS, count - 1)} neighbours, {metric}, seed {seed})"
    return f"t-SNE (perplexity {fitting_perplexity(perplexity, count):g}, {metric}, seed {seed})"


def _which(features: FeatureFile, count: int, total: int, balanced_by: str) -> str:
    dataset = features.fingerprint.get("dataset")
    images = f"images of {dataset}" if dataset else "images"
    if count == total:
        return f"{total:,} {images}"
    drawn = f"drawn in turn from each {balanced_by}" if balanced_by else "drawn at random"
    return f"{count:,} of {total:,} {images}, {drawn}"
