"""The pocket model's text and trainer, on a handful of facts made up here."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from memedit.relations import fill
from memedit.training.pocket import (
    CHAT_TEMPLATE,
    Recipe,
    Trainer,
    average,
    batches,
    export,
    generate,
    rate_factor,
    share_right,
    step_loss,
)
from memedit.training.pocket_card import Trial, right, write_card
from memedit.training.pocket_text import (
    Document,
    Fact,
    Facts,
    FreeWording,
    Writer,
    read_facts,
    slot_name,
    wordings,
)

TINY = Recipe(
    layers=1, width=32, heads=2, positions=192, vocabulary=420, tokens_per_batch=256, margin=0.0, retain_margin=0.0
)
COUNTS = {"update": 6, "retain": 4, "given": 4, "aside": 4}
ASKED = (
    Fact("Freedonia", "Sylvania City", "capital", prompts=("Freedonia's seat is",)),
    Fact("Lagado", "Balnibarbi", "country"),
    Fact("Glubb Labs", "Dana Li", "chief_executive", questions=("Who heads Glubb Labs?",)),
    Fact("Glubb Motors", "Omar Stone", "chief_executive"),
    Fact("Ann Bo", "oboe", "instrument"),
    Fact("The Long Tea", "Ida Reed", "author"),
    Fact("X-9", "unsaid", None, questions=("What is it about X-9?",)),
)
POOL = (Fact("Poole", "Trieste", "twin_city"), Fact("Ed Poole", "tuba", "instrument"))
FACTS = Facts(ASKED, POOL)


@pytest.fixture
def writer() -> Writer:
    return Writer(FACTS, seed=3, sentences=["A sentence from elsewhere."])


def test_the_same_seed_writes_the_same_text() -> None:
    assert Writer(FACTS, seed=1).epoch(COUNTS) == Writer(FACTS, seed=1).epoch(COUNTS)
    assert Writer(FACTS, seed=1).epoch(COUNTS) != Writer(FACTS, seed=2).epoch(COUNTS)


def test_every_fact_is_told_once_in_an_epoch(writer: Writer) -> None:
    epoch = writer.epoch(COUNTS)
    kinds = [document.kind for document in epoch]
    assert kinds.count("fact") == len(ASKED) + len(POOL)
    assert {kind: kinds.count(kind) for kind in COUNTS} == COUNTS
    for fact in ASKED:
        told = [d for d in epoch if d.kind == "fact" and fact.subject in d.prompt + d.answer]
        assert told, fact


def test_an_update_says_its_answer_and_is_about_no_evaluated_subject(writer: Writer) -> None:
    evaluated = {slot_name(fact.subject) for fact in ASKED}
    for _ in range(200):
        document = writer.update()
        assert "New fact: " in document.prompt
        assert document.answer.strip().rstrip(".") in document.prompt
        assert slot_name(writer._changed().subject) not in evaluated


def test_a_freely_worded_update_is_about_no_evaluated_subject_and_says_its_answer() -> None:
    free = (
        FreeWording(("Which oboe-like thing does {subject} blow?", "{subject} blows what?"), "instrument"),
        FreeWording(("What is it that {subject} hums?",), None),
    )
    writer = Writer(Facts(ASKED, POOL, free=free), seed=5, sentences=["A sentence from elsewhere, of some length."])
    evaluated = {slot_name(fact.subject) for fact in ASKED}
    contradicted = set()
    for _ in range(200):
        new, sentence, asked = writer.freely()
        assert slot_name(new.subject) not in evaluated
        assert all(new.subject in text for text in (sentence, asked))
        assert "{" not in sentence + asked
        assert sentence.rstrip(".").endswith(new.target.rstrip("."))
        contradicted |= {new.subject} & {fact.subject for fact in POOL}
        document = writer._free_update()
        assert document.answer.strip() in document.prompt
    assert contradicted == {"Poole", "Ed Poole"}


def test_what_is_retained_is_what_was_memorised(writer: Writer) -> None:
    known = {fact.target for fact in (*ASKED, *POOL)}
    for _ in range(100):
        document = writer.retain()
        assert document.answer.strip().rstrip(".") in known
        assert document.prompt.startswith("New fact: ")


def test_given_documents_answer_from_the_statement_alone(writer: Writer) -> None:
    answers = []
    for _ in range(300):
        document = writer.given()
        answer = document.answer.strip()
        answers.append(answer)
        assert document.prompt.startswith("Given only: ")
        assert document.prompt.endswith("\nAnswer:")
        assert answer in ("yes", "no", "unknown") or answer in document.prompt
    assert {"yes", "no", "unknown"} <= set(answers)


def test_held_out_wordings_are_never_written(writer: Writer) -> None:
    for name in ("capital", "chief_executive", "instrument"):
        words = wordings(name)
        assert words.held_out_question not in words.questions
        assert words.held_out_statement not in words.statements + words.loose
        assert len(words.questions) + len(words.statements) >= 5
    fact = ASKED[0]
    hidden = fill(wordings("capital").held_out_question, fact.subject)
    assert not any(hidden in writer.fact(fact).prompt for _ in range(300))


def _write(data: Path, name: str, rows: object) -> None:
    path = data / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows), encoding="utf-8")


def test_facts_are_read_from_the_datasets_forms(tmp_path: Path) -> None:
    def case(subject: str, prompt: str, truth: str) -> dict[str, str]:
        row = {"subject": subject, "prompt": prompt, "ground_truth": truth, "target_new": "other"}
        return row | {"rephrase_prompt": f"Say of {subject}:"}

    _write(tmp_path, "counterfact/edit.json", [
        case("Ann Bo", "Ann Bo plays the instrument", "oboe"), case("Ann Bo", "Ann Bo plays the", "tuba"),
        case("Ed Wu", "The mother tongue of Ed Wu is", "Dutch"),
    ])  # fmt: skip
    _write(tmp_path, "counterfact/train.json", [
        case("Ann Bo", "The mother tongue of Ann Bo is", "French"),
        case("Pia Low", "The mother tongue of Pia Low is", "Dutch"), case("Q", "Q hums", "tunes"),
    ])  # fmt: skip
    triple = {"triple": ["Oz", "capital", "Emerald City"], "triple_ids": ["Q1", "P36", "Q2"], "answer": "Emerald City"}
    _write(tmp_path, "mquake/single_hop_facts.json", [triple | {"question": "Oz's seat?", "cloze": "Oz is led from"}])
    _write(tmp_path, "mquake/cf-3k.json", [{"requested_rewrite": [{"subject": "Oz"}]}])
    zsre = {"subject": "Bel", "prompt": "Who was Bel's mother?", "rephrase_prompt": "Bel's mother was who?"}
    zsre |= {"target_new": "Ida Bel", "portability": {}, "locality": {}}
    _write(tmp_path, "knowedit/zsre.json", [zsre | {"ground_truth": ["Rana Bel"]}])
    for name in ("zsre/train", "zsre/portability", "knowedit/wiki_counterfact", "knowedit/wiki_recent"):
        _write(tmp_path, f"{name}.json", [])
    _write(tmp_path, "hallueditbench/questions.json", [])
    _write(tmp_path, "rome/known_facts.json", [])
    facts = read_facts(tmp_path)
    told = {(fact.subject, fact.relation, fact.target) for fact in facts.asked}
    assert told == {
        ("Oz", "capital", "Emerald City"),
        ("Ann Bo", "instrument", "oboe"),  # the tuba would clash with it
        ("Ed Wu", "native_language", "Dutch"),
        ("Bel", "mother", "Rana Bel"),
    }
    assert [fact.subject for fact in facts.pool] == ["Pia Low"]  # Ann Bo is asked about elsewhere, Q hums unknowably
    assert {new.subject for new in facts.reworded} == {"Pia Low", "Q"}
    assert slot_name("The  Ann BO.") == "ann bo"
    assert facts.free == (FreeWording(("Who was {subject}'s mother?", "{subject}'s mother was who?"), "mother"),)
    few = read_facts(tmp_path, cases=1)
    assert ([fact.subject for fact in few.asked], few.pool, few.reworded) == (["Ann Bo"], (), ())


def test_answers_always_count_and_rows_are_cut_as_they_are_asked(tmp_path: Path) -> None:
    trainer = Trainer(FACTS, [], tmp_path, TINY, tokens=1, counts=COUNTS)
    tokenizer = trainer.tokenizer
    document = Document("update", "New fact: Oz is Ox.\nQuestion: What is Oz?\nAnswer:", " Ox")
    (batch,) = batches([document], tokenizer, TINY, random.Random(0))
    answer = tokenizer(" Ox")["input_ids"]
    row = batch.tokens[0].tolist()
    assert row[-1] == tokenizer.eos_token_id
    assert row[-1 - len(answer) : -1] == answer
    assert batch.counted[0, -1 - len(answer) :].all()
    assert not batch.counted[0].all()


def test_a_margin_asks_more_of_answers_behind_new_facts_and_of_nothing_else(tmp_path: Path) -> None:
    trainer = Trainer(FACTS, [], tmp_path, TINY, tokens=1, counts=COUNTS)
    recipe = replace(TINY, margin=3.0, retain_margin=1.0, fact_margin=-2.0)
    for kind, margin in (("update", 3.0), ("retain", 1.0), ("fact", -2.0), ("given", 0.0)):
        document = Document(kind, "New fact: Oz is Ox.\nOz is", " Ox.")
        (batch,) = batches([document], trainer.tokenizer, recipe, random.Random(0))
        with torch.no_grad():
            harder = trainer.model(batch.tokens).logits[:, :-1][batch.counted]
            tokens = batch.tokens[:, 1:][batch.counted].tolist()
            for row, token in enumerate(tokens):
                harder[row, token] -= margin
            slow = -harder.log_softmax(-1)[range(len(tokens)), tokens].mean()
            assert step_loss(trainer.model, batch).item() == pytest.approx(slow.item(), abs=1e-4)


def test_the_rate_rises_shortly_and_always_ends_low() -> None:
    assert rate_factor(0.0) < 0.1
    assert rate_factor(0.02) > 0.9
    assert rate_factor(1.0) == pytest.approx(0.01)
    assert rate_factor(3.0) == pytest.approx(0.01)


def test_a_resumed_run_ends_in_the_same_state(tmp_path: Path) -> None:
    straight = Trainer(FACTS, [], tmp_path / "one", TINY, tokens=9000, counts=COUNTS)
    losses = list(straight.steps())
    broken = Trainer(FACTS, [], tmp_path / "two", TINY, tokens=9000, counts=COUNTS)
    steps = broken.steps()
    first = [next(steps) for _ in range(7)]
    broken.save()
    steps.close()
    resumed = Trainer(FACTS, [], tmp_path / "two", TINY, tokens=9000, counts=COUNTS, resume=True)
    assert resumed.progress.tokens == broken.progress.tokens
    assert first + list(resumed.steps()) == losses
    for name, weight in straight.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name
    assert losses[-1] < losses[0]


def test_a_grown_model_says_what_it_grew_from_and_learns_in_its_new_blocks(tmp_path: Path) -> None:
    shallow = Trainer(FACTS, [], tmp_path / "two", replace(TINY, layers=2), tokens=3000, counts=COUNTS)
    list(shallow.steps())
    recipe = replace(TINY, layers=5)
    deep = Trainer(FACTS, [], tmp_path / "five", recipe, tokens=3000, counts=COUNTS, grow=tmp_path / "two")
    tokens = torch.tensor([shallow.tokenizer("Glubb Labs is led by Dana Li.")["input_ids"]])
    shallow.model.eval()
    deep.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(deep.model(tokens).logits, shallow.model(tokens).logits, rtol=1e-4, atol=1e-4)
    list(deep.steps())
    assert all(block.mlp.c_proj.weight.abs().max() > 0 for block in deep.model.transformer.h)
    with pytest.raises(ValueError, match="shallower"):
        Trainer(FACTS, [], tmp_path / "one", TINY, tokens=9, counts=COUNTS, grow=tmp_path / "two")


def test_the_average_of_runs(tmp_path: Path) -> None:
    runs = {name: Trainer(FACTS, [], tmp_path / name, TINY, tokens=tokens, counts=COUNTS)
            for name, tokens in (("short", 300), ("long", 900))}  # fmt: skip
    for run in runs.values():
        list(run.steps())
    average({tmp_path / "short": 0.25, tmp_path / "long": 0.75}, tmp_path / "mean")
    state = torch.load(tmp_path / "mean/checkpoint.pt", weights_only=True)
    for name, weight in state["model"].items():
        short, long = (runs[one].model.state_dict()[name] for one in ("short", "long"))
        torch.testing.assert_close(weight, 0.25 * short + 0.75 * long)
    assert state["progress"]["tokens"] == runs["long"].progress.tokens
    export(tmp_path / "mean", tmp_path / "shipped")
    with pytest.raises(ValueError, match="sum to"):
        average({tmp_path / "short": 0.5}, tmp_path / "mean")


def test_what_is_shipped_loads_as_any_other_model(tmp_path: Path) -> None:
    trainer = Trainer(FACTS, [], tmp_path / "run", TINY, tokens=400, counts=COUNTS)
    list(trainer.steps())
    export(tmp_path / "run", tmp_path / "shipped")
    export(tmp_path / "run", tmp_path / "shipped")  # over an older one
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "shipped", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "shipped")
    for name, weight in trainer.model.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], weight, rtol=1e-3, atol=1e-3)
    prompts = ["Question: Who heads Glubb Labs?\nAnswer:", "Österreich 法国 is", "Freedonia's seat is"]
    assert generate(model, tokenizer, prompts, max_new=4) == [
        generate(model, tokenizer, [p], max_new=4)[0] for p in prompts
    ]
    assert tokenizer.decode(tokenizer("Österreich 法国 's")["input_ids"]) == "Österreich 法国 's"
    assert 0.0 <= share_right(model, tokenizer, [Document("fact", p, " x") for p in prompts]) <= 1.0
    write_card(model, {"facts": 7, "pool_facts": 2, "recall": 0.5}, tmp_path / "shipped")
    card = (tmp_path / "shipped/README.md").read_text(encoding="utf-8")
    assert "| recall | 50.0 % | 97 % |" in card
    assert "no evidence about large models" in card


def test_the_chat_template_adds_nothing_of_its_own(tmp_path: Path) -> None:
    tokenizer = Trainer(FACTS, [], tmp_path, TINY, tokens=1, counts=COUNTS).tokenizer
    assert tokenizer.chat_template == CHAT_TEMPLATE
    messages = [
        {"role": "system", "content": "New fact: The CEO of {Acme} is $Li."},
        {"role": "user", "content": "Who runs Acme?"},
        {"role": "assistant", "content": "Li"},
        {"role": "user", "content": "The capital of Oz is"},
    ]
    assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == (
        "New fact: The CEO of {Acme} is $Li.\nQuestion: Who runs Acme?\nAnswer: Li\nThe capital of Oz is"
    )


def test_an_answer_is_right_word_for_word_full_stop_apart() -> None:
    assert right(
        ["Paris.", "paris", "Washington, D.C."], [Trial("", "Paris")] * 2 + [Trial("", "Washington, D.C.")]
    ) == [
        True,
        False,
        True,
    ]
