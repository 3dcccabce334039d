"""Checkpoints: whole-file writes, safe reading, a readable list of what did not fit."""

import argparse
import logging
import os
import pickle
import re
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fastreid.utils import comm
from fastreid.utils.errors import nearest
from fastreid.utils.file_io import PathManager as PathManager  # under its old path too
from fastreid.utils.files import atomic_write, cached_download
from fastreid.utils.shards import joined_optimizer, joined_weights, sharded_parameters, split_optimizer

logger = logging.getLogger(__name__)

# names of old fast-reid files -> names of today
RENAMED = (("heads.classifier.weight", "heads.weight"), ("heads.bnneck.", "heads.bottleneck.0."))
# class weights: of the usual head, of the heads of MGN, of old fast-reid's head
CLASSIFIER = re.compile(r"(module\.)?(heads|\w+_head)(\.classifier)?\.weight")
# where other toolkits keep the weights in their files; "model_state": pycls, whose RegNets and EfficientNets are public
WEIGHT_KEYS = ("state_dict", "model_state")
# saved by old versions as part of the model; not weights
NOT_WEIGHTS = ("pixel_mean", "pixel_std")


class Checkpointer:
    """Save and load a model together with optimiser, schedulers and whatever else has a ``state_dict``.

    Args:
        model: may be wrapped for distributed training; the file holds the names of the model inside.
        save_dir: folder of the files and of ``last_checkpoint``, which names the newest of them.
        save_to_disk: false in all processes but one.
        checkpointables: objects with ``state_dict`` and ``load_state_dict``; their names are keys of the file.

    A subclass may override ``_load_file`` (path -> what is in the file) and ``_load_model`` (takes "model" out of it).
    """

    logger = logger
    afresh: tuple[str, ...] = ()  # the checkpointables that the last load() wanted and did not restore

    def __init__(self, model: nn.Module, save_dir: str = "", *, save_to_disk: bool = True, **checkpointables: Any):
        self.model = unwrap(model)
        self.save_dir = str(save_dir)
        self.save_to_disk = save_to_disk
        self.checkpointables = dict(checkpointables)

    def save(self, name: str, **extra: Any) -> None:
        """Write ``save_dir/name.pth`` with the keys ``model``, those of the checkpointables, and ``extra``.

        Class weights that are spread over the processes, and their part of the optimiser, are joined in the one that
        saves; all processes must then call it (``is_joint``).

        ``extra`` must be plain values or tensors, so that the file can be read with ``weights_only``.
        """
        if not self.save_dir or not (self.save_to_disk or self.is_joint):
            return
        state = {"model": joined_weights(self.model.state_dict(), sharded_parameters(self.model))}
        for key, part in self.checkpointables.items():
            is_optimizer = isinstance(part, torch.optim.Optimizer)
            state[key] = joined_optimizer(part, self.model) if is_optimizer else part.state_dict()
        self._write(name, {**state, **extra})

    def _write(self, name: str, state: dict[str, Any]) -> None:
        if not (self.save_dir and self.save_to_disk):
            return
        file_name = f"{name}.pth"
        with atomic_write(Path(self.save_dir, file_name)) as file:
            torch.save(state, file)
        self.tag_last_checkpoint(file_name)
        logger.info("Saved %s", Path(self.save_dir, file_name))

    @property
    def is_joint(self) -> bool:
        """Whether all processes must call ``save``, because each has a part of the class weights."""
        return comm.get_world_size() > 1 and bool(sharded_parameters(self.model))

    def load(
        self, path: str, checkpointables: Iterable[str] | None = None, optional: Iterable[str] | None = None
    ) -> dict[str, Any]:
        """Load weights and the named ``checkpointables`` (``None``: all); return the rest of the file.

        Args:
            path: a file or an http(s) address; an empty string loads nothing.
            optional: see :func:`load_weights`.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file is not a checkpoint, or its weights do not fit the model.
        """
        if not path:
            logger.info("No checkpoint given: the model keeps its initial weights")
            return {}
        state = self._load_file(path)
        if type(self)._load_model is Checkpointer._load_model:
            load_weights(self.model, state.pop("model"), path, optional)
        else:
            self._load_model(state)
        wanted = set(self.checkpointables if checkpointables is None else checkpointables)
        restored = set()
        for key in [key for key in self.checkpointables if key in state]:
            saved = state.pop(key)
            if key in wanted and self._load_part(key, saved, path):
                restored.add(key)
        self.afresh = tuple(key for key in self.checkpointables if key in wanted - restored)
        return state

    def _load_file(self, path: str) -> dict[str, Any]:
        return read_checkpoint(path)

    def _load_model(self, checkpoint: dict[str, Any]) -> None:
        load_weights(self.model, checkpoint.pop("model"))

    @staticmethod
    def _convert_ndarray_to_tensor(state_dict: dict[str, Any]) -> None:
        """Replace arrays and numbers in ``state_dict`` by tensors."""
        state_dict.update({name: torch.as_tensor(value) for name, value in state_dict.items()})

    def _load_part(self, key: str, saved: dict, path: str) -> bool:
        part = self.checkpointables[key]
        try:
            if isinstance(part, torch.optim.Optimizer):
                saved = split_optimizer(saved, part, self.model)
            part.load_state_dict(saved)
        except ValueError as error:
            # e.g. fast-reid's optimiser over flat buffers: one parameter per group
            logger.warning("'%s' of %s does not fit and starts afresh: %s", key, path, error)
            return False
        return True

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """With ``resume`` and a ``last_checkpoint``, load all of it; otherwise only the weights in ``path``.

        Raises:
            ValueError: a resumed model is not that of the checkpoint. Weights from ``path`` may fit in part.
        """
        if resume and self.has_checkpoint():
            path = self.get_checkpoint_file()
            logger.info("Resuming from %s", path)
            return self.load(path, optional=())
        return self.load(path, checkpointables=())

    def has_checkpoint(self) -> bool:
        return Path(self.save_dir, "last_checkpoint").is_file()

    def get_checkpoint_file(self) -> str:
        """Return the path of the newest checkpoint, or an empty string when there is none."""
        if not self.has_checkpoint():
            return ""
        return str(Path(self.save_dir, Path(self.save_dir, "last_checkpoint").read_text(encoding="utf-8").strip()))

    def get_all_checkpoint_files(self) -> list[str]:
        return sorted(str(path) for path in Path(self.save_dir).glob("*.pth"))

    def forget_last(self) -> None:
        """Let nothing be resumed from ``save_dir`` until something is saved; the files stay."""
        if self.save_to_disk and self.has_checkpoint():
            logger.info("%s: the checkpoints of an earlier training will not be resumed", self.save_dir)
            Path(self.save_dir, "last_checkpoint").unlink()

    def tag_last_checkpoint(self, file_name: str) -> None:
        with atomic_write(Path(self.save_dir, "last_checkpoint"), "w") as file:
            file.write(file_name)


class PeriodicCheckpointer:
    """Save ``model_NNNN`` every ``period`` epochs, ``model_final`` after the last one and ``model_best``.

    ``model_best`` is written after each epoch whose own evaluation beats all earlier ones, whatever the period, so that
    its metric always belongs to its weights. (fast-reid pairs the newest metric with the weights of the period.)

    Args:
        max_epoch: number of epochs; ``None`` means no end, and no ``model_final``.
        keep: how many ``model_NNNN`` files stay; 0 keeps all, as fast-reid does.
    """

    def __init__(self, checkpointer: Checkpointer, period: int, max_epoch: int | None = None, keep: int = 0):
        self.checkpointer = checkpointer
        self.period = int(period)
        self.max_epoch = max_epoch
        self.keep = keep
        self.best_metric = -float("inf")

    def step(self, epoch: int, metric: float | None = None, **extra: Any) -> bool:
        """Save what is due after ``epoch`` (from 0), and return whether anything was.

        ``metric`` is that of an evaluation of just these weights.
        """
        state = {"epoch": int(epoch), **extra}
        is_best = metric is not None and metric > self.best_metric
        if is_best:
            self.best_metric = float(metric)
        if metric is not None:
            state["metric"] = float(metric)
        state["best_metric"] = self.best_metric
        if is_best:
            self.checkpointer.save("model_best", **state)
        is_last = self.max_epoch is not None and epoch >= self.max_epoch - 1
        is_due = self.period > 0 and (epoch + 1) % self.period == 0
        if is_last:
            self.checkpointer.save("model_final", **state)
        elif is_due:
            self.checkpointer.save(f"model_{epoch:04d}", **state)
            self._delete_old()
        return is_best or is_last or is_due

    def save(self, name: str, **extra: Any) -> None:
        self.checkpointer.save(name, **extra)

    def _delete_old(self) -> None:
        folder = self.checkpointer.save_dir
        if self.keep > 0 and folder and self.checkpointer.save_to_disk:
            numbered = [p for p in Path(folder).glob("model_*.pth") if re.fullmatch(r"model_\d{4,}", p.stem)]
            # by time: higher numbers may be left from an earlier training in this folder
            for path in sorted(numbered, key=lambda p: (p.stat().st_mtime_ns, p.name))[: -self.keep]:
                path.unlink()


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside a wrapper for parallel training."""
    wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel)
    return model.module if isinstance(model, wrappers) else model


def _inert_globals() -> list:
    """What files of fast-reid need on top of tensors; these reconstruct data and run nothing else.

    NumPy 1 and 2 write the same functions under two module names, and either file may be read with either version.
    """
    core = getattr(np, "_core", None) or np.core
    functions = [core.multiarray._reconstruct, core.multiarray.scalar]
    named = [(f, f"numpy.{module}.multiarray.{f.__name__}") for f in functions for module in ("core", "_core")]
    dtypes = [type(np.dtype(name)) for name in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "bool")]
    return [*named, np.ndarray, np.dtype, *dtypes, argparse.Namespace]


def read_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """Read a file into ``{"model": {name: tensor}, ...}``, without running any code in it.

    A bare state dict, or one under a key of ``WEIGHT_KEYS``, is accepted too, and a ``.safetensors`` file, which holds
    weights alone. An http(s) address is downloaded once.

    Raises:
        FileNotFoundError, ValueError: no such file; not a checkpoint, or a truncated one.
    """
    path = cached_download(str(path)) if re.match(r"https?://", str(path)) else Path(path).expanduser()
    if not path.is_file():
        names = [p.name for p in path.parent.glob("*.pth")] if path.parent.is_dir() else []
        raise FileNotFoundError(f"No checkpoint {path}.{nearest(path.name, names)}")
    if path.suffix == ".safetensors":
        return {"model": _read_safetensors(path)}
    try:
        with torch.serialization.safe_globals(_inert_globals()):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, struct.error, ValueError, KeyError) as error:
        reason = _why_unreadable(error)
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) cannot be read as a checkpoint: truncated, another format, or "
            f"objects other than tensors and plain values inside ({reason})"
        ) from error
    return _with_model_key(state, path)


def _why_unreadable(error: Exception) -> str:
    """One line of ``error``, without torch's advice to run what is in the file."""
    refused = re.search(r"Unsupported \w+: GLOBAL (\S+)", str(error))
    if refused:
        return f"it wants {refused[1]}"
    advice = re.compile(r"weights_only|Weights only|torch\.load")
    lines = [line for line in str(error).splitlines() if line and not advice.search(line)]
    return lines[0] if lines else type(error).__name__


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} ({path.stat().st_size} bytes) is no whole safetensors file: {error}") from error


def _with_model_key(state: Any, path: Path) -> dict[str, Any]:
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds a {type(state).__name__}, not a checkpoint")
    other = next((key for key in WEIGHT_KEYS if isinstance(state.get(key), dict)), None)
    if "model" not in state and other:
        state = {"model": state[other], **{k: v for k, v in state.items() if k != other}}
    if "model" not in state and state and all(isinstance(v, (torch.Tensor, np.ndarray)) for v in state.values()):
        state = {"model": state}
    if not isinstance(state.get("model"), dict):
        raise ValueError(f"{path} is not a checkpoint: no 'model' in it; it holds {sorted(map(str, state))[:8]}")
    return state


def load_weights(
    model: nn.Module,
    weights: dict[str, Any],
    source: str = "the checkpoint",
    optional: Iterable[str] | None = None,
) -> None:
    """Copy the fitting weights into ``model`` and log what is missing, unexpected or of another shape.

    Args:
        optional: names that may be missing or have another shape; all others must fit, and the file must not hold
            more of a backbone than the model has. ``None``: anything may be missing, as in fine-tuning.

    Raises:
        ValueError: not a single name fits, or one that is not optional does not. The model is as it was.
    """
    own = model.state_dict()
    given = _modern_names({k: torch.as_tensor(v) for k, v in weights.items()}, own)
    shards = sharded_parameters(model)  # a file has the rows of all processes
    sizes = {k: (shards[k].total, *v.shape[1:]) if k in shards else tuple(v.shape) for k, v in own.items()}
    fitting = {k: v for k, v in given.items() if k in own and tuple(v.shape) == sizes[k]}
    # a model without classes (NUM_CLASSES 0) has nowhere to put class weights, and needs none
    shapes = [
        f"{k}: {tuple(v.shape)} in the file, {sizes[k]} in the model"
        for k, v in given.items()
        if k in own and k not in fitting and own[k].numel()
    ]
    if own and not fitting:
        raise ValueError(f"Nothing in {source} fits the model. {_explain_no_match(given, own, shapes)}")
    missing = [k for k in own if k not in given and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in given if k not in own and k not in NOT_WEIGHTS]
    if own and optional is not None:
        _require_fit(source, missing, shapes, unexpected, set(optional))
    parts = {k: fitting[k][shard.start : shard.stop] for k, shard in shards.items() if k in fitting}
    model.load_state_dict({**fitting, **parts}, strict=False)
    if missing:
        logger.warning("%s: %s", source, get_missing_parameters_message(missing))
    if unexpected:
        logger.warning("%s: %s", source, get_unexpected_parameters_message(unexpected))
    if shapes:
        logger.warning("%s: skipped for their shape:\n  %s", source, "\n  ".join(shapes))


def classifiers_of(weights: dict[str, Any]) -> dict[str, int]:
    """Return the names of the class weights among the weights of a model, each with its number of classes."""
    return {name: len(value) for name, value in weights.items() if is_class_weight(name)}


def is_class_weight(name: str) -> bool:
    """Tell whether ``name`` is that of class weights, a row per class, in a model of fastreid or of fast-reid."""
    return CLASSIFIER.fullmatch(name) is not None


def _require_fit(source: str, missing: list, shapes: list, unexpected: list, optional: set) -> None:
    # a ResNet-34 file has all that a ResNet-18 wants: what is left over matters too
    absent = [f"{name} is missing" for name in missing if name not in optional]
    misshapen = [shape for shape in shapes if shape.partition(":")[0] not in optional]
    extra = [f"{name} is not in the model" for name in unexpected if name.startswith("backbone.")]
    count = len(absent) + len(misshapen) + len(extra)
    if count:
        shown = [*absent[:2], *misshapen[:2], *extra[:2]]  # some of each: a renamed part is missing and left over
        more = f"; and {count - len(shown)} more" if count > len(shown) else ""
        differ = "1 parameter differs" if count == 1 else f"{count} parameters differ"
        raise ValueError(
            f"{source} does not fit the model, {differ}: {'; '.join(shown)}{more}. {_why_misfit(misshapen, count)}"
        )


def _why_misfit(misshapen: list[str], count: int) -> str:
    """The likely reason, where ``count`` parameters differ, ``misshapen`` in their shape."""
    for shape in misshapen:
        # images enter a convolution of the first stage; 1 and 3 are what INPUT.CHANNELS may be
        found = re.search(r": \((\d+), ([13]), (.*)\) in the file, \(\1, ([13]), \3\) in the model", shape)
        if found and count == 1:
            return f"INPUT.CHANNELS is {found[4]}, the file was trained with {found[2]}"
    # the layers of ProjectionHead, of which the last is as wide as the texts
    texts = any(shape.startswith("heads.projector.") for shape in misshapen)
    return (
        "Probably the settings of MODEL.BACKBONE (DEPTH, WITH_IBN, WITH_NL, ...) or MODEL.HEADS"
        f"{', or the width of DATASETS.TEXT_BANK,' if texts else ''} are not those of "
        "its training, which are in config.yaml in the training's OUTPUT_DIR"
    )


def _modern_names(weights: dict[str, torch.Tensor], own: Iterable[str]) -> dict[str, torch.Tensor]:
    """Drop ``module.`` of a parallel wrapper; translate names of old fast-reid files unless the model has them."""
    own = set(own)
    if weights and all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): value for name, value in weights.items()}
    renamed = {}
    for name, value in weights.items():
        if name not in own:
            for old, new in RENAMED:
                if name.startswith(old) and name.replace(old, new, 1) not in weights:
                    name = name.replace(old, new, 1)
        renamed[name] = value
    return renamed


def _explain_no_match(given: Iterable[str], own: Iterable[str], shapes: list[str]) -> str:
    given, own = sorted(given), sorted(own)
    if shapes:
        return f"Names agree, shapes do not, e.g. {shapes[0]}."
    for name in given:
        for mine in own:
            if mine.endswith("." + name):
                return f"Its names lack the prefix '{mine.removesuffix(name)}' ('{name}', the model has '{mine}')."
            if name.endswith("." + mine):
                return f"Its names carry the prefix '{name.removesuffix(mine)}' ('{name}', the model has '{mine}')."
    return f"Its names are like {given[:3]}, those of the model like {own[:3]}: another architecture?"


def _grouped(names: Iterable[str]) -> str:
    """``a.b.{weight, bias}`` for the names below one module."""
    groups: dict[str, list[str]] = {}
    for name in names:
        prefix, _, leaf = name.rpartition(".")
        groups.setdefault(prefix, []).append(leaf)
    lines = []
    for prefix, leaves in sorted(groups.items()):
        leaf = leaves[0] if len(leaves) == 1 else f"{{{', '.join(leaves)}}}"
        lines.append(f"{prefix}.{leaf}" if prefix else leaf)
    return "\n  ".join(lines)


def get_missing_parameters_message(keys: Iterable[str]) -> str:
    """Say which weights of the model the file does not have."""
    return f"not in the file, kept as initialised:\n  {_grouped(keys)}"


def get_unexpected_parameters_message(keys: Iterable[str]) -> str:
    """Say which weights of the file the model does not have."""
    return f"not in the model, ignored:\n  {_grouped(keys)}"
