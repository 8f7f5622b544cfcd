"""Base models: what they are given, what they give back, piece by piece, and what they say when they cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memedit.edits import Message
from memedit.errors import InputError, ModelError, NotFoundError
from memedit.models import BaseModel, load_model
from memedit.models.hugging_face import HuggingFace, _until, load_pretrained, render_completion
from memedit.models.langchain import Langchain, from_langchain, to_langchain
from memedit.models.scripted import Scripted

WORDS = "the sky is blue and grass is green . who runs acme ? question : answer dana li new fact system user one two"
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEMPLATE


def user(text: str) -> list[Message]:
    return [Message("user", text)]


# ------------------------------------------------------------------------------------------------------------ scripted


def test_scripted_records_the_very_objects() -> None:
    model = Scripted({"hi": "hello there", "*": "what?"})
    messages = user("hi")
    assert list(model.stream(messages, temperature=0.5)) == ["hello ", "there"]
    assert model.calls[0].messages is messages
    assert model.calls[0].parameters == {"temperature": 0.5}
    assert "".join(model.stream(user("else"))) == "what?"
    assert isinstance(model, BaseModel)


async def test_scripted_asynchronously_and_by_function() -> None:
    model = Scripted(lambda messages, **parameters: f"{len(messages)} {sorted(parameters)}")
    assert "".join([piece async for piece in model.astream(user("a"), seed=1)]) == "1 ['seed']"


def test_scripted_from_a_file(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps(["one", "two"]))
    model = load_model(f"scripted:{script}")
    assert ["".join(model.stream(user("x"))) for _ in range(2)] == ["one", "two"]
    with pytest.raises(ModelError, match="holds 2 replies"):
        list(model.stream(user("x")))
    script.write_text("[1]")
    with pytest.raises(InputError, match="list of replies"):
        Scripted(script)
    script.write_text("{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        Scripted(script)
    with pytest.raises(NotFoundError, match="no script"):
        load_model(f"scripted:{tmp_path / 'absent.json'}")


def test_scripted_without_a_reply() -> None:
    with pytest.raises(ModelError, match="no reply to 'x'"):
        list(Scripted({"y": "z"}).stream(user("x")))


# -------------------------------------------------------------------------------------------------------- hugging face


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random GPT-2 and Llama models of a few thousand weights, with and without a chat template, and a tiny T5."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
        T5Config,
        T5ForConditionalGeneration,
    )

    folder = tmp_path_factory.mktemp("tiny")
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    marks = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator([WORDS], trainers.BpeTrainer(special_tokens=marks, initial_alphabet=alphabet))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|endoftext|>", bos_token="<|endoftext|>", additional_special_tokens=marks[1:]
    )
    torch.manual_seed(0)
    size = raw.get_vocab_size()
    end = tokenizer.eos_token_id
    ids = {"bos_token_id": end, "eos_token_id": end}
    made: dict[str, Any] = {
        "gpt2": GPT2LMHeadModel(GPT2Config(vocab_size=size, n_positions=128, n_embd=32, n_layer=2, n_head=2, **ids)),
        "llama": LlamaForCausalLM(
            LlamaConfig(
                vocab_size=size,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=128,
                **ids,
            )
        ),
        "t5": T5ForConditionalGeneration(
            T5Config(vocab_size=size, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
        ),
    }
    for name, model in made.items():
        if name != "t5":
            torch.nn.init.normal_(model.get_input_embeddings().weight, std=1.0)  # a random model that is not dull
        model.save_pretrained(folder / name)
        tokenizer.chat_template = TEMPLATE if name == "llama" else None
        tokenizer.save_pretrained(folder / name)
    return folder


def test_completion_rendering() -> None:
    def render(*turns: tuple[Any, str]) -> str:
        return render_completion([Message(role, text) for role, text in turns])

    assert render(("user", "Who runs Acme?")) == "Question: Who runs Acme?\nAnswer:"
    assert render(("user", "The capital of France is ")) == "The capital of France is"
    assert render(("system", "New fact: A is B."), ("user", "A is")) == "New fact: A is B.\nA is"
    conversation = (("user", "Who?"), ("assistant", " Dana Li "), ("user", "And where?"))
    assert render(*conversation) == "Question: Who?\nAnswer: Dana Li\nQuestion: And where?\nAnswer:"


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_greedy_pieces_are_what_generate_gives(tiny: Path, name: str) -> None:
    import torch

    model = load_model(f"hf:{tiny / name}")
    assert isinstance(model, HuggingFace)
    assert model.style == ("chat" if name == "llama" else "completion")
    assert model.context_tokens == 128
    prompt = model.render(user("the sky is"))
    tokens = model._encode(prompt, specials=name == "gpt2")
    with torch.inference_mode():
        out = model._model.generate(
            torch.tensor([tokens]),
            attention_mask=torch.ones(1, len(tokens), dtype=torch.long),
            pad_token_id=0,
            do_sample=False,
            max_new_tokens=12,
        )
    expected = model._tokenizer.decode(out[0, len(tokens) :], skip_special_tokens=True).lstrip()
    pieces = list(model.stream(user("the sky is"), max_new_tokens=12))
    assert len(pieces) > 1
    text = "".join(pieces)
    assert text == (expected if name == "llama" else expected.partition("\n")[0])
    assert text == "".join(model.stream(user("the sky is"), max_tokens=12))


def test_chat_template_and_a_template_without_system_role(tiny: Path) -> None:
    model = HuggingFace(str(tiny / "llama"))
    messages = [Message("system", "be brief"), Message("user", "who?")]
    assert model.render(messages) == "<|system|>be brief<|end|><|user|>who?<|end|><|assistant|>"
    model._tokenizer.chat_template = NO_SYSTEM
    assert model.render(messages) == "<|user|>be brief\n\nwho?<|end|><|assistant|>"
    with pytest.raises(ModelError, match="refuses this conversation"):
        model.render([Message("system", "alone")])
    assert {"<|user|>", "<|end|>", "<|endoftext|>"} <= set(model.special_tokens)
    assert model.count_tokens("the sky") == 2


def test_sampling_is_seeded_and_leaves_the_process_alone(tiny: Path) -> None:
    import torch

    model = HuggingFace(str(tiny / "llama"))
    sample = {"temperature": 1.5, "top_k": 50, "top_p": 0.9, "repetition_penalty": 1.1, "max_new_tokens": 10}
    state = torch.random.get_rng_state()
    first = "".join(model.stream(user("the sky is"), seed=1, **sample))
    assert first == "".join(model.stream(user("the sky is"), seed=1, **sample))
    assert first != "".join(model.stream(user("the sky is"), seed=2, **sample))
    assert torch.equal(state, torch.random.get_rng_state())


def test_parameters_are_checked(tiny: Path) -> None:
    model = HuggingFace(str(tiny / "llama"))
    with pytest.raises(InputError, match="no parameter tempreature; there are: max_new_tokens"):
        model.stream(user("x"), tempreature=1)
    with pytest.raises(InputError, match="temperature"):
        list(model.stream(user("x"), temperature=-1))
    with pytest.raises(InputError, match="top_p=7"):
        list(model.stream(user("x"), temperature=1, top_p=7))
    with pytest.raises(ModelError, match="shorten it"):
        list(model.stream(user("the sky " * 100)))
    assert len(list(model.stream(user("the sky " * 30), max_new_tokens=1000))) > 0


async def test_hugging_face_asynchronously(tiny: Path) -> None:
    model = HuggingFace(str(tiny / "llama"))
    asked = {"max_new_tokens": 8}
    pieces = [piece async for piece in model.astream(user("the sky is"), **asked)]
    assert pieces == list(model.stream(user("the sky is"), **asked))
    async for _ in model.astream(user("the sky is"), **asked):
        break  # an abandoned stream is closed without a warning


def test_models_that_cannot_be_loaded(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="no folder"):
        load_model(f"hf:{tmp_path}/absent")
    with pytest.raises(ModelError, match="check its files"):
        load_model(f"hf:{tmp_path}")
    with pytest.raises(ModelError, match="the hub can be reached"):
        load_model("hf:nobody/no-such-model")
    with pytest.raises(ModelError, match="encoder-decoder"):
        load_model(f"hf:{tiny / 't5'}")
    with pytest.raises(ModelError, match="pocket model is not in"):
        load_model(f"pocket:{tmp_path}")


@pytest.mark.parametrize("parts", [{"architectures": ["BertForMaskedLM"]}, {"architectures": None}])
def test_masked_models_are_not_asked(tmp_path: Path, parts: dict[str, Any]) -> None:
    from transformers import BertConfig, BertForMaskedLM, BertLMHeadModel, BertTokenizerFast

    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "sky", "blue"]))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    BertForMaskedLM(BertConfig(vocab_size=7, **size)).save_pretrained(tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**told, **parts}))
    with pytest.raises(ModelError, match=r"is a masked model.*\(bert\); memedit asks causal language models"):
        load_model(f"hf:{tmp_path}")
    assert type(load_pretrained(str(tmp_path), "float32", causal=False)[1]) is BertForMaskedLM
    BertLMHeadModel(BertConfig(vocab_size=7, is_decoder=True, **size)).save_pretrained(tmp_path)
    assert load_model(f"hf:{tmp_path}").count_tokens("sky blue") == 2


def test_stops_that_span_pieces() -> None:
    def until(stops: list[str], *pieces: str) -> list[str]:
        return list(_until(stops, iter(pieces)))

    assert until(["\n"], " ", "a", "b\nc", "d") == ["a", "b"]
    assert until(["END"], "a E", "N", "D b") == ["a "]
    assert until(["END"], "a E", "N", "d b") == ["a ", "ENd b"]
    assert until(["END"], "a", "E", "N") == ["a", "EN"]
    assert until([], "\n", "\nx") == ["x"]


# ----------------------------------------------------------------------------------------------------------- langchain


def test_langchain_messages_there_and_back() -> None:
    from langchain_core.messages import HumanMessage

    turns = [Message("system", "s"), Message("user", "u"), Message("assistant", "a"), Message("tool", "t")]
    assert [from_langchain(to_langchain(turn)) for turn in turns] == turns
    parts: list[str | dict[Any, Any]] = [{"type": "text", "text": "see"}, {"type": "image", "url": "http://x/y.png"}]
    seen = from_langchain(HumanMessage(parts))
    assert seen == Message("user", "see")
    assert to_langchain(seen).content == parts


async def test_langchain_model_streams_and_passes_parameters() -> None:
    from langchain_core.language_models import GenericFakeChatModel

    given: list[tuple[Any, Any]] = []

    class Recording(GenericFakeChatModel):
        def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
            given.append((messages, {"stop": stop, **kwargs}))
            return super()._stream(messages, stop=stop, run_manager=run_manager)

    model = load_model(Recording(messages=iter(["one two", "three four"])))
    assert isinstance(model, Langchain)
    assert model.style == "chat"
    assert list(model.stream(user("hi"), temperature=0.1, stop=["x"])) == ["one", " ", "two"]
    assert given[0][0][0].content == "hi"
    assert given[0][1] == {"temperature": 0.1, "stop": ["x"]}
    assert [piece async for piece in model.astream(user("hi"))] == ["three", " ", "four"]
    assert model.count_tokens("x" * 9) == 3
    with pytest.raises(ModelError, match="Recording could not be asked: "):
        list(model.stream(user("beyond the script")))


def test_langchain_completion_models_get_text() -> None:
    from langchain_core.language_models import FakeListLLM

    seen: list[str] = []

    class Recording(FakeListLLM):
        def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
            seen.append(prompt)
            return "blue"

    model = load_model(Recording(responses=["blue"]))
    assert model.style == "completion"
    assert "".join(model.stream([Message("system", "New fact: x."), Message("user", "The sky is")]))
    assert "Human" not in "".join(seen)


def test_langchain_models_that_cannot_be_loaded() -> None:
    with pytest.raises(ModelError, match="pip install langchain-groq"):
        load_model("groq:llama")
    with pytest.raises(ModelError, match="no model that can be loaded"):
        load_model("no-such-provider:x")
    with pytest.raises(ModelError, match="dict is no base model"):
        load_model({})
    with pytest.raises(NotFoundError, match=r"no model is named 'x'; there are: .*pocket"):
        load_model("x")
