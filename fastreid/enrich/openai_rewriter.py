"""Texts from a language model behind any OpenAI-compatible endpoint."""

import logging
import os
from typing import Any

from fastreid.enrich.answers import Answers
from fastreid.enrich.client import Client
from fastreid.enrich.components import REWRITER_REGISTRY, Rejected, Rewriter
from fastreid.enrich.endpoint import Endpoint
from fastreid.enrich.limits import Budget, Waiting
from fastreid.enrich.prompts import REPAIR, SYSTEM, TASK, prompt
from fastreid.enrich.source import Source, digest
from fastreid.enrich.validation import check_texts, read_texts

logger = logging.getLogger(__name__)


@REWRITER_REGISTRY.register(node="ENRICH.REWRITER")
class OpenAIRewriter(Rewriter):
    """Asks for all texts of a figure at once and checks what comes back.

    Every answer is kept, with its cost, before anything else is done with it, so that no question is paid for twice:
    not after a kill, not for a second figure of which the same is known. A question is known by the name of the model,
    its words and parameters; the address is not part of it. A request whose answer does not come is counted at the
    most that it can cost.

    Args:
        url: of the endpoint, up to the version: "http://127.0.0.1:8000/v1".
        model: its name there.
        key_variable: environment variable that holds the key; "" sends none. The key is never written anywhere.
        instruction: further wishes, appended to our prompt.
        temperature: >= 0; negative: the endpoint's own.
        max_tokens: of an answer with all texts of a figure.
        tokens_field: what the endpoint calls that; newer models of OpenAI want "max_completion_tokens".
        connect_timeout, read_timeout: seconds until the connection stands, and from then on for the whole answer.
        retries: further tries after a timeout, a broken answer, 429 or 5xx.
        repairs: further questions after an answer with unacceptable texts, with what was wrong.
        requests_per_minute: 0 for no limit.
        concurrency: requests at the same time.
        price_in, price_out: per million tokens of prompts and of answers.
        cost_cap: what all requests in ``cache`` may cost together, earlier runs included; 0 for no cap.
        cache: file of the answers, "" for memory.
        waiting: clock and sleep of tests.
    """

    def __init__(
        self,
        url: str = "",
        model: str = "",
        key_variable: str = "",
        instruction: str = "",
        temperature: float = 0.8,
        max_tokens: int = 4000,
        tokens_field: str = "max_tokens",
        connect_timeout: float = 10.0,
        read_timeout: float = 180.0,
        retries: int = 5,
        repairs: int = 2,
        requests_per_minute: float = 0.0,
        concurrency: int = 4,
        price_in: float = 0.0,
        price_out: float = 0.0,
        cost_cap: float = 0.0,
        cache: str = "",
        waiting: Waiting | None = None,
    ):
        if not model:
            raise ValueError("ENRICH.REWRITER.MODEL is empty: OpenAIRewriter needs the name of a model")
        if cost_cap and not (price_in or price_out):
            raise ValueError("ENRICH.REWRITER.COST_CAP needs PRICE_IN and PRICE_OUT, per million tokens")
        limits = {
            "MAX_TOKENS": (max_tokens, 1), "RETRIES": (retries, 0), "REPAIRS": (repairs, 0), "PRICE_IN": (price_in, 0),
            "CONCURRENCY": (concurrency, 1), "PRICE_OUT": (price_out, 0), "COST_CAP": (cost_cap, 0),
            "REQUESTS_PER_MINUTE": (requests_per_minute, 0),
        }  # fmt: skip
        for key, (value, lowest) in limits.items():
            if not value >= lowest:
                raise ValueError(f"ENRICH.REWRITER.{key} must be at least {lowest}; got {value}")
        for key, seconds in (("CONNECT_TIMEOUT", connect_timeout), ("READ_TIMEOUT", read_timeout)):
            if not seconds > 0:
                raise ValueError(f"ENRICH.REWRITER.{key} must be more than 0 seconds; got {seconds}")
        self.model, self.concurrency = model, concurrency
        self._instruction, self._repairs = instruction, repairs
        self._parameters: dict[str, Any] = {tokens_field: max_tokens}
        if temperature >= 0:
            self._parameters["temperature"] = temperature
        key = _key(key_variable)
        endpoint = Endpoint(url, key, connect_timeout, read_timeout)
        if key and endpoint.clear:
            logger.warning("the key in %s goes unencrypted to %s", key_variable, url)
        self._waiting, self._answers = waiting or Waiting(), Answers(cache)
        self._unusable: list[str] = []  # keys of answers
        self._client = Client(
            endpoint, self._answers, Budget(cost_cap, self._answers.spent), self._waiting, retries=retries,
            requests_per_minute=requests_per_minute, prices=(price_in, price_out), most_tokens=max_tokens,
        )  # fmt: skip

    def recipe(self, variants: int) -> dict[str, Any]:
        wording = [SYSTEM, TASK, REPAIR, self._instruction]
        return {"version": 1, "wording": wording, "parameters": self._parameters, "variants": variants}

    def rewrite(self, source: Source, details: str, variants: int) -> list[str]:
        """Ask, check the answer, and ask again up to ``repairs`` times with what was wrong with it.

        Raises:
            Rejected: no answer was acceptable, or none came.
            BudgetSpent: the next question could exceed ``cost_cap``.
            EndpointError: the endpoint cannot be used, or does not answer for several figures in a row.
        """
        question, reason, keys = prompt(source, details, variants, self._instruction), "", []
        for attempt in range(self._repairs + 1):
            repair = REPAIR.format(reason=reason, variants=variants) if reason else ""
            body = self._body("\n\n".join(filter(None, (question, repair))))
            keys.append(digest([body, attempt]))
            text, cut = self._client.ask(keys[-1], body)
            try:
                texts = read_texts(text)
                check_texts(texts, source, variants)
            except ValueError as error:
                reason = "it is too long and was cut off" if cut else str(error)
                self._client.count("unacceptable")
            else:
                return texts
        self._unusable += keys
        raise Rejected(f"the last of {len(keys)} answers was refused: {reason}")

    def stop(self) -> None:
        self._waiting.stop()

    def status(self) -> str:
        return self._client.status()

    def close(self) -> None:
        """Close the file of answers, without those that led to nothing: a later run may have better luck."""
        if self._unusable:
            self._answers.forget(self._unusable)
            self._unusable = []
        self._answers.close()

    def _body(self, question: str) -> dict[str, Any]:
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
        return {"model": self.model, "messages": messages, **self._parameters}


def _key(variable: str) -> str:
    if not variable:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError(f"ENRICH.REWRITER.KEY_VARIABLE: the environment variable {variable} is not set")
    return key
