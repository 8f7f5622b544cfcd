"""The characters' gate: what it takes an edit for, and how well it does on pairs of which it has not seen one half.

`chinese_pairs.json` holds edits with questions, written for this test. Half of the edits (by a checksum) were put aside
before the rules and tables were tuned; the levels for that half are lower, and nearer to what a user can expect.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zlib import crc32

import pytest
from fakes import edit
from hypothesis import given
from hypothesis import strategies as st

from memedit.edits import Decision, Message
from memedit.memory import EditMemory
from memedit.scope.characters import (
    Characters,
    CharacterShelf,
    asked_sentences,
    language_of,
    languages,
    segments,
    take_apart,
)

PAIRS = json.loads((Path(__file__).parent / "chinese_pairs.json").read_text(encoding="utf-8"))
IN_SCOPE = ("paraphrase", "yes_no", "reversed")
OUT_OF_SCOPE = ("other", "name", "general")

ZEBRA = "斑马的皮肤是黑色的"


def ask(memory: EditMemory, *texts: str, scope: Characters | None = None, **where: object) -> Decision:
    gate = scope or Characters()
    return gate.decide([Message("user", text) for text in texts], memory, **where)  # type: ignore[arg-type]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with EditMemory.open(tmp_path, encoder="letters") as opened:
        yield opened


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Counter[str]]:
    """For each half: how many pairs of each kind there are, and, under "right KIND", how many were decided rightly.

    All edits are in one memory. In scope is right where the edit asked for comes first, out of scope where none fires.
    """
    found: dict[int, Counter[str]] = {0: Counter(), 1: Counter()}
    gate = Characters()
    with EditMemory.open(tmp_path_factory.mktemp("pairs"), encoder="letters") as memory:
        for row in PAIRS:
            memory.add(row["edit"])
        for row in PAIRS:
            half = found[crc32(row["edit"].encode()) % 2]
            for kind in (*IN_SCOPE, *OUT_OF_SCOPE):
                for question in row.get(kind, ()):
                    fired = [hit.edit.statement for hit in ask(memory, question, scope=gate).hits]
                    right = fired[:1] == [row["edit"]] if kind in IN_SCOPE else not fired
                    half.update([kind, *(["right " + kind] if right else [])])
    return found


def share(counts: Counter[str], kinds: tuple[str, ...]) -> float:
    return sum(counts["right " + kind] for kind in kinds) / sum(counts[kind] for kind in kinds)


def test_there_are_pairs_enough() -> None:
    assert len({row["edit"] for row in PAIRS}) >= 60
    assert sum(len(row.get(kind, ())) for row in PAIRS for kind in (*IN_SCOPE, *OUT_OF_SCOPE)) >= 200


def test_the_half_that_the_rules_were_tuned_on(measured: dict[int, Counter[str]]) -> None:
    assert share(measured[0], IN_SCOPE) >= 0.95
    assert share(measured[0], OUT_OF_SCOPE) >= 0.99


def test_the_half_that_was_put_aside(measured: dict[int, Counter[str]]) -> None:
    assert share(measured[1], IN_SCOPE) >= 0.80
    assert share(measured[1], OUT_OF_SCOPE) >= 0.96
    assert share(measured[1], ("name",)) == 1.0  # no near-miss name fires


@pytest.mark.parametrize(
    "question", ["斑马皮肤是什么颜色？", "请告诉我斑马的肤色", "剃毛后的斑马什么颜色", "斑馬的皮膚是什麼顏色？"]
)
def test_the_zebra_is_asked_for(memory: EditMemory, question: str) -> None:
    memory.add(ZEBRA)
    decision = ask(memory, question)
    assert [hit.edit.statement for hit in decision.hits] == [ZEBRA]
    assert decision.label == "single"
    assert decision.hits[0].probability is not None
    assert decision.hits[0].probability >= decision.threshold


@pytest.mark.parametrize(
    "question", ["赤兔马皮肤什么颜色", "斑马喜欢吃什么", "鸵鸟会飞吗", "斑马鱼是什么颜色", "你好", "？？"]
)
def test_others_are_not(memory: EditMemory, question: str) -> None:
    memory.add(ZEBRA)
    assert not ask(memory, question).hits


def test_what_an_edit_is_taken_for() -> None:
    first = take_apart(edit(1, ZEBRA)).readings[0]
    assert first.names == ((("斑", "马"),),)
    assert first.facets == {"skin", "colour"}
    assert "".join(first.target) == "黑色"
    forwards, *_, backwards = take_apart(edit(1, "法国的首都是里昂")).readings
    assert forwards.names == ((("法", "国"),),)
    assert backwards.names == ((("里", "昂"),),)
    assert forwards.facets == backwards.facets == {"capital"}
    assert take_apart(edit(1, "说不清楚")).readings[0].names == ()


def test_a_sentence_that_restates_an_edit_is_no_reason_to_fire(memory: EditMemory) -> None:
    memory.add(ZEBRA)
    assert not ask(memory, "斑马的皮肤是黑色的。北京有多少人口？").hits
    assert ask(memory, "北京有两千万人口。斑马的皮肤是什么颜色？").hits
    assert ask(memory, "昨天我们在动物园看见了斑马。它的皮肤是什么颜色？").hits
    assert asked_sentences("甲。乙？丙。丁？") == [("乙？", "甲。"), ("丁？", "甲。乙？丙。")]


def test_the_longer_of_two_loaded_names_is_meant(memory: EditMemory) -> None:
    memory.add("北京的校长是王平")
    memory.add("北京大学的校长是李安")
    decision = ask(memory, "北京大学的校长是谁？")
    assert [hit.edit.statement for hit in decision.hits] == ["北京大学的校长是李安"]


def test_a_given_subject_and_its_aliases_are_names(memory: EditMemory) -> None:
    memory.add("黑白条纹的草原动物皮肤是黑色的", subject="黑白条纹的草原动物", target="黑色", aliases=["花条马"])
    assert ask(memory, "花条马的皮肤是什么颜色？").hits
    assert not ask(memory, "花条马吃什么？").hits


@pytest.mark.parametrize(
    ("statement", "inside", "outside"),
    [
        ("東京の市長は田中太郎です", "東京の市長は誰ですか？", "大阪の市長は誰ですか？"),
        ("シマウマの皮膚は黒い", "シマウマの肌の色は？", "シマウマは何を食べますか？"),
        ("프랑스의 수도는 리옹이다", "프랑스 수도가 어디야?", "독일의 수도는 어디인가요?"),
        ("아크메의 대표는 김민수이다", "아크메 CEO는 누구야?", "아크메의 본사는 어디인가요?"),
        ("Столица России — Казань", "Назови столицу России", "Какая столица Франции?"),
        ("Директор Ромашки — Иван Петров", "Кто возглавляет Ромашку?", "Где находится Ромашка?"),
        ("عاصمة فرنسا هي ليون", "أخبرني ما عاصمة فرنسا", "ما هي عاصمة ألمانيا؟"),
        ("مدير شركة النور هو سامي حداد", "من يدير شركة النور؟", "أين تقع شركة النور؟"),
        ("The CEO of Acme is Dana Li", "who runs Acme now?", "Where is Acme located?"),
    ],
)
def test_other_scripts(memory: EditMemory, statement: str, inside: str, outside: str) -> None:
    memory.add(statement)
    memory.add(ZEBRA)
    assert [hit.edit.statement for hit in ask(memory, inside).hits] == [statement]
    assert not ask(memory, outside).hits


def test_the_shelf_follows_the_journal(memory: EditMemory) -> None:
    gate = Characters()
    question = "斑马的皮肤是什么颜色？"
    assert not ask(memory, question, scope=gate).hits
    first = memory.add(ZEBRA)
    assert ask(memory, question, scope=gate).hits
    memory.remove(first.id)
    assert not ask(memory, question, scope=gate).hits
    memory.undo(last=1)
    assert ask(memory, question, scope=gate).hits
    newer = memory.replace(first.id, "斑马的皮肤是绿色的")
    assert [hit.edit.id for hit in ask(memory, question, scope=gate).hits] == [newer.id]
    assert [hit.edit.id for hit in ask(memory, question, scope=gate, as_of=1).hits] == [first.id]
    memory.purge(id=first.id)
    assert not ask(memory, question, scope=gate, as_of=1).candidates
    later = datetime.now(UTC) + timedelta(days=1)
    memory.add("企鹅的皮肤是黑色的", valid_from=later)
    assert not ask(memory, "企鹅的皮肤是什么颜色？", scope=gate).hits


def test_latin_letters_can_be_left_out(memory: EditMemory) -> None:
    memory.add("The CEO of Acme is Dana Li")
    question = "Who is the CEO of Acme?"
    assert ask(memory, question).hits
    assert not ask(memory, question, scope=Characters(latin=False)).candidates


def test_rare_grams_count_more(memory: EditMemory) -> None:
    gate = Characters()
    for name in ("甲", "乙", "丙"):
        memory.add(f"{name}某某的皮肤是黑色的")
    with gate._shelves.open(memory, "default", None) as shelf:
        assert shelf.weight(("甲",)) > shelf.weight(("皮",)) > 0
        assert shelf.weight(("甲", "某")) > shelf.weight(("甲",))


def test_the_tables_are_sound() -> None:
    for language in languages().values():
        facets = {value for tags in language.words.values() for kind, value in tags if kind == "facet"}
        assert all(one in facets for pair in language.same.items() for one in (pair[0], *pair[1])), language.name
        assert set(language.facet_types) <= facets, language.name
        assert all(word for word in language.words), language.name


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=5))
def test_any_text_is_taken_apart_and_covered(text: str, question: str, name: str) -> None:
    shelf = CharacterShelf()
    shelf.put(edit(1, text))
    shelf.put(edit(2, f"{name}的{text}", subject=name, target=text[:5], aliases=(question[:3],)))
    assert all(taken.readings for taken in shelf.edits.values())
    assert all(0 <= score <= 1 for score in Characters()._scores(shelf, question + name).values())
    shelf.take(1)
    shelf.take(2)
    assert not shelf.first
    assert not shelf.edits
    assert not +shelf.rarity
    language = language_of(question)
    tokens = language.tokens(question)
    covered = [at for piece in segments(language, tokens, ()) for at in range(piece.start, piece.end)]
    assert covered == list(range(len(tokens)))
    assert all(sentence for sentence, _ in asked_sentences(question))
