"""Multi-hop questions with edits on the way: MQuAKE's cases by its own rules, and questions that no edit touches.

A case counts if any of its three questions is answered right, aliases included; each question counts for itself too,
and hop-wise a case counts if one of its questions is answered right with every step of its chain right. With all edits
of all cases loaded at once, a case is dropped where another case edits a hop that it relies on. A case is answerable
where the base model alone answers each of its unedited hops. Unless told otherwise only cases are asked that nothing
which ships was trained on.

Where the data has no file of MQuAKE-hard, its form is taken from CF-3k: the cases of four hops, all of them edited.
They are asked once and reported twice, in the same memory as all others, which is harder than a memory of their own.

The second table asks questions whose chains no edit touches, with an empty memory and with one full of other edits.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import click

from memedit import terminal
from memedit.answerers import answerers as registry
from memedit.bench._questions import Prepared
from memedit.datasets import mquake, parts
from memedit.datasets._rows import json_rows
from memedit.editor import Editor
from memedit.edits import Draft, Message
from memedit.encoders import Encoder, load_encoder
from memedit.errors import InputError, NotFoundError
from memedit.matching import gives
from memedit.memory import EditMemory
from memedit.models import BaseModel, load_model
from memedit.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from memedit.answerers import Answerer

Loaded = Literal["per-case", "all"]
Progress = Callable[[int, int | None], None]

CF_3K, HARD = "mquake-cf-3k", "mquake-hard"
DATASETS = (CF_3K, HARD)
UNEDITED = 100
"""Cases whose unedited questions are asked of an empty and of a full memory."""


@dataclass(frozen=True)
class Hop:
    """A single-hop question, its right answers, and what it is about. `edited`: an edit of the case answers it."""

    question: str
    answers: tuple[str, ...]
    slot: tuple[str, str]
    edited: bool


@dataclass(frozen=True)
class Case:
    """A case of MQuAKE as it is asked."""

    id: str
    drafts: tuple[Draft, ...]
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    hops: tuple[Hop, ...]
    old_answers: tuple[str, ...]
    old_slots: tuple[tuple[str, str], ...]
    """(subject, relation) of each hop before the edits."""
    edited: frozenset[tuple[str, str]]
    """(subject, relation) of each of its edits."""

    @property
    def hard(self) -> bool:
        return len(self.hops) == 4 and all(hop.edited for hop in self.hops)


def case_of(row: Mapping[str, Any], number: int) -> Case:
    """A record of MQuAKE-CF's form. Raises KeyError or TypeError for one that lacks what it needs."""
    original = row["orig"]
    made = {tuple(triple) for triple in original["edit_triples"]}
    hops = tuple(
        Hop(
            hop["question"],
            (hop["answer"], *hop.get("answer_alias", ())),
            (triple[0], triple[1]),
            tuple(triple) in made,
        )
        for hop, triple in zip(row["new_single_hops"], original["new_triples"], strict=True)
    )
    return Case(
        id=str(row.get("case_id", number)),
        drafts=tuple(mquake.drafts(row)),
        questions=tuple(row["questions"]),
        answers=(row["new_answer"], *row.get("new_answer_alias", ())),
        hops=hops,
        old_answers=(row["answer"], *row.get("answer_alias", ())),
        old_slots=tuple((triple[0], triple[1]) for triple in original["triples"]),
        edited=frozenset((triple[0], triple[1]) for triple in made),
    )


def load(data: Path, name: str) -> tuple[list[Case], set[str], bool]:
    """Cases of a dataset, the ids of those that are contaminated with all loaded, and whether the file is its own.

    Raises NotFoundError where the data has no such file, InputError for one of another form.
    """
    own = True
    try:
        path = parts(f"mquake:{name.removeprefix('mquake-')}", data)[0].paths[0]
    except NotFoundError:
        if name != HARD:
            raise
        path, own = parts("mquake:cf-3k", data)[0].paths[0], False
    rows: list[Any] = json_rows(path)
    try:
        cases = [case_of(row, number) for number, row in enumerate(rows)]
        bad = {cases[at].id for at in mquake.contaminated(rows)}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no MQuAKE file with chains of hops: {error!r}") from error
    return cases, bad, own


def unseen(case_id: str) -> bool:
    """Whether nothing that ships was trained on the questions of this case."""
    from memedit.training.planner_text import part

    return part(case_id) == "unseen"


@dataclass
class Asked:
    """What came of one question."""

    right: bool
    chain: bool | None
    """Whether every step was right; None where the answerer shows no steps."""
    calls: int
    seconds: float


@dataclass
class Tally:
    """A case and its questions' outcomes."""

    case: Case
    answerable: bool
    asked: list[Asked] = field(default_factory=list)


def run(
    data: Path,
    *,
    answerers: Sequence[str] = ("planned",),
    model: object = "pocket",
    edits: Loaded = "all",
    datasets: Sequence[str] = DATASETS,
    cases: int | None = None,
    every: bool = False,
    unedited: int = UNEDITED,
    scope: str = "two_stage",
    encoder: str | Encoder = "onnx",
    store: str = "faiss",
    false_fire: float | None = None,
    progress: Progress | None = None,
) -> dict[str, object]:
    """Free generation over the cases of each dataset, by each answerer: the rows that the module's docstring tells of.

    `every`: ask the cases that were trained on as well. `cases`: so many of those that count, spread evenly over the
    file, which has them by number of hops. `unedited`: so many of these are asked without their edits (0: none).

    {"rows": [{"answerer", "model", "dataset", "edits", "cases", "dropped", "answerable", "case_accuracy",
    "question_accuracy", "hop_accuracy", "case_accuracy_answerable", "model_calls", "ms_per_question"}…], "unedited":
    [{"answerer", "questions", "empty", "full", "same"}…], "left_out": {"seen", …}, "hard_from_cf_3k": bool}. Shares in
    [0, 1]; None where nothing was measured. "dropped" counts contaminated cases among those that would have counted.
    """
    if unknown := [name for name in datasets if name not in DATASETS]:
        raise InputError(f"there is no dataset {', '.join(unknown)}; there are: {', '.join(DATASETS)}")
    for name in answerers:
        registry.get(name)
    base = load_model(model)
    prepared = Prepared(load_encoder(encoder) if isinstance(encoder, str) else encoder)
    settings = {"scope": scope, "false_fire": false_fire}
    rows: list[dict[str, object]] = []
    plain: list[dict[str, object]] = []
    left_out: dict[str, int] = {}
    from_cf = False
    read = {name: load(data, name) for name in datasets}
    # One pass serves both datasets where the second is a part of the first.
    passes: dict[str, list[str]] = {}
    for name in datasets:
        shared = name == HARD and not read[name][2] and CF_3K in datasets
        from_cf |= name == HARD and not read[name][2]
        passes.setdefault(CF_3K if shared else name, []).append(name)
    for at, reported in passes.items():
        every_case, bad, own = read[at]
        wanted = [case for case in every_case if every or unseen(case.id)]
        left_out[f"{at}: seen in training"] = len(every_case) - len(wanted)
        if at == HARD and not own:
            wanted = [case for case in wanted if case.hard]
        dropped = [case for case in wanted if edits == "all" and case.id in bad]
        kept = spread([case for case in wanted if edits != "all" or case.id not in bad], cases)
        with _memory(prepared, store) as memory:
            _fill(memory, every_case, kept, edits)
            replies: dict[str, str] = {}
            able = {case.id: _answerable(case, base, replies) for case in kept}
            for name in answerers:
                editor = Editor(memory, base, answerer=name, **settings)  # type: ignore[arg-type]
                tallies = [Tally(case, able[case.id]) for case in kept]
                for number, tally in enumerate(tallies, 1):
                    where = "default" if edits == "all" else _namespace(tally.case)
                    tally.asked = [_ask(editor, question, tally.case, where) for question in tally.case.questions]
                    if progress is not None:
                        progress(number, len(tallies))
                for dataset in reported:
                    some = [tally for tally in tallies if dataset != HARD or own_or_hard(tally.case, dataset, own, at)]
                    lost = [case for case in dropped if dataset != HARD or own_or_hard(case, dataset, own, at)]
                    facts = {"answerer": name, "model": base.name, "dataset": dataset, "edits": edits}
                    rows.append({**facts, **scores(some), "dropped": len(lost)})
        if unedited and at == CF_3K:
            plain += _without_edits(every_case, spread(kept, unedited), answerers, base, prepared, store, settings)
    return {
        "rows": [{key: row[key] for key in _KEYS} for row in rows],
        "unedited": plain,
        "left_out": left_out,
        "hard_from_cf_3k": from_cf,
    }


def spread(cases: Sequence[Case], number: int | None) -> list[Case]:
    """`number` cases at equal distances, in order; all where there are no more."""
    if number is None or number >= len(cases):
        return list(cases)
    return [cases[at * len(cases) // number] for at in range(number)]


def own_or_hard(case: Case, dataset: str, own: bool, read_from: str) -> bool:
    """Whether a case belongs to MQuAKE-hard: all of its own file, of CF-3k those of that form."""
    return (read_from == dataset and own) or case.hard


_KEYS = (
    "answerer", "model", "dataset", "edits", "cases", "dropped", "answerable", "case_accuracy", "question_accuracy",
    "hop_accuracy", "case_accuracy_answerable", "model_calls", "ms_per_question",
)  # fmt: skip


def scores(tallies: Sequence[Tally]) -> dict[str, object]:
    """A row's figures: shares in [0, 1], None over nothing; `hop_accuracy` None where no step was shown."""
    asked = [one for tally in tallies for one in tally.asked]
    steps = any(one.chain is not None for one in asked)
    any_right = [any(one.right for one in tally.asked) for tally in tallies]
    able = [right for right, tally in zip(any_right, tallies, strict=True) if tally.answerable]
    chains = [any(one.right and one.chain for one in tally.asked) for tally in tallies]
    return {
        "cases": len(tallies),
        "answerable": len(able),
        "case_accuracy": _share(any_right),
        "question_accuracy": _share([one.right for one in asked]),
        "hop_accuracy": _share(chains) if steps else None,
        "case_accuracy_answerable": _share(able),
        "model_calls": round(sum(one.calls for one in asked) / len(asked), 2) if asked else None,
        "ms_per_question": round(1000 * sum(one.seconds for one in asked) / len(asked), 1) if asked else None,
    }


def _share(flags: Sequence[bool]) -> float | None:
    return round(sum(flags) / len(flags), 4) if flags else None


def _namespace(case: Case) -> str:
    return f"case-{case.id}"


def _fill(memory: EditMemory, every_case: Iterable[Case], kept: Iterable[Case], edits: Loaded) -> None:
    """Write the edits: all of all cases in one namespace, or each kept case's own in one of its own."""
    if edits == "all":
        memory.add_many(_distinct(every_case))
        memory.sync("default")
        return
    for case in kept:
        memory.add_many(case.drafts, namespace=_namespace(case))


def _distinct(cases: Iterable[Case]) -> list[Draft]:
    return list({draft.statement: draft for case in cases for draft in case.drafts}.values())


def _answerable(case: Case, base: BaseModel, replies: dict[str, str]) -> bool:
    """Whether the base model alone answers each hop that no edit answers. `replies` are those it gave before."""
    for hop in case.hops:
        if not hop.edited and hop.question not in replies:
            replies[hop.question] = "".join(base.stream([Message("user", hop.question)]))
    return all(gives(replies[hop.question], hop.answers) for hop in case.hops if not hop.edited)


def _ask(editor: Editor, question: str, case: Case, namespace: str) -> Asked:
    began = perf_counter()
    answer = editor.ask(question, namespace=namespace)
    seconds = perf_counter() - began
    return Asked(
        right=gives(answer.text, case.answers),
        chain=chain_right(answer.trace, case.hops),
        calls=sum(step.get("step") == "model" for step in answer.trace),
        seconds=seconds,
    )


def chain_right(trace: Iterable[Mapping[str, object]], hops: Sequence[Hop]) -> bool | None:
    """Whether the steps of the way that was taken give the answers of the hops, each in turn; None without steps."""
    steps = [step for step in trace if step.get("step") == "hop"]
    if not steps:
        return None
    said = [str(step.get("answer") or "") for step in steps if "left" not in step]
    return len(said) == len(hops) and all(gives(text, hop.answers) for text, hop in zip(said, hops, strict=True))


@contextmanager
def _memory(encoder: Encoder, store: str) -> Iterator[EditMemory]:
    with tempfile.TemporaryDirectory() as folder, EditMemory.open(folder, encoder=encoder, store=store) as memory:
        yield memory


def _without_edits(
    every_case: Sequence[Case],
    asked: Sequence[Case],
    answerers: Sequence[str],
    base: BaseModel,
    encoder: Encoder,
    store: str,
    settings: Mapping[str, Any],
) -> list[dict[str, object]]:
    """The cases' questions before their edits, with an empty memory and with the edits that touch none of them.

    `planned` is asked a second time, with its setting `unedited`: by itself it hands such questions back, and what a
    weak base model answers then tells little about planning.
    """
    slots = {slot for case in asked for slot in case.old_slots}
    others = _distinct(case for case in every_case if not case.edited & slots)
    found: list[dict[str, object]] = []
    with _memory(encoder, store) as empty, _memory(encoder, store) as full:
        full.add_many(others)
        full.sync("default")
        for name, answerer in _as_asked(answerers):
            editors = {
                which: Editor(memory, base, answerer=answerer, **settings)
                for which, memory in (("empty", empty), ("full", full))
            }
            right = {"empty": 0, "full": 0}
            same = questions = 0
            for case in asked:
                for question in case.questions:
                    replies = {which: editor.ask(question).text for which, editor in editors.items()}
                    for which, reply in replies.items():
                        right[which] += gives(reply, case.old_answers)
                    same += replies["empty"] == replies["full"]
                    questions += 1
            shares = {which: round(count / questions, 4) if questions else None for which, count in right.items()}
            found.append(
                {
                    "answerer": name,
                    "model": base.name,
                    "edits_loaded": len(others),
                    "questions": questions,
                    **shares,
                    "same": round(same / questions, 4) if questions else None,
                }
            )
    return found


def _as_asked(names: Sequence[str]) -> Iterator[tuple[str, Answerer]]:
    for name in names:
        made = registry.get(name)()
        yield name, made
        if name.partition(":")[0] == "planned":
            yield f"{name} (unedited)", replace(made, unedited=True)


@click.command(epilog="\b\nExample:\n  memedit bench multihop --data DIR --answerer planned,mello --edits all --json")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Folder of datasets [env: MEMEDIT_DATA].")
@click.option("--answerer", "names", default="planned", metavar="NAME[,NAME…]", help="Answerers [planned].")
@click.option("--model", metavar="SPEC", help="Base model [env: MEMEDIT_MODEL].")
@click.option(
    "--edits",
    type=click.Choice(("per-case", "all")),
    default="all",
    help="Its own edits for each case, or all [all].",
)
@click.option("--dataset", "chosen", type=click.Choice(DATASETS), multiple=True, help="May be repeated [both].")
@click.option(
    "--cases", type=click.IntRange(min=1), metavar="N", help="N of the cases that count, spread evenly [all]."
)
@click.option("--unseen/--every", default=True, help="Only cases that nothing was trained on, or all [--unseen].")
@click.option(
    "--unedited", type=click.IntRange(min=0), default=UNEDITED, metavar="N", help=f"Cases without edits [{UNEDITED}]."
)
@click.option("--scope", metavar="NAME", help="Scope [env: MEMEDIT_SCOPE].")
@click.option("--encoder", metavar="NAME", help="Encoder [env: MEMEDIT_ENCODER].")
@click.option("--false-fire", type=float, metavar="SHARE", help="False-fire rate [env: MEMEDIT_FALSE_FIRE].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    data: Path | None,
    names: str,
    edits: Loaded,
    chosen: tuple[str, ...],
    cases: int | None,
    unseen: bool,
    unedited: int,
    as_json: bool,
    **given: object,
) -> None:
    """Measure multi-hop questions with edits on the way, by MQuAKE's rules."""
    settings = load_settings(data=data, **given)
    if settings.data is None:
        raise InputError("say where the datasets are, with --data DIR or MEMEDIT_DATA")
    with terminal.progress("asking") as report:
        found = run(
            settings.data,
            answerers=[name.strip() for name in names.split(",") if name.strip()],
            model=settings.model,
            edits=edits,
            datasets=chosen or DATASETS,
            cases=cases,
            every=not unseen,
            unedited=unedited,
            scope=settings.scope,
            encoder=settings.encoder,
            store=settings.store,
            false_fire=settings.false_fire,
            progress=report,
        )
    if as_json:
        terminal.emit(found)
        return
    for name in ("rows", "unedited"):
        rows: Any = found[name]
        if rows:
            terminal.table(list(rows[0]), [[terminal.shown(value) for value in row.values()] for row in rows])
    left: Any = found["left_out"]
    for why, count in left.items():
        terminal.notice(f"left out, {why}: {count} cases")
    if found["hard_from_cf_3k"]:
        terminal.notice(f"{HARD}: there is no such file; these are the cases of CF-3k with four hops, all edited")
