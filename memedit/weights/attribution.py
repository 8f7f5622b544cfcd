"""Integrated gradients over the neurons of the MLPs: how much each one does for a prediction.

A neuron is one input of a layer's down projection. Its attribution (Dai et al. 2022, "Knowledge Neurons in Pretrained
Transformers", section 3.1) is its activation times the mean gradient of the answer's probability while the whole
layer's activations rise from nothing to what they are, at the position of the prediction. Causal tracing, next door,
asks about whole states and needs no gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memedit.errors import InputError
from memedit.weights.prediction import Predictions, target_log_probabilities
from memedit.weights.trace import Trace, by_token

if TYPE_CHECKING:  # torch costs more than a second; who has a model has paid already
    from torch import Tensor

    from memedit.weights.language_model import LanguageModel

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Attribution:
    """Attributions of a batch of rows, all on the CPU, in float32 (scores in float64 for such models)."""

    scores: Tensor
    """(rows, layers, neurons); with an exact integral, a layer's scores sum to `full - empty`."""
    full: Tensor
    """(rows,) the probability of the row's token as the model stands."""
    empty: Tensor
    """(rows, layers) the same with the layer's activations at the row's position set to zero."""


def attribute(
    model: LanguageModel,
    rows: Predictions,
    *,
    steps: int = 20,
    tokens_at_once: int = 8192,
    progress: Progress | None = None,
) -> Attribution:
    """Attributions of each row's token to all neurons of the stack that predicts it.

    The baseline is zero, as published; the integral is Gauss and Legendre's over `steps` points, which is far nearer to
    the integral than the published mean over equal steps, at the same cost. `tokens_at_once` bounds the size of a
    batch, rows and steps together. Raises InputError for less than one step or no rows.
    """
    import numpy as np
    import torch

    if steps < 1 or not len(rows):
        raise InputError(f"integrated gradients need a row and a step or more, not {len(rows)} and {steps}")
    points, shares = np.polynomial.legendre.leggauss(steps)
    layout, device = rows.layout, model.device
    names = [layout.mlp_out(layer) for layer in range(layout.layers(model.model))]
    kind = torch.promote_types(next(model.model.parameters()).dtype, torch.float32)
    up = torch.tensor((points + 1) / 2, device=device, dtype=kind)
    share = torch.tensor(shares / 2, device=device, dtype=kind)
    length = max(value.shape[1] for value in rows.inputs.values())
    per_row = max(1, tokens_at_once // (length * steps))
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for begin in range(0, len(rows), per_row):
        chunk = rows.take(slice(begin, begin + per_row))
        with torch.no_grad(), Trace(model.model, names) as seen:
            full = target_log_probabilities(model, chunk).exp()
        here = torch.arange(len(chunk), device=device)
        active = [by_token(seen.inputs[name], len(chunk))[here, chunk.positions] for name in names]
        repeated = chunk.take(here.repeat_interleave(steps))
        scores, empty = [], []
        for number, (name, value) in enumerate(zip(names, active, strict=True)):
            scaled = (value.to(kind).unsqueeze(1) * up.view(1, -1, 1)).flatten(0, 1).to(value.dtype)
            gradient = _gradient(model, repeated, name, scaled).to(kind)
            mean = (gradient.view(len(chunk), steps, -1) * share.view(1, -1, 1)).sum(1)
            scores.append(mean * value.to(kind))
            with torch.no_grad():
                empty.append(_probability(model, chunk, name, torch.zeros_like(value)))
            if progress is not None:
                progress(begin * len(names) + len(chunk) * (number + 1), len(rows) * len(names))
        found.append((torch.stack(scores, 1).cpu(), full.cpu(), torch.stack(empty, 1).cpu()))
    return Attribution(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _probability(model: LanguageModel, rows: Predictions, name: str, active: Tensor) -> Tensor:
    """(rows,) each token's probability with `active` (rows, neurons) in the place of the named layer's activations."""
    import torch

    here = torch.arange(len(rows), device=active.device)

    def put(_: str, value: Tensor) -> Tensor:
        replaced = value.clone()
        by_token(replaced, len(rows))[here, rows.positions] = active
        return replaced

    with Trace(model.model, [name], edit_input=put):
        return target_log_probabilities(model, rows).exp()


def _gradient(model: LanguageModel, rows: Predictions, name: str, active: Tensor) -> Tensor:
    """(rows, neurons) gradient of each row's probability by its own activations; the weights collect none."""
    import torch

    with torch.enable_grad():
        active = active.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(_probability(model, rows, name, active).sum(), active)
    return gradient
