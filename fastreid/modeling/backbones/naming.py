"""Parameter names: a network is built and run under its own names, and saved and loaded under fast-reid's.

Checkpoints of fast-reid and weights of timm then fit the same module, and what is saved fits fast-reid. A family of
backbones only says how its module paths translate; the hooks here do the rest.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from torch import nn


class Names:
    """Translation between the own names of a module and those in files.

    Args:
        public: {own module path: path in files written from it}; paths not in it stay as they are.
        others: such tables of further namings that are understood on load.
    """

    def __init__(self, public: Mapping[str, str], *others: Mapping[str, str]):
        self.public, self.others = dict(public), [dict(other) for other in others]

    def attach(self, module: nn.Module) -> None:
        """Make ``module.state_dict`` give public names, and ``load_state_dict`` take all namings and the own names."""
        # partial: torch sets an attribute on what it registers, which a bound method refuses
        module.register_state_dict_post_hook(partial(self._rename_saved))
        module.register_load_state_dict_pre_hook(self._rename_given)

    def to_public(self, module: nn.Module, weights: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``weights`` with every name that is understood replaced by the public one; the rest stays."""
        public = {}
        for own in _own_names(module):
            for alias in self._aliases(own):
                public[alias] = _rename(own, self.public)
        return {public.get(name, name): value for name, value in weights.items()}

    def _aliases(self, own: str) -> list[str]:
        return [_rename(own, table) for table in (self.public, *self.others)]

    def _rename_saved(self, module: nn.Module, state_dict: dict, prefix: str, local_metadata: dict) -> None:
        for name in [name for name in state_dict if name.startswith(prefix)]:
            value = state_dict.pop(name)  # all are put back in their order
            state_dict[prefix + _rename(name.removeprefix(prefix), self.public)] = value

    def _rename_given(self, module: nn.Module, state_dict: dict, prefix: str, *_: Any) -> None:
        given = {}
        for own in _own_names(module):
            for alias in (own, *self._aliases(own)):
                if prefix + alias in state_dict:
                    given[prefix + own] = state_dict.pop(prefix + alias)
                    break
        state_dict.update(given)


def _own_names(module: nn.Module) -> Iterator[str]:
    for name, _ in module.named_parameters(remove_duplicate=False):
        yield name
    for name, _ in module.named_buffers(remove_duplicate=False):
        yield name


def _rename(name: str, paths: Mapping[str, str]) -> str:
    """``net.bn1.weight`` with {"net.bn1": "features.0.1"} -> ``features.0.1.weight``."""
    path, _, leaf = name.rpartition(".")
    path = paths.get(path, path)
    return f"{path}.{leaf}" if path else leaf
