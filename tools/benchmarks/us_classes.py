"""Metadata of the real single figures whose US class is known, for `configs/real/us_classes.yml`.

    python tools/benchmarks/us_classes.py $FASTREID_TESTDATA/real/design_patents datasets/us_classes.jsonl

The titles in the data's `meta.tsv` end in the class, "Handbag [US class D3-243]"; its first number, D3, is what two
figures have in common. Figures without one have no class and match none.
"""

import argparse
import csv
import json
import re
from collections import Counter
from pathlib import Path

from fastreid.utils.command import entry_point
from fastreid.utils.files import atomic_write
from fastreid.utils.locarno import read_uspc


def patents(folder: Path) -> list[dict]:
    """A line of metadata per figure of `distractors.txt`."""
    with open(folder / "meta.tsv", encoding="utf-8", newline="") as file:
        titles = {row["id"]: row["title"] for row in csv.DictReader(file, delimiter="\t")}
    lines = (folder / "distractors.txt").read_text(encoding="utf-8").splitlines()
    rows = []
    for path, identity in (line.split() for line in lines):
        title, _, end = titles[identity].partition(" [US class ")
        code = read_uspc(re.sub(r"\].*", "", end))
        rows.append({"taxonomy": code.partition("/")[0], "uspc": code, "title": title, "figures": [{"file": path}]})
    return rows


@entry_point()
def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description="Write the US classes of real figures as metadata.")
    parser.add_argument("folder", type=Path, help="real/design_patents of the test data")
    parser.add_argument("output", type=Path, help="file of JSON lines to write")
    args = parser.parse_args(argv)
    rows = patents(args.folder)
    with atomic_write(args.output, "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    classes = Counter(row["taxonomy"] for row in rows)
    print(f"{len(rows)} figures, {classes.pop('', 0)} without a class, {len(classes)} classes -> {args.output}")


if __name__ == "__main__":
    raise SystemExit(main())
