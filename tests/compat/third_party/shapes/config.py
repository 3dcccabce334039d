# ruff: noqa
# encoding: utf-8
from fastreid.config import CfgNode as CN


def add_shapes_config(cfg):
    _C = cfg

    _C.MODEL.LOSSES.SPREAD = CN({"SCALE": 1.0})
    _C.TEST.RECALLS = [1, 2, 4]
