# ruff: noqa
# encoding: utf-8
import json
import logging
import os
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fastreid.data.build import _root, build_reid_test_loader, build_reid_train_loader
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.transforms import build_transforms
from fastreid.engine import hooks
from fastreid.engine.defaults import DefaultTrainer, TrainerBase
from fastreid.engine.hooks import EvalHook, PeriodicCheckpointer, flatten_results_dict
from fastreid.engine.train_loop import HookBase, SimpleTrainer
from fastreid.utils import comm
from fastreid.utils.checkpoint import Checkpointer, PathManager
from fastreid.utils.logger import setup_logger
from fastreid.utils.params import ContiguousParams

from .dataset import ShapesTrainSet
from .evaluator import CommitEvaluator, RecallEvaluator


class WeightNormHook(HookBase):
    """Records the norm of the classifier at the end of each epoch."""

    def after_epoch(self):
        model = self.trainer.model
        weight = getattr(model, "module", model).heads.weight
        self.trainer.storage.put_scalar("weight_norm", weight.norm().item(), smoothing_hint=False)


class ReportHook(EvalHook):
    """Evaluates by itself, leaves a checkpoint in a folder of its own and appends to a report."""

    def __init__(self, eval_period, eval_function, report):
        super().__init__(eval_period, eval_function)
        self.report = report

    def _do_eval(self):
        results = self._func()
        if results:
            assert isinstance(results, dict)
            flattened = {k: float(v) for k, v in flatten_results_dict(results).items()}
            with PathManager.open(self.report, "a") as f:
                f.write(json.dumps({"epoch": self.trainer.epoch, "period": self._period, **flattened}) + "\n")
        save_dir = self.trainer.checkpointer.save_dir
        self.trainer.checkpointer.save_dir = save_dir + "_report"
        self.trainer.checkpointer.save(name="checkpoint", epoch=int(self.trainer.epoch))
        self.trainer.checkpointer.save_dir = save_dir


class ShapesTrainer(DefaultTrainer):
    idx2class = None

    def build_hooks(self):
        ret = super().build_hooks()
        report = os.path.join(self.cfg.OUTPUT_DIR, "report.jsonl")
        # before the writers
        ret.insert(len(ret) - 1, WeightNormHook())
        ret.append(ReportHook(1, lambda: self.test(self.cfg, self.model), report))
        return ret

    @classmethod
    def build_train_loader(cls, cfg):
        logger = logging.getLogger("fastreid.shapes_dataset")
        logger.info("Prepare training set")

        train_items = list()
        for d in cfg.DATASETS.NAMES:
            dataset = DATASET_REGISTRY.get(d)(root=_root)
            if comm.is_main_process():
                dataset.show_train()
            train_items.extend(dataset.train)

        transforms = build_transforms(cfg, is_train=True)
        train_set = ShapesTrainSet(train_items, transforms)
        cls.idx2class = {i: p for p, i in train_set.pid_dict.items()}
        return build_reid_train_loader(cfg, train_set=train_set)

    @classmethod
    def build_test_loader(cls, cfg, dataset_name):
        return build_reid_test_loader(cfg, dataset_name=dataset_name)

    @classmethod
    def build_evaluator(cls, cfg, dataset_name, output_dir=None):
        data_loader, num_query = cls.build_test_loader(cfg, dataset_name)
        return data_loader, RecallEvaluator(cfg, num_query, output_dir)

    @staticmethod
    def auto_scale_hyperparams(cfg, num_classes):
        cfg = DefaultTrainer.auto_scale_hyperparams(cfg, num_classes)
        if comm.is_main_process() and cfg.OUTPUT_DIR:
            with PathManager.open(os.path.join(cfg.OUTPUT_DIR, "idx2class.json"), "w") as f:
                json.dump(ShapesTrainer.idx2class, f)
        return cfg


class Committer(DefaultTrainer):
    @classmethod
    def build_evaluator(cls, cfg, dataset_name, output_dir=None):
        data_loader, num_query = cls.build_test_loader(cfg, dataset_name)
        return data_loader, CommitEvaluator(cfg, num_query, output_dir or cfg.OUTPUT_DIR)


class Centres(nn.Module):
    """Class centres that are trained beside the network, with an optimiser of their own."""

    def __init__(self, num_classes, feat_dim):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_classes, feat_dim) * 0.01)

    def forward(self, features, targets):
        return F.cross_entropy(16 * F.linear(F.normalize(features), F.normalize(self.weight)), targets)


class CentresCheckpointer(Checkpointer):
    def save(self, name, **kwargs):
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": {"weight": self.model.weight.data}}
        for key, obj in self.checkpointables.items():
            data[key] = obj.state_dict()
        data.update(kwargs)
        self.logger.info("Saving centres")
        with PathManager.open(os.path.join(self.save_dir, f"{name}.pth"), "wb") as f:
            torch.save(data, f)
        self.tag_last_checkpoint(f"{name}.pth")

    def _load_model(self, checkpoint):
        checkpoint_state_dict = checkpoint.pop("model")
        self._convert_ndarray_to_tensor(checkpoint_state_dict)
        self.model.weight.data.copy_(checkpoint_state_dict.pop("weight"))

    def has_checkpoint(self):
        return PathManager.exists(os.path.join(self.save_dir, "last_centres"))

    def get_checkpoint_file(self):
        with PathManager.open(os.path.join(self.save_dir, "last_centres"), "r") as f:
            return os.path.join(self.save_dir, f.read().strip())

    def tag_last_checkpoint(self, last_filename_basename):
        with PathManager.open(os.path.join(self.save_dir, "last_centres"), "w") as f:
            f.write(last_filename_basename)


class CentresPeriodicCheckpointer(PeriodicCheckpointer):
    def step(self, epoch, **kwargs):
        rank = comm.get_rank()
        if (epoch + 1) % self.period == 0 and epoch < self.max_epoch - 1:
            self.checkpointer.save(f"centres_{epoch:04d}_rank_{rank:02d}")
        if epoch >= self.max_epoch - 1:
            self.checkpointer.save(f"centres_{rank:02d}")


class TwoStepTrainer(ShapesTrainer):
    """Builds everything by itself, with two optimisers."""

    def __init__(self, cfg):
        TrainerBase.__init__(self)

        logger = logging.getLogger("fastreid.shapes.trainer")
        if not logger.isEnabledFor(logging.INFO):
            setup_logger()

        data_loader = self.build_train_loader(cfg)
        cfg = self.auto_scale_hyperparams(cfg, data_loader.dataset.num_classes)
        model = self.build_model(cfg)
        optimizer, param_wrapper = self.build_optimizer(cfg, model)

        self.centres = Centres(cfg.MODEL.HEADS.NUM_CLASSES, cfg.MODEL.BACKBONE.FEAT_DIM)
        self.centres_optimizer, _ = self.build_optimizer(cfg, self.centres)

        if comm.get_world_size() > 1:
            model = DistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=True)

        self._trainer = CentresTrainer(
            model, data_loader, optimizer, param_wrapper, self.centres, self.centres_optimizer
        )
        self.iters_per_epoch = len(data_loader.dataset) // cfg.SOLVER.IMS_PER_BATCH
        self.scheduler = self.build_lr_scheduler(cfg, optimizer, self.iters_per_epoch)
        self.centres_scheduler = self.build_lr_scheduler(cfg, self.centres_optimizer, self.iters_per_epoch)

        self.checkpointer = Checkpointer(
            model,
            cfg.OUTPUT_DIR,
            save_to_disk=comm.is_main_process(),
            optimizer=optimizer,
            **self.scheduler,
        )
        self.centres_checkpointer = CentresCheckpointer(
            self.centres, cfg.OUTPUT_DIR, optimizer=self.centres_optimizer, **self.centres_scheduler
        )

        self.start_epoch = 0
        self.max_epoch = cfg.SOLVER.MAX_EPOCH
        self.max_iter = self.max_epoch * self.iters_per_epoch
        self.warmup_iters = cfg.SOLVER.WARMUP_ITERS
        self.delay_epochs = cfg.SOLVER.DELAY_EPOCHS
        self.cfg = cfg
        self.register_hooks(self.build_hooks())

    def build_hooks(self):
        ret = DefaultTrainer.build_hooks(self)
        ret.insert(
            len(ret) - 1, CentresPeriodicCheckpointer(self.centres_checkpointer, self.cfg.SOLVER.CHECKPOINT_PERIOD)
        )
        ret.append(hooks.LRScheduler(self.centres_optimizer, self.centres_scheduler))
        return ret

    def resume_or_load(self, resume=True):
        super().resume_or_load(resume)
        self.centres_checkpointer.resume_or_load("", resume=resume)


class CentresTrainer(SimpleTrainer):
    def __init__(self, model, data_loader, optimizer, param_wrapper, centres, centres_optimizer):
        super().__init__(model, data_loader, optimizer, param_wrapper)
        self.centres = centres
        self.centres_optimizer = centres_optimizer

    def run_step(self):
        assert self.model.training, "[CentresTrainer] model was changed to eval mode!"
        start = time.perf_counter()
        data = next(self._data_loader_iter)
        data_time = time.perf_counter() - start

        features, targets = self.model(data)
        loss = self.centres(features, targets)

        self.optimizer.zero_grad()
        self.centres_optimizer.zero_grad()
        loss.backward()
        self._write_metrics({"loss_cls": loss}, data_time)

        self.optimizer.step()
        self.centres_optimizer.step()
        if isinstance(self.param_wrapper, ContiguousParams):
            self.param_wrapper.assert_buffer_is_valid()
        if self.iter == 0:
            logging.getLogger("fastreid.shapes").info("first step done")
