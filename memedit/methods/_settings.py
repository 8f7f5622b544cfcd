"""What a method's settings are, how a user says them, and what they become where a user says nothing.

A setting that is None is chosen by the model: by what was measured for models of its family, depth and width
(`MEASURED`), else by what the method's paper or code used for its family and depth (`PUBLISHED_FOR`, `layers_for`),
else by what it used for most (`PUBLISHED`). A change records what was chosen.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from memedit.errors import InputError
from memedit.typed import read, takes

if TYPE_CHECKING:
    from memedit.weights.language_model import LanguageModel

Made = TypeVar("Made")


@dataclass(frozen=True)
class Setting:
    """One setting of a method, for listings."""

    name: str
    type: str
    default: Any
    about: str


def settings_of(method: type) -> list[Setting]:
    """A method's settings in their order, each with its docstring."""
    about: dict[str, str] = {}
    for owner in method.__mro__:
        about = {**_docstrings(owner), **about}
    return [
        Setting(field.name, str(field.type), None if field.default is MISSING else field.default, about[field.name])
        for field in fields(method)
    ]


def _docstrings(owner: type) -> dict[str, str]:
    """Name -> the string that stands below it in the class's source."""
    import sys

    file = getattr(sys.modules.get(owner.__module__), "__file__", None)
    if file is None or not owner.__module__.startswith("memedit."):
        return {}
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    body = next((n.body for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == owner.__name__), [])
    return {
        named.target.id: " ".join(said.value.value.split())
        for named, said in pairwise(body)
        if isinstance(named, ast.AnnAssign) and isinstance(named.target, ast.Name)
        if isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant) and isinstance(said.value.value, str)
    }


# --------------------------------------------------------------------------------------------- as somebody gives them


def given(texts: Iterable[str]) -> dict[str, str]:
    """`layer=5`, `layers=3,4,5`, `average=false`: settings as the command line has them, for `make` to read.

    Raises InputError without the =, and for a setting that is given twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, mark, value = (part.strip() for part in text.partition("="))
        if not mark or not name:
            raise InputError(f"{text!r} is no setting; write NAME=VALUE, such as layer=5")
        if name in found:
            raise InputError(f"the setting {name} is given twice, as {found[name]!r} and as {value!r}")
        found[name] = value
    return found


def coerced(name: str, method: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the method `name` in the types of its fields: texts are read, all else is checked.

    Raises InputError that names the setting, what it takes, and what was given.
    """
    hints = get_type_hints(method)
    made = {}
    for key, value in settings.items():
        said = takes(hints[key])
        try:
            made[key] = read(hints[key], value) if said else value
        except ValueError:
            raise InputError(
                f"the setting {key} of {name} takes {said}, not {value!r}; `memedit methods` tells of it"
            ) from None
        for number in made[key] if isinstance(made[key], tuple) else (made[key],):
            if isinstance(number, int | float) and number < (least := 1 if key in _COUNTS else 0):
                raise InputError(f"the setting {key} of {name} is {least} or more, not {value!r}")
    return made


_COUNTS = frozenset({"steps", "texts", "batch", "rank", "most", "prompts", "neurons"})
"""Settings of which none is too few; no setting is below 0."""

# --------------------------------------------------------------------------------------------- as the model has them


def name_of(method: object) -> str:
    """The method's name in the registry: its file's."""
    return type(method).__module__.rpartition(".")[2]


def recorded(method: Any) -> dict[str, Any]:
    """Settings as a change keeps them: JSON-ready."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(method).items()}


@dataclass(frozen=True)
class Shape:
    """What defaults depend on."""

    family: str
    depth: int
    """Blocks of the stack."""
    width: int
    """Of the residual stream."""


def shape_of(model: LanguageModel) -> Shape:
    """The model's family, depth and width; of an encoder-decoder the decoder's."""
    from memedit.weights.layout import FAMILIES, layout_of

    layout = layout_of(model.model)
    layout = layout_of(model.model, list(FAMILIES[layout.family])[-1])
    width = model.model.get_input_embeddings().weight.shape[1]
    return Shape(layout.family, layout.layers(model.model), int(width))


# What each paper or its code used; a pair is (GPT-2, GPT-J, GPT-NeoX and OPT; all others, which the field treats as
# it treats LLaMA).
_SEARCH: dict[str, Any] = {"steps": (20, 25), "rate": 0.5, "kl": 0.0625, "decay": 0.5, "clamp": 4.0, "stop": 0.05}
_MEMIT: dict[str, Any] = {**_SEARCH, "clamp": (0.75, 4.0), "decay": (0.5, 1e-3), "covariance_weight": 15_000.0}
PUBLISHED: dict[str, dict[str, Any]] = {
    "fine_tune": {"rate": 5e-4, "steps": 25},
    "ft_l": {"rate": 5e-4, "steps": 25, "epsilon": 5e-4},
    "ft_m": {"rate": 5e-4, "steps": 25},
    "lora": {"rate": 5e-3, "steps": 50},
    "rome": _SEARCH,
    "r_rome": _SEARCH,
    "emmet": {**_SEARCH, "covariance_weight": 1.0},
    "memit": _MEMIT,
    "pmet": {**_MEMIT, "steps": 30, "rate": (0.2, 0.5), "kl": 1.0, "clamp": 0.75, "covariance_weight": 6_000.0},
    "alphaedit": {**_MEMIT, "rate": (0.5, 0.1), "threshold": 2e-2, "penalty": (10.0, 1.0)},
}
del PUBLISHED["alphaedit"]["covariance_weight"]

# What they used for one model and not for the others, by family and depth.
_MEDIUM: dict[str, Any] = {"clamp": 3.0}
PUBLISHED_FOR: dict[tuple[str, int], dict[str, dict[str, Any]]] = {
    ("gpt2", 24): {"rome": _MEDIUM, "r_rome": _MEDIUM},
    ("gpt2", 48): {"memit": {"covariance_weight": 20_000.0}, "emmet": {"covariance_weight": 1_000.0}},
    ("gptj", 28): {"ft_l": {"epsilon": 5e-5}},
    ("gpt_neox", 44): {"pmet": {"rate": 0.5, "kl": 0.8, "clamp": 0.8, "covariance_weight": 15_000.0}},
}

_OLDER = ("gpt2", "gptj", "gpt_neox", "opt")

# Where the papers edited, by family and depth: ROME's layer, MEMIT's last one.
_ROME_LAYERS = {
    ("gpt2", 24): 8, ("gpt2", 36): 12, ("gpt2", 48): 17, ("gptj", 28): 5, ("gpt_neox", 44): 15, ("llama", 32): 5,
    ("mistral", 32): 5, ("qwen2", 28): 5,
}  # fmt: skip
_MEMIT_LAYERS = {
    ("gpt2", 48): (13, 17), ("gptj", 28): (3, 8), ("llama", 32): (4, 8), ("mistral", 32): (4, 8), ("qwen2", 28): (4, 8),
}  # fmt: skip
# One projection tuned without a bound; the bounded FT-L is published for the first layer of all.
_UNBOUND_LAYERS = {("gptj", 28): 21, ("llama", 32): 21}

# The pocket model's facts are in its first layers, as tracing says too, and its values are small numbers in norms of
# some fifty: Adam needs larger steps to move them, and more of them for names that it reads before their last token.
# The keys' moments are of other sizes than a large model's.
_POCKET_SEARCH = {"steps": 100, "rate": 2.0, "clamp": 4.0, "decay": 0.5}
_POCKET_SPREAD = {**_POCKET_SEARCH, "layers": (0, 1)}
_POCKET: dict[str, dict[str, Any]] = {
    "ft_l": {"epsilon": 5e-3},
    "ft_m": {"rate": 2e-3},
    "rome": {**_POCKET_SEARCH, "layer": 0},
    "r_rome": {**_POCKET_SEARCH, "layer": 0},
    "emmet": {**_POCKET_SEARCH, "layer": 0},
    "memit": {**_POCKET_SPREAD, "covariance_weight": 30.0},
    "pmet": {**_POCKET_SPREAD, "covariance_weight": 30.0},
    "alphaedit": {**_POCKET_SPREAD, "threshold": 0.5, "penalty": 1.0},
}
MEASURED: dict[Shape, dict[str, dict[str, Any]]] = {
    Shape("gpt2", 6, 256): _POCKET,
    Shape("gpt2", 10, 256): _POCKET,  # the pocket model grown by four blocks, for a bench
}
"""Settings that were measured and differ from the published ones. What was measured is the pocket model; any other of
its family, depth and width gets them too, since a model is known here by nothing else."""


def layers_for(name: str, shape: Shape) -> tuple[int, ...]:
    """The layers that a method edits where nobody says which: as published, else at the same share of the depth."""
    key, depth = (shape.family, shape.depth), shape.depth
    share = 0.35 if shape.family in ("gpt2", "gpt_neox", "opt") else 0.17
    single = _ROME_LAYERS.get(key, round(share * depth))
    if name in ("memit", "pmet", "alphaedit"):
        first, last = _MEMIT_LAYERS.get(key, (max(0, single - 2), min(depth - 1, single + 2)))
        return tuple(range(first, last + 1))
    if name == "fine_tune":
        return tuple(range(max(0, depth - 3), depth))
    if name == "lora":
        return tuple(range(depth))
    if name == "ft_m":
        return (_UNBOUND_LAYERS.get(key, single),)
    return (0,) if name == "ft_l" else (single,)


def chosen(method: Made, model: LanguageModel) -> Made:
    """The method with every None among its settings chosen by the model (but `corpus`, which may be None).

    Raises InputError for a layer that the model has not.
    """
    name, shape = name_of(method), shape_of(model)
    older = shape.family in _OLDER
    known: dict[str, Any] = {
        key: (value[0] if older else value[1]) if isinstance(value, tuple) else value
        for key, value in PUBLISHED.get(name, {}).items()
    }
    measured: Mapping[str, Any] = MEASURED.get(shape, {}).get(name, {})
    special = PUBLISHED_FOR.get((shape.family, shape.depth), {}).get(name, {})
    known = {"layers": layers_for(name, shape), **known, **special, **measured}
    known.setdefault("layer", known["layers"][-1])
    missing = [field.name for field in fields(method) if getattr(method, field.name) is None]  # type: ignore[arg-type]
    made: Made = replace(method, **{key: known[key] for key in missing if key in known})  # type: ignore[type-var]
    for layer in _layers(made):
        if not 0 <= layer < shape.depth:
            raise InputError(f"there is no layer {layer} in this model; its layers are 0 to {shape.depth - 1}")
    return made


def _layers(method: Any) -> Iterator[int]:
    if (single := getattr(method, "layer", None)) is not None:
        yield single
    yield from getattr(method, "layers", None) or ()
