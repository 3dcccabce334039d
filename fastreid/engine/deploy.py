"""fast-reid's deployment commands under their old flags; the work is done by ``export`` and ``OnnxPredictor``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fastreid.utils.command import entry_point


@entry_point()
def onnx_export(argv: Sequence[str] | None = None) -> None:
    """``tools/deploy/onnx_export.py``: write ``OUTPUT/NAME.onnx``."""
    from fastreid.engine.export import export
    from fastreid.engine.tool_config import read_config, tool_parser

    parser = tool_parser("Write a model as ONNX; tools/export.py does the same with more options.")
    parser.add_argument("--name", default="baseline", help="name of the file, without .onnx (default: %(default)s)")
    parser.add_argument("--output", default="onnx_model", metavar="DIR", help="folder (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=0, metavar="N", help="fix the batch size (default 0: any)")
    args = parser.parse_args(argv)
    cfg = read_config(args, "MODEL.DEVICE", "cpu")
    export(cfg, Path(args.output, f"{args.name}.onnx"), "onnx", args.batch_size)


@entry_point()
def onnx_inference(argv: Sequence[str] | None = None) -> None:
    """``tools/deploy/onnx_inference.py``: features of images from an ONNX file, unit length, one ``.npy`` each."""
    parser = argparse.ArgumentParser(description="Extract the features of images with an ONNX file.")
    parser.add_argument("--model-path", required=True, metavar="FILE", help="a file of tools/export.py or another one")
    parser.add_argument("--input", nargs="+", required=True, metavar="PATH", help="images, folders, quoted patterns")
    parser.add_argument("--output", default="onnx_output", metavar="DIR", help="folder (default: %(default)s)")
    parser.add_argument("--height", type=int, default=0, help="of the images; default: the file's")
    parser.add_argument("--width", type=int, default=0, help="of the images; default: the file's")
    args = parser.parse_args(argv)
    from torch.nn.functional import normalize

    from fastreid.engine.feature_demo import image_paths, save_per_image
    from fastreid.engine.onnx_predictor import OnnxPredictor
    from fastreid.utils.logger import setup_logger

    setup_logger()
    paths = image_paths(args.input)
    features = OnnxPredictor(args.model_path, args.height, args.width).from_files(paths)
    save_per_image(normalize(features).numpy(), paths, args.output)
