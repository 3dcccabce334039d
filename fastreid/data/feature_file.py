"""Feature files: what a model made of a data set, and everything later stages need to know about it.

Evaluation, submission, index and analysis start from such a file, so post-processing can be retried without a second
pass over the images. The fingerprint says which weights, settings and images it was made of; a stale file is refused.
"""

import functools
import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastreid.data.npz_stream import map_array, write_npz
from fastreid.utils.command import message_of
from fastreid.utils.errors import require_whole
from fastreid.utils.hashing import hash_weights
from fastreid.utils.inference import Inference

FORMAT = 1
CHECKED_NUMBERS = 1 << 22  # in one block of the check for NaN
NUMBER_COLUMNS = ("pids", "camids", "dates")
TEXT_COLUMNS = ("taxonomy", "text", "views", "frequency")
POLICY = "DATALOADER.ON_BAD_IMAGE"  # "skip" leaves the features of white pages
SETTINGS = "settings > "  # before the name of each setting in the words of a difference
DESCRIBED = ("num_query", "paths", "fingerprint", "relevance_known")  # fields that are kept as JSON

# Input options that only training uses. Every other INPUT key counts as an input setting of the features, so that an
# option added later makes old files stale instead of being overlooked.
TRAIN_ONLY_INPUT = {
    "SIZE_TRAIN", "FLIP", "PADDING", "CJ", "AFFINE", "AUTOAUG", "AUGMIX", "REA", "RPT", "ROTATION",
    "BLUR", "STROKE", "SCALE_CROP", "RANDOM_CROP", "GRIDMASK",
}  # fmt: skip
# Model options without influence on the features of given weights. (Their shapes, which are hashed with them, have the
# EMBEDDING_DIM; the setting may be 0, that of the text bank or of the weights.)
TRAIN_ONLY_MODEL = {
    "DEVICE", "WEIGHTS", "LOSSES", "FREEZE_LAYERS", "QUEUE_SIZE", "PRETRAIN", "PRETRAIN_PATH", "NUM_CLASSES",
    "DROPOUT", "TEXT_ENCODER", "TEMPERATURE", "MIN_TEMPERATURE", "LEARN_TEMPERATURE",
    "EMBEDDING_DIM", "PFC",
}  # fmt: skip
TRAIN_ONLY = {"INPUT": TRAIN_ONLY_INPUT, "MODEL": TRAIN_ONLY_MODEL}


class StaleFeatures(ValueError):
    """A feature file was made of other weights, settings or images than the ones at hand."""


@dataclass(frozen=True, eq=False)
class FeatureRows:
    """The queries or the gallery of a feature file: ``features`` (n, D), ``columns`` of length n, ``paths``."""

    features: np.ndarray
    columns: dict[str, np.ndarray]
    paths: list[str]

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True, eq=False)
class FeatureFile:
    """Features of a query list followed by those of a gallery list.

    Args:
        features: float32 (N, D), finite; rows ``0 .. num_query - 1`` are the queries, the others the gallery.
        num_query: number of query rows, 0 <= num_query <= N.
        columns: per row: ``pids`` and ``camids`` int64 (N,), optionally ``dates`` int64 as yyyymmdd (0 = unknown),
            ``taxonomy``, ``text``, ``views`` and ``frequency`` ("head" or "tail" of the training set) str.
        paths: the image of each row.
        fingerprint: what the features were made of, as plain JSON values; see :func:`fingerprint_of`.
        relevance_known: False when the rows have no true ``pids`` (a challenge's test set): no metric is possible.

    Raises:
        ValueError: lengths disagree, a required column is missing, or a feature is NaN or infinite.
    """

    features: np.ndarray
    num_query: int
    columns: dict[str, np.ndarray]
    paths: list[str]
    fingerprint: dict[str, Any] = field(default_factory=dict)
    relevance_known: bool = True

    def __post_init__(self):
        features = np.ascontiguousarray(self.features, dtype=np.float32)
        if features.ndim != 2:
            raise ValueError(f"features of a FeatureFile must have shape (N, D); got {features.shape}")
        columns = {name: _as_column(name, values, len(features)) for name, values in self.columns.items()}
        for name in ("pids", "camids"):
            if name not in columns:
                raise ValueError(f"columns of a FeatureFile must contain '{name}'; got {sorted(columns)}")
        if len(self.paths) != len(features):
            raise ValueError(f"a FeatureFile of {len(features)} rows needs as many paths; got {len(self.paths)}")
        if not 0 <= require_whole("num_query of a FeatureFile", self.num_query, 0) <= len(features):
            raise ValueError(f"num_query must be in 0..{len(features)}, the number of rows; got {self.num_query}")
        _require_finite(features, self.paths)
        for name, value in (
            ("features", features),
            ("columns", columns),
            ("paths", [str(path) for path in self.paths]),
        ):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def query(self) -> FeatureRows:
        return self._rows(slice(0, self.num_query))

    @property
    def gallery(self) -> FeatureRows:
        return self._rows(slice(self.num_query, None))

    def _rows(self, rows: slice) -> FeatureRows:
        columns = {name: values[rows] for name, values in self.columns.items()}
        return FeatureRows(self.features[rows], columns, self.paths[rows])

    def save(self, path: str | os.PathLike) -> None:
        """Write a ``.npz`` file (atomically). Texts are kept as JSON, so no pickle is ever needed to read it."""
        fields = {name: getattr(self, name) for name in DESCRIBED}
        write_features(path, self.features.shape, [self.features], lambda: (fields, self.columns))

    @classmethod
    def load(cls, path: str | os.PathLike, mapped: bool = False) -> "FeatureFile":
        """Read a file written by :meth:`save`; anything else raises ``ValueError`` naming the path.

        Args:
            mapped: leave the features on the disk and map them, so that the processes of a machine share one copy,
                which may exceed its memory; their checksum is then not read.
        """
        try:
            if os.path.exists(path) and not zipfile.is_zipfile(path):
                raise ValueError("not a whole .npz file")
            with np.load(path, allow_pickle=False) as stored:
                described = json.loads(stored["description"].tobytes().decode("utf-8", "surrogatepass"))
                if described["format"] != FORMAT:
                    found = described["format"]
                    raise StaleFeatures(f"{path} has feature file format {found}; this version reads {FORMAT}")
                columns = {name: stored[name] for name in NUMBER_COLUMNS if name in stored}
                columns.update(described["texts"])
                given = {name: described[name] for name in DESCRIBED}
                features = map_array(path, "features") if mapped else stored["features"]
        except StaleFeatures:
            raise
        except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is not a feature file: {message_of(error)}") from error
        try:
            return cls(features, columns=columns, **given)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: {error}") from error

    def check(self, fingerprint: Mapping[str, Any]) -> None:
        """Raise :class:`StaleFeatures` naming every part in which ``fingerprint`` differs from the file's own."""
        differences = compare(self.fingerprint, fingerprint)
        if differences:
            raise StaleFeatures("these features are stale: " + "; ".join(differences))


def write_features(
    path: str | os.PathLike, shape: tuple[int, int], blocks: Iterable[np.ndarray], description: Callable[[], tuple]
) -> None:
    """Write a feature file (atomically) from blocks of rows.

    Args:
        shape: (N, D) of all blocks together.
        description: called after the last block; the fields ``DESCRIBED`` and the columns.
    """

    def others() -> dict[str, np.ndarray]:
        fields, columns = description()
        texts = {name: columns[name].tolist() for name in TEXT_COLUMNS if name in columns}
        text = json.dumps({"format": FORMAT, **fields, "texts": texts}, ensure_ascii=False)
        numbers = {name: columns[name] for name in NUMBER_COLUMNS if name in columns}
        return {"description": np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8), **numbers}

    write_npz(path, "features", shape, blocks, others)


def compare(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Describe in words where two fingerprints differ; empty when they agree.

    Settings that only training uses do not count, also where an earlier version has kept some of them. A setting that
    came later than the stored ones had its default, which keeps what was.
    """
    stored, wanted = _flatten(json.loads(json.dumps(stored))), _flatten(json.loads(json.dumps(wanted)))
    if any(name.startswith(SETTINGS) for name in stored):  # else nobody told any
        later = {name for name in wanted.keys() - stored.keys() if name.startswith(SETTINGS)}
        stored.update({name: _defaults().get(name.removeprefix(SETTINGS)) for name in later})
    names = sorted(name for name in stored.keys() | wanted.keys() if not _is_train_only(name))
    pairs = {name: (stored.get(name), wanted.get(name)) for name in names}
    return [f"{name} was {_short(old)}, is now {_short(new)}" for name, (old, new) in pairs.items() if old != new]


@functools.cache
def _defaults() -> dict[str, Any]:
    from fastreid.config.config import flatten, get_cfg  # here, since most files have all settings

    return json.loads(json.dumps(flatten(get_cfg())))


def _is_train_only(name: str) -> bool:
    """Whether ``name``, as in ``settings > INPUT.FLIP.PROB``, is that of a setting that only training uses."""
    node, *keys = name.removeprefix(SETTINGS).split(".")
    return name.startswith(SETTINGS) and not TRAIN_ONLY.get(node, set()).isdisjoint(keys)


def identity_of(cfg, model, flip: bool = False) -> dict[str, Any]:
    """Plain values that change whenever the features of an image could change: ``{"weights": ..., "settings": ...}``.

    Args:
        model: a torch module; the content of its state dict is hashed (float16 or float32 weights differ). Of a copy
            for inference it is that of the model which it ``accelerates``. Class weights that are spread over the
            processes are left out: each process has others, and no feature depends on them.
    """
    settings = _plain(cfg.INPUT, TRAIN_ONLY_INPUT, "INPUT")
    if settings["INPUT.RESIZE.FILTER"] == "bicubic":
        del settings["INPUT.RESIZE.FILTER"]  # so that what was made before there was a choice stays in use
    settings |= {**_plain(cfg.MODEL, TRAIN_ONLY_MODEL, "MODEL"), **Inference.of(cfg).settings, "flip": bool(flip)}
    return {"weights": _hash_of(getattr(model, "accelerates", model)), "settings": settings}


def _hash_of(model) -> str:
    from fastreid.utils.shards import sharded_parameters  # here, since it imports torch

    # those of other models stay in the hash, so that what was made of them stays in use
    spread = sharded_parameters(model)
    return hash_weights({name: value for name, value in model.state_dict().items() if name not in spread})


def identity_in(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a fingerprint that :func:`identity_of` gives; {} for features that nobody described."""
    if not {"weights", "settings"} <= set(fingerprint):
        return {}
    settings = {name: value for name, value in fingerprint["settings"].items() if name != POLICY}
    return {"weights": fingerprint["weights"], "settings": settings}


def fingerprint_of(cfg, model, records: Sequence, num_query: int, dataset_name: str = "", flip: bool = False) -> dict:
    """Plain values that change whenever the features of ``records`` under ``model`` and ``cfg`` could change.

    Args:
        model: see :func:`identity_of`.
        records: the queries, then the gallery, in loader order.
    """
    import fastreid

    identity = identity_of(cfg, model, flip)
    return {
        "weights": identity["weights"],
        "settings": {**identity["settings"], POLICY: cfg.DATALOADER.ON_BAD_IMAGE},
        "images": hash_records(records, num_query),
        "dataset": dataset_name,
        "fastreid": fastreid.__version__,
    }


def hash_records(records: Sequence, num_query: int) -> str:
    """SHA-256 over the ordered list of images, their labels and file sizes.

    Sizes notice a data set that was made anew under the same names; modification times are left out, because a copied
    folder holds the same images.
    """
    digest = hashlib.sha256(f"{num_query} of {len(records)}".encode())
    for record in records:
        labels = [getattr(record, name, None) for name in ("date", "taxonomy", "text", "view")]
        path, pid, camid = record[0], record[1], record[2]
        row = [str(path), str(pid), str(camid), _size(path), *labels]
        digest.update(json.dumps(row, default=str).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _size(path: str | os.PathLike) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def _as_column(name: str, values: Any, rows: int) -> np.ndarray:
    if name in NUMBER_COLUMNS:
        given = np.asarray(values)
        values = given.astype(np.int64) if given.dtype.kind in "iufb" else given
        if given.dtype.kind not in "iufb" or (values != given).any():
            raise TypeError(f"column '{name}' of a FeatureFile must hold whole numbers; got {given.dtype}: {given[:3]}")
    elif name in TEXT_COLUMNS:
        values = np.asarray(["" if value is None else str(value) for value in values], dtype=object)
    else:
        allowed = ", ".join(NUMBER_COLUMNS + TEXT_COLUMNS)
        raise ValueError(f"columns of a FeatureFile must be among {allowed}; got '{name}'")
    if values.shape != (rows,):
        raise ValueError(f"column '{name}' of a FeatureFile must have shape ({rows},); got {values.shape}")
    return values


def _require_finite(features: np.ndarray, paths: Sequence[str]) -> None:
    step = max(1, CHECKED_NUMBERS // max(1, features.shape[1]))
    blocks = [np.isfinite(features[start : start + step]).all(axis=1) for start in range(0, len(features), step)]
    bad = np.flatnonzero(~np.concatenate(blocks)) if blocks else ()
    if len(bad):
        named = ", ".join(f"row {row} ({paths[row]})" for row in bad[:5])
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise ValueError(f"{len(bad)} of {len(features)} feature rows are NaN or infinite: {named}{more}")


def _plain(node: Mapping, left_out: set[str], prefix: str) -> dict[str, Any]:
    """Flatten a config node to ``{"INPUT.CROP.SIZE": value}``, without the keys named in ``left_out``."""
    kept = {}
    for key, value in node.items():
        if key in left_out:
            continue
        name = f"{prefix}.{key}"
        kept.update(_plain(value, left_out, name) if isinstance(value, Mapping) else {name: value})
    return kept


def _short(value: Any) -> str:
    """Write a value as Python would, a long hash by its first digits."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:12]}...'"


def _flatten(tree: Mapping, prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat.update(_flatten(value, f"{name} > ") if isinstance(value, Mapping) else {name: value})
    return flat
