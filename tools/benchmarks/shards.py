"""What extraction in parts costs beside extraction in one piece: CPU time of one process, in turns, same images.

python tools/benchmarks/shards.py
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fastreid.config import get_cfg
from fastreid.data.build import fast_batch_collator
from fastreid.data.records import Record
from fastreid.engine.extraction import cached_features
from fastreid.modeling import build_model

SETTINGS = [
    "MODEL.DEVICE",
    "cpu",
    "MODEL.BACKBONE.DEPTH",
    "18x",
    "MODEL.HEADS.NUM_CLASSES",
    0,
    "TEST.IMS_PER_BATCH",
    32,
]


class Images(torch.utils.data.Dataset):
    """Images in memory, so that reading them does not hide what is measured."""

    def __init__(self, count: int, side: int):
        self.images = torch.randint(256, (count, 3, side, side), dtype=torch.uint8)
        self.records = [Record(f"{row}.png", row % 50, row % 2) for row in range(count)]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, row: int) -> dict:
        record = self.records[row]
        return {"images": self.images[row], "targets": record.pid, "camids": 0, "img_paths": record.path}


def seconds(cfg, model, images: Images, size: int) -> float:
    """CPU seconds of one extraction in parts of ``size`` images; 0: in one piece."""
    cfg = cfg.clone()
    cfg.TEST.SHARD_SIZE = size
    loader = torch.utils.data.DataLoader(images, cfg.TEST.IMS_PER_BATCH, collate_fn=fast_batch_collator)
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        cached_features(cfg, model, loader, 8, "images", folder)
        return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--side", type=int, default=32, help="pixels; small ones, so that the model costs little")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 512, 2048], help="images of a part")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cfg = get_cfg()
    cfg.merge_from_list(SETTINGS)
    model, images = build_model(cfg), Images(args.images, args.side)
    found = {size: [] for size in args.sizes}
    seconds(cfg, model, images, 0)  # warm
    for _ in range(args.rounds):
        whole = seconds(cfg, model, images, 0)
        for size in args.sizes:
            found[size].append(seconds(cfg, model, images, size) / whole)
    print(
        f"{args.images} images of {args.side} pixels, ResNet-18, {whole:.2f} s in one piece; medians of {args.rounds}"
    )
    print("| images in a part | CPU time in parts / in one piece | smallest | largest |\n| ---: | ---: | ---: | ---: |")
    for size, ratios in found.items():
        print(f"| {size} | {statistics.median(ratios):.3f} | {min(ratios):.3f} | {max(ratios):.3f} |")


if __name__ == "__main__":
    main()
