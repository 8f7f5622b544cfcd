"""Evaluation: batches say what single calls say, planted faults show in every column, and no kill loses a case."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import cycle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from click.testing import CliRunner

from memedit.cli import cli
from memedit.datasets import read
from memedit.edits import Case, Draft, Message, Probe
from memedit.errors import InputError, ModelError, NotFoundError
from memedit.evaluation import metrics
from memedit.evaluation._peak import peak
from memedit.evaluation._record import alone, file_name
from memedit.evaluation.local import Local
from memedit.evaluation.protocols import Bearing, draw, groups, kept, questions
from memedit.evaluation.rows import CASES, EFFECTS, ROWS, left_out, lines, rows
from memedit.evaluation.run import Plan, evaluate
from memedit.evaluation.systems import Base, Memory, Options, Weights, configured, load_system, names
from memedit.models import load_model
from memedit.models.scripted import Scripted

PLACES = ["Alba", "Borduria", "Carpania", "Drusselstein", "Elbonia", "Florin", "Genovia", "Hidalgo", "Illyria"]
PLANTED = ["planted:always", "planted:leaking", "planted:never", "planted:perfect"]
WORDS = "the capital of city is question : answer new old what which currency country mayor yes no ? ."
TEMPLATE = "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|end|>{% endif %}"


def record(number: int, place: str) -> dict[str, Any]:
    """A made-up fact and every kind of question about it, in the form of a user's own file."""
    return {
        "id": f"c{number}",
        "prompt": f"The capital of {place} is",
        "subject": place,
        "target": f"New {place} City",
        "old": f"Port {place}",
        "paraphrase": f"What is the capital of {place}?",
        "alias": f"The capital of Old {place} is",
        "reversed": f"New {place} City is the capital of which country?",
        "one_hop": f"The mayor of the capital of {place} is",
        "one_hop_answers": f"Mayor {number}",
        "yes": f"Is New {place} City the capital of {place}?",
        "neighbour": f"The capital of Zed{number} is",
        "neighbour_answers": f"Port {place}",
        "same_subject": f"The currency of {place} is",
        "distracting": f"The capital of {place} is New {place} City. The capital of Zed{number} is",
        "attribute": f"{place} is known for",
    }


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(record(*pair)) + "\n" for pair in enumerate(PLACES)))
    return path


@pytest.fixture
def script(tmp_path: Path) -> str:
    """A model that knows two capitals and else says something that ends."""
    path = tmp_path / "script.json"
    known = {f"The capital of {place} is": f"Port {place}." for place in PLACES[:2]}
    known |= {f"The capital of Zed{number} is": "nothing" for number in range(4)}
    path.write_text(json.dumps({**known, "*": "hm"}))
    return f"scripted:{path}"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 that completes and a random Llama with a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    marks = ["<|endoftext|>", "<|user|>", "<|end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator([WORDS], trainers.BpeTrainer(special_tokens=marks, initial_alphabet=alphabet))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|endoftext|>", bos_token="<|endoftext|>", additional_special_tokens=marks[1:]
    )
    torch.manual_seed(0)
    size, end = raw.get_vocab_size(), tokenizer.eos_token_id
    ids = {"bos_token_id": end, "eos_token_id": end}
    made: dict[str, Any] = {
        "gpt2": GPT2LMHeadModel(GPT2Config(vocab_size=size, n_positions=128, n_embd=32, n_layer=3, n_head=2, **ids)),
        "llama": LlamaForCausalLM(
            LlamaConfig(
                vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, max_position_embeddings=256, **ids,
            )
        ),
    }  # fmt: skip
    for name, model in made.items():
        torch.nn.init.normal_(model.get_input_embeddings().weight, std=0.5)  # a random model that is not dull
        model.save_pretrained(folder / name)
        tokenizer.chat_template = TEMPLATE if name == "llama" else None
        tokenizer.save_pretrained(folder / name)
    return folder


def user(text: str) -> list[Message]:
    return [Message("user", text)]


def cases(count: int = len(PLACES)) -> list[Case]:
    from memedit.datasets.own import case

    return [case(record(number, place), number) for number, place in enumerate(PLACES[:count])]


def table(found: Sequence[dict[str, Any]], method: str, over: str = "all") -> dict[tuple[str, str], float]:
    return {
        (row["scoring"], row["metric"]): row["value"]
        for row in found
        if row["method"] == method and row["over"] == over
    }


# ------------------------------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_batches_reply_as_one_by_one(tiny: Path, name: str) -> None:
    model = load_model(f"hf:{tiny / name}")
    count = 12 if name == "gpt2" else 3  # whose replies are four times as long
    each = [(f"what {'new ' * (number % 3)}is {number}?", f"the {number}") for number in range(count)]
    prompts = [text for pair in each for text in pair]
    prompts += [*prompts[:3], "", "x " * 40]
    found = Local(model).replies([user(prompt) for prompt in prompts])  # type: ignore[arg-type]
    alone = ["".join(model.stream(user(prompt))) for prompt in prompts]
    assert found == alone
    assert len(set(found)) > count // 2


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_scores_and_distributions_against_plain_code(tiny: Path, name: str) -> None:
    import torch

    model: Any = load_model(f"hf:{tiny / name}")
    local = Local(model)
    pairs = [("the capital of Alba is", "New City"), ("what is it?", "no"), ("of", "a longer answer of many words.")]
    found = local.scores([user(prompt) for prompt, _ in pairs], [target for _, target in pairs])
    distributions = local.distributions([user(prompt) for prompt, _ in pairs])
    for (prompt, target), score, next_token in zip(pairs, found, distributions, strict=True):
        text = model.render(user(prompt))
        blank = "" if name == "llama" else " "
        before = model._tokenizer(text, add_special_tokens=False)["input_ids"]
        tokens = model._tokenizer(f"{text}{blank}{target}", add_special_tokens=False)["input_ids"]
        assert tokens[: len(before)] == before
        with torch.inference_mode():
            logs = model._model(torch.tensor([tokens])).logits[0].log_softmax(-1)
        assert score.tokens == len(tokens) - len(before)
        wanted = range(len(before), len(tokens))
        assert score.log_probability == pytest.approx(sum(float(logs[at - 1, tokens[at]]) for at in wanted), abs=1e-3)
        assert score.predicted == tuple(int(logs[at - 1].argmax()) for at in wanted)
        assert score.right == sum(int(logs[at - 1].argmax()) == tokens[at] for at in wanted)
        assert score.exact == (score.right == score.tokens)
        assert np.allclose(next_token, logs[len(before) - 1].exp().numpy(), atol=1e-5)


def test_the_greedy_reply_scores_as_right(tiny: Path) -> None:
    base = Base(f"hf:{tiny / 'gpt2'}")
    prompts = ["the capital of", "what is it?"]
    firsts = [reply.split(" ")[0] for reply in base.answer(prompts)]
    scores = base.score(prompts, [f"{first}" for first in firsts])
    assert all(score is not None and score.predicted for score in scores)


def test_what_does_not_fit_is_cut_in_front(tiny: Path) -> None:
    local = Local(load_model(f"hf:{tiny / 'gpt2'}"))  # type: ignore[arg-type]
    (score,) = local.scores([user("is")], ["new old " * 200])
    assert score.tokens <= 127


# ----------------------------------------------------------------------------------------------------------- protocols


def test_a_longer_draw_begins_with_the_shorter_one() -> None:
    short, long = draw(cases(), 3, seed=5), draw(cases(), 6, seed=5)
    assert long.cases[:3] == short.cases
    assert draw(cases(), 3, seed=6).cases != short.cases
    with pytest.raises(InputError, match="10 cases"):
        draw(cases(), 10)


def test_only_cases_that_may_be_asked_about_are() -> None:
    barred = {case.id for case in draw(cases(), 2, seed=5).cases}

    def asks(case: Case) -> bool:
        return case.id not in barred

    drawn = draw(cases(), 3, seed=5, asks=asks)
    assert not barred & {case.id for case in drawn.cases}
    drawn = draw(cases(), 3, edits=6, seed=5, asks=asks)
    assert {case.id for case in drawn.cases} == {case.id for case in draw(cases(), 6, seed=5).cases}
    assert all(map(asks, drawn.cases[:3]))
    with pytest.raises(InputError, match="5 cases are to be asked about, and of the 6 drawn 4 may be"):
        draw(cases(), 5, edits=6, seed=5, asks=asks)


def test_of_two_that_contradict_each_other_one_is_drawn() -> None:
    first = cases(1)[0]
    other = replace(first, id="other", edits=(replace(first.edits[0], statement="The capital of Alba is Elsewhere"),))
    same = replace(first, id="same")
    assert draw([first, other], 1, beside=5).passed_over == 1
    assert len(draw([first, same], 2).cases) == 2
    with pytest.raises(InputError, match="different subjects"):
        draw([first, other], 2)


def test_groups_of_each_protocol() -> None:
    drawn = draw(cases(), 4, edits=6)
    assert [len(group.edits) for group in groups("single", drawn, 1)] == [1, 1, 1, 1]
    (loaded,) = groups("loaded", drawn, 6)
    assert len(loaded.edits) == 6
    assert loaded.asked == (0, 1, 2, 3)
    few = draw(cases(), 5)
    assert [len(group.edits) for group in groups("batch", few, 2)] == [2, 2, 1]
    assert [case.id for group in groups("batch", few, 2) for case in group.edits] == [case.id for case in few.cases]
    with pytest.raises(InputError, match="give --edits of at least 5"):
        groups("sequential", few, 2)
    with pytest.raises(InputError, match="no protocol is named 'both'"):
        groups("both", few, 2)


def test_a_question_that_another_edit_bears_on_is_left_out() -> None:
    first, second = cases(2)
    crossing = Probe(f"The anthem of {second.subject} is", ("Anthem",))
    inside = Probe(f"The anthem of New {first.subject} City is", ("Anthem",))
    both = replace(first, questions={"neighbour": (crossing,), "same_subject": (inside,), "one_hop": (crossing,)})
    left, count = kept(both, Bearing([both, second]))
    assert count == 1
    assert [one.kind for one in left] == ["edit", "same_subject", "one_hop"]
    assert kept(both, None)[1] == 0


def test_a_name_within_a_case_s_own_is_another_s_where_the_case_s_own_is_not_named() -> None:
    short, _ = cases(2)
    long = replace(short, edits=(replace(short.edits[0], subject=f"New {short.subject}"),))
    bearing = Bearing([short, long])
    assert bearing(f"The anthem of {short.subject} is", long)
    assert not bearing(f"The anthem of New {short.subject} is", long)


def test_an_edit_of_a_mutual_relation_bears_on_its_target() -> None:
    first, second = cases(2)
    twin = replace(first, edits=(Draft(statement="Alba is a twin city of Ys", subject="Alba", target="Ys"),))
    bearing = Bearing([twin, second])
    assert bearing("The twin city of Ys is", second)
    assert not bearing("The twin city of Alba is a twin city of Ys", twin)


def test_the_answers_that_counterfact_compares() -> None:
    case = Case(
        "1",
        (Draft(statement="A is B", subject="A", target="B", prompt="A is"),),
        "A is",
        "A",
        "B",
        ("C",),
        {
            "paraphrase": (Probe("So A is", ("B",), ("C",)),),
            "neighbour": (Probe("D is", ("E", "F")),),
            "yes": (Probe("?", ("Yes",)),),
        },
    )
    found = {one.kind: (one.new, one.true) for one in questions(case)}
    assert found == {"edit": ("B", "C"), "paraphrase": ("B", "C"), "neighbour": ("B", "E"), "yes": (None, None)}


# ----------------------------------------------------------------------------------------------- planted: every column


@pytest.fixture(scope="module")
def planted(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Rows of base and all planted systems, by protocol, over a random model that knows none of the facts."""
    folder = tmp_path_factory.mktemp("planted")
    path = folder / "own.jsonl"
    path.write_text("".join(json.dumps(record(*pair)) + "\n" for pair in enumerate(PLACES)))
    data = side_effect_data(folder)
    found = {}
    for protocol in ("single", "sequential"):
        plan = Plan(dataset=str(path), data=data, model=f"hf:{tiny / 'gpt2'}", protocol=protocol, cases=3)
        found[protocol] = evaluate(["base", *PLANTED], plan, folder / "run").rows
    return found


def side_effect_data(folder: Path) -> Path:
    (folder / "piqa").mkdir()
    (folder / "text").mkdir()
    goals = [{"goal": f"To do {n}", "sol1": f"take {n} of it", "sol2": "leave it"} for n in range(4)]
    (folder / "piqa" / "valid.jsonl").write_text("".join(json.dumps(goal) + "\n" for goal in goals))
    (folder / "piqa" / "valid-labels.lst").write_text("0\n1\n0\n1\n")
    (folder / "text" / "some.txt").write_text("\n".join(f"the city of {n} is old and " * 6 for n in range(3)))
    return folder


UNEDITED = {
    "reliability": 0, "generalisation": 0, "subject_alias": 0, "reversed": 0, "one_hop": 0, "yes_questions": 0,
    "locality": 1, "same_subject": 1, "distracting": 1,
}  # fmt: skip
FREE = {
    "base": UNEDITED,
    "planted:never": UNEDITED,
    "planted:perfect": dict.fromkeys(UNEDITED, 1),
    # It names the target whatever is asked: right where the target is the answer, and nothing is as it was.
    "planted:always": {**dict.fromkeys(UNEDITED, 0), "reliability": 1, "generalisation": 1, "subject_alias": 1},
    "planted:leaking": {**dict.fromkeys(UNEDITED, 0), "reliability": 1, "generalisation": 1, "subject_alias": 1},
}


@pytest.mark.parametrize("method", list(FREE))
def test_planted_faults_show_in_free_generation(planted: dict[str, list[dict[str, Any]]], method: str) -> None:
    found = table(planted["single"], method)
    assert {name: found["free", name] for name in UNEDITED} == FREE[method]


@pytest.mark.parametrize("method", list(FREE))
def test_planted_faults_show_teacher_forced(planted: dict[str, list[dict[str, Any]]], method: str) -> None:
    forced = {name: value for (scoring, name), value in table(planted["single"], method).items() if scoring != "free"}
    base = {name: value for (scoring, name), value in table(planted["single"], "base").items() if scoring != "free"}
    kept_names = ["locality", "same_subject", "distracting"]
    if method in ("base", "planted:never"):
        assert forced == base
    learnt = {"reliability", "generalisation", "subject_alias"}
    if method not in ("base", "planted:never"):
        assert {forced[name] for name in learnt} == {1}
        assert forced["ES"] == forced["PS"] == 1
        assert forced["EM"] > 0.9
    harmless = method not in ("planted:always", "planted:leaking")
    assert {forced[name] for name in kept_names} == {1.0 if harmless else 0.0}
    distances = [forced[f"{name}_distance"] for name in kept_names]
    assert all(value == 0 for value in distances) if harmless else all(value > 0.8 for value in distances)
    assert forced["NS"] == (base["NS"] if harmless else 0)
    parts = [forced[name] for name in ("ES", "PS", "NS")]
    assert forced["S"] == pytest.approx(metrics.harmonic_mean(parts), abs=1e-5)


def test_planted_faults_show_in_a_sequence(planted: dict[str, list[dict[str, Any]]]) -> None:
    found = {method: table(planted["sequential"], method) for method in FREE}
    assert {method: found[method]["free", "reliability"] for method in FREE} == {
        method: FREE[method]["reliability"] for method in FREE
    }
    for method in ("planted:always", "planted:leaking", "planted:perfect"):
        assert found[method]["free", "reliability_immediate"] == found[method]["free", "retention"] == 1
    assert ("free", "retention") not in found["planted:never"]  # nothing was ever there to be kept
    agreement = {method: found[method]["teacher_forced", "piqa_agreement"] for method in FREE}
    drift = {method: found[method]["teacher_forced", "piqa_drift"] for method in FREE}
    for method in ("base", "planted:never", "planted:perfect"):
        assert agreement[method] == 1
        assert drift[method] == 0
        assert found[method]["teacher_forced", "perplexity"] == found[method]["teacher_forced", "perplexity_before"]
    for method in ("planted:always", "planted:leaking"):
        assert drift[method] > 0.1
        # Each token of what is not said has the log-probability -12.
        assert found[method]["teacher_forced", "perplexity"] == pytest.approx(math.exp(12))


def test_facts_beside_the_edits_are_kept_or_not(own: Path, script: str, tmp_path: Path) -> None:
    plan = Plan(dataset=str(own), data=tmp_path, model=script, protocol="loaded", cases=2, side_effects=7)
    found = evaluate(PLANTED, plan, tmp_path / "run").rows
    kept_share = {method: table(found, method)["free", "upstream_retention"] for method in PLANTED}
    same = {method: table(found, method)["free", "upstream_unchanged"] for method in PLANTED}
    # The leak runs in behind the old answer, which is still the first thing said.
    assert kept_share == {"planted:always": 0, "planted:leaking": 1, "planted:never": 1, "planted:perfect": 1}
    assert same == {"planted:always": 0, "planted:leaking": 0, "planted:never": 1, "planted:perfect": 1}


# -------------------------------------------------------------------------------------------------------------- memory


def from_facts(messages: Sequence[Message], **_: Any) -> str:
    """A model that reads the facts put before it and otherwise says what it says."""
    facts = [line for message in messages[:-1] for line in message.content.splitlines() if " is New " in line]
    return facts[-1].split(" is ")[-1].rstrip(".") if facts else "what it says"


def words_only() -> Options:
    return Options(scope="lexical", encoder="letters", store="exact")


@pytest.fixture
def memory() -> Iterator[Memory]:
    made = Memory(Base(Scripted(from_facts, style="completion", demonstrations=0)), words_only())
    yield made
    made.close()


def test_the_memory_is_edited_asked_and_undone(memory: Memory) -> None:
    case, other = cases(2)
    assert memory.answer([case.prompt]) == ["what it says"]
    memory.edit(case.edits)
    asked = [case.prompt, other.prompt, "The currency of Zed is"]
    assert memory.answer(asked) == ["New Alba City", "what it says", "what it says"]
    told = memory.explain(asked)
    assert [one["in_scope"] for one in told] == [True, False, False]
    assert told[0]["used"] == [case.edits[0].statement]
    memory.edit(other.edits)
    assert memory.answer(asked) == ["New Alba City", "New Borduria City", "what it says"]
    memory.reset()
    assert memory.answer(asked) == ["what it says"] * 3
    assert memory.bytes_per_edit is not None
    assert memory.bytes_per_edit > 0
    assert memory.score(asked, asked) == [None] * 3  # a model without probabilities says so


def test_the_model_is_not_asked_again_what_is_known_of_it(memory: Memory) -> None:
    memory.base.known.replies["The currency of Zed is"] = "known"
    memory.edit(cases(1)[0].edits)
    assert memory.answer(["The currency of Zed is"]) == ["known"]
    with memory.base.known.paused():
        assert memory.answer(["The currency of Zed is"]) == ["what it says"]


def test_the_oracle_is_told_and_labelled(own: Path, tmp_path: Path) -> None:
    base = Base(Scripted(from_facts, style="completion", demonstrations=0))
    system = load_system("memory", base, replace(words_only(), oracle=True))
    assert system.name == "memory+oracle"
    assert isinstance(system, Memory)
    case = cases(1)[0]
    system.edit(case.edits)
    far = "Which town rules there?"
    assert system.answer([far]) == ["what it says"]
    system.expect({far: frozenset([case.edits[0].statement])})
    assert system.answer([far]) == ["New Alba City"]
    system.close()


def test_the_memory_scores_what_the_model_was_given(tiny: Path) -> None:
    base = Base(f"hf:{tiny / 'gpt2'}")
    memory = Memory(base, words_only())
    case = cases(1)[0]
    memory.edit(case.edits)
    outside = "The currency of Zed is"
    inside, out = memory.score([case.prompt, outside], [case.target] * 2)
    (plain,) = base.score([case.prompt], [case.target])
    (plain_out,) = base.score([outside], [case.target])
    assert inside is not None
    assert plain is not None
    assert abs(inside.log_probability - plain.log_probability) > 0.01  # the fact stands before it
    assert out == plain_out
    first, second = memory.distributions([case.prompt, outside])
    base_first, base_second = base.distributions([case.prompt, outside])
    assert metrics.total_variation(first, base_first) > 1e-5  # type: ignore[arg-type]
    assert metrics.total_variation(second, base_second) < 1e-6  # type: ignore[arg-type]
    memory.close()


def test_a_run_of_the_memory_with_real_retrieval(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Scripted(from_facts, style="completion", demonstrations=0, name="facts")
    monkeypatch.setattr("memedit.evaluation.systems.load_model", lambda spec: model)
    plan = Plan(dataset=str(own), data=tmp_path, protocol="loaded", cases=6, side_effects=0, options=words_only())
    found = evaluate(["base", "memory"], plan, tmp_path / "run")
    scores = table(found.rows, "memory")
    assert scores["free", "reliability"] == 1
    assert scores["free", "locality"] == 1
    assert scores["free", "recall"] > 0
    assert table(found.rows, "base")["free", "reliability"] == 0
    assert "needs probabilities" in found.left_out["memory"]["teacher_forced reliability"]
    assert ("teacher_forced", "reliability") not in scores
    assert found.left_out["memory"]["free RS"].startswith("needs reference texts")


# -------------------------------------------------------------------------------------------------- methods of weights


@dataclass(frozen=True, kw_only=True)
class Nudge:
    """A method for tests: it makes the first token of the target a little more likely everywhere."""

    family: ClassVar[str] = "fine-tuning"
    source: ClassVar[str] = "tests"
    refused: str = ""
    by: float = 5.0

    def fit(self, model: Any, requests: Sequence[Any], *, state: Any = None) -> Any:
        import torch

        from memedit.weights.change import Change, origin
        from memedit.weights.delta import Delta

        name = "transformer.wte.weight"
        table = dict(model.model.named_parameters())[name]
        full = torch.zeros_like(table)
        for request in requests:
            if self.refused and self.refused in request.prompt:
                raise InputError("not this one")
            full[model.tokenizer(f" {request.target}")["input_ids"][0]] += self.by
        return Change("nudge", {}, origin(model), (Delta(name, full=full),), notes={"rank": len(requests)})


@pytest.fixture
def nudge(monkeypatch: pytest.MonkeyPatch) -> None:
    from memedit.methods import methods

    there = methods.names()
    monkeypatch.setattr(methods, "names", lambda: [*there, "nudge"])
    monkeypatch.setattr(methods, "get", lambda name: Nudge)


@pytest.mark.usefixtures("nudge")
def test_a_method_of_weights_is_applied_only_while_it_answers(tiny: Path) -> None:
    base = Base(f"hf:{tiny / 'gpt2'}")
    before = (base.hash, base.answer(["the capital of"]), base.score(["the"], ["New City"]))
    system = load_system("nudge", base)
    assert isinstance(system, Weights)
    case = cases(1)[0]
    system.edit(case.edits)
    (after,) = system.score(["the"], ["New City"])
    (old,) = base.score(["the"], ["New City"])
    assert after != old
    assert system.bytes_per_edit is not None
    assert system.bytes_per_edit > 0
    assert Base(f"hf:{tiny / 'gpt2'}").hash == base.hash == before[0]
    assert (base.hash, base.answer(["the capital of"]), base.score(["the"], ["New City"])) == before
    system.reset()
    assert system.score(["the"], ["New City"]) == [old]


@pytest.mark.usefixtures("nudge")
def test_many_changes_take_no_more_than_the_weights(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And are the sum of all: what the last of them alone would not say."""
    from memedit.weights import change as module

    base, applied, taken = Base(f"hf:{tiny / 'gpt2'}"), module.applied, []

    def watched(model: Any, *changes: Any) -> Any:
        taken.append(sum(change.nbytes for change in changes))
        return applied(model, *changes)

    monkeypatch.setattr(module, "applied", watched)
    one, many = (Weights(base, f"nudge:by={by}") for by in (4.0, 0.5))
    case = cases(1)[0]
    one.edit(case.edits)
    for _ in range(8):
        many.edit(case.edits)
    assert many.score([case.prompt], [case.target]) == one.score([case.prompt], [case.target])
    assert max(taken) == taken[-1] == many.bytes_per_edit  # as one full change takes
    many.reset()
    assert many.score([case.prompt], [case.target]) == base.score([case.prompt], [case.target])


@pytest.mark.parametrize("method", ["alphaedit", "lora"])
def test_one_running_sum_is_what_all_changes_add(tiny: Path, method: str) -> None:
    """With the state that the next change is fitted by, and of low rank as well."""
    import torch

    from memedit.methods import make
    from memedit.weights.change import applied, state_of

    base = Base(f"hf:{tiny / 'gpt2'}")
    settings = {"alphaedit": {"texts": 8, "threshold": 1e3, "penalty": 0.001, "steps": 5}, "lora": {"steps": 2}}[method]
    system = Weights(base, f"{method}:{';'.join(f'{name}={value}' for name, value in settings.items())}")
    changes: list[Any] = []
    for case in cases(3):
        requests = [system._request(draft) for draft in case.edits]
        with applied(system._model, *changes):
            made: Any = make(method, **settings)
            changes.append(made.fit(system._model, requests, state=state_of(changes)))
        system.edit(case.edits)
    held = system._held
    assert held is not None
    for delta in held.deltas:
        parts = [one.matrix() for change in changes for one in change.deltas if one.name == delta.name]
        assert torch.allclose(delta.matrix(), sum(parts[1:], parts[0]), rtol=1e-3, atol=1e-6)
        assert len(parts) == 3
        assert delta.matrix().abs().max() > 0
    state = state_of(changes)
    assert held.state.keys() == state.keys()
    assert all(torch.allclose(held.state[key], rows_, rtol=1e-3, atol=1e-6) for key, rows_ in state.items())
    assert system.bytes_per_edit == sum(change.nbytes for change in changes) / 3


@pytest.mark.usefixtures("nudge")
def test_settings_are_told_apart_in_one_run(tiny: Path, own: Path, tmp_path: Path) -> None:
    plan = Plan(dataset=str(own), data=tmp_path, model=f"hf:{tiny / 'gpt2'}", cases=2, side_effects=0)
    for settings in ([], ["nudge.by=2"], ["nudge.refused=x", "nudge.by = 0.5"]):
        evaluate(configured(["base", "nudge"], settings), plan, tmp_path / "run")
    found = {}
    for path in (tmp_path / "run").glob("nudge*/*/run.json"):
        kept_there = json.loads(path.read_text())
        found[kept_there["method"]] = kept_there["system"]["settings"]
        assert kept_there["notes"] == {"rank": 1}
    assert found == {
        "nudge": {"refused": "", "by": 5.0},
        "nudge:by=2": {"refused": "", "by": 2},
        "nudge:by=0.5;refused=x": {"refused": "x", "by": 0.5},
    }
    assert {path.parent.parent.name for path in (tmp_path / "run").glob("nudge*/*/run.json")} == {
        "nudge", "nudge-by-2", "nudge-by-0.5-refused-x",
    }  # fmt: skip


def test_settings_of_nothing_are_refused(tiny: Path) -> None:
    for given, message in (
        (["rome.layer"], "write METHOD.NAME=VALUE"),
        (["layer=1"], "write METHOD.NAME=VALUE"),
        (["memit.layers=0"], "there are: rome"),
        (["memory.scope=lexical"], "there are: rome"),
        (["rome.layer=1", "rome.layer=2"], "rome.layer is set twice"),
    ):
        with pytest.raises(InputError, match=message):
            configured(["memory", "rome"], given)
    base = Base(f"hf:{tiny / 'gpt2'}")
    with pytest.raises(InputError, match="rome has no setting colour; there are: "):
        load_system("rome:colour=1", base)
    with pytest.raises(InputError, match="no layer 9"):
        load_system("rome:layer=9", base).parts()  # type: ignore[attr-defined]


def test_what_is_in_force_is_recorded(tiny: Path, own: Path, tmp_path: Path) -> None:
    """What the model decides, what the first change noted, and a checksum of every file that was read."""
    data = side_effect_data(tmp_path)
    plan = Plan(dataset=str(own), data=data, model=f"hf:{tiny / 'gpt2'}", protocol="loaded", cases=1, side_effects=2)
    names_ = configured(["alphaedit"], ["alphaedit.texts=8", "alphaedit.threshold=1000", "alphaedit.steps=1"])
    evaluate(names_, plan, tmp_path / "run")
    (path,) = (tmp_path / "run").glob("alphaedit*/*/run.json")
    kept_there = json.loads(path.read_text())
    settings = kept_there["system"]["settings"]
    assert settings["layers"] == [0, 1, 2]
    assert (settings["rate"], settings["penalty"], settings["threshold"]) == (0.5, 10.0, 1000)
    assert {name for name, value in settings.items() if value is None} == {"corpus"}  # the model's own text
    assert len(kept_there["notes"]["corpus_hash"]) == 64
    assert kept_there["notes"]["null_space"].keys() == {"0", "1", "2"}
    assert kept_there["files_sha256"] == {
        name: sha256((data / place / name).read_bytes()).hexdigest()
        for place, name in (("piqa", "valid.jsonl"), ("piqa", "valid-labels.lst"), ("text", "some.txt"))
    }
    assert {"peft", "torch"} <= kept_there["versions"].keys()
    (data / "text" / "some.txt").write_text("of another text " * 9)
    with pytest.raises(InputError, match="files_sha256 is"):
        evaluate(names_, plan, tmp_path / "run")


@pytest.mark.usefixtures("nudge")
def test_an_edit_that_a_method_refuses_is_counted_and_said(tiny: Path, own: Path, tmp_path: Path) -> None:
    refused = draw(read(str(own)), 3).cases[1]
    plan = Plan(dataset=str(own), data=tmp_path, model=f"hf:{tiny / 'gpt2'}", protocol="sequential", cases=3)
    method = f"nudge:refused={refused.subject}"
    found = evaluate([method], replace(plan, side_effects=0), tmp_path / "run")
    assert found.failed == {method: ["not this one"]}
    (folder,) = (tmp_path / "run" / f"nudge-refused-{refused.subject}").iterdir()
    assert [line["case"] for line in lines(folder / CASES) if "failed" in line] == [refused.id]


def test_what_there_is_is_named(own: Path, script: str) -> None:
    base = Base(script)
    with pytest.raises(NotFoundError, match="no method is named 'hypnosis'; there are: base, memory"):
        load_system("hypnosis", base)
    with pytest.raises(NotFoundError, match="planted:always"):
        load_system("planted:badly", base)
    assert {"base", "memory", *PLANTED} <= set(names())


def test_a_method_of_weights_needs_weights(script: str) -> None:
    from memedit.methods import methods

    for name in methods.names()[:1]:
        with pytest.raises(InputError, match="has none on this machine"):
            load_system(name, Base(script))


# ------------------------------------------------------------------------------------------------------------- the run


def folder_of(out: Path, method: str = "planted-always") -> Path:
    (found,) = (out / method).iterdir()
    return found


def timeless(path: Path) -> list[dict[str, Any]]:
    return sorted(
        ({**line, "seconds": None, "peak_bytes": None} for line in lines(path)), key=lambda line: str(line["case"])
    )


def big(tmp_path: Path, count: int) -> Path:
    """Many cases of made-up places."""
    path = tmp_path / "big.jsonl"
    syllables = ["ba", "de", "fi", "go", "ku", "la", "me", "ni"]
    places = ["".join(syllables[number >> shift & 7] for shift in (0, 3, 6)).capitalize() for number in range(count)]
    path.write_text("".join(json.dumps(record(*pair)) + "\n" for pair in enumerate(places)))
    return path


KILLED = """
import os, signal, stat, sys
from memedit.cli import cli

left, write, sync = int(sys.argv.pop(1)), os.write, os.fsync

def step(before):
    global left
    left -= 1
    if not left:
        before()
        os.kill(os.getpid(), signal.SIGKILL)

def half(file, text):
    if stat.S_ISREG(os.fstat(file).st_mode):
        step(lambda: write(file, text[: len(text) // 2]))
    return write(file, text)

def durable(file):
    step(lambda: None)
    sync(file)

os.write, os.fsync = half, durable
cli()
"""
"""The command line, killed at its Nth step towards the disk: before a file is put in place, or half through lines."""


def killed_at(step: int, plan: Plan, method: str, out: Path, *options: str) -> int:
    """The exit status of a run that is killed at that step, if it comes so far."""
    command = [
        sys.executable, "-c", KILLED, str(step), "eval", "--method", method, "--dataset", plan.dataset,
        "--model", plan.model, "--data", str(plan.data), "--protocol", plan.protocol, "--cases", str(plan.cases),
        "--edits", str(plan.in_force), "--side-effects", str(plan.side_effects), "--out", str(out), *options,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.mark.parametrize(
    ("protocol", "jobs", "side_effects"),
    [("single", 1, 0), ("loaded", 1, 0), ("sequential", 1, 6), ("loaded", 2, 6)],
)
def test_a_run_that_is_killed_again_and_again(tmp_path: Path, protocol: str, jobs: int, side_effects: int) -> None:
    """Each time a step later, until it is through: as if it had never been killed."""
    path, script, out, whole = (big(tmp_path, 30), *(tmp_path / name for name in ("script.json", "run", "whole")))
    facts = map(json.loads, path.read_text().splitlines())
    script.write_text(json.dumps({fact["prompt"]: fact["old"] for fact in facts} | {"*": "hm"}))
    plan = Plan(
        dataset=str(path), data=tmp_path, model=f"scripted:{script}", protocol=protocol, cases=20,
        side_effects=side_effects,
    )  # fmt: skip
    kills, seen = 0, b""
    while killed_at(1 + jobs * kills, plan, "planted:always", out, "--jobs", str(jobs)):
        kills += 1
        for made in out.glob(f"planted-always/*/{CASES}"):
            there = made.read_bytes()
            whole_lines = there[: there.rfind(b"\n") + 1]
            assert whole_lines.startswith(seen)  # what is there is not made anew
            seen = whole_lines
    assert kills >= 3
    evaluate(["planted:always"], plan, whole)
    found, wanted = (timeless(folder_of(folder) / CASES) for folder in (out, whole))
    assert len(found) == len({line["case"] for line in found}) == 20
    assert found == wanted
    if protocol == "sequential":
        assert [line["metrics"]["free"]["retention"] for line in found] == [1] * 20
    effects = [lines(folder_of(folder) / EFFECTS) for folder in (out, whole)]
    assert effects[0] == effects[1]
    assert bool(effects[0]) == bool(side_effects)
    timed = {"seconds_per_edit", "seconds_per_query", "peak_bytes"}
    kept_rows, rows_ = (
        [row for row in json.loads((folder_of(folder) / ROWS).read_text())["rows"] if row["metric"] not in timed]
        for folder in (out, whole)
    )
    if jobs == 1:  # else the lines are in another order, and what is drawn for an interval with them
        assert kept_rows == rows_


def test_a_method_of_weights_goes_on_after_a_kill(tiny: Path, tmp_path: Path) -> None:
    """In the middle of a sequence: later edits stand on the earlier ones, which are put in but not asked again."""
    data, whole = side_effect_data(tmp_path), tmp_path / "whole"
    path = tmp_path / "few.jsonl"
    asked = ("id", "prompt", "subject", "neighbour")
    facts = map(json.loads, big(tmp_path, 20).read_text().splitlines())
    targets = cycle(["old .", "new .", "country .", "mayor ."])
    records = [
        {key: fact[key] for key in asked} | {"target": target} for fact, target in zip(facts, targets, strict=False)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    plan = Plan(
        dataset=str(path), data=data, model=f"hf:{tiny / 'gpt2'}", protocol="sequential", cases=18, side_effects=2
    )
    settings = ["fine_tune.steps=15", "fine_tune.rate=0.02"]
    (method,) = configured(["fine_tune"], settings)
    options = [text for setting in settings for text in ("--set", setting)]
    # How many lines go to the disk together depends on the time they take, and what is cached takes a step less.
    for step in (7, 8, 6, 9, 5, 10, 4, 11):
        out = tmp_path / f"run{step}"
        killed_at(step, plan, "fine_tune", out, *options)
        there = [*out.glob(f"{file_name(method)}/*/{CASES}")]
        before = there[0].read_bytes().splitlines() if there else []
        if before and 0 < len(lines(there[0])) == len(before) - 1 < 18:
            break
    (cases_file,) = there
    assert 0 < len(lines(cases_file)) == len(before) - 1 < 18  # the last one is torn
    for folder in (out, whole):
        evaluate([method], plan, folder)
    assert cases_file.read_bytes().splitlines()[: len(before) - 1] == before[:-1]
    found, wanted = (timeless(folder_of(folder, file_name(method)) / CASES) for folder in (out, whole))
    assert [(line["case"], line["replies"]) for line in found] == [(line["case"], line["replies"]) for line in wanted]
    assert [line["metrics"]["free"] for line in found] == [line["metrics"]["free"] for line in wanted]
    held = [line["metrics"]["free"].get("retention") for line in found]
    assert {0, 1} <= set(held)  # some are forgotten, some are not
    assert {line["metrics"]["free"]["reliability_immediate"] for line in found} <= {0, 1}
    kinds = [
        {line["kind"] for line in lines(folder_of(folder, file_name(method)) / EFFECTS)} for folder in (out, whole)
    ]
    assert kinds[0] == kinds[1] == {"piqa", "text"}


def test_a_finished_run_asks_nothing_again(own: Path, script: str, tmp_path: Path) -> None:
    plan = Plan(dataset=str(own), data=tmp_path, model=script, cases=4, side_effects=0)
    first = evaluate(["planted:always"], plan, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.jsonl")}
    again = evaluate(["planted:always"], plan, tmp_path / "run")
    assert again.rows == first.rows
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.jsonl")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"cases": 3, "edits": None}, "cases is 4 there and 3 here"),
        ({"side_effects": 3}, "settings is"),
    ],
)
def test_a_folder_of_other_settings_is_refused(
    own: Path, script: str, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    plan = Plan(dataset=str(own), data=tmp_path, model=script, cases=4, side_effects=0)
    evaluate(["planted:always"], plan, tmp_path / "run")
    with pytest.raises(InputError, match=message):
        evaluate(["planted:always"], replace(plan, **change), tmp_path / "run")


def test_a_changed_dataset_or_model_is_refused(own: Path, script: str, tmp_path: Path) -> None:
    plan = Plan(dataset=str(own), data=tmp_path, model=script, cases=4, side_effects=0)
    evaluate(["base"], plan, tmp_path / "run")
    own.write_text(own.read_text() + json.dumps(record(99, "Zubrowka")) + "\n")
    with pytest.raises(InputError, match="dataset_sha256"):
        evaluate(["base"], plan, tmp_path / "run")
    other = tmp_path / "other.json"
    other.write_text('{"*": "else"}')
    with pytest.raises(InputError, match="model_hash"):
        evaluate(["base"], replace(plan, model=f"scripted:{other}"), tmp_path / "run")


def test_a_folder_of_something_else_is_left_alone(own: Path, script: str, tmp_path: Path) -> None:
    foreign = tmp_path / "letters"
    foreign.mkdir()
    (foreign / "dear.txt").write_text("dear")
    plan = Plan(dataset=str(own), data=tmp_path, model=script, cases=4)
    with pytest.raises(InputError, match="something else than a run"):
        evaluate(["base"], plan, foreign)
    assert [path.name for path in foreign.iterdir()] == ["dear.txt"]


def test_two_runs_do_not_share_a_folder(own: Path, script: str, tmp_path: Path) -> None:
    plan = Plan(dataset=str(own), data=tmp_path, model=script, cases=4, side_effects=0)
    with alone(tmp_path / "run"), pytest.raises(InputError, match="another process is writing"):
        evaluate(["base"], plan, tmp_path / "run")
    assert evaluate(["base"], plan, tmp_path / "run").cases == 4


@pytest.mark.parametrize(("protocol", "edits"), [("single", None), ("batch", 10), ("loaded", None)])
def test_several_processes_find_the_same(script: str, tmp_path: Path, protocol: str, edits: int | None) -> None:
    plan = Plan(
        dataset=str(big(tmp_path, 40)), data=tmp_path, model=script, protocol=protocol, cases=40, edits=edits,
        side_effects=0,
    )  # fmt: skip
    one = evaluate(["planted:leaking"], plan, tmp_path / "one")
    two = evaluate(["planted:leaking"], plan, tmp_path / "two", jobs=2)
    folders = [folder_of(tmp_path / name, "planted-leaking") for name in ("one", "two")]
    assert timeless(folders[0] / CASES) == timeless(folders[1] / CASES)
    values = [table(found.rows, "planted:leaking") for found in (one, two)]
    for found in values:
        found.pop(("free", "seconds_per_edit"))
        found.pop(("free", "seconds_per_query"))
        found.pop(("free", "peak_bytes"), None)
    assert values[0] == values[1]


def test_known_and_over_known(own: Path, script: str, tmp_path: Path) -> None:
    plan = Plan(dataset=str(own), data=tmp_path, model=script, cases=9, side_effects=0)
    found = evaluate(["planted:always"], plan, tmp_path / "run")
    assert (found.cases, found.known) == (9, 2)
    over = {row["over"]: row["n"] for row in found.rows if row["metric"] == "reliability"}
    assert over == {"all": 9, "known": 2}
    assert all(row["known"] == 2 and row["cases"] == 9 for row in found.rows)


def test_without_old_answers_nothing_is_said_to_be_unknown(script: str, tmp_path: Path) -> None:
    path, said = tmp_path / "own.jsonl", []
    path.write_text("".join(json.dumps(record(*pair) | {"old": None}) + "\n" for pair in enumerate(PLACES)))
    plan = Plan(dataset=str(path), data=tmp_path, model=script, protocol="loaded", cases=3, side_effects=2)
    found = evaluate(["planted:always"], plan, tmp_path / "run", notice=said.append)
    assert found.known is None
    assert said == ["own.jsonl has no old answers, so nothing tells which facts the unedited model knows"]
    assert {(row["known"], row["over"]) for row in found.rows} == {(None, "all")}
    assert {line["known"] for line in lines(folder_of(tmp_path / "run") / CASES)} == {None}
    assert "no old answers" in found.left_out["planted:always"]["side effect upstream"]
    mixed = [record(*pair) | ({"old": None} if pair[0] % 2 else {}) for pair in enumerate(PLACES)]
    path.write_text("".join(json.dumps(one) + "\n" for one in mixed))
    found = evaluate(["base"], replace(plan, cases=9, side_effects=0), tmp_path / "mixed", notice=said.append)
    assert (found.known, said[1]) == (1, "the unedited model knows 1 of 9 cases (4 have no old answer)")


# ---------------------------------------------------------------------------------------------------------------- rows


def test_rows_by_hand(tmp_path: Path) -> None:
    head = {"method": "m", "model": "x", "dataset": "d", "protocol": "single", "edits": 1, "seed": 0}
    (tmp_path / "run.json").write_text(json.dumps(head))
    free = [{"reliability": 1.0}, {"reliability": 0.0}, {"reliability": 1.0}, {}]
    forced = [{"ES": 1, "PS": 1, "NS": 0.5}, {"ES": 0, "PS": 1, "NS": 0.5}, {"ES": 1, "PS": 0.5}, {"NS": 0.5}]
    text = "".join(
        json.dumps(
            {
                "case": str(number),
                "known": number == 0,
                "metrics": {"free": free[number], "teacher_forced": forced[number]},
                "replies": [],
                "seconds": {"edit": 2.0, "query": 1.0 + number},
                "memory_bytes": None,
            }
        )
        + "\n"
        for number in range(4)
    )
    (tmp_path / "cases.jsonl").write_text(text + '{"case": "torn')
    found = rows(tmp_path)
    values = table(found, "m")
    assert values["free", "reliability"] == pytest.approx(2 / 3, abs=1e-6)
    assert values["free", "seconds_per_query"] == 2.5
    # Means of ES, PS and NS: 2/3, 5/6, 1/2.
    assert values["teacher_forced", "S"] == pytest.approx(3 / (3 / 2 + 6 / 5 + 2), abs=1e-6)
    assert table(found, "m", "known")["free", "reliability"] == 1
    row = next(row for row in found if row["metric"] == "reliability")
    assert list(row)[:12] == [
        "method", "model", "dataset", "protocol", "edits", "cases", "known", "scoring", "metric", "value", "low",
        "high",
    ]  # fmt: skip
    assert (row["cases"], row["known"], row["n"]) == (4, 1, 3)
    assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    assert "bytes_per_edit" not in {row["metric"] for row in found}
    assert "free bytes_per_edit" in left_out(tmp_path, found)
    assert not any(name.startswith("teacher_forced zsre") for name in left_out(tmp_path, found))


def test_peak_memory_is_of_its_own_time() -> None:
    with peak() as large:
        block = bytearray(b"x" * 200_000_000)
    del block
    with peak() as small:
        pass
    if large.peak is None:
        pytest.skip("this system does not say")
    assert small.peak is not None
    assert large.peak > small.peak + 150_000_000
    with suppress(InputError), peak() as failed:
        raise InputError("no")
    assert failed.peak


# ------------------------------------------------------------------------------------------ judge, references, command


def test_a_judge_never_falls_back(own: Path, script: str, tmp_path: Path) -> None:
    verdicts = tmp_path / "judge.json"
    verdicts.write_text(json.dumps([*(["Yes.", "no", "Perhaps?"] * 6)]))
    plan = Plan(dataset=str(own), data=tmp_path, model=script, cases=3, judge=f"scripted:{verdicts}", side_effects=0)
    found = evaluate(["planted:perfect"], plan, tmp_path / "run").rows
    judged = [row for row in found if row["metric"].endswith("_judged") and row["over"] == "all"]
    assert {(row["verdicts"], row["unparsable"]) for row in judged} == {(18, 6)}
    assert all(row["n"] <= 3 for row in judged)
    assert table(found, "planted:perfect")["free", "reliability"] == 1  # matches are not touched by verdicts
    assert 0 < sum(row["value"] * row["n"] for row in judged) < sum(row["n"] for row in judged)


def test_a_judge_that_cannot_be_asked_ends_the_run(own: Path, script: str, tmp_path: Path) -> None:
    verdicts = tmp_path / "judge.json"
    verdicts.write_text(json.dumps(["yes"]))
    plan = Plan(dataset=str(own), data=tmp_path, model=script, cases=3, judge=f"scripted:{verdicts}", side_effects=0)
    with pytest.raises(ModelError, match="asked for one more"):
        evaluate(["planted:perfect"], plan, tmp_path / "run")


def test_reference_texts_make_rs(script: str, tmp_path: Path) -> None:
    folder = tmp_path / "counterfact"
    folder.mkdir()
    nested = [
        {
            "case_id": number,
            "requested_rewrite": {
                "prompt": "{} is in", "subject": place, "relation_id": "P1", "target_new": {"str": "Rome", "id": "Q1"},
                "target_true": {"str": "Oslo", "id": "Q2"},
            },
            "paraphrase_prompts": [f"{place} lies in"],
            "neighborhood_prompts": [f"Zed{number} is in"],
            "attribute_prompts": [],
            "generation_prompts": [f"{place} stands near"],
        }
        for number, place in enumerate(PLACES[:3])
    ]  # fmt: skip
    (folder / "counterfact.json").write_text(json.dumps(nested))
    plan = Plan(dataset="counterfact", data=tmp_path, model=script, cases=3, side_effects=0)
    without = evaluate(["planted:always"], plan, tmp_path / "without")
    assert "free RS" in without.left_out["planted:always"]
    snippets = [{"relation_id": "P1", "target_id": "Q1", "samples": [{"name": "x", "text": "Rome is an old city."}]}]
    (folder / "attribute_snippets.json").write_text(json.dumps(snippets))
    found = table(evaluate(["base", "planted:always"], plan, tmp_path / "with").rows, "planted:always")
    assert found["free", "RS"] > 0.3
    assert found["free", "GE"] == 0


def test_the_command_prints_rows_of_the_schema(own: Path, script: str, tmp_path: Path) -> None:
    arguments = ["eval", "--method", "base,planted:always", "--dataset", str(own), "--model", script, "--cases", "3"]
    runner = CliRunner()
    done = runner.invoke(cli, [*arguments, "--side-effects", "0", "--out", str(tmp_path / "run"), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    schema = {
        "method", "model", "dataset", "protocol", "edits", "cases", "known", "scoring", "metric", "value", "low",
        "high",
    }  # fmt: skip
    assert all(schema <= row.keys() for row in found["rows"])
    assert {row["scoring"] for row in found["rows"]} == {"free"}  # a scripted model has no probabilities
    assert {row["dataset"] for row in found["rows"]} == {"own.jsonl"}
    assert "the unedited model knows" in done.stderr
    plain = runner.invoke(cli, [*arguments, "--side-effects", "0", "--out", str(tmp_path / "run")])
    assert "reliability" in plain.stdout
    missing = runner.invoke(cli, arguments)
    assert missing.exit_code == 2
    assert "--out RUN" in missing.stderr
    listed = runner.invoke(cli, ["eval", "--method", "?"])
    assert "planted:always" in listed.stdout


def test_bench_methods_prints_the_same_rows(own: Path, script: str) -> None:
    arguments = ["bench", "methods", "--method", "planted:never", "--dataset", str(own), "--model", script]
    done = CliRunner().invoke(cli, [*arguments, "--cases", "3", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["rows"]
    assert table(found, "planted:never")["free", "locality"] == 1
    assert {row["protocol"] for row in found} == {"single"}
    sequence = ["--cases", "3", "--protocol", "sequential", "--edits", "4", "--json"]
    done = CliRunner().invoke(cli, [*arguments[:2], "--method", "planted:always", *arguments[4:], *sequence])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["rows"]
    assert {(row["protocol"], row["edits"], row["cases"]) for row in found} == {("sequential", 4, 3)}
    assert table(found, "planted:always")["free", "retention"] == 1


def test_bench_methods_measures_every_method_that_writes(
    own: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from memedit.evaluation import run
    from memedit.methods import methods

    asked: list[Any] = []

    def watched(names: Sequence[str], plan: Plan, out: Path, **rest: Any) -> run.Result:
        asked.append((list(names), plan))
        return run.Result([], {name: {"free GE": "needs", "free RS": "needs"} for name in names}, {}, 1, None)

    monkeypatch.setattr(run, "evaluate", watched)
    arguments = ["bench", "methods", "--dataset", str(own), "--model", f"hf:{tiny / 'gpt2'}", "--set", "rome.layer=1"]
    done = CliRunner().invoke(cli, [*arguments, "--protocol", "batch", "--edits", "2", "--cases", "4"])
    assert done.exit_code == 0, done.output
    ((names_, plan),) = asked
    assert names_[0] == "base"
    assert set(names_[1:]) == {*methods.names()} - {"depn", "rome"} | {"rome:layer=1"}
    assert (plan.protocol, plan.edits, plan.cases, plan.side_effects) == ("batch", 2, 4, 0)
    assert done.stderr.splitlines()[0] == "base: 2 metrics left out; rows.json and --json say why"
