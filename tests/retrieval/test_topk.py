import subprocess
import sys

import numpy as np
import pytest
import torch

from fastreid.retrieval import Search, backends, evaluate_topk, topk
from fastreid.retrieval.topk import topk_search
from tests.retrieval import reference


def expected(q, g, k, metric, mask):
    items, scores = reference.best_by_sorting(reference.exact_scores(q, g, metric), mask, k)
    return items, (-scores if metric == "euclidean" else 1 - scores).astype(np.float32)


@pytest.mark.parametrize("k", [1, 5, 30, 100])
@pytest.mark.parametrize("block_mib", [1e-6, 256])
@pytest.mark.parametrize("seed", range(3))
def test_ties_go_to_the_lower_row(seed, block_mib, k):
    rng = np.random.default_rng(seed)
    q, g = reference.whole_numbers(rng, 9), reference.whole_numbers(rng, 30)
    indices, distances = topk(q, g, k, "euclidean", block_mib=block_mib)
    want, far = expected(q, g, k, "euclidean", np.ones((9, 30), dtype=bool))
    np.testing.assert_array_equal(indices, want)
    np.testing.assert_array_equal(distances, far)
    assert (indices.dtype, distances.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("compiled", [True, False])
def test_results_have_the_same_bits_whatever_the_blocks_the_threads_and_the_precision(compiled, monkeypatch):
    rng = np.random.default_rng(7)
    q, g = rng.normal(size=(150, 24)).astype("f"), rng.normal(size=(700, 24)).astype("f")
    g[350:] = g[:350]
    monkeypatch.setattr(backends, "HAS_CYTHON", compiled and backends.HAS_CYTHON)
    found, threads = [], torch.get_num_threads()
    try:
        for precision, block_mib, count in (("fp32", 32, 1), ("bf16", 32, 2), ("bf16", 0.05, 1), ("auto", 0.01, 2)):
            monkeypatch.setenv("FASTREID_SCAN", precision)
            torch.set_num_threads(count)
            found.append(topk(q, g, 20, block_mib=block_mib))
    finally:
        torch.set_num_threads(threads)
    for indices, distances in found[1:]:
        np.testing.assert_array_equal(indices, found[0][0])
        assert distances.tobytes() == found[0][1].tobytes()


@pytest.mark.parametrize("seed", range(3))
def test_rule_equals_a_search_among_the_permitted_items(seed):
    rng = np.random.default_rng(seed)
    q, g = reference.whole_numbers(rng, 9), reference.whole_numbers(rng, 30)
    columns = reference.ids(rng, 9), reference.ids(rng, 30)
    indices, distances = topk(q, g, 30, "euclidean", "camera", *columns)
    want, far = expected(q, g, 30, "euclidean", reference.camera_mask(*columns))
    np.testing.assert_array_equal(indices, want)
    np.testing.assert_array_equal(distances, far)
    assert (indices == -1).any()


@pytest.mark.parametrize("k", [1, 10, 130])
@pytest.mark.parametrize("rule", ["all", "camera+same_class"])
def test_lists_beside_the_metrics_are_those_of_a_search(rule, k):
    rng = np.random.default_rng(k)
    q, g = rng.normal(size=(20, 6)), rng.normal(size=(120, 6))
    search = Search(q, g, *(reference.columns_of(rng, n) for n in (20, 120)), "cosine", rule)
    metrics, indices, distances = evaluate_topk(search, k, gains={"pids": 1.0})
    want, far = topk_search(search, k)
    np.testing.assert_array_equal(indices, want)
    np.testing.assert_array_equal(distances, far)
    hits = (search.g_columns["pids"][want] == search.q_columns["pids"][:, None]) & (want >= 0)
    np.testing.assert_allclose(metrics.values("hit@1"), hits[metrics.rows, 0])


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_long_gallery_of_few_distinct_items(precision, compiled, monkeypatch):
    """More ties at the k-th place than any list of candidates has room for."""
    monkeypatch.setenv("FASTREID_SCAN", precision)
    monkeypatch.setattr(backends, "HAS_CYTHON", compiled and backends.HAS_CYTHON)
    rng = np.random.default_rng(8)
    few = rng.normal(size=(3, 16)).astype("f")
    g, q = few[rng.integers(0, 3, 9000)], rng.normal(size=(5, 16)).astype("f")
    for k in (1, 7, 400):
        indices, distances = topk(q, g, k, block_mib=0.3)
        want, far = expected(q, g, k, "cosine", np.ones((5, 9000), dtype=bool))
        np.testing.assert_array_equal(indices, want)
        np.testing.assert_allclose(distances, far, rtol=1e-6)


COLLAPSED = """
import sys
import numpy as np
from fastreid.retrieval import backends, topk
if "torch" in sys.argv:
    backends.HAS_CYTHON = False
def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) / 1024
q, g = np.ones((200 if "torch" in sys.argv else 2000, 4), dtype="f"), np.ones((30000, 4), dtype="f")
topk(q[:50], g[:300], 10)
open("/proc/self/clear_refs", "w").write("5")  # the peak so far is forgotten
before = status("VmRSS")
items, distances = topk(q, g, 10)
assert (items == np.arange(10)).all() and (distances == 0).all()
print(status("VmHWM") - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("backend", "most"), [("compiled", 64), ("torch", 300)])
def test_memory_stays_small_when_all_features_are_equal(backend, most):
    """A network that has collapsed; lists of everything that ties would be 460 MiB, or ten times that in tensors."""
    process = subprocess.run([sys.executable, "-c", COLLAPSED, backend], capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert float(process.stdout) <= most


def test_nothing_permitted_and_nothing_there():
    q = np.ones((2, 3))
    columns = {"pids": np.zeros(2)}, {"pids": np.zeros(4)}
    indices, distances = topk(q, np.ones((4, 3)), 3, "cosine", "other_patent", *columns)
    assert (indices == -1).all()
    assert np.isposinf(distances).all()
    assert topk(q, np.ones((0, 3)), 3)[0].shape == (2, 0)
    assert topk(np.ones((0, 3)), q, 3)[0].shape == (0, 2)


def test_bad_input_is_named():
    q, g = np.ones((2, 3)), np.ones((4, 3))
    with pytest.raises(ValueError, match="k of a top-k search must be at least 1; got 0"):
        topk(q, g, 0)
    with pytest.raises(ValueError, match="queries have 3 feature columns but the gallery has 2"):
        topk(q, g[:, :2], 1)
    with pytest.raises(ValueError, match=r"gallery must have shape \(N, D\); got \(4, 3, 1\)"):
        topk(q, g[:, :, None], 1)
    with pytest.raises(ValueError, match="block_mib.*must be positive; got -1"):
        topk(q, g, 1, block_mib=-1)
    with pytest.raises(ValueError, match="k of a top-k search must be at least 1; got -2"):
        evaluate_topk(Search(q, g), -2)
