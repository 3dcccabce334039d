"""Image-text training: an image encoder learns to give what a frozen text encoder gives for the image's texts."""

import torch

from fastreid.modeling.meta_arch.baseline import Baseline
from fastreid.modeling.meta_arch.build import META_ARCH_REGISTRY


@META_ARCH_REGISTRY.register()
class ImageText(Baseline):
    """``Baseline`` for batches with ``text_features`` (B, D), the vectors of one text of each image.

    The frozen text encoder is not part of the model: its vectors come from the text bank (``DATASETS.TEXT_BANK``). What
    is trained and evaluated is the image encoder, whose features (B, D) are compared by cosine with those of images or
    with vectors of texts (Lo et al., arXiv 2404.19360, figure 2). Batches need no ``targets`` unless a loss reads them.

    Args:
        as for ``Baseline``; the head is ``ProjectionHead`` or another that provides ``features`` and ``temperature``.

    Raises:
        ValueError: no loss compares images with texts.
    """

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        needs = {table for loss in self.loss_functions for table in loss.needs}
        if self.loss_functions and "text_features" not in needs:
            names = ", ".join(type(loss).__name__ for loss in self.loss_functions)
            raise ValueError(
                f"MODEL.META_ARCHITECTURE ImageText needs a loss that reads text_features, such as ImageTextLoss; "
                f"MODEL.LOSSES.NAME is {names}. Baseline does without"
            )
        self.needs_targets = "targets" in needs

    def targets_of(self, batched_inputs: dict | torch.Tensor) -> torch.Tensor | None:
        """Return the class indices (B,), or ``None`` for a batch table without, where no loss needs them."""
        if isinstance(batched_inputs, dict) and "targets" not in batched_inputs and not self.needs_targets:
            return None
        return super().targets_of(batched_inputs)

    def losses(
        self, outputs: dict[str, torch.Tensor], gt_labels: torch.Tensor | None, batched_inputs: dict | None = None
    ) -> dict[str, torch.Tensor]:
        """Return ``{loss.key: scalar}`` of all losses; ``ValueError`` for a batch without ``text_features``."""
        if "text_features" not in (batched_inputs or {}):
            raise ValueError(
                "ImageText needs text_features in its training batches: set DATASETS.TEXT_BANK, a folder made by "
                "tools/encode_text.py"
            )
        return super().losses(outputs, gt_labels, batched_inputs)
