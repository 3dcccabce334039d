"""Losses: functions on tensors under fast-reid's names, and the classes that ``MODEL.LOSSES.NAME`` names."""

from fastreid.modeling.losses.bce_loss import BinaryCrossEntropyLoss, binary_cross_entropy_loss
from fastreid.modeling.losses.circle_loss import CircleLoss, pairwise_circleloss
from fastreid.modeling.losses.cosface_loss import Cosface, pairwise_cosface
from fastreid.modeling.losses.cross_entropy_loss import CrossEntropyLoss, cross_entropy_loss, log_accuracy
from fastreid.modeling.losses.focal_loss import FocalLoss, focal_loss, focal_loss_of_mean
from fastreid.modeling.losses.hierarchical_loss import HierarchicalContrastiveLoss, hierarchical_contrastive_loss
from fastreid.modeling.losses.image_text_losses import (
    CategoryTextLoss,
    ClassTextLoss,
    ImageTextLoss,
    group_text_loss,
    image_text_loss,
)
from fastreid.modeling.losses.infonce_loss import InfoNCELoss, infonce_loss
from fastreid.modeling.losses.triplet_loss import TripletLoss, all_triplets_loss, triplet_loss
from fastreid.modeling.losses.utils import LOSS_REGISTRY

__all__ = [name for name in dir() if not name.startswith("_")]
