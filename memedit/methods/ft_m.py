"""FT-M: Adam on one down projection with the ordinary loss, the target's tokens alone counting.

FT-L without its flaw and without its constraint: much stronger for targets of several tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from memedit.methods._tuned import Tuned, last_stack, under

if TYPE_CHECKING:
    from memedit.weights.language_model import LanguageModel


@dataclass(frozen=True, kw_only=True)
class FtM(Tuned):
    """Fine-tuning with a masked loss."""

    source: ClassVar[str] = "Zhang et al., A Comprehensive Study of Knowledge Editing for LLMs, 2024"

    layer: int | None = None
    """Layer whose down projection (with its bias) is tuned; None: by the model."""

    def _names(self, model: LanguageModel) -> list[str]:
        return under(model.model, [last_stack(model).mlp_out(self.layer or 0)])
