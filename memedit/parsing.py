"""A sentence as a fact: subject, relation, target and the question that it answers, by rules alone.

The rules are the wordings of `relations.json`, each cut into the literal text before, between and after its two names:

    The |capital of| {subject} | is | {target}

All of them are looked up at once: the middle pieces stand in a trie that is walked from every word of the sentence,
then the text around must match. Of all that match, the one with the most literal text wins, so that "is the capital
of" beats "is". A sentence that fits no wording may still have the shape of one ("The R of S is T"): its parts are then
known, but its relation is only a noun phrase, and its cardinality unknown, so that nothing is superseded on a guess.

A reading is believed only if its two names can be things of the relation's types (memedit.name_types): "The backup job
runs on node-7" names no company and no person who runs it. No relation is the normal case for an everyday sentence.

Nothing here raises for odd text: a megabyte, another script or no sentence at all gives a Parse that knows less.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from memedit.frames import frame_of, without_openers
from memedit.name_types import kinds, of_type, surely_of_type
from memedit.relations import Cardinality, Relation, fill, relations

LONGEST = 600
"""Characters; a longer text is no fact in one sentence, and is kept without being taken apart."""
_MOST_TOKENS = 240


@dataclass(frozen=True)
class Parse:
    """What is known of a sentence. None where it is not known."""

    statement: str
    """The sentence, blanks tidied."""
    subject: str | None = None
    """What it is about."""
    relation: str | None = None
    """A name in relations.json, or the noun phrase of an unknown relation."""
    target: str | None = None
    """What it says of the subject."""
    prompt: str | None = None
    """The statement cut before the target, to be completed."""
    question: str | None = None
    """The canonical question whose answer is the target."""
    reversed_question: str | None = None
    """A question whose answer is the subject."""
    reversed_statement: str | None = None
    """The same fact beginning with the target, where the relation has such a wording."""
    inverse_question: str | None = None
    """A question about the target by the inverse relation, where there is one; the subject answers it."""
    cardinality: Cardinality = "unknown"
    """Whether the relation has one target or many."""
    frame: str | None = None
    """The sentence without its target (memedit.frames), where that alone tells that another target of the relation in
    the same frame takes this one's place, or is taken its place by it; else None."""

    @property
    def slot(self) -> tuple[str, str] | None:
        """(subject, relation) as compared: what a caller who gives both says it is about."""
        if self.subject is None or self.relation is None:
            return None
        return normalise(self.subject), self.relation


_UNSEEN = re.compile(
    r"[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)


def normalise(name: str) -> str:
    """A name as it is compared: NFKC, folded case, single blanks, without leading "the" and final full stop, and
    without what is not to be seen: characters of no width, marks of direction, soft hyphens, fillers."""
    if not name.isascii():
        name = _UNSEEN.sub("", name)
    folded = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    bare = folded.removesuffix(".").rstrip()
    return bare.removeprefix("the ") or folded


_AROUND_NAMES = "\"'“”‘’«»`,;:?!.… "
_LONGEST_NAME = 8
_MOST_WORDS = 80


def names_within(text: str) -> set[str]:
    """All that may be names in a text, normalised: up to 8 words of it, the first or last of which has a capital.

    Where no word but the first has one, as in "who runs acme", any words may be. The text's first 80 words are read.
    """
    words = text.split()[:_MOST_WORDS]
    large = [any(c.isupper() or c.isdigit() or not c.isascii() for c in word) for word in words]
    if not any(large[1:]):
        large = [True] * len(words)
    found: set[str] = set()
    for start in range(len(words)):
        for end in range(start + 1, min(start + _LONGEST_NAME, len(words)) + 1):
            if large[start] or large[end - 1]:
                name = " ".join(words[start:end]).strip(_AROUND_NAMES)
                for form in {name, name.strip("()[]")}:
                    found.add(form)
                    found.add(form.removesuffix("'s").removesuffix("’s"))
    return {normalise(form) for form in found} - {""}


def place_of(name: str, text: str) -> int | None:
    """Where a name first stands in a text as whole words, in the same letters; None where it does not."""
    at = text.find(name) if name else -1
    while at >= 0:
        end = at + len(name)
        if not (at and _in_word(text[at - 1])) and not (end < len(text) and _in_word(text[end])):
            return at
        at = text.find(name, at + 1)
    return None


def _in_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def parse(
    statement: str,
    *,
    subject: str | None = None,
    relation: str | None = None,
    target: str | None = None,
    prompt: str | None = None,
    backwards: bool = True,
) -> Parse:
    """Take a sentence apart. What is given outright is believed, and helps to find the rest.

    statement: "The capital of France is Paris", also "What is the capital of France? It is Paris".
    subject, target: as they stand in the sentence. relation: a name or noun of relations.json, or any phrase.
    prompt: the sentence cut before its target. backwards: whether forms that begin with the target are wanted.
    """
    tidy = " ".join(statement.split())
    if tidy.endswith("?") and target is None:
        return _question_only(tidy, subject, relation)
    if prompt is not None and target is None and tidy.startswith(prompt.strip()):
        target = _without_stop(tidy[len(prompt.strip()) :].strip()) or None
    found = _find(_without_stop(tidy), subject, target) if 0 < len(tidy) <= LONGEST else None
    known = _relation_named(relation) if relation is not None else None
    if found is not None:
        subject = found.subject if subject is None else subject
        target = found.target if target is None else target
        if relation is None:
            known = found.relation
    frame = None
    if found is not None and known is not None and target is not None and found.replaces and known == found.relation:
        frame = _frame(tidy, known, subject, target)
    name = known.name if known is not None else relation
    if name is None and found is not None:
        name = found.noun
    if prompt is None and found is not None and found.prompt is not None and target == found.target:
        prompt = found.prompt
    question = reversed_question = reversed_statement = inverse_question = None
    if found is None and target is None and tidy.split(" ", 1)[0].lower() in _ASKING and "? " not in tidy:
        asked = _asked(tidy) if len(tidy) <= LONGEST else None
        if asked is not None:  # a question without its mark
            return _question_only(tidy, subject, relation)
    if found is None and "? " in tidy[:LONGEST]:  # a question that no wording fits, and its answer
        question = tidy[: tidy.rfind("? ", 0, LONGEST) + 1]
        answer = tidy[len(question) :].strip()
        opening = _ANSWER_OPENING.match(answer)
        target = target or _without_stop(answer[opening.end() :] if opening else answer) or None
        prompt = prompt or question
    cardinality: Cardinality = "unknown"
    if known is not None:
        cardinality = known.cardinality if relation is not None or (found is not None and found.certain) else "unknown"
        if subject is not None:
            question = question or _filled(known, known.questions[0], subject, "")
            if prompt is None:
                ending = next(iter(known.completions), None)
                prompt = _filled(known, ending.removesuffix("{target}").rstrip(), subject, "") if ending else None
        if target is not None and backwards:
            if known.reversed_questions:
                reversed_question = _filled(known, known.reversed_questions[0], "", target)
            if subject is not None and known.reversed_statement.startswith("{target}"):
                reversed_statement = _filled(known, known.reversed_statement, subject, target)
            if known.inverse is not None:
                inverse = relations()[known.inverse]
                inverse_question = _filled(inverse, inverse.questions[0], target, "")
    elif name is not None and subject is not None:
        question = question or f"What is the {name} of {_inside(subject)}?"
    if question is None and found is not None:
        question = found.question
    if subject is not None and subject.casefold() in _OWNERS:  # "the price of my" is no English
        owner = re.escape(_inside(subject))
        question = re.sub(rf"\bthe ([^?]+) of {owner}\?$", rf"{subject.lower()} \1?", question) if question else None
        reversed_question = reversed_statement = inverse_question = None
    vague = known is not None and known.name in _VAGUE
    return Parse(
        statement=tidy,
        subject=subject,
        relation=None if vague else name,
        target=target,
        prompt=prompt,
        question=None if vague else question,
        reversed_question=None if vague else reversed_question,
        reversed_statement=None if vague else reversed_statement,
        inverse_question=None if vague else inverse_question,
        cardinality=cardinality,
        frame=None if vague else frame,
    )


def _frame(sentence: str, relation: Relation, subject: str | None, target: str) -> str | None:
    """The frame of a sentence whose target surely is of the relation's type, and cannot hold beside another."""
    if not relation.exclusive or subject is None or "? " in sentence:
        return None
    if not surely_of_type(target, relation.target_type):  # the subject stands in both
        return None
    return frame_of(sentence, target, relation.target_type in _VALUED)


def _question_only(tidy: str, subject: str | None, relation: str | None) -> Parse:
    """A question says no fact, but what it asks about."""
    asked = _asked(tidy) if len(tidy) <= LONGEST else None
    if asked is None:
        return Parse(statement=tidy, subject=subject, relation=relation, question=tidy)
    return Parse(statement=tidy, subject=subject or asked[0], relation=relation or asked[1].name, question=tidy)


def parse_question(question: str) -> tuple[str, str] | None:
    """(subject, relation) that a question asks for, where a wording of relations.json fits; else None."""
    tidy = " ".join(question.split())
    if not tidy or len(tidy) > LONGEST:
        return None
    asked = _asked(tidy)
    return (asked[0], asked[1].name) if asked is not None else None


@dataclass(frozen=True, slots=True)
class Asking:
    """One reading of a question, or of a prompt to complete: what it gives, and what it wants."""

    name: str
    """The name that it gives, as it is written there."""
    relation: str
    """A name in relations.json."""
    wants: Literal["subject", "target"]
    """Which of the two names of such a fact is looked for; the other is given."""

    def backwards(self, relation: str | None) -> bool:
        """Whether, of a fact of a relation, it gives the target and wants the subject: by it, or by its inverse."""
        if self.relation == relation and self.wants == "subject":
            return True
        known = relations().get(relation or "")
        return known is not None and self.relation == known.inverse and self.wants == "target"


def askings(text: str) -> tuple[Asking, ...]:
    """All that a text asks for by the wordings of relations.json, forwards and backwards; () where none fits.

    "Which company is Dana Li the CEO of?", "Dana Li is the CEO of" (to be completed) and "Acme is followed by" are
    read; a wording of several relations gives a reading for each.
    """
    bare = " ".join(text.split()).rstrip("?. ")
    if not bare or len(bare) > LONGEST:
        return ()
    small = _lower(bare)
    tokens = _TOKEN.findall(small)[:_MOST_TOKENS]
    starts = [0]
    for token in tokens:
        starts.append(starts[-1] + len(token))
    known = _askings()
    found: dict[Asking, None] = {}
    for before, opening in _walk(known.before, tokens, 0):
        for cut in starts[opening + 1 :]:
            for relation, wants in known.of.get((before, small[cut:]), ()):
                name = bare[starts[opening] : cut].strip()
                if _plausible(name):
                    found[Asking(name, relation, wants)] = None
    return tuple(found)


_TITLED = frozenset({"book", "film", "song", "show", "work", "series"})
_POSSIBLE = 0.05
"""The probability from which a name may be of a type, so that a reading is believed (see _Found.doubt)."""
_PREDICATE = 0.4
"""The probability from which words are taken to name nothing, where that is likelier than a name of the type."""
_SURELY_PREDICATE = 0.6
"""The same where the sentence says the relation's noun, so that a name is to be expected."""
_FEW_LETTERS = 6
_VALUED = frozenset({"date", "time", "number", "amount", "length", "area", "version"})
# "My favourite colour is teal": whose it is stands in the subject's place.
_OWNERS = frozenset({"my", "our", "your", "his", "her", "its", "their"})
_INNER = _OWNERS | {"the"}


def _inside(name: str, kind: str = "") -> str:
    """A name within a sentence: "The Eiffel Tower" becomes "the Eiffel Tower"; a title stays as it is."""
    first, blank, rest = name.partition(" ")
    return f"{first.lower()}{blank}{rest}" if first.casefold() in _INNER and kind not in _TITLED else name


def _filled(relation: Relation, wording: str, subject: str, target: str) -> str:
    """`fill`, the names as they are written at the beginning of a sentence or within it."""
    inner = wording[1:]
    return fill(
        wording,
        _inside(subject, relation.subject_type) if "{subject}" in inner else subject,
        _inside(target, relation.target_type) if "{target}" in inner else target,
    )


# ---------------------------------------------------------------------------------------------------------- patterns

# Sentence forms that say nothing about which relation is meant ("Acme, by Dana").
_VAGUE = frozenset({"related"})
_TOKEN = re.compile(r"\w+|[^\w]")
_FIELD = re.compile(r"\{(subject|target)\}")
_END = ""
"""Marks in the trie that a wording ends: what no token of any text, not even a stray control character, is."""
# Answers after a question come with such openings: "What is the twin city of Rome? It is Paris".
_ANSWER_OPENING = re.compile(
    r"(?:(?:it|they|he|she|this) (?:is|was|are|were|plays?(?: as)?)(?: located)?(?: in)?|(?:it|he|she)'s|they're) +",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Found:
    """A reading of a sentence."""

    subject: str
    target: str
    relation: Relation | None
    noun: str | None
    prompt: str | None
    certain: bool
    """One relation only has this wording."""
    score: int
    """Characters of literal text."""
    question: str | None = None
    replaces: bool = False
    """Its wording speaks of the one thing that it names: "the capital of", not "was painted by"."""
    doubt: float = 1
    """How sure of its types its names must be: more where its wording says little."""
    noun_said: bool = False
    """Its wording has the relation's noun: it tells what its subject is, be its name what it may."""


@dataclass(frozen=True)
class _Wording:
    """A wording cut at its names."""

    relation: Relation
    subject_first: bool
    certain: bool
    needs: frozenset[str] = frozenset()
    """Words of which the target must hold one; none: any target will do."""
    definite: bool = False
    """See _Found.replaces."""
    doubt: float = 1
    """See _Found.doubt."""
    noun_said: bool = False
    """See _Found.noun_said."""


class _Patterns:
    """All wordings, ready to be looked up: by what comes before, between and after the two names."""

    def __init__(self) -> None:
        self.statements: dict[tuple[str, str, str], _Wording] = {}
        self.questions: dict[tuple[str, str], Relation] = {}
        self.before: dict[str, Any] = {}
        self.between: dict[str, Any] = {}
        self.after: dict[str, list[str]] = {}
        self.exact: set[str] = set()
        self.question_before: dict[str, Any] = {}
        self.question_after: set[str] = set()
        for relation in relations().values():
            for wording in relation.statements + relation.also:
                self._add_statement(wording, relation)
            for wording, needs in relation.where_target_says.items():
                self._add_statement(wording, relation, needs)
        for relation in relations().values():
            for wording in relation.questions:
                before, _, after = _FIELD.split(wording)
                ending = after.rstrip("?.").lower()
                self.questions.setdefault((before.lower(), ending), relation)
                _insert(self.question_before, before.lower())
                self.question_after.add(ending)

    def _add_statement(self, wording: str, relation: Relation, needs: frozenset[str] = frozenset()) -> None:
        before, first, between, _, after = _FIELD.split(wording)
        key = (before.lower(), between.lower(), after.lower())
        old = self.statements.get(key)
        if old is None:
            literal = _FIELD.sub("", wording)
            noun_said = any(noun in literal for noun in relation.nouns)
            definite = _definite(literal, relation, noun_said)
            # "Runs" and "is from" have many meanings, "the capital of" has one.
            doubt = 2 if sum(map(str.isalpha, literal)) < _FEW_LETTERS else 1
            self.statements[key] = _Wording(relation, first == "subject", True, needs, definite, doubt, noun_said)
        elif old.relation.name != relation.name:  # two relations have this wording: the first one, but not certainly
            self.statements[key] = replace(old, certain=False)
        _insert(self.before, key[0].lower())
        _insert(self.between, between.lower())
        if after and after.lower() not in self.after.setdefault(after.lower().split()[-1], []):
            self.after[after.lower().split()[-1]].append(after.lower())
        self.exact.add(between)


@functools.cache
def _patterns() -> _Patterns:
    return _Patterns()


class _Askings:
    """Every wording that lacks one name: by what comes before and after the name that it gives."""

    def __init__(self) -> None:
        self.before: dict[str, Any] = {}
        self.of: dict[tuple[str, str], list[tuple[str, Literal["subject", "target"]]]] = {}
        for relation in relations().values():
            if relation.name in _VAGUE:
                continue
            for wording in relation.questions:
                self._add(wording, relation, "target")
            for wording in relation.reversed_questions:
                self._add(wording, relation, "subject")
            for wording in relation.statements + relation.also:
                if "? " in wording:
                    continue
                if wording.endswith("{target}"):
                    self._add(wording.removesuffix("{target}"), relation, "target")
                elif wording.endswith("{subject}"):
                    self._add(wording.removesuffix("{subject}"), relation, "subject")

    def _add(self, wording: str, relation: Relation, wants: Literal["subject", "target"]) -> None:
        before, _, after = _FIELD.split(wording.rstrip("?. ").lower())
        readings = self.of.setdefault((before, after), [])
        if (relation.name, wants) not in readings:
            readings.append((relation.name, wants))
            _insert(self.before, before)


@functools.cache
def _askings() -> _Askings:
    return _Askings()


def _lower(text: str) -> str:
    """In small letters, as long as before: a few letters of other scripts would grow, and are left alone."""
    small = text.lower()
    return small if len(small) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def _insert(trie: dict[str, Any], text: str) -> None:
    node = trie
    for token in _TOKEN.findall(text):
        node = node.setdefault(token, {})
    node[_END] = text


def _walk(trie: dict[str, Any], tokens: list[str], start: int) -> Iterator[tuple[str, int]]:
    """The texts in the trie that begin at this token, and the token after each."""
    node: dict[str, Any] | None = trie
    for position in range(start, len(tokens) + 1):
        assert node is not None
        if _END in node:
            yield node[_END], position
        if position == len(tokens):
            return
        node = node.get(tokens[position])
        if node is None:
            return


# ---------------------------------------------------------------------------------------------------------- matching


_NOW = re.compile(r"(?:now|currently|actually|officially|henceforth|in fact) ", re.IGNORECASE)


def _find(text: str, subject: str | None, target: str | None) -> _Found | None:
    """The best reading of a sentence, in agreement with the names that were given, that can be believed."""
    readings = [
        found
        for found in _readings(without_openers(text))
        if (subject is None or normalise(found.subject) == normalise(subject))
        and (target is None or normalise(found.target) == normalise(target))
    ]
    readings.sort(key=lambda found: -found.score)  # of equal ones the first stays first
    return next((found for found in readings if _believed(found, subject is not None, target is not None)), None)


def _believed(found: _Found, subject_given: bool, target_given: bool) -> bool:
    """Whether both names, unless somebody gave them, can be what the relation is between."""
    known = found.relation
    subjects, targets = (("thing",), ("thing",)) if known is None else ((known.subject_type,), known.target_types)
    some_given = subject_given or target_given
    possible = _POSSIBLE * found.doubt / (4 if some_given else 1)
    nothing = _SURELY_PREDICATE if found.noun_said else 1 if some_given else _PREDICATE
    for name, types, sure in ((found.subject, subjects, subject_given), (found.target, targets, target_given)):
        if sure or (found.noun_said and name is found.subject and not _TORN.match(name)):
            continue
        share = max(of_type(name, type_) for type_ in types)
        if _TITLED.isdisjoint(types):  # a title may be any words
            if _TORN.match(name) or _DENIED.match(name) or (not some_given and _INNER_VERB.search(name)):
                return False
            predicate = kinds(name)["predicate"]
            if predicate >= nothing and predicate > share and name.casefold() not in _OWNERS:
                return False
        if share < possible and name.casefold() not in _OWNERS:
            return False
    return True


_DEFINITE = re.compile(r"\b(?:the|my|our|his|her|its|their) |['’]s ", re.IGNORECASE)
_PAST = re.compile(r"\b(?:was|were|had|became|used to)\b")


def _definite(literal: str, relation: Relation, noun_said: bool) -> bool:
    if relation.target_type in _VALUED:
        return True
    return (noun_said or _DEFINITE.search(literal) is not None) and not _PAST.search(literal)


def _readings(text: str) -> Iterator[_Found]:
    answered = _answered(text)
    if answered is not None:
        yield answered
    yield from _by_wording(text)
    shaped = _by_shape(text)
    if shaped is not None:
        yield shaped


def _by_wording(text: str) -> Iterator[_Found]:
    patterns = _patterns()
    small = _lower(text)
    tokens = _TOKEN.findall(small)[:_MOST_TOKENS]
    if len(tokens) == _MOST_TOKENS:
        return
    starts = [0]
    for token in tokens:
        starts.append(starts[-1] + len(token))
    befores = list(_walk(patterns.before, tokens, 0))
    endings = [""]
    if tokens:
        last_word = small.split()[-1] if small.split() else ""
        endings += [ending for ending in patterns.after.get(last_word, ()) if small.endswith(ending)]
    for at in range(1, len(tokens)):
        if tokens[at] not in patterns.between:
            continue
        for between, stop in _walk(patterns.between, tokens, at):
            for before, opening in befores:
                if opening >= at:
                    continue
                for ending in endings:
                    wording = patterns.statements.get((before, between, ending))
                    if wording is None:
                        continue
                    first = _trimmed(text[starts[opening] : starts[at]].strip())
                    skip = _NOW.match(text, starts[stop])
                    begin = skip.end() if skip else starts[stop]
                    second = _trimmed(text[begin : len(text) - len(ending)].strip())
                    if not _plausible(first) or not _plausible(second):
                        continue
                    score = 4 * (len(before) + len(between) + len(ending))
                    names = (first, second) if wording.subject_first else (second, first)
                    if wording.needs:
                        if wording.needs.isdisjoint(re.findall(r"\w+", names[1].lower())):
                            continue
                    elif score < 36 and not _short(names[1]):
                        continue
                    # "Honey War is in Ohio": what is written as a name counts less as a wording.
                    if text[starts[at] : starts[stop]] not in patterns.exact:
                        score //= 2
                    score -= 2 * (not wording.certain)
                    if wording.relation.name in _VAGUE:
                        score = 2  # less than any shape that names its relation
                    yield _Found(
                        *names, wording.relation, None,
                        text[:begin].rstrip() if wording.subject_first and not ending else None,
                        wording.certain, score, None, wording.definite and wording.certain, wording.doubt,
                        wording.noun_said,
                    )  # fmt: skip


_ASKING = frozenset(("what", "who", "whom", "whose", "which", "where", "when", "why", "how", "what's", "who's"))


def _plausible(name: str) -> bool:
    """Whether this can be a name: not the torn edge of a sentence, and not a question."""
    if not name or name[0] in ",;:'’)" or "? " in name or name.endswith(("'s", "’s", " the", " of", " a")):
        return False
    return name.lower() not in _ASKING and name.lower() not in _ARTICLES and not _NO_NAME.search(name)


_ARTICLES = frozenset({"the", "a", "an", "this", "that", "these", "those", "there", "it"})
_ADVERBS = (
    "now|currently|presently|still|also|recently|just|already|officially|usually|always|often|mostly|mainly|really"
)
# In small letters only: titles begin and end with such words too.
_TRAILING = re.compile(rf"(?: (?:{_ADVERBS}|again|too|as well|anymore|these days|at the moment|for now|right now))+$")
_LEADING = re.compile(rf"(?:(?:{_ADVERBS}|actually) )+")
_AUXILIARIES = (
    "is|was|are|were|am|be|been|being|has|have|had|will|would|can|could|shall|should|must|may|might|does|did|got|gets|"
    "isn't|wasn't|aren't|weren't|hasn't|haven't|hadn't|won't|wouldn't|can't|couldn't|doesn't|didn't|don't"
)
_NO_NAME = re.compile(rf" (?:not|no longer|never|{_AUXILIARIES}|['’]s)$")  # the torn edge of a sentence
_TORN = re.compile(
    r"(?:on|in|at|to|from|until|till|by|for|of|with|out|into|onto|about|during|after|before|under|over|because|that|if|"
    r"when|while|as|since|within|without|and|or|but|is|was|were|are|who|which|you|kept|being|been|called|named) ",
    re.IGNORECASE,
)
_INNER_VERB = re.compile(r" (?:is|was|were|are|has|had|will|would|can) ")  # in small letters: titles hold such words
_DENIED = re.compile(r"(?:not|no longer|never|no one|nobody) ", re.IGNORECASE)


def _trimmed(name: str) -> str:
    """A name without the adverbs beside it: "Noor currently | works at"; a name of nothing else stays."""
    bare = _TRAILING.sub("", _LEADING.sub("", name, count=1) if _LEADING.match(name) else name)
    return bare or name


def _short(name: str) -> bool:
    """After a weak form such as ", the" only a short name is believed to be the target."""
    return name.count(" ") <= 3 and "," not in name


def _asked(question: str) -> tuple[str, Relation, int] | None:
    """Subject, relation and literal length of a question, the wording with the most literal text."""
    patterns = _patterns()
    bare = question.rstrip("?. ")
    small = _lower(bare)
    tokens = _TOKEN.findall(small)[:_MOST_TOKENS]
    best: tuple[str, Relation, int] | None = None
    length = [0]
    for token in tokens:
        length.append(length[-1] + len(token))
    for before, opening in _walk(patterns.question_before, tokens, 0):
        rest = bare[length[opening] :]
        for cut in range(1, len(rest) + 1):
            if cut < len(rest) and rest[cut] not in " ',’":
                continue
            after = small[length[opening] + cut :]
            if after not in patterns.question_after:
                continue
            relation = patterns.questions.get((before, after))
            name = rest[:cut].strip()
            score = len(before) + len(after)
            if relation is not None and _plausible(name) and (best is None or score > best[2]):
                best = (name, relation, score)
    return best


def _answered(text: str) -> _Found | None:
    """ "What is the twin city of Rome? It is Paris": a question and its answer as one statement."""
    at = text.rfind("? ")
    if at <= 0:
        return None
    question, answer = text[: at + 1], text[at + 2 :].strip()
    opening = _ANSWER_OPENING.match(answer)
    target = _without_stop(answer[opening.end() :] if opening else answer)
    asked = _asked(question)
    shape = _QUESTION.match(question) if asked is None else None
    if not target or (asked is None and shape is None):
        return None
    prompt = text[: len(text) - len(text[at + 2 :].lstrip()) + (opening.end() if opening else 0)].rstrip()
    if asked is None:
        assert shape is not None
        noun = " ".join((shape["noun"] or shape["its"]).split())
        named = _relation_named(re.sub(r"^name of the |['’]s name$", "", noun))
        return _Found(shape["subject"] or shape["of"], target, named, noun, prompt, False, 3, question, noun_said=True)
    return _Found(asked[0], target, asked[1], None, prompt, True, 4 * asked[2] + 2, question, noun_said=True)


_QUESTION = re.compile(
    r"(?:[Ww]hat|[Ww]ho|[Ww]here|[Ww]hen|[Ww]hich) (?:is|was|are|were) "
    r"(?:the (?P<noun>[^,?A-Z]{2,50}?) of (?P<subject>[^?]+)|(?P<of>[^?]+?)(?:'s|’s) (?P<its>[^,?A-Z]{2,40}))\?$"
)
_OF = re.compile(r"[Tt]he (?:new )?(?P<noun>[^,?]{2,60}?) of (?P<subject>.+?) (?:is|was|are|were) (?P<target>.+)$")
_POSSESSIVE = re.compile(r"(?P<subject>.{1,200}?)(?:'s|’s) (?P<noun>[^,?]{2,40}?) (?:is|was|are|were) (?P<target>.+)$")
_IS = re.compile(r"(?P<subject>.+?),? (?:is|was|are|were) (?P<target>.+)$")


def _by_shape(text: str) -> _Found | None:
    """A sentence that fits no wording but has a common shape: its parts, without a relation that could supersede."""
    if "? " in text:
        return None
    for shape in (_OF, _POSSESSIVE, _IS):
        match = shape.match(text)
        if match is None:
            continue
        parts = match.groupdict()
        noun = parts.get("noun")
        known = _relation_named(noun) if noun else None
        if noun is not None and known is None and (noun.count(" ") > 3 or noun != noun.lower()):
            continue
        subject, target = _trimmed(parts["subject"]), _trimmed(parts["target"])
        if not _plausible(subject) or not _plausible(target):
            continue
        if noun is None and kinds(target.partition(" ")[0])["predicate"] >= _PREDICATE:  # "Otto was born in a taxi"
            continue
        return _Found(
            subject, target, known, " ".join(noun.split()) if noun else None,
            text[: match.start("target")].rstrip(), known is not None, 1 if noun is None else 3,
            f"What is {_inside(subject)}?" if noun is None else None,
            known is not None and not _PAST.search(text[: match.start("target")]),
        )  # fmt: skip
    return None


def _relation_named(name: str) -> Relation | None:
    """The relation of this name or noun phrase."""
    known = relations()
    key = "_".join(name.casefold().split())
    if key in known:
        return known[key]
    spaced = name.casefold().replace("_", " ").strip()
    return next((r for r in known.values() if spaced in (noun.casefold() for noun in r.nouns)), None)


_ABBREVIATION = re.compile(r"(?:\b\w\.)+\w\.$|\b(?:Jr|Sr|Inc|Ltd|Co|Corp|St|Dr|Mr|Mrs|No|Bros|vs|etc)\.$|\b[A-Z]\.$")


def _without_stop(text: str) -> str:
    """The sentence without its final full stop; the stop of "D.C." belongs to the name."""
    text = text.rstrip()
    if text.endswith("。"):
        return text[:-1].rstrip()
    if text.endswith(".") and not text.endswith("..") and not _ABBREVIATION.search(text[-24:]):
        return text[:-1].rstrip()
    if text.endswith("..") and not text.endswith("..."):
        return text[:-1]
    return text
