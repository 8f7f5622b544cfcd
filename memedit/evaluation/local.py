"""A model on this machine, asked many things at once: greedy replies, teacher-forced scores, next-token distributions.

`memedit.models.hugging_face` streams one reply to one reader; here a list of conversations goes through the model in
batches and the replies are the very same strings. Prompts of one length go together, so that a batch has no padding
that a family of models could trip over; texts to score are padded behind, where causal attention never looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from memedit.decoding import greedy
from memedit.edits import Message
from memedit.weights.tokens import continued

if TYPE_CHECKING:  # torch costs more than a second
    import numpy as np
    from numpy.typing import NDArray

    from memedit.models.hugging_face import HuggingFace

ROWS = 64
"""Replies that are written side by side."""
CELLS = 1 << 25
"""Numbers that one batch's logits may hold: rows x tokens x vocabulary."""

Conversation = Sequence[Message]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetScore:
    """A target text fed to a model token by token.

    `log_probability` is the sum over its `tokens` (>= 1), in nats; `right` counts those that are the most probable,
    `exact` says that all are. `predicted` are the most probable tokens themselves, by number.
    """

    log_probability: float
    tokens: int
    right: int
    exact: bool
    predicted: tuple[int, ...] = ()


class Local:
    """Batches over one `HuggingFace` model, whatever weights it has at the moment of the call."""

    def __init__(self, model: HuggingFace) -> None:
        self.model = model

    def replies(self, conversations: Sequence[Conversation]) -> list[str]:
        """One greedy reply each, as `model.stream` gives it without parameters.

        Raises ModelError for a conversation longer than the model's context.
        """
        model = self.model
        limit = 256 if model.style == "chat" else 64
        prompts = [model._prompt(messages, limit) for messages in conversations]
        by_length: dict[int, list[int]] = {}
        for number, prompt in enumerate(prompts):
            by_length.setdefault(len(prompt), []).append(number)
        texts = [""] * len(prompts)
        for length, numbers in by_length.items():
            most = min(limit, (model.context_tokens or length + limit) - length)
            for start in range(0, len(numbers), ROWS):
                chosen = numbers[start : start + ROWS]
                for number, tokens in zip(chosen, self._greedy([prompts[n] for n in chosen], most), strict=True):
                    texts[number] = self._text(tokens)
        return texts

    def _text(self, tokens: Sequence[int]) -> str:
        from memedit.models.hugging_face import _until

        stops = ["\n"] if self.model.style == "completion" else []
        return "".join(_until(stops, self.model._pieces(iter(tokens))))

    def _greedy(self, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        """New tokens for prompts of one length, each up to the model's end mark or where its reply is over."""
        model = self.model
        return greedy(model._model, model.device, prompts, most, model._ends, self._over)

    def _over(self, tokens: Sequence[int]) -> bool:
        """Whether what comes next can change nothing: a line that is continued ends with its first line break."""
        if self.model.style != "completion":
            return False
        return "\n" in self.model._decode(list(tokens)).lstrip()

    def scores(self, conversations: Sequence[Conversation], targets: Sequence[str]) -> list[TargetScore]:
        """Each target as the reply to its conversation, teacher-forced; one that is empty is scored as a blank.

        What does not fit into the context is cut off in front.
        """
        import torch

        found: list[TargetScore | None] = [None] * len(targets)
        given = [self._with_target(*pair) for pair in zip(conversations, targets, strict=True)]
        for numbers, logits in self._batches([tokens for tokens, _ in given]):
            for row, number in enumerate(numbers):
                tokens, start = given[number]
                wanted = torch.tensor(tokens[start:], device=logits.device)
                # The logits at a place are of the token behind it.
                here = logits[row, start - 1 : len(tokens) - 1].float().log_softmax(dim=-1)
                best = here.argmax(dim=-1)
                right = int((best == wanted).sum())
                found[number] = TargetScore(
                    log_probability=float(here.gather(1, wanted[:, None]).sum()),
                    tokens=len(wanted),
                    right=right,
                    exact=right == len(wanted),
                    predicted=tuple(best.tolist()),
                )
        return [score for score in found if score is not None]

    def distributions(self, conversations: Sequence[Conversation]) -> list[NDArray[np.float32]]:
        """The probabilities (vocabulary,) of the reply's first token, one array each."""
        prompts = [self._fitting(self.model._prompt(messages, 1)) for messages in conversations]
        found: list[Any] = [None] * len(prompts)
        for numbers, logits in self._batches(prompts):
            for row, number in enumerate(numbers):
                here = logits[row, len(prompts[number]) - 1].float().softmax(dim=-1)
                found[number] = here.cpu().numpy()
        return found

    def _with_target(self, messages: Conversation, target: str) -> tuple[list[int], int]:
        """The tokens of the conversation and the target behind it, and where the target begins (>= 1).

        By the function that a fact is fitted by, so that both look at the same places.
        """
        model = self.model
        text, before = model.render(messages), model._prompt(messages, 1)
        if text:
            encode = partial(model._encode, specials=model.style == "completion")
            whole, start = continued(encode, text, target or " ", model.gap(messages))
        else:
            whole, start = before + model._encode(target or " "), len(before)
        start = max(1, min(start, len(whole) - 1))
        kept = self._fitting(whole)
        return kept, max(1, start - (len(whole) - len(kept)))

    def _fitting(self, tokens: list[int]) -> list[int]:
        most = self.model.context_tokens
        return tokens if most is None else tokens[-most:]

    def _batches(self, texts: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], Any]]:
        """(numbers, logits (rows, tokens, vocabulary)) of texts of about one length, padded behind."""
        import torch

        model = self.model
        vocabulary = int(getattr(model._model.config.get_text_config(), "vocab_size", 0)) or 50_000
        order = sorted(range(len(texts)), key=lambda number: (len(texts[number]), number))
        while order:
            rows = 1
            while rows < len(order) and (rows + 1) * len(texts[order[rows]]) * vocabulary <= CELLS:
                rows += 1
            numbers, order = order[:rows], order[rows:]
            longest = len(texts[numbers[-1]])
            tokens = torch.zeros((rows, longest), dtype=torch.long)
            mask = torch.zeros_like(tokens)
            for row, number in enumerate(numbers):
                tokens[row, : len(texts[number])] = torch.tensor(texts[number])
                mask[row, : len(texts[number])] = 1
            with torch.inference_mode():
                out = model._model(input_ids=tokens.to(model.device), attention_mask=mask.to(model.device))
            yield numbers, out.logits
