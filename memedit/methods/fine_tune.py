"""FT: Adam on all weights of a range of layers, on the target's tokens; the baseline every paper has.

It learns what it is told and, with nothing that holds the rest in place, forgets much of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from memedit.methods._tuned import Tuned, last_stack, under

if TYPE_CHECKING:
    from memedit.weights.language_model import LanguageModel


@dataclass(frozen=True, kw_only=True)
class FineTune(Tuned):
    """Unconstrained fine-tuning; of an encoder-decoder the decoder's layers."""

    source: ClassVar[str] = "Zhu et al., Modifying Memories in Transformer Models, 2020"

    layers: tuple[int, ...] | None = None
    """Layers of which all weights are tuned; None: by the model, the last three unless measured."""

    def _names(self, model: LanguageModel) -> list[str]:
        layout = last_stack(model)
        return under(model.model, [layout.block(layer) for layer in self.layers or ()])
