"""The evaluator of re-identification: collect features, judge them under the protocol of the config."""

from collections import OrderedDict
from typing import Any

import torch

from fastreid.data.common import CommDataset
from fastreid.evaluation.collector import FeatureCollector, require_gallery
from fastreid.evaluation.frequency import require_taxonomy, with_frequency
from fastreid.evaluation.protocol import Protocol
from fastreid.evaluation.results import check_settings, evaluate, features_path, headline
from fastreid.utils import comm


class ReidEvaluator(FeatureCollector):
    """Collects features and returns the metrics of the last stage under fast-reid's names, in percent.

    Args:
        num_query: number of leading images of the loader that are queries.
        output_dir: receives ``features/<data set>.npz``, ``results.json`` and the report; ``None`` writes nothing.
        dataset_name: default: the only one of ``DATASETS.TESTS``, or what the loader's data set is called.

    Subclasses written for fast-reid find ``_num_query``, ``_output_dir``, ``_cpu_device`` and ``_predictions``, a list
    of ``{"feats", "pids", "camids"}`` per batch: they may fill it, read it, or both.

    Raises:
        ValueError, KeyError, TypeError: the ``TEST`` node is refused by :class:`Protocol`, before the first image.
    """

    def __init__(self, cfg, num_query: int, output_dir: str | None = None, dataset_name: str | None = None):
        check_settings(cfg)  # now, not after hours of extraction
        tests = tuple(cfg.DATASETS.TESTS)
        super().__init__(num_query, cfg, dataset_name or (tests[0] if len(tests) == 1 else ""))
        self.output_dir = output_dir

    _num_query = property(lambda self: self.num_query)
    _output_dir = property(lambda self: self.output_dir)
    _cpu_device = torch.device("cpu")
    _measures_itself = property(lambda self: type(self).evaluate is not ReidEvaluator.evaluate)

    def reset(self) -> None:
        super().reset()
        self._predictions: list[dict] = []

    def process(self, inputs: dict, outputs: torch.Tensor) -> None:
        super().process(inputs, outputs)
        if self._measures_itself:
            feats, labels = outputs.detach().float().cpu(), {"pids": inputs["targets"], "camids": inputs["camids"]}
            self._predictions.append({"feats": feats, **labels})

    def check(self, dataset: Any) -> None:
        if self._measures_itself:
            return
        require_gallery(dataset, self.num_query)
        # a subclass with its own ``process`` may know columns that the data set does not
        if isinstance(dataset, CommDataset) and type(self).process is ReidEvaluator.process:
            names = list(dataset.columns)
            if self.cfg.TEST.FREQUENCY == "train":
                require_taxonomy(names)
                names.append("frequency")
            Protocol.from_config(self.cfg).check_columns(names, dataset.relevance_known)

    def begin(self, model, data_loader, flip_test: bool = False) -> None:
        self.check(getattr(data_loader, "dataset", None))
        self.fingerprint = None  # weights change from one evaluation of a training to the next
        self.dataset_name = self.dataset_name or getattr(getattr(data_loader, "dataset", None), "name", "")
        super().begin(model, data_loader, flip_test)

    def evaluate(self) -> OrderedDict[str, float]:
        """Return the metrics; empty without labels, and in processes other than the main one."""
        if self._predictions and not self._features:  # of a subclass with its own ``process`` only
            for batch in self._predictions:
                super().process({"targets": batch["pids"], "camids": batch["camids"]}, batch["feats"])
        features = super().evaluate()
        if not comm.is_main_process():
            return OrderedDict()
        features = with_frequency(self.cfg, features)
        if self.output_dir:
            features.save(features_path(self.output_dir, self.dataset_name))
        return headline(evaluate(self.cfg, features, self.dataset_name, self.output_dir))
