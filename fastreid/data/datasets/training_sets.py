"""Data sets of persons that are trained on only: they have no query and no gallery."""

import sys

from fastreid.data.datasets.build import DATASET_REGISTRY
from fastreid.data.datasets.layout import Images, LayoutDataset, Lines

_FOLDER_OF_PID = r"(?P<pid>[^/]+)/"
_PID_CAMERA = r"(?P<pid>[^_]+)_(?P<cam>[^_.]+)"


class TrainingSet(LayoutDataset):
    """A layout with the part "train" only; labels are words, as they stand in the names."""

    camera = "cam0"


@DATASET_REGISTRY.register()
class AirportALERT(TrainingSet):
    """Airport (Karanam et al., A Systematic Evaluation and Benchmark, TPAMI 2019); identities from 11001."""

    dataset_name, dataset_dir = "airport", "AirportALERT"
    dataset_url = "the ALERT center of Northeastern University, https://alert.northeastern.edu"
    pids = range(11001, sys.maxsize)
    sources = {
        "train": (
            Lines("filepath.txt", r"(?P<cam>[^\\]+)\\(?P<pid>\d+)\\(?P<file>[^\\]+)$", "{cam}/{pid}/{file}",
                  r"cam1\11001\0001.png"),
        )
    }  # fmt: skip


@DATASET_REGISTRY.register()
class iLIDS(TrainingSet):
    """i-LIDS (Zheng et al., Associating Groups of People, BMVC 2009)."""

    dataset_name, dataset_dir = "ilids", "iLIDS"
    dataset_url = "its authors at Queen Mary University of London"
    sources = {"train": (Images("", "*/*.png", r"(?P<pid>[^/]+)/(?P<cam>[^_.]+)", "001/cam1_0001.png"),)}


@DATASET_REGISTRY.register()
class PKU(TrainingSet):
    """PKU-Reid (Ma et al., Orientation Driven Bag of Appearances, Neurocomputing 2016)."""

    dataset_name, dataset_dir = "pku", "PKUv1a_128x48"
    dataset_url = "https://github.com/charliememory/PKU-Reid-Dataset"
    sources = {"train": (Images("", "*.png", _PID_CAMERA, "001_01_01.png"),)}


@DATASET_REGISTRY.register()
class PRAI(TrainingSet):
    """PRAI-1581, persons seen from drones (Zhang et al., Person Re-Identification in Aerial Imagery, TMM 2021)."""

    dataset_name, dataset_dir = "prai", "PRAI-1581"
    dataset_url = "https://github.com/stormyoung/PRAI-1581"
    sources = {"train": (Images("images", "*.jpg", _PID_CAMERA, "00000001_0001_00000001.jpg"),)}


@DATASET_REGISTRY.register()
class PRID(TrainingSet):
    """PRID 2011 (Hirzer et al., Descriptive and Discriminative Classification, SCIA 2011)."""

    dataset_name, dataset_dir = "prid", "prid_2011"
    dataset_url = "the Institute of Computer Graphics and Vision, TU Graz"
    sources = {
        "train": (
            Images("slim_train", "**/*.png", r"(?:.*/)?[^_/]*_(?P<pid>[^_/]+)[^/]*/(?P<cam>[^_/.]+)[^/]*$",
                   "person_0001/cam1_0001.png"),
        )
    }  # fmt: skip


@DATASET_REGISTRY.register()
class GRID(TrainingSet):
    """QMUL underGround Re-IDentification (Loy et al., Time-Delayed Correlation Analysis, IJCV 2010)."""

    dataset_name, dataset_dir = "grid", "underground_reid"
    dataset_url = "https://personal.ie.cuhk.edu.hk/~ccloy/downloads_qmul_underground_reid.html"
    sources = {"train": (Images("images", "*.jpeg", _PID_CAMERA, "0001_1_25004_107_32_106_221.jpeg"),)}


@DATASET_REGISTRY.register()
class SAIVT(TrainingSet):
    """SAIVT-SoftBio (Bialkowski et al., A Database for Person Re-Identification, DICTA 2012)."""

    dataset_name, dataset_dir = "saivt", "SAIVT-SoftBio"
    dataset_url = "the SAIVT laboratory of the Queensland University of Technology"
    sources = {
        "train": (
            Images(
                "cropped_images", "*/*.jpeg", r"(?P<pid>[^/]+)/[^-/]*-[^-/]*-(?P<cam>[^-/.]+)", "001/001-00001-3-x.jpeg"
            ),
        )
    }


@DATASET_REGISTRY.register()
class SenseReID(TrainingSet):
    """SenseReID (Zhao et al., Spindle Net, CVPR 2017)."""

    dataset_name, dataset_dir = "senseid", "SenseReID"
    dataset_url = "the authors of Spindle Net"
    sources = {
        "train": tuple(Images(part, "*.jpg", _PID_CAMERA, "00001_1.jpg") for part in ("test_gallery", "test_prob")),
    }


@DATASET_REGISTRY.register()
class SYSU_mm(TrainingSet):
    """SYSU-MM01, its cameras of visible light (Wu et al., RGB-Infrared Cross-Modality Re-ID, ICCV 2017)."""

    dataset_name, dataset_dir = "sysumm01", "SYSU-MM01"
    dataset_url = "https://github.com/wuancong/SYSU-MM01"
    sources = {
        "train": (Images("", "cam[1245]/*/*.jpg", r"(?P<cam>[^/]+)/(?P<pid>[^/]+)/", "cam1/0001/0001.jpg"),),
    }


@DATASET_REGISTRY.register()
class Thermalworld(TrainingSet):
    """ThermalWorld, its colour images (Kniaz et al., ThermalGAN, ECCVW 2018)."""

    dataset_name, dataset_dir = "thermalworld", "thermalworld_rgb"
    dataset_url = "the authors of ThermalGAN"
    sources = {"train": (Images("", "*/*.jpg", _FOLDER_OF_PID, "1/0001.jpg"),)}


@DATASET_REGISTRY.register()
class PeS3D(TrainingSet):
    """3DPeS (Baltieri et al., 3DPeS: 3D People Dataset for Surveillance and Forensics, J-HGBU 2011)."""

    dataset_name, dataset_dir = "pes3d", "3DPeS"
    dataset_url = "http://www.openvisor.org/3dpes.asp"
    sources = {"train": (Images("", "*/*.bmp", _FOLDER_OF_PID, "1_A/1_1.bmp"),)}


@DATASET_REGISTRY.register()
class CAVIARa(TrainingSet):
    """CAVIAR4REID (Cheng et al., Custom Pictorial Structures for Re-identification, BMVC 2011)."""

    dataset_name, dataset_dir = "caviara", "CAVIARa"
    dataset_url = "http://www.lorisbazzani.info/caviar4reid.html"
    sources = {"train": (Images("", "*.jpg", r"(?P<pid>.{4})", "0001001.jpg"),)}


@DATASET_REGISTRY.register()
class VIPeR(TrainingSet):
    """VIPeR (Gray and Tao, Viewpoint Invariant Pedestrian Recognition, ECCV 2008)."""

    dataset_name, dataset_dir = "viper", "VIPeR"
    dataset_url = "https://vision.soe.ucsc.edu/node/178"
    sources = {"train": (Images("", "cam_[ab]/*.bmp", r"(?P<cam>[^/]+)/(?P<pid>[^_/.]+)", "cam_a/000_45.bmp"),)}


@DATASET_REGISTRY.register()
class LPW(TrainingSet):
    """Labeled Pedestrian in the Wild (Song et al., Region-based Quality Estimation Network, AAAI 2018)."""

    dataset_name, dataset_dir, folders = "lpw", "pep_256x128", ("data_slim", "")
    dataset_url = "http://liuyu.us/dataset/lpw/index.html"
    pid = "{scene}-{pid}"
    sources = {
        "train": (
            Images(
                "",
                "scen[123]/*/*/*.jpg",
                r"(?P<scene>[^/]+)/(?P<cam>[^/]+)/(?P<pid>[^/]+)/",
                "scen1/view1/1/000001.jpg",
            ),
        )
    }


@DATASET_REGISTRY.register()
class Shinpuhkan(TrainingSet):
    """Shinpuhkan2014 (Kawanishi et al., A Multi-Camera Pedestrian Dataset, FCV 2014)."""

    dataset_name, dataset_dir = "shinpuhkan", "shinpuhkan"
    dataset_url = "the Minoh laboratory of Kyoto University"
    sources = {
        "train": (
            Images("", "**/*.jpg", r"(?:.*/)?(?P<pid>[^_/]+)_[^_/]*_(?P<cam>[^_/.]+)[^/]*$", "images/001_0_01_01.jpg"),
        )
    }


@DATASET_REGISTRY.register()
class WildTrackCrop(TrainingSet):
    """WILDTRACK, cut out (Chavdarova et al., WILDTRACK: A Multi-camera HD Dataset, CVPR 2018)."""

    dataset_name, dataset_dir = "wildtrack", "Wildtrack_crop_dataset"
    dataset_url = "https://www.epfl.ch/labs/cvlab/data/data-wildtrack/"
    sources = {"train": (Images("crop", "*/*.png", r"(?P<pid>[^/]+)/(?P<cam>[^_/.]+)", "1/0_00000001.png"),)}


@DATASET_REGISTRY.register()
class cuhkSYSU(TrainingSet):
    """CUHK-SYSU, cut out (Xiao et al., Joint Detection and Identification Feature Learning, CVPR 2017)."""

    dataset_name, dataset_dir = "cuhksysu", "cuhk_sysu"
    dataset_url = "https://github.com/ShuangLI59/person_search"
    numbers, camera = True, "0"
    sources = {"train": (Images("cropped_images", "*.jpg", r"p(?P<pid>-?\d+)_s\d", "p1_s1_1.jpg"),)}
