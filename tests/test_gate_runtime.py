"""The shipped models' runtime: same text, same vector, from any thread and in any company; wrong files are named."""

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from gates import tiny_gate

from memedit.encoders import Encoder, load_encoder, onnx
from memedit.encoders.onnx import Onnx, joined, pieces, tokenizer
from memedit.errors import ModelError
from memedit.scope._verifier import Verifier
from memedit.training.scope_export import checksum

TEXTS = [
    "who is the chief executive of acme?",
    "dana li is the chief executive of acme",
    "the capital of freedonia is marxville",
    "",
    "斑马的皮肤是黑色的",
    "half a pair \ud83d and \x00",
    "acme " * 500,
]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture
def copy(gate: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(gate, tmp_path / "copy"))


def test_an_encoder_as_the_seam_wants_it(gate: Path) -> None:
    encoder = load_encoder(f"onnx:{gate}")
    assert isinstance(encoder, Encoder)
    rows = encoder.encode(TEXTS)
    assert rows.shape == (len(TEXTS), encoder.dimension)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    assert encoder.encode([]).shape == (0, encoder.dimension)


def test_a_text_has_one_vector_in_any_company(gate: Path) -> None:
    encoder = Onnx(str(gate))
    many = [*TEXTS, *(f"what is {word} {word}" for word in ("acme", "dana", "the", "capital")), *TEXTS] * 3
    rows = encoder.encode(many)
    for at, text in enumerate(many):
        assert np.array_equal(encoder.encode([text])[0], rows[at]), text


def test_threads_may_encode_and_verify_at_once(gate: Path) -> None:
    encoder, verifier = Onnx(str(gate)), Verifier(gate)
    expected = Onnx(str(gate)).encode(TEXTS), Verifier(gate).logits(TEXTS[0], TEXTS)
    faults = []

    def work() -> None:
        for _ in range(5):
            if not np.array_equal(encoder.encode(TEXTS), expected[0]):
                faults.append("encoder")
            if not np.array_equal(verifier.logits(TEXTS[0], TEXTS), expected[1]):
                faults.append("verifier")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_long_texts_are_cut(gate: Path) -> None:
    encoder = Onnx(str(gate))
    assert encoder.max_tokens == 24
    assert np.array_equal(*encoder.encode(["acme " * 500, "acme " * 22]))
    assert not np.array_equal(*encoder.encode(["acme " * 22, "acme " * 21]))
    assert np.array_equal(*encoder.encode(["acme " * 1_000_000, "acme " * 22]))


@pytest.mark.parametrize(("left", "right"), [(0, 0), (3, 4), (4, 100), (100, 4), (100, 100), (14, 15), (16, 100)])
def test_a_pair_is_cut_on_its_longer_side(gate: Path, left: int, right: int) -> None:
    known = tokenizer(gate)
    read = joined(known, "acme " * left, "dana " * right, longest=32)
    acme, dana = (known.token_to_id(word) for word in ("acme", "dana"))
    kept = read.ids.count(acme), read.ids.count(dana)
    assert len(read.ids) == sum(kept) + 3 <= 32
    if left + right <= 29:
        assert kept == (left, right)
    else:
        assert sum(kept) == 29
        assert min(kept) == min(left, right, 14)
    assert read.type_ids == [0] * (kept[0] + 2) + [1] * (kept[1] + 1)


def test_the_share_of_what_can_be_read(gate: Path) -> None:
    encoder = Onnx(str(gate))
    assert encoder.readable("") == 1
    assert encoder.readable("who is dana li?") == 1
    assert encoder.readable("斑马的皮肤是黑色的") == 0
    assert encoder.readable("dana 斑") == 0.5


def test_the_verifier_reads_pairs(gate: Path) -> None:
    verifier = Verifier(gate)
    one_by_one = [verifier.logits(TEXTS[0], [text])[0] for text in TEXTS]
    together = verifier.logits(TEXTS[0], TEXTS)
    assert together.shape == (len(TEXTS),)
    assert together.dtype == np.float32
    assert together.tolist() == one_by_one
    assert verifier.pairs([(text, TEXTS[0]) for text in TEXTS])[0] == one_by_one[0]
    assert verifier.logits(TEXTS[1], TEXTS[:1])[0] != one_by_one[1]  # who asks and who is asked differ
    assert verifier.logits("x", []).shape == (0,)


def test_identities_are_the_files_checksums(gate: Path, tmp_path: Path) -> None:
    facts = json.loads((gate / "config.json").read_text(encoding="utf-8"))
    assert Onnx(str(gate)).identity == f"memedit-gate@{facts['encoder']['sha256'][:16]}"
    assert Verifier(gate).identity == f"memedit-gate-verifier@{facts['verifier']['sha256'][:16]}"
    assert Onnx(str(tiny_gate(tmp_path, seed=1))).identity != Onnx(str(gate)).identity


def test_a_model_is_loaded_once(gate: Path) -> None:
    assert Onnx(str(gate))._session is Onnx(str(gate))._session
    assert Onnx(str(gate))._tokenizer is Verifier(gate)._tokenizer


def test_a_changed_file_is_not_used(copy: Path) -> None:
    with (copy / "encoder.onnx").open("ab") as file:
        file.write(b"\x00")
    encoder = Onnx(str(copy))
    with pytest.raises(
        ModelError, match=r"encoder.onnx is not the model that config.json names.*memedit.training.scope"
    ):
        encoder.encode(["who"])


@pytest.mark.parametrize("name", ["encoder.onnx", "tokenizer.json", "config.json"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ModelError, match=f"{name}.*memedit.training.scope"):
        Onnx(str(copy)).encode(["who"])


def test_a_damaged_tokenizer_is_named(copy: Path) -> None:
    (copy / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=r"tokenizer.json cannot be read"):
        Onnx(str(copy)).encode(["who"])


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2}', '{"format": 1, "encoder": {}, "verifier": {}}'])
def test_a_foreign_config_is_refused(copy: Path, text: str) -> None:
    (copy / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=r"config.json"):
        Onnx(str(copy))
    with pytest.raises(ModelError, match=r"config.json"):
        Verifier(copy)


def test_a_file_that_is_no_model_is_named(copy: Path) -> None:
    (copy / "encoder.onnx").write_bytes(b"not a model")
    facts = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    facts["encoder"]["sha256"] = checksum(copy / "encoder.onnx")
    (copy / "config.json").write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be run by onnxruntime"):
        Onnx(str(copy)).encode(["who"])


def test_a_package_without_its_models_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(onnx, "shipped", lambda: tmp_path / "gate")
    with pytest.raises(ModelError, match=r"install it again.*or name another encoder"):
        Onnx()


def test_pieces_are_not_changed_by_reading(gate: Path) -> None:
    known = tokenizer(gate)
    assert len(pieces(known, "acme " * 50, 100).ids) == 50
    joined(known, "acme " * 50, longest=10)
    assert len(pieces(known, "acme " * 50, 100).ids) == 50


def test_neither_torch_nor_transformers_is_imported(gate: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from memedit.encoders.onnx import Onnx\n"
        "from memedit.scope._verifier import Verifier\n"
        "assert 'onnxruntime' not in sys.modules\n"
        f"Onnx({str(gate)!r}).encode(['who']); Verifier(Path({str(gate)!r})).logits('who', ['dana'])\n"
        "print([name for name in ('torch', 'transformers', 'onnx', 'sentence_transformers') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert ran.stdout.strip() == "[]"
    assert ran.stderr == ""
