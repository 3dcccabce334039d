"""What is drawn: every choice about a design and its figures except the shape itself, made without drawing anything."""

import dataclasses
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import FAMILIES, Family
from fastreid.data.synthetic.projection import VIEWS, Camera
from fastreid.data.synthetic.style import STYLES, Style, draw_style
from fastreid.utils.errors import require_choice

# Raise this whenever the same seed no longer gives the same drawings: data of two versions are never mixed.
VERSION = 1
# first patent number and most designs of each split; disjoint, so a split can grow without renaming the others
SPLITS = {"train": (100_000, 600_000), "val": (700_000, 100_000), "test": (800_000, 100_000)}
FIRST_TUESDAY, WEEKS = date(2018, 1, 2), 78  # the weeks of DeepPatent: to 2019-06-25
LABEL_SPACE = 0.12


@dataclass(frozen=True)
class Settings:
    """Options that decide what the data set holds.

    Args:
        num_train, num_val, num_test: designs (patents) per split.
        size: side of the square drawings in pixels.
        seed: root of all random draws; the same seed gives the same drawings, whatever the numbers of designs.
        style: "mixed" manners of drawing, or "fixed": one for all, a control experiment.
        bilevel: 1-bit PNG as at the patent office; False: 8-bit with antialiased lines.
    """

    num_train: int = 400
    num_val: int = 60
    num_test: int = 60
    size: int = 256
    seed: int = 0
    style: str = "mixed"
    bilevel: bool = True

    def __post_init__(self):
        require_choice("style of MiniPatent", self.style, STYLES)
        limits = {f"num_{split}": (0, most) for split, (_, most) in SPLITS.items()}
        for name, (low, high) in {**limits, "size": (64, 2048), "seed": (0, 2**32 - 1)}.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} of MiniPatent must be {low} to {high}; got {getattr(self, name)}")

    def count(self, split: str) -> int:
        return getattr(self, f"num_{split}")

    def fixed(self) -> dict:
        """The options that may not change once a folder holds drawings, with the generator's version."""
        counts = {f"num_{split}" for split in SPLITS}
        return {"version": VERSION} | {k: v for k, v in dataclasses.asdict(self).items() if k not in counts}


@dataclass(frozen=True)
class Figure:
    """One drawing: its number in the patent, how it is seen, whether it is a query (else it is in the database)."""

    number: int
    camera: Camera
    query: bool


@dataclass(frozen=True)
class Plan:
    """One design. ``date`` is the grant date as yyyymmdd, a Tuesday; ``figures`` are in the order of their numbers."""

    split: str
    index: int
    patent_id: str
    date: int
    family: Family
    style: Style
    figures: tuple[Figure, ...]
    draws: Draws

    @property
    def folder(self) -> str:
        return f"I{self.date}/{self.patent_id}-{self.date}"

    def file(self, figure: Figure) -> str:
        """Path of a drawing as DeepPatent writes it, relative to ``patent_data``."""
        return f"{self.folder}/{self.patent_id}-{self.date}-D{figure.number:05d}.png"

    def metadata(self) -> dict:
        title = self.family.title
        figures = [
            {
                "file": self.file(figure),
                "number": figure.number,
                "view": figure.camera.view,
                "caption": f"{figure.camera.view} view of a {title.lower()}",
                "query": figure.query,
            }
            for figure in self.figures
        ]
        day = f"{self.date // 10000}-{self.date // 100 % 100:02d}-{self.date % 100:02d}"
        facts = {"patent_id": self.patent_id, "date": day, "split": self.split}
        return facts | {"locarno": self.family.locarno, "title": title, "family": self.family.name, "figures": figures}


def plan_design(split: str, index: int, settings: Settings) -> Plan:
    """Plan design ``index`` of ``split``; depends on the seed, the split and the index alone."""
    require_choice("split of MiniPatent", split, SPLITS)
    draws = Draws(settings.seed, list(SPLITS).index(split), index)
    family = list(FAMILIES.values())[index % len(FAMILIES)]
    return plan_patent(draws, split, index, f"USD0{SPLITS[split][0] + index:06d}", family, settings.style)


def plan_patent(
    draws: Draws, split: str, index: int, patent_id: str, family: Family, style: str, figures: int | None = None
) -> Plan:
    """Choose date, style and figures of a patent; ``figures``: how many, ``None``: drawn. Meshes are planned so too."""
    granted = FIRST_TUESDAY + timedelta(weeks=draws.integer("week", 0, WEEKS - 1))
    manner = draw_style(draws.child("style"), style)
    views = _figures(draws, manner, figures)
    return Plan(split, index, patent_id, int(f"{granted:%Y%m%d}"), family, manner, views, draws)


def _figures(draws: Draws, style: Style, count: int | None = None) -> tuple[Figure, ...]:
    """Choose 3 to 7 views, the perspective among them, number them at random and choose the queries.

    The query rule is that of the DeepPatent lists: one query for 2 or 3 figures, two for 4 or more.
    """
    count = count or draws.choice("figures", (3, 4, 5, 6, 7), (1, 2, 2, 2, 3))
    others = draws.generator("views").permutation(np.array(VIEWS[1:]))[: count - 1].tolist()
    # in the order of the views, the label would give the view away
    views = draws.generator("numbering").permutation(np.array(["perspective", *others])).tolist()
    queries = draws.generator("queries").permutation(count)[: 1 if count <= 3 else 2].tolist()
    fill = draws.between("fill", 0.60, 0.85)
    return tuple(
        Figure(k + 1, _camera(draws.child(f"camera {view}"), view, fill, style), k in queries)
        for k, view in enumerate(views)
    )


def _camera(draws: Draws, view: str, fill: float, style: Style) -> Camera:
    return Camera(
        view,
        azimuth=draws.choice("side", (-1, 1)) * draws.between("azimuth", 25, 55),
        elevation=draws.between("elevation", 15, 40),
        nearness=draws.choice("nearness", (0.0, 0.0, 0.25)),
        fill=fill * draws.between("scale", 0.8, 1.0),
        shift=(draws.between("right", -0.08, 0.08), draws.between("down", -0.08, 0.08)),
        skew=float(draws.generator("skew").normal(0, 0.6)),
        bottom=LABEL_SPACE if style.label else 0.0,
    )
