"""The environment of the peers: apart from ours, so that theirs never decides which versions we run."""

import importlib.metadata
import json
import subprocess
import sys
import sysconfig
from pathlib import Path

PACKAGES = ("torchmetrics", "pytorch-metric-learning", "faiss-cpu")
# open-metric-learning asks for numpy < 2, which only its training part needs; its ranking runs with ours.
WITHOUT_DEPENDENCIES = ("open-metric-learning",)
ITS_IMPORTS = ("omegaconf", "pandas", "matplotlib", "validators", "albumentations")
PEERS = (*PACKAGES, *WITHOUT_DEPENDENCIES)


class Peers:
    """A virtual environment at ``path`` that reads torch and numpy from ours.

    Attributes:
        python: its interpreter.
        versions: of the packages that are there.
        problem: why some are not, in one line.
    """

    def __init__(self, path: Path, wanted: bool = True):
        self.path, self.versions, self.problem = path, {}, "" if wanted else "left out by --no-peers"
        self.python = str(path / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))
        if wanted:
            self.problem = self._make()
            self.versions = self._installed()

    def _make(self) -> str:
        """Create what is missing; return the last line of what went wrong."""
        if not Path(self.python).exists():
            problem = attempt(sys.executable, "-m", "venv", str(self.path))
            if problem:
                return problem
            self._borrow()
        missing = [name for name in PEERS if name not in self._installed()]
        if not missing:
            return ""
        install = (self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        groups = (PACKAGES, ITS_IMPORTS, ("--no-deps", *WITHOUT_DEPENDENCIES))
        problems = [attempt(*install, *group) for group in groups]
        return next(filter(None, problems), "")

    def _borrow(self) -> None:
        """Let it import what our environment has, after its own: gigabytes of torch are not installed twice."""
        ours = sysconfig.get_paths()["purelib"]
        asked = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
        theirs = subprocess.run([self.python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
        Path(theirs, "borrowed.pth").write_text(ours + "\n")

    def _installed(self) -> dict[str, str]:
        if not Path(self.python).exists():
            return {}
        code = (
            "import json, sys, importlib.metadata as m\n"
            "found = {d.metadata['Name'].lower().replace('_', '-'): d.version for d in m.distributions()}\n"
            "print(json.dumps({name: found[name] for name in sys.argv[1:] if name in found}))"
        )
        done = subprocess.run([self.python, "-c", code, *PEERS], capture_output=True, text=True)
        return json.loads(done.stdout) if done.returncode == 0 else {}


def attempt(*command: str) -> str:
    """Run a command; return the last line it said when it failed, else an empty string."""
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return (lines[-1] if lines else f"exit status {done.returncode}") if done.returncode else ""


def version(package: str) -> str:
    """Version of a package of our own environment."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
