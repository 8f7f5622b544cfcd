"""RECIPE's learned null prototype: an edit applies only if it is nearer to the query than "no edit" is.

Chen et al., "Lifelong Knowledge Editing for LLMs with Retrieval-Augmented Continuous Prompt Learning" (EMNLP 2024), its
knowledge sentinel: one learned vector p stands for "nothing in memory applies", and the nearest edit e is used if
sim(q, e) > sim(q, p). So each query brings its own threshold: a question of a kind that edits never answer lies near
p, and asks for more.

What differs: RECIPE trains the encoder's heads, the sentinel (ten learnable tokens) and soft prompts together; here the
encoder is the memory's own and stays as it is, the sentinel is a free vector, and only it is learned, by the same three
contrastive terms (`fit`). Its length is learned too, so that it can stand for a threshold. The prompts are left out:
what an answer is made of is the answerer's affair. `recipe.json` beside this file holds it, made by
`python -m memedit.training.recipe`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memedit.edits import DEFAULT_NAMESPACE, Decision, Message
from memedit.errors import InputError
from memedit.scope._held import NOT_ASKED, decision, last_user, nothing_in, undecided

if TYPE_CHECKING:
    from memedit.memory import EditMemory

Vectors = NDArray[np.float32]

SCALE = 20.0
"""How a margin becomes a probability: 1 / (1 + exp(-SCALE * margin)), the temperature of training turned round."""


@dataclass(frozen=True)
class Prototype:
    """The learned vector (dimension,) and the identity of the encoder that it belongs to."""

    encoder: str
    vector: Vectors


def load_prototype(path: Path) -> Prototype:
    """The prototype in a file. Raises InputError where it is not there or not whole."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        vector = np.array(data["prototype"], np.float32)
        if vector.ndim != 1 or not len(vector) or not np.isfinite(vector).all():
            raise ValueError("its prototype is no list of numbers")
        return Prototype(str(data["encoder"]), vector)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no prototype ({type(error).__name__}: {error}); make one with "
            "`python -m memedit.training.recipe --data DIR`"
        ) from error


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """In scope is the nearest edit, if the query is nearer to it than to the null prototype."""

    candidates: int = 5
    """How many of the nearest edits are looked at."""
    margin: float = 0.0
    """How much nearer it must be, as a difference of similarities; published: 0."""
    prototype: Path | None = None
    """A prototype file of your own; None: the shipped one."""
    name: str = field(default="recipe", init=False)

    @cached_property
    def _learned(self) -> Prototype:
        if self.prototype is not None:
            return load_prototype(self.prototype)
        with as_file(files("memedit.scope") / "recipe.json") as shipped:
            return load_prototype(shipped)

    def decide(
        self,
        messages: Sequence[Message],
        memory: EditMemory,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        as_of: datetime | int | None = None,
    ) -> Decision:
        query = last_user(messages)
        threshold = probability(self.margin)
        if not query.strip():
            return undecided(query, threshold, self.name, NOT_ASKED)
        vector = memory.encoder.encode([" ".join(query.split())])[0]
        near = memory.search(vector, k=self.candidates, namespace=namespace, as_of=as_of)
        if not near:
            return undecided(query, threshold, self.name, nothing_in(namespace))
        learned = self._learned
        if len(vector) != len(learned.vector):
            raise InputError(
                f"the null prototype has {len(learned.vector)} numbers, vectors of {memory.encoder.identity} have "
                f"{len(vector)}; make one with `python -m memedit.training.recipe --encoder NAME --out FILE`"
            )
        notes: tuple[str, ...] = ()
        if learned.encoder != memory.encoder.identity:
            notes = (
                f"the null prototype was learned for the encoder {learned.encoder}, not for {memory.encoder.identity}: "
                "learn it with `python -m memedit.training.recipe`",
            )
        null = float(vector @ learned.vector)
        judged = tuple(replace(hit, probability=probability(hit.score - null)) for hit in near)
        hits = tuple(hit for hit in judged[:1] if hit.score - null > self.margin)
        return decision(query, threshold, self.name, judged, hits, notes)


def probability(margin: float) -> float:
    """The share of the edit in a softmax against the prototype; 0.5 for a margin of 0."""
    return 1.0 / (1.0 + math.exp(-SCALE * max(-4.0, min(4.0, margin))))


def fit(
    apart: Vectors,
    queries: Vectors,
    edits: Vectors,
    *,
    temperature: float = 1.0 / SCALE,
    batch: int = 8,
    steps: int = 2000,
    rate: float = 0.02,
    seed: int = 0,
) -> Vectors:
    """The null prototype (dimension,) that parts queries from the edits that are not theirs.

    apart (m, dimension): queries that no edit answers. queries and edits (n, dimension): row i of the one falls under
    row i of the other; n is at least 2. The loss is RECIPE's, over batches of `batch` pairs, with its weights of 1:

        query i and its edit:           -log  exp(q e_i) / (exp(q e_i) + exp(q p))           the edit beats p
        query i without its edit:       -log  exp(q p) / (exp(q p) + sum over j != i exp(q e_j))   p beats the others
        a query that none answers:      -log  exp(u p) / (exp(u p) + sum over j exp(u e_j))        p beats all

    all products divided by the temperature. Adam; the same seed gives the same vector. Raises InputError for shapes
    that do not go together.
    """
    if queries.shape != edits.shape or queries.ndim != 2 or len(queries) < 2 or apart.shape[1:] != queries.shape[1:]:
        raise InputError(f"shapes {apart.shape}, {queries.shape} and {edits.shape} do not go together")
    random = np.random.default_rng(seed)
    q, e, u = (one.astype(np.float64) for one in (queries, edits, apart))
    p = q.mean(axis=0)
    first, second = np.zeros_like(p), np.zeros_like(p)
    size = min(batch, len(q))
    for step in range(1, steps + 1):
        rows = random.choice(len(q), size, replace=False)
        ours, theirs = q[rows], e[rows]
        scores = ours @ theirs.T / temperature
        own = np.diag(scores).copy()
        np.fill_diagonal(scores, -np.inf)
        others = _log_sum(scores)
        null = ours @ p / temperature
        # derivative of each term by the product with p
        slope = _sigmoid(null - own) - _sigmoid(others - null)
        gradient = ours.T @ slope / size
        if len(u):
            away = u[random.choice(len(u), min(size, len(u)), replace=False)]
            slope = -_sigmoid(_log_sum(away @ theirs.T / temperature) - away @ p / temperature)
            gradient += away.T @ slope / len(away)
        gradient /= temperature
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        pace = rate * (1.0 - step / (steps + 1.0))
        p = p - pace * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return np.asarray(p, np.float32)


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -60.0, 60.0))))


def _log_sum(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """log of the sum of exp over each row."""
    highest = scores.max(axis=1)
    return np.asarray(highest + np.log(np.exp(scores - highest[:, None]).sum(axis=1)))
