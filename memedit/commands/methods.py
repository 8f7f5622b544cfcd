"""List the methods that write edits into weights."""

from __future__ import annotations

from typing import Any

from memedit import terminal
from memedit.cli import Session, verb


@verb("memedit methods\nmemedit methods --json", name="methods", json=True)
def command(session: Session, as_json: bool) -> None:
    """List the methods that write edits into weights.

    A setting shown as "by the model" has what was measured for that model, else what the method's paper used.
    """
    from memedit.methods import methods

    rows = [_row(name, methods.get(name), about) for name, about in methods.summaries().items()]
    if as_json:
        terminal.emit({"methods": rows})
        return
    terminal.table(
        ("method", "family", "models", "settings", "source"),
        ((row["name"], row["family"], " ".join(row["models"]), _shown(row["settings"]), row["source"]) for row in rows),
        wide=3,
    )


def _row(name: str, method: type, about: str) -> dict[str, Any]:
    from memedit.methods._settings import settings_of

    entry: Any = method
    return {
        "name": name,
        "about": about,
        "family": entry.family,
        "models": list(entry.models),
        "source": entry.source,
        "settings": settings_of(method),
    }


def _shown(settings: list[Any]) -> str:
    return ", ".join(f"{s.name}={'by the model' if s.default is None else s.default}" for s in settings)
