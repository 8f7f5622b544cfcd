"""What is fitted into weights is looked at: the pocket model is asked, and what did not take the memory answers."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from click.testing import CliRunner, Result
from fakes import Named

from memedit import baking
from memedit.cli import cli
from memedit.editor import Editor
from memedit.edits import Answer, Look
from memedit.errors import NotTakenError
from memedit.memory import EditMemory
from memedit.models.hugging_face import HuggingFace
from memedit.models.pocket import Pocket

ROME = "The capital of France is Rome"
PORT = "The port of the backup server is 48213"
FIRM = {"subject": "firm", "target": "上海", "prompt": "The seat of the firm is"}
FEW = {"texts": 40}  # of the text that r_rome and memit look at
TUNED = {"rate": 3e-4, "steps": 10}
IDLE = {"rate": 1e-9, "steps": 1}  # changes nothing that is heard


@pytest.fixture(autouse=True)
def places(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMEDIT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("MEMEDIT_CONFIG", "")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name, value in {"ENCODER": "letters", "STORE": "exact", "MODEL": "pocket", "SCOPE": "lexical"}.items():
        monkeypatch.setenv(f"MEMEDIT_{name}", value)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def pocket() -> Pocket:
    return Pocket()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with opened(tmp_path / "facts") as made:
        yield made


def opened(where: Path) -> EditMemory:
    return EditMemory.open(where, encoder="letters", store="exact")


def asked(memory: EditMemory, model: object, text: str, **given: Any) -> Answer:
    return Editor(memory, model, scope=Named(), answerer="verbatim").ask(text, **given)


def failed(memory: EditMemory, model: object, statement: str = ROME, **given: Any) -> str:
    """An edit that is in the weights and did not take."""
    return memory.add(statement, method="fine_tune", model=model, settings=IDLE, **given).id


def took(memory: EditMemory, model: object, statement: str = ROME, **given: Any) -> str:
    receipt = memory.add(statement, method="fine_tune", model=model, settings=TUNED, **given)
    assert receipt.looks[0].took, receipt.looks
    return receipt.id


def files(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# --------------------------------------------------------------------------------------------------- what is told


def test_an_edit_that_takes_is_said_by_the_weights(memory: EditMemory, pocket: Pocket) -> None:
    receipt = memory.add(ROME, method="r_rome", model=pocket, settings=FEW)
    [look] = receipt.looks
    assert (look.id, look.statement, look.target, look.took, look.reason) == (receipt.id, ROME, "Rome", True, "")
    assert (look.prompt, look.question) == ("The capital of France is", "What is the capital of France?")
    assert (look.prompt_before, look.prompt_after) == ("Paris.", "Rome.")
    assert (look.question_before, look.question_after) == ("Paris", "Rome")
    assert 0 <= look.probability_before < 0.1 < 0.5 < look.probability_after <= 1
    answer = asked(memory, pocket, "What is the capital of France?")
    assert (answer.text, answer.in_scope, answer.edits) == ("Rome", False, ())
    assert memory.bakes()[0].untaken == ()


@pytest.mark.parametrize(
    ("statement", "parts", "half"),
    [(PORT, {}, "4821"), ("The seat of the firm is 上海", FIRM, "上")],
    ids=["a longer number", "half a name"],
)
def test_an_edit_that_does_not_take_is_answered_from_the_memory(
    memory: EditMemory, pocket: Pocket, statement: str, parts: dict[str, str], half: str
) -> None:
    receipt = memory.add(statement, method="r_rome", model=pocket, settings=FEW, **parts)
    [look] = receipt.looks
    assert look.prompt_after.startswith(half)
    assert (look.took, receipt.edit.target) == (False, look.target)
    assert "the reply to its prompt does not say it" in look.reason
    assert memory.bakes()[0].untaken == (receipt.id,)
    for text in (look.prompt, look.question or ""):
        answer = asked(memory, pocket, text)
        assert answer.text.startswith(look.target)
        assert [hit.edit.id for hit in answer.edits] == [receipt.id]
    standing = Editor(memory, pocket, scope=Named()).standing()
    assert standing.untaken == (receipt.id,)
    assert f"{receipt.id}: did not take in the weights, so from the memory" in standing.notes()


def test_prompt_and_question_are_looked_at_apart(memory: EditMemory, pocket: Pocket) -> None:
    """Nobody asks this fact's question as it is fitted: the prompt is said, and that is not enough."""
    receipt = memory.add(
        ROME, method="r_rome", model=pocket, settings=FEW, question="How many inhabitants does Oslo have?"
    )
    [look] = receipt.looks
    assert (look.prompt_after, look.took) == ("Rome.", False)
    assert look.reason == "the reply to its question does not say it"


def test_a_fact_with_a_question_alone_is_asked_it_once(memory: EditMemory, pocket: Pocket) -> None:
    parts = {"subject": "France", "target": "Rome", "question": "What is the capital of France?"}
    [look] = memory.add("France: Rome", method="r_rome", model=pocket, settings=FEW, **parts).looks
    assert (look.prompt, look.question, look.question_after) == (parts["question"], None, None)
    assert look.took


def test_what_the_model_said_all_along_is_taken(memory: EditMemory, pocket: Pocket) -> None:
    [look] = memory.add("The capital of France is Paris", method="fine_tune", model=pocket, settings=IDLE).looks
    assert (look.prompt_before, look.prompt_after, look.took) == ("Paris.", "Paris.", True)


# ------------------------------------------------------------------------------------------ it stays known, everywhere


def test_what_did_not_take_stays_known(memory: EditMemory, pocket: Pocket, tmp_path: Path) -> None:
    id_ = failed(memory, pocket)
    then = memory.journal.head()
    question = "What is the capital of France?"

    def from_memory(**given: Any) -> bool:
        return [hit.edit.id for hit in asked(memory, pocket, question, **given).edits] == [id_]

    assert from_memory()
    with opened(tmp_path / "facts") as again:
        assert again.bakes()[0].untaken == (id_,)
        assert asked(again, pocket, question).text.startswith("Rome")
    memory.undo(id=id_)
    assert asked(memory, pocket, question).text == "Paris"
    assert from_memory(as_of=then)
    memory.undo(id=memory.log(limit=1)[0].id)
    assert from_memory()
    baking.unbake(memory, [id_])
    assert from_memory()
    memory.undo(last=1)
    assert memory.bakes()[0].untaken == (id_,)
    assert from_memory()
    memory.purge(id=id_)
    assert asked(memory, pocket, question).text == "Paris"


def test_nothing_that_the_model_said_is_kept(memory: EditMemory, pocket: Pocket, tmp_path: Path) -> None:
    receipt = memory.add(PORT, method="r_rome", model=pocket, settings=FEW)
    said = receipt.looks[0].prompt_after
    assert len(said) > 5
    memory.close()
    assert not [file for file, data in files(tmp_path / "facts").items() if said.encode() in data]


def test_baked_together_some_take(memory: EditMemory, pocket: Pocket) -> None:
    good, bad = memory.add(ROME).id, memory.add(PORT).id
    done = baking.bake(memory, model=pocket, method="memit", settings=FEW)
    assert {look.id: look.took for look in done.looks} == {good: True, bad: False}
    assert (done.edits, done.untaken, done.bakes[0].untaken) == ((good, bad), (bad,), (bad,))
    view = Editor(memory, pocket, scope=Named()).standing().memory
    assert [edit.id for edit in view.list()] == [bad]
    assert asked(memory, pocket, "What is the port of the backup server?").text.startswith("48213")
    again = baking.bake(memory, model=pocket, method="memit", settings=FEW)
    assert again.edits == ()
    assert again.skipped[good] == "it is in these weights already"
    assert "the memory answers it; `memedit unbake`" in again.skipped[bad]


def test_what_did_not_take_may_be_tried_again(memory: EditMemory, pocket: Pocket) -> None:
    id_ = failed(memory, pocket)
    done = baking.bake(memory, [id_], model=pocket, method="fine_tune", settings=TUNED)
    assert [look.took for look in done.looks] == [True]
    assert [one.edits for one in memory.bakes() if one.in_force] == [(id_,)]  # in the place of the first
    assert asked(memory, pocket, "What is the capital of France?").edits == ()
    with opened(Path("clean")) as clean:
        clean.add(ROME)
        alone = baking.bake(clean, model=pocket, method="fine_tune", settings=TUNED)
        ours = memory.journal.weights([done.bakes[0].seq]).values()
        assert list(ours) == list(clean.journal.weights([alone.bakes[0].seq]).values())
    memory.undo(last=1)
    assert memory.bakes()[0].untaken == (id_,)
    assert took(memory, pocket) == id_  # by adding it once more, too


def test_refitted_and_looked_at_again(memory: EditMemory, pocket: Pocket) -> None:
    first, bad = took(memory, pocket), failed(memory, pocket, "The capital of Spain is Oslo")
    last = took(memory, pocket, "The capital of Italy is Oslo")
    memory.undo(id=first)
    done = baking.refit(memory, model=pocket)
    assert {look.id: look.took for look in done.looks} == {bad: False, last: True}
    assert [one.untaken for one in memory.bakes() if one.in_force] == [(bad,), ()]
    assert asked(memory, pocket, "What is the capital of Spain?").text.startswith("Oslo")


def test_an_edit_that_a_later_one_undoes_is_back_in_the_memory(memory: EditMemory, pocket: Pocket) -> None:
    first = took(memory, pocket)
    ruin = {"rate": 5e-3, "steps": 10}
    receipt = memory.add("The capital of Spain is Oslo", method="fine_tune", model=pocket, settings=ruin)
    [slipped] = [look for look in receipt.looks if look.id == first]
    assert not slipped.took
    assert slipped.prompt_before == "Rome."
    assert memory.bakes()[0].untaken == (first,)
    assert [hit.edit.id for hit in asked(memory, pocket, "What is the capital of France?").edits] == [first]
    assert memory.bakes(as_of=memory.journal.head() - 1)[0].untaken == ()
    memory.undo(id=receipt.id)
    assert memory.bakes()[0].untaken == ()
    assert asked(memory, pocket, "What is the capital of France?").edits == ()


def test_a_batch_that_undoes_one_before_it_is_told(memory: EditMemory, pocket: Pocket) -> None:
    first, second = memory.add(ROME).id, memory.add("The capital of Spain is Oslo").id
    done = baking.bake(
        memory, model=pocket, method="fine_tune", settings={"rate": 5e-3, "steps": 10}, batch=1
    )  # so strong that each undoes what was before
    looks = {look.id: look for look in done.looks}
    assert not looks[first].took
    assert [first in one.untaken for one in memory.bakes()] == [True, False]
    assert looks[second].prompt_before == "Madrid."


# -------------------------------------------------------------------------------------------------------------- strict


def test_strict_changes_nothing(memory: EditMemory, pocket: Pocket, tmp_path: Path) -> None:
    good = took(memory, pocket, "The capital of Italy is Oslo")
    bad = failed(memory, pocket, "The capital of Spain is Oslo")
    plain = memory.add(PORT).id
    before = files(tmp_path / "facts")
    with pytest.raises(NotTakenError, match=r"nothing was changed.*capital of France.*reply to its prompt") as told:
        memory.add(ROME, method="fine_tune", model=pocket, settings=IDLE, strict=True)
    assert [(look.id, look.took, look.prompt_after) for look in told.value.looks] == [(None, False, "Paris.")]
    for call in (
        lambda: baking.bake(memory, [plain], model=pocket, method="fine_tune", settings=IDLE, strict=True),
        lambda: baking.bake(memory, [plain, bad], model=pocket, method="r_rome", settings=FEW, batch=1, strict=True),
        lambda: baking.refit(memory, model=pocket, everything=True, strict=True),
    ):
        with pytest.raises(NotTakenError):
            call()
    assert files(tmp_path / "facts") == before
    assert [one.edits for one in memory.bakes()] == [(good,), (bad,)]


def test_strict_writes_what_took(memory: EditMemory, pocket: Pocket) -> None:
    ids = [memory.add(text).id for text in (ROME, "The capital of Spain is Oslo")]
    done = baking.bake(memory, model=pocket, method="r_rome", settings=FEW, batch=1, strict=True)
    assert [look.took for look in done.looks] == [True, True]
    assert [(one.edits, one.untaken, one.stale) for one in memory.bakes()] == [((i,), (), False) for i in ids]


# ----------------------------------------------------------------------------------------------- the checkpoint's type


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory, pocket: Pocket) -> Path:
    """The pocket model as it would lie on a disk in bfloat16."""
    where = tmp_path_factory.mktemp("models") / "short"
    module = copy.deepcopy(pocket._model)
    module.config = copy.deepcopy(module.config)
    module.to(torch.bfloat16).save_pretrained(where)
    pocket._tokenizer.save_pretrained(where)
    return where


def test_what_is_lost_in_the_checkpoints_own_type_did_not_take(memory: EditMemory, short: Path) -> None:
    """So small a step moves every weight by less than bfloat16 can tell, and all of them together say Rome."""
    model = Pocket(str(short))
    slight = {"rate": 5e-5, "steps": 10}
    [look] = memory.add(ROME, method="fine_tune", model=model, settings=slight).looks
    assert (look.prompt_after, look.question_after, look.took) == ("Rome.", "Rome", False)
    assert "in the checkpoint's own type, bfloat16, the change is lost" in look.reason
    assert asked(memory, model, "What is the capital of France?").in_scope
    # The very same where it is stored in a finer type.
    module = copy.deepcopy(model._model)
    module.checkpoint_dtype = torch.float32
    wide = model.with_weights(replace(model.language_model, model=module))
    with opened(Path("wide")) as other:
        [same] = other.add(ROME, method="fine_tune", model=wide, settings=slight).looks
        assert same == replace(look, id=same.id, took=True, reason="")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Callable[[torch.dtype], Path]:
    def build(dtype: torch.dtype) -> Path:
        where = tmp_path_factory.mktemp("models") / "gpt2"
        made = tiny.build("gpt2", dtype)
        made.model.save_pretrained(where)
        made.tokenizer.save_pretrained(where)
        return where

    return build


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_an_export_keeps_the_checkpoints_type(
    memory: EditMemory, stored: Callable[[torch.dtype], Path], dtype: torch.dtype, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    folder = stored(dtype)
    model = HuggingFace(str(folder), device="cpu")
    made = baking.export_model(memory, tmp_path / "plain", model=model)
    name = str(dtype).removeprefix("torch.")
    assert (made.bakes, made.dtype, made.checkpoint_dtype) == ((), name, name)
    memory.add("The capital of Ostland is Brill", method="ft_m", model=model, settings={"rate": 0.1, "layer": 2})
    baking.export_model(memory, tmp_path / "edited", model=model)
    ours, plain, edited = (
        AutoModelForCausalLM.from_pretrained(where, dtype="auto")
        for where in (folder, tmp_path / "plain", tmp_path / "edited")
    )
    assert plain.dtype == edited.dtype == dtype
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), plain.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(ours.parameters(), edited.parameters(), strict=True))
    # The model in memory is as it was.
    assert model._model.dtype == model._model.config.dtype == torch.float32


def test_a_checkpoint_that_does_not_say_its_type_is_told(
    stored: Callable[[torch.dtype], Path], run: Run, tmp_path: Path
) -> None:
    folder = stored(torch.bfloat16)
    run("add", "The capital of Ostland is Brill")
    for said in ("bfloat16", None):
        config = json.loads((folder / "config.json").read_text())
        config.pop("dtype" if said is None else "", None)
        (folder / "config.json").write_text(json.dumps(config))
        told = run("export-model", str(tmp_path / f"out-{said}"), "--model", f"hf:{folder}", "--json")
        shown = json.loads(told.stdout)
        assert (shown["dtype"], shown["checkpoint_dtype"]) == (said or "float32", said)
        assert ("does not say its own type: the weights are in float32" in told.stderr) == (said is None)


# ------------------------------------------------------------------------------------------------------------- the CLI


Run = Callable[..., Result]
FIELDS = {*Look.__slots__}
IDLY = [f"--set={name}={value}" for name, value in IDLE.items()]
WELL = [f"--set={name}={value}" for name, value in TUNED.items()]


@pytest.fixture
def run() -> Run:
    def call(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, list(arguments))
        assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
        return result

    return call


def test_a_failed_edit_on_the_command_line(run: Run, tmp_path: Path) -> None:
    method = ["--method", "fine_tune", "--model", "pocket"]
    refused = run("add", ROME, *method, *IDLY, "--strict", "--json", code=2)
    shown = json.loads(refused.stdout)
    assert (shown["edit"], shown["new"], shown["looks"][0]["took"], shown["looks"][0]["id"]) == (
        None,
        False,
        False,
        None,
    )
    assert "nothing was changed, since it did not take" in refused.stderr
    assert not (tmp_path / "facts").exists()

    added = run("add", ROME, *method, *IDLY, "--json")
    shown = json.loads(added.stdout)
    id_, [look] = shown["edit"]["id"], shown["looks"]
    assert (set(look), look["id"], look["took"]) == (FIELDS, id_, False)
    assert "“What is the capital of France?”: “Paris” → “Paris”" in added.stderr
    assert f"{id_}: did not take (p = 0.00 → 0.00)" in added.stderr
    assert "the memory answers it" in added.stderr
    reply = run("ask", "What is the capital of France?")
    assert reply.stdout.startswith("Rome")
    assert f"{id_}: did not take in the weights, so from the memory" in reply.stderr
    assert "in force, did not take" in run("show", id_).stdout
    assert json.loads(run("show", id_, "--json").stdout)["weights"][0]["untaken"] == [id_]
    out = json.loads(run("export-model", "out", "--json").stdout)
    assert (out["edits"], out["untaken"], out["dtype"]) == ([id_], [id_], "float16")

    before = files(tmp_path / "facts")[tmp_path / "facts" / "journal.db"]
    refused = run("bake", id_, *method, *IDLY, "--strict", "--json", code=2)
    assert json.loads(refused.stdout)["baked"] == []
    assert json.loads(run("refit", "--all", "--strict", "--json", code=2).stdout)["looks"][0]["id"] == id_
    assert files(tmp_path / "facts")[tmp_path / "facts" / "journal.db"] == before

    baked = run("bake", id_, *method, *IDLY)
    assert baked.stdout.split("\t") == [id_, "baked, did not take\n"]
    for verb, what in ((["refit", "--all"], "refitted"), (["bake", id_, *method, *WELL], "baked")):
        shown = json.loads(run(*verb, "--json").stdout)
        assert set(shown) == {what, "bakes", "untaken", "skipped", "back", "stale", "looks"}
        assert [set(one) for one in shown["looks"]] == [FIELDS]
        assert (shown[what], shown["untaken"] == []) == ([id_], what == "baked")
    assert run("ask", "What is the capital of France?").stdout == "Rome\n"
    assert "1 edit in the weights" in run("ask", "What is the capital of France?").stderr
    run("add", "x is y", "--strict", code=2)
