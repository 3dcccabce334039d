"""The head of image-text models: pooling, a projector to the width of the texts, and the temperature."""

import math

import torch
from torch import nn

from fastreid.config import configurable
from fastreid.layers import POOLING_REGISTRY
from fastreid.modeling.heads.build import REID_HEADS_REGISTRY
from fastreid.utils.errors import require_choice, require_whole

PROJECTORS = ("", "linear", "mlp")


@REID_HEADS_REGISTRY.register()
class ProjectionHead(nn.Module):
    """Feature map (B, ``feat_dim``, h, w) -> ``features`` (B, D), which are compared with vectors of texts.

    In training it returns a dict: ``features``, not normalised, and ``temperature``, a scalar > 0 that divides the
    cosines. In evaluation it returns the features alone. There is no classifier: ``MODEL.HEADS.NUM_CLASSES`` means
    nothing here.

    As in CLIP (Radford et al., 2021) what is learnt is the logarithm of the scale of the logits, ``logit_scale`` =
    log(1 / temperature), without weight decay, and the scale never exceeds 1 / ``min_temperature``. A step of the
    optimiser that went beyond is taken back at the next forward, in the parameter itself: a clamp in the computation
    would leave it there for ever, since its gradient is then 0, and one that lets the gradient pass would let it drift
    away. So the gradient at the bound is the true one, and leads back as soon as a larger temperature is better.

    Args:
        embedding_dim: D; 0: ``feat_dim``. A training fills in the width of the text bank instead.
        pool_type: name in ``POOLING_REGISTRY``.
        projector: "" nothing, "linear", or "mlp": linear layer, GELU, linear layer. Lo et al. (arXiv 2404.19360,
            section 3.1) have "projectors composed of MLPs" where widths differ; layers and activation are ours.
        projector_dim: width of the hidden layer; 0: ``feat_dim``.
        temperature: first value. min_temperature: lower bound; CLIP has 0.07 and 0.01.
        learn_temperature: False: it stays ``temperature``.

    Raises:
        ValueError: an option out of range, or no projector although the widths differ.
    """

    provides = ("features", "temperature")
    task = "retrieval"
    without_decay = ("logit_scale",)

    @configurable
    def __init__(
        self, *, feat_dim: int, embedding_dim: int = 0, pool_type: str = "GlobalAvgPool", projector: str = "mlp",
        projector_dim: int = 0, temperature: float = 0.07, min_temperature: float = 0.01,
        learn_temperature: bool = True,
    ):  # fmt: skip
        super().__init__()
        check_options(embedding_dim, projector, projector_dim, temperature, min_temperature)
        self.pool_layer = POOLING_REGISTRY.get(pool_type)()
        self.feature_dim = embedding_dim or feat_dim
        self.projector = _projector(projector, feat_dim, projector_dim or feat_dim, self.feature_dim)
        self.max_logit_scale = math.log(1 / min_temperature)
        scale = torch.tensor(math.log(1 / temperature))
        self.logit_scale = nn.Parameter(scale, requires_grad=learn_temperature)

    @classmethod
    def from_config(cls, cfg, feat_dim: int | None = None) -> dict:
        heads = cfg.MODEL.HEADS
        return {
            "feat_dim": feat_dim or cfg.MODEL.BACKBONE.FEAT_DIM,
            "embedding_dim": heads.EMBEDDING_DIM,
            "pool_type": heads.POOL_LAYER,
            "projector": heads.PROJECTOR,
            "projector_dim": heads.PROJECTOR_DIM,
            "temperature": heads.TEMPERATURE,
            "min_temperature": heads.MIN_TEMPERATURE,
            "learn_temperature": heads.LEARN_TEMPERATURE,
        }

    @property
    def temperature(self) -> torch.Tensor:
        """The scalar that divides cosines, with its gradient."""
        with torch.no_grad():
            self.logit_scale.clamp_(max=self.max_logit_scale)
        return torch.exp(-self.logit_scale)

    def forward(self, features: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor | dict:
        """Args: features: (B, feat_dim, h, w). targets: not used; other heads need them."""
        projected = self.projector(self.pool_layer(features)[..., 0, 0])
        return {"features": projected, "temperature": self.temperature} if self.training else projected


def check_options(
    embedding_dim: int, projector: str, projector_dim: int, temperature: float, min_temperature: float
) -> None:
    """Raise ``ValueError`` naming the key for an option of ``ProjectionHead`` that is out of range."""
    require_whole("MODEL.HEADS.EMBEDDING_DIM", embedding_dim, 0)
    require_whole("MODEL.HEADS.PROJECTOR_DIM", projector_dim, 0)
    require_choice("MODEL.HEADS.PROJECTOR", projector, PROJECTORS)
    if not min_temperature > 0:
        raise ValueError(f"MODEL.HEADS.MIN_TEMPERATURE must be positive; got {min_temperature!r}")
    if not min_temperature <= temperature < math.inf:
        raise ValueError(
            f"MODEL.HEADS.TEMPERATURE must be at least MODEL.HEADS.MIN_TEMPERATURE {min_temperature!r}; got "
            f"{temperature!r}"
        )


def _projector(kind: str, width: int, hidden: int, out: int) -> nn.Module:
    if kind == "linear":
        return nn.Linear(width, out)
    if kind == "mlp":
        return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, out))
    if width != out:
        raise ValueError(
            f"MODEL.HEADS.PROJECTOR is '', but the backbone gives features of width {width} and the texts have vectors "
            f"of width {out} (MODEL.HEADS.EMBEDDING_DIM): choose 'linear' or 'mlp'"
        )
    return nn.Identity()


def width_in(weights: dict[str, torch.Tensor]) -> int:
    """Return the D of the projector among the weights of a model; 0 where there is none."""
    names = sorted(name for name in weights if name.startswith("heads.projector.") and name.endswith("weight"))
    return len(weights[names[-1]]) if names else 0
