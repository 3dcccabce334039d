"""Samplers: P x K, seeds, shards."""

import inspect
import itertools
from collections import Counter

import numpy as np
import pytest

from fastreid.config import get_cfg
from fastreid.data.loader import StreamBatches
from fastreid.data.records import Record
from fastreid.data.samplers import (
    SAMPLER_REGISTRY,
    BalancedIdentitySampler,
    ImbalancedDatasetSampler,
    InferenceSampler,
    NaiveIdentitySampler,
    SetReWeightSampler,
    TrainingSampler,
    build_train_sampler,
)
from fastreid.data.samplers.triplet_sampler import no_index, proportional, reorder_index, warn_of_one_identity
from fastreid.utils import comm
from fastreid.utils.registry import key_of

IDENTITY_SAMPLERS = [BalancedIdentitySampler, NaiveIdentitySampler]


def items(identities=12, seed=0, most=9, cameras=3):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, most + 1, identities)
    return [
        Record(f"{i}_{k}", f"id{i}", int(rng.integers(cameras)), taxonomy=f"060{1 + i % 3}")
        for i in range(identities)
        for k in range(counts[i])
    ]


def take(sampler, count):
    return list(itertools.islice(iter(sampler), count))


def as_rank(monkeypatch, rank, world_size):
    monkeypatch.setattr(comm, "get_rank", lambda: rank)
    monkeypatch.setattr(comm, "get_world_size", lambda: world_size)


def batches(sampler, size, count=30):
    stream = take(sampler, size * count)
    return [stream[start : start + size] for start in range(0, len(stream), size)]


@pytest.mark.parametrize("kind", IDENTITY_SAMPLERS)
@pytest.mark.parametrize("size, k", [(8, 2), (16, 4), (48, 16), (12, 1), (12, 12)])
def test_every_batch_is_p_by_k(kind, size, k):
    source = items()
    for batch in batches(kind(source, size, k, seed=1), size):
        counts = Counter(source[index][1] for index in batch)
        assert set(counts.values()) == {k}
        assert len(counts) == size // k
        assert all(len({source[i][1] for i in batch[j : j + k]}) == 1 for j in range(0, size, k))


@pytest.mark.parametrize("kind", IDENTITY_SAMPLERS)
def test_images_repeat_only_where_the_identity_has_too_few(kind):
    source = [(f"{i}_{k}", i, 0) for i in range(6) for k in range(i + 2)]
    for batch in batches(kind(source, 12, 4, seed=0), 12, 60):
        for start in range(0, 12, 4):
            group = batch[start : start + 4]
            if source[group[0]][1] >= 2:  # has 4 images or more
                assert len(set(group)) == 4


def test_exactly_k_minus_one_images_of_other_cameras_are_all_taken():
    source = [("x", f"i{i}", camera) for i in range(8) for camera in range(4)]
    for batch in batches(BalancedIdentitySampler(source, 16, 4, seed=0), 16):
        assert all(len({source[index][2] for index in batch[j : j + 4]}) == 4 for j in range(0, 16, 4))


def test_balanced_prefers_other_cameras_and_takes_each_identity_once_a_round():
    source = [("x", i, camera) for i in range(6) for camera in (0, 0, 0, 0, 1, 1, 1)]
    for start in range(3):
        round_ = batches(BalancedIdentitySampler(source, 6, 3, seed=start), 6, 3)
        assert sorted(source[batch[j]][1] for batch in round_ for j in (0, 3)) == list(range(6))
        for batch in round_:
            for j in (0, 3):
                cameras = [source[index][2] for index in batch[j : j + 3]]
                assert cameras[0] not in cameras[1:]


def test_naive_uses_every_full_group_of_a_round():
    source = [(f"{i}_{k}", i, 0) for i in range(2) for k in range(8)]
    stream = take(NaiveIdentitySampler(source, 8, 4, seed=0), 16)
    assert sorted(stream) == list(range(16))


@pytest.mark.parametrize("kind", IDENTITY_SAMPLERS)
@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_have_distinct_identities_and_full_batches(kind, world_size, monkeypatch):
    source, streams = items(), []
    for rank in range(world_size):
        as_rank(monkeypatch, rank, world_size)
        streams.append(batches(kind(source, 8, 2, seed=3), 8))
    for step in zip(*streams, strict=True):
        identities = [{source[index][1] for index in batch} for batch in step]
        assert all(len(group) == 4 for group in identities)
        assert len(set.union(*identities)) == 4 * world_size


@pytest.mark.parametrize("kind", IDENTITY_SAMPLERS)
def test_too_few_identities_is_an_error_not_a_hang(kind):
    with pytest.raises(ValueError, match=r"a batch takes 8 identities .* but the training set has 2"):
        kind(items(2), 32, 4)


@pytest.mark.parametrize("kind", IDENTITY_SAMPLERS)
@pytest.mark.parametrize("size, k", [(30, 4), (2, 4), (8, 0)])
def test_batch_must_be_a_multiple_of_k(kind, size, k):
    with pytest.raises(ValueError, match=r"multiple of DATALOADER\.NUM_INSTANCE; got"):
        kind(items(), size, k)


def test_training_sampler_permutes_and_ranks_partition(monkeypatch):
    stream = take(TrainingSampler(10, seed=3), 20)
    assert sorted(stream[:10]) == sorted(stream[10:]) == list(range(10))
    assert stream[:10] != stream[10:]
    parts = []
    for rank in range(2):
        as_rank(monkeypatch, rank, 2)
        parts.append(take(TrainingSampler(10, seed=3), 10))
    assert [index for pair in zip(*parts, strict=True) for index in pair] == stream
    as_rank(monkeypatch, 0, 1)
    assert take(TrainingSampler(3, shuffle=False), 7) == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("world_size, size", [(1, 7), (2, 7), (3, 7), (4, 2)])
def test_inference_shares_joined_are_the_whole_in_order(monkeypatch, world_size, size):
    joined = []
    for rank in range(world_size):
        as_rank(monkeypatch, rank, world_size)
        sampler = InferenceSampler(size)
        assert len(list(sampler)) == len(sampler)
        joined += list(sampler)
    assert joined == list(range(size))


def test_imbalanced_sampler_evens_out_identities():
    source = [("x", "a", 0)] * 90 + [("x", "b", 0)] * 10
    share = sum(index >= 90 for index in take(ImbalancedDatasetSampler(source, seed=0), 8000)) / 8000
    assert abs(share - 0.5) < 0.03
    by_label = ImbalancedDatasetSampler(source, seed=0, callback_get_label=lambda data, index: index < 50)
    assert abs(sum(index < 50 for index in take(by_label, 8000)) / 8000 - 0.5) < 0.03


def test_set_weights_divide_the_identities():
    source = [("x", f"i{i}_{camera}", f"c{camera}") for camera in range(3) for i in range(8) for _ in range(5)]
    for batch in batches(SetReWeightSampler(source, 24, 4, [2, 1, 0], seed=0), 24):
        assert Counter(source[index][2] for index in batch) == {"c0": 16, "c1": 8}
        assert set(Counter(source[index][1] for index in batch).values()) == {4}
    with pytest.raises(ValueError, match="one weight >= 0, not all 0, for each of the 3 cameras"):
        SetReWeightSampler(source, 24, 4, [1, 1])
    with pytest.raises(ValueError, match="takes 12 identities of camera c0; it has 8"):
        SetReWeightSampler(source, 48, 4, [1, 0, 0])


def test_helpers():
    assert reorder_index([0, 1, 2, 3, 4, 5], 2) == [0, 3, 1, 4, 2, 5]
    assert no_index(["a", "b", "a"], "a") == [1]
    assert proportional(7, [1, 1, 1]) == [3, 2, 2]


WIRED = {"data_source", "size", "mini_batch_size", "seed", "shuffle", "callback_get_label"}


@pytest.mark.parametrize("name", SAMPLER_REGISTRY.names())
def test_contract(name):
    """Every registered sampler: built from the config, endless, deterministic by seed, without the global generator."""
    cfg, source = get_cfg(), items(cameras=2)
    cfg.DATALOADER.SAMPLER_TRAIN = name
    cfg.DATALOADER.SET_WEIGHT = [1, 1] if name == "SetReWeightSampler" else []
    state = np.random.get_state()[1].copy()
    build = lambda seed: take(build_train_sampler(cfg, source, 16, seed), 200)  # noqa: E731
    first, again, other = build(5), build(5), build(6)
    assert first == again != other
    assert all(type(index) is int and 0 <= index < len(source) for index in first)
    assert np.array_equal(state, np.random.get_state()[1])
    for option, parameter in inspect.signature(SAMPLER_REGISTRY.get(name)).parameters.items():
        if option not in WIRED:
            default = get_cfg().DATALOADER[key_of(option)]
            assert (list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default) == default


def test_unknown_sampler_has_a_near_miss():
    cfg = get_cfg()
    cfg.DATALOADER.SAMPLER_TRAIN = "NaiveIdentitySampler2"
    with pytest.raises(KeyError, match="Did you mean 'NaiveIdentitySampler'"):
        build_train_sampler(cfg, items(), 16, 0)


def sampler_of(name, source):
    """One whose global batches are 12 images."""
    if name == "TrainingSampler":
        return TrainingSampler(len(source), seed=4)
    if name == "ImbalancedDatasetSampler":
        return ImbalancedDatasetSampler(source, seed=4)
    weights = {"set_weight": (1, 1, 1)} if name == "SetReWeightSampler" else {}
    return SAMPLER_REGISTRY.get(name)(source, 12 // comm.get_world_size(), 2, seed=4, **weights)


@pytest.mark.parametrize("name", SAMPLER_REGISTRY.names())
@pytest.mark.parametrize("world_size", [2, 3])
def test_any_number_of_processes_draws_the_same_batches_and_augmentations(name, world_size, monkeypatch):
    def items_of(start=0):
        batches = StreamBatches(sampler_of(name, source), 12 // comm.get_world_size(), 4, comm.get_rank(), start)
        return [[(item.index, item.key) for item in batch] for batch in itertools.islice(batches, 5)]

    source = items()
    whole = items_of()
    shares = []
    for rank in range(world_size):
        as_rank(monkeypatch, rank, world_size)
        shares.append(items_of())
        assert items_of(start=2)[0] == shares[-1][2], "a resumed run enters the same stream"
    for number, batch in enumerate(whole):
        assert sorted(item for share in shares for item in share[number]) == sorted(batch)
        assert len({key for _, key in batch}) == 12


@pytest.mark.parametrize("kind", IDENTITY_SAMPLERS)
def test_batches_of_one_identity_are_warned_of_once_by_the_main_process(kind, monkeypatch, caplog):
    warn_of_one_identity.cache_clear()
    as_rank(monkeypatch, 1, 2)
    kind(items(), 4, 4, seed=0)  # two processes, an identity each: losses see both
    as_rank(monkeypatch, 0, 1)
    kind(items(), 8, 4, seed=0)
    kind(items(), 8, 1, seed=0)
    kind(items(), 1, 1, seed=0)
    warn_of_one_identity.cache_clear()
    assert caplog.text.count("Each batch holds images of one identity") == 1
    caplog.clear()
    kind(items(), 16, 16, seed=0)
    kind(items(), 16, 16, seed=0)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "raise SOLVER.IMS_PER_BATCH (16) or lower DATALOADER.NUM_INSTANCE (16)" in caplog.text
