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
    """The method named so with these settings.

    Raises NotFoundError for an unknown name, InputError for an unknown setting, both saying what there is.
    """
    from dataclasses import fields

    from memedit.errors import InputError

    method = methods.get(name)
    known = [field.name for field in fields(method)]
    if unknown := settings.keys() - set(known):
        raise InputError(f"{name} has no setting {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    made: Method = method(**settings)
    return made
