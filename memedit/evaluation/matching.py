"""Whether a reply gives an answer: a normalised exact match with any of its names, in words.

This is the whole of what "right" means in free generation. A reply is the answer where, both normalised, it is the
answer or begins with it and goes on behind a whole word ("English, since 1920" says English; "Englishman" does not).
A sentence that says something first ("The answer is English") does not count: who wants such replies judged gives a
judge (`judge.py`), whose verdicts are figures of their own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

ARTICLES = frozenset({"a", "an", "the"})

_INSIDE = re.compile(r"(?<=[^\W\d])[.'’](?=[^\W\d])")  # of "U.S." and "O'Brien", not of "3.5"


def normalised(text: str) -> tuple[str, ...]:
    """The words of a text as they are compared.

    Compatibility characters and case are folded (NFKC, casefold), full stops and apostrophes between letters taken out,
    all other punctuation parts words, and articles are dropped unless nothing else is left. As SQuAD's evaluation does
    it (Rajpurkar et al. 2016), but by words rather than by characters, so that "at a word boundary" has a meaning.
    """
    folded = _INSIDE.sub("", unicodedata.normalize("NFKC", text).casefold())
    words = tuple(re.findall(r"\w+", folded))
    return tuple(word for word in words if word not in ARTICLES) or words


def gives(reply: str, answers: Iterable[str]) -> bool:
    """Whether the reply is one of the answers, or begins with one at a word boundary. No answers, or empty ones: no."""
    said = normalised(reply)
    return any(wanted and said[: len(wanted)] == wanted for wanted in map(normalised, answers))
