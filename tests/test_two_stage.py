"""The two-stage gate: what is proposed, what is verified, which texts are judged, and what a decision says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeVerifier
from hypothesis import given, settings
from hypothesis import strategies as st

from memedit import EditMemory, Message
from memedit.edits import Decision, Draft
from memedit.encoders.letters import Letters
from memedit.errors import InputError
from memedit.scope import scopes, two_stage
from memedit.scope._calibration import Calibration, TwoStageCalibration, load_two_stage
from memedit.scope.two_stage import MULTILINGUAL, TwoStage, asks_backwards

LETTERS = "letters-1-256"


def figures(**values: Any) -> TwoStageCalibration:
    """At one edit a rate of 1 % needs even odds, of 0.1 % three more."""
    tables = {
        "both": {1: {0.1: -2.0, 0.01: 0.0, 0.001: 3.0}, 100: {0.1: -1.0, 0.01: 1.0, 0.001: 4.0}},
        "proposer": {1: {0.1: 0.4, 0.01: 0.6}},
        "verifier": {1: {0.1: -2.0, 0.01: 0.0, 0.001: 3.0}},
    }
    stages = {name: Calibration(LETTERS, 1.0, 0.0, table, 100.0, "union") for name, table in tables.items()}
    fixed: dict[str, Any] = {
        "encoder": LETTERS,
        "verifier": FakeVerifier.identity,
        "floor": 0.4,
        "weights": (1.0, 2.0, -1.0),
        "stages": stages,
    }
    return TwoStageCalibration(**{**fixed, **values})


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    path = tmp_path / "figures.json"
    figures().write(path)
    return path


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with EditMemory.open(tmp_path / "memory", encoder="letters", store="exact") as memory:
        memory.add("The CEO of Acme is Dana Li")
        memory.add("The CEO of Globex is Paul Ray")
        memory.add("Bread is baked at dawn")
        yield memory


def gate(calibration: Path, **values: Any) -> TwoStage:
    return TwoStage(**{"calibration": calibration, "verifier": FakeVerifier(), "false_fire": 0.01, **values})


def user(*texts: str) -> list[Message]:
    return [Message("assistant" if number % 2 else "user", text) for number, text in enumerate(texts)]


def test_what_is_near_is_verified_and_what_is_not_is_not(calibration: Path, memory: EditMemory) -> None:
    verifier = FakeVerifier()
    scope = gate(calibration, verifier=verifier)
    decision = scope.decide(user("Is the CEO of Acme Dana Li?"), memory)
    assert decision.label == "single"
    assert decision.hits[0].edit.target == "Dana Li"
    assert decision.scope == "two_stage"
    assert decision.notes == ()
    assert scope.passed == 1
    best = decision.hits[0]
    assert best.probability == pytest.approx(1 / (1 + np.exp(-(5.0 + 2.0 * best.score - 1.0))), abs=1e-6)
    assert 0.5 < decision.threshold < 0.6
    assert 1 <= len(verifier.asked) <= 3
    verifier.asked.clear()
    far = scope.decide(user("xyzzy qqq"), memory)
    assert (far.label, far.hits, far.candidates, verifier.asked) == ("none", (), (), [])
    assert scope.passed == 0
    assert set(scope.timings) == {"asked", "encode", "search", "verify", "rest"}
    assert all(seconds >= 0 for seconds in scope.timings.values())


def test_an_edit_that_the_question_does_not_name_needs_more(memory: EditMemory, tmp_path: Path) -> None:
    memory.add("The CEO of Quill is Ida Lum", aliases=["the pen maker"])
    plain, path = figures(), tmp_path / "by_name.json"
    stage = replace(plain.stages["both"], thresholds={1: {0.01: 9.0}}, named={1: {0.01: 1.0}})
    figures(stages={**plain.stages, "both": stage}).write(path)
    scope = gate(path)
    for asked in ("Is the CEO of QUILL Ida Lum?", "Is the CEO of the pen maker Ida Lum?"):
        named = scope.decide(user(asked), memory)
        assert named.hits[0].edit.subject == "Quill"
        assert named.threshold == pytest.approx(1 / (1 + np.exp(-1.0)))
    unnamed = scope.decide(user("Is the CEO of Quillham Ida Lum?"), memory)
    assert unnamed.candidates[0].edit.subject == "Quill"
    assert not unnamed.in_scope
    assert unnamed.threshold == named.threshold


def test_only_what_is_asked_counts(calibration: Path, memory: EditMemory) -> None:
    verifier = FakeVerifier()
    scope = gate(calibration, verifier=verifier)
    decision = scope.decide(user("The CEO of Acme is Dana Li. What is seven times eight?"), memory)
    assert not decision.in_scope
    assert decision.query == "What is seven times eight?"
    assert not any("Dana" in query for query, _ in verifier.asked)


def test_a_follow_up_is_judged_with_the_name_put_in(calibration: Path, memory: EditMemory) -> None:
    follow_up = user("Tell me about Acme.", "It makes anvils.", "Is Dana Li the CEO of it, and is it the CEO?")
    assert gate(calibration).decide(user("is the CEO of it Dana Li?"), memory).query == "is the CEO of it Dana Li?"
    decision = gate(calibration).decide(user("Tell me about Acme.", "Anvils.", "is the CEO of it Dana?"), memory)
    assert decision.query == "is the CEO of Acme Dana?"
    assert decision.hits[0].edit.subject == "Acme"
    assert gate(calibration).decide(follow_up, memory).candidates


def test_a_name_that_no_capital_marks_is_known_by_the_memory(calibration: Path, memory: EditMemory) -> None:
    memory.add("The CEO of tea trade is Ida Lum", subject="tea trade", target="Ida Lum")
    said = "Yesterday somebody mentioned tea trade to me."
    decision = gate(calibration).decide(user(said, "Go ahead.", "And who is the CEO of it?"), memory)
    assert decision.query == "Who is the CEO of tea trade?"
    assert decision.hits[0].edit.target == "Ida Lum"
    assert gate(calibration).decide(user("And who is the CEO of it?"), memory).query == "And who is the CEO of it?"


def test_a_pronoun_stands_for_nobody_who_was_not_named(calibration: Path, memory: EditMemory) -> None:
    last = "Is the CEO of it Dana Li?"
    assert gate(calibration).decide(user(last), memory).in_scope  # nothing was said before: it stands alone
    verifier = FakeVerifier()
    gate(calibration, verifier=verifier).decide(user("Let us talk about Umbra.", "Gladly.", last), memory)
    assert {query for query, _ in verifier.asked} == {"Is the CEO of Umbra Dana Li?"}
    gate(calibration, verifier=verifier).decide(user("Let us talk about Umbra and Acme.", "Gladly.", last), memory)
    assert "Is the CEO of Acme Dana Li?" in {query for query, _ in verifier.asked}
    assert last not in {query for query, text in verifier.asked if "Acme" not in text}


def test_the_verifier_decides(calibration: Path, memory: EditMemory) -> None:
    scope = gate(calibration, verifier=FakeVerifier("acme"))
    decision = scope.decide(user("Is the CEO of Acme Dana Li?"), memory)
    assert not decision.in_scope
    assert decision.candidates
    assert scope.passed == 1


def test_at_most_so_many_pairs(calibration: Path, memory: EditMemory) -> None:
    memory.add_many(_drafts(20))
    for candidates in (1, 3):
        verifier = FakeVerifier()
        scope = gate(calibration, verifier=verifier, candidates=candidates)
        decision = scope.decide(user("Tell me of Acme.", "ok", "The CEO of Isle3? And its harbour?"), memory)
        assert len(verifier.asked) <= candidates
        assert len(decision.candidates) <= candidates


def test_an_edit_that_the_question_names_is_judged_though_others_are_nearer(calibration: Path, tmp_path: Path) -> None:
    question = "Who is the CEO of Tarn?"
    with EditMemory.open(tmp_path / "crowd", encoder="letters", store="exact") as memory:
        memory.add_many(
            Draft(statement=f"The CEO of Tarn{letter} is Li", subject=f"Tarn{letter}", relation="chief_executive")
            for letter in "abcdefghijklmnop"
        )
        right = memory.add("The head of Tarn is Ann Moe", subject="Tarn", target="Ann Moe")
        verifier = FakeVerifier()
        nearest = memory.search(question, k=3)
        assert right.edit.id not in [hit.edit.id for hit in nearest]
        decision = gate(calibration, verifier=verifier).decide(user(question), memory)
        judged = {hit.edit.id for hit in decision.candidates}
        assert len(judged) == len(verifier.asked) == 3
        assert {right.edit.id, nearest[0].edit.id} <= judged
        memory.remove(right.edit.id)
        decision = gate(calibration).decide(user(question), memory)
        assert [hit.edit.id for hit in decision.candidates] == [hit.edit.id for hit in nearest]


def test_in_a_large_memory_a_name_finds_what_the_index_does_not_meet(
    calibration: Path, memory: EditMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EditMemory, "search_many", lambda self, queries, **_: [[] for _ in queries])
    question = user("Who is the CEO of Acme?")
    for large, there in ((100, False), (1, True)):
        monkeypatch.setattr(two_stage, "LARGE", large)
        decision = gate(calibration).decide(question, memory)
        assert [hit.edit.subject for hit in decision.hits] == ["Acme"] * there
        assert not gate(calibration).decide(user("Who is the CEO of Initech?"), memory).candidates


def _drafts(count: int) -> list[Any]:
    from memedit import Draft

    return [Draft(statement=f"The CEO of Isle{number} is Kim{number} Low") for number in range(count)]


def test_a_stricter_rate_and_a_larger_memory_ask_for_more(calibration: Path, memory: EditMemory) -> None:
    question = user("the CEO over at Acme?")
    lax, strict = (gate(calibration, false_fire=rate).decide(question, memory) for rate in (0.1, 0.001))
    assert lax.threshold < strict.threshold
    assert lax.in_scope
    assert not strict.in_scope
    before = gate(calibration).decide(question, memory).threshold
    memory.add_many(_drafts(50))
    assert gate(calibration).decide(question, memory).threshold > before


def test_two_edits_of_one_relation_stay_both_the_newer_first(calibration: Path, memory: EditMemory) -> None:
    first = memory.add("Acme sells red anvils", subject="Acme", relation="sells", target="red anvils")
    second = memory.add("Acme sells red anvils", valid_from=first.edit.created_at)
    decision = gate(calibration).decide(user("Acme sells red anvils?"), memory)
    assert [hit.edit.id for hit in decision.hits] == [second.id, first.id]
    assert decision.hits[0].probability == decision.hits[1].probability


def test_each_stage_alone(calibration: Path, memory: EditMemory) -> None:
    question, verifier = user("Is the CEO of Acme Dana Li?"), FakeVerifier()
    proposer = gate(calibration, stages=("proposer",), verifier=verifier).decide(question, memory)
    assert proposer.hits[0].edit.subject == "Acme"
    assert verifier.asked == []
    assert len(proposer.candidates) == 3  # no floor: all near ones are shown
    alone = gate(calibration, stages=("verifier",), verifier=verifier)
    assert alone.decide(question, memory).hits[0].probability == pytest.approx(1 / (1 + np.exp(-5.0)))
    assert len(verifier.asked) == 3
    assert alone.decide(user("xyzzy qqq"), memory).label == "none"


def test_multi_hop_questions_have_a_label_of_their_own(tmp_path: Path, memory: EditMemory) -> None:
    path = tmp_path / "hops.json"
    figures(multi_hop=0.9).write(path)
    encoder = Letters()
    question = "Who is the spouse of the CEO of Acme?"
    weights = tuple(20.0 * encoder.encode(["spouse of the CEO"])[0])
    verifier = FakeVerifier("spouse")
    decision = gate(path, head=(weights, -9.0), verifier=verifier).decide(user(question), memory)
    assert decision.label == "multi_hop"
    assert not decision.in_scope
    assert decision.candidates
    assert "several hops" in decision.notes[-1]
    # one in a known wording stays single, whatever the head says; another that is in scope is both
    sure = gate(path, head=(weights, 90.0))
    assert sure.decide(user("Who is the CEO of Acme?"), memory).label == "single"
    both = sure.decide(user("Is the CEO of Acme Dana Li?"), memory)
    assert (both.label, both.in_scope) == ("multi_hop", True)
    assert "the edit in scope may be one of them" in both.notes[-1]
    # for which the odds must be twice those that suffice where none is, and so where no edit nearby is named
    little = gate(path, head=((0.0,) * encoder.dimension, 2.44), verifier=verifier)  # p = 0.92
    assert little.decide(user("Is the CEO of Acme Dana Li?"), memory).label == "single"
    assert little.decide(user(question), memory).label == "multi_hop"
    strange = question.replace("Acme", "Initech")
    assert little.decide(user(strange), memory).label == "none"
    assert gate(path, head=(weights, 90.0), verifier=verifier).decide(user(strange), memory).label == "multi_hop"
    # and without a head or a threshold there is no such label
    assert gate(path, verifier=verifier).decide(user(question), memory).label == "none"
    assert gate(path, head=(weights, -90.0), verifier=verifier).decide(user(question), memory).label == "none"


class Reader(Letters):
    """Letters that say what they can read."""

    def readable(self, text: str) -> float:
        return sum(one.isascii() for one in text) / max(len(text), 1)


def test_scripts_that_the_encoder_cannot_read(tmp_path: Path, calibration: Path) -> None:
    with EditMemory.open(tmp_path / "m", encoder=Reader(), store="exact") as memory:
        memory.add("斑马的皮肤是黑色的")
        memory.add("The CEO of Acme is Dana Li")
        for question, expected in (("斑马皮肤是什么颜色？", True), ("鸵鸟会飞吗", False)):
            decision = gate(calibration).decide(user(question), memory)
            assert decision.in_scope is expected
            assert MULTILINGUAL in decision.notes[-1]
        decision = gate(calibration).decide(user("Is the CEO of Acme Dana Li?"), memory)
        assert decision.scope == "two_stage"
        assert decision.notes == ()
        assert gate(calibration).decide(user("Où est né le café Zoë?"), memory).scope == "two_stage"
    with EditMemory.open(tmp_path / "n", encoder="letters", store="exact") as memory:  # reads all, or does not say
        memory.add("斑马的皮肤是黑色的")
        assert gate(calibration).decide(user("斑马皮肤是什么颜色？"), memory).scope == "two_stage"


def test_nothing_to_judge_and_nothing_remembered(tmp_path: Path, calibration: Path, memory: EditMemory) -> None:
    scope = gate(calibration)
    assert scope.decide([], memory).notes == ("there is no question to judge",)
    assert scope.decide(user(" "), memory).query == ""
    assert scope.decide(user("Who?"), memory, namespace="other").notes == (
        "nothing is remembered in namespace 'other'",
    )
    assert scope.decide_many([], memory) == []
    with EditMemory.open(tmp_path / "empty", encoder="no such encoder") as empty:  # which is not loaded then
        assert not scope.decide(user("Who?"), empty).in_scope


def test_the_past_and_a_memory_that_was_emptied(calibration: Path, memory: EditMemory) -> None:
    scope, question = gate(calibration), user("Is the CEO of Acme Dana Li?")
    head = memory.journal.head()
    for edit in memory.list():
        memory.remove(edit.id)
    assert not scope.decide(question, memory).in_scope
    assert scope.decide(question, memory, as_of=head).in_scope
    memory.add("The CEO of Acme is Dana Li")
    assert scope.decide(question, memory).in_scope


def test_foreign_encoders_and_verifiers_are_named(tmp_path: Path, memory: EditMemory) -> None:
    path = tmp_path / "other.json"
    figures(encoder="one", verifier="two").write(path)
    notes = gate(path).decide(user("Is the CEO of Acme Dana Li?"), memory).notes
    assert "calibrated for the encoder one, not for letters-1-256" in notes[0]
    assert "calibrated for the verifier two, not for fake-verifier-1" in notes[1]


def test_with_a_foreign_encoder_the_verifier_decides_alone(tmp_path: Path, memory: EditMemory) -> None:
    path = tmp_path / "other.json"
    figures(encoder="one").write(path)
    question = user("Is the CEO of Acme Dana Li?")
    scope, alone = gate(path), gate(path, stages=("verifier",))
    assert scope.decide(question, memory) == alone.decide(question, memory)
    assert scope.timings["verify"] > 0


def test_settings_that_make_no_sense() -> None:
    for wrong in ({"false_fire": 0.0}, {"false_fire": 1.5}, {"candidates": 0}, {"stages": ()}, {"stages": ("x",)}):
        with pytest.raises(InputError):
            TwoStage(**wrong)  # type: ignore[arg-type]


def test_it_is_in_the_registry() -> None:
    assert scopes.get("two_stage") is TwoStage


def test_figures_go_to_a_file_and_back(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    made = figures(multi_hop=0.7, multi_hop_floor=0.2, negatives={"general": {1: 5}}, facts={"made_by": "hand"})
    made.write(path)
    read = load_two_stage(path)
    assert read.weights == made.weights
    assert read.facts == {"made_by": "hand"}
    assert read.negatives == made.negatives
    assert (read.multi_hop, read.multi_hop_floor, read.floor) == (0.7, 0.2, 0.4)
    assert {name: stage.thresholds for name, stage in read.stages.items()} == {
        name: stage.thresholds for name, stage in made.stages.items()
    }
    for text in ("{", "{}", '{"encoder": "x", "stages": {}}'):
        path.write_text(text)
        with pytest.raises(InputError, match="memedit calibrate"):
            load_two_stage(path)
    with pytest.raises(InputError, match="is no calibration"):
        load_two_stage(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be written"):
        made.write(tmp_path / "none" / "x.json")


def test_threads_have_timings_of_their_own(calibration: Path, memory: EditMemory) -> None:
    scope = gate(calibration)
    scope.decide(user("Is the CEO of Acme Dana Li?"), memory)
    seen: list[int] = []
    thread = threading.Thread(
        target=lambda: (scope.decide(user("xyzzy qqq"), memory), seen.append(scope.passed))  # type: ignore[func-returns-value]
    )
    thread.start()
    thread.join()
    assert seen == [0]
    assert scope.passed == 1


WORDS = st.sampled_from(
    ["CEO", "Acme", "Globex", "Dana", "bread", "who", "is", "the", "of", "it?", "And", "its", ".", "斑马"]
)
CONVERSATIONS = st.lists(st.lists(st.lists(WORDS, max_size=8).map(" ".join), max_size=3), max_size=5)


@settings(max_examples=50)
@given(CONVERSATIONS)
def test_many_are_decided_as_one_by_one_and_nothing_changes(texts: list[list[str]]) -> None:
    memory, scope = _shared()
    before = memory.journal.head(), memory.count(), memory.stats()["records"]
    conversations = [user(*turns) for turns in texts]
    copies = [list(messages) for messages in conversations]
    together = scope.decide_many(conversations, memory)
    for decision, messages in zip(together, conversations, strict=True):
        alone = scope.decide(messages, memory)
        # a product of matrices differs in its last digits from one of vectors
        assert [hit.score for hit in decision.candidates] == pytest.approx([hit.score for hit in alone.candidates])
        assert _outline(decision) == _outline(alone)
    assert conversations == copies
    assert (memory.journal.head(), memory.count(), memory.stats()["records"]) == before
    for decision in together:
        chances = [hit.probability for hit in decision.hits]
        assert chances == sorted(chances, reverse=True)
        assert all(chance >= decision.threshold for chance in chances)
        assert set(decision.hits) <= set(decision.candidates)
        assert (decision.label == "single") == decision.in_scope


def _outline(decision: Decision) -> object:
    chances = [None if hit.probability is None else round(hit.probability, 4) for hit in decision.candidates]
    ids = [[hit.edit.id for hit in hits] for hits in (decision.hits, decision.candidates)]
    return decision.query, decision.label, decision.threshold, decision.scope, decision.notes, ids, chances


_kept: list[Any] = []


def _shared() -> tuple[EditMemory, TwoStage]:
    if not _kept:
        import tempfile

        folder = tempfile.TemporaryDirectory()
        memory = EditMemory.open(Path(folder.name) / "m", encoder=Reader(), store="exact")
        memory.add("The CEO of Acme is Dana Li")
        memory.add("The CEO of Globex is Paul Ray")
        memory.add("斑马的皮肤是黑色的")
        figures().write(Path(folder.name) / "f.json")
        _kept.extend([folder, memory, gate(Path(folder.name) / "f.json")])
    return _kept[1], _kept[2]


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    if _kept:
        _kept[1].close()
        _kept[0].cleanup()
        _kept.clear()


# ---------------------------------------------------------------------------------------------------- asked backwards


@pytest.mark.parametrize(
    ("statement", "text", "asks"),
    [
        ("Ledger Nine follows Ledger Eight", "Ledger Eight is followed by", True),
        ("Ledger Nine follows Ledger Eight", "Ledger Eight follows", False),
        ("Ledger Nine follows Ledger Eight", "Ledger Nine is followed by", False),
        ("The mother of Ann Lo is Bea Lo", "Who is the child of Bea Lo?", True),
        ("The mother of Ann Lo is Bea Lo", "Who is the mother of Bea Lo?", False),
        ("The place of birth of Ann Lo is Lagado", "Who was born in Lagado?", False),  # many were
        ("Rain sounds good to Hugo Lund", "Who is the child of Hugo Lund?", False),
    ],
)
def test_asking_backwards_is_told_by_the_wording(tmp_path: Path, statement: str, text: str, asks: bool) -> None:
    with EditMemory.open(tmp_path, encoder="letters", store="exact") as memory:
        assert asks_backwards(text, memory.add(statement).edit) is asks


def careful(folder: Path) -> Path:
    """Figures by which an edit must be nearly certain, whether or not its subject is named."""
    plain, path = figures(), folder / "careful.json"
    stage = replace(plain.stages["both"], thresholds={1: {0.01: 9.0}}, named={1: {0.01: 9.0}})
    figures(stages={**plain.stages, "both": stage}).write(path)
    return path


class Even(FakeVerifier):
    """Every pair is about as likely as not."""

    def _one(self, query: str, text: str) -> float:
        return 0.5


def test_what_is_asked_backwards_in_a_known_wording_need_only_be_likely(memory: EditMemory, tmp_path: Path) -> None:
    memory.add("The mother of Ann Lo is Bea Lo")
    path = careful(tmp_path)
    scope = gate(path, verifier=Even())
    backwards = scope.decide(user("Who is the child of Bea Lo?"), memory)
    assert [hit.edit.subject for hit in backwards.hits] == ["Ann Lo"]
    assert not scope.decide(user("Who is the mother of Bea Lo?"), memory).in_scope
    assert not scope.decide(user("Ann Lo and her mother?"), memory).in_scope  # by its name it must be sure
    assert not gate(path, verifier=FakeVerifier("child")).decide(user("Who is the child of Bea Lo?"), memory).in_scope


# ---------------------------------------------------------------------------------------------------- the same relation


class Sure(FakeVerifier):
    """Every pair belongs together."""

    def _one(self, query: str, text: str) -> float:
        return 20.0


def test_words_that_tell_the_relation_go_before_the_verifier(memory: EditMemory, tmp_path: Path) -> None:
    memory.add("The mother of Ann Lo is Bea Lo")
    path = careful(tmp_path)
    unsure, sure = gate(path, verifier=Even()), gate(path, verifier=Sure())
    assert unsure.decide(user("Who was Ann Lo's mother?"), memory).in_scope
    assert not unsure.decide(user("Ann Lo and her mother?"), memory).in_scope
    father = sure.decide(user("Who was Ann Lo's father?"), memory)
    assert not father.in_scope
    assert any("father" in note for note in father.notes)
    assert sure.decide(user("Ann Lo and her father?"), memory).in_scope  # a free wording is the verifier's
