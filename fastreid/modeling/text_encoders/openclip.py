"""``OpenClip``: the text towers of CLIP and its successors."""

import contextlib
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from fastreid.modeling.text_encoders.build import INSTALL, TEXT_ENCODER_REGISTRY, TextEncoder
from fastreid.modeling.text_encoders.torchscript import is_torchscript, read_torchscript
from fastreid.utils.checkpoint import read_checkpoint
from fastreid.utils.errors import nearest
from fastreid.utils.file_io import PathManager
from fastreid.utils.hashing import hash_weights
from fastreid.utils.hub import hub_access

KEY = "MODEL.TEXT_ENCODER"
# of OpenAI's archives, where they stand among the weights
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")
# parts of a model that its texts do not see
NOT_TEXT = ("visual.", "logit_scale", "logit_bias", "text_decoder.")
# what open_clip raises where a file is none of its formats, or of another model
MISFITS = (
    RuntimeError, AssertionError, KeyError, TypeError, StopIteration, EOFError, pickle.UnpicklingError, SafetensorError,
)  # fmt: skip


@TEXT_ENCODER_REGISTRY.register(node=KEY)
class OpenClip(TextEncoder):
    """The text tower of a model of open_clip, behind its projection to the width that images and texts share.

    Args:
        model: an architecture of open_clip, "ViT-B-32".
        weights: a file of weights of the whole model (open_clip's .pt, .bin or .safetensors, OpenAI's .pt), also
            "package://NAME/path"; or the tag of public weights ("openai", "laion2b_s34b_b79k"), downloaded once.

    OpenAI's weights were trained with another activation ("quick GELU"); they get it whatever ``model`` says. With
    other files of such weights it must be named: "ViT-B-32-quickgelu".

    Raises:
        ImportError: open_clip is not installed.
        ConnectionError: weights or tokenizer are on a hub that cannot be reached.
        FileNotFoundError, ValueError: no such model, tag or file, or a file that does not fit the model.
    """

    has_weights = True

    def __init__(self, model: str = "", weights: str = ""):
        try:
            import open_clip
        except ImportError as error:
            raise ImportError(f"OpenClip needs open_clip_torch: {INSTALL}", name="open_clip") from error

        config = open_clip.get_model_config(model) if model else None
        if config is None:
            hint = nearest(model, open_clip.list_models())
            raise ValueError(f"{KEY}.MODEL must be a model of open_clip, such as 'ViT-B-32'; got '{model}'.{hint}")
        path, quick_gelu = _find(model, weights)
        needs_hub = {"hf_model_name", "hf_tokenizer_name"} & set(config["text_cfg"])
        access = hub_access(f"the tokenizer of {model}", "ViT-B-32 and its like need none.")
        with access if needs_hub else contextlib.nullcontext():
            self._network = _load(model, path, quick_gelu)
            self._tokenize = open_clip.get_tokenizer(model)
        del self._network.visual
        self._network.eval().requires_grad_(False)
        self.width = self.embed(["a"]).shape[1]
        state = self._network.state_dict()
        self.description = {
            "name": "OpenClip", "model": model, "weights": path.name, "quick_gelu": quick_gelu,
            "sha256": hash_weights({name: state[name] for name in state if not name.startswith(NOT_TEXT)}),
        }  # fmt: skip
        self.cut = 0

    def to(self, device: torch.device) -> "OpenClip":
        self._network.to(device)
        return self

    @torch.no_grad()
    def embed(self, texts: list[str]) -> np.ndarray:
        tokens = self._tokenize(texts)
        padding = getattr(getattr(self._tokenize, "tokenizer", None), "pad_token_id", 0)
        self.cut += int((tokens[:, -1] != padding).sum())
        device = next(self._network.parameters()).device
        return self._network.encode_text(tokens.to(device)).float().cpu().numpy()


def _find(model: str, weights: str) -> tuple[Path, bool]:
    """Return the file of the weights and whether they need the quick GELU whatever the model's name says."""
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(model)
    public = open_clip.get_pretrained_cfg(model, weights)
    if public:
        advice = f"Without a network, download the file on another machine and name it in {KEY}.WEIGHTS."
        with hub_access(f"the weights '{weights}' of {model}", advice):
            return Path(open_clip.download_pretrained(public)), bool(public.get("quick_gelu"))
    try:
        path = Path(PathManager.get_local_path(weights)).expanduser()
    except FileNotFoundError as error:  # package://
        raise FileNotFoundError(f"{KEY}.WEIGHTS: {error}") from error
    if not weights or not path.is_file():
        raise FileNotFoundError(
            f"{KEY}.WEIGHTS must be a file, or the tag of public weights of {model}; got '{weights}'."
            f"{nearest(weights, tags)} Tags: {', '.join(tags) or 'none'}"
        )
    return path, is_torchscript(path)


def _load(model: str, path: Path, quick_gelu: bool) -> torch.nn.Module:
    import open_clip

    options = {"force_quick_gelu": True} if quick_gelu else {}
    with _in_a_format_of_open_clip(path) as file:
        try:
            return open_clip.create_model(model, pretrained=str(file), **options)
        except MISFITS as error:
            read_checkpoint(file)  # says what is wrong with a file that holds no weights at all
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise ValueError(f"{KEY}.WEIGHTS: {path} does not fit the model {model}: {reason}") from error


@contextlib.contextmanager
def _in_a_format_of_open_clip(path: Path) -> Iterator[Path]:
    """Give the path of the same weights in a file that open_clip reads without running code."""
    if not is_torchscript(path):
        yield path
        return
    weights = {name: tensor.clone() for name, tensor in read_torchscript(path).items() if name not in NOT_WEIGHTS}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "weights.safetensors")
        save_file(weights, file)
        yield file
