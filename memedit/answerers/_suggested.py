"""Plans that the memory suggests: where the planner's first hop misses the edit that the question needs on its way.

The planner reads the question alone. An edit about the name that it asks about says more, in two ways:

- Place: "In which city did Ann Lo study?" takes one hop by its words and two by what is known, since a university is
  no city. Where the edit's target is an organisation, or a smaller place than the kind that is asked for, where that
  lies is the next hop.
- Noun: "Who founded the record label that signed Quill?" says the edit's relation outright. Then the edit is the first
  hop, whatever the planner took it for, and the planner's further hops follow.

An edit without a relation of `relations.json` has the one that the planner reads in its question.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from memedit.edits import Edit
from memedit.planning import Hop, Plan, Reading, load_planner
from memedit.relations import relations

PLAIN = 0.5
"""Probability from which the planner's reading of an edit's question is the edit's relation."""
_SIZES = {
    "village": 0, "town": 0, "city": 0, "county": 1, "district": 1, "province": 2, "region": 2, "state": 2,
    "country": 3, "continent": 4,
}  # fmt: skip
"""Kinds of places, the larger the higher."""
_KINDS = "|".join(_SIZES)
_ASKS_PLACE = re.compile(rf"^(?:(?:in|on|at|to|from) )?(?:which|what) ({_KINDS})\b", re.IGNORECASE)
_ASKS_WHERE = re.compile(
    r"^where (?:is|was) the (?:university|college|school|company|firm|employer|team|club|organi[sz]ation)\b",
    re.IGNORECASE,
)
_NAMED_KIND = re.compile(rf"\b({_KINDS})\b", re.IGNORECASE)
_LYING = {
    "": ("headquarters", "location"),
    "city": ("headquarters", "location"),
    "country": ("country",),
    "continent": ("continent",),
}
"""Kind of place, "" for any -> the relations by which an edit says that something lies in one."""
_HOUSED = frozenset({"university", "company", "organisation", "team"})
"""Types of targets that are no places but lie in one."""


def relations_of(edit: Edit) -> frozenset[str]:
    """The relations of an edit: its own, or those that the planner reads in its question; empty where none is plain."""
    if edit.relation is not None:
        return frozenset({edit.relation})
    asked = edit.question or edit.prompt
    return _read(asked) if asked else frozenset()


@lru_cache(maxsize=4096)
def _read(question: str) -> frozenset[str]:
    single = load_planner().read(question).single
    return frozenset(single[0].hops[0].names) if single and single[0].probability >= PLAIN else frozenset()


def suggested(question: str, reading: Reading, about: Callable[[str], Sequence[Edit]], floor: float) -> list[Plan]:
    """The plans that begin with an edit about the name of the question; `about` finds the edits of a name.

    floor: of the likeliest plan's probability, the share under which a plan of the reading is not gone on with.
    """
    names = dict.fromkeys(plan.entity for plan in (*reading.single, *reading.plans))
    found: dict[Plan, None] = {}
    for name in names:
        for edit in about(name):
            if edit.target and relations_of(edit):
                found.update(dict.fromkeys(_by_place(question, name, edit, reading)))
                found.update(dict.fromkeys(_by_noun(question, name, edit, reading, floor)))
    return list(found)


def _by_place(question: str, name: str, edit: Edit, reading: Reading) -> Iterator[Plan]:
    if asked := _ASKS_PLACE.match(question):
        kind = asked[1].lower()
        # "In which country was she born?" may be taken for two hops already; asked for a city, it is one.
        plain = f"{question[: asked.start(1)]}city{question[asked.end(1) :]}"
    elif _ASKS_WHERE.match(question):
        kind, plain = "", question
    else:
        return
    meant = {hop for plan in load_planner().read(plain).single for hop in plan.hops[0].names}
    said = relations_of(edit) & meant or (not reading.sure and _says_noun(question, edit))
    if said and _lies_in(edit, kind):
        where = f"In which {kind}" if kind else "Where"
        hop = Hop(_LYING.get(kind, ()), f"{where} is {{subject}} located?")
        yield Plan(name, (_first(edit), hop), 1.0)


def _lies_in(edit: Edit, kind: str) -> bool:
    """Whether the target lies in such a place, or in any for the kind "", and is none itself."""
    types = {relations()[name].target_type for name in relations_of(edit) if name in relations()}
    if types & _HOUSED or not kind:
        return bool(types & _HOUSED)
    sizes = [_SIZES[one] for one in types if one in _SIZES]
    if "place" in types:  # the edit's own words tell how large it is: "the city Ann Lo was born in"
        sizes += [_SIZES[word.lower()] for word in _NAMED_KIND.findall(edit.question or edit.statement)]
    return bool(sizes) and max(sizes) < _SIZES[kind]


def _by_noun(question: str, name: str, edit: Edit, reading: Reading, floor: float) -> Iterator[Plan]:
    if not reading.sure or not _says_noun(question, edit):
        return
    for plan in reading.plans:
        last = frozenset(plan.hops[-1].names)  # what is asked last may be what the noun stands for
        likely = plan.probability >= floor * reading.plans[0].probability
        if plan.entity == name and likely and not relations_of(edit) & last:
            yield replace(plan, hops=(_first(edit), *plan.hops[1:]))


def _says_noun(question: str, edit: Edit) -> bool:
    known = relations()
    nouns = [noun for name in relations_of(edit) for noun in (known[name].nouns if name in known else (name,))]
    return any(re.search(rf"\b{re.escape(noun)}\b", question, re.IGNORECASE) for noun in nouns)


def _first(edit: Edit) -> Hop:
    names = tuple(sorted(relations_of(edit)))
    known = next((relations()[name] for name in names if name in relations()), None)
    return Hop(names, known.questions[0] if known else f"What is the {names[0]} of {{subject}}?")
