"""What is evaluated: anything that takes edits and answers. The unedited model, the memory, each method of weights.

The seam is `System`. A system holds what it was told since the last `reset`; `edit` adds to that. Prompts are plain
texts and reach every system in the same way, as the one user message of a conversation: a model with a chat template is
asked by it, one without completes, and a text that breaks off ("The capital of France is") is continued. A system that
cannot say something (probabilities of a provider's model) says None, and the figure is left out with its reason.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from memedit.edits import DEFAULT_NAMESPACE, Decision, Draft, Hit, Message
from memedit.errors import InputError, MemEditError, NotFoundError
from memedit.evaluation.local import Conversation, Local, TargetScore
from memedit.models import BaseModel, load_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from memedit.editor import Editor
    from memedit.edits import Answer
    from memedit.memory import EditMemory
    from memedit.weights.change import Change
    from memedit.weights.language_model import Request

__all__ = ["Base", "Memory", "Options", "System", "TargetScore", "Weights", "load_system", "names"]


class System(Protocol):
    """The seam. Lists come back in the order of what was given, one entry each."""

    name: str

    def edit(self, drafts: Sequence[Draft]) -> None:
        """Take these facts up, besides those that are there. Raises MemEditError where it cannot: nothing changed."""
        ...

    def reset(self) -> None:
        """Let go of all edits."""
        ...

    def answer(self, prompts: Sequence[str]) -> list[str]:
        """What a user gets: free greedy generation."""
        ...

    def score(self, prompts: Sequence[str], targets: Sequence[str]) -> list[TargetScore | None]:
        """Each target as the reply to its prompt, teacher-forced."""
        ...

    def distributions(self, prompts: Sequence[str]) -> list[NDArray[np.float32] | None]:
        """Probabilities (vocabulary,) of the reply's first token."""
        ...

    def explain(self, prompts: Sequence[str]) -> list[Mapping[str, object]]:
        """What the system says of its last answers to these, JSON-ready: {"in_scope", "probability", "used"} or {}.

        `used` are the statements of the edits that the answer was made with.
        """
        ...

    @property
    def bytes_per_edit(self) -> float | None:
        """What an edit takes where it is kept, on average over those held."""
        ...


WARM = Draft(
    statement="The capital of Warmland is Warmville",
    subject="Warmland",
    target="Warmville",
    prompt="The capital of Warmland is",
)
"""A fact that systems are tried on before anything is timed."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the memory is set up; None is the setting in force. `oracle`: the right edit is handed to it, not found."""

    scope: str | None = None
    answerer: str | None = None
    encoder: str | None = None
    store: str | None = None
    false_fire: float | None = None
    calibration: Path | None = None
    oracle: bool = False


@dataclass
class Known:
    """The unedited model's replies by prompt. Greedy replies do not change, so none is generated twice.

    While `paused`, none is known: for taking times.
    """

    replies: dict[str, str] = field(default_factory=dict)
    _paused: bool = False

    def get(self, prompt: str) -> str | None:
        return None if self._paused else self.replies.get(prompt)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._paused = True
        try:
            yield
        finally:
            self._paused = False


def conversation(prompt: str) -> list[Message]:
    """A prompt as every system is asked it."""
    return [Message("user", prompt)]


class Base:
    """The unedited model. It takes edits, and nothing comes of them."""

    name = "base"
    bytes_per_edit: float | None = None

    def __init__(self, model: object = "pocket", known: Known | None = None) -> None:
        self.model: BaseModel = load_model(model)
        self.spec = model if isinstance(model, str) else self.model.name
        self.known = known or Known()
        self.local = _local(self.model)

    @cached_property
    def hash(self) -> str:
        """What tells this model from any other: of its weights where they are here, else of its name (64 digits)."""
        if self.local is not None:
            from memedit.weights.language_model import LanguageModel

            return LanguageModel(self.local.model._model, self.local.model._tokenizer, self.spec).hash
        kind, _, file = self.spec.partition(":")
        script = Path(file).read_bytes() if kind == "scripted" and Path(file).is_file() else b""
        return sha256(self.spec.encode() + b"\0" + script).hexdigest()

    def edit(self, drafts: Sequence[Draft]) -> None: ...

    def reset(self) -> None: ...

    def answer(self, prompts: Sequence[str]) -> list[str]:
        new = [prompt for prompt in dict.fromkeys(prompts) if self.known.get(prompt) is None]
        made = dict(zip(new, self.replies([conversation(prompt) for prompt in new]), strict=True))
        return [made[prompt] if prompt in made else self.known.replies[prompt] for prompt in prompts]

    def replies(self, conversations: Sequence[Conversation]) -> list[str]:
        """Generated anew, in batches where the model is on this machine."""
        if self.local is not None:
            return self.local.replies(conversations)
        return ["".join(self.model.stream(messages)) for messages in conversations]

    def score(self, prompts: Sequence[str], targets: Sequence[str]) -> list[TargetScore | None]:
        if self.local is None:
            return [None] * len(prompts)
        return list(self.local.scores([conversation(prompt) for prompt in prompts], targets))

    def distributions(self, prompts: Sequence[str]) -> list[NDArray[np.float32] | None]:
        if self.local is None:
            return [None] * len(prompts)
        return list(self.local.distributions([conversation(prompt) for prompt in prompts]))

    def explain(self, prompts: Sequence[str]) -> list[Mapping[str, object]]:
        return [{} for _ in prompts]


def _local(model: BaseModel) -> Local | None:
    # Only a model of that class can have been loaded if its module was, so that asking a provider loads no torch.
    import sys

    module = sys.modules.get("memedit.models.hugging_face")
    return Local(model) if module is not None and isinstance(model, module.HuggingFace) else None


class _Recorded:
    """The base model as the editor sees it: known replies are not generated again, and every call is noted."""

    def __init__(self, base: Base) -> None:
        self.base = base
        self.name = base.model.name
        self.style: Literal["chat", "completion"] = base.model.style
        self.context_tokens = base.model.context_tokens
        self.calls: list[tuple[Conversation, str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.base.model, name)

    def stream(self, messages: Conversation, **parameters: Any) -> Iterator[str]:
        plain = not parameters and len(messages) == 1 and messages[0].role == "user"
        known = self.base.known.get(messages[0].content) if plain else None
        said = []
        try:
            for piece in self.base.model.stream(messages, **parameters) if known is None else [known]:
                said.append(piece)
                yield piece
        finally:  # also where whoever asked has read enough
            self.calls.append((messages, "".join(said)))

    async def astream(self, messages: Conversation, **parameters: Any) -> AsyncIterator[str]:
        for piece in self.stream(messages, **parameters):
            yield piece

    def count_tokens(self, text: str) -> int:
        return self.base.model.count_tokens(text)


class _Oracle:
    """A scope that is told which edits bear on which question, in place of one that finds out."""

    name = "oracle"

    def __init__(self) -> None:
        self.statements: dict[str, frozenset[str]] = {}

    def decide(
        self,
        messages: Sequence[Message],
        memory: EditMemory,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        as_of: datetime | int | None = None,
    ) -> Decision:
        query = messages[-1].content
        wanted = self.statements.get(query, frozenset())
        edits = memory.list(namespace=namespace) if wanted else []
        hits = tuple(Hit(edit=edit, score=1.0, probability=1.0) for edit in edits if edit.statement in wanted)
        label: Literal["none", "single"] = "single" if hits else "none"
        return Decision(query=query, hits=hits, candidates=hits, threshold=0.5, label=label, scope=self.name)


class Memory:
    """The edit memory in a temporary folder with scope and answerer over the base model: real retrieval, as a user has.

    Each reset begins a namespace of its own, so that nothing of an earlier case can be seen. A target is scored where
    the reply came of one last call of the model: given what the model was given then. `close` removes the folder.
    """

    def __init__(self, base: Base, options: Options | None = None) -> None:
        from memedit.bench._questions import Prepared
        from memedit.editor import Editor
        from memedit.encoders import load_encoder
        from memedit.memory import EditMemory
        from memedit.settings import load_settings

        given = options or Options()
        settings = load_settings(
            scope=given.scope, encoder=given.encoder, store=given.store, answerer=given.answerer,
            false_fire=given.false_fire, calibration=given.calibration,
        )  # fmt: skip
        self.name = f"memory:{given.answerer}" if given.answerer else "memory"
        self.name += "+oracle" if given.oracle else ""
        self.base = base
        self._oracle = _Oracle() if given.oracle else None
        self._model = _Recorded(base)
        self._encoder = Prepared(load_encoder(settings.encoder))
        self._open = ExitStack()
        self._folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="memedit-eval-")))
        self._memory = self._open.enter_context(
            EditMemory.open(self._folder, encoder=self._encoder, store=settings.store)
        )
        self._editor: Editor = Editor(
            self._memory,
            self._model,
            scope=self._oracle or settings.scope,
            answerer=settings.answerer,
            false_fire=None if self._oracle else settings.false_fire,
            calibration=settings.calibration,
        )
        self._numbers = count()
        self._written = 0
        self.reset()

    def warm_up(self) -> None:
        """Have encoder and scope load what they need, so that no case pays for it. All edits are let go of."""
        self.edit([WARM])
        self._editor.decide(f"{WARM.prompt}", namespace=self._namespace)
        self.reset()

    def close(self) -> None:
        self._open.close()

    def parts(self) -> dict[str, object]:
        """What its answers depend on besides the settings: the shipped gate's files, as a user may have other ones."""
        from importlib.resources import files

        shipped = [*files("memedit").joinpath("gate").iterdir(), *files("memedit").joinpath("scope").iterdir()]
        read = sorted((file for file in shipped if file.name.endswith((".onnx", ".json"))), key=lambda file: file.name)
        digest = sha256()
        for file in read:
            digest.update(file.read_bytes())
        return {"encoder": self._encoder.identity, "gate_sha256": digest.hexdigest()}

    def reset(self) -> None:
        self._namespace = f"eval-{next(self._numbers)}"
        self._answers: dict[str, tuple[Answer, Conversation | None]] = {}

    def edit(self, drafts: Sequence[Draft]) -> None:
        self._encoder.prepare(draft.statement for draft in drafts)
        self._memory.add_many(drafts, namespace=self._namespace)
        self._memory.sync(self._namespace)
        self._written += len(drafts)
        self._answers.clear()

    def expect(self, statements: Mapping[str, frozenset[str]]) -> None:
        """Tell an oracle which statements bear on which prompt; any other memory finds that out by itself."""
        if self._oracle is not None:
            self._oracle.statements = dict(statements)
            self._answers.clear()

    def answer(self, prompts: Sequence[str]) -> list[str]:
        if len(prompts) > 1:
            self._encoder.prepare(prompts)
        for prompt in dict.fromkeys(prompts):
            self._ask(prompt)
        return [self._answers[prompt][0].text for prompt in prompts]

    def _ask(self, prompt: str) -> None:
        self._model.calls.clear()
        answer = self._editor.ask(prompt, namespace=self._namespace)
        given = self._model.calls[-1] if self._model.calls else None
        self._answers[prompt] = answer, given[0] if given is not None and given[1] == answer.text else None

    def _given(self, prompts: Sequence[str]) -> list[Conversation | None]:
        """What the model was given for each prompt; None where its reply is not what the user got."""
        missing = [prompt for prompt in prompts if prompt not in self._answers]
        if missing:
            self.answer(missing)
        return [self._answers[prompt][1] for prompt in prompts]

    def score(self, prompts: Sequence[str], targets: Sequence[str]) -> list[TargetScore | None]:
        local, given = self.base.local, self._given(prompts)
        if local is None:
            return [None] * len(prompts)
        there = [(messages, target) for messages, target in zip(given, targets, strict=True) if messages is not None]
        scores = iter(local.scores([messages for messages, _ in there], [target for _, target in there]))
        return [next(scores) if messages is not None else None for messages in given]

    def distributions(self, prompts: Sequence[str]) -> list[NDArray[np.float32] | None]:
        local, given = self.base.local, self._given(prompts)
        if local is None:
            return [None] * len(prompts)
        found = iter(local.distributions([messages for messages in given if messages is not None]))
        return [next(found) if messages is not None else None for messages in given]

    def explain(self, prompts: Sequence[str]) -> list[Mapping[str, object]]:
        return [_explained(self._answers[prompt][0]) if prompt in self._answers else {} for prompt in prompts]

    @property
    def bytes_per_edit(self) -> float | None:
        if not self._written:
            return None
        return sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file()) / self._written


def _explained(answer: Answer) -> dict[str, object]:
    hits = answer.decision.hits if answer.decision is not None else ()
    candidates = answer.decision.candidates if answer.decision is not None else ()
    likely = max((hit.probability for hit in (*hits, *candidates) if hit.probability is not None), default=None)
    return {
        "in_scope": answer.in_scope,
        "probability": None if likely is None else round(likely, 6),
        "used": [hit.edit.statement for hit in answer.edits],
    }


class Weights:
    """A method of `memedit.methods` by name: each `edit` fits one change on the weights in force and adds it to them.

    The model is the base's own; changed weights are in it only while this system answers.
    """

    def __init__(self, base: Base, method: str) -> None:
        if base.local is None:
            raise InputError(
                f"{method} changes weights, and {base.spec} has none on this machine; use a model such as pocket or "
                "hf:NAME_OR_PATH"
            )
        from memedit.methods import require_writing
        from memedit.weights.language_model import LanguageModel

        self.name = method
        self.base = base
        self._local = base.local
        self._model = LanguageModel(base.local.model._model, base.local.model._tokenizer, base.spec)
        self._method = _made(method)
        require_writing(method.partition(":")[0], self._method)
        self._held: Change | None = None  # all changes since the last reset as one: none is taken out by itself
        self._edits = 0
        self._bytes = 0
        self._passes = 0.0
        self.notes: Mapping[str, Any] = {}
        """What its first change noted, such as the corpus's hash or a null space's rank."""

    def edit(self, drafts: Sequence[Draft]) -> None:
        from memedit.weights.passes import timed

        requests = [self._request(draft) for draft in drafts]
        with self._applied(), timed() as clock:
            change = self._method.fit(self._model, requests, state=self._state())
        self._held = change if self._held is None else _joined(self._held, change)
        self.notes = self.notes or dict(change.notes)
        self._edits += len(drafts)
        self._bytes += change.nbytes
        self._passes += clock.seconds

    def _request(self, draft: Draft) -> Request:
        """The fact as a method needs it, its prompt in the very words that the model is given when it is asked."""
        from memedit.weights.language_model import request_of

        return self._local.model.asked(request_of(draft))

    def refuses(self, draft: Draft) -> str | None:
        """Why this draft cannot be written, which says nothing of the others; None where it can."""
        from memedit.weights.rows import row_of

        try:
            row_of(self._model, self._request(draft), subject=self._method.family == "locate-then-edit")
        except InputError as error:
            return str(error)
        return None

    def _state(self) -> Any:
        return None if self._held is None else self._held.state

    def warm_up(self) -> None:
        """Have the method work out what it needs of the model itself, such as covariances, so that no case pays."""
        with suppress(InputError):  # what it refuses here it may take elsewhere
            self.edit([WARM])
        self.reset()

    def parts(self) -> dict[str, object]:
        """The settings that are in force: where nothing was said, what the model makes them."""
        from memedit.methods._settings import chosen, recorded

        return {"settings": recorded(chosen(self._method, self._model))}

    def reset(self) -> None:
        self._held, self._edits, self._bytes, self._passes = None, 0, 0, 0.0

    @contextmanager
    def _applied(self) -> Iterator[None]:
        from memedit.weights.change import applied

        with applied(self._model, *([] if self._held is None else [self._held])):
            yield

    def answer(self, prompts: Sequence[str]) -> list[str]:
        with self._applied():
            return self._local.replies([conversation(prompt) for prompt in prompts])

    def score(self, prompts: Sequence[str], targets: Sequence[str]) -> list[TargetScore | None]:
        with self._applied():
            return self.base.score(prompts, targets)

    def distributions(self, prompts: Sequence[str]) -> list[NDArray[np.float32] | None]:
        with self._applied():
            return self.base.distributions(prompts)

    def explain(self, prompts: Sequence[str]) -> list[Mapping[str, object]]:
        return [{} for _ in prompts]

    @property
    def bytes_per_edit(self) -> float | None:
        return self._bytes / self._edits if self._edits else None

    @property
    def passes_per_edit(self) -> float | None:
        """Seconds of the search's forward and backward passes for an edit; None for a method that searches nothing."""
        return self._passes / self._edits if self._passes else None


def _joined(first: Change, second: Change) -> Change:
    """Both as one: what they add to a weight takes no more than the weight, however many there were."""
    from memedit.weights.change import state_of
    from memedit.weights.delta import stacked

    deltas = tuple(stacked([*first.deltas, *second.deltas]).values())
    return replace(first, deltas=deltas, state=state_of([first, second]))


# ----------------------------------------------------------------------------------------- by name

PLANTED = "planted:"


def names() -> list[str]:
    """What `load_system` knows, besides `memory:ANSWERER`: of methods those that write facts."""
    from memedit.evaluation.planted import planted
    from memedit.methods import writers

    return ["base", "memory", *writers(), *(f"{PLANTED}{name}" for name in planted)]


def _methods() -> list[str]:
    from memedit.methods import methods

    return methods.names()


def configured(systems: Sequence[str], settings: Iterable[str]) -> list[str]:
    """The systems by name, with settings METHOD.NAME=VALUE in the names of methods: "rome:layer=1;rate=0.5".

    A name with its settings is a system of its own to `load_system`, and in a run. Raises InputError for settings of
    what is not among the systems or changes no weights, and for one that is given twice.
    """
    given: dict[str, dict[str, str]] = {}
    for one in settings:
        method, dot, setting = one.partition(".")
        name, mark, value = (part.strip() for part in setting.partition("="))
        if not (dot and mark and name):
            raise InputError(f"{one!r} is no setting; write METHOD.NAME=VALUE, such as rome.layer=1")
        if method not in systems or method not in _methods():
            able = [name for name in systems if name in _methods()]
            raise InputError(f"{one!r} is of no method in this run that has settings; there are: {', '.join(able)}")
        if name in given.setdefault(method, {}):
            raise InputError(f"{method}.{name} is set twice; run each by itself, into the same folder if you like")
        given[method][name] = value
    found = {
        method: f"{method}:{';'.join(f'{name}={value}' for name, value in sorted(named.items()))}"
        for method, named in given.items()
    }
    return [found.get(system, system) for system in systems]


def _made(name: str) -> Any:
    """The method of a name that may have settings behind it, as `configured` makes them."""
    from memedit.methods import make
    from memedit.methods._settings import given

    method, _, said = name.partition(":")
    return make(method, **given(said.split(";") if said else ()))


def load_system(name: str, base: Base, options: Options | None = None) -> System:
    """The system named so over a base model: base, memory, memory:ANSWERER, planted:NAME or a weight-changing method.

    Such a method may have settings, METHOD:NAME=VALUE;NAME=VALUE. Raises NotFoundError, naming what there is, for an
    unknown name; InputError where it cannot work on this model, and for a setting that it has not; MemEditError where
    its own parts cannot be loaded.
    """
    from memedit.evaluation.planted import planted

    kind, _, argument = name.partition(":")
    makers: dict[str, Callable[[], System]] = {
        "base": lambda: base,
        "memory": lambda: Memory(base, replace(options or Options(), answerer=argument or None)),
        "planted": lambda: planted[argument](base),
    }
    if kind in makers and (not argument or kind == "memory" or argument in planted):
        return makers[kind]()
    if kind not in _methods():
        raise NotFoundError(f"no method is named {name!r}; there are: {', '.join(names())}, memory:ANSWERER")
    try:
        return Weights(base, name)
    except ImportError as error:
        raise MemEditError(f"the method {name!r} cannot be loaded: {error}") from error
