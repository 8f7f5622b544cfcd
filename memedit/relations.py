"""Relations and their wordings: one file of data, read once.

`relations.json` is the one home of how a fact is said and asked. The parser turns its wordings into patterns, the
pocket model's trainer turns them into text, so the two can never disagree. This module only reads the file: it expands
the choices `(a|b|)` and the nouns, and hands out frozen values. How a sentence is matched is in `parsing.py`.

A wording is a string with `{subject}` and, in statements, `{target}`; fill it with `fill`, which leaves braces in
names alone.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

Cardinality = Literal["single", "many", "unknown"]

_CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")


@dataclass(frozen=True)
class Relation:
    """One relation, with every wording expanded; the first of each list is the canonical one."""

    name: str
    """Our name for it, snake_case."""
    wikidata: str | None
    """Its property number there, e.g. "P36"; None where it has none, or where a wording covers several."""
    cardinality: Cardinality
    """Whether a subject has one target, many, or the wording does not tell."""
    inverse: str | None
    """The relation, by name, that says the same of the target ("child" for "mother"); None where none is known to."""
    subject_type: str
    """What the subject is, one or two words ("country")."""
    target_type: str
    """What the target is."""
    nouns: tuple[str, ...]
    """Noun phrases for it ("capital", "capital city"); may be empty."""
    statements: tuple[str, ...]
    """Sentences with {subject} and {target}."""
    questions: tuple[str, ...]
    """Questions with {subject}."""
    also: tuple[str, ...]
    """Looser sentences that are understood, and seen in training, but not written to a user."""
    where_target_says: Mapping[str, frozenset[str]]
    """Sentences that are understood where the target holds one of these words: "went to" a university, not to Paris."""
    reversed_statement: str
    """A sentence that begins with the target, where there is one; else the canonical statement."""
    reversed_questions: tuple[str, ...]
    """Questions with {target} whose answer is the subject."""
    also_type: str | None = None
    """Another thing that the target may be, if any: a work's creator is a person or a company."""
    exclusive: bool = False
    """Whether two targets, said in the same sentence, cannot both hold. A person may live in a town and in its country;
    a country has one capital. Only single-valued relations are."""

    @property
    def target_types(self) -> tuple[str, ...]:
        """All that the target may be."""
        return (self.target_type,) if self.also_type is None else (self.target_type, self.also_type)

    @functools.cached_property
    def completions(self) -> tuple[str, ...]:
        """The statements that end in the target: cut before it, they are prompts to complete."""
        return tuple(s for s in self.statements + self.also if s.endswith("{target}"))


def fill(wording: str, subject: str = "", target: str = "") -> str:
    """Put names into a wording. Names may hold braces: they are inserted, never read."""
    names = {"{subject}": subject, "{target}": target}
    return "".join([names.get(piece, piece) for piece in _pieces(wording)])


@functools.lru_cache(maxsize=10_000)
def _pieces(wording: str) -> list[str]:
    """A wording cut at its names; remembered, since a bulk write fills the same few a million times."""
    return re.split(r"(\{subject\}|\{target\})", wording)


def expand(wording: str) -> list[str]:
    """Every reading of the choices `(a|b|)` in a wording, the first reading first."""
    found = _CHOICE.search(wording)
    if found is None:
        return [re.sub(r" {2,}", " ", wording).strip()]
    before, after = wording[: found.start()], wording[found.end() :]
    return [reading for choice in found[1].split("|") for reading in expand(before + choice + after)]


@functools.cache
def _data() -> Any:
    return json.loads(files("memedit").joinpath("relations.json").read_text(encoding="utf-8"))


@functools.cache
def names() -> frozenset[str]:
    """The names of all relations; to know them takes a fiftieth of the time that their wordings take."""
    return frozenset(entry["name"] for entry in _data()["relations"])


@functools.cache
def relations() -> Mapping[str, Relation]:
    """All relations by name, in the file's order (more specific wordings are not ordered before others)."""
    data = _data()
    read = [_relation(entry, data["noun_forms"]) for entry in data["relations"]]
    return MappingProxyType({relation.name: relation for relation in read})


@functools.cache
def asked_wordings() -> Mapping[str, tuple[str, ...]]:
    """Relation -> every wording that asks for its target: {subject} and no {target}; also such as are only understood.

    Prompts to complete are among them: "The capital of {subject} is". Some relations are only asked, and not in
    `relations`: to be told from those. A noun under "not" is another relation's where it is asked: a genus's parent
    taxon need not be its family.
    """
    data, known = _data()["asked"], relations()
    made = {}
    for name in dict.fromkeys((*known, *data["of"])):
        more, relation = data["of"].get(name, {}), known.get(name)
        nouns = (*(relation.nouns if relation else ()), *more.get("nouns", ()))
        wordings = (
            *(relation.questions if relation else ()),
            *(said.removesuffix("{target}").rstrip() for said in (relation.completions if relation else ())),
            *(reading for wording in more.get("questions", ()) for reading in expand(wording)),
            *(form.replace("{noun}", noun) for noun in nouns for form in data["noun_forms"]),
        )
        made[name] = tuple(one for one in wordings if not any(noun in one for noun in more.get("not", ())))
    return MappingProxyType(made)


@functools.cache
def kin(relation: str) -> frozenset[str]:
    """The relations, by name, whose wordings are often used for one another: a bridge's creator is its designer."""
    return frozenset(other for group in _data()["asked"]["kin"] if relation in group for other in group) - {relation}


def _relation(entry: Mapping[str, Any], noun_forms: Mapping[str, list[str]]) -> Relation:
    def wordings(key: str, own_first: bool) -> tuple[str, ...]:
        own = entry.get(key, [])
        # The first noun goes through every form before the second does: canonical wordings use the first.
        formed = [
            form.replace("{noun}", noun)
            .replace("{ask}", entry["ask"])
            .replace("{ask_lower}", entry["ask"].lower())
            .replace("{subject_type}", entry["subject_type"])
            for noun in entry["nouns"]
            for form in noun_forms[key]
        ]
        every = [*own, *formed] if own_first else [*formed, *own]
        return tuple(dict.fromkeys(reading for wording in every for reading in expand(wording)))

    # The forms with the noun are the plainest English; a "Where" question has none ("Where is the residence").
    statements = wordings("statements", own_first=not entry["nouns"])
    return Relation(
        name=entry["name"],
        wikidata=entry["wikidata"],
        cardinality=entry["cardinality"],
        inverse=entry.get("inverse"),
        subject_type=entry["subject_type"],
        target_type=entry["target_type"],
        nouns=tuple(entry["nouns"]),
        statements=statements,
        questions=wordings("questions", own_first=not entry["nouns"]),
        also=wordings("also", own_first=True),
        where_target_says=MappingProxyType(
            {wording: frozenset(said.split()) for wording, said in entry.get("where_target_says", {}).items()}
        ),
        reversed_statement=next((s for s in statements if s.startswith("{target}")), statements[0]),
        reversed_questions=wordings("reversed_questions", own_first=not entry["nouns"]),
        also_type=entry.get("also_type"),
        exclusive=entry.get("exclusive", False),
    )
