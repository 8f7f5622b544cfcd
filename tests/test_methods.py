"""The promise of every weight-changing method, on a tiny model of every family; one test for all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import tiny
import torch
from tiny import CAUSAL, FAMILIES, REQUESTS

from memedit.errors import InputError, NotFoundError
from memedit.methods import cautions, make, methods, require_writing, writers
from memedit.methods._settings import MEASURED, Shape, chosen, given, layers_for, settings_of
from memedit.weights.change import Change, applied, edited, state_of, view
from memedit.weights.language_model import LanguageModel, Request
from memedit.weights.passes import timed
from memedit.weights.rows import probabilities
from memedit.weights.value import Search, search
from memedit.weights.watched import tell, watched

OURS = ("fine_tune", "ft_l", "ft_m", "lora", "rome", "r_rome", "memit", "pmet", "emmet", "alphaedit")
"""Knowledge neurons and erasure make other promises, tested beside them."""
LOCATED = OURS[4:]
# Settings that let an edit take on three layers of noise, in few steps.
_SEARCH = {"steps": 12, "rate": 0.3, "decay": 0.0, "clamp": 6.0, "stop": 0.01, "texts": 24}
SETTINGS: dict[str, dict[str, Any]] = {
    "fine_tune": {"rate": 1e-2, "steps": 8},
    "ft_l": {"rate": 2e-2, "steps": 8, "epsilon": 5e-2, "layer": 2},
    "ft_m": {"rate": 3e-2, "steps": 8, "layer": 2},
    "lora": {"rate": 2e-2, "steps": 8},
    "rome": {**_SEARCH, "layer": 1},
    "r_rome": {**_SEARCH, "layer": 1},
    "emmet": {**_SEARCH, "layer": 1},
    "memit": {**_SEARCH, "layers": (0, 1), "covariance_weight": 0.1},
    "pmet": {**_SEARCH, "layers": (0, 1), "covariance_weight": 0.1},
    "alphaedit": {**_SEARCH, "layers": (0, 1), "threshold": 1e9, "penalty": 0.1},
}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMEDIT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def fit(name: str, model: LanguageModel, requests: Any = REQUESTS[:1], **settings: Any) -> Change:
    return make(name, **{**SETTINGS[name], **settings}).fit(model, requests)


def bits(model: LanguageModel) -> dict[str, bytes]:
    return {name: bytes(p.detach().reshape(-1).view(torch.uint8).numpy()) for name, p in model.model.named_parameters()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", OURS)
def test_the_edit_takes_the_model_is_untouched_and_undo_is_exact(name: str, family: str, tmp_path: Path) -> None:
    model = tiny.shared(family)
    before, was = bits(model), probabilities(model, REQUESTS[:1])
    if name in LOCATED and family not in CAUSAL:
        with pytest.raises(InputError, match=f"does not work on models of type '{family}'.*gpt2.*phi.*any"):
            fit(name, model)
        assert bits(model) == before
        return
    change = fit(name, model)
    assert bits(model) == before
    assert change.method == name
    assert change.model_hash == model.hash
    assert change.deltas
    assert make(name, **change.settings) == make(name, **json.loads(json.dumps(dict(change.settings))))
    change.save(tmp_path / "change.safetensors")
    with applied(model, Change.load(tmp_path / "change.safetensors")):
        now = probabilities(model, REQUESTS[:1])
        assert bits(model) != before
    assert now > was + 0.3
    assert bits(model) == before
    assert torch.equal(probabilities(edited(model, change), REQUESTS[:1]), now)


@pytest.mark.parametrize("name", OURS)
def test_no_requests_are_no_change(name: str) -> None:
    change = fit(name, tiny.shared("gpt2"), ())
    assert change.deltas == ()
    with applied(tiny.shared("gpt2"), change):
        pass


@pytest.mark.parametrize("name", OURS)
def test_several_requests_all_take(name: str) -> None:
    model = tiny.shared("llama")
    was = probabilities(model, REQUESTS)
    # Each search is for its own request: on a model this small the three must not pull too hard on each other.
    settings = {"steps": 25} if name in LOCATED else {"steps": 25, "batch": 2}
    now = probabilities(edited(model, fit(name, model, REQUESTS, **settings)), REQUESTS)
    assert (now > was).all()


@pytest.mark.parametrize("name", OURS)
def test_the_same_seed_gives_the_same_change(name: str) -> None:
    first, second = (fit(name, tiny.build("gpt2")) for _ in range(2))
    for one, other in zip(first.deltas, second.deltas, strict=True):
        assert torch.equal(one.matrix(), other.matrix())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", OURS)
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    model = tiny.build("gpt2", dtype)
    before, was = bits(model), probabilities(model, REQUESTS[:1])
    change = fit(name, model)
    with applied(model, change):
        assert probabilities(model, REQUESTS[:1]) > was + 0.2
        assert {p.dtype for p in model.model.parameters()} == {dtype}
    assert bits(model) == before
    assert {t.dtype for d in change.deltas for t in (d.left, d.right, d.full) if t is not None} == {torch.float32}


@pytest.mark.parametrize("name", OURS)
def test_a_failure_half_way_leaves_the_model_untouched(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.build("gpt2")
    before, flags = bits(model), [p.requires_grad for p in model.model.parameters()]
    calls = 0

    def failing(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise RuntimeError("out of memory")
        return real(*given, **named)

    real = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        fit(name, model)
    assert bits(model) == before
    assert [p.requires_grad for p in model.model.parameters()] == flags
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.model.modules())


@pytest.mark.parametrize("name", methods.names())
def test_a_small_model_is_fitted_on_one_thread(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = tiny.build("gpt2"), []
    model.model.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))  # a twin has it too
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        make(name, **SETTINGS.get(name, {})).fit(model, REQUESTS[:1])
        assert set(seen) == {1}
        monkeypatch.setattr("memedit.weights.threads.SMALL", 0)
        make(name, **SETTINGS.get(name, {})).fit(model, REQUESTS[:1])
        assert set(seen) == {1, 3}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", OURS)
def test_passes_are_timed_where_somebody_asks(name: str) -> None:
    with timed() as clock:
        began = perf_counter()
        fit(name, tiny.shared("gpt2"))
        whole = perf_counter() - began
    assert 0 < clock.seconds < whole
    took = clock.seconds
    fit(name, tiny.shared("gpt2"))
    assert clock.seconds == took


def test_changes_stack_and_come_out_in_any_order() -> None:
    model = tiny.build("llama")
    before = bits(model)
    changes = [fit(name, model, [request]) for name, request in zip(("r_rome", "memit", "ft_m"), REQUESTS, strict=True)]
    alone = bits(edited(model, changes[2]))
    contexts = [applied(model, change) for change in changes]
    for context in contexts:
        context.__enter__()
    assert bits(model) == bits(edited(tiny.build("llama"), *changes))
    contexts[0].__exit__(None, None, None)
    contexts[1].__exit__(None, None, None)
    assert bits(model) == alone
    contexts[2].__exit__(None, None, None)
    assert bits(model) == before


def test_rome_one_by_one_is_rome_in_a_row() -> None:
    model = tiny.shared("gpt2")
    whole = edited(model, fit("rome", model, REQUESTS[:2]))
    first = fit("rome", model, REQUESTS[:1])
    second = fit("rome", edited(model, first), REQUESTS[1:2])
    assert second.model_hash == model.hash
    name = first.deltas[0].name
    torch.testing.assert_close(
        view(whole.model, name), view(edited(model, first, second).model, name), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("name", ["memit", "pmet", "emmet", "alphaedit"])
def test_a_batch_searches_each_request_as_if_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []

    def spy(*given: Any) -> Any:
        found.append(search(*given))
        return found[-1]

    monkeypatch.setattr("memedit.weights.value.search", spy)
    model = tiny.shared("gpt2")
    fit(name, model, REQUESTS)
    for request in REQUESTS:
        fit(name, model, [request])
    together, *alone = found
    for site, delta in together.delta.items():
        torch.testing.assert_close(delta, torch.cat([one.delta[site] for one in alone]), rtol=1e-3, atol=1e-4)


def test_requests_are_grouped_by_length_and_come_back_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    model, found = tiny.shared("gpt2"), []
    long = Request(f"{REQUESTS[0].prompt} {REQUESTS[1].prompt}", REQUESTS[0].subject, REQUESTS[2].target)
    requests = [long, REQUESTS[0], long, REQUESTS[1]]
    how = Search(6, 0.3, 0.0625, 0.0, 6.0, 0.01)
    for tokens in (1, 10_000):
        monkeypatch.setattr("memedit.weights.value.TOKENS_ON_CPU", tokens)
        found.append(search(model, requests, ["transformer.h.1.mlp.c_proj"], [""], how))
    for part in ("before", "delta"):
        one, other = (getattr(each, part)["transformer.h.1.mlp.c_proj"] for each in found)
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
        assert not torch.allclose(one[1], one[3], rtol=1e-2)
    torch.testing.assert_close(found[0].loss, found[1].loss, rtol=1e-3, atol=1e-4)


def test_alphaedit_is_given_what_its_earlier_changes_left() -> None:
    model = tiny.shared("gpt2")
    method = make("alphaedit", **SETTINGS["alphaedit"])
    first = method.fit(model, REQUESTS[:2])
    assert {key: tuple(rows.shape) for key, rows in first.state.items()} == {"keys.0": (2, 64), "keys.1": (2, 64)}
    on_top = edited(model, first)
    knowing, not_knowing = (method.fit(on_top, REQUESTS[2:], state=s) for s in (state_of([first]), None))
    assert tuple(knowing.state["keys.0"].shape) == (1, 64)
    moved = [
        (next(d for d in change.deltas if ".0." in d.name).matrix().double() @ first.state["keys.0"].double().T).norm()
        for change in (knowing, not_knowing)
    ]
    assert moved[0] < 0.8 * moved[1]
    assert first.notes["null_space"] == {"0": 64, "1": 64}


def test_what_cannot_be_is_refused() -> None:
    model = tiny.shared("gpt2")
    with pytest.raises(InputError, match=r"there is no layer 7 in this model; its layers are 0 to 2"):
        fit("rome", model, layer=7)
    with pytest.raises(InputError, match=r"subject 'Nowhere' does not stand in the prompt"):
        fit("r_rome", model, [Request("The capital of Ostland is", "Nowhere", "Brill")])
    with pytest.raises(InputError, match=r"rome has no setting speed; there are: .*layer"):
        make("rome", speed=3)
    with pytest.raises(NotFoundError, match=r"no corpus at /no/such/file"):
        fit("rome", model, corpus="/no/such/file")
    with pytest.raises(InputError, match=r"no null space below 1e-30: the smallest eigenvalue"):
        fit("alphaedit", model, threshold=1e-30)


def test_a_corpus_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("The river of Ostland is green .\n\nVela Marsh was born in Dorne\n" * 5)
    change = fit("r_rome", tiny.shared("gpt2"), corpus=str(tmp_path / "corpus.txt"), ridge=0.1)
    assert change.settings["corpus"] == str(tmp_path / "corpus.txt")
    assert len(change.notes["corpus_hash"]) == 64
    assert change.notes["corpus_hash"] != fit("r_rome", tiny.shared("gpt2")).notes["corpus_hash"]


def test_settings_as_the_command_line_has_them() -> None:
    texts = ("layer=5", "rate=1e-3", "average=false", "corpus=1984", "seed = 7", "steps=none")
    assert given(texts) == {
        **{"layer": "5", "rate": "1e-3", "average": "false", "corpus": "1984", "seed": "7", "steps": "none"},
    }
    made: Any = make("r_rome", **given(texts))
    found = (made.layer, made.rate, made.average, made.corpus, made.seed, made.steps)
    assert found == (5, 1e-3, False, "1984", 7, None)
    assert [type(one) for one in found[:5]] == [int, float, bool, str, int]
    for said, layers in (("3,4,5", (3, 4, 5)), ("[3, 4]", (3, 4)), ("(3,)", (3,)), ("1", (1,))):
        assert make("memit", **given([f"layers={said}"])).layers == layers  # type: ignore[attr-defined]
    assert make("memit", layers=[1, 2]).layers == (1, 2)  # type: ignore[attr-defined]  # as a change has recorded it
    assert make("kn", operation="erase").operation == "erase"  # type: ignore[attr-defined]
    for wrong in ("layer", "=5"):
        with pytest.raises(InputError, match="NAME=VALUE"):
            given([wrong])
    with pytest.raises(InputError, match="layer is given twice, as '5' and as '6'"):
        given(["layer=5", "layer=6"])


@pytest.mark.parametrize(
    ("name", "setting", "value", "takes"),
    [
        ("r_rome", "average", "maybe", "true or false"), ("r_rome", "average", 1, "true or false"),
        ("rome", "steps", "abc", "a whole number or none"), ("rome", "steps", "2.5", "a whole number or none"),
        ("rome", "layer", True, "a whole number or none"), ("rome", "layer", "3,4", "a whole number or none"),
        ("rome", "rate", "fast", "a number or none"), ("rome", "rate", "nan", "a number or none"),
        ("rome", "corpus", 5, "a text or none"), ("rome", "ridge", None, "a number"),
        ("memit", "layers", "a,b", "whole numbers with commas between"), ("memit", "layers", 1.5, "whole numbers"),
        ("kn", "operation", "praise", "one of update, suppress, enhance, erase"),
        ("lora", "rank", "0", "is 1 or more"), ("ft_m", "batch", 0, "is 1 or more"), ("rome", "clamp", "-1", "is 0 or"),
    ],
)  # fmt: skip
def test_a_setting_of_another_type_is_refused_by_name(name: str, setting: str, value: Any, takes: str) -> None:
    with pytest.raises(InputError) as refused:
        make(name, **{setting: value})
    assert f"the setting {setting} of {name} " in str(refused.value)
    assert takes in str(refused.value)
    assert repr(value) in str(refused.value)


def test_only_what_writes_is_taken_to_write() -> None:
    assert writers() == [name for name in methods.names() if name != "depn"]
    for name in writers():
        require_writing(name, make(name))
    for name, settings in (("depn", {}), *(("kn", {"operation": one}) for one in ("suppress", "enhance", "erase"))):
        with pytest.raises(InputError, match=rf"{name}.* writes no fact.*`memedit forget`"):
            require_writing(name, make(name, **settings))


def test_of_rome_only_the_published_one_has_a_caution() -> None:
    assert [name for name in methods.names() if cautions(name)] == ["rome"]
    assert "r_rome" in cautions("rome")[0]


class Watching:
    """Whoever watches: the bars that were shown, how far they went, and what was told."""

    def __init__(self) -> None:
        self.went: dict[str, list[tuple[int, int | None]]] = {}
        self.told: list[str] = []

    @contextmanager
    def bar(self, label: str) -> Iterator[Any]:
        yield lambda done, total=None: self.went.setdefault(label, []).append((done, total))


@pytest.mark.parametrize("name", LOCATED)
def test_who_watches_sees_the_covariance_and_is_told_where_text_is_short(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMEDIT_CACHE", str(tmp_path / "cache"))
    seen, model = Watching(), tiny.build("gpt2")
    with watched(seen.bar, seen.told.append):
        change = fit(name, model, texts=2, **({"threshold": 1e9} if name == "alphaedit" else {}))
        again = fit(name, model, texts=2, **({"threshold": 1e9} if name == "alphaedit" else {}))
    tell("to nobody")
    assert seen.went == {"keys' covariance": [(2, 2), (2, 2)]}  # the text that the model writes, then its keys; once
    (line,) = seen.told
    assert (change.notes["tokens"], change.notes["neurons"]) == (again.notes["tokens"], 64)
    assert f"over {change.notes['tokens']:,} tokens (text that the model wrote itself) for 64 neurons and" in line
    assert "wants 640" in line
    assert "--set corpus=FILE" in line


def test_enough_text_is_passed_over_and_a_short_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("The river of Ostland is green .\n" * 3)
    (tmp_path / "long.txt").write_text("The river of Ostland is green .\n" * 100)
    seen, model = Watching(), tiny.shared("gpt2")
    with watched(seen.bar, seen.told.append):
        assert fit("r_rome", model, corpus=str(tmp_path / "long.txt"), texts=None).notes["tokens"] == 700
    assert seen.told == []
    with watched(seen.bar, seen.told.append):
        fit("r_rome", model, corpus=str(tmp_path / "short.txt"))
    assert "over 21 tokens (short.txt)" in seen.told[0]


def test_lora_without_peft_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"pip install 'memedit\[lora\]'"):
        fit("lora", tiny.shared("gpt2"))


@pytest.mark.parametrize("name", methods.names())
def test_every_method_says_what_it_is(name: str) -> None:
    method = methods.get(name)
    assert method.family in ("fine-tuning", "locate-then-edit", "privacy")
    assert any(year in method.source for year in map(str, range(2019, 2027)))
    assert set(method.models) <= {*tiny.FAMILIES, "gemma2", "gemma3_text", "phi3"}
    assert [setting.name for setting in settings_of(method)] == [field.name for field in fields(method)]
    assert all(setting.about for setting in settings_of(method))


def test_the_command_lists_all_of_them_without_torch() -> None:
    script = (
        "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr));"
        "from memedit.cli import main; sys.argv = ['memedit', 'methods', '--json']; main()"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.strip().endswith("False")
    listed = {row["name"]: row for row in json.loads(ran.stdout)["methods"]}
    assert list(listed) == methods.names()
    layer = listed["rome"]["settings"][-1]
    assert (layer["name"], layer["type"], layer["default"]) == ("layer", "int | None", None)
    assert "down projection" in layer["about"]
    assert listed["r_rome"]["family"] == "locate-then-edit"
    assert "t5" in listed["lora"]["models"]
    assert {"t5", "bart", "bert"} == {*listed["lora"]["models"]} - {*listed["lora"]["asked"]}
    assert [name for name, row in listed.items() if not row["writes"]] == ["depn"]
    assert "r_rome" in listed["rome"]["caution"]
    assert "t5" not in listed["memit"]["models"]


@pytest.mark.parametrize(
    ("name", "family", "depth", "layers"),
    [
        ("r_rome", "gpt2", 48, (17,)), ("rome", "gpt2", 24, (8,)), ("r_rome", "gptj", 28, (5,)),
        ("rome", "gpt_neox", 44, (15,)), ("emmet", "llama", 32, (5,)), ("memit", "gpt2", 48, (13, 14, 15, 16, 17)),
        ("memit", "gptj", 28, (3, 4, 5, 6, 7, 8)), ("alphaedit", "llama", 32, (4, 5, 6, 7, 8)),
        ("ft_l", "gpt2", 48, (0,)), ("ft_l", "gptj", 28, (0,)), ("fine_tune", "llama", 32, (29, 30, 31)),
        ("ft_m", "gptj", 28, (21,)), ("ft_m", "llama", 32, (21,)), ("ft_m", "gpt2", 48, (17,)),
    ],
)  # fmt: skip
def test_layers_are_those_of_the_papers(name: str, family: str, depth: int, layers: tuple[int, ...]) -> None:
    assert layers_for(name, Shape(family, depth, 64)) == layers


def test_any_other_model_has_layers_too() -> None:
    for name in OURS:
        for family in FAMILIES:
            for depth in range(1, 81):
                found = layers_for(name, Shape(family, depth, 64))
                assert found
                assert all(0 <= layer < depth for layer in found)


@pytest.mark.parametrize(
    ("name", "family", "depth", "wanted"),
    [
        ("memit", "gpt2", 48, {"covariance_weight": 20_000, "clamp": 0.75, "decay": 0.5, "steps": 20}),
        ("memit", "gptj", 28, {"covariance_weight": 15_000}), ("memit", "llama", 32, {"clamp": 4, "decay": 1e-3}),
        ("rome", "gpt2", 24, {"clamp": 3}), ("r_rome", "gpt2", 24, {"clamp": 3}), ("rome", "gpt2", 48, {"clamp": 4}),
        ("emmet", "gpt2", 48, {"covariance_weight": 1_000}), ("emmet", "gptj", 28, {"covariance_weight": 1}),
        ("pmet", "gptj", 28, {"kl": 1, "rate": 0.2, "clamp": 0.75, "covariance_weight": 6_000, "steps": 30}),
        ("pmet", "gpt_neox", 44, {"kl": 0.8, "rate": 0.5, "clamp": 0.8, "covariance_weight": 15_000, "steps": 30}),
        ("ft_l", "gptj", 28, {"epsilon": 5e-5, "layer": 0}), ("ft_l", "gpt2", 48, {"epsilon": 5e-4, "layer": 0}),
        ("alphaedit", "llama", 32, {"rate": 0.1, "threshold": 2e-2, "penalty": 1}),
    ],
)  # fmt: skip
def test_settings_are_those_of_the_papers(
    name: str, family: str, depth: int, wanted: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memedit.methods._settings.shape_of", lambda model: Shape(family, depth, 64))
    found: Any = chosen(make(name), tiny.shared("gpt2"))
    assert {key: getattr(found, key) for key in wanted} == wanted
    said: Any = chosen(make(name, seed=3), tiny.shared("gpt2"))
    assert said.seed == 3


@pytest.mark.parametrize("shape", list(MEASURED), ids=lambda shape: f"{shape.family}-{shape.depth}")
def test_what_was_measured_goes_before_what_was_published(monkeypatch: pytest.MonkeyPatch, shape: Shape) -> None:
    monkeypatch.setattr("memedit.methods._settings.shape_of", lambda model: shape)
    for name, measured in MEASURED[shape].items():
        found: Any = chosen(make(name), tiny.shared("gpt2"))
        assert {key: getattr(found, key) for key in measured} == measured
