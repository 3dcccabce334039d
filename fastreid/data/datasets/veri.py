"""VeRi-776."""

from fastreid.data.datasets.build import DATASET_REGISTRY
from fastreid.data.datasets.layout import Images, LayoutDataset

_NAME = r"(?P<pid>\d+)_c(?P<cam>\d{3})", "0001_c001_00016450_0.jpg"


@DATASET_REGISTRY.register()
class VeRi(LayoutDataset):
    """776 vehicles before 20 cameras (Liu et al., ECCV 2016; Liu et al., PROVID, IEEE TMM 2018)."""

    dataset_name, dataset_dir = "veri", "veri"
    dataset_url = "https://vehiclereid.github.io/VeRi/"
    numbers, first_camera = True, 1
    sources = {
        "train": (Images("image_train", "*.jpg", *_NAME),),
        "query": (Images("image_query", "*.jpg", *_NAME),),
        "gallery": (Images("image_test", "*.jpg", *_NAME),),
    }
