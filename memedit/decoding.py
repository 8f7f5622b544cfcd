"""Reading on with a causal model, what was read being kept: the one loop that all that generates goes through.

The loop is ours, since replies are pulled here, token by token: transformers' `generate` pushes them, so that each
stream would need a thread, which goes on when its reader has gone. It also takes 1.2 times as long (ten replies of
`pocket`, one thread).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # torch takes a second to load; who has a model has it
    import torch


@functools.cache
def _name_of_cache(forward: Callable[..., object]) -> str:
    return "cache" if "cache" in inspect.signature(forward).parameters else "past_key_values"


def with_cache(model: Any, cache: Any) -> dict[str, Any]:
    """The argument by which a model of transformers is given a cache. Since version 5 it has another name."""
    return {_name_of_cache(type(model).forward): cache}


def cache_of(output: Any) -> Any:
    """The cache in what a model gave; None where it has none."""
    found = getattr(output, "cache", None)
    return getattr(output, "past_key_values", None) if found is None else found


class Reading:
    """Rows of tokens, all of one length, that a causal model reads on and on.

    `sequence` is (rows, length): all that was read.
    """

    def __init__(self, model: Any, device: torch.device | str, rows: int = 1) -> None:
        import torch

        self._model, self._cache = model, None
        self.sequence = torch.zeros((rows, 0), dtype=torch.long, device=device)

    def read(self, tokens: Sequence[int] | Sequence[Sequence[int]] | torch.Tensor) -> torch.Tensor:
        """(rows, vocabulary) float32 scores of the token behind `tokens`, (rows, n), which stand behind all before."""
        import torch

        with torch.inference_mode():
            step = torch.as_tensor(tokens, device=self.sequence.device).reshape(len(self.sequence), -1)
            self.sequence = torch.cat([self.sequence, step], dim=1)
            out = self._model(
                input_ids=step if self._cache is not None else self.sequence,  # some models have no such cache
                # The mask says "all of it": without it some models take a repeated pad token for padding.
                attention_mask=torch.ones_like(self.sequence),
                use_cache=True,
                **with_cache(self._model, self._cache),
            )
            self._cache = cache_of(out)
            scores: torch.Tensor = out.logits[:, -1, :].float()
        return scores


def greedy(
    model: Any,
    device: torch.device | str,
    prompts: Sequence[Sequence[int]],
    most: int,
    ends: Collection[int],
    over: Callable[[list[int]], bool] = lambda made: False,
) -> list[list[int]]:
    """The likeliest tokens behind prompts of one length: up to `most`, an end mark (left out), or where `over` says so.

    `over` is asked with what a row has so far, and told by a true that nothing more of it is wanted.
    """
    reading = Reading(model, device, len(prompts))
    step: Any = prompts
    made: list[list[int]] = [[] for _ in prompts]
    alive = [True] * len(prompts)
    for _ in range(most):
        drawn = reading.read(step).argmax(dim=-1)
        for row, token in enumerate(drawn.tolist()):
            if alive[row] and token not in ends:
                made[row].append(token)
            alive[row] = alive[row] and token not in ends and not over(made[row])
        if not any(alive):
            break
        step = drawn[:, None]
    return made
