"""Optimisers under fast-reid's import path: PyTorch's (``RAdam`` among them), ``Lamb`` and the wrapper ``SWA``."""

from torch.optim import *  # noqa: F403

from fastreid.solver.optim.lamb import Lamb
from fastreid.solver.optim.swa import SWA
