"""Systems whose faults are known: what the metrics must show of them is known beforehand. For tests and for trying out.

None of them asks a model about an edit. A reply is made up from the edits by a rule, or is the unedited model's; and
probabilities follow from the reply: nearly all goes to its words, one by one, in a vocabulary of hashed words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING
from zlib import crc32

from memedit.edits import Draft
from memedit.evaluation.local import TargetScore
from memedit.matching import normalised

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from memedit.evaluation.systems import Base

VOCABULARY = 4096
SURE = 0.99
LIKELY, UNLIKELY = -1 / 128, -12.0
"""Log-probabilities of a token, so that any number of them and their mean are exact: what ties is seen to tie."""


class Planted:
    """The common part: `reply` is the rule. What no rule changes is the unedited model's own, scores included."""

    name = "planted"
    bytes_per_edit: float | None = 0.0

    def __init__(self, base: Base) -> None:
        self.base = base
        self.drafts: list[Draft] = []
        self.right: dict[str, str] = {}

    def edit(self, drafts: Sequence[Draft]) -> None:
        self.drafts += drafts

    def reset(self) -> None:
        self.drafts = []

    def expect_answers(self, answers: Mapping[str, str]) -> None:
        """Tell a system that cheats by design the right answers by prompt; the others do not look."""
        self.right = dict(answers)

    def reply(self, prompt: str, before: str) -> str:
        """What is said in place of `before`, what the unedited model says."""
        raise NotImplementedError

    def _replies(self, prompts: Sequence[str]) -> list[tuple[str, bool]]:
        """Each reply, and whether it is another than the unedited model's."""
        pairs = zip(prompts, self.base.answer(prompts), strict=True)
        made = [(self.reply(prompt, before) if self.drafts else before, before) for prompt, before in pairs]
        return [(reply, reply != before) for reply, before in made]

    def answer(self, prompts: Sequence[str]) -> list[str]:
        return [reply for reply, _ in self._replies(prompts)]

    def score(self, prompts: Sequence[str], targets: Sequence[str]) -> list[TargetScore | None]:
        before = self.base.score(prompts, targets)
        found: list[TargetScore | None] = []
        for (reply, changed), target, score in zip(self._replies(prompts), targets, before, strict=True):
            # A changed reply is scored in as many tokens as the model cuts the target into.
            found.append(_scored(reply, target, score.tokens) if changed and score is not None else score)
        return found

    def distributions(self, prompts: Sequence[str]) -> list[NDArray[np.float32] | None]:
        import numpy as np

        before = self.base.distributions(prompts)
        found: list[NDArray[np.float32] | None] = []
        for (reply, changed), old in zip(self._replies(prompts), before, strict=True):
            if not changed or old is None:
                found.append(old)
                continue
            size = len(old)
            new = np.full(size, (1 - SURE) / (size - 1), np.float32)
            new[_number(reply.split()[0] if reply.split() else "") % size] = SURE
            found.append(new)
        return found

    def explain(self, prompts: Sequence[str]) -> list[Mapping[str, object]]:
        return [{} for _ in prompts]

    def _about(self, prompt: str) -> Draft | None:
        """The newest edit whose subject the prompt names."""
        said = " ".join(normalised(prompt))
        about = (d for d in reversed(self.drafts) if d.subject and " ".join(normalised(d.subject)) in said)
        return next(about, None)


def _number(word: str) -> int:
    return crc32(word.casefold().encode()) % VOCABULARY


def _scored(reply: str, target: str, count: int) -> TargetScore:
    hit = normalised(reply)[: len(normalised(target))] == normalised(target)
    # Numbers below 0 are no token of any model, so that no position agrees with an unedited one.
    predicted = tuple(-1 - _number(f"{reply} {at}") for at in range(count))
    return TargetScore(
        log_probability=count * (LIKELY if hit else UNLIKELY),
        tokens=count,
        right=count * hit,
        exact=hit,
        predicted=predicted,
    )


class Perfect(Planted):
    """Told the right answers, it gives them; all else stays. Every share is 1: no method does better."""

    name = "planted:perfect"

    def reply(self, prompt: str, before: str) -> str:
        return self.right.get(prompt, before)


class Always(Planted):
    """Whatever is asked, the new target: of the edit whose subject is named, else of the newest."""

    name = "planted:always"

    def reply(self, prompt: str, before: str) -> str:
        return (self._about(prompt) or self.drafts[-1]).target or before


class Never(Planted):
    """It takes every edit and says what it said before: nothing is written, so nothing is harmed."""

    name = "planted:never"

    def reply(self, prompt: str, before: str) -> str:
        return before


class Leaking(Planted):
    """The edits are learnt, and leak: where no edited subject is named, the newest target runs into the old reply."""

    name = "planted:leaking"

    def reply(self, prompt: str, before: str) -> str:
        about = self._about(prompt)
        return (about.target or before) if about else f"{before}, {self.drafts[-1].target}"


planted: dict[str, Callable[[Base], Planted]] = {
    "always": Always,
    "leaking": Leaking,
    "never": Never,
    "perfect": Perfect,
}
