import base64
import html
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fastreid.config import get_cfg
from fastreid.evaluation import Protocol, evaluate
from fastreid.evaluation.charts import Series, bar_chart, line_chart, nice_ticks
from fastreid.evaluation.report import RULE_WORDS, describe_rule, read_metrics
from fastreid.evaluation.report_queries import choose_queries, label, query_section
from fastreid.evaluation.thumbnails import shrink, thumbnail
from fastreid.retrieval import RULE_REGISTRY
from tests.evaluation.stand_ins import feature_file


class Frames(HTMLParser):
    """Reads back, for each query, its title and the (class, sign, alt, caption) of each of its frames."""

    def __init__(self, page):
        super().__init__()
        self.cases, self.tags, self.addresses, self._sign = [], [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.addresses += [attrs[name] for name in ("src", "href") if name in attrs]
        classes = attrs.get("class", "").split()
        if tag == "article":
            self.cases.append([])
        if tag == "figure" and "shot" in classes:
            self.cases[-1].append({"class": classes[1:], "path": attrs["title"], "sign": "", "alt": ""})
        if tag in ("img", "span") and (attrs.get("alt") or attrs.get("role") == "img"):
            self.cases[-1][-1]["alt"] = attrs.get("alt") or attrs["aria-label"]
        self._sign = "badge" in classes

    def handle_data(self, data):
        if self._sign:
            self.cases[-1][-1]["sign"], self._sign = data, False


def config(*options):
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.TESTS", ("A",), "TEST.REPORT.NUM_QUERIES", 2, *options])
    return cfg


@pytest.fixture
def drawn(tmp_path):
    """A feature file whose images exist, all but gallery row 3."""
    file = feature_file()
    paths = []
    for row in range(len(file)):
        path = tmp_path / "images" / f"USD{row:07d}-20180102-D{row:05d}.png"
        path.parent.mkdir(exist_ok=True)
        if row != file.num_query + 3:
            image = Image.new("1", (300, 200), 1)
            ImageDraw.Draw(image).line((10, 10, 290, 20 + row), 0)
            image.save(path)
        paths.append(str(path))
    return feature_file(paths=paths)


def read(folder, name="report.html"):
    return (folder / name).read_text(encoding="utf-8")


def test_frames_say_right_and_wrong_as_the_ranking_has_it(tmp_path, drawn):
    evaluation = evaluate(config("TEST.AQE.ENABLED", True), drawn, "A", tmp_path)
    cases = Frames(read(tmp_path)).cases
    assert len(cases) == 6
    for query, *hits in cases:
        row = drawn.query.paths.index(query["path"])
        assert query["class"] == ["query"]
        expected = evaluation.indices[row]
        assert [hit["path"] for hit in hits] == [drawn.gallery.paths[item] for item in expected]
        right = drawn.gallery.columns["pids"][expected] == drawn.query.columns["pids"][row]
        assert [hit["class"][0] for hit in hits] == ["right" if one else "wrong" for one in right]
        assert [hit["sign"] for hit in hits] == ["✓" if one else "✗" for one in right]
        assert all(f"rank {n}, {hit['class'][0]}: USD" in hit["alt"] for n, hit in enumerate(hits, start=1))
    assert {hit["class"][0] for case in cases for hit in case[1:]} == {"right", "wrong"}


def test_wrong_items_fade_once_no_right_one_is_left(tmp_path, drawn):
    evaluation = evaluate(config("TEST.REPORT.NUM_QUERIES", 20), drawn, "A", tmp_path)
    faded = 0
    for query, *hits in Frames(read(tmp_path)).cases:
        row = drawn.query.paths.index(query["path"])
        relevant = evaluation.metrics.num_relevant[evaluation.metrics.rows.tolist().index(row)]
        found = 0
        for hit in hits:
            found += hit["class"] == ["right"]
            assert ("spent" in hit["class"]) == (found == relevant and hit["class"] != ["right"])
            faded += "spent" in hit["class"]
    assert faded


def test_page_needs_nothing_from_outside_and_shows_missing_images(tmp_path, drawn):
    evaluate(config("TEST.REPORT.NUM_QUERIES", 20), drawn, "A", tmp_path)
    page = Frames(read(tmp_path))
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert not re.search(r"url\(|@import|https?://", read(tmp_path))
    missing = [shot for case in page.cases for shot in case if shot["alt"].endswith("(missing)")]
    assert {shot["path"] for shot in missing} == {drawn.gallery.paths[3]}


def test_names_are_escaped(tmp_path):
    nasty = "<script>alert('x')</script>&"
    file = feature_file(paths=[f"{nasty}{row}.png" for row in range(52)])
    evaluate(config(), file, nasty, tmp_path)
    page = read(tmp_path)
    assert "script" not in Frames(page).tags
    assert "&lt;script&gt;alert(&#x27;x&#x27;)" in page


def test_unlabelled_report_has_neither_frames_nor_metrics(tmp_path, drawn):
    blind = feature_file(paths=drawn.paths, relevance_known=False)
    evaluate(config(), blind, "A", tmp_path)
    page = Frames(read(tmp_path))
    assert len(page.cases) == 6
    assert all(shot["class"] in ([], ["query"]) and not shot["sign"] for case in page.cases for shot in case)
    assert "table" not in page.tags


def test_several_data_sets_have_a_report_each(tmp_path):
    cfg = config("DATASETS.TESTS", ("A", "B"))
    for name in cfg.DATASETS.TESTS:
        evaluate(cfg, feature_file(), name, tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.html")) == ["report_A.html", "report_B.html"]


def test_table_and_curves(tmp_path):
    lines = [{"iteration": i, "total_loss": 9 - i / 9, "loss_cls": 3.0, "mAP": i, "lr": 1e-3} for i in range(40)]
    (tmp_path / "first.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines[:20]) + '{"iter')
    evaluate(config("TEST.REPORT.METRICS", (str(tmp_path / "first.json"),)), feature_file(), "A", tmp_path)
    page = read(tmp_path)
    titles = re.findall(r'<svg [^>]*aria-label="([^"]+)"', page)
    assert titles[:2] == ["Loss", "Validation, %"]
    assert len(titles) == 4
    assert page.count(">stage 2</text>") == 2
    assert "lr" not in re.findall(r'<li class="s\d">([^<]+)</li>', page)
    mean = Protocol.from_config(config()).evaluate(feature_file()).metrics.table()["mAP"]
    assert f"<td>{mean:.2f}</td>" in page


def facts_of(page):
    return {name: html.unescape(value) for name, value in re.findall("<dt>([^<]+)</dt><dd>([^<]+)</dd>", page)}


def test_further_metrics_are_columns_and_groups_have_a_table(tmp_path, monkeypatch):
    options = ["TEST.METRICS", ("recall@5",), "TEST.GROUP_BY", ("pids",)]
    (stage,) = evaluate(config(*options), feature_file(), "A", tmp_path).stages
    page = read(tmp_path)
    assert "<th scope=col>recall@5</th>" in page
    assert f"{stage.extra['recall@5']:.2f}" in page
    section = page[page.index("<h2>By pids</h2>") :].split("</section>")[0]
    row = stage.groups["pids"]["values"]["3"]
    assert f"<th scope=row>3</th><td>2</td><td>{row['mAP']:.2f}</td>" in section
    assert f"<th scope=row>mean over the groups</th><td></td><td>{stage.groups['pids']['macro']['mAP']:.2f}" in section
    assert "largest" not in section
    monkeypatch.setattr("fastreid.evaluation.report.SHOWN_GROUPS", 2)
    evaluate(config(*options), feature_file(), "A", tmp_path)
    assert "The 2 largest of 5 groups." in read(tmp_path)


def test_head_says_rule_network_and_weights_in_words(tmp_path):
    made_of = {
        "weights": "0123456789abcdef",
        "settings": {"MODEL.BACKBONE.NAME": "build_resnet_backbone", "MODEL.BACKBONE.DEPTH": "10x"},
    }
    evaluate(config(), feature_file(fingerprint=made_of), "A", tmp_path, "logs/a/model_best.pth")
    facts = facts_of(read(tmp_path))
    assert facts["candidates"] == "all but those of the query's identity by the query's own camera"
    assert facts["network"] == "build_resnet_backbone 10x"
    assert facts["weights"] == "logs/a/model_best.pth (0123456789ab)"
    made_of["settings"]["MODEL.BACKBONE.NAME"] = "Mine"
    evaluate(config(), feature_file(fingerprint=made_of), "A", tmp_path)
    assert facts_of(read(tmp_path))["network"] == "Mine"
    assert facts_of(read(tmp_path))["weights"] == "(0123456789ab)"
    made_of["settings"]["MODEL.META_ARCHITECTURE"] = "HOG"
    evaluate(config(), feature_file(fingerprint=made_of), "A", tmp_path)
    assert facts_of(read(tmp_path))["network"] == "HOG"
    rules = "other_patent + granted_before+mine"
    assert describe_rule(rules) == "all but the query's own patent and those granted before the query and rule mine"


def test_every_rule_has_its_words():
    assert set(RULE_REGISTRY.names()) == set(RULE_WORDS)


def test_patents_are_called_patents_and_others_identities(tmp_path):
    evaluate(config(), feature_file(), "A", tmp_path)
    assert "same patent" in read(tmp_path)
    evaluate(config(), feature_file(paths=[f"{row:04d}_c1s1.jpg" for row in range(52)]), "A", tmp_path)
    assert "same identity" in read(tmp_path)
    assert "same patent" not in read(tmp_path)


def test_distances_have_one_format():
    evaluation = Protocol.from_config(config()).evaluate(feature_file())
    distances = np.tile([-1e-8, 0, 1.2e-7, 0.0004, 0.0006, 0.25, 1, 1, 12.3456, 12.3456], (12, 1))
    page = query_section(replace(evaluation, distances=distances), feature_file(), count=1, topk=9)
    shown = re.findall(r'<span class="score"><span>\d+</span><span>([^<]*)</span>', page)
    assert shown == 3 * (4 * ["0.000"] + ["0.001", "0.250", "1.000", "1.000", "12.346"])


def test_counts_are_marked_with_whole_numbers():
    assert nice_ticks(1, 3, 6, whole=True) == [1, 2, 3]
    assert nice_ticks(0, 2, whole=True) == [0, 1, 2]
    ticks = re.findall(r'class="tick"[^>]*>([^<]+)<', bar_chart("t", [0, 1, 2], [1, 2], "x"))
    assert ticks[:3] == ["0", "1", "2"]
    curve = line_chart("t", [Series("a", [1, 2, 3], [0.1, 0.2, 0.3])], "k", whole_x=True)
    assert re.findall(r'text-anchor="middle">([^<]+)<', curve) == ["1", "2", "3"]


def test_no_training_section_without_curves(tmp_path):
    evaluate(config(), feature_file(), "A", tmp_path)
    assert "<h2>Training</h2>" not in read(tmp_path)
    assert read_metrics(tmp_path / "absent.json") == []


def test_chosen_queries_are_the_best_the_worst_and_others():
    evaluation = Protocol.from_config(config()).evaluate(feature_file(num_query=40))
    best, worst, others = choose_queries(evaluation, 40, 4)
    metrics = evaluation.metrics
    ap = dict(zip(metrics.rows.tolist(), metrics.ap.tolist(), strict=True))
    assert sorted(ap.values())[-4:] == sorted(ap[row] for row in best.queries)
    assert sorted(ap.values())[:4] == sorted(ap[row] for row in worst.queries)
    chosen = best.queries + worst.queries + others.queries
    assert len(set(chosen)) == 12
    assert set(chosen) <= set(ap)  # dropped queries have no precision to show
    assert choose_queries(evaluation, 40, 4)[2].queries == others.queries


def test_few_queries_are_shown_once():
    evaluation = Protocol.from_config(config()).evaluate(feature_file(num_query=3))
    groups = choose_queries(evaluation, 3, 8)
    assert sorted(row for group in groups for row in group.queries) == [0, 1, 2]


def test_thumbnails_keep_thin_lines_dark(tmp_path):
    page = Image.new("1", (1600, 1200), 1)
    ImageDraw.Draw(page).line((0, 603, 1600, 603), 0, width=3)
    page.save(tmp_path / "a.png")
    plain = page.convert("L").resize((160, 120), Image.Resampling.BOX)
    small = shrink(page.convert("L"), 160)
    assert small.size == (160, 120)
    assert np.asarray(small).min() < 60 < 150 < np.asarray(plain).min()
    kind, data = thumbnail(str(tmp_path / "a.png"), 160).split(",")
    assert kind == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (160, 120)


def test_thumbnails_of_photographs_and_small_or_missing_images(tmp_path):
    Image.new("RGB", (640, 480), (10, 200, 30)).save(tmp_path / "photo.png")
    assert thumbnail(str(tmp_path / "photo.png")).startswith("data:image/jpeg;base64,")
    assert shrink(Image.new("L", (20, 30)), 160).size == (20, 30)
    assert thumbnail(str(tmp_path / "absent.png")) is None


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        ("I20180102/USD0806350-20180102/USD0806350-20180102-D00003.png", ("USD0806350", "D00003")),
        ("USD0534350/USD0534350-P00001.tif", ("USD0534350", "P00001")),
        ("0001_c1s1_000151_00.jpg", ("0001_c1s1_000151_00",)),
    ],
)
def test_captions(path, lines):
    assert label(path) == lines


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (0.13, 0.87, [0.2, 0.4, 0.6, 0.8]),
        (3, 3, [3]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_ticks_are_round(low, high, ticks):
    assert nice_ticks(low, high) == ticks


def test_charts_leave_out_what_is_not_finite():
    assert line_chart("t", [Series("a", [1, 2], [float("nan"), float("inf")])], "x") == ""
    drawing = line_chart("t", [Series("a", [0, 1, 2], [1.0, float("nan"), 3.0])], "x")
    assert drawing.count("<circle") == 2
    assert "nan" not in drawing
    assert len(Series("a", range(5000), [1.0] * 5000).points()) <= 400
    assert bar_chart("t", [0, 1, 2], [0, 0], "x").count("<rect") == 2
