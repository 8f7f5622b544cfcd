"""What is looked at before a model is loaded from a folder or the hub: nothing in it runs code unasked.

Weights are read from safetensors, which hold numbers and nothing else. A pickle (pytorch_model.bin, *.pt, …) is a
program that builds what it holds and may do anything on the way, so it is refused, by its name. Code that a model
brings along (`auto_map`) is run only where the setting `trust_remote_code` says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from memedit.errors import ModelError

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
_BESIDE = ("training_args", "optimizer", "scheduler", "scaler", "rng_state")
"""What training leaves behind: pickles that no model is loaded from."""
_PERMIT = (
    "where you trust it, permit it with MEMEDIT_TRUST_REMOTE_CODE=true (or trust_remote_code = true in "
    "~/.config/memedit/config.toml)"
)


def trusted(given: bool | None) -> bool:
    """Whether code of a model may be run: as the caller says, else as the settings do."""
    if given is None:
        from memedit.settings import load_settings  # pydantic, 0.1 s

        given = load_settings().trust_remote_code
    return given


def refuse_pickles(path: Path) -> None:
    """Raises ModelError for a pickle, and for a folder whose weights would be read from one."""
    if path.is_file() and path.suffix.lower() in PICKLES:
        raise _pickled(path)
    if not path.is_dir():
        return
    weights = sorted(path.glob("*.safetensors"))
    for file in weights:
        if _begins_as_pickle(file):
            raise _pickled(file, " in spite of its name")
    for index, names in ((path / "model.safetensors.index.json", _shards), (path / "config.json", _explicit)):
        for name in names(_object(index)):
            if Path(name).suffix.lower() in PICKLES:
                raise _pickled(path / name, f", which {index} names")
    pickles = [file for end in PICKLES for file in sorted(path.glob(f"*{end}")) if not file.name.startswith(_BESIDE)]
    if pickles and not weights and not any(path.glob("*.gguf")):
        raise _pickled(pickles[0])


def refuse_code(path: Path) -> None:
    """Raises ModelError for a folder that names code to be run which no library of this machine checks.

    `auto_map` is transformers' own to judge: many a model names code there that the library has itself by now.
    """
    if "/" in str(_object(path / "config.json").get("attn_implementation", "")):
        raise code_refused(str(path), "its config.json names a kernel of the hub")
    modules = _read(path / "modules.json")
    for module in modules if isinstance(modules, list) else ():
        kind = str(module.get("type", "")) if isinstance(module, dict) else ""
        if not kind.startswith("sentence_transformers."):
            raise code_refused(str(path), f"its modules.json names {kind or 'no class'}")


def code_refused(name: str, how: str) -> ModelError:
    """The error for a model that cannot be loaded without running its own code."""
    return ModelError(f"{name} brings code of its own ({how}), which is not run; {_PERMIT}")


def asks_for_code(error: Exception) -> bool:
    """Whether a library refused a model since its code was not permitted."""
    return "trust_remote_code" in str(error)


def _pickled(file: Path, more: str = "") -> ModelError:
    return ModelError(
        f"{file} is a pickle file{more}, which can run any program when it is read, so it is not. Convert the weights "
        "to safetensors on a machine that may be harmed (with transformers: from_pretrained, then save_pretrained), "
        "or take the model from where it is published so"
    )


def _begins_as_pickle(file: Path) -> bool:
    with file.open("rb") as opened:
        head = opened.read(2)
    return head == b"PK" or (head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"))


def _shards(index: dict[str, Any]) -> Iterable[str]:
    shards = index.get("weight_map")
    return map(str, shards.values()) if isinstance(shards, dict) else ()


def _explicit(config: dict[str, Any]) -> Iterable[str]:
    named = config.get("transformers_weights")
    return () if named is None else (str(named),)


def _object(path: Path) -> dict[str, Any]:
    read = _read(path)
    return read if isinstance(read, dict) else {}


def _read(path: Path) -> object:
    """What a JSON file holds; None where it is not there or no JSON, which is its loader's to say."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
