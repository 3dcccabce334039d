"""Questions to an endpoint, each paid for once: kept answers, tries, time and money."""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

from fastreid.enrich.answers import Answers
from fastreid.enrich.components import Rejected
from fastreid.enrich.endpoint import Answer, Endpoint, EndpointError, Refused, TryAgain
from fastreid.enrich.limits import Budget, Waiting

MANY = 3  # questions in a row that got no answer at all: the endpoint is down
LONGEST_AFTER = 600.0  # seconds that an endpoint may ask to wait; above, the command ends instead
OVERHEAD = 64  # tokens of a request beside those of its texts: roles and separators


class Client:
    """Asks for several threads.

    Args:
        retries: further tries after a timeout, a broken answer, 429 or 5xx.
        requests_per_minute: 0 for no limit.
        prices: per million tokens of prompts and of answers.
        most_tokens: that an answer can have.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        answers: Answers,
        budget: Budget,
        waiting: Waiting,
        *,
        retries: int,
        requests_per_minute: float,
        prices: tuple[float, float],
        most_tokens: int,
    ):
        self._endpoint, self._answers, self._budget, self._waiting = endpoint, answers, budget, waiting
        self._retries, self._per_minute = retries, requests_per_minute
        self._prices, self._most_tokens = prices, most_tokens
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._asked: dict[str, tuple[threading.Lock, list[None]]] = {}
        self._silent = 0  # questions in a row without an answer

    def ask(self, key: str, body: dict[str, Any]) -> tuple[str, bool]:
        """Return text and whether it was cut off, from the file of answers or, once, from the endpoint.

        Args:
            key: hash of the question.

        Raises:
            Rejected: the endpoint refuses this question, or no answer came.
            BudgetSpent: it could exceed the budget.
            EndpointError: the endpoint cannot be used, or gave no answer to several questions in a row.
            Stopped: the command is ending.
        """
        with self._alone(key):
            kept = self._answers.get(key)
            if kept is not None:
                self.count("kept")
                return kept
            return self._request(key, body)

    def _request(self, key: str, body: dict[str, Any]) -> tuple[str, bool]:
        reason = ""
        for tries in range(self._retries + 1):
            self._waiting.turn(self._per_minute)
            try:
                answer = self._paid(key, body)
            except Refused as error:
                raise Rejected(str(error)) from error
            except TryAgain as error:
                reason = str(error)
                if error.after > LONGEST_AFTER:
                    raise EndpointError(f"{reason}; it asks to wait {error.after:.0f} s") from error
                if tries < self._retries:
                    self._waiting.back_off(tries + 1, error.after)
            else:
                self._silent = 0
                return answer.text, answer.cut
        with self._lock:
            self._silent += 1
            silent = self._silent
        if silent >= MANY:
            raise EndpointError(f"{self._endpoint.url} gave no answer to {silent} questions in a row: {reason}")
        raise Rejected(f"no answer in {self._retries + 1} tries: {reason}")

    def _paid(self, key: str, body: dict[str, Any]) -> Answer:
        """Send one request within the budget and write down what came and what it cost."""
        most = self._most(body)
        self._budget.reserve(most)
        cost = most
        try:
            number = self._answers.begin(key, most)
            self.count("requests")
            try:
                answer = self._endpoint.ask(body)
            except (TryAgain, Refused, EndpointError) as error:
                cost = most if getattr(error, "charged", False) else 0.0
                self._answers.fail(number, cost, str(error)[:200])
                raise
            cost = self._cost(*answer.tokens) if answer.tokens else most
            self._answers.add(number, key, answer.text, answer.cut, answer.tokens, cost)
        finally:
            self._budget.settle(most, cost)
        return answer

    def _most(self, body: dict[str, Any]) -> float:
        """What a request can cost: no token is shorter than a byte, and the answer has at most ``max_tokens``."""
        size = sum(len(message["content"].encode()) for message in body["messages"])
        return self._cost(size + OVERHEAD, self._most_tokens)

    def _cost(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in * self._prices[0] + tokens_out * self._prices[1]) / 1e6

    def count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1

    def status(self) -> str:
        """Return requests, kept answers, unacceptable ones and the cost in a few words."""
        with self._lock:
            asked, kept, bad = (self._counts[name] for name in ("requests", "kept", "unacceptable"))
        parts = [f"{asked} requests", f"{kept} answers from the cache"]
        parts += [f"{bad} unacceptable answers"] if bad else []
        if any(self._prices):
            cap = f" of {self._budget.cap:g}" if self._budget.cap else ""
            parts.append(f"cost {self._budget.spent:.4f}{cap}")
        return ", ".join(parts)

    @contextlib.contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """Let one thread at a time deal with a question; others with the same one wait for its answer."""
        with self._lock:
            lock, users = self._asked.setdefault(key, (threading.Lock(), []))
            users.append(None)
        try:
            with lock:
                yield
        finally:
            with self._lock:
                users.pop()
                if not users:
                    del self._asked[key]
