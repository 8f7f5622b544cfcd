"""What a question wants to know of a name that it gives: a relation, told by its words.

A verifier that has read a million pairs still takes "the producer" for "the production company" now and then, and does
not see the voice type in "How was her range?". Where the words say which relation is asked, and the edit's say which it
is of, there is nothing to guess: the same relation is in scope, another is not.

A question is brought to a plain form in which wordings that differ by articles, tense, "which" or "what" are one, with
{x} for the name: "Which was the birth city of Ann?", "Ann's birth city is" and "What's the birth city of Ann" are all
"what is birth city of {x}". The wordings of relations.json, brought to the same form, say which relation that is; since
making them takes longer than any other part of a cold start, they are kept in asked_forms.json, which
`python -m memedit.scope._relation` writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path

from memedit.edits import Edit
from memedit.parsing import place_of
from memedit.relations import asked_wordings, kin, names, relations

X = "{x}"
LONGEST = 300
FORMS = "asked_forms.json"

_OPENINGS = re.compile(
    r"^(?:please )?(?:(?:can|could|would) you (?:please )?tell me|do you (?:happen to )?know|tell me|i want to know|"
    r"i would like to know) "
)
_SAME = {
    **dict.fromkeys(("was", "were", "are"), "is"),
    **dict.fromkeys(("did", "do"), "does"),
    **{"which": "what", "whom": "who", "had": "has"},
    **{"organisation": "organization", "colour": "color", "kinds": "kind", "movie": "film", "fictitious": "fictional"},
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DROPPED = _words("the a an exactly actually currently current now please originally specific")
_PREPOSITIONS = _words("in at on of to for by from with as into under after")
_ASKING = _words("what who where when")
_PARTS = _words("part member citizen resident native one")
_TYPES = _words(
    "artwork painting book novel film song album single show series episode game star asteroid planet genus species"
    " gene protein band group company club team player singer actor character ship submarine locomotive aircraft bridge"
    " building river lake city town village airport newspaper magazine person"
)
"""Before the name they say what it is, and nothing of what is asked: "the band {x}"."""
_CITIES, _PLACES = "(?:city|town|village|municipality)", "(?:place|location|spot)"
_TIMES = "(?:year|date|day|time|month)"
_OTHER_WAY = "part|member|citizen|resident|native|one|home"
"""A country that is part of {x} is not what {x} is part of."""
_NO_QUESTION = "(?!what|who|where|when)"
_REWRITTEN = tuple(
    (re.compile(pattern), plainer)
    for pattern, plainer in (
        (r"^name (?!of )(.+)$", r"what is \1"),
        (r"(?:^|(?<= ))name of (?=\S)", ""),
        (r" 's name$", ""),
        (r" (?:huh|right)$", ""),
        (r"^(who|what (?!is )\w+(?: \w+)?) has (\w+ed) {x}$", r"\1 \2 {x}"),
        (r"(?<!{x}) (?:like|(?:is )?(?:called|named))$", ""),
        (r"^(.+) is (what|who|where|when)$", r"\2 is \1"),
        (r"^for {x} (?:what|who) is (.+)$", r"what is \1 of {x}"),
        (r"\b(?:sort|type|kind) of (?=\w+ (?:is|does) )", ""),
        (f"^(?:what {_PLACES}|what is {_PLACES}(?: where| that)) (?=is|does|{{x}})", "what place "),
        (f"^(?:what {_CITIES}|what is {_CITIES}(?: where| that)) (?=is|does|{{x}})", "what city "),
        (f"^what {_TIMES} (?=is|does)", "when "),
        (r"^what is ((?:(?!(?:that|what|where) )\w+ ){1,2})(?:that |what |where )?{x} is(?= |$)", r"what \1is {x}"),
        (r"^who is listed as {x} (?:'s )?(.+)$", r"what is \1 of {x}"),
        (r"^who is (?=.* (?:of|'s) |{x} '?s?)", "what is "),
        (r"^what is (?:person|one|man|woman) (?:who|that|what) is (.+ of {x})$", r"what is \1"),
        (r"^(?:person|one|man|woman) (?:who|that|what) is (.+ of {x})(?: is)? who$", r"what is \1"),
        (rf"^what \w+ is (?!(?:{_OTHER_WAY}) )(\w+(?: \w+)?) of {{x}}$", r"what is \1 of {x}"),
        (r"^what is (.+) of {x} 's (\w+)$", r"what is \1 of \2 of {x}"),
        (r"^when is ((?:\w+ )?(?:date|day|year)(?: of \w+)?) of {x}$", r"what is \1 of {x}"),
        (r"^(?:what is )?{x} 's (.+?)(?: is)?$", r"what is \1 of {x}"),
        (r"^what is (.+) (?:for|in|at|to|by) {x}$", r"what is \1 of {x}"),
        (r"^what (?!is )(.+?) does {x} (?:have|hold)$", r"what is \1 of {x}"),
        (r"^(where|what place|what city) is {x} (?:in|at|on)$", r"\1 is {x}"),
        (r"^what (?!is |place |city )(.+?) is {x}(?: (?:in|of|from|on|with|under))?$", r"what is \1 of {x}"),
        (r"^what is {x} (?!is|in|of|from|by|the)(\w+(?: \w+)?|\w+ of \w+)$", r"what is \1 of {x}"),
        (f"^{_NO_QUESTION}(.+) of {{x}}(?: is)?$", r"what is \1 of {x}"),
    )
)


_WHERE = ("where ", "what place ", "what city ")
_IN_CITIES = ("birthplace", "death_place", "burial_place", "residence")


def plain(template: str) -> str:
    """The plain form of a question or a prompt to complete, in which {x} stands for the name."""
    text = template.lower().replace("’", "'")
    text = re.sub(r"\b(what|who|where|when|how)'s\b", r"\1 is", text).replace("{x}' ", "{x}'s ")
    text = " ".join(re.sub(r"[^\w\s'{}]", " ", text).replace("'s ", " 's ").split())
    words = [_SAME.get(word, word) for word in _OPENINGS.sub("", text).split() if word not in _DROPPED]
    at = words.index(X) if X in words else 0
    if at and words[at - 1] in _TYPES:
        del words[at - 1]
    while len(words) > 2 and words[0] in _PREPOSITIONS and words[1] in _ASKING:
        del words[0]
    text = _without_end(words)
    for pattern, plainer in _REWRITTEN:
        text = pattern.sub(plainer, text)
    return _without_end(text.split())


def _without_end(words: list[str]) -> str:
    """Without a question's prepositions at the end: "what city did {x} die in" is "in what city did {x} die".

    Behind the name they matter ("where is {x} from"), and so does "who is {x} mother of", which asks for the child.
    """
    while len(words) > 2 and words[0] in _ASKING and words[-1] in _PREPOSITIONS and words[-2] != X:
        if words[-1] == "of" and words[1:3] == ["is", X] and words[-2] not in _PARTS:
            break
        words = words[:-1]
    return " ".join(words)


_OPEN = {X, f"{X} is", f"who is {X}", f"what is {X}"}
"""These may ask for anything, and so may what is said of things that are related somehow."""


def made_forms() -> dict[str, list[str]]:
    """Plain form -> the relations that are asked so, from relations.json."""
    found: dict[str, set[str]] = {}
    for name, wordings in asked_wordings().items():
        for wording in wordings if name != "related" else ():
            form = plain(wording.replace("{subject}", X))
            forms = {form}
            # "Where" is a city for what has one, and only there: she studied at a university, in a city.
            kind = relations()[name].target_type if name in relations() else ""
            if kind == "city" or name in _IN_CITIES:
                start = re.match("where |what place |what city ", form)
                forms |= {f"{other}{form[start.end() :]}" for other in _WHERE} if start else set()
            elif kind == "place":
                forms |= {form.replace("where ", "what place ", 1), form.replace("what place ", "where ", 1)}
            for one in forms - _OPEN:
                found.setdefault(one, set()).add(name)
    return {form: sorted(names) for form, names in sorted(found.items())}


@cache
def _forms() -> dict[str, list[str]]:
    read: dict[str, list[str]] = json.loads(files("memedit.scope").joinpath(FORMS).read_text(encoding="utf-8"))
    return read


def own_names(edit: Edit) -> tuple[str, ...]:
    """The names of an edit's subject."""
    return tuple(name for name in (edit.subject, *edit.aliases) if name)


def asked_of(text: str, of: Iterable[str]) -> frozenset[str]:
    """The relations (see `asked_wordings`) that a text asks of one of some names; none where no wording fits."""
    bare = " ".join(text.split())
    if len(bare) > LONGEST:
        return frozenset()
    forms, small = _forms(), bare.lower()
    exact = len(small) != len(bare)  # a letter that is two in small ones: places would not be the same
    for name in sorted(of, key=len, reverse=True):
        sought = name if exact else name.lower()
        at = place_of(sought, bare if exact else small)
        if at is not None:
            form = plain(f"{bare[:at]}{X}{bare[at + len(sought) :]}")
            noun = form.removeprefix(f"{X} ")  # "Acme producer", with no verb at all
            named = [] if noun == form else forms.get(plain(f"what is {noun} of {X}"), [])
            return frozenset(forms.get(form, named))
    return frozenset()


def said_by(edit: Edit) -> frozenset[str]:
    """The relations that an edit may be of: the one that it was parsed as, else what its own question asks."""
    if edit.relation in names():
        return frozenset([edit.relation])
    return asked_of(edit.question or edit.prompt or "", own_names(edit))


def agreement(asked: frozenset[str], said: frozenset[str]) -> bool | None:
    """Whether a question asks for what an edit says; None where the words of one of the two do not tell."""
    if not asked or not said:
        return None
    if asked & said:
        return True
    return None if any(other in kin(one) for one in asked for other in said) else False


def asks_the_same(text: str, edit: Edit) -> bool:
    """Whether a question asks for what an edit says, as its words tell, and for nothing beyond."""
    return agreement(asked_of(text, own_names(edit)), said_by(edit)) is True


def told(asked: frozenset[str], said: frozenset[str]) -> str:
    """For people: why an edit was left out."""
    wanted, there = (" or ".join(sorted(names)).replace("_", " ") for names in (asked, said))
    return f"the question is for the {wanted}, the edit says the {there}"


def main() -> None:
    """Write asked_forms.json."""
    lines = ",\n".join(f" {json.dumps(form)}: {json.dumps(names)}" for form, names in made_forms().items())
    (Path(__file__).parent / FORMS).write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
