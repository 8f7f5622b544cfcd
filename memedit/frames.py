"""A sentence but for its target: what two statements must share before the later may take the earlier one's place.

"The CEO of Acme is Dana Li" and "Actually, the CEO of Acme is now Bo Chen." have one frame. Openers that say nothing of
the fact, "now" and "currently", capitals and the final stop do not count; whatever else differs does, a date in front
too. Where targets are numbers or dates, their form is part of the frame: "49 a month" and "490 a year" are two prices.
"""

from __future__ import annotations

import re

GAP = "\x00"
"""Stands for the target in a frame; no statement holds it."""

_WORD_OPENERS = (
    "actually|correction|update|edit|fyi|btw|by the way|note|please note|please note that|note that|reminder|remember|"
    "remember that|please remember|just so you know|for the record|in fact|to be clear|to clarify|sorry|oh|ok|okay|so|"
    "well|hey|hi|hello|wait|no wait|good news|bad news|news|new|heads up|and|but|anyway|also note|yes|no"
)
_OPENER = re.compile(rf"(?:{_WORD_OPENERS})\s*[,:;!.–—-]+\s+", re.IGNORECASE)
# Without a comma such a word may begin a title; before "the" or "my" it does not.
_BARE_OPENER = re.compile(
    r"(?:now|today|currently|actually|so|well|ok|okay|and|but|please note that|note that|remember that|remember|please"
    r" remember that|just so you know) (?=(?:the|our|my|his|her|their|its|your|a|an|i|we|he|she|they) )",
    re.IGNORECASE,
)
_MONTHS = (
    "january|february|march|april|may|june|july|august|september|october|november|december|"
    "jan|feb|mar|apr|jun|jul|aug|sept|sep|oct|nov|dec"
)
_DAYS = "monday|tuesday|wednesday|thursday|friday|saturday|sunday|mon|tue|wed|thu|fri|sat|sun"
_TIMES = rf"\d|{_MONTHS}|{_DAYS}|today|tomorrow|yesterday|now|then|spring|summer|autumn|fall|winter|noon|midnight"
_DATE_OPENER = re.compile(
    rf"(?:as of|as from|from|since|starting|beginning|effective|until|till|in|on|by|after|before|during|next|this|last)"
    rf"\b[^,:]{{0,40}}\b(?:{_TIMES}|year|month|week|day|quarter|on|onwards?)\w*\s*[,:]\s+",
    re.IGNORECASE,
)
_ADVERB = re.compile(r"\b(?:now|currently|actually|officially|henceforth|in fact|at the moment|these days) ?\b")
_FURTHER = re.compile(r"\b(?:also|too|as well|additionally|in addition|another|other|second|third|both|co-\w+)\b")


def opened(sentence: str) -> str:
    """A sentence without the words that open it and say nothing of the fact: "Actually, …", "Correction: …"."""
    return sentence[_opening(sentence, dates=False) :]


def without_openers(sentence: str) -> str:
    """A sentence without any opener, also without a date in front: "As of May, …"."""
    return sentence[_opening(sentence, dates=True) :]


def _opening(sentence: str, dates: bool) -> int:
    at = 0
    openers = (_OPENER, _BARE_OPENER, _DATE_OPENER) if dates else (_OPENER, _BARE_OPENER)
    while found := next((match for one in openers if (match := one.match(sentence, at))), None):
        if found.end() == len(sentence):
            break
        at = found.end()
    return at


def frame_of(sentence: str, target: str, valued: bool) -> str | None:
    """The sentence with GAP for its target, as compared; `valued`: the target is a number, an amount or a date.

    None where the target does not stand in it just once, or where the sentence says that it adds to another ("also").
    """
    text = " ".join(opened(sentence).casefold().split()).removesuffix(".").rstrip()
    wanted = " ".join(target.casefold().split()).removesuffix(".")
    places = [match.start() for match in re.finditer(rf"(?<!\w){re.escape(wanted)}(?!\w)", text)] if wanted else []
    if len(places) != 1:
        return None
    around = text[: places[0]] + GAP + text[places[0] + len(wanted) :]
    if _FURTHER.search(around):
        return None
    frame = " ".join(_ADVERB.sub("", around).split())
    return f"{frame}\n{_form(wanted)}" if valued else frame


def same_frame(frame: str | None, sentence: str | None, target: str | None) -> bool:
    """Whether another sentence has this frame."""
    if frame is None or sentence is None or target is None:
        return False
    return frame_of(sentence, target, valued="\n" in frame) == frame


OPENING = 3
"""Words at the beginning of a sentence by which others like it are looked up."""


def opening(sentence: str) -> str | None:
    """How a sentence begins, as compared: such as are alike begin alike. None where there is nothing behind it."""
    words = _words(sentence)
    return " ".join(words[:OPENING]) if len(words) > OPENING else None


def alike(one: str, other: str) -> bool:
    """Whether two sentences begin alike, differ in one place, where each says something else, and agree for the most.

    That is no proof that they contradict each other, but worth telling.
    """
    first, second = _words(one), _words(other)
    shorter = min(len(first), len(second))
    begin = next((at for at in range(shorter) if first[at] != second[at]), shorter)
    rest = shorter - begin
    end = next((at for at in range(rest) if first[-1 - at] != second[-1 - at]), rest)
    one_says, other_says = first[begin : len(first) - end], second[begin : len(second) - end]
    apart = bool(one_says) and bool(other_says) and set(one_says).isdisjoint(other_says)
    return apart and begin >= OPENING and begin + end >= 0.6 * (max(len(first), len(second)) - 1)


def _words(sentence: str) -> list[str]:
    return _ADVERB.sub("", opened(sentence).casefold()).removesuffix(".").split()


def _form(value: str) -> str:
    """A number or date with its figures and names taken out; years stay apart from days."""
    value = re.sub(rf"\b(?:{_MONTHS})\b", "M", value)
    value = re.sub(rf"\b(?:{_DAYS})\b", "D", value)
    return re.sub(r"\d+(?:[.,]\d+)*", lambda match: "Y" if re.fullmatch(r"[12]\d{3}", match[0]) else "0", value)
