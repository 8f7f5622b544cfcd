"""A small model is fitted on one thread.

Its matrices are done sooner than two threads have met over them; and where the machine has other work, threads that
wait for one another burn many times what they compute. Large models, and other devices, are left as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from memedit.weights.language_model import LanguageModel

SMALL = 50_000_000
"""Numbers in its weights below which a model is small."""

Fit = TypeVar("Fit", bound=Callable[..., Any])


def on_one_thread(fit: Fit) -> Fit:
    """A method's `fit`, computing on one thread where the model is small and on the CPU.

    The calling thread's number of threads is what it was when `fit` has returned or raised.
    """

    @wraps(fit)
    def alone(method: Any, model: LanguageModel, *args: Any, **settings: Any) -> Any:
        import torch  # late: listing the methods needs none of it

        before = torch.get_num_threads()
        if model.device.type != "cpu" or sum(weight.numel() for weight in model.model.parameters()) >= SMALL:
            return fit(method, model, *args, **settings)
        torch.set_num_threads(1)
        try:
            return fit(method, model, *args, **settings)
        finally:
            torch.set_num_threads(before)

    return cast(Fit, alone)
