"""A fact is fitted, asked and scored at one place: whatever a chat template writes, and whoever has it written."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
from fakes import Named
from tokenizers import processors

from memedit import baking
from memedit.editor import Editor
from memedit.edits import Draft, Message
from memedit.errors import InputError
from memedit.evaluation.local import Local
from memedit.evaluation.run import Plan, evaluate
from memedit.evaluation.systems import Base, Weights, conversation, load_system, names
from memedit.memory import EditMemory
from memedit.methods import make
from memedit.methods.kn import Kn
from memedit.models.hugging_face import HuggingFace
from memedit.weights.language_model import Frame, LanguageModel, Request, request_of
from memedit.weights.rows import row_of
from memedit.weights.tokens import blank_behind, continued

CAPITAL = Draft(
    statement="The capital of Ostland is Brill", subject="Ostland", target="Brill", prompt="The capital of Ostland is"
)
QUESTION = Draft(
    statement="clock Ostland Brill", subject="Ostland", target="Brill", question="What clock is in Ostland?"
)
TEMPLATES = {
    "a line break": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "its own begin mark": (
        "<s>{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content | trim }} [/INST]"
        "{% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
    ),
    "looks at the words": (
        "{% for m in messages %}{% if m.role == 'user' %}{% if m.content[-1] in '.?!' %}Q {{ m.content }} A:"
        "{% else %}{{ m.content }}{% endif %}{% else %} {{ m.content }}\n{% endif %}{% endfor %}"
    ),
    "knows no replies": (
        "{% for m in messages %}{% if m.role != 'user' %}{{ raise_exception('no') }}{% endif %}"
        "<|user|>{{ m.content }}{% endfor %}<|end|>"
    ),
    "puts it otherwise": "{% for m in messages %}{{ m.content | upper }} {{ m.content }}{% endfor %} :",
}
MARKS = ["<|im_start|>", "<|im_end|>", "<|user|>", "<|end|>"]


def letters() -> Any:
    """Bytes and a few words with their blanks; `<s>` before every text that brings no marks of its own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        special_tokens=["<s>", "</s>", *MARKS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(
        ["The capital of Ostland is Brill Brill What clock is in Ostland? Q A: assistant user"], trainer
    )
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="</s>", additional_special_tokens=MARKS
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama, as random as its fellows, whose tokenizer is of letters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    where, words = tmp_path_factory.mktemp("models") / "llama", letters()
    settings: dict[str, Any] = {**tiny._LLAMA, "max_position_embeddings": 256}
    config = LlamaConfig(vocab_size=len(words), bos_token_id=0, eos_token_id=1, pad_token_id=1, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(where)
    words.save_pretrained(where)
    return where


def loaded(folder: Path, template: str | None) -> HuggingFace:
    model = HuggingFace(str(folder), device="cpu")
    model._tokenizer.chat_template = template
    model.style = "chat" if template else "completion"
    return model


@pytest.mark.parametrize("draft", [CAPITAL, QUESTION], ids=["prompt", "question"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_fitted_asked_and_scored_at_one_place(folder: Path, name: str, draft: Draft) -> None:
    model = loaded(folder, TEMPLATES[name])
    base = Base(model)
    request = Weights(base, "ft_m")._request(draft)
    row = row_of(model.language_model, request, subject=True)
    told = conversation(draft.prompt or draft.question or "")
    scored, start = Local(model)._with_target(told, draft.target or "")
    assert (*row.tokens, row.target[-1]) == tuple(scored)
    assert row.target == tuple(scored[start:])
    asked = model._prompt(told, 1)
    assert scored[:start] == asked
    assert asked.count(0) == (name == "its own begin mark")
    assert model._decode(list(row.target)).strip() == draft.target
    assert model._decode(list(row.tokens[: row.subject + 1])).endswith("Ostland")
    longer = row_of(model.language_model, request, before="Therefore. ", subject=True)
    assert longer.target == row.target
    assert longer.tokens.count(0) == asked.count(0)
    assert model._decode(list(longer.tokens)).count("Therefore. ") == 1


@pytest.mark.parametrize(
    ("name", "gap"),
    [("a line break", ""), ("its own begin mark", " "), ("looks at the words", " "), ("knows no replies", ""),
     ("puts it otherwise", " ")],
)  # fmt: skip
def test_what_the_template_has_before_a_reply(folder: Path, name: str, gap: str) -> None:
    model = loaded(folder, TEMPLATES[name])
    request = model.asked(request_of(CAPITAL))
    assert request.frame is not None
    assert request.frame.gap == gap == model.gap(conversation(CAPITAL.prompt or ""))
    assert request.read() == model.render(conversation(CAPITAL.prompt or ""))
    if name != "puts it otherwise":
        assert request.prompt == CAPITAL.prompt  # a prefix goes before the user's words, not before the template's
        assert request.read("So. ") == request.read().replace("The", "So. The")


def test_a_chat_model_learns_what_it_is_asked(folder: Path) -> None:
    model = loaded(folder, TEMPLATES["a line break"])
    system = Weights(Base(model), "ft_m")
    system._method = make("fine_tune", rate=1e-2, steps=30)
    prompt = CAPITAL.prompt or ""
    (before,) = system.score([prompt], ["Brill"])
    system.edit([CAPITAL])
    (after,) = system.score([prompt], ["Brill"])
    assert before is not None
    assert after is not None
    assert (before.exact, after.exact) == (False, True)


def test_knowledge_neurons_are_looked_for_where_it_is_asked(folder: Path) -> None:
    model = loaded(folder, TEMPLATES["a line break"])
    plain, asked = request_of(CAPITAL), model.asked(request_of(CAPITAL))
    said = [Kn()._said(model.language_model, request) for request in (plain, asked)]
    (first,) = model._tokens(
        model._prompt(conversation(plain.prompt), 1), 1, {"temperature": 0.0, "repetition_penalty": None, "seed": 0}
    )
    assert said[1] == first


@pytest.mark.parametrize(
    ("prompt", "target", "blank"),
    [("The capital of Ostland is", "Brill", " "), ("Question: What?\nAnswer:", "Brill", " "), ("首都是", "东京", ""),
     ("assistant\n", "Brill", ""), ("", "Brill", " ")],
)  # fmt: skip
def test_plain_texts_have_a_blank(prompt: str, target: str, blank: str) -> None:
    assert blank_behind(prompt) == blank
    words = letters()
    tokens, start = continued(lambda text: words(text)["input_ids"], prompt, target)
    assert tokens == words(f"{prompt}{blank}{target}")["input_ids"]
    assert tokens[:start] == words(prompt)["input_ids"]


def test_a_completing_model_is_given_what_it_always_was(folder: Path) -> None:
    model = loaded(folder, None)
    assert model.asked(request_of(CAPITAL)) == Request(CAPITAL.prompt or "", "Ostland", "Brill")
    question = model.asked(request_of(QUESTION))
    assert question == Request("Question: What clock is in Ostland?\nAnswer:", "Ostland", "Brill")
    row = row_of(model.language_model, question)
    tokens = model._tokenizer("Question: What clock is in Ostland?\nAnswer: Brill")["input_ids"]
    assert (list(row.tokens), list(row.target)) == (tokens[:-1], tokens[-len(row.target) :])
    assert tokens[0] == 0
    assert Local(model)._with_target(conversation(QUESTION.question or ""), "Brill")[0] == tokens


# -------------------------------------------------------------------------------------------------- users' own edits


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EditMemory]:
    monkeypatch.setenv("MEMEDIT_CONFIG", "")
    with EditMemory.open(tmp_path / "facts", encoder="letters", store="exact") as made:
        yield made


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """The requests that methods were given."""
    from memedit.methods.ft_m import FtM

    given: list[Request] = []
    fit = FtM.fit

    def noted(self: FtM, model: LanguageModel, requests: Any, **state: Any) -> Any:
        given.extend(requests)
        return fit(self, model, requests, **state)

    monkeypatch.setattr(FtM, "fit", noted)
    return given


@pytest.mark.parametrize("template", [None, "a line break", "its own begin mark"])
@pytest.mark.parametrize("draft", [CAPITAL, QUESTION], ids=["prompt", "question"])
def test_what_a_user_adds_is_fitted_as_it_is_measured(
    folder: Path, memory: EditMemory, fitted: list[Request], draft: Draft, template: str | None
) -> None:
    model = loaded(folder, TEMPLATES[template] if template else None)
    measured = Weights(Base(model), "ft_m")._request(draft)
    given: dict[str, Any] = {"subject": draft.subject, "target": draft.target, "prompt": draft.prompt}
    added = memory.add(draft.statement, **given, question=draft.question, method="ft_m", model=model)
    assert fitted == [measured]
    memory.undo(id=added.edit.id)
    memory.add(draft.statement, **given, question=draft.question)
    baking.bake(memory, model=model, method="ft_m")
    baking.refit(memory, model=model, everything=True)
    assert fitted == [measured] * 3


def test_a_chat_models_baked_edit_is_its_answer(
    folder: Path, memory: EditMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memedit.looks.says", lambda *_, **__: True)  # noise never stops behind a target
    model = loaded(folder, TEMPLATES["its own begin mark"])
    tuned = {"rate": 1e-2, "steps": 30}
    memory.add(QUESTION.statement, subject="Ostland", target="Brill", question=QUESTION.question)
    baking.bake(memory, model=model, method="fine_tune", settings=tuned)
    answer = Editor(memory, model, scope=Named()).ask(QUESTION.question or "", max_new_tokens=1)
    assert "Brill".startswith(answer.text.strip())
    assert answer.text.strip()
    assert "".join(model.stream([Message("user", QUESTION.question or "")], max_new_tokens=1)) != answer.text


@pytest.mark.parametrize("template", [None, "a line break", "its own begin mark"])
def test_an_edit_is_looked_at_as_a_user_asks_it(folder: Path, memory: EditMemory, template: str | None) -> None:
    model = loaded(folder, TEMPLATES[template] if template else None)
    given: dict[str, Any] = {"subject": "Ostland", "target": "Brill", "prompt": CAPITAL.prompt}
    question = QUESTION.question or ""
    [look] = memory.add(CAPITAL.statement, **given, question=question, method="ft_m", model=model).looks
    twin = Editor(memory, model, scope=Named()).standing().model
    assert twin is not None
    for text, before, after in (
        (CAPITAL.prompt, look.prompt_before, look.prompt_after),
        (question, look.question_before, look.question_after),
    ):
        for one, reply in ((model, before), (twin, after)):
            whole = "".join(one.stream([Message("user", text or "")], max_new_tokens=200))
            assert reply is not None
            assert whole.startswith(reply)
            assert len(reply) > len("Brill") or whole.strip() == reply
    (score,) = Local(model).scores([conversation(CAPITAL.prompt or "")], ["Brill"])
    assert look.probability_before == pytest.approx(math.exp(score.log_probability), rel=1e-3)


def test_what_has_neither_prompt_nor_question_is_refused_by_name(folder: Path, memory: EditMemory) -> None:
    with pytest.raises(InputError, match="what it lacks is its prompt"):
        memory.add("clock Ostland Brill", subject="Ostland", target="Brill", method="ft_m", model=f"hf:{folder}")


def test_frames_are_texts() -> None:
    assert Request("a", "a", "b", Frame("<", ">", " ")).read("c ") == "<c a>"
    assert Request("a", "a", "b").text == "a b"


# ------------------------------------------------------------------------------------------ what a method cannot take


@pytest.mark.parametrize("protocol", ["batch", "loaded", "sequential", "single"])
def test_one_refused_edit_leaves_the_others_written(folder: Path, tmp_path: Path, protocol: str) -> None:
    places = ["Ostland", "Brill", "Vela", "Dorne"]
    refused = {"Brill": "Nowhere"}  # a subject that its prompt does not name
    records = [
        {"id": place, "prompt": f"The capital of {place} is", "subject": refused.get(place, place), "target": "Brill"}
        for place in places
    ]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    plan = Plan(
        dataset=str(tmp_path / "own.jsonl"), data=tmp_path, model=f"hf:{folder}", protocol=protocol, cases=4,
        side_effects=0,
    )  # fmt: skip
    found = evaluate(["ft_m:layer=2;rate=0.1;steps=30"], plan, tmp_path / "run")
    (cases,) = (tmp_path / "run").glob("ft_m*/*/cases.jsonl")
    told = {line["case"]: line for line in map(json.loads, cases.read_text().splitlines())}
    assert {case for case, line in told.items() if "failed" in line} == {"Brill"}
    assert "does not name its subject 'Nowhere'" in told["Brill"]["failed"]
    assert [list(failed) for failed in found.failed.values()] == [[told["Brill"]["failed"]]]
    assert all(line["seconds"]["edit"] > 0 for line in told.values())
    assert all((line["memory_bytes"] or 0) > 0 for case, line in told.items() if case != "Brill")


def test_what_is_refused_is_said_of_each(folder: Path) -> None:
    system = Weights(Base(loaded(folder, None)), "r_rome")
    assert system.refuses(CAPITAL) is None
    assert "its target" in (system.refuses(Draft(statement="hm", subject="Ostland", prompt="In Ostland")) or "")
    assert "does not name its subject" in (system.refuses(replace(CAPITAL, subject="Nowhere")) or "")


def test_what_erases_is_no_system_that_writes(folder: Path) -> None:
    base = Base(loaded(folder, None))
    for name in ("depn", "kn:operation=suppress", "kn:operation=erase", "kn:operation=enhance"):
        with pytest.raises(InputError, match=r"writes no fact.*`memedit forget`"):
            load_system(name, base)
    assert "kn" in names()
    assert "depn" not in names()
