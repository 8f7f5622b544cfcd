"""Namespaces hold: what is of one does not exist in another, whatever verb, method or tool names it.

Three promises. What is written in one namespace is as if the others were not there (random writes, against each
namespace alone). An id of another namespace is told word for word as one that never was, with the same exit code, and
the call changes nothing (every verb, every method that takes an id; a new one has to be put into a table here). An
empty name is no namespace, and least of all the default one (every surface).
"""

from __future__ import annotations

import functools
import inspect
import json
import random
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from fakes import Named
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage

from memedit import baking, writer
from memedit.aliases import add_aliases
from memedit.chat import Chat
from memedit.cli import EditId, cli
from memedit.editor import Editor
from memedit.edits import DEFAULT_NAMESPACE, Draft, Message, checked_namespace
from memedit.encoders.letters import Letters
from memedit.errors import InputError, MemEditError, NotFoundError
from memedit.integrations.langchain import (
    EditRetriever,
    MemEditChatModel,
    MemEditMiddleware,
    as_runnable,
    memory_tools,
    with_edits,
)
from memedit.memory import EditMemory
from memedit.models.scripted import Scripted
from memedit.schema import Fitted
from memedit.scope import load_scope, scopes
from memedit.settings import load_settings
from memedit.training.calibration import Pair, calibrate_pairs

ALICE, BOB = "alice", "bob"
ID = re.compile(r"\b[er]-[0-9a-f]{4,}")
CHANGE = Fitted("0" * 64, "hf:nothing", "ft_m", "{}", b"bytes")


def opened(folder: Path, **given: Any) -> EditMemory:
    return EditMemory.open(folder, **{"encoder": "letters", "store": "exact", **given})


# ------------------------------------------------------------------------- what is written in one is of that one alone


SUBJECTS, RELATIONS, TARGETS = ("Acme", "Bolt"), ("CEO", "mascot"), ("Dana Li", "Bo Chen", "a goose")


def fact(number: int) -> str:
    subject, rest = SUBJECTS[number % 2], number // 2
    return f"The {RELATIONS[rest % 2]} of {subject} is {TARGETS[rest // 2 % 3]}"


def edits_of(memory: EditMemory, space: str) -> list[str]:
    """The ids of all edits, whatever their state, the oldest first."""
    return [edit.id for edit in memory.list(namespace=space, state="all")][::-1]


def write(memory: EditMemory, space: str, op: str, a: int, b: int) -> object:
    """One write in a namespace; what it gave back. `a` and `b` choose among what there is."""
    ids = edits_of(memory, space)
    records = [record.id for record in memory.log(space)][::-1]
    author = ("ann", "ben")[b % 2]
    if op == "add":
        return memory.add(fact(a), namespace=space, author=author)
    if op == "add_many":
        return memory.add_many([Draft(statement=fact(a)), Draft(statement=fact(b))], namespace=space)
    if op == "patch":
        return memory.add(f"if the user asks for {fact(a)}, then decline", kind="patch", namespace=space)
    if op == "alias":
        return add_aliases(memory, {SUBJECTS[a % 2]: [f"Name {b}"]}, namespace=space)
    if op == "undo":
        return memory.undo(last=1 + a % 2, namespace=space)
    if op == "undo author":
        return memory.undo(author=author, namespace=space)
    if op == "purge subject":
        return memory.purge(subject=SUBJECTS[a % 2], namespace=space)
    if op == "purge author":
        return memory.purge(author=author, namespace=space)
    if not ids:
        return None
    id_ = ids[a % len(ids)]
    if op == "replace":
        return memory.replace(id_, fact(b), namespace=space)
    if op == "remove":
        return memory.remove(id_, namespace=space)
    if op == "undo id":
        return memory.undo(id=records[a % len(records)], namespace=space)
    if op == "purge":
        return memory.purge(id=id_, namespace=space)
    if op == "bake":
        edit = memory.get(id_, namespace=space)
        return len(memory.journal.bake(space, [([edit.seq], CHANGE)]))
    assert op == "unbake"
    return baking.unbake(memory, [id_], namespace=space).edits


OPS = (
    *("add", "add", "add", "add_many", "replace", "remove", "undo", "undo id", "purge", "alias", "patch"),
    *("undo author", "purge subject", "purge author", "bake", "unbake"),
)
SPACES = (ALICE, BOB, DEFAULT_NAMESPACE)
CHOICES = st.integers(0, 11)
WRITES = st.lists(st.tuples(st.sampled_from(SPACES), st.sampled_from(OPS), CHOICES, CHOICES), max_size=14)


def play(memory: EditMemory, writes: Sequence[tuple[str, str, int, int]], only: str | None = None) -> list[str]:
    """What each write gave back or how it was refused, by namespace; ids by their place in it."""
    told = []
    for space, op, a, b in writes:
        if only in (None, space):
            try:
                came = write(memory, space, op, a, b)
            except InputError as error:
                came = error
            told.append((space, placed(memory, space, plain(came))))
    return [line for _, line in sorted(told, key=lambda one: one[0])]


def plain(value: object) -> str:
    """Without seqs and times, which a journal has for all its namespaces."""
    text = f"{type(value).__name__} {value}" if isinstance(value, Exception) else repr(value)
    return re.sub(r"seq=\d+|created_at=datetime\.datetime\([^)]*\)|tzinfo=\S+", "", text)


def placed(memory: EditMemory, space: str, text: str) -> str:
    place = {record.id: f"#{number}" for number, record in enumerate(memory.log(space)[::-1])}
    return ID.sub(lambda found: place.get(found[0], "FOREIGN"), text)


def everything(memory: EditMemory, space: str) -> list[str]:
    """A namespace as it can be read, ids by their place."""
    read = [
        memory.list(namespace=space, state="all"),
        memory.log(space),
        memory.bakes(namespace=space),
        *(memory.history(subject=subject, namespace=space) for subject in SUBJECTS),
        sorted(memory.journal.tombstones(space)),
        memory.doctor(space),
        [memory.count(space, state) for state in ("current", "superseded", "removed", "undone", "purged", "all")],
        [hit.edit.id for hit in memory.search(fact(0), k=50, namespace=space, patches=True)],
        [memory.list(namespace=space, author=author) for author in ("ann", "ben")],
    ]
    return [placed(memory, space, plain(part)) for part in read]


@settings(max_examples=8)
@given(WRITES)
def test_each_namespace_is_as_if_it_were_alone(writes: list[tuple[str, str, int, int]]) -> None:
    spaces = sorted({space for space, *_ in writes})
    with tempfile.TemporaryDirectory() as folder:
        alone: list[str] = []
        views = []
        for space in spaces:
            with opened(Path(folder) / space) as memory:
                alone += play(memory, writes, only=space)
                views.append(everything(memory, space))
        with opened(Path(folder) / "shared memory") as memory:
            together = play(memory, writes)
            assert together == alone
            assert "FOREIGN" not in "".join(together)
            assert [everything(memory, space) for space in spaces] == views


# --------------------------------------------------------------- an id of another namespace is as one that never was


SECRET = "griffin"
"""What only alice has written of."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A memory in which alice, bob and the default namespace have written at random, and each of everything once."""
    draw = random.Random(18)
    where = tmp_path_factory.mktemp("spaces") / "facts"
    with opened(where) as memory:
        for space, name, beast in (
            (ALICE, "Alicia", SECRET),
            (BOB, "Robert", "hound"),
            (DEFAULT_NAMESPACE, "Dora", "newt"),
        ):
            ids = [
                memory.add(f"The pet of {name} is {beast} {number}", namespace=space, author=space).id
                for number in range(6)
            ]
            memory.add(f"The capital of {name}land is {beast}ton", namespace=space, author=space)
            edit = memory.add(f"The capital of {name}land is {beast}burg", namespace=space).edit
            memory.journal.bake(space, [([edit.seq], CHANGE)])
            memory.replace(ids[0], f"The pet of {name} is the {beast} king", namespace=space)
            memory.remove(ids[1], namespace=space, reason=f"the {beast} left")
            memory.purge(id=ids[2], namespace=space)
            memory.undo(id=ids[3], namespace=space)
        for _ in range(30):
            with suppress(InputError):
                write(memory, draw.choice((ALICE, BOB)), draw.choice(OPS), draw.randrange(12), draw.randrange(12))
        for space in SPACES:
            memory.sync(space)
            assert memory.count(space), "nothing is left to be seen or not"
    return where


@pytest.fixture
def memory(folder: Path) -> Iterator[EditMemory]:
    with opened(folder) as made:
        yield made


def rows(folder: Path) -> dict[str, list[Any]]:
    """All that the database holds but vectors, which are derived: any search may encode what lacks some."""
    with sqlite3.connect(folder / "journal.db") as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in names if name != "vector"}


def named(memory: EditMemory, *, few: bool = False) -> list[tuple[str, str]]:
    """(what names a record of alice's, the same of a record that never was), in full and begun.

    The two differ in their last letter only, so that the same ids of bob's are near both. With `few` one of each sort:
    an edit in each state, and a record of each operation.
    """
    every = [record.id for space in memory.namespaces() for record in memory.log(space)]
    states = {edit.id: edit.state for edit in memory.list(namespace=ALICE, state="all")}
    sorts = {states.get(record.id, record.op): record.id for record in memory.log(ALICE)}
    chosen = list(sorts.values()) if few else [record.id for record in memory.log(ALICE)]
    begun = [id_[:8] for id_ in (chosen[:2] if few else chosen)]
    return [(text, never(text, every)) for text in (*chosen, *begun)]


def never(text: str, every: Sequence[str]) -> str:
    others = (text[:-1] + digit for digit in "0123456789abcdef")
    return next(other for other in others if not any(one.startswith(other) for one in every))


def secrets(memory: EditMemory) -> list[str]:
    """What nobody but alice may see: her ids, and what only she has written about."""
    return [*(record.id for record in memory.log(ALICE)), SECRET]


WHO = (Message("user", "Who?"),)
METHODS: dict[str, Callable[[EditMemory, str], object]] = {
    "get": lambda memory, id_: memory.get(id_, namespace=BOB),
    "history": lambda memory, id_: memory.history(id=id_, namespace=BOB),
    "preview_undo": lambda memory, id_: memory.preview_undo(id=id_, namespace=BOB),
    "purge": lambda memory, id_: memory.purge(id=id_, namespace=BOB),
    "remove": lambda memory, id_: memory.remove(id_, namespace=BOB),
    "replace": lambda memory, id_: memory.replace(id_, "The pet of Robert is a cat", namespace=BOB),
    "undo": lambda memory, id_: memory.undo(id=id_, namespace=BOB),
}
CALLS: dict[str, Callable[[EditMemory, str], object]] = {
    **METHODS,
    "get in the past": lambda memory, id_: memory.get(id_, namespace=BOB, as_of=memory.journal.head() // 2),
    "get by default": lambda memory, id_: memory.get(id_),
    "remove by default": lambda memory, id_: memory.remove(id_),
    "bake": lambda memory, id_: baking.bake(memory, [own(memory), id_], method="ft_m", namespace=BOB),
    "unbake": lambda memory, id_: baking.unbake(memory, [id_], namespace=BOB),
    "a namespace that never was": lambda memory, id_: memory.get(id_, namespace="carol"),
    "chat": lambda memory, id_: Chat(memory, Editor(memory, Scripted({})), namespace=BOB).take(f"/forget {id_}"),
    "calibrate": lambda memory, id_: calibrate_pairs([Pair(WHO, id_, 1)], memory, None, namespace=BOB),  # type: ignore[arg-type]
}


def own(memory: EditMemory, space: str = BOB) -> str:
    return memory.list(namespace=space)[0].id


def test_every_method_that_takes_an_id_is_here_and_takes_a_namespace() -> None:
    taking = {
        name: inspect.signature(method).parameters
        for name, method in vars(EditMemory).items()
        if not name.startswith("_") and inspect.isfunction(method) and "id" in inspect.signature(method).parameters
    }
    assert taking.keys() == METHODS.keys()
    assert {parameters["namespace"].default for parameters in taking.values()} == {DEFAULT_NAMESPACE}
    taking = {
        name: inspect.signature(function).parameters
        for name, function in vars(baking).items()
        if not name.startswith("_") and inspect.isfunction(function) and "ids" in inspect.signature(function).parameters
    }
    assert taking.keys() == {"bake", "unbake"} < CALLS.keys()
    assert {parameters["namespace"].default for parameters in taking.values()} == {DEFAULT_NAMESPACE}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_no_call_tells_an_id_of_another_namespace_from_one_that_never_was(
    name: str, memory: EditMemory, folder: Path
) -> None:
    def outcome(id_: str) -> tuple[type, str]:
        with pytest.raises(MemEditError) as caught:
            CALLS[name](memory, id_)
        return type(caught.value), str(caught.value).replace(id_, "ID")

    before = rows(folder)
    for hers, nobodys in named(memory):
        found = outcome(hers)
        assert found == outcome(nobodys)
        assert issubclass(found[0], NotFoundError) or (name, hers[:2]) == ("chat", "r-"), (
            "to be there is to be another thing"
        )
    assert rows(folder) == before


def test_the_words_name_the_namespace(memory: EditMemory) -> None:
    with pytest.raises(NotFoundError, match=r"there is no edit 'e-0000000000' in namespace 'bob'"):
        memory.get("e-0000000000", namespace=BOB)
    with pytest.raises(NotFoundError, match=r"there is no record 'r-0000000000' in namespace 'carol'"):
        memory.undo(id="r-0000000000", namespace="carol")
    assert "carol" not in memory.namespaces()


def test_a_beginning_is_judged_within_the_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["aaaaaa0001", "aaaaaa0002", "aaaaaa0003", "aaaabb0004"])
    monkeypatch.setattr(writer, "os", SimpleNamespace(urandom=lambda _: bytes.fromhex(next(drawn))))
    with opened(tmp_path / "facts") as memory:
        for number, space in enumerate((ALICE, BOB, ALICE, BOB)):
            memory.add(f"fact {number}", namespace=space)
        assert memory.get("e-aaaaaa", namespace=BOB).id == "e-aaaaaa0002"
        with pytest.raises(InputError, match=r"several ids: e-aaaaaa0001, e-aaaaaa0003;"):
            memory.get("e-aaaaaa", namespace=ALICE)
        with pytest.raises(NotFoundError, match=r"near it: e-aaaaaa0001, e-aaaaaa0003$"):
            memory.get("e-aaaaaa0002", namespace=ALICE)
        with pytest.raises(NotFoundError, match=r"near it: e-aaaaaa0002$"):
            memory.get("e-aaaaaa0001", namespace=BOB)
        with pytest.raises(NotFoundError, match="too short"):
            memory.get("e-aa", namespace=BOB)
        with pytest.raises(NotFoundError, match="in namespace 'carol'; `memedit list`"):
            memory.get("e-aa", namespace="carol")


# ------------------------------------------------------------------------------------------------------- every verb


WITH_IDS: dict[str, list[list[str]]] = {
    "show": [["ID"], ["ID", "--json"], ["ID", "--as-of", "20"]],
    "history": [["ID"], ["ID", "--json"]],
    "undo": [["--id", "ID", "--yes"], ["--id", "ID"]],
    "remove": [["ID", "--yes"], ["OWN", "ID", "--yes"], ["ID"]],
    "replace": [["ID", "The pet of Robert is a cat"]],
    "purge": [["--id", "ID", "--yes"], ["--id", "ID"]],
    "bake": [["ID", "--method", "ft_m"], ["OWN", "ID", "--method", "ft_m"]],
    "unbake": [["ID"], ["OWN", "ID"]],
    "alias": [["ID", "another name"]],
    "list": [["--text", "ID", "--state", "all"], ["--subject", "ID"]],
    "chat": [["<", "/forget ID"], ["<", "/facts ID"], ["<", "/undo ID"]],
    "calibrate": [["--data", "FILE"]],
}
"""Verb -> the ways in which an id can be named to it."""

READING: dict[str, list[list[str]]] = {
    "list": [["--state", "all", "--json"], ["--state", "all", "--subject", "Alicia"], ["--author", "alice"]],
    "search": [["pet of Alicia", "-k", "99"]],
    "explain": [["The capital of Alicialand is"]],
    "ask": [["The capital of Alicialand is"], ["The capital of Alicialand is", "--json", "--as-of", "20"]],
    "history": [["--limit", "999", "--json"], ["--subject", "Alicialand"]],
    "export": [["-", "--all"], ["-", "--all", "--format", "csv"]],
    "stats": [["--json"]],
    "doctor": [["--json"]],
    "undo": [["--by", "alice", "--yes"]],
    "purge": [["--author", "alice", "--yes"], ["--subject", "Alicia", "--yes"]],
    "alias": [["Alicialand", "another name"]],
    "patch": [[], ["--dry-run", "hello", "if the user says hello, then decline"]],
    "unbake": [["--all", "--model", "hf:other"]],
    "rebuild": [[]],
    "settings": [[]],
}
"""Verb -> ways in which it looks at or acts on what is there, none of them naming an id. Nothing of alice's is said."""

ELSEWHERE = {
    "add": "writes; see the random writes",
    "import": "see the tests of files",
    "backup": "copies the whole journal",
    "completion": "see the test of completion",
    "forget": "writes a change of weights; takes no id (tests/test_baking.py holds namespaces apart)",
    "refit": "fits anew what the namespace holds; takes no id (tests/test_baking.py)",
    "export-model": "as refit",
    **dict.fromkeys(("methods", "trace", "datasets", "eval", "easyedit", "report", "bench"), "opens no user's memory"),
}
"""Verb -> why it is not run here."""


def verbs() -> dict[str, click.Command]:
    context = click.Context(cli)
    found = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def test_every_verb_is_put_to_the_test() -> None:
    assert verbs().keys() == {*WITH_IDS, *READING, *ELSEWHERE}
    assert not ELSEWHERE.keys() & {*WITH_IDS, *READING}
    taking = {name for name, made in verbs().items() if any(isinstance(param.type, EditId) for param in made.params)}
    assert taking <= WITH_IDS.keys()


@pytest.fixture
def run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    for name, value in {
        "MEMEDIT_ENCODER": "letters",
        "MEMEDIT_STORE": "exact",
        "MEMEDIT_MEMORY": str(folder),
        "MEMEDIT_MODEL": f"scripted:{tmp_path / 'script.json'}",
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "COLUMNS": "200",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.json").write_text(json.dumps({"*": "I could not say."}))

    def call(verb: str, *arguments: str, space: str = BOB) -> Any:
        stdin = None
        if arguments[:1] == ("<",):
            stdin, arguments = "\n".join(arguments[1:]) + "\n", ()
        return CliRunner().invoke(cli, ["--namespace", space, verb, *arguments], input=stdin)

    return call


@pytest.mark.parametrize("verb", sorted(WITH_IDS))
def test_no_verb_tells_an_id_of_another_namespace_from_one_that_never_was(
    verb: str, run: Callable[..., Any], memory: EditMemory, folder: Path, tmp_path: Path
) -> None:
    mine, before = own(memory), rows(folder)

    def outcome(form: Sequence[str], id_: str) -> tuple[int, str, str]:
        (tmp_path / "pairs.jsonl").write_text(json.dumps({"question": "Who?", "edit": id_}) + "\n")
        swapped = {"OWN": mine, "FILE": str(tmp_path / "pairs.jsonl")}
        found = run(verb, *(swapped.get(part, part).replace("ID", id_) for part in form))
        assert "Traceback" not in found.output
        return found.exit_code, found.stdout.replace(id_, "ID"), found.stderr.replace(id_, "ID")

    pairs, hidden = named(memory, few=True), secrets(memory)
    for form in WITH_IDS[verb]:
        for hers, nobodys in pairs:
            told = outcome(form, hers)
            assert told == outcome(form, nobodys)
            assert told[0] in (0, 2)
            assert not [secret for secret in hidden if secret in told[1] + told[2]]
    assert rows(folder) == before


@pytest.mark.parametrize("verb", sorted(READING))
def test_no_verb_shows_or_touches_what_is_of_another_namespace(
    verb: str, run: Callable[..., Any], memory: EditMemory, folder: Path
) -> None:
    before = rows(folder)
    for form in READING[verb]:
        found = run(verb, *form)
        assert found.exit_code in (0, 2), found.output
        assert not [secret for secret in secrets(memory) if secret in found.output]
    assert rows(folder) == before


def test_the_same_verbs_do_reach_what_is_ones_own(run: Callable[..., Any], memory: EditMemory) -> None:
    """So that nothing above holds for want of anything to show."""
    id_ = own(memory, ALICE)
    for verb, form in (("show", [id_]), ("history", [id_]), ("list", []), ("export", ["-"])):
        found = run(verb, *form, space=ALICE)
        assert (found.exit_code, id_ in found.output) == (0, True)


def test_completion_offers_ones_own_ids(
    run: Callable[..., Any], memory: EditMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in ("memedit --namespace bob show e-", "memedit show --namespace bob e-"):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
        monkeypatch.setenv("_MEMEDIT_COMPLETE", "bash_complete")
        offered = ID.findall(CliRunner().invoke(cli, [], prog_name="memedit").stdout)
        assert set(offered) == {edit.id for edit in memory.list(namespace=BOB)}


# ------------------------------------------------------------------------------------- files, LangChain, the editor


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_ids_in_a_file_link_skip_and_reveal_nothing(memory: EditMemory, tmp_path: Path, form: Any) -> None:
    hers = tmp_path / f"hers.{form}"
    memory.export_file(hers, namespace=ALICE, state="all", format=form)
    every = [record.id for space in memory.namespaces() for record in memory.log(space)]
    text = hers.read_text(encoding="utf-8")
    assert ID.search(text)
    nobodys = tmp_path / f"nobodys.{form}"
    nobodys.write_text(ID.sub(lambda found: never(found[0], every), text), encoding="utf-8")
    before = everything(memory, ALICE)
    came = []
    for number, path in enumerate((hers, nobodys)):
        space = f"{form} {number}"
        report = memory.import_file(path, namespace=space, source="a file")
        came.append((plain(report), [line.replace(space, "SPACE") for line in everything(memory, space)]))
        assert report.added
        memory.import_file(path, namespace=space)
        assert not [edit.id for edit in memory.list(namespace=space, state="all") if edit.id in every]
    assert came[0] == came[1]
    assert "FOREIGN" not in "".join(came[0][1])
    assert everything(memory, ALICE) == before


def test_the_tools_of_a_model_know_their_own_namespace(memory: EditMemory, folder: Path) -> None:
    asked: list[Any] = []
    look_up, _, forget = memory_tools(memory, write=True, confirm=lambda action: bool(asked.append(action)))
    bobs: Any = {"configurable": {"memedit_namespace": BOB}}
    before = rows(folder)
    for config in (bobs, {}):
        for hers, nobodys in named(memory, few=True):
            assert forget.invoke({"id": hers}, config) == forget.invoke({"id": nobodys}, config).replace(nobodys, hers)
    assert not asked
    assert rows(folder) == before
    told = look_up.invoke({"question": "pet of Alicia"}, bobs)
    assert ID.search(told)
    assert not [secret for secret in secrets(memory) if secret in told]


def test_ids_that_steps_and_states_name_are_read_in_the_calls_namespace(memory: EditMemory) -> None:
    from memedit.editor import used_edits

    hers, editor = own(memory, ALICE), Editor(memory, Scripted({}), scope=Named(), namespace=ALICE)
    decision = editor.decide("nothing", namespace=BOB)
    for space, there in ((BOB, False), (None, True), (ALICE, True)):
        used = used_edits([{"step": "a look-up", "edits": [hers]}], decision, editor.retriever(namespace=space))
        assert [hit.edit.id for hit in used] == [hers] * there
        kept = {"edits": [{"id": hers, "score": 1.0, "probability": 1.0}], "namespace": space}
        assert [hit.edit.id for hit in MemEditMiddleware(editor)._standing(kept)] == [hers] * there


def test_who_would_answer_is_asked_in_the_calls_namespace(tmp_path: Path) -> None:
    with opened(tmp_path / "facts") as memory:
        memory.add("if the message mentions “hello”, then decline", kind="patch", namespace=ALICE)
        editor = Editor(memory, Scripted({}), scope=Named())
        decision = editor.decide("hello")
        assert [choice.name for choice in editor.choices("hello", decision, namespace=ALICE)] == ["language_patch"]
        assert editor.choices("hello", decision) == []


def test_doctor_and_stats_tell_of_ones_own_encoders(tmp_path: Path) -> None:
    with opened(tmp_path / "facts", encoder=Letters(32)) as memory:
        memory.add("fact", namespace=ALICE)
        memory.sync(ALICE)
    with opened(tmp_path / "facts") as memory:
        memory.add("fact", namespace=BOB)
        memory.sync(BOB)
        assert memory.doctor(BOB) == []
        assert "another encoder" in str(memory.doctor(ALICE))
        counts = [[one["edits"] for one in memory.stats(space)["encoders"]] for space in (ALICE, BOB, None)]  # type: ignore[attr-defined]
        assert counts == [[1], [1], [1, 1]]


# ---------------------------------------------------------------------------------------- an empty name is no namespace


EMPTY = ("", " ", "\n", "a\x00b")
ARGUMENTS: Mapping[str, Any] = {
    "statement": "Acme sells bolts",
    "id": "e-0000000000",
    "drafts": [],
    "query": "x",
    "queries": ["x"],
    "text": "x",
    "vector": np.zeros(64, np.float32),
    "path": "facts.jsonl",
}
ONE_OF = {"undo": {"last": 1}, "preview_undo": {"last": 1}, "purge": {"author": "ann"}, "history": {"subject": "Acme"}}


def entered(made: object) -> None:
    if isinstance(made, AbstractContextManager):
        made.__enter__()


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, method in vars(EditMemory).items()
        if not name.startswith("_") and callable(method) and "namespace" in inspect.signature(method).parameters
    ],
)
def test_a_memory_refuses_an_empty_namespace(name: str, tmp_path: Path) -> None:
    with opened(tmp_path / "facts") as memory:
        memory.add("The CEO of Acme is Dana Li", author="ann")
        method = getattr(memory, name)
        wanted = [p.name for p in inspect.signature(method).parameters.values() if p.default is p.empty]
        given = {each: ARGUMENTS[each] for each in wanted} | ONE_OF.get(name, {})
        for space in EMPTY:
            with pytest.raises(InputError, match="no namespace"):
                entered(method(**given, namespace=space))
        assert memory.journal.head() == 1
        assert memory.namespaces() == [DEFAULT_NAMESPACE]


def judged(name: str, memory: EditMemory, space: str) -> object:
    return load_scope(name).decide([Message("user", "Who?")], memory, namespace=space)


def asking(editor: Editor, memory: EditMemory) -> dict[str, Callable[[str], object]]:
    """Every other way in which a namespace is named to the library."""
    question = [HumanMessage("Who is the CEO of Acme?")]

    def config(space: str) -> Any:
        return {"configurable": {"memedit_namespace": space}}

    llm = as_runnable(editor.model)
    model = MemEditChatModel(editor=editor, llm=llm)
    look_up, remember, forget = memory_tools(memory, write=True, confirm=lambda _: True)
    state: Any = {"messages": question}
    return {
        "Editor": lambda space: Editor(memory, Scripted({}), namespace=space),
        "ask": lambda space: editor.ask("Who?", namespace=space),
        "stream": lambda space: editor.stream("Who?", namespace=space),
        "decide": lambda space: editor.decide("Who?", namespace=space),
        "decide with weights": lambda space: editor.decide("Who?", namespace=space, weights=True),
        "standing": lambda space: editor.standing(namespace=space),
        "retriever": lambda space: editor.retriever(namespace=space),
        **{f"scope {name}": functools.partial(judged, name, memory) for name in scopes.names()},
        "choices": lambda space: editor.choices("Who?", editor.decide("Who?"), namespace=space),
        "Chat": lambda space: Chat(memory, editor, namespace=space),
        "with_edits": lambda space: with_edits(llm, memory, namespace=space),
        "wrap": lambda space: editor.wrap(llm).invoke("Who?", config(space)),
        "chat model": lambda space: model.invoke(question, config(space)),
        "chat model, bound": lambda space: model.bind(memedit_namespace=space).invoke(question),
        "chat model, events": lambda space: model.stream_events(question, config(space), version="v2"),
        "retriever of a memory": lambda space: EditRetriever(memory=memory, namespace=space).invoke("Who?"),
        "retriever of an editor": lambda space: EditRetriever(editor=editor, namespace=space).invoke("Who?"),
        "retriever, called": lambda space: EditRetriever(memory=memory).invoke("Who?", config(space)),
        "look_up": lambda space: look_up.invoke({"question": "Who?"}, config(space)),
        "remember": lambda space: remember.invoke({"statement": "Acme sells bolts"}, config(space)),
        "forget": lambda space: forget.invoke({"id": "e-0000000000"}, config(space)),
        "middleware": lambda space: MemEditMiddleware(memory, namespace=space),
        "middleware's state": lambda space: MemEditMiddleware(editor)._edited(
            SimpleNamespace(state={**state, "memedit": {"edits": [], "namespace": space}})  # type: ignore[arg-type]
        ),
        "bake": lambda space: baking.bake(memory, method="ft_m", namespace=space),
        "bake an id": lambda space: baking.bake(memory, ["e-0000000000"], method="ft_m", namespace=space),
        "unbake": lambda space: baking.unbake(memory, namespace=space),
        "refit": lambda space: baking.refit(memory, namespace=space),
        "export_model": lambda space: baking.export_model(memory, Path("model"), namespace=space),
        "aliases": lambda space: add_aliases(memory, {"Acme": ["Acme Corp"]}, namespace=space),
        "calibrate": lambda space: calibrate_pairs([], memory, None, namespace=space),  # type: ignore[arg-type]
        "settings": lambda space: load_settings(namespace=space),
        "the rule": checked_namespace,
    }


def test_nothing_takes_an_empty_namespace_for_the_default_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with opened(tmp_path / "facts") as memory:
        memory.add("The CEO of Acme is Dana Li")
        editor = Editor(memory, Scripted({"*": "I could not say."}), scope=Named())
        for name, call in asking(editor, memory).items():
            for space in EMPTY:
                told = None
                try:
                    call(space)
                except InputError as error:
                    told = str(error)
                assert told is not None, (name, space)
                assert "no namespace" in told, (name, space)
        assert memory.journal.head() == 1
        assert editor.ask("Who is the CEO of Acme?", namespace=None).in_scope


@pytest.mark.parametrize("verb", sorted(verbs().keys() - {"bench"}))
def test_no_verb_takes_an_empty_namespace(verb: str, run: Callable[..., Any]) -> None:
    """Before anything else is looked at: most of these lack their arguments."""
    for arguments in (["--namespace", "", verb], [verb, "--namespace", ""]):
        refused = CliRunner().invoke(cli, arguments)
        assert refused.exit_code == 2
        assert "'' is no namespace" in refused.stderr


def test_an_empty_namespace_in_the_environment_or_the_file_is_refused(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listed(*options: str) -> Any:
        return CliRunner().invoke(cli, ["list", *options])

    assert "newt" in listed().stdout
    monkeypatch.setenv("MEMEDIT_NAMESPACE", "")
    assert (listed().exit_code, listed().stdout) == (2, "")
    assert "namespace: '' is no namespace" in listed().stderr
    assert listed("--namespace", BOB).exit_code == 0  # what was said outright wins, as over any variable
    monkeypatch.delenv("MEMEDIT_NAMESPACE")
    (tmp_path / "memedit.toml").write_text('namespace = ""\n')
    assert listed().exit_code == 2
    monkeypatch.setenv("MEMEDIT_NAMESPACE", BOB)
    assert listed().exit_code == 0
