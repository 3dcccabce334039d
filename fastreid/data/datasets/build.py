"""The registry of data sets and how one is built from the config."""

from fastreid.utils.files import data_root, expand
from fastreid.utils.registry import Registry

DATASET_REGISTRY = Registry("DATASET", "DATASETS.NAMES, DATASETS.TESTS")


def build_dataset(cfg, name: str, **kwargs):
    """Build the data set registered as ``name``.

    A data set registered with a config node gets the keys of that node; a ``ROOT`` among them is a folder below the
    data root (or an absolute path). One registered without a node is called ``obj(root=data_root, **kwargs)``, as
    fast-reid does.
    """
    root, node = data_root(), DATASET_REGISTRY.node(name)
    if node is None:
        return DATASET_REGISTRY.get(name)(root=str(root), **kwargs)
    folder = cfg.get_node(node).get("ROOT", "")
    return DATASET_REGISTRY.build(name, cfg, root=str(root / expand(folder)), **kwargs)
