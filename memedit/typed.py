"""A setting by the type of its field: a text is read, any other value is checked.

Methods, answerers and scopes are dataclasses whose fields are their settings; a command line, a config file and a name
say them as texts. Fields of other types than those here, such as a model, no text can say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

_NOTHING = ("none", "null", "")
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read(type_: Any, value: Any, between: str = ",") -> Any:
    """The value in that type; a tuple's texts have `between` between them. Raises ValueError where it is none."""
    said = value.strip().lower() if isinstance(value, str) else None
    origin, parts = get_origin(type_), get_args(type_)
    if origin in (UnionType, Union):
        if NoneType in parts and (value is None or said in _NOTHING):
            return None
        return _first([part for part in parts if part is not NoneType], value, between)
    if origin is Literal:
        return _one_of(parts, value, said)
    if origin is tuple:
        several = value.strip("()[] ,").split(between) if isinstance(value, str) else value
        return tuple(read(parts[0], one) for one in (several if isinstance(several, list | tuple) else [several]))
    if type_ not in _READERS:
        raise ValueError(f"no text says a {type_}")
    return _READERS[type_][0](value, said)


def takes(type_: Any, between: str = ",") -> str:
    """What a setting of that type takes, in words; "" for what no text can say."""
    origin, parts = get_origin(type_), get_args(type_)
    if origin in (UnionType, Union):
        said = [words for part in parts if part is not NoneType and (words := takes(part, between))]
        return " or ".join([*said, *(["none"] if NoneType in parts else [])]) if said else ""
    if origin is Literal:
        options = list(map(str, parts))
        return " or ".join(options) if len(options) < 3 else f"one of {', '.join(options)}"
    if origin is tuple:
        each = takes(parts[0]) if parts[1:] == (...,) else ""
        many = _READERS[parts[0]][2] if parts[0] in _READERS else each
        return f"{many} with {'commas' if between == ',' else between} between" if each else ""
    return _READERS[type_][1] if type_ in _READERS else ""


def _first(types: list[Any], value: Any, between: str) -> Any:
    for type_ in types:
        try:
            return read(type_, value, between)
        except ValueError:
            continue
    raise ValueError(value)


def _one_of(options: tuple[Any, ...], value: Any, said: str | None) -> Any:
    for option in options:
        if option == value or str(option).lower() == said:
            return option
    raise ValueError(value)


def _truth(value: Any, said: str | None) -> bool:
    found = value if said is None else _TRUTHS.get(said)
    if not isinstance(found, bool):
        raise ValueError(value)
    return found


def _number(value: Any, said: str | None) -> float:
    if said is None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError(value)
    if not math.isfinite(made := float(value if said is None else said)):
        raise ValueError(value)
    return made


def _whole(value: Any, said: str | None) -> int:
    made = _number(value, said)
    if made != int(made):
        raise ValueError(value)
    return int(said) if said is not None and said.removeprefix("-").isdecimal() else int(made)


def _words(value: Any, said: str | None) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return value


def _path(value: Any, said: str | None) -> Path:
    return value if isinstance(value, Path) else Path(_words(value, said))


_READERS: Mapping[Any, tuple[Callable[[Any, str | None], Any], str, str]] = {
    bool: (_truth, "true or false", "truths"),
    int: (_whole, "a whole number", "whole numbers"),
    float: (_number, "a number", "numbers"),
    str: (_words, "a text", "texts"),
    Path: (_path, "a file", "files"),
}
