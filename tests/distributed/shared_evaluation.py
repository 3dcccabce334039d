"""One evaluation by two processes; what the main one has of it."""

import pickle
from pathlib import Path

from fastreid.data.feature_file import FeatureFile
from fastreid.engine.evaluate import main
from fastreid.evaluation.protocol import Protocol
from fastreid.retrieval.postprocess import AQE, KReciprocal
from fastreid.utils import comm

METRICS = ("AP_optimistic", "AP_pessimistic", "nDCG@5", "AP@max_bin_count", "recall@3")
PROTOCOLS = {
    "cosine": Protocol(metrics=METRICS, group_by=("year",), levels=("subclass", "pids")),
    "euclidean": Protocol(metric="euclidean", rule="granted_before", roc=True, topk=60),
    "post-processed": Protocol(postprocessors=(("AQE", AQE()), ("RERANK", KReciprocal()))),
}


def evaluate(path: str, folder: str) -> None:
    """Judge the mapped file under each protocol, all processes together."""
    features = FeatureFile.load(path, mapped=True)
    found = {name: protocol.evaluate(features, shared=True) for name, protocol in PROTOCOLS.items()}
    assert all((evaluation is not None) == comm.is_main_process() for evaluation in found.values())
    if comm.is_main_process():
        Path(folder, "found").write_bytes(pickle.dumps(found))


def by_the_tool(words: list[str]) -> None:
    assert main(words) == 0
