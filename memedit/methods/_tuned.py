"""What the fine-tuning methods share: some weights of a private twin, Adam, and a loss over target tokens.

They differ in which weights those are, in what counts as the loss, and in what is done after each step. Masters of the
weights are kept in float32, since a half-precision weight would swallow most of what Adam adds to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from memedit.methods._settings import chosen, name_of, recorded
from memedit.weights.kinds import EVERY
from memedit.weights.threads import on_one_thread

if TYPE_CHECKING:
    from torch import Tensor, nn

    from memedit.weights.change import Change
    from memedit.weights.delta import Delta
    from memedit.weights.language_model import LanguageModel, Request
    from memedit.weights.layout import Layout
    from memedit.weights.rows import Row


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """Settings of the descent."""

    family: ClassVar[str] = "fine-tuning"
    models: ClassVar[tuple[str, ...]] = EVERY
    writes: ClassVar[bool] = True

    rate: float | None = None
    """Adam's learning rate; None: by the model."""
    steps: int | None = None
    """Most passes over the requests; None: by the model."""
    stop: float = 1e-2
    """Mean loss of a pass under which it ends."""
    batch: int = 32
    """Requests in one step."""
    seed: int = 0
    """Of whatever is drawn."""

    @on_one_thread
    def fit(
        self, model: LanguageModel, requests: Sequence[Request], *, state: Mapping[str, Tensor] | None = None
    ) -> Change:
        """See `memedit.methods.Method`."""
        from memedit.weights.change import Change, edited, origin
        from memedit.weights.rows import require, row_of

        name = name_of(self)
        require(model, name, self.models)
        method: Any = chosen(self, model)
        deltas: tuple[Delta, ...] = ()
        if requests:
            twin = edited(model)
            rows = [self._row(row_of(model, request, owner=n)) for n, request in enumerate(requests)]
            deltas = tuple(method._deltas(twin, rows))
        return Change(method=name, settings=recorded(method), model_hash=origin(model), deltas=deltas)

    def _row(self, row: Row) -> Row:
        """The row as it is judged."""
        return row

    def _names(self, model: LanguageModel) -> list[str]:
        """The weights that are tuned."""
        raise NotImplementedError

    def _after(self, masters: Sequence[Tensor], began: Sequence[Tensor]) -> None:
        """What is done to the masters after each step, `began` being what they were at first."""

    def _deltas(self, twin: LanguageModel, rows: Sequence[Row]) -> list[Delta]:
        from memedit.weights.change import oriented
        from memedit.weights.delta import Delta

        names = self._names(twin)
        weights = [twin.model.get_parameter(name) for name in names]
        began = [weight.detach().float().clone() for weight in weights]
        masters = descend(
            twin, rows, weights, rate=self.rate or 0.0, steps=self.steps or 0, stop=self.stop, batch=self.batch,
            after=lambda masters: self._after(masters, began),
        )  # fmt: skip
        return [
            Delta(name, full=oriented(twin.model, name, master - before).contiguous())
            for name, master, before in zip(names, masters, began, strict=True)
        ]


def under(model: nn.Module, modules: Sequence[str]) -> list[str]:
    """Names of all weights in these modules, each weight once."""
    return [name for name, _ in model.named_parameters() if any(name.startswith(f"{module}.") for module in modules)]


def stacks(model: LanguageModel) -> list[Layout]:
    """The layouts of the model's stacks, the one that writes last."""
    from memedit.weights.layout import FAMILIES, layout_of

    return [layout_of(model.model, stack) for stack in FAMILIES[layout_of(model.model).family]]


def last_stack(model: LanguageModel) -> Layout:
    """The layout of the stack that writes: of an encoder-decoder the decoder."""
    return stacks(model)[-1]


def descend(
    model: LanguageModel,
    rows: Sequence[Row],
    weights: Sequence[nn.Parameter],
    *,
    rate: float,
    steps: int,
    stop: float,
    batch: int,
    after: Callable[[Sequence[Tensor]], None] = lambda masters: None,
) -> list[Tensor]:
    """Tune `weights`, which nobody else sees, on the rows' targets; their float32 masters.

    The loss is −log P of a target's tokens, mean over tokens and then over rows. Requests come in their order.
    """
    import torch

    from memedit.weights.passes import a_pass
    from memedit.weights.rows import batch_of, log_probabilities

    masters = [weight.detach().float().clone() for weight in weights]
    for weight in weights:
        weight.data = weight.detach().clone()
        weight.requires_grad_(True)
    adam = torch.optim.Adam(masters, lr=rate)
    scale = 1024.0 if any(weight.dtype == torch.float16 for weight in weights) else 1.0
    batches = [batch_of(model, rows[first : first + batch]) for first in range(0, len(rows), batch)]
    for _ in range(steps):
        total = 0.0
        for part in batches:
            counted = part.counted.sum(1)
            with a_pass(model.device):
                loss = -(log_probabilities(model, part).sum(1) / counted).mean()
            total += float(loss.detach()) * len(counted)
            if len(batches) == 1 and total / len(rows) < stop:
                return masters
            with a_pass(model.device):
                gradients = torch.autograd.grad(loss * scale, list(weights), allow_unused=True)
            for master, gradient in zip(masters, gradients, strict=True):
                master.grad = None if gradient is None else gradient.float() / scale
            adam.step()
            with torch.no_grad():
                after(masters)
                for weight, master in zip(weights, masters, strict=True):
                    weight.copy_(master)
        if total / len(rows) < stop:
            break
    return masters
