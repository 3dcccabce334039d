"""Small meshes that tests draw, and a writer of OBJ."""

import itertools

import numpy as np

CUBE = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
# four corners per side, counter-clockwise from outside; corner number = 4 x + 2 y + z of the signs
SIDES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
CUBE_TRIANGLES = np.array([t for a, b, c, d in SIDES for t in ((a, b, c), (a, c, d))])


def box(size, at=(0, 0, 0)):
    """Vertices (8, 3) and triangles (12, 3) of a box with its centre ``at``."""
    return CUBE * np.asarray(size) / 2 + at, CUBE_TRIANGLES


def ball(rows: int = 24, radius: float = 1.0):
    """Sphere of ``rows`` rings of twice as many triangles."""
    height, turn = np.linspace(0, np.pi, rows + 1), np.linspace(0, 2 * np.pi, 2 * rows, endpoint=False)
    grid = np.stack(np.broadcast_arrays(
        np.sin(height)[:, None] * np.cos(turn), np.sin(height)[:, None] * np.sin(turn), np.cos(height)[:, None]
    ), -1)  # fmt: skip
    number = np.arange(grid[..., 0].size).reshape(rows + 1, 2 * rows)
    a, b, c, d = number[:-1], number[1:], np.roll(number, -1, 1)[1:], np.roll(number, -1, 1)[:-1]
    triangles = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    return radius * grid.reshape(-1, 3), triangles


def joined(*meshes):
    """One mesh of several, without common vertices."""
    starts = np.cumsum([0] + [len(vertices) for vertices, _ in meshes])
    triangles = [t + start for (_, t), start in zip(meshes, starts, strict=False)]
    return np.concatenate([vertices for vertices, _ in meshes]), np.concatenate(triangles)


def soup(vertices, triangles, rng):
    """The same triangles in random order and orientation, each with vertices of its own."""
    triangles = triangles[rng.permutation(len(triangles))]
    turned = rng.random(len(triangles)) < 0.5
    triangles = np.where(turned[:, None], triangles[:, ::-1], triangles)
    return vertices[triangles].reshape(-1, 3), np.arange(3 * len(triangles)).reshape(-1, 3)


def write_obj(path, vertices, triangles, lines=()):
    rows = ["v {} {} {}".format(*v) for v in vertices.tolist()] + ["f {} {} {}".format(*t) for t in triangles + 1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows + ["l {} {}".format(*pair) for pair in np.add(lines, 1).tolist()] + [""]))
    return path
