import json

import numpy as np
import pytest
import torch

from fastreid.config import get_cfg
from fastreid.data.feature_file import FeatureFile, StaleFeatures, compare, fingerprint_of, hash_records, hash_weights
from fastreid.data.records import Record
from fastreid.modeling.heads import EmbeddingHead


def make(rows=5, num_query=2, **changes):
    values = {
        "features": np.arange(rows * 3, dtype=np.float64).reshape(rows, 3),
        "num_query": num_query,
        "columns": {"pids": range(rows), "camids": [1] * num_query + [-1] * (rows - num_query)},
        "paths": [f"d/{row} é\n.png" for row in range(rows)],
        "fingerprint": {"weights": "ab", "settings": {"INPUT.SIZE_TEST": (128, 64)}},
    }
    return FeatureFile(**{**values, **changes})


def test_round_trip_keeps_everything(tmp_path):
    columns = {"pids": [7, 8, 9], "camids": [1, 1, -1], "dates": [20180102, 0, 20200107]}
    columns["taxonomy"], columns["views"] = ["0601", None, "x"], ["front", None, "top"]
    path = tmp_path / "deep" / "f.npz"
    make(3, 1, columns=columns, relevance_known=False).save(path)
    loaded = FeatureFile.load(path)
    assert loaded.features.dtype == np.float32
    assert loaded.features.tolist() == np.arange(9).reshape(3, 3).tolist()
    assert loaded.paths == make(3, 1).paths
    assert loaded.columns["dates"].tolist() == columns["dates"]
    assert loaded.columns["taxonomy"].tolist() == ["0601", "", "x"]
    assert loaded.columns["views"].tolist() == ["front", "", "top"]
    assert not loaded.relevance_known
    assert loaded.num_query == 1
    loaded.check(make().fingerprint)  # a tuple and the list that JSON made of it are the same setting


def test_query_and_gallery_are_the_two_parts():
    file = make(5, 2)
    assert (len(file.query), len(file.gallery)) == (2, 3)
    assert file.gallery.columns["pids"].tolist() == [2, 3, 4]
    assert file.gallery.paths == file.paths[2:]
    assert len(make(2, 2).gallery) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_names_rows_and_paths(bad):
    features = np.zeros((4, 3))
    features[2, 1] = bad
    with pytest.raises(ValueError, match=r"1 of 4 feature rows are NaN or infinite: row 2 \(d/2"):
        make(4, features=features)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": np.zeros(5)}, r"shape \(N, D\); got \(5,\)"),
        ({"num_query": 6, "columns": {"pids": [1] * 5, "camids": [1] * 5}}, r"num_query must be in 0\.\.5"),
        ({"paths": ["a"]}, "needs as many paths; got 1"),
        ({"columns": {"pids": [1] * 5}}, "must contain 'camids'"),
        ({"columns": {"pids": [1], "camids": [1] * 5}}, r"column 'pids' .* shape \(5,\); got \(1,\)"),
        ({"columns": {"pids": [1] * 5, "camids": [1] * 5, "colour": [0] * 5}}, "must be among .*; got 'colour'"),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04broken"])
def test_other_files_are_refused_by_name(tmp_path, content):
    path = tmp_path / "f.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"f\.npz is not a feature file"):
        FeatureFile.load(path)


def test_an_array_file_and_a_truncated_one_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    make().save(tmp_path / "f.npz")
    whole = (tmp_path / "f.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    for name in ("a.npy", "half.npz"):
        with pytest.raises(ValueError, match="is not a feature file"):
            FeatureFile.load(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_query": 1.5}, "num_query of a FeatureFile must be a whole number; got 1.5"),
        ({"num_query": None}, "num_query of a FeatureFile must be a whole number; got None"),
        ({"num_query": -1}, "num_query of a FeatureFile must be at least 0; got -1"),
        ({"paths": None}, "has no len"),
        ({"pids": np.array(["a"] * 5)}, "'pids' of a FeatureFile must hold whole numbers"),
        ({"pids": np.array([print] * 5)}, "Object arrays cannot be loaded"),
    ],
)
def test_a_file_with_wrong_parts_is_refused_by_name(tmp_path, change, message):
    make().save(tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz") as stored:
        parts = dict(stored)
    described = json.loads(parts["description"].tobytes())
    for key, value in change.items():
        (described if key in described else parts)[key] = value
    text = np.frombuffer(json.dumps(described).encode(), np.uint8)
    np.savez(tmp_path / "f.npz", **{**parts, "description": text})
    with pytest.raises(ValueError, match=rf"f\.npz.*{message}"):
        FeatureFile.load(tmp_path / "f.npz")


def test_stale_names_the_part_that_differs():
    file = make()
    changed = {"weights": "cd", "settings": {"INPUT.SIZE_TEST": [256, 64]}, "dataset": "X"}
    with pytest.raises(StaleFeatures) as error:
        file.check(changed)
    text = str(error.value)
    assert "weights was 'ab', is now 'cd'" in text
    assert "settings > INPUT.SIZE_TEST was [128, 64], is now [256, 64]" in text
    assert "dataset was None, is now 'X'" in text
    assert compare(file.fingerprint, file.fingerprint) == []


def images(tmp_path, names="abc"):
    for name in names:
        (tmp_path / name).write_bytes(name.encode() * 10)
    return [Record(str(tmp_path / name), pid, 1) for pid, name in enumerate(names)]


def test_fingerprint_follows_weights_settings_and_images(tmp_path):
    cfg, model, records = get_cfg(), torch.nn.Linear(3, 2), images(tmp_path)

    def changed_by(cfg=cfg, model=model, records=records, num_query=1, name="A", flip=False):
        return compare(base, fingerprint_of(cfg, model, records, num_query, name, flip))

    base = fingerprint_of(cfg, model, records, 1, "A")
    assert changed_by() == []
    for keys in (["INPUT.SIZE_TEST", [64, 64]], ["INPUT.GRAYSCALE", True], ["MODEL.PIXEL_MEAN", [1.0, 1.0, 1.0]],
                 ["DATALOADER.ON_BAD_IMAGE", "skip"]):  # fmt: skip
        other = get_cfg()
        other.merge_from_list(keys)
        (difference,) = changed_by(cfg=other)
        assert keys[0] in difference
    for keys in (["INPUT.FLIP.ENABLED", True], ["INPUT.REA.VALUE", [0.0, 0.0, 0.0]], ["MODEL.DEVICE", "cpu"],
                 ["MODEL.HEADS.EMBEDDING_DIM", 2]):  # fmt: skip
        other = get_cfg()
        other.merge_from_list([*keys, "TEST.AQE.ENABLED", True, "SOLVER.BASE_LR", 1.0])
        assert changed_by(cfg=other) == []
    assert "weights" in changed_by(model=torch.nn.Linear(3, 2))[0]
    assert "images" in changed_by(records=records[::-1])[0]
    assert "images" in changed_by(num_query=2)[0]
    assert "dataset" in changed_by(name="B")[0]
    assert "flip" in changed_by(flip=True)[0]
    (tmp_path / "b").write_bytes(b"redrawn")
    assert "images" in changed_by()[0]


def test_hash_of_weights_is_about_content_not_order_or_storage():
    a = {"x": torch.arange(6.0).reshape(2, 3), "y": torch.tensor(3)}
    assert hash_weights(a) == hash_weights({"y": torch.tensor(3), "x": a["x"].T.contiguous().T})
    assert hash_weights(a) != hash_weights({**a, "x": a["x"].half()})
    assert hash_weights(a) != hash_weights({**a, "x": a["x"].reshape(3, 2)})
    assert hash_weights({"b": torch.ones(2, dtype=torch.bfloat16)}) != hash_weights({"b": torch.zeros(2).bfloat16()})
    assert hash_weights({"empty": torch.zeros(0, 4)}) == hash_weights({"empty": torch.zeros(0, 4)})


def test_hash_of_records_sees_labels_but_needs_no_files():
    rows = [("a.png", 1, 1), ("b.png", 2, -1)]
    assert hash_records(rows, 1) == hash_records([Record(*row) for row in rows], 1)
    assert hash_records(rows, 1) != hash_records([("a.png", 2, 1), rows[1]], 1)
    assert hash_records([Record("a", 1, 1, date=20200107)], 1) != hash_records([Record("a", 1, 1)], 1)


@pytest.mark.parametrize("numbers", [1, 7, 12])
def test_not_finite_is_found_in_every_block(monkeypatch, numbers):
    monkeypatch.setattr("fastreid.data.feature_file.CHECKED_NUMBERS", numbers)
    features = np.zeros((9, 3))
    features[[0, 5, 8], 2] = np.inf
    with pytest.raises(ValueError, match=r"(?s)3 of 9 feature rows are NaN or infinite: row 0 .*row 5 .*row 8"):
        make(9, features=features)
    assert len(make(9)) == 9
    assert len(make(0, 0)) == 0


def test_settings_that_only_training_uses_do_not_count_where_an_earlier_version_kept_them(tmp_path):
    records = images(tmp_path)
    now = fingerprint_of(get_cfg(), torch.nn.Linear(3, 2), records, 1, "A")
    assert not any("PFC" in name for name in now["settings"])
    kept = {"MODEL.HEADS.PFC.ENABLED": False, "MODEL.HEADS.PFC.SAMPLE_RATE": 0.1, "INPUT.FLIP.PROB": 0.4}
    assert compare({**now, "settings": {**now["settings"], **kept}}, now) == []
    assert compare(now, {**now, "settings": {**now["settings"], "MODEL.HEADS.NECK_FEAT": "after"}})
    assert compare({"MODEL.HEADS.PFC.ENABLED": False}, {"MODEL.HEADS.PFC.ENABLED": True}), "a config has all settings"


def test_a_setting_that_came_later_than_a_file_had_its_default(tmp_path):
    records, late = images(tmp_path), "MODEL.HEADS.NECK_FEAT"
    now = fingerprint_of(get_cfg(), torch.nn.Linear(3, 2), records, 1, "A")
    old = {**now, "settings": {name: value for name, value in now["settings"].items() if name != late}}
    default = now["settings"][late]
    assert compare(old, now) == []
    assert compare(old, {**now, "settings": {**now["settings"], late: "x"}}) == [
        f"settings > {late} was {default!r}, is now 'x'"
    ]
    means = {**now, "settings": {name: value for name, value in now["settings"].items() if "PIXEL_MEAN" not in name}}
    assert compare(means, now) == []  # a sequence, too
    assert compare(now, old) == [f"settings > {late} was {default!r}, is now None"], "it is gone: it may have counted"
    unknown = {**now, "settings": {**now["settings"], "MODEL.NEVER_WAS": 0}}
    assert compare(now, unknown) == ["settings > MODEL.NEVER_WAS was None, is now 0"]
    assert compare({"weights": now["weights"]}, {"weights": now["weights"], "settings": now["settings"]})


def test_a_fingerprint_is_the_same_in_any_number_of_processes_and_sees_all_weights_but_the_spread_ones(monkeypatch):
    def head(pfc: bool, processes: int = 1, rank: int = 0) -> EmbeddingHead:
        monkeypatch.setattr("fastreid.utils.comm.get_world_size", lambda: processes)
        monkeypatch.setattr("fastreid.utils.comm.get_rank", lambda: rank)
        torch.manual_seed(0)
        return EmbeddingHead(feat_dim=6, embedding_dim=4, num_classes=7, pfc=pfc)

    def weights(model: torch.nn.Module) -> str:
        return fingerprint_of(get_cfg(), model, [], 0)["weights"]

    plain, alone, first, second = head(False), head(True), head(True, 2), head(True, 2, 1)
    assert [len(model.weight) for model in (alone, first, second)] == [7, 4, 3]
    assert weights(alone) == weights(first) == weights(second)
    assert weights(torch.nn.ModuleDict({"heads": first})) == weights(torch.nn.ModuleDict({"heads": second}))
    assert weights(plain) == hash_weights(plain.state_dict()), "what was made of plain models stays in use"
    with torch.no_grad():
        alone.weight += 1
        assert weights(alone) == weights(first)
        alone.bottleneck[0].weight += 1
    assert weights(alone) != weights(first)
