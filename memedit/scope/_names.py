"""Whether two names are likely to be one person's: "H. W. Bamford" is Harry William Bamford, "Ann Lo" Ann Maria Lo.

Only where nothing speaks against it: "Ann Lo" may be Ann Maria Lo, but not Ann Lo the younger. It is no proof, so what
rests on it wants a second reason, such as the same relation asked.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

_TITLES = re.compile(r"(?:captain|colonel|count|dr|general|lady|lord|major|mr|mrs|ms|prof|professor|rev|reverend|sir)$")
_OTHERS = frozenset(["jr", "sr", "junior", "senior", "younger", "elder", "i", "ii", "iii", "iv", "v", "not", "brother"])
"""What tells two of one name apart. The numbers count at the end of a name alone: within, I and V are initials."""


def parts(name: str) -> list[str]:
    """The words of a person's name: folded, without accents, titles, and what stands in brackets."""
    bare = re.sub(r"\([^)]*\)|\"[^\"]*\"", " ", name)
    folded = unicodedata.normalize("NFKD", bare).casefold()
    words = re.findall(r"[^\W_]+", "".join(c for c in folded if not unicodedata.combining(c)))
    while len(words) > 1 and _TITLES.match(words[0]):
        del words[0]
    return words


def one_person(name: str, other: str) -> Literal["initials", "shorter"] | None:
    """How one name stands for the other: by its initials, or as a form of it; None where it does not.

    By initials: the same surname, and before it as many names, two or more, of which one or more are given by an
    initial on one side. As a shorter form: its words, two or more, stand in the other in that order, beginning with the
    first; or both are the same but for titles, accents, and what stands in brackets; or the only name before the
    surname is given by its initial. Initials may stand behind the surname, as in lists of authors ("Bamford HW").
    """
    short, long = sorted((parts(name), parts(other)), key=len)
    if len(short) < 2 or any(word.isdigit() for word in (*short, *long)) or len("".join(short)) < 5:
        return None
    behind = _initials_behind(name, other) or _initials_behind(other, name)
    if behind:
        return "initials" if behind > 1 else "shorter"
    if short == long:
        return "shorter"
    if len(short) == len(long):
        pairs = list(zip(short[:-1], long[:-1], strict=True))
        fit = all(one == two or (min(len(one), len(two)) == 1 and one[0] == two[0]) for one, two in pairs)
        if not fit or short[-1] != long[-1]:
            return None
        return "initials" if len(pairs) > 1 else "shorter"
    rest = iter(long)
    if short[0] != long[0] or not all(word in rest for word in short):
        return None
    extra = list(long)
    for word in short:
        extra.remove(word)
    numbered = long[-1] in _OTHERS and short[-1] != long[-1]
    return None if numbered or any(word in _OTHERS and len(word) > 2 for word in extra) else "shorter"


def _initials_behind(name: str, other: str) -> int:
    """How many initials follow the surname in `name` that are those of the names before it in `other`; else 0.

    What may be a number is none: Odo V is a king, and not Vera Odo.
    """
    words, full = parts(name), parts(other)
    if words[0] != full[-1] or len(words[0]) < 2 or words[-1] in _OTHERS:
        return 0
    initials = "".join(words[1:])
    apart = all(len(word) == 1 for word in words[1:])
    together = len(words) == 2 and len(initials) < 4 and name.split()[-1].isupper()
    return len(initials) if (apart or together) and initials == "".join(word[0] for word in full[:-1]) else 0
