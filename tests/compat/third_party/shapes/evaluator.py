# ruff: noqa
# encoding: utf-8
import copy
import itertools
import json
import logging
import os
from collections import OrderedDict

import numpy as np
import torch
import torch.nn.functional as F

from fastreid.evaluation import DatasetEvaluator, ReidEvaluator
from fastreid.evaluation.rank import evaluate_rank
from fastreid.utils import comm
from fastreid.utils.compute_dist import build_dist
from fastreid.utils.file_io import PathManager

logger = logging.getLogger("fastreid.shapes_evaluator")


class RecallEvaluator(DatasetEvaluator):
    def __init__(self, cfg, num_query, output_dir=None):
        self.cfg = cfg
        self._num_query = num_query
        self._output_dir = output_dir
        self.reset()

    def reset(self):
        self._predictions = []

    def process(self, inputs, outputs):
        self._predictions.append(
            {"feats": outputs.cpu(), "pids": inputs["targets"].cpu(), "camids": inputs["camids"].cpu()}
        )

    def evaluate(self):
        if comm.get_world_size() > 1:
            comm.synchronize()
            predictions = list(itertools.chain(*comm.gather(self._predictions, dst=0)))
            if not comm.is_main_process():
                return {}
        else:
            predictions = self._predictions

        features = F.normalize(torch.cat([p["feats"] for p in predictions], dim=0), dim=1)
        pids = torch.cat([p["pids"] for p in predictions]).numpy()
        camids = torch.cat([p["camids"] for p in predictions]).numpy()
        n = self._num_query
        dist = build_dist(features[:n], features[n:], self.cfg.TEST.METRIC)
        cmc, all_AP, _ = evaluate_rank(dist, pids[:n], pids[n:], camids[:n], camids[n:])

        self._results = OrderedDict()
        for r in self.cfg.TEST.RECALLS:
            self._results["Recall@{}".format(r)] = cmc[r - 1] * 100
        self._results["mAP"] = np.mean(all_AP) * 100
        self._results["metric"] = self._results["mAP"]
        return copy.deepcopy(self._results)


class SelfRecallEvaluator(ReidEvaluator):
    """Recall@k within the test images, as in metric learning; lists of its own beside those of the base class."""

    def __init__(self, cfg, num_query, output_dir=None):
        super().__init__(cfg, num_query, output_dir)
        self.features, self.labels = [], []

    def reset(self):
        super().reset()
        self.features, self.labels = [], []

    def process(self, inputs, outputs):
        self.features.append(outputs.cpu())
        self.labels.extend(inputs["targets"])

    def evaluate(self):
        features = F.normalize(torch.cat(self.features, dim=0), dim=1)
        labels = np.asarray(self.labels[: self._num_query])
        assert self._num_query == len(features)
        order = torch.argsort(features @ features.t(), dim=1, descending=True).numpy()[:, 1:]
        self._results = OrderedDict()
        for r in self.cfg.TEST.RECALLS:
            hit = (labels[order[:, :r]] == labels[:, None]).any(1)
            self._results["Recall@{}".format(r)] = round(hit.mean() * 100, 2)
        self._results["metric"] = self._results["Recall@1"]
        return copy.deepcopy(self._results)


class CommitEvaluator(ReidEvaluator):
    """Collects as it likes, and writes the nearest gallery items of each query instead of judging them."""

    def process(self, inputs, outputs):
        self._predictions.append(
            {
                "feats": outputs.to(self._cpu_device, torch.float32),
                "pids": inputs["targets"].to(self._cpu_device),
                "camids": inputs["camids"].to(self._cpu_device),
            }
        )

    def evaluate(self):
        features = torch.cat([p["feats"] for p in self._predictions], dim=0)
        query, gallery = features[: self._num_query], features[self._num_query :]
        dist = build_dist(query, gallery, self.cfg.TEST.METRIC)
        nearest = {str(row): order[:3].tolist() for row, order in enumerate(np.argsort(dist, axis=1))}
        with PathManager.open(os.path.join(self._output_dir, "submit.json"), "w") as f:
            json.dump(nearest, f)
        return {}
