"""What each of two processes computes for ``test_same_numbers``: its share of a batch, with and without the other's."""

import os

import torch
from torch.nn.parallel import DistributedDataParallel

from fastreid.config import get_cfg
from fastreid.data.samplers import InferenceSampler
from fastreid.engine.defaults import _for_parallel_training
from fastreid.engine.extraction import extract_features
from fastreid.layers import get_norm
from fastreid.modeling import build_model
from fastreid.modeling import losses as L
from fastreid.utils import comm

BATCH, STEPS, CLASSES = 8, 3, 5
UNEVEN = {"uneven": (5, 2), "empty": (6, 0), "even": (3, 3)}
KNOWN = torch.tensor([[1, 0, -1, -1, -1], [-1] * 5, [0, 0, 1, 1, 0], [1, -1, 1, -1, 0]])  # attributes of four classes
CODES = torch.tensor([601, 603, 601, 0])  # Locarno codes of four classes
LOSSES = {
    "triplet_hard": lambda x, t: L.triplet_loss(x, t, 0.3, False, True),
    "triplet_weighted": lambda x, t: L.triplet_loss(x, t, 0.0, True, False),
    "circle": lambda x, t: L.pairwise_circleloss(x, t, 0.25, 16),
    "cosface": lambda x, t: L.pairwise_cosface(x, t, 0.25, 16),
    "cross_entropy": lambda x, t: L.cross_entropy_loss(x, t, 0.1),
    "cross_entropy_saturated": lambda x, t: L.cross_entropy_loss(1000 * x, t, 0.0),
    "binary_cross_entropy": lambda x, t: L.binary_cross_entropy_loss(x, KNOWN[t]),
    "focal": lambda x, t: L.focal_loss(x, t, 0.25),
    "focal_of_mean": lambda x, t: L.focal_loss_of_mean(x, t, 1.0, 1.5),
    "infonce": lambda x, t: L.infonce_loss(x, t, 0.2),
    "triplet_all": lambda x, t: L.all_triplets_loss(x, t, 0.3, False),
    "hierarchical": lambda x, t: L.hierarchical_contrastive_loss(x, t, CODES[t]),
    "hierarchical_level": lambda x, t: L.hierarchical_contrastive_loss(x, t, CODES[t], normalization="level"),
    "image_text": lambda x, t: L.image_text_loss(x, texts(), temperature=0.3),
    "image_text_both_ways": lambda x, t: L.image_text_loss(x, texts(), temperature=0.3, both_ways=True),
    "group_text": lambda x, t: L.group_text_loss(x, texts(), t - 1, temperature=0.3),  # -1 is unknown
}


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def share(tensor: torch.Tensor, sizes: tuple[int, ...] | None = None) -> torch.Tensor:
    """The rows of this process: equal parts, or parts of the given sizes."""
    if comm.get_world_size() == 1:
        return tensor
    sizes = sizes or (len(tensor) // comm.get_world_size(),) * comm.get_world_size()
    return tensor.split(sizes)[comm.get_rank()]


def texts(seed: int = 7) -> torch.Tensor:
    """Vectors of the texts of this process's rows."""
    return share(draw(BATCH, CLASSES, seed=seed))


def loss_and_gradient(name: str) -> dict:
    """The value of a loss and its gradient for the rows of this process, as averaged over the processes."""
    rows, targets = draw(BATCH, CLASSES), torch.tensor([0, 0, 1, 1, 0, 2, 3, 0])
    mine = share(rows).clone().requires_grad_()
    value = LOSSES[name](mine, share(targets))
    value.backward()
    return {"value": comm.mean_over_processes(value), "gradient": mine.grad / comm.get_world_size()}


def sync_batch_norm(sizes: tuple[int, int], offset: float = 0.0, momentum: float | None = 0.1, dtype=torch.float64):
    """Output, gradients and statistics of a layer for this process's part of a batch."""
    total = sum(sizes)
    x, weights = (draw(total, 4, 3, 2) + offset).to(dtype), draw(total, 4, 3, 2, seed=1).to(dtype)
    norm = get_norm("syncBN", 4, momentum=momentum).to(dtype)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(1.0, 5.0))
    mine = share(x, sizes).clone().requires_grad_()
    for _ in range(2):
        norm.zero_grad()
        mine.grad = None
        out = norm(mine)
        (out * share(weights, sizes)).sum().backward()
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in norm.parameters()]
    return {"out": out.detach(), "input": mine.grad, "affine": torch.stack(gradients), **norm.state_dict()}


def training(norm: str, losses: tuple[str, ...], head: str = "EmbeddingHead", *more: object) -> dict:
    """Train a small ResNet on the global batches; the losses, and the weights at the end."""
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.PRETRAIN", False,
                         "MODEL.BACKBONE.NORM", norm, "MODEL.HEADS.NORM", "syncBN", "MODEL.HEADS.WITH_BNNECK", True,
                         "MODEL.HEADS.NUM_CLASSES", CLASSES, "MODEL.LOSSES.NAME", losses, "MODEL.HEADS.NAME", head,
                         "MODEL.LOSSES.BCE.WEIGHT_ENABLED", False, *more])  # fmt: skip
    torch.manual_seed(comm.get_rank())  # that of process 0 must win
    model = build_model(cfg).double().train()
    parallel = _for_parallel_training(cfg, model)
    assert isinstance(parallel, DistributedDataParallel) == (comm.get_world_size() > 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    seen = []
    for step in range(STEPS):
        images = 128 + 50 * draw(BATCH, 3, 32, 16, seed=step)
        targets = torch.tensor([0, 0, 1, 1, 2, 2, 4, 4]).roll(step)
        batch = {"images": images, "targets": targets, "attributes": KNOWN[targets % len(KNOWN)]}
        batch |= {"text_features": draw(BATCH, CLASSES, seed=step + 9), "frequency": targets % 3 - 1}
        mine = {name: share(rows) for name, rows in batch.items()}
        mine["taxonomy"] = [f"{code:04d}" for code in CODES[mine["targets"] % len(CODES)].tolist()]
        values = parallel(mine)
        optimizer.zero_grad()
        sum(values.values()).backward()
        optimizer.step()
        seen.append({name: float(comm.mean_over_processes(value)) for name, value in values.items()})
    return {"losses": seen, "weights": {name: value.clone() for name, value in model.state_dict().items()}}


UNCERTAINTY = ("MODEL.LOSSES.WEIGHTING", "uncertainty")
TRAININGS = {
    "syncBN": ("syncBN", ("CrossEntropyLoss", "TripletLoss")),
    "FrozenBN": ("FrozenBN", ("TripletLoss", "Cosface")),  # no loss reads the classifier's weights
    "hierarchical": ("syncBN", ("HierarchicalContrastiveLoss",), "EmbeddingHead",
                     "MODEL.LOSSES.HIERARCHICAL.MEMORY", 12),
    "memory": ("syncBN", ("TripletLoss", "CircleLoss", "Cosface"), "EmbeddingHead", "MODEL.LOSSES.CIRCLE.GAMMA", 16,
               *(value for node in ("TRI", "CIRCLE", "COSFACE") for value in (f"MODEL.LOSSES.{node}.MEMORY", 12))),
    "attributes": ("syncBN", ("BinaryCrossEntropyLoss",), "AttrHead"),
    # a loss of single rows and one over the joined batch; each has a weight that is learnt
    "uncertainty": ("FrozenBN", ("CrossEntropyLoss", "TripletLoss"), "EmbeddingHead", *UNCERTAINTY),
    "image-text": ("syncBN", ("ImageTextLoss", "ClassTextLoss", "CategoryTextLoss"), "ProjectionHead", *UNCERTAINTY,
                   "MODEL.META_ARCHITECTURE", "ImageText", "MODEL.HEADS.EMBEDDING_DIM", CLASSES),
}


class Rows(torch.utils.data.Dataset):
    """A test set of ``size`` images."""

    def __init__(self, size: int):
        self.images = draw(size, 3, 4, 4)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict:
        return {"images": self.images[index], "targets": index, "camids": 0, "img_paths": f"{index}.png"}


class Flat(torch.nn.Module):
    def forward(self, batch: dict) -> torch.Tensor:
        return batch["images"].flatten(1)


def evaluation(size: int) -> dict | None:
    """The features of a test set in batches of two, in the main process."""
    rows = Rows(size)
    loader = torch.utils.data.DataLoader(rows, batch_size=2, sampler=InferenceSampler(size))
    file = extract_features(Flat(), loader, num_query=1)
    assert (file is None) == (comm.get_rank() > 0)
    return file and {"features": torch.from_numpy(file.features), "paths": list(file.paths)}


def everything() -> dict:
    torch.set_num_threads(1)
    gathered = share(draw(4, 2)).clone().requires_grad_()
    everyone = comm.all_gather_with_grad(gathered)
    ((comm.get_rank() + 1) * everyone.square().sum()).backward()  # another factor in each process
    return {
        "gather": {"rows": everyone.detach(), "gradient": gathered.grad},
        "losses": {name: loss_and_gradient(name) for name in LOSSES},
        "norms": {name: sync_batch_norm(sizes) for name, sizes in UNEVEN.items()},
        "cumulative": sync_batch_norm((3, 4), momentum=None),
        "far from zero": sync_batch_norm((3, 4), offset=1000.0, dtype=torch.float32),
        "evaluations": {size: evaluation(size) for size in (1, 2, 7)},  # 7: batches 2 + 2 and 2 + 1; 1: nothing left
        "trainings": {name: training(*options) for name, options in TRAININGS.items()},
    }


def main(folder: str) -> None:
    torch.save(everything(), os.path.join(folder, f"{comm.get_rank()}.pt"))
