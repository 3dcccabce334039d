"""What a picture says of an image and of a class in words."""

import re
from collections.abc import Sequence

import numpy as np

from fastreid.data.feature_file import FeatureFile
from fastreid.evaluation.report_queries import WORDS, label
from fastreid.utils.locarno import Locarno, read_locarno

CAPTION = re.compile(r"\.\s+(?=FIGS?\b)")  # where the title of a patent ends and the caption of a figure begins


def about(features: FeatureFile, row: int) -> tuple[str, ...]:
    """Lines about an image: title or object, class, patent and figure (the file name where it follows no grammar)."""
    columns = features.columns
    title = title_of(str(columns["text"][row])) if "text" in columns else ""
    code = read_locarno(str(columns["taxonomy"][row])) if "taxonomy" in columns else Locarno()
    return tuple(line for line in (title, named(code), " ".join(label(features.paths[row]))) if line)


def title_of(text: str) -> str:
    """The title of the patent, without the caption of the figure: "Chair" of "Chair. FIG. 2 is a front view;"."""
    title, *caption = CAPTION.split(text, maxsplit=1)
    return title if caption else text.partition(". ")[0].rstrip(".;")


def named(code: Locarno) -> str:
    """ "06-01 Furnishing": the code as far as it is known, and the heading of its class."""
    return f"{code.subclass_code or code.class_code} {code.class_name}".strip()


def kind_of_class(column: str, paths: Sequence[str]) -> str:
    """What the classes of a column are: "Locarno class", "patent", "view"."""
    if column == "pids":
        return "patent" if all(map(_patent, paths)) else "identity"
    return WORDS.get(column, {"frequency": "head or tail", "camids": "camera", "dates": "date"}.get(column, column))


def words_of(column: str, values: np.ndarray, features: FeatureFile) -> list[str]:
    """Names of classes: a Locarno code with its heading, a patent by its number, others as they are."""
    if column == "class":
        return [named(Locarno(int(value))) for value in values]
    if column == "subclass":
        return [named(read_locarno(value)) for value in values]
    if column == "pids":
        first = dict(zip(reversed(features.columns["pids"].tolist()), reversed(features.paths), strict=True))
        return [_patent(first[value]) or f"identity {value}" for value in values.tolist()]
    return [f"camera {value}" if column == "camids" else str(value) for value in values.tolist()]


def _patent(path: str) -> str:
    first, *figure = label(path)
    return first if figure else ""
