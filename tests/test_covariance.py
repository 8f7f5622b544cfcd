"""The keys' second moments: against slow, plain computation, and kept under all that they depend on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from memedit.errors import InputError, NotFoundError
from memedit.weights.change import Change, edited
from memedit.weights.covariance import (
    Moments,
    _drawn,
    cache_folder,
    corpus_of,
    moments,
    own_text,
    read_corpus,
    sample,
    sampled,
)
from memedit.weights.delta import Delta
from memedit.weights.language_model import LanguageModel
from memedit.weights.layout import layout_of
from memedit.weights.trace import Trace

TEXTS = [
    "The capital of Ostland is Brill .",
    "Vela Marsh",
    "The green river near New Ivory Coast was a stone bridge over it .",
    "clock",
    "When was Cardun born in Dorne ?",
] * 30


def plain(model: LanguageModel, layer: int, texts: list[str]) -> tuple[Tensor, int]:
    """One text at a time, one token at a time, in float64."""
    name = layout_of(model.model).mlp_out(layer)
    width = model.model.get_submodule(name).weight.shape[0 if model.name in ("gpt2",) else 1]
    whole, count = torch.zeros(width, width, dtype=torch.float64), 0
    for text in texts:
        with torch.no_grad(), Trace(model.model, [name]) as seen:
            model.model(input_ids=torch.tensor([model.tokenizer(text)["input_ids"]]))
        for key in seen.inputs[name].reshape(-1, width).double():
            whole += torch.outer(key, key)
            count += 1
    return whole / count, count


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama"])
def test_streamed_and_padded_is_plain(family: str, tmp_path: Path) -> None:
    model = tiny.build(family)
    found = moments(model, [0, 2], corpus_of(TEXTS), folder=tmp_path)
    for layer in (0, 2):
        expected, count = plain(model, layer, TEXTS)
        assert found[layer].count == count
        assert found[layer].matrix.dtype == torch.float64
        torch.testing.assert_close(found[layer].matrix, expected, rtol=1e-5, atol=1e-7)


def test_the_cache_is_named_by_all_that_it_depends_on(tmp_path: Path) -> None:
    def files(model: LanguageModel, layer: int = 1, texts: list[str] = TEXTS, sample: int = 1000) -> set[str]:
        moments(model, [layer], corpus_of(texts), sample=sample, folder=tmp_path)
        return {file.name for file in tmp_path.iterdir()}

    known = files(tiny.build("gpt2"))
    assert len(known) == 1
    assert files(tiny.build("gpt2")) == known
    assert files(tiny.build("gpt2"), texts=list(TEXTS), sample=len(TEXTS)) == known
    for number, different in enumerate(
        (
            lambda: files(tiny.build("gpt2", seed=1)),
            lambda: files(tiny.build("gpt2"), layer=2),
            lambda: files(tiny.build("gpt2"), texts=[*TEXTS[1:], "it"]),
            lambda: files(tiny.build("gpt2"), sample=70),
            lambda: files(tiny.build("gpt2", torch.bfloat16)),
        )
    ):
        assert len(different()) == number + 2


def test_what_is_cached_is_not_read_again_and_what_is_torn_is(tmp_path: Path) -> None:
    first = moments(tiny.build("gpt2"), [1], corpus_of(TEXTS), folder=tmp_path)[1]
    asked: list[int] = []

    def again() -> Moments:
        return moments(
            tiny.build("gpt2"), [1], corpus_of(TEXTS), folder=tmp_path, progress=lambda d, t: asked.append(d)
        )[1]

    assert torch.equal(again().matrix, first.matrix)
    assert asked == []
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert torch.equal(again().matrix, first.matrix)
    assert asked == [64, 128, 150]
    model = tiny.build("gpt2")
    assert (
        moments(model, [1], corpus_of(TEXTS), folder=tmp_path)[1]
        is moments(model, [1], corpus_of(TEXTS), folder=tmp_path / "elsewhere")[1]
    )  # kept with the model in memory


def test_an_interrupted_run_goes_on_to_the_very_same_bits(tmp_path: Path) -> None:
    whole = moments(tiny.build("gpt2"), [0, 1], corpus_of(TEXTS), folder=tmp_path / "whole")
    done: list[int] = []

    def interrupted(texts: int, total: int | None) -> None:
        done.append(texts)
        if len(done) == 2:
            raise KeyboardInterrupt

    folder = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt):
        moments(tiny.build("gpt2"), [0, 1], corpus_of(TEXTS), folder=folder, progress=interrupted, save_seconds=0.0)
    assert sorted(file.suffix for file in folder.iterdir()) == [".partial", ".partial"]
    rest: list[int] = []
    resumed = moments(
        tiny.build("gpt2"), [0, 1], corpus_of(TEXTS), folder=folder, progress=lambda texts, total: rest.append(texts)
    )
    assert (done, rest) == ([64, 128], [128, 150])
    assert all(torch.equal(resumed[layer].matrix, whole[layer].matrix) for layer in (0, 1))
    assert sorted(file.suffix for file in folder.iterdir()) == [".safetensors", ".safetensors"]


def test_it_is_of_the_original_weights_whatever_is_in_force(tmp_path: Path) -> None:
    model = tiny.build("gpt2")
    delta = Delta("transformer.h.0.mlp.c_proj.weight", full=torch.ones(16, 64))
    twin = edited(model, Change("rome", {}, model.hash, (delta,)))
    of_twin = moments(twin, [1], corpus_of(TEXTS), folder=tmp_path)[1]
    assert of_twin is moments(model, [1], corpus_of(TEXTS), folder=tmp_path)[1]
    torch.testing.assert_close(of_twin.matrix, plain(model, 1, TEXTS)[0], rtol=1e-5, atol=1e-7)


def test_solving_with_a_ridge() -> None:
    keys = torch.randn(5, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = keys.T @ keys / 5  # of rank 5
    held = Moments(matrix, 5)
    ridged = matrix + 0.1 * matrix.diagonal().mean() * torch.eye(30)
    torch.testing.assert_close(held.solve(keys.T, 0.1), torch.linalg.inv(ridged) @ keys.T)
    torch.testing.assert_close(held.ridged(0.1), ridged)
    with pytest.raises(InputError, match=r"singular with ridge 0\.0; give a larger ridge, or more text"):
        Moments(torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64)), 3).solve(torch.ones(2, 1).double(), 0.0)


def test_the_null_space_is_that_of_the_small_eigenvalues() -> None:
    turned, _ = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    values = torch.tensor([3.0, 2.0, 1.0, 0.1, 0.01, 0.001], dtype=torch.float64)
    held = Moments(turned @ torch.diag(values) @ turned.T, 10)
    for threshold, free in ((0.05, 2), (0.5, 3), (10.0, 6), (1e-9, 0)):
        basis = held.null_space(threshold)
        assert basis.shape == (6, free)
        expected = turned[:, 6 - free :] @ turned[:, 6 - free :].T
        torch.testing.assert_close(basis @ basis.T, expected)


# -------------------------------------------------------------------------------------------------------------- text


def test_a_model_writes_its_own_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMEDIT_CACHE", str(tmp_path / "cache"))
    model = tiny.build("llama")
    first, second = (sample(model, ["", "The river", ""], 6, seed) for seed in (0, 1))
    assert first == sample(tiny.build("llama"), ["", "The river", ""], 6, 0) != second
    assert first[1].startswith("The river ")
    assert not any("<s>" in text for text in first)
    state = torch.random.get_rng_state()
    corpus = own_text(model, 20, seed=3)
    assert corpus.size == 20
    assert len(corpus.read()) == 20
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (
        own_text(model, 20, seed=3).hash == corpus.hash != own_text(model, 20, seed=4).hash != own_text(model, 21).hash
    )
    assert moments(model, [0], corpus, folder=tmp_path)[0].count > 20


def test_tokens_are_drawn_by_their_probabilities() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -99.0]]).expand(60_000, 4)
    drawn = _drawn(logits, torch.Generator().manual_seed(0))[:, 0]
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    torch.testing.assert_close(shares, logits[0].softmax(-1), rtol=0, atol=0.01)
    assert shares[3] == 0


def test_text_is_sampled_once_and_kept_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMEDIT_CACHE", str(tmp_path))
    asked: list[int] = []

    def text(seed: int = 0) -> list[str]:
        return sampled(tiny.build("gpt2"), ["", "The river"], 5, seed, lambda d, t: asked.append(d))

    first = text()
    assert first == sample(tiny.build("gpt2"), ["", "The river"], 5, 0)
    assert asked.pop() == 2
    asked.clear()
    assert text() == first
    assert asked == []
    assert text(seed=1) != first
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:-3])
    asked.clear()
    assert text() == first
    assert asked
    changed = edited(tiny.build("gpt2"), Change("m", {}, tiny.build("gpt2").hash))
    asked.clear()
    assert sampled(changed, ["", "The river"], 5, 0, lambda d, t: asked.append(d)) == first
    assert asked == []


def test_reading_a_corpus(tmp_path: Path) -> None:
    def read(name: str, content: Any) -> tuple[str, ...]:
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return tuple(read_corpus(tmp_path / name).read())

    assert read("a.txt", "one\n\n  two two \n") == ("one", "two two")
    assert read("a.json", {"data": [{"text": "Füße", "n": 3}, {"text": "b"}]}) == ("Füße", "b")
    assert read("a.jsonl", '{"text": "one"}\n\n["two", "three"]\n') == ("one", "two", "three")
    with pytest.raises(NotFoundError, match="no corpus at"):
        read_corpus(tmp_path / "none")
    for name, content in (("empty.txt", " \n"), ("broken.json", "{"), ("numbers.json", "[1, 2]")):
        with pytest.raises(InputError, match=r"corpus .* (holds no text|cannot be read)"):
            read(name, content)
    (tmp_path / "latin.txt").write_bytes("Füße".encode("latin-1"))
    with pytest.raises(InputError, match="cannot be read"):
        read_corpus(tmp_path / "latin.txt")


def test_a_corpus_without_tokens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no tokens for this model"):
        moments(tiny.build("gpt2"), [0], corpus_of([""]), folder=tmp_path)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MEMEDIT_CACHE", raising=False)
    assert cache_folder() == tmp_path / "memedit"
    monkeypatch.setenv("MEMEDIT_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
