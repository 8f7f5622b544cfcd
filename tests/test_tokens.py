"""The subject's tokens, with every kind of tokenizer; and requests and models as methods take them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizer, PreTrainedTokenizerFast

from memedit.edits import Draft
from memedit.errors import InputError, ModelError
from memedit.weights.language_model import LanguageModel, Request, load, request_of
from memedit.weights.tokens import subject_span

TEXT = "the river of ostland runs through aberport and the city of new ivory coast zoë müller 東京 plays"


def byte_level(**settings: Any) -> PreTrainedTokenizerFast:
    """As GPT-2's: blanks are part of the token behind them, other letters fall into bytes."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator([TEXT] * 3, trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet))
    return PreTrainedTokenizerFast(tokenizer_object=raw, **settings)


def sentence_piece() -> PreTrainedTokenizerFast:
    """As Llama's: a begin mark, blanks as ▁, letters that it does not know as bytes."""
    raw = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=90, special_tokens=["<unk>", "<s>"])
    raw.train_from_iterator([TEXT.replace("東京", "")] * 3, trainer)
    made = json.loads(raw.to_str())  # a trainer knows bytes as special tokens only
    made["model"]["vocab"] |= {f"<0x{byte:02X}>": raw.get_vocab_size() + byte for byte in range(256)}
    raw = Tokenizer.from_str(json.dumps(made))
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", unk_token="<unk>")


def word_piece() -> PreTrainedTokenizerFast:
    """As BERT's: lower case, without accents, marks at both ends."""
    raw = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=True)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=90, special_tokens=["[UNK]", "[CLS]", "[SEP]"])
    raw.train_from_iterator([TEXT] * 3, trainer)
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    raw.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")


class Slow(PreTrainedTokenizer):
    """In plain Python, so it cannot say which characters its tokens cover: pieces of three bytes, lower case."""

    def __init__(self, **settings: Any) -> None:
        self._ids: dict[str, int] = {"<s>": 0}
        super().__init__(bos_token="<s>", **settings)

    @property
    def vocab_size(self) -> int:
        return len(self._ids)

    def get_vocab(self) -> dict[str, int]:
        return dict(self._ids)

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        raw = text.lower().encode()
        return [raw[at : at + 3].hex() for at in range(0, len(raw), 3)]

    def _convert_token_to_id(self, token: str) -> int:
        return self._ids.setdefault(token, len(self._ids))

    def _convert_id_to_token(self, index: int) -> str:
        return next(token for token, known in self._ids.items() if known == index)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return bytes.fromhex("".join(token for token in tokens if token != "<s>")).decode(errors="replace")

    def build_inputs_with_special_tokens(self, first: list[int], second: list[int] | None = None) -> list[int]:
        return [0, *first]


MADE = {"byte_level": byte_level(), "sentence_piece": sentence_piece(), "word_piece": word_piece(), "slow": Slow()}


@pytest.fixture(params=MADE)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return MADE[request.param]


def covered(tokenizer: Any, prompt: str, span: tuple[int, int]) -> str:
    """What the tokens of a span say, blanks and case apart."""
    text: str = tokenizer.decode(tokenizer(prompt)["input_ids"][slice(*span)], skip_special_tokens=True)
    return text.lower().replace(" ", "")


@pytest.mark.parametrize(
    ("prompt", "subject"),
    [
        ("The city of New Ivory Coast is", "New Ivory Coast"),
        ("Ostland runs through", "Ostland"),
        ("the river of ostland", "ostland"),
        ("through Aberport, and", " Aberport "),
        ("the team Zoë Müller plays in", "Zoë Müller"),
        ("the city of 東京 plays", "東京"),
        ("Is it true that  Ostland  runs", "Ostland"),
        ("Qxz (Wvk-9) runs", "Wvk-9"),
    ],
)
def test_the_subject_is_covered_and_hardly_more(tokenizer: Any, prompt: str, subject: str) -> None:
    start, end = subject_span(tokenizer, prompt, subject)
    tokens = tokenizer(prompt)["input_ids"]
    assert 0 <= start < end <= len(tokens)
    wanted = subject.strip().lower().replace(" ", "")
    if tokenizer is MADE["word_piece"]:  # which writes no accents, and one [UNK] for what it cannot spell
        offsets = tokenizer(prompt, return_offsets_mapping=True)["offset_mapping"]
        assert prompt[offsets[start][0] : offsets[end - 1][1]] == subject.strip()
        return
    said = covered(tokenizer, prompt, (start, end))
    assert wanted in said
    # Each token at the ends is needed: without it a part of the subject is lost.
    assert wanted not in covered(tokenizer, prompt, (start + 1, end))
    assert wanted not in covered(tokenizer, prompt, (start, end - 1))


def test_the_last_occurrence_unless_another_is_asked_for(tokenizer: Any) -> None:
    prompt = "Ostland runs. the river of Ostland and the Ostlander in ostland"
    first, second = (subject_span(tokenizer, prompt, "Ostland", occurrence=number) for number in (0, 1))
    assert first < second
    if tokenizer is not MADE["slow"]:  # whose text is all lower case
        assert subject_span(tokenizer, prompt, "Ostland") == second
        with pytest.raises(InputError, match=r"stands 2 times .* no occurrence 2"):
            subject_span(tokenizer, prompt, "Ostland", occurrence=2)


def test_a_word_is_not_looked_for_within_another(tokenizer: Any) -> None:
    prompt = "the and an"
    start, _ = subject_span(tokenizer, prompt, "an", occurrence=0)
    assert start == subject_span(tokenizer, prompt, "an")[0]


@pytest.mark.parametrize("subject", ["Westland", "", "  ", "river Ostland"])
def test_what_is_not_there_is_refused(tokenizer: Any, subject: str) -> None:
    with pytest.raises(InputError, match="does not stand in the prompt"):
        subject_span(tokenizer, "the river of Ostland", subject)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_moves_the_span_where_it_is_on_the_left(side: str) -> None:
    tokenizer = byte_level(padding_side=side, pad_token="!")
    prompts = ["the river of New Ivory Coast runs through aberport", "Ostland runs"]
    batch = tokenizer(prompts, padding=True)["input_ids"]
    alone = tokenizer(prompts[1])["input_ids"]
    span = subject_span(tokenizer, prompts[1], "Ostland")
    start, end = subject_span(tokenizer, prompts[1], "Ostland", padded_to=len(batch[1]))
    assert batch[1][start:end] == alone[slice(*span)]
    assert (start, end) == span or side == "left"


@settings(max_examples=60)
@given(st.text("abët 東y", max_size=12), st.text("abët東y", min_size=1, max_size=6), st.text(" .bë", max_size=6))
def test_whatever_stands_around_it(before: str, subject: str, after: str) -> None:
    tokenizer = MADE["byte_level"]
    prompt = f"{before} {subject} {after}"
    start, end = subject_span(tokenizer, prompt, subject)
    assert subject in tokenizer.decode(tokenizer(prompt)["input_ids"][start:end])


# ------------------------------------------------------------------------------------------------- requests and models


def test_requests_are_parsed_or_refused_by_name() -> None:
    assert request_of(Draft(statement="The capital of Ostland is Brill")) == Request(
        "The capital of Ostland is", "Ostland", "Brill"
    )
    said = Draft(statement="Ostland hums Brill", subject="Ostland", target="Brill", prompt="Ostland hums ")
    assert request_of(said).text == "Ostland hums Brill"
    within = Draft(
        statement="See the Old Mill in Brill", subject="The Old Mill", target="Brill", prompt="See the Old Mill in"
    )
    assert request_of(within).subject == "the Old Mill"
    with pytest.raises(InputError, match=r"lacks is its subject, target, prompt; .*--subject, --target"):
        request_of(Draft(statement="Be nice"))
    with pytest.raises(InputError, match="does not name its subject 'Ostland'"):
        request_of(Draft(statement="It hums Brill", subject="Ostland", target="Brill", prompt="It hums"))


def test_the_hash_is_of_the_weights_and_follows_them() -> None:
    held, same, other = tiny.build("gpt2"), tiny.build("gpt2"), tiny.build("gpt2", seed=1)
    first = held.hash
    assert len(first) == 64
    assert first == same.hash == LanguageModel(held.model, held.tokenizer).hash
    assert first != other.hash
    assert tiny.build("gpt2", torch.bfloat16).hash != first
    weight = held.model.transformer.h[1].mlp.c_proj.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight[3, 2] += 1
    assert held.hash != first
    with torch.no_grad():
        weight.copy_(kept)
    assert held.hash == first
    weight.data[3, 2] += 1  # counted by no version
    assert held.hash != first
    weight.data = kept
    assert held.hash == first


def test_a_hash_reads_again_only_what_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    from memedit.weights import language_model

    held = tiny.build("llama")
    before = held.hash
    read = []
    plain = language_model._bytes
    monkeypatch.setattr(language_model, "_bytes", lambda weight: read.append(weight) or plain(weight))
    assert held.hash == before
    assert not read
    weight = held.model.model.layers[0].mlp.down_proj.weight
    with torch.no_grad():
        weight.mul_(2)
    assert held.hash != before
    assert read == [weight]


def test_models_are_loaded_for_their_weights(tmp_path: Path) -> None:
    for family in ("gpt2", "t5", "bert"):
        held = tiny.shared(family)
        held.model.save_pretrained(tmp_path / family)
        held.tokenizer.save_pretrained(tmp_path / family)
        again = load(f"hf:{tmp_path / family}")
        assert type(again.model) is type(held.model)
        assert again.device == next(again.model.parameters()).device
        assert not again.model.training
        if again.device.type == "cpu":
            assert again.hash == held.hash
    assert load(f"hf:{tmp_path / 'gpt2'}", dtype="bfloat16").model.dtype == torch.bfloat16
    for spec in ("scripted:x", "openai:gpt", "hf:", "nothing"):
        with pytest.raises(InputError, match="say pocket, or hf:NAME_OR_PATH"):
            load(spec)
    with pytest.raises(InputError, match="no dtype is named 'int8'"):
        load("pocket", dtype="int8")
    with pytest.raises(ModelError, match="no folder"):
        load(f"hf:{tmp_path / 'absent'}")
