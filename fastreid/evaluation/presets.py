"""Protocols by name: the settings under which a paper judges retrieval, and its table where that has its own layout."""

from collections.abc import Mapping
from typing import Any

from fastreid.data.feature_file import FeatureFile
from fastreid.evaluation.lo_table import METRICS, LoTable, lo_table
from fastreid.evaluation.protocol import Protocol
from fastreid.evaluation.stages import Evaluation
from fastreid.utils.registry import Registry

PROTOCOL_REGISTRY = Registry("PROTOCOL", "--protocol, TEST.PROTOCOL")


@PROTOCOL_REGISTRY.register(name="same-patent")
class SamePatent:
    """Other figures of the query's patent in the whole database (DeepPatent: Kucer et al., WACV 2022).

    Its code reports mAP over the whole ranking and the hit rates at these ranks.
    """

    settings = {
        "TEST.RULE": "all",
        "TEST.RELEVANCE": "pids",
        "TEST.METRICS": tuple(f"hit@{k}" for k in (1, 5, 10, 20, 50, 100)),
    }


@PROTOCOL_REGISTRY.register(name="kavimandan2025")
class Kavimandan2025:
    """Patent, subclass and class as levels of relevance (after Kavimandan et al., arXiv 2506.13496).

    A reconstruction of ours: the paper's metrics and its split are not known. Graded nDCG with gains 3, 2 and 1, and
    the mean average precision at each level.
    """

    settings = {
        "TEST.RULE": "all",
        "TEST.RELEVANCE": "pids",
        "TEST.LEVELS": ("subclass", "class"),
        "TEST.METRICS": ("nDCG@10", "nDCG@100"),
        "TEST.GAINS": [["pids", 3.0], ["subclass", 2.0], ["class", 1.0]],
    }


@PROTOCOL_REGISTRY.register(name="lo2024")
class Lo2024:
    """Prior art of the query's class (Lo et al., arXiv 2404.19360, section 3.4 and table 1).

    Its 407 Locarno classes are what the classification calls subclasses. Head and tail are counted in the training set;
    the same day is not earlier.
    """

    settings = {
        "TEST.METRIC": "cosine",
        "TEST.RULE": "granted_before",
        "TEST.RELEVANCE": "subclass",
        "TEST.FREQUENCY": "train",
        "TEST.METRICS": METRICS,
        "TEST.GROUP_BY": ("frequency",),
    }
    metrics = METRICS

    def table(self, protocol: Protocol, features: FeatureFile, evaluation: Evaluation) -> LoTable:
        """Return the table; it has ``text()`` and ``as_json()``."""
        return lo_table(protocol, features, evaluation)


def settings_of(name: str) -> list[Any]:
    """Return ``[KEY, VALUE, ...]`` of a protocol, ``TEST.PROTOCOL`` among them.

    Raises:
        KeyError: no such protocol.
    """
    settings = {"TEST.PROTOCOL": name, **PROTOCOL_REGISTRY.get(name).settings}
    return [item for pair in settings.items() for item in pair]


def differences(cfg) -> dict[str, Any]:
    """Return the settings of ``cfg`` that are not those of the protocol it names, as plain values."""
    wanted: Mapping[str, Any] = PROTOCOL_REGISTRY.get(cfg.TEST.PROTOCOL).settings if cfg.TEST.PROTOCOL else {}
    return {key: cfg.get_node(key) for key, value in wanted.items() if _plain(cfg.get_node(key)) != _plain(value)}


def table_of(cfg, protocol: Protocol, features: FeatureFile, evaluation: Evaluation) -> Any:
    """Return the table of the protocol that ``cfg`` names; ``None`` where it has none, or nothing was measured."""
    if not cfg.TEST.PROTOCOL or not evaluation.labelled:
        return None
    chosen = PROTOCOL_REGISTRY.get(cfg.TEST.PROTOCOL)()
    return chosen.table(protocol, features, evaluation) if hasattr(chosen, "table") else None


def metrics_of_table(cfg) -> tuple[str, ...]:
    """Return the metrics that the table of the protocol reads, whatever ``TEST.METRICS`` is: its ``metrics``."""
    chosen = PROTOCOL_REGISTRY.get(cfg.TEST.PROTOCOL) if cfg.TEST.PROTOCOL else None
    return tuple(getattr(chosen, "metrics", ()))


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
