# ruff: noqa
# encoding: utf-8
"""Folders train, query and gallery of images 0007_c2_3.png: identity 7, camera 2."""

import glob
import os.path as osp
import re

from torch.utils.data import Dataset

from fastreid.data.data_utils import read_image
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

__all__ = ["Shapes", "ShapesRetrieval", "ShapesTrainSet"]


@DATASET_REGISTRY.register()
class Shapes(ImageDataset):
    _junk_pids = [-1]
    dataset_dir = "shapes"
    dataset_name = "shapes"

    def __init__(self, root="datasets", **kwargs):
        self.root = root
        self.data_dir = osp.join(self.root, self.dataset_dir)
        folders = [osp.join(self.data_dir, part) for part in ("train", "query", "gallery")]
        self.check_before_run([self.data_dir, *folders])

        train = self.process_dir(folders[0])
        query = self.process_dir(folders[1], is_train=False)
        gallery = self.process_dir(folders[2], is_train=False)
        super().__init__(train, query, gallery, **kwargs)

    def process_dir(self, dir_path, is_train=True):
        data = []
        for img_path in sorted(glob.glob(osp.join(dir_path, "*.png"))):
            pid, camid = map(int, re.search(r"([-\d]+)_c(\d)", osp.basename(img_path)).groups())
            if pid == -1:
                continue
            camid -= 1
            if is_train:
                pid = self.dataset_name + "_" + str(pid)
                camid = self.dataset_name + "_" + str(camid)
            data.append((img_path, pid, camid))
        return data


@DATASET_REGISTRY.register()
class ShapesRetrieval(Shapes):
    """Every test image is a query for all the others: there is no gallery, and labels are words."""

    def __init__(self, root="datasets", **kwargs):
        self.root = root
        self.dataset_dir = osp.join(self.root, self.dataset_dir)
        train = self.process_label_dir(osp.join(self.dataset_dir, "train"), True)
        query = self.process_label_dir(osp.join(self.dataset_dir, "gallery"), False)
        super(Shapes, self).__init__(train, query, [], **kwargs)

    def process_label_dir(self, folder, is_train):
        data_list = []
        for img_path in sorted(glob.glob(osp.join(folder, "*.png"))):
            label = osp.basename(img_path).split("_")[0]
            if is_train:
                label = self.dataset_name + "_" + str(label)
            data_list.append((img_path, label, "0"))
        return data_list


class ShapesTrainSet(Dataset):
    """A training set of the project's own, not derived from ``CommDataset``."""

    def __init__(self, img_items, transform=None):
        self.img_items = img_items
        self.transform = transform
        self.pids = sorted({item[1] for item in img_items})
        self.cams = sorted({item[2] for item in img_items})
        self.pid_dict = {p: i for i, p in enumerate(self.pids)}
        self.cam_dict = {p: i for i, p in enumerate(self.cams)}

    def __len__(self):
        return len(self.img_items)

    def __getitem__(self, index):
        img_path, pid, camid = self.img_items[index]
        img = read_image(img_path)
        if self.transform is not None:
            img = self.transform(img)
        return {
            "images": img,
            "targets": self.pid_dict[pid],
            "camids": self.cam_dict[camid],
            "img_paths": img_path,
        }

    @property
    def num_classes(self):
        return len(self.pids)

    @property
    def num_cameras(self):
        return len(self.cams)
