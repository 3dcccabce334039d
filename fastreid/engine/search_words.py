"""What was searched for and found, in words: for a terminal, a table, a report."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastreid.index.base import Count, IndexInfo
from fastreid.index.figures import class_of
from fastreid.index.filters import Filter
from fastreid.utils.errors import nearest

if TYPE_CHECKING:
    from fastreid.engine.search_request import SearchRequest
    from fastreid.engine.searcher import SearchResponse

WIDTH = 100
NARROWEST = 14  # letters of a title, or of what matched
FEW = 8  # values of a facet that are named rather than the nearest of them
FACET_LISTS = ("locarno", "office", "view", "applicant")
VALUES = 4  # of a condition that are told on a terminal
FUSIONS = {"mean": "the mean over them", "max": "the best of them"}
DATES = {"date": "published", "filed": "filed"}


def date_words(date: int) -> str:
    """Return 20181106 as "2018-11-06", 0 as ""."""
    return f"{date // 10000:04}-{date // 100 % 100:02}-{date % 100:02}" if date else ""


def view_words(figure: Mapping[str, Any]) -> str:
    """Return "front, fig. 3" of a figure, or its figure_id where neither is known."""
    number = f"fig. {figure['figure']}" if figure["figure"] else ""
    return ", ".join(word for word in (figure["view"], number) if word) or figure["figure_id"]


def counted(number: int, thing: str) -> str:
    """Return "1 figure", "4,158 figures"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def count_words(count: Count | IndexInfo) -> str:
    """Return "4,158 figures of 693 designs" of a count, or of a whole index."""
    return f"{counted(count.figures, 'figure')} of {counted(count.designs, 'design')}"


def letter(place: int) -> str:
    """Return the letter of a query figure, as the page names it, A for 0; a search has at most eight."""
    return chr(ord("A") + place)


def query_words(match: Mapping[str, Any]) -> str:
    """Return which part of the query a result or its evidence matched: the letter of a figure, "words" of the text."""
    return "words" if match["variant"] == "text" else letter(match["query"])


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
    part = query_words(match)
    if not several:
        return match["variant"] if match["query"] == 0 else f"query {part}, {match['variant']}"
    found = match["figure"]["view"] or match["figure"]["figure"] or match["figure"]["figure_id"]
    variant = "" if match["variant"] in ("as given", "text") else f" {match['variant']}"
    return f"{part}: {found}{variant}"


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
    """Return each condition that is set, by its name, in words; of many values the first."""
    return {name: " ".join(parts) for name, parts in _conditions(filter, VALUES).items()}


def condition_rows(request: "SearchRequest", most: int = 0) -> list[tuple[str, str]]:
    """Return name and value of each condition of a search but its cut-off date, for a table.

    Args:
        most: values of a condition that are told; 0: all.
    """
    filter = request.filter
    parts = [part for name, part in _conditions(filter, most).items() if name != "before"]
    rows = [(name[0].upper() + name[1:], value) for name, value in parts]
    forms = [name for name in ("rotations", "mirror") if getattr(request, name)]
    rows += [("Variants", ", ".join(forms))] if forms else []
    if request.exclude_own and any(item.figure for item in request.query):
        rows.append(("Left out", "the patents of the query figures"))
    rows.append(("Results by", request.group))
    if len(request.query) + bool(request.text) > 1:
        rows.append(("Several query figures", FUSIONS[request.fusion]))
    return rows


def cut_off_words(filter: Filter) -> str:
    """Say which cut-off date a search had."""
    if not filter.before:
        return "No cut-off date"
    return f"Cut-off date: {DATES[filter.date_field]} strictly before {date_words(filter.before)}"


def range_words(record: Mapping[str, Any]) -> str:
    """Return which results a record holds: "1 to 24 of 70 designs", "none of 0 designs"."""
    first, number = record["request"]["offset"] + 1, len(record["results"])
    held = f"{first:,} to {first + number - 1:,}" if number else "none"
    return f"{held} of {counted(record['total'], record['request']['group'])}"


def _conditions(filter: Filter, most: int) -> dict[str, tuple[str, str]]:
    """Each condition that is set, as its name and its value in words."""
    kind = DATES[filter.date_field]
    words = {
        "before": (f"{kind} before", date_words(filter.before)),
        "since": (f"{kind} since", date_words(filter.since)),
    }
    names = {"patents": "patent", "not_patents": "not patent", "locarno": "class"}
    for name in ("locarno", "office", "view", "applicant", "patents", "not_patents"):
        words[name] = names.get(name, name), _any(getattr(filter, name), most)
    words["title"] = "title with", f"'{filter.title}'"
    return {name: parts for name, parts in words.items() if name in filter.as_json()}


def _any(values: Sequence[str], most: int = VALUES) -> str:
    values = [value or "unknown" for value in values]
    if most and len(values) > most:
        return f"{', '.join(values[: most - 1])} or {len(values) - most + 1} more"
    return ", ".join(values[:-1]) + " or " + values[-1] if len(values) > 1 else "".join(values)


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
    for name in FACET_LISTS:
        for value in getattr(filter, name):
            facet = ("class" if class_of(value) == value else "locarno") if name == "locarno" else name
            known = [each for each in facets[facet] if each]
            if value and value not in known:  # "": those of which it is not known
                few = f" It has {', '.join(known)}." if 0 < len(known) <= FEW else nearest(value, known)
                lines.append(f"the index has no {'class' if name == 'locarno' else name} '{value}'.{few}")
    return lines
