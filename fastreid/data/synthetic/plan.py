"""What is drawn: every choice about a design and its figures except the shape itself, made without drawing anything."""

import dataclasses
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from fastreid.data.synthetic import captions
from fastreid.data.synthetic.draws import Draws, SiblingDraws
from fastreid.data.synthetic.families import FAMILIES, Family
from fastreid.data.synthetic.projection import VIEWS, Camera
from fastreid.data.synthetic.style import STYLES, Style, draw_style
from fastreid.utils.errors import require_choice

# Raise this whenever the same seed no longer gives the same drawings: data of two versions are never mixed.
VERSION = 2
FIRST_TUESDAY, WEEKS = date(2018, 1, 2), 78  # the weeks of DeepPatent: to 2019-06-25
# Patent numbers grow with the date. Of the numbers of a week each split has its own, so it can grow without renaming
# the others: (first of them, how many).
FIRST_NUMBER, NUMBERS_A_WEEK = 100_000, 10_000
SPLITS = {"train": (0, 8000), "val": (8000, 1000), "test": (9000, 1000)}
LABEL_SPACE = 0.12
SIBLING_SIGMA = 0.08  # of the range of a draw


@dataclass(frozen=True)
class Settings:
    """Options that decide what the data set holds.

    Args:
        num_train, num_val, num_test: designs (patents) per split.
        size: side of the square drawings in pixels.
        seed: root of all random draws; the same seed gives the same drawings, whatever the numbers of designs.
        style: "mixed" manners of drawing, or "fixed": one for all, a control experiment.
        siblings: designs per line. 1: every design is a new one. More: the designs of a line are different patents of
            one kind and manner that differ in proportions alone, as continuations do; a hard set.
        bilevel: 1-bit PNG as at the patent office; False: 8-bit with antialiased lines.
    """

    num_train: int = 396
    num_val: int = 66
    num_test: int = 66
    size: int = 256
    seed: int = 0
    style: str = "mixed"
    siblings: int = 1
    bilevel: bool = True

    def __post_init__(self):
        require_choice("style of MiniPatent", self.style, STYLES)
        limits = {"size": (64, 2048), "seed": (0, 2**32 - 1), "siblings": (1, 10)}
        limits |= {f"num_{split}": (0, self.most(split)) for split in SPLITS}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} of MiniPatent must be {low} to {high}; got {getattr(self, name)}")

    @staticmethod
    def most(split: str) -> int:
        """Designs that a split can hold."""
        return WEEKS * SPLITS[split][1]

    def count(self, split: str) -> int:
        return getattr(self, f"num_{split}")

    def fixed(self) -> dict:
        """The options that may not change once a folder holds drawings."""
        counts = {f"num_{split}" for split in SPLITS}
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in counts}


@dataclass(frozen=True)
class Figure:
    """One drawing: its number in the patent, how it is seen, whether it is a query (else it is in the database)."""

    number: int
    camera: Camera
    query: bool


@dataclass(frozen=True)
class Plan:
    """One design.

    ``date`` is the grant date as yyyymmdd, a Tuesday; ``figures`` are in the order of their numbers; ``shape`` are the
    draws of its form, ``line`` the number of the line of designs it belongs to.
    """

    split: str
    index: int
    patent_id: str
    date: int
    family: Family
    style: Style
    figures: tuple[Figure, ...]
    draws: Draws
    shape: Draws | None = None
    line: int | None = None

    @property
    def folder(self) -> str:
        return f"I{self.date}/{self.patent_id}-{self.date}"

    def file(self, figure: Figure) -> str:
        """Path of a drawing as DeepPatent writes it, relative to ``patent_data``."""
        return f"{self.folder}/{self.patent_id}-{self.date}-D{figure.number:05d}.png"

    def metadata(self, unclaimed: bool = False) -> dict:
        """Describe the patent; ``unclaimed``: some of its lines are broken."""
        family, title = self.family, self.family.title
        phrase, cameras = self.draws.choice("phrase", captions.PHRASES), [figure.camera for figure in self.figures]
        described = zip(self.figures, captions.captions(cameras, title, phrase, family.mirrored), strict=True)
        facts = {
            "patent_id": self.patent_id,
            "date": f"{self.date // 10000}-{self.date // 100 % 100:02d}-{self.date % 100:02d}",
            "split": self.split,
            "locarno": family.locarno,
            "classification": captions.classification(family.locarno, self.date),
            "title": title,
            "claim": captions.claim(title),
            "family": family.name,
            "line": self.line,
        }
        if unclaimed:
            facts["note"] = captions.broken_line_note(title, self.draws.choice("note", captions.NOTES))
        facts["figures"] = [
            {"file": self.file(f), "number": f.number, "view": f.camera.view, "caption": caption, "query": f.query}
            for f, caption in described
        ]
        return facts


def plan_design(split: str, index: int, settings: Settings) -> Plan:
    """Plan design ``index`` of ``split``; depends on the seed, the split and the index alone."""
    require_choice("split of MiniPatent", split, SPLITS)
    root = (settings.seed, list(SPLITS).index(split))
    line, sibling = divmod(index, settings.siblings)
    shape = Draws(*root, line).child("shape")
    if settings.siblings > 1:
        shape = SiblingDraws(*shape.key, sibling=sibling, sigma=SIBLING_SIGMA)
    family = FAMILIES[sorted(FAMILIES)[line % len(FAMILIES)]]
    style = draw_style(Draws(*root, line).child("style"), settings.style)
    patent_id, granted = _number(Draws(*root), split, index)
    draws = Draws(*root, index)
    figures = _figures(draws, style, mirrored=family.mirrored)
    return Plan(split, index, patent_id, granted, family, style, figures, draws, shape, line)


def plan_patent(
    draws: Draws, split: str, index: int, patent_id: str, family: Family, style: str, figures: int | None = None
) -> Plan:
    """Choose date, style and figures of a patent; ``figures``: how many, ``None``: drawn. Meshes are planned so."""
    granted = _yyyymmdd(draws.integer("week", 0, WEEKS - 1))
    manner = draw_style(draws.child("style"), style)
    views = _figures(draws, manner, figures, family.mirrored)
    return Plan(split, index, patent_id, granted, family, manner, views, draws)


def _number(draws: Draws, split: str, index: int) -> tuple[str, int]:
    """Patent number and grant date: 78 consecutive designs are granted in the 78 weeks, in random order."""
    turn, place = divmod(index, WEEKS)
    week = int(draws.generator(f"weeks {turn}").permutation(WEEKS)[place])
    return f"USD0{FIRST_NUMBER + week * NUMBERS_A_WEEK + SPLITS[split][0] + turn:06d}", _yyyymmdd(week)


def _yyyymmdd(week: int) -> int:
    return int(f"{FIRST_TUESDAY + timedelta(weeks=week):%Y%m%d}")


def _figures(draws: Draws, style: Style, count: int | None = None, mirrored: bool = False) -> tuple[Figure, ...]:
    """Choose 3 to 7 views, the perspective among them, number them at random and choose the queries.

    The query rule is that of the DeepPatent lists: one query for 2 or 3 figures, two for 4 or more. Of two sides that
    are mirror images, half of the patents omit one.
    """
    count = count or draws.choice("figures", (3, 4, 5, 6, 7), (1, 2, 2, 2, 3))
    others = draws.generator("views").permutation(np.array(VIEWS[1:]))[: count - 1].tolist()
    if mirrored and count > 3 and {"left", "right"} <= set(others) and draws.chance("mirror image", 0.5):
        others.remove(draws.choice("mirrored side", ("left", "right")))
        count -= 1
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
