"""Post-processors: each turns a `Search` into a better one.

``processor.apply(search) -> Search``. Feature expansion returns other features, re-ranking other distances;
whoever runs several applies them in the order of `ORDER` and may evaluate or search after each. ``causal``
says whether the answer to a query depends only on the gallery items that the search's rule permits for it;
under a prior-art rule the others let later patents in.
"""

from dataclasses import replace

import numpy as np

from fastreid.retrieval.candidates import at_query_time
from fastreid.retrieval.distance import normalize
from fastreid.retrieval.expansion import alpha_qe, dba, joint_aqe
from fastreid.retrieval.rerank import k_reciprocal
from fastreid.retrieval.search import Search
from fastreid.utils.registry import Registry

POSTPROCESSOR_REGISTRY = Registry("POSTPROCESSOR")
ORDER = ("AQE", "AlphaQE", "DBA", "KReciprocal")


def _at_least(lowest: float, owner: str, **options: float) -> None:
    for name, value in options.items():
        if value < lowest:
            raise ValueError(f"{owner}: {name} must be at least {lowest}; got {value}")


@POSTPROCESSOR_REGISTRY.register(node="TEST.AQE")
class AQE:
    """Joint expansion of queries and gallery (`joint_aqe`), as the DIRA 2022 system and fast-reid have it."""

    name = "AQE"
    causal = False

    def __init__(self, qe_time: int = 1, qe_k: int = 5, alpha: float = 3.0):
        _at_least(1, self.name, qe_time=qe_time, qe_k=qe_k)
        _at_least(0, self.name, alpha=alpha)
        self.qe_time, self.qe_k, self.alpha = qe_time, qe_k, alpha

    def apply(self, search: Search) -> Search:
        features = joint_aqe(
            search.queries, search.gallery, self.qe_k, self.alpha, self.qe_time, search.block_mib
        )
        return search.with_features(*features)


@POSTPROCESSOR_REGISTRY.register(node="TEST.QE")
class AlphaQE:
    """Expansion of the queries alone (`alpha_qe`), over the gallery items the rule permits at query time.

    Causal under a causal rule. Features become unit vectors, so a Euclidean ranking after it equals the
    cosine one.
    """

    name = "AlphaQE"
    causal = True

    def __init__(self, k: int = 5, alpha: float = 3.0):
        _at_least(1, self.name, k=k)
        _at_least(0, self.name, alpha=alpha)
        self.k, self.alpha = k, alpha

    def apply(self, search: Search) -> Search:
        scope = (at_query_time(search.rule), search.q_columns, search.g_columns, search.block_mib)
        queries = alpha_qe(search.queries, search.gallery, self.k, self.alpha, *scope)
        return search.with_features(queries, normalize(search.gallery))


@POSTPROCESSOR_REGISTRY.register(node="TEST.DBA")
class DBA:
    """Expansion of the gallery alone (`dba`); an old figure may gain from a later one, so not causal."""

    name = "DBA"
    causal = False

    def __init__(self, k: int = 5, alpha: float = 3.0):
        _at_least(1, self.name, k=k)
        _at_least(0, self.name, alpha=alpha)
        self.k, self.alpha = k, alpha

    def apply(self, search: Search) -> Search:
        gallery = dba(search.gallery, self.k, self.alpha, search.block_mib)
        return search.with_features(normalize(search.queries), gallery)


@POSTPROCESSOR_REGISTRY.register(node="TEST.RERANK")
class KReciprocal:
    """k-reciprocal re-ranking: ``(1 - lambda) * jaccard + lambda * distance``, as fast-reid's evaluator."""

    name = "KReciprocal"
    causal = False

    def __init__(self, k1: int = 20, k2: int = 6, lambda_: float = 0.3):
        _at_least(1, self.name, k1=k1, k2=k2)
        if not 0 <= lambda_ <= 1:
            raise ValueError(f"{self.name}: lambda must be in 0..1; got {lambda_}")
        self.k1, self.k2, self.lambda_ = k1, k2, lambda_

    def apply(self, search: Search) -> Search:
        if search.rescore is not None:
            raise ValueError("this search is re-ranked already; KReciprocal can be applied once")
        options = self.k1, self.k2, search.block_mib, search.metric
        jaccard = k_reciprocal(search.queries, search.gallery, *options)

        def rescore(rows: slice, distances: np.ndarray) -> np.ndarray:
            """Re-rank a block of query rows; may write over ``distances``."""
            return jaccard.blend(rows, distances, self.lambda_)

        return replace(search, rescore=rescore)
