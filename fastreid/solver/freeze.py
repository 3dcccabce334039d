"""Layers that stay fixed for the first iterations."""

from collections.abc import Iterable, Sequence

from torch import nn

from fastreid.utils.errors import nearest


def is_below(name: str, prefixes: Iterable[str]) -> bool:
    """Tell whether ``name`` is one of the module or parameter names ``prefixes``, or lies inside one of them.

    Names end at dots: ``b1`` holds ``b1.weight`` but not ``b1_head.weight``.
    """
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def frozen_parameters(model: nn.Module, layers: Sequence[str]) -> list[nn.Parameter]:
    """Return the trainable parameters below ``layers`` (``MODEL.FREEZE_LAYERS``).

    Raises:
        ValueError: a name that the model does not have.
    """
    names = [name for name, _ in model.named_parameters()]
    for layer in layers:
        if not any(is_below(name, [layer]) for name in names):
            modules = {name for name, _ in model.named_modules() if name}
            raise ValueError(
                f"MODEL.FREEZE_LAYERS names '{layer}', which has no parameters in this model."
                f"{nearest(layer, modules)} Top-level parts: {', '.join(n for n, _ in model.named_children())}"
            )
    return [p for name, p in model.named_parameters() if p.requires_grad and is_below(name, layers)]
