"""How features are judged: metric, candidate rule, post-processors in order, and the metrics after each of them."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastreid.data.feature_file import FeatureFile
from fastreid.evaluation.columns import FREQUENCIES, Columns, with_derived
from fastreid.evaluation.shared import among_processes
from fastreid.evaluation.stages import Evaluation, Stage, by_group, level_metric
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
from fastreid.retrieval.measured import here
from fastreid.retrieval.metrics import parse_metric
from fastreid.retrieval.postprocess import ORDER
from fastreid.retrieval.rank import GRADED_ITEMS, Over
from fastreid.retrieval.results import SHOWN_RANKS
from fastreid.retrieval.roc import tpr_at_fpr
from fastreid.retrieval.rules import parts_of
from fastreid.retrieval.search import check_columns
from fastreid.utils import comm
from fastreid.utils.errors import require_choice, require_members, require_whole

logger = logging.getLogger(__name__)

PLAIN = "plain"
GROUP_METRICS = ("mAP", "Rank-1")  # of every group, besides those asked for
IDENTITY = ("pids", "camids")  # columns that mean nothing where the relevance of a data set is not known
NO_LABELS = ("dates", "year")  # columns in which equal values are no match, unknown ones least of all


@dataclass(frozen=True)
class Protocol:
    """Metric, rule and post-processors; the same for evaluation and submission.

    Args:
        metric: "cosine" or "euclidean".
        rule: name in RULE_REGISTRY, or names joined by "+".
        relevance: the column in which a match agrees with its query, one of the data set or of `columns.DERIVED`.
        levels: further such columns; each adds a "mAP@column", over the queries that have a match by it.
        frequency: where "frequency" is counted, one of `columns.FREQUENCIES`.
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
        ValueError: unknown metric, a column that makes no match, or a non-causal post-processor under a rule with
            ``before``.
        KeyError: unknown rule.
        TypeError: a post-processor without ``apply``, or a rule without ``needs`` or ``permits``.
    """

    metric: str = "cosine"
    rule: str = "camera"
    relevance: str = "pids"
    levels: tuple[str, ...] = ()
    frequency: str = "gallery"
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
        require_choice("TEST.FREQUENCY", self.frequency, FREQUENCIES)
        self._check_relevance()
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

    def _check_relevance(self) -> None:
        for key, names in (("RELEVANCE", (self.relevance,)), ("LEVELS", self.levels), ("GAINS", self.gains)):
            wrong = next((name for name in names if name in NO_LABELS), None)
            if wrong:
                raise ValueError(f"TEST.{key} cannot be '{wrong}': images of one date are no match for that")
        if require_whole("TEST.SINGLE_SHOT", self.single_shot, 0) and self.relevance != "pids":
            raise ValueError(
                f"TEST.SINGLE_SHOT draws one image per identity, so TEST.RELEVANCE must be 'pids'; got "
                f"{self.relevance!r}"
            )

    def _check_metrics(self) -> None:
        for text in self.metrics:
            try:
                metric = parse_metric(text)
            except ValueError as error:
                hint = f" TEST.LEVELS adds a {text}" if text.startswith("mAP@") else ""
                raise ValueError(f"TEST.METRICS: {error}{hint}") from None
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
            relevance=cfg.TEST.RELEVANCE,
            levels=tuple(dict.fromkeys(cfg.TEST.LEVELS)),
            frequency=cfg.TEST.FREQUENCY,
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
        found: dict[str, Any] = {"metric": self.metric, "rule": self.rule, "relevance": self.relevance}
        found["post-processing"] = {name: self.options.get(name, {}) for name in names}
        if self.levels:
            found["levels"] = list(self.levels)
        if "frequency" in self._columns:
            found["frequency"] = self.frequency
        if self._graded:
            found["gains"] = dict(self.gains)
        if self.single_shot:
            found["single-shot galleries"] = self.single_shot
        return found

    @property
    def _graded(self) -> bool:
        return any(parse_metric(name).name == "nDCG" for name in self.metrics)

    @property
    def _matched(self) -> dict[str, tuple[str, ...]]:
        """The keys that name columns in which images agree, and these."""
        gains = tuple(self.gains) if self._graded else ()
        return {"TEST.RELEVANCE": (self.relevance,), "TEST.LEVELS": self.levels, "TEST.GAINS": gains}

    @property
    def _columns(self) -> set[str]:
        return {name for names in (*self._matched.values(), self.group_by) for name in names}

    def judges(self, relevance_known: bool) -> bool:
        """Whether there are metrics: always where something else than an identity makes the match.

        Raises:
            ValueError: metrics that compare identities, of a data set without true ones.
        """
        if relevance_known or self.relevance in IDENTITY:
            return relevance_known
        for key, names in self._matched.items():
            unknown = next((name for name in names if name in IDENTITY), None)
            if unknown:
                raise ValueError(f"{key} names '{unknown}', but this data set has no true identities: leave it out")
        return True

    def check_columns(self, names: Iterable[str], relevance_known: bool = True) -> None:
        """Raise ``ValueError`` unless a data set with the columns ``names`` can be judged."""
        empty = {name: np.empty(0, dtype=np.int64) for name in names}
        self.with_columns(empty, empty, self.judges(relevance_known))
        check_columns(empty, 0, get_rule(self.rule), "queries")

    def with_columns(self, query: Columns, gallery: Columns, judged: bool) -> tuple[Columns, Columns]:
        """Return the columns of both sides with all that this protocol reads of them, besides the rule."""
        matched = self._matched if judged else {}
        for key, names in {**matched, "TEST.GROUP_BY": self.group_by}.items():
            query, gallery = with_derived(query, gallery, names, key, self.frequency)
        return query, gallery

    def searches(self, features: FeatureFile) -> Iterator[tuple[str, Search]]:
        """Yield (stage name, search): the plain one, then the one that each post-processor makes of it."""
        query, gallery = features.query, features.gallery
        columns = self.with_columns(query.columns, gallery.columns, self.judges(features.relevance_known))
        search = Search(query.features, gallery.features, *columns, self.metric, self.rule, self.block_mib)
        yield PLAIN, search
        for name, component in self.postprocessors:
            search = component.apply(search)
            yield f"+{name} (non-causal)" if self._leaks(component) else f"+{name}", search

    def evaluate(self, features: FeatureFile, shared: bool = False, keep: Iterable[str] = ()) -> Evaluation | None:
        """Measure the ranking at every stage and keep the first items of the last one.

        The metrics hold values for each query, no ranks: of those in ``metrics``, and of what every evaluation shows.

        Args:
            shared: every process calls this with the same features; each ranks the gallery for its part of the
                queries. What looks at all features at once (post-processors, and the stages after them, ROC,
                single-shot galleries) is the main process's alone.
            keep: names of more metrics to be had of the result.

        Returns:
            ``None`` in processes other than the main one, where it is shared.

        Raises:
            ValueError: no query has a permitted match.
        """
        stages, judged, last = [], self.judges(features.relevance_known), None
        keep = (*self.metrics, *keep)
        elsewhere = shared and not comm.is_main_process()
        if elsewhere and not judged:
            return None
        for number, (name, last) in enumerate(self.searches(features)):
            over = among_processes if shared and name == PLAIN else here
            metrics, lists = self._judge(last, keep if judged else None, number == len(self.postprocessors), over)
            levels = {level: self._level(last, level, metrics, over) for level in self.levels} if judged else {}
            if elsewhere:
                return None
            stages.append(self._stage(name, metrics, last, levels))
        rates = tpr_at_fpr(last, relevance=self.relevance) if self.roc and judged else {}
        roc = {f"TPR@FPR={rate:.0e}": 100 * share for rate, share in rates.items()}
        labels = (last.q_columns[self.relevance], last.g_columns[self.relevance]) if judged else None
        return Evaluation(tuple(stages), *lists, self.settings, roc, labels)

    def _judge(self, search: Search, keep: tuple[str, ...] | None, listed: bool, over: Over):
        """The metrics ``keep``, unless ``None``, and the first items of each query, if ``listed``: in one pass."""
        if keep is None:
            return None, topk_search(search, self.topk) if listed else ()
        ties = any(parse_metric(name).ties for name in keep)
        gains = self.gains if self._graded else None
        options = {"relevance": self.relevance, "ties": ties, "gains": gains, "keep": keep, "over": over}
        if not listed:
            return evaluate_search(search, **options), ()
        metrics, *lists = evaluate_topk(search, self.topk, **options)
        return metrics, lists

    def _stage(self, name: str, metrics: RetrievalMetrics | None, search: Search, levels: Mapping) -> Stage:
        if metrics is None:
            return Stage(name, None)
        extra = {level_metric(level): 100 * found.mAP for level, found in levels.items()}
        extra |= {name: 100 * metrics.mean(name) for name in self.metrics}
        if self.single_shot:
            cmc = single_shot_cmc(search, max(SHOWN_RANKS), self.single_shot)
            extra |= {f"single-shot Rank-{k}": 100 * float(cmc[min(k, len(cmc)) - 1]) for k in SHOWN_RANKS}
        names = dict.fromkeys([*GROUP_METRICS, *self.metrics])
        groups = {name: by_group(metrics, names, search.q_columns[name]) for name in self.group_by}
        return Stage(name, metrics, extra, groups, levels)

    def _level(self, search: Search, level: str, metrics: RetrievalMetrics | None, over: Over):
        """Metrics where ``level`` makes the match; those at hand where that is the relevance anyway."""
        if level == self.relevance:
            return metrics
        try:
            return evaluate_search(search, relevance=level, keep=(), over=over)
        except ValueError as error:
            raise ValueError(f"TEST.LEVELS: {error}") from error

    def _leaks(self, component: Any) -> bool:
        hides_later = any(getattr(part, "before", None) for part in parts_of(get_rule(self.rule)))
        return hides_later and not getattr(component, "causal", False)
