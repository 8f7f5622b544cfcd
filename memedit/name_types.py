"""What kind of thing a phrase names: "Kai" a person, "March 3" a date, "on holiday" nothing at all.

A wording such as "{target} runs {subject}" fits many a sentence that says something else: "My phone runs out of
battery". Whether the phrases in its places are of the relation's types is told by a small linear model over the
phrase's words and pieces of words, whatever their capitals. `python -m memedit.training.name_types` trained it. It is
one file of 850 KB, needs no library, and takes a tenth of a millisecond for a phrase.
"""

from __future__ import annotations

import functools
import json
import math
import re
import unicodedata
import zlib
from collections.abc import Iterator
from importlib.resources import files
from itertools import pairwise

KINDS = (
    "person_name",
    "person_common",
    "place_name",
    "place_common",
    "organisation_name",
    "organisation_common",
    "thing_name",
    "thing_common",
    "quality",
    "language",
    "date",
    "amount",
    "predicate",
)
"""What a phrase can be; `predicate` is what names nothing: "sick", "elected by the board", "at Luigi's"."""
BUCKETS = 1 << 16

_PERSON = ("person_name", "person_common")
_PLACE = ("place_name", "place_common")
_ORGANISATION = ("organisation_name", "organisation_common", "place_name", "person_name", "thing_name")
_NAMED = ("person_name", "place_name", "organisation_name", "thing_name")
_THING = (*_NAMED, "thing_common", "quality")
_ANY = tuple(kind for kind in KINDS if kind != "predicate")
_ADJECTIVES = frozenset({"colour", "genre", "voice", "status", "religion", "gender", "people", "movement"})
"""Types whose things are named by adjectives."""
_ALLOWED = {
    **dict.fromkeys(("person", "player", "musician", "singer", "character"), _PERSON),
    "artist": (*_PERSON, "organisation_name", "thing_name"),
    "member": (*_PERSON, *_ORGANISATION),
    **dict.fromkeys(("place", "country", "city", "continent"), (*_PLACE, "organisation_name")),
    "room": (*_PLACE, "amount", "thing_name"),
    "address": (*_PLACE, "thing_name", "organisation_name", "amount"),
    **dict.fromkeys(
        ("organisation", "company", "network", "team", "university", "airline", "party", "league", "facility"),
        _ORGANISATION,
    ),
    "date": ("date",),
    "time": ("date", "amount"),
    **dict.fromkeys(("number", "amount", "length", "area"), ("amount",)),
    "version": ("amount", "thing_name"),
    "language": ("language", "quality", "thing_name", "place_name"),
    **dict.fromkeys(("thing", "product"), (*_ANY,)),
    **dict.fromkeys(("book", "film", "song", "show", "work", "series"), KINDS),  # a title may be any words
    **dict.fromkeys(_ADJECTIVES, (*_THING, "language", "predicate")),
}
"""A type of relations.json -> the kinds that are of it. Whatever is not here is a thing, named or not."""

_ROLES = ("person_common", "place_common", "organisation_common")
_SURE, _SURELY_NAMED, _PERHAPS, _HARDLY = 0.7, 0.6, 0.1, 0.2
_INDEFINITE = re.compile(
    r"(?:an?|some|any|every|each|no|one of|the same|some(?:one|body)|any(?:one|body)) ", re.IGNORECASE
)

_DIGIT = re.compile(r"\d")
_PIECE = re.compile(r"\w+(?:['’]\w+)?|[^\w\s]")
_MOST_WORDS = 24


def of_type(phrase: str, type_: str) -> float:
    """The probability, in [0, 1], that a phrase names a thing of a type of relations.json ("person", "city", …)."""
    return _sum(phrase, _ALLOWED.get(type_, _THING))


def surely_of_type(phrase: str, type_: str) -> bool:
    """Whether a phrase is sure to be a name, a value or a quality of a type, so that another cannot be the same thing.

    "My cousin" may be the very Dana Li that was told of, and "an engineer" is nobody in particular.
    """
    if _INDEFINITE.match(phrase):
        return False
    other = _ROLES if type_ in _ADJECTIVES else (*_ROLES, "predicate")
    allowed = tuple(kind for kind in _ALLOWED.get(type_, _THING) if kind not in other)
    if _sum(phrase, allowed) >= _SURE:
        return True
    # The model knows a name from other words better than a town's name from a person's.
    named = _sum(phrase, _NAMED) >= _SURELY_NAMED and _sum(phrase, ("predicate",)) < _HARDLY
    return named and _sum(phrase, tuple({*allowed} & {*_NAMED})) >= _PERHAPS


def _sum(phrase: str, of: tuple[str, ...]) -> float:
    return math.fsum(share for kind, share in kinds(phrase).items() if kind in of)


@functools.lru_cache(maxsize=4096)
def _kinds(phrase: str) -> tuple[float, ...]:
    biases, weights, scale = _model()
    found = list(features(phrase))
    if not found:
        return (0.0,) * (len(KINDS) - 1) + (1.0,)
    width = len(KINDS)
    scores = [0] * width
    for bucket in found:
        row = weights[bucket * width : bucket * width + width]
        for kind, weight in enumerate(row):
            scores[kind] += weight
    norm = scale / math.sqrt(len(found))
    logits = [score * norm + bias for score, bias in zip(scores, biases, strict=True)]
    most = max(logits)
    powers = [math.exp(logit - most) for logit in logits]
    total = math.fsum(powers)
    return tuple(power / total for power in powers)


def kinds(phrase: str) -> dict[str, float]:
    """Kind -> probability; they sum to 1."""
    return dict(zip(KINDS, _kinds(phrase), strict=True))


def features(phrase: str) -> Iterator[int]:
    """The buckets, below BUCKETS, of a phrase's words and pieces of words; digits are all the same digit."""
    text = _DIGIT.sub("0", unicodedata.normalize("NFKC", phrase).casefold())
    words = _PIECE.findall(text)[:_MOST_WORDS]
    if not words:
        return
    yield _bucket("first " + words[0])
    yield _bucket("last " + words[-1])
    yield _bucket(f"words {min(len(words), 6)}")
    for word in words:
        yield _bucket("word " + word)
        marked = f"<{word}>"
        for length in (2, 3, 4, 5):
            for start in range(len(marked) - length + 1):
                yield _bucket(marked[start : start + length])
    for word, following in pairwise(words):
        yield _bucket(f"pair {word} {following}")


def _bucket(feature: str) -> int:
    return zlib.crc32(feature.encode()) % BUCKETS


@functools.cache
def _model() -> tuple[list[float], memoryview, float]:
    """Biases, weights (BUCKETS rows of one signed byte a kind), and what a weight's unit is."""
    data = files("memedit").joinpath("name_types.bin").read_bytes()
    head, _, rows = data.partition(b"\n")
    about = json.loads(head)
    if tuple(about["kinds"]) != KINDS or len(rows) != BUCKETS * len(KINDS):
        raise ValueError("name_types.bin is of another version than name_types.py")
    return about["biases"], memoryview(rows).cast("b"), about["scale"]
