"""The default way to set up, train, evaluate and predict; each step is a class method to override."""

import argparse
import inspect
import logging
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from fastreid import __version__
from fastreid.config import CfgNode
from fastreid.data import build_reid_test_loader, build_reid_train_loader
from fastreid.data.feature_file import FeatureFile
from fastreid.engine import hooks
from fastreid.engine.acceleration import accelerated
from fastreid.engine.arguments import default_argument_parser
from fastreid.engine.predictor import DefaultPredictor
from fastreid.engine.settings import settings_without_effect
from fastreid.engine.sharded_model import WholeCheckpointer, require_shardable, shard
from fastreid.engine.step_profile import StepProfile
from fastreid.engine.text_width import fill_text_width
from fastreid.engine.train_loop import AMPTrainer, HookBase, SimpleTrainer, TrainerBase
from fastreid.evaluation import ReidEvaluator, inference_on_dataset, print_csv_format, verify_results
from fastreid.evaluation.build import build_evaluator
from fastreid.modeling import META_ARCH_REGISTRY, build_model
from fastreid.modeling.losses.bce_loss import fill_positive_share
from fastreid.modeling.meta_arch import is_descriptor
from fastreid.solver import build_lr_scheduler, build_optimizer
from fastreid.solver.build import skip_frozen_steps
from fastreid.solver.lr_scheduler import COUNTERS, counters, replay
from fastreid.utils import comm
from fastreid.utils.checkpoint import Checkpointer, unwrap
from fastreid.utils.collect_env import collect_env_info
from fastreid.utils.env import seed_all_rng
from fastreid.utils.errors import require_whole
from fastreid.utils.events import CommonMetricPrinter, EventWriter, JSONWriter, TensorboardXWriter
from fastreid.utils.files import atomic_write, require_writable
from fastreid.utils.logger import setup_logger
from fastreid.utils.precision_bn import get_bn_modules
from fastreid.utils.shards import sharded_parameters

__all__ = ["DefaultPredictor", "DefaultTrainer", "default_argument_parser", "default_setup"]

logger = logging.getLogger(__name__)


def default_setup(cfg: CfgNode, args: argparse.Namespace | None = None) -> None:
    """Prepare a run: folder, log, environment and settings in it, ``config.yaml``, seeds.

    A negative ``SEED`` is replaced in ``cfg`` by a random one, the same in all processes; a resumed run takes that of
    the run it continues.

    Raises:
        OSError: ``OUTPUT_DIR`` cannot be made, or nothing can be written to it.
    """
    output, rank = Path(cfg.OUTPUT_DIR), comm.get_rank()
    require_writable(output, "OUTPUT_DIR")
    setup_logger(output, rank)
    _fix_seed(cfg, output, resume=getattr(args, "resume", False))
    size, device = comm.get_world_size(), cfg.MODEL.DEVICE
    logger.info("fastreid %s, torch %s, %s, process %d of %d", __version__, torch.__version__, device, rank, size)
    logger.debug("Environment\n%s", collect_env_info())  # to the file only
    if args is not None:
        logger.info("Command line: %s", args)
    idle = settings_without_effect(cfg)
    if idle:
        logger.warning("%d settings have no effect:\n  %s", len(idle), "\n  ".join(idle))
    if comm.is_main_process():
        with atomic_write(output / "config.yaml", "w") as file:
            file.write(cfg.dump())
        logger.info("All settings are in %s", output / "config.yaml")
    seed_all_rng(cfg.SEED)  # the same in all processes, which build the same model; EpochSeed tells them apart
    if not getattr(args, "eval_only", False):  # sizes of test batches vary
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK


def _fix_seed(cfg: CfgNode, output: Path, resume: bool) -> None:
    if cfg.SEED >= 0:
        return
    seed = int.from_bytes(os.urandom(4), "little") >> 1
    if resume and (output / "config.yaml").is_file():
        saved = CfgNode.load_cfg((output / "config.yaml").read_text(encoding="utf-8"))
        seed = int(saved.get("SEED", seed))
    frozen = cfg.is_frozen()
    cfg.defrost()
    cfg.SEED = comm.all_gather(seed)[0]
    if frozen:
        cfg.freeze()
    logger.info("SEED drawn: %d", cfg.SEED)


class DefaultTrainer(TrainerBase):
    """Everything that a training needs, built from a config.

    >>> trainer = DefaultTrainer(cfg)
    >>> trainer.resume_or_load(resume=False)
    >>> trainer.train()
    """

    def __init__(self, cfg: CfgNode):
        super().__init__()
        if not logging.getLogger("fastreid").handlers:
            setup_logger()
        if is_descriptor(cfg.MODEL.META_ARCHITECTURE):
            raise ValueError(META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE).why_not_trained())
        data_loader = self.build_train_loader(cfg)
        cfg = self.auto_scale_hyperparams(cfg, data_loader.dataset.num_classes)
        cfg = fill_text_width(fill_positive_share(cfg, data_loader.dataset))
        self.cfg = cfg
        self.iters_per_epoch = _iterations_per_epoch(cfg, len(data_loader.dataset))
        model = self.build_model(cfg)
        if cfg.SOLVER.CHANNELS_LAST:
            model.to(memory_format=torch.channels_last)  # maps take the layout of the weights that make them
        self._divided = cfg.SOLVER.FSDP and comm.get_world_size() > 1
        if self._divided:
            require_shardable(cfg)
            shard(model)  # the optimiser takes the parameters that this makes
        optimizer, param_wrapper = _as_pair(self.build_optimizer(cfg, model))
        wrapped = model if self._divided else _for_parallel_training(cfg, model)
        if cfg.SOLVER.AMP.ENABLED:
            self._trainer = AMPTrainer(wrapped, data_loader, optimizer, param_wrapper, dtype=cfg.SOLVER.AMP.DTYPE)
        else:
            self._trainer = SimpleTrainer(wrapped, data_loader, optimizer, param_wrapper)
        self._trainer.accumulate = _accumulated_parts(cfg, data_loader)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer, self.iters_per_epoch)
        scaler = {"scaler": self.grad_scaler} if self.grad_scaler is not None else {}
        self.checkpointer = (WholeCheckpointer if self._divided else Checkpointer)(
            model,
            cfg.OUTPUT_DIR,
            save_to_disk=comm.is_main_process(),
            optimizer=optimizer,
            **self.scheduler,
            **scaler,
            **getattr(model, "checkpointables", dict)(),  # what a model saves beside its weights
        )
        self.start_epoch = self.start_iter = 0
        self.max_epoch = cfg.SOLVER.MAX_EPOCH
        self.max_iter = self.max_epoch * self.iters_per_epoch
        self.warmup_iters = cfg.SOLVER.WARMUP_ITERS
        self.delay_epochs = cfg.SOLVER.DELAY_EPOCHS
        self.images_per_step = cfg.SOLVER.IMS_PER_BATCH
        self.register_hooks(self.build_hooks())
        if comm.is_main_process() and cfg.TEST.EVAL_PERIOD > 0:
            self._check_tests()

    model = property(lambda self: self._trainer.model)
    data_loader = property(lambda self: self._trainer.data_loader)
    optimizer = property(lambda self: self._trainer.optimizer)
    grad_scaler = property(lambda self: self._trainer.grad_scaler)

    def resume_or_load(self, resume: bool = True) -> None:
        """Continue from the last checkpoint in ``OUTPUT_DIR`` if ``resume`` and there is one; else load MODEL.WEIGHTS.

        A resumed training gives the same losses as one that was never stopped: optimiser, schedules, loss scale, best
        metric, smoothed figures and the place in the stream of batches are all restored.
        """
        wanted, resume = resume, resume and self._has_checkpoint()
        if wanted and not resume:
            start = f"from MODEL.WEIGHTS {self.cfg.MODEL.WEIGHTS}" if self.cfg.MODEL.WEIGHTS else "anew"
            logger.warning("OUTPUT_DIR %s holds no checkpoint: the training starts %s", self.cfg.OUTPUT_DIR, start)
        planned, start = _plan(self.scheduler), counters(self.scheduler)
        checkpoint = self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if not resume:
            return
        done = self._take_place(checkpoint)
        if "optimizer" in self.checkpointer.afresh:
            replay(self.optimizer, self.scheduler, start)
            skip_frozen_steps(self.optimizer, done)
        loaded = _plan(self.scheduler)
        changed = [f"{key} {loaded[key]} (not {value})" for key, value in planned.items() if loaded[key] != value]
        if changed:
            logger.warning("The first schedule goes on; settings changed since do nothing: %s", ", ".join(changed))
        self._resumed_events = checkpoint.get("events")
        for hook in self._hooks:
            if isinstance(hook, hooks.PeriodicCheckpointer):
                hook.best_metric = checkpoint.get("best_metric", checkpoint.get("metric", hook.best_metric))
        self._skip_batches(done)

    def _take_place(self, checkpoint: dict) -> int:
        """Set where to go on, and return how many iterations that leaves out."""
        self.start_epoch = checkpoint.get("epoch", -1) + 1
        self.start_iter = self.start_epoch * self.iters_per_epoch
        done = checkpoint.get("iteration", self.start_iter)
        if checkpoint.get("iters_per_epoch") == self.iters_per_epoch:
            self.start_iter = done
        elif done != self.start_iter:
            logger.warning(
                "The checkpoint was made after %d iterations, %d epochs are %d now: data set or batch size changed",
                done, self.start_epoch, self.start_iter,
            )  # fmt: skip
        return self.start_iter

    def _check_tests(self) -> None:
        """Raise now what the first evaluation would, hours later; what subclasses do in another way is left to them."""

        def ours(name: str) -> bool:
            return getattr(getattr(type(self), name), "__func__", None) is getattr(DefaultTrainer, name).__func__

        evaluates = any(isinstance(hook, hooks.EvalHook) for hook in self._hooks)
        if not (evaluates and ours("test") and ours("build_evaluator")):
            return
        for name in self.cfg.DATASETS.TESTS:
            if ours("build_test_loader"):
                loader, evaluator = self.build_evaluator(self.cfg, name)
                evaluator.check(loader.dataset)
            else:
                build_evaluator(self.cfg, 0, None, name)

    def _has_checkpoint(self) -> bool:
        found = comm.all_gather(self.checkpointer.has_checkpoint())
        if any(found) != all(found):
            raise ValueError(
                f"Only {sum(found)} of {len(found)} processes see the last checkpoint in {self.cfg.OUTPUT_DIR}: to "
                "resume, all machines must share OUTPUT_DIR"
            )
        return found[0]

    def _skip_batches(self, count: int) -> None:
        if hasattr(self.data_loader, "skip"):
            self.data_loader.skip(count)
        elif count:
            logger.warning("%s has no skip(): the stream of batches starts again", type(self.data_loader).__name__)

    def build_hooks(self) -> list[HookBase | None]:
        """Return the hooks in the order of their calls."""
        cfg, iters = self.cfg, self.cfg.SOLVER.CHECKPOINT_ITERS
        result: list[HookBase | None] = [
            hooks.EpochSeed(max(cfg.SEED, 0), iters),
            hooks.IterationTimer(),
            hooks.LRScheduler(self.optimizer, self.scheduler),
            self._precise_bn(),
            hooks.BufferAverage(unwrap(self.model), iters),  # after the former: one model is evaluated and saved
        ]
        if cfg.MODEL.FREEZE_LAYERS and cfg.SOLVER.FREEZE_ITERS > 0:
            result.append(hooks.LayerFreeze(self.model, cfg.MODEL.FREEZE_LAYERS, cfg.SOLVER.FREEZE_ITERS))
        result.append(hooks.EvalHook(cfg.TEST.EVAL_PERIOD, self._evaluate))
        # a model whose parts are in several processes is saved by all of them
        if comm.is_main_process() or self._divided or self.checkpointer.is_joint:
            period, keep = cfg.SOLVER.CHECKPOINT_PERIOD, cfg.SOLVER.CHECKPOINT_KEEP
            result.append(hooks.PeriodicCheckpointer(self.checkpointer, period, keep=keep, iters=iters))
        if comm.is_main_process():
            # at the end of the list, as in fast-reid, whose users insert hooks with figures of their own before it
            result.append(hooks.PeriodicWriter(self.build_writers(), cfg.SOLVER.LOG_PERIOD))
            if cfg.PROFILE.ENABLED:
                result.append(StepProfile(Path(cfg.OUTPUT_DIR, "profile"), cfg.PROFILE.START, cfg.PROFILE.ITERS))
        return result

    def _precise_bn(self) -> HookBase | None:
        options = self.cfg.TEST.PRECISE_BN
        if not options.ENABLED or not get_bn_modules(self.model):
            return None
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.DATASETS.NAMES = (options.DATASET,)
        loader = self.build_train_loader(cfg)  # its own, so that the training's stream is not disturbed
        found, classes = loader.dataset.num_classes, cfg.MODEL.HEADS.NUM_CLASSES
        if found > classes:
            raise ValueError(
                f"TEST.PRECISE_BN.DATASET {options.DATASET} has {found} identities, the model {classes} classes: name "
                f"one of DATASETS.NAMES {self.cfg.DATASETS.NAMES}"
            )
        return hooks.PreciseBN(unwrap(self.model), loader, options.NUM_ITER, self.cfg.TEST.EVAL_PERIOD)

    def _evaluate(self) -> dict:
        self._last_eval_results = self.test(self.cfg, unwrap(self.model))
        return self._last_eval_results

    def build_writers(self) -> list[EventWriter]:
        """Return the writers of the main process: console, ``metrics.json``, TensorBoard."""
        output = self.cfg.OUTPUT_DIR
        return [
            CommonMetricPrinter(self.max_iter),
            JSONWriter(os.path.join(output, "metrics.json")),
            TensorboardXWriter(output),
        ]

    def train(self) -> dict | None:
        """Train to ``SOLVER.MAX_EPOCH``; return the results of the last evaluation, checked against expectations.

        Raises:
            ValueError: ``TEST.EXPECTED_RESULTS`` are not reached.
        """
        if self.start_epoch >= self.max_epoch:
            logger.info("Nothing left to train: %d of %d epochs are done", self.start_epoch, self.max_epoch)
            return None
        super().train(self.start_epoch, self.max_epoch, self.iters_per_epoch, self.start_iter)
        comm.synchronize()  # process 0 has written its files
        results = getattr(self, "_last_eval_results", None)
        if results and comm.is_main_process():
            verify_results(self.cfg, results)
        return results

    def run_step(self) -> None:
        self._trainer.iter = self.iter
        self._trainer.run_step()

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Build the model on its device; overridable."""
        model = build_model(cfg)
        logger.info("Model: %s, %.2f M parameters", type(model).__name__, _millions(model))
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> tuple[torch.optim.Optimizer, None]:
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer, iters_per_epoch: int) -> dict:
        return build_lr_scheduler(cfg, optimizer, iters_per_epoch)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode):
        """Return an endless loader; ``.dataset`` has ``num_classes`` and a length."""
        return build_reid_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> tuple:
        """Return ``(loader, num_query)``."""
        return build_reid_test_loader(cfg, dataset_name=dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str, output_dir: str | None = None) -> tuple:
        """Return ``(loader, evaluator)``; the head's task decides which evaluator."""
        loader, num_query = cls.build_test_loader(cfg, dataset_name)
        return loader, build_evaluator(cfg, num_query, output_dir or cfg.OUTPUT_DIR, dataset_name)

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, reuse_features: bool = False) -> dict:
        """Evaluate ``model`` on each of ``DATASETS.TESTS``.

        With ``TEST.SHARD_SIZE`` features go to files in parts and no process gathers them, unless the evaluator is a
        subclass of ``ReidEvaluator``, which may want them.

        Args:
            reuse_features: take the features in ``OUTPUT_DIR/features`` when they fit the model, images and settings.

        Returns:
            The metrics of the only data set, or ``{data set: metrics}``; empty in processes other than 0.
        """
        results = OrderedDict()
        for name in cfg.DATASETS.TESTS:
            loader, evaluator = cls.build_evaluator(cfg, name)
            if type(evaluator) is ReidEvaluator and (reuse_features or _in_parts(loader, evaluator)):
                metrics = _test_from_features(model, loader, evaluator, name, reuse_features)
            else:
                fast = accelerated(model, cfg)
                metrics = inference_on_dataset(fast, loader, evaluator, flip_test=cfg.TEST.FLIP.ENABLED)
            if comm.is_main_process():
                results[name] = metrics
        # a ReidEvaluator has shown its own data set already
        if any(results.values()) and (len(results) > 1 or not isinstance(evaluator, ReidEvaluator)):
            print_csv_format(results)
        return next(iter(results.values())) if len(results) == 1 else results

    @staticmethod
    def auto_scale_hyperparams(cfg: CfgNode, num_classes: int) -> CfgNode:
        """Return a copy of ``cfg`` with ``MODEL.HEADS.NUM_CLASSES`` 0 replaced by that of the training set."""
        frozen = cfg.is_frozen()
        cfg = cfg.clone()
        cfg.defrost()
        if cfg.MODEL.HEADS.NUM_CLASSES == 0:
            cfg.MODEL.HEADS.NUM_CLASSES = num_classes
            logger.info("MODEL.HEADS.NUM_CLASSES is %d, that of the training set", num_classes)
        elif cfg.MODEL.HEADS.NUM_CLASSES < num_classes:
            # no error: metric losses alone do without classes
            logger.warning(
                "MODEL.HEADS.NUM_CLASSES is %d, but the training set has %d classes: a loss over classes will fail. "
                "0 takes the number from the training set", cfg.MODEL.HEADS.NUM_CLASSES, num_classes,
            )  # fmt: skip
        if frozen:
            cfg.freeze()
        return cfg


def _in_parts(loader, evaluator: ReidEvaluator) -> bool:
    """Whether features can be extracted in parts: to files, from rows of a data set that are known beforehand."""
    known = isinstance(loader, DataLoader) and hasattr(loader.dataset, "records")
    return evaluator.cfg.TEST.SHARD_SIZE > 0 and known and bool(evaluator.output_dir)


def _test_from_features(model: nn.Module, loader, evaluator: ReidEvaluator, name: str, reuse: bool) -> dict:
    from fastreid.engine.extraction import cached_features
    from fastreid.evaluation.results import evaluate, features_path, headline

    evaluator.check(loader.dataset)  # before the extraction
    cfg, name = evaluator.cfg, evaluator.dataset_name or name
    output = evaluator.output_dir or cfg.OUTPUT_DIR
    features = cached_features(cfg, model, loader, evaluator.num_query, name, output, reuse)
    shared = comm.get_world_size() > 1
    if shared:
        comm.synchronize()  # the file is written
        features = features or FeatureFile.load(features_path(output, name), mapped=True)
    # set by load_model; a training begins with those weights only
    weights = getattr(model, "weights_source", "") if reuse else ""
    evaluation = evaluate(cfg, features, name, output, weights, shared)
    return headline(evaluation) if evaluation else {}


def _iterations_per_epoch(cfg: CfgNode, num_images: int) -> int:
    batch, world = cfg.SOLVER.IMS_PER_BATCH, comm.get_world_size()
    if batch < 1 or batch % world:
        raise ValueError(f"SOLVER.IMS_PER_BATCH is {batch}; it must be a multiple of the {world} processes")
    if num_images < batch:
        raise ValueError(
            f"The training set has {num_images} images, fewer than SOLVER.IMS_PER_BATCH {batch}: not one iteration "
            "per epoch. Lower SOLVER.IMS_PER_BATCH"
        )
    return num_images // batch


def _accumulated_parts(cfg: CfgNode, data_loader) -> int:
    """SOLVER.ACCUMULATE, where that many equal parts hold whole identities."""
    parts = require_whole("SOLVER.ACCUMULATE", cfg.SOLVER.ACCUMULATE, 1)
    mine = cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size()
    sampler = getattr(getattr(data_loader, "batch_sampler", None), "sampler", None)
    images = getattr(sampler, "num_instance", 1)
    if mine % parts or mine // parts % images:
        whole = f" of whole identities, {images} images each" if images > 1 else ""
        raise ValueError(
            f"SOLVER.ACCUMULATE is {parts}; the {mine} images of a process must divide into so many parts{whole}"
        )
    return parts


def _plan(schedulers: dict) -> dict:
    """Return what the settings say of each schedule, without how far it is."""
    moving = ("optimizer", *COUNTERS)
    return {
        f"{name}.{key}": value
        for name, scheduler in schedulers.items()
        for key, value in vars(scheduler).items()
        if not key.startswith("_") and key not in moving
    }


def _as_pair(built) -> Sequence:
    """Accept a bare optimiser from an overridden ``build_optimizer``."""
    return built if isinstance(built, (tuple, list)) else (built, None)


class _Parallel(DistributedDataParallel):
    """Takes a model with ``fastreid.layers.SyncBatchNorm`` on a CPU too, which that layer can and PyTorch's cannot."""

    def _passing_sync_batchnorm_handle(self, module: nn.Module) -> None:
        foreign = (type(layer) is nn.SyncBatchNorm for layer in module.modules())
        if self.device_type != "cpu" or any(foreign):
            super()._passing_sync_batchnorm_handle(module)


def _for_parallel_training(cfg: CfgNode, model: nn.Module) -> nn.Module:
    if comm.get_world_size() == 1:
        return model
    comm.same_everywhere(model)
    # each process has class weights of its own there
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, list(sharded_parameters(model)))
    on_gpu = next(model.parameters()).is_cuda
    # BufferAverage does better, once per epoch; the first name is that of newer PyTorch
    names = ("forward_sync_buffers", "broadcast_buffers")
    taken = inspect.signature(DistributedDataParallel).parameters
    return _Parallel(
        model,
        device_ids=[torch.cuda.current_device()] if on_gpu else None,
        **{next(name for name in names if name in taken): False},
        find_unused_parameters=_some_may_lack_gradients(cfg, model),
    )


def _some_may_lack_gradients(cfg: CfgNode, model: nn.Module) -> bool:
    """Must each step look for parameters without a gradient? That costs time, and their absence is an error otherwise.

    Such are frozen layers, the classifier or the temperature where no loss reads it, and what the networks of others do
    not use.
    """
    frozen = bool(cfg.MODEL.FREEZE_LAYERS) and cfg.SOLVER.FREEZE_ITERS > 0
    learnt = {"cls_outputs", "temperature"}.intersection(getattr(getattr(model, "heads", None), "provides", ()))
    wanted = {table for loss in getattr(model, "loss_functions", ()) for table in loss.needs}
    unread = bool((learnt or {"cls_outputs"}) - wanted)
    ours = all(type(module).__module__.startswith(("fastreid.", "torch.")) for module in model.modules())
    return frozen or unread or not ours


def _millions(model: nn.Module) -> float:
    return sum(p.numel() for p in model.parameters()) / 1e6
