"""Trainings that evaluate themselves, in one process or two: what each process gets, and what travels."""

import json
import pickle
from pathlib import Path

from fastreid.config import get_cfg
from fastreid.data.feature_file import FeatureFile
from fastreid.engine import DefaultTrainer
from fastreid.evaluation import ReidEvaluator
from fastreid.utils import comm
from fastreid.utils.env import seed_all_rng

TIMES = ("time", "data_time", "img_per_s", "loader_stalls")


class Own(ReidEvaluator):
    """A subclass as for fast-reid: it fills ``_predictions`` itself."""

    def process(self, inputs, outputs):
        self._predictions.append({"feats": outputs.cpu(), "pids": inputs["targets"], "camids": inputs["camids"]})


class WithOwnEvaluator(DefaultTrainer):
    @classmethod
    def build_evaluator(cls, cfg, dataset_name, output_dir=None):
        loader, num_query = cls.build_test_loader(cfg, dataset_name)
        return loader, Own(cfg, num_query, output_dir or cfg.OUTPUT_DIR, dataset_name)


def train(options: list[str], out: str, trainer: type[DefaultTrainer] = DefaultTrainer) -> None:
    """Train; note the results of this process, the figures of its training and the bytes it sent to be gathered."""
    cfg = get_cfg()
    cfg.merge_from_list([*options, "OUTPUT_DIR", out, "SEED", 3])
    seed_all_rng(cfg.SEED)
    gather, sent = comm.gather, []

    def counted(data, dst=0):
        sent.append(len(pickle.dumps(data)))
        return gather(data, dst)

    comm.gather = counted
    try:
        trained = trainer(cfg)
        results = trained.train()
    finally:
        comm.gather = gather
    figures = {name: value for name, (value, _) in trained.storage.latest().items() if name not in TIMES}
    Path(out, f"noted by {comm.get_rank()}").write_text(json.dumps([results, figures, sent]))


def train_all(jobs: list[tuple[list[str], str]]) -> None:
    for options, out in jobs:
        train(options, out)
    train(jobs[-1][0], jobs[-1][1] + " of its own", WithOwnEvaluator)


def noted(out: Path, rank: int = 0) -> tuple[dict, dict, list[int]]:
    return tuple(json.loads((out / f"noted by {rank}").read_text()))


def features(out: Path) -> FeatureFile:
    return FeatureFile.load(out / "features" / "FileList.npz")
