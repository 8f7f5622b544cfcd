"""What the planner reads: questions, the name each asks about, and the chain of relations from there to the answer.

This module makes text; `planner.py` beside it makes the model. A chain is written in the order in which it is walked:
"the head of state of the country where X holds citizenship" is (citizenship, head_of_state) from X. Four sources:

- questions of a share of MQuAKE's cases (by a hash of the case, `TRAIN_SHARE`), with other names put in their place,
  always where the name is one that a case kept for evaluation asks about;
- the same, and PokeMQA's rephrased questions, with a noun phrase in the name's place, which makes the chain longer;
- questions composed from the wordings of `relations.json` alone, about made-up names;
- what is not to be planned: ordinary questions, yes/no and reversed ones, statements, small talk, and chains through
  relations that nobody has taught it.
"""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from memedit.relations import Relation, fill, relations
from memedit.training.pocket_text import Names, slot_name
from memedit.training.scope_text import (
    _KINDS_OF,
    _PLACES,
    ScopeWriter,
    Sources,
    _inner,
    _prompts,
    read_sources,
    trains,
)

TRAIN_SHARE, KEPT_SHARE = 0.55, 0.6
"""Cases whose hash lies below the first are trained on, up to the second they set thresholds; the rest are unseen."""
LONGEST_CHAIN = 5

_VAGUE = frozenset(("related", "origin", "plays", "nickname", "price", "height", "age", "phone_number", "email"))
"""Relations that are too loose, or whose wordings are those of everyday questions."""


@dataclass(frozen=True)
class Label:
    """One relation as the planner knows it: `names` are all relations of `relations.json` of the same meaning."""

    name: str
    names: tuple[str, ...]
    wikidata: str | None


@cache
def inventory() -> tuple[Label, ...]:
    """Every relation that the planner can name; those with one Wikidata property are one, named as the first."""
    groups: dict[str, list[Relation]] = defaultdict(list)
    for relation in relations().values():
        if relation.name not in _VAGUE:
            groups[relation.wikidata or relation.name].append(relation)
    return tuple(Label(some[0].name, tuple(r.name for r in some), some[0].wikidata) for some in groups.values())


@cache
def labels() -> Mapping[str, int]:
    """Every relation's name, and every Wikidata property -> its number from 1 on; 0 is the end of a chain."""
    found: dict[str, int] = {}
    for number, label in enumerate(inventory(), 1):
        for name in (*label.names, *([label.wikidata] if label.wikidata else [])):
            found.setdefault(name, number)
    return found


@dataclass(frozen=True)
class Asked:
    """A question as it is learned. `entity` is where its name stands, in characters; () and None: nothing to plan.

    `short`: the chain is one relation or none, nobody knows which.
    """

    text: str
    chain: tuple[int, ...] = ()
    entity: tuple[int, int] | None = None
    short: bool = False


@dataclass(frozen=True)
class Template:
    """A question with {subject} where its name stood, and its chain."""

    wording: str
    chain: tuple[int, ...]
    subject: str


@dataclass(frozen=True)
class PlannerSources:
    """What is read from the data folder."""

    cases: tuple[Template, ...]
    """MQuAKE's training questions."""
    single: tuple[Template, ...]
    """One-hop questions in free wordings."""
    scope: Sources = field(repr=False)
    """For what is not to be planned, and for names."""
    evaluated: frozenset[str] = field(repr=False, default=frozenset())
    """Names that kept cases ask about, as compared."""


def mquake_cases(data: Path) -> list[dict[str, Any]]:
    """The rows of MQuAKE-CF-3k under `data`."""
    return list(json.loads((data / "mquake/cf-3k.json").read_text(encoding="utf-8")))


def part(case_id: object) -> str:
    """ "train", "kept" (for thresholds) or "unseen"."""
    name = f"case {case_id}"
    return "train" if trains(name, TRAIN_SHARE) else "kept" if trains(name, KEPT_SHARE) else "unseen"


def case_templates(row: Mapping[str, Any]) -> list[Template]:
    """The questions of a MQuAKE case; those that name their subject once, as it is written."""
    subject = row["orig"]["triples_labeled"][0][0]
    chain = tuple(labels()[triple[1]] for triple in row["orig"]["new_triples"])
    found = []
    for question in row["questions"]:
        at = question.find(subject)
        if at >= 0:
            found.append(Template(question[:at] + "{subject}" + question[at + len(subject) :], chain, subject))
    return found


def read(data: Path) -> PlannerSources:
    """Read the training files under `data`. Raises OSError where one is missing."""
    rows = mquake_cases(data)
    scope = read_sources(data)
    single = []
    for fact in scope.pokemqa:
        if fact.relation is None or fact.relation not in labels():
            continue
        for question in fact.questions:
            if question.count(fact.subject) == 1:
                wording = question.replace(fact.subject, "{subject}")
                single.append(Template(wording, (labels()[fact.relation],), fact.subject))
    kept = {slot_name(row["orig"]["triples_labeled"][0][0]) for row in rows if part(row["case_id"]) != "train"}
    return PlannerSources(
        cases=tuple(t for row in rows if part(row["case_id"]) == "train" for t in case_templates(row)),
        single=tuple(single),
        scope=scope,
        evaluated=frozenset(kept),
    )


_OPENINGS = ("Can you tell me: ", "I'd like to know, ", "Quick question: ", "Please answer: ", "Hi! ", "Tell me, ")
_ENDINGS = (", please?", " now?", ", do you know?", " these days?")
_FURTHER = (
    "the person who is {}", "the one that is {}", "{}, whoever that is", "whatever is {}",
)  # fmt: skip
_UNTAUGHT = (
    "blood type", "shoe size", "landlord", "lawyer", "next-door neighbour", "favourite teacher", "dentist",
    "zodiac sign", "wedding venue", "first car", "bank", "hair colour", "rival", "grandmother", "cousin",
    "dog's breed", "chess rating", "average temperature", "oldest bridge", "best restaurant", "telephone code",
    "national dish", "national animal", "most famous painting", "biggest competitor", "patron saint", "slogan",
    "mascot", "flag", "tallest building", "longest river", "main export", "number plate", "smallest village",
    "stock price", "net worth", "bodyguard", "tailor", "nearest star", "warranty", "screen size", "sequel",
    "villain", "main ingredient", "inventor's hobby", "salary", "literacy rate", "voting age", "climate",
    "independence day", "understudy", "godfather", "stepson",
)  # fmt: skip
_OTHERWISE = (
    "Which is larger, {a} or {b}?", "Do {a} and {b} have the same {noun}?", "How far is {a} from {b}?",
    "Compare {a} with {b}.", "Why did {a} leave {b}?", "What happened between {a} and {b}?", "Is {a} older than {b}?",
    "How many people in {a} speak the language of {b}?", "What is the difference between {a} and {b}?",
    "When did {a} first meet {b}?", "Explain {a} to a child.", "List the {noun} of {a} and of {b}.",
)  # fmt: skip


@cache
def phrases(name: str) -> tuple[str, ...]:
    """Noun phrases for a relation's target, with {subject}: the scope's, and "the country which {subject} is from"."""
    relation = relations()[name]
    found = list(_inner(name))
    for statement in (*relation.statements, *relation.also):
        named = re.fullmatch(
            r"(?:The name of )?[Tt]he (\w+(?: \w+)?) (which|that) (\{subject\} .*) is \{target\}", statement
        )
        if named is not None:
            found.append(f"the {named[1]} {named[2]} {named[3]}")
            found.append(f"the {named[1]} {named[3]}")
    return tuple(dict.fromkeys(found))


class PlannerWriter:
    """Makes questions from sources with one random source: after `seed` the same text follows."""

    def __init__(self, sources: PlannerSources, seed: int) -> None:
        self.rng = random.Random(seed)
        self.sources = sources
        self.scope = ScopeWriter(sources.scope, seed)
        self.scope.rng = self.rng
        self.names: Names = self.scope.names
        self.names.rng = self.rng
        known = labels()
        self.all = [name for name in sorted(relations()) if name in known]
        numbers = {number for template in sources.cases for number in template.chain}
        self.usual = [name for name in self.all if known[name] in numbers]
        self.by_subject_type: dict[str, list[str]] = defaultdict(list)
        self.by_target_type: dict[str, list[str]] = defaultdict(list)
        for name in self.all:
            self.by_subject_type[relations()[name].subject_type].append(name)
            if phrases(name):
                self.by_target_type[relations()[name].target_type].append(name)
        self.of_number: dict[int, list[str]] = defaultdict(list)
        for name in self.all:
            self.of_number[known[name]].append(name)
        self.heads: dict[int, list[str]] = defaultdict(list)
        for template in (*sources.cases, *sources.single):
            if slot_name(template.subject) not in sources.evaluated:
                self.heads[template.chain[0]].append(template.subject)
        for name, facts in self.scope.by_relation.items():
            if name in known:
                self.heads[known[name]] += [f.subject for f in facts if slot_name(f.subject) not in sources.evaluated]

    def seed(self, seed: int) -> None:
        self.rng.seed(seed)

    # --- pieces

    def name_for(self, number: int) -> str:
        """A name that a relation could be asked of."""
        known = self.heads.get(number)
        if known and self.rng.random() < 0.6:
            return self.rng.choice(known)
        return self.names.of(relations()[self.of_number[number][0]].subject_type)

    def leading_to(self, kind: str) -> str | None:
        """A relation whose target may be of this type."""
        kinds = _KINDS_OF["person"] if kind in _KINDS_OF["person"] else _PLACES if kind in _PLACES else (kind,)
        choices = [name for each in kinds for name in self.by_target_type.get(each, ())]
        usual = [name for name in choices if name in self.usual]
        if usual and self.rng.random() < 0.7:
            return self.rng.choice(usual)
        return self.rng.choice(choices) if choices else None

    def phrase(self, name: str, subject: str) -> str:
        """A noun phrase for a relation's target."""
        forms = phrases(name)
        plain = not re.match(r"the |The ", subject)
        allowed = [form for form in forms if plain or "'s" not in form] or list(forms)
        made = fill(self.rng.choice(allowed), subject)
        return self.rng.choice(_FURTHER).format(made) if self.rng.random() < 0.06 else made

    def around(self, wording: str, chain: tuple[int, ...], longest: int) -> Asked:
        """The wording with a name in it, or with noun phrases around one, so that the chain grows to `longest`."""
        rng = self.rng
        steps: list[str] = []
        while len(chain) + len(steps) < longest:
            first = steps[-1] if steps else rng.choice(self.of_number[chain[0]])
            name = self.leading_to(relations()[first].subject_type)
            if name is None or (labels()[name] == labels()[first] and rng.random() < 0.8):
                break
            steps.append(name)
        chain = (*(labels()[name] for name in reversed(steps)), *chain)
        subject = self.name_for(chain[0])
        return self.written(wording, chain, subject, steps)

    def written(self, wording: str, chain: tuple[int, ...], subject: str, steps: Sequence[str] = ()) -> Asked:
        """The question, roughened. `steps`: relations that stand as phrases, the outermost first."""
        phrase = _MARK
        for name in reversed(steps):
            phrase = self.phrase(name, phrase)
        if not steps and self.rng.random() < 0.05:
            phrase = f'"{_MARK}"'
        text = self.roughened(fill(wording, phrase))
        text = text[:1].upper() + text[1:]
        at = text.find(_MARK)
        if at < 0:  # roughening hit the mark
            text = fill(wording, phrase)
            at = text.find(_MARK)
        text = text.replace(_MARK, subject)
        return Asked(text, chain, (at, at + len(subject)))

    def roughened(self, text: str) -> str:
        rng, draw = self.rng, self.rng.random()
        if draw < 0.06:
            text = text.rstrip("?. ")
        elif draw < 0.11 and text.endswith("?"):
            text = rng.choice(_OPENINGS) + text[:1].lower() + text[1:]
        elif draw < 0.15 and text.endswith("?"):
            text = text.rstrip("?") + rng.choice(_ENDINGS)
        elif draw < 0.18 and self.sources.scope.sentences:
            text = f"{rng.choice(self.sources.scope.sentences)} {text}"
        words = text.split(" ")
        if rng.random() < 0.15 and len(words) > 5:  # a slip of the finger, a word left out
            at = rng.randrange(1, len(words))
            word = words[at]
            if _MARK not in word and word.isalpha():
                if len(word) > 4 and rng.random() < 0.5:
                    cut = rng.randrange(1, len(word) - 2)
                    words[at] = word[:cut] + word[cut + 1] + word[cut] + word[cut + 2 :]
                elif word in ("the", "of", "that", "who", "which", "is", "was", "a", "to", "by", "in"):
                    del words[at]
        return " ".join(words)

    # --- questions

    def case_question(self) -> Asked:
        """A training case's question, mostly about another name."""
        template = self.rng.choice(self.sources.cases)
        subject = template.subject
        if slot_name(subject) in self.sources.evaluated or self.rng.random() < 0.7:
            subject = self.name_for(template.chain[0])
        return self.written(template.wording, template.chain, subject)

    def lengthened(self) -> Asked:
        """A real wording with a noun phrase in the name's place."""
        some = self.sources.single if self.rng.random() < 0.5 and self.sources.single else self.sources.cases
        template = self.rng.choice(some)
        longest = min(LONGEST_CHAIN, len(template.chain) + self.rng.choice((1, 1, 1, 2, 2, 3)))
        return self.around(template.wording, template.chain, longest)

    def composed(self) -> Asked:
        """A question made of the relations' wordings alone."""
        rng = self.rng
        name = rng.choice(self.usual if rng.random() < 0.5 else self.all)
        wordings = relations()[name].questions if rng.random() < 0.75 else ()
        if not wordings:
            wordings = tuple(w.removesuffix("{target}").strip() for w in _prompts(name)) or relations()[name].questions
        wording = rng.choice([w for w in wordings if "{subject}" in w] or relations()[name].questions)
        return self.around(wording, (labels()[name],), rng.choice((1, 2, 2, 2, 3, 3, 4, 5)))

    def single(self) -> Asked:
        """A real one-hop question."""
        template = self.rng.choice(self.sources.single)
        return self.around(template.wording, template.chain, 1)

    def declined(self) -> Asked:
        """What is not to be planned."""
        rng, draw = self.rng, self.rng.random()
        if draw < 0.3:
            return Asked(rng.choice(self.sources.scope.general), short=True)
        if draw < 0.5:
            return Asked(self.untaught())
        if draw < 0.58:
            a, b = self.names.of("person"), self.names.of("place")
            return Asked(rng.choice(_OTHERWISE).format(a=a, b=b, noun=rng.choice(_UNTAUGHT)))
        fact = self.scope.fact()
        if draw < 0.7 and fact.relation in relations():
            return Asked(self.scope.yes_no(fact))
        if draw < 0.78 and fact.relation in relations() and (back := self.scope.backwards(fact)) is not None:
            return Asked(back)
        if draw < 0.82:
            return Asked(fact.statement)
        if draw < 0.92 and fact.questions:  # CounterFact's prompts, some behind an unrelated sentence
            return Asked(rng.choice(fact.questions), short=True)
        return Asked(self.scope.off_topic(fact), short=True)

    def untaught(self) -> str:
        """A chain with a relation in it that is none of the inventory's."""
        rng = self.rng
        noun = rng.choice(_UNTAUGHT)
        subject = self.names.of(rng.choice(("person", "company", "place", "work")))
        draw = rng.random()
        if draw < 0.45:  # the last one
            made = self.phrase(rng.choice([n for n in self.usual if phrases(n)]), subject)
            return f"{rng.choice(('What is', 'Who is', 'Tell me', 'Can you name'))} the {noun} of {made}?"
        if draw < 0.85:  # one on the way
            name = rng.choice(self.all)
            of = f"the {noun} of {subject}" if rng.random() < 0.7 else f"{subject}'s {noun}"
            return fill(rng.choice(relations()[name].questions), of)
        return f"What is the {noun} of the {rng.choice(_UNTAUGHT)} of {subject}?"

    def questions(self, number: int) -> list[Asked]:
        """A batch of the usual mixture."""
        makers = (self.case_question, self.lengthened, self.composed, self.single, self.declined)
        return [maker() for maker in self.rng.choices(makers, (0.4, 0.17, 0.2, 0.04, 0.19), k=number)]


_MARK = "\x00"
