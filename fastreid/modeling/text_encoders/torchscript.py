"""The tensors of TorchScript archives, in which OpenAI published CLIP, without running the code in them."""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import torch


def is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, torch.Tensor]:
    """Return the parameters and buffers of the module in an archive, by their dotted names.

    Raises:
        ValueError: the archive is damaged, or holds something else than modules, tensors and plain values.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(name) as file:
                return dict(_tensors(_Reader(file, archive, name.removesuffix("data.pkl")).load()))
    except (
        OSError,
        zipfile.BadZipFile,
        pickle.UnpicklingError,
        StopIteration,
        KeyError,
        EOFError,
        RuntimeError,
    ) as error:
        raise ValueError(f"{path} cannot be read as a TorchScript archive: {error}") from error


class _Module:
    """Stands for an object of any class of the archive; its state is the mapping of its attributes."""


class _Reader(pickle.Unpickler):
    """Makes modules of the archive's own classes, tensors of its storages, and refuses all others."""

    ALLOWED = {("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter")}

    def __init__(self, file: IO[bytes], archive: zipfile.ZipFile, folder: str):
        super().__init__(file)
        self._archive, self._folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return _Module
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) in self.ALLOWED:
            return getattr(torch._utils, name)
        if module == "torch" and name.endswith("Storage") and hasattr(torch, name):
            return getattr(torch, name)
        raise pickle.UnpicklingError(f"it wants {module}.{name}")

    def persistent_load(self, identity: tuple) -> torch.storage.TypedStorage:
        _, kind, key, _, _ = identity
        content = bytearray(self._archive.read(f"{self._folder}data/{key}"))
        untyped = torch.frombuffer(content, dtype=torch.uint8).untyped_storage() if content else torch.UntypedStorage(0)
        return torch.storage.TypedStorage(wrap_storage=untyped, dtype=kind.dtype, _internal=True)


def _tensors(module: _Module, prefix: str = ""):
    for name, value in vars(module).items():
        if isinstance(value, torch.Tensor):
            yield prefix + name, value.detach()
        elif isinstance(value, _Module):
            yield from _tensors(value, f"{prefix}{name}.")
