"""PokeMQA's two stages: a detector by distance drops nearly all edits, a disambiguator chooses among those left.

Gu et al., "PokeMQA: Programmable knowledge editing for Multi-hop Question Answering" (ACL 2024), its programmable scope
detector: the pre-detector keeps the edits with p = exp(-|e - q|^2) >= 0.5; if one is left it is the answer; if several
are, the conflict disambiguator reads each with the question, and the edit that it finds most probable is taken.

What differs: the detector is the memory's encoder over an edit's nearest key and the disambiguator is the shipped
verifier, where PokeMQA trains two DistilBERTs on 4,934 edits; the most probable of several must also reach 0.5, so that
"none of these" is a possible answer; no more than `candidates` reach the second stage; and the questions are whole, not
the hops that PokeMQA's prompt takes them apart into.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from memedit.edits import DEFAULT_NAMESPACE, Decision, Message
from memedit.scope._held import NOT_ASKED, decision, last_user, nothing_in, undecided
from memedit.scope.serac import Judge, embedding_probability, shipped_verifier, verified

if TYPE_CHECKING:
    from memedit.memory import EditMemory


@dataclass(frozen=True, kw_only=True)
class PokeMqa:
    """In scope is the one edit that is near enough, or of several the one that the verifier prefers."""

    threshold: float = 0.5
    """Probability that both stages ask for; published: 0.5."""
    candidates: int = 20
    """How many of the nearest edits are looked at, and can reach the second stage."""
    verifier: Judge | None = None
    """Another disambiguator; None: the shipped verifier."""
    name: str = field(default="poke_mqa", init=False)

    @cached_property
    def _judge(self) -> Judge:
        return self.verifier if self.verifier is not None else shipped_verifier()

    def decide(
        self,
        messages: Sequence[Message],
        memory: EditMemory,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        as_of: datetime | int | None = None,
    ) -> Decision:
        query = last_user(messages)
        if not query.strip():
            return undecided(query, self.threshold, self.name, NOT_ASKED)
        near = memory.search(query, k=self.candidates, namespace=namespace, as_of=as_of)
        if not near:
            return undecided(query, self.threshold, self.name, nothing_in(namespace))
        judged = [replace(hit, probability=embedding_probability(hit.score)) for hit in near]
        left = [hit for hit in judged if (hit.probability or 0.0) >= self.threshold]
        if len(left) > 1:
            chosen = sorted(verified(self._judge, query, left), key=lambda hit: -(hit.probability or 0.0))
            judged = chosen + judged[len(left) :]
            left = [hit for hit in chosen[:1] if (hit.probability or 0.0) >= self.threshold]
        return decision(query, self.threshold, self.name, judged, left)
