"""An evaluation whose queries the processes share, each with the whole gallery, mapped from one feature file."""

import numpy as np

from fastreid.retrieval.measured import Measured, Work, join, part_of
from fastreid.retrieval.search import Search
from fastreid.utils import comm


def among_processes(work: Work, search: Search) -> Measured | None:
    """Let each process do the work for its part of the queries; return all of it in the main one.

    What travels are some numbers for each query and its nearest items: no features, and no ranks where ``work`` keeps
    metrics instead.
    """
    borders = np.linspace(0, len(search.queries), comm.get_world_size() + 1).astype(int)
    mine = slice(*borders[comm.get_rank() : comm.get_rank() + 2])
    parts = comm.gather(work(part_of(search, mine)) if mine.stop > mine.start else None)
    return join([part for part in parts if part is not None]) if comm.is_main_process() else None
