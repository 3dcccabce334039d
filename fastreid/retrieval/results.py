"""What an evaluation found, as one immutable value."""

from dataclasses import dataclass, field

import numpy as np

CUTOFF = 10  # of AP@10, the score of the DIRA challenge
SHOWN_RANKS = (1, 5, 10)


@dataclass(frozen=True)
class RetrievalMetrics:
    """Retrieval quality per query and on average.

    The arrays of length V cover the queries that have a permitted match, in query order; a query without one
    is dropped, and counted in `dropped`.

    Attributes:
        rows: int64 (V,), the query row of each entry.
        num_queries: number of queries, dropped ones included.
        num_relevant: int64 (V,), permitted matches R.
        first_hit: int64 (V,), 1-based rank of the first match.
        ap: float64 (V,), average precision over the whole ranking (not interpolated).
        inp: float64 (V,), inverse negative penalty R / rank of the last match (Ye et al., TPAMI 2021).
        ap10_min, ap10_R: float64 (V,), precision summed over the matches in the first ten, divided by
            min(R, 10) and by R: the two readings of the DIRA challenge's "mAP@10" (scorer unpublished).
        cmc: float32 (max_rank,), share of queries with a match at rank <= k.
    """

    rows: np.ndarray = field(repr=False)
    num_queries: int
    num_relevant: np.ndarray = field(repr=False)
    first_hit: np.ndarray = field(repr=False)
    ap: np.ndarray = field(repr=False)
    inp: np.ndarray = field(repr=False)
    ap10_min: np.ndarray = field(repr=False)
    ap10_R: np.ndarray = field(repr=False)
    cmc: np.ndarray = field(repr=False)

    def __post_init__(self):
        lengths = {
            len(column) for column in (self.rows, self.num_relevant, self.first_hit, self.ap, self.inp)
        }
        if lengths != {len(self.rows)} or not len(self.rows) or len(self.rows) > self.num_queries:
            raise ValueError(
                f"metrics per query have lengths {sorted(lengths)} for {self.num_queries} queries"
            )

    @property
    def dropped(self) -> int:
        """Number of queries without any permitted match."""
        return self.num_queries - len(self.rows)

    @property
    def mAP(self) -> float:
        return float(self.ap.mean())

    def table(self) -> dict[str, float]:
        """Return averages in percent under fast-reid's names, then AP@10 and two counts (not in percent)."""
        table = {f"Rank-{k}": 100 * float(self.cmc[min(k, len(self.cmc)) - 1]) for k in SHOWN_RANKS}
        table["mAP"] = 100 * self.mAP
        table["mINP"] = 100 * float(self.inp.mean())
        table["metric"] = (table["mAP"] + table["Rank-1"]) / 2
        table["AP@10_min"] = 100 * float(self.ap10_min.mean())
        table["AP@10_R"] = 100 * float(self.ap10_R.mean())
        return {**table, "queries": self.num_queries, "dropped queries": self.dropped}

    @classmethod
    def from_ranks(cls, counts: np.ndarray, ranks: np.ndarray, max_rank: int) -> "RetrievalMetrics":
        """Compute all from the ranks of the matches: the i-th best match, at rank r, has precision i / r.

        Args:
            counts: int64 (Q,), number of matches of each query.
            ranks: int64 (sum of counts,), 1-based ranks of the matches, ascending per query, query after
                query.
            max_rank: length of the CMC curve.
        """
        rows = np.flatnonzero(counts)
        found = counts[rows]
        ends = np.cumsum(found)
        starts = ends - found
        precision = (np.arange(len(ranks)) - np.repeat(starts, found) + 1) / ranks
        in_first_ten = np.add.reduceat(precision * (ranks <= CUTOFF), starts)
        first_hit = ranks[starts]
        hits_at = np.bincount(first_hit, minlength=max_rank + 1)[1 : max_rank + 1]
        return cls(
            rows=rows,
            num_queries=len(counts),
            num_relevant=found,
            first_hit=first_hit,
            ap=np.add.reduceat(precision, starts) / found,
            inp=found / ranks[ends - 1],
            ap10_min=in_first_ten / np.minimum(found, CUTOFF),
            ap10_R=in_first_ten / found,
            cmc=(np.cumsum(hits_at) / len(rows)).astype(np.float32),
        )
