"""fast-reid's name for re-ranking from distance matrices."""

from fastreid.retrieval.rerank import re_ranking

__all__ = ["re_ranking"]
