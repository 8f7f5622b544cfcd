"""What locate-then-edit methods share: find a key and a value for each request, then solve for the weight.

ROME, R-ROME, EMMET, MEMIT, PMET and AlphaEdit differ in where they search, what keys they take, and in a few lines of
algebra; those are in their files. Here is what they have in common: the settings of the search, the prefixes, the
keys' covariance, and a bench on which one layer's change is felt by the next while the model itself stays untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from memedit.methods._settings import chosen, name_of, recorded
from memedit.weights.kinds import CAUSAL
from memedit.weights.watched import bar, tell

if TYPE_CHECKING:
    from torch import Tensor

    from memedit.weights.change import Change
    from memedit.weights.covariance import Corpus, Moments
    from memedit.weights.delta import Delta
    from memedit.weights.language_model import LanguageModel, Request
    from memedit.weights.layout import Layout
    from memedit.weights.value import Found
    from memedit.weights.watched import Progress

OWN_TEXTS = 250
"""Texts that a model writes for its own covariance: 12,000 tokens, some ten for each neuron of a small model. On the
pocket model twice as many change no figure of ROME's by a point."""
ENOUGH = 10
"""Tokens for each neuron below which somebody who watches is told that they are few."""


@dataclass(frozen=True, kw_only=True)
class Located:
    """Settings of the search for a value, and of what the edit must not disturb."""

    family: ClassVar[str] = "locate-then-edit"
    models: ClassVar[tuple[str, ...]] = CAUSAL
    writes: ClassVar[bool] = True

    steps: int | None = None
    """Steps of the search for a value; None: by the model."""
    rate: float | None = None
    """Adam's learning rate in that search; None: by the model."""
    kl: float | None = None
    """Weight of the divergence on "{subject} is a"; None: by the model."""
    decay: float | None = None
    """Weight of what is added, over the square of what is there; None: by the model."""
    clamp: float | None = None
    """Largest norm of what is added, in norms of what is there; None: by the model."""
    stop: float | None = None
    """Loss under which the search ends; None: by the model."""
    ridge: float = 1e-3
    """Added to the diagonal of the keys' covariance, in units of its mean."""
    corpus: str | None = None
    """File of texts for the keys' covariance, one a line or JSON; None: text that the model writes itself."""
    texts: int | None = None
    """How many of its texts to read; None: 100,000 of a file, 250 of the model's own."""
    seed: int = 0
    """Of the prefixes, and of the model's own text."""


class Bench:
    """Where a method works: a private twin of the model, the method with its settings chosen, the deltas so far."""

    def __init__(self, method: Located, model: LanguageModel) -> None:
        from memedit.weights.change import edited
        from memedit.weights.layout import layout_of
        from memedit.weights.rows import require

        require(model, name_of(method), method.models)
        self.method: Any = chosen(method, model)
        self.model = edited(model)
        self.layout: Layout = layout_of(model.model)
        self.deltas: list[Delta] = []
        self.notes: dict[str, Any] = {}

    def corpus(self, progress: Progress | None = None) -> Corpus:
        """The method's; `progress` is told how far the model is with writing it, where it has to."""
        from memedit.weights.covariance import own_text, read_corpus

        method = self.method
        if method.corpus is None:
            corpus = own_text(self.model, method.texts or OWN_TEXTS, method.seed, progress)
        else:
            corpus = read_corpus(method.corpus)
        self.notes.update(corpus_name=corpus.name, corpus_hash=corpus.hash)
        return corpus

    def moments(self, layers: Sequence[int]) -> dict[int, Moments]:
        """Layer -> second moments of its keys, from the cache where they are there.

        Whoever watches is told how far it is, and where the text is too short for them.
        """
        from memedit.weights.covariance import moments

        size = self.method.texts or 100_000
        with bar("keys' covariance") as progress:  # where the model writes the text too, it goes twice
            found = moments(self.model, layers, self.corpus(progress), sample=size, progress=progress)
        few = min(found.values(), key=lambda one: one.count / len(one.matrix))
        self.notes.update(tokens=few.count, neurons=len(few.matrix))
        if few.count < ENOUGH * len(few.matrix):
            of, more = (
                ("text that the model wrote itself", "--set corpus=FILE, or --set texts=N")
                if self.method.corpus is None
                else (self.notes["corpus_name"], "a longer file, or a larger --set texts=N")
            )
            tell(
                f"the keys' covariance is over {few.count:,} tokens ({of}) for {len(few.matrix):,} neurons and wants "
                f"{ENOUGH * len(few.matrix):,}: of what the edit must not disturb only a part is known, and AlphaEdit "
                f"finds a null space where there is none; give more ({more})"
            )
        return found

    def search(self, requests: Sequence[Request], sites: Sequence[str], before: Sequence[str]) -> Found:
        """Values at the outputs of `sites`."""
        from memedit.weights.value import Search, search

        m = self.method
        how = Search(m.steps, m.rate, m.kl, m.decay, m.clamp, m.stop, settled=name_of(m) == "pmet")
        return search(self.model, requests, sites, before, how)

    def add(self, layer: int, left: Tensor, right: Tensor) -> None:
        """Add left (out, r) times right (r, in), float64, to the layer's down projection, on the bench."""
        from memedit.weights.change import write
        from memedit.weights.delta import Delta

        delta = Delta(f"{self.layout.mlp_out(layer)}.weight", left.float(), right.float())
        write(self.model.model, delta)
        self.deltas.append(delta)

    def change(self, state: dict[str, Tensor] | None = None) -> Change:
        """The change that all of it makes."""
        from memedit.weights.change import Change, origin
        from memedit.weights.delta import stacked

        return Change(
            method=name_of(self.method),
            settings=recorded(self.method),
            notes=self.notes,
            model_hash=origin(self.model),
            deltas=tuple(stacked(self.deltas).values()),
            state=state or {},
        )


def prefixes(bench: Bench, counts: Sequence[tuple[str, int]]) -> list[str]:
    """Nothing, and then a text for each (start, tokens), sampled from the original weights."""
    from memedit.weights.value import contexts

    return contexts(bench.model, counts, bench.method.seed)


ROME_PREFIXES = (*[("", 5)] * 10, *[("", 10)] * 10)
"""Ten of five tokens and ten of ten, from nothing."""
MEMIT_PREFIXES = tuple((start, 10) for start in ("The", "Therefore", "Because", "I", "You"))
"""One of ten tokens from each word."""


def halved(keys: Tensor, contexts: int) -> Tensor:
    """(requests, in) from (requests · contexts, in): half the bare prompt's, half the mean over the prefixed ones."""
    each = keys.view(-1, contexts, keys.shape[1])
    return each[:, 0] if contexts == 1 else (each[:, 0] + each[:, 1:].mean(1)) / 2
