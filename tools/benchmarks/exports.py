#!/usr/bin/env python
"""Export one model of each kind and print how far file and model differ, as the table of docs/export.md."""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

SIZE = (64, 32)  # pixels, height and width
BASE = "Base-bagtricks.yml"
MODELS = {
    "bag of tricks, ResNet-50": ("Market1501/bagtricks_R50.yml",),
    "SBS, ResNet-101-IBN": ("Market1501/sbs_R101-ibn.yml",),
    "AGW, ResNet-50 (non-local)": ("Market1501/AGW_R50.yml",),
    "MGN, ResNet-50-IBN": ("Market1501/mgn_R50-ibn.yml",),
    "ViT-B": ("Market1501/bagtricks_vit.yml",),
    "bag of tricks, ResNeSt-50": ("Market1501/bagtricks_S50.yml",),
    "ResNeXt-50": (BASE, "build_resnext_backbone", "50x"),
    "OSNet x1.0": (BASE, "build_osnet_backbone", "x1_0"),
    "RepVGG-A0 (merged)": (BASE, "build_repvgg_backbone", "A0"),
    "MobileNetV2": (BASE, "build_mobilenetv2_backbone", "1.0x"),
    "MobileNetV3-Large": (BASE, "build_mobilenetv3_backbone", "Large"),
    "ShuffleNetV2": (BASE, "build_shufflenetv2_backbone", "1.0x"),
    "RegNetX-400MF": (BASE, "build_regnet_backbone", "400x"),
    "EfficientNet-B0": (BASE, "build_effnet_backbone", "b0"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="WORD", help="only models with one of these words in their name")
    words = [word.lower() for word in parser.parse_args().models]
    print("| model | ONNX | TorchScript |\n| --- | ---: | ---: |")
    for name, options in MODELS.items():
        if not words or any(word in name.lower() for word in words):
            onnx, torchscript = (f"{difference(*options, format=format):.1e}" for format in ("onnx", "torchscript"))
            print(f"| {name} | {onnx} | {torchscript} |", flush=True)


def difference(config: str, backbone: str = "", depth: str = "", *, format: str) -> float:
    """Return what ``export`` says of a model with random weights and random statistics of its norms."""
    import torch

    from fastreid.config import get_cfg
    from fastreid.engine.export import export
    from fastreid.modeling import build_model

    cfg = get_cfg()
    cfg.merge_from_file(str(ROOT / "configs" / config))
    own = ["MODEL.BACKBONE.NAME", backbone, "MODEL.BACKBONE.DEPTH", depth] if backbone else []
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.HEADS.NUM_CLASSES", 10, *own,
                         "INPUT.SIZE_TRAIN", SIZE, "INPUT.SIZE_TEST", SIZE])  # fmt: skip
    torch.manual_seed(0)
    model = build_model(cfg)
    for name, statistics in model.named_buffers():
        if name.endswith("running_mean"):
            statistics.uniform_(-0.05, 0.05)
        elif name.endswith("running_var"):
            statistics.uniform_(0.5, 1.5)
    with tempfile.TemporaryDirectory() as folder:
        return export(cfg, Path(folder, "file"), format, model=model)


if __name__ == "__main__":
    main()
