"""What is to be added to one weight: two thin factors where it is of low rank, else the whole of it.

A delta is a value. It knows the name of its weight and nothing of the model; putting it in is `change.py`'s business.
A matrix is written (out, in) however its module stores it, so that a rank-one edit is `left @ right` for a Linear and
for GPT-2's Conv1D alike; anything that is no layer's matrix (a bias, a norm, an embedding) keeps its own shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from memedit.errors import InputError


@dataclass(frozen=True, eq=False)
class Delta:
    """Added to the weight `name`: left (out, r) times right (r, in), or `full` in the weight's shape.

    Raises InputError where neither form, or both, or factors that do not fit are given.
    """

    name: str
    left: Tensor | None = None
    right: Tensor | None = None
    full: Tensor | None = None

    def __post_init__(self) -> None:
        if self.full is not None:
            if self.left is not None or self.right is not None:
                raise InputError(f"a delta of {self.name} is either two factors or full, not both")
        elif self.left is None or self.right is None:
            raise InputError(f"a delta of {self.name} needs both factors, left (out, r) and right (r, in), or full")
        elif self.left.ndim != 2 or self.right.ndim != 2 or self.left.shape[1] != self.right.shape[0]:
            raise InputError(
                f"the factors of a delta of {self.name} do not fit: left {tuple(self.left.shape)} must be (out, r) and "
                f"right {tuple(self.right.shape)} (r, in)"
            )

    def cpu(self) -> Delta:
        """The same on the CPU; itself where it is there."""
        held = self.left, self.right, self.full
        left, right, full = moved = [None if tensor is None else tensor.cpu() for tensor in held]
        if all(there is here for there, here in zip(held, moved, strict=True)):
            return self
        return Delta(self.name, left, right, full)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what is added."""
        if self.full is not None:
            return tuple(self.full.shape)
        left, right = self.factors
        return left.shape[0], right.shape[1]

    @property
    def rank(self) -> int | None:
        """Width of the factors, which the rank does not exceed; None for a full one."""
        return None if self.left is None else self.left.shape[1]

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        """Left and right. Raises InputError for a full one."""
        if self.left is None or self.right is None:
            raise InputError(f"the delta of {self.name} is full and has no factors")
        return self.left, self.right

    @property
    def nbytes(self) -> int:
        """Memory of what is held."""
        return sum(t.numel() * t.element_size() for t in (self.left, self.right, self.full) if t is not None)

    def matrix(self, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None) -> Tensor:
        """All of it, in `shape`; the product is computed in `dtype`."""
        if self.full is not None:
            return self.full.to(device=device, dtype=dtype)
        left, right = (factor.to(device=device, dtype=dtype) for factor in self.factors)
        return left @ right

    def __neg__(self) -> Delta:
        if self.full is not None:
            return Delta(self.name, full=-self.full)
        left, right = self.factors
        return Delta(self.name, -left, right)

    def __add__(self, other: Delta) -> Delta:
        return total([self, other])

    def __sub__(self, other: Delta) -> Delta:
        return total([self, -other])


def total(deltas: Sequence[Delta]) -> Delta:
    """The sum of deltas of one weight: factors side by side while that is smaller than the whole.

    Raises InputError for none, for different weights and for different shapes.
    """
    if not deltas:
        raise InputError("there is no sum of no deltas")
    if len({(delta.name, delta.shape) for delta in deltas}) > 1:
        named = ", ".join(sorted({f"{delta.name} {delta.shape}" for delta in deltas}))
        raise InputError(f"deltas of different weights or shapes cannot be added: {named}")
    if len(deltas) == 1:
        return deltas[0]
    first = deltas[0]
    ranks = [delta.rank for delta in deltas]
    dtype, device = _common(deltas)
    if None not in ranks:
        left = torch.cat([delta.factors[0].to(device, dtype) for delta in deltas], dim=1)
        right = torch.cat([delta.factors[1].to(device, dtype) for delta in deltas], dim=0)
        if left.shape[1] * sum(first.shape) < first.shape[0] * first.shape[1]:
            return Delta(first.name, left, right)
        return Delta(first.name, full=left @ right)
    full = torch.zeros(first.shape, dtype=dtype, device=device)
    for delta in deltas:
        full += delta.matrix(dtype, device)
    return Delta(first.name, full=full)


def _common(deltas: Sequence[Delta]) -> tuple[torch.dtype, torch.device]:
    held = [t for delta in deltas for t in (delta.left, delta.right, delta.full) if t is not None]
    dtype = held[0].dtype
    for tensor in held[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype, held[0].device


def stacked(deltas: Iterable[Delta]) -> dict[str, Delta]:
    """One delta for each weight, the sum of its deltas, in the order in which the weights come up first."""
    by_name: dict[str, list[Delta]] = {}
    for delta in deltas:
        by_name.setdefault(delta.name, []).append(delta)
    return {name: total(same) for name, same in by_name.items()}
