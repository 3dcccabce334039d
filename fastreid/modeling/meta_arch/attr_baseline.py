"""fast-reid's name for the attribute model: a ``Baseline`` with ``AttrHead`` and ``BinaryCrossEntropyLoss``."""

from fastreid.modeling.meta_arch.baseline import Baseline
from fastreid.modeling.meta_arch.build import META_ARCH_REGISTRY

AttrBaseline = META_ARCH_REGISTRY.register(Baseline, name="AttrBaseline")
