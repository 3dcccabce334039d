"""Tables that come with data sets as files of MATLAB."""

import os
import zlib
from typing import Any

# what scipy raises on a failed download: a page of HTML, half a file
_READ_ERRORS = (NotImplementedError, ValueError, TypeError, OSError, EOFError, IndexError, zlib.error)


class MatFile:
    """The variables of a MATLAB file (before version 7.3), by name; single rows and columns have one dimension.

    Args:
        options: those of ``scipy.io.loadmat``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is none of MATLAB; when a variable is read: the file does not have it.
    """

    def __init__(self, path: str | os.PathLike, **options: Any):
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError

        self.path = path
        try:
            self._variables = loadmat(path, squeeze_me=True, **options)
        except FileNotFoundError:
            raise
        except (MatReadError, *_READ_ERRORS) as error:
            raise ValueError(f"{path} cannot be read as a MATLAB file: {error}") from error

    def __getitem__(self, name: str) -> Any:
        if name not in self._variables:
            names = ", ".join(known for known in self._variables if not known.startswith("__"))
            raise ValueError(f"{self.path} has no '{name}'; it holds {names or 'nothing'}")
        return self._variables[name]
