"""Shards joined into one data set: lists, metadata, report, and configs that name them."""

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from fastreid.data.ingest.shards import Shards, Source
from fastreid.data.ingest.split import LISTS, Split
from fastreid.data.ingest.tally import Tally
from fastreid.utils.files import atomic_write
from fastreid.utils.locarno import head_codes, read_locarno, unreadable

METADATA, REPORT = "metadata.jsonl", "report.json"
FILES = (*(f"{name}.txt" for name in LISTS), METADATA, "dataset.yml", "test.yml")
FORMAT = "dataset 2"  # raise the number when the same shards give other files
SHOWN_CODES = 50  # unreadable codes named in the report
DUPLICATE, OTHER_YEAR = "duplicate image", "other year"


def write_dataset(folder: Path, root: Path, shards: Shards, sources: Sequence[Source], split: Split) -> dict[str, Any]:
    """Write the files of ``FILES`` and ``REPORT`` into ``folder``, unless they are there and still right.

    All are replaced at the end, the report last. Memory: 8 bytes and a set entry for each image and each patent.

    Args:
        root: folder that the images' paths are relative to.

    Returns:
        The report, and ``"new"``: whether it was written now.
    """
    made_from = _fingerprint(root, shards, sources, split)
    there = _read_report(folder / REPORT)
    if there.get("made_from") == made_from and all((folder / name).is_file() for name in FILES):
        return {**there, "new": False}
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context(atomic_write(folder / name, "w")) for name in FILES}
        joined = _Joined(files, split)
        for source in sources:
            for patent in shards.lines(source):
                joined.add(patent)
        _write_configs(files, folder.absolute(), root.absolute())
    report = {"images_in": str(root.absolute()), "split": split.as_dict(), "settings": shards.settings}
    report |= joined.report([shards.summary(source) for source in sources])
    with atomic_write(folder / REPORT, "w") as file:
        json.dump({**report, "made_from": made_from}, file, indent=1)
    return {**report, "new": True}


def _fingerprint(root: Path, shards: Shards, sources: Sequence[Source], split: Split) -> str:
    facts = [FORMAT, str(root.absolute()), split.as_dict(), [shards.summary(source) for source in sources]]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _read_report(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}


class _Joined:
    """Lines of shards on their way into lists and metadata, and what is counted of them."""

    def __init__(self, files: dict[str, IO[str]], split: Split):
        self.files, self.split = files, split
        self.images: set[bytes] = set()
        self.patents: dict[str, set[bytes]] = {}  # by list, and by year
        self.counts: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.coded: set[bytes] = set()  # patents with a readable code, by year
        self.trained: Counter[str] = Counter()  # images by subclass
        self.skipped = Tally()

    def add(self, patent: dict[str, Any]) -> None:
        patent_id, year = patent["patent_id"], patent["date"][:4]
        figures = [figure for figure in patent["figures"] if self._is_new(figure["file"])]
        parts = self.split.parts(patent_id, int(year), [figure["file"] for figure in figures])
        if not parts:
            self.skipped.add(OTHER_YEAR, f"{patent_id} of {patent['date']}", len(figures))
        if not parts or not figures:
            return
        for name, listed in [(year, figures), *parts]:
            self._count(name, patent_id, len(listed))
        for name, listed in parts:
            self.files[f"{name}.txt"].writelines(f"{file} {patent_id}\n" for file in listed)
        self.files[METADATA].write(json.dumps({**patent, "figures": figures}) + "\n")
        code = read_locarno(written := patent.get("locarno", ""))
        self.codes[written] += 1
        self.trained[code.subclass_code] += len(dict(parts).get("train", ()))
        if code:
            self.coded.add(_digest(f"{year} {patent_id}"))

    def _is_new(self, file: str) -> bool:
        digest = _digest(file)
        if digest in self.images:
            self.skipped.add(DUPLICATE, file)
            return False
        self.images.add(digest)
        return True

    def _count(self, name: str, patent_id: str, images: int) -> None:
        self.counts[name] += images
        if images:
            self.patents.setdefault(name, set()).add(_digest(patent_id))

    def report(self, summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
        records, notes = Counter(), Tally()
        for summary in summaries:
            records.update(summary["records"])
            self.skipped.update(Tally(summary["skipped"]))
            notes.update(Tally(summary["notes"]))
        years = {year: {"records": count, **self._counted(year)} for year, count in sorted(records.items())}
        return {
            "records": sum(records.values()),
            **{what: sum(year[what] for year in years.values()) for what in ("patents", "images")},
            "years": {year or "unknown": counted for year, counted in years.items()},
            "lists": {name: self._counted(name) for name in LISTS},
            "skipped": self.skipped.as_dict(),
            "notes": notes.as_dict(),
            "locarno": self._classes(),
        }

    def _counted(self, name: str) -> dict[str, int]:
        return {"patents": len(self.patents.get(name, ())), "images": self.counts[name]}

    def _classes(self) -> dict[str, Any]:
        """Patents with a readable code; codes that are none, by patent; subclasses of the training list, by image."""
        bad = Counter({code: self.codes[code] for code in unreadable(self.codes)})
        known = Counter({code: count for code, count in self.trained.items() if code and count})
        head = head_codes(known)
        return {
            "patents": len(self.coded),
            "unreadable": {"patents": sum(bad.values()), "codes": dict(bad.most_common(SHOWN_CODES))},
            "head": {code: count for code, count in known.most_common() if code in head},
            "tail": {code: count for code, count in known.most_common() if code not in head},
        }


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def _write_configs(files: dict[str, IO[str]], folder: Path, root: Path) -> None:
    """``dataset.yml``: training, judged by the validation patents; ``test.yml``: the queries of the later years."""
    import yaml

    def lists(**names: str) -> dict[str, list[str]]:
        return {key: [os.path.join(folder, name)] for key, name in names.items()}

    training = lists(TRAIN="train.txt", QUERY="val_query.txt", GALLERY="val_gallery.txt", METADATA=METADATA)
    dataset = {"NAMES": ["FileList"], "TESTS": ["FileList"], "FILELIST": {"ROOT": str(root), **training}}
    files["dataset.yml"].write(
        "# Training, judged by the validation patents. Use: _BASE_: [a config of a model, this file]\n"
        + yaml.safe_dump({"DATASETS": dataset}, sort_keys=False)
    )
    test = {
        "_BASE_": "dataset.yml",
        "DATASETS": {"FILELIST": lists(QUERY="query.txt", GALLERY="gallery.txt")},
        "TEST": {"RULE": "granted_before", "RELEVANCE": "subclass"},
    }
    files["test.yml"].write(
        "# The later years against prior art, by Locarno subclass. Use: _BASE_: [a config of a model, this file]\n"
        + yaml.safe_dump(test, sort_keys=False)
    )
