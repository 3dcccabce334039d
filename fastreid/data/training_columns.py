"""Columns of a training batch that no record has by itself: head or tail, and the vector of a text of the image."""

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from fastreid.data.records import Record
from fastreid.data.text_bank import TextBank
from fastreid.utils.locarno import head_codes, read_locarno

HEAD, TAIL, UNKNOWN = 1, 0, -1
SHOWN = 3  # images without a text that an error names


def frequency_of(records: Sequence[Record]) -> np.ndarray:
    """Return ``HEAD`` or ``TAIL`` by how many records have the Locarno subclass of each, int64 (N,).

    ``UNKNOWN`` for a record without a known subclass. Where the line is drawn: :func:`head_codes`.
    """
    codes = [read_locarno(record.taxonomy or "").subclass_code for record in records]
    head = head_codes(Counter(codes))
    return np.array([(HEAD if code in head else TAIL) if code else UNKNOWN for code in codes], np.int64)


class TextFeatures:
    """The column ``text_features``: item i is the vector, float32 (width,), of one of the texts of record i.

    Which one is drawn at each reading from Python's generator, all with the same chance. (A text that the bank has
    several times for an image is as likely as that.)

    Raises:
        ValueError: the bank has no text of some record.
    """

    def __init__(self, bank: TextBank, records: Sequence[Record]):
        self.bank = bank
        self._places = np.array([bank.place(record.path) for record in records], np.int64)
        without = np.flatnonzero(self._places < 0)
        if len(without):
            named = ", ".join(records[place].path for place in without[:SHOWN])
            raise ValueError(
                f"DATASETS.TEXT_BANK: {len(without)} of {len(records)} training images have no text in {bank.folder}, "
                f"such as {named}. The bank has {len(bank.files)} files, such as "
                f"{', '.join(bank.files[:1]) or 'none'}"
            )

    def __getitem__(self, index: int) -> torch.Tensor:
        row = random.choice(self.bank.rows_at(self._places[index]))
        return torch.from_numpy(self.bank.vectors[row].astype(np.float32))
