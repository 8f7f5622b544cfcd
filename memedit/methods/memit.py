"""MEMIT: many facts at once, spread over a range of layers, traded off against the keys of ordinary text.

Each request's value z is searched for at the output of the range's last block L. Then, layer by layer from below, with
K the keys that the layer gets now and H the outputs of L as they are now, both columns by request,

    R = (Z − H) / (layers left, this one counted),    ΔW = R Kᵀ (λ C + K Kᵀ)⁻¹

is the least-squares solution that weighs the facts against λ C. The layers below are changed when the next is solved.
The keys are half the bare prompt's, half the mean of the prefixed ones', as in the published code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from memedit.methods._located import MEMIT_PREFIXES, Bench, Located, halved, prefixes
from memedit.weights.threads import on_one_thread

if TYPE_CHECKING:
    from torch import Tensor

    from memedit.weights.change import Change
    from memedit.weights.covariance import Moments
    from memedit.weights.language_model import LanguageModel, Request


@dataclass(frozen=True, kw_only=True)
class Spread(Located):
    """What MEMIT, PMET and AlphaEdit share: one search, then each layer of a range solved in turn."""

    layers: tuple[int, ...] | None = None
    """Layers whose down projections are changed, rising; None: by the model."""

    @on_one_thread
    def fit(
        self, model: LanguageModel, requests: Sequence[Request], *, state: Mapping[str, Tensor] | None = None
    ) -> Change:
        """See `memedit.methods.Method`."""
        from memedit.weights.rows import exact, states
        from memedit.weights.value import rows_of

        bench = Bench(self, model)
        left: dict[str, Tensor] = {}
        if requests:
            layers: tuple[int, ...] = tuple(sorted(bench.method.layers))
            moments, before = bench.moments(layers), prefixes(bench, MEMIT_PREFIXES)
            sites = self._sites(bench, layers[-1])
            found = bench.search(requests, sites, before)
            wanted = exact(found.before[sites[0]]) + exact(found.delta[sites[0]])
            bare, every = rows_of(bench.model, requests, [""]), rows_of(bench.model, requests, before)
            for number, layer in enumerate(layers):
                name = bench.layout.mlp_out(layer)
                _, now = states(bench.model, bare, outputs=[sites[0]])
                keys, _ = states(bench.model, every, inputs=[name])
                key = halved(keys[name], len(before)).T
                residual = self._share(wanted - now[sites[0]], len(layers) - number).T
                right, kept = self._right(bench, layer, moments[layer], key, state or {})
                bench.add(layer, residual, right)
                left.update(kept)
        return bench.change(left)

    def _sites(self, bench: Bench, last: int) -> list[str]:
        """Where to search; what is wanted of the first is spread over the layers."""
        return [bench.layout.block(last)]

    def _share(self, residual: Tensor, remaining: int) -> Tensor:
        """Of what is still wanting, the part of the next layer."""
        return residual / remaining

    def _right(
        self, bench: Bench, layer: int, moments: Moments, keys: Tensor, state: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The right factor (n, in), for keys (in, n), and what is left for later changes."""
        weight: Any = bench.method.covariance_weight
        return least_squares(moments, keys, weight, self.ridge).T, {}


@dataclass(frozen=True, kw_only=True)
class Memit(Spread):
    """Meng et al. 2023, section 4."""

    source: ClassVar[str] = "Meng et al., Mass-Editing Memory in a Transformer, ICLR 2023"

    covariance_weight: float | None = None
    """λ: how much the keys of ordinary text weigh against the requests; None: by the model."""


def least_squares(moments: Moments, keys: Tensor, weight: float, ridge: float) -> Tensor:
    """(λ C + K Kᵀ)⁻¹ K (in, n) for keys (in, n); through the smaller of the two inverses (Woodbury's identity)."""
    import torch

    width, many = keys.shape
    if many > width:
        made: Tensor = torch.linalg.solve(weight * moments.ridged(ridge) + keys @ keys.T, keys)
        return made
    solved = moments.solve(keys, ridge) / weight
    inner = torch.eye(many, dtype=keys.dtype, device=keys.device) + keys.T @ solved
    made = torch.linalg.solve(inner, solved.T).T
    return made
