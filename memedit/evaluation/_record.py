"""The folder of a run on the disk: who may write into it, what it is of, and lines that no kill leaves half there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from memedit.errors import InputError
from memedit.evaluation.rows import CASES, EFFECTS, RUN, Line

try:
    import fcntl
except ImportError:  # not on this system: then nothing keeps two runs out of one folder
    fcntl = None  # type: ignore[assignment]

FORMAT = 1


def file_name(text: str) -> str:
    """A name that every file system takes."""
    return "".join(c if c.isalnum() or c in "-_.+" else "-" for c in text)


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """The folder, held by this process as long as this lasts.

    Raises InputError where another process has it, or where it holds something else.
    """
    begun = {"lock", Path(RUN).with_suffix(".part").name}  # what a kill at the very beginning leaves
    if out.is_dir() and not (out / RUN).is_file() and any(path.name not in begun for path in out.iterdir()):
        raise InputError(f"{out} holds something else than a run; name an empty folder, or one that is not there yet")
    out.mkdir(parents=True, exist_ok=True)
    with (out / "lock").open("ab") as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"another process is writing into {out}; wait for it, or name another --out") from error
        yield


def write(path: Path, value: object) -> None:
    """Put a JSON file in place whole."""
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def head(out: Path, kept: Mapping[str, Any]) -> None:
    """Mark the folder as a run of this model. Raises InputError where it is one of another."""
    mine = {"format": FORMAT, **{key: kept[key] for key in ("model", "model_hash")}}
    if (out / RUN).is_file():
        _same(out / RUN, mine)
    else:
        write(out / RUN, {**mine, "created_at": _now()})


def begin(folder: Path, kept: Mapping[str, Any], jobs: int) -> None:
    """Make the folder of one method, or check that it is of these settings, and cut off what a kill has torn."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / RUN).is_file():
        _same(folder / RUN, kept)
    else:
        write(folder / RUN, {**kept, "jobs": jobs, "created_at": _now()})
    for name in (CASES, EFFECTS):
        mend(folder / name)


def note(folder: Path, notes: Mapping[str, Any]) -> None:
    """Keep what came up while fitting beside the settings, once; a folder's settings do not depend on it."""
    kept = json.loads((folder / RUN).read_text(encoding="utf-8"))
    if "notes" not in kept:
        write(folder / RUN, {**kept, "notes": notes})


def _same(path: Path, mine: Mapping[str, Any]) -> None:
    there = json.loads(path.read_text(encoding="utf-8"))
    mine = json.loads(json.dumps(mine))
    other = [key for key in mine if there.get(key) != mine[key]]
    if other:
        told = "; ".join(f"{key} is {_short(there.get(key))} there and {_short(mine[key])} here" for key in other)
        raise InputError(f"{path.parent} is a run with other settings: {told}. Name another --out")


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def mend(path: Path) -> None:
    """Cut off a last line that has no end."""
    if not path.is_file():
        return
    with path.open("r+b") as file:
        whole = file.read()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            file.truncate(end)
            os.fsync(file.fileno())


@contextmanager
def appending(path: Path) -> Iterator[Callable[[Iterable[Line]], None]]:
    """A function that appends lines, each of them on the disk before it returns."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def append(new: Iterable[Line]) -> None:
        text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in new).encode("utf-8", "backslashreplace")
        while text:
            text = text[os.write(file, text) :]
        os.fsync(file)

    try:
        yield append
    finally:
        os.close(file)


@contextmanager
def replacing(path: Path) -> Iterator[Callable[[Iterable[Line]], None]]:
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with appending(part) as append:
        yield append
    part.replace(path)


def base_file(out: Path, model_hash: str) -> Path:
    return out / "unedited" / f"{model_hash[:16]}.jsonl"
