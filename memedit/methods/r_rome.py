"""R-ROME: ROME with the same key everywhere; what to take where one asks for ROME without saying which.

ROME's code solves with the averaged key and divides by the bare prompt's. Where the two differ much the quotient grows
without bound, and one such "disabling edit" ruins the model. With one key k* in all places,

    ΔW = (v* − W k*) (C⁻¹ k*)ᵀ / ((C⁻¹ k*)ᵀ k*)

the change is as small as it can be, and many of them in a row last far longer. k* is the average over the prefixed
prompts, and the value is taken from the averaged outputs likewise; `average=False` takes the bare prompt (p-ROME).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from memedit.methods.rome import Rome

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class RRome(Rome):
    """Gupta et al. 2024, section 4."""

    source: ClassVar[str] = "Gupta et al., Rebuilding ROME: Resolving Model Collapse during Sequential Editing, 2024"

    caution: ClassVar[str | None] = None

    average: bool = True
    """Whether the key is the mean behind prefixes (R-ROME), or the bare prompt's (p-ROME)."""

    def _keys(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        key = keys.mean(0) if self.average else keys[0]
        return key, key
