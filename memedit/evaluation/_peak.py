"""The most memory that a process took for a while: what Linux says of it, or torch where it computes on CUDA."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Memory:
    """`peak` in bytes, once the while is over; None where the system does not say."""

    peak: int | None = None


@contextmanager
def peak() -> Iterator[Memory]:
    """Of the time inside. On CUDA what its tensors took, else the process's resident set."""
    torch: Any = sys.modules.get("torch")  # nothing of it is here unless something has loaded it
    on_cuda = torch is not None and torch.cuda.is_initialized()
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # sets the mark back to what is there now
    found = Memory()
    try:
        yield found
    finally:
        found.peak = torch.cuda.max_memory_allocated() if on_cuda else _resident()


def _resident() -> int | None:
    """The highest resident set since the mark was set back."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None
