"""Language patches: “if C, then D” in plain words; where a message meets C, D is said or the model is told to do D.

Language patching (Murty et al. 2022, "Fixing Model Bugs with Natural Language Patches"): a gate g(x) judges whether the
condition holds, an override patch puts its consequence in the place of the reply, a feature patch adds it to what the
model reads, and of several the one with the highest gate wins. There the gate is a trained head and both are mixed by
g(x); here it is `_conditions.py` and a bound, so that a message under the bound gets the model's own reply, untouched.
An override needs no model at all, so it also holds with one that follows no instruction.

A capable chat model may be the judge of what the gate thinks possible: it reads condition and message as an entailment
task. `mem_prompt.py` beside this adds to the prompt too, but by the question that was asked before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from memedit.answerers import HandBack, Retriever
from memedit.answerers._fitting import fits
from memedit.answerers.ike import as_line
from memedit.edits import Decision, Hit, Message
from memedit.models import BaseModel, load_model
from memedit.patches import conditional_of
from memedit.prompts import prompt

if TYPE_CHECKING:
    from memedit.answerers._conditions import Judged
    from memedit.memory import EditMemory

LONGEST = 4000
"""Characters of a message that a judge reads."""


@dataclass(frozen=True, kw_only=True)
class LanguagePatch:
    """Patches whose condition holds: the surest override is the reply; else all consequences go into the prompt."""

    kinds: ClassVar[frozenset[str]] = frozenset({"patch"})
    wants: ClassVar[frozenset[str]] = frozenset({"multi_hop", "none"})
    precedence: ClassVar[int] = 20

    false_fire: float = 0.004
    """Share of ordinary messages on which any of the patches may fire, in (0, 1)."""
    judge: str | BaseModel | None = None
    """A chat model that is asked whether the condition holds, where the gate thinks it possible; None: no one is."""
    possible: float = 0.1
    """With a judge: the share of ordinary messages, in (0, 1), that the gate may put before it."""
    instructions: int = 5
    """How many consequences go into the prompt, at most: the surest."""
    retrieve: Retriever | None = field(default=None, compare=False, repr=False)
    """What finds the patches; None: there are none."""
    name: str = field(default="language_patch", init=False)

    def with_retriever(self, retrieve: Retriever) -> LanguagePatch:
        return replace(self, retrieve=retrieve)

    def stream(
        self,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        memory: EditMemory,
        trace: list[dict[str, object]],
        **parameters: Any,
    ) -> Iterator[str]:
        reply, prepared = self._applied(messages, model, memory, trace)
        return model.stream(prepared, **parameters) if reply is None else iter([reply])

    async def astream(
        self,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        memory: EditMemory,
        trace: list[dict[str, object]],
        **parameters: Any,
    ) -> AsyncIterator[str]:
        # In a thread: judging encodes, and a judge is asked over the net.
        reply, prepared = await asyncio.to_thread(self._applied, messages, model, memory, trace)
        if reply is not None:
            yield reply
            return
        async for piece in model.astream(prepared, **parameters):
            yield piece

    def holding(self, messages: Sequence[Message], memory: EditMemory) -> tuple[list[Judged], dict[str, object]]:
        """The patches whose condition the last user message meets, the surest first, and the step for a trace."""
        from memedit.answerers._conditions import judged  # numpy

        edits = self.retrieve.of_kind("patch") if self.retrieve is not None else []
        if not edits:
            raise HandBack("there are no patches")
        rate = self.false_fire if self.judge is None else max(self.possible, self.false_fire)
        found, bound = judged(messages, edits, memory.encoder, rate)
        held = [one for one in found if one.holds]
        step: dict[str, object] = {"step": "patch", "bound": round(bound, 3)}
        if self.judge is not None:
            message = next((one.content for one in reversed(messages) if one.role == "user"), "")
            verdicts = {one.edit.id: self._verdict(conditional_of(one.edit).condition, message) for one in held}
            step["judged"] = verdicts
            held = [one for one in held if verdicts[one.edit.id]]
        step["scores"] = {one.edit.id: round(one.score, 3) if abs(one.score) < 1e6 else None for one in found[:5]}
        return held, step

    def _applied(
        self, messages: Sequence[Message], model: BaseModel, memory: EditMemory, trace: list[dict[str, object]]
    ) -> tuple[str | None, list[Message]]:
        """The reply of an override patch, or None and the messages with the instructions of feature patches."""
        held, step = self.holding(messages, memory)
        if not held:
            raise HandBack(f"the message meets no condition: {step['scores']}, bound {step['bound']}")
        override = next((one for one in held if conditional_of(one.edit).reply is not None), None)
        used = held[: self.instructions] if override is None else [override]
        consequences = "\n".join(f"- {as_line(conditional_of(one.edit).consequence)}" for one in used)
        prepared = with_instruction(messages, prompt("patches").substitute(consequences=consequences))
        if override is None and not fits(prepared, model):
            raise HandBack(f"what the patches say does not fit the context of {model.name}")
        trace.append({**step, "edits": [one.edit.id for one in used], "override": override is not None})
        assert self.retrieve is not None
        self.retrieve.found.update((one.edit.id, _hit(one)) for one in used)
        if override is not None:
            return conditional_of(override.edit).reply, []
        return None, prepared

    def _verdict(self, condition: str, message: str) -> bool:
        """Whether the judge says yes. All else is a no, which leaves the model's own reply."""
        judge = _judge(self.judge) if isinstance(self.judge, str) else self.judge
        assert judge is not None
        asked = prompt("patch_gate").substitute(condition=condition, message=message[:LONGEST])
        reply = "".join(judge.stream([Message("user", asked)]))
        return reply.strip(" \n\t*\"'“”.").casefold().startswith("yes")


def with_instruction(messages: Sequence[Message], instruction: str) -> list[Message]:
    """The messages with an instruction in a system message, behind what the caller's own there says."""
    if messages and messages[0].role == "system":
        return [Message("system", f"{messages[0].content}\n\n{instruction}"), *messages[1:]]
    return [Message("system", instruction), *messages]


def _hit(one: Judged) -> Hit:
    from memedit.answerers._conditions import figures

    probability = figures().probability(one.score)
    return Hit(edit=one.edit, score=probability, probability=probability)


@lru_cache(maxsize=4)
def _judge(spec: str) -> BaseModel:
    return load_model(spec)
