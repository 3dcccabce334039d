"""Make an index of figures and keep it: the work of ``tools/build_index.py``."""

import argparse
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastreid.utils.command import at_least_one, entry_point

if TYPE_CHECKING:
    import numpy as np

    from fastreid.index import Index

logger = logging.getLogger(__name__)
BACKENDS = ("store", "faiss", "milvus", "pgvector")
SHOWN = 10  # bad images that are named
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
    add.add_argument("--metadata", nargs="+", default=[], metavar="FILE.jsonl", help="what is known about the figures")
    add.add_argument(
        "--image-root", default="", metavar="DIR", help="names are relative to it (default: the folder given)"
    )
    add.add_argument("--backend", choices=BACKENDS, help="of a new index (default: store, or as the address says)")
    add.add_argument("--factory", metavar="STRING", help="of a new faiss index (default: by size)")
    add.add_argument("--metric", choices=("cosine", "euclidean"), default="cosine", help="of a new index")
    add.add_argument("--replace", action="store_true", help="figures that are there already are made anew")
    add.add_argument("--batch", type=at_least_one, default=256, help="figures per commit (default: %(default)s)")
    add.add_argument("--config-file", default="", metavar="FILE", help="of the model")
    add.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="settings, after all options")
    delete = command("delete", "Remove figures, or all figures of patents.")
    delete.add_argument("--figure", nargs="+", default=[], metavar="FIGURE_ID")
    delete.add_argument("--patent", nargs="+", default=[], metavar="PATENT")
    command("compact", "Drop what was removed, with all earlier versions, and bring the rest into its quickest form.")
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
    COMMANDS[args.command](args)


# -- add ---------------------------------------------------------------------------------------------------------------


@dataclass
class Summary:
    """What came of adding; ``bad`` holds the reasons of figures that were left out."""

    added: int = 0
    skipped: int = 0
    bad: dict[str, str] = field(default_factory=dict)
    start: float = field(default_factory=time.perf_counter)

    def words(self, index: "Index") -> str:
        seconds = time.perf_counter() - self.start
        lines = [
            f"Added {self.added:,} figures in {seconds:.1f} s ({self.added / max(seconds, 1e-9):.1f} a second); "
            f"{self.skipped:,} were there already, {len(self.bad):,} were left out.",
            *(f"  left out: {path}: {reason}" for path, reason in list(self.bad.items())[:SHOWN]),
        ]
        if len(self.bad) > SHOWN:
            lines.append(f"  and {len(self.bad) - SHOWN:,} more")
        info = index.info
        lines.append(f"The index has {info.figures:,} figures of {info.designs:,} designs, version {info.version}.")
        return "\n".join(lines)


def add(args: argparse.Namespace) -> Summary:
    """Add the figures of a feature file or of images, batch by batch."""
    from fastreid.engine.figure_metadata import FigureMetadata
    from fastreid.utils.logger import setup_logger

    setup_logger()
    metadata = FigureMetadata(args.metadata)
    summary = Summary()
    if args.features:
        index = _add_features(args, metadata, summary)
    else:
        index = _add_images(args, metadata, summary)
    with index:
        print(summary.words(index))
    return summary


def _open(args: argparse.Namespace, dim: int, model: dict[str, Any], config: str, weights: str, root: str) -> "Index":
    """Open the index for writing, or make it; one of another model is refused."""
    from fastreid.index import create_index, open_index

    try:
        index = open_index(args.index, write=True)
    except FileNotFoundError:
        options = {"factory": args.factory} if args.factory else {}
        backend = args.backend or ("faiss" if args.factory else _backend_of(args.index))
        return create_index(
            args.index, backend, dim=dim, metric=args.metric, model=model, config=config, weights_path=weights,
            image_root=root, **options,
        )  # fmt: skip
    try:
        if model:
            index.info.check_model(model)
        if index.info.dim != dim:
            raise ValueError(f"the index holds vectors of {index.info.dim} numbers; these have {dim}")
        if args.backend not in (None, index.info.backend):
            raise ValueError(f"the index has the backend {index.info.backend}; it cannot become {args.backend}")
    except BaseException:
        index.close()
        raise
    return index


def _backend_of(uri: str) -> str:
    return "milvus" if uri.startswith("milvus:") else "pgvector" if uri.startswith("postgres") else "store"


def _config(args: argparse.Namespace):
    from fastreid.engine.tool_config import read_config

    return read_config(args, "DATALOADER.ON_BAD_IMAGE", "skip")


def _add_images(args: argparse.Namespace, metadata, summary: Summary) -> "Index":
    from fastreid.engine.query_encoder import QueryEncoder

    root, found = images_of(args.images, args.image_root)
    cfg = _config(args)
    encoder = QueryEncoder(cfg)
    index = _open(args, encoder.dim, encoder.identity, cfg.dump(), encoder.weights_path, root)
    try:
        names = {os.path.relpath(path, root).replace(os.sep, "/"): path for path in found}
        known = set() if args.replace else set(_known(index, list(names)))
        summary.skipped = len(known)
        todo = {name: path for name, path in names.items() if name not in known}
        for part, vectors in _encoded(cfg, encoder, todo, args.batch, summary):
            rows = [{**metadata.of(todo[name], found[todo[name]]), "figure_id": name, "path": name} for name in part]
            _commit(index, rows, vectors, summary)
    except BaseException:
        index.close()
        raise
    return index


def images_of(inputs: Sequence[str], root: str) -> tuple[str, dict[str, str]]:
    """Return the folder that names are relative to, and the images with their identities ("" unless a list says).

    A list is a file ``.txt`` with lines ``path identity``, paths relative to the root, else to the list's folder.
    """
    from fastreid.data.datasets.lists import read_list
    from fastreid.engine.feature_demo import image_paths

    found: dict[str, str] = {}
    folders = []
    for given in inputs:
        if given.endswith(".txt") and os.path.isfile(given):
            folders.append(os.path.abspath(root or os.path.dirname(given)))
            found.update({os.path.join(folders[-1], path): identity for (path, identity), _ in read_list(given)})
        else:
            paths = [os.path.abspath(path) for path in image_paths([given])]
            folders.append(
                os.path.abspath(given) if os.path.isdir(given) else os.path.commonpath(map(os.path.dirname, paths))
            )
            found.update(dict.fromkeys(paths, ""))
    root = os.path.abspath(root) if root else os.path.commonpath(folders)
    outside = next((path for path in found if not Path(path).is_relative_to(root)), None)
    if outside:
        raise ValueError(f"the image {outside} lies outside of --image-root {root}")
    return root, found


def _encoded(
    cfg, encoder, todo: dict[str, str], batch: int, summary: Summary
) -> Iterator[tuple[list[str], "np.ndarray"]]:
    """Yield names and vectors (n, D) of readable images; the others go into the summary."""
    import torch
    from tqdm import tqdm

    from fastreid.data.build import build_file_loader
    from fastreid.engine.feature_demo import unreadable
    from fastreid.engine.query_encoder import PLAIN
    from fastreid.evaluation.evaluator import forward

    if not todo:
        return
    names, loader, done = list(todo), build_file_loader(cfg, list(todo.values()), batch), 0
    with torch.inference_mode(), tqdm(total=len(names), unit=" images", disable=None) as bar:
        for images in loader:
            part = names[done : done + len(images["images"])]
            flat = images["images"].flatten(1)
            blank = (flat.amax(1).float() - flat.amin(1).float() < PLAIN).tolist()
            features = forward(encoder.model, images, cfg.TEST.FLIP.ENABLED).float().cpu().numpy()
            bad = unreadable([todo[name] for name in part], loader.bad_images)
            summary.bad.update(dict.fromkeys(bad, "it cannot be read"))
            for place, name in enumerate(part):
                if todo[name] not in bad and (blank[place] or not features[place].any()):
                    summary.bad[todo[name]] = "it is blank"
            good = [place for place, name in enumerate(part) if todo[name] not in summary.bad]
            if good:
                yield [part[place] for place in good], features[good]
            done += len(part)
            bar.update(len(part))


def _add_features(args: argparse.Namespace, metadata, summary: Summary) -> "Index":
    """Add the rows of a feature file."""
    import numpy as np

    from fastreid.data.feature_file import FeatureFile, identity_in

    features = FeatureFile.load(args.features)
    model = identity_in(features.fingerprint)
    config, weights = _config_of_features(args, model)
    root = os.path.abspath(args.image_root) if args.image_root else ""
    index = _open(args, features.features.shape[1], model, config, weights, root)
    try:
        first, last = {
            "gallery": (features.num_query, len(features)),
            "query": (0, features.num_query),
            "all": (0, len(features)),
        }[args.rows]
        names = {}
        for row in range(first, last):  # of an image that is in both lists the first row counts
            names.setdefault(_name(features.paths[row], root), row)
        known = set() if args.replace else set(_known(index, list(names)))
        summary.skipped = len(known)
        todo = [(name, row) for name, row in names.items() if name not in known]
        for start in range(0, len(todo), max(args.batch, 4096)):
            part = todo[start : start + max(args.batch, 4096)]
            rows = [_feature_row(features, row, name, metadata) for name, row in part]
            _commit(index, rows, features.features[np.array([row for _, row in part])], summary)
    except BaseException:
        index.close()
        raise
    return index


def _name(path: str, root: str) -> str:
    full = os.path.abspath(path)
    return os.path.relpath(full, root).replace(os.sep, "/") if root and Path(full).is_relative_to(root) else path


def _feature_row(features, row: int, name: str, metadata) -> dict[str, Any]:
    columns = features.columns
    known = metadata.of(features.paths[row], str(columns["pids"][row]))
    own = {"date": "dates", "locarno": "taxonomy", "view": "views", "title": "text"}
    for target, source in own.items():
        if source in columns and not known.get(target):
            known[target] = columns[source][row]
    path = os.path.abspath(features.paths[row]) if name == features.paths[row] else name
    return {**known, "figure_id": name, "path": path}


def _config_of_features(args: argparse.Namespace, model: dict[str, Any]) -> tuple[str, str]:
    """Return config and weights of the model that made a feature file, compared with it; "" where nobody names one."""
    if not args.config_file and not args.opts:
        logger.warning("No --config-file: to search the index by images, name the model's with --config-file then")
        return "", ""
    from fastreid.data.feature_file import compare
    from fastreid.engine.query_encoder import QueryEncoder
    from fastreid.index.errors import OtherModel

    cfg = _config(args)
    encoder = QueryEncoder(cfg)
    differences = compare(model, encoder.identity) if model else []
    if differences:
        raise OtherModel("this model did not make the features: " + "; ".join(differences))
    return cfg.dump(), encoder.weights_path


def _known(index: "Index", names: Sequence[str]) -> list[str]:
    rows = index.rows_of(names)
    return index.figures(rows)["figure_id"].tolist() if len(rows) else []


def _commit(index: "Index", rows: list[dict[str, Any]], vectors: "np.ndarray", summary: Summary) -> None:
    from fastreid.index import Figures

    index.update(Figures.of(rows), vectors)
    summary.added += len(rows)


# -- keeping -----------------------------------------------------------------------------------------------------------


def delete(args: argparse.Namespace) -> None:
    """Remove figures and patents."""
    from fastreid.index import open_index

    if not args.figure and not args.patent:
        raise ValueError("delete needs --figure or --patent")
    with open_index(args.index, write=True) as index:
        before = index.info.figures
        index.delete(args.figure, args.patent)
        info = index.info
        print(f"Removed {before - info.figures:,} figures; {info.figures:,} are left, version {info.version}.")


def compact(args: argparse.Namespace) -> None:
    """Compact the index and say what it has become."""
    from fastreid.index import open_index

    with open_index(args.index, write=True) as index:
        index.compact()
        print(_told(index, args.index))


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
    from fastreid.index import open_index

    with open_index(args.index) as index:
        check: Callable | None = getattr(index, "verify", None)
        if check is not None:
            check()
        count = index.count()
        if (count.figures, count.designs) != (index.info.figures, index.info.designs):
            from fastreid.index import IndexCorrupt

            raise IndexCorrupt(f"the index holds {count.figures} figures; its manifest says {index.info.figures}")
        print(f"Whole: {count.figures:,} figures of {count.designs:,} designs, version {index.info.version}.")


def _size(uri: str) -> int:
    """Bytes of an index's folder; 0 for a server's."""
    return sum(path.stat().st_size for path in Path(uri).glob("*") if path.is_file()) if os.path.isdir(uri) else 0


def _told(index: "Index", uri: str) -> str:
    from tabulate import tabulate

    made = index.info
    rows = [
        ("figures", f"{made.figures:,} of {made.designs:,} designs"),
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
