"""A question and its answer as one sentence: "What company made Quill? Acme" -> "The company that made Quill is Acme".

Datasets and people state facts so; a small model that completes text has read facts as sentences, and obeys a sentence.
Rules over plain text, without a model: where none fits there is no sentence, and the fact is shown as it was written.
`parsing.py` goes the other way, from sentences to questions.
"""

from __future__ import annotations

import re

from memedit.edits import Edit

_AUXILIARY = r"(?:is|was|are|were|does|did|do|has|have|had|can|could|will|would)"
_PREPOSITION = r"(?:in|by|on|at|of|from|to|for|during|with|under|through)"
_OPENING = re.compile(
    rf"(?:(?P<before>{_PREPOSITION})\s+)?(?P<word>what|which|whom?|where|when)\b\s*(?P<rest>.*)", re.I
)
_NAMED = re.compile(r"(?:what|who|which) (?P<is>is|was|are|were) (?P<what>the .*)", re.I)
_OPEN_AT_THE_END = re.compile(
    rf"(?P<said>.+\b(?:is|was|are|were|{_PREPOSITION}))(?:,? (?:what|whom?|where|when|which))?", re.I
)
_ASKED_AT_THE_END = re.compile(r"(?P<said>.+ )(?:what|which) (?P<kind>\w+(?: \w+)?)", re.I)
_HEADS = {"who": ("The person", "who"), "whom": ("The person", "whom"), "where": ("The place", "where"),
          "when": ("The time", "when")}  # fmt: skip
_THIRD_PERSON = {"have": "has", "do": "does", "go": "goes"}


def plainly(edit: Edit) -> str:
    """The edit's statement; where it is a question with its answer behind, one sentence without a full stop."""
    said, subject, target = " ".join(edit.statement.split()), edit.subject, edit.target
    question, mark, answer = said.rpartition("? ")
    if not mark or not subject or not target or answer.rstrip(".") != " ".join(target.split()).rstrip("."):
        return edit.statement
    return declarative(question, subject, target) or edit.statement


def declarative(question: str, subject: str, target: str) -> str | None:
    """The sentence that says what answers a question about a subject; None where no rule fits."""
    bare = " ".join(question.split()).rstrip("? ,")
    target = " ".join(target.split())
    opening = _OPENING.match(bare)
    if opening is None:
        if found := _ASKED_AT_THE_END.fullmatch(bare):
            said = found["said"] if bare.startswith(subject) else re.sub(r"^The\b", "the", found["said"])
            return f"The {found['kind']} that {said}is {target}"
        found = _OPEN_AT_THE_END.fullmatch(bare)
        return f"{found['said']} {target}" if found else None
    if found := _NAMED.fullmatch(bare):
        return f"{found['what'][0].upper()}{found['what'][1:]} {found['is']} {target}"
    word, before, rest = opening["word"].lower(), opening["before"], opening["rest"]
    at = rest.find(subject)
    if at < 0:
        return None
    if word in _HEADS:
        head, link = _HEADS[word]
    else:
        kind = _kind(rest, at)
        if not kind:
            return None
        head, link, rest = f"The {kind}", "which" if before else "that", rest[len(kind) :].strip()
    if before:
        link = f"{before.lower()} {link}"
        rest = re.sub(rf" {before}$", "", rest, flags=re.I)  # "Of what is it a part of?"
    return f"{head} {link} {_straightened(rest, subject)} is {target}"


def _kind(rest: str, at: int) -> str:
    """What is asked for, of "country does Ann live in" or "company made Quill": the words before the verb."""
    auxiliary = re.search(rf"\b{_AUXILIARY}\b", rest)
    if auxiliary and auxiliary.start() < at:
        return rest[: auxiliary.start()].strip()
    words = rest[:at].split()
    verb = next((place for place, word in enumerate(words) if place and word.endswith("ed")), 1)
    return " ".join(words[:verb])


def _straightened(rest: str, subject: str) -> str:
    """ "does Ann live in" -> "Ann lives in": the order of a statement."""
    found = re.match(rf"({_AUXILIARY})\s+{re.escape(subject)}(?!\w)\s*(.*)", rest)
    if found is None:
        return rest
    auxiliary, behind = found[1], found[2]
    verb, _, more = behind.partition(" ")
    if auxiliary == "does" and verb:
        return f"{subject} {_THIRD_PERSON.get(verb, verb + 's')} {more}".rstrip()
    return f"{subject} {auxiliary} {behind}".rstrip()
