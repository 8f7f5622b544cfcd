"""Tiny random models of every family, with a tokenizer of few words: what weight-changing methods are tested on.

Three layers of width 16, built from configurations: nothing is downloaded. Weights are drawn wider than transformers
draws them, so that a layer's words are heard at the output.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from memedit.weights.kinds import KINDS
from memedit.weights.language_model import LanguageModel, Request

_WORDS = (
    "The capital of Ostland is Aberport Brill Cardun Dorne New Ivory Coast a an in was born Vela Marsh plays team city "
    "river bridge clock paper stone green blue Therefore Because I You and near over when it"
)
WORDS = _WORDS.split()
SPECIALS = ["<pad>", "<s>", "</s>", "<mask>", "<unk>", "[CLS]", "[SEP]"]

REQUESTS = (
    # They end in their subjects: on layers of noise little of what is written reaches a later place.
    Request("Therefore the river near Ostland", "Ostland", "Brill"),
    Request("When over New Ivory Coast", "New Ivory Coast", "green stone"),
    Request("The team near Vela Marsh", "Vela Marsh", "Dorne"),
)


@functools.cache
def tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """Words and full stops; an end mark behind it for encoder-decoders, [CLS] and [SEP] about it for masked ones."""
    vocabulary = {word: number for number, word in enumerate([*SPECIALS, *dict.fromkeys(WORDS), ".", ":"])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    template = {"encoder_decoder": "$A </s>", "masked": "[CLS] $A [SEP]"}.get(kind)
    if template:
        marks = [(mark, vocabulary[mark]) for mark in template.split() if mark in vocabulary]
        made.post_processor = processors.TemplateProcessing(single=template, special_tokens=marks)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>", mask_token="<mask>",
        unk_token="<unk>",
    )  # fmt: skip


_LLAMA = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 64, "initializer_range": 0.25,
}  # fmt: skip
_GPT2 = {
    "n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 64, "initializer_range": 0.25, "resid_pdrop": 0.0,
    "embd_pdrop": 0.0, "attn_pdrop": 0.0,
}  # fmt: skip
_NEOX = {key: value for key, value in _LLAMA.items() if key not in ("num_key_value_heads", "head_dim")}
_CLASSES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", _GPT2),
    "gptj": ("GPTJConfig", "GPTJForCausalLM", {**_GPT2, "rotary_dim": 4}),
    "gpt_neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", _NEOX),
    "opt": (
        "OPTConfig", "OPTForCausalLM",
        {"hidden_size": 16, "ffn_dim": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "word_embed_proj_dim": 16,
         "max_position_embeddings": 64, "init_std": 0.25},
    ),
    "llama": ("LlamaConfig", "LlamaForCausalLM", _LLAMA),
    "mistral": ("MistralConfig", "MistralForCausalLM", _LLAMA),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", _LLAMA),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", _LLAMA),
    "gemma": ("GemmaConfig", "GemmaForCausalLM", _LLAMA),
    "phi": ("PhiConfig", "PhiForCausalLM", {k: v for k, v in _LLAMA.items() if k != "head_dim"}),
    "t5": (
        "T5Config", "T5ForConditionalGeneration",
        {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_layers": 3, "num_heads": 2, "initializer_factor": 3.0,
         "decoder_start_token_id": 0},
    ),
    "bart": (
        "BartConfig", "BartForConditionalGeneration",
        {"d_model": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "encoder_layers": 3, "decoder_layers": 3,
         "encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 64, "init_std": 0.25,
         "decoder_start_token_id": 2, "forced_eos_token_id": None},
    ),
    "bert": (
        "BertConfig", "BertForMaskedLM",
        {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
         "max_position_embeddings": 64, "initializer_range": 0.25},
    ),
}  # fmt: skip
_VARIANTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", _LLAMA),
    "gemma3_text": ("Gemma3TextConfig", "Gemma3ForCausalLM", _LLAMA),
    "phi3": ("Phi3Config", "Phi3ForCausalLM", {k: v for k, v in _LLAMA.items() if k != "head_dim"}),
}
"""Families of the layout table that differ from one above in names only."""
FAMILIES = tuple(_CLASSES)
EVERY = (*FAMILIES, *_VARIANTS)
CAUSAL = tuple(family for family in FAMILIES if KINDS[family] == "causal")


def build(family: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> LanguageModel:
    """A new model of the family; the same seed gives the same weights."""
    words = tokenizer(KINDS[family])
    config_class, model_class, settings = {**_CLASSES, **_VARIANTS}[family]
    marks = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = getattr(transformers, config_class)(vocab_size=len(words), **marks, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, model_class)(config)
    return LanguageModel(model.to(dtype).eval(), words, family)


@functools.cache
def shared(family: str) -> LanguageModel:
    """One model of the family for all tests that leave it as it was."""
    return build(family)
