"""Where things are in a model, by family: one table of dotted names, so that no method asks which model it has.

A family is transformers' `config.model_type`. `trace.py` hooks modules by these names; this file knows names only. To
add a family, add a row to `FAMILIES` and one to the test that runs over it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from memedit.errors import InputError

if TYPE_CHECKING:  # torch costs more than a second; who has a module has paid already
    from torch import Tensor
    from torch.nn import Module

Stack = Literal["encoder", "decoder"]


def weight_of(module: Module) -> Tensor:
    """The weight of a projection as (out, in): a view, so that writing it writes the module's.

    transformers' Conv1D (GPT-2) keeps (in, out), Linear (out, in). Raises InputError for any other module: a quantised
    weight, for one, cannot be written.
    """
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, Conv1D):
        return module.weight.T
    if type(module) is Linear:
        return module.weight
    raise InputError(
        f"{type(module).__name__} is no plain projection; memedit reads and writes Linear and Conv1D weights: load the "
        "model without quantisation and without adapters"
    )


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Dotted names of one stack of blocks. In the table `a|b` means: whichever of them the model has.

    Layers are numbered from 0. Raises InputError for a layer number below 0.
    """

    family: str
    """The `model_type` in the model's configuration."""
    blocks: str
    """The list of blocks, from the model."""
    attention_path: str
    """From the block: the module whose output (the first, where it is a tuple) is what attention adds."""
    attention_out_path: str
    """From the block: the attention's output projection."""
    mlp_path: str
    """From the block: the module whose output is what the MLP adds; the down projection where it has no own module."""
    mlp_in_path: str
    """From the block: the up projection (of a gated MLP, the one without the activation)."""
    mlp_out_path: str
    """From the block: the down projection, whose inputs are the neurons' activations."""
    embedding_path: str
    """From the model: the token embedding that this stack reads."""
    final_norm_path: str | None
    """From the model: the norm after the last block, where there is one."""
    head_path: str
    """From the model: the projection onto the vocabulary."""
    stack: Stack = "decoder"
    """Which stack it is."""
    causal: bool = True
    """Whether a token sees only itself and those before it."""
    fused_mlp_in: bool = False
    """Whether the rows of `mlp_in` are those of the gate followed by those of the up projection."""

    def block(self, layer: int) -> str:
        """The whole layer; its output is the residual stream after it."""
        if layer < 0:
            raise InputError(f"layers are numbered from 0, not {layer}")
        return f"{self.blocks}.{layer}"

    def attention(self, layer: int) -> str:
        """The module whose output is what attention adds at this layer."""
        return f"{self.block(layer)}.{self.attention_path}"

    def attention_out(self, layer: int) -> str:
        """The attention's output projection."""
        return f"{self.block(layer)}.{self.attention_out_path}"

    def mlp(self, layer: int) -> str:
        """The module whose output is what the MLP adds at this layer."""
        return f"{self.block(layer)}.{self.mlp_path}"

    def mlp_in(self, layer: int) -> str:
        """The up projection."""
        return f"{self.block(layer)}.{self.mlp_in_path}"

    def mlp_out(self, layer: int) -> str:
        """The down projection: input k (the neurons' activations), output v."""
        return f"{self.block(layer)}.{self.mlp_out_path}"

    def embedding(self) -> str:
        """The token embedding."""
        return self.embedding_path

    def final_norm(self) -> str | None:
        """The norm after the last block; None where there is none (BERT, BART)."""
        return self.final_norm_path

    def head(self) -> str:
        """The projection onto the vocabulary."""
        return self.head_path

    def layers(self, model: Module) -> int:
        """How many blocks the stack has."""
        return sum(1 for _ in model.get_submodule(self.blocks).children())

    def tied(self, model: Module) -> bool:
        """Whether embedding and head are one and the same weight, so that writing one writes the other."""
        modules: list[Any] = [model.get_submodule(name) for name in (self.embedding_path, self.head_path)]
        embedding, head = (module.weight for module in modules)
        return bool(embedding is head or embedding.data_ptr() == head.data_ptr())


_GPT2 = Layout(
    family="gpt2",
    blocks="transformer.h",
    attention_path="attn",
    attention_out_path="attn.c_proj",
    mlp_path="mlp",
    mlp_in_path="mlp.c_fc",
    mlp_out_path="mlp.c_proj",
    embedding_path="transformer.wte",
    final_norm_path="transformer.ln_f",
    head_path="lm_head",
)
_LLAMA = Layout(
    family="llama",
    blocks="model.layers",
    attention_path="self_attn",
    attention_out_path="self_attn.o_proj",
    mlp_path="mlp",
    mlp_in_path="mlp.up_proj",
    mlp_out_path="mlp.down_proj",
    embedding_path="model.embed_tokens",
    final_norm_path="model.norm",
    head_path="lm_head",
)
_BART = Layout(
    family="bart",
    blocks="model.encoder.layers",
    attention_path="self_attn",
    attention_out_path="self_attn.out_proj",
    mlp_path="fc2",
    mlp_in_path="fc1",
    mlp_out_path="fc2",
    embedding_path="model.encoder.embed_tokens",
    final_norm_path=None,
    head_path="lm_head",
    stack="encoder",
    causal=False,
)
_T5 = Layout(
    family="t5",
    blocks="encoder.block",
    attention_path="layer.0.SelfAttention",
    attention_out_path="layer.0.SelfAttention.o",
    mlp_path="layer.1.DenseReluDense",
    mlp_in_path="layer.1.DenseReluDense.wi|layer.1.DenseReluDense.wi_1",
    mlp_out_path="layer.1.DenseReluDense.wo",
    embedding_path="encoder.embed_tokens",
    final_norm_path="encoder.final_layer_norm",
    head_path="lm_head",
    stack="encoder",
    causal=False,
)

_ROWS = (
    _GPT2,
    replace(
        _GPT2, family="gptj", attention_out_path="attn.out_proj", mlp_in_path="mlp.fc_in", mlp_out_path="mlp.fc_out"
    ),
    Layout(
        family="gpt_neox",
        blocks="gpt_neox.layers",
        attention_path="attention",
        attention_out_path="attention.dense",
        mlp_path="mlp",
        mlp_in_path="mlp.dense_h_to_4h",
        mlp_out_path="mlp.dense_4h_to_h",
        embedding_path="gpt_neox.embed_in",
        final_norm_path="gpt_neox.final_layer_norm",
        head_path="lm_head|embed_out",
    ),
    replace(
        _BART,
        family="opt",
        blocks="model.decoder.layers",
        embedding_path="model.decoder.embed_tokens",
        final_norm_path="model.decoder.final_layer_norm",
        stack="decoder",
        causal=True,
    ),
    _LLAMA,
    *(replace(_LLAMA, family=name) for name in ("mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text")),
    replace(
        _LLAMA,
        family="phi",
        attention_out_path="self_attn.dense",
        mlp_in_path="mlp.fc1",
        mlp_out_path="mlp.fc2",
        final_norm_path="model.final_layernorm",
    ),
    replace(_LLAMA, family="phi3", mlp_in_path="mlp.gate_up_proj", fused_mlp_in=True),
    _T5,
    replace(
        _T5,
        blocks="decoder.block",
        mlp_path="layer.2.DenseReluDense",
        mlp_in_path="layer.2.DenseReluDense.wi|layer.2.DenseReluDense.wi_1",
        mlp_out_path="layer.2.DenseReluDense.wo",
        embedding_path="decoder.embed_tokens",
        final_norm_path="decoder.final_layer_norm",
        stack="decoder",
        causal=True,
    ),
    _BART,
    replace(
        _BART,
        blocks="model.decoder.layers",
        embedding_path="model.decoder.embed_tokens",
        stack="decoder",
        causal=True,
    ),
    Layout(
        family="bert",
        blocks="bert.encoder.layer",
        attention_path="attention.output.dense",
        attention_out_path="attention.output.dense",
        mlp_path="output.dense",
        mlp_in_path="intermediate.dense",
        mlp_out_path="output.dense",
        embedding_path="bert.embeddings.word_embeddings",
        final_norm_path=None,
        head_path="cls.predictions.decoder",
        stack="encoder",
        causal=False,
    ),
)

FAMILIES: dict[str, dict[Stack, Layout]] = {}
"""Family -> stack -> layout. Of an encoder-decoder the encoder stands first: it is where a prompt's subject is read."""
for _row in _ROWS:
    FAMILIES.setdefault(_row.family, {})[_row.stack] = _row


def layout_of(model: Module, stack: Stack | None = None) -> Layout:
    """The layout of a model with a head; `stack` chooses in an encoder-decoder, whose encoder is taken unless said.

    Raises InputError for a family that the table lacks (it says how to add it), for a stack that the family lacks, and
    for a model whose modules are not named as its family's.
    """
    config: Any = getattr(model, "config", None)
    family = str(getattr(config, "model_type", type(model).__name__))
    stacks = FAMILIES.get(family)
    if stacks is None:
        parts = ", ".join(field.name for field in fields(Layout) if field.name.endswith("_path"))
        raise InputError(
            f"no layout is known for models of type {family!r} ({type(model).__name__}); there are: "
            f"{', '.join(FAMILIES)}. To add it, set FAMILIES[{family!r}] in memedit/weights/layout.py to "
            f'{{"decoder": Layout(family={family!r}, blocks=…, …)}} with the dotted names of: blocks, {parts} '
            "(print the model to see them)"
        )
    layout = stacks.get(stack) if stack else next(iter(stacks.values()))
    if layout is None:
        raise InputError(f"models of type {family!r} have no {stack}; there is: {', '.join(stacks)}")
    return _settled(layout, model)


def _settled(layout: Layout, model: Module) -> Layout:
    """The layout with each `a|b` decided by what the model has. Raises InputError where it has none of them."""
    chosen: dict[str, str] = {}
    for name, given, before in _paths(layout):
        found = next((path for path in given.split("|") if _has(model, before + path)), None)
        if found is None:
            raise InputError(
                f"a {layout.family} model is expected to have the module {before + given}, and this "
                f"{type(model).__name__} has not; load it with its head, unwrapped, or correct its row in "
                "memedit/weights/layout.py"
            )
        chosen[name] = found
    return replace(layout, **chosen)  # type: ignore[arg-type]  # every chosen field is a str


def _paths(layout: Layout) -> Iterator[tuple[str, str, str]]:
    """(field, its path or paths, what stands before them)."""
    yield "blocks", layout.blocks, ""
    for name in ("attention_path", "attention_out_path", "mlp_path", "mlp_in_path", "mlp_out_path"):
        yield name, getattr(layout, name), f"{layout.blocks}.0."
    for name in ("embedding_path", "final_norm_path", "head_path"):
        if (path := getattr(layout, name)) is not None:
            yield name, path, ""


def _has(model: Module, path: str) -> bool:
    try:
        model.get_submodule(path)
    except AttributeError:
        return False
    return True
