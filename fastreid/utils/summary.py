"""A table of a model's layers with the shapes they give and their parameters."""

from collections.abc import Sequence

import torch
from torch import nn


def summary(
    model: nn.Module,
    input_size: Sequence[int] | Sequence[Sequence[int]],
    batch_size: int = -1,
    device: str | torch.device | None = None,
    dtypes: Sequence[torch.dtype] | None = None,
) -> tuple[int, int]:
    """Print the layers in the order of their calls; return the numbers of all and of trainable parameters.

    The model runs once in evaluation mode on two random images, and is left as it was.

    Args:
        input_size: shape of one image (C, H, W), or a list of shapes for a model with several inputs.
        batch_size: first axis of the printed shapes; -1 where it does not matter.
        device: of the inputs; by default that of the first parameter.
        dtypes: one per input; default float32.
    """
    sizes = [input_size] if isinstance(input_size[0], int) else list(input_size)
    device = device or next((p.device for p in model.parameters()), "cpu")
    types = dtypes or [torch.float32] * len(sizes)
    inputs = [torch.rand(2, *size, device=device).to(dtype) for size, dtype in zip(sizes, types, strict=True)]
    rows = _called_layers(model, inputs)
    total = sum(p.numel() for p in model.parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    lines = [f"{'Layer':<32}{'Output shape':<28}{'Parameters':>14}", "=" * 74]
    for number, (name, shape, count) in enumerate(rows, start=1):
        shown = [batch_size, *shape[1:]] if shape else "-"
        lines.append(f"{f'{name}-{number}':<32}{shown!s:<28}{count:>14,}")
    lines += ["=" * 74, f"Parameters: {total:,}, trainable: {trainable:,}"]
    print("\n".join(lines))
    return total, trainable


def _called_layers(model: nn.Module, inputs: list[torch.Tensor]) -> list[tuple[str, tuple[int, ...], int]]:
    """Return (class, shape of the first output, own parameters) of each module without children, as called."""
    rows: list[tuple[str, tuple[int, ...], int]] = []

    def record(module: nn.Module, args: tuple, output) -> None:
        first = output[0] if isinstance(output, (tuple, list)) and output else output
        shape = tuple(first.shape) if isinstance(first, torch.Tensor) else ()
        rows.append((type(module).__name__, shape, sum(p.numel() for p in module.parameters())))

    modes = [(module, module.training) for module in model.modules()]
    handles = [m.register_forward_hook(record) for m in model.modules() if not list(m.children())]
    try:
        with torch.no_grad():
            model.eval()(*inputs)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    return rows
