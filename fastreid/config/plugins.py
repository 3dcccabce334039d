"""Import of the files named in ``PLUGINS``."""

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def load_plugin(plugin: str) -> ModuleType:
    """Import a ``.py`` file or a dotted module once and return it.

    Raises:
        FileNotFoundError: a path that does not exist.
        ImportError: a module that cannot be imported.
    """
    if not plugin.endswith(".py"):
        try:
            return importlib.import_module(plugin)
        except ImportError as error:
            raise ImportError(f"PLUGINS names the module '{plugin}', which cannot be imported: {error}") from error
    path = Path(plugin).expanduser().resolve()
    if not path.is_file():
        raise FileNotFoundError(f"PLUGINS names the file '{plugin}', which does not exist ({path})")
    name = f"fastreid_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        # a plug-in that failed half way must not look imported to the next attempt
        del sys.modules[name]
        raise
    return module
