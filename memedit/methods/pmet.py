"""PMET: MEMIT with attention searched along, so that the MLP is asked for its own part only.

At the range's last layer two vectors are searched together, one added to attention's output, one to the MLP's; only
the second is written, for attention is taken to extract patterns rather than to hold facts. The residual is measured at
the MLP's output and spread by 1/√(layers left) instead of 1/(layers left). Once a request's target is the most probable
its likelihood counts a tenth, and its search ends when the divergence is at most 0.01.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, ClassVar

from memedit.methods.memit import Spread

if TYPE_CHECKING:
    from torch import Tensor

    from memedit.methods._located import Bench


@dataclass(frozen=True, kw_only=True)
class Pmet(Spread):
    """Li et al. 2024, section 4."""

    source: ClassVar[str] = "Li et al., PMET: Precise Model Editing in a Transformer, AAAI 2024"

    covariance_weight: float | None = None
    """λ: how much the keys of ordinary text weigh against the requests; None: by the model."""

    def _sites(self, bench: Bench, last: int) -> list[str]:
        return [bench.layout.mlp_out(last), bench.layout.attention(last)]

    def _share(self, residual: Tensor, remaining: int) -> Tensor:
        return residual / sqrt(remaining)
