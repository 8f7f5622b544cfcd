"""FT-L: Adam on one down projection, each weight held within ±ε of what it was; as published, with its flaw.

The flaw: every token of the target is judged at the prompt's last place, as if each of them came next. So a target of
several tokens is not learned as a sequence, only its tokens made more probable there. `ft_m` is the same with the
ordinary loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from memedit.methods._tuned import Tuned, last_stack, under

if TYPE_CHECKING:
    from torch import Tensor

    from memedit.weights.language_model import LanguageModel
    from memedit.weights.rows import Row


@dataclass(frozen=True, kw_only=True)
class FtL(Tuned):
    """Norm-constrained fine-tuning, as the baseline of the ROME and MEMIT papers."""

    source: ClassVar[str] = (
        "Zhu et al., Modifying Memories in Transformer Models, 2020, as in Meng et al., NeurIPS 2022"
    )

    layer: int | None = None
    """Layer whose down projection (with its bias) is tuned; None: by the model."""
    epsilon: float | None = None
    """Farthest that a weight may move; None: by the model."""

    def _row(self, row: Row) -> Row:
        return replace(row, at=(row.at[0],) * len(row.target))

    def _names(self, model: LanguageModel) -> list[str]:
        return under(model.model, [last_stack(model).mlp_out(self.layer or 0)])

    def _after(self, masters: Sequence[Tensor], began: Sequence[Tensor]) -> None:
        for master, before in zip(masters, began, strict=True):
            master.clamp_(before - (self.epsilon or 0.0), before + (self.epsilon or 0.0))
