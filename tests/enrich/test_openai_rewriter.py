"""Texts from an endpoint: tries, repairs, money, and no question twice."""

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fastreid.config import get_cfg
from fastreid.enrich import REWRITER_REGISTRY, BudgetSpent, EndpointError, OpenAIRewriter, Rejected, Source
from fastreid.enrich.client import LONGEST_AFTER, MANY
from fastreid.enrich.limits import Stopped, Waiting
from fastreid.enrich.prompts import SYSTEM
from tests.enrich.server import Server, completion, good, question, raw, reset, says, slow, status, texts_for
from tests.enrich.test_limits import Clock

CHAIR, LAMP, CUP = (Source(f"{name}.png", object=name, view="front view") for name in ("chair", "lamp", "cup"))
KEY = "sk-very-secret"


@pytest.fixture
def server():
    with Server() as running:
        yield running


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(server, clock):
    made = []

    def build(**options):
        defaults = {"url": server.url, "model": "m", "read_timeout": 5.0, "waiting": Waiting(clock, clock.sleep)}
        made.append(OpenAIRewriter(**{**defaults, **options}))
        return made[-1]

    yield build
    for rewriter in made:
        rewriter.close()


def test_what_is_sent(server, make, monkeypatch):
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    rewriter = make(key_variable="MY_KEY", temperature=0.3, max_tokens=77, instruction="Be brief.")
    assert rewriter.rewrite(CHAIR, "a round seat", 3) == texts_for(server.bodies[0])
    (body,) = server.bodies
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0.3, 77)
    assert body["messages"][0] == {"role": "system", "content": SYSTEM}
    assert '"details": "a round seat"' in question(body)
    assert "Be brief." in question(body)
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    make(temperature=-1, tokens_field="max_completion_tokens").rewrite(CHAIR, "", 3)
    assert set(server.bodies[1]) == {"model", "messages", "max_completion_tokens"}


@pytest.mark.parametrize(
    "failures",
    [
        [status(500), status(503, "busy"), status(429)],
        [raw(b"\x80\x81"), raw(b"{}"), reset],
        [slow(0.4)],
    ],
)
def test_what_passes_is_tried_again(server, make, clock, failures):
    server.script = list(failures)
    assert make(read_timeout=0.2).rewrite(CHAIR, "", 2) == texts_for(server.bodies[-1])
    assert len(server.bodies) == len(failures) + 1
    assert len(server.asked()) == 1
    assert len([wait for wait in clock.slept if wait > 0]) == len(failures)


def test_the_endpoint_says_when(server, make, clock):
    server.script = [status(429, Retry_After="37")]
    make().rewrite(CHAIR, "", 2)
    assert clock.slept[0] == 37
    server.script = [status(429, Retry_After=str(int(LONGEST_AFTER) + 1))]
    with pytest.raises(EndpointError, match="asks to wait 601 s"):
        make().rewrite(LAMP, "", 2)
    assert max(clock.slept) == 37


def test_tries_end_and_an_endpoint_that_is_down_ends_the_work(server, make):
    rewriter = make(retries=2)
    server.script = [status(500)] * 3 + [good] + [status(500)] * 100
    with pytest.raises(Rejected, match=r"no answer in 3 tries: .*answered 500"):
        rewriter.rewrite(CHAIR, "", 2)
    rewriter.rewrite(LAMP, "", 2)
    for number in range(MANY - 1):
        with pytest.raises(Rejected):
            rewriter.rewrite(Source("x", object=f"thing {number}"), "", 2)
    with pytest.raises(EndpointError, match=f"gave no answer to {MANY} questions in a row"):
        rewriter.rewrite(CUP, "", 2)
    assert len(server.bodies) == 3 + 1 + 3 * MANY


@pytest.mark.parametrize(("code", "kind"), [(400, Rejected), (401, EndpointError), (404, EndpointError)])
def test_what_does_not_pass_is_not_tried_again(server, make, code, kind):
    server.script = [status(code, "no")]
    with pytest.raises(kind, match=f"answered {code}"):
        make().rewrite(CHAIR, "", 2)
    assert len(server.bodies) == 1


def test_unacceptable_answers_are_asked_again_with_the_reason(server, make):
    server.script = [says("I cannot."), says(lambda body: json.dumps(texts_for(body)[:1]))]
    assert make().rewrite(CHAIR, "", 2) == texts_for(server.bodies[-1])
    first, second, third = map(question, server.bodies)
    assert "refused" not in first
    assert second == first + (
        "\n\nYour last answer was refused: it is not valid JSON. Answer again, with a JSON list of exactly 2 strings."
    )
    assert "refused: it has 1 texts instead of 2." in third
    assert "not valid JSON" not in third


def test_repairs_end(server, make):
    rewriter = make(repairs=2)
    server.script = [says('["x", "y"]')] * 10
    with pytest.raises(Rejected, match="the last of 3 answers was refused: text 1 has 1 characters"):
        rewriter.rewrite(CHAIR, "", 2)
    assert len(server.bodies) == 3
    assert rewriter.status().startswith("3 requests, 0 answers from the cache, 3 unacceptable answers")
    server.script = [says('["This is a fine chair', finish_reason="length")] * 10
    with pytest.raises(Rejected, match="too long and was cut off"):
        rewriter.rewrite(LAMP, "", 2)


def test_no_question_is_sent_twice(server, make, tmp_path):
    """Not again, not for another file of which the same is known, not at another address, not after a kill."""
    cache = str(tmp_path / "a.sqlite")
    server.script = [says("no list")]
    rewriter = make(cache=cache)
    texts = rewriter.rewrite(CHAIR, "", 2)
    assert rewriter.rewrite(Source("other.png", object="chair", view="front view"), "", 2) == texts
    with Server() as elsewhere:
        later = make(cache=cache, url=elsewhere.url)  # the first one was not closed
        assert later.rewrite(CHAIR, "", 2) == texts
        assert elsewhere.bodies == []
        assert "0 requests, 2 answers from the cache" in later.status()
    assert len(server.bodies) == 2
    others = [{"model": "n"}, {"temperature": 0.1}, {"instruction": "x"}, {"max_tokens": 9}]
    for number, options in enumerate(others, start=3):
        make(cache=cache, **options).rewrite(CHAIR, "", 2)
        assert len(server.bodies) == number
    rewriter.rewrite(CHAIR, "", 3)
    rewriter.rewrite(CHAIR, "details", 2)
    rewriter.rewrite(LAMP, "", 2)
    assert max(server.asked().values()) == 1
    assert len(server.bodies) == 9


def test_threads_with_one_question_send_it_once(server, make):
    rewriter = make(concurrency=8)
    server.hold = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(rewriter.rewrite, source, "", 2) for source in [CHAIR, LAMP] * 4]
        threading.Timer(0.1, server.hold.set).start()
        results = [future.result() for future in futures]
    assert len(server.bodies) == len(server.asked()) == 2
    assert results == [results[0], results[1]] * 4
    assert server.most_at_once == 2


def test_answers_that_led_to_nothing_are_forgotten_by_the_next_run(server, make, tmp_path):
    cache = str(tmp_path / "a.sqlite")
    server.script = [says("nothing")] * 3
    rewriter = make(cache=cache)
    for _ in range(2):  # within a run they are kept: a second figure with this question costs nothing
        with pytest.raises(Rejected):
            rewriter.rewrite(CHAIR, "", 2)
    assert len(server.bodies) == 3
    with pytest.raises(Rejected):  # as after a kill
        make(cache=cache).rewrite(CHAIR, "", 2)
    assert len(server.bodies) == 3
    rewriter.close()
    assert make(cache=cache).rewrite(CHAIR, "", 2) == texts_for(server.bodies[0])
    assert len(server.bodies) == 4


def test_money(server, make, tmp_path):
    """100 tokens at 10 and 200 at 20 per million: 0.005 a request; the question has some 900 bytes, the answer 250."""
    prices = {"price_in": 10.0, "price_out": 20.0, "max_tokens": 250, "cache": str(tmp_path / "a.sqlite")}
    rewriter, sources = make(cost_cap=0.05, **prices), [Source("x", object=f"thing {number}") for number in range(20)]
    done = 0
    with pytest.raises(BudgetSpent, match=r"of ENRICH\.REWRITER\.COST_CAP 0\.05 are spent"):
        for source in sources:
            rewriter.rewrite(source, "", 2)
            done += 1
    assert done == len(server.bodies)
    assert 0.05 - 0.02 < 0.005 * done <= 0.05
    assert f"cost {0.005 * done:.4f} of 0.05" in rewriter.status()
    with pytest.raises(BudgetSpent):  # the cap is one of all runs
        make(cost_cap=0.05, **prices).rewrite(sources[done], "", 2)
    assert len(server.bodies) == done
    later = make(cost_cap=0.2, **prices)
    for source in sources:
        later.rewrite(source, "", 2)
    assert len(server.bodies) == len(server.asked()) == 20
    assert "cost 0.1000 of 0.2" in later.status()


def test_several_threads_stay_below_the_cap(server, make):
    rewriter = make(cost_cap=0.05, price_in=10.0, price_out=20.0, max_tokens=250, concurrency=8)
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(rewriter.rewrite, Source("x", object=f"thing {i}"), "", 2) for i in range(20)]
    stopped = sum(isinstance(future.exception(), BudgetSpent) for future in futures)
    assert stopped == 20 - len(server.bodies)
    assert 0.03 < 0.005 * len(server.bodies) <= 0.05


@pytest.mark.parametrize(
    ("action", "charged"),
    [
        (status(500), False),
        (status(400), False),
        (raw(b"garbage"), True),
        (reset, True),
        (raw(completion("x", None).encode()), True),
    ],
)
def test_what_an_answer_costs_that_is_none(server, make, action, charged):
    server.script = [action]
    rewriter = make(price_out=1e6, max_tokens=1, retries=0, repairs=0)
    with pytest.raises(Rejected):
        rewriter.rewrite(CHAIR, "", 2)
    assert ("cost 1.0000" if charged else "cost 0.0000") in rewriter.status()


def test_the_rate_limit_holds_for_all_requests(server, make, clock):
    rewriter = make(requests_per_minute=60)
    server.script = [status(500), says("none")]
    rewriter.rewrite(CHAIR, "", 2)
    rewriter.rewrite(LAMP, "", 2)
    assert len(server.bodies) == 4
    assert clock.now >= 103


def test_a_stop_ends_the_tries_but_not_what_is_on_its_way(server, make):
    server.script = [status(500)] * 100
    rewriter = make(retries=50, waiting=Waiting())
    threading.Timer(0.1, rewriter.stop).start()
    with pytest.raises(Stopped):
        rewriter.rewrite(CHAIR, "", 2)
    server.script, server.hold, number = [], threading.Event(), len(server.bodies)
    rewriter = make(waiting=Waiting())
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(rewriter.rewrite, LAMP, "", 2)
        server.wait_for(number + 1)
        rewriter.stop()
        server.hold.set()
        assert len(future.result()) == 2


def test_the_key_stays_secret(server, make, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", KEY)
    server.script = [status(500, f"bad key {KEY}"), status(401, f"bad key {KEY}")]
    rewriter = make(key_variable="MY_KEY", cache=str(tmp_path / "a.sqlite"))
    with caplog.at_level(logging.DEBUG), pytest.raises(EndpointError) as caught:
        rewriter.rewrite(CHAIR, "", 2)
    rewriter.close()
    assert KEY not in str(caught.value) + caplog.text + json.dumps(rewriter.recipe(2))
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": ""}, "MODEL is empty"),
        ({"url": ""}, "URL must be an address"),
        ({"key_variable": "NO_SUCH_KEY"}, "the environment variable NO_SUCH_KEY is not set"),
        ({"cost_cap": 1.0}, "COST_CAP needs PRICE_IN and PRICE_OUT"),
        ({"concurrency": 0}, "CONCURRENCY must be at least 1; got 0"),
        ({"retries": -1}, "RETRIES must be at least 0; got -1"),
        ({"price_in": float("nan")}, "PRICE_IN must be at least 0; got nan"),
        ({"requests_per_minute": -2}, "REQUESTS_PER_MINUTE must be at least 0"),
        ({"read_timeout": 0}, "READ_TIMEOUT must be more than 0"),
    ],
)
def test_bad_settings(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_a_key_in_clear_text_is_warned_of(make, monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", KEY)
    make(key_variable="MY_KEY")
    make(url="http://example.org/v1")
    assert caplog.text == ""
    make(url="http://example.org/v1", key_variable="MY_KEY")
    assert "the key in MY_KEY goes unencrypted to http://example.org/v1" in caplog.text


def test_the_config_builds_it(server):
    cfg = get_cfg()
    cfg.merge_from_list(["ENRICH.REWRITER.URL", server.url, "ENRICH.REWRITER.MODEL", "m"])
    rewriter = REWRITER_REGISTRY.build("OpenAIRewriter", cfg)
    assert len(rewriter.rewrite(CUP, "", 2)) == 2
    rewriter.close()
