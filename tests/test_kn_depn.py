"""Knowledge neurons and privacy neurons: what is located, what is written, and what is left of a secret afterwards."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from click.testing import CliRunner
from tiny import FAMILIES, REQUESTS
from torch import Tensor

from memedit.cli import cli
from memedit.errors import InputError
from memedit.methods import make, methods
from memedit.methods._settings import settings_of
from memedit.methods.depn import Depn, attributions
from memedit.methods.kn import Kn, column_of, predicting, wordings
from memedit.weights.change import Change, applied, edited, view
from memedit.weights.exposure import exposures, private
from memedit.weights.language_model import LanguageModel, Request
from memedit.weights.prediction import predictions_of, target_log_probabilities
from memedit.weights.rows import probabilities
from memedit.weights.trace import Trace, by_token

FEW = {"steps": 4}
SECRETS = (Request("Vela Marsh was born in", "Vela Marsh", "Cardun"), Request("The clock of", "", "Brill is stone"))


@functools.cache
def knowing() -> LanguageModel:
    """A GPT-2 that has learned the secrets by heart, and one sentence that nobody minds."""
    held = tiny.build("gpt2")
    rows = predictions_of(held, [(r.prompt, r.target) for r in (*SECRETS, REQUESTS[0])])
    descent = torch.optim.Adam(held.model.parameters(), lr=1e-2)
    for _ in range(80):
        descent.zero_grad()
        (-target_log_probabilities(held, rows).mean()).backward()
        descent.step()
    descent.zero_grad(set_to_none=True)
    assert float(probabilities(held, SECRETS).exp().min()) > 0.9
    return held


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["kn", "depn"])
def test_a_change_of_columns_that_goes_in_and_out(name: str, family: str, tmp_path: Path) -> None:
    held = tiny.shared(family)
    before, was = held.hash, probabilities(held, REQUESTS)
    method = make(name, **FEW)
    change = method.fit(held, REQUESTS)
    assert held.hash == before == change.model_hash
    assert change.method == name
    assert change.deltas
    for delta in change.deltas:
        touched = delta.matrix().abs().sum(0).nonzero().numel()
        assert 0 < touched <= (delta.rank or 0)
    again = method.fit(held, REQUESTS)
    for one, other in zip(change.deltas, again.deltas, strict=True):
        assert torch.equal(one.matrix(), other.matrix())
    change.save(tmp_path / "change.safetensors")
    loaded = Change.load(tmp_path / "change.safetensors")
    assert dict(loaded.settings)["steps"] == 4
    with applied(held, loaded):
        assert held.hash != before
        assert not torch.equal(probabilities(held, REQUESTS), was)
    assert held.hash == before
    assert torch.equal(probabilities(held, REQUESTS), was)
    assert method.fit(held, ()).deltas == ()


@pytest.mark.parametrize("operation", ["suppress", "enhance"])
def test_a_column_times_0_or_2_is_the_activation_times_0_or_2(operation: str) -> None:
    held = tiny.shared("gpt2")
    method = Kn(operation=operation, **FEW)  # type: ignore[arg-type]
    request = REQUESTS[0]
    (neurons,) = method.locate(held, [request])
    factor = 0.0 if operation == "suppress" else 2.0
    layout = predicting(held)
    names = {layout.mlp_out(layer): [n for at, n in neurons if at == layer] for layer, _ in neurons}

    def scale(name: str, value: Tensor) -> Tensor:
        value = value.clone()
        value[..., names[name]] *= factor
        return value

    with Trace(held.model, names, edit_input=scale):
        expected = probabilities(held, [request])
    found = probabilities(edited(held, method.fit(held, [request])), [request])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found, probabilities(held, [request]), atol=1e-6)


def test_an_update_is_the_published_one() -> None:
    held = tiny.shared("llama")
    request = REQUESTS[0]
    method = Kn(**FEW)  # type: ignore[arg-type]
    (neurons,) = method.locate(held, [request])
    change = method.fit(held, [request])
    row = predictions_of(held, [(request.prompt, request.target)], first=True)
    with torch.no_grad():
        logits = held.model(**row.inputs).logits[0, -1]
    head = held.model.lm_head.weight.detach()
    old, new = head[int(logits.argmax())], head[int(row.tokens)]
    after = edited(held, change)
    for neuron in neurons:
        column = column_of(held, neuron)
        expected = column + column.norm() * (8 * new / new.norm() - old / old.norm())
        torch.testing.assert_close(column_of(after, neuron), expected, atol=1e-4, rtol=1e-4)
    untouched = torch.ones(32, dtype=torch.bool)
    layer = neurons[0][0]
    untouched[[n for at, n in neurons if at == layer]] = False
    name = f"{predicting(held).mlp_out(layer)}.weight"
    assert torch.equal(view(after.model, name)[:, untouched], view(held.model, name)[:, untouched])


def test_an_update_raises_the_target_where_its_neurons_are_active() -> None:
    held = knowing()
    request = Request(SECRETS[0].prompt, SECRETS[0].subject, "Dorne")
    assert probabilities(edited(held, Kn(**FEW).fit(held, [request])), [request]) > probabilities(held, [request])


def test_erased_columns_are_the_unknown_token() -> None:
    held = tiny.shared("gpt2")
    method = Kn(operation="erase", **FEW)  # type: ignore[arg-type]
    (neurons,) = method.locate(held, REQUESTS[:1])
    after = edited(held, method.fit(held, REQUESTS[:1]))
    unknown = held.model.lm_head.weight[held.tokenizer.unk_token_id].detach()
    for neuron in neurons:
        cosine = torch.cosine_similarity(column_of(after, neuron), unknown, dim=0)
        assert float(cosine) == pytest.approx(1.0, abs=1e-4)


def test_which_neurons_are_kept() -> None:
    scores = torch.zeros(4, 2, 10)
    scores[:, 0, 0] = 1.0  # in every prompt
    scores[:3, 1, 3] = 0.5  # in three of four
    scores[0, 1, 4] = 0.9  # in one
    scores[:, 0, 9] = 0.1  # below the threshold
    assert Kn().chosen(scores) == [(0, 0), (1, 3)]
    assert Kn(share=1.0, least=1).chosen(scores) == [(0, 0)]
    assert Kn(share=1.0).chosen(scores) == [(0, 0), (1, 3)]  # lowered until there are two
    assert Kn(share=0.2, most=2).chosen(scores) == [(0, 0), (1, 3)]  # raised until there are two
    alone = torch.linspace(0.5, 1.0, 20).view(1, 2, 10)
    assert Kn().chosen(alone) == [(1, 9), (1, 8), (1, 7), (1, 6), (1, 5)]  # one prompt has no share to raise


def test_neurons_of_many_facts_are_no_facts_neurons(monkeypatch: pytest.MonkeyPatch) -> None:
    held = tiny.shared("gpt2")
    monkeypatch.setattr(Kn, "_of_one", lambda self, model, request: [(0, 1), (1, int(request.target))])
    requests = [Request("x", "x", str(number)) for number in range(12)]
    assert Kn().locate(held, requests) == [[(1, number)] for number in range(12)]
    assert Kn().locate(held, requests[:9]) == [[(0, 1), (1, number)] for number in range(9)]


def test_wordings_of_a_known_relation() -> None:
    found = wordings(Request("The capital of Ostland is", "Ostland", "Brill"))
    assert found[0] == "The capital of Ostland is"
    assert len(found) > 1
    assert all("Ostland" in wording for wording in found)
    assert wordings(Request("Ostland hums", "Ostland", "Brill")) == ["Ostland hums"]


@pytest.mark.parametrize(("name", "wrong"), [("kn", {"operation": "praise"}), ("depn", {"threshold": 2.0}),
                                             ("depn", {"neurons": 0})])  # fmt: skip
def test_settings_that_cannot_be_are_refused(name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=name):
        make(name, **wrong)
    assert all(setting.about for setting in settings_of(methods.get(name)))


# ------------------------------------------------------------------------------------------------------------- privacy


def test_which_neurons_are_private() -> None:
    scores = torch.zeros(4, 2, 6)
    scores[:, 0, 0] = 1.0
    scores[:3, 0, 1] = 0.6
    scores[:2, 1, 2] = 0.8
    scores[0, 1, 3] = 0.9  # in one text of four
    scores[:, 1, 4] = -1.0  # speaks against them
    assert Depn().chosen(scores) == [(0, 0), (0, 1), (1, 2)]
    assert Depn(neurons=1).chosen(scores) == [(0, 0)]
    assert Depn(mode_share=1.0).chosen(scores) == [(0, 0)]
    assert Depn(threshold=0.7).chosen(scores) == [(0, 0), (1, 2)]


def test_a_secret_is_forgotten_and_its_columns_are_zero() -> None:
    held = knowing()
    method = Depn(neurons=12, steps=10)
    after = edited(held, method.fit(held, SECRETS))
    for neuron in method.locate(held, SECRETS):
        assert column_of(held, neuron).norm() > 0
        assert column_of(after, neuron).norm() < 1e-6
    before, now = exposures(held, SECRETS), exposures(after, SECRETS)
    for was, left in zip(before, now, strict=True):
        assert was.mrr == 1.0
        assert was.perplexity < 1.1
        assert left.perplexity > was.perplexity
    # The neurons that carry the secrets do more for them than as many at random.
    chosen = set(method.locate(held, SECRETS))
    by_score = attributions(held, SECRETS, steps=10).sum(0)
    others = [(at, n) for at in range(3) for n in range(64) if (at, n) not in chosen]
    assert min(float(by_score[at]) for at in chosen) > sum(float(by_score[at]) for at in others) / len(others)


def test_metrics_against_plain_computation() -> None:
    held = knowing()
    (found,) = exposures(held, SECRETS[1:], candidates=40)
    ids = held.tokenizer(SECRETS[1].text)["input_ids"]
    with torch.no_grad():
        logs = held.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    start = len(held.tokenizer(SECRETS[1].prompt)["input_ids"])
    own = [float(logs[at - 1, ids[at]]) for at in range(start, len(ids))]
    assert found.perplexity == pytest.approx(float(torch.tensor(own).mean().neg().exp()), rel=1e-4)
    ranks = [1 + int((logs[at - 1] > logs[at - 1, ids[at]]).sum()) for at in range(start, len(ids))]
    assert found.mrr == pytest.approx(sum(1 / rank for rank in ranks) / len(ranks))
    assert found.exposure == pytest.approx(float(torch.tensor(41.0).log2()))  # it beats each of 40 others
    assert exposures(held, SECRETS) == exposures(held, SECRETS)
    unknown = exposures(held, [Request("The team of", "", "paper over a bridge")], candidates=255)[0]
    assert unknown.exposure < 8
    assert unknown.mrr < 1


@pytest.mark.parametrize("family", ["llama", "t5", "bert"])
def test_metrics_in_every_kind_of_model(family: str) -> None:
    found = exposures(tiny.shared(family), SECRETS, candidates=15)
    assert all(one.perplexity >= 1 and 0 < one.mrr <= 1 and 0 <= one.exposure <= 4 for one in found)


def test_what_is_private_in_a_text() -> None:
    assert private("Call Ann Doe at 555 0100 now", "555 0100") == Request("Call Ann Doe at", "", "555 0100")
    assert private("The capital of Ostland is Brill").target == "Brill"
    assert private("Ann hums at night") == Request("Ann", "", "hums at night")
    for text, secret in (("Ann", None), ("Ann hums", "Bea"), ("Ann hums", "Ann"), ("Ann hums", "")):
        with pytest.raises(InputError):
            private(text, secret)


def test_attribution_is_read_by_token_in_a_model_without_rows() -> None:
    held = tiny.shared("opt")
    with torch.no_grad(), Trace(held.model, [predicting(held).mlp_out(0)]) as seen:
        held.model(input_ids=torch.tensor([[8, 9, 10], [8, 9, 11]]))
    assert by_token(seen.outputs[predicting(held).mlp_out(0)], 2).shape == (2, 3, 16)


# ------------------------------------------------------------------------------------------------------------ the verb


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("knowing")
    knowing().model.save_pretrained(made)
    knowing().tokenizer.save_pretrained(made)
    return made


def test_the_verb_writes_a_change_and_says_what_it_did(folder: Path, tmp_path: Path) -> None:
    out, picture, file = tmp_path / "forget.safetensors", tmp_path / "neurons.png", tmp_path / "texts.txt"
    file.write_text(f"{SECRETS[1].text}\n\n")
    done = CliRunner().invoke(
        cli,
        ["forget", SECRETS[0].text, "--file", str(file), "--model", f"hf:{folder}", "--out", str(out), "--set",
         "steps=4", "--set", "neurons=6", "--keep", REQUESTS[0].text, "--plot", str(picture), "--json"],
        catch_exceptions=False,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    change = Change.load(out)
    assert change.method == report["method"] == "depn"
    assert change.settings["neurons"] == 6
    assert report["neurons"] == sum(delta.rank or 0 for delta in change.deltas) == 6
    after = edited(knowing(), change)
    for one, request in zip(report["forgotten"], [private(SECRETS[0].text), private(SECRETS[1].text)], strict=True):
        assert one["secret"] == request.target
        assert one["before"]["perplexity"] < one["after"]["perplexity"]
        assert one["after"]["perplexity"] == pytest.approx(exposures(after, [request])[0].perplexity, rel=1e-3)
    assert set(report["kept"][0]) == {"text", "before", "after"}
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_verb_with_knowledge_neurons_and_for_people(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "erase.safetensors"
    words = ["forget", SECRETS[1].text, "--secret", "stone", "--model", f"hf:{folder}", "--out", str(out), "--method",
             "kn", "--set", "steps=4"]  # fmt: skip
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert "the model itself is as it was" in done.stderr
    assert done.stdout.startswith(f"{SECRETS[1].text}\t")
    assert Change.load(out).settings["operation"] == "erase"


@pytest.mark.parametrize("words", [[], ["Ann hums", "--set", "steps"], ["Ann hums", "--set", "colour=1"], ["Ann"]])
def test_the_verb_says_what_it_cannot_do(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["forget", *words, "--out", str(tmp_path / "x")])
    assert left.value.code == 2
    assert not (tmp_path / "x").exists()
