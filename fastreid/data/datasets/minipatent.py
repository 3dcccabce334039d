"""MiniPatent, the built-in data set: drawn on first use."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from fastreid.data.datasets.build import DATASET_REGISTRY
from fastreid.data.datasets.patent import DeepPatent
from fastreid.data.metadata import Metadata, read_metadata


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
        imbalance: how many times as many training designs the most frequent family has as the rarest; 1: all that
            there are. The drawings stay, the list is thinned out; see :func:`long_tail`.

    Raises:
        ImportError: drawing needs manifold3d, the extra ``synth``.
        ValueError: ``root`` holds drawings made with other settings (the message names the setting), or ``imbalance``
            is below 1.
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
        imbalance: float = 1.0,
        **kwargs,
    ):
        super().__init__(Path(root) / "train_data", split, **kwargs)
        from fastreid.data.synthetic.generate import METADATA_FILE, Settings, generate
        from fastreid.utils.comm import is_main_process, synchronize

        if not imbalance >= 1:
            raise ValueError(f"DATASETS.MINIPATENT.IMBALANCE must be at least 1; got {imbalance!r}")
        settings = Settings(num_train, num_val, num_test, size, seed, style, siblings)
        try:
            if is_main_process():
                generate(root, settings)
        finally:
            synchronize()
        file = Path(root) / METADATA_FILE
        self._metadata = Metadata([file])
        self._thinned = long_tail(_training_families(file), imbalance) if imbalance > 1 else set()

    def records(self, list_name: str, camera: int, prefix: str = "") -> list:
        records = super().records(list_name, camera, prefix)
        if list_name.startswith("train_"):
            records = [record for record in records if _patent_of(record.path) not in self._thinned]
        return [self._metadata.complete(record) for record in records]


def long_tail(families: Iterable[tuple[str, str]], imbalance: float) -> set[str]:
    """Return the designs to leave out so that the sizes of the families fall exponentially.

    Of F families the one at place r keeps the share ``imbalance ** (-r / (F - 1))`` of its designs, at least one, as in
    the long-tailed CIFAR of Cui et al. (CVPR 2019). Places are drawn by a hash of the names and fixed.

    Args:
        families: (design, family) of each design, in the order in which designs are kept.
        imbalance: size of the largest family / size of the smallest, at least 1.
    """
    members: dict[str, list[str]] = {}
    for design, family in families:
        members.setdefault(family, []).append(design)
    ordered = sorted(members, key=lambda family: hashlib.sha256(family.encode()).digest())
    left_out: set[str] = set()
    for place, family in enumerate(ordered):
        share = imbalance ** (-place / max(1, len(ordered) - 1))
        left_out.update(members[family][max(1, round(share * len(members[family]))) :])
    return left_out


def _training_families(metadata: Path) -> Iterator[tuple[str, str]]:
    for patent in read_metadata(metadata):
        if patent["split"] == "train":
            yield patent["patent_id"], patent["family"]


def _patent_of(path: str) -> str:
    """``.../USD0540000-20181106-D00001.png`` -> ``USD0540000``."""
    return Path(path).name.partition("-")[0]
