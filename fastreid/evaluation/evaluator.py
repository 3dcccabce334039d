"""Run a model over a loader and let an evaluator see what it gives."""

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

logger = logging.getLogger(__name__)


class DatasetEvaluator:
    """What :func:`inference_on_dataset` calls: ``begin``, ``reset``, ``process`` for each batch, ``evaluate``."""

    def check(self, dataset: Any) -> None:
        """Raise ``ValueError`` for a data set that cannot be judged; a training calls it before its first iteration."""

    def begin(self, model: nn.Module, data_loader, flip_test: bool = False) -> None:
        """See the model and the loader before the first batch. Only evaluators that need them implement it."""

    def preprocess_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Change a batch before the model sees it; by default nothing is changed."""
        return inputs

    def reset(self) -> None:
        """Forget everything processed so far."""

    def process(self, inputs: dict[str, Any], outputs: Any) -> None:
        """Take one batch table and what the model made of it."""

    def evaluate(self) -> Any:
        """Return the results, usually an ordered mapping from metric name to number; ``None`` off the main process."""


@contextlib.contextmanager
def inference_context(model: nn.Module) -> Iterator[None]:
    """Put ``model`` in evaluation mode; every sub-module gets its own mode back, also after an exception."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def inference_on_dataset(
    model: nn.Module,
    data_loader,
    evaluator: DatasetEvaluator,
    flip_test: bool = False,
    amp_dtype: torch.dtype | None = None,
    progress: bool = True,
) -> Any:
    """Run ``model`` in evaluation mode over ``data_loader`` and return what ``evaluator`` makes of it.

    Args:
        flip_test: average the outputs for each image and its left-right mirror image.
        amp_dtype: run the model under autocast in this type, e.g. ``torch.bfloat16``.
        progress: show a progress bar when standard error is a terminal.

    Returns:
        the evaluator's results; ``{}`` where it has none (processes other than the main one).
    """
    begin = getattr(evaluator, "begin", None)  # an evaluator written for fast-reid may have another base class
    if begin is not None:
        begin(model, data_loader, flip_test)
    evaluator.reset()
    started, images = time.perf_counter(), 0
    with inference_context(model), torch.inference_mode(), _bar(data_loader, progress) as bar:
        for inputs in data_loader:
            prepare = getattr(evaluator, "preprocess_inputs", None)
            inputs = prepare(inputs) if prepare else inputs
            evaluator.process(inputs, forward(model, inputs, flip_test, amp_dtype))
            images += len(inputs["images"])
            bar.update(len(inputs["images"]))
    seconds = time.perf_counter() - started
    logger.info("Inference: %d images in %.1f s (%.1f img/s)", images, seconds, images / max(seconds, 1e-9))
    results = evaluator.evaluate()
    return {} if results is None else results


def forward(model: nn.Module, inputs: dict, flip: bool = False, amp_dtype: torch.dtype | None = None) -> Any:
    """Return the model's output for one batch, averaged with that of the mirrored images when ``flip``.

    The batch is left as it is. (fast-reid normalised and flipped it in place, so the mirrored pass saw wrong pixels.)
    """
    device = next((p.device.type for p in model.parameters()), "cpu")
    cast = torch.autocast(device, amp_dtype) if amp_dtype else contextlib.nullcontext()
    with cast:
        outputs = model(inputs)
        if flip:
            outputs = (outputs + model({**inputs, "images": inputs["images"].flip(3)})) / 2
    return outputs


def _bar(data_loader, progress: bool):
    """A tqdm bar over images: on a terminal, in the main process; silent elsewhere."""
    from tqdm import tqdm

    from fastreid.utils import comm

    dataset = getattr(data_loader, "dataset", None)
    total = len(dataset) // comm.get_world_size() if dataset is not None else None
    shown = progress and comm.is_main_process()
    return tqdm(total=total, desc="inference", unit="img", leave=False, disable=None if shown else True)
