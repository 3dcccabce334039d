"""The image-text model: what it needs of a batch, what it trains, what it gives in an evaluation."""

import pytest
import torch

from fastreid.config import get_cfg
from fastreid.modeling import build_model

LOSSES = ["ImageTextLoss", "ClassTextLoss", "CategoryTextLoss"]


def build(*overrides):
    cfg = get_cfg()
    cfg.merge_from_list([
        "MODEL.META_ARCHITECTURE", "ImageText", "MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", "10x",
        "MODEL.BACKBONE.WIDTH", 8, "MODEL.BACKBONE.FEAT_DIM", 64, "MODEL.HEADS.NAME", "ProjectionHead",
        "MODEL.HEADS.EMBEDDING_DIM", 6, "MODEL.LOSSES.NAME", LOSSES, *overrides,
    ])  # fmt: skip
    torch.manual_seed(0)
    return build_model(cfg).train()


def batch(**columns):
    generator = torch.Generator().manual_seed(3)
    return {
        "images": torch.rand(6, 3, 32, 32, generator=generator) * 255,
        "text_features": torch.randn(6, 6, generator=generator), "frequency": torch.tensor([1, 1, 0, 0, 1, -1]),
        "taxonomy": ["0601", "0601", "0603", "0603", "", ""], **columns,
    }  # fmt: skip


@pytest.mark.parametrize("columns", [{}, {"targets": torch.arange(6)}], ids=["no targets", "targets"])
def test_every_parameter_is_trained_without_classes(columns):
    model = build("MODEL.LOSSES.WEIGHTING", "uncertainty")
    losses = model(batch(**columns))
    assert list(losses) == ["loss_clip", "loss_cls_text", "loss_cat_text", "loss_weighting"]
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert not any(name == "heads.weight" for name in model.state_dict())


def test_evaluation_gives_features_for_images_alone():
    model = build().eval()
    with torch.no_grad():
        features = model(batch()["images"])
        assert features.shape == (6, 6)
        assert torch.equal(features, model({"images": batch()["images"]}))


def test_images_find_their_texts_after_some_steps():
    """Six images of noise, each with a text of its own; the temperature falls meanwhile."""
    model, table = build("MODEL.LOSSES.NAME", ["ImageTextLoss"]), batch()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        model(table)["loss_clip"].backward()
        optimizer.step()
    with torch.no_grad():
        features = model.heads(model.extract(table))["features"]
    cosines = torch.cosine_similarity(features[:, None], table["text_features"][None], dim=2)
    assert torch.equal(cosines.argmax(1), torch.arange(6))


def test_a_batch_without_texts_says_where_they_come_from():
    table = batch()
    del table["text_features"]
    with pytest.raises(ValueError, match="needs text_features .*: set DATASETS.TEXT_BANK, .* tools/encode_text.py"):
        build()(table)


def test_widths_that_differ_are_named_by_their_keys():
    with pytest.raises(ValueError, match="head gives 5 .MODEL.HEADS.EMBEDDING_DIM., .* 6 .DATASETS.TEXT_BANK"):
        build("MODEL.HEADS.EMBEDDING_DIM", 5)(batch())


def test_other_losses_need_their_own():
    both = build("MODEL.LOSSES.NAME", ["ImageTextLoss", "TripletLoss"])
    assert set(both(batch(targets=torch.arange(6) // 2))) == {"loss_clip", "loss_triplet"}
    with pytest.raises(ValueError, match="Training needs a batch table with 'targets'"):
        both(batch())
    with pytest.raises(ValueError, match="Training needs a batch table with 'targets'"):
        build()(batch()["images"])
    with pytest.raises(ValueError, match="CategoryTextLoss needs frequency, which this training data does not have"):
        build()({name: column for name, column in batch().items() if name != "frequency"})


@pytest.mark.parametrize("overrides, message", [
    (["MODEL.LOSSES.NAME", ["TripletLoss"]], "ImageText needs a loss that reads text_features.*NAME is TripletLoss"),
    (["MODEL.HEADS.NAME", "EmbeddingHead"], "ImageTextLoss needs the table 'temperature', which nothing provides"),
    (["MODEL.LOSSES.NAME", ["CrossEntropyLoss"]], "CrossEntropyLoss needs the table 'cls_outputs', which nothing"),
])  # fmt: skip
def test_parts_that_do_not_fit_are_refused_when_it_is_built(overrides, message):
    with pytest.raises(ValueError, match=message):
        build(*overrides)
