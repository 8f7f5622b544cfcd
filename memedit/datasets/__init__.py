"""Datasets of edits, read as they are published. One file each; pure functions over one record of the file.

`drafts(row)` gives the facts that a record asks to be written, `case(row, number)` these and what to ask before and
after, `matches(row)` tells the record's form from that of the other datasets. `read` gives the cases of a dataset by
its name, from a folder that holds the files as their authors name them, or shorter (`FILES`). Nothing is downloaded:
`SOURCE` says where from, and its checksums are those of the published files.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, cast

from memedit.datasets._form import FOLLOWING as FOLLOWING
from memedit.datasets._form import KINDS as KINDS
from memedit.datasets._form import UNCHANGED as UNCHANGED
from memedit.datasets._form import UNREADABLE, Record, Source, reason
from memedit.datasets._form import File as File
from memedit.datasets._rows import SUFFIXES, csv_rows, json_lines, numbered
from memedit.datasets._sift import sifted
from memedit.edits import Case, Draft
from memedit.errors import InputError, NotFoundError
from memedit.registry import Registry

datasets = Registry(__name__, "dataset", attribute="drafts")


class Reader(Protocol):
    """The seam: what each file holds.

    One that is no dataset of edits has `choice(row, number)` in the place of `case`. Two more functions, where a file
    needs them: `select(part, rows)` says of each record whether it belongs to the part, and `rows(path)` reads a file.
    """

    SOURCE: Source
    FILES: Mapping[str, Sequence[str]]
    """Part -> places of its file below the data folder, the first that is there is read; `*` stands for several."""

    def matches(self, row: Record) -> bool:
        """Whether the record is of this dataset's form."""
        ...

    def drafts(self, row: Record) -> list[Draft]:
        """The facts to be written. Raises KeyError, TypeError or InputError for a record that lacks what it needs."""
        ...

    def case(self, row: Record, number: int) -> Case:
        """The record with all its questions, odd ones too. `number` is its place in the file. Raises as `drafts`."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a dataset that was found: its files, all read one after the other."""

    dataset: str
    name: str
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A record as it was read: a case (of PIQA a choice), or the reason why it is none.

    `faults` are its odd questions, by (kind, fault, whether it is asked all the same).
    """

    part: Part
    path: Path
    number: int
    item: Any
    fault: str | None = None
    faults: Mapping[tuple[str, str, bool], int] | None = None


def reader(name: str) -> Reader:
    """The dataset named so. Raises NotFoundError, naming what there is, for an unknown name."""
    return cast(Reader, import_module(datasets.get(name).__module__))


def dataset_of(row: object) -> str | None:
    """The name of the dataset that a record is of; None if it is of none."""
    if not isinstance(row, Mapping):
        return None
    return next((name for name in datasets.names() if reader(name).matches(row)), None)


def read(
    name: str, folder: Path | None = None, cases: int | None = None, *, left_out: Counter[str] | None = None
) -> Iterator[Case]:
    """The first `cases` cases of a dataset (None: all), with the questions that can be scored.

    name: a dataset ("counterfact"), one or more of its parts ("mquake:t", "zsre:portability+train"), or the path of a
    file of any known form. folder: where the files lie; None is MEMEDIT_DATA or the config file's `data`. left_out:
    what is passed over is counted here, in words. Ids are unique within what is read.

    Raises NotFoundError at once, naming the files looked for and where to get them, where there is none; InputError for
    a file of another form.
    """
    if name.partition(":")[0] == "piqa":
        raise InputError("piqa has no edits, so no cases; read it with memedit.datasets.piqa.choices")
    found = scan(name, folder)
    return islice(_cases(found, left_out if left_out is not None else Counter()), cases)


def _cases(found: Iterable[Entry], left_out: Counter[str]) -> Iterator[Case]:
    seen: set[str] = set()
    for entry in found:
        for (kind, fault, kept), count in (entry.faults or {}).items():
            if not kept:
                left_out[f"{kind} question that {fault}"] += count
        if entry.fault is not None:
            left_out[f"record: {entry.fault}"] += 1
            continue
        case = cast(Case, entry.item)
        id_ = case.id
        if id_ in seen:
            id_ = f"{entry.part.name}/{id_}"
        while id_ in seen:
            id_ += "'"
        seen.add(id_)
        yield case if id_ == case.id else replace(case, id=id_)


def scan(name: str, folder: Path | None = None) -> Iterator[Entry]:
    """Every record of a dataset as it is read, faulty ones too. Raises as `read`, at once where nothing is there."""
    return entries(parts(name, folder))


def entries(found: Iterable[Part]) -> Iterator[Entry]:
    """Every record of these parts as it is read."""
    for part in found:
        form = reader(part.dataset)
        make = getattr(form, "case", None) or form.choice  # type: ignore[attr-defined]
        for path in part.paths:
            rows = getattr(form, "rows", numbered)(path)
            select = getattr(form, "select", None)
            if select is not None:
                rows = _selected(list(rows), part, path, select)
            for number, row in rows:
                yield _entry(part, path, number, row, make)


def _selected(rows: list[tuple[int, Any]], part: Part, path: Path, select: Any) -> Iterator[tuple[int, object]]:
    records = [row for _, row in rows if isinstance(row, Mapping)]
    try:
        told = iter(select(part.name, records))
        chosen = [next(told) if isinstance(row, Mapping) else True for _, row in rows]  # the others are told as faults
    except UNREADABLE as error:
        raise InputError(f"the part {part.name} cannot be told in {path}: {reason(error)}") from error
    return (row for row, wanted in zip(rows, chosen, strict=True) if wanted)


def _entry(part: Part, path: Path, number: int, row: object, make: Any) -> Entry:
    if isinstance(row, InputError):
        return Entry(part, path, number, None, reason(row))
    if not isinstance(row, Mapping):
        return Entry(part, path, number, None, f"a record is a JSON object, not {type(row).__name__}")
    try:
        item = make(row, number)
        if not isinstance(item, Case):
            return Entry(part, path, number, item)
        case, faults = sifted(item)
    except UNREADABLE as error:
        return Entry(part, path, number, None, reason(error))
    return Entry(part, path, number, case, None, faults)


def parts(name: str, folder: Path | None = None) -> list[Part]:
    """The files of a dataset that are there. Raises as `read`."""
    path = Path(name)
    if path.suffix.lower() in SUFFIXES or path.is_file():
        return [Part(_form_of(path), path.stem, (path,))]
    dataset, _, asked = name.partition(":")
    form = reader(dataset)
    if not form.FILES:
        raise InputError(f"{dataset} is a form of your own files: give the path of one, ending in .csv or .jsonl")
    wanted = [part for part in asked.split("+") if part]
    if unknown := [part for part in wanted if part not in form.FILES]:
        raise NotFoundError(f"{dataset} has no part {', '.join(unknown)}; its parts are: {', '.join(form.FILES)}")
    where = _folder(folder)
    looked = wanted or list(form.SOURCE.together or form.FILES)
    found = [Part(dataset, part, paths) for part in looked if (paths := places(form, part, where))]
    if wanted or form.SOURCE.together:
        missing = [part for part in looked if part not in {one.name for one in found}]
        if missing and (wanted or not found):
            raise NotFoundError(_missing(dataset, missing, where))
        return found
    if not found:
        raise NotFoundError(_missing(dataset, looked, where))
    return found[:1]


def _folder(folder: Path | None) -> Path:
    if folder is None:
        from memedit.settings import load_settings  # pydantic, 0.1 s

        folder = load_settings().data
    if folder is None:
        raise NotFoundError("say where the datasets are, with --data DIR or MEMEDIT_DATA")
    return folder


def places(form: Reader, part: str, folder: Path) -> tuple[Path, ...]:
    """The files of a part that are in a folder: of its places the first where any is."""
    for place in form.FILES[part]:
        if found := tuple(sorted(path for path in folder.glob(place) if path.is_file())):
            return found
    return ()


def _missing(dataset: str, missing: Iterable[str], folder: Path) -> str:
    form = reader(dataset)
    lines = []
    for part in missing:
        official = form.SOURCE.files.get(part)
        url = official.url if official else form.SOURCE.page
        lines.append(f"{' or '.join(form.FILES[part])} (from {url})")
    return (
        f"no file of {dataset} is in {folder}; looked for: {'; '.join(lines)}. Put one there, or name another folder "
        f"with --data or MEMEDIT_DATA"
    )


def _form_of(path: Path) -> str:
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}")
    rows = csv_rows(path) if path.suffix.lower() == ".csv" else json_lines(path)
    first = next((row for _, row in rows if isinstance(row, Mapping)), None)
    name = dataset_of(first)
    if name is None:
        shown = ", ".join(map(str, first)) if first else "no record"
        raise InputError(f"{path} is in the form of no dataset (its first record has: {shown}); see `memedit datasets`")
    return name


def checksum(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        digest = sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def is_official(part: Part, digest: str) -> bool | None:
    """Whether a file of a part with this checksum is one as published; None where the part's is not known."""
    files = reader(part.dataset).SOURCE.files
    if digest in {file.sha256 for file in files.values()}:
        return True
    return False if part.name in files and files[part.name].sha256 is not None else None


def write(cases: Iterable[Case], path: Path, form: str = "knowedit") -> int:
    """Write cases into a file and return how many: `knowedit` is a JSON list that EasyEdit reads, `own` JSON lines.

    Raises InputError for another form or a case that the form cannot hold.
    """
    rows = getattr(reader(form), "row", None)
    if rows is None:
        able = [name for name in datasets.names() if hasattr(reader(name), "row")]
        raise InputError(f"{form} is not written; there are: {', '.join(able)}")
    made = [rows(case) for case in cases]
    lines = path.suffix.lower() != ".json"
    texts = (json.dumps(row, ensure_ascii=False) for row in made)
    text = "".join(f"{row}\n" for row in texts) if lines else json.dumps(made, ensure_ascii=False, indent=1)
    part = path.with_name(f"{path.name}.part")  # so that a full disk leaves an older file as it was
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
    return len(made)
