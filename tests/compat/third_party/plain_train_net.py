#!/usr/bin/env python
# ruff: noqa
# encoding: utf-8
"""Training without a trainer: a loop of the script's own over fast-reid's loader, schedulers, storage and writers."""

import logging
import os
import sys
from collections import OrderedDict

import torch
from torch.nn.parallel import DistributedDataParallel

sys.path.append(".")

from fastreid.config import get_cfg
from fastreid.data import build_reid_test_loader, build_reid_train_loader
from fastreid.engine import default_argument_parser, default_setup, launch
from fastreid.evaluation import inference_on_dataset, print_csv_format
from fastreid.modeling import build_model
from fastreid.solver import build_lr_scheduler, build_optimizer
from fastreid.utils import comm
from fastreid.utils.checkpoint import Checkpointer, PeriodicCheckpointer
from fastreid.utils.events import CommonMetricPrinter, EventStorage, JSONWriter, TensorboardXWriter

from shapes import *

logger = logging.getLogger("fastreid")


def do_test(cfg, model):
    results = OrderedDict()
    for dataset_name in cfg.DATASETS.TESTS:
        data_loader, num_query = build_reid_test_loader(cfg, dataset_name=dataset_name)
        evaluator = SelfRecallEvaluator(cfg, num_query)
        results[dataset_name] = inference_on_dataset(model, data_loader, evaluator, flip_test=cfg.TEST.FLIP.ENABLED)
    if comm.is_main_process():
        assert isinstance(results, dict)
        print_csv_format(results)
    return list(results.values())[0] if len(results) == 1 else results


def do_train(cfg, model, resume=False):
    data_loader = build_reid_train_loader(cfg)
    data_loader_iter = iter(data_loader)

    model.train()
    optimizer, param_wrapper = build_optimizer(cfg, model)

    iters_per_epoch = len(data_loader.dataset) // cfg.SOLVER.IMS_PER_BATCH
    scheduler = build_lr_scheduler(cfg, optimizer, iters_per_epoch)

    checkpointer = Checkpointer(
        model, cfg.OUTPUT_DIR, save_to_disk=comm.is_main_process(), optimizer=optimizer, **scheduler
    )
    start_epoch = checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume).get("epoch", -1) + 1
    iteration = start_iter = start_epoch * iters_per_epoch

    max_epoch = cfg.SOLVER.MAX_EPOCH
    max_iter = max_epoch * iters_per_epoch
    periodic_checkpointer = PeriodicCheckpointer(checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD, max_epoch)
    if len(cfg.DATASETS.TESTS) == 1:
        metric_name = "metric"
    else:
        metric_name = cfg.DATASETS.TESTS[0] + "/metric"

    writers = (
        [
            CommonMetricPrinter(max_iter),
            JSONWriter(os.path.join(cfg.OUTPUT_DIR, "metrics.json")),
            TensorboardXWriter(cfg.OUTPUT_DIR),
        ]
        if comm.is_main_process()
        else []
    )

    logger.info("Start training from epoch {}".format(start_epoch))
    with EventStorage(start_iter) as storage:
        for epoch in range(start_epoch, max_epoch):
            storage.epoch = epoch
            for _ in range(iters_per_epoch):
                data = next(data_loader_iter)
                storage.iter = iteration

                loss_dict = model(data)
                losses = sum(loss_dict.values())
                assert torch.isfinite(losses).all(), loss_dict

                loss_dict_reduced = {k: v.item() for k, v in comm.reduce_dict(loss_dict).items()}
                losses_reduced = sum(loss for loss in loss_dict_reduced.values())
                if comm.is_main_process():
                    storage.put_scalars(total_loss=losses_reduced, **loss_dict_reduced)

                optimizer.zero_grad()
                losses.backward()
                optimizer.step()
                storage.put_scalar("lr", optimizer.param_groups[0]["lr"], smoothing_hint=False)

                if iteration < cfg.SOLVER.WARMUP_ITERS:
                    scheduler["warmup_sched"].step()
                iteration += 1

            if iteration > cfg.SOLVER.WARMUP_ITERS and (epoch + 1) > cfg.SOLVER.DELAY_EPOCHS:
                scheduler["lr_sched"].step()

            metric_dict = {}
            if cfg.TEST.EVAL_PERIOD > 0 and (epoch + 1) % cfg.TEST.EVAL_PERIOD == 0:
                metric_dict = do_test(cfg, model)
                storage.put_scalars(**metric_dict, smoothing_hint=False)

            for writer in writers:
                writer.write()
            periodic_checkpointer.step(epoch, metric=metric_dict.get(metric_name, -1))


def setup(args):
    cfg = get_cfg()
    add_shapes_config(cfg)
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    cfg.freeze()
    default_setup(cfg, args)
    return cfg


def main(args):
    cfg = setup(args)
    cfg.defrost()
    cfg.MODEL.HEADS.NUM_CLASSES = 6

    model = build_model(cfg)
    logger.info("Model:\n{}".format(model))
    if args.eval_only:
        cfg.MODEL.BACKBONE.PRETRAIN = False
        Checkpointer(model).load(cfg.MODEL.WEIGHTS)
        return do_test(cfg, model)

    if comm.get_world_size() > 1:
        model = DistributedDataParallel(model, broadcast_buffers=False)

    do_train(cfg, model, resume=args.resume)
    return do_test(cfg, model)


if __name__ == "__main__":
    args = default_argument_parser().parse_args()
    print("Command Line Args:", args)
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )
