"""Letters counted, no model: a fake for tests, for trying things out, and for machines without torch.

A text becomes the counts of its letter triples and words, hashed into a fixed number of places, at length 1. Texts that
share spelling are near, texts that share only meaning are not. It loads in no time and gives the same vectors always
and everywhere, so tests can say which edit a query must find.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from memedit.errors import InputError


class Letters:
    """The encoder `letters`, or `letters:DIMENSION`; vectors have no negative entries, so scores are in [0, 1]."""

    def __init__(self, dimension: int | str = 256) -> None:
        if not str(dimension).isdecimal() or not int(dimension):
            raise InputError(
                f"letters:{dimension} is no encoder; say letters or letters:DIMENSION, such as letters:256"
            )
        self.dimension = int(dimension)
        self.identity = f"letters-1-{self.dimension}"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dimension) float32 rows of length 1."""
        rows = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for feature, count in features(text).items():
                row[crc32(feature.encode("utf-8", "surrogatepass")) % self.dimension] += math.sqrt(count)
            row /= np.linalg.norm(row)
        return rows


def features(text: str) -> Counter[str]:
    """The letter triples and words of a text with their counts; never empty."""
    words = re.findall(r"\w+", text.casefold())
    spaced = f" {' '.join(words)} " if words else f" {text} "
    return Counter([*words, *(spaced[at : at + 3] for at in range(max(1, len(spaced) - 2)))])
