"""Captions from a vision-language model of the package transformers: BLIP-2, LLaVA and their like."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from fastreid.enrich.components import CAPTIONER_REGISTRY, Captioner
from fastreid.enrich.source import Source
from fastreid.utils.errors import require_choice, require_whole
from fastreid.utils.hashing import hash_weights

PROMPT = (  # Lo et al., arXiv 2404.19360, section 3.3
    "Describe the distinct visual elements present in the design, such as shapes, contours, texture, and the "
    "arrangement of various components."
)


@CAPTIONER_REGISTRY.register(node="ENRICH.CAPTIONER")
class TransformersCaptioner(Captioner):
    """Asks a model that turns an image and a text into a text, with the likeliest word each time.

    Weights come from a folder alone: nothing is fetched, and no code that may lie in the folder is run.

    Args:
        model: folder of a model and its processor, as ``save_pretrained`` or a download from the hub leaves it.
        dtype: of the weights.
        prompt: the question. Models for chats get it in their own form; others as it is, so that BLIP-2 wants
            "Question: ... Answer:". "" for models that take no text.
        max_tokens: of an answer.
        batch_size: images at a time.

    Raises:
        ImportError: transformers is not installed.
        FileNotFoundError: no such folder.
        ValueError: the folder holds no such model, or lacks a part of it.
    """

    sees_images = True

    def __init__(
        self,
        model: str = "",
        dtype: str = "float32",
        prompt: str = PROMPT,
        max_tokens: int = 80,
        batch_size: int = 8,
    ):
        require_choice("ENRICH.CAPTIONER.DTYPE", dtype, ("float32", "float16", "bfloat16"))
        require_whole("ENRICH.CAPTIONER.MAX_TOKENS", max_tokens, 1)
        self.batch_size = require_whole("ENRICH.CAPTIONER.BATCH_SIZE", batch_size, 1)
        self._model, self._processor, self._images, self._tokenizer = _load(model, dtype)
        self._prompt, self._max_tokens = self._asked(prompt), max_tokens
        self.model = f"{Path(model).resolve().name} {hash_weights(self._model.state_dict())[:16]}"
        self.recipe = {"version": 1, "prompt": self._prompt, "max_tokens": max_tokens, "dtype": dtype}

    def to(self, device: Any) -> "TransformersCaptioner":
        self._model.to(device)
        return self

    def describe(self, sources: Sequence[Source], images: Sequence[Image.Image]) -> list[str]:
        import torch

        inputs = self._inputs(list(images)).to(self._model.device)
        inputs = {
            name: value.to(self._model.dtype) if value.is_floating_point() else value for name, value in inputs.items()
        }
        with torch.inference_mode():
            tokens = self._model.generate(**inputs, do_sample=False, max_new_tokens=self._max_tokens)
        texts = self._tokenizer.batch_decode(tokens, skip_special_tokens=True)
        if "input_ids" not in inputs:
            return [text.strip() for text in texts]
        asked = self._tokenizer.batch_decode(inputs["input_ids"], skip_special_tokens=True)
        return [_without(question, text) for question, text in zip(asked, texts, strict=True)]

    def _asked(self, prompt: str) -> str:
        """Return the question in the form that the model was trained with; "" where it takes none."""
        if not prompt or self._processor is None:
            return ""
        if not getattr(self._processor, "chat_template", None):
            return prompt
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        return self._processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)

    def _inputs(self, images: list[Image.Image]):
        if not self._prompt:
            return self._images(images=images, return_tensors="pt")
        return self._processor(images=images, text=[self._prompt] * len(images), padding=True, return_tensors="pt")


def _load(folder: str, dtype: str) -> tuple[Any, Any, Any, Any]:
    """Return model, processor of images and texts (``None`` for a model without texts), that of images, tokenizer."""
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            "TransformersCaptioner needs transformers: pip install transformers", name="transformers"
        ) from error
    import torch

    if not os.path.isdir(folder):
        raise FileNotFoundError(f"ENRICH.CAPTIONER.MODEL must be a folder with a model of transformers; got '{folder}'")
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        model = transformers.AutoModelForImageTextToText.from_pretrained(folder, **options)
        processor = transformers.AutoProcessor.from_pretrained(folder, **options)
        if hasattr(processor, "image_processor"):
            images, tokenizer = processor.image_processor, processor.tokenizer
        else:  # of an encoder and a decoder without a common processor
            processor, images = None, transformers.AutoImageProcessor.from_pretrained(folder, **options)
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"ENRICH.CAPTIONER.MODEL: {folder} holds no model that turns images into texts: {reason}"
        ) from error
    tokenizer.padding_side = "left"  # what is written follows the question at once
    return model.to(getattr(torch, dtype)).eval(), processor, images, tokenizer


def _without(question: str, text: str) -> str:
    """Return an answer without the question that most models repeat before it."""
    asked, words = question.split(), text.split()
    return " ".join(words[len(asked) :] if words[: len(asked)] == asked else words)
