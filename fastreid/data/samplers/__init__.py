"""Samplers: which images make a batch. All are deterministic by seed and sharded by rank."""

from fastreid.data.samplers.build import SAMPLER_REGISTRY, StreamSampler, build_train_sampler
from fastreid.data.samplers.data_sampler import InferenceSampler, TrainingSampler
from fastreid.data.samplers.hierarchical_sampler import HierarchicalSampler
from fastreid.data.samplers.imbalance_sampler import ImbalancedDatasetSampler
from fastreid.data.samplers.triplet_sampler import (
    BalancedIdentitySampler,
    IdentitySampler,
    NaiveIdentitySampler,
    SetReWeightSampler,
)

__all__ = [
    "SAMPLER_REGISTRY", "BalancedIdentitySampler", "HierarchicalSampler", "IdentitySampler", "ImbalancedDatasetSampler",
    "InferenceSampler", "NaiveIdentitySampler", "SetReWeightSampler", "StreamSampler", "TrainingSampler",
    "build_train_sampler",
]  # fmt: skip
