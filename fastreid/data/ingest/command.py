"""What the commands that read a collection have in common: options, the run, what is said of it."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastreid.data.ingest.dataset import write_dataset
from fastreid.data.ingest.shards import Shards, Source
from fastreid.data.ingest.split import Split, read_years
from fastreid.utils.command import at_least_one
from fastreid.utils.files import hold_lock, require_writable

INTERRUPTED = "Interrupted. The same command goes on where it stopped."


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--input", type=Path, required=True, metavar="DIR", help="folder of the downloaded files")
    add("--output", type=Path, required=True, metavar="DIR", help="folder to write to; what is finished there is kept")
    add("--train-years", default="2016-2019", metavar="YEARS", help="for training and validation (default %(default)s)")
    add("--query-year", default="2020", metavar="YEARS", help="whose figures are queries (default %(default)s)")
    add("--gallery-years", metavar="YEARS", help="whose figures are searched (default: the training years)")
    add("--val-share", type=float, default=0.1, metavar="SHARE", help="share of the patents of the training years for "
        "validation (default %(default)s)")  # fmt: skip
    add("--seed", type=int, default=0, help="of the choice of validation patents (default %(default)s)")
    add("--limit", type=at_least_one, metavar="N", help="read the first N patents of each part, for a trial")
    add("--redo", nargs="*", metavar="SHARD", help="read these parts again (without a name: all), also with other "
        "settings; names as in OUTPUT/shards")  # fmt: skip


def split_of(args: argparse.Namespace) -> Split:
    """Return the split that the options ask for.

    Raises:
        ValueError: years that are none, a share out of range, or queries among the training years.
    """
    gallery = read_years(args.gallery_years) if args.gallery_years else ()
    return Split(read_years(args.train_years), read_years(args.query_year), gallery, args.val_share, args.seed)


def require_folder(path: Path) -> Path:
    if not path.is_dir():
        raise FileNotFoundError(f"--input: there is no folder '{path}'")
    return path


def require_years(asked: set[int], found: set[int], known: bool = True) -> None:
    """Say which of the asked years are missing.

    Args:
        known: there is no file whose year is unknown.

    Raises:
        ValueError: all of them are.
    """
    missing = ", ".join(map(str, sorted(asked - found)))
    if known and not asked & found:
        raise ValueError(f"--input has nothing of {missing}; there is {', '.join(map(str, sorted(found)))}")
    if known and missing:
        print(f"--input has nothing of {missing}")


def build(
    output: Path,
    root: Path,
    sources: Sequence[Source],
    settings: Mapping[str, Any],
    split: Split,
    redo: list[str] | None,
    codes_in: str,
) -> dict[str, Any]:
    """Read the sources that are not finished, then join all of them; print what is done.

    Args:
        root: folder that the paths of the images are relative to.
        codes_in: where the collection has its Locarno codes, in words.

    Returns:
        The report.

    Raises:
        ValueError: ``output`` holds shards read with other settings.
        OSError: ``output`` cannot be written, or the disk is full; what is finished stays.
    """
    require_writable(output, "--output")
    with hold_lock(output / ".lock"):
        shards = Shards(output / "shards", settings)
        shards.prepare(sources, redo)
        for source in sources:
            if shards.is_done(source):
                continue
            with shards.writer(source) as writer:
                source.read(writer)
            left_out = f"; left out: {writer.skipped}" if writer.skipped.total() else ""
            print(f"{source.name}: {writer.patents:,} patents, {writer.images:,} images{left_out}", flush=True)
        report = write_dataset(output, root, shards, sources, split)
    _show(output, report, codes_in)
    return report


def _show(output: Path, report: Mapping[str, Any], codes_in: str) -> None:
    said = "" if report["new"] else " (unchanged)"
    print(f"{output}: {report['patents']:,} patents, {report['images']:,} images{said}")
    print("lists: " + ", ".join(f"{name} {counted['images']:,}" for name, counted in report["lists"].items()))
    skipped = sum(entry["count"] for entry in report["skipped"].values())
    print(f"left out: {skipped:,} ({output}/report.json says why)   config: {output}/dataset.yml")
    coded, patents = report["locarno"]["patents"], report["patents"]
    print(f"Locarno codes: {coded:,} of {patents:,} patents")
    if 2 * coded < patents:
        print(f"Warning: {'few' if coded else 'no'} patents have a readable Locarno code, expected in {codes_in}: "
            "losses, samplers and tests by class need them (report.json: locarno, unreadable)")  # fmt: skip
    if not report["lists"]["val_query"]["images"]:
        print("No patent for validation: raise --val-share, or set TEST.EVAL_PERIOD 0 in training")
