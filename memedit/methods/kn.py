"""KN, knowledge neurons: the few neurons that carry a fact are located, and what they add is changed.

    w_n <- w_n - λ1 e(old) + λ2 e(new)

w_n is the column of a down projection that neuron n adds to the residual stream, e a token's row of the head. Nothing
is searched or solved: it serves to look into a model and to erase, and is no reliable way to update one. DEPN, which
forgets, locates in the same way over a batch of private texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from memedit.errors import InputError
from memedit.weights.kinds import EVERY
from memedit.weights.threads import on_one_thread

if TYPE_CHECKING:
    from torch import Tensor

    from memedit.weights.change import Change
    from memedit.weights.delta import Delta
    from memedit.weights.language_model import LanguageModel, Request
    from memedit.weights.layout import Layout

Neuron = tuple[int, int]
"""(layer, number of the down projection's input)"""
Operation = Literal["update", "suppress", "enhance", "erase"]


@dataclass(frozen=True, kw_only=True)
class Kn:
    """Dai et al. 2022, sections 3 and 5.

    As published but for: the integral (see `memedit.weights.attribution`); λ in units of the column's own norm, each
    e(·) being brought to it; the head's rows for e(·), which are BERT's embeddings and right for untied models too; an
    answer's first token stands for it in `update`; and the paraphrases, which are the wordings of the fact's relation
    that memedit knows, where the paper has ParaRel's. Where there is no other wording the most attributed are kept.

    Raises InputError for an operation that there is not.
    """

    family: ClassVar[str] = "locate-then-edit"
    source: ClassVar[str] = "Dai et al., Knowledge Neurons in Pretrained Transformers, ACL 2022"
    models: ClassVar[tuple[str, ...]] = EVERY

    operation: Operation = "update"
    """update: from what the model says to the target; suppress, enhance: what carries the target, times 0 or 2; erase:
    to the unknown token's embedding (to 0 for a tokenizer without one, or whose unknown token is its end mark)."""
    steps: int = 20
    """Points of the integral."""
    threshold: float = 0.2
    """A prompt's neurons are those above this share of its largest attribution."""
    share: float = 0.7
    """Kept are the neurons of this share of the prompts; moved by 0.05 until `least` to `most` remain."""
    least: int = 2
    """Fewest neurons of a fact, where there are so many."""
    most: int = 5
    """Most neurons of a fact."""
    common: float = 0.1
    """Of ten requests and more, neurons of more than this share of them carry no single fact, and are left."""
    prompts: int = 8
    """Most wordings of a fact to look at."""
    old_weight: float = 1.0
    """λ1."""
    new_weight: float = 8.0
    """λ2."""

    def __post_init__(self) -> None:
        if self.operation not in get_args(Operation):
            raise InputError(f"kn has no operation {self.operation!r}; there are: {', '.join(get_args(Operation))}")

    @property
    def writes(self) -> bool:
        """An update does; what carries the target already is doubled, silenced or erased by the others."""
        return self.operation == "update"

    @on_one_thread
    def fit(
        self, model: LanguageModel, requests: Sequence[Request], *, state: Mapping[str, Tensor] | None = None
    ) -> Change:
        """See `memedit.methods.Method`."""
        from memedit.methods._settings import recorded
        from memedit.weights.change import Change, edited, origin
        from memedit.weights.rows import require

        require(model, "kn", self.models)
        deltas: tuple[Delta, ...] = ()
        if requests:
            twin = edited(model)
            columns: dict[Neuron, Tensor] = {}
            for request, neurons in zip(requests, self.locate(twin, requests), strict=True):
                for neuron in neurons:
                    change = self._column(twin, request, neuron)
                    # A neuron is updated for each of its facts, but silenced or doubled once.
                    before = columns.get(neuron) if self.operation == "update" else None
                    columns[neuron] = change if before is None else before + change
            deltas = tuple(columns_added(twin, columns))
        return Change(method="kn", settings=recorded(self), model_hash=origin(model), deltas=deltas)

    def locate(self, model: LanguageModel, requests: Sequence[Request]) -> list[list[Neuron]]:
        """The neurons of each request's fact, the most attributed first; of its old fact for `update`."""
        found = [self._of_one(model, request) for request in requests]
        if len(found) < 10:
            return found
        counts = Counter(neuron for neurons in found for neuron in neurons)
        bound = max(1.0, self.common * len(found))
        return [[neuron for neuron in neurons if counts[neuron] <= bound] for neurons in found]

    def _of_one(self, model: LanguageModel, request: Request) -> list[Neuron]:
        from dataclasses import replace

        import torch

        from memedit.weights.attribution import attribute
        from memedit.weights.prediction import predictions_of

        prompts = wordings(request)[: self.prompts]
        pairs = [(prompt, request.target) for prompt in prompts]
        rows = predictions_of(model, pairs, first=self.operation == "update", frame=request.frame)
        if self.operation == "update":
            rows = replace(rows, tokens=torch.full_like(rows.tokens, self._said(model, request)))
        scores = attribute(model, rows, steps=self.steps).scores
        each = torch.zeros(len(prompts), *scores.shape[1:], dtype=scores.dtype)
        return self.chosen(each.index_add_(0, rows.pairs.cpu(), scores))

    def chosen(self, scores: Tensor) -> list[Neuron]:
        """The neurons of one fact from its prompts' attributions (prompts, layers, neurons), the strongest first."""
        coarse = scores > self.threshold * scores.amax((1, 2), keepdim=True)
        shares = coarse.double().mean(0)
        need, step = self.share, 0.05
        rising = int((shares >= need).sum()) > self.most
        while 0 < need <= 1:
            count = int((shares >= need - 1e-9).sum())
            if self.least <= count <= self.most or (count < self.least) == rising:
                break
            need += step if rising else -step
        need = min(1.0, max(step, need))
        kept = (shares >= need - 1e-9).nonzero()
        mean = scores.mean(0)
        ordered = sorted(kept.tolist(), key=lambda at: (-float(mean[at[0], at[1]]), at))
        return [(layer, number) for layer, number in ordered[: self.most]]

    def _said(self, model: LanguageModel, request: Request) -> int:
        """The token that the model now says after the prompt."""
        import torch

        from memedit.weights.prediction import log_probabilities, predictions_of

        with torch.no_grad():
            row = predictions_of(model, [(request.prompt, request.target)], first=True, frame=request.frame)
            return int(log_probabilities(model, row).argmax())

    def _column(self, model: LanguageModel, request: Request, neuron: Neuron) -> Tensor:
        """(width,) what to add to the neuron's column."""
        import torch

        from memedit.weights.prediction import predictions_of

        with torch.no_grad():
            column = column_of(model, neuron)
            if self.operation == "enhance":
                return column
            unknown = model.tokenizer.unk_token_id
            if self.operation == "erase" and unknown not in (None, model.tokenizer.eos_token_id):
                return self._embedding(model, unknown, column) - column
            if self.operation in ("suppress", "erase"):
                return -column
            row = predictions_of(model, [(request.prompt, request.target)], first=True, frame=request.frame)
            new = int(row.tokens)
            old = self._embedding(model, self._said(model, request), column)
            return self.new_weight * self._embedding(model, new, column) - self.old_weight * old

    @staticmethod
    def _embedding(model: LanguageModel, token: int, column: Tensor) -> Tensor:
        """The token's row of the head, as long as the column."""
        head = model.model.get_submodule(predicting(model).head()).weight[token].float()
        if head.shape != column.shape:
            raise InputError(
                f"kn needs a head as wide as the residual stream: {tuple(head.shape)} is not {tuple(column.shape)}"
            )
        embedding: Tensor = head * (column.norm() / head.norm().clamp_min(1e-12))
        return embedding


def wordings(request: Request) -> list[str]:
    """Prompts that ask for the request's fact: its own first, then the other wordings of its relation, where known."""
    from memedit.parsing import parse
    from memedit.relations import fill, relations

    known = parse(f"{request.prompt} {request.target}", subject=request.subject or None, target=request.target)
    relation = relations().get(known.relation or "")
    cut = [wording.removesuffix("{target}").rstrip() for wording in (relation.completions if relation else ())]
    other = [fill(wording, request.subject) for wording in cut]
    return list(dict.fromkeys([request.prompt, *other]))


def predicting(model: LanguageModel) -> Layout:
    """The layout of the stack that predicts: an encoder-decoder's decoder."""
    from memedit.weights.layout import FAMILIES, layout_of

    layout = layout_of(model.model)
    return layout_of(model.model, list(FAMILIES[layout.family])[-1])


def column_of(model: LanguageModel, neuron: Neuron) -> Tensor:
    """(width,) float32: what the neuron adds to the residual stream for an activation of 1."""
    from memedit.weights.change import view

    layer, number = neuron
    return view(model.model, f"{predicting(model).mlp_out(layer)}.weight")[:, number].detach().float().clone()


def columns_added(model: LanguageModel, columns: Mapping[Neuron, Tensor]) -> list[Delta]:
    """Deltas that add `columns`, (width,) each, to the neurons' columns: one for each layer, of as many ranks."""
    import torch

    from memedit.weights.change import view
    from memedit.weights.delta import Delta as Added

    deltas = []
    for layer in sorted({layer for layer, _ in columns}):
        name = f"{predicting(model).mlp_out(layer)}.weight"
        numbers = sorted(number for of, number in columns if of == layer)
        left = torch.stack([columns[layer, number] for number in numbers], dim=1)
        right = torch.zeros(len(numbers), view(model.model, name).shape[1], device=left.device)
        right[torch.arange(len(numbers)), numbers] = 1.0
        deltas.append(Added(name, left, right))
    return deltas
