"""Contrastive losses between images and the texts that describe them (Lo et al., arXiv 2404.19360, section 3.2)."""

import torch

from fastreid.layers.precision import full_precision
from fastreid.modeling.losses.utils import LOSS_REGISTRY, locarno_codes, normalize, over_all_processes
from fastreid.utils.errors import require_choice

UNKNOWN = -1
LEVELS = ("subclass", "class")
NEEDS = ("features", "text_features", "temperature")


@over_all_processes
@full_precision
def image_text_loss(
    features: torch.Tensor, text_features: torch.Tensor, *, temperature: torch.Tensor | float, both_ways: bool = False
) -> torch.Tensor:
    """Mean over images i of ``-log(e^(t_i v_i / T) / sum_k e^(t_k v_i / T))``, t v the cosine (eq. 1; InfoNCE).

    Args:
        features, text_features: v and t, (N, D), normalised here; row i of both belongs together. The texts are
            constants: they get no gradient.
        temperature: T > 0, a scalar.
        both_ways: the mean of this and of the same for each text against the images, as in CLIP.

    Raises:
        ValueError: features and vectors of texts have different widths.
    """
    logits = _logits(features, text_features, temperature)
    loss = -logits.log_softmax(0).diagonal().mean()
    return (loss - logits.log_softmax(1).diagonal().mean()) / 2 if both_ways else loss


@over_all_processes
@full_precision
def group_text_loss(
    features: torch.Tensor, text_features: torch.Tensor, groups: torch.Tensor, *, temperature: torch.Tensor | float
) -> torch.Tensor:
    """Image-text loss in which all images and texts of one group are pairs (eq. 2); mean over items of known group.

    With P_i the items of the group of i, itself among them, and k over the whole batch, item i has the loss

        -1 / |P_i| sum_{j in P_i} log(e^(t_i v_j / T) / sum_k e^(t_i v_k / T))    its text against the images, and
        -1 / |P_i| sum_{j in P_i} log(e^(t_j v_i / T) / sum_k e^(t_k v_i / T))    its image against the texts

    The paper prints v_j in the last denominator; since that sum is over texts, v_i must be meant. (The misprint moves
    loss between the items of a group; the mean over the batch is the same.)

    By the definition of P_i an item of unknown group has none, not even its own text: it stands in the denominators
    alone. A batch of such items gives 0 with a gradient of 0. Where each group has one item, the loss is twice
    ``image_text_loss`` both ways.

    Args:
        features, text_features, temperature: as for :func:`image_text_loss`.
        groups: (N,) int64; negative: unknown.

    Raises:
        ValueError: features and vectors of texts have different widths.
    """
    logits = _logits(features, text_features, temperature)
    same = (groups[:, None] == groups[None, :]) & (groups >= 0)
    counts = same.sum(1)
    against_images = (logits.log_softmax(1) * same).sum(1)
    against_texts = (logits.log_softmax(0) * same).sum(0)
    losses = -(against_images + against_texts) / counts.clamp(min=1)
    return losses.sum() / (counts > 0).sum().clamp(min=1)


def _logits(features: torch.Tensor, text_features: torch.Tensor, temperature: torch.Tensor | float) -> torch.Tensor:
    """(N, N): texts in rows, images in columns."""
    check_widths(features.shape[1], text_features.shape[1])
    texts = text_features.detach().to(features.dtype)
    return normalize(texts) @ normalize(features).t() / temperature


def check_widths(features: int, texts: int) -> None:
    """Raise ``ValueError`` naming the keys unless features and vectors of texts have one width."""
    if features != texts:
        raise ValueError(
            f"Image and text must have one width: the head gives {features} (MODEL.HEADS.EMBEDDING_DIM), the text bank "
            f"{texts} (DATASETS.TEXT_BANK)"
        )


@LOSS_REGISTRY.register(node="MODEL.LOSSES.CLIP")
class ImageTextLoss:
    """``image_text_loss`` of each image and its own text."""

    needs = NEEDS
    key = "loss_clip"

    def __init__(self, both_ways: bool = False, scale: float = 1.0):
        self.both_ways, self.scale = both_ways, scale

    def __call__(self, table: dict) -> torch.Tensor:
        features, temperature = table["features"], table["temperature"]
        texts = table["text_features"].to(features.device)
        return self.scale * image_text_loss(features, texts, temperature=temperature, both_ways=self.both_ways)


@LOSS_REGISTRY.register(node="MODEL.LOSSES.CLASSTEXT")
class ClassTextLoss:
    """``group_text_loss`` by Locarno code; the "class" of Lo et al., of which they count 407, is a subclass.

    Args:
        level: "subclass" (14-04) or "class" (14).
    """

    needs = (*NEEDS, "taxonomy")
    key = "loss_cls_text"

    def __init__(self, level: str = "subclass", scale: float = 1.0):
        require_choice("MODEL.LOSSES.CLASSTEXT.LEVEL", level, LEVELS)
        self.level, self.scale = level, scale

    def __call__(self, table: dict) -> torch.Tensor:
        codes = locarno_codes(table["taxonomy"])
        known, groups = (codes % 100 > 0, codes) if self.level == "subclass" else (codes > 0, codes // 100)
        return self.scale * _of_groups(table, torch.where(known, groups, UNKNOWN))


@LOSS_REGISTRY.register(node="MODEL.LOSSES.CATEGORYTEXT")
class CategoryTextLoss:
    """``group_text_loss`` by category: 1 the head, subclasses that are frequent in the training set, 0 the tail."""

    needs = (*NEEDS, "frequency")
    key = "loss_cat_text"

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def __call__(self, table: dict) -> torch.Tensor:
        return self.scale * _of_groups(table, table["frequency"])


def _of_groups(table: dict, groups: torch.Tensor) -> torch.Tensor:
    features = table["features"]
    texts, groups = table["text_features"].to(features.device), groups.to(features.device)
    return group_text_loss(features, texts, groups, temperature=table["temperature"])
