"""How long the passes of a search take: what of an edit's time is the model's own, and what is ours.

    with timed() as clock:
        method.fit(model, requests)
    clock.seconds                    of forward and backward passes alone

Nothing is timed where nobody asks. A pass on another device than the CPU is waited for only where it is timed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass
class Clock:
    """Seconds of the passes so far."""

    seconds: float = 0.0


_clock: ContextVar[Clock | None] = ContextVar("_clock", default=None)


@contextmanager
def timed() -> Iterator[Clock]:
    """A clock that adds up the passes made inside, by this thread."""
    token = _clock.set(clock := Clock())
    try:
        yield clock
    finally:
        _clock.reset(token)


@contextmanager
def a_pass(device: torch.device) -> Iterator[None]:
    """What is inside is a forward or a backward pass on this device."""
    clock = _clock.get()
    if clock is None:
        yield
        return
    _wait(device)
    began = perf_counter()
    yield
    _wait(device)
    clock.seconds += perf_counter() - began


def _wait(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
