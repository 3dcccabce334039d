"""What the figures were measured on."""

import os
import platform
import subprocess
from pathlib import Path

from benchmarks.environment import version

FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8")
FLAGS += ("asimd", "sve", "bf16")  # of Arm
VERSIONS = ("numpy", "scipy", "torch", "faiss-cpu")
ROOT = Path(__file__).resolve().parents[2]


def describe(device: str) -> list[tuple[str, str]]:
    """Rows (name, value) about processor, memory, system and versions."""
    import fastreid

    rows = [
        ("processor", processor()),
        ("of its instructions", " ".join(flags()) or "unknown"),
        ("cores", f"{usable_cores()} usable of {os.cpu_count()}"),
        ("memory", memory()),
        ("system", f"{platform.system()} {platform.release()}, Python {platform.python_version()}"),
        ("fastreid", f"{fastreid.__version__}{revision()}"),
        ("compiled part", ", ".join(compiled()) or "none"),
    ]
    if device != "cpu":
        import torch

        rows.insert(0, ("device", torch.cuda.get_device_name()))
    return rows + [(name, version(name)) for name in VERSIONS]


def cpuinfo() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().partition("\n\n")[0].splitlines() if path.exists() else []
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def processor() -> str:
    found = cpuinfo()
    family = ", ".join(f"{key} {found[key]}" for key in ("cpu family", "model") if key in found)
    name = found.get("model name") or platform.processor() or platform.machine()
    return f"{name} ({family})" if family else name


def flags() -> list[str]:
    found = cpuinfo()
    present = set(found.get("flags", found.get("Features", "")).split())
    return [flag for flag in FLAGS if flag in present]


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> str:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return "unknown"
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that new processes can have on this machine or in this container; ``None`` where the system is silent."""
    group = root / "sys/fs/cgroup"
    found = [1024 * kib for kib in _numbers(root / "proc/meminfo", "MemAvailable:")]
    limit, used = _text(group / "memory.max").strip(), _text(group / "memory.current").strip()
    if limit.isdigit() and used.isdigit():
        cache = sum(_numbers(group / "memory.stat", "file"))  # the cache of files gives way
        found.append(max(0, int(limit) - int(used) + cache))
    return min(found, default=None)


def _numbers(path: Path, name: str) -> list[int]:
    """The numbers that stand after ``name`` in the lines of a file."""
    lines = [line.split() for line in _text(path).splitlines()]
    return [int(words[1]) for words in lines if words[:1] == [name]]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def revision() -> str:
    """``" at commit abc1234"`` where this is a git checkout."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return ""
    return f" at commit {done.stdout.strip()}" if done.returncode == 0 else ""


def compiled() -> list[str]:
    suffixes = (".so", ".pyd")
    folder = ROOT / "fastreid" / "retrieval"
    return sorted(path.name.partition(".")[0] for path in folder.iterdir() if path.suffix in suffixes)
