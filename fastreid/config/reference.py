"""The configuration reference ``docs/config.md``, made from the comments in ``defaults.py``."""

import re
from pathlib import Path

from fastreid.config import get_cfg
from fastreid.config.config import flatten

ASSIGNMENT = re.compile(r"^_C\.([A-Z0-9_.]+) = (.+?)(?:  # (.*))?$")

TABLE_HEAD = ["| key | default | meaning |", "| - | - | - |"]


def config_reference() -> str:
    """Return the reference as Markdown: one table row per key with its default and meaning.

    Raises:
        ValueError: a key of the default configuration is missing from the parsed source.
    """
    values = flatten(get_cfg())
    lines = Path(__file__).with_name("defaults.py").read_text(encoding="utf-8").splitlines()
    out = [
        "# Configuration reference",
        "",
        "Made by `python -m fastreid.config.reference` from `fastreid/config/defaults.py`; do not edit.",
    ]
    comments: list[str] = []
    seen = set()
    for line in lines:
        match = ASSIGNMENT.match(line)
        if line.startswith("# ----"):
            comments = []
        elif line.startswith("# "):
            comments.append(line[2:])
        elif match:
            key, value, comment = match.groups()
            note = " ".join([*comments, comment or ""]).strip()
            comments = []
            if value == "CN()":
                if "." not in key:
                    out += ["", f"## {key}", "", *([note, ""] if note else []), *TABLE_HEAD]
                elif note:
                    out.append(f"| **{key}** | | {_cell(note)} |")
            else:
                if not seen:
                    out += ["", "## Top level", "", *TABLE_HEAD]
                seen.add(key)
                out.append(f"| `{key}` | `{_cell(_shown(values[key]))}` | {_cell(note)} |")
    missing = sorted(set(values) - seen)
    if missing:
        raise ValueError(f"Keys that the reference does not show: {', '.join(missing)}")
    return "\n".join(out) + "\n"


def _shown(value) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    from fastreid.utils.files import atomic_write

    with atomic_write(Path(__file__).resolve().parents[2] / "docs" / "config.md", "w") as file:
        file.write(config_reference())
