"""InfoNCE over the identities of a batch."""

import torch
import torch.nn.functional as F

from fastreid.layers.precision import full_precision
from fastreid.modeling.losses.utils import LOSS_REGISTRY, normalize, over_all_processes, pair_masks


@over_all_processes
@full_precision
def infonce_loss(embedding: torch.Tensor, targets: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean over positive pairs (i, p) of ``-log(e^(s_ip / t) / (e^(s_ip / t) + sum_n e^(s_in / t)))``, s the cosine.

    Each ordered pair of one identity is a query with its single positive, against all images of other identities (van
    den Oord et al., arXiv 1807.03748, eq. 4; Higuchi and Yanai, 2023, section 3.1.2; "NTXentLoss" in
    pytorch-metric-learning). Further positives of the query are not in the denominator, which is what SupCon (Khosla et
    al., 2020) has otherwise; with two images of each identity both are the same. A batch without positive pairs gives 0
    with a gradient of 0, and so does a pair without negatives.

    Args:
        embedding: (N, D), normalised here. targets: (N,) int64. temperature: t > 0.
    """
    embedding = normalize(embedding)
    similarity = embedding @ embedding.t() / temperature
    is_positive, is_negative = pair_masks(targets)
    # a large finite value instead of -inf, whose logsumexp over an empty row has NaN gradients
    others = torch.where(is_negative, similarity, -1e8).logsumexp(1, keepdim=True)
    losses = torch.where(is_positive, F.softplus(others - similarity), 0.0)
    return losses.sum() / is_positive.sum().clamp(min=1)


@LOSS_REGISTRY.register(node="MODEL.LOSSES.INFONCE")
class InfoNCELoss:
    """``infonce_loss`` of the features; ``ValueError`` for a temperature that is not positive."""

    needs = ("features", "targets")
    key = "loss_infonce"

    def __init__(self, temperature: float = 0.07, scale: float = 1.0):
        if not temperature > 0:
            raise ValueError(f"MODEL.LOSSES.INFONCE.TEMPERATURE must be positive; got {temperature!r}")
        self.temperature, self.scale = temperature, scale

    def __call__(self, table: dict) -> torch.Tensor:
        return self.scale * infonce_loss(table["features"], table["targets"], self.temperature)
