"""Draw meshes as patents: one file, one design, in the layout and lists of DeepPatent, as MiniPatent is."""

import argparse
import dataclasses
import functools
import hashlib
import json
import logging
import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import Family
from fastreid.data.synthetic.generate import (
    IMAGES,
    METADATA_FILE,
    SETTINGS_FILE,
    draw_figures,
    locked,
    run_jobs,
    write_lists,
)
from fastreid.data.synthetic.mesh_files import UP_AXES, read_mesh, turn_upright
from fastreid.data.synthetic.plan import Plan, plan_patent
from fastreid.data.synthetic.projection import VIEWS
from fastreid.data.synthetic.style import STYLES
from fastreid.data.synthetic.surface import CREASE_DEGREES
from fastreid.utils.command import entry_point
from fastreid.utils.errors import require_choice
from fastreid.utils.files import atomic_write, sha256_of

logger = logging.getLogger(__name__)

# Raise this whenever the same seed no longer gives the same drawings: drawings of two versions are never mixed.
VERSION = 1
FAILURES_FILE = "failures.tsv"


@dataclass(frozen=True)
class MeshSettings:
    """Options that decide what the drawings look like.

    Args:
        size: side of the square drawings in pixels, 64 to 2048.
        seed: root of all random draws; the same seed and file name give the same drawings.
        style: "mixed" manners of drawing, or "fixed": one for all.
        bilevel: 1-bit PNG as at the patent office; False: 8-bit with antialiased lines.
        views: "all" seven, or "random": 3 to 7 with the perspective among them.
        up: axis of the files that points upwards, "y" or "z"; "auto": by custom of the format (STL and PLY z).
        crease: angle between triangles in degrees above which their edge is drawn, 1 to 179.
    """

    size: int = 256
    seed: int = 0
    style: str = "mixed"
    bilevel: bool = True
    views: str = "random"
    up: str = "auto"
    crease: float = CREASE_DEGREES

    def __post_init__(self):
        for name, allowed in {"style": STYLES, "views": ("all", "random"), "up": ("auto", "y", "z")}.items():
            require_choice(f"{name} of drawn meshes", getattr(self, name), allowed)
        for name, (low, high) in {"size": (64, 2048), "seed": (0, 2**32 - 1), "crease": (1, 179)}.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} of drawn meshes must be {low} to {high}; got {getattr(self, name)}")


@dataclass(frozen=True)
class MeshJob:
    """A file to draw; ``key``: the part of its path that names it, with folders as far as needed to be its own."""

    path: Path
    key: str
    title: str
    locarno: str = ""


def render_designs(
    inputs: Sequence[str | os.PathLike],
    root: str | os.PathLike,
    settings: MeshSettings | None = None,
    val: float = 0.1,
    workers: int | None = None,
    titles: str | os.PathLike | None = None,
) -> dict:
    """Draw every mesh among ``inputs`` into ``root``, or those that are missing there.

    ``root`` receives ``train_data/patent_data/I<date>/<name>/<figure>.png``, the lists of DeepPatent in
    ``train_data/``, ``metadata.jsonl`` (a line per patent), ``settings.json`` and ``failures.tsv`` (file and reason).

    Args:
        inputs: files, and folders that are searched with all below them.
        val: share of the designs whose figures are queries and gallery instead of training images.
        workers: processes; ``None``: one per usable core, 0: draw in this process.
        titles: tab-separated file with the columns ``id`` (file name without ending), ``title`` and, if there,
            ``locarno``; other files are titled by their name.

    Returns:
        Numbers of ``patents``, ``figures``, newly ``drawn`` patents; ``seconds`` taken to draw; ``failures``: reasons
        by path.

    Raises:
        ValueError: no mesh among the inputs, or ``root`` holds drawings made with other settings.
        ImportError: a file's format needs trimesh (extra ``meshes``) and it is not installed.
    """
    root, settings = Path(root), settings or MeshSettings()
    if not 0 <= val <= 1:
        raise ValueError(f"The share val of drawn meshes must be 0 to 1; got {val}")
    jobs = find_meshes(inputs, read_titles(titles) if titles else {})
    root.mkdir(parents=True, exist_ok=True)
    with locked(root):
        _check_settings(root, settings)
        plans = {job: plan_mesh(job, settings, val) for job in jobs}
        missing = [job for job in jobs if not (root / IMAGES / plans[job].folder).is_dir()]
        start = time.perf_counter()
        draw = functools.partial(draw_mesh, root=root, settings=settings, val=val)
        reasons = run_jobs(draw, missing, workers, "meshes")
        seconds = time.perf_counter() - start
        failures = {job: reason for job, reason in zip(missing, reasons, strict=True) if reason}
        drawn = {job: plan for job, plan in plans.items() if job not in failures}
        write_lists(root, list(drawn.values()))
        _write_table(root, drawn, failures)
    return {
        "patents": len(drawn),
        "figures": sum(len(plan.figures) for plan in drawn.values()),
        "drawn": len(missing) - len(failures),
        "seconds": seconds,
        "failures": {str(job.path): reason for job, reason in failures.items()},
    }


def find_meshes(inputs: Sequence[str | os.PathLike], titles: dict[str, dict] | None = None) -> list[MeshJob]:
    """Return the meshes among files and folders, ordered by key; of files with the same content the first alone.

    The key is the path below the given folder, with that folder's name; files that share it get further folders.

    Raises:
        FileNotFoundError: an input does not exist.
        ValueError: a file given by name is of no known format, or there is no mesh at all.
    """
    found: dict[Path, int] = {}
    for entry in map(Path, inputs):
        if entry.is_dir():
            files = [p for p in entry.rglob("*") if p.suffix.lower() in UP_AXES and p.is_file()]
            found |= {p.resolve(): len(p.relative_to(entry).parts) + 1 for p in files}
        elif entry.is_file():
            require_choice("Format of a mesh", entry.suffix.lower(), tuple(UP_AXES))
            found[entry.resolve()] = 2
        else:
            raise FileNotFoundError(f"No file or folder {entry} to take meshes from")
    if not found:
        raise ValueError(f"No mesh ({', '.join(UP_AXES)}) in {', '.join(map(str, inputs))}")
    titles = titles or {}
    jobs, known = [], set()
    for key, path in sorted((key, path) for path, key in _distinct_keys(found).items()):
        # the same form under two identities would make a model learn that it is not the same
        if (content := sha256_of(path)) in known:
            logger.warning("%s has the content of another file and is left out", path)
            continue
        known.add(content)
        words = re.sub(r"[\W_]+", " ", path.stem).strip().lower() or "article"
        row = titles.get(path.stem, {})
        jobs.append(MeshJob(path, key, row.get("title") or words, row.get("locarno") or ""))
    return jobs


def _distinct_keys(found: dict[Path, int]) -> dict[Path, str]:
    """The last ``found[path]`` parts of each path, more where two would be the same."""
    while True:
        keys = {path: "/".join(path.parts[-parts:]) for path, parts in found.items()}
        count = Counter(keys.values())
        if max(count.values()) == 1:
            return keys
        found = {path: parts + (count[keys[path]] > 1) for path, parts in found.items()}


def read_titles(path: str | os.PathLike) -> dict[str, dict]:
    """Rows by ``id`` of a tab-separated file with a header line."""
    header, *rows = [line.split("\t") for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    if not {"id", "title"} <= set(header):
        raise ValueError(f"{path}: a file of titles needs the columns id and title; got {', '.join(header)}")
    table = [dict(zip(header, row, strict=False)) for row in rows]
    return {row["id"]: row for row in table}


def plan_mesh(job: MeshJob, settings: MeshSettings, val: float) -> Plan:
    """Plan the patent of a file; depends on the seed and the file's key alone."""
    digest = hashlib.sha1(job.key.encode()).hexdigest()
    draws = Draws(settings.seed, int(digest[:15], 16))
    split = "val" if draws.chance("val", val) else "train"
    name = f"{re.sub(r'[^A-Za-z0-9]+', '_', job.path.stem)[:40]}_{digest[:8]}"
    family = Family(job.path.parent.name, job.locarno, job.title, build=None)
    return plan_patent(draws, split, 0, name, family, settings.style, len(VIEWS) if settings.views == "all" else None)


def draw_mesh(job: MeshJob, root: Path, settings: MeshSettings, val: float) -> str:
    """Draw the figures of one file; return why it cannot be drawn, or ``""``."""
    from fastreid.data.synthetic.mesh_surface import surface_of_mesh

    try:
        up = UP_AXES[job.path.suffix.lower()] if settings.up == "auto" else settings.up
        surface = surface_of_mesh(turn_upright(read_mesh(job.path), up), settings.crease)
        draw_figures(plan_mesh(job, settings, val), surface, root, settings.size, settings.bilevel)
    except (ValueError, OSError) as error:
        return _without_path(str(error), job.path)
    except (ArithmeticError, LookupError, MemoryError, RuntimeError) as error:
        # files hold the strangest things; one must not end the work on the others
        logger.debug("%s", job.path, exc_info=error)
        return f"{type(error).__name__}: {error}"
    return ""


def _without_path(message: str, path: Path) -> str:
    """Reasons stand beside the path: ``a.obj:3: ...`` becomes ``line 3: ...``, ``a.obj holds ...`` ``holds ...``."""
    rest = message.removeprefix(str(path))
    return f"line {rest[1:]}" if rest != message and rest.startswith(":") else rest.lstrip()


def _check_settings(root: Path, settings: MeshSettings) -> None:
    """Refuse ``root`` if it was drawn with other settings, else note them there."""
    wanted = {"version": VERSION, **dataclasses.asdict(settings)}
    if (root / SETTINGS_FILE).is_file():
        there = json.loads((root / SETTINGS_FILE).read_text(encoding="utf-8"))
        for name in wanted:
            if there.get(name) != wanted[name]:
                raise ValueError(
                    f"{root} was drawn with {name}={there.get(name)!r}, but {name}={wanted[name]!r} is asked. "
                    "Choose another folder or delete this one."
                )
    with atomic_write(root / SETTINGS_FILE, "w") as file:
        json.dump(wanted, file, indent=1)


def _write_table(root: Path, drawn: dict[MeshJob, Plan], failures: dict[MeshJob, str]) -> None:
    with atomic_write(root / METADATA_FILE, "w") as file:
        for job, plan in drawn.items():
            facts = plan.metadata() | {"source": job.key}
            if not job.locarno:
                facts |= {"locarno": None, "classification": None}
            file.write(json.dumps(facts) + "\n")
    with atomic_write(root / FAILURES_FILE, "w") as file:
        file.writelines(f"{job.path}\t{' '.join(reason.split())}\n" for job, reason in failures.items())


@entry_point("Interrupted. The same command goes on where it stopped.")
def main(argv: list[str] | None = None) -> int:
    """Command line of ``tools/render_designs.py`` and ``fastreid render-designs``."""
    default = MeshSettings()
    parser = argparse.ArgumentParser(
        description="Draw 3D models as patents: one file, one patent of up to seven figures, in the layout and lists "
        "of DeepPatent. A config trains on it with DATASETS.NAMES DeepPatent and DATASETS.DEEPPATENT.ROOT "
        "OUTPUT/train_data, or through FileList.",
        epilog="Formats: OBJ (with the hard edges of its `l` lines); STL, PLY, OFF, glTF, GLB with the extra `meshes`.",
    )
    add = parser.add_argument
    add("--input", nargs="+", required=True, metavar="PATH", help="mesh files, and folders with meshes")
    add("--output", type=Path, required=True, metavar="DIR", help="folder to write to; files drawn there are kept")
    add("--size", type=int, default=default.size, help="side of a drawing, pixels (default %(default)s)")
    add("--seed", type=int, default=default.seed)
    add("--style", choices=STYLES, default=default.style, help="fixed: one manner for all")
    add("--gray", action="store_true", help="8-bit antialiased drawings instead of 1-bit")
    add("--workers", type=int, help="processes (default: one per core)")
    add("--up", choices=("auto", "y", "z"), default=default.up, help="axis that points upwards; auto: z for STL, PLY "
        "and OFF, y for OBJ and glTF")  # fmt: skip
    add("--views", choices=("all", "random"), default=default.views, help="all seven views of a design, or 3 to 7")
    add("--val", type=float, default=0.1, metavar="SHARE", help="share of the designs for query and gallery lists")
    add("--crease", type=float, default=default.crease, metavar="DEGREES",
        help="angle between triangles from which on their edge is a line (default %(default)s)")  # fmt: skip
    add("--titles", metavar="FILE", help="tab-separated titles: columns id (file name without ending), title, locarno")
    args = parser.parse_args(argv)
    settings = MeshSettings(args.size, args.seed, args.style, not args.gray, args.views, args.up, args.crease)
    done = render_designs(args.input, args.output, settings, args.val, args.workers, args.titles)
    for path, reason in done["failures"].items():
        print(f"not drawn: {path}: {reason}")
    rate = f", {done['drawn'] / done['seconds']:.1f} a second" if done["drawn"] else ""
    counts = f"{done['patents']} patents, {done['figures']} figures"
    print(f"{args.output}: {counts} ({done['drawn']} patents drawn now{rate})")
    print(f"lists: {args.output}/train_data/*.txt   metadata: {args.output}/{METADATA_FILE}")
    if done["failures"]:
        print(f"{len(done['failures'])} files could not be drawn: {args.output}/{FAILURES_FILE}")
    return 0 if done["patents"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
