"""Batches with pairs of patents of one Locarno subclass: how many, whom, and what is said where there are too few."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from fastreid.config import get_cfg
from fastreid.data.records import Record
from fastreid.data.samplers import BalancedIdentitySampler, HierarchicalSampler, build_train_sampler
from fastreid.data.samplers.hierarchical_sampler import warn_of_few_pairs
from fastreid.utils import comm
from fastreid.utils.locarno import read_locarno


@pytest.fixture(autouse=True)
def warned_anew():
    warn_of_few_pairs.cache_clear()


def table(sizes, unknown=0, figures=3):
    """Records of patents, ``sizes`` of each subclass, then patents without a readable code, in mixed order."""
    codes = [f"{c // 9 + 1:02d}0{c % 9 + 1}" for c, size in enumerate(sizes) for _ in range(size)]
    codes += ["", "1400", "D14/138", None][:unknown] + [""] * (unknown - 4)
    rng = np.random.default_rng(len(codes))
    records = [
        Record(f"{pid}_{k}.png", f"p{pid}", 1, taxonomy=code)
        for pid, code in enumerate(codes)
        for k in range(int(rng.integers(1, figures + 1)))
    ]
    return [records[place] for place in rng.permutation(len(records))]


def random_table(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.geometric(rng.choice([0.15, 0.4, 0.8]), rng.integers(2, 30)).tolist()
    return table(sizes, int(rng.integers(0, 8)))


def batches(sampler, size, count):
    stream = list(itertools.islice(iter(sampler), size * count))
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def subclasses_of(source):
    return {record.pid: read_locarno(record.taxonomy or "").subclass_code for record in source}


def with_partner(pids, subclasses):
    """How many of the patents have another one of their subclass among them."""
    counts = Counter(subclasses[pid] for pid in set(pids))
    return sum(bool(subclasses[pid]) and counts[subclasses[pid]] > 1 for pid in set(pids))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("seed", range(12))
def test_every_batch_has_its_share_and_every_patent_its_turn(seed, share, caplog):
    source = random_table(seed)
    subclasses = subclasses_of(source)
    patents, k = len(subclasses), 1 + seed % 3
    p = 1 + int(np.random.default_rng(seed).integers(min(patents, 12)))
    per_round = patents // p
    sampler = HierarchicalSampler(source, p * k, k, share, seed=seed)
    pairs = sum(size // 2 for size in Counter(filter(None, subclasses.values())).values())
    wanted = math.ceil(share * p - 1e-9)
    enough = pairs >= per_round * math.ceil(wanted / 2) and 2 * math.ceil(wanted / 2) <= p
    reached = min(wanted, 2 * (pairs // per_round), 2 * (p // 2))  # whatever there is, in equal parts
    free = per_round * p - 2 * sampler.pairs_per_round  # places of a round for whoever is in no pair
    rounds = 1 + math.ceil((patents - 2 * sampler.pairs_per_round) / max(free, 1))
    drawn = Counter()
    for number, batch in enumerate(batches(sampler, p * k, rounds * per_round)):
        pids = [source[index].pid for index in batch]
        assert set(Counter(pids).values()) == {k}
        assert len(set(pids)) == p
        assert all(len(set(pids[start : start + k])) == 1 for start in range(0, p * k, k))
        found = with_partner(pids, subclasses)
        assert found >= (wanted if enough else reached)
        drawn.update(set(pids))
        if (number + 1) % per_round == 0:
            assert max(drawn.values()) <= (number + 1) // per_round, "a patent comes twice in a round"
    if free:
        assert set(drawn) == set(subclasses), "a patent waits for too long"
    assert ("DATALOADER.SUBCLASS_SHARE" in caplog.text) == (not enough)


def test_pairs_meet_at_random_and_are_not_always_the_same():
    source = table([6] * 5)
    subclasses, met = subclasses_of(source), Counter()
    for batch in batches(HierarchicalSampler(source, 8, 2, seed=0), 8, 4000):
        pids = sorted({source[index].pid for index in batch})
        met.update(pair for pair in itertools.combinations(pids, 2) if subclasses[pair[0]] == subclasses[pair[1]])
    assert len(met) == 5 * 15
    assert max(met.values()) < 3 * min(met.values())
    balanced = batches(BalancedIdentitySampler(source, 8, 2, seed=0), 8, 400)
    alone = [with_partner([source[index].pid for index in batch], subclasses) == 0 for batch in balanced]
    assert sum(alone) > 20, "the share holds here without the sampler"


def test_each_patent_is_drawn_equally_often_and_its_images_too():
    source = table([9, 5, 4, 1, 1], unknown=4, figures=1)
    drawn = Counter()
    for batch in batches(HierarchicalSampler(source, 10, 2, 0.4, seed=1), 10, 4 * 400):
        drawn.update(source[index].pid for index in set(batch))
    counts = np.array([drawn[record.pid] for record in source])  # 24 patents, of which 20 make a round
    assert counts.sum() == 400 * 20
    assert np.abs(counts / counts.mean() - 1).max() < 0.15
    images = table([4] * 4, figures=4)
    sampler = HierarchicalSampler(images, 8, 2, 0.5, seed=1)
    assert {index for batch in batches(sampler, 8, 200) for index in batch} == set(range(len(images)))


def test_a_single_image_comes_k_times_and_two_are_both_taken():
    source = [Record(f"{pid}_{k}", pid, 1, taxonomy="0601") for pid in range(6) for k in range(1 + pid % 2)]
    for batch in batches(HierarchicalSampler(source, 8, 2, seed=0), 8, 20):
        for first, second in zip(batch[::2], batch[1::2], strict=True):
            assert (first == second) == (source[first].pid % 2 == 0)


def test_the_share_is_that_of_all_ranks_together_and_not_of_each(monkeypatch):
    source = table([2] * 8 + [1] * 8)
    subclasses, parts, alone = subclasses_of(source), [], []
    for rank in range(2):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        monkeypatch.setattr(comm, "get_world_size", lambda: 2)
        parts.append(batches(HierarchicalSampler(source, 8, 2, 0.5, seed=3), 8, 30))
    for step in zip(*parts, strict=True):
        shares = [{source[index].pid for index in batch} for batch in step]
        assert [len(share) for share in shares] == [4, 4]
        assert not shares[0] & shares[1]
        assert with_partner(shares[0] | shares[1], subclasses) >= 4
        alone.append(with_partner(shares[0], subclasses))
    assert min(alone) < 2, "the first rank always has the pairs"


def test_the_first_known_code_of_a_patent_counts():
    source = [Record("a0", "a", 1), Record("a1", "a", 1, taxonomy="06-01"), Record("b0", "b", 1, taxonomy="0601"),
              Record("c0", "c", 1, taxonomy="0701"), Record("a2", "a", 1, taxonomy="0701")]  # fmt: skip
    sampler = HierarchicalSampler(source, 4, 2, 1.0, seed=0)
    assert sampler.subclasses == ["06-01", "06-01", "07-01"]
    for batch in batches(sampler, 4, 10):
        assert {source[index].pid for index in batch} == {"a", "b"}


def test_too_few_pairs_are_told_with_counts_once_by_the_main_process(monkeypatch, caplog):
    source = table([2, 3, 2, 1, 1], unknown=3)
    monkeypatch.setattr(comm, "get_rank", lambda: 1)
    HierarchicalSampler(source, 8, 2, 0.75, seed=0)
    monkeypatch.setattr(comm, "get_rank", lambda: 0)
    HierarchicalSampler(source, 8, 2, 0.25, seed=0)
    assert caplog.text == ""
    for _ in range(2):
        HierarchicalSampler(source, 8, 2, 0.75, seed=0)
    (record,) = caplog.records
    assert record.getMessage() == (
        "DATALOADER.SUBCLASS_SHARE 0.75: 3 of the 4 patents of a batch should have another of their Locarno subclass, "
        "2.0 on average will: 7 of 12 training patents have one, in 3 subclasses"
    )


def test_nobody_with_a_partner_is_a_warning_and_no_code_at_all_an_error(caplog):
    HierarchicalSampler(table([1] * 6), 8, 2)
    assert "0.0 on average will: 0 of 6 training patents have one, in 0 subclasses" in caplog.text
    nothing = [Record("a.png", number, 1, taxonomy=code) for number, code in enumerate([None, ""] * 3)]
    for source in (nothing, [("a.png", number, 1) for number in range(6)]):
        with pytest.raises(ValueError, match="none of the 6 has one: .*METADATA.* name none, or are not given"):
            HierarchicalSampler(source, 8, 2)
    written = [*nothing[:5], Record("b.png", 5, 1, taxonomy="D14/138")]
    with pytest.raises(ValueError, match="none of the 6 has a readable one; their metadata hold 'D14/138', for"):
        HierarchicalSampler(written, 8, 2)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_is_from_0_to_1(share):
    with pytest.raises(ValueError, match=f"DATALOADER.SUBCLASS_SHARE must be from 0 to 1; got {share}"):
        HierarchicalSampler(table([4, 4]), 8, 2, share)


def test_it_is_built_from_the_config():
    cfg, source = get_cfg(), table([4, 4, 4])
    cfg.DATALOADER.SAMPLER_TRAIN = "HierarchicalSampler"
    cfg.DATALOADER.NUM_INSTANCE = 2
    cfg.DATALOADER.SUBCLASS_SHARE = 1.0
    sampler = build_train_sampler(cfg, source, 8, 5)
    assert (sampler.num_instance, sampler.pairs_per_round, sampler.batches_per_round) == (2, 6, 3)
