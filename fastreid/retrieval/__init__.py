"""Retrieval core: arrays in, arrays out. No config, no files, no model.

`Search` is one retrieval problem; `evaluate` measures it, `topk` answers it, a post-processor improves it.
"""

from fastreid.retrieval.backends import HAS_CYTHON
from fastreid.retrieval.candidates import RULE_REGISTRY, get_rule
from fastreid.retrieval.distance import block_distances, normalize, query_blocks
from fastreid.retrieval.expansion import alpha_qe, dba, joint_aqe
from fastreid.retrieval.postprocess import POSTPROCESSOR_REGISTRY
from fastreid.retrieval.rank import evaluate, evaluate_distances, evaluate_search, evaluate_topk
from fastreid.retrieval.results import RetrievalMetrics
from fastreid.retrieval.search import Search
from fastreid.retrieval.topk import topk, topk_search

__all__ = [
    "HAS_CYTHON",
    "POSTPROCESSOR_REGISTRY",
    "RULE_REGISTRY",
    "RetrievalMetrics",
    "Search",
    "alpha_qe",
    "block_distances",
    "dba",
    "evaluate",
    "evaluate_distances",
    "evaluate_search",
    "evaluate_topk",
    "get_rule",
    "joint_aqe",
    "normalize",
    "query_blocks",
    "topk",
    "topk_search",
]
