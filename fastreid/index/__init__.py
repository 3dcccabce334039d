"""An index of figures: vectors and what is known about them, added to by one writer, searched by many readers.

Every backend keeps the same rows and answers alike; `open_index` finds the backend by the address.
"""

from fastreid.index.base import INDEX_REGISTRY, Index, IndexInfo, Neighbours
from fastreid.index.errors import IndexCorrupt, IndexLocked, OtherModel, VersionGone
from fastreid.index.figures import Figures
from fastreid.index.filters import Filter
from fastreid.index.open import create_index, open_index

__all__ = [
    "INDEX_REGISTRY",
    "Figures",
    "Filter",
    "Index",
    "IndexCorrupt",
    "IndexInfo",
    "IndexLocked",
    "Neighbours",
    "OtherModel",
    "VersionGone",
    "create_index",
    "open_index",
]
