"""What goes into and comes out of named modules while a model runs, and, if wanted, something else in its place.

`layout.py` says what the modules are called. The hooks live exactly as long as the `with` block, and see only the
thread that entered it: a model in memory is shared, and another thread's question must be answered as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any

from memedit.errors import InputError

if TYPE_CHECKING:  # torch costs more than a second; who has a module has paid already
    from torch import Tensor
    from torch.nn import Module

Replace = Callable[[str, "Tensor"], "Tensor | None"]
"""(module's name, what it is about to pass on) -> what it passes on instead; None leaves it as it is."""


class Stopped(BaseException):
    """Ends a forward pass once nothing more is wanted; it never leaves the `with` block."""


class Trace:
    """`with Trace(model, names) as seen: model(...)`, then `seen.inputs[name]` and `seen.outputs[name]`.

    Kept is what the last call of each module got and gave: its first tensor, where there are more, (batch, tokens,
    width) in most models; with its graph, so that gradients flow (run under `torch.no_grad()` where none are wanted).
    `edit` may replace a named module's output, `edit_input` its input; what is kept is what replaced it. With `stop`
    the pass ends as soon as each named module has been called once: statements after it in the block do not run, so
    the call of the model stands last there. Modules of `skip` do not run at all, and pass on what stands there.

    Raises InputError, before any hook is placed, for a name that the model lacks.
    """

    def __init__(
        self,
        model: Module,
        names: Iterable[str],
        edit: Replace | None = None,
        *,
        edit_input: Replace | None = None,
        stop: bool = False,
        skip: Mapping[str, Any] | None = None,
    ) -> None:
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        self.bundled: set[str] = set()
        """Modules whose output was a tuple."""
        self._modules = {name: _module(model, name) for name in names}
        self._skipped = {name: (_module(model, name), output) for name, output in (skip or {}).items()}
        self._edit = edit
        self._edit_input = edit_input
        self._stop = stop
        self._hooks = ExitStack()
        self._thread = 0

    def __enter__(self) -> Trace:
        self._thread = get_ident()
        with ExitStack() as placing:  # a hook that cannot be placed takes those before it with it
            for module, output in self._skipped.values():
                placing.enter_context(self._passing(module, output))
            for name, module in self._modules.items():
                before = module.register_forward_pre_hook(self._before(name), with_kwargs=True)
                placing.callback(before.remove)
                placing.callback(module.register_forward_hook(self._after(name)).remove)
            self._hooks = placing.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:  # bool alone would tell type checkers that any block may end early
        self._hooks.close()
        return self._stop and isinstance(error, Stopped)

    @contextmanager
    def _passing(self, module: Module, output: Any) -> Iterator[None]:
        """The module, in this thread, passes on `output` without being run; no hook of torch's can do that."""
        own = module.forward

        def forward(*given: Any, **named: Any) -> Any:
            return output if get_ident() == self._thread else own(*given, **named)

        was_own = "forward" in vars(module)
        module.forward = forward
        try:
            yield
        finally:
            if was_own:
                module.forward = own
            else:
                del module.forward

    def _before(self, name: str) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]] | None]:
        def hook(
            module: Module, given: tuple[Any, ...], named: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
            if get_ident() != self._thread:
                return None
            at = 0 if given else next(iter(named))  # transformers passes some hidden states by name
            value = given[0] if given else named[at]  # type: ignore[index]
            put = self._edit_input(name, value) if self._edit_input is not None else None
            self.inputs[name] = value if put is None else put
            if put is None:
                return None
            return ((put, *given[1:]), named) if given else ((), {**named, str(at): put})

        return hook

    def _after(self, name: str) -> Callable[..., Any]:
        def hook(module: Module, given: tuple[Any, ...], output: Any) -> Any:
            if get_ident() != self._thread:
                return None
            value = output[0] if isinstance(output, tuple) else output
            self.bundled |= {name} if isinstance(output, tuple) else set()
            put = self._edit(name, value) if self._edit is not None else None
            self.outputs[name] = value if put is None else put
            if self._stop and self.outputs.keys() >= self._modules.keys():
                raise Stopped
            if put is None:
                return None
            return (put, *output[1:]) if isinstance(output, tuple) else put

        return hook


def _module(model: Module, name: str) -> Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise InputError(
            f"{type(model).__name__} has no module {name!r} ({error}); the names of a model's parts are in its layout"
        ) from error


def by_token(value: Tensor, rows: int) -> Tensor:
    """A kept tensor as (rows, tokens, width), a view: OPT's projections have all tokens of a batch in one dimension."""
    return value.view(rows, -1, value.shape[-1])
