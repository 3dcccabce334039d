"""Speed of MiniPatent: designs drawn per second of one core's time, per family, slowest first.

    python tools/benchmarks/drawings.py [--designs 10] [--size 256] [--seed 0]

CPU seconds are measured, not the clock, so other work on the machine does not count. Drawing includes building the
solid, all figures that the plan asks for, and writing them as PNG.
"""

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

from fastreid.data.synthetic.families import FAMILIES
from fastreid.data.synthetic.generate import draw_figures
from fastreid.data.synthetic.plan import Plan, Settings, plan_design
from fastreid.data.synthetic.surface import build_surface


def draw(plan: Plan, size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        draw_figures(plan, build_surface(plan.family.build(plan.shape)), Path(folder), size, bilevel=True)


def measure(name: str, designs: int, settings: Settings) -> tuple[float, int]:
    """CPU seconds per design of a family, and the number of its figures."""
    plans = [plan_design("train", index, settings) for index in range(designs)]
    plans = [dataclasses.replace(plan, family=FAMILIES[name]) for plan in plans]
    draw(plans[0], settings.size)
    start = time.process_time()
    for plan in plans:
        draw(plan, settings.size)
    return (time.process_time() - start) / designs, sum(len(plan.figures) for plan in plans)


def main() -> None:
    parser = argparse.ArgumentParser(description="Designs of MiniPatent drawn per CPU second, family by family.")
    parser.add_argument("--designs", type=int, default=10, help="per family (default %(default)s)")
    parser.add_argument("--size", type=int, default=256, help="side of a drawing, pixels (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    settings = Settings(size=args.size, seed=args.seed)
    found = {name: measure(name, args.designs, settings) for name in FAMILIES}
    for name, (seconds, figures) in sorted(found.items(), key=lambda item: -item[1][0]):
        print(f"{name:14s} {1 / seconds:6.1f} designs/s {figures / args.designs / seconds:7.1f} figures/s")
    mean = sum(seconds for seconds, _ in found.values()) / len(found)
    print(f"{'all':14s} {1 / mean:6.1f} designs/s, {args.size} px, {len(found)} families x {args.designs}")


if __name__ == "__main__":
    main()
