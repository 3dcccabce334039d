"""``.npz`` files whose largest array is written block by block and read without being loaded."""

import os
import zipfile
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from fastreid.utils.files import atomic_write


def write_npz(
    path: str | os.PathLike,
    name: str,
    shape: tuple[int, ...],
    blocks: Iterable[np.ndarray],
    others: Callable[[], Mapping[str, np.ndarray]],
) -> None:
    """Write (atomically) what ``np.savez`` would, byte for byte, holding one block at a time.

    Args:
        name, shape, blocks: the large float32 array, in blocks of its rows.
        others: called after the last block; the further arrays.

    Raises:
        ValueError: the blocks have more or fewer rows than ``shape``, or rows of another length.
    """
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False, "shape": shape}
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, header)
            rows = 0
            for block in blocks:
                if block.shape[1:] != tuple(shape[1:]):
                    raise ValueError(f"rows of '{name}' must have shape {tuple(shape[1:])}; got {block.shape[1:]}")
                member.write(np.ascontiguousarray(block, dtype=np.float32).reshape(-1).view(np.uint8))
                rows += len(block)
            if rows != shape[0]:
                raise ValueError(f"'{name}' must have {shape[0]} rows; got {rows}")
        for other, values in others().items():
            with archive.open(f"{other}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(values), allow_pickle=False)


def map_array(path: str | os.PathLike, name: str) -> np.ndarray:
    """Return the array ``name`` of a file of ``np.savez``, mapped read-only: its pages are read when needed.

    The checksum of the archive is not read with them.

    Raises:
        KeyError: no such array.
        ValueError: the array is compressed, or no plain array.
    """
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"'{name}' of {path} is compressed, so it cannot be mapped")
    with open(path, "rb") as file:
        file.seek(info.header_offset + 26)  # the lengths of name and extra field, which differ from the directory's
        lengths = np.frombuffer(file.read(4), "<u2")
        file.seek(int(lengths.sum()), os.SEEK_CUR)
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(file)
        if fortran or dtype.hasobject:
            raise ValueError(f"'{name}' of {path} is no plain array in row order: {dtype}")
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, "r", offset=file.tell(), shape=shape)
