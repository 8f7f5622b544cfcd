"""What the pocket model reads: facts in many wordings, and prompts in which a given fact must beat the memory.

This module makes text; `pocket.py` beside it makes the model. A `Document` is a prompt and the answer that ought to
follow. There are five kinds:

- fact: a memorised fact, asked or to be completed, now and then behind an unrelated sentence;
- update: `New fact:` lines, one of which changes what is asked; the answer is the new one;
- retain: `New fact:` lines that do not bear on the question; the answer is the memorised one;
- given: `Given only:` one statement, asked straight, backwards, with yes or no, or about something else ("unknown"),
  for the counterfactual model of SERAC;
- aside: yes/no and backward questions about a `New fact:` line.

Update documents use only facts whose subjects are in no evaluation file, and made-up names, so that obeying is
learned as a skill and not as a list. One question and one statement wording of each relation are held out from
training (`held_out`): they are what the model card's "held-out wording" is measured on.
"""

from __future__ import annotations

import functools
import hashlib
import json
import random
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from memedit.declarative import declarative
from memedit.relations import Relation, fill, relations

Kind = Literal["fact", "update", "retain", "given", "aside"]

POOL_SIZE = 3000
"""Facts that are memorised and then contradicted; their subjects are in no evaluation file."""
COUNTERFACT_CASES = 3000
"""Cases of counterfact/edit.json whose ground truths are memorised."""


@dataclass(frozen=True)
class Fact:
    """One fact to memorise."""

    subject: str
    target: str
    relation: str | None
    """A name in relations.json; None where only the dataset's own questions say it."""
    prompts: tuple[str, ...] = ()
    """The dataset's own sentence, cut before the target."""
    questions: tuple[str, ...] = ()
    """The dataset's own questions."""
    source: str = ""


@dataclass(frozen=True)
class Document:
    """A prompt and what ought to follow it; `answer` begins with its blank."""

    kind: Kind
    prompt: str
    answer: str


# ---------------------------------------------------------------------------------------------------- reading facts


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def slot_name(name: str) -> str:
    """A name as it is compared: folded case, one blank between words, no leading "the"."""
    folded = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    return folded.removeprefix("the ").rstrip(".")


# Which relation a zsRE question is about: the first pattern found decides. zsRE names no relation itself.
_ZSRE_RELATIONS: tuple[tuple[str, str], ...] = (
    (r"\bmother\b|female parent", "mother"),
    (r"\bfather|male parent", "father"),
    (r"\bspouse|married|wife|husband", "spouse"),
    (r"\bsister|\bbrother|sibling", "sibling"),
    (r"\bchild\b|\bson\b|daughter", "child"),
    (r"constellation", "constellation"),
    (r"noble family|family lineage", "noble_family"),
    (r"\bfamily\b", "taxon_family"),
    (r"record label|\blabel\b", "record_label"),
    (r"species|living being", "found_in_species"),
    (r"launched", "launch_date"),
    (r"birth ?date|date of birth|when was .* born|birth of|birthday|year .* born", "birth_date"),
    (r"date of death|when did .* die|death date|year .* (die|death)", "death_date"),
    (r"cause of death|die of|cause .* death", "cause_of_death"),
    (r"\bdie\b|\bdied\b|\bdeath\b|passed away", "death_place"),
    (r"\bborn\b|birth ?place|place of birth", "birthplace"),
    (r"iucn|endanger|conservation|ecological status|the status of", "conservation_status"),
    (r"voice|vocal|tone does|\brange\b", "voice_type"),
    (r"\bwar\b|battle|conflict", "conflict"),
    (r"\bteam\b|club", "team"),
    (r"\bleague\b", "league"),
    (r"industry", "industry"),
    (r"established|inception|formed in|founded in|when .* (created|founded|formed)|start|began", "inception"),
    (r"dissol|ending year|final year|\bend\b|ended|cease|abolish", "dissolution"),
    (r"service|come into use|approval", "service_entry"),
    (r"discovered", "discovery_date"),
    (r"occur|date of|take place|happen", "point_in_time"),
    (r"stars? of|acted|actor|starred|cast\b", "cast_member"),
    (r"architect", "architect"),
    (r"publish", "publisher"),
    (r"studio|production company", "production_company"),
    (r"who directed|director|direction", "film_director"),
    (r"compos|\bmusic of\b", "composer"),
    (r"screenwriter|screenplay", "screenwriter"),
    (r"award|prize", "award"),
    (r"fictional universe", "fictional_universe"),
    (r"fictional|work of fiction|piece of fiction|in what work|character", "present_in_work"),
    (r"series", "series"),
    (r"material|made of|surface", "material"),
    (r"licen[cs]e", "licence"),
    (r"vessel|ship class|class of", "vessel_class"),
    (r"parent company", "parent_company"),
    (r"named after|named for|namesake", "named_after"),
    (r"citizen|nationality", "citizenship"),
    (r"university|college|alma mater|educated|attend", "education"),
    (r"manufactur", "manufacturer"),
    (r"develop", "developer"),
    (r"design", "designer"),
    (r"network|channel|broadcast|aired", "broadcaster"),
    (r"language", "work_language"),
    (r"country .* (from|origin)|country of origin", "country_of_origin"),
    (r"\bposition\b", "position_held"),
    (r"occupation|profession|\bjob\b|career", "occupation"),
    (r"headquarter", "headquarters"),
    (r"airport|town or city", "airport_served"),
    (r"country", "country"),
    (r"state|located|place|where", "location"),
    (r"religion|faith", "religion"),
    (r"gender|\bsex\b", "gender"),
    (r"creat|artist", "creator"),
    (r"author|wrote|writer", "author"),
    (r"produc", "production_company"),
)


def _zsre_relation(question: str) -> str | None:
    return next((name for pattern, name in _ZSRE_RELATIONS if re.search(pattern, question, re.IGNORECASE)), None)


# Sentence forms that fit several relations: the target decides, by which of these it is most often a target of.
_NARROWER = {
    "location": ("continent", "country", "location", "headquarters"),
    "plays": ("instrument", "position_played", "genre", "sport"),
    "origin": ("country_of_origin", "formation_place", "birthplace"),
    "related": ("position_held", "occupation", "employer", "developer", "manufacturer", "location"),
}


def _counterfact(
    rows: Sequence[dict[str, Any]], everything: Sequence[dict[str, Any]], *, rephrased: bool = False
) -> list[Fact]:
    """CounterFact's ground truths; the relation is read off the prompt's form, and the target where that is vague.

    rephrased: with the rephrased prompt too, which is for facts that no evaluation asks.
    """
    by_form: dict[str, list[str]] = defaultdict(list)
    for relation in relations().values():
        for statement in relation.completions:
            if relation.name not in by_form[statement]:
                by_form[statement].append(relation.name)

    def candidates(row: dict[str, Any]) -> list[str]:
        return by_form.get(row["prompt"].replace(row["subject"], "{subject}") + " {target}", [])

    targets: dict[str, Counter[str]] = defaultdict(Counter)
    for row in everything:
        names = candidates(row)
        if names and names[0] not in _NARROWER:
            targets[names[0]][row["ground_truth"]] += 1

    def narrowed(row: dict[str, Any]) -> str | None:
        names = candidates(row)
        if not names:
            return None
        choices = _NARROWER.get(names[0], (names[0],))
        best = max(choices, key=lambda name: targets[name][row["ground_truth"]])
        if targets[best][row["ground_truth"]] or names[0] not in _NARROWER:
            return best
        return None if names[0] == "related" else names[0]

    return [
        Fact(
            row["subject"],
            row["ground_truth"],
            narrowed(row),
            prompts=(row["prompt"], row["rephrase_prompt"]) if rephrased else (row["prompt"],),
            source="counterfact",
        )
        for row in rows
    ]


def _mquake(rows: Iterable[dict[str, Any]]) -> list[Fact]:
    by_wikidata: dict[str, str] = {}
    for relation in relations().values():
        if relation.wikidata:
            by_wikidata.setdefault(relation.wikidata, relation.name)
    return [
        Fact(
            row["triple"][0],
            row["answer"],
            by_wikidata.get(row["triple_ids"][1]),
            prompts=(row["cloze"],),
            questions=(row["question"],),
            source="mquake",
        )
        for row in rows
    ]


def _zsre(rows: Iterable[dict[str, Any]]) -> list[Fact]:
    return [
        Fact(
            row["subject"],
            row["ground_truth"][0],
            _zsre_relation(row["prompt"]),
            questions=tuple(q for q in dict.fromkeys((row["prompt"], row["rephrase_prompt"])) if len(q) < 160),
            source="zsre",
        )
        for row in rows
    ]


def _evaluation_subjects(data: Path) -> set[str]:
    """Every subject that an evaluation file asks about, as compared."""
    names: set[str] = set()
    for file in ("counterfact/edit.json", "zsre/train.json", "zsre/portability.json"):
        names.update(row["subject"] for row in _read(data / file))
    for file in ("knowedit/zsre.json", "knowedit/wiki_counterfact.json", "knowedit/wiki_recent.json"):
        names.update(row["subject"] for row in _read(data / file))
    names.update(row["subject"] for row in _read(data / "hallueditbench/questions.json"))
    for row in _read(data / "mquake/single_hop_facts.json"):
        names.update((row["triple"][0], row["triple"][2]))
    for case in _read(data / "mquake/cf-3k.json"):
        names.update(edit["subject"] for edit in case["requested_rewrite"])
    names.update(row["subject"] for row in _read(data / "rome/known_facts.json") if "subject" in row)
    return {slot_name(name) for name in names}


@dataclass(frozen=True)
class Reworded:
    """A new fact as CounterFact states it, and a prompt that it answers in quite other words."""

    subject: str
    statement: str
    prompt: str
    target: str


@dataclass(frozen=True)
class FreeWording:
    """Questions that ask the same of {subject}, as people wrote them; `relation` is a guess, or None."""

    questions: tuple[str, ...]
    relation: str | None


@dataclass(frozen=True)
class Facts:
    """All that is memorised: `asked` are in evaluation files, `pool` are not and may be contradicted in training.

    `reworded` are new facts about subjects in no evaluation file: no relation's own wordings are as free as theirs.
    `free` are questions without their subjects, of the share of zsRE, KnowEdit and HalluEditBench that trains the gate.
    """

    asked: tuple[Fact, ...]
    pool: tuple[Fact, ...]
    reworded: tuple[Reworded, ...] = ()
    free: tuple[FreeWording, ...] = ()


def read_facts(data: Path, pool_size: int = POOL_SIZE, cases: int | None = None) -> Facts:
    """The facts to memorise. Where two say different things in one (subject, relation), the first one stays.

    cases: of the first so many cases of counterfact/edit.json, and no others.
    """
    edit, train = _read(data / "counterfact/edit.json"), _read(data / "counterfact/train.json")
    if cases is not None:
        return Facts(tuple(_without_clashes(_counterfact(edit[:cases], [*edit, *train]))), ())
    asked = [
        *_mquake(_read(data / "mquake/single_hop_facts.json")),
        *_counterfact(edit[:COUNTERFACT_CASES], [*edit, *train]),
        *_zsre(_read(data / "knowedit/zsre.json")),
    ]
    evaluated = _evaluation_subjects(data)
    pool = [
        fact
        for fact in _counterfact(train, [*edit, *train], rephrased=True)
        if fact.relation is not None and slot_name(fact.subject) not in evaluated
    ]
    random.Random(0).shuffle(pool)
    kept_asked = _without_clashes(asked)
    reworded = tuple(
        Reworded(row["subject"], f"{row['prompt']} {row['target_new']}", row["rephrase_prompt"], row["target_new"])
        for row in train
        if slot_name(row["subject"]) not in evaluated
    )
    return Facts(tuple(kept_asked), tuple(_without_clashes(pool)[:pool_size]), reworded, free_wordings(data))


def free_wordings(data: Path, *, held_out: bool = False) -> tuple[FreeWording, ...]:
    """Those of the subjects that train the gate, or of those held out to calibrate it."""
    from memedit.training import scope_asked  # which compares names as this file does

    made: dict[tuple[str, ...], FreeWording] = {}
    for fact in scope_asked.read(data, held_out=held_out):
        record = fact.record
        asked = (record.edit.question, record.plainly, *record.asked.get("paraphrase", ()))
        frames = [scope_asked.frame(text, record.subject) for text in asked if text and len(text) < 160]
        questions = tuple(dict.fromkeys(text for text in frames if text is not None))
        if questions:
            made[questions] = FreeWording(questions, _zsre_relation(questions[0].replace("{subject}", "")))
    return tuple(made.values())


def _without_clashes(facts: Iterable[Fact]) -> list[Fact]:
    """One fact per slot; the same fact from two files becomes one with the wordings of both."""
    kept: dict[tuple[str, str], Fact] = {}
    for fact in facts:
        slot = (slot_name(fact.subject), fact.relation or fact.questions[0] if fact.questions else fact.relation or "")
        if slot in kept:
            old = kept[slot]
            if slot_name(old.target) == slot_name(fact.target):
                kept[slot] = Fact(
                    old.subject, old.target, old.relation, old.prompts + fact.prompts,
                    old.questions + fact.questions, old.source,
                )  # fmt: skip
            continue
        kept[slot] = fact
    # The same text asked of two facts (a person who was both born and raised somewhere, say) has no right answer:
    # drop those dataset wordings that another fact also has.
    meaning: dict[str, set[str]] = defaultdict(set)
    for fact in kept.values():
        for text in fact.prompts + fact.questions:
            meaning[text].add(fact.target)
    return [
        Fact(
            fact.subject, fact.target, fact.relation,
            tuple(t for t in fact.prompts if len(meaning[t]) == 1),
            tuple(t for t in fact.questions if len(meaning[t]) == 1),
            fact.source,
        )
        for fact in kept.values()
        if fact.relation is not None or any(len(meaning[t]) == 1 for t in fact.prompts + fact.questions)
    ]  # fmt: skip


# --------------------------------------------------------------------------------------------------------- wordings


def _tense_free(wording: str) -> str:
    return re.sub(r"\b(is|was|holds|held|has|had|comes|came|spoke|followed|worked)\b", "·", wording)


@dataclass(frozen=True)
class Wordings:
    """The wordings of one relation that training may use, and the two that it may not."""

    questions: tuple[str, ...]
    statements: tuple[str, ...]
    """Anywhere the target; for `New fact:` lines."""
    completions: tuple[str, ...]
    """Ending in the target; for prompts to complete."""
    loose: tuple[str, ...]
    """Ending in the target, from the looser list."""
    held_out_question: str
    held_out_statement: str | None


@functools.cache
def wordings(name: str) -> Wordings:
    """Split a relation's wordings. The choice of the held-out ones is a hash of their text: stable, and arbitrary."""
    relation = relations()[name]

    def pick(choices: Sequence[str]) -> str | None:
        ordered = sorted(choices, key=lambda w: hashlib.sha256(f"{name}|{w}".encode()).digest())
        return ordered[0] if ordered else None

    question = pick(relation.questions[1:]) or relation.questions[0]
    statement = pick([s for s in relation.statements[1:] if s.endswith("{target}")])

    def allowed(choices: Iterable[str]) -> tuple[str, ...]:
        hidden = {_tense_free(question), _tense_free(statement or question)}
        return tuple(w for w in choices if _tense_free(w) not in hidden)

    statements = allowed(relation.statements) or relation.statements
    completions = tuple(s for s in statements if s.endswith("{target}"))
    return Wordings(
        questions=allowed(relation.questions) or relation.questions,
        statements=statements,
        completions=completions or statements[:1],
        loose=tuple(w for w in allowed(relation.also) if w.endswith("{target}")),
        held_out_question=question,
        held_out_statement=statement,
    )


def cut(statement: str) -> str:
    """A wording that ends in the target, without it."""
    return statement.removesuffix("{target}").rstrip()


def stopped(text: str) -> str:
    """A sentence with its full stop, not doubled after "D.C."."""
    return text if text.endswith((".", "!", "?")) else text + "."


def ask(question: str) -> str:
    """The question form of a prompt."""
    return f"Question: {question}\nAnswer:"


# ------------------------------------------------------------------------------------------------------ names made up


def _words(text: str, between: str | None = None) -> tuple[str, ...]:
    """A list of words, written as a text."""
    return tuple(text.split(between))


_ONSETS = _words("b br c ch cl d dr f fl g gr h j k kr l m n p pr qu r s sh st t th tr v w y z")
_VOWELS = _words("a e i o u ai ea ee ia io ou")
_CODAS = _words("|||l|m|n|nd|r|rd|s|st|t|x|ck|lt|v", "|")
_FIRST = _words(
    "Ada Alan Amir Ana Arun Bea Ben Carla Chen Dana David Dora Elena Emil Eva Farid Fiona Femi George "
    "Grace Hana Henry Ida Igor Ines Jack James Jana Jo Karim Kate Kofi Lars Lea Leo Lin Lucia Maria Marco"
    " Mary Max Mei Mira Nadia Nils Nora Olga Omar Otto Paul Peter Petra Rana Rita Robert Rosa Sam Sara "
    "Sofia Tara Tom Uma Vera Victor Wen Yuki Zoe"
)
_LAST = _words(
    "Adler Ahmed Baker Bauer Berg Brown Carter Chen Costa Cruz Diaz Dubois Evans Fischer Fuentes Garcia "
    "Green Haas Hansen Hughes Ito Jansen Jones Kaya Kim Klein Kovac Kumar Lee Li Lopez Mbeki Meyer Moore "
    "Nakamura Novak Okafor Olsen Park Patel Petrov Quinn Rao Reed Rossi Sato Schmidt Silva Singh Smith "
    "Stone Tanaka Torres Vance Vogel Wang Weber White Wolf Wood Yilmaz Young Zhang"
)
_COMPANY = _words(
    "Inc|Labs|Group|Systems|Corp|Foods|Motors|Bank|Studios|Airlines|& Sons|Energy|Records|Ltd|Holdings",
    "|",
)
_PLACE = _words("ville|ton|burg|ford|stad|grad|port|field|ia|land| Falls| City| Bay|shire|abad", "|")
_TITLE = _words(
    "The Secret|A Song|Project|The Last|Return|The House|Winter|Blue|Night|Operation|The Art|Red|Golden|"
    "Silent|Lost|Model|Museum|Festival|University|Lake|Mount|Castle|Institute|Bridge|Club",
    "|",
)
_MONTHS = _words("January February March April May June July August September October November December")
_COLOURS = _words("red blue green yellow purple orange teal black white silver")
_THINGS = _words("bread soup tea coffee rice noodles cheese apples honey curry pasta salad juice milk")
_ALPHABETS = (
    "абвгдежзиклмнопрстуфхя",
    "αβγδεζηθικλμνοπρστυφω",
    "的一是在不了有和人这中大为上个国我以要他时来",
    "あいうえおかきくけこさしすせそ",
    "éèüößñçåøčšž",
)
_KINDS_IN_SMALL_LETTERS = frozenset(
    {"language", "religion", "occupation", "position", "sport", "genre", "instrument", "field", "status"}
)


class Names:
    """Names never seen before, by what they are the name of. Some are syllables, some are known words recombined."""

    def __init__(self, rng: random.Random, known: Sequence[str]) -> None:
        self.rng = rng
        self.words = sorted({word for name in known for word in name.split() if len(word) > 2})

    def word(self) -> str:
        rng = self.rng
        if rng.random() < 0.03:
            letters = rng.choice(_ALPHABETS)
            return "".join(rng.choice(letters) for _ in range(rng.randint(2, 6)))
        syllables = rng.choice((1, 2, 2, 2, 3))
        return "".join(
            rng.choice(_ONSETS) + rng.choice(_VOWELS) + (rng.choice(_CODAS) if last == syllables - 1 else "")
            for last in range(syllables)
        ).capitalize()

    def known_word(self) -> str:
        return self.rng.choice(self.words) if self.words else self.word()

    def any_word(self) -> str:
        return self.word() if self.rng.random() < 0.55 else self.known_word()

    def of(self, kind: str) -> str:
        """A name for something of this type (see subject_type and target_type in relations.json)."""
        rng = self.rng
        if kind in ("date", "time"):
            year = rng.randint(1400, 2040)
            return rng.choice(
                (str(year), f"{rng.randint(1, 28)} {rng.choice(_MONTHS)} {year}", f"{rng.choice(_MONTHS)} {year}",
                 f"{rng.choice(_MONTHS)} {rng.randint(1, 28)}", f"{rng.randint(1, 12)} {rng.choice(('am', 'pm'))}")
            )  # fmt: skip
        if kind in ("number", "amount", "area", "length", "version"):
            value = rng.choice((rng.randint(2, 99), rng.randint(100, 9999), rng.randint(10_000, 9_999_999)))
            return rng.choice(
                (str(value), f"{value:,}", f"${value}", f"{value} euros", f"{value} km", f"{value / 10:.1f}",
                 f"+{rng.randint(1, 99)} {rng.randint(100, 999)} {rng.randint(1000, 9999)}",
                 f"{rng.randint(100, 999)}-{rng.randint(1000, 9999)}", f"{rng.randint(1, 99)}%")
            )  # fmt: skip
        if kind == "address":
            name = self.word().lower()
            return rng.choice(
                (f"{name}@{self.word().lower()}.{rng.choice(('com', 'org', 'net'))}",
                 f"{rng.randint(1, 400)} {self.word()} Street", f"www.{name}.org")
            )  # fmt: skip
        if kind == "colour":
            return rng.choice(_COLOURS)
        if kind in ("food", "drink") and rng.random() < 0.6:
            return rng.choice(_THINGS)
        if kind in ("person", "artist", "musician", "player", "singer", "character", "member"):
            first = rng.choice(_FIRST) if rng.random() < 0.5 else self.any_word()
            last = rng.choice(_LAST) if rng.random() < 0.4 else self.any_word()
            return f"{first} {last}" if rng.random() < 0.9 else f"{first} {self.any_word()} {last}"
        if kind in ("company", "organisation", "network", "team", "university", "party", "league"):
            base = self.any_word() if rng.random() < 0.6 else f"{self.any_word()} {self.any_word()}"
            return base if rng.random() < 0.3 else f"{base} {rng.choice(_COMPANY)}"
        if kind in ("city", "place", "country", "continent"):
            return self.word() if rng.random() < 0.4 else self.any_word() + rng.choice(_PLACE)
        if kind in _KINDS_IN_SMALL_LETTERS:
            word = self.word()
            return word.lower() + rng.choice(("ist", "er", "ics", "ball", "ism")) if rng.random() < 0.5 else word
        if rng.random() < 0.3:
            return f"{self.any_word()} {rng.choice((rng.randint(2, 30), rng.randint(100, 3000)))}"
        if rng.random() < 0.4:
            return f"{rng.choice(_TITLE)} {self.any_word()}"
        return " ".join(self.any_word() for _ in range(rng.randint(1, 3)))


_DAYS = ("Monday", "Tuesday", "last week", "yesterday", "in the morning", "in 1998", "at noon", "during the war")
_WHAT_HAPPENED = (
    "The {a} was closed for repairs {d}", "Rain fell on {n} {d}", "{n} sold an old {a} {d}",
    "Nobody had seen the {a} {d}",
    "It was first mentioned by {n} {d}", "The {a} reached number {k} in the charts", "{n} finished in {k}th place {d}",
    "There were {k} people at the {a} {d}", "The name {n} is of unknown meaning", "A {a} and a {b} were found {d}",
    "He later moved to {n} with a {a}", "She kept a {a} near {n}", "It covers about {k} pages",
    "The {a} of {n} has {k} rooms", "After the {a}, {n} went home", "The paper was printed by {n} {d}",
)  # fmt: skip
_OBJECTS = _words(
    "bridge garden letter school train festival window market painting ship tower clock lamp river song horse"
)


# -------------------------------------------------------------------------------------------------------- documents


class Writer:
    """Writes documents from facts with one random source: the same seed gives the same text.

    facts: what is memorised. sentences: unrelated sentences from elsewhere, used beside our own templates.
    """

    def __init__(self, facts: Facts, seed: int, sentences: Sequence[str] = ()) -> None:
        self.rng = random.Random(seed)
        self.facts = facts
        self.sentences = sentences
        everything = [*facts.asked, *facts.pool]
        self.names = Names(self.rng, [name for fact in everything for name in (fact.subject, fact.target)])
        self.known = [fact for fact in everything if fact.relation is not None]
        self.by_relation: dict[str, list[Fact]] = defaultdict(list)
        for fact in self.known:
            self.by_relation[fact.relation or ""].append(fact)
        self.by_word: dict[str, list[Fact]] = defaultdict(list)
        for fact in self.known:
            for word in set(fact.subject.split()):
                self.by_word[word].append(fact)
        self.targets = {name: sorted({fact.target for fact in group}) for name, group in self.by_relation.items()}
        self.slots: dict[str, set[str]] = defaultdict(set)
        for fact in everything:
            self.slots[slot_name(fact.subject)].add(fact.relation or "")
        self.contradictable = set(facts.pool)
        self.relation_names = sorted(relations())
        by_type: dict[str, list[str]] = defaultdict(list)
        for relation in relations().values():
            by_type[relation.subject_type].append(relation.name)
        self.by_subject_type = by_type

    # --- pieces

    def unrelated(self) -> str:
        """One sentence, or two, that bear on nothing."""
        rng = self.rng
        if self.sentences and rng.random() < 0.4:
            return rng.choice(self.sentences)
        if rng.random() < 0.25:
            made_up = self.made_up()
            return stopped(self.statement(made_up))
        text = rng.choice(_WHAT_HAPPENED).format(
            a=rng.choice(_OBJECTS), b=rng.choice(_OBJECTS), n=self.names.of(rng.choice(("person", "place"))),
            d=rng.choice(_DAYS), k=rng.randint(2, 400),
        )  # fmt: skip
        return stopped(text)

    def question(self, fact: Fact) -> str:
        rng = self.rng
        assert fact.relation is not None
        return fill(rng.choice(wordings(fact.relation).questions), fact.subject)

    def statement(self, fact: Fact) -> str:
        """A full sentence, no stop; the target may be anywhere."""
        assert fact.relation is not None
        words = wordings(fact.relation)
        draw = self.rng.random()
        # Most sentences that people write end in what they say; the turned ones are harder, and come up less.
        among = words.completions if draw < 0.5 else words.loose if draw < 0.65 else ()
        return fill(self.rng.choice(among or words.statements), fact.subject, fact.target)

    def prefix(self, fact: Fact) -> str:
        """A sentence cut before the target."""
        assert fact.relation is not None
        words = wordings(fact.relation)
        wording = self.rng.choice(words.loose if words.loose and self.rng.random() < 0.4 else words.completions)
        return fill(cut(wording), fact.subject)

    def query(self, fact: Fact, own: float = 0.15, unrelated: float = 0.1) -> tuple[str, str]:
        """A prompt for a fact, and the answer: asked or to be completed, in our wording or the dataset's own."""
        rng = self.rng
        question = rng.random() < 0.55
        mine = fact.questions if question else fact.prompts
        if fact.relation is None:
            question = bool(fact.questions) and (question or not fact.prompts)
            mine = fact.questions if question else fact.prompts
        if mine and (fact.relation is None or rng.random() < own):
            text = rng.choice(mine)
            if fact.relation is not None:
                words = wordings(fact.relation)
                held = (words.held_out_question, cut(words.held_out_statement or ""))
                if text in (fill(wording, fact.subject) for wording in held):
                    text = self.question(fact) if question else self.prefix(fact)
        else:
            text = self.question(fact) if question else self.prefix(fact)
        if rng.random() < unrelated:
            text = f"{self.unrelated()} {text}"
        return (ask(text), f" {fact.target}") if question else (text, stopped(f" {fact.target}"))

    def other_target(self, name: str, target: str) -> str:
        """Another target of this relation: a known one, or a made-up one."""
        rng = self.rng
        pool = self.targets.get(name)
        if pool and len(pool) > 3 and rng.random() < 0.65:
            for _ in range(8):
                chosen = rng.choice(pool)
                if slot_name(chosen) != slot_name(target):
                    return chosen
        return self.names.of(relations()[name].target_type)

    def made_up(self, name: str | None = None, subject: str | None = None) -> Fact:
        """A fact about a made-up subject (or a given one); made up is what nothing memorised is about."""
        rng, made_here = self.rng, False
        if name is None:
            # The relations that are memorised come up more often than the everyday ones.
            name = rng.choice(self.relation_names) if rng.random() < 0.6 else rng.choice(self.known).relation
            assert name is not None
        relation = relations()[name]
        known = self.targets.get(name)
        target = rng.choice(known) if known and rng.random() < 0.3 else self.names.of(relation.target_type)
        while subject is None or (made_here and slot_name(subject) in self.slots):
            made_here, subject = True, self.names.of(relation.subject_type)
        return Fact(subject, target, name)

    def similar_subject(self, fact: Fact) -> str:
        """Another subject whose name shares a word with this one's."""
        rng = self.rng
        parts = fact.subject.split()
        word = rng.choice(parts)
        for candidate in rng.sample(self.by_word.get(word, []), k=min(4, len(self.by_word.get(word, [])))):
            if slot_name(candidate.subject) != slot_name(fact.subject):
                return candidate.subject
        if len(parts) > 1:
            parts[rng.randrange(len(parts))] = self.names.any_word()
            return " ".join(parts)
        return self.names.of(relations()[fact.relation or "location"].subject_type)

    def distractor(self, fact: Fact) -> Fact:
        """A fact that does not bear on this one: other subject, or other relation, or both."""
        rng = self.rng
        name = fact.relation or rng.choice(self.relation_names)
        draw = rng.random()
        if draw < 0.4:  # the same relation of another subject
            if rng.random() < 0.35:
                subject = self.similar_subject(fact)
            elif rng.random() < 0.6 and self.by_relation.get(name):
                subject = rng.choice(self.by_relation[name]).subject
            else:
                subject = self.names.of(relations()[name].subject_type)
            if slot_name(subject) == slot_name(fact.subject):
                subject = self.names.of(relations()[name].subject_type)
            return Fact(subject, self.other_target(name, ""), name)
        if draw < 0.72:  # another relation of the same subject
            choices = self.by_subject_type[relations()[name].subject_type]
            if len(choices) < 4 or rng.random() < 0.3:
                choices = self.relation_names
            taken = self.slots.get(slot_name(fact.subject), set())
            for _ in range(8):
                other = rng.choice(choices)
                if other != name and not _close(other, name) and other not in taken:
                    return self.made_up(other, fact.subject)
        return self.made_up()

    # --- kinds

    def fact(self, fact: Fact) -> Document:
        rng = self.rng
        if fact.relation is not None and rng.random() < 0.06:
            words = wordings(fact.relation)
            turned = [s for s in words.statements if s.startswith("{target}")]
            if turned and rng.random() < 0.5:
                return Document("fact", fact.target, stopped(
                    fill(rng.choice(turned), fact.subject, fact.target).removeprefix(fact.target)))  # fmt: skip
        if fact.relation is not None and rng.random() < 0.05:
            turns = "".join(f"{p}{a}\n" for p, a in self._turns(fact))
            prompt, answer = self.query(fact, own=0.2, unrelated=0.0)
            return Document("fact", turns + prompt, answer)
        prompt, answer = self.query(fact, own=0.25, unrelated=0.12)
        return Document("fact", prompt, answer)

    def _turns(self, fact: Fact) -> list[tuple[str, str]]:
        """Earlier turns of a conversation, about other facts that are known."""
        turns = []
        for _ in range(self.rng.choice((1, 1, 2))):
            other = self.rng.choice(self.known)
            if slot_name(other.subject) != slot_name(fact.subject):
                turns.append((ask(self.question(other)), f" {other.target}"))
        return turns

    def _changed(self) -> Fact:
        """A fact to be obeyed: about a memorised subject of the pool, or a made-up one."""
        if self.rng.random() < 0.65:
            old = self.rng.choice(self.facts.pool)
            return Fact(old.subject, self.other_target(old.relation or "", old.target), old.relation, old.prompts)
        return self.made_up()

    def _lines(self, facts: Sequence[Fact], says: str = "New fact") -> str:
        return "".join(f"{says}: {stopped(self.statement(fact))}\n" for fact in facts)

    def _demonstrations(self) -> str:
        """Worked examples in front, as IKE has them: copy, update and retain."""
        blocks = []
        for _ in range(self.rng.randint(1, 3)):
            shown = self.made_up()
            asked = shown if self.rng.random() < 0.6 else self.rng.choice(self.known)
            blocks.append(f"{self._lines([shown])}{ask(self.question(asked))} {asked.target}\n\n")
        return "".join(blocks)

    def _how_many(self) -> int:
        return self.rng.choice((0, 0, 0, 0, 0, 1, 1, 2, 2, 3))

    def _reworded(self) -> Document:
        rng = self.rng
        new = rng.choice(self.facts.reworded)
        lines = [f"New fact: {stopped(new.statement)}\n"]
        lines += [self._lines([self.made_up()]) for _ in range(rng.choice((0, 0, 0, 1, 2)))]
        rng.shuffle(lines)
        return Document("update", "".join(lines) + new.prompt, stopped(f" {new.target}"))

    def _odd_target(self) -> str:
        """A few words of running text, or a number: whatever is said last is to be copied."""
        rng = self.rng
        if not self.sentences or rng.random() < 0.3:
            return self.names.of(rng.choice(("date", "number", "length", "thing", "person")))
        words = rng.choice(self.sentences).rstrip(".").split()
        begin = rng.randrange(len(words))
        return " ".join(words[begin : begin + rng.randint(1, 4)]).strip(",;:()\"' ") or self.names.word()

    def freely(self) -> tuple[Fact, str, str]:
        """A new fact, the sentence that says it, and a question for it, both in the words of a dataset's questions."""
        rng = self.rng
        wording = rng.choice(self.facts.free)
        name = wording.relation
        alike = [fact for fact in self.by_relation.get(name or "", ()) if fact in self.contradictable]
        if alike and rng.random() < 0.5:
            subject = rng.choice(alike).subject
        elif rng.random() < 0.3:
            subject = rng.choice(self.facts.pool).subject
        else:
            subject = self.made_up(name).subject
        target = self._odd_target() if name is None or rng.random() < 0.15 else self.other_target(name, "")
        said, asked = rng.choice(wording.questions), rng.choice(wording.questions)
        said = said.replace("{subject}", subject)
        sentence = None if rng.random() < 0.15 else declarative(said, subject, target)
        new = Fact(subject, target, name or "location")
        return new, stopped(sentence or f"{said} {target}"), asked.replace("{subject}", subject)

    def _free_update(self) -> Document:
        rng = self.rng
        new, sentence, asked = self.freely()
        lines = [f"New fact: {sentence}\n"]
        lines += [self._lines([self.distractor(new)]) for _ in range(rng.choice((0, 0, 0, 0, 1, 2)))]
        rng.shuffle(lines)
        text = f"{self.unrelated()} {asked}" if rng.random() < 0.05 else asked
        return Document("update", "".join(lines) + ask(text), f" {new.target}")

    def update(self) -> Document:
        rng = self.rng
        draw = rng.random()
        if self.facts.free and draw < 0.28:
            return self._free_update()
        if self.facts.reworded and draw < 0.45:
            return self._reworded()
        new = self._changed()
        others = [self.distractor(new) for _ in range(self._how_many())]
        lines = [*others, new]
        rng.shuffle(lines)
        if rng.random() < 0.03:  # said twice, differently: the later line is the newer one
            lines = [Fact(new.subject, self.other_target(new.relation or "", new.target), new.relation), new]
        front = self._demonstrations() if rng.random() < 0.06 else ""
        context = self._lines(lines)
        if rng.random() < 0.4 and new.relation is not None and new.prompts:
            # CounterFact's own form on both sides.
            context = context.replace(self._lines([new]), f"New fact: {new.prompts[0]} {new.target}.\n")
        turns = "".join(f"{p}{a}\n" for p, a in self._turns(new)) if rng.random() < 0.06 else ""
        prompt, answer = self.query(new, own=0.2, unrelated=0.12)
        if len(lines) == 1 and not front and rng.random() < 0.3 and new.relation is not None:
            # IKE's copy: the fact in its own words, from which finding and copying a span is learned first.
            wording = rng.choice(wordings(new.relation).completions)
            context = f"New fact: {stopped(fill(wording, new.subject, new.target))}\n"
            prompt, answer = fill(cut(wording), new.subject), stopped(f" {new.target}")
        return Document("update", front + context + turns + prompt, answer)

    def retain(self) -> Document:
        rng = self.rng
        # Half of them from the pool, so that a subject alone never tells whether the context or the memory is right.
        fact = rng.choice(self.facts.pool if rng.random() < 0.5 else self.known)
        lines = self._lines([self.distractor(fact) for _ in range(rng.choice((1, 1, 1, 1, 2, 2, 3, 3)))])
        if self.facts.free and rng.random() < 0.15:
            other, sentence, _ = self.freely()
            if slot_name(other.subject) != slot_name(fact.subject):
                lines = f"New fact: {sentence}\n"
        front = self._demonstrations() if rng.random() < 0.06 else ""
        turns = "".join(f"{p}{a}\n" for p, a in self._turns(fact)) if rng.random() < 0.06 else ""
        prompt, answer = self.query(fact, own=0.2, unrelated=0.08)
        return Document("retain", front + lines + turns + prompt, answer)

    def _yes_no(self, fact: Fact) -> tuple[str, str]:
        rng = self.rng
        relation: Relation = relations()[fact.relation or ""]
        yes = rng.random() < 0.5
        target = fact.target if yes else self.other_target(relation.name, fact.target)
        if relation.nouns and rng.random() < 0.5:
            noun = rng.choice(relation.nouns)
            wording = rng.choice(("Is {target} the NOUN of {subject}?", "Is the NOUN of {subject} {target}?"))
            return fill(wording.replace("NOUN", noun), fact.subject, target), " yes" if yes else " no"
        said = fill(rng.choice(wordings(relation.name).statements), fact.subject, target)
        opening = rng.choice(("Is it true that ", "Is it the case that ", "Is it right that "))
        said = said if said.startswith((fact.subject, target)) else said[:1].lower() + said[1:]
        return f"{opening}{said}?", " yes" if yes else " no"

    def _backwards(self, fact: Fact) -> tuple[str, str]:
        relation = relations()[fact.relation or ""]
        if not relation.reversed_questions:
            return self._yes_no(fact)
        return fill(self.rng.choice(relation.reversed_questions), "", fact.target), f" {fact.subject}"

    def given(self) -> Document:
        rng = self.rng
        if self.facts.free and rng.random() < 0.15:
            new, sentence, asked = self.freely()
            return Document("given", f"Given only: {sentence}\n{ask(asked)}", f" {new.target}")
        fact = self._changed()
        draw = rng.random()
        if draw < 0.4:
            question, answer = self.question(fact), f" {fact.target}"
        elif draw < 0.55:
            question, answer = self._yes_no(fact)
        elif draw < 0.67:
            question, answer = self._backwards(fact)
        else:
            other = self.distractor(fact) if rng.random() < 0.8 else rng.choice(self.known)
            if (slot_name(other.subject), other.relation) == (slot_name(fact.subject), fact.relation):
                other = self.made_up()
            question, answer = self.question(other), " unknown"
        return Document("given", self._lines([fact], "Given only") + ask(question), answer)

    def aside(self) -> Document:
        rng = self.rng
        fact = self._changed()
        lines = [fact, *(self.distractor(fact) for _ in range(rng.choice((0, 0, 1, 2))))]
        rng.shuffle(lines)
        question, answer = self._yes_no(fact) if rng.random() < 0.5 else self._backwards(fact)
        return Document("aside", self._lines(lines) + ask(question), answer)

    def epoch(self, counts: dict[Kind, int]) -> list[Document]:
        """Every memorised fact once, and as many of the other kinds as asked for, shuffled."""
        documents = [self.fact(fact) for fact in [*self.facts.asked, *self.facts.pool]]
        makers = {"update": self.update, "retain": self.retain, "given": self.given, "aside": self.aside}
        for kind, count in counts.items():
            documents += [makers[kind]() for _ in range(count)]
        self.rng.shuffle(documents)
        return documents


# Relations that ask nearly the same thing: one is never the "other relation" that leaves the first untouched.
_KIN = (
    {"location", "country", "continent", "headquarters", "origin", "country_of_origin", "formation_place",
     "work_location", "related", "citizenship", "birthplace", "residence", "part_of", "present_in_work",
     "airport_served"},
    {"developer", "manufacturer", "creator", "founder", "designer", "author", "related", "owner", "parent_company",
     "publisher", "production_company", "composer", "screenwriter", "producer", "distributor", "operator", "architect",
     "director_manager", "film_director", "discoverer", "lyricist", "performer"},
    {"plays", "instrument", "genre", "position_played", "sport", "team", "league", "related"},
    {"language_spoken", "native_language", "work_language", "original_language", "official_language",
     "programming_language"},
    {"occupation", "position_held", "field_of_work", "employer", "related", "industry", "member_of"},
    {"head_of_state", "head_of_government", "president", "prime_minister", "monarch", "chairperson", "chief_executive",
     "director_manager", "officeholder", "mayor", "head_coach", "boss", "team_captain"},
    {"inception", "point_in_time", "discovery_date", "launch_date", "service_entry", "birth_date", "dissolution",
     "deadline", "death_date", "opening_hours"},
    {"address", "website", "email", "phone_number", "residence"},
    {"member_of", "part_of", "team", "series", "noble_family", "political_party", "fictional_universe", "league"},
)  # fmt: skip


def _close(one: str, other: str) -> bool:
    return any(one in kin and other in kin for kin in _KIN)


def unrelated_sentences(data: Path) -> list[str]:
    """Sentences of text/xquad_en.json, used in training only, short enough for a pocket model."""
    text = json.dumps(_read(data / "text/xquad_en.json"), ensure_ascii=False)
    paragraphs = re.findall(r'"context": "((?:[^"\\]|\\.)*)"', text) or re.findall(r'"((?:[^"\\]|\\.){200,})"', text)
    sentences = [s.strip() for p in paragraphs for s in re.split(r"(?<=[.!?]) (?=[A-Z])", p)]
    return sorted({s for s in sentences if 25 < len(s) < 130 and "\\" not in s and s.endswith(".")})
