"""The index of the demonstration: its drawings but for those that are kept back to search with."""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from fastreid.utils.command import entry_point
from fastreid.utils.files import data_root

QUERIES = 12


@entry_point()
def main(argv: Sequence[str] | None = None) -> None:
    """Build the index from what ``make demo`` left, and lay some drawings beside it to search with."""
    parser = argparse.ArgumentParser(description="Index the drawings of the demonstration with its model.")
    parser.add_argument("--demo", type=Path, default=Path("logs/demo"), metavar="DIR", help="default: %(default)s")
    args = parser.parse_args(argv)
    build(args.demo, data_root() / "minipatent")


def build(demo: Path, data: Path) -> None:
    """Index all figures of ``data`` that are no queries into ``demo/index``; copy queries into ``demo/queries``."""
    from fastreid.data.synthetic.generate import IMAGES, METADATA_FILE
    from fastreid.engine import build_index

    weights, metadata = demo / "stage2" / "model_best.pth", data / METADATA_FILE
    for path in (weights, metadata):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: `make demo` makes it")
    with open(metadata, encoding="utf-8") as file:
        patents = [json.loads(line) for line in file]
    kept = [data / IMAGES / figure["file"] for patent in patents for figure in patent["figures"] if not figure["query"]]
    held_out = [
        patent for patent in patents if patent["split"] == "test" and any(f["query"] for f in patent["figures"])
    ]
    command = ["add", "--index", str(demo / "index"), "--images", *map(str, kept), "--image-root", str(data)]
    command += ["--metadata", str(metadata), "--config-file", "configs/demo/stage2.yml", "MODEL.WEIGHTS", str(weights)]
    build_index.run(command)
    queries = demo / "queries"
    queries.mkdir(parents=True, exist_ok=True)
    step = max(1, len(held_out) // QUERIES)
    for patent in held_out[::step][:QUERIES]:
        figure = next(each for each in patent["figures"] if each["query"])
        name = f"{patent['title'].lower().replace(' ', '-')}-{figure['view']}-{patent['patent_id']}.png"
        shutil.copy(data / IMAGES / figure["file"], queries / name)
    print(f"Drawings to search with, none of which is in the index: {queries}")


if __name__ == "__main__":
    raise SystemExit(main())
