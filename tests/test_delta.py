"""Deltas are sums; a change is a file; and a model is bit for bit what it was when its changes are out."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from memedit.errors import InputError, NotFoundError
from memedit.weights.change import Change, Stack, applied, edited, origin, originals, state_of, view
from memedit.weights.delta import Delta, stacked, total
from memedit.weights.language_model import LanguageModel

CONV = "transformer.h.1.mlp.c_proj.weight"
"""Kept (in, out) by GPT-2: (64, 16)."""


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def low(seed: int, rank: int = 1, name: str = CONV, out: int = 16, into: int = 64) -> Delta:
    return Delta(name, noise(out, rank, seed=seed), noise(rank, into, seed=seed + 100))


def change(model: LanguageModel, *deltas: Delta, ids: tuple[str, ...] = ()) -> Change:
    return Change("rome", {"layer": 1}, origin(model), deltas, ids)


def bits(model: LanguageModel) -> dict[str, bytes]:
    return {name: bytes(p.detach().reshape(-1).view(torch.uint8).numpy()) for name, p in model.model.named_parameters()}


# ------------------------------------------------------------------------------------------------------------- deltas


def test_sums_are_those_of_the_matrices() -> None:
    one, two, full = low(1), low(2, rank=3), Delta(CONV, full=noise(16, 64, seed=9))
    assert (one.rank, two.rank, full.rank, (one + two).rank) == (1, 3, None, 4)
    assert one.shape == full.shape == (16, 64)
    torch.testing.assert_close((one + two).matrix(), one.matrix() + two.matrix())
    torch.testing.assert_close((one - two).matrix(), one.matrix() - two.matrix())
    torch.testing.assert_close((full - one).matrix(), full.matrix() - one.matrix())
    torch.testing.assert_close((one + full + two).matrix(), one.matrix() + full.matrix() + two.matrix())
    assert torch.linalg.matrix_rank((one + two).matrix()) == 4


def test_factors_that_would_be_larger_than_the_whole_become_the_whole() -> None:
    many = total([low(seed, rank=4) for seed in range(4)])
    assert many.rank is None
    torch.testing.assert_close(many.matrix(), sum(low(seed, rank=4).matrix() for seed in range(4)))
    assert many.nbytes == 16 * 64 * 4
    assert low(1, rank=2).nbytes == (16 * 2 + 2 * 64) * 4


def test_deltas_stack_by_weight() -> None:
    other = low(3, name="other", out=4, into=4)
    made = stacked([low(1), other, low(2)])
    assert list(made) == [CONV, "other"]
    torch.testing.assert_close(made[CONV].matrix(), low(1).matrix() + low(2).matrix())


@pytest.mark.parametrize(
    "parts",
    [{}, {"left": noise(2, 1)}, {"left": noise(2, 1), "right": noise(2, 2)}, {"full": noise(2), "left": noise(2, 1)}],
)
def test_a_delta_is_two_factors_that_fit_or_full(parts: dict[str, Tensor]) -> None:
    with pytest.raises(InputError, match="delta of w"):
        Delta("w", **parts)


def test_what_cannot_be_added_is_refused() -> None:
    with pytest.raises(InputError, match="different weights or shapes"):
        low(1) + low(1, name="other")
    with pytest.raises(InputError, match="no deltas"):
        total([])
    with pytest.raises(InputError, match="is full and has no factors"):
        _ = Delta(CONV, full=noise(2, 2)).factors


# ------------------------------------------------------------------------------------------------------- in a model


def test_a_matrix_is_out_by_in_for_conv1d_and_linear() -> None:
    conv, linear = tiny.shared("gpt2"), tiny.shared("llama")
    assert tuple(view(conv.model, CONV).shape) == (16, 64)
    name = "model.layers.1.mlp.down_proj.weight"
    assert tuple(view(linear.model, name).shape) == (16, 32)
    for model, delta in ((conv, low(1)), (linear, low(1, name=name, into=32))):
        made = edited(model, change(model, delta))
        torch.testing.assert_close(view(made.model, delta.name), view(model.model, delta.name) + delta.matrix())


def test_nested_after_an_exception_and_out_of_order() -> None:
    model = tiny.build("gpt2")
    before = bits(model)
    one, two = change(model, low(1)), change(model, low(2), Delta("transformer.h.0.ln_1.bias", full=noise(16)))
    with applied(model, one):
        only_one = bits(model)
        with pytest.raises(ZeroDivisionError), applied(model, two):
            _ = 1 / (bits(model) in (before, only_one))
        assert bits(model) == only_one
        with applied(model, one):  # the same one twice counts twice
            twice = view(model.model, CONV).detach().clone()
        assert bits(model) == only_one
    assert bits(model) == before
    torch.testing.assert_close(twice, view(model.model, CONV) + 2 * low(1).matrix())
    first, second = applied(model, one), applied(model, two)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert bits(model) == bits(edited(tiny.build("gpt2"), two))
    assert Stack.of(model.model).changes == (two,)
    second.__exit__(None, None, None)
    assert bits(model) == before
    assert Stack.of(model.model).changes == ()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_subtracting_would_not_have_restored(dtype: torch.dtype) -> None:
    model = tiny.build("gpt2", dtype)
    before, delta = bits(model), low(1)
    weight = view(model.model, CONV).detach().clone()
    there_and_back = (weight + delta.matrix().to(dtype)) - delta.matrix().to(dtype)
    assert not torch.equal(there_and_back, weight)
    with applied(model, change(model, delta)):
        assert view(model.model, CONV).dtype == dtype
        torch.testing.assert_close(view(model.model, CONV), (weight.float() + delta.matrix()).to(dtype))
    assert bits(model) == before


def test_weights_in_force_are_originals_and_changes_in_order_however_they_came_there() -> None:
    changes = [change(tiny.shared("gpt2"), low(seed)) for seed in range(4)]
    model = tiny.build("gpt2")
    stack = Stack.of(model.model)
    stack.put(model, *changes)
    stack.take(changes[1], changes[3])
    assert bits(model) == bits(edited(tiny.build("gpt2"), changes[0], changes[2]))
    stack.take(changes[0], changes[2])
    assert bits(model) == bits(tiny.build("gpt2"))
    with pytest.raises(InputError, match="not in force"):
        stack.take(changes[0])


def test_a_tied_weight_is_one_weight() -> None:
    model = tiny.build("gpt2")
    assert model.model.lm_head.weight is model.model.transformer.wte.weight
    delta = Delta("transformer.wte.weight", full=noise(*model.model.transformer.wte.weight.shape))
    before = bits(model)
    with applied(model, change(model, delta)):
        assert model.model.lm_head.weight is model.model.transformer.wte.weight
        assert bits(model) != before
    twin = edited(model, change(model, delta)).model
    assert twin.lm_head.weight is twin.transformer.wte.weight
    assert bits(model) == before


def test_a_change_of_another_model_is_refused_and_nothing_happens() -> None:
    model, other = tiny.build("gpt2"), tiny.build("gpt2", seed=1)
    wrong = change(other, low(1))
    before = bits(model)
    for attempt in (lambda: edited(model, wrong), lambda: applied(model, wrong).__enter__()):
        with pytest.raises(InputError, match=rf"fitted for the weights {other.hash[:12]}….*are {model.hash[:12]}…"):
            attempt()
    with pytest.raises(InputError, match=r"has no weight 'transformer.h.9"):
        edited(model, change(model, low(1, name="transformer.h.9.mlp.c_proj.weight")))
    with pytest.raises(InputError, match=r"adds \(16, 8\) to .*which is \(16, 64\)"):
        edited(model, change(model, low(1, into=8)))
    with pytest.raises(InputError), applied(model, change(model, low(1)), wrong):
        pass
    assert bits(model) == before
    assert Stack.of(model.model).changes == ()


def test_an_edited_model_shares_what_is_not_changed_and_knows_its_origin() -> None:
    model = tiny.build("gpt2")
    first, second = change(model, low(1)), change(model, low(2))
    twin = edited(edited(model, first), second)
    assert origin(twin) == model.hash != twin.hash
    assert bits(twin) == bits(edited(model, first, second))
    mine, theirs = (dict(m.model.named_parameters()) for m in (model, twin))
    assert {name for name in mine if mine[name].data_ptr() != theirs[name].data_ptr()} == {CONV}
    assert not any(parameter.requires_grad for parameter in theirs.values())
    assert all(parameter.requires_grad for parameter in mine.values())
    assert originals(twin) is originals(edited(model, second)) is model
    with applied(model, first):
        assert origin(model) == origin(twin)
        assert bits(originals(model)) == bits(tiny.build("gpt2"))
        assert originals(edited(model, second)).hash == origin(model)
    with applied(twin, first):  # in place, on the twin alone
        assert bits(model) == bits(tiny.build("gpt2"))


def test_another_thread_never_sees_a_mixture() -> None:
    model = tiny.build("gpt2")
    names = [f"transformer.h.{layer}.mlp.c_proj.bias" for layer in range(3)]
    both = change(model, *(Delta(name, full=torch.ones(16)) for name in names))
    seen: set[tuple[float, ...]] = set()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            with applied(model):
                seen.add(tuple(float(view(model.model, name).detach().sum()) for name in names))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(60):
            with applied(model, both), applied(model, both):
                pass
    finally:
        stop.set()
        asking.join()
    assert seen == {(0.0, 0.0, 0.0)}  # what is in force inside the block is this thread's alone


def test_an_interrupt_between_two_weights_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.build("gpt2")
    before = bits(model)
    one = change(model, low(1))
    stack = Stack.of(model.model)
    with applied(model, one):
        with_one = bits(model)

        class Interrupting(dict):  # type: ignore[type-arg]
            def setdefault(self, key: object, value: object) -> object:
                if len(self) == 1:
                    raise KeyboardInterrupt
                return super().setdefault(key, value)

        monkeypatch.setattr(stack, "_originals", Interrupting(stack._originals))
        with pytest.raises(KeyboardInterrupt):
            stack.put(model, change(model, low(2), Delta("transformer.h.0.ln_1.bias", full=noise(16))))
        assert bits(model) == with_one
        assert stack.changes == (one,)
        monkeypatch.undo()

        class Stuck(dict):  # type: ignore[type-arg]
            def __delitem__(self, key: object) -> None:
                raise KeyboardInterrupt

        monkeypatch.setattr(stack, "_originals", Stuck(stack._originals))
        with pytest.raises(KeyboardInterrupt):
            stack.take(one)
        assert bits(model) == with_one
        assert stack.changes == (one,)
    assert bits(model) == before


# -------------------------------------------------------------------------------------------------------------- files


def test_save_and_load(tmp_path: Path) -> None:
    model = tiny.shared("gpt2")
    full = Delta("transformer.h.0.ln_1.bias", full=noise(16))
    shared = noise(16, 64)
    made = Change(
        "alphaedit", {"layers": [1], "rate": 0.5}, model.hash,
        (low(1), full, Delta("a", full=shared[:4]), Delta("b", full=shared[2:6])),  # views of one tensor
        ("e-1", "e-2"), {"keys.1": noise(2, 64)}, {"corpus": "Füße"},
    )  # fmt: skip
    made.save(tmp_path / "one.safetensors")
    read = Change.load(tmp_path / "one.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["one.safetensors"]
    for field in ("method", "settings", "model_hash", "edit_ids", "notes"):
        assert getattr(read, field) == getattr(made, field)
    for one, other in zip(made.deltas, read.deltas, strict=True):
        assert (one.name, one.rank) == (other.name, other.rank)
        assert torch.equal(one.matrix(), other.matrix())
    assert torch.equal(read.state["keys.1"], made.state["keys.1"])
    assert read.nbytes == made.nbytes
    assert made.for_edits("e-3").edit_ids == ("e-3",)


def test_files_that_are_no_change(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no change at"):
        Change.load(tmp_path / "none")
    Change("rome", {}, "0" * 64).save(tmp_path / "whole")
    (tmp_path / "torn").write_bytes((tmp_path / "whole").read_bytes()[:40])
    with pytest.raises(InputError, match="is no change written by memedit, or is torn"):
        Change.load(tmp_path / "torn")
    newer = (tmp_path / "whole").read_bytes().replace(b'\\"format\\": 1', b'\\"format\\": 2')
    (tmp_path / "newer").write_bytes(newer)
    with pytest.raises(InputError, match="newer memedit"):
        Change.load(tmp_path / "newer")


def test_states_are_joined_row_below_row() -> None:
    one, two = (Change("alphaedit", {}, "", state={"keys.1": noise(n, 4), "keys.2": noise(n, 4)}) for n in (2, 3))
    joined = state_of([one, two])
    assert torch.equal(joined["keys.1"], torch.cat([one.state["keys.1"], two.state["keys.1"]]))
    assert state_of([two])["keys.2"].shape == (3, 4)
    assert state_of([]) == {}


def test_a_change_is_on_the_cpu_wherever_it_was_fitted() -> None:
    """Of tensors elsewhere there are none on this machine: some that say so."""

    class Elsewhere(Tensor):
        def cpu(self, *_: Any) -> Tensor:
            return self.as_subclass(Tensor)

    left, right, full = (torch.ones(shape).as_subclass(Elsewhere) for shape in ((3, 1), (1, 2), (3, 2)))
    change = Change("m", {}, "h", (Delta("a", left, right), Delta("b", full=full)), state={"keys": full})
    held = [*change.deltas[0].factors, change.deltas[1].full, change.state["keys"]]
    assert all(type(tensor) is Tensor for tensor in held)
    here = Delta("a", torch.ones(3, 1), torch.ones(1, 2))
    assert Change("m", {}, "h", (here,)).deltas[0] is here
