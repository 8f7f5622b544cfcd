"""AlphaEdit: MEMIT's values, written only where the keys of ordinary text hardly reach.

P projects onto the null space of C: the eigenvectors whose eigenvalue (a mean second moment) is below a threshold. What
is written right of P leaves every key outside that space as it was. With K the batch's keys and K_p those of earlier
changes, which are protected too,

    ΔW = R Kᵀ P (K_p K_pᵀ P + K Kᵀ P + L I)⁻¹

computed here inside the null space, where the matrix is symmetric: with U its basis and K̃ = Uᵀ K the same change is
R K̃ᵀ (K̃_p K̃_pᵀ + K̃ K̃ᵀ + L I)⁻¹ Uᵀ. The keys themselves are the change's `state`, not their sum, so that taking an edit
out forgets its keys. The threshold is absolute, hence depends on the model: the null space's rank is recorded in the
change's notes (too small and nothing can be written, too large and nothing is protected).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from memedit.errors import InputError
from memedit.methods.memit import Spread

if TYPE_CHECKING:
    from torch import Tensor

    from memedit.methods._located import Bench
    from memedit.weights.covariance import Moments


@dataclass(frozen=True, kw_only=True)
class Alphaedit(Spread):
    """Fang et al. 2025, section 3."""

    source: ClassVar[str] = "Fang et al., AlphaEdit: Null-Space Constrained Knowledge Editing, ICLR 2025"

    threshold: float | None = None
    """Eigenvalue of C below which a direction is free to be written; None: by the model."""
    penalty: float | None = None
    """L: weight of the change's own size; None: by the model."""

    def _right(
        self, bench: Bench, layer: int, moments: Moments, keys: Tensor, state: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        basis = moments.null_space(bench.method.threshold)
        bench.notes.setdefault("null_space", {})[str(layer)] = basis.shape[1]
        if not basis.shape[1]:
            raise InputError(
                f"layer {layer} has no null space below {bench.method.threshold}: the smallest eigenvalue of its keys' "
                f"covariance is {float(moments.spectrum[0][0]):.3g}; give a larger threshold"
            )
        name = f"keys.{layer}"
        earlier = state.get(name, keys.new_zeros(0, len(keys))).to(keys).T
        return projected(basis, keys, earlier, bench.method.penalty), {name: keys.T.float()}


def projected(basis: Tensor, keys: Tensor, earlier: Tensor, penalty: float) -> Tensor:
    """The right factor (n, in), for a basis (in, free) of the null space and keys (in, n), earlier ones (in, m)."""
    import torch

    inside, before = basis.T @ keys, basis.T @ earlier
    inner = before @ before.T + inside @ inside.T
    inner += penalty * torch.eye(len(inner), dtype=inner.dtype, device=inner.device)
    right: Tensor = (basis @ torch.linalg.solve(inner, inside)).T
    return right
