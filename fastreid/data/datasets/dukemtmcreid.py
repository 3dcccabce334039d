"""DukeMTMC-reID."""

from fastreid.data.datasets.build import DATASET_REGISTRY
from fastreid.data.datasets.layout import Images, LayoutDataset

_NAME = r"(?P<pid>-?\d+)_c(?P<cam>[1-9]\d*)", "0005_c2_f0046985.jpg"


@DATASET_REGISTRY.register()
class DukeMTMC(LayoutDataset):
    """1,404 persons before 8 cameras (Ristani et al., ECCVW 2016; Zheng et al., ICCV 2017)."""

    dataset_name, dataset_dir = "dukemtmc", "DukeMTMC-reID"
    dataset_url = "https://github.com/layumi/DukeMTMC-reID_evaluation"
    numbers, first_camera = True, 1
    sources = {
        "train": (Images("bounding_box_train", "*.jpg", *_NAME),),
        "query": (Images("query", "*.jpg", *_NAME),),
        "gallery": (Images("bounding_box_test", "*.jpg", *_NAME),),
    }
