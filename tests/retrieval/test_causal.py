"""Nothing from the query's day or later, and no other query, may change what a causal post-processor answers.

Random tables: every gallery item that does not lie before the query, and every other query, is replaced by something
else. The query's list, its distances and its metrics must keep every bit; a non-causal post-processor loses some.
"""

import inspect
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pytest

from fastreid.retrieval import POSTPROCESSOR_REGISTRY, Search, backends, evaluate_search, topk_search
from fastreid.retrieval.postprocess import ORDER

LAST_DAY = 9
GAINS = {"pids": 2.0, "taxonomy": 1.0}
LATER_THAN_ITSELF = "filed"


@dataclass(frozen=True)
class Table:
    queries: np.ndarray
    gallery: np.ndarray
    q_columns: dict
    g_columns: dict

    def search(self, metric, rule, block_mib=32):
        return Search(self.queries, self.gallery, self.q_columns, self.g_columns, metric, rule, block_mib)


def columns(rng, count):
    """Date 0 is unknown; a date as `LATER_THAN_ITSELF` has it runs against the usual one."""
    classes = np.array(["14-04", "14-02", "06-01", ""])
    return {
        "pids": rng.integers(0, 8, count),
        "dates": rng.integers(0, LAST_DAY, count),
        LATER_THAN_ITSELF: rng.integers(1, LAST_DAY, count),
        "taxonomy": classes[rng.integers(0, 4, count)],
    }


def table(rng, dim):
    """Clusters with a common mean; some gallery items are equal, so that ties and duplicates occur."""
    q_columns, g_columns = columns(rng, 7), columns(rng, 60)
    centres = rng.normal(size=(8, dim)) + rng.integers(0, 3)
    queries, gallery = (
        (centres[c["pids"]] + rng.normal(size=(len(c["pids"]), dim))).astype(np.float32) for c in (q_columns, g_columns)
    )
    gallery[rng.integers(0, 60, 6)] = gallery[rng.integers(0, 60, 6)]
    return Table(queries, gallery, q_columns, g_columns)


def other_features(rng, rows, near):
    """Replace some rows: long, zero, or equal to one of ``near``; most of them by noise."""
    new = rng.normal(size=(len(rows), near.shape[1])) * 10.0 ** rng.choice([-3, 0, 0, 6], (len(rows), 1))
    kind = rng.random(len(rows))
    new[kind < 0.4] = near[rng.integers(0, len(near), (kind < 0.4).sum())]
    new[kind < 0.05] = 0
    return new


def another_future(rng, given, query, column="dates"):
    """``given`` with all replaced that ``query`` may not depend on."""
    day = given.q_columns[column][query]
    later = np.flatnonzero(~((given.g_columns[column] > 0) & (given.g_columns[column] < day)))
    others = np.delete(np.arange(len(given.queries)), query)
    near = np.concatenate([given.queries[[query]], given.gallery])
    sides = (given.queries, given.q_columns, others), (given.gallery, given.g_columns, later)
    features, tables = [], []
    for values, names, rows in sides:
        values, names, fresh = values.copy(), {k: v.copy() for k, v in names.items()}, columns(rng, len(rows))
        values[rows] = other_features(rng, rows, near)
        for name in names:
            names[name][rows] = fresh[name]
        features.append(values)
        tables.append(names)
    known = given.g_columns[column][later] > 0
    tables[1][column][later] = np.where(known, rng.integers(max(1, day), LAST_DAY + 1, len(later)), 0)
    return Table(*features, *tables)


def variants():
    """Every registered post-processor, with and without ``prior_art`` where it has that."""
    made = []
    for name in ORDER:
        kind = POSTPROCESSOR_REGISTRY.get(name)
        has_variant = "prior_art" in inspect.signature(kind).parameters
        made += [kind(), kind(prior_art=True)] if has_variant else [kind()]
    return made


CAUSAL = [part for part in variants() if part.causal]
CHAINS = [chain for count in range(len(CAUSAL) + 1) for chain in combinations(CAUSAL, count)]
NON_CAUSAL = [part for part in variants() if not part.causal]


def label(part):
    parts = part if isinstance(part, tuple) else (part,)
    return "+".join(p.name for p in parts) or "plain"


def answer(search, chain, query):
    """Everything that can be seen of one query."""
    for part in chain:
        search = part.apply(search)
    indices, distances = topk_search(search, len(search.gallery))
    seen = [indices[query], distances[query]]
    permitted = search.permitted(slice(query, query + 1))[0]
    if (permitted & (search.g_columns["pids"] == search.q_columns["pids"][query])).any():
        metrics = evaluate_search(search, ties=True, gains=GAINS)
        part = slice(metrics.counts[:query].sum(), metrics.counts[: query + 1].sum())
        seen += [ranks[part] for ranks in (metrics.ranks, metrics.optimistic, metrics.pessimistic)]
        names = "AP", "AP@10_min", "INP", "MRR", "R-precision", "nDCG@10"
        seen.append(np.array([metrics.values(name)[metrics.rows == query] for name in names]))
    return seen


def differences(chain, rule, metric, seeds, dim=6, column="dates", block_mib=32):
    """How many of the random tables answer differently when the future is another one."""
    count = 0
    for seed in seeds:
        rng = np.random.default_rng([seed, dim])
        given = table(rng, dim)
        query = int(rng.integers(len(given.queries)))
        changed = another_future(rng, given, query, column)
        before = answer(given.search(metric, rule), chain, query)
        after = answer(changed.search(metric, rule, block_mib), chain, query)
        count += not same(before, after)
    return count


def same(before, after):
    return len(before) == len(after) and all(
        a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(before, after, strict=True)
    )


@pytest.fixture(params=["fp32", "bf16", "without compiled part"])
def way(request, monkeypatch):
    """How the scores are scanned."""
    monkeypatch.setenv("FASTREID_SCAN", request.param if "bf16" in request.param else "fp32")
    if request.param == "without compiled part":
        monkeypatch.setattr(backends, "HAS_CYTHON", False)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("chain", CHAINS, ids=label)
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("rule", ["granted_before", "other_patent+granted_before", "granted_before+same_class"])
def test_another_future_changes_no_bit(rule, metric, chain):
    assert differences(chain, rule, metric, range(8)) == 0
    assert differences(chain, rule, metric, range(2), dim=70, block_mib=0.02) == 0


@pytest.mark.parametrize("part", NON_CAUSAL, ids=label)
def test_a_non_causal_one_is_caught(part):
    assert part.name in ("AQE", "DBA", "KReciprocal")
    assert differences((part,), "granted_before", "cosine", range(4)) > 0


def test_chains_are_those_of_all_that_claim_it():
    assert [label(chain) for chain in CHAINS] == ["plain", "AlphaQE", "DBA", "AlphaQE+DBA"]
    assert [label(part) for part in NON_CAUSAL] == ["AQE", "DBA", "KReciprocal"]


class FiledBefore:
    """Prior art by another column than "dates"."""

    needs = (LATER_THAN_ITSELF,)
    before = LATER_THAN_ITSELF

    def permits(self, query, item):
        return (item[LATER_THAN_ITSELF] > 0) & (item[LATER_THAN_ITSELF] < query[LATER_THAN_ITSELF])


@pytest.mark.parametrize("chain", CHAINS, ids=label)
def test_a_rule_of_the_users_own_says_what_is_earlier(chain):
    assert differences(chain, FiledBefore(), "cosine", range(6), column=LATER_THAN_ITSELF) == 0


def test_prior_art_by_the_wrong_column_is_caught(monkeypatch):
    from fastreid.retrieval import postprocess

    monkeypatch.setattr(postprocess, "earlier_items", lambda rule: postprocess.GrantedBefore())
    chain = (POSTPROCESSOR_REGISTRY.get("DBA")(prior_art=True),)
    assert differences(chain, FiledBefore(), "cosine", range(6), column=LATER_THAN_ITSELF) > 0


def test_an_item_of_the_same_day_is_caught():
    """The planted fault: an expansion that looks at the query's own day."""

    class SameDay:
        needs = ("dates",)

        def permits(self, query, item):
            return (item["dates"] > 0) & (item["dates"] <= query["dates"])

    class Leaking:
        def apply(self, search):
            expand = POSTPROCESSOR_REGISTRY.get("AlphaQE")().apply
            return replace(expand(replace(search, rule=SameDay())), rule=search.rule)

    assert differences((Leaking(),), "granted_before", "cosine", range(8)) > 0
