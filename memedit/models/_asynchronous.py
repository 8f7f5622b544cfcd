"""A blocking iterator as an asynchronous one: each step runs in a thread, so that the event loop is never held up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

_END = object()


async def in_thread(pieces: Iterator[str]) -> AsyncIterator[str]:
    """The pieces of `pieces`, each fetched in a worker thread; the iterator is closed however the consumer leaves."""
    step: asyncio.Future[str | object] | None = None
    try:
        while True:
            step = asyncio.ensure_future(asyncio.to_thread(next, pieces, _END))
            # Shielded: a thread cannot be cancelled, and a generator cannot be closed while a step of it still runs.
            piece = await asyncio.shield(step)
            if not isinstance(piece, str):
                return
            yield piece
    finally:
        if step is not None and not step.done():
            await asyncio.wait([step])
        close = getattr(pieces, "close", None)
        if close is not None:
            close()
