"""What this package does in each case."""

import sys
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import data
from benchmarks.compare import DROPPED
from benchmarks.measure import TOOLS


def evaluate(table, rule: str = "all") -> dict:
    from fastreid.retrieval import evaluate

    metrics = evaluate(table.queries, table.gallery, table.q_columns, table.g_columns, rule=rule)
    return {"ap": per_query(metrics, "AP"), "ap_max_bin": partial(per_query, metrics, "AP@max_bin_count")}


def per_query(metrics, name: str) -> np.ndarray:
    """A metric of every query (Q,), -1 where it was dropped."""
    values = np.full(metrics.num_queries, DROPPED)
    values[metrics.rows] = metrics.values(name)
    return values


def topk(table, k: int = 100) -> dict:
    from fastreid.retrieval import topk

    indices, _ = topk(table.queries, table.gallery, k)
    return {"indices": indices}


def joint_aqe(table, k: int = 10, alpha: float = 3.0) -> dict:
    from fastreid.retrieval import joint_aqe

    queries, gallery = joint_aqe(table.queries, table.gallery, k, alpha)
    return {"features": lambda: np.concatenate([data.as_numpy(part) for part in (queries, gallery)])}


def dba(table, k: int = 10, alpha: float = 3.0) -> dict:
    from fastreid.retrieval import dba

    return {"features": dba(table.gallery, k, alpha)}


def reranked(table, rule: str):
    from fastreid.retrieval import Search
    from fastreid.retrieval.postprocess import KReciprocal

    search = Search(table.queries, table.gallery, table.q_columns, table.g_columns, rule=rule)
    return KReciprocal(k1=20, k2=6, lambda_=0.3).apply(search)


def k_reciprocal(table) -> dict:
    """All re-ranked distances (Q, G)."""
    search = reranked(table, "all")
    distances = np.empty((len(table.queries), len(table.gallery)), dtype=np.float32)
    for rows, block in search.blocks():
        distances[rows] = data.as_numpy(block)
    return {"distances": distances}


def k_reciprocal_ap(table, rule: str = "all") -> dict:
    """Re-ranking streamed into the metrics."""
    from fastreid.retrieval import evaluate_search

    return {"ap": per_query(evaluate_search(reranked(table, rule)), "AP")}


def submission(folder: Path, output: Path, device: str) -> list[str]:
    """Command that turns a feature file into result.npy with the settings of the DIRA entry, joint AQE among them."""
    config = TOOLS.parent / "configs" / "patent" / "sbs_R101-ibn_patent_test.yml"
    files = ["--features", str(feature_file(folder)), "--config-file", str(config), "--output", str(output)]
    return [sys.executable, str(TOOLS / "test.py"), *files, "OUTPUT_DIR", str(output.with_suffix(""))]


def feature_file(folder: Path) -> Path:
    """The table in ``folder`` as a feature file without labels, as an extraction would leave it."""
    from fastreid.data.feature_file import FeatureFile

    path = folder / "submission.npz"
    if not path.exists():
        table = data.load(folder)
        features = np.concatenate([table.queries, table.gallery])
        count = len(features)
        sides = np.repeat([0, 1], [len(table.queries), len(table.gallery)])  # as cameras: no rule takes items away
        columns = {"pids": np.zeros(count, dtype=np.int64), "camids": sides}
        names = [f"{row}.png" for row in range(count)]
        FeatureFile(features, len(table.queries), columns, names, relevance_known=False).save(path)
    return path
