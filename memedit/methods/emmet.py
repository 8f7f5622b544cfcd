"""EMMET: ROME's equality for a whole batch at once, in one layer.

With keys K and values V as columns, among all changes with W' K = V the one that least disturbs the keys of ordinary
text is ΔW = (V − W K) (Kᵀ C⁻¹ K)⁻¹ Kᵀ C⁻¹; a slack λ I inside the inverse keeps it finite where keys are nearly alike,
at the price of that equality. One request and no slack is R-ROME. Where MEMIT trades edits off against the rest,
EMMET insists on them. Keys and values are those of R-ROME.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from memedit.methods._located import ROME_PREFIXES, Bench, Located, prefixes
from memedit.weights.threads import on_one_thread

if TYPE_CHECKING:
    from torch import Tensor

    from memedit.weights.change import Change
    from memedit.weights.language_model import LanguageModel, Request


@dataclass(frozen=True, kw_only=True)
class Emmet(Located):
    """Gupta et al. 2024, section 3."""

    source: ClassVar[str] = "Gupta et al., A Unified Framework for Model Editing, EMNLP Findings 2024"

    layer: int | None = None
    """Layer whose down projection is changed; None: by the model."""
    slack: float = 0.1
    """λ; 0 for the equality to the last digit."""
    covariance_weight: float | None = None
    """Factor of C, beside which the slack is small; None: by the model."""

    @on_one_thread
    def fit(
        self, model: LanguageModel, requests: Sequence[Request], *, state: Mapping[str, Tensor] | None = None
    ) -> Change:
        """See `memedit.methods.Method`."""
        from memedit.weights.rows import exact, states
        from memedit.weights.value import rows_of

        bench = Bench(self, model)
        if requests:
            layer = bench.method.layer
            site = bench.layout.mlp_out(layer)
            moments, before = bench.moments([layer])[layer], prefixes(bench, ROME_PREFIXES)
            found, _ = states(bench.model, rows_of(bench.model, requests, before), inputs=[site])
            keys = found[site].view(len(requests), len(before), -1).mean(1).T
            residual = exact(bench.search(requests, [site], before).delta[site]).T
            slack = self.slack * bench.method.covariance_weight
            bench.add(layer, *equality(moments.solve(keys, self.ridge), keys, residual, slack))
        return bench.change()


def equality(solved: Tensor, keys: Tensor, residual: Tensor, slack: float) -> tuple[Tensor, Tensor]:
    """left (out, n), right (n, in), for `solved` = C⁻¹ K and keys (in, n), residual V − W K (out, n)."""
    import torch

    inner = keys.T @ solved + slack * torch.eye(keys.shape[1], dtype=keys.dtype, device=keys.device)
    # A pseudo-inverse: two requests with one key have no inverse, and share the residual between them.
    return residual @ torch.linalg.pinv(inner, hermitian=True), solved.T
