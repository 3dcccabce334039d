"""Configuration: one tree of keys with defaults, YAML files with bases, checked overrides."""

from fastreid.config.config import CfgNode, configurable, get_cfg, global_cfg, set_global_cfg

__all__ = ["CfgNode", "configurable", "get_cfg", "global_cfg", "set_global_cfg"]
