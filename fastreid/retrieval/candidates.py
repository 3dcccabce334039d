"""Which gallery items may be shown to which query: one idea for ranking, expansion and search.

A rule looks at the columns of a block of queries and of the gallery (dicts of arrays: "pids", "camids",
"dates", ...) and answers with a bool mask (q, g) of the PERMITTED pairs. It never sees features, and never a
full (Q, G) table.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from fastreid.utils.errors import require_members
from fastreid.utils.registry import Registry

RULE_REGISTRY = Registry("RULE")
Columns = Mapping[str, np.ndarray]


class Rule(Protocol):
    """What ranking asks of a rule: the columns it reads, and the mask.

    A rule with a true ``uses_truth`` reads what only an evaluation knows, the query's identity in the sense
    of the labels; `at_query_time` leaves it out.
    """

    needs: tuple[str, ...]

    def permitted(self, queries: Columns, gallery: Columns) -> np.ndarray:
        """Return a bool mask (q, g), true where the gallery item may be ranked."""


def _equal(queries: Columns, gallery: Columns, column: str) -> np.ndarray:
    return queries[column][:, None] == gallery[column][None, :]


@RULE_REGISTRY.register(name="all")
class AllItems:
    """Every gallery item is a candidate."""

    needs = ()

    def permitted(self, queries: Columns, gallery: Columns) -> np.ndarray:
        num_queries, num_gallery = (len(next(iter(columns.values()), ())) for columns in (queries, gallery))
        return np.ones((num_queries, num_gallery), dtype=bool)


@RULE_REGISTRY.register(name="camera")
class OtherCamera:
    """Market-1501 (Zheng et al., ICCV 2015): an image of the same identity by the same camera is junk."""

    needs = ("pids", "camids")
    uses_truth = True

    def permitted(self, queries: Columns, gallery: Columns) -> np.ndarray:
        return ~(_equal(queries, gallery, "pids") & _equal(queries, gallery, "camids"))


@RULE_REGISTRY.register(name="other_patent")
class OtherPatent:
    """Figures of the query's own patent are not candidates."""

    needs = ("pids",)

    def permitted(self, queries: Columns, gallery: Columns) -> np.ndarray:
        return ~_equal(queries, gallery, "pids")


@RULE_REGISTRY.register(name="granted_before")
class GrantedBefore:
    """Prior art: granted strictly before the query.

    The same day is not before, and an unknown date (0) is never permitted.
    """

    needs = ("dates",)

    def permitted(self, queries: Columns, gallery: Columns) -> np.ndarray:
        query, item = queries["dates"][:, None], gallery["dates"][None, :]
        return (item > 0) & (item < query)  # an unknown query date is below every item that remains


class EveryRule:
    """A pair is permitted when all ``rules`` permit it."""

    def __init__(self, rules: list[Rule]):
        self.rules = rules
        self.needs = tuple(dict.fromkeys(column for rule in rules for column in rule.needs))

    def permitted(self, queries: Columns, gallery: Columns) -> np.ndarray:
        mask = self.rules[0].permitted(queries, gallery)
        for rule in self.rules[1:]:
            mask = mask & rule.permitted(queries, gallery)
        return mask


def get_rule(rule: str | Rule | None) -> Rule:
    """Return the rule of a registered name, or ``rule`` itself; ``None`` is the rule "all".

    Names joined by "+", as in "other_patent+granted_before", mean that all of them hold.

    Raises:
        KeyError: a name is not registered.
        TypeError: a registered class lacks what a :class:`Rule` has.
    """
    if rule is None or isinstance(rule, str):
        rules = [RULE_REGISTRY.get(name.strip())() for name in (rule or "all").split("+")]
        for one in rules:
            require_members(one, "a candidate rule (TEST.RULE)", "needs", "permitted")
        return rules[0] if len(rules) == 1 else EveryRule(rules)
    return rule


def at_query_time(rule: Rule) -> Rule:
    """Return the part of ``rule`` that is known while a query is answered.

    Query expansion goes by it: under the camera rule it would otherwise drop neighbours for being right.
    """
    parts = rule.rules if isinstance(rule, EveryRule) else [rule]
    known = [part for part in parts if not getattr(part, "uses_truth", False)]
    return EveryRule(known) if len(known) > 1 else next(iter(known), AllItems())
