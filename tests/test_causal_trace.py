"""Causal tracing against runs made by hand: noise, restoration, windows, severed paths, averages; and the verb."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from click.testing import CliRunner
from torch import Tensor

from memedit.cli import cli
from memedit.errors import InputError
from memedit.weights import causal_trace
from memedit.weights.causal_trace import RESTORATIONS, ROLES, CausalTrace, Prompt, embedding_spread, prompts_of
from memedit.weights.language_model import LanguageModel
from memedit.weights.layout import layout_of
from memedit.weights.prediction import log_probabilities, predictions_of
from memedit.weights.trace import Trace

PROMPT = Prompt("The river of New Ivory Coast is near", "New Ivory Coast")
EVERYTHING = CausalTrace(samples=3, kinds=tuple(RESTORATIONS), strength=1.0)


def by_hand(held: LanguageModel, prompt: Prompt, settings: CausalTrace, kind: str, token: int, layer: int) -> float:
    """One cell, one sample of the noise after the other, no batch, nothing passed over."""
    layout = layout_of(held.model)
    layers, window = layout.layers(held.model), settings.window_of(layout.layers(held.model))
    names = [f(n) for n in range(layers) for f in (layout.block, layout.mlp, layout.attention)]
    rows = predictions_of(held, [(prompt.prompt, "Brill")], first=True)
    with torch.no_grad(), Trace(held.model, names) as clean:
        answer = int(log_probabilities(held, rows).argmax())
    ids = rows.inputs["input_ids"][0].tolist()
    wanted = held.tokenizer(prompt.subject, add_special_tokens=False)["input_ids"]
    start = next(at for at in range(len(ids)) if ids[at : at + len(wanted)] == wanted)
    noise = (
        settings.strength
        * embedding_spread(held)
        * torch.randn((settings.samples, len(wanted), 16), generator=torch.Generator().manual_seed(settings.seed))
    )
    put, cut = [layout.block(layer)], []
    if kind in ("mlp", "attention"):
        first = layer - window // 2
        put = [getattr(layout, kind)(n) for n in range(first, first + window) if 0 <= n < layers]
    elif kind != "state":
        cut = [getattr(layout, kind.removeprefix("state_without_"))(n) for n in range(layer + 1, layers)]
    found = []
    for sample in noise:

        def corrupt(name: str, output: Tensor, sample: Tensor = sample) -> Tensor:
            output = output.clone()
            output[0, start : start + len(wanted)] += sample
            return output

        embedding = layout.embedding()
        with torch.no_grad(), Trace(held.model, [embedding], corrupt), Trace(held.model, names) as corrupted:
            log_probabilities(held, rows)

        def restore(name: str, output: Tensor, corrupted: Trace = corrupted) -> Tensor:
            output = output.clone()  # OPT's MLP has no axis of rows
            output.view(-1, 16)[token] = (corrupted if name in cut else clean).outputs[name].view(-1, 16)[token]
            return output

        with torch.no_grad(), Trace(held.model, [embedding], corrupt), Trace(held.model, [*put, *cut], restore):
            found.append(float(log_probabilities(held, rows)[0, answer].exp()))
    return float(np.mean(found))


@pytest.mark.parametrize("family", ["gpt2", "gptj", "opt", "llama", "gemma3_text", "t5", "bart", "bert"])
def test_every_kind_is_what_is_computed_by_hand(family: str) -> None:
    held = tiny.shared(family)
    traced = EVERYTHING.trace(held, PROMPT)
    assert abs(traced.total_effect) > 1e-4
    start, end = traced.span
    for kind in RESTORATIONS:
        assert traced.restored[kind].shape == (len(traced.tokens), 3)
        for token, layer in ((start, 0), (end - 1, 1), (len(traced.tokens) - 1, 2), (start - 1, 1)):
            expected = by_hand(held, PROMPT, EVERYTHING, kind, token, layer)
            assert traced.restored[kind][token, layer] == pytest.approx(expected, abs=1e-5), (kind, token, layer)


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_restored_embeddings_recover_the_clean_probability(family: str) -> None:
    """A subject of one token, its embedding put back: nothing is left of the noise."""
    held = tiny.build(family, torch.float64)
    prompt = Prompt("The capital of Ostland is", "Ostland")
    run = causal_trace._Run(held, prompt, CausalTrace(samples=4), None)
    samples = torch.arange(4)
    token = torch.full((4,), run.span[0])
    name = run.layout.embedding()
    restored = run._probabilities(samples, {name: run.clean_outputs[name][token]}, token)
    assert torch.allclose(restored, torch.full((4,), run.clean, dtype=restored.dtype), atol=1e-7, rtol=0)
    assert (run.corrupted - run.clean).abs().max() > 1e-3
    # The last block's state at the last token is all that the head sees.
    last = len(run.texts) - 1 if family != "bert" else int(run.row.positions)
    traced = CausalTrace(samples=4).trace(held, prompt)
    assert traced.restored["state"][last, 2] == pytest.approx(traced.clean, abs=1e-6)


def test_batches_of_any_size_give_the_same() -> None:
    held = tiny.shared("llama")
    whole = EVERYTHING.trace(held, PROMPT)
    single = CausalTrace(samples=3, kinds=tuple(RESTORATIONS), strength=1.0, tokens_at_once=1).trace(held, PROMPT)
    for kind in RESTORATIONS:
        np.testing.assert_allclose(whole.restored[kind], single.restored[kind], atol=1e-6)


def test_the_noise_is_seeded_and_leaves_the_process_alone() -> None:
    held = tiny.build("gpt2")
    before, state = held.hash, torch.random.get_rng_state()
    one, same, other = (CausalTrace(samples=2, seed=seed).trace(held, PROMPT) for seed in (0, 0, 1))
    assert np.array_equal(one.restored["state"], same.restored["state"])
    assert one.corrupted != other.corrupted
    assert one.clean == other.clean
    assert held.hash == before
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(m._forward_hooks or "forward" in vars(m) for m in held.model.modules())


def test_no_noise_no_effect() -> None:
    traced = CausalTrace(samples=2, strength=0.0).trace(tiny.shared("gpt2"), PROMPT)
    assert traced.corrupted == pytest.approx(traced.clean, abs=1e-6)
    assert np.abs(traced.effect("mlp")).max() < 1e-6


def test_before_the_subject_nothing_is_won_back() -> None:
    traced = EVERYTHING.trace(tiny.shared("llama"), PROMPT)
    for kind in RESTORATIONS:
        assert np.abs(traced.effect(kind)[: traced.span[0]]).max() < 1e-6
        assert np.abs(traced.effect(kind)[traced.span[0] :]).max() > 1e-5


def test_windows_shrink_with_the_model() -> None:
    assert [CausalTrace().window_of(layers) for layers in (48, 28, 12, 6, 2, 1)] == [10, 10, 4, 2, 1, 1]
    assert CausalTrace(window=3).window_of(48) == 3
    held = tiny.shared("gpt2")
    # A window as wide as the model puts back every MLP output: at the middle layer all of them.
    wide = CausalTrace(samples=2, window=3, kinds=("mlp",)).trace(held, PROMPT)
    assert by_hand(held, PROMPT, CausalTrace(samples=2, window=3), "mlp", wide.span[0], 1) == pytest.approx(
        wide.restored["mlp"][wide.span[0], 1], abs=1e-6
    )


def test_the_spread_is_of_the_subjects_or_of_the_vocabulary() -> None:
    held = tiny.shared("gpt2")
    table = held.model.transformer.wte.weight.detach()
    ids = held.tokenizer("New Ivory Coast")["input_ids"]
    assert embedding_spread(held) == pytest.approx(float(table.std(correction=0)))
    assert embedding_spread(held, ["New Ivory Coast"]) == pytest.approx(float(table[ids].std(correction=0)))
    # Gemma scales its embeddings as it reads them: the noise is measured in what is read.
    gemma = tiny.shared("gemma")
    assert embedding_spread(gemma) == pytest.approx(
        4 * float(gemma.model.model.embed_tokens.weight.detach().std(correction=0))
    )


def test_roles_and_averages() -> None:
    held = tiny.shared("gpt2")
    prompts = [
        Prompt("The river of New Ivory Coast is near the", "New Ivory Coast"),
        Prompt("The capital of Ostland is", "Ostland"),
        Prompt("Vela Marsh plays", "Vela Marsh"),
    ]
    tracer = CausalTrace(samples=2, kinds=("state",))
    average, each = tracer.average(held, prompts)
    assert each[0].roles() == ("", "", "", ROLES[0], ROLES[1], ROLES[2], ROLES[3], ROLES[4], ROLES[5])
    assert each[1].roles() == ("", "", "", ROLES[2], ROLES[5])
    assert each[2].roles() == (ROLES[0], ROLES[2], ROLES[5])
    assert (average.prompts, average.skipped) == (3, 0)
    assert average.clean == pytest.approx(np.mean([one.clean for one in each]))
    last = np.mean([one.effect("state")[-1] for one in each], axis=0)
    np.testing.assert_allclose(average.mean["state"][5], last)
    first = np.mean([each[0].effect("state")[3], each[2].effect("state")[0]], axis=0)
    np.testing.assert_allclose(average.mean["state"][0], first)
    for number in range(len(ROLES)):
        low, mean, high = (part["state"][number] for part in (average.low, average.mean, average.high))
        assert (low <= mean + 1e-12).all()
        assert (mean <= high + 1e-12).all()
    # One prompt has this role, so resampling cannot move its mean; of three they can.
    np.testing.assert_allclose(average.low["state"][1], average.high["state"][1])
    assert (average.high["state"][5] > average.low["state"][5]).any()
    again, _ = tracer.average(held, prompts)
    assert np.array_equal(again.low["state"], average.low["state"], equal_nan=True)


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    values = np.random.default_rng(0).normal(size=(30, 2, 3))
    values[::3, 1] = np.nan
    draws = np.random.default_rng(1).integers(30, size=(400, 30))
    low, high = causal_trace._interval(values, draws)
    means = np.stack([np.nanmean(values[draw], axis=0) for draw in draws])
    np.testing.assert_allclose(low, np.percentile(means, 2.5, axis=0))
    np.testing.assert_allclose(high, np.percentile(means, 97.5, axis=0))


def test_prompts_that_the_model_does_not_answer_are_skipped() -> None:
    held = tiny.shared("gpt2")
    said = CausalTrace(samples=1, kinds=()).trace(held, PROMPT).answer
    other = "Brill" if said != "Brill" else "Dorne"
    known, unknown = (Prompt(PROMPT.prompt, PROMPT.subject, word) for word in (said, other))
    average, each = CausalTrace(samples=1, kinds=("state",)).average(held, [unknown, known, unknown])
    assert (average.prompts, average.skipped, len(each)) == (1, 2, 1)
    assert [one.answer for one in each] == [said]
    limited, _ = CausalTrace(samples=1, kinds=("state",)).average(held, [known, known, unknown], limit=1)
    assert (limited.prompts, limited.skipped) == (1, 0)
    with pytest.raises(InputError, match="none of 1 prompts"):
        CausalTrace(samples=1, kinds=("state",)).average(held, [unknown])


def test_what_cannot_be_traced_is_refused() -> None:
    with pytest.raises(InputError, match="called norm; there are: state, mlp"):
        CausalTrace(kinds=("norm",))
    with pytest.raises(InputError, match="1 or more"):
        CausalTrace(samples=0)
    with pytest.raises(InputError, match="does not stand in the prompt"):
        CausalTrace().trace(tiny.shared("gpt2"), Prompt("The capital is", "Ostland"))


def test_files_of_prompts() -> None:
    records = [{"prompt": "A is ", "subject": "A", "attribute": "b", "known_id": 0}, {"prompt": "C is", "subject": "C"}]
    expected = [Prompt("A is", "A", "b"), Prompt("C is", "C", None)]
    assert prompts_of(json.dumps(records)) == expected
    assert prompts_of("\n".join(map(json.dumps, records)) + "\n") == expected
    with pytest.raises(InputError, match="prompt 2 must be"):
        prompts_of(json.dumps([records[0], {"prompt": "x"}]))
    with pytest.raises(InputError, match="neither a JSON list nor JSON lines"):
        prompts_of("[{]")


# ------------------------------------------------------------------------------------------------------------ the verb


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    held = tiny.shared("gpt2")
    made = tmp_path_factory.mktemp("gpt2")
    held.model.save_pretrained(made)
    held.tokenizer.save_pretrained(made)
    return made


def run(*words: Any) -> Any:
    return CliRunner().invoke(cli, ["trace", *map(str, words)], catch_exceptions=False)


def test_the_verb_draws_one_prompt(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "trace.png"
    done = run(PROMPT.prompt, "--subject", PROMPT.subject, "--model", f"hf:{folder}", "--out", out, "--json",
               "--samples", 2, "--severed")  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert list(found["effects"]) == list(RESTORATIONS)
    assert found["subject_tokens"] == [3, 6]
    expected = CausalTrace(samples=2).trace(tiny.shared("gpt2"), PROMPT)
    np.testing.assert_allclose(found["effects"]["state"], expected.effect("state"), atol=1e-6)
    assert out.read_bytes().startswith(b"\x89PNG")
    assert len(out.read_bytes()) > 10_000


def test_the_verb_averages_a_file(folder: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "prompts.jsonl", tmp_path / "average.png"
    records = [
        {"prompt": f"The {what} of New Ivory Coast is", "subject": "New Ivory Coast"} for what in ("city", "team")
    ]
    file.write_text("\n".join(map(json.dumps, records)))
    words = ("--average", file, "--model", f"hf:{folder}", "--samples", 1)
    found = json.loads(run(*words, "--json", "--out", out).stdout)
    assert (found["prompts"], found["skipped"]) == (2, 0)
    cell = found["effects"]["mlp"]["last subject token"][0]
    assert cell["low"] <= cell["mean"] <= cell["high"]
    assert found["effects"]["mlp"]["further tokens"] == [None, None, None]
    assert out.read_bytes().startswith(b"\x89PNG")
    lines = run(*words).stdout.splitlines()
    assert [line.split("\t")[:2] for line in lines[:2]] == [["state", ROLES[0]], ["state", ROLES[1]]]


def test_the_verb_says_what_it_lacks(folder: Path, tmp_path: Path) -> None:
    for words in (["The capital is"], [], ["x", "--subject", "x", "--average", "f"]):
        with pytest.raises(SystemExit) as left:
            cli.main(["trace", *words])
        assert left.value.code == 2
    with pytest.raises(SystemExit) as left:
        cli.main(["trace", "--average", str(tmp_path / "absent")])
    assert left.value.code == 2
