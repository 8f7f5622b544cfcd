"""The methods' algebra and search against slow, plain computation in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import tiny
import torch
from tiny import CAUSAL, REQUESTS
from torch import Tensor

from memedit.methods import make
from memedit.methods._located import MEMIT_PREFIXES, halved
from memedit.methods.alphaedit import projected
from memedit.methods.emmet import equality
from memedit.methods.memit import least_squares
from memedit.methods.rome import rank_one
from memedit.weights.change import Change, edited, view
from memedit.weights.covariance import Moments, corpus_of, moments
from memedit.weights.language_model import LanguageModel, Request
from memedit.weights.layout import layout_of
from memedit.weights.rows import exact, probabilities, row_of, states
from memedit.weights.tokens import subject_span
from memedit.weights.trace import Trace
from memedit.weights.value import Search, contexts, rows_of, search

SEARCH = {"steps": 6, "rate": 0.3, "decay": 0.0, "clamp": 6.0, "stop": 0.01, "texts": 24}
OUT, INTO, MANY = 7, 24, 5


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMEDIT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def spread(tokens: int = 200) -> Moments:
    """Keys that lie mostly in some directions."""
    keys = noise(tokens, INTO, seed=7) * torch.logspace(0, -2, INTO, dtype=torch.float64)
    return Moments(keys.T @ keys / tokens, tokens)


# ------------------------------------------------------------------------------------------------------------ algebra


def test_romes_closed_form_is_the_least_disturbing_with_the_equality() -> None:
    held, weight, key, value = spread(), noise(OUT, INTO), noise(INTO, seed=1), noise(OUT, seed=2)
    solved = held.solve(key[:, None], 1e-3)[:, 0]
    left, right = rank_one(solved, key, value - weight @ key)
    change = left @ right
    torch.testing.assert_close((weight + change) @ key, value, rtol=0, atol=1e-10)
    assert torch.linalg.matrix_rank(change) == 1
    # The Lagrangian's solution: Λ (C⁻¹ k)ᵀ, Λ by the equality; and any other change with it disturbs C more.
    cost = _disturbance(change, held.ridged(1e-3))
    for seed in range(20):
        other = noise(OUT, INTO, seed=seed + 10)
        other = other - torch.outer(other @ key, key) / (key @ key)  # leaves the key's value as it is
        assert _disturbance(change + 0.1 * other, held.ridged(1e-3)) > cost


def _disturbance(change: Tensor, covariance: Tensor) -> float:
    return float((change @ covariance * change).sum())


def test_emmets_equality_holds_and_disturbs_least() -> None:
    held, weight, keys, values = spread(), noise(OUT, INTO), noise(INTO, MANY, seed=1), noise(OUT, MANY, seed=2)
    solved = held.solve(keys, 1e-3)
    left, right = equality(solved, keys, values - weight @ keys, 0.0)
    change = left @ right
    torch.testing.assert_close((weight + change) @ keys, values, rtol=0, atol=1e-5)
    inverse = torch.linalg.inv(held.ridged(1e-3))
    plain = (values - weight @ keys) @ torch.linalg.inv(keys.T @ inverse @ keys) @ keys.T @ inverse
    torch.testing.assert_close(change, plain)
    assert torch.linalg.matrix_rank(change) == MANY
    within, _ = torch.linalg.qr(keys)
    for seed in range(20):
        other = noise(OUT, INTO, seed=seed + 10)
        other = other - other @ within @ within.T
        assert _disturbance(change + 0.1 * other, held.ridged(1e-3)) > _disturbance(change, held.ridged(1e-3))
    # One request without slack is ROME with one key; slack gives way.
    one, rome = (
        equality(solved[:, :1], keys[:, :1], values[:, :1], 0.0),
        rank_one(solved[:, 0], keys[:, 0], values[:, 0]),
    )
    torch.testing.assert_close(one[0] @ one[1], rome[0] @ rome[1])
    left, right = equality(solved, keys, values, 1e5)
    assert (left @ right @ keys).norm() < 0.5 * values.norm()


def test_emmet_shares_between_requests_of_one_key() -> None:
    held, key = spread(), noise(INTO, 1, seed=1)
    keys, values = key.repeat(1, 2), noise(OUT, 2, seed=2)
    left, right = equality(held.solve(keys, 1e-3), keys, values, 0.0)
    torch.testing.assert_close(left @ right @ key, values.mean(1, keepdim=True))


@pytest.mark.parametrize("many", [1, MANY, INTO + 9])
def test_memits_least_squares_beats_any_other(many: int) -> None:
    held, keys, residual, weight = spread(), noise(INTO, many, seed=1), noise(OUT, many, seed=2), 3.0
    change = residual @ least_squares(held, keys, weight, 1e-3).T
    plain = residual @ keys.T @ torch.linalg.inv(weight * held.ridged(1e-3) + keys @ keys.T)
    torch.testing.assert_close(change, plain)

    def cost(made: Tensor) -> float:
        return float(((made @ keys - residual) ** 2).sum()) + weight * _disturbance(made, held.ridged(1e-3))

    best = cost(change)
    for seed in range(20):
        for size in (1e-3, 1e-1):
            assert cost(change + size * noise(OUT, INTO, seed=seed + 10)) > best


def test_alphaedit_leaves_preserved_keys_as_they_were_and_is_the_published_formula() -> None:
    held = spread()
    threshold = float(held.spectrum[0][10])
    basis = held.null_space(threshold * 1.0001)
    assert basis.shape == (INTO, 11)
    keys, earlier, residual, penalty = noise(INTO, MANY, seed=1), noise(INTO, 3, seed=2), noise(OUT, MANY, seed=3), 0.7
    change = residual @ projected(basis, keys, earlier, penalty)
    project = basis @ basis.T
    inner = (earlier @ earlier.T + keys @ keys.T) @ project + penalty * torch.eye(INTO)
    torch.testing.assert_close(change, residual @ keys.T @ project @ torch.linalg.inv(inner))
    preserved = held.spectrum[1][:, 11:]
    torch.testing.assert_close(change @ preserved, torch.zeros(OUT, INTO - 11).double(), rtol=0, atol=1e-10)
    assert (change @ keys).norm() > 0.1 * residual.norm()
    forgotten = residual @ projected(basis, keys, earlier[:, :0], penalty)
    assert (change @ earlier).norm() < 0.7 * (forgotten @ earlier).norm()


def test_halved_is_half_the_bare_prompt() -> None:
    keys = noise(2 * 6, 3)
    for request in range(2):
        own = keys[6 * request : 6 * request + 6]
        torch.testing.assert_close(halved(keys, 6)[request], own[0] / 2 + own[1:].mean(0) / 2)
    assert torch.equal(halved(keys[:2], 1), keys[:2])


# ----------------------------------------------------------------------------------------------- in a model's weights


def written(name: str, requests: Any, **settings: Any) -> tuple[LanguageModel, Change, Tensor, Tensor]:
    """(model, change, keys (in, n) behind all prefixes averaged, what was to be added to their values (out, n))."""
    model = tiny.shared("gpt2")
    found: list[Any] = []

    def spy(*given: Any) -> Any:
        found.append(search(*given))
        return found[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("memedit.weights.value.search", spy)
        change = make(name, **{**SEARCH, "layer": 1, **settings}).fit(model, requests)
    from memedit.methods._located import ROME_PREFIXES

    before = contexts(model, ROME_PREFIXES, 0)
    site = layout_of(model.model).mlp_out(1)
    keys, _ = states(model, rows_of(model, requests, before), inputs=[site])
    wanted = exact(found[0].delta[site]).T
    return model, change, keys[site].view(len(requests), len(before), -1), wanted


def test_r_rome_writes_the_value_at_the_averaged_key_and_rome_at_the_bare_one() -> None:
    for name, key in (("rome", lambda k: k[0, 0]), ("r_rome", lambda k: k[0].mean(0))):
        model, change, keys, wanted = written(name, REQUESTS[:1])
        (delta,) = change.deltas
        assert delta.rank == 1
        weight = view(model.model, delta.name).detach().double()
        after = (weight + delta.matrix(torch.float64)) @ key(keys)
        torch.testing.assert_close(after, weight @ key(keys) + wanted[:, 0], rtol=0, atol=1e-5)
    model, change, keys, wanted = written("r_rome", REQUESTS[:1], average=False)
    torch.testing.assert_close(change.deltas[0].matrix(torch.float64) @ keys[0, 0], wanted[:, 0], rtol=0, atol=1e-5)


def test_emmet_writes_all_values_at_once() -> None:
    _, change, keys, wanted = written("emmet", REQUESTS, slack=0.0)
    (delta,) = change.deltas
    assert delta.rank == 3
    torch.testing.assert_close(delta.matrix(torch.float64) @ keys.mean(1).T, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["memit", "pmet", "alphaedit"])
def test_spread_methods_reach_the_value_in_the_last_layer(name: str) -> None:
    """With next to nothing to weigh against, one prompt and no prefixes, the last block says what was searched for."""
    model, request = tiny.shared("llama"), REQUESTS[:1]
    found: list[Any] = []

    def spy(*given: Any) -> Any:
        found.append(search(*given))
        return found[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("memedit.weights.value.search", spy)
        patch.setattr("memedit.methods.memit.MEMIT_PREFIXES", ())
        free = {"threshold": 1e9, "penalty": 1e-9} if name == "alphaedit" else {"covariance_weight": 1e-9}
        change = make(name, **{**SEARCH, "layers": (0, 1), **free}).fit(model, request)
    assert {delta.rank for delta in change.deltas} == {1}
    assert [delta.name.split(".")[2] for delta in change.deltas] == ["0", "1"]
    site = next(iter(found[0].delta))
    _, after = states(edited(model, change), rows_of(model, request, [""]), outputs=[site])
    wanted = exact(found[0].before[site] + found[0].delta[site])
    torch.testing.assert_close(after[site], wanted, rtol=1e-3, atol=1e-3)


def test_alphaedit_in_a_model_leaves_ordinary_keys_alone() -> None:
    model = tiny.shared("gpt2")
    # Few texts: their keys leave much of the space empty, as a large model's do.
    corpus = corpus_of(["The river of Ostland is green", "Vela Marsh was born in Dorne"])
    held = moments(model, [0, 1], corpus)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("memedit.methods._located.Bench.corpus", lambda bench, progress=None: corpus)
        change = make("alphaedit", **{**SEARCH, "layers": (0, 1), "threshold": 1e-9, "penalty": 0.1}).fit(
            model, REQUESTS[:1]
        )
    assert change.notes["null_space"] == {
        str(layer): int((torch.linalg.eigvalsh(held[layer].matrix) < 1e-9).sum()) for layer in (0, 1)
    }
    for layer, delta in enumerate(change.deltas):
        matrix = delta.matrix(torch.float64)
        assert matrix.norm() > 1e-3
        disturbed = (matrix @ held[layer].matrix @ matrix.T).trace()  # mean square of what ordinary keys are moved by
        assert disturbed.clamp(min=0).sqrt() < 1e-4


# ------------------------------------------------------------------------------------------------------------- search


def plain_loss(
    model: LanguageModel, request: Request, before: list[str], site: str, delta: Tensor, how: Search
) -> float:
    """The search's loss at this δ: whole sentences one at a time, nothing cached, nothing batched."""

    def run(text: str, subject_in: str, add: Tensor) -> Tensor:
        place = subject_span(model.tokenizer, subject_in, request.subject)[1] - 1
        tokens = torch.tensor([model.tokenizer(text)["input_ids"]])

        def edit(name: str, output: Tensor) -> Tensor:
            whole = output.reshape(1, tokens.shape[1], -1).clone()
            whole[0, place] += add
            return whole.reshape(output.shape)

        with torch.no_grad(), Trace(model.model, [site], edit):
            scores: Tensor = model.model(input_ids=tokens, use_cache=False).logits
        return scores[0].float().log_softmax(-1)

    likelihoods = []
    for context in before:
        prompt = context + request.prompt
        start = len(model.tokenizer(prompt)["input_ids"])
        tokens = model.tokenizer(f"{prompt} {request.target}")["input_ids"]
        scores = run(f"{prompt} {request.target}", prompt, delta)
        likelihoods.append(
            sum(float(scores[at - 1, tokens[at]]) for at in range(start, len(tokens))) / (len(tokens) - start)
        )
    essence = f"{request.subject} is a"
    now, was = (run(essence, essence, add)[-1] for add in (delta, torch.zeros_like(delta)))
    _, out = states(model, rows_of(model, [request], [""]), outputs=[site])
    norm = float(out[site].norm())
    divergence = float((now.exp() * (now - was)).sum())
    return -sum(likelihoods) / len(likelihoods) + how.kl * divergence + how.decay * float(delta.norm()) / norm**2


@pytest.mark.parametrize("family", CAUSAL)
def test_the_search_is_the_plain_loss_without_its_shortcuts(family: str) -> None:
    model = tiny.shared(family)
    layout = layout_of(model.model)
    before = contexts(model, MEMIT_PREFIXES[:2], 0)
    before.append("")  # a row whose subject may stand first, beside rows that have much in front
    how = Search(steps=3, rate=0.2, kl=0.5, decay=0.3, clamp=100.0, stop=-100.0)
    requests = [*REQUESTS, Request("The capital of Ostland is the", "Ostland", "green stone Brill")]
    for site in (layout.mlp_out(1), layout.block(1)):
        after_three = search(model, requests, [site], before, how)
        at_fourth = search(model, requests, [site], before, replace(how, steps=4))
        for number, request in enumerate(requests):
            expected = plain_loss(model, request, before, site, after_three.delta[site][number], how)
            assert float(at_fourth.loss[number]) == pytest.approx(expected, rel=2e-4)


def test_norms_are_held_at_every_site() -> None:
    model = tiny.shared("gpt2")
    layout = layout_of(model.model)
    sites = [layout.mlp_out(1), layout.attention(1)]
    how = Search(steps=10, rate=1.0, kl=0.0, decay=0.0, clamp=0.5, stop=0.0)
    found = search(model, REQUESTS, sites, [""], how)
    for site in sites:
        share = found.delta[site].norm(dim=1) / found.before[site].norm(dim=1)
        assert (share <= 0.5 + 1e-6).all()
        assert (share > 0.1).all()


def test_the_divergence_is_held_where_it_weighs() -> None:
    model = tiny.shared("gpt2")
    site = layout_of(model.model).mlp_out(1)
    how = Search(steps=15, rate=0.2, kl=0.0, decay=0.0, clamp=10.0, stop=0.0)
    free = search(model, REQUESTS[:1], [site], [""], how)
    held = search(model, REQUESTS[:1], [site], [""], replace(how, kl=50.0))
    assert held.divergence[0] < 0.5 * free.divergence[0]


def test_the_search_ends_with_each_request_that_is_done() -> None:
    model = tiny.shared("gpt2")
    site = layout_of(model.model).mlp_out(1)
    how = Search(steps=40, rate=0.3, kl=0.0, decay=0.0, clamp=20.0, stop=1.5)
    together = search(model, REQUESTS, [site], [""], how)
    steps = []
    for number, request in enumerate(REQUESTS):
        alone = search(model, [request], [site], [""], how)
        steps.append(alone.steps)
        torch.testing.assert_close(alone.delta[site][0], together.delta[site][number], rtol=1e-3, atol=1e-4)
    assert len(set(steps)) > 1
    assert together.steps == max(steps)


def test_pmet_ends_once_settled() -> None:
    model = tiny.shared("gpt2")
    layout = layout_of(model.model)
    sites = [layout.mlp_out(1), layout.attention(1)]
    how = Search(steps=60, rate=0.1, kl=8.0, decay=0.0, clamp=20.0, stop=0.0, settled=True)
    found = search(model, REQUESTS[:1], sites, [""], how)
    assert found.steps < 60
    assert found.divergence[0] <= 0.01


# -------------------------------------------------------------------------------------------------------- fine-tuning


def test_ft_l_stays_within_its_bound_and_ft_m_does_not() -> None:
    model = tiny.shared("gpt2")
    for name, bound in (("ft_l", True), ("ft_m", False)):
        epsilon = {"epsilon": 3e-3} if bound else {}
        change = make(name, rate=1e-2, steps=6, layer=2, **epsilon).fit(model, REQUESTS[:1])
        assert [delta.name for delta in change.deltas] == [
            "transformer.h.2.mlp.c_proj.weight", "transformer.h.2.mlp.c_proj.bias",
        ]  # fmt: skip
        farthest = max(float(delta.matrix().abs().max()) for delta in change.deltas)
        assert (farthest <= 3e-3 + 1e-7) is bound


def test_ft_l_has_its_flaw_and_ft_m_learns_the_sequence() -> None:
    model, request = tiny.shared("llama"), [REQUESTS[1]]
    assert len(row_of(model, request[0]).target) == 2
    flawed = make("ft_l", rate=3e-2, steps=80, layer=2, epsilon=10.0, stop=0.0).fit(model, request)
    whole = make("ft_m", rate=3e-2, steps=80, layer=2, stop=0.0).fit(model, request)
    first, second = (probabilities(edited(model, change), request)[0] for change in (flawed, whole))
    assert second > first + 2


def test_fine_tuning_touches_its_layers_only() -> None:
    model = tiny.shared("llama")
    change = make("fine_tune", layers=(1, 2), rate=1e-3, steps=2).fit(model, REQUESTS[:1])
    names = {delta.name for delta in change.deltas}
    assert names == {name for name, _ in model.model.named_parameters() if ".layers.1." in name or ".layers.2." in name}


def test_lora_is_of_its_rank() -> None:
    model = tiny.shared("qwen2")
    change = make("lora", rank=2, layers=(0, 2), rate=1e-2, steps=3).fit(model, REQUESTS[:1])
    assert {delta.rank for delta in change.deltas} == {2}
    assert {delta.name for delta in change.deltas} == {
        f"model.layers.{layer}.self_attn.{part}_proj.weight" for layer in (0, 2) for part in "qv"
    }
