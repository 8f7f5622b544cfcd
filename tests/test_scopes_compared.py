"""The scopes for comparison: what all of them promise, and what each decides by."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import edit
from numpy.typing import NDArray

from memedit.edits import Decision, Message
from memedit.errors import InputError
from memedit.memory import EditMemory
from memedit.scope import scopes
from memedit.scope.characters import Characters
from memedit.scope.lexical import Lexical
from memedit.scope.poke_mqa import PokeMqa
from memedit.scope.recipe import Recipe, fit, load_prototype
from memedit.scope.regular_expressions import RegularExpressions, fault, patterns_of
from memedit.scope.serac import Serac, embedding_probability

FACT = "The CEO of Acme is Dana Li"
QUESTION = "Who is the CEO of Acme?"


class WordVerifier:
    """Log odds 3 for a text with all of the query's capitalised words but the first, else -3; keeps what it read."""

    def __init__(self) -> None:
        self.read: list[tuple[str, tuple[str, ...]]] = []

    def logits(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        self.read.append((query, tuple(texts)))
        names = [word.strip("?.,") for word in query.split()[1:] if word[0].isupper()]
        right = [bool(names) and all(name in text for name in names) for text in texts]
        return np.where(right, 3.0, -3.0).astype(np.float32)


def a_prototype(folder: Path, *, size: int = 256, level: float = 0.08) -> Path:
    """A prototype of the letters' encoder whose product with a text is middling: only near edits beat it."""
    path = folder / "prototype.json"
    path.write_text(json.dumps({"encoder": "letters-1-256", "prototype": [level] * size}))
    return path


GATES: dict[str, Callable[[Path], Any]] = {
    "characters": lambda folder: Characters(),
    "lexical": lambda folder: Lexical(),
    "regular_expressions": lambda folder: RegularExpressions(),
    "serac": lambda folder: Serac(threshold=0.35),
    "serac, cross-attention": lambda folder: Serac(variant="cross_attention", verifier=WordVerifier()),
    "recipe": lambda folder: Recipe(prototype=a_prototype(folder)),
    "poke_mqa": lambda folder: PokeMqa(threshold=0.35, verifier=WordVerifier()),
}


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with EditMemory.open(tmp_path / "memory", encoder="letters") as opened:
        yield opened


@pytest.fixture(params=GATES)
def gate(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return GATES[request.param](tmp_path)


def ask(gate: Any, memory: EditMemory, *texts: str, **where: Any) -> Decision:
    made = gate.decide([Message("user", text) for text in texts], memory, **where)
    assert isinstance(made, Decision)
    return made


def found(decision: Decision) -> list[str]:
    return [hit.edit.statement for hit in decision.hits]


# --- what all of them promise


def test_in_scope_out_of_scope_and_what_the_decision_says(gate: Any, memory: EditMemory) -> None:
    memory.add(FACT)
    memory.add("Bread is baked at dawn")
    inside = ask(gate, memory, "How are you?", QUESTION)
    assert found(inside) == [FACT]
    assert (inside.query, inside.scope, inside.label, inside.notes) == (QUESTION, gate.name, "single", ())
    assert set(inside.hits) <= set(inside.candidates)
    assert all(0 <= (hit.probability or 0.0) <= 1 for hit in inside.candidates)
    outside = ask(gate, memory, QUESTION, "How tall do giraffes grow?")
    assert (outside.hits, outside.label, outside.query) == ((), "none", "How tall do giraffes grow?")
    assert not outside.in_scope


def test_nothing_remembered_and_nothing_asked(gate: Any, memory: EditMemory) -> None:
    assert ask(gate, memory, QUESTION).notes == ("nothing is remembered in namespace 'default'",)
    memory.add(FACT)
    for decision in (ask(gate, memory), ask(gate, memory, " \n")):
        assert (decision.hits, decision.candidates, decision.label) == ((), (), "none")
        assert decision.notes == ("there is no question to judge",)
    assert gate.decide([Message("assistant", QUESTION)], memory).notes == ("there is no question to judge",)


def test_namespaces_are_apart(gate: Any, memory: EditMemory) -> None:
    memory.add(FACT, namespace="one")
    memory.add("Bread is baked at dawn", namespace="two")
    assert found(ask(gate, memory, QUESTION, namespace="one")) == [FACT]
    assert not ask(gate, memory, QUESTION, namespace="two").hits
    assert not ask(gate, memory, QUESTION, namespace="three").candidates
    assert found(ask(gate, memory, QUESTION, namespace="one")) == [FACT]


def test_the_past_is_judged_as_it_was(gate: Any, memory: EditMemory) -> None:
    first = memory.add(FACT)
    second = memory.add("The CEO of Acme is Kim Roe")
    assert [hit.edit.id for hit in ask(gate, memory, QUESTION).hits] == [second.id]
    assert [hit.edit.id for hit in ask(gate, memory, QUESTION, as_of=1).hits] == [first.id]
    assert not ask(gate, memory, QUESTION, as_of=0).candidates
    memory.remove(second.id)
    assert not ask(gate, memory, QUESTION).hits
    assert [hit.edit.id for hit in ask(gate, memory, QUESTION, as_of=2).hits] == [second.id]
    memory.undo(last=1)
    assert [hit.edit.id for hit in ask(gate, memory, QUESTION).hits] == [second.id]


def test_deciding_changes_nothing_and_is_the_same_twice(gate: Any, memory: EditMemory) -> None:
    memory.add(FACT)
    before = memory.journal.head(), memory.list(state="all")
    messages = [Message("user", QUESTION)]
    first = gate.decide(messages, memory)
    assert gate.decide(messages, memory) == first
    assert messages == [Message("user", QUESTION)]
    assert (memory.journal.head(), memory.list(state="all")) == before
    with pytest.raises(FrozenInstanceError):
        gate.candidates = 1


def test_threads_may_ask_while_another_writes(gate: Any, memory: EditMemory) -> None:
    memory.add(FACT)

    def work(number: int) -> list[str]:
        if number % 4 == 0:
            memory.add(f"The harbour of Isle{number} is Port{number}")
        return found(ask(gate, memory, QUESTION))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(24))) == [[FACT]] * 24


@pytest.mark.parametrize("name", ["characters", "lexical", "regular_expressions", "serac", "recipe", "poke_mqa"])
def test_each_is_an_entry_that_needs_no_settings(name: str) -> None:
    assert scopes.get(name)().name == name


# --- lexical


def test_the_subject_must_be_there_and_rare_words_weigh_more(memory: EditMemory) -> None:
    for company in ("Acme", "Zenith", "Borealis"):
        memory.add(f"The CEO of {company} is Dana Li", subject=company, target="Dana Li")
    assert found(ask(Lexical(), memory, "Acme, who is it led by?")) == ["The CEO of Acme is Dana Li"]
    assert not ask(Lexical(threshold=0.9), memory, "Acme, who is it led by?").hits
    elsewhere = ask(Lexical(), memory, "Who is the CEO of Umbra?")
    assert not elsewhere.hits
    assert elsewhere.candidates
    memory.add("The mayor of Port Hollow is Ann Day", subject="Port Hollow", aliases=["Hollow Harbour"])
    assert ask(Lexical(), memory, "Who is Hollow Harbour's mayor?").hits
    assert not ask(Lexical(), memory, "Who is the mayor of Port Royal?").hits


# --- regular expressions


def test_patterns_and_names(memory: EditMemory) -> None:
    memory.add(FACT, subject="Acme", aliases=["/who (runs|leads) the anvil maker/", "A.C.M.E. Works"])
    memory.add("/how (tall|high) is .*everest/ Mount Everest is 9,000 m high", kind="pattern", subject="the peak")
    gate = RegularExpressions()
    by_pattern = ask(gate, memory, "Say, WHO LEADS the anvil maker?")
    assert (found(by_pattern), by_pattern.hits[0].key) == ([FACT], "/who (runs|leads) the anvil maker/")
    assert by_pattern.hits[0].probability == 1.0
    assert ask(gate, memory, "how high is Mount Everest").hits[0].edit.kind == "pattern"
    assert found(ask(gate, memory, "What is acme's address?")) == [FACT]
    assert found(ask(gate, memory, "Does A.C.M.E. Works hire?")) == [FACT]
    assert not ask(gate, memory, "What is acmeology?").hits
    assert not ask(RegularExpressions(threshold=0.95), memory, "What is Acme's address?").hits


def test_a_statement_of_kind_pattern_may_be_the_pattern() -> None:
    assert patterns_of(edit(1, r"(colour|color) of \w+", kind="pattern")) == [r"(colour|color) of \w+"]
    assert patterns_of(edit(1, r"/a\/b/ says something", kind="pattern")) == [r"a\/b"]
    assert patterns_of(edit(1, "/etc is a folder")) == []


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+b",
        r"(a|aa)+b",
        r"(?:\w*\s?)*x",
        r"([a-z]{1,9}){2,9}!",
        r"(a)\1",
        r"(?=a)a*",
        r"(?i)a",
        r".*.*.*.*x",
        "a?" * 30 + "a" * 30,
        r"(a|b)(a|b)" * 12,
        r"\w{1,5000}",
        "(",
        "[",
        "a" * 201,
        "((a*)b)*",
    ],
)
def test_patterns_that_could_take_forever_are_refused_and_named(memory: EditMemory, pattern: str) -> None:
    memory.add(FACT, aliases=[f"/{pattern}/"])
    began = time.perf_counter()
    decision = ask(RegularExpressions(), memory, "a" * 250)
    assert time.perf_counter() - began < 5
    assert not decision.hits
    assert decision.notes[0].startswith(f"the pattern /{pattern}/ is not used: ")
    assert found(ask(RegularExpressions(), memory, QUESTION)) == [FACT]  # its name still fits


@pytest.mark.parametrize(
    "pattern",
    [
        r"who (runs|leads) acme",
        r"\bacme\b.*\bceo\b",
        r"colou?r",
        r"[+*(]{1,3}",
        r"a{2}",
        r"(?:x|y) z",
        r"[]a]+",
        r"\(a\+\)",
    ],
)
def test_plain_patterns_are_used(pattern: str) -> None:
    assert fault(pattern, 300) is None


@pytest.mark.parametrize("pattern", [r".*.*x", r"\w*\d*x", "a?" * 6 + "a*x", r"(a|b|c|d)(a|b|c|d)a*x"])
def test_the_worst_that_is_let_through_ends(memory: EditMemory, pattern: str) -> None:
    assert fault(pattern, 300) is None
    memory.add(FACT, aliases=[f"/{pattern}/"])
    began = time.perf_counter()
    decision = ask(RegularExpressions(), memory, "a" * 100_000)
    assert time.perf_counter() - began < 5
    assert decision.notes == ("patterns were run on the last 300 characters of the question only",)


# --- SERAC


def test_the_published_radius() -> None:
    assert embedding_probability(1.0) == 1.0
    assert embedding_probability(1 - math.log(2) / 2) == pytest.approx(0.5)
    assert Serac().threshold == 0.5


def test_one_edit_at_most_and_only_above_the_threshold(memory: EditMemory) -> None:
    memory.add(FACT)
    memory.add("The CEO of Acme Two is Kim Roe")
    near = ask(Serac(), memory, FACT)
    assert found(near) == [FACT]
    assert len(near.candidates) == 2
    for hit in near.candidates:
        assert hit.probability == pytest.approx(math.exp(-(2 - 2 * hit.score)), abs=1e-6)
    assert not ask(Serac(), memory, "How tall do giraffes grow?").hits
    with pytest.raises(InputError, match="embedding, cross_attention"):
        Serac(variant="other")  # type: ignore[arg-type]


def test_cross_attention_reads_the_nearest_pairs_and_takes_the_best(memory: EditMemory) -> None:
    memory.add("The CEO of Acmeon is Kim Roe")
    memory.add(FACT, aliases=["Acme Works"])
    memory.add("Bread is baked at dawn")
    judge = WordVerifier()
    decision = ask(Serac(variant="cross_attention", pairs=2, verifier=judge), memory, "Is Dana the CEO of Acme?")
    assert found(decision) == [FACT]
    assert decision.hits[0].probability == pytest.approx(1 / (1 + math.exp(-3)), abs=1e-6)
    ((query, texts),) = judge.read
    assert query == "Is Dana the CEO of Acme?"
    assert len(texts) == 2
    assert f"{FACT} | also: Acme Works" in texts
    assert not ask(Serac(variant="cross_attention", verifier=judge), memory, "Is Rio the CEO of Acme?").hits


# --- PokeMQA


def test_one_candidate_needs_no_second_stage_and_several_do(memory: EditMemory) -> None:
    memory.add(FACT)
    judge = WordVerifier()
    gate = PokeMqa(verifier=judge)
    assert found(ask(gate, memory, FACT)) == [FACT]
    assert judge.read == []
    memory.add("The CEO of Acmeon is Dana Li")
    assert found(ask(gate, memory, "The CEO of Acmeon is Dana")) == ["The CEO of Acmeon is Dana Li"]
    assert len(judge.read[0][1]) == 2
    neither = ask(gate, memory, "The CEO of Acme is Rio Li")
    assert len(judge.read) == 2
    assert not neither.hits
    assert len(neither.candidates) == 2


# --- RECIPE


def test_each_query_brings_its_own_threshold(memory: EditMemory, tmp_path: Path) -> None:
    memory.add(FACT)
    memory.add("Bread is baked at dawn")
    easy = Recipe(prototype=a_prototype(tmp_path))
    assert found(ask(easy, memory, QUESTION)) == [FACT]
    hard = Recipe(prototype=a_prototype(tmp_path, level=0.3))
    strict = ask(hard, memory, QUESTION)
    assert not strict.hits
    assert strict.threshold == 0.5
    assert all((hit.probability or 0.0) < 0.5 for hit in strict.candidates)
    assert not ask(Recipe(prototype=a_prototype(tmp_path), margin=2.0), memory, QUESTION).hits


def test_a_prototype_of_another_encoder_is_named(memory: EditMemory, tmp_path: Path) -> None:
    memory.add(FACT)
    path = a_prototype(tmp_path)
    path.write_text(path.read_text().replace("letters-1-256", "another"))
    notes = ask(Recipe(prototype=path), memory, QUESTION).notes
    assert notes[0].startswith("the null prototype was learned for the encoder another, not for letters-1-256")
    with pytest.raises(InputError, match="has 8 numbers, vectors of letters-1-256 have 256"):
        ask(Recipe(prototype=a_prototype(tmp_path, size=8)), memory, QUESTION)


def test_the_shipped_prototype_is_sound_and_broken_files_are_told(tmp_path: Path) -> None:
    shipped = Recipe()._learned
    assert shipped.vector.shape == (384,)
    assert shipped.encoder
    path = tmp_path / "p.json"
    for text in (
        None,
        "{",
        "[]",
        '{"encoder": "x"}',
        '{"encoder": "x", "prototype": []}',
        '{"encoder": "x", "prototype": [NaN]}',
    ):
        if text is not None:
            path.write_text(text)
        with pytest.raises(InputError, match="is no prototype"):
            load_prototype(path)


def test_fitting_parts_queries_from_other_edits() -> None:
    random = np.random.default_rng(1)

    def unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    common = 0.6 * unit(random.normal(size=(1, 32)))  # what all texts share, so that there is a threshold to learn
    edits = unit(random.normal(size=(64, 32)) / 8 + common)
    queries = unit(edits + random.normal(size=(64, 32)) / 20)
    apart = unit(random.normal(size=(200, 32)) / 8 + common)
    prototype = fit(apart, queries, edits, steps=500)
    assert (prototype == fit(apart, queries, edits, steps=500)).all()
    own = (queries * edits).sum(axis=1) > queries @ prototype
    away = (apart @ edits.T).max(axis=1) > apart @ prototype
    assert own.mean() > 0.9
    assert away.mean() < 0.2
    with pytest.raises(InputError, match="do not go together"):
        fit(apart, queries, edits[:3])
    assert fit(apart[:0], queries, edits, steps=5).shape == (32,)


def test_making_the_prototype_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from memedit.training.recipe import main

    rows = [
        {
            "prompt": f"The harbour of Isle{n} is called",
            "target_new": f"Port{n}",
            "rephrase_prompt": f"Isle{n}'s harbour is called",
            "locality_prompt": f"The harbour of Bay{n} is called",
        }
        for n in range(16)
    ]
    (tmp_path / "counterfact").mkdir()
    (tmp_path / "counterfact" / "train.json").write_text(json.dumps(rows))
    (tmp_path / "questions").mkdir()
    lines = [json.dumps({"question": f"how high is hill {n}"}) for n in range(20)]
    (tmp_path / "questions" / "nq_open_dev.jsonl").write_text("\n".join(lines))
    out = tmp_path / "out.json"
    main(["--data", str(tmp_path), "--encoder", "letters", "--steps", "50", "--out", str(out)])
    made = load_prototype(out)
    assert made.encoder == "letters-1-256"
    assert made.vector.shape == (256,)
    assert "Isle" not in out.read_text()
    shares = json.loads(capsys.readouterr().err)
    assert shares["edits"] == 4
    assert set(shares) == {"edits", "recall", "false_fires_neighbour", "false_fires_general"}
