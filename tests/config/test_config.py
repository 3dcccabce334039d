import re

import pytest
import yaml

from fastreid.config import CfgNode, configurable, get_cfg, global_cfg, set_global_cfg


def write(path, **keys):
    path.write_text(yaml.safe_dump(keys))
    return path


def test_bases_are_merged_in_order_and_relative_to_the_file(tmp_path):
    (tmp_path / "sub").mkdir()
    write(tmp_path / "a.yml", SOLVER={"BASE_LR": 1.0, "MAX_EPOCH": 7})
    write(tmp_path / "b.yml", _BASE_="a.yml", SOLVER={"BASE_LR": 2.0})
    top = write(tmp_path / "sub" / "c.yml", _BASE_="../b.yml", SOLVER={"OPT": "SGD"})
    cfg = get_cfg()
    cfg.merge_from_file(top)
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.OPT) == (2.0, 7, "SGD")


def test_a_later_base_wins_over_an_earlier_one(tmp_path):
    write(tmp_path / "a.yml", SOLVER={"BASE_LR": 1.0})
    write(tmp_path / "b.yml", SOLVER={"BASE_LR": 2.0})
    cfg = get_cfg()
    cfg.merge_from_file(write(tmp_path / "c.yml", _BASE_=["a.yml", "b.yml"]))
    assert cfg.SOLVER.BASE_LR == 2.0


def test_a_circle_of_bases_is_named(tmp_path):
    write(tmp_path / "a.yml", _BASE_="b.yml")
    write(tmp_path / "b.yml", _BASE_="a.yml")
    with pytest.raises(ValueError, match="forms a circle"):
        get_cfg().merge_from_file(tmp_path / "a.yml")


def test_missing_files_say_who_wanted_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="Config file not found: 'nowhere.yml'"):
        get_cfg().merge_from_file("nowhere.yml")
    top = write(tmp_path / "top.yml", _BASE_="gone.yml")
    with pytest.raises(FileNotFoundError, match=r"top\.yaml'\. Did you mean 'top\.yml'\?"):
        get_cfg().merge_from_file(tmp_path / "top.yaml")
    with pytest.raises(FileNotFoundError, match=r"gone\.yml' \(named as _BASE_ in .*top\.yml"):
        get_cfg().merge_from_file(top)


def test_all_unknown_keys_are_listed_with_their_nearest_match(tmp_path):
    path = write(tmp_path / "x.yml", SOLVER={"BASE_LRR": 1.0}, MODEL={"BACKBON": {"DEPTH": "50x"}})
    with pytest.raises(KeyError) as error:
        get_cfg().merge_from_file(path)
    assert "SOLVER.BASE_LRR Did you mean 'SOLVER.BASE_LR'?" in str(error.value)
    assert "MODEL.BACKBON.DEPTH Did you mean 'MODEL.BACKBONE.DEPTH'?" in str(error.value)


def test_a_refused_merge_changes_nothing():
    cfg = get_cfg()
    with pytest.raises(KeyError):
        cfg.merge_from_list(["SOLVER.BASE_LR", "1.0", "SOLVER.NOPE", "2"])
    assert get_cfg() == cfg


@pytest.mark.parametrize(
    "key, given, expected",
    [
        ("SOLVER.BASE_LR", "1", 1.0),
        ("DATASETS.NAMES", "MiniPatent", ("MiniPatent",)),
        ("DATASETS.NAMES", "('A', 'B')", ("A", "B")),
        ("SOLVER.STEPS", "[1, 2]", [1, 2]),
        ("SOLVER.STEPS", "5", [5]),
        ("MODEL.BACKBONE.PRETRAIN_PATH", "123", "123"),
        ("OUTPUT_DIR", "2024_01", "2024_01"),
        ("OUTPUT_DIR", "1e5", "1e5"),
        ("OUTPUT_DIR", "'quoted'", "quoted"),
        ("MODEL.HEADS.SCALE", "2.5", 2.5),
        ("TEST.FLIP.ENABLED", "true", True),
        ("SOLVER.MAX_EPOCH", "1e1", 10),
    ],
)
def test_values_take_the_type_of_the_default(key, given, expected):
    cfg = get_cfg()
    cfg.merge_from_list([key, given])
    value = cfg.get_node(key)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    "pair, message",
    [
        (["SOLVER.MAX_EPOCH", "abc"], "SOLVER.MAX_EPOCH in the command line must be a whole number .* got 'abc'"),
        (["TEST.FLIP.ENABLED", "1"], "must be of type bool"),
        (["SOLVER.MAX_EPOCH", "1.5"], "SOLVER.MAX_EPOCH in the command line must be a whole number .* got 1.5"),
        (["SOLVER.MAX_EPOCH", "True"], "must be a whole number .* got True"),
        (["SOLVER.BASE_LR", "True"], "must be of type float .* got True"),
        (["MODEL.BACKBONE", "50x"], "MODEL.BACKBONE in the command line is a group of keys"),
        (["--resume", "model.pth"], "MODEL.WEIGHTS names a file"),
        (["logs/x/model_best.pth", "SEED", "4"], "path 'logs/x/model_best.pth' .*--resume takes no path.* MODEL"),
        (["model_best.pth"], "--resume takes no path: it continues from the last checkpoint in OUTPUT_DIR"),
        (["MODEL.WEIGHTS=logs/x.pth"], "write MODEL.WEIGHTS logs/x.pth instead"),
        (["SOLVER.BASE_LR"], "the key 'SOLVER.BASE_LR' has no value"),
        (["SOLVER.BASE_LR=0.1"], "write SOLVER.BASE_LR 0.1 instead of SOLVER.BASE_LR=0.1"),
        (["SOLVER.BASE_LR=0.1", "SEED=1"], "write SOLVER.BASE_LR 0.1"),
        (["SEED", "x"], "like its present value 0; got 'x'"),
    ],
)
def test_wrong_overrides_are_explained(pair, message):
    with pytest.raises(ValueError, match=message):
        get_cfg().merge_from_list(pair)


def test_old_keys_are_renamed_and_removed_ones_explained(tmp_path):
    cfg = get_cfg()
    cfg.merge_from_file(write(tmp_path / "old.yml", INPUT={"DO_FLIP": True, "PADDING": 4, "REA": {"MEAN": [1, 2, 3]}}))
    assert cfg.INPUT.FLIP.ENABLED is True
    assert cfg.INPUT.PADDING.SIZE == 4
    assert cfg.INPUT.REA.VALUE == [1, 2, 3]
    with pytest.raises(KeyError, match=r"SOLVER\.MAX_ITER: removed\. Set SOLVER\.MAX_EPOCH"):
        cfg.merge_from_list(["SOLVER.MAX_ITER", "3"])


def test_a_frozen_config_refuses_every_change(tmp_path):
    cfg = get_cfg()
    cfg.freeze()
    with pytest.raises(AttributeError, match="frozen"):
        cfg.MODEL.DEVICE = "cpu"
    with pytest.raises(AttributeError, match="frozen"):
        cfg.MODEL["DEVICE"] = "cpu"
    with pytest.raises(AttributeError, match="frozen"):
        cfg.merge_from_list(["MODEL.DEVICE", "cpu"])
    with pytest.raises(AttributeError, match="frozen"):
        cfg.merge_from_file(write(tmp_path / "x.yml", SEED=1))
    assert cfg.MODEL.DEVICE == "cuda"
    clone = cfg.clone()
    clone.defrost()
    clone.MODEL.DEVICE = "cpu"
    assert cfg.MODEL.DEVICE == "cuda"


def test_a_saved_config_loads_to_an_equal_one(tmp_path):
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.NAMES", "('A', 'B')", "SOLVER.BASE_LR", "0.5"])
    (tmp_path / "config.yaml").write_text(cfg.dump())
    again = get_cfg()
    again.merge_from_file(tmp_path / "config.yaml")
    assert again == cfg


def test_misspelt_attribute_names_its_neighbours():
    with pytest.raises(AttributeError, match="Did you mean 'SOLVER'"):
        get_cfg().SOLVR  # noqa: B018


def test_get_node_names_the_nearest_path():
    with pytest.raises(KeyError, match=r"Did you mean 'MODEL\.LOSSES\.TRI"):
        get_cfg().get_node("MODEL.LOSSES.TRII.MARGIN")


def test_plugins_register_components_and_declare_keys(tmp_path):
    plugin = tmp_path / "parts.py"
    plugin.write_text(
        "from fastreid.config import CfgNode as CN\n"
        "def add_config(cfg):\n"
        "    cfg.MODEL.LOSSES.MINE = CN({'WEIGHT': 1.0})\n"
    )
    path = write(tmp_path / "x.yml", PLUGINS="parts.py", MODEL={"LOSSES": {"MINE": {"WEIGHT": 2}}})
    cfg = get_cfg()
    cfg.merge_from_file(path)
    assert cfg.MODEL.LOSSES.MINE.WEIGHT == 2.0
    assert cfg.PLUGINS == (str(plugin),)
    (tmp_path / "more.py").write_text("")
    cfg.merge_from_list(["PLUGINS", str(tmp_path / "more.py")])
    assert cfg.PLUGINS == (str(plugin), str(tmp_path / "more.py"))
    other = get_cfg()
    other.merge_from_list(["MODEL.LOSSES.MINE.WEIGHT", "3", "PLUGINS", str(plugin)])
    assert other.MODEL.LOSSES.MINE.WEIGHT == 3.0


def test_a_missing_plugin_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"PLUGINS names the file 'gone\.py'"):
        get_cfg().merge_from_list(["PLUGINS", "gone.py"])
    with pytest.raises(ImportError, match=r"PLUGINS names the module 'no\.such\.module'"):
        get_cfg().merge_from_list(["PLUGINS", "no.such.module"])
    (tmp_path / "a.yml").write_text("PLUGINS: [parts/gone.py]")
    with pytest.raises(FileNotFoundError, match=re.escape(f"names the file '{tmp_path / 'parts' / 'gone.py'}'")):
        get_cfg().merge_from_file(tmp_path / "a.yml")


def test_malformed_yaml_is_named_with_its_line(tmp_path):
    (tmp_path / "base.yml").write_text("SOLVER:\n  BASE_LR: 0.1\n BAD: [1\n")
    (tmp_path / "a.yml").write_text("_BASE_: base.yml")
    with pytest.raises(ValueError, match=r"base.yml, line 3, column 2: not valid YAML"):
        get_cfg().merge_from_file(tmp_path / "a.yml")


def test_configurable_takes_plain_arguments_or_a_cfg():
    class Part:
        @configurable
        def __init__(self, width, factor=2):
            self.width, self.factor = width, factor

        @classmethod
        def from_config(cls, cfg, factor=5):
            return {"width": cfg.MODEL.BACKBONE.FEAT_DIM, "factor": factor}

    cfg = get_cfg()
    assert (Part(1).width, Part(1).factor) == (1, 2)
    assert (Part(cfg).width, Part(cfg).factor) == (2048, 5)
    assert (Part(cfg, factor=9).factor, Part(cfg, width=3).width) == (9, 3)

    @configurable(from_config=lambda cfg: {"size": cfg.INPUT.SIZE_TEST})
    def area(size):
        return size[0] * size[1]

    assert area([2, 3]) == 6
    assert area(cfg) == 256 * 128


def test_global_cfg_holds_the_last_config_set():
    cfg = get_cfg()
    set_global_cfg(cfg)
    assert isinstance(global_cfg, CfgNode)
    assert global_cfg.SOLVER.OPT == "Adam"


def test_values_of_former_versions_are_called_by_their_present_names(tmp_path):
    heads, solver = {"POOL_LAYER": "gempoolP", "CLS_LAYER": "arcSoftmax"}, {"SCHED": "WarmupMultiStepLR"}
    cfg = get_cfg()
    cfg.merge_from_file(write(tmp_path / "old.yml", MODEL={"HEADS": heads}, SOLVER=solver))
    cfg.merge_from_list(["MODEL.HEADS.CLS_LAYER", "linear"])
    assert (cfg.MODEL.HEADS.POOL_LAYER, cfg.MODEL.HEADS.CLS_LAYER) == ("GeneralizedMeanPoolingP", "Linear")
    assert cfg.SOLVER.SCHED == "MultiStepLR"


def test_every_successor_exists():
    from fastreid.config.compat import REMOVED_KEYS, RENAMED_KEYS, RENAMED_VALUES
    from fastreid.config.config import flatten
    from fastreid.layers import POOLING_REGISTRY, SOFTMAX_REGISTRY
    from fastreid.modeling import BACKBONE_REGISTRY
    from fastreid.solver import SCHEDULER_REGISTRY

    known = flatten(get_cfg())
    assert set(RENAMED_KEYS.values()) <= set(known)
    assert not set(known) & {*RENAMED_KEYS, *REMOVED_KEYS}, "a key that exists is not retired"
    registries = {
        "MODEL.BACKBONE.NAME": BACKBONE_REGISTRY,
        "MODEL.HEADS.CLS_LAYER": SOFTMAX_REGISTRY,
        "MODEL.HEADS.POOL_LAYER": POOLING_REGISTRY,
        "SOLVER.SCHED": SCHEDULER_REGISTRY,
    }
    for key, names in RENAMED_VALUES.items():
        for old, new in names.items():
            assert new in registries[key]
            assert old not in registries[key]
