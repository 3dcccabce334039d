"""fast-reid's ``PathManager``: files by path or address, and handlers for further kinds of storage."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from fastreid.utils.errors import nearest
from fastreid.utils.files import cached_download

__all__ = ["PathHandler", "PathManager"]


class PathHandler:
    """One kind of storage: ``PathManager`` hands it the paths that begin with one of its prefixes.

    A subclass gives ``_get_supported_prefixes`` and whichever of the other methods its storage can do. The defaults
    read a local copy, so a storage that is only read needs ``_get_local_path`` alone.
    """

    def _get_supported_prefixes(self) -> list[str]:
        raise NotImplementedError(f"{type(self).__name__} does not say which prefixes it handles")

    def _get_local_path(self, path: str, **kwargs: Any) -> str:
        """Return a file or folder on this machine with the content of ``path``."""
        raise self._cannot("_get_local_path")

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO:
        if mode.strip("bt") != "r":
            raise ValueError(f"{type(self).__name__} can only read; mode {mode!r} was asked for {path}")
        return open(self._get_local_path(path), mode, buffering, **kwargs)

    def _copy(self, src_path: str, dst_path: str, overwrite: bool = False, **kwargs: Any) -> bool:
        raise self._cannot("_copy")

    def _exists(self, path: str, **kwargs: Any) -> bool:
        return os.path.exists(self._get_local_path(path))

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        return os.path.isfile(self._get_local_path(path))

    def _isdir(self, path: str, **kwargs: Any) -> bool:
        return os.path.isdir(self._get_local_path(path))

    def _ls(self, path: str, **kwargs: Any) -> list[str]:
        return sorted(os.listdir(self._get_local_path(path)))

    def _mkdirs(self, path: str, **kwargs: Any) -> None:
        raise self._cannot("_mkdirs")

    def _rm(self, path: str, **kwargs: Any) -> None:
        raise self._cannot("_rm")

    def _cannot(self, method: str) -> NotImplementedError:
        return NotImplementedError(f"{type(self).__name__} has no {method}")


class _LocalFiles(PathHandler):
    """Ordinary files; takes every path that no other handler claims."""

    def _get_supported_prefixes(self) -> list[str]:
        return [""]

    def _get_local_path(self, path: str, **kwargs: Any) -> str:
        return os.fspath(path)

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO:
        return open(path, mode, buffering, **kwargs)

    def _copy(self, src_path: str, dst_path: str, overwrite: bool = False, **kwargs: Any) -> bool:
        if Path(dst_path).exists() and not overwrite:
            return False
        shutil.copyfile(src_path, dst_path)
        return True

    def _mkdirs(self, path: str, **kwargs: Any) -> None:
        os.makedirs(path, exist_ok=True)

    def _rm(self, path: str, **kwargs: Any) -> None:
        os.remove(path)


class _Addresses(PathHandler):
    """http(s) addresses, downloaded once into the cache."""

    def _get_supported_prefixes(self) -> list[str]:
        return ["http://", "https://"]

    def _get_local_path(self, path: str, **kwargs: Any) -> str:
        return str(cached_download(path))


class _PackageFiles(PathHandler):
    """``package://NAME/path``: a file inside an installed Python package, of which no code is run to find it."""

    def _get_supported_prefixes(self) -> list[str]:
        return ["package://"]

    def _get_local_path(self, path: str, **kwargs: Any) -> str:
        """Raises ``FileNotFoundError`` where the package is not installed, or has no such file."""
        name, _, inside = path.removeprefix("package://").partition("/")
        spec = find_spec(name) if name.isidentifier() else None
        folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
        if not folders:
            raise FileNotFoundError(f"{path}: the Python package {name!r} is not installed. Try: pip install {name}")
        for folder in folders:
            if (folder / inside).exists():
                return str(folder / inside)
        alike = folders[0].rglob(f"*{Path(inside).suffix}")
        hint = nearest(inside, (file.relative_to(folders[0]).as_posix() for file in alike))
        raise FileNotFoundError(f"{path}: the package {name} in {folders[0]} has no {inside!r}.{hint}")


class PathManager:
    """File operations on any path that a registered handler knows; used as a class, ``PathManager.open(path)``."""

    _handlers: dict[str, PathHandler] = {}

    @classmethod
    def register_handler(cls, handler: PathHandler, allow_override: bool = False) -> None:
        """Add a kind of storage; ``KeyError`` where another handler has one of its prefixes already."""
        prefixes = handler._get_supported_prefixes()
        taken = [prefix for prefix in prefixes if prefix in cls._handlers]
        if taken and not allow_override:
            raise KeyError(
                f"PathManager has a handler for {taken[0]!r} already: {type(cls._handlers[taken[0]]).__name__}"
            )
        cls._handlers.update(dict.fromkeys(prefixes, handler))

    @classmethod
    def _handler(cls, path: str | os.PathLike) -> PathHandler:
        """Return the handler of the longest prefix that ``path`` begins with."""
        return cls._handlers[max((p for p in cls._handlers if os.fspath(path).startswith(p)), key=len)]

    @classmethod
    def open(cls, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO:
        return cls._handler(path)._open(path, mode, buffering, **kwargs)

    @classmethod
    def copy(cls, src_path: str, dst_path: str, overwrite: bool = False, **kwargs: Any) -> bool:
        """Copy within one storage; False where ``dst_path`` exists and ``overwrite`` is not set."""
        if cls._handler(src_path) is not cls._handler(dst_path):
            raise ValueError(f"PathManager copies within one storage only; got {src_path} and {dst_path}")
        return cls._handler(src_path)._copy(src_path, dst_path, overwrite, **kwargs)

    @classmethod
    def get_local_path(cls, path: str, **kwargs: Any) -> str:
        return cls._handler(path)._get_local_path(path, **kwargs)

    @classmethod
    def exists(cls, path: str, **kwargs: Any) -> bool:
        return cls._handler(path)._exists(path, **kwargs)

    @classmethod
    def isfile(cls, path: str, **kwargs: Any) -> bool:
        return cls._handler(path)._isfile(path, **kwargs)

    @classmethod
    def isdir(cls, path: str, **kwargs: Any) -> bool:
        return cls._handler(path)._isdir(path, **kwargs)

    @classmethod
    def ls(cls, path: str, **kwargs: Any) -> list[str]:
        return cls._handler(path)._ls(path, **kwargs)

    @classmethod
    def mkdirs(cls, path: str, **kwargs: Any) -> None:
        cls._handler(path)._mkdirs(path, **kwargs)

    @classmethod
    def rm(cls, path: str, **kwargs: Any) -> None:
        cls._handler(path)._rm(path, **kwargs)


PathManager.register_handler(_LocalFiles())
PathManager.register_handler(_Addresses())
PathManager.register_handler(_PackageFiles())
