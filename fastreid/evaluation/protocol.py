"""How features are judged: metric, candidate rule, post-processors in order, and the metrics after each of them."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastreid.data.feature_file import FeatureFile
from fastreid.evaluation.columns import Columns, with_derived
from fastreid.retrieval import (
    POSTPROCESSOR_REGISTRY,
    RetrievalMetrics,
    Search,
    evaluate_search,
    evaluate_topk,
    get_rule,
    topk_search,
)
from fastreid.retrieval.cuhk03 import single_shot_cmc
from fastreid.retrieval.graded import GAINS
from fastreid.retrieval.metrics import parse_metric
from fastreid.retrieval.postprocess import ORDER
from fastreid.retrieval.rank import GRADED_ITEMS
from fastreid.retrieval.results import SHOWN_RANKS
from fastreid.retrieval.roc import tpr_at_fpr
from fastreid.retrieval.rules import parts_of
from fastreid.retrieval.search import check_columns
from fastreid.utils.errors import require_choice, require_members, require_whole

logger = logging.getLogger(__name__)

PLAIN = "plain"
GROUP_METRICS = ("mAP", "Rank-1")  # of every group, besides those asked for


@dataclass(frozen=True)
class Stage:
    """One row of the result: the features as they are, or after one more post-processor.

    Attributes:
        name: "plain", then "+AQE", "+RERANK", ...: each row adds to the one above it.
        metrics: ``None`` when the data set has no labels.
        extra: the further metrics that were asked for, in percent.
        groups: per column ``{"macro": {metric: percent}, "values": {value: {"queries": n, metric: percent}}}``.
    """

    name: str
    metrics: RetrievalMetrics | None
    extra: Mapping[str, float] = field(default_factory=dict)
    groups: Mapping[str, Any] = field(default_factory=dict)

    def table(self) -> dict[str, float]:
        """All averages in percent and the two counts, `RetrievalMetrics.table` first; empty without labels."""
        return {**self.metrics.table(), **self.extra} if self.metrics else {}


@dataclass(frozen=True)
class Evaluation:
    """Result of a protocol on one feature file.

    Attributes:
        stages: the plain features first, then after each post-processor.
        indices, distances: int64 and float32 (Q, min(topk, G)), the first gallery rows of each query after the last
            stage, nearest first; -1 and +inf where a query has fewer candidates.
        settings: metric, rule and post-processors as plain values.
        roc: true-positive rates of the last stage in percent; empty unless asked for.
    """

    stages: tuple[Stage, ...]
    indices: np.ndarray
    distances: np.ndarray
    settings: dict[str, Any] = field(default_factory=dict)
    roc: dict[str, float] = field(default_factory=dict)

    @property
    def metrics(self) -> RetrievalMetrics | None:
        """Metrics after the last stage."""
        return self.stages[-1].metrics

    @property
    def labelled(self) -> bool:
        return self.metrics is not None


@dataclass(frozen=True)
class Protocol:
    """Metric, rule and post-processors; the same for evaluation and submission.

    Args:
        metric: "cosine" or "euclidean".
        rule: name in RULE_REGISTRY, or names joined by "+".
        postprocessors: (name, component) pairs in the order of application.
        allow_noncausal: accept post-processors that look at items which a rule with ``before``, such as
            "granted_before", hides; they are then named as such in the result.
        block_mib: memory for one block of distances, MiB.
        roc: compute true-positive rates too.
        metrics: names of further metrics, see `fastreid.retrieval.metrics.parse_metric`.
        group_by: columns of the queries to average by, those of the data set or of `columns.DERIVED`.
        gains: column and gain, for nDCG.
        single_shot: how many random galleries with one image per identity the "single-shot Rank-k" are averaged over
            (the measure of CUHK03), which takes another pass over all pairs; 0: none.

    Raises:
        ValueError: unknown metric, or a non-causal post-processor under a rule with ``before``.
        KeyError: unknown rule.
        TypeError: a post-processor without ``apply``, or a rule without ``needs`` or ``permits``.
    """

    metric: str = "cosine"
    rule: str = "camera"
    postprocessors: tuple[tuple[str, Any], ...] = ()
    allow_noncausal: bool = False
    block_mib: float = 32
    roc: bool = False
    topk: int = 10
    metrics: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ()
    gains: Mapping[str, float] = field(default_factory=lambda: dict(GAINS))
    single_shot: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        require_choice("TEST.METRIC", self.metric, ("cosine", "euclidean"))
        get_rule(self.rule)
        require_whole("TEST.SINGLE_SHOT", self.single_shot, 0)
        self._check_metrics()
        for name, component in self.postprocessors:
            require_members(component, f"a post-processor (TEST.{name})", "apply")
        noncausal = [name for name, component in self.postprocessors if self._leaks(component)]
        if noncausal and not self.allow_noncausal:
            raise ValueError(
                f"TEST.{noncausal[0]} looks at gallery items that rule '{self.rule}' hides from the query (later "
                f"grants), so the result would not be one of prior art. Switch it off, or set TEST.ALLOW_NONCAUSAL "
                f"True; it is then named in the result."
            )

    def _check_metrics(self) -> None:
        for text in self.metrics:
            try:
                metric = parse_metric(text)
            except ValueError as error:
                raise ValueError(f"TEST.METRICS: {error}") from None
            if metric.name == "nDCG" and metric.k > GRADED_ITEMS:
                raise ValueError(f"TEST.METRICS: {text} is not available; nDCG@k goes up to k = {GRADED_ITEMS}")

    @classmethod
    def from_config(cls, cfg) -> "Protocol":
        """Read the ``TEST`` node.

        A post-processor takes part when its own config node says ``ENABLED``; the last part of the node's name is what
        results call it. Those from outside come after the built-in ones, by name.
        """
        names = sorted(POSTPROCESSOR_REGISTRY.names(), key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n))
        enabled, options = [], {}
        for name in names:
            if POSTPROCESSOR_REGISTRY.enabled(name, cfg):
                node = POSTPROCESSOR_REGISTRY.node(name)
                label = node.rsplit(".", 1)[-1]
                enabled.append((label, POSTPROCESSOR_REGISTRY.build(name, cfg)))
                options[label] = {key: value for key, value in cfg.get_node(node).items() if key != "ENABLED"}
        return cls(
            metric=cfg.TEST.METRIC,
            rule=cfg.TEST.RULE,
            postprocessors=tuple(enabled),
            allow_noncausal=cfg.TEST.ALLOW_NONCAUSAL,
            block_mib=cfg.TEST.BLOCK_MIB,
            roc=cfg.TEST.ROC.ENABLED,
            topk=max(10, cfg.TEST.REPORT.TOPK),  # a submission has ten
            metrics=tuple(cfg.TEST.METRICS),
            group_by=tuple(cfg.TEST.GROUP_BY),
            gains={column: float(gain) for column, gain in cfg.TEST.GAINS},
            single_shot=cfg.TEST.SINGLE_SHOT,
            options=options,
        )

    @property
    def settings(self) -> dict[str, Any]:
        names = [name for name, _ in self.postprocessors]
        options = {name: self.options.get(name, {}) for name in names}
        graded = {"gains": dict(self.gains)} if self._graded else {}
        single_shot = {"single-shot galleries": self.single_shot} if self.single_shot else {}
        return {"metric": self.metric, "rule": self.rule, "post-processing": options, **graded, **single_shot}

    @property
    def _graded(self) -> bool:
        return any(parse_metric(name).name == "nDCG" for name in self.metrics)

    def check_columns(self, names: Iterable[str], labelled: bool = True) -> None:
        """Raise ``ValueError`` unless a data set with the columns ``names`` can be judged."""
        empty = {name: np.empty(0, dtype=np.int64) for name in names}
        with_derived(empty, empty, self.group_by, "TEST.GROUP_BY")
        if self._graded and labelled:
            with_derived(empty, empty, self.gains, "TEST.GAINS")
        check_columns(empty, 0, get_rule(self.rule), "queries")

    def searches(self, features: FeatureFile) -> Iterator[tuple[str, Search]]:
        """Yield (stage name, search): the plain one, then the one that each post-processor makes of it."""
        query, gallery = features.query, features.gallery
        columns = query.columns, gallery.columns
        if self._graded and features.relevance_known:
            columns = with_derived(*columns, self.gains, "TEST.GAINS")
        search = Search(query.features, gallery.features, *columns, self.metric, self.rule, self.block_mib)
        yield PLAIN, search
        for name, component in self.postprocessors:
            search = component.apply(search)
            yield f"+{name} (non-causal)" if self._leaks(component) else f"+{name}", search

    def evaluate(self, features: FeatureFile) -> Evaluation:
        """Measure the ranking at every stage and keep the first items of the last one.

        Raises:
            ValueError: no query has a permitted match.
        """
        stages, labelled, last = [], features.relevance_known, None
        query, _ = with_derived(features.query.columns, features.gallery.columns, self.group_by, "TEST.GROUP_BY")
        for number, (name, last) in enumerate(self.searches(features)):
            metrics, lists = self._judge(last, labelled, listed=number == len(self.postprocessors))
            stages.append(self._stage(name, metrics, query, last))
        rates = tpr_at_fpr(last) if self.roc and labelled else {}
        roc = {f"TPR@FPR={rate:.0e}": 100 * share for rate, share in rates.items()}
        return Evaluation(tuple(stages), *lists, self.settings, roc)

    def _judge(self, search: Search, labelled: bool, listed: bool):
        """Metrics, if ``labelled``, and the first items of each query, if ``listed``: both out of one pass."""
        if not labelled:
            return None, topk_search(search, self.topk) if listed else ()
        ties = any(parse_metric(name).ties for name in self.metrics)
        options = {"ties": ties, "gains": self.gains if self._graded else None}
        if not listed:
            return evaluate_search(search, **options), ()
        metrics, *lists = evaluate_topk(search, self.topk, **options)
        return metrics, lists

    def _stage(self, name: str, metrics: RetrievalMetrics | None, query: Columns, search: Search) -> Stage:
        if metrics is None:
            return Stage(name, None)
        extra = {name: 100 * metrics.mean(name) for name in self.metrics}
        if self.single_shot:
            cmc = single_shot_cmc(search, max(SHOWN_RANKS), self.single_shot)
            extra |= {f"single-shot Rank-{k}": 100 * float(cmc[min(k, len(cmc)) - 1]) for k in SHOWN_RANKS}
        names = dict.fromkeys([*GROUP_METRICS, *self.metrics])
        return Stage(name, metrics, extra, {name: _groups(metrics, names, query[name]) for name in self.group_by})

    def _leaks(self, component: Any) -> bool:
        hides_later = any(getattr(part, "before", None) for part in parts_of(get_rule(self.rule)))
        return hides_later and not getattr(component, "causal", False)


def _groups(metrics: RetrievalMetrics, names: Iterable[str], column: np.ndarray) -> dict[str, Any]:
    """Averages of the queries per value of ``column`` (length Q), and the mean of these averages."""
    values: dict[str, dict[str, float]] = {}
    for name in names:
        for value, (mean, count) in metrics.by(name, column).items():
            values.setdefault(str(value), {"queries": count})[name] = 100 * mean
    return {"macro": {name: 100 * metrics.macro(name, column) for name in names}, "values": values}
