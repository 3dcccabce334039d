"""The pictures' contents: which images, in which order, with which marks; and the curves behind the plots."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fastreid.data import CommDataset
from fastreid.evaluation import plots
from fastreid.evaluation.plots import COLORS, PAPER, Plot
from fastreid.evaluation.rank import evaluate_rank
from fastreid.evaluation.rank_pictures import QUERY, RIGHT, WRONG, Tile, draw_ranking, shorten
from fastreid.retrieval import Search
from fastreid.utils.visualizer import Visualizer

Q_PIDS, Q_CAMIDS = np.array([0, 1, 2]), np.array([1, 1, 1])
G_PIDS, G_CAMIDS = np.array([0, 0, 1, 3, 1, 0]), np.array([1, 2, 2, 2, 3, 2])
DIST = np.array(
    [
        # row 0: its own camera's image is nearest and does not count
        [0.0, 0.2, 0.1, 0.9, 0.5, 0.3],
        [0.4, 0.5, 0.1, 0.6, 0.3, 0.2],
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],  # no match
    ],
    dtype=np.float32,
)


@pytest.fixture
def paths(tmp_path):
    found = []
    for row in range(9):
        Image.new("RGB", (20, 40), (20 * row, 100, 200)).save(tmp_path / f"image{row}.png")
        found.append(str(tmp_path / f"image{row}.png"))
    return found


@pytest.fixture
def visualizer(paths):
    shown = Visualizer(paths)
    shown.get_model_output(None, DIST, Q_PIDS, G_PIDS, Q_CAMIDS, G_CAMIDS)
    return shown


def test_average_precisions_are_those_of_the_evaluation(visualizer):
    _, ap, _ = evaluate_rank(DIST, Q_PIDS, G_PIDS, Q_CAMIDS, G_CAMIDS)
    np.testing.assert_allclose(visualizer.all_ap, [*ap, np.nan])
    assert ap.tolist() == pytest.approx([(1 / 2 + 2 / 3) / 2, (1 + 2 / 3) / 2])
    visualizer.get_model_output(ap / 2, DIST, Q_PIDS, G_PIDS, Q_CAMIDS, G_CAMIDS)
    np.testing.assert_allclose(visualizer.all_ap, [*(ap / 2), np.nan])
    with pytest.raises(ValueError, match=r"3 values \(queries\) or 2 \(those with a match\); got 4"):
        visualizer.get_model_output(np.ones(4), DIST, Q_PIDS, G_PIDS, Q_CAMIDS, G_CAMIDS)


def test_matched_result_leaves_out_the_same_camera(visualizer):
    cmc, rows = visualizer.get_matched_result(0)
    assert rows.tolist() == [2, 1, 5, 4, 3]
    assert cmc.tolist() == [0, 1, 1, 0, 0]


@pytest.fixture
def drawn(monkeypatch):
    """What was to be drawn, as plain values."""
    seen = []

    def draw(title, query, rows):
        lists = [[(tile.path[-10:], tile.lines[0].split()[0], tile.right) for tile in tiles] for _, tiles in rows]
        seen.append((title, query.path[-10:], *lists))
        return draw_ranking(title, query, rows)

    monkeypatch.setattr("fastreid.evaluation.visualizer.draw_ranking", draw)
    return seen


def test_lists_hold_the_ranked_images_with_their_marks(visualizer, drawn, tmp_path):
    order = visualizer.vis_rank_list(tmp_path / "out", vis_label=True, max_rank=3)
    assert order.tolist() == [0, 1]  # the worse AP first; query 2 has no match
    title, query, nearest, matches = drawn[0]
    assert title == "AP 58.3 %   image0.png"
    assert query == "image0.png"
    assert nearest == [("image5.png", "1", False), ("image4.png", "2", True), ("image8.png", "3", True)]
    assert matches == [("image8.png", "3", True), ("image4.png", "2", True)]  # ascending similarity: farthest first
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["0000_image0.png", "0001_image1.png"]
    visualizer.vis_rank_list(tmp_path / "down", True, num_vis=1, rank_sort="descending", label_sort="descending")
    assert drawn[2][1] == "image1.png"
    assert drawn[2][3] == [("image5.png", "1", True), ("image7.png", "3", True)]


def test_images_come_from_any_kind_of_dataset(visualizer, paths, tmp_path):
    """A data set of ours, one with fast-reid's ``img_items``, one with its items, or paths."""
    records = CommDataset([(path, 0, 0) for path in paths])
    old = SimpleNamespace(img_items=[(path, 0, 0) for path in paths])
    pictures = []
    for dataset in (paths, records, old, [{"img_paths": path} for path in paths]):
        visualizer.dataset = dataset
        files = visualizer.save_rank_result([1], tmp_path, max_rank=4)
        pictures.append(files[0].read_bytes())
    assert len(set(pictures)) == 1


@pytest.mark.parametrize("max_rank, length", [(1, 1), (500, 5)])
def test_lists_may_be_shorter_or_longer_than_the_gallery(visualizer, drawn, tmp_path, max_rank, length):
    visualizer.vis_rank_list(tmp_path, num_vis=1, max_rank=max_rank)
    assert len(drawn[0][2]) == length


def test_cosine_distances_are_those_of_normalised_features(paths, drawn, tmp_path):
    """fast-reid drew inner products of features as they are, so a long vector won."""
    gallery = np.array([[1, 0], [9, 9], [0, 1], [1, 1], [2, 1], [0, -1]], dtype=np.float32)
    columns = {"pids": Q_PIDS, "camids": Q_CAMIDS}, {"pids": G_PIDS, "camids": G_CAMIDS}
    search = Search(np.array([[1, 0.1], [0, 2], [1, 1]], dtype=np.float32), gallery, *columns, "cosine", "camera")
    shown = Visualizer(paths)
    shown.use_search(search)
    shown.save_rank_result([1], tmp_path, max_rank=2)
    assert [tile[0] for tile in drawn[0][2]] == ["image5.png", "image4.png"]
    shown.use_search(search, labelled=False)
    assert shown.vis_rank_list(tmp_path, True, num_vis=2).tolist() == [0, 1]
    assert [tile[2] for tile in drawn[1][2]] == [None] * 5
    with pytest.raises(ValueError, match="needs labels"):
        shown.vis_roc_curve(tmp_path)


def test_what_cannot_be_drawn_is_said(visualizer, tmp_path):
    with pytest.raises(ValueError, match=r"rank_sort .* must be one of 'ascending', 'descending'; got 'up'"):
        visualizer.vis_rank_list(tmp_path, rank_sort="up")
    with pytest.raises(ValueError, match="label_sort"):
        visualizer.vis_rank_list(tmp_path, label_sort="up")
    with pytest.raises(ValueError, match="max_rank"):
        visualizer.vis_rank_list(tmp_path, max_rank=0)
    with pytest.raises(ValueError, match="activation maps"):
        visualizer.vis_rank_list(tmp_path, actmap=True)


def colors_of(picture):
    return {color for _, color in picture.getcolors(1 << 20)}


def test_right_and_wrong_differ_in_shape_and_colour(paths):
    def one(right):
        return draw_ranking("title", Tile(paths[0], ("query",)), [("list", [Tile(paths[1], ("1",), right)])])

    right, wrong, plain = one(True), one(False), one(None)
    assert RIGHT in colors_of(right) - colors_of(wrong)
    assert WRONG in colors_of(wrong) - colors_of(right)
    assert not {RIGHT, WRONG} & colors_of(plain)
    assert all(QUERY in colors_of(picture) for picture in (right, wrong, plain))
    # also without colours: the white strokes of tick and cross are elsewhere
    strokes = [np.asarray(picture)[:, -60:].min(axis=2) > 250 for picture in (right, wrong)]
    assert (strokes[0] != strokes[1]).any()


def test_pictures_of_odd_lists(paths, tmp_path):
    missing = Tile(str(tmp_path / "gone.png"), ("1",), False)
    assert draw_ranking("", missing, [("empty", [])]).width > 0
    many = [("long", [Tile(path, ("1", "a name " * 9), True) for path in paths * 3])]
    few = [("long", [Tile(path, ("1", "a name " * 9), True) for path in paths])]
    assert draw_ranking("", missing, many).height > 2 * draw_ranking("", missing, few).height - 80
    assert shorten("USD0909689-20210202-D00004", 60, 13).startswith("USD")
    assert "..." in shorten("USD0909689-20210202-D00004", 60, 13)


def slow_curve(pos, neg, rates):
    """The share of positives nearer than the first negative that may not be accepted."""
    ordered = np.sort(neg)
    limits = [ordered[int(rate * len(neg))] if int(rate * len(neg)) < len(neg) else np.inf for rate in rates]
    return [float(np.mean(pos < limit)) for limit in limits]


def test_genuine_pairs_are_positive_in_the_curve(visualizer, tmp_path):
    fpr, tpr, pos, neg = visualizer.vis_roc_curve(tmp_path)
    # row 0: two matches (one of its own camera is out), row 1: two, row 2: none
    np.testing.assert_allclose(sorted(pos), [0.1, 0.2, 0.3, 0.3], rtol=1e-6)
    assert len(neg) == 3 + 4 + 6
    assert (np.diff(fpr) > 0).all()
    assert (np.diff(tpr) >= 0).all()
    assert (fpr[0], fpr[-1], tpr[-1]) == (0, 1, 1)
    rates = [0.0, 0.3, 0.5, 0.9]
    np.testing.assert_allclose(np.interp(0.5, fpr, tpr), slow_curve(pos, neg, rates)[2], atol=0.05)
    apart = Visualizer(visualizer.dataset)
    apart.get_model_output(None, np.where(Q_PIDS[:, None] == G_PIDS, 0.1, 0.9), Q_PIDS, G_PIDS, Q_CAMIDS, G_CAMIDS)
    assert apart.vis_roc_curve(tmp_path)[1].tolist() == [1.0] * len(fpr)  # fast-reid reported 0 here
    assert Image.open(tmp_path / "roc.png").size == Image.open(tmp_path / "pos_neg_dist.png").size


def test_negative_distances_are_sampled_evenly_over_the_blocks(paths, monkeypatch):
    monkeypatch.setattr("fastreid.evaluation.visualizer.SAMPLED_PAIRS", 200)
    rng = np.random.default_rng(0)
    q, g = rng.normal(size=(40, 4)), rng.normal(size=(50, 4))
    columns = [{"pids": rng.integers(0, 5, n), "camids": np.full(n, side)} for side, n in enumerate((40, 50))]
    results = []
    for block_mib in (32, 0.001):
        shown = Visualizer(paths)
        shown.use_search(Search(q, g, *columns, "euclidean", "camera", block_mib))
        results.append(shown._pair_distances())
    assert results[0][2] == results[1][2] == 2000 - len(results[0][0])
    assert 150 < len(results[0][1]) <= 200
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-5)


def test_roc_files_hold_numbers_and_pickles_are_refused(tmp_path):
    path = Visualizer.save_roc_info(tmp_path, [0, 1], [0.5, 1], [0.1], [0.2, 0.3])
    assert path.name == "roc_info.npz"
    info = Visualizer.load_roc_info(path)
    assert {name: values.tolist() for name, values in info.items()} == {
        "fpr": [0, 1], "tpr": [0.5, 1], "pos": [0.1], "neg": [0.2, 0.3],
    }  # fmt: skip
    (tmp_path / "roc_info.pickle").write_bytes(b"\x80\x04]\x94.")
    with pytest.raises(ValueError, match="pickles can run code and are not read"):
        Visualizer.load_roc_info(tmp_path / "roc_info.pickle")


def column_of(image, color):
    pixels = np.asarray(image).astype(int)
    return np.unique(np.nonzero(np.abs(pixels - color).sum(axis=2) < 30)[1])


def test_plots_put_points_where_their_numbers_are(tmp_path):
    plot = Plot("t", "x", "y", log_x=True, y_range=(0, 1)).line("a", [0, 1e-4, 1e-2, 1], [0.1, 0.5, 0.5, 0.5])
    plot.line("b", [1e-2, 1e-2], [0.2, 0.4])
    image = plot.render()
    drawn = column_of(image, COLORS[1])
    middle = (70 + 760 - 20) / 2  # 1e-2 is half-way from 1e-4 to 1
    assert np.abs(drawn[drawn > 200] - middle).min() <= 1
    plot.savefig(tmp_path / "a.jpg")
    assert Image.open(tmp_path / "a.jpg").format == "JPEG"
    with pytest.raises(ValueError, match=r"saved as \.png"):
        plot.savefig(tmp_path / "a.txt")
    assert PAPER in colors_of(Plot("empty", "x", "y").render())


def test_the_legend_hides_no_line_that_ends_in_a_corner():
    image = Plot("t", "x", "y", log_x=True, y_range=(0, 1)).line("model", [1e-4, 0.3, 1], [0, 0.5, 1]).render()
    height = image.height - plots.TOP - plots.BOTTOM
    row = np.asarray(image).astype(int)[plots.TOP + round(0.07 * height), -plots.RIGHT - 30 :]  # the curve at 0.93
    assert np.abs(row - COLORS[0]).sum(axis=1).min() < 30


def test_histograms_are_densities():
    plot = Plot("t", "x", "y").histogram("a", [0.1, 0.1, 0.3, 0.9], np.array([0, 0.25, 0.5, 1.0]))
    _, xs, ys, _ = plot.lines[0]
    assert ys.tolist() == [0, 2, 2, 1, 1, 0.5, 0.5, 0]
    assert xs.tolist() == [0, 0, 0.25, 0.25, 0.5, 0.5, 1, 1]
