import multiprocessing
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from fastreid.retrieval import backend_torch, backends, scan, threads, topk
from fastreid.retrieval.full_float32 import full_float32

BLUNT = ["highest", "high", "medium"]


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def settings():
    """Whether either library may round more than float32 does."""
    knobs = torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)
    if hasattr(knobs[0], "fp32_precision") and hasattr(knobs[1], "fp32_precision"):
        return [knob.fp32_precision for knob in knobs]
    return [torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_tf32]


@pytest.fixture
def precision():
    before = torch.get_float32_matmul_precision()
    yield torch.set_float32_matmul_precision
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("asked", BLUNT)
def test_products_are_float32_and_the_setting_comes_back(asked, precision):
    precision(asked)
    before = settings()
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(200, 300))).float()
    exact = x.double() @ x.double().T
    with full_float32(), full_float32():
        assert float((x @ x.T - exact).abs().max()) < 1e-3
    assert settings() == before


def test_the_last_thread_to_leave_brings_the_setting_back(precision):
    precision("medium")
    before, inside, leave = settings(), threading.Event(), threading.Event()

    def other():
        with full_float32():
            inside.set()
            leave.wait(20)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(20)
    with full_float32():
        during = settings()
    assert settings() == during != before  # the other thread is still inside
    leave.set()
    thread.join()
    assert settings() == before


def test_work_is_done_once_and_in_order(two_threads):
    assert threads.in_parallel(lambda x: x * x, range(50)) == [x * x for x in range(50)]
    parts = threads.over_rows(lambda begin, end: (begin, end), 101, smallest=10)
    assert len(parts) == 2
    assert [row for part in parts for row in range(*part)] == list(range(101))
    assert threads.over_rows(lambda begin, end: (begin, end), 5, smallest=16) == [(0, 5)]
    assert threads.over_rows(lambda begin, end: (begin, end), 0) == [(0, 0)]


def test_an_error_in_a_thread_reaches_the_caller_and_leaves_the_pool_usable(two_threads):
    def fail(item):
        if item == 3:
            raise KeyError(f"item {item}")
        return item

    with pytest.raises(KeyError, match="item 3"):
        threads.in_parallel(fail, range(6))
    assert threads.in_parallel(fail, range(3)) == [0, 1, 2]


def test_inside_the_pool_everything_is_serial(two_threads):
    def nested(item):
        assert threads.num_threads() == 1
        assert torch.get_num_threads() == 1
        own = threading.get_ident()
        return own, threads.in_parallel(lambda other: (threading.get_ident(), item + other), range(3))

    for item, (own, results) in enumerate(threads.in_parallel(nested, range(8))):
        assert own != threading.get_ident()
        assert results == [(own, item + other) for other in range(3)]


def test_two_callers_share_the_pool(two_threads):
    results = {}

    def call(name):
        results[name] = [sum(threads.in_parallel(lambda x: x + name, range(20))) for _ in range(20)]

    callers = [threading.Thread(target=call, args=(name,)) for name in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert results == {name: [190 + 20 * name] * 20 for name in range(4)}


@pytest.mark.parametrize("count", [2, 3])
def test_the_number_of_threads_of_the_process_does_not_change(count):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count)
        assert len(threads.over_rows(lambda begin, end: end - begin, 300)) == count
        seen = [torch.get_num_threads()]
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert seen == [count, count]
    finally:
        torch.set_num_threads(before)


AFTER_A_FORK = """
import os, signal, sys
import torch
torch.set_num_threads(2)
from fastreid.retrieval import threads
assert sum(threads.over_rows(lambda begin, end: end - begin, 1000)) == 1000
child = os.fork()
if not child:
    signal.alarm(20)
    os._exit(0 if sum(threads.over_rows(lambda begin, end: end - begin, 1000)) == 1000 else 3)
_, status = os.waitpid(child, 0)
assert sum(threads.over_rows(lambda begin, end: end - begin, 1000)) == 1000
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_has_a_pool_of_its_own():
    assert subprocess.run([sys.executable, "-c", AFTER_A_FORK], timeout=60).returncode == 0


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")
def test_workers_of_a_data_loader_can_search(two_threads):
    features = np.random.default_rng(0).normal(size=(700, 8)).astype("f")
    want = topk(features, features, 3)[0]

    class Searches(torch.utils.data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, item):
            return topk(features, features, 3)[0]

    loader = torch.utils.data.DataLoader(
        Searches(), batch_size=None, num_workers=1, multiprocessing_context="fork", timeout=60
    )
    for found in loader:
        np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("compiled", [True, False])
def test_the_first_tiles_of_a_block_are_seen_at_once_and_none_is_lost(compiled, monkeypatch, two_threads):
    rng = np.random.default_rng(3)
    q, g = rng.normal(size=(64, 5)), rng.normal(size=(40, 5))
    monkeypatch.setattr(backends, "HAS_CYTHON", compiled and backends.HAS_CYTHON)
    want = np.argsort(((q[:, None] - g) ** 2).sum(-1), axis=1)[:, :3]
    monkeypatch.setattr(scan, "FEWEST_ROWS", 1)
    together, values = threading.Barrier(2), backend_torch._values

    def at_once(*arguments):
        result = values(*arguments)
        together.wait(10)
        return result

    monkeypatch.setattr(backend_torch, "_values", at_once)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(30):
            np.testing.assert_array_equal(topk(q, g, 3, "euclidean")[0], want)
    finally:
        sys.setswitchinterval(interval)
