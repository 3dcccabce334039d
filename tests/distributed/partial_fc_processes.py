"""What each of two processes computes for ``test_partial_fc``; one process computes the same with all classes."""

import os

import torch

from fastreid.config import get_cfg
from fastreid.engine.defaults import _for_parallel_training
from fastreid.layers import SOFTMAX_REGISTRY
from fastreid.modeling import build_model
from fastreid.modeling.heads import EmbeddingHead
from fastreid.modeling.losses import CrossEntropyLoss
from fastreid.modeling.losses.cross_entropy_loss import log_accuracy
from fastreid.solver import build_optimizer
from fastreid.utils import comm
from fastreid.utils.checkpoint import Checkpointer
from fastreid.utils.events import EventStorage
from tests.distributed.two_processes import BATCH, draw, share

CLASSES, WIDTH, STEPS = 7, 5, 4  # the first process has 4 classes, the second 3
TARGETS = torch.tensor([0, 0, 6, 3, 3, 4, 1, 5])
EPSILONS = (0.0, 0.2, -1.0)


def config(*more: object):
    cfg = get_cfg()
    cfg.merge_from_list([
        "MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.PRETRAIN", False, "SOLVER.OPT", "SGD",
        "MODEL.BACKBONE.NORM", "syncBN", "MODEL.HEADS.NORM", "syncBN", "MODEL.HEADS.WITH_BNNECK", True,
        "MODEL.HEADS.NUM_CLASSES", CLASSES, "MODEL.HEADS.CLS_LAYER", "CosSoftmax", "MODEL.HEADS.SCALE", 8,
        "MODEL.HEADS.MARGIN", 0.2, "MODEL.LOSSES.NAME", ("CrossEntropyLoss", "TripletLoss"),
        "MODEL.LOSSES.CE.EPSILON", 0.1, "SOLVER.BASE_LR", 0.05, "SOLVER.WEIGHT_DECAY", 0.01, *more,
    ])  # fmt: skip
    return cfg


def loss_and_gradients(cls_type: str, epsilon: float, pfc: bool) -> dict:
    """Loss, gradient of the features (as averaged over the processes) and of the class weights of this process."""
    head = EmbeddingHead(feat_dim=WIDTH, num_classes=CLASSES, cls_type=cls_type, scale=4, margin=0.3, pfc=pfc,
                         pfc_sample_rate=1.0).double()  # fmt: skip
    weight, shard = draw(CLASSES, WIDTH, seed=5), head.partial_fc and head.partial_fc.shard
    with torch.no_grad():
        head.weight.copy_(weight[shard.start : shard.stop] if shard else weight)
    features, targets = share(draw(BATCH, WIDTH, 1, 1)).clone().requires_grad_(), share(TARGETS)
    outputs = head(features, targets)
    with EventStorage() as storage:
        log_accuracy(outputs["pred_class_logits"], targets)
        accuracy = storage.latest()["cls_accuracy"][0]
    loss = CrossEntropyLoss(epsilon)({**outputs, "targets": targets})
    loss.backward()
    return {"loss": loss.detach(), "features": features.grad / comm.get_world_size(), "weight": head.weight.grad,
            "accuracy": accuracy}  # fmt: skip


def training(folder: str, name: str, pfc: bool, *more: object, load: str = "", steps: range = range(STEPS)) -> dict:
    """Train a small ResNet from step to step, from the checkpoint ``load``; save the checkpoint ``name``."""
    cfg = config("MODEL.HEADS.PFC.ENABLED", pfc, *more)
    torch.manual_seed(0)
    model = build_model(cfg).double().train()
    optimizer, _ = build_optimizer(cfg, model)
    parallel = _for_parallel_training(cfg, model)
    checkpointer = Checkpointer(model, folder, save_to_disk=comm.is_main_process(), optimizer=optimizer)
    checkpointer.load(load and os.path.join(folder, f"{load}.pth"), optional=())
    seen = []
    for step in steps:
        torch.manual_seed(100 * step + comm.get_rank())  # as the hook EpochSeed does
        images = 128 + 50 * draw(BATCH, 3, 32, 16, seed=step)
        values = parallel({"images": share(images), "targets": share(TARGETS.roll(step))})
        optimizer.zero_grad()
        sum(values.values()).backward()
        optimizer.step()
        seen.append({key: float(comm.mean_over_processes(value)) for key, value in values.items()})
    checkpointer.save(name)
    comm.synchronize()
    model.eval()
    with torch.no_grad():
        descriptor = model({"images": 128 + 50 * draw(2, 3, 32, 16, seed=9)})
    return {"losses": seen, "classes": model.heads.weight.detach().clone(), "descriptor": descriptor}


def small(pfc: bool) -> dict:
    return {
        f"{cls_type} {epsilon}": loss_and_gradients(cls_type, epsilon, pfc)
        for cls_type in SOFTMAX_REGISTRY.names()
        for epsilon in EPSILONS
    }


def main(folder: str) -> None:
    torch.set_num_threads(1)
    rate, adam = "MODEL.HEADS.PFC.SAMPLE_RATE", ("SOLVER.OPT", "Adam", "SOLVER.BASE_LR", 0.003)
    first, second = range(2), range(2, STEPS)
    found = {
        "small": small(pfc=True),
        "exact": training(folder, "exact", True, rate, 1.0),
        "adam": training(folder, "adam", True, rate, 1.0, *adam),
        "from one": training(folder, "from-one", True, rate, 1.0, load="half", steps=second),
        "half": training(folder, "two-half", True, rate, 1.0, steps=first),
        "sampled": training(folder, "sampled", True, rate, 0.5),
        "sampled half": training(folder, "sampled-half", True, rate, 0.5, steps=first),
        "sampled resumed": training(folder, "sampled-resumed", True, rate, 0.5, load="sampled-half", steps=second),
    }
    torch.save(found, os.path.join(folder, f"{comm.get_rank()}.pt"))
