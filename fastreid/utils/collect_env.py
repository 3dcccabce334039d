"""Versions and hardware for a bug report: ``python -m fastreid.utils.collect_env``."""

import argparse
import importlib.metadata
import os
import platform
import sys

PACKAGES = (
    ["torch", "torchvision", "numpy", "faiss-cpu", "faiss-gpu", "scikit-learn", "pillow", "yacs", "Cython"]
    + ["tensorboard", "timm", "manifold3d"]
)


def collect_env_info() -> str:
    """Return a table of the platform, the installed packages, the devices and the settings of the environment."""
    import torch

    import fastreid

    rows = [
        ("fastreid", fastreid.__version__),
        ("fastreid at", os.path.dirname(fastreid.__file__)),
        ("python", sys.version.split()[0]),
        ("platform", platform.platform()),
        ("CPU cores", f"{os.cpu_count()} (torch uses {torch.get_num_threads()} threads)"),
        ("compiled part", _compiled_parts()),
        ("CUDA", torch.version.cuda if torch.cuda.is_available() else "none"),
    ]
    rows += [(f"GPU {i}", torch.cuda.get_device_name(i)) for i in range(torch.cuda.device_count())]
    rows += [(name, _version(name)) for name in PACKAGES]
    rows += [(n, v) for n, v in sorted(os.environ.items()) if n.startswith("FASTREID_") or n == "OMP_NUM_THREADS"]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _compiled_parts() -> str:
    from pathlib import Path

    import fastreid

    names = sorted(p.name.split(".")[0] for p in Path(fastreid.__file__).parent.rglob("*.so"))
    return ", ".join(names) or "none (pure Python, slower)"


def main(argv: list[str] | None = None) -> None:
    argparse.ArgumentParser(description="Print versions and devices, for bug reports.").parse_args(argv)
    print(collect_env_info())


if __name__ == "__main__":
    main()
