"""A folder is a registry: the file's name is the entry's name.

`stores/faiss.py` is the store named `faiss` and holds the class `Faiss`; `answerers/language_patch.py` holds
`LanguagePatch`. Adding an entry is adding a file. Other packages add entries through an entry-point group of the
folder's dotted name (`memedit.stores`). Listing reads file names and the first line of each docstring without
importing anything, so that no listing loads torch.
"""

from __future__ import annotations

import ast
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from typing import Any

from memedit.errors import NotFoundError


class Registry:
    """The entries of one package folder, by name.

    `package` is the folder's dotted name; `noun` is the word for an entry in messages ("store", "answerer"). An entry
    is the class named as its file, or, where the entries are not classes, what the file calls `attribute`.
    """

    def __init__(self, package: str, noun: str, attribute: str | None = None) -> None:
        self.package = package
        self.noun = noun
        self.attribute = attribute

    @cached_property
    def _plugins(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=self.package)}

    def _modules(self) -> list[str]:
        names = (item.name for item in files(self.package).iterdir())
        return [name[:-3] for name in names if name.endswith(".py") and not name.startswith("_")]

    def names(self) -> list[str]:
        """All names, sorted; nothing is imported."""
        return sorted({*self._modules(), *self._plugins})

    def summaries(self) -> dict[str, str]:
        """Name -> first line of the file's docstring (for a plug-in: its entry point); nothing is imported."""
        lines = {name: f"from {entry.value}" for name, entry in self._plugins.items()}
        for name in self._modules():
            source = files(self.package).joinpath(f"{name}.py").read_text(encoding="utf-8")
            lines[name] = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
        return dict(sorted(lines.items()))

    def get(self, name: str) -> Any:
        """The entry named so.

        Raises NotFoundError, naming what there is, for an unknown name.
        """
        if name in self._modules():
            camel = "".join(part.capitalize() for part in name.split("_"))
            return getattr(import_module(f"{self.package}.{name}"), self.attribute or camel)
        if name in self._plugins:
            return self._plugins[name].load()
        raise NotFoundError(f"no {self.noun} is named {name!r}; there are: {', '.join(self.names())}")
