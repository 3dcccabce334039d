"""The table of data sets ``datasets/README.md``, made from their descriptions."""

from collections.abc import Iterator
from pathlib import Path

from fastreid.data.datasets import (
    DATASET_REGISTRY,
    attributes,
    class_folders,
    cuhk03,
    dukemtmcreid,
    market1501,
    msmt17,
    retrieval_sets,
    training_sets,
    vehicleid,
    veri,
    veriwild,
)

HEAD = """# Data sets

Made by `python -m fastreid.data.datasets.table` from `fastreid/data/datasets`; do not edit.

Put data sets here, or point `FASTREID_DATASETS` at the folder that holds them. Nothing in this folder is committed.
`DATASETS.NAMES` names the sets to train on, `DATASETS.TESTS` those to test on.

`A/{b, c}` stands for `A/b` and `A/c`; of each folder one file is shown, and the others are named like it. Upper and
lower case matter. What is missing, or named otherwise, is an error that says so; other images in these folders are too.

## Drawings

| name | what goes where |
| --- | --- |
| `MiniPatent` | nothing: it is drawn on first use (`tools/make_minipatent.py` does it ahead) |
| `FileList` | anywhere: `DATASETS.FILELIST.ROOT` and its list files, lines `path identity` |
| `TarShards` | anywhere: `DATASETS.TARSHARDS.ROOT` and its tar archives, or http(s) addresses of such |
| `Patent` | `train_data/{patent_data/I20180220/...png, train_patent_trn.txt, val_query_patent.txt, \
val_db_patent.txt}` |
| `PatentTest` | `codalab_test_set/{queries/, database/, lists/test_queries.txt, lists/test_database.txt}`, also below \
`test_data/` |
| `DeepPatent` | as `Patent`, with the official lists of the DeepPatent repository; \
`DATASETS.DEEPPATENT.SPLIT` chooses val or test |

Where to get DeepPatent: the README of `GoFigure-LANL/DeepPatent-dataset` on GitHub names the download. What a patent,
a query and a gallery are is told in `docs/getting-started.md`.
"""
SECTIONS = {
    "Persons": (market1501, dukemtmcreid, msmt17, cuhk03),
    "Vehicles": (veri, vehicleid, veriwild),
    "Persons, for training only": (training_sets,),
    "Persons with attributes": (attributes,),
    "Classes": (class_folders,),
    "Other things, and parts of persons": (retrieval_sets,),
}


def table() -> str:
    """Return ``datasets/README.md``: for each data set its name, an example of each kind of file, and the source."""
    return HEAD + "".join(f"\n## {title}\n\n" + "\n".join(_rows(modules)) + "\n" for title, modules in SECTIONS.items())


def _rows(modules: tuple) -> Iterator[str]:
    yield "| name | what | what goes where | where to get it |"
    yield "| --- | --- | --- | --- |"
    for module in modules:
        own = [(name, obj) for name, obj in DATASET_REGISTRY if obj.__module__ == module.__name__]
        for name, obj in sorted(own, key=lambda pair: list(vars(module)).index(pair[1].__name__)):
            what = " ".join(obj.__doc__.split("\n\n")[0].split()).rstrip(".").replace("``", "`")
            yield f"| `{name}` | {what} | {_cell(obj.layout())} | {obj.dataset_url} |"


def _cell(layout: str) -> str:
    """The path as code, up to a remark after it."""
    path, comma, remark = layout.partition(", the lines")
    return f"`{path}`{comma}{remark}"


if __name__ == "__main__":
    from fastreid.utils.files import atomic_write

    with atomic_write(Path(__file__).resolve().parents[3] / "datasets" / "README.md", "w") as file:
        file.write(table())
