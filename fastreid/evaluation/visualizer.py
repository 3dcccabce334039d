"""fast-reid's ``Visualizer``: ranked lists and ROC curves as pictures, of the search that an evaluation measures."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fastreid.evaluation.plots import Plot
from fastreid.evaluation.rank_pictures import Tile, draw_ranking
from fastreid.evaluation.report_queries import label
from fastreid.evaluation.results import file_name
from fastreid.retrieval import Search, evaluate_topk, topk_search
from fastreid.retrieval.graded import agrees, is_known
from fastreid.retrieval.roc import tpr_at_fpr
from fastreid.utils.errors import require_choice, require_whole
from fastreid.utils.files import atomic_write

logger = logging.getLogger(__name__)

SORTS = ("ascending", "descending")
SAMPLED_PAIRS = 1 << 20  # different pairs whose distances are kept; a curve uses all of them
CURVE_POINTS = 121
BINS = 80


class Visualizer:
    """Pictures of a search; :meth:`get_model_output` or :meth:`use_search` comes first.

    Args:
        dataset: the images, queries first: a data set with ``records``, one with fast-reid's items, or paths.
    """

    def __init__(self, dataset):
        self.dataset = dataset

    # ---------------------------------------------------------------------------------------------- what is shown

    def get_model_output(self, all_ap, dist, q_pids, g_pids, q_camids, g_camids) -> None:
        """Show distances (Q, G), e.g. those of ``build_dist``, under the rule "camera".

        Args:
            all_ap: AP of each query with a match (V,), as ``evaluate_rank`` gives it, or of all (Q,); ``None``: it is
                computed.
        """
        dist = np.asarray(dist)
        sides = (q_pids, q_camids), (g_pids, g_camids)
        columns = [{"pids": np.asarray(pids), "camids": np.asarray(camids)} for pids, camids in sides]
        # distances that exist already take the place of those of the (empty) features
        queries, gallery = (np.zeros((side, 1), dtype=np.float32) for side in dist.shape)
        self.use_search(Search(queries, gallery, *columns, "euclidean", "camera", rescore=lambda rows, _: dist[rows]))
        self.dist, self.sim = dist, 1 - dist
        self.q_pids, self.g_pids, self.q_camids, self.g_camids = q_pids, g_pids, q_camids, g_camids
        if all_ap is not None:
            self.all_ap = self._per_query(np.asarray(all_ap, dtype=np.float64))

    def use_search(self, search: Search, labelled: bool = True, relevance: str = "pids") -> None:
        """Show a search, the one of an evaluation's last stage; without labels nothing is called right or wrong.

        Args:
            relevance: the column in which a match agrees with its query.
        """
        self.search, self.labelled, self.num_query = search, labelled, len(search.queries)
        self.relevance = relevance
        self._found = self._metrics = None
        self.all_ap = self._results(1)[0] if labelled else np.full(self.num_query, np.nan)

    def _per_query(self, all_ap: np.ndarray) -> np.ndarray:
        valid = np.flatnonzero(np.isfinite(self.all_ap))
        if len(all_ap) not in (len(valid), self.num_query):
            raise ValueError(
                f"all_ap of get_model_output must have {self.num_query} values (queries) or {len(valid)} (those with a "
                f"match); got {len(all_ap)}"
            )
        full = np.full(self.num_query, np.nan)
        full[valid] = all_ap if len(all_ap) == len(valid) else all_ap[valid]
        return full

    def _results(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """AP (Q,), NaN without a match, and the first ``k`` rows of each query with their distances."""
        k = min(k, len(self.search.gallery))
        if self._found is None or self._found[1].shape[1] < k:
            if self.labelled:
                self._metrics, *lists = evaluate_topk(self.search, k, relevance=self.relevance)
                ap = np.full(self.num_query, np.nan)
                ap[self._metrics.rows] = self._metrics.ap
            else:
                ap, lists = np.full(self.num_query, np.nan), topk_search(self.search, k)
            self._found = ap, *lists
        return self._found

    def get_matched_result(self, q_index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return whether each permitted gallery item is a match, int32 (n,), and its row, int64 (n,); nearest first."""
        rows = slice(q_index, q_index + 1)
        distances, permitted = self.search.distances(rows)[0], self.search.permitted(rows)
        order = np.argsort(distances, kind="stable")
        order = order if permitted is None else order[permitted[0][order]]
        return self._matches(rows, order)[0].astype(np.int32), order

    def _matches(self, rows: slice, items=slice(None)) -> np.ndarray:
        """Whether gallery rows are matches of query rows, (r, g), whatever the rule permits."""
        query, gallery = (side[self.relevance] for side in (self.search.q_columns, self.search.g_columns))
        return agrees(query[rows, None], gallery[items])

    # ---------------------------------------------------------------------------------------------- ranked lists

    def vis_rank_list(
        self, output: str | os.PathLike, vis_label: bool = False, num_vis: int = 100, rank_sort: str = "ascending",
        label_sort: str = "ascending", max_rank: int = 5, actmap: bool = False,
    ) -> np.ndarray:  # fmt: skip
        """Draw ``num_vis`` queries in the order of their AP and return their rows.

        Args:
            output: folder of the pictures ``0000_<name of the query>.png``, ``0001_...``.
            vis_label: add a line with the matches, wherever they are ranked.
            rank_sort: "ascending": the worst AP first. Queries without a match are left out.
            label_sort: order of the matches by similarity; "ascending": the farthest first.
            max_rank: length of the list; a gallery with less is shown whole.
        """
        require_choice("rank_sort of vis_rank_list", rank_sort, SORTS)
        num_vis = require_whole("num_vis of vis_rank_list", num_vis, 1)
        if self.labelled:
            order = np.argsort(self.all_ap if rank_sort == "ascending" else -self.all_ap, kind="stable")
            order = order[np.isfinite(self.all_ap[order])]
        else:
            order = np.arange(self.num_query)
        self.save_rank_result(order[:num_vis], output, max_rank, vis_label, label_sort, actmap)
        return order[:num_vis]

    def save_rank_result(
        self, query_indices: Sequence[int], output: str | os.PathLike, max_rank: int = 5, vis_label: bool = False,
        label_sort: str = "ascending", actmap: bool = False,
    ) -> list[Path]:  # fmt: skip
        """Draw the queries ``query_indices``; arguments as :meth:`vis_rank_list`. Return the files."""
        require_choice("label_sort of the visualiser", label_sort, SORTS)
        max_rank = require_whole("max_rank of the visualiser", max_rank, 1)
        if actmap:
            raise ValueError("actmap: the visualiser draws no activation maps")
        files = []
        for number, row in enumerate(map(int, query_indices)):
            rows = [self._nearest_tiles(row, max_rank)]
            if vis_label and self.labelled:
                rows.append(self._match_tiles(row, max_rank, label_sort))
            path = self._path(row)
            picture = draw_ranking(self._title(row), Tile(path, self._named(path, self.search.q_columns, row)), rows)
            files.append(Path(output, f"{number:04d}_{file_name(Path(path).stem)}.png"))
            with atomic_write(files[-1]) as file:
                picture.save(file, "PNG")
        return files

    def _nearest_tiles(self, row: int, max_rank: int) -> tuple[str, list[Tile]]:
        _, indices, distances = self._results(max_rank)
        items = indices[row, :max_rank]
        shown = [(rank, int(item), distances[row, rank - 1]) for rank, item in enumerate(items, start=1) if item >= 0]
        return f"the nearest {len(shown)}: rank and distance", [self._tile(row, *one) for one in shown]

    def _match_tiles(self, row: int, max_rank: int, label_sort: str) -> tuple[str, list[Tile]]:
        matches, order = self.get_matched_result(row)
        items, distances = order[matches == 1], self.search.distances(slice(row, row + 1))[0]
        end = int(self._metrics.counts[: row + 1].sum())
        found = list(zip(self._metrics.ranks[end - len(items) : end].tolist(), items.tolist(), strict=True))
        first, found = ("farthest", found[::-1]) if label_sort == "ascending" else ("nearest", found)
        tiles = [self._tile(row, rank, item, distances[item]) for rank, item in found[:max_rank]]
        return f"{len(tiles)} of {len(found)} matches, the {first} first", tiles

    def _tile(self, row: int, rank: int, item: int, distance: float) -> Tile:
        path, columns = self._path(self.num_query + item), self.search.g_columns
        right = bool(self._matches(slice(row, row + 1), [item])) if self.labelled else None
        return Tile(path, (f"{rank}    {distance + 0.0:.3f}", *self._named(path, columns, item)), right)

    def _named(self, path: str, columns, row: int) -> tuple[str, ...]:
        cameras = self.search.g_columns.get("camids", np.zeros(0))
        camera = (f"camera {columns['camids'][row]}",) if len(np.unique(cameras)) > 1 else ()
        return (*label(path), *camera)

    def _title(self, row: int) -> str:
        parts = [Path(self._path(row)).name]
        if np.isfinite(self.all_ap[row]):
            parts.insert(0, f"AP {100 * self.all_ap[row]:.1f} %")
        elif self.labelled:
            parts.insert(0, "no match in the gallery")
        return "   ".join(parts)

    def _path(self, row: int) -> str:
        records = getattr(self.dataset, "records", None) or getattr(self.dataset, "img_items", None)
        if records is not None:
            return str(records[row][0])
        item = self.dataset[row]
        return str(item["img_paths"] if isinstance(item, Mapping) else item)

    # ------------------------------------------------------------------------------------------------------- ROC

    def vis_roc_curve(self, output: str | os.PathLike) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Write ``roc.png`` and ``pos_neg_dist.png``; return (fpr, tpr, pos, neg).

        A query and its match are a positive, accepted when its distance is below a threshold. (fast-reid has the
        labels the other way round.) The curve is exact over all permitted pairs; ``pos`` are the distances of all
        positives, ``neg`` those of up to a million others, evenly taken.

        Raises:
            ValueError: the data set has no labels, or no pair of either kind.
        """
        if not self.labelled:
            raise ValueError("a ROC curve needs labels, which this data set does not have")
        pos, neg, negatives = self._pair_distances()
        fpr = np.concatenate([[0.0], np.geomspace(min(0.5, 1 / max(1, negatives)), 1, CURVE_POINTS)])
        fpr[-1] = 1.0
        tpr = np.array(list(tpr_at_fpr(self.search, fpr.tolist(), self.relevance).values()))
        self.plot_roc_curve(fpr, tpr).savefig(Path(output, "roc.png"))
        self.plot_distribution(pos, neg).savefig(Path(output, "pos_neg_dist.png"))
        return fpr, tpr, pos, neg

    def _pair_distances(self) -> tuple[np.ndarray, np.ndarray, int]:
        known = is_known(self.search.q_columns[self.relevance])
        step = -(-self.num_query * len(self.search.gallery) // SAMPLED_PAIRS)
        same, different, seen = [np.zeros(0)], [np.zeros(0)], 0
        for rows, distances in self.search.blocks():
            match, permitted = self._matches(rows), self.search.permitted(rows)
            permitted = known[rows, None] & (np.ones_like(match) if permitted is None else permitted)
            others = distances[permitted & ~match]
            same.append(distances[permitted & match])
            different.append(others[-seen % step :: step])  # every step-th of all, over the blocks
            seen += len(others)
        return np.concatenate(same), np.concatenate(different), seen

    @staticmethod
    def plot_roc_curve(fpr: Sequence[float], tpr: Sequence[float], name: str = "model", fig: Plot | None = None):
        """Add a ROC curve to ``fig``, or to a new plot, and return that; save it with ``savefig``."""
        if fig is None:
            fig = Plot("Receiver operating characteristic", "false positive rate", "true positive rate", True, (0, 1))
        return fig.line(name, fpr, tpr)

    @staticmethod
    def plot_distribution(pos: Sequence[float], neg: Sequence[float], name: str = "model", fig: Plot | None = None):
        """Add the distributions of the distances of positive and negative pairs to ``fig``, or to a new plot."""
        fig = fig or Plot("Distances of pairs that match and of others", "distance", "density")
        both = np.concatenate([np.asarray(pos, dtype=np.float64), np.asarray(neg, dtype=np.float64)])
        edges = np.histogram_bin_edges(both, BINS)
        return fig.histogram(f"matches, {name}", pos, edges).histogram(f"others, {name}", neg, edges)

    @staticmethod
    def save_roc_info(output: str | os.PathLike, fpr, tpr, pos, neg) -> Path:
        """Write ``roc_info.npz`` into the folder ``output`` and return its path."""
        path = Path(output, "roc_info.npz")
        values = {"fpr": fpr, "tpr": tpr, "pos": pos, "neg": neg}
        with atomic_write(path) as file:
            np.savez_compressed(file, **{name: np.asarray(value, dtype=np.float64) for name, value in values.items()})
        return path

    @staticmethod
    def load_roc_info(path: str | os.PathLike) -> dict[str, np.ndarray]:
        """Return ``{"fpr", "tpr", "pos", "neg"}`` of a file of :meth:`save_roc_info`.

        Raises:
            ValueError: another kind of file. fast-reid's pickles are not read, because a pickle can run code.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                return {name: stored[name] for name in ("fpr", "tpr", "pos", "neg")}
        except (ValueError, KeyError, EOFError, AttributeError) as error:
            why = "pickles can run code and are not read" if Path(path).suffix in (".pickle", ".pkl") else str(error)
            raise ValueError(f"{path} is not a roc_info.npz of the visualiser: {why}") from error
