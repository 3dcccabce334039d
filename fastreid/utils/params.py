"""fast-reid's ``ContiguousParams``, which leaves the parameters as they are."""

from collections.abc import Iterable
from typing import Any

import torch


class ContiguousParams:
    """Parameters or parameter groups under the interface of fast-reid's flat buffers, but without the buffers.

    fast-reid copied the parameters of each group into one tensor for speed. With torch >= 2.0 an optimiser over such
    tensors changes nothing, and optimisers have had fused and ``foreach`` implementations since. So nothing is copied:
    the optimiser gets the model's own parameters, and they are always valid.

    >>> params = ContiguousParams(model.parameters())
    >>> optimizer = torch.optim.SGD(params.contiguous(), lr=0.1)
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter] | Iterable[dict[str, Any]]):
        self._parameters = list(parameters)

    def contiguous(self) -> list:
        """Return what an optimiser takes: the parameters, or the groups, that were given."""
        return self._parameters

    def original(self) -> list:
        return self._parameters

    def buffer_is_valid(self) -> bool:
        return True

    def assert_buffer_is_valid(self) -> None:
        """Do nothing: without buffers none can be stale."""
