"""Post-processors: each turns a `Search` into a better one.

``processor.apply(search) -> Search``. Feature expansion returns other features, re-ranking other distances;
whoever runs several applies them in the order of `ORDER` and may evaluate or search after each. ``causal``
says whether, under a rule with ``before``, the answer to a query depends on the query and on the gallery items
before it alone: not on later items, not on the other queries.
"""

from dataclasses import replace

import numpy as np

from fastreid.retrieval.expansion import alpha_qe, dba, joint_aqe, unit_rows
from fastreid.retrieval.rerank import k_reciprocal
from fastreid.retrieval.rules import EveryRule, GrantedBefore, Rule, at_query_time, parts_of
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
        features = joint_aqe(search.queries, search.gallery, self.qe_k, self.alpha, self.qe_time, search.block_mib)
        return search.with_features(*features)


@POSTPROCESSOR_REGISTRY.register(node="TEST.QE")
class AlphaQE:
    """Expansion of the queries alone (`alpha_qe`), over the gallery items the rule permits at query time.

    The new queries are unit vectors; for the Euclidean metric the gallery becomes so too, and the ranking equals the
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
        return search.with_features(queries, _beside_unit_rows(search.gallery, search.metric))


@POSTPROCESSOR_REGISTRY.register(node="TEST.DBA")
class DBA:
    """Expansion of the gallery alone (`dba`).

    Args:
        prior_art: an item takes from earlier items alone, those before it in the column that the search's rule goes by
            ("dates" when it goes by none). That is causal; otherwise an old item may gain from a later one.
    """

    name = "DBA"
    causal = False

    def __init__(self, k: int = 5, alpha: float = 3.0, prior_art: bool = False):
        _at_least(1, self.name, k=k)
        _at_least(0, self.name, alpha=alpha)
        self.k, self.alpha, self.prior_art, self.causal = k, alpha, prior_art, prior_art

    def apply(self, search: Search) -> Search:
        rule = self._rule(search) if self.prior_art else None
        gallery = dba(search.gallery, self.k, self.alpha, search.block_mib, rule, search.g_columns)
        return search.with_features(_beside_unit_rows(search.queries, search.metric), gallery)

    def _rule(self, search: Search) -> Rule:
        rule, given = earlier_items(search.rule), search.g_columns
        missing = [name for name in rule.needs if name not in given]
        if missing:
            given = ", ".join(given) or "none"
            raise ValueError(f"{self.name}: prior_art needs column '{missing[0]}' of the gallery; given: {given}")
        return rule


def earlier_items(rule: Rule) -> Rule:
    """What ``rule`` takes for earlier, by which gallery items may look at one another; "granted_before" by default."""
    return EveryRule([part for part in parts_of(rule) if getattr(part, "before", None)] or [GrantedBefore()])


def _beside_unit_rows(features, metric: str):
    """The side that is not expanded: a Euclidean distance to unit vectors wants unit vectors, a cosine takes all."""
    return features if metric == "cosine" else unit_rows(features)


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
