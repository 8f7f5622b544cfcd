"""Weight-changing methods: each makes a `Change` from requests; none touches the model it is given. One file each.

The files here hold what is particular to one method, some lines of algebra; what they share is in `memedit.weights`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from memedit.registry import Registry

if TYPE_CHECKING:  # torch takes a second to load, and listing the methods needs none of it
    from torch import Tensor

    from memedit.weights.change import Change
    from memedit.weights.language_model import LanguageModel, Request

methods = Registry(__name__, "method")


class Method(Protocol):
    """The seam. A method is a frozen dataclass whose fields are its settings, each with a line of docstring.

    A setting that is None is chosen by the model (`memedit.methods._defaults`); the change records what was chosen.
    """

    family: ClassVar[str]
    """"fine-tuning", "locate-then-edit" or "privacy"."""
    source: ClassVar[str]
    """The paper: authors, title, venue and year."""
    models: ClassVar[tuple[str, ...]]
    """The families of memedit.weights.layout that it works on."""

    @property
    def writes(self) -> bool:
        """Whether the model says the target afterwards. What erases, or looks into a model, writes no fact."""
        ...

    def fit(
        self, model: LanguageModel, requests: Sequence[Request], *, state: Mapping[str, Tensor] | None = None
    ) -> Change:
        """What to add to the weights so that the model completes each request's prompt with its target.

        The model is left untouched, also where this raises, and may be asked by other threads meanwhile. Weights in
        force (`memedit.weights.change.applied` or `edited`) are what the change is fitted on top of. No requests: a
        change of nothing. The same seed gives the same change.

        state: what earlier changes of the same method left, as `memedit.weights.change.state_of(earlier)` joins it;
        the change's own `state` holds its own part only.

        Raises InputError for a family that the method does not know, a layer that is not there, or a request whose
        subject is not in its prompt.
        """
        ...


def make(name: str, **settings: Any) -> Method:
    """The method named so with these settings, which may be texts as the command line has them ("5", "3,4", "false").

    Raises NotFoundError for an unknown name, InputError for an unknown setting and for a value that is none of its
    type, saying what there is.
    """
    from dataclasses import fields

    from memedit.errors import InputError
    from memedit.methods._settings import coerced

    method = methods.get(name)
    known = [field.name for field in fields(method)]
    if unknown := settings.keys() - set(known):
        raise InputError(f"{name} has no setting {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    made: Method = method(**coerced(name, method, settings))
    return made


def writers() -> list[str]:
    """Names of the methods that write facts, with some settings at least."""
    return [name for name in methods.names() if getattr(methods.get(name), "writes", True)]


def require_writing(name: str, method: object) -> None:
    """Raise InputError where a method of this name, with its settings, writes no fact."""
    from memedit.errors import InputError

    if not getattr(method, "writes", True):
        operation = getattr(method, "operation", None)
        raise InputError(
            f"{name}{f' with operation={operation}' if operation else ''} writes no fact, it changes how much a model "
            "says of what it knows; use `memedit forget` to erase, and to write one of the methods that `memedit "
            "methods` says do"
        )


def cautions(name: str) -> list[str]:
    """What a user of the method is to know before all else, a line each; for most methods nothing."""
    caution: str | None = getattr(methods.get(name), "caution", None)
    return [caution] if caution else []
