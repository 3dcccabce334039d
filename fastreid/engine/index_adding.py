"""Add figures to an index from images or from a feature file: the sub-command ``add`` of ``tools/build_index.py``."""

import argparse
import contextlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastreid.engine.index_summary import Summary
from fastreid.utils.command import message_of

if TYPE_CHECKING:
    import numpy as np

    from fastreid.index import Index, IndexInfo

logger = logging.getLogger(__name__)
CONFIG = "config.yaml"
FEATURE_BATCH = 4096  # rows of a feature file per commit, at least


def add_figures(args: argparse.Namespace) -> str:
    """Add the figures of a feature file or of images, batch by batch; return what came of it in words.

    Raises:
        OtherModel: the index holds vectors of another model.
        IndexLocked, IndexCorrupt: see :meth:`fastreid.index.Index.open`.
        ValueError: a setting that the index, which is there already, does not have; see also `images_of`.
    """
    from fastreid.engine.figure_metadata import FigureMetadata
    from fastreid.utils.logger import setup_logger

    setup_logger()
    metadata, summary = FigureMetadata(args.metadata), Summary()
    index = _existing(args.index)  # before a model is loaded in vain
    with contextlib.ExitStack() as stack:
        if index is not None:
            stack.enter_context(index)
        return summary.words((_add_features if args.features else _add_images)(args, index, metadata, summary, stack))


def _existing(uri: str) -> "Index | None":
    """Open the index at ``uri`` for writing; ``None`` when there is none."""
    from fastreid.index import open_index

    try:
        return open_index(uri, write=True)
    except FileNotFoundError:
        return None


def _fitting(args: argparse.Namespace, index: "Index | None", stack: contextlib.ExitStack, **settings: Any) -> "Index":
    """Return the index, or a new one that ``stack`` closes; what does not belong into it is refused.

    Args:
        settings: dim, model, config, weights_path, image_root.
    """
    from fastreid.index import create_index

    if index is not None:
        _require_same(index.info, args, settings["dim"], settings["model"], settings["image_root"])
        return index
    settings.update(_options(args))
    backend = args.backend or ("faiss" if args.factory else _backend_of(args.index))
    try:
        made = create_index(args.index, backend, metric=args.metric or "cosine", **settings)
    except TypeError as error:
        if not args.option:
            raise
        raise ValueError(f"--option: {error}") from error
    return stack.enter_context(made)


def _root(args: argparse.Namespace, index: "Index | None") -> str:
    return args.image_root or (index.info.image_root if index is not None else "")


def _require_same(info: "IndexInfo", args: argparse.Namespace, dim: int, model: dict[str, Any], root: str) -> None:
    """Refuse to add to an index what does not belong into it."""
    from fastreid.index import OtherModel

    if info.model and not model:
        raise OtherModel("the feature file does not say which model made it; the index has the vectors of one model")
    info.check_model(model)
    if info.dim != dim:
        raise ValueError(f"the index holds vectors of {info.dim} numbers; these have {dim}")
    given = {"--backend": (args.backend, info.backend), "--metric": (args.metric, info.metric)}
    for name, value in _options(args).items():
        given[f"{'--' if name == 'factory' else '--option '}{name}"] = value, info.options.get(name, "none")
    for name, (new, old) in given.items():
        if new not in (None, old):
            raise ValueError(f"{name} is {old} in the index that is there already; got {new}")
    if root and info.image_root and root != info.image_root:
        raise ValueError(
            f"the index names its figures relative to {info.image_root}, these would be relative to {root}: "
            f"give --image-root {info.image_root}, or keep them in an index of their own"
        )


def _options(args: argparse.Namespace) -> dict[str, str | int]:
    """The options of the backend that were given."""
    found: dict[str, str | int] = {"factory": args.factory} if args.factory else {}
    for option in args.option:
        name, sign, value = option.partition("=")
        if not sign:
            raise ValueError(f"--option must be NAME=VALUE; got '{option}'")
        found[name] = int(value) if value.isdigit() else value
    return found


def _backend_of(uri: str) -> str:
    return "milvus" if uri.startswith("milvus:") else "pgvector" if uri.startswith("postgres") else "store"


def _config(args: argparse.Namespace):
    from fastreid.engine.tool_config import read_config

    return read_config(args, "DATALOADER.ON_BAD_IMAGE", "skip")


def _add_images(args: argparse.Namespace, index: "Index | None", metadata, summary: Summary, stack) -> "Index":
    from fastreid.engine.query_encoder import QueryEncoder

    root, found = images_of(args.images, _root(args, index))
    cfg = _config(args)
    encoder = QueryEncoder(cfg)
    random = not (encoder.weights_path or cfg.MODEL.BACKBONE.PRETRAIN)
    if random and any(True for _ in encoder.model.parameters()):
        raise ValueError(
            "MODEL.WEIGHTS is empty: nobody could search an index of a network that is random, and another one at each "
            "start; give --config-file FILE and MODEL.WEIGHTS FILE.pth"
        )
    index = _fitting(
        args, index, stack, dim=encoder.dim, model=encoder.identity, config=cfg.dump(),
        weights_path=encoder.weights_path, image_root=root,
    )  # fmt: skip
    names = {os.path.relpath(path, root).replace(os.sep, "/"): path for path in found}

    def row_of(name: str) -> dict[str, Any]:
        path = name if index.info.image_root else names[name]
        return {**metadata.of(names[name], found[names[name]]), "figure_id": name, "path": path}

    known = _left_alone(args, index, metadata, names, row_of, summary)
    todo = {name: path for name, path in names.items() if name not in known}
    for part, vectors in _encoded(cfg, encoder, todo, args.batch, summary):
        _commit(index, [row_of(name) for name in part], vectors, summary)
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
            try:
                paths = [os.path.abspath(path) for path in image_paths([given])]
            except FileNotFoundError as error:
                raise FileNotFoundError(str(error).replace("(--input)", "(--images)")) from None
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
    """Yield names and vectors (n, D) of readable images, at least ``batch`` at once; the others go into the summary."""
    import numpy as np
    import torch
    from tqdm import tqdm

    from fastreid.data.build import build_file_loader
    from fastreid.engine.query_encoder import PLAIN
    from fastreid.evaluation.evaluator import forward

    if not todo:
        return
    names, done = list(todo), 0
    loader = build_file_loader(cfg, list(todo.values()), min(batch, cfg.TEST.IMS_PER_BATCH))
    ready: list[str] = []
    vectors: list[np.ndarray] = []
    with torch.inference_mode(), tqdm(total=len(names), unit=" images", disable=None) as bar:
        for images in loader:
            part = names[done : done + len(images["images"])]
            flat = images["images"].flatten(1)
            blank = (flat.amax(1).float() - flat.amin(1).float() < PLAIN).tolist()
            features = forward(encoder.model, images, cfg.TEST.FLIP.ENABLED).float().cpu().numpy()
            bad = _reasons([todo[name] for name in part], loader.bad_images)
            for place, name in enumerate(part):
                if todo[name] not in bad and (blank[place] or not features[place].any()):
                    bad[todo[name]], summary.blank = "it is blank", summary.blank + 1
            summary.bad.update(bad)
            good = [place for place, name in enumerate(part) if todo[name] not in bad]
            ready += [part[place] for place in good]
            vectors.append(features[good])
            done += len(part)
            if ready and (len(ready) >= batch or done == len(names)):
                yield ready, np.concatenate(vectors)
                ready, vectors = [], []
            bar.update(len(part))


def _reasons(paths: Sequence[str], messages: Iterable[str]) -> dict[str, str]:
    """Return why images cannot be read, from the messages of ``BadImage``, by path."""
    text = "\n".join(messages) + "\n"
    found = {path: text.partition(f"Cannot read image {path}: ")[2] for path in paths}
    return {path: rest.partition("\n")[0] for path, rest in found.items() if rest}


def _add_features(args: argparse.Namespace, index: "Index | None", metadata, summary: Summary, stack) -> "Index":
    """Add the rows of a feature file."""
    import numpy as np

    from fastreid.data.feature_file import FeatureFile, identity_in

    features = FeatureFile.load(args.features)
    model = identity_in(features.fingerprint)
    config, weights = _config_of_features(args, model) if index is None else ("", "")
    root = os.path.abspath(_root(args, index)) if _root(args, index) else ""
    index = _fitting(
        args, index, stack, dim=features.features.shape[1], model=model, config=config, weights_path=weights,
        image_root=root,
    )  # fmt: skip
    parts = {"gallery": (features.num_query, None), "query": (0, features.num_query), "all": (0, None)}
    names: dict[str, int] = {}
    blank = ~features.features.any(axis=1)
    for row in range(len(features))[slice(*parts[args.rows])]:  # of an image in both lists the first row counts
        if blank[row]:
            summary.bad[features.paths[row]] = "its feature is zero"
        else:
            names.setdefault(_place(features.paths[row], root)[0], row)
    summary.blank = len(summary.bad)

    def row_of(name: str) -> dict[str, Any]:
        return _feature_row(features, names[name], metadata, index.info.image_root)

    paths = {name: features.paths[row] for name, row in names.items()}
    known = _left_alone(args, index, metadata, paths, row_of, summary)
    todo = [(name, row) for name, row in names.items() if name not in known]
    for start in range(0, len(todo), max(args.batch, FEATURE_BATCH)):
        part = todo[start : start + max(args.batch, FEATURE_BATCH)]
        rows = [row_of(name) for name, _ in part]
        _commit(index, rows, features.features[np.array([row for _, row in part])], summary)
    return index


def _place(path: str, root: str) -> tuple[str, str]:
    """Return the name of a figure and the path of its image: relative to the root when it lies below."""
    inside = os.path.join(root, path)
    full = os.path.abspath(inside if root and os.path.isfile(inside) else path)
    if root and Path(full).is_relative_to(root):
        return (os.path.relpath(full, root).replace(os.sep, "/"),) * 2
    return path, full


def _feature_row(features, row: int, metadata, root: str) -> dict[str, Any]:
    columns = features.columns
    # features of images that nobody labelled all have the identity 0
    known = metadata.of(features.paths[row], str(columns["pids"][row]) if features.relevance_known else "")
    own = {"date": "dates", "locarno": "taxonomy", "view": "views", "title": "text"}
    for target, source in own.items():
        if source in columns and not known.get(target):
            known[target] = columns[source][row]
    name, path = _place(features.paths[row], root)
    return {**known, "figure_id": name, "path": path}


def _config_of_features(args: argparse.Namespace, model: dict[str, Any]) -> tuple[str, str]:
    """Return config and weights of the model that made a feature file, ("", "") where nobody names it.

    The config is ``--config-file``, else ``config.yaml`` beside the file or in the folder above, where an evaluation
    leaves it; this one is taken only if it is the model's.
    """
    from fastreid.data.feature_file import compare
    from fastreid.engine.query_encoder import QueryEncoder
    from fastreid.index import OtherModel

    folder = Path(args.features).absolute().parent
    named, found = args.config_file, [str(f / CONFIG) for f in (folder, folder.parent) if (f / CONFIG).is_file()]
    if not named and not args.opts and (not found or not model):
        logger.warning("No --config-file: to search the index by images, name the model's with --config-file then")
        return "", ""
    args.config_file = named or (found[0] if found and not args.opts else "")
    try:
        cfg = _config(args)
        encoder = QueryEncoder(cfg)
        differences = compare(model, encoder.identity) if model else []
        if differences:
            raise OtherModel("this model did not make the features: " + "; ".join(differences))
    except (OSError, ValueError, KeyError) as error:
        if named or args.opts:
            raise
        logger.warning("%s is not used: %s", args.config_file, message_of(error))
        return "", ""
    return cfg.dump(), encoder.weights_path


def _left_alone(
    args: argparse.Namespace, index: "Index", metadata, paths: dict[str, str], row_of, summary: Summary
) -> set[str]:
    """Return the figures that are there already and stay as they are.

    Args:
        paths: of all images, by their names.
        row_of: the columns that a figure would have now, by its name.
    """
    summary.match(metadata, paths)
    rows = index.rows_of(list(paths)) if not args.replace else ()
    if not len(rows):
        return set()
    figures = index.figures(rows)
    if len(metadata):
        summary.compare(figures, row_of)
    summary.skipped = len(figures)
    return set(figures["figure_id"].tolist())


def _commit(index: "Index", rows: list[dict[str, Any]], vectors: "np.ndarray", summary: Summary) -> None:
    from fastreid.index import Figures

    index.update(Figures.of(rows), vectors)
    summary.added += len(rows)
