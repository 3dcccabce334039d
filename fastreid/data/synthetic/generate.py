"""Write MiniPatent to disk: drawings, lists, metadata, in the layout of DeepPatent and of the DIRA challenge."""

import argparse
import contextlib
import dataclasses
import functools
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING

from fastreid.data.synthetic.plan import SPLITS, VERSION, Plan, Settings, plan_design
from fastreid.data.synthetic.style import STYLES
from fastreid.utils.command import entry_point
from fastreid.utils.files import atomic_write, data_root, hold_lock

if TYPE_CHECKING:
    from fastreid.data.synthetic.surface import Surface

logger = logging.getLogger(__name__)

SETTINGS_FILE, METADATA_FILE = "settings.json", "metadata.jsonl"
IMAGES, SUBMISSION = "train_data/patent_data", "codalab_test_set"
BROKEN_LINES = "design with broken lines"  # comment in the files of such designs
REMEDY = "Choose another folder (--root, DATASETS.MINIPATENT.ROOT) or delete this one."
# starting a process costs about as much as drawing this many designs
WORTH_A_POOL = 16


def generate(root: str | os.PathLike, settings: Settings | None = None, workers: int | None = None) -> dict[str, int]:
    """Draw the data set into ``root``, or whatever part of it is missing.

    ``root`` receives ``train_data/patent_data/I<date>/<patent>/<figure>.png``, the lists of DeepPatent in
    ``train_data/``, the unlabelled test set ``codalab_test_set/``, ``metadata.jsonl`` (a line per patent) and
    ``settings.json``. Interrupted runs continue; larger numbers of designs extend the set.

    Args:
        workers: processes; ``None``: one per usable core, 0: draw in this process. A script that starts more than one
            needs the usual ``if __name__ == "__main__"``.

    Returns:
        Numbers of patents, figures and newly drawn patents.

    Raises:
        ValueError: ``root`` holds drawings made with other settings, or more designs than asked for.
        ImportError: manifold3d (extra ``synth``) is not installed.
    """
    root, settings = Path(root), settings or Settings()
    root.mkdir(parents=True, exist_ok=True)
    with locked(root):
        complete = _check_settings(root, settings)
        plans = [plan_design(split, index, settings) for split in SPLITS for index in range(settings.count(split))]
        missing = [] if complete else [plan for plan in plans if not (root / IMAGES / plan.folder).is_dir()]
        if not complete:
            _write_settings(root, settings, complete=False)
            _draw_all(root, settings, missing, workers)
            write_lists(root, plans)
            _write_submission_set(root, [plan for plan in plans if plan.split == "test"])
            with atomic_write(root / METADATA_FILE, "w") as file:
                file.writelines(json.dumps(plan.metadata(_has_broken_lines(root, plan))) + "\n" for plan in plans)
            _write_settings(root, settings, complete=True)
    return {"patents": len(plans), "figures": sum(len(p.figures) for p in plans), "drawn": len(missing)}


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Let one process at a time write to ``root``; the lock goes with the process, even a killed one."""
    with hold_lock(root / ".lock"):
        for stale in (root / IMAGES).glob("I*/.*.tmp"):
            shutil.rmtree(stale)
        yield


def _check_settings(root: Path, settings: Settings) -> bool:
    """Whether ``root`` holds exactly this data set, complete."""
    if not (root / SETTINGS_FILE).is_file():
        return False
    there = _stored_settings(root / SETTINGS_FILE)
    for name, wanted in settings.fixed().items():
        if there.get(name) != wanted:
            raise ValueError(
                f"{root} was drawn with {name}={there.get(name)!r}, but {name}={wanted!r} is asked. {REMEDY}"
            )
    for split in SPLITS:
        name, wanted = f"num_{split}", settings.count(split)
        if there[name] > wanted:
            raise ValueError(f"{root} holds {name}={there[name]} designs, but {wanted} are asked. {REMEDY}")
    return there["complete"] and all(there[f"num_{split}"] == settings.count(split) for split in SPLITS)


def _stored_settings(path: Path) -> dict:
    """Read the settings of a MiniPatent that this version has drawn."""
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        there = {}
    if not {"num_train", "complete"} <= set(there):
        raise ValueError(f"{path} is damaged or describes no MiniPatent. {REMEDY}")
    if there.get("version") != VERSION:
        raise ValueError(
            f"{path.parent} holds drawings of version {there.get('version')} of MiniPatent, but this fastreid draws "
            f"version {VERSION}; they are never mixed. {REMEDY}"
        )
    return there


def _write_settings(root: Path, settings: Settings, complete: bool) -> None:
    with atomic_write(root / SETTINGS_FILE, "w") as file:
        json.dump({"version": VERSION, **dataclasses.asdict(settings), "complete": complete}, file, indent=1)


def _draw_all(root: Path, settings: Settings, plans: list[Plan], workers: int | None) -> None:
    from fastreid.data.synthetic.solids import kernel

    kernel()  # without manifold3d, say so before any process starts
    draw = functools.partial(draw_design, root=root, settings=settings)
    jobs = [(plan.split, plan.index) for plan in plans]
    logger.info("Drawing %d designs into %s; a core draws about eight in a second", len(jobs), root)
    run_jobs(draw, jobs, workers, "MiniPatent")


def run_jobs(function: Callable, jobs: Sequence, workers: int | None, name: str) -> list:
    """Return ``function(job)`` of all jobs, in processes where that is worth while, under a progress bar ``name``."""
    from tqdm import tqdm

    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    bar = functools.partial(tqdm, total=len(jobs), desc=name, unit="design", disable=None)
    if workers < 2 or len(jobs) < WORTH_A_POOL:
        return [function(job) for job in bar(jobs)]
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker) as pool:
        try:
            return list(bar(pool.map(function, jobs, chunksize=4)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _start_worker() -> None:
    """Keep the linear algebra of a worker on one core, and end the worker with its parent, even a killed one."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)


def draw_design(job: tuple[str, int], root: Path, settings: Settings) -> None:
    """Draw the figures of one design (split, index)."""
    from fastreid.data.synthetic.surface import build_surface

    plan = plan_design(*job, settings)
    try:
        surface = build_surface(plan.family.build(plan.shape))
    except ValueError as error:
        raise ValueError(f"family '{plan.family.name}', {plan.split} design {plan.index}: {error}") from error
    draw_figures(plan, surface, root, settings.size, settings.bilevel)


def draw_figures(plan: Plan, surface: "Surface", root: Path, size: int, bilevel: bool) -> None:
    """Draw all figures of ``plan`` into its folder below ``root``, which appears whole or not at all."""
    from PIL.PngImagePlugin import PngInfo

    from fastreid.data.synthetic.render import render

    target = root / IMAGES / plan.folder
    temporary = target.parent / f".{target.name}.{os.getpid()}.tmp"
    temporary.mkdir(parents=True)
    remark = PngInfo()
    if not surface.claimed.all():
        remark.add_text("Comment", BROKEN_LINES)
    for figure in plan.figures:
        label = plan.style.label.format(figure.number)
        stipple = plan.draws.generator(f"stipple {figure.number}")
        image = render(surface, figure.camera, plan.style, size, label, stipple, bilevel)
        image.save(temporary / Path(plan.file(figure)).name, optimize=True, pnginfo=remark)
    try:
        temporary.rename(target)
    except OSError:
        # a worker that outlived its killed parent was faster; its drawings are the same
        if not target.is_dir():
            raise
        shutil.rmtree(temporary)


def _has_broken_lines(root: Path, plan: Plan) -> bool:
    from PIL import Image

    with Image.open(root / IMAGES / plan.file(plan.figures[0])) as image:
        return image.info.get("Comment") == BROKEN_LINES


def write_lists(root: Path, plans: list[Plan]) -> None:
    """Lines ``path label``; labels restart at 1 in every split, as in DeepPatent."""
    names = {
        "val": ("val_query_patent.txt", "val_db_patent.txt"),
        "test": ("test_query_patent.txt", "test_db_patent.txt"),
    }
    for split in SPLITS:
        labelled = list(enumerate((plan for plan in plans if plan.split == split), start=1))
        lines = [(f"{plan.file(f)} {label}\n", f.query) for label, plan in labelled for f in plan.figures]
        if split == "train":
            _write_lines(root / "train_data/train_patent_trn.txt", (line for line, _ in lines))
            continue
        for name, wanted in zip(names[split], (True, False), strict=True):
            _write_lines(root / "train_data" / name, (line for line, query in lines if query == wanted))


def _write_submission_set(root: Path, plans: list[Plan]) -> None:
    """The test split as a challenge would hand it out; line i is line i of the labelled test lists."""
    folder = root / SUBMISSION
    for name, part, wanted in (("test_queries", "queries", True), ("test_database", "database", False)):
        files = [plan.file(figure) for plan in plans for figure in plan.figures if figure.query == wanted]
        (folder / part).mkdir(parents=True, exist_ok=True)
        for file in files:
            _link(root / IMAGES / file, folder / part / Path(file).name)
        _write_lines(folder / "lists" / f"{name}.txt", (f"{part}/{Path(file).name}\n" for file in files))


def _link(source: Path, target: Path) -> None:
    """Hard link, or a copy on a file system without links."""
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with atomic_write(path, "w") as file:
        file.writelines(lines)


@entry_point("Interrupted. The same command goes on where it stopped.")
def main(argv: list[str] | None = None) -> int:
    """Command line of ``tools/make_minipatent.py`` and ``fastreid minipatent``."""
    parser = argparse.ArgumentParser(description="Draw MiniPatent, the built-in data set of patent drawings.")
    parser.add_argument("--root", type=Path, help="folder to write to (default: minipatent below the data root)")
    default = Settings()
    for split in SPLITS:
        parser.add_argument(f"--{split}", type=int, default=default.count(split), help="designs (default %(default)s)")
    parser.add_argument(
        "--size", type=int, default=default.size, help="side of a drawing, pixels (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--style", choices=STYLES, default=default.style, help="fixed: one manner for all")
    parser.add_argument("--siblings", type=int, default=default.siblings, help="designs per line that differ in "
                        "proportions alone (default %(default)s)")  # fmt: skip
    parser.add_argument("--gray", action="store_true", help="8-bit antialiased drawings instead of 1-bit")
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    args = parser.parse_args(argv)
    root = args.root or data_root() / "minipatent"
    settings = Settings(args.train, args.val, args.test, args.size, args.seed, args.style, args.siblings, not args.gray)
    done = generate(root, settings, args.workers)
    print(f"{root}: {done['patents']} patents, {done['figures']} figures ({done['drawn']} patents drawn now)")
    print(f"lists: {root}/train_data/*.txt   metadata: {root}/{METADATA_FILE}   test set: {root}/{SUBMISSION}/")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
