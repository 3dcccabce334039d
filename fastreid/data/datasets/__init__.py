"""Data sets by name: ``DATASETS.NAMES`` and ``DATASETS.TESTS`` name what is registered here."""

from fastreid.data.datasets.attributes import PA100K, DukeMTMCAttr, Market1501Attr
from fastreid.data.datasets.bases import Dataset, ImageDataset
from fastreid.data.datasets.build import DATASET_REGISTRY, build_dataset
from fastreid.data.datasets.class_folders import Hymenoptera, ImageFolder
from fastreid.data.datasets.cuhk03 import CUHK03
from fastreid.data.datasets.dukemtmcreid import DukeMTMC
from fastreid.data.datasets.filelist import FileList
from fastreid.data.datasets.layout import Images, LayoutDataset, Lines
from fastreid.data.datasets.market1501 import Market1501
from fastreid.data.datasets.minipatent import MiniPatent
from fastreid.data.datasets.msmt17 import MSMT17
from fastreid.data.datasets.patent import DeepPatent, Patent, PatentTest
from fastreid.data.datasets.retrieval_sets import (
    CUB,
    SOP,
    Cars196,
    InShop,
    OccludedREID,
    PartialiLIDS,
    PartialREID,
)
from fastreid.data.datasets.tar_shards import TarShards
from fastreid.data.datasets.training_sets import (
    GRID,
    LPW,
    PKU,
    PRAI,
    PRID,
    SAIVT,
    AirportALERT,
    CAVIARa,
    PeS3D,
    SenseReID,
    Shinpuhkan,
    SYSU_mm,
    Thermalworld,
    VIPeR,
    WildTrackCrop,
    cuhkSYSU,
    iLIDS,
)
from fastreid.data.datasets.vehicleid import LargeVehicleID, MediumVehicleID, SmallVehicleID, VehicleID
from fastreid.data.datasets.veri import VeRi
from fastreid.data.datasets.veriwild import LargeVeRiWild, MediumVeRiWild, SmallVeRiWild, VeRiWild
