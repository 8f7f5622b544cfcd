"""The search for a value: what a module ought to put out at the subject's last token so that the target follows.

A vector δ is added to the module's output there, in the bare prompt and behind several prefixes, and moved by Adam down

    mean over prompts of −log P(target | prompt) + kl · KL(now ‖ before | "{subject} is a") + decay · ‖δ‖ / ‖v‖²

within ‖δ‖ ≤ clamp · ‖v‖, v being the output as it is; until that loss is under `stop`. (ROME, Meng et al., NeurIPS
2022, section 3.1, and MEMIT, ICLR 2023, section 4.2; ‖δ‖ over ‖v‖² as in their code.) The requests are searched side by
side and none sees another: a batch is the same as one by one, to rounding.

Two things make it fast without changing it. What stands before the subject's last token cannot see δ: it is read once,
and kept as the attention's cache. And the vocabulary is scored only where a token is judged. The weights need no
gradients; the model is read through an `edited` twin, so nothing of it is touched.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from memedit.decoding import cache_of, with_cache
from memedit.weights.covariance import sampled
from memedit.weights.passes import a_pass
from memedit.weights.rows import Row, logits_at, padded, row_of, tokens_of
from memedit.weights.tokens import subject_span
from memedit.weights.trace import Trace

if TYPE_CHECKING:
    from memedit.weights.language_model import LanguageModel, Request

TOKENS = 6144
"""About how many tokens one step reads; requests beyond it are searched in further batches."""
TOKENS_ON_CPU = 1024
"""The same on a CPU, whose caches hold no more; it takes less memory too."""
SCORES = 2**27
"""About how many numbers the scores of one step may be, for models with a large vocabulary."""


@dataclass(frozen=True)
class Search:
    """How to search."""

    steps: int
    rate: float
    """Of Adam."""
    kl: float
    decay: float
    clamp: float
    """Largest ‖δ‖ over ‖v‖, at each site."""
    stop: float
    """Loss under which a request's search ends."""
    settled: bool = False
    """PMET's rule: once a target is the most probable its likelihood counts a tenth, and the search ends when the
    divergence is at most 0.01."""


@dataclass(frozen=True, eq=False)
class Found:
    """By site (requests, width) in float32: the outputs as they were in the bare prompt, and what to add."""

    before: dict[str, Tensor]
    delta: dict[str, Tensor]
    loss: Tensor
    """(requests,) at the last step."""
    divergence: Tensor
    """(requests,) KL(now ‖ before) at the last step."""
    steps: int
    """Most steps that a request took."""


def contexts(model: LanguageModel, starts: Sequence[tuple[str, int]], seed: int) -> list[str]:
    """What to put before a prompt: nothing first, then for each (start, tokens) a text sampled from the
    original weights. Made once for them, these starts and this seed.
    """
    made = [""]
    for number, length in enumerate(dict.fromkeys(length for _, length in starts)):
        same = [start for start, of in starts if of == length]
        made += [_prefix(text) for text in sampled(model, same, length, seed + number)]
    return made


def _prefix(text: str) -> str:
    line = " ".join(text.split()).rstrip(".")
    return f"{line}. " if line else ""


def rows_of(model: LanguageModel, requests: Sequence[Request], before: Sequence[str]) -> list[Row]:
    """Request by request one row for each context, the subject found. Raises InputError where a prompt lacks it."""
    return [
        row_of(model, request, before=context, owner=number, subject=True)
        for number, request in enumerate(requests)
        for context in before
    ]


def _essence(model: LanguageModel, request: Request) -> Row:
    """`{subject} is a`, whose next token must not change."""
    text = f"{request.subject} is a"
    tokens = tokens_of(model, text)
    last = subject_span(model.tokenizer, text, request.subject)[1] - 1
    return Row(tokens, at=(len(tokens) - 1,), subject=last)


def search(
    model: LanguageModel, requests: Sequence[Request], sites: Sequence[str], before: Sequence[str], how: Search
) -> Found:
    """Search at the outputs of the modules `sites` (dotted names), behind each of the contexts `before`, "" first.

    For causal models. Raises InputError where a prompt lacks its subject.
    """
    rows, each = rows_of(model, requests, before), len(before)
    facts = [rows[first : first + each] for first in range(0, len(rows), each)]
    essences = [_essence(model, request) for request in requests]
    groups = list(_groups(model, facts))
    found = [_search(model, [facts[n] for n in group], [essences[n] for n in group], sites, how) for group in groups]
    back = torch.tensor([n for group in groups for n in group], device=model.device).argsort()
    return Found(
        before={site: torch.cat([f.before[site] for f in found])[back] for site in sites},
        delta={site: torch.cat([f.delta[site] for f in found])[back] for site in sites},
        loss=torch.cat([f.loss for f in found])[back],
        divergence=torch.cat([f.divergence for f in found])[back],
        steps=max(f.steps for f in found),
    )


def _groups(model: LanguageModel, facts: Sequence[Sequence[Row]]) -> Iterator[list[int]]:
    """Numbers of requests that are searched together, those of like length: as many as one step ought to read."""
    tokens = TOKENS_ON_CPU if model.device.type == "cpu" else TOKENS
    most = min(tokens, SCORES // int(model.model.get_input_embeddings().weight.shape[0]))
    lengths = [max(len(row.tokens) - row.subject for row in rows) for rows in facts]
    group: list[int] = []
    for number in sorted(range(len(facts)), key=lambda number: lengths[number]):  # so that little of it is padding
        if group and lengths[number] * (len(group) + 1) * (len(facts[number]) + 1) > most:
            yield group
            group = []
        group.append(number)
    if group:
        yield group


class _Pass:
    """Forward passes of some rows with something added at their subject; what stands before it is read once."""

    def __init__(self, model: LanguageModel, rows: Sequence[Row], sites: Sequence[str]) -> None:
        self.model, self.sites = model, sites
        device = model.device
        self.owner = torch.tensor([row.owner for row in rows], device=device)
        self.tokens, there = padded([row.tokens[row.subject :] for row in rows], device)
        starts = torch.tensor([row.subject for row in rows], device=device)[:, None]
        longest = max(len(row.tokens) for row in rows)
        self.positions = (starts + torch.arange(self.tokens.shape[1], device=device)).clamp(max=longest - 1)
        self.at, _ = padded([[place - row.subject for place in row.at] for row in rows], device)
        self.targets, self.counted = padded([row.target for row in rows], device)
        self.cache: Any = None
        self.mask = there.long()
        fronts = [row.tokens[: row.subject] for row in rows]
        if any(fronts):
            tokens, read = padded(fronts, device)
            self.mask = torch.cat([read.long(), self.mask], dim=1)
            places = torch.arange(tokens.shape[1], device=device).expand(len(rows), -1)
            # The filling is attended to here: nobody looks at what comes of it, and a row of nothing else would
            # divide by zero.
            with torch.no_grad():
                front = model.model(
                    input_ids=tokens, attention_mask=torch.ones_like(tokens), position_ids=places, use_cache=True
                )
                self.cache = cache_of(front)

    def __call__(self, change: Callable[[str, Tensor], Tensor]) -> Tensor:
        """(rows, places, vocabulary) log-probabilities; `change(site, outputs at the subject)` -> those instead."""

        def edit(name: str, output: Tensor) -> Tensor:
            whole = output.reshape(*self.tokens.shape, -1)  # some models put all tokens into one dimension
            return torch.cat([change(name, whole[:, 0])[:, None], whole[:, 1:]], dim=1).reshape(output.shape)

        inputs: dict[str, Any] = {
            "input_ids": self.tokens,
            "attention_mask": self.mask,
            "position_ids": self.positions,
            "use_cache": self.cache is not None,
        }
        if self.cache is not None:
            inputs |= with_cache(self.model.model, copy.deepcopy(self.cache))  # a pass adds to the cache it is given
        with a_pass(self.tokens.device), Trace(self.model.model, self.sites, edit):
            return logits_at(self.model, inputs, self.at).log_softmax(-1)


class _Adam:
    """Adam over a list of vectors each of which may have stopped (Kingma & Ba, 2015; their constants)."""

    def __init__(self, values: Tensor, rate: float) -> None:
        self.values, self.rate = values, rate
        self.first, self.second = torch.zeros_like(values), torch.zeros_like(values)

    def step(self, chosen: Tensor, gradient: Tensor, number: int) -> None:
        """Move the vectors `chosen` (numbers) down their gradients; `number` counts steps from 1."""
        first = 0.9 * self.first[chosen] + 0.1 * gradient
        second = 0.999 * self.second[chosen] + 0.001 * gradient**2
        self.first[chosen], self.second[chosen] = first, second
        ahead = (first / (1 - 0.9**number)) / ((second / (1 - 0.999**number)).sqrt() + 1e-8)
        self.values[chosen] -= self.rate * ahead


def _search(
    model: LanguageModel,
    facts: Sequence[Sequence[Row]],
    essences: Sequence[Row],
    sites: Sequence[str],
    how: Search,
) -> Found:
    """Of requests that fit into one batch: `facts[n]` are request n's rows, the bare prompt first."""
    device, many = model.device, len(facts)

    def passes(numbers: Sequence[int]) -> _Pass:
        rows = [replace(row, owner=at) for at, n in enumerate(numbers) for row in facts[n]]
        return _Pass(model, [*rows, *(replace(essences[n], owner=at) for at, n in enumerate(numbers))], sites)

    before: dict[str, Tensor] = {}

    def look(site: str, outputs: Tensor) -> Tensor:
        before[site] = outputs[: -len(essences) : len(facts[0])].float()
        return outputs

    numbers = list(range(many))
    step = passes(numbers)
    with torch.no_grad():
        was = step(look)[-many:, 0]
    adams = {site: _Adam(torch.zeros_like(before[site]), how.rate) for site in sites}
    norms = {site: before[site].norm(dim=1) for site in sites}
    alive = torch.ones(many, dtype=torch.bool, device=device)
    last = torch.zeros(2, many, device=device)
    # In half precision small gradients are lost unless scaled.
    scale = 1024.0 if next(model.model.parameters()).dtype == torch.float16 else 1.0
    taken = 0
    while bool(alive.any()) and taken < how.steps:
        taken += 1
        if 2 * int(alive.sum()) <= len(numbers):
            numbers = alive.nonzero()[:, 0].tolist()
            step = passes(numbers)
        chosen = torch.tensor(numbers, device=device)
        leaves = {site: adams[site].values[chosen].requires_grad_() for site in sites}

        def add(site: str, outputs: Tensor, leaves: dict[str, Tensor] = leaves, step: _Pass = step) -> Tensor:
            return outputs + leaves[site][step.owner].to(outputs.dtype)

        now = step(add)
        likelihood = _mean_log_probability(step, now, len(numbers))
        divergence = (now[-len(numbers) :, 0].exp() * (now[-len(numbers) :, 0] - was[chosen])).sum(-1)
        weight = torch.ones_like(likelihood)
        over = torch.zeros_like(alive[chosen])
        if how.settled:
            settled = _all_most_probable(step, now, len(numbers))
            weight = torch.where(settled, 0.1, 1.0)
            over = settled & (divergence <= 0.01)
        loss = -weight * likelihood + how.kl * divergence
        for site in sites:
            loss = loss + how.decay * leaves[site].norm(dim=1) / norms[site][chosen] ** 2
        last[0, chosen] = torch.where(alive[chosen], loss.detach(), last[0, chosen])
        last[1, chosen] = torch.where(alive[chosen], divergence.detach(), last[1, chosen])
        alive[chosen] &= ~(over | (loss.detach() < how.stop))
        with a_pass(device):
            gradients = torch.autograd.grad(loss.sum() * scale, list(leaves.values()))
        going = alive[chosen]
        for site, gradient in zip(sites, gradients, strict=True):
            adams[site].step(chosen[going], gradient[going] / scale, taken)
            values = adams[site].values
            limit = how.clamp * norms[site]
            values *= (limit / values.norm(dim=1).clamp(min=1e-12)).clamp(max=1.0)[:, None]
    return Found(before, {site: adam.values for site, adam in adams.items()}, last[0], last[1], taken)


def _mean_log_probability(step: _Pass, now: Tensor, many: int) -> Tensor:
    """(requests,) of the target: mean over its tokens, then over the prompts."""
    of_target = now.gather(-1, step.targets[..., None])[..., 0]
    counted = step.counted[:-many]
    mean = (of_target[:-many] * counted).sum(1) / counted.sum(1)
    return mean.view(many, -1).mean(1)


def _all_most_probable(step: _Pass, now: Tensor, many: int) -> Tensor:
    """(requests,) whether each target token is the most probable one in every prompt."""
    right = (now.argmax(-1) == step.targets) | ~step.counted
    return right[:-many].view(many, -1).all(1)
