"""The tiles of a scan against their proven bound."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from fastreid.retrieval import backends, evaluate, scan, topk
from fastreid.retrieval import sides as features_of_sides
from fastreid.retrieval.candidates import Candidates
from fastreid.retrieval.scan import Scan, band
from tests.retrieval import reference

PRECISIONS = ["fp32", "bf16"]


def scan_of(q, g, metric, block_mib=0.02):
    return Scan(q, g, metric, Candidates("all", {}, {}, len(q), len(g)), block_mib)


def tiles_of(q, g, metric, block_mib=0.02):
    """All tiles with the true scores of their pairs on the scale of the tile, extended precision (r, c)."""
    one = scan_of(q, g, metric, block_mib)
    exact = [x.astype(np.longdouble) for x in (q, g)]
    if metric == "cosine":
        lengths = [np.sqrt((x * x).sum(axis=1, keepdims=True)) for x in exact]
        exact = [x / np.where(length > 0, length, 1) for x, length in zip(exact, lengths, strict=True)]
    mean = np.zeros(q.shape[1]) if one.mean is None else one.mean.double().numpy()
    for rows in one.query_blocks():
        for tile in one.tiles(rows):
            queries, gallery = exact[0][tile.query_rows], exact[1][tile.gallery_rows]
            true = queries @ gallery.T
            offset = queries @ mean
            if metric == "euclidean":
                true = -((queries[:, None] - gallery[None]) ** 2).sum(axis=-1) / 2
                offset = -((queries - mean) ** 2).sum(axis=1) / 2
            yield one, tile, true - offset[:, None]


def excess(tile, true):
    """Largest error of the tile's values, as a multiple of what is promised."""
    raw = tile.scores.double().numpy()
    # the product is rounded to bfloat16 last; before that it may be off by half a step
    step = tile.rounding * (np.abs(true) + tile.largest_bias + tile.error[:, None])
    values = (tile.scores.float() + tile.bias).numpy()
    assert np.isfinite(raw).all()
    return float((np.abs(values - true) / (tile.error[:, None] + step)).max())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("kind", reference.FEATURES)
def test_no_value_is_further_off_than_the_bound(kind, metric, precision, monkeypatch):
    monkeypatch.setenv("FASTREID_SCAN", precision)
    rng = np.random.default_rng(0)
    for dim in (1, 2, 16, 70, 300):
        for dtype in (np.float32, np.float64):
            features = reference.features_of(rng, kind, 45, dim).astype(dtype)
            for _, tile, true in tiles_of(features[:15], features[15:], metric):
                assert excess(tile, true) <= 1


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_bound_is_not_idle(precision, monkeypatch):
    """Errors come near enough to it that one which forgets the rounding of the features would be caught above."""
    monkeypatch.setenv("FASTREID_SCAN", precision)
    x = np.ones((4, 1), dtype=np.float64) * np.array([[1 / 3], [1.0039], [2 / 3], [0.7]])
    worst = max(excess(tile, true) for _, tile, true in tiles_of(x, x, "euclidean"))
    assert worst > (0.1 if precision == "bf16" else 0.01)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_lies_outside_a_band_is_on_that_side_of_the_threshold(precision, monkeypatch):
    monkeypatch.setenv("FASTREID_SCAN", precision)
    rng = np.random.default_rng(1)
    for kind in ("normal", "whole", "common", "mixed"):
        features = reference.features_of(rng, kind, 60, 9).astype(np.float32)
        for _, tile, true in tiles_of(features[:20], features[20:], "euclidean"):
            thresholds = np.asarray(true[:, 0], dtype=np.float64)
            lower, upper = band(tile, np.ones(len(true), dtype=int), thresholds, np.zeros(len(true)))
            values = (tile.scores.float() + tile.bias).numpy()
            assert not ((values > upper[:, None]) & ~(true > thresholds[:, None])).any()
            assert not ((values < lower[:, None]) & ~(true < thresholds[:, None])).any()


def clusters(rng, num_queries, num_gallery, dim=32, spread=0.02):
    centres, labels = rng.normal(size=(20, dim)), rng.integers(0, 20, num_queries + num_gallery)
    features = (centres[labels] + spread * rng.normal(size=(len(labels), dim))).astype(np.float32)
    columns = {"pids": labels[:num_queries]}, {"pids": labels[num_queries:]}
    return features[:num_queries], features[num_queries:], *columns


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(("spread", "stays_low"), [(1.0, True), (1e-4, False)])
def test_a_scan_with_many_undecided_pairs_goes_on_in_float32(spread, stays_low, compiled, monkeypatch):
    if compiled and not backends.HAS_CYTHON:
        pytest.skip("compiled part is not built")
    monkeypatch.setattr(backends, "HAS_CYTHON", compiled)
    monkeypatch.setattr(scan, "LOW_PRECISION_PAIRS", 1)
    monkeypatch.setattr(scan, "has_fast_bfloat16", lambda: True)
    ended, begin = [], Scan.visit

    def visit(self, rows, see):
        assert self.low or ended
        begin(self, rows, see)
        ended.append(self.low)

    monkeypatch.setattr(Scan, "visit", visit)
    q, g, qc, gc = clusters(np.random.default_rng(2), 150, 400, spread=spread)
    qc = {"pids": np.arange(150)}  # a match each, among items of the same cluster
    gc = {"pids": np.r_[np.arange(150), np.full(250, -7)]}
    found = evaluate(q, g, qc, gc, "cosine", "all", block_mib=0.2)
    assert ended[-1] is stays_low
    scores, every = reference.exact_scores(q, g, "cosine"), np.ones((150, 400), dtype=bool)
    want = reference.ranks_by_sorting(scores, qc["pids"][:, None] == gc["pids"][None], every)[1]
    np.testing.assert_array_equal(found.ranks, want)


def test_the_environment_names_the_precision(monkeypatch):
    monkeypatch.setenv("FASTREID_SCAN", "int8")
    with pytest.raises(ValueError, match="FASTREID_SCAN.*int8"):
        topk(np.ones((2, 3)), np.ones((2, 3)), 1)


@pytest.mark.parametrize("asked", ["highest", "high", "medium"])
def test_blunt_float32_products_of_the_process_change_no_result(asked, monkeypatch):
    """Trainers call torch.set_float32_matmul_precision("medium"): float32 products then round to bfloat16."""
    monkeypatch.setenv("FASTREID_SCAN", "fp32")
    q, g, qc, gc = clusters(np.random.default_rng(3), 70, 200, dim=128, spread=1.0)
    want, best = evaluate(q, g, qc, gc, "cosine", "all").ranks, topk(q, g, 10)[0]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(asked)
    try:
        np.testing.assert_array_equal(evaluate(q, g, qc, gc, "cosine", "all").ranks, want)
        np.testing.assert_array_equal(topk(q, g, 10)[0], best)
        assert torch.get_float32_matmul_precision() == asked
        one = scan_of(q, g, "cosine")
        assert all(excess_of(one, tile, q, g) <= 1 for rows in one.query_blocks() for tile in one.tiles(rows))
    finally:
        torch.set_float32_matmul_precision(before)


def excess_of(one, tile, q, g):
    true = reference.exact_scores(q[tile.query_rows], g[tile.gallery_rows], "cosine")
    return excess(tile, true - one.offsets(tile.query_rows)[:, None])


@pytest.mark.parametrize("size", [1e-300, 1e-150, 1e-60, 1e-44, 1e-39, 1e39, 1e60, 1e150])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_cosines_of_features_beyond_float32(size, precision, monkeypatch):
    monkeypatch.setenv("FASTREID_SCAN", precision)
    rng = np.random.default_rng(4)
    q, g = rng.normal(size=(7, 12)), rng.normal(size=(60, 12)) * size
    g[::3] = 0
    if size < 1e-150:  # no square is above 0
        with pytest.raises(ValueError, match="gallery row 1 is not zero, but too small to square"):
            topk(q, g, 9)
        return
    want = reference.best_by_sorting(reference.exact_scores(q, g, "cosine"), np.ones((7, 60), dtype=bool), 9)[0]
    for _ in range(2):
        np.testing.assert_array_equal(topk(q, g, 9)[0], want)
        monkeypatch.setattr(backends, "HAS_CYTHON", False)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("compiled", [True, False])
def test_a_feature_that_is_no_number_is_found(value, metric, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(backends, "HAS_CYTHON", False)
        monkeypatch.setattr(features_of_sides, "HAS_CYTHON", False)
    for wrong, name in ((0, "queries"), (1, "gallery")):
        sides = np.ones((5, 3)), np.ones((9, 3))
        sides[wrong][4, 1] = value
        with pytest.raises(ValueError, match=f"{name} row 4 is not finite: a feature is NaN, infinite or too large"):
            topk(*sides, 2, metric)


def test_a_feature_too_large_for_float32_products_is_found():
    q, g = np.ones((5, 3)), np.ones((9, 3))
    g[7, 0] = 1e19
    with pytest.raises(ValueError, match=r"gallery row 7 has length 1e\+19: too large for float32 products"):
        topk(q, g, 2, "euclidean")
    assert topk(q, g, 2, "cosine")[0].shape == (5, 2)


PEAK = """
import sys
import numpy as np
import torch
from fastreid.retrieval import evaluate, topk
torch.set_num_threads(2)
rng = np.random.default_rng(0)
q, g = (rng.normal(size=(n, 64)).astype("f") for n in (3000, 60000))
classes = np.array(["01-01", "02-01", "03-05"])
qc, gc = ({"pids": rng.integers(0, 6000, n), "taxonomy": classes[rng.integers(0, 3, n)]} for n in (3000, 60000))
def measure(rule, q, g, qc, gc):
    return evaluate(q, g, qc, gc, "cosine", rule).ranks.nbytes
def search(rule, q, g, qc, gc):
    return sum(part.nbytes for part in topk(q, g, 100, "cosine", rule, qc, gc))
def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) * 1024
for work in (measure, search):
    work(sys.argv[1], q[:300], g[:3000], *({k: v[:n] for k, v in c.items()} for c, n in ((qc, 300), (gc, 3000))))
    open("/proc/self/clear_refs", "w").write("5")  # the peak so far is forgotten
    before = status("VmRSS")
    result = work(sys.argv[1], q, g, qc, gc)
    print((status("VmHWM") - before - result) / 2**20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("rule", "precision"), [("all", "bf16"), ("same_class", "fp32")])
def test_memory_does_not_grow_with_the_table(rule, precision, monkeypatch):
    """The whole table of float32 scores would be 687 MiB."""
    monkeypatch.setenv("FASTREID_SCAN", precision)
    process = subprocess.run([sys.executable, "-c", PEAK, rule], capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    peaks = [float(line) for line in process.stdout.split()]
    assert len(peaks) == 2
    assert max(peaks) <= 64, peaks
