"""DEPN: forget private texts by silencing the neurons that carry them.

Neurons are attributed for each private text as in KN; those that carry many of the batch are privacy neurons, and the
columns of the down projections that they add are set to zero. A request's target is what is private, its prompt what
leads to it. `memedit.weights.exposure` measures what is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from memedit.errors import InputError
from memedit.methods.kn import Neuron, column_of, columns_added
from memedit.weights.kinds import EVERY
from memedit.weights.threads import on_one_thread

if TYPE_CHECKING:
    from torch import Tensor

    from memedit.weights.change import Change
    from memedit.weights.delta import Delta
    from memedit.weights.language_model import LanguageModel, Request


@dataclass(frozen=True, kw_only=True)
class Depn:
    """Wu et al. 2023, section 2: detector, aggregator, editor.

    As published but for the integral (see `memedit.weights.attribution`); and every family is edited, where the paper
    has BERT. Raises InputError for shares outside [0, 1] and for less than one neuron.
    """

    family: ClassVar[str] = "privacy"
    source: ClassVar[str] = (
        "Wu et al., DEPN: Detecting and Editing Privacy Neurons in Pretrained Language Models, EMNLP 2023"
    )
    models: ClassVar[tuple[str, ...]] = EVERY
    writes: ClassVar[bool] = False

    neurons: int = 200
    """Most neurons to silence, over the whole batch; published: 10 to 200 for phones and names, 500 for texts."""
    threshold: float = 0.01
    """A text's neurons are those above this share of its largest attribution."""
    mode_share: float = 0.5
    """A privacy neuron is one of this share of the batch's texts. Texts of one kind share such neurons; of unlike ones
    few are left, and they carry little: lower it, or forget such texts one at a time."""
    steps: int = 20
    """Points of the integral."""

    def __post_init__(self) -> None:
        if not (0 <= self.threshold < 1 and 0 <= self.mode_share <= 1 and self.neurons >= 1):
            raise InputError("depn needs threshold in [0, 1), mode_share in [0, 1], and neurons of 1 or more")

    @on_one_thread
    def fit(
        self, model: LanguageModel, requests: Sequence[Request], *, state: Mapping[str, Tensor] | None = None
    ) -> Change:
        """See `memedit.methods.Method`. The batch is forgotten together: each request's target, behind its prompt."""
        from memedit.methods._settings import recorded
        from memedit.weights.change import Change, edited, origin
        from memedit.weights.rows import require

        require(model, "depn", self.models)
        deltas: tuple[Delta, ...] = ()
        if requests:
            twin = edited(model)
            columns = {neuron: -column_of(twin, neuron) for neuron in self.locate(twin, requests)}
            deltas = tuple(columns_added(twin, columns))
        return Change(method="depn", settings=recorded(self), model_hash=origin(model), deltas=deltas)

    def locate(self, model: LanguageModel, requests: Sequence[Request]) -> list[Neuron]:
        """The privacy neurons of a batch, those of the most texts first, then the most attributed."""
        return self.chosen(attributions(model, requests, steps=self.steps))

    def chosen(self, scores: Tensor) -> list[Neuron]:
        """The privacy neurons by the texts' attributions (texts, layers, neurons)."""
        largest = scores.amax((1, 2), keepdim=True)
        counts = ((scores > self.threshold * largest) & (scores > 0)).sum(0)
        total = scores.sum(0)
        kept = (counts >= max(1.0, self.mode_share * len(scores))).nonzero().tolist()
        kept.sort(key=lambda at: (-int(counts[at[0], at[1]]), -float(total[at[0], at[1]]), at))
        return [(layer, number) for layer, number in kept[: self.neurons]]


def attributions(model: LanguageModel, requests: Sequence[Request], *, steps: int = 20) -> Tensor:
    """(requests, layers, neurons) attributions of each target, summed over its tokens, on the CPU."""
    import torch

    from memedit.weights.attribution import attribute
    from memedit.weights.prediction import predictions_of

    rows = predictions_of(model, [(request.prompt, request.target) for request in requests])
    scores = attribute(model, rows, steps=steps).scores
    each = torch.zeros(len(requests), *scores.shape[1:], dtype=scores.dtype)
    return each.index_add_(0, rows.pairs.cpu(), scores)
