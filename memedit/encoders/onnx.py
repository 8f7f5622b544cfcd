"""The encoder that ships: trained so that a question is near the edit it falls under, run by onnxruntime, no torch.

Its files are in the package (`memedit/gate`), beside those of the verifier, which reads them through this module too:
`config.json` says what each is and its checksum, both models read the same `tokenizer.json`.

Each text goes through the model by itself, on one thread; many texts are spread over the cores. Batches would save
less than a tenth of the time (a batch of ten words fills a core already), and a text's vector would then depend on its
company, if only in the last digits.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from memedit.errors import ModelError

if TYPE_CHECKING:  # imported when the first text is read: naming the encoder costs nothing
    from tokenizers import Encoding, Tokenizer

FORMAT = 1
FEW = 4
"""Texts up to which starting threads does not pay."""
PIECE = 100
"""Characters that one word piece may stand for; what lies behind `max_tokens` times this many is not read at all."""
UNKNOWN = ("[UNK]", "<unk>")

_LOADING = Lock()

Given = TypeVar("Given")
Made = TypeVar("Made")


class Onnx:
    """The encoder `onnx`, or `onnx:FOLDER` for a folder laid out as the shipped one. Safe to use from threads.

    Texts longer than the model reads (`max_tokens`) are cut. Raises ModelError where the files are missing or are not
    those that `config.json` names; for the model itself this is found out at the first text.
    """

    def __init__(self, folder: str = "") -> None:
        self.folder = Path(folder).expanduser() if folder else shipped()
        facts = read_config(self.folder)["encoder"]
        self.identity = f"memedit-gate@{facts['sha256'][:16]}"
        self.dimension = int(facts["dimension"])
        self.max_tokens = int(facts["max_tokens"])
        self._facts = facts

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dimension) float32 rows of length 1. The same text gives the same row, in whatever company."""
        rows = np.empty((len(texts), self.dimension), np.float32)
        for row, made in zip(rows, each(self._one, texts), strict=True):
            row[:] = made
        return rows

    def readable(self, text: str) -> float:
        """The share of a text's word pieces that the vocabulary knows, in [0, 1]; 1.0 for an empty text."""
        ids, strange = pieces(self._tokenizer, text, self.max_tokens).ids, unknown(self._tokenizer)
        return sum(piece != strange for piece in ids) / len(ids) if ids else 1.0

    def _one(self, text: str) -> NDArray[np.float32]:
        read = joined(self._tokenizer, text, longest=self.max_tokens)
        ids = np.array([read.ids], np.int64)
        row: NDArray[np.float32] = self._session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][
            0
        ]
        return row

    @cached_property
    def _session(self) -> Any:
        return session(self.folder, self._facts)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return tokenizer(self.folder)


# --- the folder


def shipped() -> Path:
    """The folder of the models in the package; it need not be there."""
    return Path(__file__).resolve().parents[1] / "gate"


def read_config(folder: Path) -> dict[str, Any]:
    """What `config.json` in a gate's folder says. Raises ModelError where it is missing or of another format."""
    path = folder / "config.json"
    try:
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = (
            read["format"] == FORMAT
            and {"file", "sha256", "dimension", "max_tokens"} <= set(read["encoder"])
            and {"file", "sha256", "max_tokens"} <= set(read["verifier"])
        )
    except OSError as error:
        raise ModelError(f"there is no {path}: {_advice(folder)}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is not whole: {_advice(folder)}") from error
    if not known:
        raise ModelError(f"{path} is of format {read['format']}, or lacks an entry; this memedit reads format {FORMAT}")
    return read


def session(folder: Path, facts: dict[str, Any]) -> Any:
    """An onnxruntime session, of one thread, over a model that is the one `facts` (`file`, `sha256`) name.

    Loaded once in a process, however many ask. Raises ModelError where the file is missing, has another checksum, or
    cannot be run.
    """
    with _LOADING:
        return _session(folder / facts["file"], facts["sha256"])


@lru_cache(maxsize=4)
def _session(path: Path, sha256: str) -> Any:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"the model {path} cannot be read: {_advice(path.parent)}") from error
    if found != sha256:
        raise ModelError(
            f"{path} is not the model that config.json names: its sha256 is {found}, not {sha256}; "
            f"{_advice(path.parent)}"
        )
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised, so nothing needs printing
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base but this
        raise ModelError(
            f"{path} cannot be run by onnxruntime {onnxruntime.__version__} (a newer one may do): {error}"
        ) from error


def tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in a gate's folder, which neither cuts nor pads. Raises ModelError where it cannot be read."""
    path = folder / "tokenizer.json"
    try:
        with _LOADING:
            return _tokenizer(path, path.stat().st_mtime_ns)
    except Exception as error:  # the library raises plain exceptions
        raise ModelError(f"the tokenizer {path} cannot be read ({error}): {_advice(folder)}") from error


@lru_cache(maxsize=4)
def _tokenizer(path: Path, _changed: int) -> Tokenizer:
    """One for encoder and verifier: reading it takes longer than either needs for a text."""
    from tokenizers import Tokenizer

    made = Tokenizer.from_file(str(path))
    made.no_truncation()
    made.no_padding()
    return made


def _advice(folder: Path) -> str:
    if folder == shipped():
        return (
            "memedit's own models come with the package, so install it again (in a checkout: `python -m "
            "memedit.training.scope` makes them), or name another encoder, such as sentence_transformers"
        )
    return "name a folder that `python -m memedit.training.scope` has written"


# --- texts


def pieces(tokenizer: Tokenizer, text: str, longest: int) -> Encoding:
    """A text's word pieces, none added; at least the first `longest` of them."""
    text = text[: longest * PIECE]
    if not text.isascii():  # half of a surrogate pair is no Unicode; whoever writes one means a character
        text = text.encode("utf-8", "replace").decode("utf-8")
    return tokenizer.encode(text, add_special_tokens=False)


def joined(tokenizer: Tokenizer, text: str, other: str | None = None, *, longest: int) -> Encoding:
    """A text, or a pair of texts, with the marks that the model expects; at most `longest` tokens.

    Of a pair the longer one is cut first.
    """
    first = pieces(tokenizer, text, longest)
    second = None if other is None else pieces(tokenizer, other, longest)
    room = longest - tokenizer.num_special_tokens_to_add(second is not None)
    if second is None:
        first.truncate(room)
    elif len(first) + len(second) > room:
        short = min(len(first), len(second), room // 2)
        first.truncate(room - short if len(first) > len(second) else min(len(first), max(short, room - len(second))))
        second.truncate(room - len(first))
    return tokenizer.post_process(first, second)


def unknown(tokenizer: Tokenizer) -> int | None:
    """The number of the piece that stands for what the vocabulary does not have."""
    return next((at for at in map(tokenizer.token_to_id, UNKNOWN) if at is not None), None)


# --- threads


def each(work: Callable[[Given], Made], items: Sequence[Given]) -> list[Made]:
    """`work` done on every item, in order; on all cores where there are more than a few."""
    if len(items) <= FEW:
        return [work(item) for item in items]
    with ThreadPoolExecutor(cores()) as pool:  # starting it takes less than one text does
        return list(pool.map(work, items))


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
