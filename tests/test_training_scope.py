"""The scope classifier's text and trainer, on a handful of facts made up here."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from memedit.parsing import normalise
from memedit.training.scope import (
    LEFT_TO_THE_VERIFIER,
    Mined,
    Recipe,
    Trainer,
    logistic,
    pairing,
    rate_factor,
    role,
    sigmoid_loss,
)
from memedit.training.scope_text import Case, Fact, ScopeWriter, Sources, _keys, _pararel, _pokemqa, trains

SOURCES = Sources(
    counterfact=(
        Fact(
            "Ann Bo", "instrument", "tuba", "Ann Bo plays the tuba",
            ("Ann Bo plays the", "Ann Bo is good at the"), ("Cy Bo plays the",),
        ),
        Fact(
            "Glubb Labs", "chief_executive", "Omar Stone",
            "The CEO of Glubb Labs is Omar Stone", ("Glubb Labs is run by",),
        ),
        Fact("Q", None, "hums", "Q of old hums", ("Q of old",)),
    ),
    trex=(Fact("Freedonia", "capital", "Sylvania City", ""), Fact("Lagado", "country", "Balnibarbi", "")),
    pokemqa=(
        Fact("The Long Tea", "author", "Ida Reed", "The Long Tea's author is Ida Reed", ("Who wrote The Long Tea?",)),
    ),
    patterns={"capital": ("The seat of {subject} is {target}",)},
    sentences=("A sentence from elsewhere.",),
    general=("who sang the song about rain", "How tall is a giraffe?"),
    multi_hop=("Who is married to the author of The Small Tea?",),
    names=("Ann Bo", "Glubb Labs", "Freedonia"),
)  # fmt: skip


@pytest.fixture
def writer() -> ScopeWriter:
    return ScopeWriter(SOURCES, seed=3)


def test_the_same_seed_writes_the_same_cases() -> None:
    first, second = ScopeWriter(SOURCES, 1), ScopeWriter(SOURCES, 2)
    one = first.cases(20)
    second.seed(1)
    first.seed(1)
    assert first.cases(20) == second.cases(20) == one


def test_no_two_cases_share_subject_and_relation(writer: ScopeWriter) -> None:
    slots = [(normalise(case.fact.subject), case.fact.relation) for case in writer.cases(80)]
    assert len(slots) == len(set(slots)) >= 80


def test_a_case_has_the_keys_that_a_memory_writes(tmp_path: Path) -> None:
    from memedit import EditMemory

    fact = SOURCES.counterfact[1]
    with EditMemory.open(tmp_path, encoder="letters") as memory:
        edit = memory.add(fact.statement, subject=fact.subject, target=fact.target).edit
        seq = edit.seq
        assert tuple(memory.journal.keys([seq])[seq]) == _keys(fact)


def test_a_negative_is_never_its_facts_own_question(writer: ScopeWriter) -> None:
    fact = Fact("Freedonia", "capital", "Oz", "The capital of Freedonia is Oz")
    own = {writer.asked_as("Freedonia", "capital").casefold() for _ in range(500)}
    negatives = {writer.negative(fact)[1].casefold() for _ in range(2000)}
    assert not own & negatives
    assert any("freedonia" in text for text in negatives)  # the same subject, another question


def test_queries_of_every_kind_come_up(writer: ScopeWriter) -> None:
    kinds = {writer.query(writer.fact())[0] for _ in range(2000)}
    assert kinds == {"paraphrase", "yes_no", "alias", "reversed", "statement"}


def test_what_nobody_can_say_counts_in_no_loss(writer: ScopeWriter) -> None:
    capital = writer.case(Fact("Oz", "capital", "Em", "The capital of Oz is Em"))
    ruler = writer.case(Fact("Oz", "monarch", "Ida", "The monarch of Oz is Ida"))
    premier = writer.case(Fact("Oz", "prime_minister", "Lee", "The prime minister of Oz is Lee"))
    elsewhere = writer.case(Fact("Poole", "capital", "Em", "The capital of Poole is Em"))
    assert capital.answers(capital, "paraphrase") is True
    assert capital.answers(ruler, "paraphrase") is False
    assert ruler.answers(premier, "paraphrase") is None  # kindred relations of one subject
    assert capital.answers(elsewhere, "paraphrase") is False
    assert capital.answers(elsewhere, "reversed") is None  # both are a place whose capital is Em


def test_a_question_on_the_way_contains_the_facts_noun(writer: ScopeWriter) -> None:
    texts = {writer.two_hops(Fact("Oz", "capital", "Em", "")) for _ in range(100)}
    assert any(text and "capital of Oz" in text for text in texts)


def test_a_pattern_must_end_in_the_target() -> None:
    assert _pararel("[X] was born in [Y].") == "{subject} was born in {target}"
    assert _pararel("[Y] is where [X] was born.") is None


def test_a_generated_question_about_another_relation_is_dropped() -> None:
    row = {
        "edit": "The capital of Oz is Em",
        "questions": ["What is the capital of Oz?", "Who is the head coach of Oz?", "What is Em?"],
    }
    fact = _pokemqa(row)
    assert fact is not None
    assert fact.questions == ("What is the capital of Oz?",)


def test_a_name_is_always_on_the_same_side() -> None:
    sides = [trains(f"name {number}", 0.7) for number in range(2000)]
    assert sides == [trains(f"name {number}", 0.7) for number in range(2000)]
    assert 0.66 < np.mean(sides) < 0.74


def test_a_batch_labels_each_query_against_each_key(writer: ScopeWriter) -> None:
    cases = writer.cases(12)
    pairs = pairing(cases, random.Random(0))
    assert pairs.labels.shape == (len(pairs.queries), len(cases))
    rows = iter(pairs.labels)
    for number, case in enumerate(cases):
        for kind, _ in case.queries:
            key_role = role(case, pairs.keys[number])
            fits = key_role != ("question" if kind == "reversed" else "reversed")
            assert next(rows)[number] == (1 if fits else -1)
        for kind, _ in case.negatives:
            if kind not in LEFT_TO_THE_VERIFIER:
                assert next(rows)[number] == 0
    assert next(rows, None) is None


def test_the_loss_falls_as_pairs_come_to_their_places_and_ignores_the_unknown() -> None:
    labels = torch.tensor([[1, 0, -1]])
    scale, bias = torch.tensor(3.0), torch.tensor(-10.0)
    good = sigmoid_loss(torch.tensor([[0.9, 0.1, 0.9]]), labels, scale, bias)
    assert good < sigmoid_loss(torch.tensor([[0.1, 0.9, 0.9]]), labels, scale, bias)
    assert good == sigmoid_loss(torch.tensor([[0.9, 0.1, -0.9]]), labels, scale, bias)


def test_mining_finds_what_is_taken_for_a_case(writer: ScopeWriter) -> None:
    cases = writer.cases(4)[:4]
    keys = np.eye(4, dtype=np.float32)
    queries = np.array([[1, 0.9, 0, 0], [0.9, 1, 0, 0], [0, 0, 1, 0.9], [0, 0, 0.9, 1]], np.float32)
    mined = Mined(cases, keys, queries, near=2)
    assert mined.near == [[1], [0], [3], [2]]
    group = mined.group(random.Random(0))
    assert len(group) == 2


def test_the_head_separates_what_a_plane_can() -> None:
    rows = np.random.default_rng(0).standard_normal((400, 8)).astype(np.float32)
    labels = (rows[:, 2] > 0).astype(np.float64)
    weights, bias = logistic(rows, labels)
    assert ((rows @ weights + bias > 0) == (labels > 0)).mean() > 0.97


def test_the_rate_warms_up_and_falls() -> None:
    assert rate_factor(0.0) < rate_factor(0.04) > rate_factor(0.5) > rate_factor(1.0) > 0


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with a word-piece vocabulary of letters."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("base")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789?.,:'!"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=64
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    return folder


RECIPE = Recipe(cases=8, pairs=16, pool=24, tokens=48)


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    lines: list[str] = []
    Trainer(SOURCES, base, out, RECIPE, steps=4, report=lines.append).run()
    assert any("multi-hop head" in line for line in lines)
    return out


@pytest.mark.filterwarnings("ignore")
def test_what_is_trained_loads_in_sentence_transformers(trained: Path) -> None:
    from sentence_transformers import CrossEncoder, SentenceTransformer

    rows = SentenceTransformer(str(trained / "encoder"), device="cpu").encode(["who leads oz?"])
    assert rows.shape == (1, 32)
    assert abs(float(np.linalg.norm(rows)) - 1) < 1e-4
    assert CrossEncoder(str(trained / "verifier"), device="cpu").predict([("who?", "oz is led by ida")]).shape == (1,)
    head = json.loads((trained / "head.json").read_text())
    assert len(head["weights"]) == 32


def test_a_run_by_steps_is_repeatable_and_resumes(base: Path, trained: Path, tmp_path: Path) -> None:
    Trainer(SOURCES, base, tmp_path, RECIPE, steps=4, report=lambda _: None).run()
    first = torch.load(trained / "checkpoint.pt", weights_only=True)
    again = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    for name, tensor in first["encoder"].items():
        assert torch.allclose(tensor, again["encoder"][name], atol=1e-5), name
    # Everything is done: a resumed run trains nothing more.
    resumed = Trainer(SOURCES, base, tmp_path, RECIPE, steps=4, resume=True, report=lambda _: None)
    resumed.run()
    for name, tensor in resumed.encoder.state_dict().items():
        assert torch.equal(tensor, again["encoder"][name]), name


def test_a_case_reads_as_the_verifier_reads_an_edit() -> None:
    case = Case(Fact("Oz", "capital", "Em", "The capital of Oz is Em", aliases=("Ozz",)), ("k",), ())
    assert case.text == "The capital of Oz is Em | also: Ozz"


def test_the_card_says_what_was_measured(tmp_path: Path) -> None:
    from memedit.training.scope_card import card

    (tmp_path / "encoder.onnx").write_bytes(bytes(2_000_000))
    (tmp_path / "verifier.onnx").write_bytes(bytes(1_000_000))
    row = {"dataset": "mine", "query": "yes", "negative": "general", "edits": 2000, "positives": 10, "top1": 0.987}
    row |= {"false_fires_shipped": 0.00123, "eer": None}
    trained = {"base": "a base", "seed": 3, "encoder_minutes": 41.2, "verifier_minutes": 30.0}
    text = card({"rows": [row]}, tmp_path, trained, "memedit bench scope")
    assert "(2.0 MB" in text
    assert "for\n41 minutes" in text
    assert "| mine | yes | general | 2,000 | 10 | – | 98.7 | – | – | – | 0.12 | – | – |" in text
