"""What the scope classifier reads: edits, questions that fall under them, and questions that nearly do.

This module makes text; `scope.py` beside it makes the models. A `Case` is an edit as a memory keeps it (its keys are
those that `EditMemory` writes) with questions it answers and questions it does not. Cases come in clusters (the same
relation of subjects with like names, other relations of the same subject), so that a batch holds the hardest negatives.

Four sources without a subject that an evaluation file asks about: CounterFact's training file with its rephrased
prompts and neighbours; facts of T-REx in the wordings of ParaRel and of `relations.json`; the part of PokeMQA's
generated questions that a hash of the subject gives to training; and made-up names in every relation of
`relations.json`. A fifth, in `scope_asked.py`, is the share of the other datasets' subjects that a hash gives to
training. Questions that need an edit on the way are composed from two wordings, or are those of that share and of half
of MQuAKE's cases (by a hash of the case).
"""

from __future__ import annotations

import functools
import hashlib
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from memedit import parsing
from memedit.bench._records import says
from memedit.memory import _keys as memory_keys
from memedit.parsing import parse, parse_question
from memedit.relations import Relation, fill, relations
from memedit.training.pocket_text import (
    Names,
    _close,
    _evaluation_subjects,
    _words,
    _zsre_relation,
    ask,
    cut,
    slot_name,
    stopped,
    unrelated_sentences,
)
from memedit.training.scope_asked import AskedFact, declared, frame
from memedit.training.scope_asked import read as read_asked

QueryKind = Literal["paraphrase", "statement", "yes_no", "alias", "reversed"]
NegativeKind = Literal[
    "neighbour", "same_subject", "other_subject", "like_name", "multi_hop", "restated", "elsewhere", "general"
]


@dataclass(frozen=True)
class Fact:
    """One fact and how its source asks about it; `negatives` are questions of its source that it does not answer."""

    subject: str
    relation: str | None
    target: str
    statement: str
    questions: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    own: tuple[tuple[QueryKind, tuple[str, ...]], ...] = ()
    """Questions of its source that are of another kind than `questions`."""
    same_subject: tuple[str, ...] = ()
    """Questions of its source about other relations of the subject."""
    several: tuple[str, ...] = ()
    """Questions of its source that need this fact on the way."""
    asks: str | None = None
    """The question that is kept beside the statement, where its source says it."""
    kind: str = ""
    """What the subject is: person, place, thing, or unknown."""


@dataclass(frozen=True)
class Case:
    """An edit as it is kept, a question it answers, and questions that it does not answer."""

    fact: Fact
    keys: tuple[str, ...]
    """The statement first, then what a memory adds: question form, reversed forms, both under an alias."""
    queries: tuple[tuple[QueryKind, str], ...]
    negatives: tuple[tuple[NegativeKind, str], ...] = ()

    @property
    def text(self) -> str:
        """What the verifier reads of it."""
        return "".join([self.fact.statement, *(f" | also: {alias}" for alias in self.fact.aliases[:5])])

    def answers(self, other: Case, kind: QueryKind) -> bool | None:
        """Whether this edit also answers a query of that kind of another case; None: nobody can say."""
        if self is other:
            return True
        mine, its = self.fact, other.fact
        same_subject = normalise(mine.subject) == normalise(its.subject)
        if kind == "reversed":
            same = normalise(mine.target) == normalise(its.target)
            return None if same and _akin(mine.relation, its.relation) else False
        if not same_subject:
            return (
                None if normalise(mine.subject) in normalise(its.subject) and mine.relation == its.relation else False
            )
        return None if _akin(mine.relation, its.relation) else False


@functools.lru_cache(maxsize=100_000)
def normalise(name: str) -> str:
    """As the parser compares names; remembered, since every pair of a batch asks."""
    return parsing.normalise(name)


def _akin(one: str | None, other: str | None) -> bool:
    return one is None or other is None or one == other or _close(one, other)


# ------------------------------------------------------------------------------------------------------------ sources


@dataclass(frozen=True)
class Sources:
    """Everything that cases are made of."""

    counterfact: tuple[Fact, ...]
    trex: tuple[Fact, ...]
    pokemqa: tuple[Fact, ...]
    patterns: dict[str, tuple[str, ...]]
    """ParaRel's wordings per relation, with {subject} and {target}, the target last."""
    sentences: tuple[str, ...]
    """Unrelated sentences."""
    general: tuple[str, ...]
    """Ordinary questions."""
    multi_hop: tuple[str, ...]
    """Questions of MQuAKE's half for training, or of the other."""
    asked: tuple[Fact, ...] = ()
    """Facts of the share of other datasets, with their own questions of all kinds."""
    names: tuple[str, ...] = field(repr=False, default=())


def _lines(path: Path) -> Iterator[Any]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            yield json.loads(line)


def trains(name: str, share: float) -> bool:
    """Whether what is named so is given to training: by a hash, stable, so that a fixed share stays unseen."""
    return int(hashlib.sha256(f"scope|{name}".encode()).hexdigest()[:8], 16) < share * 0x1_0000_0000


def pokemqa_trains(subject: str) -> bool:
    """Whether PokeMQA's questions about a subject may be given to training or calibration."""
    return trains(slot_name(subject), 0.7)


def mquake_trains(data: Path, *, held_out: bool = False) -> list[str]:
    """The multi-hop questions of those of MQuAKE's cases that are given to training; `held_out`: of the others."""
    return [
        question
        for case in json.loads((data / "mquake/cf-3k.json").read_text(encoding="utf-8"))
        if trains(f"case {case['case_id']}", 0.5) is not held_out
        for question in case["questions"]
    ]


def read_sources(data: Path, *, held_out: bool = False) -> Sources:
    """Read the training files under `data`: nine tenths by subject, or the tenth `held_out` for calibration.

    Raises OSError where a file is missing.
    """
    evaluated = _evaluation_subjects(data)

    def unseen(subject: str) -> bool:
        name = slot_name(subject)
        return name not in evaluated and trains(f"subject {name}", 0.9) is not held_out

    counterfact = []
    for row in json.loads((data / "counterfact/train.json").read_text(encoding="utf-8")):
        if not unseen(row["subject"]):
            continue
        statement = f"{row['prompt']} {row['target_new']}"
        found = parse(statement, subject=row["subject"], target=row["target_new"])
        questions = (row["prompt"], row["rephrase_prompt"])
        negative = row["locality_prompt"]
        counterfact.append(
            Fact(row["subject"], found.relation, row["target_new"], statement, questions, (negative,))
        )  # fmt: skip
    by_wikidata: dict[str, str] = {}
    for relation in relations().values():
        if relation.wikidata:
            by_wikidata.setdefault(relation.wikidata, relation.name)
    trex, patterns = [], {}
    rng = random.Random(1)
    for path in sorted((data / "pararel/trex_lms_vocab").glob("P*.jsonl")):
        name = by_wikidata.get(path.stem)
        if name is None:
            continue
        rows = [row for row in _lines(path) if unseen(row["sub_label"])]
        for row in rng.sample(rows, k=min(300, len(rows))):
            trex.append(Fact(row["sub_label"], name, row["obj_label"], ""))
        pattern_file = data / f"pararel/pattern_data/graphs_json/{path.stem}.jsonl"
        if pattern_file.is_file():
            written = [_pararel(row["pattern"]) for row in _lines(pattern_file)]
            patterns[name] = tuple(dict.fromkeys(p for p in written if p is not None))
    pokemqa = [
        fact
        for row in json.loads((data / "pokemqa/edit-questions.json").read_text(encoding="utf-8"))
        if (fact := _pokemqa(row)) is not None and pokemqa_trains(fact.subject) and unseen(fact.subject)
    ]
    general = []
    for line in (data / "questions/simplequestions_wikidata_train.txt").read_text(encoding="utf-8").splitlines():
        question = line.split("\t")[-1].strip()
        if trains(f"question {question}", 0.9) is not held_out:
            general.append(question)
    multi_hop = mquake_trains(data, held_out=held_out)
    never = {slot_name(row["subject"]) for row in json.loads((data / "counterfact/edit.json").read_text("utf-8"))}
    asked = [_asked(one) for one in read_asked(data, held_out=held_out, never=never)]
    everything = [*counterfact, *trex, *pokemqa, *asked]
    return Sources(
        counterfact=tuple(counterfact),
        trex=tuple(trex),
        pokemqa=tuple(pokemqa),
        patterns=patterns,
        sentences=tuple(unrelated_sentences(data)),
        general=tuple(dict.fromkeys(general)),
        multi_hop=tuple(dict.fromkeys(multi_hop)),
        asked=tuple(asked),
        names=tuple(name for fact in everything for name in (fact.subject, fact.target)),
    )


def _pararel(pattern: str) -> str | None:
    text = pattern.replace("[X]", "{subject}").replace("[Y]", "{target}").strip().removesuffix(".").strip()
    return text if text.count("{subject}") == 1 and text.endswith("{target}") else None


def _asked(one: AskedFact) -> Fact:
    edit, asked = one.record.edit, one.record.asked
    found = parse(edit.statement, subject=edit.subject, target=edit.target, prompt=edit.prompt)
    kinds: tuple[tuple[QueryKind, tuple[str, ...]], ...] = (
        ("yes_no", (*asked.get("yes", ()), *asked.get("no", ()))),
        ("alias", asked.get("alias", ())),
        ("reversed", asked.get("reversed", ())),
    )
    return Fact(
        one.record.subject,
        found.relation,
        edit.target or "",
        edit.statement,
        questions=(*asked.get("paraphrase", ()), *asked["prompt"]),
        own=tuple((kind, texts) for kind, texts in kinds if texts),
        same_subject=one.same_subject,
        several=one.several,
        asks=edit.question,
        kind=one.kind,
    )


def _pokemqa(row: dict[str, Any]) -> Fact | None:
    """A record whose edit can be taken apart; of its questions those that name the subject and ask nothing else."""
    found = parse(row["edit"])
    if found.subject is None or found.target is None or found.relation is None:
        return None
    subject = found.subject.casefold()
    kept = []
    for question in dict.fromkeys(row["questions"]):
        asked = parse_question(question)
        if subject not in question.casefold() or found.target.casefold() in question.casefold():
            continue
        if asked is not None and not _akin(asked[1], found.relation):
            continue
        kept.append(question)
    return Fact(found.subject, found.relation, found.target, row["edit"], tuple(kept)) if kept else None


# ------------------------------------------------------------------------------------------------------------ wordings


@functools.cache
def _said(name: str) -> tuple[str, ...]:
    relation = relations()[name]
    return tuple(dict.fromkeys([*relation.statements, *relation.also]))


@functools.cache
def _prompts(name: str) -> tuple[str, ...]:
    return tuple(wording for wording in _said(name) if wording.endswith("{target}"))


@functools.cache
def _inner(name: str) -> tuple[str, ...]:
    """Noun phrases for a relation's target, with {subject}: "the capital of {subject}", "the city that … is in"."""
    relation = relations()[name]
    phrases = [
        form.replace("NOUN", noun) for noun in relation.nouns for form in ("the NOUN of {subject}", "{subject}'s NOUN")
    ]
    for question in relation.questions:
        found = re.fullmatch(r"(?:Which|What) (\w+) (is|was|were|did|does) \{subject\} ?(.*)\?", question)
        if found is not None and found[2] in ("is", "was", "were"):
            phrases.append(f"the {found[1]} that {{subject}} {found[2]} {found[3]}".rstrip())
            phrases.append(f"the {found[1]} {{subject}} {found[2]} {found[3]}".rstrip())
        found = re.fullmatch(r"Who (\w+) \{subject\}\?", question)
        if found is not None and found[1] not in ("is", "was"):
            phrases.append(f"the person who {found[1]} {{subject}}")
    for statement in relation.statements:
        found = re.fullmatch(
            r"\{subject\} ((?:is|was|lives|works|plays|comes|came|died|speaks|writes)\b.*) in \{target\}", statement
        )
        if found is not None:
            phrases.append(f"the {relation.target_type} where {{subject}} {found[1]}")
            phrases.append(f"the {relation.target_type} in which {{subject}} {found[1]}")
    for statement in relation.statements:
        found = re.fullmatch(r"\{subject\} (was|is) (\w+ed|written|made|founded) by \{target\}", statement)
        if found is not None:
            phrases.append(f"the {relation.target_type} that {found[2]} {{subject}}")
            phrases.append(f"the {relation.target_type} who {found[2]} {{subject}}")
    return tuple(dict.fromkeys(phrases))


# Which relations a target of each type can be the subject of.
_PLACES = ("city", "place", "country", "continent")
_KINDS_OF = {"person": ("person", "artist", "musician", "player", "member", "character"), "city": _PLACES}


_SMALL_TALK = (
    "Hi there!", "How are you today?", "Thanks, that helps a lot.", "What can you do?", "Good morning", "Who are you?",
    "Tell me a joke.", "What's the weather like?", "I am bored, what should I do?", "ok", "Please go on.", "Why?",
    "Could you say that again in simpler words?", "What do you think about that?", "Do you like music?", "Good night!",
)  # fmt: skip
_CODE = (
    "def {name}(items): return sorted(items)[:{count}]", "SELECT * FROM {name} WHERE id = {count};",
    "How do I reverse a list called {name} in Python?", "Why does {name}[{count}] raise an IndexError?",
    "git push origin {name}", "Write a regular expression that matches {count} digits.",
    "for (int i = 0; i < {count}; i++) {{ {name}(i); }}", "What does the {name} command do in Linux?",
)  # fmt: skip
_REQUESTS = (
    "Write a poem about {subject}.", "Write a short story with {subject} in it.", "Translate to French: {statement}",
    "Summarise what people think of {subject}.", "Draw me a picture of {subject}.", "How do you spell {subject}?",
    "Is {subject} a nice name?", "Make a list of ten words that rhyme with {subject}.", "Fix the grammar: {statement}",
    "What rhymes with {subject}?", "Describe {subject} in one paragraph.", "How many letters are in {subject}?",
)  # fmt: skip


class ScopeWriter:
    """Makes cases from sources with one random source: the same seed gives the same text."""

    def __init__(self, sources: Sources, seed: int) -> None:
        self.rng = random.Random(seed)
        self.sources = sources
        self.names = Names(self.rng, sources.names)
        self.relation_names = sorted(relations())
        self.by_subject_type: dict[str, list[str]] = defaultdict(list)
        for relation in relations().values():
            self.by_subject_type[relation.subject_type].append(relation.name)
        self.by_relation: dict[str, list[Fact]] = defaultdict(list)
        self.by_word: dict[str, list[str]] = defaultdict(list)
        for fact in (*sources.counterfact, *sources.trex, *sources.pokemqa):
            if fact.relation is not None and fact.relation in relations():
                self.by_relation[fact.relation].append(fact)
            for word in set(fact.subject.split()):
                self.by_word[word].append(fact.subject)
        self.frames: dict[str, list[str]] = defaultdict(list)
        for fact in sources.asked:
            for text in (*fact.questions, *fact.same_subject):
                if (made := frame(text, fact.subject)) is not None:
                    self.frames[fact.kind].append(made)
        self.several = [text for fact in sources.asked for text in fact.several]
        self.asked_targets = sorted({fact.target for fact in sources.asked})
        self.targets = {name: sorted({f.target for f in facts}) for name, facts in self.by_relation.items()}

    def seed(self, seed: int) -> None:
        """Begin again: from here on the text is that of this seed."""
        self.rng.seed(seed)

    # --- facts

    def fact(self) -> Fact:
        """A fact of any source, with a target that is not its true one where it is memorised somewhere."""
        draw = self.rng.random()
        if draw < 0.38 and self.sources.asked:
            return self.restated(self.rng.choice(self.sources.asked))
        if draw < 0.66 and self.sources.counterfact:
            return self.rng.choice(self.sources.counterfact)
        if draw < 0.74 and self.sources.pokemqa:
            return self.rng.choice(self.sources.pokemqa)
        if draw < 0.83 and self.sources.trex:
            old = self.rng.choice(self.sources.trex)
            assert old.relation is not None
            return self.stated(old.subject, old.relation, self.target(old.relation))
        return self.made_up()

    def restated(self, fact: Fact) -> Fact:
        """The fact of another dataset, now and then as a person would state it, or under an invented name."""
        rng = self.rng
        if rng.random() < 0.4 and (said := declared(fact.asks or "", fact.subject, fact.target)) is not None:
            fact = replace(fact, statement=said, asks=fact.asks if rng.random() < 0.7 else None)
        if rng.random() < 0.25:
            fact = self.of_another(fact) or fact
        return fact

    def of_another(self, fact: Fact, subject: str | None = None) -> Fact | None:
        """The same said and asked of another subject, with another target; None where its words do not allow that."""
        if subject is None:
            subject = self.other_subject(fact) if self.rng.random() < 0.5 else self.names.of(fact.kind or "thing")
        if subject is None or frame(fact.statement, fact.subject) is None:
            return None
        target = self.rng.choice(self.asked_targets)
        if says(subject, fact.target) or says(fact.subject, fact.target) or not says(fact.statement, fact.target):
            return None

        def moved(texts: Iterable[str]) -> tuple[str, ...]:
            framed = (frame(text, fact.subject) for text in texts)
            return tuple(
                text.replace("{subject}", subject).replace(fact.target, target) for text in framed if text is not None
            )

        own: list[tuple[QueryKind, tuple[str, ...]]] = []
        for kind, texts in fact.own:
            if kind == "reversed":
                own.append((kind, tuple(text.replace(fact.target, target) for text in texts)))
            elif kind == "yes_no":
                own.append((kind, moved(texts)))
        return replace(
            fact,
            subject=subject,
            target=target,
            statement=moved([fact.statement])[0],
            questions=moved(fact.questions),
            own=tuple((kind, texts) for kind, texts in own if texts),
            same_subject=moved(fact.same_subject),
            several=moved(fact.several),
            asks=next(iter(moved([fact.asks])), None) if fact.asks else None,
        )

    def target(self, name: str) -> str:
        known = self.targets.get(name)
        if known and self.rng.random() < 0.6:
            return self.rng.choice(known)
        return self.names.of(relations()[name].target_type)

    def stated(self, subject: str, name: str, target: str) -> Fact:
        """A fact in a wording of its relation; now and then with aliases."""
        rng = self.rng
        patterns = self.sources.patterns.get(name, ())
        wordings = patterns if patterns and rng.random() < 0.3 else relations()[name].statements
        statement = fill(rng.choice(wordings), subject, target)
        aliases = tuple({self.alias(subject, name), self.names.of(relations()[name].subject_type)} - {subject})
        return Fact(
            subject, name, target, statement, aliases=aliases[: rng.randint(1, 2)] if rng.random() < 0.12 else ()
        )

    def made_up(self, name: str | None = None, subject: str | None = None) -> Fact:
        name = name or self.rng.choice(self.relation_names)
        relation = relations()[name]
        if subject is None:
            known = self.by_relation.get(name)
            if known and self.rng.random() < 0.3:
                subject = self.rng.choice(known).subject
            else:
                subject = self.names.of(relation.subject_type)
        return self.stated(subject, name, self.target(name))

    def alias(self, subject: str, name: str | None) -> str:
        """Another way to write this very name: shorter, longer, or its initials."""
        rng, words = self.rng, subject.split()
        person = name is not None and relations()[name].subject_type in _KINDS_OF["person"]
        if len(words) > 1:
            options = [" ".join(words[1:]), words[-1], f"the {subject}", subject.lower()]
            if len(words) > 2:
                options += [
                    " ".join(words[:-1]),
                    "".join(w[0] for w in words if w[0].isupper()) or subject,
                    f"{words[0]} {words[-1]}",
                ]
            if person:
                options = [
                    words[-1],
                    f"{words[0][0]}. {' '.join(words[1:])}",
                    f"{words[0]} {self.names.any_word()} {' '.join(words[1:])}",
                    f"{subject} {self.names.any_word()}",
                    f"{words[0][0]}. {words[-1]}",
                ]
            return rng.choice(options)
        return rng.choice((f"the {subject}", subject.lower(), subject.upper(), f"{subject} {self.names.any_word()}"))

    def like_name(self, subject: str, name: str | None) -> str:
        """Another subject whose name is nearly the same."""
        rng, words = self.rng, subject.split()
        sharing = self.by_word.get(rng.choice(words), [])
        if sharing and rng.random() < 0.5:
            other = rng.choice(sharing)
            if normalise(other) != normalise(subject):
                return other
        if len(words) > 1:
            place = rng.randrange(len(words))
            words[place] = (
                self.names.any_word() if rng.random() < 0.6 else words[place] + rng.choice((" II", " 2", " Jr."))
            )
            return " ".join(words)
        if any(letter.isdigit() for letter in subject):
            return re.sub(r"\d", lambda digit: str((int(digit[0]) + rng.randint(1, 8)) % 10), subject, count=1)
        return self.names.of(relations()[name].subject_type if name is not None else "place")

    # --- queries

    def asked_as(self, subject: str, name: str) -> str:
        """A question or a sentence to complete, in any wording of the relation."""
        rng = self.rng
        draw = rng.random()
        if draw < 0.6:
            return fill(rng.choice(relations()[name].questions), subject)
        patterns = [p for p in self.sources.patterns.get(name, ()) if p.endswith("{target}")]
        if patterns and draw < 0.75:
            return fill(cut(rng.choice(patterns)), subject)
        return fill(cut(rng.choice(_prompts(name) or _said(name))), subject).replace("{target}", "").strip()

    def roughened(self, text: str) -> str:
        """As people type: small letters, no mark, a polite opening, an unrelated sentence in front."""
        rng = self.rng
        draw = rng.random()
        if draw < 0.1:
            return text.lower().rstrip("?. ")
        if draw < 0.16 and text.endswith("?"):
            opening = rng.choice(
                ("Can you tell me: ", "I'd like to know, ", "Quick question: ", "Please answer: ", "Hi! ")
            )
            return opening + text
        if draw < 0.2 and text.endswith("?"):
            return text.rstrip("?") + rng.choice((", please?", " these days?", " now?", ", do you know?"))
        if draw < 0.22 and self.sources.sentences:
            return f"{rng.choice(self.sources.sentences)} {text}"
        return text

    def yes_no(self, fact: Fact) -> str:
        rng = self.rng
        assert fact.relation is not None
        relation: Relation = relations()[fact.relation]
        target = fact.target if rng.random() < 0.5 else self.target(relation.name)
        if relation.nouns and rng.random() < 0.6:
            noun = rng.choice(relation.nouns)
            wording = rng.choice(
                (
                    "Is {target} the NOUN of {subject}?",
                    "Is the NOUN of {subject} {target}?",
                    "Is {subject}'s NOUN {target}?",
                )
            )
            return fill(wording.replace("NOUN", noun), fact.subject, target)
        said = fill(rng.choice(relation.statements), fact.subject, target)
        found = re.fullmatch(rf"({re.escape(fact.subject)}) (is|was|are|were) (.*)", said)
        if found is not None and rng.random() < 0.6:
            return f"{found[2].capitalize()} {found[1]} {found[3]}?"
        opening = rng.choice(("Is it true that ", "Is it the case that ", "Is it right that ", "True or false: "))
        return f"{opening}{said}?"

    def backwards(self, fact: Fact) -> str | None:
        assert fact.relation is not None
        choices = relations()[fact.relation].reversed_questions
        return fill(self.rng.choice(choices), "", fact.target) if choices else None

    def query(self, fact: Fact) -> tuple[QueryKind, str]:
        """One question that the fact answers."""
        rng = self.rng
        name = fact.relation if fact.relation in relations() else None
        own = [q for q in fact.questions if q]
        if fact.own and rng.random() < 0.55:
            kind, texts = rng.choice(fact.own)
            text = rng.choice(texts)
            return kind, self.roughened(text) if rng.random() < 0.3 else text
        draw = rng.random()
        if own and (name is None or draw < 0.55):
            text = rng.choice(own)
            return ("paraphrase", self.roughened(text) if rng.random() < 0.5 else text)
        if name is None:
            return ("statement", fact.statement)
        if draw < 0.8:
            return ("paraphrase", self.roughened(self.asked_as(fact.subject, name)))
        if draw < 0.9:
            return ("yes_no", self.roughened(self.yes_no(fact)))
        if draw < 0.93:
            return (
                "alias",
                self.asked_as(rng.choice(fact.aliases) if fact.aliases else self.alias(fact.subject, name), name),
            )
        if draw < 0.98 and (text := self.backwards(fact)) is not None:  # type: ignore[assignment]
            return ("reversed", self.roughened(text))
        return ("statement", fill(rng.choice(_said(name)), fact.subject, fact.target))

    def other_relation(self, fact: Fact) -> str | None:
        """A relation that the same subject could have, and that is not nearly the fact's own."""
        rng, known = self.rng, relations().get(fact.relation or "")
        choices = self.by_subject_type[known.subject_type] if known is not None else self.relation_names
        if len(choices) < 4 or rng.random() < 0.3:
            choices = self.relation_names
        for _ in range(8):
            name = rng.choice(choices)
            if known is None or not (name == known.name or _close(name, known.name)):
                return name
        return None

    def framed_other(self, fact: Fact) -> str | None:
        """Another relation of the subject, in the words of other facts' questions; None where none is surely another.

        Sure is what some rule knows as a relation that is not close to the fact's own, and shares no word with it.
        """
        frames = self.frames.get(fact.kind) or self.frames.get("")
        if not frames:
            return None
        mine = {_guess(text, fact.subject) for text in (fact.statement, *fact.questions)} | {fact.relation}
        taken = set().union(*(_stems(text.replace(fact.subject, " ")) for text in (fact.statement, *fact.questions)))
        for _ in range(6):
            text = self.rng.choice(frames)
            its = _guess(text, "{subject}")
            if its is None or _stems(text.replace("{subject}", " ")) & taken:
                continue
            if any(one is not None and (one == its or _close(one, its)) for one in mine):
                continue
            if mine == {None} and self.rng.random() < 0.5:
                continue
            return text.replace("{subject}", fact.subject)
        return None

    def two_hops(self, fact: Fact) -> str | None:
        """A question that needs this fact on the way."""
        rng = self.rng
        relation = relations().get(fact.relation or "")
        inner = _inner(relation.name) if relation is not None else ()
        if relation is None or not inner:
            return None
        kind = relation.target_type
        kinds = _KINDS_OF["person"] if kind in _KINDS_OF["person"] else _PLACES if kind in _PLACES else (kind,)
        outer = [name for kind in kinds for name in self.by_subject_type.get(kind, ())] or self.relation_names
        phrase = fill(rng.choice(inner), fact.subject)
        name = rng.choice(outer)
        if rng.random() < 0.25 and (further := _inner(name)):
            phrase = fill(rng.choice(further), phrase)
            target_type = relations()[name].target_type
            name = rng.choice(self.by_subject_type.get(target_type) or self.relation_names)
        text = fill(rng.choice(relations()[name].questions), phrase)
        return text[:1].upper() + text[1:]

    def negative(self, fact: Fact) -> tuple[NegativeKind, str]:
        """One question that the fact does not answer, though it looks as if."""
        rng = self.rng
        name = fact.relation if fact.relation in relations() else None
        if fact.target and rng.random() < 0.14:
            return "elsewhere", self.about_the_target(fact)
        other, draw = self.other_relation(fact), rng.random()
        if fact.negatives and draw < 0.4:
            return "neighbour", rng.choice(fact.negatives)
        if fact.asks or fact.same_subject or fact.kind:
            if fact.same_subject and draw < 0.4:
                return "same_subject", self.roughened(rng.choice(fact.same_subject))
            if draw < 0.6 and (text := self.framed_other(fact)) is not None:
                return "same_subject", self.roughened(text)
            if fact.several and draw < 0.7:
                return "multi_hop", rng.choice(fact.several)
            if draw < 0.78 and (text := self.framed_other(fact)) is not None:
                return "restated", f"{stopped(fact.statement)} {text}"
        if draw < 0.6 and other is not None:
            return "same_subject", self.roughened(self.asked_as(fact.subject, other))
        if name is not None and draw < 0.77:
            return "like_name", self.roughened(self.asked_as(self.like_name(fact.subject, name), name))
        if draw < 0.83 and (text := self.two_hops(fact)) is not None:
            return "multi_hop", text
        if draw < 0.89 and other is not None:
            return "restated", f"{stopped(fact.statement)} {self.asked_as(self.like_name(fact.subject, name), other)}"
        return self.as_negative(fact, self.off_topic(fact))

    def as_negative(self, fact: Fact, text: str) -> tuple[NegativeKind, str]:
        """An ordinary text, by its kind: one that holds the statement whole restates it."""
        return ("restated" if fact.statement in text else "general"), text

    def about_the_target(self, fact: Fact) -> str:
        """A question about what the edit says, not about whom: few edits answer what is asked about a country."""
        rng, mine = self.rng, fact.relation or ""
        names = [name for name in self.relation_names if not {name, mine} <= _BOTH_WAYS and name != mine]
        backwards = [name for name in names if relations()[name].reversed_questions and not _akin(name, fact.relation)]
        if mine in relations() and rng.random() < 0.6:  # what is asked of such a thing
            kind = relations()[mine].target_type
            names = [name for name in names if relations()[name].subject_type == kind] or names
            backwards = [name for name in backwards if relations()[name].target_type == kind] or backwards
        draw = rng.random()
        if draw < 0.3 and backwards:  # another relation backwards: "Where do people speak Welsh?" of a mother tongue
            text = fill(rng.choice(relations()[rng.choice(backwards)].reversed_questions), "", fact.target)
        elif draw < 0.5 and (frames := self.frames[rng.choice(sorted(self.frames))] if self.frames else []):
            text = rng.choice(frames).replace("{subject}", fact.target)
        elif draw < 0.65 and mine in relations() and mine not in _BOTH_WAYS:  # its own words, the other way round
            text = self.asked_as(fact.target, mine)
        elif draw < 0.75 and mine in relations():
            backward = relations()[mine].reversed_questions
            other = self.target(mine)
            text = fill(rng.choice(backward), "", other) if backward and other != fact.target else ""
        else:
            text = self.asked_as(fact.target, rng.choice(names))
        text = text or self.asked_as(fact.target, rng.choice(names))
        return text.lower().rstrip("?. ") if rng.random() < 0.3 else self.roughened(text)

    def off_topic(self, fact: Fact) -> str:
        """An ordinary question, small talk, code, or a request that merely mentions the subject."""
        rng, draw = self.rng, self.rng.random()
        if draw < 0.7 and self.sources.general:
            return rng.choice(self.sources.general)
        if draw < 0.8:
            return rng.choice(_SMALL_TALK)
        if draw < 0.87:
            return rng.choice(_CODE).format(name=self.names.word().lower(), count=rng.randint(2, 99))
        if draw < 0.95 or not self.sources.sentences:
            return rng.choice(_REQUESTS).format(subject=fact.subject, statement=fact.statement)
        return rng.choice(self.sources.sentences)

    # --- cases

    def case(self, fact: Fact, queries: int = 1, negatives: int = 1, renamed: float = 0.5) -> Case:
        """renamed: share of the negatives that are a query's very words about somebody else."""
        asked = tuple(self.query(fact) for _ in range(queries))
        against: list[tuple[NegativeKind, str]] = []
        for _ in range(negatives):
            other = self.other_subject(fact)
            if self.rng.random() < renamed and other is not None and fact.subject in asked[0][1]:
                against.append(("other_subject", asked[0][1].replace(fact.subject, other)))
            else:
                against.append(self.negative(fact))
        return Case(fact, _keys(fact), asked, tuple(against))

    def other_subject(self, fact: Fact) -> str | None:
        """A name that the same could be asked of."""
        known = self.by_relation.get(fact.relation or "")
        if not known or self.rng.random() < 0.3:
            other = self.like_name(fact.subject, fact.relation if fact.relation in relations() else None)
        else:
            other = self.rng.choice(known).subject
        return (
            None
            if normalise(other) in normalise(fact.subject) or normalise(fact.subject) in normalise(other)
            else other
        )

    def cluster(self) -> list[Fact]:
        """One fact alone, or with others that are easily taken for it."""
        rng = self.rng
        fact = self.fact()
        facts = [fact]
        if fact.kind and rng.random() < 0.5 and (like := self.of_another(fact)) is not None:
            facts.append(like)
        if fact.relation not in relations():
            return facts
        assert fact.relation is not None
        if rng.random() < 0.6 and (subject := self.other_subject(fact)) is not None:
            like = self.made_up(fact.relation, subject)
            if rng.random() < 0.6 and fact.subject in fact.statement and fact.statement.endswith(fact.target):
                stem = fact.statement.removesuffix(fact.target).replace(fact.subject, subject)
                like = replace(like, statement=stem + like.target)
            facts.append(like)
        if rng.random() < 0.5 and (other := self.other_relation(fact)) is not None:
            facts.append(self.made_up(other, fact.subject))
        return facts

    def cases(self, edits: int, queries: int = 1, negatives: int = 1, renamed: float = 0.5) -> list[Case]:
        """About so many cases, cluster by cluster; no two of the same subject and relation."""
        made: list[Case] = []
        seen: set[tuple[str, str | None]] = set()
        while len(made) < edits:
            for fact in self.cluster():
                slot = (normalise(fact.subject), fact.relation)
                if slot not in seen:
                    seen.add(slot)
                    made.append(self.case(fact, queries, negatives, renamed))
        return made

    def single_hop(self) -> str:
        """A question that needs no edit on the way."""
        rng = self.rng
        if rng.random() < 0.35:
            return rng.choice(self.sources.general)
        return self.query(self.fact())[1]

    def multi_hop(self) -> str:
        """A question that does."""
        draw = self.rng.random()
        if self.sources.multi_hop and draw < 0.35:
            return self.rng.choice(self.sources.multi_hop)
        if self.several and draw < 0.75:
            return self.rng.choice(self.several)
        while True:
            text = self.two_hops(self.made_up())
            if text is not None:
                return text


_BOTH_WAYS = frozenset(
    _words("spouse sibling twin_city border child mother father successor predecessor influenced_by part_of series")
)
"""Relations of which one, asked about the target, may be answered by an edit of another."""

_STOP = frozenset(
    _words(
        "a an the of in on at to by for from with and or is was are were be been do does did has have had what which "
        "who whom when where how that this it its name called known"
    )
)


@functools.lru_cache(maxsize=200_000)
def _stems(text: str) -> frozenset[str]:
    return frozenset(word[:5] for word in re.findall(r"\w+", text.casefold()) if word not in _STOP)


@functools.lru_cache(maxsize=200_000)
def _guess(text: str, subject: str) -> str | None:
    """A relation that a text seems to ask for, by its words."""
    return _zsre_relation(text.replace(subject, " "))


@functools.lru_cache(maxsize=100_000)
def _keys(fact: Fact) -> tuple[str, ...]:
    found = parse(fact.statement, subject=fact.subject, relation=fact.relation, target=fact.target)
    more = memory_keys(
        found.statement,
        fact.asks or found.question,
        (found.reversed_question, found.reversed_statement),
        fact.subject,
        fact.aliases,
    )
    return (found.statement, *more)


__all__ = ["Case", "Fact", "ScopeWriter", "Sources", "ask", "read_sources", "trains"]
