"""Object families: each module registers builders that turn named draws into the parts of one design.

A builder takes ``Draws`` and returns ``list[Part]`` whose union is one connected solid. Front is towards -y, up is +z,
the unit is free. A new family is one decorated function in a module imported at the end of this file.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.solids import Part
from fastreid.utils.errors import nearest


@dataclass(frozen=True)
class Family:
    """name; locarno: class and subclass, "0601" = 06-01, as printed in USPTO data; title of the patents; builder;
    mirrored: the left side of every design is the mirror image of its right side."""

    name: str
    locarno: str
    title: str
    build: Callable[[Draws], list[Part]]
    mirrored: bool = False


# held true by a test
MIRRORED = {
    "chair", "container", "dumbbell", "eyeglasses", "handbag", "lamp", "loudspeaker", "shoe", "sofa", "stool", "table",
}  # fmt: skip
FAMILIES: dict[str, Family] = {}


def family(locarno: str, title: str):
    """Register the decorated builder under its function name."""

    def register(build: Callable[[Draws], list[Part]]):
        name = build.__name__
        FAMILIES[name] = Family(name, locarno, title, build, name in MIRRORED)
        return build

    return register


def get_family(name: str) -> Family:
    if name not in FAMILIES:
        raise KeyError(f"No family '{name}' in MiniPatent.{nearest(name, FAMILIES)} Known: {', '.join(FAMILIES)}")
    return FAMILIES[name]


from fastreid.data.synthetic.families import (  # noqa: E402
    clocks,
    cutlery,
    drone,
    dumbbell,
    electronics,
    faucet,
    furnishings,
    gears,
    hardware,
    kitchen,
    personal,
    phones,
    power,
    seats,
    tableware,
    tools,
    toys,
    vehicles,
    watches,
    wear,
)
