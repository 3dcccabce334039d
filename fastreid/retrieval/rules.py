"""Which gallery items may be shown to which query: one idea for ranking, expansion and search.

A rule is a predicate over columns ("pids", "camids", "dates", "taxonomy", ...), asked block by block or for a list of
pairs. It never sees features. What it declares about itself, `within` or `before`, makes it cheap; see `candidates`.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from fastreid.utils.errors import require_members
from fastreid.utils.locarno import parse_locarno
from fastreid.utils.registry import Registry

RULE_REGISTRY = Registry("RULE", "TEST.RULE")
Columns = Mapping[str, np.ndarray]


class Rule(Protocol):
    """What ranking asks of a rule. Only ``needs`` and ``permits`` are obligatory.

    Attributes:
        needs: the columns it reads, at least one.
        within: a column; every pair that the rule excludes has equal values in it.
        before: a column of numbers; the rule permits exactly the pairs with ``0 < item < query`` in it.
        uses_truth: it reads what only an evaluation knows, the query's identity in the sense of the labels;
            `at_query_time` leaves it out.
    """

    needs: tuple[str, ...]

    def permits(self, query: Columns, item: Columns) -> np.ndarray:
        """Return bool, true where the item may be ranked for the query.

        The columns of both sides are arrays that broadcast against each other, (q, 1) and (1, g) for a block, (n,) and
        (n,) for pairs; the answer has their number of dimensions and broadcasts to their common shape.
        """

    # def read(self, columns: Columns) -> Columns
    #   optional; derives from the columns of one side, length n, the columns of length n which `permits` gets. Asked
    #   once per search and side. ``within`` and ``before`` name columns that it returns.


@RULE_REGISTRY.register(name="all")
class AllItems:
    """Every gallery item is a candidate."""

    needs = ()

    def permits(self, query: Columns, item: Columns) -> np.ndarray:
        return np.ones((), dtype=bool)


@RULE_REGISTRY.register(name="camera")
class OtherCamera:
    """Market-1501 (Zheng et al., ICCV 2015): an image of the same identity by the same camera is junk."""

    needs = ("pids", "camids")
    within = "pids"
    uses_truth = True

    def permits(self, query: Columns, item: Columns) -> np.ndarray:
        return (query["pids"] != item["pids"]) | (query["camids"] != item["camids"])


@RULE_REGISTRY.register(name="other_patent")
class OtherPatent:
    """Figures of the query's own patent are not candidates."""

    needs = ("pids",)
    within = "pids"

    def permits(self, query: Columns, item: Columns) -> np.ndarray:
        return query["pids"] != item["pids"]


@RULE_REGISTRY.register(name="granted_before")
class GrantedBefore:
    """Prior art: granted strictly before the query.

    The same day is not before, and an unknown date (0) is never permitted.
    """

    needs = ("dates",)
    before = "dates"

    def permits(self, query: Columns, item: Columns) -> np.ndarray:
        return (item["dates"] > 0) & (item["dates"] < query["dates"])  # an unknown query date is below all that remain


class _SameLocarno:
    """Equal codes of a Locarno level; an unknown or unreadable one is equal to nothing, not even to another one."""

    needs = ("taxonomy",)

    def read(self, columns: Columns) -> Columns:
        values, inverse = np.unique(columns["taxonomy"].astype(str), return_inverse=True)
        codes = np.array([self.code(*parse_locarno(value)) for value in values.tolist()], dtype=np.int64)
        return {"code": codes[inverse]}

    def permits(self, query: Columns, item: Columns) -> np.ndarray:
        return (item["code"] > 0) & (item["code"] == query["code"])


@RULE_REGISTRY.register(name="same_class")
class SameClass(_SameLocarno):
    """Items of the query's Locarno class (14 of 14-04)."""

    @staticmethod
    def code(class_: int, subclass: int) -> int:
        return class_


@RULE_REGISTRY.register(name="same_subclass")
class SameSubclass(_SameLocarno):
    """Items of the query's Locarno class and subclass (14-04); a code without subclass (14-00) counts as unknown."""

    @staticmethod
    def code(class_: int, subclass: int) -> int:
        return 100 * class_ + subclass if subclass else 0


@RULE_REGISTRY.register(name="no_opposite_view")
class NoOppositeView:
    """Leave out the figure of the query's own patent that shows the opposite side.

    Opposite outlines are mirror images, which makes this match the easy one: without it, a figure has to be found from
    a side that looks different. Views are named ``front``, ``rear``, ``left``, ``right``, ``top`` and ``bottom``;
    whatever else the column holds has no opposite. Query expansion and re-ranking still see that figure (`uses_truth`).
    """

    needs = ("pids", "views")
    within = "pids"
    uses_truth = True
    sides = {"front": 1, "rear": -1, "left": 2, "right": -2, "top": 3, "bottom": -3}

    def read(self, columns: Columns) -> Columns:
        values, inverse = np.unique(columns["views"].astype(str), return_inverse=True)
        sides = np.array([self.sides.get(value, 0) for value in values.tolist()], dtype=np.int64)
        return {"pids": columns["pids"], "side": sides[inverse]}

    def permits(self, query: Columns, item: Columns) -> np.ndarray:
        opposite = (query["side"] == -item["side"]) & (item["side"] != 0)
        return (query["pids"] != item["pids"]) | ~opposite


class EveryRule:
    """A pair is permitted when all ``rules`` permit it. It is taken apart by `parts_of`."""

    def __init__(self, rules: list[Rule]):
        self.rules = [part for rule in rules for part in parts_of(rule)]
        self.needs = tuple(dict.fromkeys(column for rule in self.rules for column in rule.needs))


def parts_of(rule: Rule) -> list[Rule]:
    """Return the rules that ``rule`` is made of."""
    return list(rule.rules) if isinstance(rule, EveryRule) else [rule]


def name_of(rule: Rule) -> str:
    """Return the name under which the class of ``rule`` is registered, else that of the class."""
    return next((name for name, kind in RULE_REGISTRY if kind is type(rule)), type(rule).__name__)


def get_rule(rule: str | Rule | None) -> Rule:
    """Return the rule of a registered name, or ``rule`` itself; ``None`` is the rule "all".

    Names joined by "+", as in "other_patent+granted_before", mean that all of them hold.

    Raises:
        KeyError: a name is not registered.
        TypeError: a rule lacks what a :class:`Rule` has.
    """
    if rule is None or isinstance(rule, str):
        rules = [_checked(RULE_REGISTRY.get(name.strip())()) for name in (rule or "all").split("+")]
        return rules[0] if len(rules) == 1 else EveryRule(rules)
    return rule if isinstance(rule, EveryRule) else _checked(rule)


def _checked(rule: Rule) -> Rule:
    if isinstance(rule, type):
        raise TypeError(f"a candidate rule must be an object; got the class {rule.__name__} (write {rule.__name__}())")
    if hasattr(rule, "permitted") and not hasattr(rule, "permits"):
        raise TypeError(
            f"{type(rule).__name__}.permitted(queries, gallery) must become permits(query, item): the columns of both "
            "sides now arrive as arrays that broadcast against each other, so write query['pids'] != item['pids'], "
            "without [:, None]"
        )
    require_members(rule, "a candidate rule (TEST.RULE)", "needs", "permits")
    return rule


def at_query_time(rule: Rule) -> Rule:
    """Return the part of ``rule`` that is known while a query is answered.

    Query expansion goes by it: under the camera rule it would otherwise drop neighbours for being right.
    """
    known = [part for part in parts_of(rule) if not getattr(part, "uses_truth", False)]
    return EveryRule(known) if len(known) > 1 else next(iter(known), AllItems())
