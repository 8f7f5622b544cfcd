"""Reference texts for CounterFact's RS: what encyclopaedias say of things that have the new target by right.

They stand in a file of their own beside the nested form (`attribute_snippets.json`, by relation and target), which the
flat form has no keys for.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NESTED = ("counterfact/counterfact.json", "counterfact.json")
SNIPPETS = ("counterfact/attribute_snippets.json", "attribute_snippets.json")


def files(dataset: str, folder: Path | None) -> list[Path]:
    """The nested form and the snippets, of CounterFact; none of another dataset, or where the folder lacks either."""
    found = [_first(folder, names) for names in (NESTED, SNIPPETS) if dataset.startswith("counterfact")]
    return [] if not found or None in found else [path for path in found if path is not None]


def references(dataset: str, folder: Path | None) -> dict[str, tuple[str, ...]]:
    """Id of a case of CounterFact -> its reference texts; empty without `files`."""
    if not (paths := files(dataset, folder)):
        return {}
    nested, snippets = paths
    texts: dict[str, dict[str, tuple[str, ...]]] = {}
    for entry in _json(snippets):
        by_target = texts.setdefault(entry["relation_id"], {})
        by_target[entry["target_id"]] = tuple(one["text"] for one in entry["samples"])
    found = {}
    for number, row in enumerate(_json(nested)):
        rewrite = row["requested_rewrite"]
        here = texts.get(rewrite.get("relation_id"), {}).get(rewrite["target_new"].get("id"), ())
        if here:
            found[str(row.get("case_id", number))] = here
    return found


def _first(folder: Path | None, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if folder is not None and (folder / name).is_file()), None)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
