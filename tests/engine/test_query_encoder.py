"""Vectors of query images and texts."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fastreid.config import get_cfg
from fastreid.data.build import build_reid_test_loader
from fastreid.data.feature_file import fingerprint_of, identity_in
from fastreid.data.images import read_image
from fastreid.data.text_bank import TextBank
from fastreid.engine.commands import load_model
from fastreid.engine.defaults import DefaultTrainer
from fastreid.engine.extraction import extract_features
from fastreid.engine.feature_maps import LEAST, FeatureMaps
from fastreid.engine.predictor import DefaultPredictor
from fastreid.engine.query_encoder import QueryEncoder, name_of
from fastreid.index.base import IndexInfo
from fastreid.index.errors import OtherModel
from fastreid.modeling.backbones.vision_transformer import ReidTransformer
from fastreid.modeling.meta_arch import HOG, Baseline, build_model
from fastreid.modeling.text_encoders.hashed_words import HashedWords

UNTEXTUAL = ["MODEL.META_ARCHITECTURE", "Baseline", "MODEL.LOSSES.NAME", "('TripletLoss',)"]


def config(options, *more):
    cfg = get_cfg()
    cfg.merge_from_list([*options, *more])
    return cfg


@pytest.fixture
def saved(tiny_options, tmp_path):
    """Save weights for some settings, and return these together with the name of the file."""

    def save(*more, seed=0):
        torch.manual_seed(seed)
        model = build_model(config(tiny_options, *more))
        with torch.no_grad():
            for values in model.buffers():  # not the statistics of a new batch norm, which let everything through
                if values.is_floating_point() and values.ndim == 1:
                    values.uniform_(0.5, 1.5)
        path = tmp_path / f"weights{len(list(tmp_path.glob('*.pth')))}.pth"
        torch.save({"model": model.state_dict()}, path)
        return [*tiny_options, *more, "MODEL.WEIGHTS", str(path)]

    return save


@pytest.fixture(scope="module")
def paths(tiny_data):
    return [str(path) for path in sorted(tiny_data.glob("*.png"))][:9]


def images_of(paths):
    return [read_image(path, channels=None) for path in paths]


@pytest.mark.parametrize("flip", [False, True])
def test_features_are_those_of_the_predictor_to_the_last_bit(saved, paths, flip):
    cfg = config(saved(), "TEST.FLIP.ENABLED", str(flip))
    encoder, predictor = QueryEncoder(cfg), DefaultPredictor(cfg)
    found = encoder.encode(images_of(paths))
    assert (found.dtype, found.shape) == (np.float32, (9, encoder.dim))
    np.testing.assert_array_equal(found, predictor.from_files(paths, batch_size=1).numpy())
    np.testing.assert_allclose(found, predictor.from_files(paths, batch_size=9).numpy(), rtol=1e-5, atol=1e-5)


def test_features_are_those_of_an_evaluation(saved):
    cfg = config(saved())
    model = load_model(cfg, DefaultTrainer)
    loader, num_query = build_reid_test_loader(cfg, dataset_name="FileList")
    stored = extract_features(model, loader, num_query, progress=False)
    found = QueryEncoder(cfg).encode(images_of(stored.paths))
    np.testing.assert_allclose(found, stored.features, rtol=1e-5, atol=1e-5)


def test_a_vector_depends_on_its_image_alone(saved, paths):
    encoder, images = QueryEncoder(config(saved())), images_of(paths)
    together = encoder.encode(images)
    for number in (0, 4, 8):
        np.testing.assert_array_equal(encoder.encode([images[number]])[0], together[number])
        np.testing.assert_array_equal(encoder.encode(images[number:][::-1])[-1], together[number])
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_several_threads_get_what_one_gets(saved, paths):
    encoder, images = QueryEncoder(config(saved())), images_of(paths)
    expected, inside, most = encoder.encode(images), [], []
    forward = encoder.model.forward

    def watched(batch):
        inside.append(1)
        most.append(len(inside))
        result = forward(batch)
        inside.pop()
        return result

    encoder.model.forward = watched
    found = [None] * 6

    def work(number):
        found[number] = encoder.encode(images)

    threads = [threading.Thread(target=work, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(each, expected) for each in found)
    assert max(most) == 1


@pytest.mark.parametrize("channels, grey", [(3, False), (1, True), (3, True)])
def test_images_of_every_mode_count_as_their_files_do(tiny_options, tmp_path, channels, grey):
    """Without weights: HOG. The files are read as an evaluation reads them."""
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8))
    clear = colours.convert("RGBA")
    clear.putalpha(Image.fromarray(rng.integers(0, 256, (40, 30), dtype=np.uint8)))
    deep = Image.fromarray(rng.integers(0, 65536, (40, 30)).astype(np.uint16))
    images = [colours, colours.convert("L"), colours.convert("1"), colours.convert("P"), clear, deep]
    paths = []
    for number, image in enumerate(images):
        paths.append(str(tmp_path / f"{number}.png"))
        image.save(paths[-1])
    cfg = config(tiny_options, "MODEL.META_ARCHITECTURE", "HOG", "INPUT.CHANNELS", str(channels),
                 "INPUT.GRAYSCALE", str(grey))  # fmt: skip
    encoder, expected = QueryEncoder(cfg), DefaultPredictor(cfg).from_files(paths, 1).numpy()
    opened = [Image.open(path) for path in paths]
    np.testing.assert_array_equal(encoder.encode(opened), expected)
    np.testing.assert_array_equal(encoder.encode(images_of(paths)), expected)


def test_a_blank_page_is_refused_by_its_number(saved, paths):
    encoder, (image, *_) = QueryEncoder(config(saved())), images_of(paths)
    for blank in (Image.new("L", (40, 40), 255), Image.new("RGB", (40, 40), "white"), Image.new("L", (40, 40), 0)):
        with pytest.raises(ValueError, match="query image 2 is blank: there is nothing to search for"):
            encoder.encode([image, blank])
    almost = np.full((40, 40), 255, np.uint8)
    almost[3:5] = 240
    with pytest.raises(ValueError, match="is blank"):
        encoder.encode([Image.fromarray(almost)])
    almost[3:5] = 239
    encoder.encode([Image.fromarray(almost)])


def test_a_feature_without_direction_is_refused(saved, paths, monkeypatch):
    encoder, images = QueryEncoder(config(saved())), images_of(paths[:2])
    for value, words in ((0.0, "the model finds nothing in it, its feature is zero"), (np.nan, "is NaN or infinite")):
        monkeypatch.setattr(encoder, "_features", lambda tensor, value=value: np.full((1, 16), value))
        with pytest.raises(ValueError, match=f"query image 1: .*{words}"):
            encoder.encode(images)


def test_identity_is_the_part_of_a_fingerprint_without_images(saved):
    cfg = config(saved())
    encoder = QueryEncoder(cfg)
    model = load_model(cfg, DefaultTrainer)
    assert encoder.identity == identity_in(fingerprint_of(cfg, model, [], 0, "FileList", False))
    assert set(encoder.identity) == {"weights", "settings"}
    assert encoder.identity["settings"]["flip"] is False
    assert not [key for key in encoder.identity["settings"] if not key.startswith(("INPUT.", "MODEL.", "flip"))]
    assert identity_in({}) == {}
    same = QueryEncoder(
        config(saved(), "INPUT.SIZE_TRAIN", "[64, 64]", "MODEL.DEVICE", "cpu", "TEST.IMS_PER_BATCH", "3")
    )
    assert same.identity == encoder.identity
    for more in (
        ["INPUT.SIZE_TEST", "[48, 48]"],
        ["TEST.FLIP.ENABLED", "True"],
        ["MODEL.PIXEL_MEAN", "[1.0, 2.0, 3.0]"],
    ):
        assert QueryEncoder(config(saved(), *more)).identity != encoder.identity
    assert QueryEncoder(config(saved(seed=1))).identity["weights"] != encoder.identity["weights"]


@pytest.mark.parametrize("name", ["HOG", "RawPixels", "PerceptualHash"])
def test_descriptors_need_no_weights(tiny_options, paths, name):
    cfg = config(tiny_options, "MODEL.META_ARCHITECTURE", name)
    encoder = QueryEncoder(cfg)
    np.testing.assert_array_equal(encoder.encode(images_of(paths)), DefaultPredictor(cfg).from_files(paths, 1).numpy())
    assert (encoder.name, encoder.weights_path, encoder.has_text) == (name, "", False)
    assert encoder.has_patches == (name == "HOG")


def test_a_fitted_descriptor(saved, tiny_options, tmp_path, paths):
    pytest.importorskip("cv2")
    settings = ["MODEL.META_ARCHITECTURE", "ORB", "MODEL.ORB.WORDS", "4", "MODEL.ORB.PATCH", "5"]
    with pytest.raises(ValueError, match="ORB has no vocabulary yet"):
        QueryEncoder(config(tiny_options, *settings))
    model = build_model(config(tiny_options, *settings))
    model.fit([torch.rand(4, 32, 32, generator=torch.Generator().manual_seed(0)) * 255], seed=0)
    torch.save({"model": model.state_dict()}, tmp_path / "orb.pth")
    cfg = config(tiny_options, *settings, "MODEL.WEIGHTS", str(tmp_path / "orb.pth"))
    encoder = QueryEncoder(cfg)
    np.testing.assert_array_equal(encoder.encode(images_of(paths)), DefaultPredictor(cfg).from_files(paths, 1).numpy())
    values = np.full((64, 64), 255, np.uint8)
    values[0] = 0
    with pytest.raises(ValueError, match="query image 1: the model finds nothing in it"):
        encoder.encode([Image.fromarray(values)])


def info_of(encoder, cfg, **changed):
    described = {
        "uid": "0" * 32, "version": 1, "oldest_version": 1, "backend": "store", "dim": encoder.dim, "metric": "cosine",
        "figures": 0, "designs": 0, "created": "", "changed": "", "model": encoder.identity, "config": cfg.dump(),
        "weights_path": encoder.weights_path,
    }  # fmt: skip
    return IndexInfo(**{**described, **changed})


def test_an_index_says_which_model_made_it(saved, paths, tiny_data, tmp_path):
    options = saved("TEST.FLIP.ENABLED", "True")
    cfg = config(options)
    encoder = QueryEncoder(cfg)
    assert encoder.weights_path == options[-1]
    plugin = ("PLUGINS", str(tiny_data / "tiny_backbone.py"))
    info = info_of(encoder, cfg)
    again = QueryEncoder.of_index(info, plugin)
    np.testing.assert_array_equal(again.encode(images_of(paths)), encoder.encode(images_of(paths)))
    assert again.identity == encoder.identity
    with pytest.raises(OtherModel, match=r"INPUT\.SIZE_TEST was \[32, 32\], is now \[40, 40\]"):
        QueryEncoder.of_index(info, [*plugin, "INPUT.SIZE_TEST", "[40, 40]"])
    other = saved("TEST.FLIP.ENABLED", "True", seed=1)[-1]
    with pytest.raises(OtherModel, match="weights was"):
        QueryEncoder.of_index(info, [*plugin, "MODEL.WEIGHTS", other])
    gone = replace(info, weights_path=str(tmp_path / "gone.pth"))
    with pytest.raises(FileNotFoundError, match=r"are not at .*gone\.pth: name the file, MODEL\.WEIGHTS FILE"):
        QueryEncoder.of_index(gone, plugin)
    QueryEncoder.of_index(gone, [*plugin, "MODEL.WEIGHTS", options[-1]])
    described = replace(info, weights_path="")  # the config itself says where
    assert QueryEncoder.of_index(described, plugin).identity == encoder.identity


def test_plug_ins_of_an_index_are_loaded_only_where_they_are_named(saved, tmp_path):
    cfg = config(saved())
    encoder = QueryEncoder(cfg)
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')")
    info = info_of(encoder, cfg, config=f"PLUGINS: ['{trap}']")
    with pytest.raises(ValueError, match=rf"needs the plug-in {trap}, which is code: allow it with PLUGINS {trap}"):
        QueryEncoder.of_index(info)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "does not say which model made it: name its config with --config-file"),
        ("a: [", "not valid YAML"),
        ("- 1", "must hold a mapping of keys; it holds a list"),
        ("MODEL: {DEVIC: cpu}", r"MODEL\.DEVIC.*Did you mean 'MODEL\.DEVICE'"),
    ],
)
def test_configs_of_an_index_that_are_damaged(saved, text, message):
    cfg = config(saved())
    with pytest.raises((ValueError, KeyError), match=message):
        QueryEncoder.of_index(info_of(QueryEncoder(cfg), cfg, config=text))


def test_settings_over_an_index_come_in_pairs(tiny_options):
    cfg = config(tiny_options, "MODEL.META_ARCHITECTURE", "HOG", "PLUGINS", "()")
    info = info_of(QueryEncoder(cfg), cfg, config="MODEL: {META_ARCHITECTURE: HOG}")
    with pytest.raises(ValueError, match="the key 'MODEL.DEVICE' has no value"):
        QueryEncoder.of_index(info, ["TEST.IMS_PER_BATCH", "3", "MODEL.DEVICE"])


@pytest.mark.parametrize(
    "settings, name",
    [
        ({"NAME": "build_resnet_backbone", "DEPTH": "50x"}, "Baseline, ResNet-50x"),
        ({"NAME": "build_timm_backbone", "DEPTH": "efficientnet_b0"}, "Baseline, efficientnet_b0"),
        ({"NAME": "build_vit_backbone", "DEPTH": "base"}, "Baseline, ViT-base"),
    ],
)
def test_names_for_people(settings, name):
    cfg = get_cfg()
    for key, value in settings.items():
        cfg.MODEL.BACKBONE[key] = value
    assert name_of(cfg) == name
    cfg.MODEL.META_ARCHITECTURE = "HOG"
    assert name_of(cfg) == "HOG"


# -- texts -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def textual(saved, tmp_path):
    """Settings of a model trained against the texts of a bank that HashedWords of width 24 made."""
    encoder = HashedWords(24)
    texts = {"a.png": ["a chair"], "b.png": ["a lamp"]}
    TextBank.write(tmp_path / "bank", texts, encoder.encode(["a chair", "a lamp"]), encoder=encoder.description)
    settings = [
        "MODEL.META_ARCHITECTURE", "ImageText", "MODEL.LOSSES.NAME", "('ImageTextLoss',)", "MODEL.HEADS.NAME",
        "ProjectionHead", "MODEL.HEADS.EMBEDDING_DIM", "24", "MODEL.HEADS.WITH_BNNECK", "False",
        "MODEL.TEXT_ENCODER.WIDTH", "24", "DATASETS.TEXT_BANK", str(tmp_path / "bank"),
    ]  # fmt: skip
    return saved(*settings)


def test_texts_in_the_space_of_the_images(textual):
    encoder = QueryEncoder(config(textual))
    assert encoder.has_text
    found = encoder.encode_texts(["a lamp", "Ein Stuhl"])
    np.testing.assert_array_equal(found, HashedWords(24).encode(["a lamp", "Ein Stuhl"]))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    with pytest.raises(ValueError, match="a text to search for is empty"):
        encoder.encode_texts(["a lamp", " "])
    with pytest.raises(TypeError, match="single text"):
        encoder.encode_texts("a lamp")


def test_settings_name_the_encoder_where_the_bank_is_not_at_hand(textual, tmp_path):
    cfg = config(textual, "DATASETS.TEXT_BANK", str(tmp_path / "elsewhere"))
    assert QueryEncoder(cfg).has_text


@pytest.mark.parametrize(
    "settings, why",
    [
        (UNTEXTUAL, "trained on images alone"),
        (["MODEL.WEIGHTS", ""], "it is not trained"),
        (["MODEL.TEXT_ENCODER.WIDTH", "25"], "'width': 25}, but the texts of its training were read by .*'width': 24"),
        (["DATASETS.TEXT_BANK", "", "MODEL.TEXT_ENCODER.WIDTH", "25"], "have width 24, the vectors of HashedWords 25"),
        (["DATASETS.TEXT_BANK", "", "MODEL.TEXT_ENCODER.WIDTH", "512"], "not known which encoder .*TEXT_BANK is empty"),
        (["DATASETS.TEXT_BANK", "/none", "MODEL.TEXT_ENCODER.WIDTH", "512"], "not known which .*no bank.json"),
        (["MODEL.TEXT_ENCODER.NAME", "Precomputed"], "text encoder cannot be built: Precomputed looks"),
        (["MODEL.TEXT_ENCODER.NAME", "HashedWord"], "text encoder cannot be built: .*Did you mean 'HashedWords'"),
    ],
)
def test_why_a_model_cannot_search_by_text(textual, settings, why):
    encoder = QueryEncoder(config(textual, *settings))
    assert not encoder.has_text
    with pytest.raises(ValueError, match=f"this model cannot search by text: .*{why}"):
        encoder.encode_texts(["a lamp"])


def test_building_a_text_encoder_uses_no_network(textual, tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub").constants
    seen = []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def build(cfg):
        seen.append(constants.HF_HUB_OFFLINE)
        return HashedWords(24)

    monkeypatch.setattr("fastreid.engine.text_side.build_text_encoder", build)
    assert QueryEncoder(config(textual)).has_text
    assert (seen, constants.HF_HUB_OFFLINE) == ([True], False)


# -- feature maps ----------------------------------------------------------------------------------------------------


def test_the_map_of_a_network_and_what_it_sees(saved, paths):
    encoder = QueryEncoder(config(saved("INPUT.SIZE_TEST", "[48, 64]")))
    (image,) = images_of(paths[:1])
    assert encoder.has_patches
    picture, found = encoder.feature_map(image)
    assert picture.size == (64, 48)
    assert (found.dtype, found.shape) == (np.float32, (11, 15, 16))
    batch = torch.from_numpy(np.asarray(picture, np.float32)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = encoder.model.backbone(encoder.model.preprocess_image(batch))[0].permute(1, 2, 0)
    np.testing.assert_array_equal(found, expected.numpy())
    with torch.inference_mode():  # the map is what the features are made of
        feature = encoder.model.heads(torch.from_numpy(found).permute(2, 0, 1)[None])
    np.testing.assert_allclose(feature.numpy(), encoder.encode([image]), rtol=1e-5, atol=1e-5)


def test_a_coarse_map_is_made_of_a_larger_image(saved, paths):
    encoder = QueryEncoder(config(saved("INPUT.SIZE_TEST", "[16, 16]")))  # 3 x 3 patches
    picture, found = encoder.feature_map(images_of(paths[:1])[0])
    assert picture.size == (48, 48)
    assert found.shape[:2] == (11, 11)
    assert min(found.shape[:2]) >= LEAST > 7  # with 32 x 32 pixels there are 7
    assert encoder.encode(images_of(paths[:1])).shape == (1, 16)


def test_pictures_for_people_have_the_places_of_the_map(saved):
    """A dot in one corner of a wide drawing is in the same corner of both pictures, in shares of their sides."""
    encoder = QueryEncoder(config(saved("INPUT.INK_CROP.ENABLED", "True", "INPUT.SIZE_TEST", "[40, 40]")))
    values = np.full((300, 900), 255, np.uint8)
    values[20:280, 50:60] = values[20:280, 840:850] = 0
    values[100:120, 700:720] = 0
    middles = []
    for picture in (encoder.feature_map(Image.fromarray(values))[0], encoder.picture(Image.fromarray(values))):
        dark = np.asarray(picture.convert("L")) < 200
        dark[:, : int(0.2 * dark.shape[1])] = dark[:, int(0.93 * dark.shape[1]) :] = False
        middles.append(np.argwhere(dark).mean(axis=0) / dark.shape)
    np.testing.assert_allclose(middles[0], middles[1], atol=0.02)
    assert encoder.picture(Image.fromarray(values)).size == (480, 480)
    assert encoder.picture(Image.fromarray(values), side=100).size == (100, 100)
    assert encoder.picture(Image.fromarray(values), side=10).size == (40, 40)


def test_models_without_a_map_say_so(tiny_options, paths):
    encoder = QueryEncoder(config(tiny_options, "MODEL.META_ARCHITECTURE", "PerceptualHash"))
    assert not encoder.has_patches
    with pytest.raises(ValueError, match="PerceptualHash has no feature map: it gives one vector for the whole image"):
        encoder.feature_map(images_of(paths[:1])[0])


def test_cells_of_hog_with_those_around_them():
    model = HOG(cells=6, bins=4, block=0)
    cfg = get_cfg()
    cfg.merge_from_list(["INPUT.SIZE_TEST", "[48, 48]", "INPUT.CHANNELS", "1"])
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8))
    maps = FeatureMaps(model, cfg, 1)
    tensor = maps.transforms(image)[None]
    found = maps(tensor)[0].unflatten(0, (4, 3, 3))
    cells = nn.functional.pad(model.eval()(tensor).reshape(4, 6, 6), (1, 1, 1, 1))
    for row in range(6):
        for column in range(6):
            expected = cells[:, row : row + 3, column : column + 3]
            torch.testing.assert_close(found[..., row, column], expected)


def test_tokens_of_a_transformer_are_a_grid():
    torch.manual_seed(0)
    backbone = ReidTransformer((64, 48), depth=1, num_heads=12, in_chans=1)
    model = Baseline(backbone=backbone, heads=nn.Identity(), losses=[], pixel_mean=[127.5], pixel_std=[127.5]).eval()
    cfg = get_cfg()
    cfg.merge_from_list(["INPUT.SIZE_TEST", "[64, 48]", "INPUT.CHANNELS", "1"])
    maps = FeatureMaps(model, cfg, 1)
    values = np.random.default_rng(0).integers(0, 256, (64, 48), dtype=np.uint8)
    tensor = maps.transforms(Image.fromarray(values))[None]
    with torch.inference_mode():
        found = maps(tensor)
        tokens = backbone.patch_embed(model.preprocess_image(tensor)).flatten(1, 2)
        tokens = torch.cat((backbone.cls_token, tokens), dim=1) + backbone.pos_embed
        expected = backbone.norm(backbone.blocks(tokens))[0, 1:]
    assert found.shape == (1, 768, 4, 3)
    torch.testing.assert_close(found[0].permute(1, 2, 0).reshape(12, 768), expected)
    assert not backbone.norm._forward_hooks
