"""Encoders: text -> unit vectors, so that near meaning is a near vector. One file each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from memedit.registry import Registry

encoders = Registry(__name__, "encoder")


@runtime_checkable
class Encoder(Protocol):
    """The seam: one method and two facts.

    `identity` names the weights exactly (name and checksum): vectors of different identities are never compared.
    """

    identity: str
    dimension: int

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dimension) float32, each row of length 1. An empty sequence gives shape (0, dimension)."""
        ...


def load_encoder(spec: str) -> Encoder:
    """The encoder for `name` or `name:argument` ("sentence_transformers:all-mpnet-base-v2").

    Raises NotFoundError for an unknown name, ModelError where it cannot be loaded.
    """
    name, _, argument = spec.partition(":")
    made = encoders.get(name)(argument) if argument else encoders.get(name)()
    assert isinstance(made, Encoder)
    return made
