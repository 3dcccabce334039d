"""Building blocks of networks; none knows the configuration."""

from fastreid.layers.activation import GELU, MemoryEfficientSwish, Mish, Swish
from fastreid.layers.any_softmax import SOFTMAX_REGISTRY
from fastreid.layers.batch_norm import IBN, BatchNorm, FrozenBatchNorm, GhostBatchNorm, SyncBatchNorm, get_norm
from fastreid.layers.context_block import ContextBlock
from fastreid.layers.drop import DropBlock2d, DropPath, drop_block_2d, drop_path
from fastreid.layers.frn import FRN, TLU
from fastreid.layers.gather_layer import GatherLayer
from fastreid.layers.helpers import make_divisible, to_2tuple, to_3tuple, to_4tuple, to_ntuple
from fastreid.layers.non_local import Non_local
from fastreid.layers.partial_fc import PartialFC, ShardedLogits, sharded_cross_entropy
from fastreid.layers.pooling import POOLING_REGISTRY
from fastreid.layers.precision import full_precision
from fastreid.layers.se import SELayer
from fastreid.layers.splat import SplAtConv2d
from fastreid.layers.weight_init import (
    lecun_normal_,
    trunc_normal_,
    variance_scaling_,
    weights_init_classifier,
    weights_init_kaiming,
)

__all__ = [name for name in dir() if not name.startswith("_")]
