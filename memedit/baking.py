"""Baking: edits go from the memory into a model's weights, as changes that the journal holds beside them, and back.

An edit that a change made the model say is answered by the weights and not shown to the scope; for any other model it
is a fact in the memory like the rest. After each fit the model is asked (memedit.looks), and what did not take stays in
the memory too. The weights in force are always the originals plus the changes in force
in journal order (memedit.fold, rule 5). Who asks gets a twin of the model that has them (`Weights`): the model itself
is never written, so that threads and namespaces share it and none sees another's changes.

A change was fitted on top of the changes that stood before it. When one of those goes, it goes exactly, and the later
ones stay as they were fitted (`Bake.stale`) until `refit`. memedit.weights knows what a change is, memedit.methods
makes them, memedit.journal keeps their bytes; no journal is known there and no tensor here. Nothing here loads torch
but what fits or answers.
"""

from __future__ import annotations

import copy
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from memedit.edits import DEFAULT_NAMESPACE, FORGET, Bake, Edit, Look, checked_namespace
from memedit.errors import InputError, NotFoundError, NotTakenError
from memedit.fold import Carried, said
from memedit.looks import Fact, checkpoint_dtype, dtype_name, look
from memedit.patches import KINDS

if TYPE_CHECKING:  # the weights' files load torch, the journal's SQLAlchemy
    from memedit.memory import EditMemory
    from memedit.models import BaseModel
    from memedit.models.hugging_face import HuggingFace
    from memedit.schema import At, Fitted, Row
    from memedit.weights.change import Change
    from memedit.weights.language_model import LanguageModel, Request

TWINS = 8
"""Edited twins kept for one model, the latest used; each holds its own copy of the weights that its changes touch."""

Progress = Callable[[int, "int | None"], None]
Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What baking, unbaking or refitting did.

    `bakes` are the changes written (of an unbake: none), `edits` the ids whose place they changed; `skipped` tells of
    each id left where it was, why. `back` are the ids that shared a change with one that was taken out, and are in the
    memory again until they are refitted; `stale` the changes in force that were fitted on top of others. `looks` tell
    what the model says of each edit that was fitted, and of earlier ones that it ceased to say; those that did not take
    are in the memory still.
    """

    bakes: tuple[Bake, ...] = ()
    edits: tuple[str, ...] = ()
    skipped: Mapping[str, str]
    back: tuple[str, ...] = ()
    stale: tuple[Bake, ...] = ()
    looks: tuple[Look, ...] = ()

    @property
    def untaken(self) -> tuple[str, ...]:
        """The ids of the edits that did not take, or that the model ceased to say."""
        return tuple(look.id for look in self.looks if look.id and not look.took)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What `export_model` wrote: the changes in force, and the type of the weights ("bfloat16"), which is that of the
    checkpoint where that is known."""

    bakes: tuple[Bake, ...]
    dtype: str
    checkpoint_dtype: str | None


# ------------------------------------------------------------------------------------------------------------- writing


def fitted_row(
    memory: EditMemory,
    row: Row,
    method: str,
    model: object,
    settings: Mapping[str, Any],
    *,
    namespace: str,
    strict: bool = False,
) -> tuple[Fitted | None, tuple[Look, ...]]:
    """The change for a row that is about to be written, and what the model says with it: of the row, whose look has no
    id yet, and of what it ceased to say. Without a change where the edit is in these weights already.

    Raises NotFoundError for an unknown method, InputError for one that writes no fact, for a setting that cannot be,
    for what the method needs and the parse lacks, and for a model whose weights cannot be changed; ModelError where it
    cannot be loaded; with `strict` NotTakenError where the model does not say the row, or ceased to say another edit.
    """
    maker = _writer(method, settings)
    _checked_kind(row.kind, row.statement)
    fact = Fact(row, _request(row))
    held = _held(model)
    would = memory.journal.preview(namespace, row)
    standing = _in_force(memory, held, namespace)
    if not would.new and would.seq in _settled(standing):
        return None, ()
    # What the new fact takes the place of goes out of the weights with it, and so does what did not take.
    below = _apart(standing, {*would.retired, would.seq})
    change = _fit(memory, held, maker, method, [held.base.asked(fact.request)], [one.seq for one in below])
    held.changes[_UNWRITTEN] = change
    looks = _looks(memory, held, standing, below, [_UNWRITTEN], {None: fact})
    _require(looks.values(), strict)
    return _fitted(held, change, below, _missed(looks)), tuple(looks.values())


def bake(
    memory: EditMemory,
    ids: Iterable[str] | None = None,
    *,
    model: object = None,
    method: str = "memit",
    settings: Mapping[str, Any] | None = None,
    namespace: str = DEFAULT_NAMESPACE,
    batch: int | None = None,
    strict: bool = False,
    author: str | None = None,
    reason: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Move edits, all current ones unless some are named, from the memory into the weights of a model.

    They are fitted `batch` at a time in journal order (None: all in one change), each batch on top of those before it
    and written when it is fitted; with `strict` all are written at the end, if every one took. A change goes in and out
    as a whole: of edits baked together, undoing one puts the others back into the memory. An edit that did not take
    stays in the memory, beside its change. An edit that is in these weights already is skipped, unless nothing of its
    change took: then it is fitted anew. So is skipped, unless it was named, one that the method cannot take. `model`
    None is the settings' own.

    Raises InputError, nothing being written, for a named edit that is not current or lacks what the method needs;
    NotTakenError with `strict`; ConflictError where an edit went while it was fitted; and as `EditMemory.add` does.
    """
    if batch is not None and batch < 1:
        raise InputError(f"batch is how many edits to fit together, so at least 1, not {batch}")
    maker = _writer(method, settings or {})
    edits = _edits(memory, ids, namespace)
    skipped: dict[str, str] = {}
    asked: list[tuple[Edit, Fact]] = []
    for edit in edits:
        try:
            _checked_kind(edit.kind, edit.statement)
            asked.append((edit, Fact(edit, _request(edit))))
        except InputError as error:
            if ids is not None:
                raise
            skipped[edit.id] = str(error)
    held = _held(model)
    standing = _in_force(memory, held, namespace)
    there, spoken = _settled(standing), said(standing)
    skipped |= {edit.id: _there(edit.seq in spoken) for edit, _ in asked if edit.seq in there}
    asked = [(edit, fact) for edit, fact in asked if edit.seq not in there]
    size = batch or len(asked)
    made: list[int] = []
    pending: list[tuple[list[int], Fitted]] = []  # with `strict`: what is not written yet
    looks: dict[int | None, Look] = {}
    for start in range(0, len(asked), size or 1):
        end = start + size
        part: dict[int | None, Fact] = {edit.seq: fact for edit, fact in asked[start:end]}
        # What is fitted takes the place of a change that did not take.
        moving = {edit.seq for edit, _ in asked[0 if strict else start : end]}
        below = _apart(_in_force(memory, held, namespace), moving)
        above = [_UNWRITTEN - number for number in range(len(pending) + 1)]
        on = [*(one.seq for one in below), *above[:-1]]
        change = _fit(memory, held, maker, method, [held.base.asked(fact.request) for fact in part.values()], on)
        held.changes[above[-1]] = change
        missed: list[int | None] = []
        if (last := end >= len(asked)) or not strict:
            # At the end all are looked at: a later batch may have undone what an earlier one did.
            before = asked[:start] if last else []
            again: dict[int | None, Fact] = {edit.seq: fact for edit, fact in before if strict or looks[edit.seq].took}
            seen = _looks(memory, held, standing, below, above, {**again, **part}, others=last)
            looks |= seen
            missed = _missed(seen)
            _require(looks.values(), strict)
        pending.append(([edit.seq for edit, _ in asked[start:end]], _fitted(held, change, below, missed)))
        if last or not strict:
            made += memory.journal.bake(namespace, pending, author=author or memory.author, reason=reason)
            held.changes[made[-1]] = change
            pending = []
        if progress is not None:
            progress(min(end, len(asked)), len(asked))
    bakes = memory.bakes(namespace=namespace)
    return Report(
        bakes=tuple(one for one in bakes if one.seq in made),
        edits=tuple(edit.id for edit, _ in asked),
        skipped=skipped,
        stale=tuple(one for one in bakes if one.stale),
        looks=tuple(looks.values()),
    )


def unbake(
    memory: EditMemory,
    ids: Iterable[str] | None = None,
    *,
    model: str | None = None,
    namespace: str = DEFAULT_NAMESPACE,
    author: str | None = None,
    reason: str | None = None,
) -> Report:
    """Move edits, all unless some are named, back into the memory: of one model's weights, or of every model's.

    No model is loaded: `model` is the name or the SHA-256 (or its beginning) that a change is listed with. Raises
    InputError where a named edit is in no such weights.
    """
    wanted = None
    if ids is not None:
        wanted = {edit.id: edit.seq for edit in _edits(memory, ids, namespace, current=False)}
    bakes = [one for one in memory.bakes(namespace=namespace) if model is None or _is_of(one, model)]
    taken: dict[tuple[str, str], dict[str, None]] = {}
    for one in bakes:
        for id_ in one.left:
            if wanted is None or id_ in wanted:
                taken.setdefault((one.model_hash, one.model), {})[id_] = None
    found = dict.fromkeys(id_ for some in taken.values() for id_ in some)
    if missing := [id_ for id_ in wanted or () if id_ not in found]:
        of = f"the weights of {model}" if model else "any model's weights"
        raise InputError(f"{', '.join(missing)} is not in {of}; `memedit show ID` tells where an edit is")
    kept = {edit.id: edit.kind for edit in memory.journal.find(seqs=_seqs(memory, namespace, found))}
    if erasing := [id_ for id_ in found if kept[id_] == FORGET]:
        if wanted is not None:
            raise InputError(f"{', '.join(erasing)} erases something and cannot be kept elsewhere; undo or remove it")
        taken = {key: {id_: None for id_ in some if kept[id_] != FORGET} for key, some in taken.items()}
        found = dict.fromkeys(id_ for id_ in found if kept[id_] != FORGET)
    if found:
        seqs = {key: _seqs(memory, namespace, some) for key, some in taken.items() if some}
        memory.journal.unbake(namespace, seqs, author=author or memory.author, reason=reason)
    after = memory.bakes(namespace=namespace)
    return Report(
        edits=tuple(found),
        skipped={},
        back=_fallen(one for one in after if one.id in {before.id for before in bakes if before.in_force}),
        stale=tuple(one for one in after if one.stale),
    )


def refit(
    memory: EditMemory,
    *,
    model: object = None,
    namespace: str = DEFAULT_NAMESPACE,
    everything: bool = False,
    strict: bool = False,
    author: str | None = None,
    reason: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Fit the changes of a model again, in order, each on top of those before it, with its own method and settings.

    Begins with the first that was fitted on top of other changes than stand there now, or that lost some of its edits
    (the rest go into the weights again); those before it are as they should be. `everything` begins with the first.
    A change that erases (`memedit forget`) is kept as it is. All of it is written in one transaction. Raises
    InputError where the namespace has no changes for this model, or an edit cannot be fitted; with `strict`
    NotTakenError where an edit did not take.
    """
    checked_namespace(namespace)
    held = _held(model)
    every = [one for one in memory.bakes(namespace=namespace) if one.left]
    ours = [one for one in every if one.model_hash == held.hash]
    if not ours:
        others = ", ".join(dict.fromkeys(one.model for one in every))
        raise InputError(
            f"no change in namespace {namespace!r} was fitted for {held.name} ({held.hash[:12]}…); "
            + (f"there are some for: {others}" if others else "`memedit bake` puts edits into weights")
        )
    first = next((place for place, one in enumerate(ours) if everything or one.stale or not one.in_force), len(ours))
    standing = _in_force(memory, held, namespace)
    kept, due = {one.seq for one in ours[:first]}, ours[first:]
    below = [one for one in standing if one.seq in kept]
    fitted: list[tuple[list[int], Change]] = []
    facts: dict[int | None, Fact] = {}
    above: list[int] = []
    for number, one in enumerate(due, 1):
        edits = memory.journal.find(seqs=_seqs(memory, namespace, one.left), oldest_first=True)
        if any(edit.kind == FORGET for edit in edits):
            change = _changes(memory, held, [one.seq])[0]
        else:
            own: dict[int | None, Fact] = {edit.seq: Fact(edit, _request(edit)) for edit in edits}
            facts |= own
            requests = [held.base.asked(fact.request) for fact in own.values()]
            maker = _maker(one.method, _given(one.method, one.settings))
            change = _fit(memory, held, maker, one.method, requests, [*(under.seq for under in below), *above])
        fitted.append(([edit.seq for edit in edits], change))
        above.append(_UNWRITTEN - len(above))
        held.changes[above[-1]] = change
        if progress is not None:
            progress(number, len(due))
    looks = _looks(memory, held, standing, below, above, facts) if due else {}
    _require(looks.values(), strict)
    # Beside its own change, and beside the last, with which it was looked at.
    missed = _missed(looks)
    batches = [
        (seqs, _fitted(held, change, below, [seq for seq in missed if seq in seqs or change is fitted[-1][1]]))
        for seqs, change in fitted
    ]
    made = memory.journal.bake(namespace, batches, author=author or memory.author, reason=reason) if batches else []
    bakes = memory.bakes(namespace=namespace)
    return Report(
        bakes=tuple(one for one in bakes if one.seq in made),
        edits=tuple(id_ for one in due for id_ in one.left),
        skipped={},
        stale=tuple(one for one in bakes if one.stale),
        looks=tuple(looks.values()),
    )


def forget(
    memory: EditMemory,
    requests: Sequence[Request],
    *,
    model: object = None,
    method: str = "depn",
    settings: Mapping[str, Any] | None = None,
    namespace: str = DEFAULT_NAMESPACE,
    author: str | None = None,
    reason: str | None = None,
) -> tuple[Edit, LanguageModel, Change]:
    """Erase texts (each request's target, behind its prompt) from a model's weights, as an edit of the kind "forget".

    The edit says nothing of the texts but how many they are: a hash of one with a known form, such as a phone number,
    is guessed back. It is told from others by a random number. -> the edit, the model as it answered before, and the
    change, which is undone and removed as any; a purge takes it away too, so that the model knows the texts again.
    Raises as `EditMemory.add` does, and InputError for a method that writes facts.
    """
    from secrets import token_hex

    maker = _maker(method, settings or {})
    if getattr(maker, "writes", True):
        raise InputError(f"{method} with these settings writes facts and forgets none; use depn, or kn as it erases")
    if not requests:
        raise InputError("say what is to be forgotten")
    checked_namespace(namespace)  # before the model is loaded
    held = _held(model)
    standing = _in_force(memory, held, namespace)
    below = [one.seq for one in standing]
    change = _fit(memory, held, maker, method, requests, below)
    statement = f"{_count(len(requests), 'text')} forgotten by {method} ({token_hex(8)})"
    edit = memory.add(
        statement,
        kind=FORGET,
        namespace=namespace,
        author=author,
        reason=reason,
        fitted=_fitted(held, change, standing),
    ).edit
    return edit, _twin(memory, held, below), change


def export_model(
    memory: EditMemory,
    folder: Path,
    *,
    model: object = None,
    namespace: str = DEFAULT_NAMESPACE,
    as_of: datetime | int | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write the model with the changes in force as an ordinary folder of the transformers library.

    `AutoModelForCausalLM.from_pretrained(folder)` reads it, with its tokenizer. The weights are rounded to the type
    that the checkpoint is stored in; where that is not known, they stay in the type that they were loaded in. No undo
    or purge reaches the folder. Raises InputError where it holds something and `overwrite` is not said.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; a model is a folder: name another place")
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise InputError(f"{folder} holds something already; name another folder, or say to write over it")
    checked_namespace(namespace)
    held = _held(model)
    at = memory.journal.at(as_of)
    seqs = [one.seq for one in _in_force(memory, held, namespace, at)]
    twin = _twin(memory, held, seqs)
    stored = checkpoint_dtype(twin)
    module = twin.model
    module.config = copy.deepcopy(
        module.config
    )  # saving writes the type into it, and the model itself has the same one
    if stored is not None:
        module = module.to(stored)
    module.save_pretrained(folder)
    twin.tokenizer.save_pretrained(folder)
    return Exported(
        bakes=tuple(one for one in memory.journal.bakes(namespace, at) if one.seq in set(seqs)),
        dtype=dtype_name(module.dtype),
        checkpoint_dtype=None if stored is None else dtype_name(stored),
    )


# ------------------------------------------------------------------------------------------------------------- reading


def of_edit(memory: EditMemory, edit: Edit, *, as_of: datetime | int | None = None) -> list[Bake]:
    """The effective changes that carry an edit at a moment, in force or not; no model is loaded."""
    return [one for one in memory.bakes(namespace=edit.namespace, as_of=as_of) if edit.id in one.edits]


def advice(bakes: Sequence[Bake]) -> list[str]:
    """What a user is to know of changes after one was taken out, a line each; none where all is as it was fitted."""
    lines = []
    for model in dict.fromkeys(one.model for one in bakes):
        ours = [one for one in bakes if one.model == model]
        if stale := [one for one in ours if one.stale]:
            lines.append(
                f"{_count(len(stale), 'change')} in the weights of {model} {'was' if len(stale) == 1 else 'were'} "
                "fitted on top of others than are in force now; what was taken out is out exactly, the later ones were "
                f"not refitted: `memedit refit --model {model}` does that"
            )
        if fallen := _fallen(ours):
            lines.append(
                f"{_named(fallen)} shared a change of {model} with an edit that is not in force, and "
                f"{'is' if len(fallen) == 1 else 'are'} answered from the memory until `memedit refit --model {model}`"
            )
    return lines


@dataclass(frozen=True)
class Standing:
    """What answers for one namespace at one moment.

    `model` has the changes in force in its weights; it is None where nothing was to be loaded: the base model answers
    as it is. `memory` lacks the edits that these make it say. `carried` are the changes, `untaken` the ids of the edits
    that they carry and that did not take, `elsewhere` those that are in the weights of other models only, which those
    `models` name.
    """

    model: BaseModel | None
    memory: EditMemory
    carried: tuple[Carried, ...] = ()
    untaken: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    def step(self) -> dict[str, object] | None:
        """One step of an answer's trace; None where nothing is in weights."""
        if not self.carried and not self.elsewhere:
            return None
        return {
            "step": "weights",
            "changes": len(self.carried),
            "baked": sum(len(one.edits) for one in self.carried) - len(self.untaken),
            "untaken": list(self.untaken),
            "elsewhere": list(self.elsewhere),
            "models": list(self.models),
        }

    def notes(self) -> list[str]:
        """The same in words, for people."""
        lines = []
        if self.carried:
            edits = sum(len(one.edits) for one in self.carried) - len(self.untaken)
            lines.append(f"{_count(edits, 'edit')} in the weights, by {_count(len(self.carried), 'change')}")
        if self.untaken:
            lines.append(f"{_named(self.untaken)}: did not take in the weights, so from the memory")
        if self.elsewhere:
            lines.append(
                f"{_named(self.elsewhere)}: in the weights of {', '.join(self.models)}, not of this model, so from the "
                "memory"
            )
        return lines


class Weights:
    """A memory's changes on a base model: gives each namespace and moment the twin that is its own.

    Safe to use from threads. A twin shares with the model every weight that no change touches; it is kept under the
    list of its changes, which is read anew for each question, and is never changed itself. So an answer on its way goes
    on with the weights that it began with, whatever is written meanwhile.
    """

    def __init__(self, memory: EditMemory) -> None:
        self._memory = memory
        self._lock = threading.Lock()
        self._twins: OrderedDict[tuple[int, ...], HuggingFace] = OrderedDict()
        self._views: OrderedDict[tuple[int, ...], EditMemory] = OrderedDict()
        self._known: tuple[object, _Held | None] | None = None
        self._last: OrderedDict[tuple[str, bool], tuple[object, Standing]] = OrderedDict()

    def standing(
        self,
        model: Callable[[], BaseModel] | str,
        namespace: str = DEFAULT_NAMESPACE,
        as_of: datetime | int | None = None,
    ) -> Standing:
        """What answers in a namespace; `model` is only called where there are changes. A name loads no model: the
        changes are then those that were fitted for a model called so."""
        journal = self._memory.journal
        if not journal.any_bakes(namespace):  # the usual case
            return Standing(None, self._memory)
        while True:
            at = journal.at(as_of)
            answering = model if isinstance(model, str) else model()
            # What is current now is what is live by the journal's head, less what is outside its time.
            now = (*journal.standing(namespace, at), answering) if as_of is None else None
            key = namespace, isinstance(model, str)
            with self._lock:
                before, standing = self._last.get(key, (None, None))
            if standing is not None and now is not None and before == now:
                return standing
            try:
                made = self._standing(answering, namespace, at)
                if now is not None:
                    with self._lock:
                        _put(self._last, key, (now, made))
                return made
            except _PurgedError:  # between two readings; the list of changes is another now
                continue

    def _standing(self, model: BaseModel | str, namespace: str, at: At) -> Standing:
        journal = self._memory.journal
        every = [one for one in journal.carried(namespace, at) if one.in_force]
        if not every:
            return Standing(None, self._memory)
        answering = None if isinstance(model, str) else model
        held = None if answering is None else self._held(answering)
        if isinstance(model, str):
            hashes = {one.model_hash for one in journal.bakes(namespace, at) if _is_of(one, model)}
        else:
            hashes = {held.hash} if held is not None else set()
        ours = tuple(one for one in every if one.model in hashes)
        if held is not None and ours:
            answering = self._twin(held, [one.seq for one in ours])
        baked, spoken = {edit for one in ours for edit in one.edits}, said(ours)
        others = {one.seq: one for one in every if one.model not in hashes}
        apart = ([one for one in others.values() if one.model == model] for model in {o.model for o in others.values()})
        away = set().union(*map(said, apart)) - baked
        found = journal.find(seqs=away, oldest_first=True) if away else []
        elsewhere = tuple(edit.id for edit in found if edit.kind != FORGET)
        silent = {edit.seq for edit in found if edit.kind == FORGET}
        named = journal.bakes(namespace, at) if elsewhere else []
        models = tuple(dict.fromkeys(one.model for one in named if one.seq in others))
        missed = journal.find(seqs=baked - spoken, oldest_first=True) if baked - spoken else []
        untaken = tuple(edit.id for edit in missed)
        return Standing(answering, self._view(spoken | silent), ours, untaken, elsewhere, models)

    def _held(self, model: BaseModel) -> _Held | None:
        with self._lock:
            if self._known is None or self._known[0] is not model:
                self._twins.clear()
                self._known = model, _holding(model)
            return self._known[1]

    def _twin(self, held: _Held, seqs: Sequence[int]) -> HuggingFace:
        key = tuple(seqs)
        with self._lock:  # while one thread makes a twin, the others wait for it rather than make it too
            if (made := self._twins.get(key)) is None:
                made = held.base.with_weights(_twin(self._memory, held, seqs))
                held.keep({*key, *(seq for kept in self._twins for seq in kept)})
            return _put(self._twins, key, made)

    def _view(self, seqs: set[int]) -> EditMemory:
        """Kept, because scopes keep what they derive from a memory as long as that memory."""
        if not seqs:
            return self._memory
        key = tuple(sorted(seqs))
        with self._lock:
            return _put(self._views, key, self._views.get(key) or self._memory.without(seqs))


def _put(kept: OrderedDict[Key, Value], key: Key, value: Value) -> Value:
    """Keep a value as the latest, and no more than TWINS of them."""
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > TWINS:
        kept.popitem(last=False)
    return value


# -------------------------------------------------------------------------------------------------------- small pieces


_UNWRITTEN = -1
"""In the place of a record's number, for a change that is not written yet; the next ones count on downwards."""


class _PurgedError(NotFoundError):
    """A change that was in force a moment ago has been erased."""


class _Held:
    """A model whose weights can be changed, with its hash and the changes that were read for it."""

    def __init__(self, base: HuggingFace) -> None:
        self.base = base
        self.changes: dict[int, Change] = {}

    @property
    def name(self) -> str:
        return _full(self.base.name)

    @cached_property
    def hash(self) -> str:
        return self.base.language_model.hash

    def keep(self, seqs: set[int]) -> None:
        """Let go of all other changes."""
        self.changes = {seq: change for seq, change in self.changes.items() if seq in seqs}


def _holding(model: object) -> _Held | None:
    from memedit.models.hugging_face import HuggingFace

    return _Held(model) if isinstance(model, HuggingFace) else None


def _held(model: object) -> _Held:
    """The model by its spec, loaded; or an object that is one. Raises InputError where it has no weights to change."""
    from memedit.models import load_model

    if model is None:
        from memedit.settings import load_settings

        model = load_settings().model
    loaded = load_model(model)
    held = _holding(loaded)
    if held is None:
        raise InputError(
            f"{loaded.name} is asked over an interface that shows no weights; methods write into pocket and "
            "hf:NAME_OR_PATH"
        )
    return held


def _full(name: str) -> str:
    """A model's name with its folder written out, so that it is the same from everywhere."""
    kind, _, argument = name.partition(":")
    if kind == "hugging_face":
        kind = "hf"
    folder = Path(argument).expanduser() if argument else None
    return f"{kind}:{folder.resolve()}" if folder is not None and folder.is_dir() else f"{kind}:{argument}".rstrip(":")


def _is_of(one: Bake, model: str) -> bool:
    """Whether a change was fitted for the model of that name, or of a hash that begins so."""
    return one.model == _full(model) or (len(model) >= 6 and one.model_hash.startswith(model.lower()))


def _maker(method: str, settings: Mapping[str, Any]) -> Any:
    from memedit.methods import make

    return make(method, **settings)


def _writer(method: str, settings: Mapping[str, Any]) -> Any:
    """The method, to write facts with. Whoever watches is told what there is to know of it."""
    from memedit.methods import cautions, require_writing
    from memedit.weights.watched import tell

    made = _maker(method, settings)
    require_writing(method, made)
    for line in cautions(method):
        tell(line)
    return made


def _given(method: str, settings: Mapping[str, object]) -> dict[str, Any]:
    """Settings that a change recorded, as the method takes them: what it noted besides is left out."""
    from dataclasses import fields

    from memedit.methods import methods

    known = {field.name for field in fields(methods.get(method))}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items() if k in known}


def _request(fact: Edit | Row) -> Request:
    """The fact in its own words; raises InputError for what it lacks before any model is loaded."""
    from memedit.weights.language_model import request_of

    return request_of(fact)


def _checked_kind(kind: str, statement: str) -> None:
    if kind in KINDS or kind == FORGET:
        raise InputError(f"{statement!r} is of the kind {kind}; only facts can be written into weights")


def _edits(memory: EditMemory, ids: Iterable[str] | None, namespace: str, *, current: bool = True) -> list[Edit]:
    """The edits of these ids in journal order, or all current ones of the namespace."""
    if ids is None:
        return memory.list(namespace=namespace, patches=False)[::-1]
    found = {edit.seq: edit for edit in (memory.get(id_, namespace=namespace) for id_ in ids)}
    edits = [found[seq] for seq in sorted(found)]
    if current and (off := [edit for edit in edits if edit.state != "current"]):
        raise InputError(
            f"{', '.join(f'{edit.id} is {edit.state}' for edit in off)}; only current edits go into weights"
        )
    return edits


def _seqs(memory: EditMemory, namespace: str, ids: Iterable[str]) -> list[int]:
    return [memory.journal.resolve(namespace, id_)[0] for id_ in ids]


def _fallen(bakes: Iterable[Bake]) -> tuple[str, ...]:
    """The edits that are in the memory only because their change lost others."""
    return tuple(dict.fromkeys(id_ for one in bakes if not one.in_force for id_ in one.left))


def _in_force(memory: EditMemory, held: _Held, namespace: str, at: At | None = None) -> list[Carried]:
    return [one for one in memory.journal.carried(namespace, at) if one.in_force and one.model == held.hash]


def _changes(memory: EditMemory, held: _Held, seqs: Sequence[int]) -> list[Change]:
    """The changes of these records, those that are not at hand read from the journal."""
    from memedit.weights.change import Change

    wanted = [seq for seq in seqs if seq not in held.changes]
    found = memory.journal.weights(wanted) if wanted else {}
    for seq in wanted:
        if seq not in found:
            raise _PurgedError(f"the change of record {seq} was erased meanwhile; run it again")
        held.changes[seq] = Change.unpacked(found[seq], f"the change of record {seq}")
    return [held.changes[seq] for seq in seqs]


def _fit(
    memory: EditMemory, held: _Held, maker: Any, method: str, requests: Sequence[Request], below: Sequence[int]
) -> Change:
    """Fit on top of the changes of these records; the model is not touched."""
    from memedit.weights.change import state_of

    state = state_of(change for change in _changes(memory, held, below) if change.method == method)
    change: Change = maker.fit(_twin(memory, held, below), requests, state=state)
    return change


def _fitted(held: _Held, change: Change, on: Sequence[Carried], missed: Iterable[int | None] = ()) -> Fitted:
    from memedit.schema import Fitted

    settings = json.dumps(dict(change.settings), ensure_ascii=False, sort_keys=True)
    # Without the ids: the journal knows which edits it carries. Without the replies: they may quote a fact.
    data, below = change.for_edits().packed(), tuple(one.seq for one in on)
    return Fitted(held.hash, held.name, change.method, settings, data, below, tuple(missed))


def _settled(standing: Sequence[Carried]) -> set[int]:
    """The edits that are not fitted anew: those of changes of which something took."""
    spoken = said(standing)
    return {edit for one in standing if spoken.intersection(one.edits) for edit in one.edits}


def _there(took: bool) -> str:
    if took:
        return "it is in these weights already"
    return (
        "it is in these weights with edits that took, and did not take itself: the memory answers it; `memedit unbake` "
        "takes them all out"
    )


def _apart(standing: Sequence[Carried], edits: Container[int]) -> list[Carried]:
    """The changes that carry none of these edits."""
    return [one for one in standing if not any(edit in edits for edit in one.edits)]


def _looks(
    memory: EditMemory,
    held: _Held,
    before: Sequence[Carried],
    below: Sequence[Carried],
    above: Sequence[int],
    facts: Mapping[int | None, Fact],
    *,
    others: bool = True,
) -> dict[int | None, Look]:
    """What the model says of each fact, by its seq, with the changes `below` and, on top, the new ones `above`.

    With `others` also what it says of each edit that those below made it say until now and that it ceased to say. Asked
    are those alone whose target has become less likely than all the rest; the rest are still said.
    """
    from memedit.weights.rows import probabilities

    old, new = (_twin(memory, held, seqs) for seqs in ([one.seq for one in before], [*(o.seq for o in below), *above]))
    looks = dict(zip(facts, look(held.base, old, new, list(facts.values())), strict=True))
    rest = sorted(said(below) - facts.keys()) if others else []
    known = [edit for edit in memory.journal.find(seqs=rest, oldest_first=True) if edit.kind != FORGET] if rest else []
    if known:
        there = [Fact(edit, _request(edit)) for edit in known]
        odds = probabilities(new, [held.base.asked(fact.request) for fact in there]).exp().tolist()
        doubtful = {edit.seq: fact for edit, fact, p in zip(known, there, odds, strict=True) if p < 0.5}
        found = zip(doubtful, look(held.base, old, new, list(doubtful.values())), strict=True)
        looks |= {seq: one for seq, one in found if not one.took}
    return looks


def _missed(looks: Mapping[int | None, Look]) -> list[int | None]:
    return [seq for seq, look in looks.items() if not look.took]


def _require(looks: Iterable[Look], strict: bool) -> None:
    """Raise NotTakenError where it is strict and something did not take."""
    every = list(looks)
    if strict and not all(look.took for look in every):
        raise NotTakenError(every)


def _twin(memory: EditMemory, held: _Held, seqs: Sequence[int]) -> LanguageModel:
    """The model with the changes of these records, in this order."""
    from dataclasses import replace

    from memedit.weights.change import edited

    changes = _changes(memory, held, seqs)
    if not changes:
        return edited(held.base.language_model)
    # As one: the weights are then hashed once, and each is summed once.
    every = tuple(delta for change in changes for delta in change.deltas)
    return edited(held.base.language_model, replace(changes[0], deltas=every))


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids[:3]) + (f" and {len(ids) - 3:,} more" if len(ids) > 3 else "")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
