"""The plain gate: a question falls under an edit if the encoder puts it near enough to one of the edit's keys.

One encode and one search per decision. How near is near enough is not guessed: `similarity.json` beside this file turns
the false-fire rate that the user picks into a threshold. An encoder that was never trained to tell an edit from its
neighbours (the same relation of another subject) separates them poorly; the trained classifiers behind the same seam
do better, and this one is what they are compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from memedit.edits import DEFAULT_NAMESPACE, Decision, Message
from memedit.scope._calibration import Calibration, Sizes, load_calibration
from memedit.scope._held import NOT_ASKED, decision, nothing_in, undecided

if TYPE_CHECKING:
    from memedit.memory import EditMemory


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """In scope is what scores above the calibrated threshold against the nearest key of an edit."""

    false_fire: float = 0.01
    """Share of unrelated questions on which the gate may fire, in (0, 1)."""
    candidates: int = 5
    """How many of the nearest edits are looked at."""
    calibration: Path | None = None
    """A calibration file of your own; None: the shipped one."""
    name: str = field(default="similarity", init=False)
    _size: Sizes = field(default_factory=Sizes, init=False, repr=False, compare=False)

    @cached_property
    def _figures(self) -> Calibration:
        if self.calibration is not None:
            return load_calibration(self.calibration)
        with as_file(files("memedit.scope") / "similarity.json") as shipped:
            return load_calibration(shipped)

    def query(self, messages: Sequence[Message]) -> str:
        """The text that is judged: the last user message. A scope that reads the conversation says more here."""
        return next((message.content for message in reversed(messages) if message.role == "user"), "")

    def decide(
        self,
        messages: Sequence[Message],
        memory: EditMemory,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        as_of: datetime | int | None = None,
    ) -> Decision:
        query = self.query(messages)
        figures = self._figures
        threshold = figures.probability(figures.score(self.false_fire, self._size(memory, namespace)))
        if not query.strip():
            return undecided(query, threshold, self.name, NOT_ASKED)
        near = memory.search(query, k=self.candidates, namespace=namespace, as_of=as_of)
        if not near:
            return undecided(query, threshold, self.name, nothing_in(namespace))
        judged = tuple(replace(hit, probability=figures.probability(hit.score)) for hit in near)
        hits = [hit for hit in judged if (hit.probability or 0.0) >= threshold]
        return decision(query, threshold, self.name, judged, hits, self._notes(memory))

    def _notes(self, memory: EditMemory) -> tuple[str, ...]:
        identity = memory.encoder.identity
        if identity == self._figures.encoder:
            return ()
        return (
            f"calibrated for the encoder {self._figures.encoder}, not for {identity}: the probabilities do not hold; "
            "calibrate with `python -m memedit.training.similarity`",
        )
