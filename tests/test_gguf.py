"""Models in GGUF files: one is loaded as any folder is, and what cannot be is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from memedit.edits import Message
from memedit.errors import ModelError
from memedit.models import hugging_face, load_model

WIDTH, HEADS, INNER = 32, 2, 64
WORDS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁the", "▁capital", "▁of", "▁is", "▁Lutz"]


def write(path: Path) -> Path:
    """A Llama of one layer and random weights, with a tokenizer of a few words and all bytes."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(WORDS))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(WORDS)
    writer.add_token_scores([-float(number) for number in range(len(WORDS))])
    writer.add_token_types([2, 3, 3, *[6] * 256, *[1] * (len(WORDS) - 259)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    drawn = np.random.default_rng(7)
    shapes = {
        "token_embd": (len(WORDS), WIDTH),
        "output": (len(WORDS), WIDTH),
        **{f"blk.0.attn_{part}": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")},
        "blk.0.ffn_gate": (INNER, WIDTH),
        "blk.0.ffn_up": (INNER, WIDTH),
        "blk.0.ffn_down": (WIDTH, INNER),
    }
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", drawn.normal(0, 0.3, shape).astype(np.float32))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def reply(spec: str) -> str:
    return "".join(load_model(spec).stream([Message("user", "the capital of")], max_new_tokens=6))


def test_a_file_and_its_folder_are_one_model(tmp_path: Path) -> None:
    path = write(tmp_path / "tiny.gguf")
    said = reply(f"hf:{path}")
    assert said
    assert reply(f"hf:{tmp_path}") == said
    assert reply(f"hf:{path}") == said


def test_of_several_files_one_is_to_be_named(tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        write(tmp_path / name)
    with pytest.raises(ModelError, match=r"several GGUF files: a\.gguf, b\.gguf; name one"):
        reply(f"hf:{tmp_path}")
    assert reply(f"hf:{tmp_path / 'b.gguf'}")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ModelError, match="cannot be loaded"):
        reply(f"hf:{path}")
    path.write_bytes(b"no model")
    with pytest.raises(ModelError, match="cannot be loaded"):
        reply(f"hf:{path}")


def test_without_the_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "tiny.gguf")
    monkeypatch.setattr(hugging_face, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"memedit\[gguf\]"):
        reply(f"hf:{path}")
