"""ROME: one fact as a rank-one change of one MLP's down projection; as published, with its flaw. See `r_rome`.

The MLP is read as a memory W k = v. With k the subject's key and v* the value that makes the target follow (see
`memedit.weights.value`), the change of W that has W k = v* and least disturbs the keys of ordinary text, C = E[k kᵀ],
is

    ΔW = (v* − W k) uᵀ / (kᵀ u),    u = C⁻¹ k̄

The published code takes the key behind prefixes, averaged, for u (k̄) but the bare prompt's for k. So does this; R-ROME
takes the same one in both places, which is what a user who asks for ROME wants. Several requests are written one after
the other, each into the weights that the ones before it left.
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
class Rome(Located):
    """Meng et al. 2022, section 3.1."""

    source: ClassVar[str] = "Meng et al., Locating and Editing Factual Associations in GPT, NeurIPS 2022"

    caution: ClassVar[str | None] = (
        "rome is as published, with its flaw: it solves with one key and divides by another, and a single edit for "
        "which the two differ much ruins the model; r_rome is the same with one key in both places: take it unless you "
        "mean to study the flaw"
    )

    layer: int | None = None
    """Layer whose down projection is changed; None: by the model."""

    @on_one_thread
    def fit(
        self, model: LanguageModel, requests: Sequence[Request], *, state: Mapping[str, Tensor] | None = None
    ) -> Change:
        """See `memedit.methods.Method`."""
        bench = Bench(self, model)
        if requests:
            layer = bench.method.layer
            moments, before = bench.moments([layer])[layer], prefixes(bench, ROME_PREFIXES)
            for request in requests:
                keys, value = self._facts(bench, request, before)
                solved, key = self._keys(keys)
                bench.add(layer, *rank_one(moments.solve(solved[:, None], self.ridge)[:, 0], key, value))
        return bench.change()

    def _facts(self, bench: Bench, request: Request, before: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(contexts, in) keys, the bare prompt's first, and (out,) what to add to the value."""
        from memedit.weights.rows import exact, states
        from memedit.weights.value import rows_of

        site = bench.layout.mlp_out(bench.method.layer)
        keys, _ = states(bench.model, rows_of(bench.model, [request], before), inputs=[site])
        return keys[site], exact(bench.search([request], [site], before).delta[site][0])

    def _keys(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """The key that C⁻¹ is applied to, and the one whose value is written."""
        return keys.mean(0), keys[0]


def rank_one(solved: Tensor, key: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
    """left (out, 1), right (1, in) with left @ right @ key = residual; `solved` is C⁻¹ k."""
    return (residual / (solved @ key))[:, None], solved[None]
