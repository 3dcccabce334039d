"""The size of the images that a network gets."""

from collections.abc import Sequence


def two_sides(size: Sequence[int]) -> tuple[int, int]:
    """(height, width) of one or two numbers; one number is the side of a square."""
    height, width = (*size, *size)[:2]
    return height, width


def input_size(cfg, is_train: bool) -> tuple[int, int]:
    """(height, width) that the transforms give: ``INPUT.SIZE_TRAIN`` or ``SIZE_TEST``, or the size of ``INPUT.CROP``.

    A size of one number resizes the shorter side alone, after which something must cut a square of it.
    """
    size = cfg.INPUT.SIZE_TRAIN if is_train else cfg.INPUT.SIZE_TEST
    return two_sides(cfg.INPUT.CROP.SIZE if cfg.INPUT.CROP.ENABLED else size)
