"""Whether a reply gives an answer, and whether it says a target: words compared whole, numbers and names whole.

`gives` is the whole of what "right" means in free generation (memedit.evaluation). A reply is the answer where, both
normalised, it is the answer or begins with it and goes on behind a whole word ("English, since 1920" says English;
"Englishman" does not). A sentence that says something first ("The answer is English") does not count: who wants such
replies judged gives a judge (`judge.py`), whose verdicts are figures of their own.

`says` is what a user is told of an edit in the weights (memedit.looks): there a sentence may lead to the target, since
a chat model answers in sentences, but nothing in it may deny it or name what the model said before.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import takewhile

ARTICLES = frozenset({"a", "an", "the"})

UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""The letters of scripts that write no blanks between words, as a range of a regular expression."""

_INSIDE = re.compile(r"(?<=[^\W\d])[.'’](?=[^\W\d])")  # of "U.S." and "O'Brien", not of "3.5"
_WORD = re.compile(
    rf"[{UNSPACED}]"  # where no blank parts words, each letter is one
    rf"|(?:(?<!\w)-(?=\d))?[^\W{UNSPACED}]+(?:(?<=\d)[.,:/-](?=\d)[^\W{UNSPACED}]+)*(?:\+\+|\#)?"  # 3.5, 10:30, -5, C++
)
_THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_DASHES = str.maketrans("\u2010\u2011\u2012\u2013\u2212", "-----")
_DENIES = frozenset(
    (
        *("no", "not", "never", "nor", "isnt", "wasnt", "arent", "werent", "cannot"),
        *("nicht", "kein", "keine", "nie", "pas", "jamais", "不", "没", "非"),
    )
)


def _words(text: str) -> tuple[list[tuple[str, re.Match[str]]], str]:
    """Each word of a text, folded, and where it stands in the text that is returned beside them."""
    plain = _INSIDE.sub("", unicodedata.normalize("NFKC", text).translate(_DASHES))
    return [(_folded(match[0]), match) for match in _WORD.finditer(plain)], plain


def _folded(word: str) -> str:
    return word.replace(",", "") if _THOUSANDS.fullmatch(word) else word.casefold()


def normalised(text: str) -> tuple[str, ...]:
    """The words of a text as they are compared.

    Compatibility characters and case are folded (NFKC, casefold), full stops and apostrophes between letters taken out,
    all other punctuation parts words, but not a number ("3.5", "10:30", "-5" are one word, and "1,143" is 1143), and
    articles are dropped unless nothing else is left. As SQuAD's evaluation does it (Rajpurkar et al. 2016), but by
    words rather than by characters, so that "at a word boundary" has a meaning; where a script has no blanks, each
    letter is a word.
    """
    words = tuple(word for word, _ in _words(text)[0])
    return tuple(word for word in words if word not in ARTICLES) or words


def gives(reply: str, answers: Iterable[str]) -> bool:
    """Whether the reply is one of the answers, or begins with one at a word boundary. No answers, or empty ones: no."""
    said = normalised(reply)
    return any(wanted and said[: len(wanted)] == wanted for wanted in map(normalised, answers))


def says(reply: str, target: str, *, asked: str = "", before: str = "") -> bool:
    """Whether a reply to `asked` says a target: begins with it, or leads to it in a sentence.

    Its words stand there whole, as no part of a longer name ("New York City" does not say New York) or number ("3 000"
    does not say 3), with all signs that the target has ("$", "%"). What stands in front of it denies nothing and holds
    no name and no number that the reply `before`, of the same model to the same text, had and the target has not. An
    empty target is said by nothing.
    """
    wanted = normalised(target)
    found, plain = _words(reply)
    # Articles count for nothing, wherever they stand, unless they are all that is looked for.
    kept = [pair for pair in found if pair[0] not in ARTICLES or pair[0] in wanted]
    if not wanted or not _signs(target) <= _signs(plain):
        return False
    old = _names(before, kept) - {*wanted, *normalised(asked)}
    for at in range(len(kept) - len(wanted) + 1):
        if kept[at][0] in old | _DENIES - {*wanted}:
            return False
        if tuple(word for word, _ in kept[at : at + len(wanted)]) == wanted:
            return not _goes_on(plain[kept[at + len(wanted) - 1][1].end() :], number=wanted[-1][-1].isdigit())
    return False


def _goes_on(rest: str, *, number: bool) -> bool:
    """Whether what stands behind a name or a number makes a longer one of it."""
    behind = rest.lstrip(" ")
    following = behind[:1] if len(behind) < len(rest) else ""
    return following.isdigit() if number else following.isupper()


def _signs(text: str) -> set[str]:
    return {c for c in unicodedata.normalize("NFKC", text) if c in "%°" or unicodedata.category(c) == "Sc"}


def _names(before: str, now: Sequence[tuple[str, re.Match[str]]]) -> set[str]:
    """The words that the reply before writes as names or numbers; letters of a script without capitals are all such.

    What leads to them in both replies ("It is Paris", "It is Rome") is none, unless that is the whole reply.
    """
    words = [pair for pair in _words(before)[0] if pair[0] not in ARTICLES]
    same = sum(1 for _ in takewhile(lambda pair: pair[0][0] == pair[1][0], zip(words, now, strict=False)))
    return {word for word, match in words[same if same < len(words) else 0 :] if not match[0][0].islower()}
