"""Texts and images of one space: both directions against loops, and what is refused."""

import json
import logging

import numpy as np
import pytest

from fastreid.config import get_cfg
from fastreid.data.text_bank import FileTexts, TextBank
from fastreid.evaluation import evaluate
from fastreid.evaluation.results import check_settings, headline
from fastreid.evaluation.text_retrieval import text_retrieval
from tests.evaluation.stand_ins import classified_file, subclass_of

WIDTH = 8


def bank_of(folder, texts, seed=0, width=WIDTH):
    """A bank of ``{file: texts}``; the vector of a text depends on the text alone."""
    texts = FileTexts.of(texts)
    vectors = np.array([np.random.default_rng([seed, *text.encode()]).normal(size=width) for text in texts.texts])
    return TextBank.write(folder, texts, vectors, dtype="float32")


def some_texts(file, seed=0):
    """Zero to three texts for each image; some are shared, within a patent or by chance, some are there twice."""
    rng, texts = np.random.default_rng(seed), {}
    for path, pid in zip(file.paths, file.columns["pids"], strict=True):
        pool = [f"own {path}", f"of patent {pid}", f"common {rng.integers(3)}", "common 1"]
        texts[path] = [str(text) for text in rng.choice(pool, rng.integers(0, 4))]
    texts = {path: found for path, found in texts.items() if found}
    texts["of no image of the file.png"] = ["unused"]
    return texts


def naive(file, bank, most):
    """{(direction, kind): (queries, dropped, R@1, R@5, R@10)} by loops over texts and images."""
    images = list(range(len(file)))
    of_image = [list(dict.fromkeys(bank.rows(path).tolist()[: most or None])) for path in file.paths]
    texts = sorted({row for rows in of_image for row in rows})
    unit = file.features.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    codes = [subclass_of(text) for text in file.columns["taxonomy"]]
    labels = {"own": images, "patent": file.columns["pids"].tolist(), "subclass": codes}
    found = {}
    for kind, values in labels.items():
        right = {(row, values[image]) for image in images for row in of_image[image] if values[image] != ""}
        for direction in ("text-to-image", "image-to-text"):
            hits, dropped = [], 0
            queries, items = (texts, images) if direction == "text-to-image" else (images, texts)
            for query in queries:
                pairs = [(query, item) if direction == "text-to-image" else (item, query) for item in items]
                scores = [float(bank.vectors[text] @ unit[image]) for text, image in pairs]
                order = sorted(range(len(items)), key=lambda at, scores=scores: (-scores[at], at))
                matches = [(pairs[at][0], values[pairs[at][1]]) in right for at in order]
                if any(matches):
                    hits.append(matches.index(True) + 1)
                else:
                    dropped += 1
            shares = [100 * np.mean([rank <= k for rank in hits]) for k in (1, 5, 10)]
            found[direction, kind] = (len(queries), dropped, *shares)
    return found


@pytest.mark.parametrize("most", [0, 1, 2])
def test_both_directions_equal_loops(tmp_path, most):
    for seed in range(2):
        file = classified_file(6, 24, seed=seed)
        bank = bank_of(tmp_path / f"{seed}", some_texts(file, seed))
        result = text_retrieval(file, bank, most)
        found = {
            (direction, kind): (values["queries"], values["dropped queries"], *(values[f"R@{k}"] for k in (1, 5, 10)))
            for direction, kinds in result.found.items()
            for kind, values in kinds.items()
        }
        expected = naive(file, bank, most)
        assert found.keys() == expected.keys()
        for key, values in expected.items():
            assert found[key] == pytest.approx(values), key
        assert result.counts["images without text"] == sum(not len(bank.rows(path)) for path in file.paths) > 0


def aligned(file, folder, noise=0.0):
    """A bank whose texts, two per image, lie where the features of their images are."""
    texts = FileTexts.of({path: [f"{path} a", f"{path} b"] for path in file.paths})
    vectors = np.repeat(file.features, 2, axis=0).astype(np.float64)
    vectors += noise * np.random.default_rng(1).normal(size=vectors.shape)
    return TextBank.write(folder, texts, vectors, dtype="float32")


def test_texts_in_their_place_are_found_first(tmp_path):
    file = classified_file()
    result = text_retrieval(file, aligned(file, tmp_path / "bank"))
    assert set(result.headline().values()) == {100.0}
    assert list(result.headline())[:2] == ["text-to-image R@1", "text-to-image R@5"]
    assert result.found["text-to-image"]["own"]["queries"] == 2 * len(file)
    assert result.found["image-to-text"]["subclass"]["dropped queries"] > 0, "those of unknown subclass"


def test_a_text_of_several_images_is_right_for_each_and_the_row_decides_between_equal_ones(tmp_path):
    file = classified_file(2, 3, features=np.eye(5, WIDTH))
    texts = FileTexts.of({file.paths[1]: ["both", "own"], file.paths[3]: ["both"]})
    vectors = np.array([np.eye(WIDTH)[3] if text == "both" else np.eye(WIDTH)[0] for text in texts.texts])
    found = text_retrieval(file, TextBank.write(tmp_path / "bank", texts, vectors, dtype="float32")).found
    # "both" finds image 3 at once; "own", which lies at image 0, finds image 1 second, with the other far ones behind
    assert found["text-to-image"]["own"] == {"queries": 2, "dropped queries": 0, "R@1": 50, "R@5": 100, "R@10": 100}
    assert found["image-to-text"]["own"] == {"queries": 5, "dropped queries": 3, "R@1": 100, "R@5": 100, "R@10": 100}


def test_an_image_that_is_query_and_gallery_item_counts_once(tmp_path):
    file = classified_file(4, 8)
    file.paths[6] = file.paths[2]
    texts = {path: [f"of {path}"] for path in file.paths}
    result = text_retrieval(file, bank_of(tmp_path / "bank", texts))
    assert result.counts == {"images": 11, "images without text": 0, "texts": 11}


def config(bank, *options):
    cfg = get_cfg()
    settings = ["DATASETS.TESTS", ("A",), "TEST.REPORT.ENABLED", False, "TEST.RULE", "all", "TEST.TEXT_BANK", str(bank)]
    cfg.merge_from_list([*settings, *options])
    return cfg


def test_results_hold_it_beside_the_ranking_of_images(tmp_path, caplog):
    file = classified_file()
    bank = aligned(file, tmp_path / "bank", noise=1.5)
    with caplog.at_level(logging.INFO, "fastreid"):
        evaluation = evaluate(config(bank.folder, "TEST.TEXTS_PER_IMAGE", 1), file, "A", tmp_path)
    expected = text_retrieval(file, bank, 1)
    entry = json.loads((tmp_path / "results.json").read_text())["A"]
    assert entry["text retrieval"] == {"counts": dict(expected.counts), **expected.found}
    assert expected.counts["texts"] == len(file)
    assert expected.headline().items() <= entry["stages"][-1]["metrics"].items(), "where ablations look for figures"
    assert headline(evaluation)["image-to-text R@5"] == expected.found["image-to-text"]["own"]["R@5"] < 100
    assert expected.table() in caplog.text
    alone = evaluate(config(""), file, "A", tmp_path / "alone")
    assert headline(alone).items() <= headline(evaluation).items()
    assert "text retrieval" not in json.loads((tmp_path / "alone" / "results.json").read_text())["A"]


def test_without_labels_texts_are_still_found(tmp_path):
    file = classified_file(relevance_known=False)
    evaluation = evaluate(config(aligned(file, tmp_path / "bank").folder), file, "A", None)
    assert list(evaluation.texts.found["text-to-image"]) == ["own", "subclass"]
    assert headline(evaluation)["text-to-image R@1"] == 100


def test_what_does_not_fit_is_said(tmp_path, monkeypatch):
    file = classified_file()
    narrow = bank_of(tmp_path / "narrow", some_texts(file), width=5)
    with pytest.raises(ValueError, match=r"the features have width 8, the texts of .*narrow 5: text retrieval needs"):
        text_retrieval(file, narrow)
    other = bank_of(tmp_path / "other", {"elsewhere.png": ["a text"]})
    with pytest.raises(ValueError, match=r"other has no text of any of the 74 images, such as p/USD0000000"):
        text_retrieval(file, other)
    with pytest.raises(ValueError, match=r"TEST\.TEXTS_PER_IMAGE must be at least 0; got -1"):
        text_retrieval(file, other, -1)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    assert check_settings(config("narrow"))
    with pytest.raises(FileNotFoundError, match=r"TEST\.TEXT_BANK: No text bank in '.*gone'"):
        check_settings(config("gone"))
