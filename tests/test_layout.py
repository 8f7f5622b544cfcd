"""The table of families: every name that it gives is a module of a real model of the family, and does what it says."""

from __future__ import annotations

import pytest
import tiny
import torch
import transformers
from torch import Tensor

from memedit.errors import InputError
from memedit.weights.layout import FAMILIES, Layout, Stack, layout_of, weight_of
from memedit.weights.prediction import log_probabilities, predictions_of
from memedit.weights.trace import Trace

STACKS = [(family, stack) for family, stacks in FAMILIES.items() for stack in stacks]


def test_every_family_of_the_table_is_tested() -> None:
    assert set(tiny.EVERY) == set(FAMILIES)


@pytest.mark.parametrize(("family", "stack"), STACKS)
def test_names_weights_and_outputs(family: str, stack: Stack) -> None:
    held = tiny.shared(family)
    layout = layout_of(held.model, stack)
    assert layout.family == family
    assert layout.layers(held.model) == 3
    rows = predictions_of(held, [("The capital of Ostland is", "Brill")])
    names = [layout.block(1), layout.attention(1), layout.attention_out(1), layout.mlp(1), layout.mlp_in(1)]
    names += [layout.mlp_out(1), layout.embedding(), layout.head(), *filter(None, [layout.final_norm()])]
    with torch.no_grad(), Trace(held.model, names) as seen:
        plain = log_probabilities(held, rows)
    assert seen.outputs.keys() == set(names)
    width, inner = 16, seen.inputs[layout.mlp_out(1)].shape[-1]
    assert {seen.outputs[name].shape[-1] for name in (layout.block(1), layout.attention(1), layout.mlp(1))} == {width}
    up, down = (weight_of(held.model.get_submodule(name)) for name in (layout.mlp_in(1), layout.mlp_out(1)))
    assert down.shape == (width, inner)
    assert up.shape == (inner * (1 + layout.fused_mlp_in), width)
    assert weight_of(held.model.get_submodule(layout.attention_out(1))).shape == (width, width)
    # The projection is what its module computes, so that a delta of (out, in) is added the right way round.
    product = seen.inputs[layout.mlp_out(1)] @ down.T
    if (bias := getattr(held.model.get_submodule(layout.mlp_out(1)), "bias", None)) is not None:
        product = product + bias
    torch.testing.assert_close(seen.outputs[layout.mlp_out(1)], product)

    def louder(name: str, output: Tensor) -> Tensor:
        return output + 1.0 + torch.arange(width)

    for name in (layout.mlp_out(1), layout.mlp(1), layout.attention(1), layout.block(1), layout.embedding()):
        with torch.no_grad(), Trace(held.model, [name], louder):
            assert not torch.allclose(log_probabilities(held, rows), plain, atol=1e-3), name
    with torch.no_grad():
        assert torch.equal(log_probabilities(held, rows), plain)


@pytest.mark.parametrize("family", ["gpt2", "llama", "phi", "gpt_neox"])
def test_what_attention_and_mlp_add_is_what_the_block_adds(family: str) -> None:
    held = tiny.shared(family)
    layout = layout_of(held.model)
    block = layout.block(1)
    with torch.no_grad(), Trace(held.model, [block, layout.attention(1), layout.mlp(1)]) as seen:
        log_probabilities(held, predictions_of(held, [("The capital of Ostland is", "Brill")]))
    added = seen.outputs[layout.attention(1)] + seen.outputs[layout.mlp(1)]
    torch.testing.assert_close(seen.outputs[block] - seen.inputs[block], added, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("family", "stack"), STACKS)
def test_causal_means_that_later_tokens_do_not_matter(family: str, stack: Stack) -> None:
    held = tiny.shared(family)
    layout = layout_of(held.model, stack)
    if stack == "decoder" and len(FAMILIES[family]) > 1:
        pytest.skip("what a decoder reads is not the prompt")
    ids = held.tokenizer("The capital of Ostland is Brill", add_special_tokens=False)["input_ids"]
    states = []
    for tokens in (ids, [*ids[:-1], ids[0]]):
        more = {"decoder_input_ids": torch.tensor([[0]])} if len(FAMILIES[family]) > 1 else {}
        with torch.no_grad(), Trace(held.model, [layout.block(2)]) as seen:
            held.model(input_ids=torch.tensor([tokens]), **more)
        states.append(seen.outputs[layout.block(2)][0, :-1])
    assert torch.allclose(*states, atol=1e-5) == layout.causal


@pytest.mark.parametrize("tied", [True, False])
def test_tied_embeddings_are_noticed(tied: bool) -> None:
    config = transformers.GPT2Config(
        vocab_size=20, n_embd=8, n_layer=1, n_head=2, n_positions=8, tie_word_embeddings=tied, bos_token_id=0,
        eos_token_id=0,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config)
    assert layout_of(model).tied(model) is tied


def test_a_gated_t5_has_another_up_projection() -> None:
    sizes = {"vocab_size": 20, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 1, "num_heads": 2}
    plain, gated = (
        transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes, feed_forward_proj=kind))
        for kind in ("relu", "gated-gelu")
    )
    assert layout_of(plain).mlp_in(0).endswith(".wi")
    assert layout_of(gated).mlp_in(0).endswith(".wi_1")
    assert layout_of(gated, "decoder").mlp_in(0).startswith("decoder.block.0.layer.2")


def test_an_unknown_family_is_told_how_to_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_heads": 2}
    model = transformers.BloomForCausalLM(transformers.BloomConfig(**sizes, n_head=2))
    with pytest.raises(InputError, match=r"'bloom' .*there are: gpt2, .*FAMILIES\['bloom'\].*mlp_out_path"):
        layout_of(model)
    added = Layout(
        family="bloom",
        blocks="transformer.h",
        attention_path="self_attention",
        attention_out_path="self_attention.dense",
        mlp_path="mlp",
        mlp_in_path="mlp.dense_h_to_4h",
        mlp_out_path="mlp.dense_4h_to_h",
        embedding_path="transformer.word_embeddings",
        final_norm_path="transformer.ln_f",
        head_path="lm_head",
    )
    monkeypatch.setitem(FAMILIES, "bloom", {"decoder": added})
    assert layout_of(model) == added


def test_what_is_not_there_is_refused() -> None:
    model = tiny.shared("gpt2").model
    with pytest.raises(InputError, match="no encoder; there is: decoder"):
        layout_of(model, "encoder")
    with pytest.raises(InputError, match=r"expected to have the module transformer\.h"):
        layout_of(model.transformer)
    with pytest.raises(InputError, match="numbered from 0, not -1"):
        layout_of(model).block(-1)
    with pytest.raises(InputError, match="Embedding is no plain projection"):
        weight_of(model.transformer.wte)


def test_weight_of_is_a_view() -> None:
    held = tiny.build("gpt2")
    module = held.model.transformer.h[0].mlp.c_proj
    with torch.no_grad():
        weight_of(module)[3, 5] = 42.0
    assert module.weight[5, 3] == 42.0
