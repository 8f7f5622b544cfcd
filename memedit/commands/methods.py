"""List the methods that write edits into weights."""

from __future__ import annotations

from typing import Any

from memedit import terminal
from memedit.cli import Session, verb


@verb("memedit methods\nmemedit methods --json", name="methods", json=True)
def command(session: Session, as_json: bool) -> None:
    """List the methods that write edits into weights.

    Not all of them write: some erase, for `memedit forget`. A setting shown as "by the model" has what was measured for
    such a model, else what the method's paper used. Models other than causal ones (T5, BART, BERT) can be changed, but
    not asked.
    """
    from memedit.methods import cautions, methods

    rows = [_row(name, methods.get(name), about) for name, about in methods.summaries().items()]
    if as_json:
        terminal.emit({"methods": rows})
        return
    terminal.table(
        ("method", "family", "models", "settings", "source", "writes"),
        (
            (one["name"], one["family"], " ".join(one["models"]), _shown(one["settings"]), one["source"], one["writes"])
            for one in rows
        ),
        wide=3,
    )
    silent = dict.fromkeys(name for row in rows for name in row["models"] if name not in row["asked"])
    session.notice(
        f"{', '.join(silent)} are no causal models: changed from Python and by `memedit forget --out`, and not for "
        "add, bake, ask or eval"
    )
    for name in methods.names():
        for line in cautions(name):
            session.notice(line)


def _row(name: str, method: type, about: str) -> dict[str, Any]:
    from memedit.methods._settings import settings_of
    from memedit.weights.kinds import CAUSAL

    entry: Any = method
    return {
        "name": name,
        "about": about,
        "family": entry.family,
        "writes": bool(getattr(entry(), "writes", True)),
        "models": list(entry.models),
        "asked": [name for name in entry.models if name in CAUSAL],
        "caution": getattr(entry, "caution", None),
        "source": entry.source,
        "settings": settings_of(method),
    }


def _shown(settings: list[Any]) -> str:
    return ", ".join(f"{s.name}={'by the model' if s.default is None else s.default}" for s in settings)
