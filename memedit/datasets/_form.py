"""What the files of this folder share: how a source is named, the kinds of question, texts out of nested lists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from memedit.edits import Case, Draft, Probe
from memedit.errors import InputError

Record = Mapping[str, Any]

FOLLOWING = ("paraphrase", "alias", "reversed", "one_hop", "logical", "yes", "no")
"""Kinds whose answers the edit gives."""

UNCHANGED = ("neighbour", "same_subject", "distracting", "forgetfulness")
"""Kinds that an edit must not change."""

KINDS = (*FOLLOWING, *UNCHANGED, "attribute")
"""All kinds of `Case.questions`; "attribute" is continued freely and has no right answer."""


@dataclass(frozen=True, slots=True)
class File:
    """A file as its authors publish it. `sha256` is of the bytes at `url`; None where nobody has published it."""

    url: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a dataset comes from. `files` are by part; `together` the parts that are read if none is named.

    Where `together` is empty the parts are versions of one another, and the first that is there is read.
    """

    paper: str
    page: str
    licence: str
    files: Mapping[str, File] = field(default_factory=dict)
    together: tuple[str, ...] = ()


def texts(*values: object) -> tuple[str, ...]:
    """The texts and numbers in lists in lists, in their order, each once, without empty ones."""
    found: dict[str, None] = {}
    for value in values:
        if isinstance(value, (list, tuple)):
            found |= dict.fromkeys(texts(*value))
        elif value is not None and str(value).strip():
            found[str(value).strip()] = None
    return tuple(found)


def given(row: Record, *names: str) -> Any:
    """The first of several fields that a record has and that is not None; else None."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def completion(subject: str, prompt: str, target: str, *, question: str | None = None) -> Draft:
    """The draft of a prompt and what completes it. A prompt that ends in a question mark is a question.

    Raises InputError where one of them is no text or empty.
    """
    asked = isinstance(prompt, str) and prompt.rstrip().endswith("?")
    return checked(
        Draft(
            statement=f"{prompt} {target}",
            subject=subject,
            target=target,
            prompt=None if asked else prompt,
            question=prompt if asked else question,
        )
    )


def checked(draft: Draft) -> Draft:
    """A draft that has a subject, a target, and a prompt or question. Raises InputError for one that lacks any."""
    for name, value in (
        ("subject", draft.subject),
        ("target", draft.target),
        ("prompt", draft.prompt if draft.prompt is not None else draft.question),
    ):
        if not isinstance(value, str):
            raise InputError(f"its {name} is no text")
        if not value.strip():
            raise InputError(f"its {name} is empty")
    return draft


def made(
    id: object,  # noqa: A002 - the field's name
    edits: Iterable[Draft],
    questions: Mapping[str, Iterable[Probe]],
    old: tuple[str, ...] = (),
) -> Case:
    """A case of drafts that have a subject, a target, and a prompt or question; kinds without questions go."""
    drafts = tuple(edits)
    if not drafts:
        raise InputError("there is no fact to write in it")
    first = checked(drafts[0])
    prompt, subject, target = first.prompt or first.question or "", first.subject or "", first.target or ""
    kept = {kind: probes for kind, made in questions.items() if (probes := tuple(made))}
    for kind, probes in kept.items():
        if not all(isinstance(probe.prompt, str) for probe in probes):
            raise InputError(f"a question of {kind} is no text")
    return Case(str(id), drafts, prompt, subject, target, old, kept)


def reason(error: Exception) -> str:
    """What is wrong with a record, from what its reader raised."""
    if isinstance(error, KeyError):
        return shortened(f"the record has no {error}")
    if isinstance(error, InputError):
        return shortened(str(error))
    return shortened(f"the record is not in the form of this dataset: {error}")


def shortened(reason: str, longest: int = 500) -> str:
    """A reason that quotes what was read, which may be of any length."""
    return reason if len(reason) <= longest else f"{reason[: longest - 2]} …"


UNREADABLE = (
    *(InputError, KeyError, TypeError, ValueError, AttributeError, IndexError),
    *(RecursionError, OverflowError),
)
"""What a reader raises for a record that is not of its form, or that nests or counts beyond what can be read."""

_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=\S)")


def sentences(text: str) -> list[str]:
    """A text cut after each full stop, question or exclamation mark."""
    return _SENTENCE.split(text)
