import pytest
import torch
from torch import nn

from fastreid.config import get_cfg
from fastreid.modeling import LOSS_REGISTRY, META_ARCH_REGISTRY, Baseline, EmbeddingHead, build_model
from fastreid.modeling.meta_arch.baseline import per_channel
from fastreid.modeling.meta_arch.build import choose_device
from fastreid.utils.events import EventStorage


def config(*overrides):
    cfg = get_cfg()
    cfg.merge_from_list([
        "MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.FEAT_DIM", 512,
        "MODEL.HEADS.NUM_CLASSES", 4, "MODEL.HEADS.WITH_BNNECK", True, *overrides,
    ])  # fmt: skip
    return cfg


def batch(channels: int = 3) -> dict:
    images = torch.rand(8, channels, 32, 32, generator=torch.Generator().manual_seed(3)) * 255
    return {"images": images, "targets": torch.arange(8) // 2, "camids": torch.arange(8) % 3}


@pytest.fixture
def registered():
    """Register a loss for one test only."""
    names = []

    def register(cls):
        LOSS_REGISTRY.register(cls)
        names.append(cls.__name__)
        return cls

    yield register
    for name in names:
        del LOSS_REGISTRY._objects[name]


def test_training_gives_the_named_losses_with_gradients():
    names = ["CrossEntropyLoss", "TripletLoss", "CircleLoss", "Cosface", "FocalLoss"]
    model = build_model(config("MODEL.LOSSES.NAME", names)).train()
    with EventStorage(0) as storage:
        losses = model(batch())
    assert list(losses) == ["loss_cls", "loss_triplet", "loss_circle", "loss_cosface", "loss_focal"]
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)
    assert "cls_accuracy" in storage.latest()


def test_a_column_that_the_data_set_lacks_is_named(registered):
    @registered
    class DateLoss:
        needs = ("features", "dates")
        key = "loss_date"

        def __init__(self, cfg):
            pass

    model = build_model(config("MODEL.LOSSES.NAME", ["DateLoss"])).train()
    with pytest.raises(ValueError, match="DateLoss needs dates, which this .*; the batch has images, targets, camids"):
        model(batch())


def test_training_outside_a_storage_works():
    assert set(build_model(config()).train()(batch())) == {"loss_cls"}


def test_evaluation_gives_features_for_a_table_or_for_images():
    model = build_model(config()).eval()
    with torch.no_grad():
        features = model(batch())
        assert features.shape == (8, 512)
        assert torch.equal(model(batch()["images"]), features)


def test_scales_of_the_losses_reach_them():
    plain = build_model(config("MODEL.LOSSES.NAME", ["TripletLoss"])).train()
    scaled = build_model(config("MODEL.LOSSES.NAME", ["TripletLoss"], "MODEL.LOSSES.TRI.SCALE", 3.0)).train()
    scaled.load_state_dict(plain.state_dict())
    assert torch.allclose(scaled(batch())["loss_triplet"], 3 * plain(batch())["loss_triplet"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_images_are_normalised_and_the_callers_stay_as_they_are(dtype):
    model, table = build_model(config()), batch()
    table["images"] = table["images"].to(dtype)
    before = table["images"].clone()
    out = model.preprocess_image(table)
    assert torch.equal(table["images"], before)
    for channel, (mean, std) in enumerate(zip((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), strict=True)):
        assert torch.allclose(out[:, channel], (before[:, channel].float() - mean) / std, atol=1e-5)


def test_one_channel_takes_the_mean_of_the_statistics():
    model = build_model(config("INPUT.CHANNELS", 1)).train()
    assert float(model.pixel_mean) == pytest.approx((123.675 + 116.28 + 103.53) / 3)
    assert torch.isfinite(model(batch(1))["loss_cls"])


def test_per_channel():
    assert per_channel([1, 2, 3], 3, "K") == [1, 2, 3]
    assert per_channel([5], 3, "K") == [5, 5, 5]
    with pytest.raises(ValueError, match=r"PIXEL_STD must have one value or INPUT.CHANNELS = 3 values; got \[1, 2\]"):
        per_channel([1, 2], 3, "MODEL.PIXEL_STD")


def test_full_width_of_the_backbone_is_used_whatever_the_config_says():
    assert build_model(config("MODEL.BACKBONE.FEAT_DIM", 2048)).heads.weight.shape == (4, 512)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["MODEL.LOSSES.NAME", ["TripletLos"]], "LOSS registry .MODEL.LOSSES.NAME.. Did you mean 'TripletLoss'"),
        (["MODEL.META_ARCHITECTURE", "baseline"], "META_ARCH registry .*. Did you mean 'Baseline'"),
    ],
)
def test_unknown_names_have_near_misses(overrides, message):
    with pytest.raises(KeyError, match=message):
        build_model(config(*overrides))


def test_no_loss_at_all_is_refused():
    with pytest.raises(ValueError, match="MODEL.LOSSES.NAME is empty"):
        build_model(config("MODEL.LOSSES.NAME", []))


def test_two_losses_under_one_key_are_refused():
    with pytest.raises(ValueError, match="TripletLoss and TripletLoss both log as 'loss_triplet'"):
        build_model(config("MODEL.LOSSES.NAME", ["TripletLoss", "TripletLoss"]))


def test_a_loss_without_its_table_is_refused_when_the_model_is_built(registered):
    @registered
    class TextLoss:
        needs = ("features", "text_feature")
        key = "loss_text"

        def __init__(self, cfg):
            pass

    with pytest.raises(ValueError, match="TextLoss needs the table 'text_feature'.*EmbeddingHead gives cls_outputs"):
        build_model(config("MODEL.LOSSES.NAME", ["TextLoss"]))


def test_a_loss_from_outside_sees_the_batch_and_may_have_weights(registered):
    @registered
    class CameraLoss(nn.Module):
        needs = ("features", "camids")
        key = "loss_camera"

        def __init__(self, cfg):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, table):
            return (self.weight[table["camids"]] * table["features"].mean(1)).mean()

    model = build_model(config("MODEL.LOSSES.NAME", ["CrossEntropyLoss", "CameraLoss"])).train()
    sum(model(batch()).values()).backward()
    assert "loss_modules.0.weight" in model.state_dict()
    assert model.loss_modules[0].weight.grad.abs().sum() > 0


def test_training_without_classes_or_targets_is_refused():
    with pytest.raises(ValueError, match="MODEL.HEADS.NUM_CLASSES is 0"):
        build_model(config("MODEL.HEADS.NUM_CLASSES", 0)).train()(batch())
    with pytest.raises(ValueError, match="Training needs a batch table with 'targets'"):
        build_model(config()).train()(batch()["images"])


def test_meta_architecture_from_outside_is_called_with_the_config():
    @META_ARCH_REGISTRY.register()
    class Tiny(nn.Module):
        def __init__(self, cfg):
            super().__init__()
            self.classes = cfg.MODEL.HEADS.NUM_CLASSES

    try:
        assert build_model(config("MODEL.META_ARCHITECTURE", "Tiny")).classes == 4
    finally:
        del META_ARCH_REGISTRY._objects["Tiny"]


def test_subclass_may_change_the_losses():
    class Doubled(Baseline):
        def losses(self, outputs, gt_labels, batched_inputs=None):
            return {key: 2 * value for key, value in super().losses(outputs, gt_labels, batched_inputs).items()}

    torch.manual_seed(0)
    plain = build_model(config()).train()
    doubled = Doubled(config()).train()
    doubled.load_state_dict(plain.state_dict())
    assert torch.allclose(doubled(batch())["loss_cls"], 2 * plain(batch())["loss_cls"])


def test_built_from_plain_arguments():
    head = EmbeddingHead(feat_dim=8, num_classes=2)
    model = Baseline(
        backbone=nn.Conv2d(1, 8, 3), heads=head, losses=[LOSS_REGISTRY.get("CrossEntropyLoss")()],
        pixel_mean=[255.0], pixel_std=[255.0],
    )  # fmt: skip
    losses = model({"images": torch.full((4, 1, 8, 8), 255.0), "targets": torch.tensor([0, 1, 0, 1])})
    assert torch.isfinite(losses["loss_cls"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_without_cuda_the_cpu_is_used_and_said(caplog):
    model = build_model(config("MODEL.DEVICE", "cuda"))
    assert model.device.type == "cpu"
    assert "MODEL.DEVICE is 'cuda', but no CUDA device is available" in caplog.text


def test_autocast_losses_are_full_precision_and_close():
    names = ["CrossEntropyLoss", "TripletLoss"]
    model = build_model(config("MODEL.LOSSES.NAME", names)).train()
    plain = model(batch())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(batch())
    for key, value in mixed.items():
        assert value.dtype == torch.float32
        assert float(value.detach()) == pytest.approx(float(plain[key].detach()), rel=0.2)


def test_graph_is_captured_whole():
    model = build_model(config("MODEL.BACKBONE.WITH_IBN", True, "MODEL.BACKBONE.WITH_NL", True,
                               "MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPoolingP")).eval()
    images = batch()["images"][:2]
    program = torch.export.export(model, (images,))
    assert torch.allclose(program.module()(images), model(images), atol=1e-5)


@pytest.mark.parametrize(
    "name, hint", [("gpu", "cuda"), ("GPU:1", "cuda"), ("CUDA", "cuda"), ("cuda0", "cuda"), ("cpuu", "cpu"), ("7", "")]
)
def test_an_unknown_device_is_named_with_the_nearest_one(name, hint):
    with pytest.raises(ValueError, match="MODEL.DEVICE must be cpu, cuda, cuda:N") as caught:
        build_model(config("MODEL.DEVICE", name))
    assert f"got '{name}'" in str(caught.value)
    assert str(caught.value).partition("Did you mean ")[2] == (f"'{hint}'?" if hint else "")


def test_a_gpu_beyond_those_of_the_machine_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match="MODEL.DEVICE is 'cuda:2', but this machine has 2 CUDA devices, from cuda:0"):
        choose_device("cuda:2")
