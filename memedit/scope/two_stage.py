"""The shipped gate, in two stages: an encoder proposes the nearest edits, a verifier reads question and edit together.

Most questions end after the first stage: nothing lies above its floor, which loses at most one right edit in 200. Where
much does, edits whose subject the question names are proposed before others. The verifier judges three pairs at most,
and its log odds and the cosine together make the probability that the question falls under the edit. `similarity`,
beside this file, is the first stage alone with an encoder that was never trained for it.

What is judged is what is asked (`_asked.py`): a sentence of a long message, or a follow-up with the name put in, by
preference one that the memory knows. An edit whose subject the question names has a threshold of its own: the larger
the memory, the more edits are near a question by chance, but not those about whom it asks. One that is asked backwards
in a known wording need only be likely. The same question vector also tells whether the question takes several hops:
such a one needs an edit on its way, but does not fall under it, and gets a label of its own.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, Protocol

from memedit.edits import DEFAULT_NAMESPACE, Decision, Edit, Hit, Message
from memedit.errors import InputError
from memedit.parsing import askings, normalise, place_of
from memedit.relations import relations
from memedit.scope._asked import FollowUp, asked, edit_text, follow_up
from memedit.scope._calibration import BOTH, Calibration, Sizes, TwoStageCalibration, load_two_stage
from memedit.scope._held import NOT_ASKED, nothing_in
from memedit.scope._names import numbered_apart, one_person, unread
from memedit.scope._relation import agreement, asked_of, own_names, said_by, told

if TYPE_CHECKING:  # numpy is imported with the first vector
    import numpy as np
    from numpy.typing import NDArray

    from memedit.encoders import Encoder
    from memedit.memory import EditMemory
    from memedit.scope import Scope

MULTILINGUAL = "sentence_transformers:paraphrase-multilingual-MiniLM-L12-v2"
LONGEST = 10_000
"""Characters of a text that go to the encoder, which reads fewer."""
LIKELY = 0.5
"""Probability from which an edit is in scope that is asked backwards in a known wording."""
VARIANT = 0.1
"""Probability from which an edit is in scope whose subject is asked for by initials or a nickname, in a known
wording."""
OTHERWISE = 0.003
"""Probability that an edit has at most where the words ask for another relation than it is of: of 3,551 such questions
about subjects that the gate was trained on none falls under its edit (`python -m memedit.training.scope_wordings`), six
did before the wordings that misled were mended."""
UNLIKELIER = 2.0
"""How many times the odds several hops must have where an edit is in scope, which speaks for one hop, or where the
question names the subject of none that is near, which speaks for an ordinary question."""
LARGE = 5_000
"""Edits from which those that a question names are looked up, whatever is near: their vectors are searched in part."""
KNOWN = 16
"""Edits near a conversation whose names are looked for in it."""

Stages = Literal["proposer", "verifier"]
Near = tuple[str, Hit]
"""A text that is asked, and an edit near it."""


class Judge(Protocol):
    """What this scope needs of a verifier: (query, text) pairs -> (n,) log odds; `identity` names the weights."""

    @property
    def identity(self) -> str: ...

    def pairs(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]: ...


class _Last(threading.local):
    """What the last call in this thread took and found."""

    def __init__(self) -> None:
        self.timings: dict[str, float] = {}
        self.passed = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What one conversation asks: the texts to judge, the likeliest first."""

    messages: Sequence[Message]
    texts: tuple[str, ...]
    leans: FollowUp | None = None
    """Where it leans on what was said before: as it stands it may be asked of anybody."""

    def fits(self, text: str, edit: Edit) -> bool:
        """Whether an edit may be what a text asks for; of a follow-up as it stands, those that the talk names."""
        leans = self.leans
        if leans is None or text != leans.text or leans.names(named(edit)):
            return True
        itself = FollowUp(text, text, "")  # in small letters a name is not seen as one
        return bool(itself.names((edit.subject or "", *edit.aliases)))


@dataclass(frozen=True, kw_only=True)
class TwoStage:
    """In scope is what the verifier, asked about the nearest edits, finds probable enough.

    After a decision `timings` holds the seconds that its stages took ("asked", "encode", "search", "verify", and
    "rest"), and `passed` how many of the call's conversations passed the floor: 0 or 1 after `decide`. Both speak of
    the last call in the thread that reads them.
    """

    false_fire: float = 0.004
    """Share of unrelated questions on which the gate may fire, in (0, 1). The default leaves room below the half per
    cent that it is meant to keep: other people's questions fire oftener than those that were held out."""
    candidates: int = 3
    """How many pairs the verifier judges, at most."""
    stages: tuple[Stages, ...] = ("proposer", "verifier")
    """Both; ("proposer",) decides by the calibrated cosine, ("verifier",) judges the nearest without a floor."""
    calibration: Path | None = None
    """A calibration file of your own (`memedit calibrate`); None: the shipped one."""
    verifier: Judge | None = None
    """A verifier of your own; None: the one in the encoder's folder, else the shipped one, loaded when first needed."""
    head: tuple[Sequence[float], float] | None = None
    """Weights and bias of multi-hop questions over a query's vector; None: those in the encoder's folder, if any."""
    fallback: str = "characters"
    """The scope that decides about texts in scripts that the encoder cannot read."""
    name: str = field(default="two_stage", init=False)
    _size: Sizes = field(default_factory=Sizes, init=False, repr=False, compare=False)
    _last: _Last = field(default_factory=_Last, init=False, repr=False, compare=False)
    _bounds: dict[int, tuple[float, float]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.false_fire < 1:
            raise InputError(f"false_fire is a share of questions, in (0, 1), not {self.false_fire}")
        if self.candidates < 1:
            raise InputError(f"candidates is how many edits are judged, so at least 1, not {self.candidates}")
        if tuple(self.stages) not in (("proposer", "verifier"), ("proposer",), ("verifier",)):
            raise InputError(f"stages is proposer and verifier, in this order, or one of them, not {self.stages}")

    @property
    def timings(self) -> dict[str, float]:
        return dict(self._last.timings)

    @property
    def passed(self) -> int:
        return self._last.passed

    @cached_property
    def figures(self) -> TwoStageCalibration:
        """The calibration in force."""
        if self.calibration is not None:
            return load_two_stage(self.calibration)
        with as_file(files("memedit.scope") / "two_stage.json") as shipped:
            return load_two_stage(shipped)

    def decide(
        self,
        messages: Sequence[Message],
        memory: EditMemory,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        as_of: datetime | int | None = None,
    ) -> Decision:
        return self.decide_many([messages], memory, namespace=namespace, as_of=as_of)[0]

    def decide_many(
        self,
        conversations: Sequence[Sequence[Message]],
        memory: EditMemory,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        as_of: datetime | int | None = None,
    ) -> list[Decision]:
        """`decide` for each of several conversations, encoded, searched and verified together."""
        began = perf_counter()
        last = self._last
        last.timings, last.passed = dict.fromkeys(("asked", "encode", "search", "verify"), 0.0), 0
        with self._timed("asked"):
            tasks = [Asked(messages, asked(messages), follow_up(messages)) for messages in conversations]
        size = self._size(memory, namespace)
        bound = self._bound(size)
        made: dict[int, Decision] = {}
        if not size and as_of is None and not memory.count(namespace):  # time passes: what was counted may have grown
            made = {number: self._none(task, bound[0], nothing_in(namespace)) for number, task in enumerate(tasks)}
        for number, task in enumerate(tasks):
            if not task.texts:
                made[number] = self._none(task, bound[0], NOT_ASKED)
            elif number not in made and not _reads(memory.encoder, task.texts[0]):
                made[number] = self._fall_back(task, memory, namespace, as_of)
        rest = {number: task for number, task in enumerate(tasks) if number not in made}
        if rest:
            gate = self._fit_for(memory.encoder)
            made |= gate._judged(rest, memory, namespace, as_of, size)
        last.timings["rest"] = perf_counter() - began - sum(last.timings.values())
        return [made[number] for number in range(len(tasks))]

    # The stages

    def _judged(
        self,
        tasks: dict[int, Asked],
        memory: EditMemory,
        namespace: str,
        as_of: datetime | int | None,
        size: int,
    ) -> dict[int, Decision]:
        figures, encoder = self.figures, memory.encoder
        with self._timed("asked"):
            tasks = dict(
                zip(tasks, known_names(list(tasks.values()), memory, namespace=namespace, as_of=as_of), strict=True)
            )
        with self._timed("encode"):
            vectors = encoded([task.texts for task in tasks.values()], encoder)
            multi = self._multi(tasks, vectors, encoder)
        near: dict[int, list[Near]] = {}
        with self._timed("search"):
            for some, floor in (
                ([number for number in tasks if number not in multi], figures.floor),
                (sorted(multi), min(figures.floor, figures.multi_hop_floor)),
            ):
                found = proposed(
                    [tasks[number] for number in some],
                    vectors,
                    memory,
                    self.candidates,
                    floor=-1.0 if self._unfloored else floor,
                    namespace=namespace,
                    as_of=as_of,
                    by_name="always" if size >= LARGE else "crowded",
                )
                near |= dict(zip(some, found, strict=True))
        asks: list[tuple[int, str, Hit]] = []
        made: dict[int, Decision] = {}
        for number, task in tasks.items():
            likely = [pair for pair in near[number] if self._unfloored or pair[1].score >= figures.floor]
            self._last.passed += bool(likely)
            strange = [not _reads(encoder, hit.edit.statement) for _, hit in likely]
            if strange and strange[0]:
                made[number] = self._fall_back(task, memory, namespace, as_of)
                continue
            asks += [(number, text, hit) for (text, hit), odd in zip(likely, strange, strict=True) if not odd]
        asks = [ask for ask in asks if ask[0] not in made]
        with self._timed("verify"):
            scores = self._scores(asks, encoder)
        judged: dict[int, dict[str, float]] = {}
        apart: dict[int, list[str]] = {}
        plainly: set[tuple[int, str]] = set()
        bound, unnamed = self._bound(size)
        for (number, text, hit), score in zip(asks, scores, strict=True):
            weighed = score if not unnamed or names_subject(text, hit.edit) else score - unnamed
            rule = by_words(text, hit.edit)
            if isinstance(rule, str):
                if weighed >= bound:
                    apart.setdefault(number, []).append(f"{hit.edit.id} is left out: {rule}")
                weighed = min(weighed, self._stage.score_of(OTHERWISE))
            elif weighed < bound and (
                rule
                or (self._stage.probability(score) >= LIKELY and asks_backwards(text, hit.edit))
                or (self._stage.probability(score) >= VARIANT and self._by_variant(text, hit.edit, score))
            ):
                weighed = max(score, bound)
            if rule is True:
                plainly.add((number, hit.edit.id))
            judged.setdefault(number, {})[hit.edit.id] = weighed
        for number, task in tasks.items():
            if number not in made:
                notes = (*self._notes(encoder), *apart.get(number, ()))
                asks_plainly = any((number, hit.edit.id) in plainly for _, hit in near[number])
                several = 0.0 if asks_plainly else multi.get(number, 0.0)
                made[number] = self._decision(task, near[number], judged.get(number, {}), bound, several, notes)
        return made

    def _by_variant(self, text: str, edit: Edit, score: float) -> bool:
        """Whether a text asks for what an edit says of a person under another form of the name."""
        how = asks_by_variant(text, edit)
        return how in ("initials", "nickname") or (how == "shorter" and self._stage.probability(score) >= LIKELY)

    def _scores(self, asks: Sequence[tuple[int, str, Hit]], encoder: Encoder) -> list[float]:
        """One score for each pair, on the scale of the stages' calibration."""
        if "verifier" not in self.stages:
            return [hit.score for _, _, hit in asks]
        if not asks:
            return []
        logits = self.judge(encoder).pairs([(text, edit_text(hit.edit)) for _, text, hit in asks]).tolist()
        if "proposer" not in self.stages:
            return [float(logit) for logit in logits]
        return [self.figures.score(logit, hit.score) for logit, (_, _, hit) in zip(logits, asks, strict=True)]

    def _decision(
        self,
        task: Asked,
        near: Sequence[Near],
        scores: dict[str, float],
        bound: float,
        several: float,
        notes: tuple[str, ...],
    ) -> Decision:
        stage, by_cosine = self._stage, self.figures.stages["proposer"]
        text_of = {hit.edit.id: text for text, hit in near}
        ranked = sorted(
            (hit for _, hit in near), key=lambda hit: (-round(scores.get(hit.edit.id, -math.inf), 5), -hit.edit.seq)
        )
        judged = tuple(
            replace(
                hit,
                probability=stage.probability(scores[hit.edit.id])
                if hit.edit.id in scores
                else min(by_cosine.probability(hit.score), OTHERWISE),  # too far off for the verifier to be asked
            )
            for hit in ranked
        )
        hits = tuple(hit for hit in judged if scores.get(hit.edit.id, -math.inf) >= bound)
        label: Literal["none", "single", "multi_hop"] = "single" if hits else "none"
        likely = not hits and any(names_subject(text, hit.edit) for text, hit in near)
        if several and (likely or odds(several) >= UNLIKELIER * odds(self.figures.multi_hop or 0.0)):
            label = "multi_hop"
            also = "no edit answers it by itself, one may be needed on the way"
            notes = (*notes, f"this takes several hops: {'the edit in scope may be one of them' if hits else also}")
        return Decision(
            query=text_of[judged[0].edit.id] if judged else task.texts[0],
            hits=hits,
            candidates=judged,
            threshold=stage.probability(bound),
            label=label,
            scope=self.name,
            notes=notes,
        )

    # What the stages are made of

    def _fit_for(self, encoder: Encoder) -> TwoStage:
        """This scope, or, where the cosines of another encoder mean nothing to its figures, its verifier alone."""
        return self if self._unfloored or encoder.identity == self.figures.encoder else self._verifier_alone

    @cached_property
    def _verifier_alone(self) -> TwoStage:
        alone = replace(self, stages=("verifier",))
        object.__setattr__(alone, "_last", self._last)
        return alone

    @property
    def _unfloored(self) -> bool:
        return tuple(self.stages) != ("proposer", "verifier")

    @property
    def _stage(self) -> Calibration:
        return self.figures.stages[self.stages[0] if self._unfloored else BOTH]

    def _bound(self, size: int) -> tuple[float, float]:
        """The score from which an edit is in scope in a memory of that size, and how much less counts one that is not
        named."""
        if size not in self._bounds:
            self._bounds[size] = self._stage.bounds(self.false_fire, size)
        return self._bounds[size]

    def judge(self, encoder: Encoder) -> Judge:
        """The verifier in force beside this encoder."""
        return self.verifier if self.verifier is not None else _shipped_verifier(_gate_folder(encoder))

    def _multi(
        self, tasks: Mapping[int, Asked], vectors: Mapping[str, NDArray[np.float32]], encoder: Encoder
    ) -> dict[int, float]:
        """The tasks whose question takes several hops, with the probability of it, by a linear map of its vector; none
        where there is no map."""
        least = self.figures.multi_hop
        if least is None:
            return {}
        head = self.head if self.head is not None else _shipped_head(_gate_folder(encoder), encoder.identity)
        if head is None:
            return {}
        weights, bias = _array(tuple(head[0])), head[1]
        found = {number: hops(vectors[task.texts[0]], weights, bias) for number, task in tasks.items()}
        return {number: probability for number, probability in found.items() if probability >= least}

    # Without the stages

    def _none(self, task: Asked, bound: float, note: str) -> Decision:
        query = task.texts[0] if task.texts else ""
        return Decision(query=query, threshold=self._stage.probability(bound), scope=self.name, notes=(note,))

    def _fall_back(self, task: Asked, memory: EditMemory, namespace: str, as_of: datetime | int | None) -> Decision:
        with self._timed("search"):
            decision = self._fallback.decide(task.messages, memory, namespace=namespace, as_of=as_of)
        note = (
            f"the encoder {memory.encoder.identity} cannot read this script, so {self.fallback} decided by letters; "
            f'configure a multilingual encoder, such as encoder = "{MULTILINGUAL}", for more than that'
        )
        return replace(decision, notes=(*decision.notes, note))

    @cached_property
    def _fallback(self) -> Scope:
        from memedit.scope import scopes

        kind = scopes.get(self.fallback)
        # Edits that the encoder reads are not the fallback's: taking every one of them apart would take long.
        made: Scope = kind(latin=False) if self.fallback == "characters" else kind()
        return made

    def _notes(self, encoder: Encoder) -> tuple[str, ...]:
        figures, notes = self.figures, []
        if encoder.identity != figures.encoder:
            meant = f"calibrated for the encoder {figures.encoder}, not for {encoder.identity}: "
            if "proposer" in self.stages:
                notes.append(meant + "the probabilities do not hold; calibrate with `memedit calibrate`")
            else:
                notes.append(meant + "it only proposes, and the verifier decides alone")
        if "verifier" in self.stages and self.verifier is not None and self.verifier.identity != figures.verifier:
            notes.append(
                f"calibrated for the verifier {figures.verifier}, not for {self.verifier.identity}: the probabilities "
                "do not hold; calibrate with `memedit calibrate`"
            )
        return tuple(notes)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        began = perf_counter()
        try:
            yield
        finally:
            timings = self._last.timings
            timings[stage] = timings.get(stage, 0.0) + perf_counter() - began


def encoded(asks: Iterable[Sequence[str]], encoder: Encoder) -> dict[str, NDArray[np.float32]]:
    """The unit vector of each text that is asked, made in one batch."""
    texts = list(dict.fromkeys(text for texts in asks for text in texts))
    return dict(zip(texts, encoder.encode([" ".join(text.split())[:LONGEST] for text in texts]), strict=True))


def named(edit: Edit) -> tuple[str, ...]:
    """The names in an edit: its subject's, its aliases and its target."""
    return tuple(name for name in (edit.subject, *edit.aliases, edit.target) if name)


def names_subject(text: str, edit: Edit) -> bool:
    """Whether a text names an edit's subject, by its name or an alias, as whole words in whatever letters."""
    said = text.casefold()
    return any(place_of(name.casefold(), said) is not None for name in own_names(edit))


def by_words(text: str, edit: Edit) -> bool | str:
    """What the words alone tell: True, a text asks for what an edit says; why it does not; False, they do not tell.

    It does not where they ask for another relation of the edit's subject, or name another thing: the next of a series,
    or one in a script that nothing in the edit is written in.
    """
    asks_for, says = asked_of(text, own_names(edit)), said_by(edit)
    agrees = agreement(asks_for, says)
    if agrees is not None:
        return agrees or told(asks_for, says)
    if names_subject(text, edit):
        return False
    for name in own_names(edit):
        if numbered_apart(name, text):
            return f"the question names another than {name}"
    written = " ".join((edit.statement, *edit.aliases))
    strange = [word for word in unread(text) if word not in written]
    return f"nothing in the edit is called {strange[0]}" if strange else False


def asks_backwards(text: str, edit: Edit) -> bool:
    """Whether a text asks for an edit's subject by its target, in a known wording of a relation that has an inverse.

    "Who is the child of Bea Lo?" has one answer, as "Who is the mother of Ann?" has; "Who was born in Rome?" has many.
    """
    target = normalise(edit.target or "")
    if not target or target not in normalise(text):
        return False
    relation = relations().get(edit.relation or "")
    return (
        relation is not None
        and relation.inverse is not None
        and any(asking.backwards(edit.relation) and normalise(asking.name) == target for asking in askings(text))
    )


def asks_by_variant(text: str, edit: Edit) -> str | None:
    """How (see `one_person`) a text names the subject, a person, of whom it asks the edit's relation; else None."""
    relation = relations().get(edit.relation or "")
    if relation is None or relation.subject_type not in _PERSONS or not edit.subject:
        return None
    for asking in askings(text):
        if asking.wants == "target" and asking.relation == relation.name:
            for name in own_names(edit):
                if (how := one_person(asking.name, name)) is not None:
                    return how
    return None


_PERSONS = frozenset(["person", "player", "singer", "musician", "artist"])


def known_names(
    asks: Sequence[Asked],
    memory: EditMemory,
    *,
    namespace: str = DEFAULT_NAMESPACE,
    as_of: datetime | int | None = None,
) -> list[Asked]:
    """Follow-ups with the names in their pronouns' places that edits near the conversation have; all else unchanged."""
    leaning = [(number, ask.leans) for number, ask in enumerate(asks) if ask.leans is not None]
    if not leaning:
        return list(asks)
    import numpy as np

    texts = [f"{leans.last} {leans.text}" for _, leans in leaning]
    vectors = encoded([texts], memory.encoder)
    queries = np.stack([vectors[text] for text in texts])
    made = list(asks)
    for (number, leans), hits in zip(
        leaning, memory.search_many(queries, k=KNOWN, namespace=namespace, as_of=as_of), strict=True
    ):
        if names := leans.names(name for hit in hits for name in named(hit.edit)):
            read = asked(made[number].messages, names)
            if leans.of_person:  # "she" is not the university that she went to
                nobody = [hit.edit.target for hit in hits if hit.edit.target and _tells_no_person(hit.edit)]
                read = tuple(text for text in read if not any(name in text for name in nobody)) or read
            made[number] = replace(made[number], texts=read)
    return made


def _tells_no_person(edit: Edit) -> bool:
    relation = relations().get(edit.relation or "")
    return relation is not None and relation.target_type not in ("person", "thing", "artist")


def proposed(
    asks: Sequence[Asked],
    vectors: Mapping[str, NDArray[np.float32]],
    memory: EditMemory,
    k: int,
    *,
    floor: float = -1.0,
    namespace: str = DEFAULT_NAMESPACE,
    as_of: datetime | int | None = None,
    by_name: Literal["never", "crowded", "always"] = "never",
) -> list[list[Near]]:
    """For each conversation's texts the `k` nearest edits, each once, with the text that it is nearest to.

    `by_name`: whether edits whose subject a text names come before all but the nearest; "crowded": where more than `k`
    may be near it. In a large memory others are nearer by chance, and the index, which looks at a part of the rows,
    may not meet the nearest.
    """
    import numpy as np

    if not asks:
        return []
    flat = [(number, text) for number, ask in enumerate(asks) for text in ask.texts]
    queries = np.stack([vectors[text] for _, text in flat])
    best: list[dict[str, Near]] = [{} for _ in asks]
    by_their_name: list[set[str]] = [set() for _ in asks]
    with memory.one_state(namespace):
        found = memory.search_many(queries, k=k, namespace=namespace, as_of=as_of, floor=floor)
        for (number, text), hits in zip(flat, found, strict=True):
            named: list[Hit] = []
            if as_of is None and (by_name == "always" or (by_name == "crowded" and len(hits) == k)):
                named = memory.search_named(text, vectors[text], k=k, namespace=namespace, floor=floor, known=hits)
                by_their_name[number].update(hit.edit.id for hit in named)
            for hit in (*hits, *named):
                known = best[number].get(hit.edit.id)
                if asks[number].fits(text, hit.edit) and (known is None or hit.score > known[1].score):
                    best[number][hit.edit.id] = text, hit
    made = []
    for one, names in zip(best, by_their_name, strict=True):
        near = sorted(one.values(), key=_nearness)
        rest = sorted(near[1:], key=lambda pair: pair[1].edit.id not in names)  # the sort keeps the order among equals
        made.append(sorted([*near[:1], *rest][:k], key=_nearness))
    return made


def _nearness(near: Near) -> tuple[float, int]:
    """The nearest first, of equals the newest; in a batch a score's last digits differ from those of one by itself."""
    return -round(near[1].score, 5), -near[1].edit.seq


def hops(vector: NDArray[np.float32], weights: NDArray[np.float32], bias: float) -> float:
    """The probability that the question of this vector takes several hops."""
    return 1 / (1 + math.exp(-min(max(float(vector @ weights) + bias, -700.0), 700.0)))


def odds(probability: float) -> float:
    return probability / max(1.0 - probability, 1e-12)


def _gate_folder(encoder: Encoder) -> Path:
    """The folder of the encoder where it is of the shipped kind, else that of the shipped one."""
    from memedit.encoders.onnx import shipped

    folder: Path = encoder.folder if encoder.identity.startswith("memedit-gate@") else shipped()  # type: ignore[attr-defined]
    return folder


@lru_cache(maxsize=4)
def _shipped_verifier(folder: Path) -> Judge:
    """One per process: reading it takes longer than a thousand decisions."""
    from memedit.scope._verifier import Verifier

    return Verifier(folder)


@lru_cache(maxsize=4)
def _shipped_head(folder: Path, identity: str) -> tuple[tuple[float, ...], float] | None:
    """The head in a gate's folder, if it is of this very encoder."""
    from memedit.encoders.onnx import read_config
    from memedit.errors import ModelError

    try:
        facts: dict[str, Any] = read_config(folder)
    except ModelError:
        return None  # another encoder, and the shipped one is not there
    head = facts.get("multi_hop")
    if not head or identity != f"memedit-gate@{facts['encoder']['sha256'][:16]}":
        return None
    return tuple(map(float, head["weights"])), float(head["bias"])


@lru_cache(maxsize=4)
def _array(numbers: tuple[float, ...]) -> NDArray[np.float32]:
    import numpy as np

    return np.array(numbers, np.float32)


def _reads(encoder: Encoder, text: str) -> bool:
    """Whether the encoder can read a text; one that does not say is taken to read all."""
    if text.isascii() or not hasattr(encoder, "readable"):
        return True
    letters = [one for one in text if one.isalpha()]
    strange = sum(not _latin(one) for one in letters)
    # An English vocabulary has many a letter of other scripts, but no words: what it "knows" of them means nothing.
    return 2 * strange <= len(letters) and encoder.readable(text) >= 0.5


def _latin(letter: str) -> bool:
    return letter < "\u0250" or "\u1e00" <= letter <= "\u1eff" or "\u2c60" <= letter <= "\u2c7f"
