"""Backbones by family, filled with values that depend on nothing but their names."""

import hashlib

import torch

from fastreid.config import get_cfg
from fastreid.modeling.backbones import build_backbone

SMALLEST = {"mobilenetv2": "0.1x", "mobilenetv3": "Small", "regnet": "200y", "effnet": "b0", "repvgg": "A0"}


def build(family, depth=None, device="cpu", **keys):
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = f"build_{family}_backbone"
    cfg.MODEL.BACKBONE.DEPTH = depth or SMALLEST[family]
    cfg.INPUT.CHANNELS = keys.pop("CHANNELS", 3)
    cfg.MODEL.BACKBONE.merge_from_list([item for pair in keys.items() for item in pair])
    with torch.device(device):
        return build_backbone(cfg)


def fill(module, seed=0):
    """The values of the comparison with fast-reid: the same for the same name, with norms that do something."""
    filled = {}
    for name, value in module.state_dict().items():
        digits = hashlib.md5(f"{seed}:{name}".encode()).hexdigest()[:8]
        noise = torch.randn(value.shape, generator=torch.Generator().manual_seed(int(digits, 16)))
        if not value.is_floating_point():
            noise = value
        elif name.endswith("running_var"):
            noise = 1 + 0.2 * noise.abs()
        elif name.endswith("running_mean") or (value.dim() == 1 and name.endswith("bias")):
            noise = 0.1 * noise
        elif value.dim() == 1:
            noise = 1 + 0.1 * noise
        else:
            noise = noise / value[0].numel() ** 0.5
        filled[name] = noise
    module.load_state_dict(filled)
    return module
