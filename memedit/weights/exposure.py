"""How well a model knows a private text: perplexity, mean reciprocal rank and exposure, before and after forgetting.

The three metrics of DEPN (Wu et al. 2023, section 3). Of each request the target is private and the prompt is what an
attacker has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, log2
from random import Random
from typing import TYPE_CHECKING

from memedit.errors import InputError

if TYPE_CHECKING:  # torch costs more than a second; who has a model has paid already
    from memedit.weights.language_model import LanguageModel, Request
    from memedit.weights.rows import Row


@dataclass(frozen=True)
class Exposure:
    """How well one private text is known, under teacher forcing. Forgotten is: the first up, the others down."""

    perplexity: float
    """Of its tokens, 1 or more: exp of the mean negative log probability."""
    mrr: float
    """Mean reciprocal rank of its tokens among the vocabulary, in (0, 1]; 1: each is what the model says."""
    exposure: float
    """Carlini et al. 2019, "The Secret Sharer": log2 of the number of candidates, itself one, over its rank among them
    by probability; 0 to log2(candidates + 1) bits."""


def exposures(
    model: LanguageModel, requests: Sequence[Request], *, candidates: int = 255, seed: int = 0
) -> list[Exposure]:
    """The metrics of each request's target behind its prompt.

    Its candidates have its form: other digits where it has digits, else as many other tokens of the vocabulary; drawn
    by `seed`, the same before and after an edit. Raises InputError for a target without tokens.
    """
    return [
        _exposure(model, request, candidates, Random(f"{seed}/{number}")) for number, request in enumerate(requests)
    ]


def _exposure(model: LanguageModel, request: Request, candidates: int, draw: Random) -> Exposure:
    from memedit.weights.rows import row_of

    row = row_of(model, request)
    if any(c.isdigit() for c in request.target):
        others = [
            row_of(model, replace(request, target=_other_digits(request.target, draw))) for _ in range(candidates)
        ]
    else:
        special = set(model.tokenizer.all_special_ids)
        plain = [token for token in range(len(model.tokenizer)) if token not in special]
        others = [_with(row, tuple(draw.choices(plain, k=len(row.target)))) for _ in range(candidates)]
    sums, mean, ranks = _judged(model, [row, *others])
    rank = 1 + sum(other > sums[0] for other in sums[1:])
    return Exposure(
        perplexity=exp(-mean), mrr=sum(1 / r for r in ranks) / len(ranks), exposure=log2((candidates + 1) / rank)
    )


def _other_digits(text: str, draw: Random) -> str:
    return "".join(draw.choice("0123456789") if c.isdigit() else c for c in text)


def _with(row: Row, target: tuple[int, ...]) -> Row:
    """The row with another target of as many tokens, wherever the model reads it."""
    if row.written:
        return replace(row, target=target, written=(row.written[0], *target[:-1]))
    if row.at[0] + len(target) == len(row.tokens):  # a causal model reads all of a target but its last token
        return replace(row, target=target, tokens=(*row.tokens[: row.at[0] + 1], *target[:-1]))
    return replace(row, target=target)


def _judged(model: LanguageModel, rows: Sequence[Row]) -> tuple[list[float], float, list[int]]:
    """(each row's log probability; of the first row: the mean per token, and each token's rank, from 1)."""
    import torch

    from memedit.weights.rows import batch_of, batches, log_probabilities, logits_at

    sums = [0.0] * len(rows)
    with torch.no_grad():
        for group in batches(rows):
            found = log_probabilities(model, batch_of(model, [rows[i] for i in group])).double().sum(1)
            for i, value in zip(group, found.tolist(), strict=True):
                sums[i] = value
        first = batch_of(model, rows[:1])
        logits = logits_at(model, first.inputs, first.at)[0]
        own = logits.gather(1, first.targets[0][:, None])
        ranks = (1 + (logits > own).sum(1)).tolist()
    return sums, sums[0] / len(rows[0].target), ranks


def private(text: str, secret: str | None = None) -> Request:
    """What is to be forgotten of a text: `secret`, else the target of the fact that it states, else all but a word.

    Raises InputError for a secret that does not stand in the text or has nothing before it, and for a single word.
    """
    from memedit.edits import Draft
    from memedit.weights.language_model import Request, request_of

    tidy = " ".join(text.split())
    if secret is not None:
        wanted = " ".join(secret.split())
        at = tidy.rfind(wanted)
        if not wanted or at < 0 or not tidy[:at].strip():
            raise InputError(f"{secret!r} must stand in {tidy!r}, with what leads to it before it")
        return Request(tidy[:at].strip(), "", wanted)
    try:
        return request_of(Draft(statement=tidy))
    except InputError:
        first, _, rest = tidy.partition(" ")
        if not rest:
            raise InputError(f"{text!r} is one word; give the text that leads to what is to be forgotten") from None
        return Request(first, "", rest)
