"""Hashes of weights, which say whether two models are the same."""

import hashlib
from collections.abc import Mapping
from typing import Any


def hash_weights(state_dict: Mapping[str, Any]) -> str:
    """SHA-256 over names, types, shapes and bytes of all tensors, independent of their order and device."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(state_dict):
        tensor = state_dict[name]
        if not isinstance(tensor, torch.Tensor):
            continue
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
