"""How far a fit is, and what came up in it: told to whoever watches, past all that lies between.

    with watched(session.progress, session.notice):
        memory.add(text, method="rome", model=model)

Nothing is told where nobody watches. A method's `fit` so needs no further arguments, nor does who calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

Progress = Callable[[int, "int | None"], None]
Bars = Callable[[str], AbstractContextManager[Progress | None]]

_watcher: ContextVar[tuple[Bars, Callable[[str], None]] | None] = ContextVar("_watcher", default=None)


@contextmanager
def watched(bars: Bars, notice: Callable[[str], None]) -> Iterator[None]:
    """What is done inside, by this thread, is watched: `bars(label)` is a bar for long work, `notice` takes a line.

    A line is told once.
    """
    told: set[str] = set()

    def once(line: str) -> None:
        if line not in told:
            told.add(line)
            notice(line)

    token = _watcher.set((bars, once))
    try:
        yield
    finally:
        _watcher.reset(token)


@contextmanager
def bar(label: str) -> Iterator[Progress | None]:
    """What to report (done, total) to; None where nobody watches."""
    watcher = _watcher.get()
    if watcher is None:
        yield None
        return
    with watcher[0](label) as report:
        yield report


def tell(line: str) -> None:
    """Tell whoever watches."""
    watcher = _watcher.get()
    if watcher is not None:
        watcher[1](line)
