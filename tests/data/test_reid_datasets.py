"""The data sets of fast-reid, read from miniature copies of their layouts."""

import functools
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid.config import get_cfg
from fastreid.data import CommDataset, Record, build_reid_test_loader, build_reid_train_loader
from fastreid.data.datasets import DATASET_REGISTRY, Images, LayoutDataset, Market1501, build_dataset
from fastreid.data.datasets.table import table
from tests.data import miniatures

# per part: images, identities, cameras of the miniature with 4 identities, 2 cameras, 2 images
FULL = (16, 4, 2), (8, 4, 2), (16, 4, 2)
ONLY = (0, 0, 0), (0, 0, 0)
EXPECTED = {
    "Market1501": (FULL[0], FULL[1], (17, 5, 2)),  # and the distractor
    "DukeMTMC": FULL,
    "MSMT17": FULL,
    "VeRi": FULL,
    "VehicleID": ((16, 4, 16), (21, 7, 21), (7, 7, 7)),
    "SmallVehicleID": ((16, 4, 16), (12, 4, 12), (4, 4, 4)),
    "MediumVehicleID": ((16, 4, 16), (15, 5, 15), (5, 5, 5)),
    "LargeVehicleID": ((16, 4, 16), (18, 6, 18), (6, 6, 6)),
    "VeRiWild": ((16, 4, 2), (12, 6, 2), (24, 6, 2)),
    "SmallVeRiWild": FULL,
    "MediumVeRiWild": ((16, 4, 2), (10, 5, 2), (20, 5, 2)),
    "LargeVeRiWild": ((16, 4, 2), (12, 6, 2), (24, 6, 2)),
    **dict.fromkeys(("AirportALERT", "iLIDS", "PKU", "PRAI", "PRID", "GRID", "SAIVT", "SYSU_mm"), ((16, 4, 2), *ONLY)),
    **dict.fromkeys(("Shinpuhkan", "WildTrackCrop"), ((16, 4, 2), *ONLY)),
    **dict.fromkeys(("Thermalworld", "PeS3D", "CAVIARa", "cuhkSYSU"), ((16, 4, 1), *ONLY)),
    "CUHK03": FULL,
    **dict.fromkeys(("Market1501Attr", "DukeMTMCAttr"), (FULL[0], FULL[2], ONLY[0])),
    "PA100K": ((16, 16, 1), (16, 16, 1), ONLY[0]),
    **dict.fromkeys(("Cars196", "CUB", "SOP"), ((16, 4, 1), (24, 4, 24), (24, 4, 24))),
    "InShop": ((16, 4, 1), (8, 4, 1), (16, 4, 1)),
    **dict.fromkeys(("PartialREID", "PartialiLIDS", "OccludedREID"), (ONLY[0], (8, 4, 2), (16, 4, 4))),
    "SenseReID": ((12, 4, 3), *ONLY),
    "VIPeR": ((8, 4, 2), *ONLY),
    "LPW": ((16, 8, 2), *ONLY),  # a person of another scene is another person
}  # fmt: skip
# the first training labels and the first gallery labels, as fast-reid makes them from these files
LABELS = {
    "Market1501": ("market1501_1", "market1501_0", 0, 0),
    "DukeMTMC": ("dukemtmc_1", "dukemtmc_0", 5, 0),
    "MSMT17": ("msmt17_0", "msmt17_0", 4, 0),
    "VeRi": ("veri_1", "veri_0", 5, 0),
    "SmallVehicleID": ("vehicleid_1", "vehicleid_1", 5, None),  # the camera is the number of the image
    "VeRiWild": ("veriwild_1", "veriwild_101", 5, 101),
    "CUHK03": ("cuhk03_0", "cuhk03_0", 5, 0),
    "AirportALERT": ("airport_11001", "airport_cam1"),
    "iLIDS": ("ilids_001", "ilids_cam1"),
    "PKU": ("pku_001", "pku_01"),
    "PRAI": ("prai_00000001", "prai_0001"),
    "PRID": ("prid_0001", "prid_cam1"),
    "GRID": ("grid_0001", "grid_1"),
    "SAIVT": ("saivt_001", "saivt_1"),
    "SenseReID": ("senseid_00001", "senseid_1"),
    "SYSU_mm": ("sysumm01_0001", "sysumm01_cam1"),
    "Thermalworld": ("thermalworld_1", "thermalworld_cam0"),
    "PeS3D": ("pes3d_1_A", "pes3d_cam0"),
    "CAVIARa": ("caviara_0001", "caviara_cam0"),
    "VIPeR": ("viper_001", "viper_cam_a"),
    "LPW": ("lpw_scen1-1", "lpw_view1"),
    "Shinpuhkan": ("shinpuhkan_001", "shinpuhkan_01"),
    "WildTrackCrop": ("wildtrack_1", "wildtrack_1"),
    "cuhkSYSU": ("cuhksysu_1", "cuhksysu_0"),
}
LAYOUTS = [(name, obj) for name, obj in DATASET_REGISTRY if issubclass(obj, LayoutDataset)]


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Write each layout once."""
    written = {}

    def root(name):
        key = (
            name if isinstance(miniatures.WRITERS.get(name), functools.partial) else miniatures.WRITERS.get(name, name)
        )
        if key not in written:
            written[key] = miniatures.write(name, tmp_path_factory.mktemp("data"))
        return written[key]

    return root


@pytest.fixture
def cfg():
    return get_cfg()


def at(monkeypatch, root):
    monkeypatch.setenv("FASTREID_DATASETS", str(root))


@pytest.mark.parametrize("name", EXPECTED)
def test_every_layout_is_read(roots, name):
    data = DATASET_REGISTRY.get(name)(root=str(roots(name)))
    parts = data.train, data.query, data.gallery
    assert tuple((len(part), *data.parse_data(part)) for part in parts) == EXPECTED[name]
    train, query, gallery = ({record.path for record in part} for part in parts)
    assert len(train) == len(parts[0]), "an image twice"
    assert not train & (query | gallery)
    assert not query & gallery or data.query == data.gallery
    assert {record.pid for record in data.train}.isdisjoint(record.pid for record in data.query)
    assert {record.pid for record in data.gallery} >= {record.pid for record in data.query} or not data.ranked
    assert all(record.path.startswith(str(roots(name))) for part in parts for record in part)


def test_every_data_set_of_fast_reid_is_here_and_tested():
    upstream = """CUHK03 DukeMTMC Market1501 MSMT17 AirportALERT iLIDS PKU PRAI PRID GRID SAIVT SenseReID SYSU_mm
        Thermalworld PeS3D CAVIARa VIPeR LPW Shinpuhkan WildTrackCrop cuhkSYSU VeRi VehicleID SmallVehicleID
        MediumVehicleID LargeVehicleID VeRiWild SmallVeRiWild MediumVeRiWild LargeVeRiWild"""
    assert set(upstream.split()) <= set(EXPECTED)
    assert {name for name, _ in LAYOUTS} <= set(EXPECTED)


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_those_of_fast_reid(roots, name):
    data = DATASET_REGISTRY.get(name)(root=str(roots(name)))
    labels = [
        data.train[0].pid,
        data.train[0].camid,
        *([data.gallery[0].pid, data.gallery[0].camid] if data.gallery else []),
    ]
    for ours, want in zip(labels, LABELS[name], strict=True):
        assert want is None or ours == want


@pytest.mark.parametrize("name, obj", LAYOUTS, ids=[name for name, _ in LAYOUTS])
def test_the_example_of_a_layout_is_read_by_its_own_pattern(name, obj, tmp_path):
    """The file in the message is one that would be found."""
    data = object.__new__(obj)
    for part, sources in obj.sources.items():
        for source in sources:
            if isinstance(source, Images):
                miniatures.draw(tmp_path / source.folder / source.example, 1)
            else:
                miniatures.lines(tmp_path / source.file, [source.example])
            (found,) = source.find(tmp_path)
            assert LayoutDataset.record(data, part, *found[:2]) is not None
            shutil.rmtree(tmp_path)


def test_the_order_is_that_of_the_names_whatever_the_file_system_says(roots, monkeypatch):
    from pathlib import Path

    root, glob = str(roots("Market1501")), Path.glob
    first = Market1501(root).gallery
    monkeypatch.setattr(Path, "glob", lambda self, pattern: reversed(list(glob(self, pattern))))
    assert Market1501(root).gallery == first
    assert [record.path for record in first] == sorted(record.path for record in first)


def test_market_leaves_junk_out_and_keeps_distractors(roots):
    data = Market1501(str(roots("Market1501")))
    assert {record.pid for record in data.gallery} == {0, 5, 6, 7, 8}
    more = Market1501(str(roots("Market1501")), market1501_500k=True)
    assert len(more.gallery) == len(data.gallery) + 1
    assert more.gallery[-1][1:] == (0, 1)
    everything = Market1501(str(roots("Market1501")), combineall=True).train
    assert len(everything) == 16 + 8 + 16  # no distractor becomes an identity
    assert len({record.pid for record in everything}) == 8
    assert everything[-1].pid == "market1501_test_8"


def test_market_in_the_data_root_itself(roots, tmp_path):
    shutil.copytree(roots("Market1501") / "Market-1501-v15.09.15", tmp_path / "mine")
    assert len(Market1501(str(tmp_path / "mine")).train) == 16

    class Mine(Market1501):
        dataset_dir, dataset_name = "mine", "own"

    assert Mine(str(tmp_path)).train[0][1:] == ("own_1", "own_0")


def test_a_camera_of_two_digits_is_read_whole(tmp_path):
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        miniatures.draw(tmp_path / part / "0001_c12s1_000001_00.jpg", 1)
    assert Market1501(tmp_path).query[0].camid == 11


@pytest.mark.parametrize("folder, train, test", [("MSMT17_V2", "mask_train_v2", "mask_test_v2")])
def test_msmt17_version_2(tmp_path, folder, train, test):
    miniatures.write_msmt17(tmp_path, miniatures.Shots(4, 2, 2), folder, train, test)
    data = DATASET_REGISTRY.get("MSMT17")(root=str(tmp_path))
    assert data.train[0].path.startswith(str(tmp_path / folder / train))
    assert data.gallery[0].path.startswith(str(tmp_path / folder / test))
    assert data.gallery[0].source.endswith("list_gallery.txt:1")


def test_msmt17_validation_images_are_for_combineall(roots):
    data = DATASET_REGISTRY.get("MSMT17")(root=str(roots("MSMT17")), combineall=True)
    assert len(data.train) == 16 + 2 + 8 + 16
    assert {record.pid for record in data.query} == {4, 5, 6, 7}  # as without it
    assert len({record.pid for record in data.train}) == 8


def test_vehicleid_draws_one_gallery_image_of_each_vehicle_in_the_same_way_each_time(roots):
    make, root = DATASET_REGISTRY.get("SmallVehicleID"), str(roots("VehicleID"))
    data = make(root=root)
    assert [record.pid for record in data.gallery] == [5, 6, 7, 8]
    assert make(root=root).gallery == data.gallery
    assert any(make(root=root, seed=seed).gallery != data.gallery for seed in (1, 2, 3))
    everything = {record.camid for record in data.query + data.gallery}
    assert len(everything) == 16
    own = roots("VehicleID") / "vehicleid/train_test_split/test_list_800.txt"
    assert DATASET_REGISTRY.get("VehicleID")(root=root, test_list=str(own)).gallery == data.gallery


def test_veriwild_takes_lists_of_its_own_and_names_an_image_without_camera(roots, tmp_path):
    root, make = roots("VeRiWild"), DATASET_REGISTRY.get("VeRiWild")
    miniatures.lines(tmp_path / "q.txt", ["00005/000017.jpg"])
    miniatures.lines(tmp_path / "g.txt", ["00005/999999"])
    data = make(root=str(root), query_list=str(tmp_path / "q.txt"), gallery_list=str(tmp_path / "g.txt"))
    assert [tuple(record) for record in data.query] == [(str(root / "VERI-Wild/images/00005/000017.jpg"), 5, 101)]
    with pytest.raises(ValueError, match=r"g\.txt:1: image 999999 is not in .*vehicle_info\.txt"):
        _ = data.gallery
    with pytest.raises(ValueError, match="needs query_list and gallery_list"):
        make(root=str(root), query_list="q.txt")


def test_airport_keeps_identities_from_11001(roots):
    data = DATASET_REGISTRY.get("AirportALERT")(root=str(roots("AirportALERT")))
    assert {record.pid for record in data.train} == {f"airport_{pid}" for pid in range(11001, 11005)}


def test_files_that_are_none_of_the_data_set_are_counted_and_refused(roots, tmp_path):
    shutil.copytree(roots("Market1501"), tmp_path, dirs_exist_ok=True)
    query = tmp_path / "Market-1501-v15.09.15/query"
    for name in ("mine.jpg", "a.jpg"):
        (query / name).write_text("")
    (query / "._0001_c1s1.jpg").write_text("")  # left by macOS
    data = Market1501(str(tmp_path))
    assert len(data.train) == 16
    with pytest.raises(
        ValueError, match=r"2 of 10 images in .*query are not such as '0002_c1s1_.*'; the first: 'a.jpg'"
    ):
        _ = data.query


def test_a_line_that_is_none_of_the_list_is_refused(roots, tmp_path):
    shutil.copytree(roots("VehicleID"), tmp_path, dirs_exist_ok=True)
    miniatures.lines(tmp_path / "vehicleid/train_test_split/train_list.txt", ["0000001 5", "0000002.jpg 6"])
    with pytest.raises(
        ValueError, match=r"1 of 2 lines of .*train_list\.txt are not such as '0000001 6321'; the first"
    ):
        _ = DATASET_REGISTRY.get("VehicleID")(root=str(tmp_path)).train


def test_folders_and_lists_without_images_are_refused(tmp_path):
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        (tmp_path / "DukeMTMC-reID" / part).mkdir(parents=True)
    data = DATASET_REGISTRY.get("DukeMTMC")(root=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no image \*\.jpg in .*query; expected files such as 0005_c2"):
        _ = data.query
    miniatures.write("VehicleID", tmp_path)
    miniatures.lines(tmp_path / "vehicleid/train_test_split/train_list.txt", [])
    with pytest.raises(FileNotFoundError, match=r"train_list\.txt is empty; expected lines such as '0000001 6321'"):
        _ = DATASET_REGISTRY.get("VehicleID")(root=str(tmp_path)).train


@pytest.mark.parametrize("name, obj", LAYOUTS, ids=[name for name, _ in LAYOUTS])
def test_missing_data_says_where_to_get_it_and_where_to_put_it(name, obj, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        obj(root=str(tmp_path))
    message = str(error.value)
    assert f"not found under {tmp_path}. Get it from {obj.dataset_url}; put it so: {obj.layout()}" in message
    assert "FASTREID_DATASETS" in message


@pytest.mark.parametrize(
    "name, folder, given, hint",
    [
        ("VeRi", "veri", "VeRi", "under {root} (there is 'VeRi': rename it, or link to it under that name)."),
        ("MSMT17", "MSMT17_V1", "MSMT17", "(there is 'MSMT17': "),
        ("VeRi", "veri", "VERI-Wild", "'veri' not found under {root}. Get it from"),
    ],
)
def test_a_folder_under_another_name_is_noticed(name, folder, given, hint, tmp_path):
    miniatures.write(name, tmp_path)
    (tmp_path / folder).rename(tmp_path / given)
    with pytest.raises(FileNotFoundError) as error:
        DATASET_REGISTRY.get(name)(root=str(tmp_path))
    assert hint.format(root=tmp_path) in str(error.value)


def test_a_missing_part_has_no_stand_in(roots, tmp_path):
    shutil.copytree(roots("VeRi"), tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "veri" / "image_test")
    with pytest.raises(FileNotFoundError, match=r"'veri/image_test' not found under .*[^)]\. Get it from"):
        DATASET_REGISTRY.get("VeRi")(root=str(tmp_path))


PAGE = b"<html>Not found</html>"


@pytest.mark.parametrize(
    "name, file, content, message",
    [
        ("Market1501Attr", "Market-1501-v15.09.15/market_attribute.mat", PAGE * 9, "cannot be read as a MATLAB file"),
        ("Market1501Attr", "Market-1501-v15.09.15/market_attribute.mat", {"other": 1},
         "has no 'market_attribute'; it holds other"),
        ("PA100K", "PA-100K/annotation.mat", {"attributes": [1]}, "has no 'train_images_name'; it holds attributes"),
        ("CUHK03", "cuhk03/cuhk03_new_protocol_config_labeled.mat", PAGE, "cannot be read as a MATLAB file"),
        ("CUHK03", "cuhk03/cuhk03_new_protocol_config_labeled.mat", {"labels": [1]}, "has no 'filelist'; it holds la"),
    ],
)  # fmt: skip
def test_a_broken_table_is_named(name, file, content, message, tmp_path):
    from scipy.io import savemat

    miniatures.write(name, tmp_path)
    path = tmp_path / file
    savemat(path, content) if isinstance(content, dict) else path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path.name} {message}"):
        _ = DATASET_REGISTRY.get(name)(root=str(tmp_path)).train


def test_a_training_set_is_no_test_set(roots, cfg, monkeypatch):
    at(monkeypatch, roots("PRAI"))
    with pytest.raises(ValueError, match="query part of data set 'PRAI' is empty.*training only.*DATASETS.TESTS"):
        build_reid_test_loader(cfg, dataset_name="PRAI")


def test_joined_sets_and_several_tests_are_loaded(tmp_path, cfg, monkeypatch):
    for name in ("Market1501", "VeRi", "VehicleID", "PRAI"):
        miniatures.write(name, tmp_path)
    at(monkeypatch, tmp_path)
    cfg.DATASETS.NAMES = ("Market1501", "VeRi", "PRAI")
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = [32, 16]
    cfg.DATALOADER.NUM_WORKERS, cfg.DATALOADER.SAMPLER_TRAIN = 0, "NaiveIdentitySampler"
    cfg.SOLVER.IMS_PER_BATCH = 16
    loader = build_reid_train_loader(cfg)
    batch = next(iter(loader))
    assert loader.dataset.num_classes == 12
    assert tuple(batch["images"].shape) == (16, 3, 32, 16)
    assert len(set(batch["targets"].tolist())) == 4
    sizes = {}
    for name in ("SmallVehicleID", "MediumVehicleID", "LargeVehicleID"):
        test, queries = build_reid_test_loader(cfg, dataset_name=name)
        sizes[name] = (queries, len(test.dataset), test.dataset.name)
    assert sizes == {"SmallVehicleID": (12, 16, "SmallVehicleID"), "MediumVehicleID": (15, 20, "MediumVehicleID"),
                     "LargeVehicleID": (18, 24, "LargeVehicleID")}  # fmt: skip


def test_keyword_arguments_of_the_loader_reach_the_data_sets(roots, cfg, monkeypatch):
    at(monkeypatch, roots("Market1501"))
    cfg.DATASETS.COMBINEALL, cfg.DATALOADER.NUM_WORKERS = True, 0
    assert len(build_reid_train_loader(cfg).dataset) == 40
    assert len(build_reid_train_loader(cfg, combineall=False).dataset) == 16
    assert len(build_dataset(cfg, "Market1501", market1501_500k=True).gallery) == 18


def test_cuhk03_classic_split_has_one_set_of_test_images(roots, cfg, monkeypatch):
    at(monkeypatch, roots("CUHK03"))
    cfg.DATASETS.CUHK03.CUHK03_CLASSIC_SPLIT = True
    data = build_dataset(cfg, "CUHK03", split_id=1, cuhk03_labeled=False)
    assert data.query == data.gallery
    assert len(data.query) == 24
    assert {record.pid for record in data.query} == {0, 1, 2, 3}  # they restart
    assert data.query[0].path == str(roots("CUHK03") / "cuhk03/images_detected/1_005_1_50.png")
    assert len(build_dataset(cfg, "CUHK03", combineall=True).train) == 16 + 24  # each image once
    with pytest.raises(ValueError, match=r"split_id of CUHK03 must be one of 0, 1; got 2"):
        build_dataset(cfg, "CUHK03", split_id=2)


def test_cuhk03_without_its_files(roots, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"'cuhk03' not found under .*put it so: cuhk03/{cuhk03_release/cuhk-03\.mat"
    ):
        DATASET_REGISTRY.get("CUHK03")(root=str(tmp_path))
    shutil.copytree(roots("CUHK03"), tmp_path, dirs_exist_ok=True)
    (tmp_path / "cuhk03/cuhk03_new_protocol_config_labeled.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"cuhk03_new_protocol_config_labeled\.mat' not found"):
        DATASET_REGISTRY.get("CUHK03")(root=str(tmp_path))


def test_cuhk03_with_broken_files(roots, tmp_path):
    shutil.copytree(roots("CUHK03"), tmp_path, dirs_exist_ok=True)
    make = functools.partial(DATASET_REGISTRY.get("CUHK03"), root=str(tmp_path))
    (tmp_path / "cuhk03/splits_classic_labeled.json").write_text("[{")
    with pytest.raises(ValueError, match=r"splits_classic_labeled\.json is no whole JSON file: .*Delete it"):
        make(cuhk03_classic_split=True)
    shutil.rmtree(tmp_path / "cuhk03/images_labeled")
    (tmp_path / "cuhk03/cuhk03_release").mkdir()
    (tmp_path / "cuhk03/cuhk03_release/cuhk-03.mat").write_bytes(PAGE)
    with pytest.raises(ValueError, match=r"cuhk-03\.mat cannot be read as a MATLAB 7\.3 file"):
        make()
    assert not (tmp_path / "cuhk03/images_labeled").exists()


def test_cuhk03_is_taken_out_of_the_release(tmp_path):
    pytest.importorskip("h5py")
    pixels = miniatures.write_cuhk03_release(tmp_path, persons=3)
    make = DATASET_REGISTRY.get("CUHK03")
    data = make(root=str(tmp_path), cuhk03_classic_split=True)
    assert [record.path.rsplit("/", 1)[1] for record in data.query] == [
        f"1_002_{1 if number <= 5 else 2}_{number:02d}.png" for number in range(1, 10)
    ]
    assert {record[1:] for record in data.query} == {(0, 0), (0, 1)}
    assert {record.pid for record in data.train} == {"cuhk03_0", "cuhk03_1"}
    assert len(data.train) == 18
    with Image.open(data.query[0].path) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels[2, 1])
    assert not [path for path in (tmp_path / "cuhk03").iterdir() if path.name.startswith("tmp")]
    assert make(root=str(tmp_path), cuhk03_classic_split=True).query == data.query  # read, not made again


def test_attributes_of_persons(tmp_path, cfg, monkeypatch):
    at(monkeypatch, miniatures.write("Market1501Attr", tmp_path, ids=5))
    cfg.DATASETS.NAMES, cfg.DATASETS.TESTS = ("Market1501Attr",), ("Market1501Attr",)
    cfg.DATALOADER.NUM_WORKERS, cfg.SOLVER.IMS_PER_BATCH = 0, 8
    train, (test, queries) = build_reid_train_loader(cfg), build_reid_test_loader(cfg, dataset_name="Market1501Attr")
    names = ("age=1", "age=2", "age=3", "hat")
    assert train.dataset.attributes == test.dataset.attributes == names
    assert train.dataset.num_classes == 4  # not the five persons
    assert (queries, len(test.dataset)) == (20, 20)  # no junk, no distractor
    batch = next(iter(train))
    assert batch["attributes"].dtype == torch.int64
    for pid, row in zip((train.dataset.pids[target] for target in batch["targets"]), batch["attributes"], strict=True):
        number = int(pid.removeprefix("market1501_"))
        assert row.tolist() == [*((number - 1) % 3 == age for age in range(3)), number % 2 == 0]
    first = next(iter(test))
    assert first["attributes"].shape == (20, 4)
    assert first["attributes"][0].tolist() == [0, 0, 1, 1]  # person 6


def test_attributes_of_duke_and_pa100k(roots, cfg, monkeypatch):
    at(monkeypatch, roots("DukeMTMCAttr"))
    duke = build_dataset(cfg, "DukeMTMCAttr")
    assert (duke.attributes, duke.train[0].attributes, duke.train[-1].attributes) == (("hat",), (0,), (1,))
    at(monkeypatch, roots("PA100K"))
    pa100k = build_dataset(cfg, "PA100K")
    assert pa100k.attributes == ("Even", "Second")
    assert [record.attributes for record in pa100k.train[:5]] == [(0, 0), (0, 1), (0, 0), (0, 1), (1, 0)]
    assert pa100k.train[2].path == str(roots("PA100K") / "PA-100K/data/000003.jpg")
    assert len(build_dataset(cfg, "PA100K", split="val").query) == 8


def test_a_person_without_attributes_is_named(roots, tmp_path):
    shutil.copytree(roots("DukeMTMCAttr"), tmp_path, dirs_exist_ok=True)
    miniatures.draw(tmp_path / "DukeMTMC-reID/bounding_box_train/0077_c1_f0000000.jpg", 1)
    with pytest.raises(ValueError, match=r"0077_c1.*duke_attribute\.mat has no attributes of person 77"):
        _ = DATASET_REGISTRY.get("DukeMTMCAttr")(root=str(tmp_path)).train


def test_data_sets_with_other_attributes_are_not_joined(tmp_path, cfg, monkeypatch):
    for name in ("Market1501Attr", "DukeMTMCAttr"):
        miniatures.write(name, tmp_path)
    at(monkeypatch, tmp_path)
    cfg.DATASETS.NAMES = ("Market1501Attr", "DukeMTMCAttr")
    with pytest.raises(ValueError, match="attributes differ: Market1501Attr has 4, DukeMTMCAttr has 1"):
        build_reid_train_loader(cfg)
    with pytest.raises(ValueError, match=r"a\.png has 2 attributes, but the data set has 1 names"):
        CommDataset([Record("a.png", 1, 0, attributes=(0, 1))], attributes=("hat",))


def test_folders_of_classes(roots, cfg, monkeypatch):
    at(monkeypatch, roots("ImageFolder"))
    cfg.DATALOADER.NUM_WORKERS = 0
    data = build_dataset(cfg, "ImageFolder")
    classes = {"class1", "class2", "class3", "class4"}
    assert {record.pid for record in data.train} == {record.pid for record in data.query} == classes
    assert (len(data.train), len(data.query), data.gallery) == (16, 8, [])
    loader, queries = build_reid_test_loader(cfg, dataset_name="ImageFolder")
    assert queries == len(loader.dataset) == 8
    assert len(DATASET_REGISTRY.get("Hymenoptera")(root=str(roots("Hymenoptera"))).train) == 16
    with pytest.raises(FileNotFoundError, match="'hymenoptera_data/train' not found"):
        DATASET_REGISTRY.get("Hymenoptera")(root=str(roots("ImageFolder")))
    cfg.DATASETS.IMAGEFOLDER.SPLIT = "empty"
    (roots("ImageFolder") / "images/empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no image in the folders of .*empty; expected files such as cat/1.jpg"):
        _ = build_dataset(cfg, "ImageFolder").query


def test_a_query_among_the_gallery_is_all_that_its_camera_leaves_out(roots):
    data = DATASET_REGISTRY.get("Cars196")(root=str(roots("Cars196")))
    assert data.query == data.gallery
    assert [record.camid for record in data.query] == list(range(24))
    shop = DATASET_REGISTRY.get("InShop")(root=str(roots("InShop")))
    assert {record.camid for record in shop.query}.isdisjoint(record.camid for record in shop.gallery)


def test_the_committed_table_shows_all_data_sets(repo):
    """A changed layout must show in review: run ``python -m fastreid.data.datasets.table``."""
    committed = (repo / "datasets/README.md").read_text(encoding="utf-8")
    assert committed == table()
    own = {name for name, obj in DATASET_REGISTRY if obj.__module__.startswith("fastreid.")}
    assert all(f"| `{name}` |" in committed for name in own)
