"""Edits in the weights: before, after, undone, purged, as of then, side by side, and what the journal holds of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from click.testing import CliRunner, Result
from fakes import Named
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, multiple, rule
from test_journal import SPACE, AgainstFold, row

from memedit import baking, writer
from memedit.cli import cli
from memedit.editor import Editor
from memedit.edits import Answer, Message
from memedit.errors import ConflictError, InputError, ModelError, NotFoundError
from memedit.fold import said
from memedit.journal import Journal
from memedit.memory import EditMemory
from memedit.methods import make
from memedit.models.hugging_face import HuggingFace
from memedit.models.scripted import Scripted
from memedit.schema import At, Fitted
from memedit.weights.change import Change, edited
from memedit.weights.language_model import Request, request_of

# Settings that let an edit take on three layers of noise, in few steps.
TUNED: dict[str, Any] = {"rate": 3e-2, "steps": 8, "layer": 2}
SEARCH: dict[str, Any] = {"steps": 12, "rate": 0.3, "decay": 0.0, "clamp": 6.0, "stop": 0.01, "texts": 24}
SPREAD: dict[str, Any] = {**SEARCH, "layers": (0, 1)}
CAPITAL = "The capital of Ostland is"
RIVER = "The river of New Ivory Coast is"
PLAYS = "Vela Marsh plays in Dorne"  # its parts cannot be told from it, so they are given
PARTS = {"subject": "Vela Marsh", "target": "Dorne", "prompt": "Vela Marsh plays in"}
PARTS_SAID = [text for name, part in PARTS.items() for text in (f"--{name}", part)]


@pytest.fixture(autouse=True)
def places(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMEDIT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("MEMEDIT_CONFIG", "")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def taking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is fitted takes: layers of noise never stop behind a target. tests/test_looks.py has what does not."""
    monkeypatch.setattr("memedit.looks.says", lambda *_, **__: True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny GPT-2 as it would lie on a disk."""
    where = tmp_path_factory.mktemp("models") / "gpt2"
    made = tiny.build("gpt2")
    made.model.save_pretrained(where)
    made.tokenizer.save_pretrained(where)
    return where


@pytest.fixture(scope="module")
def model(folder: Path) -> HuggingFace:
    return HuggingFace(str(folder), device="cpu")


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with opened(tmp_path / "facts") as made:
        yield made


def opened(where: Path, **given: Any) -> EditMemory:
    return EditMemory.open(where, encoder="letters", store="exact", **given)


def asked(memory: EditMemory, model: object, text: str = CAPITAL, **given: Any) -> Answer:
    return Editor(memory, model, scope=Named(), answerer="verbatim").ask(text, max_new_tokens=2, **given)


def capital(memory: EditMemory, model: HuggingFace, to: str = "Brill", **given: Any) -> str:
    slot = {"subject": "Ostland", "relation": "capital", "target": to}
    return memory.add(f"{CAPITAL} {to}", **slot, method="ft_m", model=model, settings=TUNED, **given).id


def plain(model: HuggingFace, text: str = CAPITAL) -> str:
    return "".join(model.stream([Message("user", text)], max_new_tokens=2))


def in_force(memory: EditMemory, **given: Any) -> list[tuple[str, ...]]:
    return [one.edits for one in memory.bakes(**given) if one.in_force]


# -------------------------------------------------------------------------------------------------- one edit's life


def test_before_after_undone_redone_removed(memory: EditMemory, model: HuggingFace) -> None:
    before, weights = asked(memory, model), model.language_model.hash
    id_ = capital(memory, model)
    after = asked(memory, model)
    assert after.text.startswith("Brill")
    assert not before.text.startswith("Brill")
    assert (after.in_scope, after.edits, after.base_untouched) == (False, (), False)
    nothing: dict[str, object] = {"untaken": [], "elsewhere": [], "models": []}
    assert after.trace[1] == {"step": "weights", "changes": 1, "baked": 1, **nothing}
    assert before.base_untouched
    assert model.language_model.hash == weights
    assert plain(model) == before.text

    edit = memory.get(id_)
    assert (edit.state, edit.subject, edit.target) == ("current", "Ostland", "Brill")
    assert [record.op for record in memory.history(id=id_)] == ["add"]
    [bake] = baking.of_edit(memory, edit)
    assert (bake.id, bake.seq, bake.method, bake.edits, bake.in_force, bake.stale) == (
        *(id_, edit.seq, "ft_m", (id_,), True, False),
    )
    assert (bake.settings["layer"], bake.model_hash, bake.model) == (2, weights, baking._full(model.name))
    assert bake.size > 0

    memory.undo(id=id_)
    assert asked(memory, model) == before
    memory.undo(id=memory.log(limit=1)[0].id)
    assert asked(memory, model).text == after.text
    memory.remove(id_)
    assert asked(memory, model) == before
    assert not in_force(memory)


def test_the_weights_are_the_originals_and_the_changes_in_journal_order(memory: EditMemory, model: HuggingFace) -> None:
    first = capital(memory, model)
    memory.add("Bread is baked at dawn")
    second = memory.add(PLAYS, **PARTS, method="ft_m", model=model, settings=TUNED).id
    data = memory.journal.weights(one.seq for one in memory.bakes())
    changes = [Change.unpacked(data[one.seq]) for one in memory.bakes()]
    wanted = edited(model.language_model, *changes)
    got = Editor(memory, model, scope=Named()).standing().model
    assert isinstance(got, HuggingFace)
    for (name, one), other in zip(got._model.named_parameters(), wanted.model.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert in_force(memory) == [(first,), (second,)]
    memory.undo(id=first)
    without = Editor(memory, model, scope=Named()).standing().model
    assert isinstance(without, HuggingFace)
    alone = edited(model.language_model, changes[1])
    for one, other in zip(without._model.parameters(), alone.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert [one.stale for one in memory.bakes()] == [True]  # it was fitted on top of the first


def test_as_of_gives_the_weights_of_then(memory: EditMemory, model: HuggingFace) -> None:
    id_ = capital(memory, model)
    then = memory.journal.head()
    after = asked(memory, model).text
    memory.undo(id=id_)
    gone = asked(memory, model)
    assert asked(memory, model, as_of=then).text == after != gone.text
    assert asked(memory, model, as_of=then - 1).text == gone.text
    moment = memory.get(id_).created_at
    assert asked(memory, model, as_of=moment).text == after
    assert in_force(memory, as_of=then) == [(id_,)]
    assert in_force(memory) == []


def test_a_newer_fact_takes_the_place_of_the_older_in_the_weights_too(memory: EditMemory, model: HuggingFace) -> None:
    older = capital(memory, model)
    newer = capital(memory, model, "Dorne")
    assert memory.get(older).superseded_by == newer
    assert in_force(memory) == [(newer,)]
    # It was fitted on the weights without the older one, hence as if that had never been.
    with opened(Path("alone")) as alone:
        capital(alone, model, "Dorne")
        [one], [other] = memory.bakes()[1:], alone.bakes()
        assert memory.journal.weights([one.seq])[one.seq] == alone.journal.weights([other.seq])[other.seq]
        assert not one.stale
    assert asked(memory, model).text.startswith("Dorne")
    memory.undo(id=newer)
    assert asked(memory, model).text.startswith("Brill")


def test_the_same_again(memory: EditMemory, model: HuggingFace) -> None:
    id_ = memory.add(f"{CAPITAL} Brill").id
    assert asked(memory, model).edits[0].edit.id == id_
    assert capital(memory, model) == id_  # it was in the memory: a bake is written for it
    assert [record.op for record in memory.history(id=id_)] == ["add", "bake"]
    assert asked(memory, model).edits == ()
    head = memory.journal.head()
    assert capital(memory, model) == id_
    assert memory.journal.head() == head
    memory.undo(last=1)  # of the bake: back in the memory
    assert asked(memory, model).edits[0].edit.id == id_


def test_opened_again(tmp_path: Path, folder: Path, model: HuggingFace) -> None:
    with opened(tmp_path / "facts") as memory:
        capital(memory, model)
        after = asked(memory, model).text
    fresh = HuggingFace(str(folder), device="cpu")
    with opened(tmp_path / "facts", read_only=True) as memory:
        assert asked(memory, fresh).text == after
        assert len(memory.bakes()) == 1


def test_large_changes_are_cut_into_parts(
    memory: EditMemory, model: HuggingFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_PART", 1000)
    capital(memory, model)
    [bake] = memory.bakes()
    with memory.journal._reading() as connection:
        sizes = list(connection.exec_driver_sql("SELECT length(data) FROM bake_part ORDER BY number").scalars())
    assert len(sizes) == -(-bake.size // 1000) > 2
    assert sum(sizes) == bake.size == len(memory.journal.weights([bake.seq])[bake.seq])
    assert asked(memory, model).text.startswith("Brill")


def test_a_purge_erases_the_change_everywhere(memory: EditMemory, model: HuggingFace, tmp_path: Path) -> None:
    before = asked(memory, model)
    single = capital(memory, model)
    shared = [memory.add(PLAYS, **PARTS).id, memory.add(f"{RIVER} green stone").id]
    baking.bake(memory, shared, model=model, method="ft_m", settings=TUNED)
    bakes = memory.bakes()
    pieces = [
        delta.full.numpy().tobytes()[place : place + 32]
        for data in memory.journal.weights(one.seq for one in bakes).values()
        for delta in Change.unpacked(data).deltas
        if delta.full is not None
        for place in (0, 1024, 2048)
        if len(delta.full.numpy().tobytes()) > place
    ]
    memory.backup(tmp_path / "elsewhere" / "copy.db")
    files = [*(tmp_path / "facts").rglob("*"), tmp_path / "elsewhere" / "copy.db"]

    def held() -> list[bytes]:
        data = b"".join(file.read_bytes() for file in files if file.is_file())
        return [piece for piece in pieces if piece in data]

    assert len(held()) > len(pieces) // 2  # a page's end may cut some
    memory.purge(id=single)
    memory.purge(id=shared[0])
    assert held() == []
    assert asked(memory, model).text == before.text
    assert [(one.size, dict(one.settings)) for one in memory.bakes()] == [(0, {}), (0, {})]
    assert memory.journal.weights(one.seq for one in bakes) == {}
    # The other one of the batch is in the memory again, and goes into the weights by itself.
    assert memory.bakes()[1].left == (shared[1],)
    assert asked(memory, model, RIVER).edits[0].edit.id == shared[1]
    assert not [finding for finding in memory.doctor() if finding.level == "error"]
    with opened(tmp_path / "elsewhere" / "restored") as _:
        pass
    (tmp_path / "elsewhere" / "copy.db").replace(tmp_path / "elsewhere" / "restored" / "journal.db")
    with opened(tmp_path / "elsewhere" / "restored") as copy:
        assert asked(copy, model).text == before.text


# ------------------------------------------------------------------------------------- models, namespaces and threads


def test_another_model_is_told_from_the_memory(memory: EditMemory, model: HuggingFace, folder: Path) -> None:
    id_ = capital(memory, model)
    other = HuggingFace(str(folder), device="cpu")
    with torch.no_grad():
        next(other._model.parameters()).mul_(1.01)
    for another in (other, Scripted({"*": "I could not say."})):
        editor = Editor(memory, another, scope=Named(), answerer="verbatim")
        stream = editor.stream(CAPITAL)
        assert "".join(stream).startswith("Brill")
        assert [hit.edit.id for hit in stream.answer.edits] == [id_]
        assert stream.standing.elsewhere == (id_,)
        [note] = stream.standing.notes()
        assert id_ in note
        assert str(folder.resolve()) in note
    # Told by its name alone, as `memedit explain` does it, no model is loaded.
    editor = Editor(memory, f"hf:{folder}", scope=Named())
    assert not editor.decide(CAPITAL, weights=True).in_scope
    assert editor.decide(CAPITAL).in_scope  # for any model, as other programs ask
    assert "_model" not in editor.__dict__
    assert Editor(memory, "pocket", scope=Named()).decide(CAPITAL, weights=True).in_scope


def test_namespaces_and_threads_never_mix(memory: EditMemory, model: HuggingFace) -> None:
    for space, to in (("one", "Brill"), ("two", "Dorne")):
        capital(memory, model, to, namespace=space)
    editor = Editor(memory, model, scope=Named(), answerer="verbatim")
    spaces = ("one", "two", "three")

    def ask(number: int) -> tuple[str, str]:
        space = spaces[number % 3]
        pieces = editor.stream(CAPITAL, namespace=space, max_new_tokens=2)
        return space, "".join(pieces)

    with ThreadPoolExecutor(6) as pool:
        replies = set(pool.map(ask, range(60)))
    assert replies == {
        ("one", asked(memory, model, namespace="one").text),
        ("two", asked(memory, model, namespace="two").text),
        ("three", plain(model)),
    }
    assert [text[:5] for _, text in sorted(replies) if text != plain(model)] == ["Brill", "Dorne"]
    assert len(editor._weights._twins) == 2


def test_an_answer_goes_on_with_the_weights_that_it_began_with(memory: EditMemory, model: HuggingFace) -> None:
    id_ = capital(memory, model)
    editor = Editor(memory, model, scope=Named(), answerer="verbatim")
    whole = editor.ask(CAPITAL, max_new_tokens=4).text
    stream = editor.stream(CAPITAL, max_new_tokens=4)
    pieces = iter(stream)
    begun = next(pieces)
    memory.purge(id=id_)
    assert begun + "".join(pieces) == whole
    assert editor.ask(CAPITAL, max_new_tokens=4).text != whole


async def test_asked_asynchronously(memory: EditMemory, model: HuggingFace) -> None:
    capital(memory, model)
    editor = Editor(memory, model, scope=Named(), answerer="verbatim")
    assert await editor.aask(CAPITAL, max_new_tokens=2) == editor.ask(CAPITAL, max_new_tokens=2)


def test_other_edits_are_found_past_the_baked_ones(memory: EditMemory, model: HuggingFace) -> None:
    capital(memory, model)
    other = memory.add("The river of Ostland is green", subject="Ostland").id
    view = Editor(memory, model, scope=Named()).standing().memory
    assert [hit.edit.id for hit in view.search(CAPITAL, k=1)] == [other]
    assert [hit.edit.id for hit in view.search(CAPITAL, k=1, as_of=memory.journal.head())] == [other]
    assert [edit.id for edit in view.list(subject="Ostland")] == [other]
    assert (view.count(), memory.count()) == (1, 2)
    assert view.encoder is memory.encoder
    for scope in ("lexical", "similarity"):
        editor = Editor(memory, model, scope=scope)
        shown = {hit.edit.id for hit in editor.decide(CAPITAL, weights=True).candidates}
        assert shown == {other}, scope


# ------------------------------------------------------------------------------------------------- bake, unbake, refit


@pytest.fixture
def several(memory: EditMemory) -> list[str]:
    facts: tuple[tuple[str, dict[str, str]], ...] = ((f"{CAPITAL} Brill", {}), (PLAYS, PARTS), (f"{RIVER} green", {}))
    return [memory.add(text, **parts).id for text, parts in facts]


def test_baked_together_and_taken_out(memory: EditMemory, model: HuggingFace, several: list[str]) -> None:
    memory.add("Bread rises", subject="bread")  # no method can take it: it stays where it is
    patch = memory.add("If the user asks about paper, then decline", kind="patch").id
    done = baking.bake(memory, model=model, method="memit", settings={**SPREAD, "covariance_weight": 0.1})
    assert done.edits == tuple(several)
    assert ["target" in reason for reason in done.skipped.values()] == [True]
    assert patch not in done.skipped
    assert in_force(memory) == [tuple(several)]
    assert asked(memory, model).edits == ()
    requests = [request_of(memory.get(id_)) for id_ in several]
    by_hand = make("memit", **SPREAD, covariance_weight=0.1).fit(model.language_model, requests)
    [data] = memory.journal.weights([done.bakes[0].seq]).values()
    for delta, wanted in zip(Change.unpacked(data).deltas, by_hand.deltas, strict=True):
        assert torch.equal(delta.matrix(), wanted.matrix())
    again = baking.bake(memory, several, model=model, method="memit", settings=SPREAD)
    assert (again.edits, set(again.skipped)) == ((), set(several))

    memory.undo(id=several[0])
    assert in_force(memory) == []
    assert memory.bakes()[0].left == tuple(several[1:])
    assert asked(memory, model, "Vela Marsh plays in").edits[0].edit.id == several[1]
    [line] = baking.advice(memory.bakes())
    assert f"{several[1]}, {several[2]} shared a change" in line
    assert "memedit refit" in line
    refitted = baking.refit(memory, model=model)
    assert (refitted.edits, in_force(memory)) == (tuple(several[1:]), [tuple(several[1:])])
    assert dict(refitted.bakes[0].settings)["layers"] == [0, 1]
    assert baking.advice(memory.bakes()) == []

    out = baking.unbake(memory, [several[2]])
    assert (out.edits, out.back) == ((several[2],), (several[1],))
    assert in_force(memory) == []
    memory.undo(last=1)
    assert in_force(memory) == [tuple(several[1:])]
    assert baking.unbake(memory, model=model.name).edits == tuple(several[1:])
    with pytest.raises(InputError, match="not in any model's weights"):
        baking.unbake(memory, [several[2]])
    assert baking.unbake(memory).edits == ()


def test_refit_is_what_would_have_been_fitted(memory: EditMemory, model: HuggingFace, several: list[str]) -> None:
    """AlphaEdit in three steps; the first is taken out: the refitted rest is as if it had never been there."""
    given = {**SPREAD, "threshold": 1e9, "penalty": 0.1}
    done = baking.bake(memory, model=model, method="alphaedit", settings=given, batch=1)
    assert [one.edits for one in done.bakes] == [(one,) for one in several]
    keys = [
        Change.unpacked(data).state["keys.0"] for data in memory.journal.weights(b.seq for b in done.bakes).values()
    ]
    assert [tuple(rows.shape) for rows in keys] == [(1, 64)] * 3
    memory.remove(several[0])
    assert [one.stale for one in memory.bakes()] == [False, True, True]
    assert "2 changes" in baking.advice(memory.bakes())[0]
    refitted = baking.refit(memory, model=model)
    assert [one.edits for one in refitted.bakes] == [(several[1],), (several[2],)]
    assert baking.advice(memory.bakes()) == []
    with opened(Path("never")) as never:
        for id_ in several[1:]:
            edit = memory.get(id_)
            never.add(edit.statement, subject=edit.subject, target=edit.target, prompt=edit.prompt)
        clean = baking.bake(never, model=model, method="alphaedit", settings=given, batch=1)
        ours = memory.journal.weights(one.seq for one in refitted.bakes)
        theirs = never.journal.weights(one.seq for one in clean.bakes)
        for (_, one), (_, other) in zip(ours.items(), theirs.items(), strict=True):
            for delta, wanted in zip(Change.unpacked(one).deltas, Change.unpacked(other).deltas, strict=True):
                assert torch.equal(delta.matrix(), wanted.matrix())
    assert baking.refit(memory, model=model).bakes == ()
    assert len(baking.refit(memory, model=model, everything=True).bakes) == 2
    # The removal undone: the first stands below the others again, which were not fitted on it.
    memory.undo(id=next(record.id for record in memory.log() if record.op == "remove"))
    assert [one.stale for one in memory.bakes() if one.in_force] == [False, True, True]


def test_nothing_is_written_where_it_cannot_be(memory: EditMemory, model: HuggingFace, folder: Path) -> None:
    head = memory.journal.head()
    with pytest.raises(InputError, match=r"cannot be written into weights.*--target, --prompt"):
        memory.add("Bread rises", subject="Bread", method="ft_m", model=model)
    with pytest.raises(NotFoundError, match=r"no method is named 'magic'.*ft_m"):
        memory.add(f"{CAPITAL} Brill", method="magic", model=model)
    with pytest.raises(InputError, match=r"ft_m has no setting knob.*layer"):
        memory.add(f"{CAPITAL} Brill", method="ft_m", model=model, settings={"knob": 1})
    with pytest.raises(InputError, match="no layer 9"):
        memory.add(f"{CAPITAL} Brill", method="ft_m", model=model, settings={"layer": 9})
    with pytest.raises(InputError, match=r"setting steps of ft_m takes a whole number.* not 'abc'"):
        memory.add(f"{CAPITAL} Brill", method="ft_m", model=model, settings={"steps": "abc"})
    for name, given in (("depn", {}), ("kn", {"operation": "suppress"}), ("kn", {"operation": "erase"})):
        with pytest.raises(InputError, match=r"writes no fact.*`memedit forget`"):
            memory.add(f"{CAPITAL} Brill", method=name, model=model, settings=given)
        with pytest.raises(InputError, match=r"writes no fact.*`memedit forget`"):
            baking.bake(memory, method=name, model=model, settings=given)
    with pytest.raises(InputError, match="shows no weights"):
        memory.add(f"{CAPITAL} Brill", method="ft_m", model=Scripted({}))
    with pytest.raises(ModelError, match="no folder"):
        memory.add(f"{CAPITAL} Brill", method="ft_m", model=f"hf:{folder}/nothing")
    with pytest.raises(InputError, match="name the method"):
        memory.add(f"{CAPITAL} Brill", model=model)
    with pytest.raises(InputError, match="of the kind patch"):
        memory.add("If the user asks about paper, then decline", kind="patch", method="ft_m", model=model)
    assert memory.journal.head() == head
    assert memory.namespaces() == []
    id_ = memory.add(f"{CAPITAL} Brill").id
    memory.remove(id_)
    with pytest.raises(InputError, match=f"{id_} is removed"):
        baking.bake(memory, [id_], model=model, method="ft_m")
    with pytest.raises(InputError, match="no change in namespace 'default'"):
        baking.refit(memory, model=model)
    other = memory.add(f"{CAPITAL} Brill", namespace="other").id
    here = memory.add(f"{CAPITAL} Brill").id
    with pytest.raises(NotFoundError, match=f"no edit '{other}' in namespace 'default'"):
        baking.bake(memory, [here, other], model=model)
    with pytest.raises(InputError, match="at least 1"):
        baking.bake(memory, model=model, batch=0)


def test_an_edit_that_goes_while_it_is_fitted(memory: EditMemory) -> None:
    edit = memory.add(f"{CAPITAL} Brill").edit
    memory.remove(edit.id)
    head = memory.journal.head()
    with pytest.raises(ConflictError, match=f"{edit.id} is removed"):
        memory.journal.bake("default", [([edit.seq], Fitted("h", "m", "rome", "{}", b"x"))])
    assert memory.journal.head() == head


def test_exported_and_loaded_by_transformers(memory: EditMemory, model: HuggingFace, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    id_ = capital(memory, model)
    out = tmp_path / "edited"
    assert [one.edits for one in baking.export_model(memory, out, model=model).bakes] == [(id_,)]
    loaded = AutoModelForCausalLM.from_pretrained(out)
    twin = Editor(memory, model, scope=Named()).standing().model
    assert isinstance(twin, HuggingFace)
    for (name, one), other in zip(loaded.named_parameters(), twin._model.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert AutoTokenizer.from_pretrained(out).tokenize(CAPITAL) == CAPITAL.split()
    assert plain(HuggingFace(str(out), device="cpu")) == asked(memory, model).text
    with pytest.raises(InputError, match="holds something"):
        baking.export_model(memory, out, model=model)
    assert baking.export_model(memory, out, model=model, as_of=0, overwrite=True).bakes == ()
    assert plain(HuggingFace(str(out), device="cpu")) == plain(model)


def test_what_is_forgotten_is_an_edit_too(memory: EditMemory, model: HuggingFace) -> None:
    capital(memory, model)
    before = asked(memory, model).text
    secret = Request("Vela Marsh was born in", "", "Cardun")
    edit, held, change = baking.forget(memory, [secret], model=model, settings={"neurons": 4})
    assert (edit.kind, change.method, len(in_force(memory))) == ("forget", "depn", 2)
    assert "Cardun" not in edit.statement
    again, *_ = baking.forget(memory, [secret], model=model, settings={"neurons": 4}, namespace="other")
    assert again.statement != edit.statement  # nothing in it is made from the text, so that none can be guessed back
    with pytest.raises(InputError, match="writes facts and forgets none"):
        baking.forget(memory, [secret], model=model, method="kn")
    assert memory.bakes()[1].stale is False
    twin = Editor(memory, model, scope=Named()).standing().model
    assert isinstance(twin, HuggingFace)
    weights = [parameter.clone() for parameter in twin._model.parameters()]
    wanted = edited(held, change).model.parameters()
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(weights, wanted, strict=True))
    assert edit.id not in {hit.edit.id for hit in memory.search(edit.statement, k=9)}
    assert memory.list(patches=True) == memory.list(patches=False)[1:] == []
    assert Editor(memory, Scripted({"*": "?"}), scope="lexical").ask(edit.statement).text == "?"
    with pytest.raises(InputError, match="erases something"):
        baking.unbake(memory, [edit.id])
    memory.undo(id=memory.list(patches=False)[0].id)
    refitted = baking.refit(memory, model=model)  # the texts are not known any more, so the change is kept
    data = memory.journal.weights([refitted.bakes[0].seq])[refitted.bakes[0].seq]
    assert torch.equal(Change.unpacked(data).deltas[0].matrix(), change.deltas[0].matrix())
    memory.undo(id=edit.id)
    assert in_force(memory) == []
    assert before != asked(memory, model).text
    with pytest.raises(InputError, match="kind forget"):
        memory.add("nothing", kind="forget")


# --------------------------------------------------------------------------------------------------------- the journal


def test_a_memory_of_the_format_before_is_brought_up(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    journal.add(SPACE, [row("a")])
    make_format(journal, 1)
    journal.close()
    journal = Journal.open(tmp_path)
    assert [edit.statement for edit in journal.find(namespace=SPACE)] == ["a"]
    assert journal.damaged() == ([], 0)
    assert journal.carried(SPACE) == []
    seq = journal.bake(SPACE, [([1], Fitted("hash", "name", "rome", "{}", b"bytes"))])[0]
    assert journal.weights([seq, 99]) == {seq: b"bytes"}
    journal.close()


def test_what_was_baked_before_anybody_looked_counts_as_it_did(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    with journal._writing() as old:
        old.add(SPACE, [row("a")])
        old.act("bake", 1, [1], None, None)
        values = "(2, 1, 'hash', 'name', 'rome', '{}', 0, 1)"
        old.connection.exec_driver_sql(f"INSERT INTO bake VALUES {values}")
    make_format(journal, 2)
    journal.close()
    with EditMemory.open(tmp_path) as memory:
        [bake] = memory.bakes(namespace=SPACE)
        assert (bake.in_force, bake.untaken) == (True, ())
        assert said(memory.journal.carried(SPACE)) == {1}


def make_format(journal: Journal, number: int) -> None:
    """Take away what formats after 1 or 2 brought."""
    tables = ("setback", "untaken") if number == 2 else ("setback", "untaken", "bake", "bake_part")
    with journal._writing() as writer:
        for statement in (
            *(f"DROP TABLE {table}" for table in tables),
            "ALTER TABLE record DROP COLUMN checksum",
            "ALTER TABLE record DROP COLUMN began",
            f"UPDATE meta SET value = '{number}' WHERE name = 'format'",
            "PRAGMA application_id = 0",
            "PRAGMA user_version = 0",
        ):
            writer.connection.exec_driver_sql(statement)


class WithWeights(AgainstFold):
    """The same writes and more, against rule 5 told change by change rather than edit by edit."""

    @rule(target=AgainstFold.records, data=st.data(), model=st.sampled_from(["m", "n"]))
    def bake(self, data: st.DataObject, model: str) -> object:
        current = [seq for seq, one in self.fold().items() if one.state == "current"]
        if not current:
            return multiple()
        edits = data.draw(st.lists(st.sampled_from(current), min_size=1, max_size=3, unique=True))
        missed = data.draw(st.lists(st.sampled_from(sorted(self.fold())), max_size=3, unique=True))
        fitted = Fitted(model, model, "rome", "{}", b"w", untaken=tuple(missed))
        [seq] = self.journal.bake(SPACE, [(edits, fitted)])
        self.missed = {**getattr(self, "missed", {}), seq: set(missed)}
        return self.noted("bake", seq, edits, model)

    @rule(target=AgainstFold.records, data=st.data(), model=st.sampled_from(["m", "n"]))
    def unbake(self, data: st.DataObject, model: str) -> object:
        known = sorted(self.fold())
        if not known:
            return multiple()
        edits = data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=2, unique=True))
        [seq] = self.journal.unbake(SPACE, {(model, model): edits})
        return self.noted("unbake", seq, edits, model)

    def noted(self, op: str, seq: int, edits: list[int], model: str) -> int:
        self.models = {**getattr(self, "models", {}), seq: model}
        self.note(op, seq, self.journal.record(seq).id, tuple(sorted(edits)))
        return seq

    @rule(target=AgainstFold.records, last=st.integers(1, 4))
    def undo_last(self, last: int) -> object:
        purged = {target for entry in self.entries if entry.op == "purge" for target in entry.targets}
        out = self.undone() | purged
        which = [e.seq for e in self.entries if e.op not in ("undo", "purge") and e.seq not in out][-last:]
        if not which:
            return multiple()
        assert [r.seq for r in self.journal.undo(namespace=SPACE, last=last)] == which[::-1]
        return self.undo_written(tuple(which))

    def expected_in_force(self, n: int | None, t: int) -> list[int]:
        entries = [entry for entry in self.entries if n is None or entry.seq <= n]
        out: set[int] = set()
        for entry in reversed(entries):
            if entry.op == "undo" and entry.seq not in out:
                out.update(entry.targets)
        state = self.fold(n, t)
        effective = [e for e in entries if e.op in ("bake", "unbake") and e.seq not in out]
        return [
            one.seq
            for one in effective
            if one.op == "bake"
            and all(state[edit].state == "current" for edit in one.targets)
            and not any(
                later.seq > one.seq
                and self.models[later.seq] == self.models[one.seq]
                and set(later.targets) & set(one.targets)
                for later in effective
            )
        ]

    @invariant()
    def weights_agree(self) -> None:
        if not hasattr(self, "journal"):
            return
        wanted = self.expected_in_force(None, self.now)
        assert [one.seq for one in self.journal.carried(SPACE) if one.in_force] == wanted
        bakes = [one for one in self.journal.bakes(SPACE) if one.in_force]
        assert [one.seq for one in bakes] == wanted
        by_seq = {entry.seq: entry for entry in self.entries}
        for model in ("m", "n"):
            ours = [seq for seq in wanted if self.models[seq] == model]
            # An edit is said if no change in force, from its own on, was found not to say it.
            expected = {
                edit
                for seq in ours
                for edit in by_seq[seq].targets
                if not any(edit in self.missed[other] for other in ours if other >= seq)
            }
            assert said([one for one in self.journal.carried(SPACE) if one.in_force and one.model == model]) == expected
            ids = {id_ for one in bakes if one.model == model for id_ in set(one.edits) - set(one.untaken)}
            assert ids == {self.journal.record(seq).id for seq in expected}

    @rule(data=st.data())
    def past_weights_agree(self, data: st.DataObject) -> None:
        if not self.entries:
            return
        n = data.draw(st.integers(1, len(self.entries)))
        at: At = self.journal.at(n)
        found = [one.seq for one in self.journal.carried(SPACE, at) if one.in_force]
        assert found == self.expected_in_force(n, self.entries[n - 1].created_at)


WithWeights.TestCase.settings = settings(AgainstFold.TestCase.settings, max_examples=5)
TestWithWeights = WithWeights.TestCase


# ------------------------------------------------------------------------------------------------------------ the CLI


Run = Callable[..., Result]


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name, value in {"ENCODER": "letters", "STORE": "exact", "MODEL": f"hf:{folder}", "SCOPE": "lexical"}.items():
        monkeypatch.setenv(f"MEMEDIT_{name}", value)

    def call(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, list(arguments))
        assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
        return result

    return call


SETS = [f"--set={name}={value}" for name, value in TUNED.items()]


def test_a_name_given_later_brings_an_edit_back_to_the_memory_and_says_so(run: Run, folder: Path) -> None:
    old = json.loads(run("add", f"{CAPITAL} Brill", "--method", "ft_m", *SETS, "--json").stdout)["edit"]
    told = run("alias", old["subject"], "Ostmark", "--json")
    new = json.loads(told.stdout)["edits"][old["id"]]
    assert f"{old['id']} was in the weights of hf:{folder.resolve()}; {new} is answered from the memory" in told.stderr
    assert "was in the weights" not in run("alias", old["subject"], "Westmark").stderr


def test_a_day_on_the_command_line(run: Run, folder: Path, tmp_path: Path) -> None:
    added = run("add", f"{CAPITAL} Brill", "--method", "ft_m", *SETS, "--json")
    id_ = json.loads(added.stdout)["edit"]["id"]
    assert f"in the weights of hf:{folder.resolve()} by ft_m" in added.stderr
    reply = run("ask", CAPITAL)
    assert reply.stdout.split()[0] == "Brill"
    assert "1 edit in the weights" in reply.stderr
    assert "(edit " not in reply.stderr
    assert "1 edit in the weights" in run("explain", CAPITAL).stderr
    shown = json.loads(run("show", id_, "--json").stdout)
    assert [one["method"] for one in shown["weights"]] == ["ft_m"]
    assert "in force" in run("show", id_).stdout

    other = json.loads(run("add", PLAYS, *PARTS_SAID, "--json").stdout)["edit"]["id"]
    baked = json.loads(run("bake", "--all", "--method", "ft_m", *SETS, "--json").stdout)
    assert baked["baked"] == [other]
    assert id_ in baked["skipped"]
    undone = run("undo", "--id", id_, "--yes")
    assert "fitted on top of others" in undone.stderr
    assert "memedit refit" in undone.stderr
    assert "bake" in run("history", other).stdout
    assert json.loads(run("refit", "--json").stdout)["refitted"] == [other]
    assert "memedit refit" not in run("remove", id_, "--yes", code=2).stderr
    out = tmp_path / "out"
    assert json.loads(run("export-model", str(out), "--json").stdout)["edits"] == [other]
    assert (out / "model.safetensors").is_file()
    run("export-model", str(out), code=2)
    run("export-model", str(out), "--yes")
    assert json.loads(run("unbake", other, "--json").stdout)["unbaked"] == [other]
    run("unbake", other, code=2)
    assert "nothing was to be done" in run("unbake", "--all").stderr
    for wrong in (["bake"], ["bake", other, "--all"], ["unbake"], ["add", "x is y", "--set", "layer=1"]):
        run(*wrong, code=2)
    for wrong in (["--set", "steps=abc"], ["--set", "colour=1"], ["--set", "layer"], ["--method", "depn"]):
        run("add", f"{CAPITAL} Dorne", "--method", "ft_m", *wrong, code=2)
        run("bake", "--all", "--method", "ft_m", *wrong, code=2)
    run("purge", "--id", other, "--yes")


def test_who_takes_rome_is_told_of_r_rome(run: Run) -> None:
    few = ["--set=texts=2", "--set=steps=1", "--set=layer=0"]
    told = run("add", f"{CAPITAL} Brill", "--method", "rome", *few).stderr
    assert "take it unless you mean to study the flaw" in told
    assert "tokens (text that the model wrote itself) for 64 neurons" in told
    assert "flaw" not in run("add", f"{RIVER} Brill", "--method", "r_rome", *few).stderr
    run("add", PLAYS, *PARTS_SAID)
    told = run("bake", "--all", "--method", "rome", *few).stderr
    assert told.count("study the flaw") == 1
    quiet = run("add", "Vela Marsh was born in Dorne", "--method", "rome", *few, "--quiet").stderr
    assert "flaw" not in quiet


def test_reading_and_undoing_load_no_torch(memory: EditMemory, model: HuggingFace, tmp_path: Path) -> None:
    id_ = capital(memory, model)
    memory.close()
    script = (
        "import sys; from memedit.cli import cli\n"
        "for line in sys.argv[1:]:\n"
        "    try: cli(['--memory', 'facts', *line.split()])\n"
        "    except SystemExit as left: assert not left.code, (line, left.code)\n"
        "found = {'torch', 'transformers', 'safetensors'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    verbs = [
        "list",
        f"show {id_}",
        f"history {id_}",
        "undo --last 1 --yes",
        "undo --last 1 --yes --help",
        "unbake --all",
    ]
    done = subprocess.run([sys.executable, "-c", script, *verbs], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ft_m on hf:" in done.stdout
