"""Tiny gates for tests: random weights of two layers, a vocabulary of a few words, in the layout of the real ones."""

from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from memedit.training.scope_export import Weights, copy_tokenizer, first_layers, ship, write_folder

WORDS = [
    "who",
    "what",
    "which",
    "where",
    "is",
    "was",
    "the",
    "a",
    "of",
    "born",
    "capital",
    "chief",
    "executive",
    "also",
]
NAMES = ["acme", "freedonia", "dana", "li", "marxville"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [*"abcdefghijklmnopqrstuvwxyz?.:|", *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")]
CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "vocab_size": len(SPECIAL) + len(WORDS) + len(NAMES) + len(LETTERS),
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}


def torch_folder(out: Path, seed: int = 0, **changes: Any) -> Path:
    """A BertModel's folder, with weights large enough that every part of the model matters."""
    config = {**CONFIG, **changes}
    rng = np.random.default_rng(seed)
    wide, inner = config["hidden_size"], config["intermediate_size"]
    weights: Weights = {}

    def table(name: str, rows: int) -> None:
        weights[f"embeddings.{name}_embeddings.weight"] = rng.normal(0, 1, (rows, wide)).astype(np.float32)

    def norm(name: str) -> None:
        weights[f"{name}.LayerNorm.weight"] = rng.normal(1, 0.1, wide).astype(np.float32)
        weights[f"{name}.LayerNorm.bias"] = rng.normal(0, 0.1, wide).astype(np.float32)

    def dense(name: str, outputs: int, inputs: int) -> None:
        weights[f"{name}.weight"] = rng.normal(0, 1.5 / inputs**0.5, (outputs, inputs)).astype(np.float32)
        weights[f"{name}.bias"] = rng.normal(0, 0.3, outputs).astype(np.float32)

    table("word", config["vocab_size"])
    table("position", config["max_position_embeddings"])
    table("token_type", config["type_vocab_size"])
    norm("embeddings")
    for layer in range(config["num_hidden_layers"]):
        here = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            dense(f"{here}.attention.self.{part}", wide, wide)
        dense(f"{here}.attention.output.dense", wide, wide)
        norm(f"{here}.attention.output")
        dense(f"{here}.intermediate.dense", inner, wide)
        dense(f"{here}.output.dense", wide, inner)
        norm(f"{here}.output")
    dense("pooler.dense", wide, wide)
    write_folder(out, config, weights)
    tokenizer().save(str(out / "tokenizer.json"))
    return out


def tokenizer() -> Tokenizer:
    """Lower case, words and letters; cuts and pads, as the tokenizers of published models do."""
    vocabulary = {piece: at for at, piece in enumerate([*SPECIAL, *WORDS, *NAMES, *LETTERS])}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=20))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(SPECIAL)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    made.enable_truncation(8)
    made.enable_padding(length=8)
    return made


def tiny_gate(out: Path, seed: int = 0) -> Path:
    """A shipped folder (encoder of two layers, verifier of one), with `torch/encoder`, `torch/verifier` inside."""
    encoder, verifier = torch_folder(out / "torch" / "encoder", seed), out / "torch" / "verifier"
    first_layers(encoder, 1, verifier, seed)
    copy_tokenizer(encoder, verifier)
    bias = [0.5] * CONFIG["hidden_size"]
    ship(encoder, verifier, out, {"weights": bias, "bias": -1.0}, base="tiny", encoder_tokens=24, verifier_tokens=32)
    return out
