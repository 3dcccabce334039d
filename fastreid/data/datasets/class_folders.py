"""Images sorted into one folder per class."""

import os
from functools import partial
from pathlib import Path

from fastreid.data.datasets.bases import ImageDataset, require_paths
from fastreid.data.datasets.build import DATASET_REGISTRY
from fastreid.data.images import IMAGE_SUFFIXES
from fastreid.data.records import Record


@DATASET_REGISTRY.register(node="DATASETS.IMAGEFOLDER")
class ImageFolder(ImageDataset):
    """Classes as folders, those of ``train`` and of ``val``, whose images are queries.

    Classes keep their names as identities in both parts, and there is no gallery.

    Args:
        root: folder of ``train`` and ``val`` (config: ``DATASETS.IMAGEFOLDER.ROOT``, below the data root).
        split: folder of the test images.

    Raises:
        FileNotFoundError: a folder is missing, or has no image in a folder.
    """

    dataset_name, ranked = "imagefolder", False
    dataset_url = "images of your own"

    def __init__(self, root: str | os.PathLike = "datasets/images", split: str = "val", **kwargs):
        self.folder = Path(root)
        paths = self.folder / "train", self.folder / split
        require_paths(self.name, paths, self.folder.parent, self.dataset_url, self.layout())
        super().__init__(*(partial(self._records, path) for path in paths), [], **kwargs)

    @classmethod
    def layout(cls) -> str:
        return "<DATASETS.IMAGEFOLDER.ROOT>/{train/cat/1.jpg, val/cat/2.jpg}"

    def _records(self, folder: Path) -> list[Record]:
        paths = [path for path in folder.glob("*/*") if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."]
        if not paths:
            raise FileNotFoundError(f"no image in the folders of {folder}; expected files such as cat/1.jpg")
        return [Record(str(path), path.parent.name, "0") for path in sorted(paths, key=Path.as_posix)]


@DATASET_REGISTRY.register()
class Hymenoptera(ImageFolder):
    """Ants and bees, a small set of two classes of the PyTorch tutorial on transfer learning."""

    dataset_name = "hyt"
    dataset_url = "https://download.pytorch.org/tutorial/hymenoptera_data.zip"

    def __init__(self, root: str | os.PathLike = "datasets", **kwargs):
        super().__init__(Path(root) / "hymenoptera_data", **kwargs)

    @classmethod
    def layout(cls) -> str:
        return "hymenoptera_data/{train/ants/1.jpg, val/ants/2.jpg}"
