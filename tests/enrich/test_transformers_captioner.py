"""Captions from real models of transformers, tiny and random, from folders on disk."""

import logging
import socket
import sys

import pytest
from PIL import Image

from fastreid.enrich import CAPTIONER_REGISTRY, Source, TransformersCaptioner
from fastreid.enrich.transformers_captioner import _without

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

pytestmark = pytest.mark.slow  # transformers takes seconds to import

WORDS = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "<image>", "describe", "the", "design", "user", "a", "chair", "with", "four",
    "legs", "and", "round", "seat", "back", ":", ".",
]  # fmt: skip
SIZE = {"height": 32, "width": 32}
VISION = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 16,
}  # fmt: skip
ENDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
IMAGES = [Image.new("RGB", (40, 30), color) for color in ("white", "black", "red")]
SOURCES = [Source("a.png")] * 3


def tokenizer():
    words = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "bos_token": "[CLS]", "eos_token": "[SEP]"}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, additional_special_tokens=["<image>"], **special
    )


def save_llava(folder):
    """A chat model: vision tower and decoder."""
    text = transformers.LlamaConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, **ENDS,
    )  # fmt: skip
    vision = transformers.CLIPVisionConfig(**VISION)
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=4, image_token_id=4, vision_feature_layer=-1
    )
    template = (
        "{% for m in messages %}user : {% for c in m['content'] %}{% if c['type'] == 'image' %}<image> {% else %}"
        "{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %}: {% endif %}"
    )
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=SIZE), tokenizer(), patch_size=16,
        vision_feature_select_strategy="default", num_additional_image_tokens=1, chat_template=template,
    ).save_pretrained(folder)  # fmt: skip


def save_blip2(folder):
    """A model that continues a question: vision tower, querying transformer, decoder."""
    queries = {**VISION, "vocab_size": len(WORDS), "encoder_hidden_size": 16, "cross_attention_frequency": 1}
    text = {
        "model_type": "opt", "vocab_size": len(WORDS), "hidden_size": 16, "ffn_dim": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 64, "word_embed_proj_dim": 16, **ENDS,
    }  # fmt: skip
    config = transformers.Blip2Config(
        vision_config=VISION, qformer_config=queries, text_config=text, num_query_tokens=4, image_token_index=4
    )
    transformers.Blip2ForConditionalGeneration(config).save_pretrained(folder)
    transformers.Blip2Processor(
        transformers.BlipImageProcessor(size=SIZE), tokenizer(), num_query_tokens=4
    ).save_pretrained(folder)


def save_encoder_decoder(folder):
    """A model that takes no question, without a common processor."""
    decoder = transformers.GPT2Config(
        vocab_size=len(WORDS), n_embd=16, n_layer=1, n_head=2, n_positions=64, add_cross_attention=True, is_decoder=True
    )
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.ViTConfig(**VISION), decoder
    )
    model = transformers.VisionEncoderDecoderModel(config)
    model.generation_config.update(decoder_start_token_id=2, pad_token_id=0, eos_token_id=3)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    transformers.ViTImageProcessor(size=SIZE).save_pretrained(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    import torch

    made = {}
    for save in (save_llava, save_blip2, save_encoder_decoder):
        torch.manual_seed(1)
        made[save.__name__] = tmp_path_factory.mktemp(save.__name__)
        save(made[save.__name__])
    return made


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


@pytest.mark.parametrize("kind", ["save_llava", "save_blip2", "save_encoder_decoder"])
def test_a_model_describes_images(folders, kind):
    captioner = TransformersCaptioner(str(folders[kind]), prompt="describe the design", max_tokens=6)
    assert captioner.sees_images
    texts = captioner.describe(SOURCES, IMAGES)
    assert len(texts) == 3
    assert not any(text.startswith(("describe the design", "user :")) or "[" in text or "<" in text for text in texts)
    assert all(len(text.split()) <= 6 for text in texts)
    assert any(texts)
    assert texts == [captioner.describe(SOURCES[:1], [image])[0] for image in IMAGES]  # alone as in a batch
    again = TransformersCaptioner(str(folders[kind]), prompt="describe the design", max_tokens=6)
    assert again.describe(SOURCES, IMAGES) == texts
    assert (again.model, again.recipe) == (captioner.model, captioner.recipe)
    assert captioner.model.startswith(f"{folders[kind].name} ")
    assert captioner.to("cpu") is captioner


def test_the_image_decides(folders):
    captioner = TransformersCaptioner(str(folders["save_encoder_decoder"]), max_tokens=6)
    assert len(set(captioner.describe(SOURCES, IMAGES))) > 1


def test_the_question_is_put_as_the_model_wants_it(folders):
    asked = {
        kind: TransformersCaptioner(str(folder), prompt="describe the design").recipe["prompt"]
        for kind, folder in folders.items()
    }
    assert asked == {
        "save_llava": "user : <image> describe the design : ",
        "save_blip2": "describe the design",
        "save_encoder_decoder": "",
    }
    without = TransformersCaptioner(str(folders["save_blip2"]), prompt="", max_tokens=3)
    assert len(without.describe(SOURCES, IMAGES)) == 3


def test_other_weights_are_another_model(folders, tmp_path):
    save_blip2(tmp_path)
    first, other = (TransformersCaptioner(str(folder)).model for folder in (folders["save_blip2"], tmp_path))
    assert first.split()[1] != other.split()[1]
    half = TransformersCaptioner(str(tmp_path), dtype="bfloat16", max_tokens=3)
    assert half.recipe["dtype"] == "bfloat16"
    assert len(half.describe(SOURCES, IMAGES)) == 3


def test_what_a_model_repeats_is_taken_off():
    assert _without("describe the design", "describe  the design a chair") == "a chair"
    assert _without("describe the design", "a chair") == "a chair"
    assert _without("describe the design", "describe the chair") == "describe the chair"
    assert _without("", "a chair") == "a chair"


def test_missing_models(tmp_path, folders):
    for model in ("", "Salesforce/blip2-opt-2.7b", str(tmp_path / "none")):
        with pytest.raises(FileNotFoundError, match=r"ENRICH\.CAPTIONER\.MODEL must be a folder .*got '"):
            TransformersCaptioner(model)
    with pytest.raises(ValueError, match="holds no model that turns images into texts"):
        TransformersCaptioner(str(tmp_path))
    (tmp_path / "config.json").write_text((folders["save_blip2"] / "config.json").read_text())
    with pytest.raises(ValueError, match="holds no model that turns images into texts"):
        TransformersCaptioner(str(tmp_path))  # no weights


def test_bad_settings(folders):
    folder = str(folders["save_blip2"])
    with pytest.raises(ValueError, match=r"ENRICH\.CAPTIONER\.DTYPE must be one of .*Did you mean 'float16'"):
        TransformersCaptioner(folder, dtype="float61")
    with pytest.raises(ValueError, match=r"BATCH_SIZE must be at least 1; got 0"):
        TransformersCaptioner(folder, batch_size=0)


def test_without_the_package(monkeypatch, folders):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match="TransformersCaptioner needs transformers: pip install transformers"):
        CAPTIONER_REGISTRY.get("TransformersCaptioner")(str(folders["save_blip2"]))


logging.getLogger("transformers").setLevel(logging.ERROR)
