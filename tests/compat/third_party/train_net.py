#!/usr/bin/env python
# ruff: noqa
# encoding: utf-8
"""The training script of the project, as fast-reid's own projects have one."""

import sys

sys.path.append(".")

from fastreid.config import get_cfg
from fastreid.engine import default_argument_parser, default_setup, launch
from fastreid.utils.checkpoint import Checkpointer

from shapes import *


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
    trainer_class = TwoStepTrainer if args.two_optimizers else ShapesTrainer

    if args.eval_only:
        cfg.defrost()
        cfg.MODEL.BACKBONE.PRETRAIN = False
        model = trainer_class.build_model(cfg)

        Checkpointer(model, save_dir=cfg.OUTPUT_DIR).load(cfg.MODEL.WEIGHTS)

        res = Committer.test(cfg, model) if args.commit else trainer_class.test(cfg, model)
        print("Results:", dict(res))
        return res

    trainer = trainer_class(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


if __name__ == "__main__":
    parser = default_argument_parser()
    parser.add_argument("--commit", action="store_true", help="write the neighbours of each query")
    parser.add_argument("--two-optimizers", action="store_true", help="train the class centres beside the network")
    args = parser.parse_args()
    print("Command Line Args:", args)
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )
