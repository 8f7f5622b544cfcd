"""How a layer's keys are spread over ordinary text: C = E[k kᵀ], what a closed-form edit must not disturb.

k is what goes into an MLP's down projection (width: neurons), at every token of a corpus; C is the mean second moment,
not centred, as the papers have it. The sum streams in float64, batch by batch in a fixed order, so that a run that was
stopped and resumed gives the very same bits. What was computed is kept in a cache under a name made of all that it
depends on: the original weights' hash, layer, corpus, number of texts and dtype.

A model without a corpus is its own: `own_text` samples from it. Offline there is nothing else for a model of any kind,
and for the pocket model it is right: its text is the prompts and facts that it was trained on, which are what an edit
must leave alone. For a large model give a file of ordinary text instead (the papers take 100,000 of Wikipedia's).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from memedit.decoding import Reading
from memedit.errors import InputError, NotFoundError
from memedit.weights.change import anchor, origin, originals
from memedit.weights.layout import layout_of
from memedit.weights.rows import exact, padded, tokens_of
from memedit.weights.trace import Trace

if TYPE_CHECKING:
    from memedit.weights.language_model import LanguageModel

FORMAT = 2
Progress = Callable[[int, "int | None"], None]
Kept = TypeVar("Kept")


@dataclass(frozen=True, eq=False)
class Moments:
    """Keys' mean second moment: `matrix` (neurons, neurons) float64 over `count` tokens."""

    matrix: Tensor
    count: int

    @property
    def scale(self) -> float:
        """Mean square of a neuron."""
        return float(self.matrix.diagonal().mean())

    def ridged(self, ridge: float) -> Tensor:
        """C + ridge · scale · I: where few tokens were read C is singular, and some neurons never fire."""
        eye = torch.eye(len(self.matrix), dtype=self.matrix.dtype, device=self.matrix.device)
        return self.matrix + ridge * self.scale * eye

    def solve(self, keys: Tensor, ridge: float) -> Tensor:
        """(C + ridge)⁻¹ keys, for keys (neurons, n) in float64. The factor is kept for the next edit."""
        if ridge not in self._factors:
            factor, wrong = torch.linalg.cholesky_ex(self.ridged(ridge))
            if int(wrong):
                raise InputError(
                    f"the keys' covariance over {self.count} tokens is singular with ridge {ridge}; give a larger "
                    "ridge, or more text"
                )
            self._factors[ridge] = factor
        return torch.cholesky_solve(keys, self._factors[ridge])

    @cached_property
    def _factors(self) -> dict[float, Tensor]:
        return {}

    @cached_property
    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues, rising, and eigenvectors as columns."""
        values, vectors = torch.linalg.eigh(self.matrix)
        return values, vectors

    def null_space(self, threshold: float) -> Tensor:
        """(neurons, free) a basis of the directions whose eigenvalue is below `threshold`; `free` is their number."""
        values, vectors = self.spectrum
        return vectors[:, values < threshold]


# ------------------------------------------------------------------------------------------------------------- corpora


@dataclass(frozen=True, eq=False)
class Corpus:
    """Texts that are read when they are needed: what is in the cache needs none.

    `hash` says what they are: of the texts' bytes, or of the recipe that makes them from the model.
    """

    name: str
    hash: str
    size: int
    """How many texts."""
    read: Callable[[], Sequence[str]]


def corpus_of(texts: Sequence[str], name: str = "texts") -> Corpus:
    """These texts, in this order."""
    whole = hashlib.sha256()
    for text in texts:
        raw = text.encode()
        whole.update(len(raw).to_bytes(8, "big") + raw)
    fixed = tuple(texts)
    return Corpus(name, whole.hexdigest(), len(fixed), lambda: fixed)


def read_corpus(path: Path | str) -> Corpus:
    """A file of text in UTF-8: one text a line, or, in a `.json` or `.jsonl` file, every string that it holds.

    Raises NotFoundError where there is none, InputError for one that is not such text or holds nothing.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"there is no corpus at {path}")
    try:
        raw = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            texts = list(_strings(json.loads(raw)))
        elif path.suffix == ".jsonl":
            texts = [text for line in raw.splitlines() if line.strip() for text in _strings(json.loads(line))]
        else:
            texts = raw.splitlines()
    except ValueError as error:  # not UTF-8, not JSON
        raise InputError(f"the corpus {path} cannot be read: {error}") from error
    clean = [text.strip() for text in texts if text.strip()]
    if not clean:
        raise InputError(f"the corpus {path} holds no text")
    return corpus_of(clean, path.name)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


@torch.no_grad()
def sample(
    model: LanguageModel, starts: Sequence[str], length: int, seed: int, progress: Progress | None = None
) -> list[str]:
    """Each start continued by `length` tokens, drawn from the model as it is, special tokens left out.

    An empty start is the model's begin mark (its end mark where it has none). The same seed draws the same text. For
    causal models.
    """
    tokenizer = model.tokenizer
    mark = next((t for t in (tokenizer.bos_token_id, tokenizer.eos_token_id) if t is not None), 0)
    rows = [list(tokens_of(model, start)) if start else [mark] for start in starts]
    generator = torch.Generator().manual_seed(seed)
    made = [""] * len(rows)
    by_length: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        by_length.setdefault(len(row), []).append(number)
    done = 0
    for same in by_length.values():
        for first in range(0, len(same), 128):
            chosen = same[first : first + 128]
            reading = Reading(model.model, model.device, len(chosen))
            step = torch.tensor([rows[i] for i in chosen], device=model.device)
            for _ in range(length):
                step = _drawn(reading.read(step), generator).to(model.device)
            for i, tokens in zip(chosen, torch.cat([reading.sequence, step], dim=1).tolist(), strict=True):
                made[i] = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            done += len(chosen)
            if progress is not None:
                progress(done, len(rows))
    return made


def _drawn(logits: Tensor, generator: torch.Generator) -> Tensor:
    """(rows, 1) tokens by their probabilities: torch.multinomial, three times as fast on a CPU."""
    sums = logits.cpu().double().softmax(-1).cumsum(-1)
    at = torch.rand(len(sums), 1, dtype=torch.float64, generator=generator) * sums[:, -1:]
    return torch.searchsorted(sums, at, right=True).clamp(max=sums.shape[1] - 1)


def sampled(
    model: LanguageModel, starts: Sequence[str], length: int, seed: int, progress: Progress | None = None
) -> list[str]:
    """`sample` of the original weights, made once: kept with the model, and in a file of `cache_folder()`."""
    key = ("sample", FORMAT, origin(model), tuple(starts), length, seed)

    def make() -> list[str]:
        path = cache_folder() / f"text-{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.json"
        try:
            made = json.loads(path.read_text(encoding="utf-8"))
            if len(made) == len(starts) and all(isinstance(text, str) for text in made):
                return list(made)
        except (OSError, ValueError, TypeError):  # none, or a torn one
            pass
        made = sample(originals(model), starts, length, seed, progress)
        _put(path, json.dumps(made, ensure_ascii=False).encode())
        return made

    return keep(model, key, make)


def own_text(model: LanguageModel, texts: int, seed: int = 0, progress: Progress | None = None) -> Corpus:
    """`texts` samples of 48 tokens from the model's original weights. Sampled only where they are not in the cache."""
    recipe = f"own text: format {FORMAT}, {texts} texts of 48 tokens, seed {seed}"

    def read() -> Sequence[str]:
        return sampled(model, [""] * texts, 48, seed, progress)

    return Corpus("own text", hashlib.sha256(recipe.encode()).hexdigest(), texts, read)


# ------------------------------------------------------------------------------------------------------------- moments


def moments(
    model: LanguageModel,
    layers: Sequence[int],
    corpus: Corpus,
    *,
    sample: int = 100_000,
    folder: Path | None = None,
    progress: Progress | None = None,
    save_seconds: float = 60.0,
) -> dict[int, Moments]:
    """Layer -> moments of the original weights' keys over the first `sample` texts of the corpus, cached in `folder`.

    `folder` is `cache_folder()` unless given. All layers are read in one pass; `progress(texts done, texts)` is called
    after each batch, and the sums so far are saved every `save_seconds`, from which an interrupted run goes on.
    """
    folder = folder or cache_folder()
    size = min(sample, corpus.size)
    home = exact(torch.zeros(0, device=model.device)).device
    found: dict[int, Moments] = {}
    missing: list[int] = []
    for layer in layers:
        key = _key(model, layer, corpus, size)
        if (held := kept(model, key)) is not None:
            found[layer] = held
        elif (read := _read(folder / _file(key), key)) is not None:
            found[layer] = keep(model, key, lambda read=read: Moments(read[0].to(home), read[1]))  # type: ignore[misc]
        else:
            missing.append(layer)
    if missing:
        base = originals(model)
        keys = {layer: _key(model, layer, corpus, size) for layer in missing}
        for layer, (matrix, count) in _summed(base, corpus.read()[:size], keys, folder, progress, save_seconds).items():
            found[layer] = keep(model, keys[layer], lambda m=matrix, c=count: Moments(m, c))  # type: ignore[misc]
    return {layer: found[layer] for layer in layers}


def cache_folder() -> Path:
    """MEMEDIT_CACHE, else `$XDG_CACHE_HOME/memedit`, else `~/.cache/memedit`."""
    if named := os.environ.get("MEMEDIT_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "memedit"


def _key(model: LanguageModel, layer: int, corpus: Corpus, size: int) -> tuple[Any, ...]:
    name = layout_of(model.model).mlp_out(layer)
    dtype = str(model.model.get_submodule(name).weight.dtype).removeprefix("torch.")
    return (FORMAT, origin(model), layer, corpus.hash, size, dtype)


def _file(key: tuple[Any, ...]) -> str:
    return f"covariance-layer{key[2]}-{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.safetensors"


def _read(path: Path, key: tuple[Any, ...]) -> tuple[Tensor, int, int] | None:
    """(matrix, tokens, texts done) of a file that says it is of this key; None where there is none, or a torn one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("key") != repr(key):
                return None
            return file.get_tensor("matrix"), int(about["count"]), int(about["done"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def _write(path: Path, key: tuple[Any, ...], matrix: Tensor, count: int, done: int) -> None:
    from safetensors.torch import save

    about = {"key": repr(key), "count": str(count), "done": str(done)}
    _put(path, save({"matrix": matrix.cpu().contiguous()}, about))


def _put(path: Path, data: bytes) -> None:
    """Put a file in place whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    partial.write_bytes(data)
    partial.replace(path)


@torch.no_grad()
def _summed(
    model: LanguageModel,
    texts: Sequence[str],
    keys: dict[int, tuple[Any, ...]],
    folder: Path,
    progress: Progress | None,
    save_seconds: float,
) -> dict[int, tuple[Tensor, int]]:
    layout = layout_of(model.model)
    names = {layer: layout.mlp_out(layer) for layer in keys}
    partials = {layer: folder / f"{_file(key)}.partial" for layer, key in keys.items()}
    begun = {layer: _read(partials[layer], key) for layer, key in keys.items()}
    places = {read[2] for read in begun.values() if read is not None}
    # Layers that stand at different texts (an earlier run wanted others) begin together, from the start.
    start = places.pop() if len(places) == 1 and None not in begun.values() else 0
    where = exact(torch.zeros(0, device=model.device)).device
    sums = {layer: (read[0].to(where), read[1]) for layer, read in begun.items() if read and start}
    saved = time.monotonic()
    done = start
    for first in range(start, len(texts), 64):
        group = texts[first : first + 64]
        done += len(group)
        for rows in _batches(model, group):
            tokens, there = padded(rows, model.device)
            with Trace(model.model, names.values(), stop=True) as seen:
                model.model(input_ids=tokens, attention_mask=there.long(), use_cache=False)
            for layer, name in names.items():
                read = exact(seen.inputs[name].reshape(there.numel(), -1)[there.reshape(-1)])
                square = read.T @ read
                matrix, count = sums.get(layer, (torch.zeros_like(square), 0))
                sums[layer] = (matrix + square, count + len(read))
        if progress is not None:
            progress(done, len(texts))
        if time.monotonic() - saved > save_seconds and done < len(texts):
            for layer, (matrix, count) in sums.items():
                _write(partials[layer], keys[layer], matrix, count, done)
            saved = time.monotonic()
    if not sums or not all(count for _, count in sums.values()):
        raise InputError("the corpus has no tokens for this model")
    made = {layer: (matrix / count, count) for layer, (matrix, count) in sums.items()}
    for layer, (matrix, count) in made.items():
        _write(folder / _file(keys[layer]), keys[layer], matrix, count, done)
        partials[layer].unlink(missing_ok=True)
    return made


def _batches(model: LanguageModel, texts: Sequence[str], tokens: int = 8192) -> Iterator[list[tuple[int, ...]]]:
    """Rows of similar length, no more than about `tokens` together; texts are cut at the model's context."""
    config: Any = model.model.config.get_text_config()
    longest = min(getattr(config, "max_position_embeddings", None) or tokens, tokens)
    rows = sorted((row[:longest] for row in (tokens_of(model, text) for text in texts) if row), key=len)
    while rows:
        many = max(1, tokens // len(rows[-1]))
        yield rows[-many:]
        del rows[-many:]


# ------------------------------------------------------------------------------------------------- kept with the model

_held: weakref.WeakKeyDictionary[nn.Module, dict[Any, Any]] = weakref.WeakKeyDictionary()
_holding = Lock()


def kept(model: LanguageModel, key: Any) -> Any:
    """What `keep` keeps under this key; None where there is nothing."""
    return _drawer(model).get(key)


def keep(model: LanguageModel, key: Any, make: Callable[[], Kept]) -> Kept:
    """What `make` makes, made once for these original weights and kept for as long as the model is in memory."""
    drawer = _drawer(model)
    if key not in drawer:
        drawer[key] = make()
    made: Kept = drawer[key]
    return made


def _drawer(model: LanguageModel) -> dict[Any, Any]:
    """One for each module that is no `edited` one and each state of its original weights."""
    with _holding:
        drawer: dict[Any, Any] = _held.setdefault(anchor(model), {}).setdefault(origin(model), {})
    return drawer
