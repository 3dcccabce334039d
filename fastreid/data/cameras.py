"""Numbers of cameras: which there are, and those of a test set for a model that has learnt about cameras."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from fastreid.data.records import Record, as_record


def in_natural_order(names: Iterable[int | str]) -> list[int | str]:
    """Return the distinct names sorted: integers first, numbers within strings by their value.

    >>> in_natural_order(["cam_10", "cam_2", "cam_2"])
    ['cam_2', 'cam_10']
    """
    return sorted(set(names), key=_natural)


def _natural(name: int | str) -> tuple:
    if not isinstance(name, str):
        return False, name
    # the name itself last: cam_1 and cam_01 are two cameras, whose order must not depend on that of a set
    return True, [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)], name


def require_embeddings(count: int, cameras: Sequence[int | str]) -> None:
    """Raise ``ValueError`` where ``MODEL.BACKBONE.NUM_CAMERAS`` is set and less than the cameras of training."""
    if 0 < count < len(cameras):
        raise ValueError(
            f"MODEL.BACKBONE.NUM_CAMERAS is {count}, but the training set has {len(cameras)} cameras, from "
            f"{cameras[0]!r} to {cameras[-1]!r}"
        )


def with_cameras_of_training(
    records: Iterable, training: Iterable[Record], names: Sequence[str], own: bool
) -> list[Record]:
    """Return test records whose cameras have the numbers that training gives them.

    Only side information (``MODEL.BACKBONE.NUM_CAMERAS``) depends on the numbers; the rules of a ranking compare them.

    Args:
        names: of the test set, which stand before the camera in training labels.
        own: the test set is trained on too; integers of another data set would mean other cameras.

    Raises:
        ValueError: a camera that training does not have.
    """
    numbers = {camera: number for number, camera in enumerate(in_natural_order(record.camid for record in training))}

    def number(camera: int | str) -> int:
        plain = [camera] if own or isinstance(camera, str) else []
        for known in (*plain, *(f"{name}_{camera}" for name in names)):
            if known in numbers:
                return numbers[known]
        raise ValueError(
            f"Camera {camera!r} of the test set {names[0]} is none of the {len(numbers)} cameras of training, which "
            f"are all that MODEL.BACKBONE.NUM_CAMERAS knows: {', '.join(map(str, [*numbers][:3]))}, ..."
        )

    return [replace(record, camid=number(record.camid)) for record in map(as_record, records)]
