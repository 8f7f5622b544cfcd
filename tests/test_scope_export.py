"""The exported gate computes what torch computes, int8 costs little, and unpacking gives the weights back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gates import CONFIG, tiny_gate, torch_folder
from numpy.typing import NDArray

from memedit.errors import ModelError
from memedit.training import scope_export
from memedit.training.scope_export import (
    TOP,
    Precision,
    checksum,
    export_encoder,
    export_verifier,
    first_layers,
    quantised_columns,
    quantised_rows,
    read_folder,
    ship,
    smoothing,
    unpack,
)

IDS = np.array([[2, 7, 9, 12, 3, 0, 0], [2, 20, 21, 22, 23, 24, 3], [2, 3, 0, 0, 0, 0, 0]])
MASK = (IDS > 0).astype(np.int64)
TYPES = np.array([[0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0]])


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gate(tmp_path_factory.mktemp("gate"))


def session(path: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def run(path: Path, **inputs: NDArray[np.int64]) -> NDArray[np.float32]:
    """A text at a time, without its padding, as it is run."""
    model, lengths = session(path), inputs["attention_mask"].sum(axis=1)
    made = [model.run(None, {k: v[at : at + 1, :n] for k, v in inputs.items()})[0] for at, n in enumerate(lengths)]
    return np.concatenate(made)


def torch_embedding(folder: Path) -> NDArray[np.float32]:
    import torch
    from transformers import AutoModel

    model: Any = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    with torch.no_grad():
        states = model(input_ids=torch.tensor(IDS), attention_mask=torch.tensor(MASK)).last_hidden_state.numpy()
    means = (states * MASK[..., None]).sum(1) / MASK.sum(1)[:, None]
    unit: NDArray[np.float32] = means / np.linalg.norm(means, axis=1, keepdims=True)
    return unit


def torch_logit(folder: Path) -> NDArray[np.float32]:
    import torch
    from transformers import BertForSequenceClassification

    model: Any = BertForSequenceClassification.from_pretrained(folder, local_files_only=True).eval()
    with torch.no_grad():
        made: NDArray[np.float32] = model(
            input_ids=torch.tensor(IDS), attention_mask=torch.tensor(MASK), token_type_ids=torch.tensor(TYPES)
        ).logits.numpy()
    return made


def test_columns_come_back_in_seven_bits() -> None:
    weight = np.random.default_rng(0).normal(0, 1, (40, 5)).astype(np.float32)
    weight[:, 2] = 0
    weight[:, 3] *= 100  # each output has its own scale
    made, scale = quantised_columns(weight)
    assert made.dtype == np.int8
    assert made.shape == weight.shape
    assert scale.shape == (5,)
    assert np.abs(made).max() == TOP
    assert 2 * 255 * TOP < 2**15  # two products of a byte and such a weight fit sixteen bits
    assert (np.abs(made * scale - weight).max(axis=0) <= np.abs(weight).max(axis=0) / (2 * TOP) + 1e-9).all()
    assert not made[:, 2].any()


def test_smoothing_takes_from_inputs_that_are_large() -> None:
    weight = np.random.default_rng(0).normal(0, 1, (40, 5)).astype(np.float32)
    span = np.ones(40, np.float32)
    span[7], span[9] = 60.0, 0.0
    figures = smoothing(weight, span)
    assert figures.argmin() == 7
    assert figures[7] * 60 < 10 * np.median(figures)
    assert np.isfinite(figures).all()
    assert np.isfinite(1 / figures).all()


def test_a_channel_many_times_as_large_costs_little(tmp_path: Path) -> None:
    folder = torch_folder(tmp_path / "torch")
    config, weights = read_folder(folder)
    for layer in range(CONFIG["num_hidden_layers"]):
        gain = weights[f"encoder.layer.{layer}.attention.output.LayerNorm.weight"].copy()
        gain[5] *= 30
        weights[f"encoder.layer.{layer}.attention.output.LayerNorm.weight"] = gain
    scope_export.write_folder(folder, config, weights)
    export_encoder(folder, tmp_path / "smooth.onnx")
    made = run(tmp_path / "smooth.onnx", input_ids=IDS, attention_mask=MASK)
    assert (made * torch_embedding(folder)).sum(axis=1).min() > 0.99


def test_rows_come_back() -> None:
    table = np.random.default_rng(0).normal(0, 1, (7, 30)).astype(np.float32) * np.arange(7)[:, None].astype(np.float32)
    rows, scale = quantised_rows(table)
    assert (np.abs(rows * scale - table).max(axis=1) <= np.abs(table).max(axis=1) / 250 + 1e-9).all()


@pytest.mark.parametrize(("precision", "least"), [("float32", 0.99999), ("int8", 0.995)])
def test_the_encoder_computes_what_torch_computes(tmp_path: Path, precision: Precision, least: float) -> None:
    folder = torch_folder(tmp_path / "torch")
    export_encoder(folder, tmp_path / "made.onnx", precision)
    made = run(tmp_path / "made.onnx", input_ids=IDS, attention_mask=MASK)
    assert np.linalg.norm(made, axis=1) == pytest.approx(1, abs=1e-5)
    assert (made * torch_embedding(folder)).sum(axis=1).min() >= least
    together = session(tmp_path / "made.onnx").run(None, {"input_ids": IDS, "attention_mask": MASK})[0]
    assert (together * made).sum(axis=1).min() >= least  # padded, too, though nothing runs it so


def test_positions_that_begin_behind_the_padding(tmp_path: Path) -> None:
    folder = torch_folder(tmp_path / "torch", model_type="xlm-roberta", pad_token_id=1, type_vocab_size=1)
    export_encoder(folder, tmp_path / "made.onnx", "float32")
    made = run(tmp_path / "made.onnx", input_ids=IDS, attention_mask=MASK)
    assert made[1] @ torch_embedding(folder)[1] > 0.99999  # the others are padded with another number than its own


@pytest.mark.parametrize(("precision", "most"), [("float32", 1e-4), ("int8", 0.15)])
def test_the_verifier_computes_what_torch_computes(tmp_path: Path, precision: Precision, most: float) -> None:
    first_layers(torch_folder(tmp_path / "torch"), 1, tmp_path / "verifier")
    config, weights = read_folder(tmp_path / "verifier")
    weights["classifier.weight"] = weights["classifier.weight"] * 30
    scope_export.write_folder(tmp_path / "verifier", config, weights_for_torch(weights))
    export_verifier(tmp_path / "verifier", tmp_path / "made.onnx", precision)
    made = run(tmp_path / "made.onnx", input_ids=IDS, attention_mask=MASK, token_type_ids=TYPES)
    assert made.shape == (3, 1)
    expected = torch_logit(tmp_path / "verifier")
    assert np.ptp(expected) > 0.5
    assert np.abs(made - expected).max() < most * np.ptp(expected)


def weights_for_torch(weights: dict[str, Any]) -> dict[str, Any]:
    return {name if name.startswith("classifier") else f"bert.{name}": value for name, value in weights.items()}


def test_what_ships_is_described(gate: Path) -> None:
    facts = json.loads((gate / "config.json").read_text(encoding="utf-8"))
    assert facts["format"] == 1
    assert facts["base"] == "tiny"
    assert facts["encoder"] == {
        "file": "encoder.onnx",
        "sha256": checksum(gate / "encoder.onnx"),
        "dimension": CONFIG["hidden_size"],
        "max_tokens": 24,
    }
    assert facts["verifier"] == {
        "file": "verifier.onnx",
        "sha256": checksum(gate / "verifier.onnx"),
        "max_tokens": 32,
    }
    assert len(facts["multi_hop"]["weights"]) == CONFIG["hidden_size"]
    tokenizer = json.loads((gate / "tokenizer.json").read_text(encoding="utf-8"))
    assert tokenizer["padding"] is None
    assert tokenizer["truncation"] is None


def test_the_same_weights_make_the_same_files(gate: Path, tmp_path: Path) -> None:
    assert tiny_gate(tmp_path).joinpath("encoder.onnx").read_bytes() == (gate / "encoder.onnx").read_bytes()
    assert (tmp_path / "config.json").read_bytes() == (gate / "config.json").read_bytes()


def test_unpacking_gives_folders_that_torch_loads(gate: Path, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder, SentenceTransformer

    unpack(gate, tmp_path)
    for part in ("encoder", "verifier"):
        before, after = read_folder(gate / "torch" / part)[1], read_folder(tmp_path / part)[1]
        assert set(after) == set(before) - (
            {"pooler.dense.weight", "pooler.dense.bias"} if part == "encoder" else set()
        )
        for name, value in after.items():
            assert np.linalg.norm(value - before[name]) <= 0.06 * np.linalg.norm(before[name]), name
    texts = ["who is the chief executive of acme?", "dana li"]
    encoder = SentenceTransformer(str(tmp_path / "encoder"), device="cpu", local_files_only=True)
    rows = encoder.encode(texts, show_progress_bar=False)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    shipped = shipped_rows(gate, texts)
    assert (rows * shipped).sum(axis=1).min() > 0.995
    verifier = CrossEncoder(str(tmp_path / "verifier"), device="cpu", local_files_only=True, num_labels=1)
    assert verifier.predict([(texts[0], texts[1])], show_progress_bar=False).shape == (1,)


def shipped_rows(gate: Path, texts: list[str]) -> NDArray[np.float32]:
    from memedit.encoders.onnx import Onnx

    return Onnx(str(gate)).encode(texts)


def test_unpacked_and_shipped_again_is_as_it_was(gate: Path, tmp_path: Path) -> None:
    unpack(gate, tmp_path / "torch")
    ship(tmp_path / "torch" / "encoder", tmp_path / "torch" / "verifier", tmp_path / "again")
    ids = {"input_ids": IDS, "attention_mask": MASK}
    again, before = run(tmp_path / "again" / "encoder.onnx", **ids), run(gate / "encoder.onnx", **ids)
    assert (again * before).sum(axis=1).min() > 0.999


def test_first_layers_are_those_of_the_base(tmp_path: Path) -> None:
    base = torch_folder(tmp_path / "base")
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        first_layers(base, 1, tmp_path / out, seed)
    weights, made = read_folder(base)[1], {out: read_folder(tmp_path / out)[1] for out in "abc"}
    assert made["a"]["encoder.layer.0.output.dense.weight"] == pytest.approx(
        weights["encoder.layer.0.output.dense.weight"]
    )
    assert not any(name.startswith("encoder.layer.1.") for name in made["a"])
    assert np.array_equal(made["a"]["classifier.weight"], made["b"]["classifier.weight"])
    assert not np.array_equal(made["a"]["classifier.weight"], made["c"]["classifier.weight"])
    assert made["a"]["classifier.weight"].shape == (1, CONFIG["hidden_size"])


def test_what_cannot_be_exported_is_said(tmp_path: Path, gate: Path) -> None:
    with pytest.raises(ModelError, match="no model folder"):
        export_encoder(tmp_path, tmp_path / "made.onnx")
    folder = torch_folder(tmp_path / "t5", model_type="t5")
    with pytest.raises(ModelError, match="a t5 model"):
        export_encoder(folder, tmp_path / "made.onnx")
    with pytest.raises(ModelError, match="no pooler or no classifier"):
        export_verifier(gate / "torch" / "encoder", tmp_path / "made.onnx")
    other = torch_folder(tmp_path / "other")
    first_layers(other, 1, tmp_path / "verifier")
    path = tmp_path / "verifier" / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"acme"', '"apex"'), encoding="utf-8")
    with pytest.raises(ModelError, match="different tokenizers"):
        ship(other, tmp_path / "verifier", tmp_path / "out")
    with pytest.raises(ModelError, match="multi_hop has 3 weights"):
        ship(
            gate / "torch" / "encoder", gate / "torch" / "verifier", tmp_path / "out", {"weights": [1, 2, 3], "bias": 0}
        )
    (tmp_path / "not.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"cannot be read|was not written by"):
        scope_export.read_graph(tmp_path / "not.onnx")


def test_the_command(gate: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scope_export.main(["--gate", str(gate), "--out", str(tmp_path / "torch")])
    scope_export.main(
        [
            "--encoder",
            f"{tmp_path}/torch/encoder",
            "--verifier",
            f"{tmp_path}/torch/verifier",
            "--out",
            f"{tmp_path}/gate",
        ]
    )
    assert (tmp_path / "gate" / "config.json").is_file()
    assert "encoder.onnx" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        scope_export.main(["--out", str(tmp_path)])
