import pytest

from fastreid.config import get_cfg
from fastreid.utils.registry import Registry, option_names


class Triplet:
    def __init__(self, margin=0.3, hard_mining=False, num_classes=0):
        self.margin, self.num_classes = margin, num_classes


def test_a_component_gets_the_lower_case_keys_of_its_node():
    losses = Registry("LOSSES")
    losses.register(Triplet, node="MODEL.LOSSES.TRI")
    cfg = get_cfg()
    cfg.MODEL.LOSSES.TRI.MARGIN = 0.7
    built = losses.build("Triplet", cfg, num_classes=5)
    assert (built.margin, built.num_classes) == (0.7, 5)


def test_a_component_without_a_node_gets_the_whole_cfg():
    heads = Registry("HEADS")

    @heads.register()
    def my_head(cfg):
        return cfg.MODEL.DEVICE

    assert heads.build("my_head", get_cfg()) == "cuda"


def test_a_python_keyword_is_spelt_with_an_underscore():
    registry = Registry("POST")

    @registry.register(name="RERANK", node="TEST.RERANK")
    def rerank(k1=20, lambda_=0.3):
        return k1, lambda_

    assert registry.build("RERANK", get_cfg()) == (20, 0.3)


def test_an_unknown_name_shows_the_nearest_and_all_names():
    losses = Registry("LOSSES")
    losses.register(Triplet, name="TripletLoss")
    with pytest.raises(KeyError, match=r"in the LOSSES registry. Did you mean 'TripletLoss'\? Registered: Tri"):
        losses.get("tripletlos")


def test_two_objects_cannot_share_a_name_but_one_may_register_twice():
    registry = Registry("X")
    registry.register(Triplet)
    registry.register(Triplet)
    with pytest.raises(KeyError, match="already registered"):
        registry.register(object, name="Triplet")
    assert len(registry) == 1


def test_option_names_are_the_arguments_with_defaults():
    assert option_names(Triplet) == ["margin", "hard_mining", "num_classes"]


def test_a_retired_name_is_answered_with_its_successor():
    heads = Registry("HEADS", retired={"BNneckHead": "EmbeddingHead with MODEL.HEADS.WITH_BNNECK True"})
    with pytest.raises(KeyError, match="retired: use EmbeddingHead with MODEL.HEADS.WITH_BNNECK True"):
        heads.get("BNneckHead")


def test_a_component_from_outside_replaces_a_built_in_with_a_warning(caplog):
    losses = Registry("LOSSES")

    def own(cfg):
        return "own"

    own.__module__ = "fastreid.modeling.losses.own"
    losses.register(own, name="Loss", node="MODEL.LOSSES.TRI")

    @losses.register(name="Loss")
    def theirs(cfg):
        return cfg.MODEL.DEVICE

    assert losses.build("Loss", get_cfg()) == "cuda"
    assert losses.node("Loss") is None
    assert "'Loss' of the LOSSES registry is now that of" in caplog.text
    with pytest.raises(KeyError, match="already registered"):
        losses.register(lambda cfg: None, name="Loss")
