"""How a family reads a fact, read off its layouts; without torch, so that methods can be listed by it."""

from __future__ import annotations

from typing import Literal

from memedit.weights.layout import FAMILIES

Kind = Literal["causal", "encoder_decoder", "masked"]


def _kind(family: str) -> Kind:
    stacks = FAMILIES[family]
    if len(stacks) > 1:
        return "encoder_decoder"
    return "causal" if next(iter(stacks.values())).causal else "masked"


KINDS: dict[str, Kind] = {family: _kind(family) for family in FAMILIES}
"""Family -> how it reads a fact."""
CAUSAL = tuple(family for family, kind in KINDS.items() if kind == "causal")
"""Families that read it as running text."""
EVERY = tuple(FAMILIES)
"""All of them."""
