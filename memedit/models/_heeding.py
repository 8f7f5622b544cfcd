"""Heeding: tokens are drawn so that the facts in front of a question count for more, where the model wavers.

Two things, both looked up in the model's own probabilities, neither told what the answer is:

    emphasis   context-aware decoding (Shi et al. 2024, "Trusting Your Evidence", eq. 2): the score of a token is
               (1 + a) log p(token | facts, question) - a log p(token | question). Only among tokens at least PLAUSIBLE
               times as likely as the likeliest, as in contrastive decoding (Li et al. 2023, section 3.3); so the
               question alone is read only where there are two such tokens, for a small part of all replies.
    pointing   a small model that writes out a name meets tokens that it hardly ever read and cannot write. Where no
               token reaches WAVERS it goes on with the name that it has begun to write out, if that stands in the
               prompt, or begins with a token that the facts brought there (a hard pointer; See et al. 2017, section
               2.2, mix a learnt one in).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

PLAUSIBLE = 0.1
"""Share of the likeliest token's probability from which a token may be chosen in its place."""
WAVERS = 0.25
"""Probability that no token reaches where the model does not know what to write."""


class Reading(Protocol):
    """A model that has read some tokens and reads on."""

    def read(self, tokens: Sequence[int]) -> torch.Tensor:
        """(1, vocabulary) scores of the token behind `tokens`, which stand behind all that was read before."""
        ...


class Heeding:
    """Scores of one reply's tokens. `prompt` has the facts, `question` is the same without them, as `reading` reads it.

    emphasis: `a` above, 0 or more. ends: tokens that end a reply.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        question: Sequence[int],
        reading: Reading,
        *,
        emphasis: float,
        ends: Collection[int],
    ) -> None:
        self._prompt, self._drawn = list(prompt), list[int]()
        self._brought = set(prompt) - set(question)
        self._reading, self._unread = reading, list(question)
        self._emphasis, self._ends = emphasis, set(ends)

    def drew(self, token: int) -> None:
        """Note a token of the reply."""
        self._drawn.append(token)
        self._unread.append(token)

    def __call__(self, scores: torch.Tensor) -> torch.Tensor:
        """(1, vocabulary) scores given the facts -> scores to choose by, minus infinity where a token is out."""
        given = scores.log_softmax(dim=-1)
        top = float(given.max())
        if top < math.log(WAVERS) and (pointed := self._pointed()):
            return _only(given, sorted(pointed | self._ends))
        plausible = given >= top + math.log(PLAUSIBLE)
        if not self._emphasis or int(plausible.sum()) < 2:
            return given
        alone = self._reading.read(self._unread).log_softmax(dim=-1)
        self._unread = []
        heeded = (1 + self._emphasis) * given - self._emphasis * alone
        return heeded.masked_fill(~plausible, -math.inf)

    def _pointed(self) -> set[int]:
        """The tokens that the facts say may come next."""
        if not self._drawn:
            return self._brought
        size = len(self._drawn)
        places = range(len(self._prompt) - size)
        return {self._prompt[at + size] for at in places if self._prompt[at : at + size] == self._drawn}


def _only(scores: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    kept = scores.new_full(scores.shape, -math.inf)
    kept[:, tokens] = scores[:, tokens]
    return kept
