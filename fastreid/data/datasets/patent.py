"""Sets of design patent drawings: DIRA's training and submission sets, and the official lists of DeepPatent."""

import os
from pathlib import Path

from fastreid.data.datasets.bases import ImageDataset, first_existing, require_paths
from fastreid.data.datasets.build import DATASET_REGISTRY
from fastreid.data.datasets.lists import labelled_records, unlabelled_records
from fastreid.utils.errors import require_choice

DEEPPATENT_PAGE = "https://github.com/GoFigure-LANL/DeepPatent-dataset"
DIRA_PAGE = "the data page of the ECCV 2022 DIRA challenge on Codalab"
# Queries and gallery get different cameras, so the same-camera rule of re-identification never drops a true match.
QUERY_CAMERA, GALLERY_CAMERA = 1, -1


@DATASET_REGISTRY.register()
class Patent(ImageDataset):
    """DIRA's training patents with the DeepPatent validation lists as query and gallery.

    Layout: ``train_data/patent_data/I<date>/...png`` and ``train_data/{train_patent_trn,val_query_patent,val_db_patent}
    .txt`` (lines ``path identity``). Training identities are the strings ``patent_data_<identity>``, as in the DIRA
    code: class indices follow their order as strings, so its checkpoints keep their classifier.
    """

    dataset_name = "patent"
    folder = "train_data"
    lists = ("train_patent_trn.txt", "val_query_patent.txt", "val_db_patent.txt")

    def __init__(self, root: str | os.PathLike = "datasets", **kwargs):
        base = first_existing(Path(root) / self.folder, root)
        images, (train, query, gallery) = base / "patent_data", (base / name for name in self.lists)

        def records(name: Path, camera: int, prefix: str = "") -> list:
            require_paths(
                self.name, (base, images, name), root, DEEPPATENT_PAGE,
                f"train_data/patent_data/ and train_data/{{{','.join(self.lists)}}}",
            )  # fmt: skip
            return labelled_records([name], images, camera, prefix)

        super().__init__(
            lambda: records(train, 1, "patent_data_"),
            lambda: records(query, QUERY_CAMERA),
            lambda: records(gallery, GALLERY_CAMERA),
            **kwargs,
        )


@DATASET_REGISTRY.register()
class PatentTest(ImageDataset):
    """DIRA's submission set: images without labels, every identity 0; a row of ``result.npy`` per query line.

    The lists ``lists/test_queries.txt`` and ``lists/test_database.txt`` hold paths ``queries/...`` and
    ``database/...``. They are looked for in ``codalab_test_set/`` (which the DIRA code opens), in
    ``test_data/codalab_test_set/`` and in ``test_data/`` (the two readings of the tree in its report).
    """

    dataset_name = "patent_test"
    relevance_known = False
    folders = ("codalab_test_set", "test_data/codalab_test_set", "test_data")

    def __init__(self, root: str | os.PathLike = "datasets", **kwargs):
        found = [Path(root) / folder for folder in self.folders if (Path(root) / folder / "lists").is_dir()]
        base = found[0] if found else Path(root) / self.folders[0]
        self.query_list, self.gallery_list = base / "lists/test_queries.txt", base / "lists/test_database.txt"
        require_paths(
            self.name, (self.query_list, self.gallery_list), root, DIRA_PAGE,
            "codalab_test_set/{lists,queries,database}, or the same below test_data/",
        )  # fmt: skip
        query = unlabelled_records(self.query_list, base, QUERY_CAMERA)
        super().__init__([], query, unlabelled_records(self.gallery_list, base, GALLERY_CAMERA), **kwargs)


@DATASET_REGISTRY.register(node="DATASETS.DEEPPATENT")
class DeepPatent(ImageDataset):
    """The official lists of DeepPatent (Kucer et al., WACV 2022).

    Images lie in ``root`` or ``root/patent_data``, lists in ``root`` or ``root/data``. Identities restart at 1 in
    every split, so training identities are strings of their own (``deeppatent_<identity>``).

    Args:
        root: folder of the data set (config: ``DATASETS.DEEPPATENT.ROOT``, below the data root).
        split: ``"val"`` or ``"test"``, whose queries and gallery are used.

    Raises:
        FileNotFoundError: a list or the image folder is missing, when its part is first used.
        ValueError: an unknown split, or a malformed line (naming file and line).
    """

    dataset_name = "deeppatent"
    page = DEEPPATENT_PAGE

    def __init__(self, root: str | os.PathLike = "datasets/DeepPatent", split: str = "val", **kwargs):
        require_choice(f"The split of data set {self.name}", split, ("val", "test"))
        self.folder = Path(root)
        super().__init__(
            lambda: self.records("train_patent_trn.txt", 1, f"{self.name}_"),
            lambda: self.records(f"{split}_query_patent.txt", QUERY_CAMERA),
            lambda: self.records(f"{split}_db_patent.txt", GALLERY_CAMERA),
            **kwargs,
        )

    def records(self, list_name: str, camera: int, prefix: str = "") -> list:
        """Records of one official list; the lists and the images may each lie one folder deeper."""
        path = next((p for p in (self.folder / list_name, self.folder / "data" / list_name) if p.is_file()), None)
        path = path or self.folder / list_name
        layout = f"{self.folder.name}/{list_name} beside {self.folder.name}/patent_data/I<date>/..."
        require_paths(self.name, (self.folder, path), self.folder.parent, self.page, layout)
        return labelled_records([path], first_existing(self.folder / "patent_data", self.folder), camera, prefix)
