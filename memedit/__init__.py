"""memedit: an editable memory of facts for any chat model.

The names below are all that is public at the top. They are imported when first used, so that `import memedit` loads
neither torch nor transformers nor langchain.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memedit.editor import Editor as Editor
    from memedit.edits import Answer as Answer
    from memedit.edits import Case as Case
    from memedit.edits import Decision as Decision
    from memedit.edits import Draft as Draft
    from memedit.edits import Edit as Edit
    from memedit.edits import Hit as Hit
    from memedit.edits import Message as Message
    from memedit.edits import Probe as Probe
    from memedit.edits import Receipt as Receipt
    from memedit.edits import Record as Record
    from memedit.errors import MemEditError as MemEditError
    from memedit.memory import EditMemory as EditMemory

    __version__: str

_HOMES = {
    "Answer": "memedit.edits",
    "Case": "memedit.edits",
    "Decision": "memedit.edits",
    "Draft": "memedit.edits",
    "Edit": "memedit.edits",
    "EditMemory": "memedit.memory",
    "Editor": "memedit.editor",
    "Hit": "memedit.edits",
    "MemEditError": "memedit.errors",
    "Message": "memedit.edits",
    "Probe": "memedit.edits",
    "Receipt": "memedit.edits",
    "Record": "memedit.edits",
}

__all__ = [
    "Answer",
    "Case",
    "Decision",
    "Draft",
    "Edit",
    "EditMemory",
    "Editor",
    "Hit",
    "MemEditError",
    "Message",
    "Probe",
    "Receipt",
    "Record",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "__version__"})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # late: it costs as much as all else here

    try:
        return version("memedit")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"
