"""A trained gate -> the files that ship, and back: two torch folders <-> int8 ONNX, a tokenizer and a config.

    python -m memedit.training.scope_export --encoder DIR --verifier DIR --out DIR      what the package ships
    python -m memedit.training.scope_export --gate DIR --out DIR                        back into folders for torch

The graph is not traced from torch but written here, layer by layer, from the weights: BERT is small enough for that,
each operator is then the fused one that onnxruntime runs fastest, each weight keeps its name, so that the way back is
a matter of multiplying, and neither direction needs more than `onnx`.

Word and position embeddings are int8 with one scale for each row. The weights of a layer are of seven bits with one
scale for each output, its inputs are made bytes while running, all with one scale, so that the whole is one product of
integers. A few channels of a transformer are many times as large as all others and would take that scale for
themselves: as SmoothQuant does (Xiao et al. 2023, section 4), each input is divided by a figure of its channel, with
which the channel's weights are multiplied. The figures come from `readings` that the model in floats is run on. The
scale is the whole input's, hence a text's vector is its own only as long as texts are run one by one.

Seven bits, not eight: processors without instructions for products of bytes add two of them in sixteen bits, and 255
times 63, twice, is the most that fits.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from memedit.errors import ModelError

FORMAT = 1
ENCODER, VERIFIER, TOKENIZER, CONFIG = "encoder.onnx", "verifier.onnx", "tokenizer.json", "config.json"
ENCODER_TOKENS, VERIFIER_TOKENS = 128, 192
TOP = 63
"""The largest step of a layer's weight: seven bits."""
SMOOTH = 0.7
"""How much of the inequality of a layer's input channels goes into its weights, in [0, 1]."""
FAMILIES = {"bert": 0, "roberta": 2, "xlm-roberta": 2}
"""Kinds of model that can be exported, and the number of the first position in their tables."""
OPSET = 20

Precision = Literal["int8", "float32"]
Array = NDArray[Any]
Weights = dict[str, NDArray[np.float32]]
Spans = Mapping[str, NDArray[np.float32]]


# --- quantisation


def quantised_rows(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(n, width) -> int8 of the same shape and (n, 1) scales; row times scale is the row, to 1/254 of its span."""
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True) / 127, 1e-12).astype(np.float32)
    return np.rint(table / scale).astype(np.int8), scale


def quantised_columns(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(inputs, outputs) -> int8 of the same shape, within TOP, and (outputs,) scales."""
    scale = np.maximum(np.abs(weight).max(axis=0) / TOP, 1e-12).astype(np.float32)
    return np.rint(weight / scale).astype(np.int8), scale


def smoothing(weight: NDArray[np.float32], span: NDArray[np.float32]) -> NDArray[np.float32]:
    """(inputs,) figures, around 1, to multiply the inputs of a weight (inputs, outputs) by; `span` is how large each
    input becomes. SmoothQuant's equation 4, whose figures these divide by."""
    own = np.maximum(np.abs(weight).max(axis=1), 1e-5)
    figures = np.maximum(span, 1e-5) ** SMOOTH / own ** (1 - SMOOTH)
    figures = np.clip(figures / np.exp(np.log(figures).mean()), 0.05, 100)
    made: NDArray[np.float32] = (1 / figures).astype(np.float32)
    return made


# --- the graph


class Graph:
    """An ONNX graph in the making: constants by name, nodes in order. Names of weights are those of the torch model.

    `spans` says of each layer how large each of its inputs becomes; int8 needs it.
    """

    def __init__(
        self, weights: Weights, config: Mapping[str, Any], precision: Precision, spans: Spans | None = None
    ) -> None:
        self.weights = weights
        self.config = config
        self.precision = precision
        self.spans = spans or {}
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self.inputs: dict[str, str] = {}
        """Of each layer in float32, the output that it reads."""

    def add(self, operator: str, inputs: Sequence[str], *, domain: str = "", **attributes: Any) -> str:
        """A node with one output; -> the output's name."""
        from onnx import helper

        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def constant(self, name: str, value: Array) -> str:
        self.constants[name] = np.asarray(value, order="C")
        return name

    def weight(self, name: str) -> str:
        """A vector or small table kept in float32."""
        return self.constant(name, self.weights[name])

    def rows(self, name: str, operator: str, *at: str) -> str:
        """Rows of a table, taken by an operator with its further inputs."""
        if self.precision == "float32":
            return self.add(operator, [self.weight(name), *at])
        rows, scale = quantised_rows(self.weights[name])
        table, scales = self.constant(f"{name}.rows", rows), self.constant(f"{name}.scale", scale)
        numbers = self.add("Cast", [self.add(operator, [table, *at])], to=1)
        return self.add("Mul", [numbers, self.add(operator, [scales, *at])])

    def linear(self, x: str, *names: str) -> str:
        """x (…, inputs) through one or several layers side by side: (…, outputs of the first, of the second, …)."""
        name = "+".join(names)
        weight = np.concatenate([self.weights[f"{each}.weight"] for each in names])
        bias = self.constant(f"{name}.bias", np.concatenate([self.weights[f"{each}.bias"] for each in names]))
        if self.precision == "float32":
            self.inputs[name] = x
            return self.add("Add", [self.add("MatMul", [x, self.constant(f"{name}.weight", weight.T)]), bias])
        smooth = smoothing(weight.T, self.spans[name])
        made, scale = quantised_columns((weight.T / smooth[:, None]).astype(np.float32))
        smoothed = self.add("Mul", [x, self.constant(f"{name}.smooth", smooth)])
        return self.add(
            "DynamicQuantizeMatMul",
            [smoothed, self.constant(f"{name}.columns", made), self.constant(f"{name}.scale", scale), "", bias],
            domain="com.microsoft",
        )

    def normalised(self, x: str, name: str) -> str:
        """Layer normalisation."""
        return self.add(
            "LayerNormalization",
            [x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias")],
            epsilon=float(self.config.get("layer_norm_eps", 1e-12)),
        )

    def body(self, *, token_types: bool) -> str:
        """From the ids to the last layer's states (batch, length, width)."""
        first = FAMILIES[self.config["model_type"]]
        table = "embeddings.position_embeddings.weight"
        self.weights[table] = self.weights[table][first:]
        words = self.rows("embeddings.word_embeddings.weight", "Gather", "input_ids")
        length = self.add("Shape", ["input_ids"], start=1, end=2)
        zero, start = self.constant("zero", np.array(0, np.int64)), self.constant("start", np.array([0], np.int64))
        places = self.rows(table, "Slice", start, length, start)
        types = self.weight("embeddings.token_type_embeddings.weight")
        kind = self.add("Gather", [types, "token_type_ids" if token_types else zero])
        x = self.normalised(self.add("Add", [self.add("Add", [words, places]), kind]), "embeddings.LayerNorm")
        mask = self.add("Cast", ["attention_mask"], to=6)
        heads = int(self.config["num_attention_heads"])
        parts = self.constant("parts", np.full(3, self.config["hidden_size"], np.int64))
        for layer in range(int(self.config["num_hidden_layers"])):
            here = f"encoder.layer.{layer}"
            mixed = self.linear(x, *(f"{here}.attention.self.{part}" for part in ("query", "key", "value")))
            query, key, value = self._split(mixed, parts)
            seen = self.add(
                "MultiHeadAttention",
                [query, key, value, "", mask],
                domain="com.microsoft",
                num_heads=heads,
            )
            seen = self.linear(seen, f"{here}.attention.output.dense")
            x = self.normalised(self.add("Add", [seen, x]), f"{here}.attention.output.LayerNorm")
            wide = self.add("Gelu", [self.linear(x, f"{here}.intermediate.dense")])
            narrow = self.linear(wide, f"{here}.output.dense")
            x = self.normalised(self.add("Add", [narrow, x]), f"{here}.output.LayerNorm")
        return x

    def _split(self, x: str, parts: str) -> list[str]:
        from onnx import helper

        names = [f"Split_{len(self.nodes)}_{at}" for at in range(3)]
        self.nodes.append(helper.make_node("Split", [x, parts], names, name=names[0], axis=-1))
        return names

    def model(self, inputs: Sequence[str], outputs: Mapping[str, Sequence[str | int] | None]) -> Any:
        """The model with these inputs, (batch, length) each, and these outputs of these shapes (None: any)."""
        import onnx
        from onnx import helper, numpy_helper

        graph = helper.make_graph(
            self.nodes,
            "memedit-gate",
            [helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["batch", "length"]) for name in inputs],
            [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="memedit", ir_version=9)
        helper.set_model_props(model, {"config": json.dumps(dict(self.config), sort_keys=True)})
        return model

    def written(self, inputs: Sequence[str], output: str, made: str, width: int, path: Path) -> None:
        """Write the model whose `output`, (batch, width), is what the node `made` gives."""
        from onnx import helper

        self.nodes.append(helper.make_node("Identity", [made], [output], name=output))
        model = self.model(inputs, {output: ["batch", width]})
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model.SerializeToString(deterministic=True))


ENCODER_INPUTS = ("input_ids", "attention_mask")
VERIFIER_INPUTS = (*ENCODER_INPUTS, "token_type_ids")


def readings() -> tuple[list[str], list[tuple[str, str]]]:
    """Texts as an encoder reads them, and pairs as a verifier does: a wording of each relation, of made-up names."""
    from memedit.relations import asked_wordings, fill, relations

    names = ("Ann Lo", "Marxville", "Acme Holding", "the Third Bridge of Odo", "HW Bamford", "Freedonia", "Lamp II")
    told = [relation.statements[0] for relation in relations().values()]
    texts, pairs = [], []
    for at, (relation, wordings) in enumerate(sorted(asked_wordings().items())):
        own = relations()[relation].statements[0] if relation in relations() else told[at % len(told)]
        for turn, wording in enumerate(wordings[:: max(len(wordings) // 3, 1)][:3]):
            subject, target = names[(at + turn) % len(names)], names[(at + turn + 3) % len(names)]
            said = fill((own, told[(at + 1) % len(told)])[turn % 2], subject, target)
            question = fill(wording, subject)
            texts += [question, f"{said}."]
            pairs.append((question, f"{said} | also: {target}" if turn == 2 else said))
    return texts, pairs


def spans_of(folder: Path, graph: Graph, inputs: Sequence[str]) -> Spans:
    """How large each layer's inputs become in a graph in float32, over the `readings`. Raises ModelError where the
    folder has no tokenizer."""
    import onnxruntime
    from tokenizers import Tokenizer

    from memedit.encoders.onnx import joined

    read = Tokenizer.from_str(json.dumps(plain_tokenizer(folder)))
    texts, pairs = readings()
    given: Sequence[tuple[str, str] | tuple[str]] = pairs if len(inputs) > 2 else [(text,) for text in texts]
    sources = sorted(set(graph.inputs.values()))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(
        graph.model(inputs, dict.fromkeys(sources)).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    most: dict[str, NDArray[np.float32]] = {}
    longest = int(graph.config["max_position_embeddings"]) - FAMILIES[graph.config["model_type"]]
    for one in given:
        made = joined(read, *one, longest=min(longest, VERIFIER_TOKENS))
        ids = np.array([made.ids], np.int64)
        values = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.array([made.type_ids])}
        for name, states in zip(sources, session.run(sources, {key: values[key] for key in inputs}), strict=True):
            largest = np.abs(states.reshape(-1, states.shape[-1])).max(axis=0)
            most[name] = np.maximum(most[name], largest) if name in most else largest
    return {layer: most[source] for layer, source in graph.inputs.items()}


def export_encoder(folder: Path, out: Path, precision: Precision = "int8") -> None:
    """Write the encoder in a torch folder (BertModel, or sentence-transformers around one) to the file `out`.

    Mean pooling and normalisation are in the graph: input_ids, attention_mask (batch, length) -> embedding (batch,
    width). Raises ModelError for a folder that holds no such model or, for int8, no tokenizer.
    """
    config, weights = read_folder(folder)
    graph = Graph(weights, config, "float32")
    states = graph.body(token_types=False)
    if precision == "int8":
        graph = Graph(read_folder(folder)[1], config, precision, spans_of(folder, graph, ENCODER_INPUTS))
        states = graph.body(token_types=False)
    # The mean's divisor is not needed: the length becomes 1 afterwards.
    row = graph.add("Unsqueeze", [graph.add("Cast", ["attention_mask"], to=1), graph.constant("axis", np.array([1]))])
    summed = graph.add("Squeeze", [graph.add("MatMul", [row, states]), graph.constant("axis", np.array([1]))])
    made = graph.add("LpNormalization", [summed], axis=-1, p=2)
    graph.written(ENCODER_INPUTS, "embedding", made, int(config["hidden_size"]), out)


def export_verifier(folder: Path, out: Path, precision: Precision = "int8") -> None:
    """Write the verifier in a torch folder (BertForSequenceClassification with one label) to the file `out`.

    input_ids, attention_mask, token_type_ids (batch, length) -> logit (batch, 1). Raises ModelError.
    """
    config, weights = read_folder(folder)
    if "classifier.weight" not in weights or "pooler.dense.weight" not in weights:
        raise ModelError(f"{folder} holds no BertForSequenceClassification: it has no pooler or no classifier")
    if len(weights["classifier.weight"]) != 1:
        raise ModelError(f"the verifier in {folder} has {len(weights['classifier.weight'])} labels; one is needed")
    graph = Graph(weights, config, "float32")
    pooled = _pooled(graph)
    if precision == "int8":
        graph = Graph(read_folder(folder)[1], config, precision, spans_of(folder, graph, VERIFIER_INPUTS))
        pooled = _pooled(graph)
    head = graph.constant("classifier.weight", graph.weights["classifier.weight"].T)
    made = graph.add("Add", [graph.add("MatMul", [pooled, head]), graph.weight("classifier.bias")])
    graph.written(VERIFIER_INPUTS, "logit", made, 1, out)


def _pooled(graph: Graph) -> str:
    first = graph.add("Gather", [graph.body(token_types=True), "zero"], axis=1)
    return graph.add("Tanh", [graph.linear(first, "pooler.dense")])


# --- torch folders


def read_folder(folder: Path) -> tuple[dict[str, Any], Weights]:
    """A model folder's config and its weights in float32, without the prefix of the model's kind. Raises ModelError."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{folder} is no model folder with config.json and model.safetensors: {error}") from error
    if config.get("model_type") not in FAMILIES or config.get("hidden_act", "gelu") != "gelu":
        raise ModelError(
            f"a {config.get('model_type')} model with {config.get('hidden_act')} cannot be exported; "
            f"there are: {', '.join(FAMILIES)}, with gelu"
        )
    prefixes = ("bert.", "roberta.")
    named = {
        next((name.removeprefix(p) for p in prefixes if name.startswith(p)), name): w for name, w in weights.items()
    }
    return config, {name: w.astype(np.float32) for name, w in named.items() if w.dtype.kind == "f"}


def first_layers(folder: Path, layers: int, out: Path, seed: int = 0) -> None:
    """A verifier to train: the first `layers` layers of the model in `folder`, its pooler, and a seeded random head.

    A folder for `BertForSequenceClassification` and for sentence-transformers' `CrossEncoder`. Raises ModelError.
    """
    config, weights = read_folder(folder)
    width, rng = int(config["hidden_size"]), np.random.default_rng(seed)
    spread = float(config.get("initializer_range", 0.02))
    kept = {f"bert.{n}": w for n, w in weights.items() if not n.startswith("encoder.layer.") or layer_of(n) < layers}
    for name, shape in (("pooler.dense", (width, width)), ("classifier", (1, width))):
        key = "bert." * (name != "classifier") + name
        if f"{key}.weight" not in kept:
            kept[f"{key}.weight"] = rng.normal(0, spread, shape).astype(np.float32)
            kept[f"{key}.bias"] = np.zeros(shape[0], np.float32)
    changes = {"num_hidden_layers": layers, "architectures": ["BertForSequenceClassification"]}
    labels = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    write_folder(out, {**config, **changes, **labels}, kept)
    copy_tokenizer(folder, out)


def layer_of(name: str) -> int:
    return int(name.split(".")[2])


def write_folder(out: Path, config: Mapping[str, Any], weights: Weights) -> None:
    from safetensors.numpy import save_file

    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    contiguous = {name: np.ascontiguousarray(value) for name, value in weights.items()}
    save_file(contiguous, out / "model.safetensors", {"format": "pt"})


def copy_tokenizer(folder: Path, out: Path) -> None:
    """The tokenizer's files of one folder into another. Raises ModelError where there are none."""
    found = [folder / name for name in (TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")]
    if not found[0].is_file():
        raise ModelError(f"{folder} has no {TOKENIZER}")
    out.mkdir(parents=True, exist_ok=True)
    for path in found:
        if path.is_file():
            shutil.copyfile(path, out / path.name)


# --- the shipped folder


def ship(
    encoder: Path,
    verifier: Path,
    out: Path,
    multi_hop: Mapping[str, Any] | None = None,
    *,
    base: str = "",
    training: Mapping[str, Any] | None = None,
    encoder_tokens: int = ENCODER_TOKENS,
    verifier_tokens: int = VERIFIER_TOKENS,
) -> dict[str, Any]:
    """Write what the package ships into the folder `out`: both models, a tokenizer and `config.json`; -> the config.

    `encoder` and `verifier` are torch folders with the same tokenizer. `multi_hop` is {"weights": floats, "bias":
    float}, a linear layer on the embedding. `base` names the model that training began with, `training` is what the
    model card says of it. Raises ModelError.
    """
    tokenizer = plain_tokenizer(encoder)
    if plain_tokenizer(verifier) != tokenizer:
        raise ModelError(f"{encoder} and {verifier} have different tokenizers; they are shipped with one")
    dimension = int(read_folder(encoder)[0]["hidden_size"])
    if multi_hop is not None and len(multi_hop["weights"]) != dimension:
        raise ModelError(f"multi_hop has {len(multi_hop['weights'])} weights for an embedding of {dimension}")
    out.mkdir(parents=True, exist_ok=True)
    export_encoder(encoder, out / ENCODER)
    export_verifier(verifier, out / VERIFIER)
    (out / TOKENIZER).write_text(json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    facts: dict[str, Any] = {
        "format": FORMAT,
        "encoder": {"file": ENCODER, "sha256": checksum(out / ENCODER), "dimension": dimension},
        "verifier": {"file": VERIFIER, "sha256": checksum(out / VERIFIER)},
        "multi_hop": None if multi_hop is None else {k: multi_hop[k] for k in ("weights", "bias")},
        "made_by": "python -m memedit.training.scope",
        "base": base,
        "training": dict(training or {}),
    }
    facts["encoder"]["max_tokens"], facts["verifier"]["max_tokens"] = encoder_tokens, verifier_tokens
    (out / CONFIG).write_text(json.dumps(facts) + "\n", encoding="utf-8")
    return facts


def plain_tokenizer(folder: Path) -> dict[str, Any]:
    """A folder's tokenizer as JSON, without the padding and cutting that its owner chose. Raises ModelError."""
    try:
        read: dict[str, Any] = json.loads((folder / TOKENIZER).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} has no {TOKENIZER} that can be read: {error}") from error
    return {**read, "truncation": None, "padding": None}


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(gate: Path, out: Path) -> None:
    """A shipped folder back into torch folders, `out/encoder` and `out/verifier`, for fine-tuning.

    Weights are the shipped ones, so as near to what was trained as int8 is. `SentenceTransformer` loads the first,
    `CrossEncoder` the second. Raises ModelError where the folder is not whole.
    """
    facts = json.loads((gate / CONFIG).read_text(encoding="utf-8"))
    for part, prefix in (("encoder", ""), ("verifier", "bert.")):
        config, weights = read_graph(gate / facts[part]["file"])
        named = {("" if name.startswith("classifier.") else prefix) + name: value for name, value in weights.items()}
        write_folder(out / part, config, named)
        tokenizer_files(gate / TOKENIZER, out / part, int(config["max_position_embeddings"]))
    modules = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    pooling = {"word_embedding_dimension": facts["encoder"]["dimension"], "pooling_mode_mean_tokens": True}
    for name, content in {
        "modules.json": [
            {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for at, (path, kind) in enumerate(modules.items())
        ],
        "sentence_bert_config.json": {"max_seq_length": facts["encoder"]["max_tokens"], "do_lower_case": False},
        "1_Pooling/config.json": pooling,
    }.items():
        path = out / "encoder" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (out / "encoder" / "2_Normalize").mkdir(exist_ok=True)


def read_graph(path: Path) -> tuple[dict[str, Any], Weights]:
    """The torch config and weights of a file that this module wrote. Raises ModelError for any other."""
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    try:
        model = onnx.load(path)
    except (OSError, DecodeError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    config = next((json.loads(each.value) for each in model.metadata_props if each.key == "config"), None)
    if config is None:
        raise ModelError(f"{path} was not written by memedit.training.scope_export: it does not say its config")
    held = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    return config, dict(torch_weights(held, config))


def torch_weights(held: Mapping[str, Array], config: Mapping[str, Any]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """(name, weight) of the torch model from the graph's constants; the inverse of what `Graph` makes of them."""
    first = FAMILIES[config["model_type"]]
    for name, value in held.items():
        whole, _, kind = name.rpartition(".")
        layers = whole.split("+")
        if kind == "rows":
            table = value.astype(np.float32) * held[f"{whole}.scale"]
            if "position" in whole and first:
                table = np.concatenate([np.zeros((first, table.shape[1]), np.float32), table])
            yield whole, table
        elif kind == "columns":
            weight = (value * held[f"{whole}.scale"] * held[f"{whole}.smooth"][:, None]).T.astype(np.float32)
            for layer, part in zip(layers, np.split(weight, len(layers)), strict=True):
                yield f"{layer}.weight", part
        elif kind == "bias":
            for layer, part in zip(layers, np.split(value, len(layers)), strict=True):
                yield f"{layer}.bias", part
        elif kind == "weight":
            yield name, value.T if whole == "classifier" else value


def tokenizer_files(tokenizer: Path, out: Path, longest: int) -> None:
    """`tokenizer.json` and what transformers wants to know beside it."""
    read = json.loads(tokenizer.read_text(encoding="utf-8"))
    special = {token["content"] for token in read["added_tokens"]}
    spelled = {
        "pad": "[PAD] <pad>",
        "cls": "[CLS] <s>",
        "sep": "[SEP] </s>",
        "unk": "[UNK] <unk>",
        "mask": "[MASK] <mask>",
    }
    known = {f"{role}_token": token for role, names in spelled.items() for token in names.split() if token in special}
    shutil.copyfile(tokenizer, out / TOKENIZER)
    facts = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": longest, **known}
    (out / "tokenizer_config.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Ship or unpack; prints what was written and its size."""
    parser = argparse.ArgumentParser(prog="python -m memedit.training.scope_export", description=__doc__)
    parser.add_argument("--encoder", type=Path, help="torch folder of the encoder")
    parser.add_argument("--verifier", type=Path, help="torch folder of the verifier")
    parser.add_argument("--gate", type=Path, help="shipped folder to turn back into torch folders")
    parser.add_argument("--base", default="", help="name of the model that training began with")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    given = parser.parse_args(arguments)
    if given.gate:
        unpack(given.gate, given.out)
    elif given.encoder and given.verifier:
        ship(given.encoder, given.verifier, given.out, base=given.base)
    else:
        parser.error("give --encoder and --verifier, or --gate")
    for path in sorted(path for path in given.out.rglob("*") if path.is_file()):
        print(f"{path.stat().st_size:>12,} {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
