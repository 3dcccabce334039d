"""What holds for every registered component and every key: neither may exist without the other."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import fastreid
from fastreid.config import get_cfg
from fastreid.config.config import flatten
from fastreid.engine.settings import UNREAD
from fastreid.utils.registry import key_of, option_names

# where the registries are, and the arguments of their components that the builder or a caller gives, never the config
REGISTRIES = {
    "fastreid.modeling.BACKBONE_REGISTRY": {"in_channels", "img_size"},
    "fastreid.modeling.META_ARCH_REGISTRY": set(),
    "fastreid.modeling.LOSS_REGISTRY": set(),
    "fastreid.modeling.text_encoders.TEXT_ENCODER_REGISTRY": set(),
    "fastreid.layers.POOLING_REGISTRY": set(),
    "fastreid.layers.SOFTMAX_REGISTRY": set(),
    "fastreid.solver.OPTIMIZER_REGISTRY": set(),
    "fastreid.solver.SCHEDULER_REGISTRY": set(),
    "fastreid.data.samplers.SAMPLER_REGISTRY": {"seed", "size", "shuffle", "callback_get_label"},
    "fastreid.data.transforms.TRANSFORM_REGISTRY": {"target", "cover"},
    "fastreid.data.datasets.DATASET_REGISTRY": {"root"},  # the key joined to the data root
    "fastreid.enrich.CAPTIONER_REGISTRY": set(),
    "fastreid.enrich.REWRITER_REGISTRY": {"waiting"},
    "fastreid.retrieval.POSTPROCESSOR_REGISTRY": set(),
    "fastreid.retrieval.RULE_REGISTRY": set(),
    "fastreid.evaluation.PROTOCOL_REGISTRY": set(),
}


def components():
    """Yield (name, component, node, options of its builder) of all that are registered with a node."""
    for path, wired in REGISTRIES.items():
        module, _, name = path.rpartition(".")
        registry = getattr(importlib.import_module(module), name)
        assert len(registry) > 0, path
        for key, component in registry:
            # other tests bring components of their own
            if registry.node(key) and component.__module__.startswith("fastreid."):
                yield key, component, registry.node(key), wired


COMPONENTS = list(components())


@pytest.mark.parametrize("component, node, wired", [c[1:] for c in COMPONENTS], ids=[c[0] for c in COMPONENTS])
def test_options_are_keys_of_the_node_with_equal_defaults(component, node, wired):
    keys, parameters = get_cfg().get_node(node), inspect.signature(component).parameters
    for option in set(option_names(component)) - wired:
        assert key_of(option) in keys, f"{node} has no key for the option '{option}'"
        default = parameters[option].default
        # an option without a default (the DEPTH of a backbone, whose names are its own) comes from the config alone
        assert default is inspect.Parameter.empty or plain(default) == plain(keys[key_of(option)]), option


def plain(value):
    return list(value) if isinstance(value, tuple) else value


def test_every_key_is_read_or_known_as_unread():
    """A key is read when a component takes it, or the sources name it, e.g. ``cfg.TEST.METRIC``."""
    read = {f"{node}.{key_of(option)}" for _, component, node, _ in COMPONENTS for option in option_names(component)}
    read |= {f"{node}.ENABLED" for _, _, node, _ in COMPONENTS}  # `Registry.enabled`
    read |= {f"{node}.ROOT" for _, _, node, _ in COMPONENTS}  # `build_dataset`
    read |= {"PLUGINS"}  # taken out of the values before they are merged
    for path in Path(fastreid.__file__).parent.rglob("*.py"):
        if path.parts[-2:] != ("config", "defaults.py"):
            read |= keys_read_in(path.read_text(encoding="utf-8"))
    unread = set(flatten(get_cfg())) - read
    assert unread - set(UNREAD) == set(), "keys that change nothing"
    assert set(UNREAD) - unread == set(), "read by now: not UNREAD any more"


def keys_read_in(source):
    """Keys read as ``cfg.A.B``, or as ``x.B`` in a file that also names the node ``cfg.A``."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)]
    chains = {tuple(part for part in ast.unparse(node).split(".") if part.isupper()) for node in nodes}
    whole = {".".join(chain) for chain in chains}
    return {
        key
        for key in flatten(get_cfg())
        if key in whole or (key.rpartition(".")[0] in whole and (key.rpartition(".")[2],) in chains)
    }


def test_the_check_of_read_keys_can_fail():
    source = "t = cfg.TEST\nprint(t.METRIC, cfg.SOLVER.OPT, other.NUM_ITER)"
    assert keys_read_in(source) == {"TEST.METRIC", "SOLVER.OPT"}
