"""Things instead of persons (image retrieval), and persons of whom only a part is seen."""

from dataclasses import replace

from fastreid.data.datasets.build import DATASET_REGISTRY
from fastreid.data.datasets.layout import Images, LayoutDataset, Lines
from fastreid.data.records import Record


def _lines(file: str) -> tuple[Lines]:
    return (Lines(file, r"(?P<path>[^,]+),(?P<pid>[^,]+)$", "{path}", "images/a.jpg,7"),)


_TRAIN, _TEST = _lines("train.txt"), _lines("test.txt")


class RetrievalSet(LayoutDataset):
    """List files with lines ``path,class``. Where the test images are queries and gallery alike, only the query itself
    is no result: every image counts as before a camera of its own.
    """

    sources = {"train": _TRAIN, "query": _TEST, "gallery": _TEST}

    def _records(self, part: str) -> list[Record]:
        records = super()._records(part)
        return records if part == "train" else [replace(record, camid=row) for row, record in enumerate(records)]


@DATASET_REGISTRY.register()
class Cars196(RetrievalSet):
    """Cars of 196 models (Krause et al., 3D Object Representations for Fine-Grained Categorization, 2013)."""

    dataset_name, dataset_dir = "cars", "Cars_196"
    dataset_url = "the authors at Stanford University"


@DATASET_REGISTRY.register()
class CUB(RetrievalSet):
    """Birds of 200 species (Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, 2011)."""

    dataset_name, dataset_dir = "cub", "CUB_200_2011"
    dataset_url = "https://www.vision.caltech.edu/datasets/cub_200_2011/"


@DATASET_REGISTRY.register()
class SOP(RetrievalSet):
    """Stanford Online Products (Song et al., Lifted Structured Feature Embedding, CVPR 2016)."""

    dataset_name, dataset_dir = "sop", "Stanford_Online_Products"
    dataset_url = "https://cvgl.stanford.edu/projects/lifted_struct/"


@DATASET_REGISTRY.register()
class InShop(LayoutDataset):
    """In-shop Clothes Retrieval (Liu et al., DeepFashion, CVPR 2016)."""

    dataset_name, dataset_dir = "inshop", "InShop"
    dataset_url = "https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion.html"
    sources = {"train": _TRAIN, "query": _lines("test_query.txt"), "gallery": _lines("test_gallery.txt")}

    def _records(self, part: str) -> list[Record]:
        camera = {"query": 1, "gallery": -1}  # no true match is from the same camera
        return [replace(record, camid=camera.get(part, record.camid)) for record in super()._records(part)]


def _images(folder: str) -> tuple[Images]:
    return (Images(folder, "*.jpg", r"(?P<pid>\d+)_(?P<cam>\d+)", "001_001.jpg"),)


class PartialSet(LayoutDataset):
    """Test sets without training part; the number of an image counts as its camera, as in fast-reid."""

    numbers = True


@DATASET_REGISTRY.register()
class PartialREID(PartialSet):
    """Partial-REID (Zheng et al., Partial Person Re-identification, ICCV 2015)."""

    dataset_name, dataset_dir = "partialreid", "Partial_REID"
    dataset_url = "its authors at Sun Yat-sen University"
    sources = {"query": _images("partial_body_images"), "gallery": _images("whole_body_images")}


@DATASET_REGISTRY.register()
class PartialiLIDS(PartialSet):
    """Partial-iLIDS (Zheng et al., Probabilistic Relative Distance Comparison, CVPR 2011)."""

    dataset_name, dataset_dir = "partialilids", "PartialiLIDS"
    dataset_url = "its authors at Queen Mary University of London"
    sources = {"query": _images("query"), "gallery": _images("gallery")}


@DATASET_REGISTRY.register()
class OccludedREID(PartialSet):
    """Occluded-REID (Zhuo et al., Occluded Person Re-identification, ICME 2018)."""

    dataset_name, dataset_dir = "occludereid", "OccludedREID"
    dataset_url = "its authors at Sun Yat-sen University"
    sources = {"query": _images("query"), "gallery": _images("gallery")}
