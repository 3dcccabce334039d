"""MiniPatent, the built-in data set: drawn on first use."""

import os
from pathlib import Path

from fastreid.data.datasets.build import DATASET_REGISTRY
from fastreid.data.datasets.patent import DeepPatent
from fastreid.data.metadata import Metadata


@DATASET_REGISTRY.register(node="DATASETS.MINIPATENT")
class MiniPatent(DeepPatent):
    """Line drawings of parametric designs in the layout and lists of DeepPatent, with date, Locarno code, view and
    description.

    Drawn into ``root`` when absent (main process only, the others wait) and kept; later runs read the files.

    Args:
        root: folder of the data set (config: ``DATASETS.MINIPATENT.ROOT``, below the data root).
        num_train, num_val, num_test: designs per split.
        size: side of a drawing in pixels.
        seed: the same seed gives the same drawings.
        style: ``"mixed"`` manners of drawing, or ``"fixed"``: one for all.
        siblings: designs per line; more than 1: those of a line differ in proportions alone.
        split: ``"val"`` or ``"test"``, whose queries and gallery are used.

    Raises:
        ImportError: drawing needs manifold3d, the extra ``synth``.
        ValueError: ``root`` holds drawings made with other settings; the message names the setting.
    """

    dataset_name = "minipatent"
    page = "the command `fastreid minipatent`"

    def __init__(
        self,
        root: str | os.PathLike = "datasets/minipatent",
        num_train: int = 396,
        num_val: int = 66,
        num_test: int = 66,
        size: int = 256,
        seed: int = 0,
        style: str = "mixed",
        siblings: int = 1,
        split: str = "val",
        **kwargs,
    ):
        super().__init__(Path(root) / "train_data", split, **kwargs)
        from fastreid.data.synthetic.generate import METADATA_FILE, Settings, generate
        from fastreid.utils.comm import is_main_process, synchronize

        settings = Settings(num_train, num_val, num_test, size, seed, style, siblings)
        try:
            if is_main_process():
                generate(root, settings)
        finally:
            synchronize()
        self._metadata = Metadata([Path(root) / METADATA_FILE])

    def records(self, list_name: str, camera: int, prefix: str = "") -> list:
        return [self._metadata.complete(record) for record in super().records(list_name, camera, prefix)]
