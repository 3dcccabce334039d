"""Search an index of figures from the command line: the work of ``tools/search.py``."""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastreid.engine.search_options import check_options, request_of, search_parser
from fastreid.utils.command import entry_point

if TYPE_CHECKING:
    from PIL.Image import Image

    from fastreid.engine.query_encoder import QueryEncoder
    from fastreid.engine.search_request import SearchRequest
    from fastreid.engine.searcher import Searcher, SearchResponse
    from fastreid.index import Filter, Index


@entry_point()
def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, search, and show what was found."""
    parser = search_parser()
    args = parser.parse_args(argv)
    check_options(args, parser)
    return run(args)


def run(args: argparse.Namespace) -> int:
    """Search as the parsed command line says; return the exit status."""
    from fastreid.engine.query_image import open_query_image
    from fastreid.engine.search_record import load_record, replay
    from fastreid.engine.search_request import SearchRequest
    from fastreid.engine.searcher import Searcher
    from fastreid.index import open_index

    with open_index(args.index) as index:
        record = load_record(args.replay) if args.replay else None
        if record:
            paths = find_images(record["images"], args.query)
            request = SearchRequest.from_json(record["request"])
        else:
            paths = {os.path.abspath(path): path for path in args.query}
        images = {key: open_query_image(path) for key, path in paths.items()}
        if not record:
            request = request_of(args, images, index)
            require_known(request.filter, index, args.as_of)
        searcher = Searcher(index, _encoder(args, index, request), args.images)
        if record:
            again = replay(record, searcher, images)
            response = again.response
        else:
            response = searcher.search(request, images)
        described = record["images"] if record else describe(paths, images)
        _write(args, searcher, response, images, described)
        if args.json == "-":
            print(json.dumps(response.as_json(), ensure_ascii=False, indent=1))
        else:
            _show(searcher, response)
        if not record:
            return 0
        _report(again, sys.stderr if args.json == "-" else sys.stdout)
        return 0 if again.same else 1


def require_known(filter: "Filter", index: "Index", version: int | None) -> None:
    """Raise ``ValueError`` for a class, office, view or applicant that no figure has: a slip, which leaves out results.

    A record was right when it was written, and is not asked.
    """
    from fastreid.engine.search_words import FACET_LISTS, unknown_words
    from fastreid.index import Filter

    values = [(name, value) for name in FACET_LISTS for value in getattr(filter, name)]
    # a count of each is quick, where the values of all facets of a large index are not
    if all(index.count(Filter(**{name: (value,)}), version).figures for name, value in values):
        return
    lines = unknown_words(filter, index.facets(as_of=version))
    if lines and index.count(as_of=version).figures:
        raise ValueError(" ".join(lines))


def _encoder(args: argparse.Namespace, index: "Index", request: "SearchRequest") -> "QueryEncoder | None":
    """The model, where something has to be encoded."""
    plain = all(item.is_plain for item in request.query) and not (request.rotations or request.mirror or request.text)
    if plain:
        return None
    from fastreid.config import get_cfg
    from fastreid.engine.arguments import merge_command_line
    from fastreid.engine.query_encoder import QueryEncoder

    if not args.config_file:
        return QueryEncoder.of_index(index.info, args.opts)
    cfg = get_cfg()
    merge_command_line(cfg, args)
    return QueryEncoder(cfg)


def find_images(recorded: Sequence[Mapping[str, Any]], given: Sequence[str]) -> dict[str, str]:
    """Return the files of recorded query images, by their ``upload``: among ``given``, or where they lay.

    Raises:
        ValueError: a file changed, or one of ``given`` is none of them; with the SHA-256 of both.
        FileNotFoundError: one is not there any more.
    """
    from fastreid.utils.files import sha256_of

    hashes, found = {path: sha256_of(path) for path in given}, {}
    for image in recorded:
        name, wanted = os.path.basename(image["name"]), image["sha256"]
        same = next((path for path, digest in hashes.items() if digest == wanted), None)
        namesake = next((path for path in given if os.path.basename(path) == name), image["upload"])
        if same is None and not os.path.isfile(namesake):
            raise FileNotFoundError(
                f"the query image {name} (SHA-256 {wanted}) is not at {namesake}: give it by --query"
            )
        if same is None and sha256_of(namesake) != wanted:
            raise ValueError(
                f"{namesake} is not the image of the record: its SHA-256 is {sha256_of(namesake)}, not {wanted}"
            )
        found[image["upload"]] = same or namesake
    for path, digest in hashes.items():
        if digest not in [image["sha256"] for image in recorded]:
            raise ValueError(
                f"{path} is none of the {len(recorded)} query images of the record (its SHA-256 is {digest})"
            )
    return found


def describe(paths: Mapping[str, str], images: Mapping[str, "Image"]) -> list[dict[str, Any]]:
    """Return what a record says of the query images."""
    from fastreid.utils.files import sha256_of

    return [
        {
            "upload": key, "sha256": sha256_of(path), "name": os.path.basename(path), "width": images[key].width,
            "height": images[key].height,
        }
        for key, path in paths.items()
    ]  # fmt: skip


# -------------------------------------------------------------------------------------------------- what is shown


def _show(searcher: "Searcher", response: "SearchResponse") -> None:
    from fastreid.engine.search_words import nothing_words, searched_words, table_of

    if response.results:
        print(table_of(response), end="\n\n")
    elif response.total:
        print(f"No results beyond the first {response.total}.\n")
    else:
        counts = searcher.without_each(response.request, response.version)
        print(nothing_words(response.request.filter, counts, searcher.index.count(as_of=response.version)))
        if response.unknown:
            print(f"The index has no patent {', '.join(response.unknown)}.")
        return
    print(searched_words(response, searcher.index.info))


def _report(again, stream) -> None:
    for note in again.notes:
        print(f"Note: {note}.", file=stream)
    count = len(again.response.results)
    if again.same:
        print(f"The same {count} results as recorded." if count != 1 else "The same result as recorded.", file=stream)
    for difference in again.differences:
        print(f"Different: {difference}.", file=stream)


def _write(
    args: argparse.Namespace,
    searcher: "Searcher",
    response: "SearchResponse",
    images: Mapping[str, "Image"],
    described: Sequence[Mapping[str, Any]],
) -> None:
    """Write the files that were asked for."""
    from fastreid.engine.search_record import record_of, save_record, sealed
    from fastreid.utils.files import atomic_write

    if args.json not in ("", "-"):
        with atomic_write(args.json, "w") as file:
            json.dump(response.as_json(), file, ensure_ascii=False, indent=1)
    if args.record:
        save_record(args.record, sealed(record_of(response, searcher, described)))
    if args.sheet:
        from fastreid.engine.contact_sheet import write_sheet

        missing = write_sheet(args.sheet, searcher, response, images)
        if missing:
            images_of = f"{missing} image{'s' * (missing > 1)} of the sheet"
            print(f"{images_of} could not be read: grey squares stand for them", file=sys.stderr)
