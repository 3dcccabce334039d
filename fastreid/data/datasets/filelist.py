"""``FileList``: own images from list files named in the config, without code."""

import logging
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from fastreid.data.datasets.bases import ImageDataset
from fastreid.data.datasets.build import DATASET_REGISTRY, expand
from fastreid.data.datasets.lists import date_of, read_list
from fastreid.data.datasets.patent import GALLERY_CAMERA, QUERY_CAMERA
from fastreid.data.metadata import Metadata
from fastreid.data.records import Record
from fastreid.utils.errors import require_choice

logger = logging.getLogger(__name__)


@DATASET_REGISTRY.register(node="DATASETS.FILELIST")
class FileList(ImageDataset):
    """Any images, from list files with lines ``path identity`` (or ``path identity camera``).

    Identities are any words without spaces; the lists of one part share them, and query and gallery share them too.

    A gallery of the same lists as the queries is judged by leaving one out: an image is never a match of itself.

    Args:
        root: folder of the lists and images (config: ``DATASETS.FILELIST.ROOT``).
        train, query, gallery: list files, absolute or relative to ``root``.
        cameras: lines have a third field, the camera; the same-camera rule then drops gallery items of the query's
            identity and camera. Without cameras no match is ever dropped.
        paths: what the paths in the lists are relative to: "root", or "list", the folder of the list itself, for
            lists from several places.

    Raises:
        FileNotFoundError: a list is missing.
        ValueError: a part that is asked for has no list, or a line is malformed (naming file and line).
    """

    dataset_name = "filelist"

    def __init__(
        self,
        root: str | os.PathLike = "",
        train: Sequence[str] = (),
        query: Sequence[str] = (),
        gallery: Sequence[str] = (),
        cameras: bool = False,
        paths: str = "root",
        metadata: Sequence[str] = (),
        **kwargs,
    ):
        require_choice("DATASETS.FILELIST.PATHS", paths, ("root", "list"))
        self.folder, self.cameras, self.beside_list = Path(root), cameras, paths == "list"
        self._metadata_files = [metadata] if isinstance(metadata, str) else list(metadata)
        # with a camera of its own for each image, the camera rule drops the pair of an image with itself
        self.leave_one_out = bool(query) and tuple(query) == tuple(gallery) and not cameras
        super().__init__(
            lambda: self._records("TRAIN", train, 1, f"{self.name}_"),
            lambda: self._records("QUERY", query, QUERY_CAMERA),
            lambda: self._records("GALLERY", gallery, GALLERY_CAMERA),
            **kwargs,
        )

    def show_test(self) -> None:
        super().show_test()
        if self.leave_one_out:
            logger.info("Query and gallery are the same lists: each image is compared with all others (leave-one-out)")

    def _records(self, part: str, lists: Sequence[str], camera: int, prefix: str = "") -> list[Record]:
        if not lists:
            raise ValueError(f"Data set FileList has no {part} list: name files in DATASETS.FILELIST.{part}")
        records = []
        for name in [lists] if isinstance(lists, str) else lists:
            path = self._find(part, name)
            folder = path.parent if self.beside_list else self.folder
            for fields, place in read_list(path, 2 + self.cameras):
                own_camera = self.leave_one_out and part != "TRAIN"
                records.append(self._record(folder, fields, place, len(records) if own_camera else camera, prefix))
        return [self.metadata.complete(record) for record in records] if self._metadata_files else records

    @cached_property
    def metadata(self) -> Metadata:
        return Metadata([self._find("METADATA", name) for name in self._metadata_files])

    def _find(self, part: str, name: str) -> Path:
        path = self.folder / expand(name)
        if not path.is_file():
            raise FileNotFoundError(
                f"DATASETS.FILELIST.{part}: list '{name}' not found at {path.absolute()}; lists are absolute or "
                f"relative to DATASETS.FILELIST.ROOT, which lies below FASTREID_DATASETS unless absolute"
            )
        return path

    def _record(self, folder: Path, fields: tuple[str, ...], place: str, camera: int, prefix: str) -> Record:
        path, identity = fields[:2]
        pid = prefix + identity if prefix else number_or_word(identity)
        camid = number_or_word(fields[2]) if self.cameras else camera
        return Record(str(folder / path), pid, camid, date=date_of(path), source=place)


def number_or_word(field: str) -> int | str:
    """An integer field as integer, any other as it is."""
    return int(field) if field.isdecimal() else field
