"""How much memory a process has taken."""

import re
import sys
from pathlib import Path


def peak_memory() -> int | None:
    """Largest resident size of this process so far, bytes; ``None`` where the system does not say (Windows)."""
    peak = peak_of("self")
    if peak is not None:
        return peak
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_of(process: int | str) -> int | None:
    """As `peak_memory`, of any running process by its number; ``None`` off Linux and when it has ended.

    On Linux ``ru_maxrss``, which is there afterwards too, also counts what the parent held when it started the process.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None
