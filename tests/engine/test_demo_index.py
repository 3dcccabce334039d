"""The index of the demonstration, on a few drawings and an untrained network."""

import pytest
import torch

from fastreid.config import get_cfg
from fastreid.engine import demo_index
from fastreid.index import open_index
from fastreid.modeling import build_model


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """What the demonstration leaves: drawings and weights."""
    pytest.importorskip("manifold3d", reason="drawing MiniPatent needs manifold3d (extra synth)")
    from fastreid.data.synthetic.generate import generate
    from fastreid.data.synthetic.plan import Settings

    root = tmp_path_factory.mktemp("demo")
    generate(root / "minipatent", Settings(num_train=3, num_val=3, num_test=9), workers=0)
    cfg = get_cfg()
    cfg.merge_from_file("configs/demo/stage2.yml")
    torch.manual_seed(0)
    (root / "stage2").mkdir()
    torch.save({"model": build_model(cfg).state_dict()}, root / "stage2" / "model_best.pth")
    return root


def test_queries_are_not_in_the_index_but_their_designs_are(demo, capsys):
    demo_index.build(demo, demo / "minipatent")
    printed = capsys.readouterr().out
    folders = sorted((demo / "queries").iterdir())
    assert folders
    assert all(f"{folder.name} " in printed for folder in folders)
    with open_index(str(demo / "index")) as index:
        count = index.count()
        rows = index.figures(range(count.figures))
        names = {path.rsplit("/", 1)[-1] for path in rows["path"]}
        for folder in folders:
            number = folder.name.rsplit("-", 1)[-1]
            assert number in rows["patent"].tolist()
            assert any(folder.iterdir())
            figures = {file.stem.rsplit("-", 1)[-1] for file in folder.iterdir()}
            kept = set(rows["figure"][rows["patent"] == number].tolist())
            assert figures
            assert not figures & kept
    assert len(names) == count.figures


def test_without_the_demonstration(tmp_path):
    with pytest.raises(FileNotFoundError, match="make demo"):
        demo_index.build(tmp_path, tmp_path)
