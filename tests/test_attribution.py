"""Integrated gradients: they add up, rows do not see each other, and a plain slow integral says the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch
from tiny import FAMILIES
from torch import Tensor

from memedit.errors import InputError
from memedit.weights.attribution import attribute
from memedit.weights.language_model import LanguageModel
from memedit.weights.prediction import Predictions, log_probabilities, predictions_of, target_log_probabilities
from memedit.weights.trace import Trace

PAIRS = [("The capital of Ostland is", "Brill"), ("Vela Marsh plays in", "New Ivory"), ("The river is", "green")]


def probability(held: LanguageModel, rows: Predictions, name: str, active: Tensor) -> float:
    """Of one row's token, with `active` (neurons,) put at its place."""

    def put(_: str, value: Tensor) -> Tensor:
        value = value.clone()
        value[0, rows.positions[0]] = active
        return value

    with torch.no_grad(), Trace(held.model, [name], edit_input=put):
        return float(target_log_probabilities(held, rows).exp())


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_add_up_to_what_the_layer_does(family: str) -> None:
    held = tiny.build(family, torch.float64)
    rows = predictions_of(held, PAIRS)
    assert rows.pairs.tolist() == [0, 1, 1, 2]
    rows = replace(rows, tokens=log_probabilities(held, rows).argmax(-1))  # what is hardly said has no slope to add up
    # A rectified neuron's kinks, and the steep softmax of such weights, want more points than a trained model.
    found = attribute(held, rows, steps=400)
    assert found.scores.shape[:2] == (4, 3)
    whole = found.full[:, None] - found.empty
    assert whole.abs().max() > 1e-2
    torch.testing.assert_close(found.scores.sum(-1), whole.double(), atol=5e-3, rtol=2e-3)
    assert torch.allclose(found.full, target_log_probabilities(held, rows).exp(), atol=1e-6)


def test_a_plain_integral_by_differences_says_the_same() -> None:
    held = tiny.build("gpt2", torch.float64)
    rows = predictions_of(held, PAIRS[:1])
    name = rows.layout.mlp_out(1)
    with torch.no_grad(), Trace(held.model, [name]) as seen:
        held.model(**rows.inputs)
    active = seen.inputs[name][0, rows.positions[0]]
    neurons, steps, little = range(0, len(active), 13), 50, 1e-3
    found = attribute(held, rows, steps=30).scores[0, 1]
    for neuron in neurons:
        total = 0.0
        for step in range(steps):
            point = active * (step + 0.5) / steps
            more, less = point.clone(), point.clone()
            more[neuron] += little
            less[neuron] -= little
            total += (probability(held, rows, name, more) - probability(held, rows, name, less)) / (2 * little)
        assert float(found[neuron]) == pytest.approx(float(active[neuron]) * total / steps, abs=2e-5, rel=2e-2)


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5", "bert"])
def test_a_batch_is_as_one_by_one(family: str) -> None:
    held = tiny.shared(family)
    together = attribute(held, predictions_of(held, PAIRS), steps=5)
    small = attribute(held, predictions_of(held, PAIRS), steps=5, tokens_at_once=1)
    torch.testing.assert_close(together.scores, small.scores, atol=1e-5, rtol=1e-3)
    for number, pair in enumerate(PAIRS):
        if number != 1:
            alone = attribute(held, predictions_of(held, [pair]), steps=5).scores[0]
            torch.testing.assert_close(together.scores[0 if number == 0 else 3], alone, atol=1e-5, rtol=1e-3)


def test_nothing_stays_behind() -> None:
    held = tiny.build("gpt2")
    before = held.hash
    reports: list[tuple[int, int | None]] = []
    attribute(held, predictions_of(held, PAIRS), steps=2, progress=lambda *at: reports.append(at))
    assert reports[-1] == (12, 12)
    assert held.hash == before
    assert all(weight.grad is None for weight in held.model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in held.model.modules())


def test_half_precision_is_close() -> None:
    wide, narrow = (tiny.build("gpt2", dtype) for dtype in (torch.float32, torch.bfloat16))
    a, b = (attribute(held, predictions_of(held, PAIRS), steps=10).scores for held in (wide, narrow))
    assert b.dtype == torch.float32
    assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] > 0.9


def test_what_cannot_be_attributed_is_refused() -> None:
    held = tiny.shared("gpt2")
    with pytest.raises(InputError, match="not 1 and 0"):
        attribute(held, predictions_of(held, PAIRS[:1]), steps=0)
    with pytest.raises(InputError, match="not 0 and 20"):
        attribute(held, predictions_of(held, []))
    with pytest.raises(InputError, match="has no tokens"):
        predictions_of(held, [("The capital is", " ")])
