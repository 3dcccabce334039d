"""The compiled loops against plain Python, at all the edges of their chunks of 64 items."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

import fastreid.retrieval
from tests.retrieval import reference

_kernels = pytest.importorskip("fastreid.retrieval._kernels", reason="compiled part is not built")

WIDTHS = [0, 1, 2, 7, 63, 64, 65, 127, 128, 129, 300]


def lists(rng, rows, width, share):
    """CSR lists of columns that are left out, and the same as a mask."""
    out = rng.random((rows, width)) < share
    return (np.concatenate([[0], np.cumsum(out.sum(axis=1))]), np.nonzero(out)[1]), out


class Case:
    """A tile whose values are off by up to ``error`` (exact numbers: an eighth), and who takes part in it."""

    def __init__(self, rng, width, error, low, rows=4, levels=6):
        self.exact = rng.integers(-levels, levels, (rows, width)).astype(np.float64)
        values = self.exact + error * rng.choice([-1, 0, 1], (rows, width))
        self.bias = rng.choice([0, 1, -2], width).astype(np.float32)
        self.values, self.start, self.error = values, int(rng.integers(0, 3)) * 1000, error
        scores = (values - self.bias).astype(np.float32)  # few bits: exact in bfloat16 too
        if low:
            scores = torch.from_numpy(scores).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
        self.limits = None if rng.random() < 0.5 else self.start + rng.integers(-3, width + 3, rows)
        self.mask = None if rng.random() < 0.5 else rng.random((rows, width)) < 0.7
        (starts, columns), out = lists(rng, rows, width, rng.choice([0, 0.1, 1]))
        early = [0, 3] if self.start else []  # excluded items of an earlier tile come first in each list
        columns = np.concatenate([np.r_[early, part + self.start] for part in np.split(columns, starts[1:-1])])
        starts = starts + len(early) * np.arange(rows + 1)
        self.part = ~out
        if self.limits is not None:
            self.part &= np.arange(width) + self.start < self.limits[:, None]
        if self.mask is not None:
            self.part &= self.mask
        self.query_rows, self.gallery_rows = rng.permutation(rows), 2 * np.arange(width)[::-1].copy()
        table = np.full((rows, 2 * width + 1), np.nan)
        table[self.query_rows[:, None], self.gallery_rows[None]] = -self.exact
        self.pairs = _kernels.Pairs(table)
        mask = None if self.mask is None else self.mask.view(np.uint8)
        excluded = starts.astype(np.int64), columns.astype(np.int64)
        rows_ = self.query_rows, self.gallery_rows
        self.tile = _kernels.Tile(scores, self.bias, *rows_, self.start, self.limits, mask, excluded)


def thresholds(rng, case, most):
    """Per row some thresholds (score descending, gallery row ascending), as lists of (score, row)."""
    levels = np.arange(-7, 8)
    counts = rng.integers(0, most + 1, len(case.exact))
    return [sorted((-float(rng.choice(levels)), 2 * int(rng.integers(0, 300)) + 1) for _ in range(n)) for n in counts]


def count_plainly(case, wanted):
    before, ties, undecided = [], ([], []), 0
    for i, row in enumerate(wanted):
        items = [(-case.exact[i, j], case.gallery_rows[j]) for j in np.flatnonzero(case.part[i])]
        ahead = [sum(item < threshold for item in items) for threshold in row]
        before += np.diff(ahead, prepend=0).tolist()
        for side, compare in zip(ties, (np.less, np.greater_equal), strict=True):
            side += [sum(score == s and compare(r, at) for s, r in items) for score, at in row]
        close = np.abs(case.values[i][case.part[i]][:, None] + np.array([s for s, _ in row])[None]) <= case.error
        undecided += int(close.any(axis=1).sum())
    return before, ties, undecided


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_counts_between_thresholds(width, low):
    rng = np.random.default_rng(width)
    for most in (1, 3, 200):
        for error in (0.0, 0.125, 1.5):
            case = Case(rng, width, error, low)
            wanted = thresholds(rng, case, most)
            starts = np.concatenate([[0], np.cumsum([len(row) for row in wanted])]).astype(np.int64)
            score = np.array([-s for row in wanted for s, _ in row])
            rows = np.array([r for row in wanted for _, r in row], dtype=np.int64)
            band = [(score + side * error).astype(np.float32) for side in (-1, 1)]
            before, tied = (
                np.zeros(len(score), np.int64),
                (np.zeros(len(score), np.int64), np.zeros(len(score), np.int64)),
            )
            arguments = case.tile, case.pairs, starts, *band, score, rows
            scored = [_kernels.count_ahead(*arguments, before, tied, *part) for part in ((0, 1), (1, len(wanted)))]
            want, ties, undecided = count_plainly(case, wanted)
            assert before.tolist() == want
            assert [side.tolist() for side in tied] == list(ties)
            assert sum(scored) == undecided
            again = np.zeros_like(before)
            _kernels.count_ahead(*arguments, again, None, 0, len(wanted))
            assert again.tolist() == want


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_selection_keeps_the_best(width, low):
    rng = np.random.default_rng(width)
    for k in (1, 2, 64, 400):
        for error in (0.0, 0.125, 30.0):
            case = Case(rng, width, error, low)
            items, scores = select(case, k)
            want = [sorted((-case.exact[i, j], case.gallery_rows[j]) for j in np.flatnonzero(row))[:k]
                    for i, row in enumerate(case.part)]  # fmt: skip
            assert [[int(item) for item in row if item >= 0] for row in items] == [
                [item for _, item in row] for row in want
            ]
            assert [row[np.isfinite(row)].tolist() for row in scores] == [[-s for s, _ in row] for row in want]


def select(first, k):
    row_of = np.zeros(first.start + first.exact.shape[1], dtype=np.int64)
    row_of[first.start :] = first.gallery_rows
    selection = _kernels.Selection(first.pairs, first.query_rows, row_of, k)
    rows = len(first.exact)
    error, bias = np.full(rows, first.error), float(np.abs(first.bias).max(initial=0))
    for part in ((0, 2), (2, rows)):
        selection.see(first.tile, 0, error, 0.0, bias, *part)
    items, scores = np.full((rows, k), -1, dtype=np.int64), np.full((rows, k), -np.inf)
    selection.finish(0.0, bias, items, scores, 0, rows)
    return items, scores


@pytest.mark.parametrize("levels", [1, 3, 10**6])
@pytest.mark.parametrize("k", [1, 30, 90])
def test_selection_over_many_tiles_with_room_for_few(k, levels):
    """From all tied to none; every tile has more than a row keeps."""
    rng = np.random.default_rng(levels)
    width, tiles, rows = 700, 12, 3
    exact = rng.integers(0, levels, (rows, width * tiles)).astype(np.float64)
    values = (exact + rng.choice([-0.5, 0.5], exact.shape)).astype(np.float32)
    selection = _kernels.Selection(_kernels.Pairs(-exact), np.arange(rows), None, k)
    none, zeros = (np.zeros(rows + 1, dtype=np.int64), np.zeros(0, dtype=np.int64)), np.zeros(width, dtype=np.float32)
    for start in range(0, width * tiles, width):
        part = np.arange(start, start + width)
        tile = _kernels.Tile(values[:, start : start + width], zeros, np.arange(rows), part, start, None, None, none)
        selection.see(tile, 0, np.full(rows, 0.5), 0.0, 0.0, 0, rows)
    items, scores = np.full((rows, k), -1, dtype=np.int64), np.full((rows, k), -np.inf)
    scored = selection.finish(0.0, 0.0, items, scores, 0, rows)
    want, best = reference.best_by_sorting(exact, np.ones(exact.shape, dtype=bool), k)
    np.testing.assert_array_equal(items, want)
    np.testing.assert_array_equal(scores, best)
    assert scored <= rows * selection.most


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dim", [1, 15, 16, 17, 100])
def test_exact_scores_have_the_bits_of_the_definition(dim, dtype):
    rng = np.random.default_rng(dim)
    q, g = rng.normal(size=(6, dim)).astype(dtype), rng.normal(size=(9, dim)).astype(dtype)
    g[2] = 0
    norms = [np.empty(len(x)) for x in (q, g)]
    for x, out in zip((q, g), norms, strict=True):
        _kernels.row_norms(x, out, 0, len(x))
    rows, items = (index.ravel() for index in np.indices((6, 9)))
    for metric in ("cosine", "euclidean"):
        scores = np.empty(54)
        _kernels.Pairs(q, g, metric, *norms).scores(rows, items, scores, 0, 54)
        np.testing.assert_array_equal(scores.reshape(6, 9), reference.exact_scores(q, g, metric))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dim", [1, 15, 16, 17, 100])
def test_rounded_rows_are_those_of_pytorch(dim, dtype):
    rng = np.random.default_rng(dim)
    x, mean = rng.normal(size=(9, dim)).astype(dtype), rng.normal(size=dim).astype(np.float32)
    out, length, lost = (
        np.zeros((4, dim), dtype=np.uint16),
        np.zeros(4, dtype=np.float32),
        np.zeros(4, dtype=np.float32),
    )
    rows, norms = np.array([7, 0, 3, 3]), np.array([1.0, 2.0, 4.0, 1.0])
    _kernels.round_rows(x, rows, norms, mean, out, length, lost, 0, 4)
    values = (x[rows] / norms[:, None].astype(dtype)).astype(np.float32) - mean
    rounded = torch.from_numpy(values).to(torch.bfloat16)
    np.testing.assert_array_equal(out.view(np.int16), rounded.view(torch.int16).numpy())
    np.testing.assert_allclose(length, (values**2).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(lost, ((values - rounded.float().numpy()) ** 2).sum(axis=1), rtol=1e-4, atol=1e-30)


def test_tiles_that_do_not_fit_together_are_refused():
    scores, bias, rows, columns = (
        np.zeros((2, 3), dtype=np.float32),
        np.zeros(3, dtype=np.float32),
        np.arange(2),
        np.arange(3),
    )
    excluded = np.zeros(3, dtype=np.int64), np.zeros(0, dtype=np.int64)
    with pytest.raises(TypeError, match="float32 or uint16"):
        _kernels.Tile(scores.astype(np.float64), bias, rows, columns, 0, None, None, excluded)
    with pytest.raises(
        ValueError, match=r"parts of a tile of 2 x 3 have lengths \(3, 2, 2, 3\); expected \(3, 2, 3, 3\)"
    ):
        _kernels.Tile(scores, bias, rows, columns[:2], 0, None, None, excluded)
    with pytest.raises(ValueError, match="limits or mask do not fit"):
        _kernels.Tile(scores, bias, rows, columns, 0, None, np.ones((2, 2), dtype=np.uint8), excluded)
    with pytest.raises(ValueError, match="rows of a tile must be contiguous"):
        _kernels.Tile(np.zeros((3, 2), dtype=np.float32).T, bias, rows, columns, 0, None, None, excluded)
    with pytest.raises(TypeError, match="all be float32 or all be float64"):
        _kernels.Pairs(np.zeros((2, 3)), np.zeros((2, 3), dtype=np.float32), "cosine")


HARNESS = """
#include "_kernels.h"
int has_sse2(void)
{
#ifdef __SSE2__
    return 1;
#else
    return 0;
#endif
}
int64_t of_float(const float *r, const float *b, int64_t n, float low, float *v, int32_t *p)
{ return keep_float(r, b, n, low, v, p); }
int64_t of_bfloat16(const uint16_t *r, const float *b, int64_t n, float low, float *v, int32_t *p)
{ return keep_bfloat16(r, b, n, low, v, p); }
float kth(float *x, int64_t n, int64_t k) { return kth_largest(x, n, k); }
"""


@pytest.fixture(scope="module", params=["as here", "-U__SSE2__"])
def library(request, tmp_path_factory):
    """The header alone, with and without the instructions of x86."""
    compiler, folder = shutil.which("cc") or shutil.which("gcc"), tmp_path_factory.mktemp("kernels")
    if compiler is None:
        pytest.skip("there is no C compiler")
    (folder / "harness.c").write_text(HARNESS)
    options = [request.param] if request.param.startswith("-") else []
    include = Path(fastreid.retrieval.__file__).parent
    command = [compiler, "-O2", "-ffp-contract=off", "-shared", "-fPIC", *options, f"-I{include}"]
    subprocess.run(
        [*command, "-o", folder / "harness.so", folder / "harness.c", "-lm"], check=True, capture_output=True
    )
    loaded = ctypes.CDLL(str(folder / "harness.so"))
    if options:
        assert not loaded.has_sse2()
    for name in ("of_float", "of_bfloat16"):
        function = getattr(loaded, name)
        function.restype = ctypes.c_int64
        pointers = [ctypes.c_void_p] * 2
        function.argtypes = [*pointers, ctypes.c_int64, ctypes.c_float, *pointers]
    loaded.kth.restype, loaded.kth.argtypes = ctypes.c_float, [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
    return loaded


@pytest.mark.parametrize("width", WIDTHS)
def test_items_not_below_a_value_are_kept(library, width):
    rng = np.random.default_rng(width)
    for low in (-np.inf, -1.0, 0.5, 3.0):
        rounded = torch.from_numpy(rng.normal(size=width)).to(torch.bfloat16)
        row, bias = rounded.float().numpy(), rng.normal(size=width).astype(np.float32)
        row[rng.random(width) < 0.05] = np.nan
        bits = rounded.view(torch.int16).numpy()
        for name, stored, numbers in (("of_float", row, row), ("of_bfloat16", bits, rounded.float().numpy())):
            value, position = np.empty(width, dtype=np.float32), np.empty(width, dtype=np.int32)
            pointers = (
                [array.ctypes.data for array in (stored, bias)],
                [array.ctypes.data for array in (value, position)],
            )
            kept = getattr(library, name)(*pointers[0], width, low, *pointers[1])
            sums = numbers + bias
            want = np.flatnonzero(~(sums < low))
            np.testing.assert_array_equal(position[:kept], want)
            np.testing.assert_array_equal(value[:kept], sums[want])


def test_kth_largest(library):
    rng = np.random.default_rng(0)
    for _ in range(300):
        x = rng.integers(0, rng.choice([1, 3, 1000]), int(rng.integers(1, 60))).astype(np.float32)
        k, want = int(rng.integers(1, len(x) + 1)), np.sort(x)[::-1].copy()
        assert library.kth(x.ctypes.data, len(x), k) == want[k - 1]
