"""List, show, check or convert datasets of edits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memedit import terminal
from memedit.cli import Session, verb
from memedit.errors import InputError

if TYPE_CHECKING:
    from memedit.datasets import Part

SHOWN = 20
"""Bad records that are printed for people; `--json` has all."""


@verb(
    "memedit datasets\nmemedit datasets show zsre --data DIR -n 1\nmemedit datasets validate my-cases.csv",
    name="datasets",
    json=True,
)
@click.argument("action", type=click.Choice(["list", "show", "validate", "convert"]), default="list")
@click.argument("dataset", metavar="[NAME[:PART]|FILE]", required=False)
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Folder of datasets [env: MEMEDIT_DATA].")
@click.option(
    "-n", "--cases", type=click.IntRange(min=1), metavar="N", help="The first N cases [show: 3; convert: all]."
)
@click.option("--to", type=click.Path(path_type=Path), metavar="FILE", help="Where convert writes, .json or .jsonl.")
@click.option("--form", metavar="FORM", default="knowedit", help="What convert writes: knowedit or own [knowedit].")
def command(
    session: Session,
    action: str,
    dataset: str | None,
    data: Path | None,
    cases: int | None,
    to: Path | None,
    form: str,
    as_json: bool,
) -> None:
    """List, show, check or convert datasets of edits.

    A dataset is named, with a part of it if you like (mquake:t), or is a file of your own: CSV or JSONL with the
    columns prompt, subject and target at least.
    """
    folder = session.settings(data=data).data
    if action == "list":
        _list(folder, as_json)
        return
    if dataset is None:
        raise InputError(f"say which dataset to {action}; `memedit datasets` lists them")
    if action == "show":
        _show(session, dataset, folder, cases or 3, as_json)
    elif action == "validate":
        _validate(session, dataset, folder, as_json)
    elif to is None:
        raise InputError("say where to write, with --to FILE")
    else:
        _convert(session, dataset, folder, cases, to, form, as_json)


def _list(folder: Path | None, as_json: bool) -> None:
    from memedit.datasets import datasets, places, reader

    summaries = datasets.summaries()
    found: list[dict[str, Any]] = []
    for name in datasets.names():
        form = reader(name)
        parts = []
        for part, looked in form.FILES.items():
            file = form.SOURCE.files.get(part)
            here = places(form, part, folder) if folder is not None else ()
            parts.append(
                {
                    "name": part,
                    "url": file.url if file else form.SOURCE.page,
                    "sha256": file.sha256 if file else None,
                    "looked_for": looked,
                    "found": here,
                }
            )
        source = {"paper": form.SOURCE.paper, "page": form.SOURCE.page, "licence": form.SOURCE.licence}
        found.append({"name": name, "summary": summaries[name], **source, "parts": parts})
    if as_json:
        terminal.emit({"folder": folder, "datasets": found})
        return
    rows = []
    for one in found:
        there = [part["name"] for part in one["parts"] if part["found"]]
        absent = [part["name"] for part in one["parts"] if not part["found"]]
        unknown = [part["name"] for part in one["parts"] if part["sha256"] is None]
        rows.append((one["name"], " ".join(there), " ".join(absent), " ".join(unknown), one["summary"]))
    terminal.table(("name", "parts here", "parts not here", "no published checksum", "what"), rows, wide=-1)


def _show(session: Session, dataset: str, folder: Path | None, cases: int, as_json: bool) -> None:
    from memedit.datasets import scan
    from memedit.edits import Case

    found = list(islice((entry for entry in scan(dataset, folder) if entry.fault is None), cases))
    if as_json:
        terminal.emit({"dataset": dataset, "cases": [entry.item for entry in found]})
        return
    for entry in found:
        if not isinstance(entry.item, Case):
            choice = terminal.jsonable(entry.item)
            terminal.facts((name, terminal.shown(value)) for name, value in choice.items())
            continue
        case = entry.item
        lines: list[tuple[str, str, str]] = [
            ("edit", edit.statement, "" if at else _answers(case.old, "was ")) for at, edit in enumerate(case.edits)
        ]
        lines += [
            (kind, probe.prompt, _answers(probe.answers)) for kind, probes in case.questions.items() for probe in probes
        ]
        session.notice(f"{entry.part.dataset} {entry.part.name}, record {entry.number}, id {case.id}")
        terminal.table(("kind", "asked", "answers"), lines, wide=1)
    if not found:
        session.notice("no usable record; `memedit datasets validate` says why")


def _answers(answers: tuple[str, ...], before: str = "") -> str:
    """The first answer, and how many more there are."""
    more = f" (+{len(answers) - 1})" if len(answers) > 1 else ""
    return f"{before}{answers[0]}{more}" if answers else ""


def _validate(session: Session, dataset: str, folder: Path | None, as_json: bool) -> None:
    from memedit.datasets import parts

    reports = [report for part in parts(dataset, folder) for report in _reports(part)]
    bad = sum(len(report["bad"]) for report in reports)
    if as_json:
        terminal.emit({"dataset": dataset, "ok": not bad, "files": reports})
    else:
        for report in reports:
            _print(session, report)
    if bad:
        raise InputError(f"{bad} of {sum(report['records'] for report in reports)} records are bad")


def _reports(part: Part) -> Iterator[dict[str, Any]]:
    """What is to be said of each file of a part."""
    from dataclasses import replace

    from memedit.datasets import checksum, entries, is_official
    from memedit.edits import Case

    for path in part.paths:
        records, bad = 0, []
        questions: Counter[str] = Counter()
        odd: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
        ids: Counter[str] = Counter()
        for entry in entries([replace(part, paths=(path,))]):
            records += 1
            if entry.fault is not None:
                bad.append({"record": entry.number, "reason": entry.fault})
                continue
            ids[entry.item.id] += 1
            if isinstance(entry.item, Case):
                questions.update({kind: len(probes) for kind, probes in entry.item.questions.items()})
            for (kind, fault, kept), count in (entry.faults or {}).items():
                odd[kept][f"{kind} question that {fault}"] += count
        digest = checksum(path)
        yield {
            "path": path,
            "form": part.dataset,
            "part": part.name,
            "sha256": digest,
            "official": is_official(part, digest),
            "records": records,
            "cases": records - len(bad),
            "ids_there_twice": sum(count > 1 for count in ids.values()),
            "questions": dict(questions),
            "left_out": dict(odd[False]),
            "kept_though_odd": dict(odd[True]),
            "bad": bad,
        }


_OFFICIAL = {
    True: "the published file",
    False: "not the published file: a part of it, another edition, or damaged",
    None: "no checksum of this file is published",
}


def _print(session: Session, report: dict[str, Any]) -> None:
    bad = report["bad"]
    flat = report | {"official": _OFFICIAL[report["official"]], "bad": len(bad)}
    terminal.facts(terminal.flat(flat))
    terminal.table(("bad record", "reason"), [(one["record"], one["reason"]) for one in bad[:SHOWN]])
    if len(bad) > SHOWN:
        session.notice(f"and {len(bad) - SHOWN} more; --json has all")


def _convert(
    session: Session, dataset: str, folder: Path | None, cases: int | None, to: Path, form: str, as_json: bool
) -> None:
    from memedit.datasets import read, write

    left_out: Counter[str] = Counter()
    count = write(read(dataset, folder, cases, left_out=left_out), to, form)
    for reason, number in left_out.items():
        session.notice(f"left out {number:,}: {reason}")
    if as_json:
        terminal.emit({"path": to, "form": form, "cases": count, "left_out": left_out})
    else:
        terminal.line(count, "cases", to)
