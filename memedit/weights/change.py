"""A change is what a method made of some edits: deltas, settings, the model it fits; how it goes in and comes out.

The weights in force are always the originals plus the active changes in the order of the journal. Two ways to them:

- `edited(model, *changes)` makes a model that shares every weight which no change touches. Nobody else sees it, no
  lock is needed: this is what answers in several threads or namespaces at once are given with.
- `with applied(model, *changes)` changes the model in place, for one thread at a time.

Neither ever subtracts: floats do not come back (`w + d - d` is not `w` to the last bit). In place, the originals are
set aside when a weight is first touched; taking a change out computes originals + the rest anew, and the last one out
puts the very same tensors back.
"""

from __future__ import annotations

import copy
import json
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from memedit.errors import InputError, NotFoundError
from memedit.weights.delta import Delta
from memedit.weights.layout import weight_of

if TYPE_CHECKING:
    from memedit.weights.language_model import LanguageModel

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Change:
    """What to add to a model's weights, kept on the CPU. `edit_ids` are the edits that it carries, in the order of the
    requests."""

    method: str
    """Name of the method that made it."""
    settings: Mapping[str, Any]
    """The method's settings, those that it chose by the model included; JSON-ready, and enough to make it again."""
    model_hash: str
    """Of the original weights that it was fitted for, whatever other changes were in force."""
    deltas: tuple[Delta, ...] = ()
    edit_ids: tuple[str, ...] = ()
    state: Mapping[str, Tensor] = field(default_factory=dict)
    """What later changes of the method need to know of this one, each tensor a list of rows; see `state_of`."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What came up while fitting and is no setting (the corpus's hash, the rank of a null space); JSON-ready."""

    def __post_init__(self) -> None:
        # On the CPU, wherever it was fitted: a journal's changes come from there, and meet those just made.
        object.__setattr__(self, "deltas", tuple(delta.cpu() for delta in self.deltas))
        object.__setattr__(self, "state", {key: tensor.cpu() for key, tensor in self.state.items()})

    def for_edits(self, *ids: str) -> Change:
        """The same change, carrying these edits."""
        return replace(self, edit_ids=ids)

    @property
    def nbytes(self) -> int:
        """Memory of the deltas and the state."""
        return sum(d.nbytes for d in self.deltas) + sum(t.numel() * t.element_size() for t in self.state.values())

    def verify(self, model: LanguageModel) -> None:
        """Raise InputError where it was fitted for other weights, or for weights that the model has not."""
        self._verify(model.model, origin(model))

    def _verify(self, model: nn.Module, held: str) -> None:
        """The same, where the hash of the model's originals is known: it costs reading all weights."""
        if held != self.model_hash:
            raise InputError(
                f"this {self.method} change was fitted for the weights {self.model_hash[:12]}…, and this model's are "
                f"{held[:12]}…: load the model that it was fitted for, or fit the edits again (`memedit refit`)"
            )
        for delta in self.deltas:
            shape = tuple(view(model, delta.name).shape)
            if shape != delta.shape:
                raise InputError(f"this change adds {delta.shape} to {delta.name}, which is {shape} in this model")

    def packed(self) -> bytes:
        """All of it as the bytes of a safetensors file."""
        from safetensors.torch import save

        tensors = {f"state.{key}": value for key, value in self.state.items()}
        for number, delta in enumerate(self.deltas):
            for part in ("left", "right", "full"):
                if (tensor := getattr(delta, part)) is not None:
                    tensors[f"delta.{number}.{part}"] = tensor
        about = {
            "format": FORMAT,
            "method": self.method,
            "settings": dict(self.settings),
            "notes": dict(self.notes),
            "model_hash": self.model_hash,
            "edit_ids": list(self.edit_ids),
            "weights": [delta.name for delta in self.deltas],
        }
        # Copies: the format refuses tensors that share memory, as views of one matrix do.
        kept = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
        return bytes(save(kept, {"memedit": _json(about)}))

    def save(self, path: Path | str) -> None:
        """Write it as one safetensors file, put in place whole."""
        data = self.packed()
        path = Path(path)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            partial.write_bytes(data)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path | str) -> Change:
        """Read what `save` wrote.

        Raises NotFoundError where there is no file, InputError where it is no change or a newer memedit wrote it.
        """
        path = Path(path)
        if not path.is_file():
            raise NotFoundError(f"there is no change at {path}")
        return cls.unpacked(path.read_bytes(), str(path))

    @classmethod
    def unpacked(cls, data: bytes, where: str = "this") -> Change:
        """What `packed` made; `where` it is, for messages. Raises InputError as `load` does."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            # The format: the length of the header in eight bytes, the header in JSON, the tensors.
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            about = json.loads(header["__metadata__"]["memedit"])
            tensors = load(data)
            if about["format"] > FORMAT:
                raise InputError(f"{where} was written by a newer memedit; upgrade to read it")
            parts: list[dict[str, Tensor]] = [{} for _ in about["weights"]]
            for key, tensor in tensors.items():
                if key.startswith("delta."):
                    _, number, part = key.split(".")
                    parts[int(number)][part] = tensor
            return cls(
                method=about["method"],
                settings=about["settings"],
                notes=about["notes"],
                model_hash=about["model_hash"],
                edit_ids=tuple(about["edit_ids"]),
                deltas=tuple(Delta(name, **part) for name, part in zip(about["weights"], parts, strict=True)),
                state={key.removeprefix("state."): t for key, t in tensors.items() if key.startswith("state.")},
            )
        except (SafetensorError, KeyError, TypeError, IndexError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise InputError(f"{where} is no change written by memedit, or is torn ({error})") from error


def _json(about: Mapping[str, Any]) -> str:
    return json.dumps(about, sort_keys=True, ensure_ascii=False)


def state_of(changes: Iterable[Change]) -> dict[str, Tensor]:
    """What a method's earlier changes left, joined row below row: the `state` that its next `fit` is given.

    Give it the changes in force; one that was taken out is then forgotten here too.
    """
    rows: dict[str, list[Tensor]] = {}
    for change in changes:
        for key, tensor in change.state.items():
            rows.setdefault(key, []).append(tensor)
    return {key: torch.cat(tensors) for key, tensors in rows.items()}


def view(model: nn.Module, name: str) -> Tensor:
    """The weight named so as a delta sees it: a projection's matrix as (out, in), anything else as it is stored.

    Raises InputError for a name that the model has not.
    """
    return oriented(model, name, _parameter(model, name))


def _parameter(model: nn.Module, name: str) -> nn.Parameter:
    try:
        return model.get_parameter(name)
    except AttributeError as error:
        raise InputError(f"{type(model).__name__} has no weight {name!r}: {error}") from error


def oriented(model: nn.Module, name: str, tensor: Tensor) -> Tensor:
    """A tensor in the shape in which the weight is stored, as a delta sees it, or back: doing it twice is nothing."""
    owner, _, own = name.rpartition(".")
    module = model.get_submodule(owner)
    if own != "weight" or tensor.ndim != 2 or isinstance(module, nn.Embedding):
        return tensor
    return tensor if weight_of(module) is module.weight else tensor.T


class _Sums:
    """Originals + deltas for the weights that the deltas touch; a weight under two names (tied) is one weight."""

    def __init__(self, model: nn.Module, deltas: Iterable[Delta]) -> None:
        self.model = model
        self.deltas: dict[int, list[Delta]] = {}
        self.parameters: dict[int, nn.Parameter] = {}
        for delta in deltas:
            parameter = _parameter(model, delta.name)
            self.parameters[id(parameter)] = parameter
            self.deltas.setdefault(id(parameter), []).append(delta)

    def keep(self, parameters: Iterable[int]) -> None:
        """Forget the weights that are not among these."""
        self.deltas = {key: deltas for key, deltas in self.deltas.items() if key in set(parameters)}

    def tensors(self, originals: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """By the parameter's id: a new tensor each. Summed in float32 or finer and rounded once, in the list's order.

        originals: what stands for a parameter's own value, where that is changed already.
        """
        made = {}
        for key, deltas in self.deltas.items():
            stored = originals.get(key, self.parameters[key].detach())
            wide = torch.promote_types(stored.dtype, torch.float32)
            seen = oriented(self.model, deltas[0].name, stored).to(wide, copy=True)
            for same in _runs(deltas):
                seen += _sum_of(same, wide, stored.device)
            made[key] = oriented(self.model, deltas[0].name, seen).to(stored.dtype).contiguous()
        return made


def _deltas(changes: Iterable[Change]) -> Iterator[Delta]:
    for change in changes:
        yield from change.deltas


def _sum_of(deltas: Sequence[Delta], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The sum of deltas that are all low rank, by one product; or of a single one."""
    if len(deltas) == 1:
        return deltas[0].matrix(dtype, device)
    left = torch.cat([delta.factors[0].to(device, dtype) for delta in deltas], dim=1)
    right = torch.cat([delta.factors[1].to(device, dtype) for delta in deltas], dim=0)
    return left @ right


def _runs(deltas: Sequence[Delta]) -> Iterator[list[Delta]]:
    """Neighbours that are of low rank together, full ones alone: a thousand rank-one edits are one product."""
    run: list[Delta] = []
    for delta in deltas:
        if delta.rank is None:
            if run:
                yield run
            yield [delta]
            run = []
        else:
            run.append(delta)
    if run:
        yield run


class Stack:
    """The changes in force on one model in memory, in place; one for each module, found by `of`.

    `put` and `take` are safe from several threads. Whoever runs the model while others change it holds `lock`, as
    `applied` does, and sees the weights with some list of changes whole, never a mixture.
    """

    _all: ClassVar[weakref.WeakKeyDictionary[nn.Module, Stack]] = weakref.WeakKeyDictionary()
    _finding: ClassVar = Lock()

    def __init__(self, model: nn.Module) -> None:
        self.lock = RLock()
        self.origin: str | None = None
        """Hash of the originals where the weights may be others; None where the model's own hash is that."""
        self._model = weakref.ref(model)
        self._active: list[Change] = []
        self._originals: dict[int, Tensor] = {}
        self.base: LanguageModel | None = None
        """What an `edited` model was made from, without any changes; None for a model that is no such."""
        self.made: tuple[Change, ...] = ()
        """The changes that an `edited` model was made with."""
        self._roots: dict[int, Tensor] = {}

    @classmethod
    def of(cls, model: nn.Module) -> Stack:
        """The stack of this module: always the same one."""
        with cls._finding:
            if model not in cls._all:
                cls._all[model] = cls(model)
            return cls._all[model]

    @property
    def changes(self) -> tuple[Change, ...]:
        """In force, in order."""
        return (*self.made, *self._active)

    def begin(self, base: LanguageModel, origin: str, made: tuple[Change, ...], roots: dict[int, Tensor]) -> None:
        """Say that the module was made with the changes `made` on top of `base`, whose hash is `origin` (`edited`).

        roots: by the parameter's id what it was without them.
        """
        self.base, self.origin, self.made, self._roots = base, origin, made, roots

    def sums(self, model: nn.Module, changes: Sequence[Change], *, all_: bool) -> dict[int, Tensor]:
        """By the parameter's id: originals + what the module was made with + `changes`, in that order.

        Of the weights that `changes` touch, or, with `all_`, of any that either touches.
        """
        sums = _Sums(model, _deltas([*self.made, *changes]))
        if not all_:
            sums.keep(_Sums(model, _deltas(changes)).parameters)
        return sums.tensors({**self._originals, **self._roots})

    def originals(self, model: LanguageModel) -> LanguageModel:
        """See the function of this name."""
        with self.lock:
            if self.base is not None:
                return self.base
            return _twin(model, self._originals) if self._active else model

    def put(self, model: LanguageModel, *changes: Change) -> None:
        """Add to the end of the list. Raises InputError, nothing being changed, for one of another model."""
        with self.lock:
            if not changes:
                return
            held = self.origin or model.hash
            for change in changes:
                change._verify(model.model, held)
            self._set([*self._active, *changes])
            self.origin = held

    def take(self, *changes: Change) -> None:
        """Take these out, wherever in the list they are (the newest, of one that is there twice)."""
        with self.lock:
            left = list(self._active)
            for change in reversed(changes):
                at = next((i for i in reversed(range(len(left))) if left[i] is change), None)
                if at is None:
                    raise InputError("this change is not in force on this model")
                del left[at]
            self._set(left)

    def _set(self, changes: list[Change]) -> None:
        model = self._model()
        assert model is not None
        made = self.sums(model, changes, all_=False)  # all before any is put in: a failure leaves things as they were
        parameters = {id(parameter): parameter for parameter in model.parameters()}
        held = dict(self._originals)
        try:
            for key, tensor in made.items():
                self._originals.setdefault(key, parameters[key].data)
                parameters[key].data = tensor
            for key in [key for key in self._originals if key not in made]:
                parameters[key].data = self._originals[key]
                del self._originals[key]
            self._active = changes
        except BaseException:  # an interrupt between two weights: back to the list before
            touched = {**self._originals, **held}
            self._originals = held
            before = self.sums(model, self._active, all_=False)
            for key, original in touched.items():
                parameters[key].data = before.get(key, original)
            raise
        if not changes and self.base is None:
            self.origin = None


def origin(model: LanguageModel) -> str:
    """Hash of the model's original weights, whatever changes are in force on it."""
    return Stack.of(model.model).origin or model.hash


def originals(model: LanguageModel) -> LanguageModel:
    """The model without the changes in force on it, which shares every weight that none of them touches."""
    return Stack.of(model.model).originals(model)


def anchor(model: LanguageModel) -> nn.Module:
    """The modules that an `edited` model was made from; its own, where it is none."""
    base = Stack.of(model.model).base
    module: nn.Module = (base or model).model
    return module


def write(model: nn.Module, delta: Delta) -> None:
    """Add a delta to a module that nobody else sees, such as the one in an `edited` model; there is no way back."""
    sums = _Sums(model, [delta])
    for key, tensor in sums.tensors({}).items():
        sums.parameters[key].data = tensor


@contextmanager
def applied(model: LanguageModel, *changes: Change) -> Iterator[LanguageModel]:
    """The model with these changes on top of those in force already, in place, as long as the block lasts.

    Restores every weight bit for bit, whatever happens inside, nested, and left in whatever order. Only this thread
    may enter such a block of this model meanwhile: others wait, those with no changes to apply too (`applied(model)`
    is how to ask while nobody changes anything). Raises InputError, nothing being changed, for a change of another
    model.
    """
    stack = Stack.of(model.model)
    with stack.lock:
        stack.put(model, *changes)
        try:
            yield model
        finally:
            stack.take(*changes)


def edited(model: LanguageModel, *changes: Change) -> LanguageModel:
    """A model with these changes on top of those in force, which shares with `model` every weight that none touches.

    Its modules are its own, so hooks, gradients and further changes of one are not seen in the other; its `origin` is
    the same. Raises InputError for a change of another model.
    """
    stack = Stack.of(model.model)
    with stack.lock:
        held = origin(model)
        for change in changes:
            change._verify(model.model, held)
        base, made = originals(model), (*stack.changes, *changes)
        twin = _twin(model, stack.sums(model.model, made[len(stack.made) :], all_=True))
        roots = {
            id(own): root.detach()
            for own, root in zip(twin.model.parameters(), base.model.parameters(), strict=True)
            if own.data_ptr() != root.data_ptr()
        }
        Stack.of(twin.model).begin(base, held, made, roots)
        return twin


def rounded(model: LanguageModel, dtype: Any) -> LanguageModel:
    """An `edited` model with the weights that are its own rounded to a type, as they would be if they were kept in it.

    Itself where they are; only to be asked, since no changes are known to be in force on it.
    """
    roots = Stack.of(model.model)._roots
    own = [weight for weight in model.model.parameters() if id(weight) in roots and weight.dtype != dtype]
    return _twin(model, {id(weight): weight.detach().to(dtype).to(weight.dtype) for weight in own}) if own else model


def _twin(model: LanguageModel, replaced: Mapping[int, Tensor]) -> LanguageModel:
    """Modules of its own over the same memory, but for what is replaced (by the parameter's id)."""
    module: nn.Module = model.model
    memo: dict[int, Any] = {id(buffer): buffer for buffer in module.buffers()}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(replaced.get(id(parameter), parameter.detach()), requires_grad=False)
    memo[id(module.config)] = module.config
    return type(model)(copy.deepcopy(module, memo).eval(), model.tokenizer, model.name)
