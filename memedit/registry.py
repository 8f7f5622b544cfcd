"""A folder is a registry: the file's name is the entry's name.

`stores/faiss.py` is the store named `faiss` and holds the class `Faiss`; `answerers/language_patch.py` holds
`LanguagePatch`. Adding an entry is adding a file. Other packages add entries through an entry-point group of the
folder's dotted name (`memedit.stores`). Listing reads file names and the first line of each docstring without
importing anything, so that no listing loads torch.

Where entries are dataclasses whose fields are their settings, a `SettableRegistry` takes settings in the name:
`NAME:FIELD=VALUE;FIELD=VALUE`, as the evaluation takes those of methods. No comma is needed, and the first colon ends
the name, so that it stands in lists with commas and behind prefixes with a colon (`memory:mello:published=true`).
"""

from __future__ import annotations

import ast
import sys
from dataclasses import Field, field, fields, is_dataclass, make_dataclass
from functools import cache, cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from types import SimpleNamespace
from typing import Any, get_type_hints

from memedit.errors import InputError, NotFoundError
from memedit.typed import read, takes

BETWEEN = "+"
"""Between several values of one setting in a name: commas are between names."""


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


class SettableRegistry(Registry):
    """A registry whose entries are dataclasses, with settings in the name where they differ from the defaults."""

    def get(self, name: str) -> Any:
        """The entry named so; for `NAME:FIELD=VALUE;FIELD=VALUE` a class of it with these defaults and that name.

        A tuple's values have + between them, None is written none. Raises NotFoundError for an unknown name,
        InputError for a setting that the entry has not or that does not take the value: both say what there is.
        """
        bare, colon, _ = name.partition(":")
        kind = super().get(bare)
        return _set(kind, name, self.noun) if colon else kind


def settings_in(name: str) -> dict[str, str]:
    """Field -> value, as they are written in a name. Raises InputError for what is no FIELD=VALUE, or there twice."""
    bare, colon, said = name.partition(":")
    found: dict[str, str] = {}
    for part in said.split(";") if colon else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not key or not equals:
            raise InputError(f"{part!r} in {name!r} is no setting; write {bare}:FIELD=VALUE, with ; between several")
        if key in found:
            raise InputError(f"{name!r} sets {key} twice")
        found[key] = value
    return found


@cache
def _set(kind: Any, name: str, noun: str) -> Any:
    """The class with the settings of the name as its defaults; the same class for the same name."""
    bare, known = name.partition(":")[0], _settable(kind)
    there = ", ".join(f"{key} ({takes(type_, BETWEEN)})" for key, (_, type_) in known.items()) or "none"
    made: list[tuple[str, Any, Any]] = []
    for key, text in settings_in(name).items():
        if key not in known:
            raise InputError(f"the {noun} {bare!r} has no setting {key!r}; there are: {there}")
        one, type_ = known[key]
        try:
            default = read(type_, text, BETWEEN)
        except ValueError:
            raise InputError(f"{key} of the {noun} {bare!r} takes {takes(type_, BETWEEN)}, not {text!r}") from None
        made.append((key, one.type, field(default=default, repr=one.repr, compare=one.compare)))
    about = {"name": name, "__doc__": kind.__doc__, "__module__": kind.__module__}
    frozen = kind.__dataclass_params__.frozen
    return make_dataclass(kind.__name__, made, bases=(kind,), namespace=about, frozen=frozen, kw_only=True)


def _settable(kind: Any) -> dict[str, tuple[Field[Any], Any]]:
    """The settings that a text can say, each with its type."""
    known = {one.name: (one, _type(kind, one)) for one in fields(kind) if one.init} if is_dataclass(kind) else {}
    return {key: pair for key, pair in known.items() if takes(pair[1])}


def _type(kind: Any, one: Field[Any]) -> Any:
    """A field's type; None where the module names it for type checkers alone."""
    owner = next(base for base in kind.__mro__ if one.name in vars(base).get("__annotations__", ()))
    holder: Any = SimpleNamespace(__annotations__={one.name: one.type})
    try:
        return get_type_hints(holder, vars(sys.modules[owner.__module__]))[one.name]
    except NameError:
        return None
