"""Loading of pretrained backbone weights from a file, an address or timm."""

import contextlib
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import nn

from fastreid.utils.checkpoint import read_checkpoint
from fastreid.utils.errors import nearest
from fastreid.utils.file_io import PathManager
from fastreid.utils.files import cached_download

logger = logging.getLogger(__name__)

# layers after the feature map; that a backbone lacks them is no news
CLASSIFIERS = ("fc.", "_fc.", "classifier.", "head.fc.", "head.weight", "head.bias", "head_dist.")
# where whole models keep their backbone: fast-reid; wrapped encoders; MoCo (He et al., CVPR 2020)
BACKBONE_PREFIXES = ("backbone.", "encoder.", "encoder_q.")
TIMM = "timm:"  # a source "timm:NAME" means the weights of this name in timm


def load_pretrained(backbone: nn.Module, source: str) -> None:
    """Load ``source`` into ``backbone`` and log which keys were missing, unexpected or of another shape.

    A file may hold the state dict itself or under "model", "state_dict" or "model_state", its keys with the prefix
    "module.", one of ``BACKBONE_PREFIXES`` or both. A first convolution for 3 channels is summed over them for a
    backbone with 1: a grey image gives the same response as its three equal channels.

    Args:
        backbone: its method ``adapt_weights``, if it has one, brings weights under other names or of another size
            into the form of its ``state_dict``.
        source: path, http(s) address (eight or more hex digits before its suffix are checked as SHA-256 prefix),
            "package://NAME/path" of a file in an installed Python package, or "timm:" and the name of a network of timm
            with its tag of weights.

    Raises:
        ConnectionError: the address cannot be reached.
        FileNotFoundError: the path does not exist, or the package is not installed.
        ValueError: the file cannot be read or holds no state dict, or not one tensor that fits the backbone.
    """
    own = backbone.state_dict()
    weights = _strip_prefixes(_read(source), own)
    if hasattr(backbone, "adapt_weights"):
        weights = backbone.adapt_weights(weights)
    weights = {key: _fit_channels(value, own.get(key)) for key, value in weights.items()}
    fitting = {key: value for key, value in weights.items() if key in own and value.shape == own[key].shape}
    if not fitting:
        raise ValueError(
            f"MODEL.BACKBONE.PRETRAIN_PATH: no weight in {source} fits {type(backbone).__name__}; the file has "
            f"{_some(weights)}, the backbone {_some(own)}"
        )
    backbone.load_state_dict(fitting, strict=False)
    _report(source, weights, own, fitting)


def create_timm(name: str, **options) -> nn.Module:
    """``timm.create_model`` with errors that name the keys of MODEL.BACKBONE.

    Raises:
        ValueError: timm knows no network ``name``, no weights for it, or cannot build it with ``options``.
        ConnectionError: its pretrained weights cannot be downloaded.
    """
    import timm

    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        raise ValueError(f"timm has no network {name!r}.{nearest(architecture, timm.list_models())}")
    try:
        with _quiet_hub():
            return timm.create_model(name, **options)
    except OSError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConnectionError(
            f"Cannot download the weights of {name} from {_home_of(name)} ({reason}) Without a network, download "
            f"model.safetensors from there on another machine and name the file in MODEL.BACKBONE.PRETRAIN_PATH, or "
            f"start from random weights with MODEL.BACKBONE.PRETRAIN False."
        ) from error
    except AssertionError as error:
        reason = str(error) or "not with these options"
        raise ValueError(f"timm cannot build {name!r} as a backbone: {reason}") from error
    except RuntimeError as error:
        if not options.get("pretrained"):
            raise
        known = ", ".join(timm.list_pretrained(f"{architecture}.*")) or "none"
        raise ValueError(f"MODEL.BACKBONE.PRETRAIN: {error} Weights that timm knows: {known}") from error


@contextlib.contextmanager
def _quiet_hub() -> Iterator[None]:
    """Hold back what the hub's client logs of each attempt; the error at the end says it once."""
    client = logging.getLogger("huggingface_hub")
    level = client.level
    client.setLevel(logging.ERROR)
    try:
        yield
    finally:
        client.setLevel(level)


def _home_of(name: str) -> str:
    import timm

    settings = timm.get_pretrained_cfg(name)
    repository = settings.hf_hub_id if settings is not None else None
    return f"https://huggingface.co/{repository}" if repository else "the Hugging Face hub"


def _read(source: str) -> Mapping:
    if source.startswith(TIMM):
        return create_timm(source.removeprefix(TIMM), pretrained=True).state_dict()
    try:
        return read_checkpoint(_local_file(source))["model"]
    except ValueError as error:
        raise ValueError(f"MODEL.BACKBONE.PRETRAIN_PATH: {error}") from error


def _local_file(source: str) -> Path:
    if source.startswith(("http://", "https://")):
        digits = re.search(r"-([0-9a-f]{8,64})\.\w+$", source)
        try:
            return cached_download(source, digits.group(1) if digits else None)
        except ConnectionError as error:
            raise ConnectionError(
                f"{error} Or name another file in MODEL.BACKBONE.PRETRAIN_PATH, or start from random weights with "
                f"MODEL.BACKBONE.PRETRAIN False."
            ) from error
    try:
        path = Path(PathManager.get_local_path(source)).expanduser()
    except FileNotFoundError as error:  # package://
        raise FileNotFoundError(f"MODEL.BACKBONE.PRETRAIN_PATH: {error}") from error
    if not path.is_file():
        raise FileNotFoundError(
            f"MODEL.BACKBONE.PRETRAIN_PATH names '{source}', which does not exist. Leave it empty to download the "
            f"public weights, or set MODEL.BACKBONE.PRETRAIN False."
        )
    return path


def _strip_prefixes(weights: Mapping, own: Mapping) -> dict[str, torch.Tensor]:
    """Drop what is no tensor, and the prefixes that wrappers add; of a whole model keep the backbone."""
    weights = {key.removeprefix("module."): value for key, value in weights.items() if isinstance(value, torch.Tensor)}
    for prefix in BACKBONE_PREFIXES:
        inside = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
        if inside and not any(key.startswith(prefix) for key in own):
            return inside
    return weights


def _fit_channels(value: torch.Tensor, own: torch.Tensor | None) -> torch.Tensor:
    if own is not None and own.dim() == 4 and own.shape[1] == 1 and value.shape[1:2] == (3,):
        return value.sum(dim=1, keepdim=True)
    return value


def _report(source: str, weights: Mapping, own: Mapping, fitting: Mapping) -> None:
    logger.info("Loaded %d of %d pretrained tensors of the backbone from %s", len(fitting), len(own), source)
    # counters of batches seen are absent from old files and mean nothing at the start of a training
    missing = [key for key in own if key not in weights and not key.endswith("num_batches_tracked")]
    mismatched = [key for key in weights if key in own and key not in fitting]
    unexpected = [key for key in weights if key not in own and not key.startswith(CLASSIFIERS)]
    for what, keys in (("missing", missing), ("of another shape", mismatched), ("unexpected", unexpected)):
        if keys:
            logger.warning("Pretrained backbone weights %s: %s", what, _some(keys))


def _some(keys, limit: int = 6) -> str:
    """Name some keys and count the rest."""
    keys = list(keys)
    rest = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return ", ".join(keys[:limit]) + rest if keys else "none"
