"""Prompts and answers as rows that predict one token each, at one place: what attribution and tracing look at.

`rows.py` judges a whole answer in one pass. Here each token of an answer has a row of its own, since what is changed at
the place of one prediction must not be seen by the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from memedit.weights.language_model import Frame, Request
from memedit.weights.layout import Layout, layout_of
from memedit.weights.rows import logits_at, padded, row_of

if TYPE_CHECKING:
    from torch import Tensor

    from memedit.weights.language_model import LanguageModel


@dataclass(frozen=True, eq=False)
class Predictions:
    """A batch in which each row predicts one token."""

    inputs: dict[str, Tensor]
    """What the model is called with; each tensor begins with the axis of rows."""
    positions: Tensor
    """(rows,) where the prediction is made, along the tokens of `layout`'s stack."""
    tokens: Tensor
    """(rows,) the token that the answer has there."""
    pairs: Tensor
    """(rows,) the number of the prompt and answer that the row belongs to."""
    layout: Layout
    """Of the stack in which the prediction is made."""

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, index: Tensor | slice) -> Predictions:
        """Some of the rows, repeated or in another order as the index says."""
        return Predictions(
            {name: value[index] for name, value in self.inputs.items()},
            self.positions[index],
            self.tokens[index],
            self.pairs[index],
            self.layout,
        )


def predictions_of(
    model: LanguageModel, pairs: Sequence[tuple[str, str]], *, first: bool = False, frame: Frame | None = None
) -> Predictions:
    """The rows of (prompt, answer) pairs, one for each token of an answer; with `first` for its first token only.

    With a `frame` the prompts are what a user says to a chat model. A row reads what stands before its token; BERT
    reads as many masks as the answer has tokens. Raises InputError for an answer without tokens.
    """
    made: list[tuple[tuple[int, ...], tuple[int, ...], int, int, int]] = []
    for number, (prompt, answer) in enumerate(pairs):
        row = row_of(model, Request(prompt.rstrip(), "", answer, frame))
        causal = layout_of(model.model).causal
        for at, token in list(zip(row.at, row.target, strict=True))[: 1 if first else None]:
            read = row.tokens[: at + 1] if causal else row.tokens
            made.append((read, row.written[: at + 1], at, token, number))
    tokens, there = padded([row[0] for row in made] or [()], model.device)
    inputs = {"input_ids": tokens, "attention_mask": there.long()}
    layout = layout_of(model.model)
    if made and made[0][1]:
        layout = layout_of(model.model, "decoder")
        inputs["decoder_input_ids"], _ = padded([row[1] for row in made], model.device)
    positions, targets, numbers = (
        torch.tensor([row[at] for row in made], dtype=torch.long, device=model.device) for at in (2, 3, 4)
    )
    return Predictions(inputs, positions, targets, numbers, layout)


def log_probabilities(model: LanguageModel, rows: Predictions) -> Tensor:
    """(rows, vocabulary) log probabilities in float32 where each row predicts; gradients flow unless forbidden."""
    return logits_at(model, rows.inputs, rows.positions[:, None])[:, 0].log_softmax(-1)


def target_log_probabilities(model: LanguageModel, rows: Predictions) -> Tensor:
    """(rows,) log probability of each row's token."""
    return log_probabilities(model, rows).gather(1, rows.tokens[:, None])[:, 0]
