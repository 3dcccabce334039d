"""The index of the demonstration: its drawings but for those that are kept back to search with."""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastreid.utils.command import entry_point
from fastreid.utils.files import data_root

QUERIES = 12
PAGE = 100  # designs that are looked through for the right one


@entry_point()
def main(argv: Sequence[str] | None = None) -> None:
    """Build the index from what ``make demo`` left, and lay some drawings beside it to search with."""
    parser = argparse.ArgumentParser(description="Index the drawings of the demonstration with its model.")
    parser.add_argument("--demo", type=Path, default=Path("logs/demo"), metavar="DIR", help="default: %(default)s")
    args = parser.parse_args(argv)
    build(args.demo, data_root() / "minipatent")


def build(demo: Path, data: Path) -> None:
    """Index all figures of ``data`` that are no queries into ``demo/index``; copy queries into ``demo/queries``.

    Each folder of ``demo/queries`` holds what was kept back of one design, together one search.

    Raises:
        FileNotFoundError: the demonstration has not run.
    """
    from fastreid.data.synthetic.generate import IMAGES, METADATA_FILE
    from fastreid.engine import build_index

    weights, metadata = demo / "stage2" / "model_best.pth", data / METADATA_FILE
    for path in (weights, metadata):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: `make demo` makes it")
    with open(metadata, encoding="utf-8") as file:
        patents = [json.loads(line) for line in file]
    kept = [data / IMAGES / figure["file"] for patent in patents for figure in patent["figures"] if not figure["query"]]
    command = ["add", "--index", str(demo / "index"), "--images", *map(str, kept), "--image-root", str(data)]
    command += ["--metadata", str(metadata), "--config-file", "configs/demo/stage2.yml", "MODEL.WEIGHTS", str(weights)]
    build_index.run(command)
    held_out = [p for p in patents if p["split"] == "test" and any(figure["query"] for figure in p["figures"])]
    chosen = held_out[:: max(1, len(held_out) // QUERIES)][:QUERIES]
    folders = [_lay_out(patent, data / IMAGES, demo / "queries") for patent in chosen]
    print(f"\nDrawings to search with, of designs whose other figures are in the index: {demo / 'queries'}")
    print(_standing(demo / "index", chosen, folders))


def _lay_out(patent: dict[str, Any], images: Path, queries: Path) -> Path:
    """Copy the figures of a patent that are queries into a folder of their own, and return it."""
    folder = queries / f"{patent['title'].lower().replace(' ', '-')}-{patent['patent_id']}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for figure in patent["figures"]:
        if figure["query"]:
            shutil.copy(images / figure["file"], folder / f"{figure['view']}-{figure['number']}.png")
    return folder


def _standing(index_path: Path, patents: Sequence[dict[str, Any]], folders: Sequence[Path]) -> str:
    """Search with each folder and say where its design stands, as a table."""
    from PIL import Image
    from tabulate import tabulate

    from fastreid.engine.query_encoder import QueryEncoder
    from fastreid.engine.search_request import SearchRequest
    from fastreid.engine.searcher import Searcher
    from fastreid.index import open_index

    rows = []
    with open_index(str(index_path)) as index:
        searcher = Searcher(index, QueryEncoder.of_index(index.info))
        for patent, folder in zip(patents, folders, strict=True):
            images = {path.name: Image.open(path) for path in sorted(folder.iterdir())}
            request = {"query": [{"upload": name} for name in images], "limit": PAGE}
            results = searcher.search(SearchRequest.from_json(request), images).results
            found = (str(r["rank"]) for r in results if r["figure"]["patent"] == patent["patent_id"])
            rows.append((folder.name, len(images), next(found, f"not in the first {PAGE}")))
    return tabulate(rows, ["folder", "drawings", "its design stands at"], "simple", colalign=["left", "right", "right"])


if __name__ == "__main__":
    raise SystemExit(main())
