import pytest
import torch
import torch.nn.functional as F

from fastreid.config import get_cfg
from fastreid.modeling.heads import ClasHead, EmbeddingHead, build_heads

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


def test_without_classes_it_extracts_but_does_not_train():
    head = EmbeddingHead(feat_dim=32)
    assert head.eval()(feature_map()).shape == (4, 32)
    with pytest.raises(ValueError, match="MODEL.HEADS.NUM_CLASSES is 0"):
        head.train()(feature_map(), TARGETS)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"neck_feat": "befor"}, ValueError, "NECK_FEAT must be one of 'before', 'after'; got 'befor'. Did you mean"),
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


def test_unknown_head_has_a_near_miss():
    cfg = get_cfg()
    cfg.MODEL.HEADS.NAME = "EmbedingHead"
    with pytest.raises(KeyError, match="Did you mean 'EmbeddingHead'"):
        build_heads(cfg)
