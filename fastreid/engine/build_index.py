"""Make an index of figures and keep it: the work of ``tools/build_index.py``."""

import argparse
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fastreid.utils.command import at_least_one, entry_point

if TYPE_CHECKING:
    from fastreid.index import Index

BACKENDS = ("store", "faiss", "milvus", "pgvector")
EMBEDDED = ("store", "faiss")
KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)*")  # of a setting
EXAMPLES = """
examples:
  a folder of drawings:
    %(prog)s add --index logs/index --images drawings --metadata metadata.jsonl --config-file F MODEL.WEIGHTS F.pth
  a feature file:
    %(prog)s add --index logs/index --features features.npz --config-file F MODEL.WEIGHTS F.pth
  go on after an interruption, or add more: the same command; figures that are there already are skipped
  take a patent out:
    %(prog)s delete --index logs/index --patent USD0510000
  what is in it:
    %(prog)s info --index logs/index
"""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description="Make an index of figures, add to it, delete, compact, check.", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.add_argument("--index", required=True, metavar="URI", help="a folder, milvus:..., postgresql://...")
        return one

    add = command("add", "Add figures; the index is made on first use.")
    source = add.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--images", nargs="+", metavar="PATH", help="images, folders, patterns, or lists (.txt): path identity"
    )
    source.add_argument("--features", metavar="FILE.npz", help="a feature file")
    add.add_argument(
        "--rows", choices=("gallery", "query", "all"), default="all", help="of the feature file (default: all)"
    )
    add.add_argument(
        "--metadata", nargs="+", default=[], metavar="FILE.jsonl",
        help="what is known about the figures; images that it does not name, and metadata without an image, are "
        "counted at the end",
    )  # fmt: skip
    add.add_argument(
        "--image-root", default="", metavar="DIR", help="names are relative to it (default: the folder given)"
    )
    add.add_argument("--backend", choices=BACKENDS, help="of a new index (default: store, or as the address says)")
    add.add_argument("--factory", metavar="STRING", help="of a new faiss index (default: by size)")
    add.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="of a new index on a server: ann=hnsw"
    )
    add.add_argument("--metric", choices=("cosine", "euclidean"), help="of a new index (default: cosine)")
    add.add_argument(
        "--replace", action="store_true", help="figures that are there already are made anew, also their metadata"
    )
    add.add_argument("--batch", type=at_least_one, default=512, help="figures per commit (default: %(default)s)")
    add.add_argument("--config-file", default="", metavar="FILE", help="of the model")
    add.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="settings, after all options")
    delete = command("delete", "Remove figures, or all figures of patents.")
    delete.add_argument("--figure", nargs="+", default=[], metavar="FIGURE_ID")
    delete.add_argument("--patent", nargs="+", default=[], metavar="PATENT")
    compacted = command(
        "compact", "Drop what was removed, with all earlier versions, and bring the rest into its quickest form."
    )
    compacted.add_argument("--backend", choices=EMBEDDED, help="that an index in a folder is to have from now on")
    compacted.add_argument("--factory", metavar="STRING", help="of faiss (default: by size)")
    info = command("info", "Say what is in the index.")
    info.add_argument("--json", action="store_true", help="as JSON")
    command("verify", "Compare all files with their checksums.")
    return made


@entry_point("Interrupted. What was committed is in the index; the same command goes on.")
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and do it."""
    run(argv)


def run(argv: Sequence[str] | None) -> None:
    """As `main`, but errors are raised."""
    args = parser().parse_args(argv)
    if args.command == "add":
        args.images, args.metadata = _settings_behind(args, args.images or []), _settings_behind(args, args.metadata)
    COMMANDS[args.command](args)


def _settings_behind(args: argparse.Namespace, given: list[str]) -> list[str]:
    """Return the paths of an option that takes several; KEY VALUE pairs that it swallowed go to ``args.opts``."""
    keys = [place for place, text in enumerate(given) if KEY.fullmatch(text) and not os.path.exists(text)]
    if not keys:
        return given
    args.opts = [*given[keys[0] :], *args.opts]
    return given[: keys[0]]


def add(args: argparse.Namespace) -> None:
    """Add the figures of a feature file or of images, and say what came of it."""
    from fastreid.engine.index_adding import add_figures

    print(add_figures(args), flush=True)


def delete(args: argparse.Namespace) -> None:
    """Remove figures and patents."""
    from fastreid.engine.search_words import count_words, counted
    from fastreid.index import open_index

    if not args.figure and not args.patent:
        raise ValueError("delete needs --figure or --patent")
    with open_index(args.index, write=True) as index:
        before = index.info.figures
        index.delete(args.figure, args.patent)
        info = index.info
        gone = counted(before - info.figures, "figure")
        print(f"Removed {gone}; {count_words(info)} left, version {info.version}.")


def compact(args: argparse.Namespace) -> None:
    """Compact the index and say what it has become."""
    from fastreid.index import open_index

    if args.backend or args.factory:
        _take_over(args.index, args.backend or "faiss", args.factory)
    with open_index(args.index, write=True) as index:
        index.compact()
        print(_told(index, args.index))


def _take_over(uri: str, backend: str, factory: str | None) -> None:
    """Give an index in a folder another backend."""
    from fastreid.index.open import backend_of, get_backend
    from fastreid.index.store import Store

    old, new = backend_of(uri), get_backend(backend)
    if not issubclass(old, Store):
        raise ValueError(f"--backend is of an index in a folder; this one is in {old.name}")
    if factory and backend != "faiss":
        raise ValueError(f"--factory is of the backend faiss, not of {backend}")
    new.take_over(uri, **({"factory": factory} if factory else {}))


def info(args: argparse.Namespace) -> None:
    """Say what is in the index."""
    import json

    from fastreid.index import open_index

    with open_index(args.index) as index:
        if args.json:
            facets = {name: {value: vars(one) for value, one in each.items()} for name, each in index.facets().items()}
            print(
                json.dumps(
                    {**index.info.as_json(), "facets": facets, "bytes": _size(args.index)}, ensure_ascii=False, indent=1
                )
            )
        else:
            print(_told(index, args.index))


def verify(args: argparse.Namespace) -> None:
    """Compare all files with their checksums; a server's rows are counted."""
    from fastreid.engine.search_words import count_words
    from fastreid.index import open_index

    with open_index(args.index) as index:
        check: Callable | None = getattr(index, "verify", None)
        if check is not None:
            check()
        count = index.count()
        if (count.figures, count.designs) != (index.info.figures, index.info.designs):
            from fastreid.index import IndexCorrupt

            raise IndexCorrupt(f"the index holds {count.figures} figures; its manifest says {index.info.figures}")
        print(f"Whole: {count_words(count)}, version {index.info.version}.")


def _size(uri: str) -> int:
    """Bytes of an index's folder; 0 for a server's."""
    return sum(path.stat().st_size for path in Path(uri).glob("*") if path.is_file()) if os.path.isdir(uri) else 0


def _told(index: "Index", uri: str) -> str:
    from tabulate import tabulate

    from fastreid.engine.search_words import count_words

    made = index.info
    rows = [
        ("holds", count_words(made)),
        ("version", f"{made.version}, changed {made.changed}; searchable from version {made.oldest_version} on"),
        (
            "backend",
            f"{made.backend}, {made.metric}, {made.dim} numbers" + (f", {dict(made.options)}" if made.options else ""),
        ),
        ("search", "exact" if made.exact else f"approximate, recall {dict(made.recall)}"),
        ("model", f"weights {str(made.model.get('weights', 'not told'))[:12]}, {made.weights_path or 'no file'}"),
        ("images", made.image_root or "absolute paths"),
    ]
    if os.path.isdir(uri):
        rows.append(("size", f"{_size(uri) / 2**20:,.1f} MiB"))
    facets = index.facets()
    for name in ("office", "class", "year"):
        values = sorted(facets[name].items(), key=lambda item: -item[1].figures)
        shown = ", ".join(f"{value or 'unknown'} {one.figures:,}" for value, one in values[:8])
        rows.append((name, shown + (f" and {len(values) - 8} more" if len(values) > 8 else "")))
    return tabulate(rows, tablefmt="plain")


COMMANDS = {"add": add, "delete": delete, "compact": compact, "info": info, "verify": verify}
