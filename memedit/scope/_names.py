"""Whether two names are likely to be one person's, and whether two that are nearly one are of different things.

"H. W. Bamford" is Harry William Bamford, "Ann Lo" Ann Maria Lo, "Bob Marl" Robert Marl, where nothing speaks against
it: "Ann Lo" may be Ann Maria Lo, but not Ann Lo the younger. It is no proof, so what rests on it wants a second reason,
such as the same relation asked. What numbers tell apart is two of a series, however much else of the names is the same:
Windows 7 is not Windows 8, nor the Second Republic the First.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

_TITLES = re.compile(r"(?:captain|colonel|count|dr|general|lady|lord|major|mr|mrs|ms|prof|professor|rev|reverend|sir)$")
_OTHERS = frozenset(["jr", "sr", "junior", "senior", "younger", "elder", "i", "ii", "iii", "iv", "v", "not", "brother"])
"""What tells two of one name apart. The numbers count at the end of a name alone: within, I and V are initials."""


_SHORT_FOR = {
    "alexander": "alex sandy sasha", "andrew": "andy drew", "anthony": "tony", "arthur": "art", "benjamin": "ben benny",
    "catherine": "kate cathy kathy katie cat", "charles": "charlie chuck chas", "christopher": "chris kit",
    "daniel": "dan danny", "david": "dave davy", "deborah": "debbie deb", "donald": "don donny", "dorothy": "dot dolly",
    "edmund": "ed eddie ned", "edward": "ed eddie ned ted teddy", "elizabeth": "liz beth betty lizzie eliza bess",
    "eugene": "gene", "francis": "frank", "franklin": "frank", "frederick": "fred freddy", "gerald": "gerry jerry",
    "gregory": "greg", "harold": "harry hal", "henry": "harry hank", "herbert": "herb bert", "jacob": "jake",
    "james": "jim jimmy jamie", "jennifer": "jen jenny", "john": "jack johnny", "jonathan": "jon", "joseph": "joe joey",
    "joshua": "josh", "katherine": "kate kathy katie kit", "kenneth": "ken kenny", "lawrence": "larry",
    "leonard": "len lenny leo", "margaret": "maggie meg peggy marge", "martin": "marty", "mary": "molly polly",
    "matthew": "matt", "maximilian": "max", "michael": "mike mick mickey", "nathaniel": "nat nate",
    "nicholas": "nick nicky", "patricia": "pat patty trish", "patrick": "pat paddy", "peter": "pete",
    "philip": "phil", "raymond": "ray", "rebecca": "becky", "richard": "dick rick ricky rich",
    "robert": "bob bobby rob robbie bert", "ronald": "ron ronnie", "samuel": "sam sammy", "stephen": "steve",
    "steven": "steve", "susan": "sue susie", "theodore": "ted teddy theo", "thomas": "tom tommy", "timothy": "tim",
    "victoria": "vicky", "vincent": "vince vinny", "walter": "walt wally", "william": "bill billy will willie",
}  # fmt: skip
_LONG_FOR: dict[str, set[str]] = {}
for _name, _short in _SHORT_FOR.items():
    for _one in (_name, *_short.split()):
        _LONG_FOR.setdefault(_one, set()).add(_name)

_ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth",
    "twentieth",
)  # fmt: skip
_ROMAN = {"i": 1, "v": 5, "x": 10}
_OPPOSED = (
    frozenset(["north", "south", "east", "west"]),
    frozenset(["northern", "southern", "eastern", "western"]),
    frozenset(["northeast", "northwest", "southeast", "southwest"]),
    frozenset(["upper", "lower", "middle"]),
    frozenset(["inner", "outer"]),
    frozenset(["men", "women", "boys", "girls"]),
    frozenset(["singles", "doubles"]),
)
"""Words of which one stands in the place of another where two things go by the same name."""


def parts(name: str) -> list[str]:
    """The words of a person's name: folded, without accents, titles, and what stands in brackets."""
    bare = re.sub(r"\([^)]*\)|\"[^\"]*\"", " ", name)
    folded = unicodedata.normalize("NFKD", bare).casefold()
    words = re.findall(r"[^\W_]+", "".join(c for c in folded if not unicodedata.combining(c)))
    while len(words) > 1 and _TITLES.match(words[0]):
        del words[0]
    return words


def one_person(name: str, other: str) -> Literal["initials", "nickname", "shorter"] | None:
    """How one name stands for the other: by its initials, a nickname, or as a form of it; None where it does not.

    By initials: the same surname, and before it as many names, two or more, of which one or more are given by an
    initial on one side. As a shorter form: its words, two or more, stand in the other in that order, beginning with the
    first; or both are the same but for titles, accents, and what stands in brackets; or the only name before the
    surname is given by its initial. By a nickname: as a shorter form but for the first name, of which one is usual for
    the other ("Bob", "Robert"). Initials may stand behind the surname, as in lists of authors ("Bamford HW").
    """
    short, long = sorted((parts(name), parts(other)), key=len)
    if len(short) < 2 or any(word.isdigit() for word in (*short, *long)) or len("".join(short)) < 5:
        return None
    behind = _initials_behind(name, other) or _initials_behind(other, name)
    if behind:
        return "initials" if behind > 1 else "shorter"
    if short == long:
        return "shorter"
    if short[0] != long[0] and _LONG_FOR.get(short[0], set()) & _LONG_FOR.get(long[0], set()):
        return "nickname" if one_person(" ".join(short), " ".join([short[0], *long[1:]])) == "shorter" else None
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


def numbered_apart(name: str, text: str) -> bool:
    """Whether a text names another of the series that a name is of: the same words but for a number in one's place.

    Numbers are digits, Roman or spelled out, single letters and such words as "north". "Windows 7" is named apart in
    "Who made Windows 8?", "Marl II" in "Odo Marl III". It is so too in "Who made Windows?", which says no number: one
    behind a name, or a year before it, is no part that people leave out.
    """
    words, said = _marked(name), _marked(text)
    if len(words) < 2 or not any(isinstance(word, str) for word in words):
        return False
    bare = _unnumbered(words)
    if bare and not any(isinstance(word, tuple) and word in words for word in said):
        return any(said[start : start + len(bare)] == bare for start in range(len(said) - len(bare) + 1))
    apart = False
    for start in range(len(said) - len(words) + 1):
        differ = [(ours, its) for ours, its in zip(words, said[start:], strict=False) if ours != its]
        if not differ:
            return False
        apart |= all(isinstance(ours, tuple) and isinstance(its, tuple) and ours[0] == its[0] for ours, its in differ)
    return apart


def _unnumbered(words: list[str | tuple[int, str | int]]) -> list[str | tuple[int, str | int]]:
    """The words without a number at the end or a year at the beginning; [] where there is neither, or another."""
    first, last = words[0], words[-1]
    year = isinstance(first, tuple) and isinstance(first[1], int) and 1000 <= first[1] < 2100
    behind = isinstance(last, tuple) and isinstance(last[1], int)
    bare = words[1:] if year else words[:-1] if behind else []
    return bare if year != behind and all(isinstance(word, str) for word in bare) else []


def _marked(text: str) -> list[str | tuple[int, str | int]]:
    """A text's words, folded; those that tell two of a series apart as (a kind, which one)."""
    folded = unicodedata.normalize("NFKD", text).casefold().replace("'s", "")
    return [_mark(word) for word in re.findall(r"[^\W_]+", "".join(c for c in folded if not unicodedata.combining(c)))]


def _mark(word: str) -> str | tuple[int, str | int]:
    ordinal = re.fullmatch(r"0*([0-9]{1,18})(?:st|nd|rd|th)?", word)
    if ordinal:
        return 0, int(ordinal[1])
    if word in _ORDINALS:
        return 0, _ORDINALS.index(word) + 1
    if re.fullmatch(r"x{0,3}(?:ix|iv|v?i{0,3})", word):
        values = [_ROMAN[letter] for letter in word]
        return 0, sum(-one if one < max(values[at:]) else one for at, one in enumerate(values))
    if len(word) == 1:
        return 0, word
    return next(((at, word) for at, opposed in enumerate(_OPPOSED, 1) if word in opposed), word)


def unread(text: str) -> list[str]:
    """The words of a text in scripts without capitals, such as Hangul: names that no Latin spelling is seen in."""
    return [] if text.isascii() else "".join(letter if _caseless(letter) else " " for letter in text).split()


def _caseless(letter: str) -> bool:
    return unicodedata.category(letter) == "Lo" and letter > "\u024f"


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
