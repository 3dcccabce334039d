import pytest
import torch
import torch.nn.functional as F

from fastreid.config import get_cfg
from fastreid.layers import SOFTMAX_REGISTRY
from fastreid.modeling.heads import BNDropoutHead, ClasHead, EmbeddingHead, build_heads

TARGETS = torch.tensor([0, 1, 2, 0])


def feature_map() -> torch.Tensor:
    return torch.randn(4, 32, 3, 2, generator=torch.Generator().manual_seed(0)).abs()


def test_training_gives_what_it_provides():
    out = EmbeddingHead(feat_dim=32, num_classes=3)(feature_map(), TARGETS)
    assert tuple(out) == EmbeddingHead.provides
    assert out["cls_outputs"].shape == out["pred_class_logits"].shape == (4, 3)
    assert out["features"].shape == (4, 32)


@pytest.mark.parametrize(
    ("neck_feat", "embedding_dim", "width"), [("before", 0, 32), ("after", 0, 32), ("before", 8, 8), ("after", 8, 8)]
)
def test_evaluation_gives_the_feature_after_the_neck(neck_feat, embedding_dim, width):
    head = EmbeddingHead(
        feat_dim=32, embedding_dim=embedding_dim, num_classes=3, neck_feat=neck_feat, with_bnneck=True
    ).eval()
    head.bottleneck[-1].running_mean.fill_(0.3)
    x = feature_map()
    out = head(x)
    assert out.shape == (4, width) == (4, head.feature_dim)
    assert torch.allclose(out, head.bottleneck(x.mean((2, 3), keepdim=True))[..., 0, 0], atol=1e-6)


@pytest.mark.parametrize(("embedding_dim", "width"), [(0, 32), (8, 8)])
def test_descriptor_before_the_neck(embedding_dim, width):
    """Wang and Zhang: pooling, reduction, and that is the descriptor; batch norm and classifier follow."""
    options = {"feat_dim": 32, "embedding_dim": embedding_dim, "num_classes": 3, "with_bnneck": True}
    head = EmbeddingHead(**options, test_feat="before")
    x, pooled = feature_map(), feature_map().mean((2, 3))
    expected = pooled @ head.bottleneck[0].weight[:, :, 0, 0].t() if embedding_dim else pooled
    trained = head(x, TARGETS)  # the classifier still sees what the neck gives, and moves its statistics
    assert torch.allclose(trained["features"], pooled)
    after = EmbeddingHead(**options)
    after.load_state_dict(head.state_dict())
    out = head.eval()(x)
    assert out.shape == (4, width)
    assert torch.allclose(out, expected, atol=1e-5)
    assert not torch.allclose(after.eval()(x), expected, atol=1e-2)
    assert torch.allclose(head.bottleneck[-1](out[..., None, None])[..., 0, 0], after(x), atol=1e-5)


def test_without_a_neck_before_and_after_are_the_same():
    heads = [EmbeddingHead(feat_dim=32, embedding_dim=8, test_feat=place).eval() for place in ("before", "after")]
    heads[1].load_state_dict(heads[0].state_dict())
    assert torch.equal(*(head(feature_map()) for head in heads))


def reference_head(head: BNDropoutHead) -> torch.nn.Sequential:
    """The layers as Higuchi and Yanai stack them, with the weights of ``head``."""
    layers = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.BatchNorm1d(32), torch.nn.Dropout(head.bottleneck[1].p), torch.nn.Linear(32, 8),
        torch.nn.BatchNorm1d(8), torch.nn.PReLU(),
    )  # fmt: skip
    for name, value in head.bottleneck.state_dict().items():
        layers.state_dict()[f"{int(name[0]) + 1}{name[1:]}"].copy_(value.flatten(1) if value.dim() == 4 else value)
    return layers


@pytest.mark.parametrize("pool_type", ["GlobalAvgPool", "GeneralizedMeanPooling"])
def test_bn_dropout_head_is_the_stack_of_its_authors(pool_type):
    head = BNDropoutHead(
        feat_dim=32, embedding_dim=8, num_classes=3, pool_type=pool_type, cls_type="ArcSoftmaxEasy", scale=30,
        margin=0.5,
    )  # fmt: skip
    x = feature_map()
    pooled = x.mean((2, 3)) if pool_type == "GlobalAvgPool" else x.pow(3).mean((2, 3)).pow(1 / 3)
    reference = reference_head(head)
    torch.manual_seed(0)  # the same values are dropped
    expected = reference(pooled)
    torch.manual_seed(0)
    out = head(x, TARGETS)
    assert tuple(out) == BNDropoutHead.provides
    assert torch.allclose(out["features"], expected, atol=1e-5)
    assert (expected < 0).any()
    cosines = F.normalize(expected) @ F.normalize(head.weight).t()
    assert torch.allclose(out["pred_class_logits"], 30 * cosines, atol=1e-4)
    margins = SOFTMAX_REGISTRY.get("ArcSoftmaxEasy")(3, 30, 0.5)
    assert torch.allclose(out["cls_outputs"], margins(cosines, TARGETS), atol=1e-4)
    evaluated = head.eval()(x)
    assert evaluated.shape == (4, 8) == (4, head.feature_dim)
    assert torch.allclose(evaluated, reference_head(head).eval()(pooled), atol=1e-5)


def test_bn_dropout_head_starts_from_xavier_class_weights_and_drops_half():
    torch.manual_seed(0)
    head = BNDropoutHead(feat_dim=32, embedding_dim=64, num_classes=100)
    bound = (6 / 164) ** 0.5
    assert bound * 0.98 < float(head.weight.detach().abs().max()) <= bound
    assert float(head.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.05)
    assert head.bottleneck[1].p == 0.5
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.HEADS.NAME", "BNDropoutHead", "MODEL.HEADS.NUM_CLASSES", 5, "MODEL.HEADS.DROPOUT", 0.2,
                         "MODEL.HEADS.EMBEDDING_DIM", 32, "MODEL.HEADS.NORM", "GN"])  # fmt: skip
    built = build_heads(cfg, feat_dim=32)
    assert (built.bottleneck[1].p, built.weight.shape) == (0.2, (5, 32))
    assert isinstance(built.bottleneck[0], torch.nn.GroupNorm)
    assert not torch.equal(built.train()(feature_map(), TARGETS)["features"], built(feature_map(), TARGETS)["features"])


def test_neck_feat_chooses_what_the_metric_losses_see():
    x = feature_map()
    before = EmbeddingHead(feat_dim=32, num_classes=3, with_bnneck=True, neck_feat="before")(x, TARGETS)["features"]
    after = EmbeddingHead(feat_dim=32, num_classes=3, with_bnneck=True, neck_feat="after")(x, TARGETS)["features"]
    assert torch.allclose(before, x.mean((2, 3)), atol=1e-6)
    assert torch.allclose(after.mean(0), torch.zeros(32), atol=1e-5)


def test_linear_logits_and_cosine_logits():
    x = feature_map()
    linear = EmbeddingHead(feat_dim=32, num_classes=3, scale=2)
    pooled = x.mean((2, 3))
    assert torch.allclose(linear(x, TARGETS)["pred_class_logits"], 2 * pooled @ linear.weight.t(), atol=1e-5)
    margin = EmbeddingHead(feat_dim=32, num_classes=3, cls_type="CosSoftmax", scale=16, margin=0.2)
    out, cosines = margin(x, TARGETS), F.normalize(pooled) @ F.normalize(margin.weight).t()
    assert torch.allclose(out["pred_class_logits"], 16 * cosines, atol=1e-4)
    assert torch.allclose(out["cls_outputs"], 16 * (cosines - 0.2 * F.one_hot(TARGETS, 3)), atol=1e-4)


def test_logits_in_full_precision_under_autocast():
    head = EmbeddingHead(feat_dim=32, num_classes=3, cls_type="CircleSoftmax", scale=64, margin=0.35)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert head(feature_map(), TARGETS)["cls_outputs"].dtype == torch.float32


def test_class_head_classifies_in_evaluation():
    head = ClasHead(feat_dim=32, num_classes=3, scale=2)
    assert tuple(head(feature_map(), TARGETS)) == ClasHead.provides
    assert head.eval()(feature_map()).shape == (4, 3)


def test_built_from_the_config_with_the_width_of_the_backbone():
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.HEADS.NUM_CLASSES", 5, "MODEL.HEADS.EMBEDDING_DIM", 8, "MODEL.HEADS.WITH_BNNECK", True])
    assert build_heads(cfg).bottleneck[0].weight.shape == (8, 2048, 1, 1)
    head = build_heads(cfg, feat_dim=32)
    assert head.bottleneck[0].weight.shape == (8, 32, 1, 1)
    assert head.weight.shape == (5, 8)


def test_every_option_comes_from_the_config():
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.HEADS.NUM_CLASSES", 5, "MODEL.HEADS.EMBEDDING_DIM", 64, "MODEL.HEADS.WITH_BNNECK", True,
                         "MODEL.HEADS.NECK_FEAT", "after", "MODEL.HEADS.TEST_FEAT", "before",
                         "MODEL.HEADS.POOL_LAYER", "GlobalMaxPool", "MODEL.HEADS.CLS_LAYER", "ArcSoftmaxEasy",
                         "MODEL.HEADS.SCALE", 30, "MODEL.HEADS.MARGIN", 0.4, "MODEL.HEADS.NORM", "GN"])  # fmt: skip
    head = build_heads(cfg, feat_dim=32)
    assert (head.neck_feat, head.test_feat, type(head.pool_layer).__name__) == ("after", "before", "GlobalMaxPool")
    assert (type(head.cls_layer).__name__, head.cls_layer.s, head.cls_layer.m) == ("ArcSoftmaxEasy", 30, 0.4)
    assert isinstance(head.bottleneck[1], torch.nn.GroupNorm)
    out = head.eval()(feature_map())
    assert torch.equal(out, head.bottleneck[0](head.pool_layer(feature_map()))[..., 0, 0])


def test_without_classes_it_extracts_but_does_not_train():
    head = EmbeddingHead(feat_dim=32)
    assert head.eval()(feature_map()).shape == (4, 32)
    with pytest.raises(ValueError, match="MODEL.HEADS.NUM_CLASSES is 0"):
        head.train()(feature_map(), TARGETS)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"neck_feat": "befor"}, ValueError, "NECK_FEAT must be one of 'before', 'after'; got 'befor'. Did you mean"),
        ({"test_feat": "afer"}, ValueError, "TEST_FEAT must be one of 'before', 'after'; got 'afer'. Did you mean"),
        ({"pool_type": "GlobalAvgPol"}, KeyError, "MODEL.HEADS.POOL_LAYER.. Did you mean 'GlobalAvgPool'"),
        ({"cls_type": "Circlesoftmax"}, KeyError, "MODEL.HEADS.CLS_LAYER.. Did you mean 'CircleSoftmax'"),
        ({"embedding_dim": -1}, ValueError, "MODEL.HEADS.EMBEDDING_DIM must be at least 0; got -1"),
        ({"num_classes": -1}, ValueError, "MODEL.HEADS.NUM_CLASSES must be at least 0; got -1"),
        ({"with_bnneck": True, "norm_type": ""}, ValueError, "MODEL.HEADS.NORM is empty; .* BN, syncBN"),
    ],
)
def test_wrong_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        EmbeddingHead(feat_dim=32, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding_dim": 0}, "MODEL.HEADS.EMBEDDING_DIM of BNDropoutHead must be at least 1; got 0"),
        ({"embedding_dim": 8, "dropout": 1.0}, "MODEL.HEADS.DROPOUT must lie in 0..1, without 1; got 1.0"),
        ({"embedding_dim": 8, "norm_type": "BM"}, r"MODEL.HEADS.NORM\).*got 'BM'"),
    ],
)
def test_wrong_options_of_the_bn_dropout_head_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        BNDropoutHead(feat_dim=32, **options)


def test_unknown_head_has_a_near_miss():
    cfg = get_cfg()
    cfg.MODEL.HEADS.NAME = "EmbedingHead"
    with pytest.raises(KeyError, match="Did you mean 'EmbeddingHead'"):
        build_heads(cfg)
