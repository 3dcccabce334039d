"""Features to measure on: clustered unit vectors whose identities are those of real lists.

A feature is a super-cluster (designs of one kind), an identity in it and the image's own part, drawn in a latent space
of `LATENT` dimensions and rotated into D: trained features fill few of their dimensions too, and the difficulty then
does not depend on D. ``spread`` scales the image's own part; it is set so that mAP lies between 0.76 and 0.80.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

LATENT = 64
IDS_PER_SUPER = 12
QUERIES_PER_PATENT, FIGURES_PER_PATENT = 13133 / 6927, 38834 / 6927  # DeepPatent's test lists
MARKET_IDS, MARKET_CAMERAS = 751, 6
VERSION = 1  # of this file's numbers; part of the folder names
ROOT = Path(__file__).resolve().parents[2]

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Table:
    """Queries (Q, D) and gallery (G, D), float32 with unit rows, and their columns "pids" and "camids"."""

    queries: np.ndarray
    gallery: np.ndarray
    q_columns: Columns
    g_columns: Columns

    def small(self) -> "Table":
        """Four queries, and gallery items among which they have matches: enough to load every library once."""
        pids = self.g_columns["pids"]
        matches = np.flatnonzero(np.isin(pids, self.q_columns["pids"][:4]))
        rows = np.unique(np.concatenate([matches, np.arange(min(512, len(pids)))]))
        take = {name: column[rows] for name, column in self.g_columns.items()}
        return Table(self.queries[:4], self.gallery[rows], {name: c[:4] for name, c in self.q_columns.items()}, take)

    def to(self, device: str) -> "Table":
        """The same with the features as torch tensors on ``device``."""
        import torch

        return replace(
            self, **{name: torch.as_tensor(getattr(self, name), device=device) for name in ("queries", "gallery")}
        )


@dataclass(frozen=True)
class Problem:
    """What a `Table` is made of; see `STRUCTURES` for ``structure``."""

    structure: str
    num_queries: int
    num_gallery: int
    dim: int
    spread: float
    seed: int = 0

    def scaled(self, share: float) -> "Problem":
        """The same with a share of its queries and gallery items."""
        sizes = {name: max(8, round(getattr(self, name) * share)) for name in ("num_queries", "num_gallery")}
        return replace(self, **sizes)

    def columns(self, rng: np.random.Generator) -> tuple[Columns, Columns]:
        return STRUCTURES[self.structure](self.num_queries, self.num_gallery, rng)

    def make(self) -> Table:
        rng = np.random.default_rng(self.seed)
        q_columns, g_columns = self.columns(rng)
        pids = np.concatenate([q_columns["pids"], g_columns["pids"]])
        features = clustered(pids, self.dim, self.spread, rng)
        count = len(q_columns["pids"])
        return Table(features[:count], features[count:], q_columns, g_columns)

    def stored(self, folder: Path) -> Path:
        """Make the table once below ``folder``; return the folder with its arrays."""
        described = {**asdict(self), "version": VERSION, "lists": lists_folder() is not None}
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]
        path = folder / f"{self.structure}-{self.num_queries}-{self.num_gallery}-{self.dim}-{digest}"
        if not path.exists():
            unfinished = path.with_name(path.name + ".part")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            save(self.make(), unfinished)
            unfinished.rename(path)
        return path


def as_numpy(values) -> np.ndarray:
    """An array, from an array or a tensor on any device."""
    return np.asarray(values.cpu() if hasattr(values, "cpu") else values)


def save(table: Table, folder: Path) -> None:
    np.save(folder / "queries.npy", table.queries)
    np.save(folder / "gallery.npy", table.gallery)
    np.savez(folder / "q_columns.npz", **table.q_columns)
    np.savez(folder / "g_columns.npz", **table.g_columns)


def load(folder: Path) -> Table:
    """Read the arrays of `save` into memory."""
    columns = [dict(np.load(Path(folder, f"{side}_columns.npz"))) for side in "qg"]
    return Table(np.load(Path(folder, "queries.npy")), np.load(Path(folder, "gallery.npy")), *columns)


def clustered(pids: np.ndarray, dim: int, spread: float, rng: np.random.Generator) -> np.ndarray:
    """Return unit features, float32 (N, dim), of the identities ``pids`` (N,)."""
    features, start = np.empty((len(pids), dim), dtype=np.float32), 0
    for block in clustered_blocks(pids, dim, spread, rng):
        features[start : start + len(block)] = block
        start += len(block)
    return features


def clustered_blocks(
    pids: np.ndarray, dim: int, spread: float, rng: np.random.Generator, step: int = 8192
) -> Iterator[np.ndarray]:
    """Yield the features of `clustered`, float32 (n, dim), ``step`` rows at a time."""
    ids, which = np.unique(pids, return_inverse=True)
    rng, mapping_rng = rng.spawn(2)  # the latent draws are the same for every dim
    latent_dim = min(LATENT, dim)
    supers = rng.standard_normal((max(1, len(ids) // IDS_PER_SUPER), latent_dim), dtype=np.float32)
    centres = supers[rng.integers(0, len(supers), len(ids))]
    centres += rng.standard_normal(centres.shape, dtype=np.float32)
    mapping = np.linalg.qr(mapping_rng.standard_normal((dim, latent_dim), dtype=np.float32))[0].T  # keeps cosines
    for start in range(0, len(pids), step):
        latent = centres[which[start : start + step]]
        latent = latent + spread * rng.standard_normal(latent.shape, dtype=np.float32)
        block = latent @ mapping
        yield block / np.linalg.norm(block, axis=1, keepdims=True)


def lists_folder() -> Path | None:
    """Folder of the real DeepPatent lists, below ``FASTREID_TESTDATA``; ``None`` where they are absent."""
    shared = Path(os.environ.get("FASTREID_TESTDATA") or ROOT.parent / "shared" / "data")
    folder = shared / "deeppatent_lists"
    return folder if (folder / "test_query_patent.txt").is_file() else None


def deeppatent(num_queries: int, num_gallery: int, rng: np.random.Generator) -> tuple[Columns, Columns]:
    """The identities of DeepPatent's test lists, from the first line on; `patents` where the lists are absent."""
    folder = lists_folder()
    if folder is None:
        return patents(num_queries, num_gallery, rng)
    columns = []
    for name, count in (("query", num_queries), ("db", num_gallery)):
        lines = (folder / f"test_{name}_patent.txt").read_text().splitlines()[:count]
        pids = np.array([line.split()[1] for line in lines], dtype=np.int64)
        columns.append({"pids": pids, "camids": np.full(len(pids), name == "db", dtype=np.int64)})
    return columns[0], columns[1]


def patents(num_queries: int, num_gallery: int, rng: np.random.Generator) -> tuple[Columns, Columns]:
    """DeepPatent's proportions: one or two queries and 5.6 figures a patent on average, in random order."""
    num_ids = max(round(num_gallery / FIGURES_PER_PATENT), round(num_queries / QUERIES_PER_PATENT), 2)
    asked = round(num_queries / QUERIES_PER_PATENT)
    q_pids = rng.permutation(np.arange(num_queries) % max(asked, 1))
    weights = rng.gamma(1.5, size=num_ids)
    figures = np.ones(num_ids, dtype=np.int64)
    figures += rng.multinomial(max(0, num_gallery - num_ids), weights / weights.sum())
    g_pids = rng.permutation(np.repeat(np.arange(num_ids), figures))[:num_gallery]
    return (
        {"pids": q_pids, "camids": np.zeros(len(q_pids), dtype=np.int64)},
        {"pids": g_pids, "camids": np.ones(len(g_pids), dtype=np.int64)},
    )


def market(num_queries: int, num_gallery: int, rng: np.random.Generator) -> tuple[Columns, Columns]:
    """Market-1501's proportions: 751 identities under six cameras, one query per identity and camera."""
    num_ids = max(2, round(MARKET_IDS * num_gallery / 19732))
    pairs = rng.permutation(num_ids * MARKET_CAMERAS)[:num_queries]
    return (
        {"pids": pairs // MARKET_CAMERAS, "camids": pairs % MARKET_CAMERAS},
        {"pids": rng.integers(0, num_ids, num_gallery), "camids": rng.integers(0, MARKET_CAMERAS, num_gallery)},
    )


STRUCTURES: dict[str, Callable[[int, int, np.random.Generator], tuple[Columns, Columns]]] = {
    "deeppatent": deeppatent,
    "patents": patents,
    "market": market,
}
