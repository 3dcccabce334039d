"""Data sets by name: ``DATASETS.NAMES`` and ``DATASETS.TESTS`` name what is registered here."""

from fastreid.data.datasets.bases import Dataset, ImageDataset
from fastreid.data.datasets.build import DATASET_REGISTRY, build_dataset
from fastreid.data.datasets.filelist import FileList
from fastreid.data.datasets.market1501 import Market1501
from fastreid.data.datasets.minipatent import MiniPatent
from fastreid.data.datasets.patent import DeepPatent, Patent, PatentTest

__all__ = [
    "DATASET_REGISTRY", "Dataset", "DeepPatent", "FileList", "ImageDataset", "Market1501", "MiniPatent", "Patent",
    "PatentTest", "build_dataset",
]  # fmt: skip
