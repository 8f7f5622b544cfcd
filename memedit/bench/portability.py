"""What follows from an edit: by another name of its subject, backwards, one relation on, and further.

KnowEdit's parts from zsRE and WikiData and zsRE's own portability questions ("alias", "reversed", "one_hop",
"logical"), and HalluEditBench's reversed questions and those of 2 to 6 hops. Where `multihop.py` beside it knows every
hop of a chain from the data, here a question comes with its answer alone. So whether the base model knows the hops
behind the edit is found out by asking it: from the edit's target on, by every relation and chain that comes up in the
planner's readings, likely or not, so that a question is not left out for being misread; where the edit itself gives the
answer, from the name that is asked about on to the edit's subject. What it then gets right is "known", and the figures
over those are what an answerer can be asked for; the others need facts that nobody holds.

Aliases that stand in no other field of a record are taken out of its alias questions, by comparing these with the
edit's own, and given to the memory with the edit ("alias"); all alias questions without that are "alias_not_given".
Questions that cannot mean what their kind says are left out and counted ("left_out"): those that `datasets/_sift.py`
leaves out of every evaluation, and alias questions that ask nothing of what the edit says ("What is ALIAS?"). A
question that a record asks twice has the answers of both; one by an alias has the edit's own target too.
"""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import click

from memedit import terminal
from memedit.answerers import answerers as registry
from memedit.bench._questions import Prepared
from memedit.bench._records import stems
from memedit.datasets import read
from memedit.datasets._rows import json_rows
from memedit.datasets._sift import sifted
from memedit.editor import Editor
from memedit.edits import Draft, Message
from memedit.encoders import Encoder, load_encoder
from memedit.errors import InputError, NotFoundError
from memedit.matching import gives
from memedit.memory import EditMemory
from memedit.models import BaseModel, load_model
from memedit.parsing import normalise
from memedit.planning import Hop, load_planner
from memedit.relations import fill
from memedit.settings import load_settings

Loaded = Literal["per-case", "all"]

KNOWEDIT = ("zsre", "wiki_counterfact", "wiki_recent")
KINDS = ("alias", "reversed", "one_hop", "logical")
MOST_HOPS = 6


@dataclass(frozen=True)
class Question:
    """One question that follows from an edit, and its right answers; `alias` is the name that an alias question uses,
    where it could be made out."""

    kind: str
    text: str
    answers: tuple[str, ...]
    alias: str | None = None


@dataclass(frozen=True)
class Record:
    """An edit and what follows from it; `left_out` is how many of its questions are not asked."""

    draft: Draft
    questions: tuple[Question, ...]
    left_out: int = 0


def cases_of(name: str, data: Path) -> Iterator[Record]:
    """The cases of a dataset of one edit each that have questions of `KINDS`, sifted."""
    for case in read(name, data):
        if len(case.edits) != 1 or not any(case.questions.get(kind) for kind in KINDS):
            continue
        draft, kept = case.edits[0], sifted(case)[0].questions
        own = [case.prompt, *(probe.prompt for probe in case.questions.get("paraphrase", ()))]
        said = set().union(*map(stems, own)) - stems(case.subject)
        answers: dict[tuple[str, str], dict[str, None]] = {}
        for kind in KINDS:
            for probe in kept.get(kind, ()):
                if kind == "alias" and not stems(probe.prompt) & said:
                    continue
                right = (*probe.answers, draft.target) if kind == "alias" and draft.target else probe.answers
                answers.setdefault((kind, probe.prompt), {}).update(dict.fromkeys(right))
        asked = tuple(
            Question(kind, text, tuple(right), alias_in(text, own, case.subject) if kind == "alias" else None)
            for (kind, text), right in answers.items()
        )
        distinct = {(kind, probe.prompt) for kind in KINDS for probe in case.questions.get(kind, ())}
        yield Record(draft, asked, len(distinct) - len(asked))


def hallueditbench(data: Path) -> Iterator[Record]:
    """HalluEditBench: reversed questions and chains; those that do not name the subject, or give the edit away, not."""
    path = data / "hallueditbench" / "questions.json"
    if not path.is_file():
        raise NotFoundError(f"there is no {path}; give the folder of datasets with --data or MEMEDIT_DATA")
    rows: list[Any] = json_rows(path)
    try:
        for row in rows:
            subject, target, question = row["subject"], row["object"], row["question"]
            draft = Draft(statement=f"{question} {target}", subject=subject, target=target, question=question)
            asked, there = [], 0
            back = row.get("reversed_relation_question") or ""
            there += bool(back)
            if _names(back, target) and not _names(back, subject):
                asked.append(Question("reversed", back, (subject,)))
            for hops in range(2, MOST_HOPS + 1):
                text, answer = row.get(f"question_{hops}hop") or "", row.get(f"answer_{hops}hop") or ""
                there += bool(text)
                if answer and _names(text, subject) and not _names(text, target):
                    asked.append(Question(f"{hops}_hop", text, (answer,)))
            yield Record(draft, tuple(asked), left_out=there - len(asked))
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is no HalluEditBench file: {error!r}") from error


def _names(text: str, name: str) -> bool:
    return bool(name) and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) is not None


def alias_in(text: str, own: Sequence[str], subject: str) -> str | None:
    """The name that stands in an alias question where one of the edit's own questions has the subject; else None."""
    for one in own:
        before, found, after = one.partition(subject)
        if not found or not text.casefold().startswith(before.casefold()):
            continue
        rest = text[len(before) :]
        words = re.findall(r"\w+", after.removeprefix("'s"))
        end = re.search(rf"(?:'s)?[\s,]+{re.escape(words[0])}\b", rest) if words else re.search(r"[?!\s]*$", rest)
        alias = rest[: end.start()].strip() if end else ""
        if alias and len(alias.split()) <= 12 and normalise(alias) != normalise(subject):
            return alias
    return None


SOURCES: dict[str, Callable[[Path], Iterator[Record]]] = {
    **{f"knowedit-{part}": partial(cases_of, f"knowedit:{part}") for part in KNOWEDIT},
    "zsre-portability": partial(cases_of, "zsre:portability"),
    "hallueditbench": hallueditbench,
}
"""By name."""


@dataclass
class Tally:
    """What came of the questions of one kind."""

    right: list[bool] = field(default_factory=list)
    known: list[bool | None] = field(default_factory=list)
    """None where the kind needs nothing besides the edit."""
    calls: int = 0
    seconds: float = 0.0


def run(
    data: Path,
    *,
    answerers: Sequence[str] = ("auto",),
    model: object = "pocket",
    datasets: Sequence[str] = tuple(SOURCES),
    cases: int | None = None,
    edits: Loaded = "per-case",
    scope: str = "two_stage",
    encoder: str | Encoder = "onnx",
    store: str = "faiss",
    false_fire: float | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> dict[str, object]:
    """Free generation for the first `cases` records of each dataset, by each answerer.

    {"rows": [{"answerer", "model", "dataset", "edits", "kind", "questions", "right", "known", "right_known",
    "model_calls", "ms_per_question"}…], "left_out": {dataset: questions}, "missing": {dataset: why}}. Shares in [0, 1];
    "known" counts the questions whose other hops the base model knows, all of them where the edit alone answers.

    All datasets are read before any is asked about; those that the folder does not hold are named and left out. Raises
    NotFoundError where it holds none of them, InputError for one of another form.
    """
    if unknown := [name for name in datasets if name not in SOURCES]:
        raise InputError(f"there is no dataset {', '.join(unknown)}; there are: {', '.join(SOURCES)}")
    for name in answerers:
        registry.get(name)
    read, missing = _read(data, datasets, cases)
    base = load_model(model)
    prepared = Prepared(load_encoder(encoder) if isinstance(encoder, str) else encoder)
    knows = _Knows(base)
    rows: list[dict[str, object]] = []
    left: dict[str, int] = {}
    for dataset, records in read.items():
        left[dataset] = sum(record.left_out for record in records)
        known = [[knows(record, question) for question in record.questions] for record in records]
        for name in answerers:
            found: dict[str, Tally] = defaultdict(Tally)
            with tempfile.TemporaryDirectory() as folder:
                for given in (True, False):
                    at = Path(folder) / ("given" if given else "plain")
                    with EditMemory.open(at, encoder=prepared, store=store) as memory:
                        editor = Editor(memory, base, scope=scope, answerer=name, false_fire=false_fire)
                        _ask_all(editor, memory, records, known, found, edits, given, progress)
            rows += [
                {"answerer": name, "model": base.name, "dataset": dataset, "edits": edits, "kind": kind, **_row(tally)}
                for kind, tally in sorted(found.items())
            ]
    return {"rows": rows, "left_out": left, "missing": missing}


def _read(data: Path, datasets: Sequence[str], cases: int | None) -> tuple[dict[str, list[Record]], dict[str, str]]:
    """The records of the datasets that are there, and why the others are not. NotFoundError where none is."""
    found: dict[str, list[Record]] = {}
    missing: dict[str, str] = {}
    for name in datasets:
        try:
            found[name] = list(islice(SOURCES[name](data), cases))
        except NotFoundError as error:
            missing[name] = str(error)
    if not found:
        raise NotFoundError("; ".join(dict.fromkeys(missing.values())) or "no dataset is named")
    return found, missing


def _ask_all(
    editor: Editor,
    memory: EditMemory,
    records: Sequence[Record],
    known: Sequence[Sequence[bool | None]],
    found: dict[str, Tally],
    edits: Loaded,
    given: bool,
    progress: Callable[[int, int | None], None] | None,
) -> None:
    """All questions with aliases given, but for those by an alias that is not known; without, the alias questions."""
    drafts = [_draft(record, given) for record in records]
    if edits == "all":
        memory.add_many(drafts)
    for number, (record, draft, knows) in enumerate(zip(records, drafts, known, strict=True), 1):
        asked = [
            (question, know)
            for question, know in zip(record.questions, knows, strict=True)
            if (question.kind != "alias" or question.alias if given else question.kind == "alias")
        ]
        where = "default" if edits == "all" else f"case-{number}"
        if asked and edits != "all":
            memory.add_many([draft], namespace=where)
        for question, know in asked:
            began = perf_counter()
            answer = editor.ask(question.text, namespace=where)
            tally = found[question.kind if given else f"{question.kind}_not_given"]
            tally.seconds += perf_counter() - began
            tally.right.append(gives(answer.text, question.answers))
            tally.known.append(know)
            tally.calls += sum(step.get("step") == "model" for step in answer.trace)
        if progress is not None:
            progress(number, len(records))


def _draft(record: Record, given: bool) -> Draft:
    aliases = (question.alias for question in record.questions if question.alias) if given else ()
    return replace(record.draft, aliases=tuple(dict.fromkeys((*record.draft.aliases, *aliases))))


class _Knows:
    """Whether the base model alone knows what a question needs besides its edit; what was asked is not asked again."""

    def __init__(self, base: BaseModel) -> None:
        self._base = base
        self._replies: dict[str, str] = {}

    def __call__(self, record: Record, question: Question) -> bool | None:
        if question.kind in ("alias", "reversed"):
            return None
        plans, target = load_planner().read(question.text).plans, record.draft.target or ""
        if gives(target, question.answers):  # the edit is the last hop: who it is about is what must be known
            subject = (record.draft.subject or "",)
            return any(gives(self._end(plan.entity, plan.hops[:-1]), subject) for plan in plans)
        # A reading may begin a hop early or late: each of its relations is asked of the target as well.
        hops = {hop.question: hop for plan in plans for hop in plan.hops}
        chains = dict.fromkeys([*((hop,) for hop in hops.values()), *(plan.hops[1:] for plan in plans)])
        return any(gives(self._end(target, chain), question.answers) for chain in chains)

    def _end(self, name: str, chain: Sequence[Hop]) -> str:
        for hop in chain:
            asked = fill(hop.question, name)
            if asked not in self._replies:
                reply = "".join(self._base.stream([Message("user", asked)]))
                self._replies[asked] = reply.strip().removesuffix(".")
            name = self._replies[asked]
        return name


def _row(tally: Tally) -> dict[str, object]:
    knowing = [right for right, known in zip(tally.right, tally.known, strict=True) if known is not False]
    number = len(tally.right)
    return {
        "questions": number,
        "right": _share(tally.right),
        "known": len(knowing),
        "right_known": _share(knowing),
        "model_calls": round(tally.calls / number, 2),
        "ms_per_question": round(1000 * tally.seconds / number, 1),
    }


def _share(flags: Sequence[bool]) -> float | None:
    return round(sum(flags) / len(flags), 4) if flags else None


@click.command(epilog="\b\nExample:\n  memedit bench portability --data DIR --answerer auto,ike --cases 200 --json")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Folder of datasets [env: MEMEDIT_DATA].")
@click.option("--answerer", "names", default="auto", metavar="NAME[,NAME…]", help="Answerers, side by side [auto].")
@click.option("--model", metavar="SPEC", help="Base model [env: MEMEDIT_MODEL].")
@click.option("--dataset", "chosen", type=click.Choice(tuple(SOURCES)), multiple=True, help="May be repeated [all].")
@click.option("--cases", type=click.IntRange(min=1), metavar="N", help="The first N records of each [all].")
@click.option("--edits", type=click.Choice(("per-case", "all")), default="per-case", help="What is loaded [per-case].")
@click.option("--scope", metavar="NAME", help="Scope [env: MEMEDIT_SCOPE].")
@click.option("--encoder", metavar="NAME", help="Encoder [env: MEMEDIT_ENCODER].")
@click.option("--false-fire", type=float, metavar="SHARE", help="False-fire rate [env: MEMEDIT_FALSE_FIRE].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    data: Path | None,
    names: str,
    chosen: tuple[str, ...],
    cases: int | None,
    edits: Loaded,
    as_json: bool,
    **given: object,
) -> None:
    """Measure what follows from an edit: aliases, backwards, one hop on and further."""
    settings = load_settings(data=data, **given)
    if settings.data is None:
        raise InputError("say where the datasets are, with --data DIR or MEMEDIT_DATA")
    with terminal.progress("asking") as report:
        found = run(
            settings.data,
            answerers=[name.strip() for name in names.split(",") if name.strip()],
            model=settings.model,
            datasets=chosen or tuple(SOURCES),
            cases=cases,
            edits=edits,
            scope=settings.scope,
            encoder=settings.encoder,
            store=settings.store,
            false_fire=settings.false_fire,
            progress=report,
        )
    missing: Any = found["missing"]
    for dataset, why in missing.items():
        terminal.notice(f"left out, {dataset}: {why}")
    if as_json:
        terminal.emit(found)
        return
    rows: Any = found["rows"]
    if rows:
        terminal.table(list(rows[0]), [list(row.values()) for row in rows])
    left: Any = found["left_out"]
    for dataset, number in left.items():
        terminal.notice(f"left out of {dataset}: {number} questions that cannot mean what their kind says")
