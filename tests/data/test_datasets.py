"""Data sets: layouts, splits, messages."""

import pytest

from fastreid.config import get_cfg
from fastreid.data.build import train_records
from fastreid.data.datasets import DATASET_REGISTRY, build_dataset
from fastreid.data.datasets.bases import ImageDataset

SHEET = "I20180220/USD0810412-20180220/USD0810412-20180220-{}.png"


def lay(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def patent_lists(folder=""):
    return {
        f"{folder}train_patent_trn.txt": f"{SHEET.format('D00000')} 1\n{SHEET.format('P00001')} 10\nI1/a b.png 2\n",
        f"{folder}val_query_patent.txt": f"{SHEET.format('D00002')} 1\n",
        f"{folder}val_db_patent.txt": f"{SHEET.format('D00003')} 1\n",
        f"{folder}test_query_patent.txt": "I1/t.png 1\n",
        f"{folder}test_db_patent.txt": "I1/u.png 1\nI1/v.png 1\n",
        f"{folder}patent_data/keep": "",
    }


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    return get_cfg()


def test_patent_follows_the_dira_code(cfg, tmp_path):
    lay(tmp_path, patent_lists("train_data/"))
    data = build_dataset(cfg, "Patent")
    assert [record.pid for record in data.train] == ["patent_data_1", "patent_data_10", "patent_data_2"]
    assert {record.camid for record in data.train} == {1}
    assert data.train[0].path == str(tmp_path / "train_data/patent_data" / SHEET.format("D00000"))
    assert [(record.pid, record.camid, record.date) for record in data.query + data.gallery] == [
        (1, 1, 20180220),
        (1, -1, 20180220),
    ]
    assert data.relevance_known


@pytest.mark.parametrize("folder", ["codalab_test_set", "test_data/codalab_test_set", "test_data"])
def test_patent_test_takes_every_layout(cfg, tmp_path, folder):
    lay(tmp_path, {
        f"{folder}/lists/test_queries.txt": "queries/b.png\nqueries/a.png\n",
        f"{folder}/lists/test_database.txt": "database/c.png\n",
    })  # fmt: skip
    data = build_dataset(cfg, "PatentTest")
    assert [tuple(record) for record in data.query] == [
        (str(tmp_path / folder / "queries/b.png"), 0, 1),
        (str(tmp_path / folder / "queries/a.png"), 0, 1),
    ]
    assert [tuple(record) for record in data.gallery] == [(str(tmp_path / folder / "database/c.png"), 0, -1)]
    assert not data.relevance_known
    assert data.train == []


@pytest.mark.parametrize("split, gallery", [("val", 1), ("test", 2)])
def test_deeppatent_splits_never_share_labels(cfg, tmp_path, split, gallery):
    lay(tmp_path / "own", patent_lists())
    cfg.DATASETS.DEEPPATENT.ROOT, cfg.DATASETS.DEEPPATENT.SPLIT = "own", split
    data = build_dataset(cfg, "DeepPatent")
    assert len(data.gallery) == gallery
    assert {record.pid for record in data.train}.isdisjoint({record.pid for record in data.query})
    joined = build_dataset(cfg, "DeepPatent", combineall=True)
    assert len(joined.train) == 3 + 1 + gallery
    assert len({record.pid for record in joined.train}) == 4


def test_deeppatent_lists_in_a_sub_folder_images_beside(cfg, tmp_path):
    files = {f"data/{name}": text for name, text in patent_lists().items() if name.endswith(".txt")}
    lay(tmp_path / "DeepPatent", {**files, "I1/keep": ""})
    assert build_dataset(cfg, "DeepPatent").query[0].path == str(tmp_path / "DeepPatent" / SHEET.format("D00002"))


def test_deeppatent_real_lists(testdata):
    data = DATASET_REGISTRY.get("DeepPatent")(root=str(testdata / "deeppatent_lists"), split="test")
    assert (len(data.query), len(data.gallery)) == (13133, 38834)
    assert data.parse_data(data.gallery) == (6927, 1)
    assert all(record.date for record in data.query)
    val = DATASET_REGISTRY.get("DeepPatent")(root=str(testdata / "deeppatent_lists"))
    assert (len(val.query), len(val.gallery)) == (11271, 33544)


def test_wrong_split_names_the_choices(cfg, tmp_path):
    cfg.DATASETS.DEEPPATENT.SPLIT = "tset"
    with pytest.raises(ValueError, match="must be one of 'val', 'test'; got 'tset'. Did you mean 'test'"):
        build_dataset(cfg, "DeepPatent")


@pytest.mark.parametrize(
    "name, part, missing",
    [("Patent", "train", "patent_data"), ("PatentTest", None, "codalab_test_set/lists/test_queries.txt"),
     ("DeepPatent", "query", "DeepPatent")],
)  # fmt: skip
def test_missing_data_says_where_to_get_it_and_where_to_put_it(cfg, tmp_path, name, part, missing):
    with pytest.raises(FileNotFoundError) as error:
        getattr(build_dataset(cfg, name), part or "query")
    message = str(error.value)
    assert f"'{missing}' not found under {tmp_path}" in message
    assert "Get it from" in message
    assert "put it so" in message
    assert "FASTREID_DATASETS" in message


def test_unknown_name_has_a_near_miss(cfg):
    with pytest.raises(KeyError, match="Did you mean 'DeepPatent'"):
        build_dataset(cfg, "deeppatents")


def file_list(cfg, **options):
    for key, value in options.items():
        cfg.DATASETS.FILELIST[key.upper()] = value
    return build_dataset(cfg, "FileList")


def test_file_list_relative_to_root_with_variables(cfg, tmp_path, monkeypatch):
    lay(tmp_path / "own", {"t.txt": "a.png chair\nb c.png 7\n", "q.txt": "q.png 7\n", "g.txt": "g.png 7\nh.png x\n"})
    monkeypatch.setenv("OWN", "own")
    data = file_list(cfg, root="${OWN}", train=("t.txt",), query=("q.txt",), gallery=(str(tmp_path / "own/g.txt"),))
    assert [tuple(record) for record in data.train] == [
        (str(tmp_path / "own/a.png"), "filelist_chair", 1), (str(tmp_path / "own/b c.png"), "filelist_7", 1),
    ]  # fmt: skip
    assert [tuple(record)[1:] for record in data.query + data.gallery] == [(7, 1), (7, -1), ("x", -1)]
    assert data.gallery[1].source.endswith("g.txt:2")


def test_file_list_with_cameras(cfg, tmp_path):
    lay(tmp_path, {"q.txt": "q q.png 7 c2\n"})
    (record,) = file_list(cfg, query=("q.txt",), cameras=True).query
    assert tuple(record) == (str(tmp_path / "q q.png"), 7, "c2")


def test_file_list_messages(cfg, tmp_path, monkeypatch):
    data = file_list(cfg, train=("none.txt",))
    with pytest.raises(FileNotFoundError, match=r"FILELIST\.TRAIN: list 'none.txt' not found at"):
        _ = data.train
    with pytest.raises(ValueError, match=r"name files in DATASETS\.FILELIST\.QUERY"):
        _ = data.query
    with pytest.raises(ValueError, match="variable that is not set: NO_SUCH_VARIABLE$"):
        file_list(cfg, root="${NO_SUCH_VARIABLE}")
    monkeypatch.setenv("EMPTY", "")
    with pytest.raises(ValueError, match="variable that is not set: EMPTY"):
        file_list(cfg, root="${EMPTY}/drawings")


def test_real_drawings_through_file_list(cfg, testdata):
    root = testdata / "real/design_patents"
    data = file_list(cfg, root=str(root), query=("query.txt",), gallery=("gallery.txt", "distractors.txt"))
    assert (len(data.query), len(data.gallery)) == (138, 326 + 400)
    assert data.query[0].date == 20060919


def test_joined_training_sets_never_share_integers(cfg):
    class Odd(ImageDataset):
        dataset_name = "odd"

        def __init__(self, root, **kwargs):
            super().__init__([("a.png", 1, 0)], [], [], **kwargs)

    for name in ("OddA", "OddB"):
        if name not in DATASET_REGISTRY:
            DATASET_REGISTRY.register(Odd, name=name)
    cfg.DATASETS.NAMES = ("OddA", "OddB")
    assert {record.pid for record in train_records(cfg)} == {"OddA_1", "OddB_1"}
    cfg.DATASETS.NAMES = ("OddA",)
    assert train_records(cfg)[0].pid == 1


def test_table_of_a_data_set(cfg, tmp_path, caplog):
    lay(tmp_path, patent_lists("train_data/"))
    with caplog.at_level("INFO", logger="fastreid"):
        build_dataset(cfg, "Patent").show_test()
    assert "| gallery  |            1 |         1 |        1 |" in caplog.text


def test_files_that_a_data_set_of_ones_own_requires(tmp_path):
    class Mine(ImageDataset):
        dataset_name, dataset_url = "mine", "me"

        def __init__(self, folder, parts):
            self.check_before_run(map(folder.joinpath, parts))
            self.check_before_run(folder)
            super().__init__([], [], [])

    folder = tmp_path / "mine"
    (folder / "train").mkdir(parents=True)
    Mine(folder, ["train"])
    Mine(folder, [])
    with pytest.raises(FileNotFoundError) as error:
        Mine(folder, ["train", "query"])
    said = f"Data set mine: 'mine/query' not found under {tmp_path}. Get it from me; put it so: mine/train, mine/query."
    assert said in str(error.value)
    with pytest.raises(FileNotFoundError, match="'none' not found under"):
        Mine(tmp_path / "none", [])
