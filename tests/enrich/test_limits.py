"""Time between requests, and money."""

import threading
import time

import pytest

from fastreid.enrich import BudgetSpent
from fastreid.enrich.limits import LONGEST_WAIT, Budget, Stopped, Waiting


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self):
        self.now, self.slept = 100.0, []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


def test_requests_are_spaced_evenly(clock):
    waiting, begun = Waiting(clock, clock.sleep), []
    for _ in range(4):
        waiting.turn(30)
        begun.append(clock.now)
    assert begun == [100, 102, 104, 106]
    clock.now += 60  # a pause earns no burst
    waiting.turn(30)
    waiting.turn(30)
    assert clock.now == 168
    clock.slept.clear()
    for _ in range(100):
        waiting.turn(0)
    assert sum(clock.slept) <= 2


def test_threads_share_the_limit(clock):
    """Each gets a turn of its own, whoever comes first; the clock stands still."""
    slept = []
    waiting = Waiting(clock, slept.append)
    threads = [threading.Thread(target=waiting.turn, args=(60,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(slept) == [1, 2, 3, 4, 5]


def test_the_wait_doubles_and_varies(clock):
    waiting = Waiting(clock, clock.sleep)
    for tries, longest in enumerate((1, 2, 4, 8, 16, 32, LONGEST_WAIT, LONGEST_WAIT), start=1):
        slept = []
        for _ in range(20):
            waiting.back_off(tries, 0)
            slept.append(clock.slept.pop())
        assert longest / 2 <= min(slept) < max(slept) <= longest


def test_the_endpoint_says_how_long_all_threads_wait(clock):
    waiting = Waiting(clock, clock.sleep)
    waiting.back_off(1, 30)
    assert clock.now == 130
    other = Waiting(clock, clock.slept.append)  # the clock stands still, as for another thread
    other.back_off(1, 30)
    other.turn(0)
    assert clock.slept == [30, 30, 30]


def test_a_stop_ends_every_wait():
    waiting = Waiting()
    threading.Timer(0.05, waiting.stop).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        waiting.sleep(30)
    for wait in (lambda: waiting.turn(0), lambda: waiting.back_off(1, 30), lambda: waiting.sleep(0)):
        with pytest.raises(Stopped):
            wait()
    assert time.monotonic() - began < 5


def test_a_budget_counts_what_is_spent_and_what_may_be():
    budget = Budget(10.0, spent=4.0)
    budget.reserve(3.0)
    budget.reserve(3.0)
    budget.settle(3.0, 1.0)
    budget.settle(3.0, 0.5)
    assert budget.spent == pytest.approx(5.5)
    budget.reserve(4.5)
    budget.settle(4.5, 4.5)
    with pytest.raises(BudgetSpent, match=r"10\.0000 of ENRICH.REWRITER.COST_CAP 10 are spent"):
        budget.reserve(0.01)


def test_without_a_cap_everything_goes():
    budget = Budget(0.0)
    for _ in range(3):
        budget.reserve(1e9)
    budget.settle(1e9, 5.0)
    assert budget.spent == 5.0


@pytest.mark.parametrize(("cost", "goes"), [(1.0, True), (9.0, False)])
def test_what_is_on_its_way_decides(cost, goes):
    """A request that fits only if the one before stays below its most waits for it."""
    budget, outcome = Budget(10.0), []
    budget.reserve(9.0)

    def second():
        try:
            budget.reserve(8.0)
            outcome.append(True)
        except BudgetSpent:
            outcome.append(False)

    thread = threading.Thread(target=second)
    thread.start()
    thread.join(0.05)
    assert outcome == []
    budget.settle(9.0, cost)
    thread.join(10)
    assert outcome == [goes]
