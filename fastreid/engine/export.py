"""From a checkpoint to a file for other programs, compared with the model before it is kept: ``tools/export.py``."""

import argparse
import copy
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from fastreid.config.input_size import input_size
from fastreid.utils.command import entry_point
from fastreid.utils.errors import require_choice, require_whole

logger = logging.getLogger(__name__)

TOLERANCE = 1e-4  # of the largest feature value
TRACED_BATCH = 2  # 0 and 1 would be taken for constants
CHECKED_BATCHES = (1, 3, 5)
EXAMPLES = """
examples:
  ONNX, any batch size:   %(prog)s --config-file FILE --output reid.onnx MODEL.WEIGHTS logs/run/model_best.pth
  unit-length features:   %(prog)s --config-file FILE --output reid.onnx --normalize
  TorchScript:            %(prog)s --config-file FILE --format torchscript --output reid.pt
  weights without pickle: %(prog)s --config-file FILE --format safetensors --output reid.safetensors
"""


@entry_point()
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and write the file; the exit status is 1 when the file and the model disagree."""
    from fastreid.engine.tool_config import tool_parser

    what = "Write a model as ONNX, TorchScript or safetensors, after a comparison of the file with the model."
    parser = tool_parser(what, EXAMPLES, opts="opts")
    parser.add_argument("--format", default="onnx", help="onnx (default), torchscript or safetensors")
    parser.add_argument("--output", required=True, metavar="FILE", help="file to write")
    parser.add_argument("--batch-size", type=int, default=0, metavar="N", help="fix the batch size (default 0: any)")
    parser.add_argument("--normalize", action="store_true", help="features of unit length (for cosine similarity)")
    run(parser.parse_args(argv))


def run(args: argparse.Namespace) -> None:
    """Export as the parsed command line says."""
    from fastreid.engine.tool_config import read_config

    cfg = read_config(args, "MODEL.DEVICE", "cpu")
    export(cfg, args.output, args.format, args.batch_size, args.normalize)


def export(
    cfg, path: str | os.PathLike, format: str = "onnx", batch_size: int = 0, normalize: bool = False, model=None
) -> float:
    """Write the model of ``cfg`` to ``path`` and return how far file and model differ.

    The file is loaded again and run beside the model on random images, in batches of 1, 3 and 5 (or ``batch_size``).
    The difference is the largest of all feature values, relative to the largest feature value of its batch.

    Args:
        format: "onnx" (through ``torch.export``), "torchscript" (traced) or "safetensors" (weights and config).
        batch_size: the only batch size of the file; 0: any.
        normalize: let the file give features of unit length.
        model: taken instead of the model with the weights of ``MODEL.WEIGHTS``. It is not changed.

    Raises:
        ImportError: a package of the extra ``export`` is missing.
        ValueError: an option that the format cannot honour, or a difference above 1e-4: then nothing is written.
    """
    from fastreid.engine import exporters
    from fastreid.utils.files import atomic_write

    require_choice("format of an export (--format)", format, exporters.FORMATS)
    chosen = exporters.FORMATS[format]
    if chosen.weights_only and (batch_size or normalize):
        raise ValueError(f"--batch-size and --normalize mean nothing for {format}, which holds weights alone")
    require_whole("the batch size of an export (--batch-size)", batch_size, 0)
    chosen.require_modules()
    model = _model(cfg) if model is None else copy.deepcopy(model)
    model = exporters.FeatureModel(model, normalize).eval().cpu()
    size = input_shape(cfg)
    content = chosen.write(model, _images(batch_size or TRACED_BATCH, size), describe(cfg, model), not batch_size)
    difference = _compare(model, chosen.open(content, model), batch_size, size)
    logger.info("File and model differ by %.1e of the largest feature value (allowed: %.0e)", difference, TOLERANCE)
    if difference > TOLERANCE:
        raise ValueError(
            f"the {format} file and the model disagree by {difference:.1e} of the largest feature value, more than "
            f"{TOLERANCE:.0e}: nothing is written"
        )
    with atomic_write(path) as file:
        file.write(content)
    logger.info("Wrote %s, %.1f MB", Path(path).resolve(), len(content) / 1e6)
    return difference


def input_shape(cfg) -> tuple[int, int, int]:
    """Return (channels, height, width) of the images that a test transform gives.

    Raises:
        ValueError: ``INPUT.SIZE_TEST`` leaves the images as large as they are.
    """
    height, width = input_size(cfg, is_train=False)
    if min(height, width) < 1:
        raise ValueError(f"an export needs one size for all images: INPUT.SIZE_TEST is {list(cfg.INPUT.SIZE_TEST)}")
    return cfg.INPUT.CHANNELS, height, width


def describe(cfg, model) -> dict[str, str]:
    """Return what the file says of itself: versions, digests, how images are prepared, and the whole config."""
    from fastreid import __version__
    from fastreid.data.feature_file import hash_weights

    text = cfg.dump()
    return {
        "fastreid": __version__,
        "config_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "weights_sha256": hash_weights(model.model.state_dict()),
        "input_shape": json.dumps(input_shape(cfg)),
        "pixel_mean": json.dumps(list(cfg.MODEL.PIXEL_MEAN)),
        "pixel_std": json.dumps(list(cfg.MODEL.PIXEL_STD)),
        "normalized": json.dumps(model.normalize),
        "input_settings": json.dumps(cfg.INPUT),
        "config": text,
    }


def _model(cfg):
    from fastreid.engine import DefaultTrainer
    from fastreid.engine.commands import load_model

    return load_model(cfg, DefaultTrainer)


def _compare(model, runner, batch_size: int, size: Sequence[int]) -> float:
    """Largest difference over the batches; ``ValueError`` when the file takes the size it was traced with alone."""
    import torch

    from fastreid.engine.exporters import largest_difference

    differences = []
    for batch in (batch_size,) if batch_size else CHECKED_BATCHES:
        images = _images(batch, size)
        with torch.no_grad():
            expected = model(images)
            try:
                differences.append(largest_difference(expected, runner(images)))
            except RuntimeError as error:
                raise ValueError(
                    f"the file cannot run a batch of {batch}, the model fixes its batch size somewhere: --batch-size N "
                    f"makes a file for one size. ({str(error).strip().splitlines()[-1]})"
                ) from error
    return max(differences)


def _images(batch: int, size: Sequence[int]):
    """Random images, float32 (batch, *size): whole numbers 0..255."""
    import torch

    values = torch.randint(256, (batch, *size), generator=torch.Generator().manual_seed(batch))
    return values.float()
