"""What a search found, as text for a terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastreid.index.base import Count, IndexInfo
from fastreid.index.filters import Filter
from fastreid.utils.errors import nearest

if TYPE_CHECKING:
    from fastreid.engine.searcher import SearchResponse

WIDTH = 100
NARROWEST = 14  # letters of a title, or of what matched
FEW = 8  # values of a facet that are named rather than the nearest of them
DATES = {"date": "published", "filed": "filed"}


def date_words(date: int) -> str:
    """Return 20181106 as "2018-11-06", 0 as ""."""
    return f"{date // 10000:04}-{date // 100 % 100:02}-{date % 100:02}" if date else ""


def view_words(figure: Mapping[str, Any]) -> str:
    """Return "front, fig. 3" of a figure, or its figure_id where neither is known."""
    number = f"fig. {figure['figure']}" if figure["figure"] else ""
    return ", ".join(word for word in (figure["view"], number) if word) or figure["figure_id"]


def count_words(count: Count) -> str:
    """Return "4,158 figures of 693 designs"."""
    figures = "figure" if count.figures == 1 else "figures"
    return f"{count.figures:,} {figures} of {count.designs:,} {'design' if count.designs == 1 else 'designs'}"


def table_of(response: "SearchResponse") -> str:
    """Return the results as a table of at most ``WIDTH`` letters across, where the names let it be."""
    from tabulate import tabulate

    several = len(response.request.query) + bool(response.request.text) > 1
    rows = [_row(result, several) for result in response.results]
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    widths = {name: max(len(name) + 2, *(len(row[name]) for row in rows)) for name in names}  # as tabulate
    for name in ("title", "matched"):  # the title is cut first
        room = WIDTH - sum(widths[other] + 2 for other in names if other != name)
        widths[name] = min(widths.get(name, 0), max(NARROWEST, room))
        for row in rows:
            row[name] = _cut(row[name], widths[name])
    return tabulate(
        [[row[name] for name in names] for row in rows], names, "simple", disable_numparse=True,
        colalign=["right" if name in ("rank", "score") else "left" for name in names],
    )  # fmt: skip


def _row(result: Mapping[str, Any], several: bool) -> dict[str, str]:
    figure = result["figure"]
    matches = result.get("evidence", [result])
    return {
        "rank": str(result["rank"]),
        "patent": figure["patent"],
        "score": f"{result['score']:.4f}",
        "best view": view_words(figure),
        "matched": ", ".join(_matched(match, several and "evidence" in result) for match in matches),
        "title": figure["title"],
        "date": date_words(figure["date"]),
    }


def _matched(match: Mapping[str, Any], several: bool) -> str:
    """Which query figure, in which variant, and, where there are several, which figure it matched."""
    if not several:
        return match["variant"] if match["query"] == 0 else f"query {match['query'] + 1}, {match['variant']}"
    found = match["figure"]["view"] or match["figure"]["figure"] or match["figure"]["figure_id"]
    variant = "" if match["variant"] in ("as given", "text") else f" {match['variant']}"
    return f"{match['query'] + 1}: {found}{variant}"


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 3].rstrip() + "..."


def searched_words(response: "SearchResponse", info: IndexInfo) -> str:
    """Return how much was searched, and how well: "Searched 4,158 figures of 693 designs (version 2), exactly."."""
    how = "exactly"
    if not response.exact:
        how = "approximately"
        if "all" in info.recall:
            how += f" (recall@{info.recall.get('k', '')} {info.recall['all']:.3f} measured)"
    conditions = ", ".join(condition_words(response.request.filter).values())
    unknown = f" The index has no patent {_any(response.unknown)}." if response.unknown else ""
    return (
        f"Searched {count_words(response.searched)} (version {response.version}), {how}"
        f"{': ' if conditions else ''}{conditions}.{unknown}"
    )


def condition_words(filter: Filter) -> dict[str, str]:
    """Return each condition that is set, by its name, in words."""
    kind = DATES[filter.date_field]
    words = {
        "before": f"{kind} before {date_words(filter.before)}",
        "since": f"{kind} since {date_words(filter.since)}",
        "locarno": f"class {_any(filter.locarno)}",
        "office": f"office {_any(filter.office)}",
        "view": f"view {_any(filter.view)}",
        "applicant": f"applicant {_any(filter.applicant)}",
        "patents": f"patent {_any(filter.patents)}",
        "not_patents": f"not patent {_any(filter.not_patents)}",
        "title": f"title with '{filter.title}'",
    }
    return {name: text for name, text in words.items() if name in filter.as_json()}


def _any(values: Sequence[str]) -> str:
    shown = ", ".join(values[:-1]) + " or " + values[-1] if len(values) > 1 else "".join(values)
    return shown if len(values) <= 4 else f"{', '.join(values[:3])} or {len(values) - 3} more"


def nothing_words(filter: Filter, counts: Mapping[str, Count], whole: Count) -> str:
    """Say why nothing is permitted: what would be, without each condition.

    Args:
        counts: see :meth:`fastreid.engine.searcher.Searcher.without_each`.
        whole: everything in the index.
    """
    lines = [f"Nothing to search: of {count_words(whole)} in the index, none fulfils all conditions."]
    words = {**condition_words(filter), "exclude_own": "not the query's own patent"}
    lines += [f"  without '{words[name]}': {count_words(count)}" for name, count in counts.items()]
    return "\n".join(lines) if whole.figures else "Nothing to search: the index is empty."


def unknown_words(filter: Filter, facets: Mapping[str, Mapping[str, Count]]) -> list[str]:
    """Name the values of conditions that no figure has, with those that there are or the nearest of many."""
    lines = []
    for name in ("office", "view", "applicant"):
        known = [value for value in facets[name] if value]
        for value in getattr(filter, name):
            if value not in known:
                few = f" It has {', '.join(known)}." if 0 < len(known) <= FEW else nearest(value, known)
                lines.append(f"The index has no {name} '{value}'.{few}")
    return lines
