"""LoRA: a low-rank adapter on the attention's projections, trained on the target's tokens (by peft).

The adapter is read off as what it adds to each weight, so that it is a change like any other: low rank, saved, stacked
and taken out. peft puts its modules into a private twin of the model, never into the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from memedit.errors import InputError
from memedit.methods._tuned import Tuned, descend, stacks

if TYPE_CHECKING:
    from memedit.weights.delta import Delta
    from memedit.weights.language_model import LanguageModel
    from memedit.weights.rows import Row


@dataclass(frozen=True, kw_only=True)
class Lora(Tuned):
    """Low-rank adaptation; needs the extra `lora` (peft)."""

    source: ClassVar[str] = "Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022"

    rank: int = 8
    """Of each adapter."""
    alpha: int = 32
    """The adapter is scaled by alpha / rank."""
    layers: tuple[int, ...] | None = None
    """Layers that get an adapter; None: by the model, all unless measured."""

    def _deltas(self, twin: LanguageModel, rows: Sequence[Row]) -> list[Delta]:
        import torch

        from memedit.weights.delta import Delta

        adapted = self._inject(twin)
        generator = torch.Generator().manual_seed(self.seed)
        weights = []
        for module in adapted.values():
            inner, outer = module.lora_A["default"].weight, module.lora_B["default"].weight
            bound = inner.shape[1] ** -0.5  # what Linear begins with, which is what the paper's code has
            with torch.no_grad():
                inner.copy_(torch.empty(inner.shape).uniform_(-bound, bound, generator=generator))
                outer.zero_()
            weights += [inner, outer]
        made = descend(
            twin, rows, weights, rate=self.rate or 0.0, steps=self.steps or 0, stop=self.stop, batch=self.batch
        )
        scale = self.alpha / self.rank
        return [
            Delta(f"{name}.weight", (outer * scale).contiguous(), inner.contiguous())
            for name, inner, outer in zip(adapted, made[::2], made[1::2], strict=True)
        ]

    def _inject(self, twin: LanguageModel) -> dict[str, Any]:
        """Name -> adapted module, in the twin."""
        try:
            from peft import LoraConfig, inject_adapter_in_model
            from peft.tuners.lora import LoraLayer
            from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as TARGETS
        except ImportError as error:
            raise InputError("lora needs the package peft; install it with `pip install 'memedit[lora]'`") from error
        import torch
        from transformers.pytorch_utils import Conv1D

        family = twin.model.config.model_type
        if family not in TARGETS:
            raise InputError(f"peft names no modules to adapt in models of type {family!r}")
        ends = tuple(TARGETS[family])
        blocks = tuple(f"{layout.block(layer)}." for layout in stacks(twin) for layer in self.layers or ())
        found = [
            name
            for name, module in twin.model.named_modules()
            if name.startswith(blocks) and name.endswith(ends) and hasattr(module, "weight")
        ]
        turned = isinstance(twin.model.get_submodule(found[0]), Conv1D)
        config = LoraConfig(
            r=self.rank, lora_alpha=self.alpha, target_modules=found, lora_dropout=0.0, fan_in_fan_out=turned
        )
        with torch.random.fork_rng(devices=[]):  # peft draws initial weights, which are drawn anew from our own seed
            inject_adapter_in_model(config, twin.model)
        return {n: m for n, m in twin.model.named_modules() if isinstance(m, LoraLayer)}
