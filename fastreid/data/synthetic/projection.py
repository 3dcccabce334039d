"""Views of a design and their projection onto the canvas."""

from dataclasses import dataclass

import numpy as np

from fastreid.data.synthetic.surface import Surface

AXIS_VIEWS = {
    # name: (right, up) of the picture in object axes
    "front": ((1, 0, 0), (0, 0, 1)),
    "rear": ((-1, 0, 0), (0, 0, 1)),
    "left": ((0, -1, 0), (0, 0, 1)),
    "right": ((0, 1, 0), (0, 0, 1)),
    "top": ((1, 0, 0), (0, 1, 0)),
    "bottom": ((1, 0, 0), (0, -1, 0)),
}
VIEWS = ("perspective", *AXIS_VIEWS)
# Least cosine of what faces the viewer. Faces seen exactly edge-on (walls in an axis view) would put the contour on
# their far edge: they count as turned away.
EDGE_ON = 1e-3


@dataclass(frozen=True)
class Camera:
    """How a figure is seen and placed.

    Args:
        view: one of ``VIEWS``.
        azimuth, elevation: degrees, only for "perspective"; 0 is the front, positive from the right and above.
        nearness: radius of the object over the distance of the eye; 0 and all axis views: parallel projection.
        fill: larger side of the drawing over the side of the canvas.
        shift: offset of the drawing's centre in canvas sides, (right, down).
        skew: rotation in the picture plane, degrees.
        bottom: share of the canvas kept free at its bottom edge (for the label).
    """

    view: str
    azimuth: float = 35.0
    elevation: float = 25.0
    nearness: float = 0.0
    fill: float = 0.75
    shift: tuple[float, float] = (0.0, 0.0)
    skew: float = 0.0
    bottom: float = 0.0


@dataclass(frozen=True)
class Projected:
    """A surface in canvas pixels.

    xyz float64 (V, 3): x right, y down, z away from the viewer; facing float64 (T, 3): cosine between corner normal and
    the direction to the eye, positive = towards the viewer; front bool (T,): the triangle faces the viewer;
    size: diameter of the object in pixels; normals (T, 3): face normals as (right, up, towards the viewer).
    """

    xyz: np.ndarray
    facing: np.ndarray
    front: np.ndarray
    size: float
    normals: np.ndarray


def rotation(camera: Camera) -> np.ndarray:
    """Return rows (right, up, towards the viewer) of the picture in object axes, shape (3, 3)."""
    if camera.view in AXIS_VIEWS:
        right, up = (np.array(axis, dtype=float) for axis in AXIS_VIEWS[camera.view])
        return np.array([right, up, np.cross(right, up)])
    a, e = np.radians([camera.azimuth, camera.elevation])
    right = np.array([np.cos(a), np.sin(a), 0.0])
    toward = np.array([np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e)])
    return np.array([right, np.cross(toward, right), toward])


def project(surface: Surface, camera: Camera, canvas: float) -> Projected:
    """Project ``surface`` onto a square canvas with sides of ``canvas`` pixels."""
    turn = rotation(camera)
    centre = (surface.vertices.min(0) + surface.vertices.max(0)) / 2
    local = (surface.vertices - centre) @ turn.T
    radius = np.linalg.norm(local, axis=1).max()
    normals = surface.normals @ turn.T
    eye = np.zeros(local.shape) + (0, 0, 1)
    if camera.nearness and camera.view == "perspective":
        distance = radius / camera.nearness
        gap = distance - local[:, 2]
        eye = np.column_stack([-local[:, 0], -local[:, 1], gap]) / distance
        # planes stay planes, so everything after this is a parallel projection
        local = np.column_stack([local[:, :2] * (distance / gap)[:, None], distance * distance / gap - distance])
    facing = np.einsum("tci,tci->tc", normals, eye[surface.triangles])
    xyz, scale = _place(local, camera, canvas)
    corner = xyz[surface.triangles]
    # y points down and z away, so the normal of a triangle that faces the viewer points along -z; its direction alone
    # decides, for a needle has hardly any area however it is seen
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    front = -normal[:, 2] > EDGE_ON * np.linalg.norm(normal, axis=1)
    return Projected(xyz, facing, front, 2 * radius * scale, surface.face_normals @ turn.T)


def _place(local: np.ndarray, camera: Camera, canvas: float) -> tuple[np.ndarray, float]:
    angle = np.radians(camera.skew)
    spin = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    flat = local[:, :2] @ spin.T
    low, high = flat.min(0), flat.max(0)
    height = canvas * (1 - camera.bottom)
    # a flat sheet seen edge-on has no height
    wide, tall = np.maximum(high - low, 1e-9 * np.ptp(local))
    scale = camera.fill * min(canvas / wide, height / tall)
    margin = np.array([canvas, height]) - scale * (high - low)
    reach = np.maximum(margin / 2 - 0.02 * canvas, 0)
    offset = np.clip(np.multiply(camera.shift, canvas), -reach, reach)
    middle = (low + high) / 2
    x = canvas / 2 + offset[0] + scale * (flat[:, 0] - middle[0])
    y = height / 2 + offset[1] - scale * (flat[:, 1] - middle[1])
    return np.column_stack([x, y, -scale * local[:, 2]]), scale
