import copy
import logging
import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from fastreid.modeling.meta_arch import ORB
from fastreid.modeling.meta_arch.visual_words import (
    inverse_document_frequency,
    learn_vocabulary,
    nearest_words,
    tf_idf,
    vlad,
)


def numbers(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).float()


def drawing(seed):
    """A page with boxes and circles, (96, 96)."""
    page, random = Image.new("L", (96, 96), "white"), np.random.default_rng(seed)
    draw = ImageDraw.Draw(page)
    for kind in (draw.rectangle, draw.ellipse) * 4:
        x, y, w, h = (int(value) for value in random.integers(12, 40, 4))
        kind([x, y, x + w, y + h], outline="black", width=2)
    return torch.from_numpy(np.array(page)).float()


def test_the_nearest_word_equals_that_of_loops():
    descriptors, vocabulary = numbers(20, 5), numbers(4, 5, seed=1)
    slow = [min(range(4), key=lambda k: float((d - vocabulary[k]).norm())) for d in descriptors]
    assert nearest_words(descriptors, vocabulary).tolist() == slow
    twice = torch.cat([vocabulary, vocabulary])  # equally near: the first
    assert nearest_words(descriptors, twice).tolist() == slow


def test_vlad_equals_loops():
    descriptors, vocabulary = numbers(20, 5), numbers(7, 5, seed=1)
    sums = np.zeros((7, 5))
    for d in descriptors.numpy():
        word = min(range(7), key=lambda k: np.linalg.norm(d - vocabulary[k].numpy()))
        sums[word] += d - vocabulary[word].numpy()
    lengths = [np.linalg.norm(row) for row in sums]
    assert 0 in lengths, "a word that is absent belongs to this test"
    unit = np.concatenate([row / length if length else row for row, length in zip(sums, lengths, strict=True)])
    np.testing.assert_allclose(vlad(descriptors, vocabulary), unit / np.linalg.norm(unit), atol=1e-6)


def test_tf_idf_equals_loops():
    vocabulary = numbers(6, 5, seed=1)
    images = [numbers(count, 5, seed=count) for count in (3, 9, 0, 4)]
    words = [nearest_words(image, vocabulary).tolist() for image in images]
    idf = [math.log(5 / (1 + sum(word in image for image in words))) + 1 for word in range(6)]
    found = inverse_document_frequency(images, vocabulary)
    np.testing.assert_allclose(found, idf, atol=1e-6)
    weighted = np.array([words[1].count(word) / 9 * idf[word] for word in range(6)])
    np.testing.assert_allclose(tf_idf(images[1], vocabulary, found), weighted / np.linalg.norm(weighted), atol=1e-6)


def test_no_descriptors_give_zeros():
    none, vocabulary = torch.empty(0, 5), numbers(6, 5)
    assert torch.equal(vlad(none, vocabulary), torch.zeros(30))
    assert torch.equal(tf_idf(none, vocabulary, torch.ones(6)), torch.zeros(6))


def test_the_vocabulary_finds_clusters_and_hangs_on_the_seed_alone():
    centres = 100 * numbers(3, 5)
    points = torch.cat([centre + 0.01 * numbers(40, 5, seed=i) for i, centre in enumerate(centres)])
    words = learn_vocabulary(points, 3, seed=0)
    assert sorted(nearest_words(centres, words).tolist()) == [0, 1, 2]
    assert (words[nearest_words(centres, words)] - centres).abs().max() < 0.1
    many = numbers(500, 5)
    assert torch.equal(learn_vocabulary(many, 8, seed=3), learn_vocabulary(many, 8, seed=3))
    assert not torch.equal(learn_vocabulary(many, 8, seed=3), learn_vocabulary(many, 8, seed=4))
    with pytest.raises(ValueError, match=r"MODEL.ORB.WORDS is 9, but the training images gave 8 local features"):
        learn_vocabulary(numbers(8, 5), 9, seed=0)


@pytest.fixture(scope="module")
def fitted():
    pytest.importorskip("cv2")
    model = ORB(words=8, patch=11).eval()
    model.fit([torch.stack([drawing(seed) for seed in range(4)])], seed=0)
    return model


def test_an_image_finds_itself_and_its_words_are_from_the_fit(fitted):
    images = torch.stack([drawing(seed) for seed in range(6)])
    features = fitted({"images": images[:, None]})
    assert features.shape == (6, 8 * 256)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(6))
    shifted = fitted({"images": images.roll(3, dims=2)[:, None]})
    assert (shifted @ features.T).argmax(dim=1).tolist() == list(range(6))
    assert fitted.vocabulary.min() >= 0
    assert fitted.vocabulary.max() <= 1


def test_one_file_of_weights_serves_both_encodings(fitted):
    bags = ORB("tf-idf", words=8, patch=11).eval()
    bags.load_state_dict(fitted.state_dict())
    features = bags({"images": drawing(0)[None, None]})
    assert features.shape == (1, 8)
    assert features.norm() == pytest.approx(1)
    assert torch.equal(copy.deepcopy(bags)({"images": drawing(0)[None, None]}), features)


def test_blank_pages_are_zeros_and_counted(fitted, caplog):
    caplog.set_level(logging.WARNING, "fastreid")
    model = copy.deepcopy(fitted)
    pages = torch.full((3, 1, 96, 96), 255.0)
    pages[1] = drawing(0)
    features = model({"images": pages})
    assert torch.equal(features[[0, 2]], torch.zeros(2, 8 * 256))
    assert features[1].norm() == pytest.approx(1)
    assert model.without_keypoints == 2
    assert "2 images without ORB keypoints so far" in caplog.text


def test_what_is_missing_is_said(fitted, monkeypatch):
    with pytest.raises(ValueError, match=r"ORB has no vocabulary yet: .*train_net.py.* file in MODEL.WEIGHTS"):
        ORB().eval()({"images": drawing(0)[None, None]})
    with pytest.raises(RuntimeError, match="ORB has no losses and no gradients"):
        ORB().train()({"images": drawing(0)[None, None]})
    with pytest.raises(ValueError, match="ORB.ENCODING must be one of 'vlad', .*; got 'vlat'. Did you mean 'vlad'"):
        ORB("vlat")
    with pytest.raises(ValueError, match="WORDS is 8, but the training images gave 0"):
        copy.deepcopy(fitted).fit([torch.full((2, 96, 96), 255.0)], seed=0)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r"ORB needs OpenCV: pip install '\.\[local\]' from the checkout"):
        ORB()
