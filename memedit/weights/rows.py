"""Prompts and targets as rows of tokens, and how probable the targets are: what searching and fine-tuning share.

Three kinds of model read a fact in three ways. A causal one reads prompt and target and is judged at the target's
tokens; an encoder-decoder reads the prompt and is judged as it writes the target; a masked one reads the prompt with
as many masks as the target has tokens. A `Row` says what is read and where the answer is judged, so that nobody else
asks which kind it is. Padding is always on the right, whatever the tokenizer's side: positions then stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from memedit.errors import InputError
from memedit.weights.kinds import CAUSAL, KINDS
from memedit.weights.layout import layout_of
from memedit.weights.tokens import continued, subject_span
from memedit.weights.trace import Trace

if TYPE_CHECKING:
    from memedit.weights.language_model import LanguageModel, Request


def require(model: LanguageModel, method: str, families: Sequence[str]) -> None:
    """Raise InputError where a method does not work on the model's family."""
    family = layout_of(model.model).family
    if family not in families:
        raise InputError(
            f"{method} does not work on models of type {family!r}; it works on: {', '.join(families)}"
            + ("; fine_tune, ft_m and lora work on any" if families == CAUSAL else "")
        )


@dataclass(frozen=True)
class Row:
    """One sequence to read: `tokens` as they go in; each of `target` is judged at the same place of `at`.

    `written` is what an encoder-decoder's decoder reads, else empty; `at` counts in it then. `subject` is the place
    of the subject's last token in `tokens`, where it was looked for. `owner` is the number of the request.
    """

    tokens: tuple[int, ...]
    at: tuple[int, ...] = ()
    target: tuple[int, ...] = ()
    written: tuple[int, ...] = ()
    subject: int = -1
    owner: int = 0


def row_of(model: LanguageModel, request: Request, *, before: str = "", owner: int = 0, subject: bool = False) -> Row:
    """The row of a request, `before` put in front of its prompt as it is.

    With `subject` its last token is looked for. Raises InputError for a target without tokens, and for a subject that
    the prompt lacks.
    """
    made = replace(_encoded(model, request, before), owner=owner)
    if not made.target:
        raise InputError(f"the target {request.target!r} has no tokens for this model's tokenizer")
    if not subject:
        return made
    span = subject_span(model.tokenizer, request.read(before), request.subject, specials=request.frame is None)
    return replace(made, subject=span[1] - 1)


def _encoded(model: LanguageModel, request: Request, before: str) -> Row:
    prompt, target = request.read(before), request.target.strip()
    kind = KINDS[layout_of(model.model).family]
    tokenizer = model.tokenizer
    if kind == "causal":
        gap = None if request.frame is None else request.frame.gap
        read, start = continued(lambda text: tokens_of(model, text, request.frame is None), prompt, target, gap)
        return Row(tuple(read[:-1]), tuple(range(start - 1, len(read) - 1)), tuple(read[start:]))
    if kind == "encoder_decoder":
        answer = tuple(tokenizer(text_target=target, add_special_tokens=False, verbose=False)["input_ids"])
        config: Any = model.model.config
        first = config.decoder_start_token_id
        begin = config.pad_token_id if first is None else first
        return Row(tokens_of(model, prompt), tuple(range(len(answer))), answer, (begin, *answer[:-1]))
    if tokenizer.mask_token_id is None:
        raise InputError("this model reads masks, and its tokenizer has no mask token")
    answer = tuple(tokenizer(target, add_special_tokens=False, verbose=False)["input_ids"])
    tokens = tokens_of(model, f"{prompt} {' '.join([tokenizer.mask_token] * len(answer))}.")
    places = tuple(i for i, token in enumerate(tokens) if token == tokenizer.mask_token_id)
    return Row(tokens, places[-len(answer) :], answer)


def tokens_of(model: LanguageModel, text: str, specials: bool = True) -> tuple[int, ...]:
    """A text's tokens, with the special ones that the tokenizer puts around a text unless it has its own."""
    return tuple(model.tokenizer(text, add_special_tokens=specials, verbose=False)["input_ids"])


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows padded on the right. at, targets, counted: (rows, most judged places); what is not counted is padding."""

    inputs: dict[str, Tensor]
    at: Tensor
    targets: Tensor
    counted: Tensor


def padded(rows: Sequence[Sequence[int]], device: torch.device, fill: int = 0) -> tuple[Tensor, Tensor]:
    """(rows, longest) whole numbers filled up on the right, and where they are not filling."""
    longest = max(map(len, rows))
    filled = torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows], dtype=torch.long)
    lengths = torch.tensor([len(row) for row in rows])
    return filled.to(device), (torch.arange(longest) < lengths[:, None]).to(device)


def batch_of(model: LanguageModel, rows: Sequence[Row]) -> Batch:
    """One batch of these rows on the model's device."""
    device = model.device
    tokens, there = padded([row.tokens for row in rows], device)
    inputs = {"input_ids": tokens, "attention_mask": there.long()}
    if rows[0].written:
        written, _ = padded([row.written for row in rows], device)
        inputs["decoder_input_ids"] = written
    at, _ = padded([row.at for row in rows], device)
    targets, counted = padded([row.target for row in rows], device)
    return Batch(inputs, at, targets, counted)


def exact(tensor: Tensor) -> Tensor:
    """In float64, on its own device where that has it (Apple's has not)."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def batches(rows: Sequence[Row], tokens: int = 8192) -> Iterator[list[int]]:
    """Numbers of rows that go together, in order, no more than about `tokens` with their padding."""
    group: list[int] = []
    longest = 0
    for number, row in enumerate(rows):
        longest = max(longest, len(row.tokens))
        if group and longest * (len(group) + 1) > tokens:
            yield group
            group, longest = [], len(row.tokens)
        group.append(number)
    if group:
        yield group


def logits_at(model: LanguageModel, inputs: dict[str, Any], at: Tensor) -> Tensor:
    """(rows, places, vocabulary) in float32, at the places `at` (rows, places) only."""

    def chosen(name: str, hidden: Tensor) -> Tensor:
        return hidden.gather(1, at[..., None].expand(-1, -1, hidden.shape[-1]))

    with Trace(model.model, [layout_of(model.model).head()], edit_input=chosen):
        logits: Tensor = model.model(**inputs).logits
    return logits.float()


def log_probabilities(model: LanguageModel, batch: Batch) -> Tensor:
    """(rows, places) float32: of each target token, those before it given; 0 where nothing is counted."""
    chosen = logits_at(model, batch.inputs, batch.at).log_softmax(-1).gather(-1, batch.targets[..., None])[..., 0]
    return chosen * batch.counted


@torch.no_grad()
def probabilities(model: LanguageModel, requests: Sequence[Request]) -> Tensor:
    """(requests,) float32: log-probability of each whole target under teacher forcing."""
    rows = [row_of(model, request, owner=n) for n, request in enumerate(requests)]
    found = torch.zeros(len(rows))
    for group in batches(rows):
        found[group] = log_probabilities(model, batch_of(model, [rows[i] for i in group])).sum(1).cpu()
    return found


@torch.no_grad()
def states(
    model: LanguageModel, rows: Sequence[Row], inputs: Sequence[str] = (), outputs: Sequence[str] = ()
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What goes into and comes out of named modules at each row's subject: (rows, width) in float64, by name.

    For causal models: what stands behind the subject is not read at all.
    """
    into: dict[str, list[Tensor]] = {name: [] for name in inputs}
    outof: dict[str, list[Tensor]] = {name: [] for name in outputs}
    cut = [replace(row, tokens=row.tokens[: row.subject + 1]) for row in rows]
    for group in batches(cut):
        tokens, there = padded([cut[i].tokens for i in group], model.device)
        with Trace(model.model, [*inputs, *outputs], stop=True) as seen:
            model.model(input_ids=tokens, attention_mask=there.long(), use_cache=False)
        places = torch.tensor([cut[i].subject for i in group], device=model.device)
        for kept, found in ((into, seen.inputs), (outof, seen.outputs)):
            for name, parts in kept.items():
                parts.append(_pick(found[name], places, tokens.shape[1]))
    return (
        {name: torch.cat(parts) for name, parts in into.items()},
        {name: torch.cat(parts) for name, parts in outof.items()},
    )


def _pick(values: Tensor, places: Tensor, length: int) -> Tensor:
    values = values.reshape(len(places), length, -1)  # some models put all tokens into one dimension
    return exact(values[torch.arange(len(places), device=values.device), places])
