"""SERAC's scope classifier as published: near enough in embedding space, by a radius that nobody calibrates.

Mitchell, Lin, Bosselut, Manning and Finn, "Memory-Based Model Editing at Scale" (ICML 2022), its scope classifier: of
all edits in the cache the one with the highest probability is retrieved, and it applies if that probability is above
0.5. The embedding variant has p = exp(-|q - e|^2) (so a fixed radius of 0.83), the cross-attention variant a classifier
that reads query and edit together. Since one edit is retrieved, at most one is in scope.

What differs: the vectors are those of the memory's encoder and the classifier is the shipped verifier, not a DistilBERT
trained per task; an edit's vector is that of its nearest key (statement, question, alias …), where SERAC encodes input
and label as one text; and the cross-attention variant reads the nearest `pairs` edits, not the whole cache, which would
cost one pass for each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from memedit.edits import DEFAULT_NAMESPACE, Decision, Hit, Message
from memedit.errors import InputError
from memedit.scope._held import NOT_ASKED, decision, last_user, nothing_in, undecided

if TYPE_CHECKING:
    from memedit.memory import EditMemory


class Judge(Protocol):
    """What reads query and edit together: the verifier, or a fake."""

    def logits(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts),) log odds that the query falls under each."""
        ...


@dataclass(frozen=True, kw_only=True)
class Serac:
    """In scope is the best edit, if its probability is above the threshold."""

    variant: Literal["embedding", "cross_attention"] = "embedding"
    """exp(-d^2) of the memory's encoder, or the verifier over query and edit."""
    threshold: float = 0.5
    """Probability above which the best edit applies; published: 0.5."""
    pairs: int = 64
    """How many of the nearest edits the cross-attention variant reads."""
    candidates: int = 5
    """How many edits a decision of the embedding variant shows."""
    verifier: Judge | None = None
    """Another classifier for the cross-attention variant; None: the shipped verifier."""
    name: str = field(default="serac", init=False)

    def __post_init__(self) -> None:
        if self.variant not in ("embedding", "cross_attention"):
            raise InputError(f"there is no variant {self.variant!r} of serac; there are: embedding, cross_attention")

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
        k = self.candidates if self.variant == "embedding" else self.pairs
        near = memory.search(query, k=k, namespace=namespace, as_of=as_of)
        if not near:
            return undecided(query, self.threshold, self.name, nothing_in(namespace))
        if self.variant == "embedding":
            judged = [replace(hit, probability=embedding_probability(hit.score)) for hit in near]
        else:
            judged = sorted(verified(self._judge, query, near), key=lambda hit: -(hit.probability or 0.0))
        best = judged[0]
        hits = [best] if (best.probability or 0.0) > self.threshold else []
        return decision(query, self.threshold, self.name, judged, hits)


def embedding_probability(score: float) -> float:
    """exp(-|q - e|^2) of two unit vectors with this inner product; in [exp(-4), 1]."""
    return math.exp(-max(0.0, 2.0 - 2.0 * score))


def verified(judge: Judge, query: str, near: Sequence[Hit]) -> list[Hit]:
    """The hits with the verifier's probability, in the order that they came."""
    from memedit.scope._asked import edit_text

    logits = judge.logits(query, [edit_text(hit.edit) for hit in near])
    odds = 1.0 / (1.0 + np.exp(-np.clip(logits.astype(np.float64), -500.0, 500.0)))
    return [replace(hit, probability=float(p)) for hit, p in zip(near, odds, strict=True)]


def shipped_verifier() -> Judge:
    """The verifier that comes with the package. Raises ModelError where its files are missing."""
    # Late, because it brings onnxruntime, which the embedding variant does not need.
    from memedit.encoders.onnx import shipped
    from memedit.scope._verifier import Verifier

    return Verifier(shipped())
