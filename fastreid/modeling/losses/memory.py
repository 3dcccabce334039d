"""Features of earlier batches, the same in all processes: what a loss compares a batch with beside itself."""

import hashlib
from collections.abc import Sequence

import torch

from fastreid.layers.precision import full_precision
from fastreid.modeling.losses.utils import concat_all_gather, normalize
from fastreid.utils import comm

EMPTY = -1  # first tag of a slot without a feature


@torch.no_grad()
def write_to_ring(
    queue: torch.Tensor, tags: torch.Tensor, pointer: torch.Tensor, rows: torch.Tensor, values: torch.Tensor, key: str
) -> torch.Tensor:
    """Write the batches of all processes, in the order of their ranks; return the slots (B,) of this one's.

    Args:
        queue: (D, size), changed here, as are ``tags`` (T, size) and ``pointer`` (1,), the slot that is written next.
        rows: (B, D) of this process. values: (B, T) int64, what is known of each row.
        key: config key of the size, for the message.

    Raises:
        ValueError: a batch has more rows than the ring has slots.
    """
    rows, values, own = concat_all_gather(rows), concat_all_gather(values), len(rows)
    size = queue.shape[1]
    require_room(len(rows), size, key)
    slots = (pointer + torch.arange(len(rows), device=pointer.device)) % size
    queue[:, slots] = rows.t().to(queue.dtype)
    tags[:, slots] = values.t()
    pointer[0] = (slots[-1] + 1) % size
    return slots[comm.get_rank() * own :][:own]


def require_room(rows: int, size: int, key: str) -> None:
    """Raise ``ValueError`` for a batch of more rows than a ring has slots; ``key``: config key of its size."""
    if rows > size:
        raise ValueError(
            f"{key} {size} is smaller than the batch of {rows} images: nothing of earlier batches would be left"
        )


class FeatureMemory:
    """A ring of the last ``size`` features with whole numbers about each, e.g. their identities.

    It belongs to a training and not to the weights of its model: an evaluation or another training does without it.
    ``checkpointables`` of a model names it, and a resumed training goes on with it. Its width is that of the first
    batch.

    Args:
        size: features kept, at least the batch of all processes.
        key: config key of ``size``, for messages.
        normalized: keep features of unit length, otherwise as they come.
    """

    def __init__(self, size: int, key: str, normalized: bool = True):
        self.size, self.key, self.normalized = size, key, normalized
        self._parts: dict[str, torch.Tensor] = {}

    def require_fit(self, features: torch.Tensor) -> None:
        """Raise ``ValueError`` for features (B, D) of another width than before or more, in all, than slots."""
        require_room(len(features) * comm.get_world_size(), self.size, self.key)
        if self._parts and len(self._parts["queue"]) != features.shape[1]:
            raise ValueError(
                f"The memory of {self.key} has features of width {len(self._parts['queue'])}, the head gives "
                f"{features.shape[1]}"
            )

    @full_precision
    def store(self, rows: torch.Tensor, values: torch.Tensor) -> None:
        """Keep the batch of every process: rows (B, D) and values (B, T) int64, the first >= 0.

        Raises:
            ValueError: features of another width than before, or more than there are slots.
        """
        rows = normalize(rows.detach()) if self.normalized else rows.detach()
        if not self._parts:
            self._parts = {
                "queue": rows.new_zeros(rows.shape[1], self.size),
                "tags": values.new_full((values.shape[1], self.size), EMPTY),
                "pointer": values.new_zeros(1),
            }
        self.require_fit(rows)
        write_to_ring(*self._on(rows.device).values(), rows, values, self.key)

    def rows(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return the features (size, D) and what was stored with them (size, T), ``EMPTY`` first where nothing is yet.

        ``None`` before the first batch.
        """
        if not self._parts:
            return None
        parts = self._on(device)
        return parts["queue"].t(), parts["tags"].t()

    def _on(self, device: torch.device) -> dict[str, torch.Tensor]:
        self._parts = {name: part.to(device) for name, part in self._parts.items()}
        return self._parts

    def state_dict(self) -> dict[str, torch.Tensor]:
        return dict(self._parts)

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Go on with a saved memory; ``ValueError`` for one of another size."""
        size = state["queue"].shape[1] if state else self.size
        if size != self.size:
            raise ValueError(f"the memory has {size} slots, {self.key} is {self.size}")
        self._parts = {name: state[name].clone() for name in ("queue", "tags", "pointer") if state}


def image_numbers(paths: Sequence[str] | None, like: torch.Tensor) -> torch.Tensor:
    """Return a number for each path, equal for equal paths in all processes and runs, int64 like ``like`` (B,).

    Without paths all are 0, which stands for an unknown image.
    """
    if paths is None:
        return torch.zeros_like(like)
    return torch.tensor([_number(path) for path in paths], dtype=torch.int64, device=like.device)


def _number(path: str) -> int:
    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest(), "big", signed=True)
