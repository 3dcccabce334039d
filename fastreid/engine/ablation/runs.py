"""The runs of an ablation: one training, or one evaluation of a trained model, for a row and a seed.

A run owns a folder: everything that ``tools/train_net.py`` leaves, its console in ``console.log``, and ``run.json``,
which says with which settings the run was made, whether it ended well and what it cost.
"""

import functools
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastreid.config import get_cfg
from fastreid.config.config import flatten
from fastreid.data.feature_file import compare
from fastreid.engine.ablation.rows import Row
from fastreid.evaluation.results import read_results
from fastreid.utils.files import atomic_write, sha256_of

TRAINER = (sys.executable, "-m", "fastreid", "train")
WEIGHTS, RESULTS, RECORD, CONSOLE = "model_final.pth", "results.json", "run.json", "console.log"
# what changes no result
WITHOUT_INFLUENCE = (
    "OUTPUT_DIR", "DATALOADER.NUM_WORKERS", "SOLVER.LOG_PERIOD", "SOLVER.CHECKPOINT_PERIOD", "SOLVER.CHECKPOINT_KEEP",
    "TEST.REPORT.", "TEST.BLOCK_MIB",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A row with one of the seeds, in a folder below ``output``."""

    row: Row
    seed: int
    output: Path

    def __str__(self) -> str:
        return f"{self.row.name}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        return self.output / self.row.folder / f"seed{self.seed}"

    @property
    def parent(self) -> "Run | None":
        """The training whose model this run evaluates."""
        return Run(self.row.of, self.seed, self.output) if self.row.of else None

    def command(self) -> list[str]:
        """The command of the run as it stands: a training with a checkpoint goes on from it."""
        if self.parent:
            mode, weights = ["--eval-only"], ["MODEL.WEIGHTS", str(self.parent.folder / WEIGHTS)]
        else:
            # where the settings changed, `prepare` leaves no checkpoint
            goes_on = self.has_checkpoint and not self.changes
            mode, weights = ["--resume"] if goes_on else [], []
        ours = ["SEED", str(self.seed), "OUTPUT_DIR", str(self.folder)]
        return [*TRAINER, "--config-file", str(self.row.config), *mode, *self.row.pairs, *weights, *ours]

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that decides the result, as plain values: settings, and the weights that are evaluated."""
        settings = {**_influential(self.row), "SEED": self.seed}
        weights = self.parent and self.parent.folder / WEIGHTS
        if weights:
            settings["MODEL.WEIGHTS"] = sha256_of(weights) if weights.is_file() else ""
        return settings

    @property
    def record(self) -> dict[str, Any]:
        """What ``run.json`` says; empty when there is none."""
        path = self.folder / RECORD
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    @property
    def changes(self) -> list[str]:
        """In words, the settings that are no longer those of the folder. Keys that came later had their default."""
        stored, wanted = self.record.get("settings"), self.settings
        return compare({key: stored.get(key, _defaults().get(key)) for key in wanted}, wanted) if stored else []

    @property
    def has_to_lose(self) -> bool:
        """Whether a training, or the results of an evaluation, with other settings would go if this ran.

        New weights alone are none: they come from a training that was run anew, and the results of the old ones go.
        """
        if self.parent and not self.record.get("finished"):
            return False
        return any(not (self.parent and change.startswith("MODEL.WEIGHTS ")) for change in self.changes)

    @property
    def has_checkpoint(self) -> bool:
        return (self.folder / "last_checkpoint").is_file()

    @property
    def finished(self) -> bool:
        """Whether the results in the folder are those of these settings."""
        return bool(self.record.get("finished")) and (self.folder / RESULTS).is_file() and not self.changes

    @property
    def state(self) -> str:
        """Either "finished", or why there is no result: "not started", "settings changed", "unfinished" or an error."""
        if self.finished:
            return "finished"
        if not self.record:
            return "not started"
        if self.changes:
            return "settings changed: " + "; ".join(self.changes)
        return self.record.get("error") or "unfinished"

    def metrics(self) -> dict[str, dict[str, float]]:
        """``{data set: {metric: percent}}`` after the last post-processor; empty unless finished."""
        results = read_results(self.folder / RESULTS) if self.finished else {}
        return {name: entry["stages"][-1]["metrics"] for name, entry in results.items()}

    def images(self) -> int:
        """Images that the training saw (for an evaluation: that of its model), as ``metrics.json`` says."""
        if self.parent:
            return self.parent.images()
        path = self.folder / "metrics.json"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        steps = 1 + max((json.loads(line)["iteration"] for line in lines), default=-1)
        return steps * self.row.cfg.SOLVER.IMS_PER_BATCH

    def prepare(self) -> None:
        """Leave in the folder only what a resumed training needs; an evaluation gets the features of the training.

        They are checked against weights, settings and images before they are used.
        """
        if self.parent or self.changes or not self.has_checkpoint:
            self._empty()
        self.folder.mkdir(parents=True, exist_ok=True)
        features = self.parent and self.parent.folder / "features"
        if features and features.is_dir():
            shutil.copytree(features, self.folder / "features")

    def _empty(self) -> None:
        if not self.folder.is_dir() or not any(self.folder.iterdir()):
            return
        if not self.record:
            raise ValueError(f"{self.folder} holds files, but no {RECORD}: it is not of this tool. Empty it yourself")
        shutil.rmtree(self.folder)

    def write_record(self, **facts) -> None:
        """Write ``run.json``: the settings and ``facts``."""
        with atomic_write(self.folder / RECORD, "w") as file:
            json.dump({**facts, "settings": self.settings}, file, indent=1)
            file.write("\n")


@functools.cache
def _influential(row: Row) -> dict[str, Any]:
    settings = {key: value for key, value in flatten(row.cfg).items() if not key.startswith(WITHOUT_INFLUENCE)}
    return json.loads(json.dumps(settings))


@functools.cache
def _defaults() -> dict[str, Any]:
    return flatten(get_cfg())
