"""Traces: what they keep, what they replace, and that nothing of them stays behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import tiny
import torch
from torch import Tensor, nn

from memedit.errors import InputError
from memedit.weights.trace import Trace


class Pair(nn.Module):
    """Passes on a tuple, as attention does, and takes its input by name."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)

    def forward(self, *, hidden_states: Tensor, mask: Tensor | None = None) -> tuple[Tensor, str]:
        return self.first(hidden_states), "weights"


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(2, 2)
        self.b = Pair()
        self.c = nn.Linear(2, 1)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        hidden, word = self.b(hidden_states=self.a(x), mask=None)
        assert word == "weights"
        return self.c(hidden)


def clean(model: nn.Module) -> bool:
    return not any(
        part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part) for part in model.modules()
    )


X = torch.tensor([[1.0, 2.0]])


def test_inputs_and_outputs_are_kept_with_their_graph() -> None:
    net = Net()
    with Trace(net, ["a", "b", "c"]) as seen:
        out = net(X)
    assert torch.equal(seen.inputs["a"], X)
    assert torch.equal(seen.inputs["b"], seen.outputs["a"])
    assert torch.equal(seen.outputs["b"], seen.inputs["c"])
    assert seen.outputs["c"] is out
    assert seen.bundled == {"b"}
    (gradient,) = torch.autograd.grad(out.sum(), seen.outputs["b"])
    assert torch.allclose(gradient, net.c.weight)
    assert clean(net)


def test_outputs_and_inputs_are_replaced() -> None:
    net = Net()
    with Trace(net, ["a", "b"], lambda name, value: value * 0 if name == "b" else None) as seen:
        assert torch.equal(net(X), net.c.bias[None])
    assert torch.equal(seen.outputs["b"], torch.zeros(1, 2))
    assert torch.equal(seen.outputs["a"], net.a(X))
    for name in ("b", "c"):  # one is given its input by name, the other by place
        with Trace(net, [name], edit_input=lambda _, value: value * 0) as seen:
            changed = net(X)
        assert torch.equal(seen.inputs[name], torch.zeros(1, 2))
        expected = net.c(net.b.first(torch.zeros(1, 2))) if name == "b" else net.c.bias[None]
        assert torch.allclose(changed, expected)
    assert clean(net)


def test_a_trace_stops_and_skips() -> None:
    net = Net()
    reached = False
    with Trace(net, ["a"], stop=True) as seen:
        net(X)
        reached = True
    assert not reached
    assert torch.equal(seen.outputs["a"], net.a(X))
    put = torch.tensor([[5.0, 7.0]])
    with Trace(net, ["a", "c"], skip={"a": put}) as seen:
        net(X)
    assert seen.outputs["a"] is put
    assert torch.equal(seen.outputs["c"], net.c(net.b.first(put)))
    assert clean(net)


def test_hooks_go_whatever_happens() -> None:
    net = Net()

    def broken(name: str, value: Tensor) -> Tensor:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), Trace(net, ["a"], broken, skip={"c": X}):
        net(X)
    assert clean(net)
    with pytest.raises(InputError, match=r"Net has no module 'd'.*layout"), Trace(net, ["a", "d"]):
        pass
    assert clean(net)
    with pytest.raises(KeyboardInterrupt), Trace(net, ["a"], stop=True):
        raise KeyboardInterrupt
    assert clean(net)


def test_traces_nest() -> None:
    net = Net()
    with Trace(net, ["b"], lambda _, value: value + 1) as outer:
        with Trace(net, ["b"], lambda _, value: value * 2) as inner:
            net(X)
        plain = net.b.first(net.a(X))
        assert torch.allclose(outer.outputs["b"], plain + 1)
        assert torch.allclose(inner.outputs["b"], (plain + 1) * 2)
        assert not clean(net)
    assert clean(net)


def test_another_thread_is_answered_as_ever() -> None:
    net = Net()
    before = net(X)
    with ThreadPoolExecutor(1) as pool:
        with Trace(net, ["c"], lambda _, value: value + 100, skip={"a": X * 3}) as seen:
            assert torch.equal(pool.submit(net, X).result(), before)
            assert not seen.outputs
            assert not torch.equal(net(X), before)
        assert torch.equal(pool.submit(net, X).result(), before)


def test_the_last_call_is_kept() -> None:
    held = tiny.shared("gpt2")
    name = "transformer.h.1.mlp"
    with torch.no_grad(), Trace(held.model, [name]) as seen:
        held.model(input_ids=torch.tensor([[8, 9]]))
        held.model(input_ids=torch.tensor([[8, 9, 10]]))
    assert seen.outputs[name].shape == (1, 3, 16)
