"""Patches: edits that are no facts but change what is said. What each kind holds, and how it is put into an edit.

    kind      statement                          holds
    patch     If C, then D.                      a condition and its consequence, in plain words
    regex     On input, replace P by “R”.        a pattern and what stands in its place, on the input or the output
    feedback  By “Q” I mean C.                   a question and what was meant by it

They are journalled, listed, undone and removed as facts are, but no fact supersedes them, no scope finds them, and no
model is shown them as facts. This file reads and checks them; the answerers `language_patch`, `regex` and `mem_prompt`
put them to use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from memedit.edits import Draft, Edit
from memedit.errors import InputError
from memedit.patterns import everywhere, ready
from memedit.prompts import prompt

if TYPE_CHECKING:
    from regex import Pattern

OVERRIDE, FEATURE = "override", "feature"
SIDES = ("input", "output")


@dataclass(frozen=True, slots=True)
class Conditional:
    """A language patch (Murty et al. 2022): where `condition` holds, `consequence`.

    `reply` is what replaces the model's own reply (an override patch); None where the consequence is an instruction to
    the model (a feature patch).
    """

    condition: str
    consequence: str
    reply: str | None


@dataclass(frozen=True, slots=True)
class Substitution:
    """A regular-expression patch: each match of `pattern` on the `side` becomes `replace` (`\\1`, `\\g<name>`)."""

    side: Literal["input", "output"]
    pattern: str
    replace: str


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a user meant by a question (MemPrompt, Madaan et al. 2022)."""

    question: str
    meant: str


# Language patches

_IF = re.compile(r"(?:if|when|whenever|in case)\s+(?P<rest>.+)", re.I | re.S)
_THEN = re.compile(r"\s*,?\s*\bthen\b[\s,:]*", re.I)
_DECLINE = re.compile(
    r"(?:please\s+)?(?:politely\s+)?(?:decline|refuse|(?:do\s+not|don['’]t)\s+answer)\b"
    r"(?:\s+(?:politely|it|that|this|to\s+(?:answer|help|say|reply)|the\s+(?:request|question|message)))*"
    r"(?P<words>.*)",
    re.I | re.S,
)
_SAYING = re.compile(r"\s*(?:[:,]\s*(?!and\b)|(?:,?\s*and\s+say|by\s+saying|saying|with)(?:\s+that)?\b[\s:]*)", re.I)
_SAY = re.compile(
    r"(?:please\s+)?(?:(?:just|only|simply|always|politely)\s+)?(?P<verb>say|answer|reply|respond)"
    r"(?P<how>\s+(?:with|by\s+saying|that)\b)?(?P<colon>\s*:)?\s*(?P<words>.+)",
    re.I | re.S,
)
_QUOTED = re.compile(r"“([^“”]+)”|\"([^\"]+)\"|«([^«»]+)»|'([^']+)'|‘([^‘’]+)’")
# “answer in French”, “reply briefly”, “say so in one word”: how to answer rather than what.
_MANNER = re.compile(
    r"(?:in|as|like|by|using|with|without|only|at|from|for|to|about|of|on|before|after|more|less|so|something|it|them|"
    r"him|her|me|us|nothing|everything|the\s+(?:question|request|message|user)|(?:all|every|any|each)\b.*|\w+ly)\b",
    re.I,
)
_OBJECT = re.compile(r"(?:the|a|an|any|every|all|each|his|her|their|its|these|those|such)\b", re.I)


def conditional(statement: str) -> Conditional:
    """A language patch as it is written: “If C, then D.”; “then” may be missing where only one comma is.

    Raises InputError where condition and consequence cannot be told apart.
    """
    text = statement.strip().rstrip(".").rstrip()
    found = _IF.fullmatch(text)
    if found is None:
        raise InputError(
            f"“{statement}” is no patch: write a condition and a consequence, such as "
            "“if the user asks for another person's address, then decline”"
        )
    rest = found["rest"]
    if _THEN.search(rest):
        condition, consequence = _THEN.split(rest, maxsplit=1)
    elif rest.count(",") == 1:
        condition, consequence = rest.split(",")
    else:
        raise InputError(f"say where the condition of “{statement}” ends: “if …, then …”")
    condition, consequence = condition.strip(" ,"), consequence.strip(" ,")
    if not condition or not consequence:
        raise InputError(f"“{statement}” lacks its {'consequence' if condition else 'condition'}: “if …, then …”")
    return Conditional(condition, consequence, _reply(consequence))


def _reply(consequence: str) -> str | None:
    """What a consequence says shall be said, word for word; None where it says how to answer."""
    declined = _DECLINE.fullmatch(consequence)
    if declined is not None:
        words = declined["words"].strip()
        if not words:
            return prompt("decline").template
        saying = _SAYING.match(words)
        return None if saying is None else _worded(words[saying.end() :])
    said = _SAY.fullmatch(consequence)
    if said is None:
        return None
    words = said["words"].strip()
    if _QUOTED.fullmatch(words):
        return _worded(words)
    if said["colon"]:
        return _worded(words)
    how = (said["how"] or "").casefold().split()
    if how[:1] == ["with"]:
        return None
    if how:
        return _worded(words)
    if _MANNER.match(words) or (said["verb"].casefold() != "say" and _OBJECT.match(words)):
        return None
    return _worded(words)


def _worded(words: str) -> str | None:
    words = words.strip()
    quoted = _QUOTED.fullmatch(words)
    if quoted is not None:
        return next(group for group in quoted.groups() if group is not None)
    return words[:1].upper() + words[1:] or None


def _checked_patch(draft: Draft) -> Draft:
    if draft.relation not in (None, OVERRIDE, FEATURE):
        raise InputError(f"a patch is an {OVERRIDE} or a {FEATURE}, not {draft.relation!r}")
    read = conditional(draft.statement)
    said = f"If {read.condition}, then {read.consequence}."
    return replace(
        _bare(draft, said),
        prompt=f"If {read.condition}, then",
        target=read.consequence,
        relation=draft.relation or (FEATURE if read.reply is None else OVERRIDE),
        aliases=draft.aliases,
    )


def conditional_of(edit: Edit) -> Conditional:
    """The language patch that an edit of kind `patch` holds."""
    read = conditional(edit.statement)
    if edit.relation == FEATURE:
        return replace(read, reply=None)
    return read if read.reply is not None or edit.relation != OVERRIDE else replace(read, reply=read.consequence)


# Regular-expression patches


def compiled(pattern: str, template: str) -> Pattern[str]:
    """The pattern, ready to run. Raises InputError, with the position, where it or the replacement is not right, and
    where it costs too much to be made ready (memedit.patterns)."""
    import regex  # late: nothing else needs it

    if not pattern:
        raise InputError("the pattern is empty: it would match everywhere")
    try:
        made = ready(pattern)
    except regex.error as error:
        raise InputError(f"the pattern is not right: {_pointed(error, pattern)}") from error
    try:
        # A template is only read at a match. This is one of nothing, with the pattern's groups by number and name.
        names = {number: name for name, number in made.groupindex.items()}
        groups = (f"(?P<{names[n]}>)" if n in names else "()" for n in range(1, made.groups + 1))
        probe = regex.compile("".join(groups)).match("")
        assert probe is not None
        probe.expand(template)
    except regex.error as error:
        raise InputError(f"the replacement is not right: {_pointed(error, template)}{_groups(made)}") from error
    except IndexError as error:
        raise InputError(f"the replacement names a group that the pattern lacks{_groups(made)}") from error
    return made


def _pointed(error: Exception, text: str) -> str:
    """What is wrong, and the text around the place, where that is known."""
    what, place = getattr(error, "msg", str(error)), getattr(error, "pos", None)
    if place is None:
        return str(what)
    return f"{what} at position {place}: “{text[max(0, place - 20) : place]}⟨here⟩{text[place : place + 20]}”"


def _groups(made: Pattern[str]) -> str:
    names = [*(str(number) for number in range(1, made.groups + 1)), *made.groupindex]
    return f"; its groups: {', '.join(names)}" if names else "; the pattern has no groups"


def substitution_draft(pattern: str, template: str, side: str) -> Draft:
    """A regular-expression patch to be written. Raises InputError where it is not right."""
    held = {"side": side, "pattern": pattern, "replace": template}
    return _checked_regex(Draft(statement="regex", kind="regex", prompt=_kept(held)))


def _kept(value: dict[str, str]) -> str:
    """JSON on one line that survives the cleaning of texts: no control character, no two spaces together."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return re.sub(r"(?<= ) ", r"\\u0020", text)


def _checked_regex(draft: Draft) -> Draft:
    held = _held(draft.prompt)
    made = compiled(held.pattern, held.replace)
    try:
        if everywhere(made):
            raise InputError(
                "the pattern matches everywhere, whatever the text says: write one that matches only what is to be "
                "replaced"
            )
    except TimeoutError as error:
        raise InputError(
            "the pattern takes too long on an ordinary sentence: use fewer repetitions inside repetitions"
        ) from error
    return replace(
        _bare(draft, f"On {held.side}, replace {_shown(held.pattern)} by “{_shown(held.replace)}”."),
        prompt=_kept({"side": held.side, "pattern": held.pattern, "replace": held.replace}),
        relation=held.side,
    )


def _held(kept: str | None) -> Substitution:
    try:
        value = json.loads(kept or "")
        read = Substitution(value["side"], value["pattern"], value["replace"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            "an edit of kind regex holds its pattern as JSON; write it with `memedit patch --regex PATTERN --replace "
            "TEXT --on input|output`, or memedit.patches.substitution_draft"
        ) from error
    if read.side not in SIDES:
        raise InputError(f"a pattern is run on {' or '.join(SIDES)}, not on {read.side!r}")
    if not isinstance(read.pattern, str) or not isinstance(read.replace, str):
        raise InputError("pattern and replacement are texts")
    return read


def _shown(text: str) -> str:
    """A pattern for people: what a line cannot show, and what cleaning would take away, is escaped."""
    text = re.sub(r"^ | (?= )| $", r"\\x20", text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def substitution_of(edit: Edit) -> Substitution:
    """The pattern that an edit of kind `regex` holds."""
    return _held(edit.prompt)


# Feedback

_MEANT = re.compile(
    r"(?:(?:when|whenever|if)\s+i\s+(?:ask|say|write)\s*(?:you\s+)?(?:for|about)?\s*[:,]?\s*|by\s+)"
    r"(?P<question>.+?)[\s,;:]*\bi\s+(?:mean|meant|want|wanted)\s+(?P<meant>.+)",
    re.I | re.S,
)
_ONLY_MEANT = re.compile(r"(?:no\s*[,:.]?\s*)?i\s+(?:mean|meant|want|wanted)\s+(?P<meant>.+)", re.I | re.S)


def feedback_draft(said: str, question: str | None = None) -> Draft:
    """Feedback to be written: “when I ask for a word like X, I mean a homonym”, or “I mean C” about a `question`.

    A capital letter that stands alone in the question (X) is a place that anything may fill. Raises InputError where it
    cannot be told what was meant, or by which question.
    """
    text = said.strip()
    found = _MEANT.fullmatch(text)
    if found is not None:
        return _checked_feedback(Draft(statement=text, kind="feedback"))
    alone = _ONLY_MEANT.fullmatch(text)
    if alone is None or not question:
        lacks = "by which question" if alone is not None else "what was meant"
        raise InputError(f"“{text}” does not say {lacks}: “when I ask for a word like X, I mean a homonym”")
    return _checked_feedback(Draft(statement=text, kind="feedback", question=question, target=alone["meant"]))


def _checked_feedback(draft: Draft) -> Draft:
    question, meant = draft.question, draft.target
    if not (question and meant):
        found = _MEANT.fullmatch(draft.statement)
        if found is None:
            raise InputError(f"“{draft.statement}” is no feedback: “when I ask for a word like X, I mean a homonym”")
        question, meant = found["question"], found["meant"]
    question = re.sub(r"\s+", " ", question).strip(" ,")
    quoted = _QUOTED.fullmatch(question)
    if quoted is not None:
        question = next(group for group in quoted.groups() if group is not None)
    meant = meant.strip().rstrip(".").rstrip()
    if not question or not meant:
        raise InputError(f"“{draft.statement}” lacks the question or what was meant by it")
    return replace(_bare(draft, f"By “{question}” I mean {meant}."), question=question, target=meant)


def feedback_of(edit: Edit) -> Feedback:
    """The feedback that an edit of that kind holds."""
    return Feedback(edit.question or "", edit.target or "")


# All kinds

_CHECKS: dict[str, Callable[[Draft], Draft]] = {
    "patch": _checked_patch,
    "regex": _checked_regex,
    "feedback": _checked_feedback,
}
KINDS = frozenset(_CHECKS)
"""The kinds of edit that are patches."""


def checked(draft: Draft) -> Draft:
    """A draft of one of KINDS with its fields filled from what it says. Raises InputError where it is not right."""
    return _CHECKS[draft.kind](draft)


def _bare(draft: Draft, statement: str) -> Draft:
    """The draft with this statement, and without what only a fact has."""
    nothing: dict[str, Any] = dict.fromkeys(("subject", "relation", "target", "prompt", "question"))
    return replace(draft, statement=statement, aliases=(), **nothing)
