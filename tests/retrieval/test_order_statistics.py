import numpy as np
import pytest

from fastreid.retrieval import order_statistics as module
from fastreid.retrieval.order_statistics import Chunk, Histogram, order_statistics


def passes(exact, wanted, error, seed, counter=None):
    """The table in pieces of three rows, each value off by at most ``error``."""
    noise = np.random.default_rng(seed).uniform(-1, 1, exact.shape) * error

    def one_pass():
        if counter is not None:
            counter.append(1)
        for start in range(0, len(exact), 3):
            rows = slice(start, start + 3)
            values = (exact + noise)[rows].astype(np.float32)
            bound = error + 2.0**-24 * np.abs(exact + noise)[rows].max(axis=1, keepdims=True)
            yield Chunk(values, bound, wanted[rows], lambda r, c, rows=rows: exact[rows][r, c])

    return one_pass


TABLES = {
    "normal": lambda rng: rng.normal(size=(20, 50)),
    "around zero": lambda rng: rng.normal(size=(20, 50)) * 10.0 ** rng.integers(-30, 3, (20, 50)),
    "tied": lambda rng: rng.integers(-2, 3, (20, 50)).astype(float),
    "one value": lambda rng: np.full((20, 50), 0.25),
    "crowded": lambda rng: 1 + 1e-9 * rng.normal(size=(20, 50)),
}


@pytest.mark.parametrize("kept", [4, 1 << 20])
@pytest.mark.parametrize("table", TABLES)
def test_equals_sorting(table, kept, monkeypatch):
    monkeypatch.setattr(module, "KEPT_VALUES", kept)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        exact, wanted = TABLES[table](rng), rng.random((20, 50)) < 0.7
        error = [0.0, 1e-6, 0.3][seed % 3]
        counter = []
        table_passes = passes(exact, wanted, error, seed, counter)
        histogram, ordered = Histogram(table_passes()), np.sort(exact[wanted])
        assert histogram.total == len(ordered)
        ranks = [0, 7, 7, len(ordered) // 2, len(ordered) - 1]
        assert order_statistics(table_passes, histogram, ranks).tolist() == ordered[ranks].tolist()
        assert len(counter) <= (2 if kept > 1000 else 15)


def test_keys_follow_the_order_of_the_values():
    values = np.array([-np.inf, -3e38, -1, -1e-40, -0.0, 0.0, 1e-40, 1e-9, 1, 1.0009765, 3e38, np.inf], np.float32)
    keys = module._key(values)
    assert (np.diff(keys) >= 0).all()
    assert keys[0] >= 0
    assert keys[-1] < 1 << module.KEY_BITS
    for value, key in zip(values[1:-1], keys[1:-1], strict=True):
        assert module._smallest_of(key) <= value <= module._smallest_of(key + 1)


def test_no_rank_asks_for_no_pass():
    histogram = Histogram(iter([]))
    assert histogram.total == 0
    assert order_statistics(lambda: pytest.fail("a pass"), histogram, []).tolist() == []
