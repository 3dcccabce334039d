"""Extraction in parts by one process or two, of which one may be killed in the middle."""

import os
import signal

import numpy as np
import torch

from fastreid.config import get_cfg
from fastreid.data.build import fast_batch_collator
from fastreid.data.records import Record
from fastreid.engine.extraction import cached_features
from fastreid.utils import comm

ROWS, SIZE, BATCH = 23, 5, 2  # the last part has three rows; a part has batches of 2, 2 and 1


class Drawings(torch.utils.data.Dataset):
    """Random images, a part of them queries; counts what is read."""

    def __init__(self, rows: int = ROWS):
        generator = torch.Generator().manual_seed(5)
        self.images = torch.rand(rows, 3, 12, 12, generator=generator) * 255
        self.records = [Record(f"{row}.png", row % 4, row % 2, taxonomy=f"060{row % 3}") for row in range(rows)]
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, row: int) -> dict:
        self.read.append(row)
        record = self.records[row]
        labels = {"targets": record.pid, "camids": record.camid, "taxonomy": record.taxonomy}
        return {"images": self.images[row], "img_paths": record.path, **labels}


class Model(torch.nn.Module):
    """Its features tell how rows were cut into batches, as those of a kernel might: a trace of the batch's size.

    Args:
        fatal: kill the process when it sees that row.
    """

    def __init__(self, fatal: int | None = None):
        super().__init__()
        torch.manual_seed(3)
        self.conv = torch.nn.Conv2d(3, 6, 3)
        self.fatal = fatal

    def forward(self, batch: dict) -> torch.Tensor:
        if f"{self.fatal}.png" in batch["img_paths"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.conv(batch["images"]).mean((2, 3)) + 1e-3 * len(batch["images"])


def loader_of(rows: Drawings, workers: int = 0) -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(rows, BATCH, num_workers=workers, collate_fn=fast_batch_collator)


def extract(folder: str, fatal: int | None = None, workers: int = 0, **settings) -> list[int]:
    """Write ``folder/features/drawings.npz``; return the rows that this process read."""
    torch.set_num_threads(1)  # PyTorch adds up in another order with another number
    cfg = get_cfg()
    cfg.TEST.SHARD_SIZE, cfg.TEST.IMS_PER_BATCH = SIZE, BATCH
    cfg.merge_from_list([word for pair in settings.items() for word in pair])
    rows = Drawings()
    file = cached_features(cfg, Model(fatal), loader_of(rows, workers), 7, "drawings", folder)
    assert (file is not None) == comm.is_main_process()
    assert file is None or np.array_equal(file.columns["pids"], np.arange(ROWS) % 4)
    return rows.read


def extract_and_note(folder: str, fatal: int | None = None) -> None:
    read = extract(folder, fatal)
    with open(os.path.join(folder, f"read by {comm.get_rank()}"), "w") as file:
        file.write(" ".join(map(str, read)))
