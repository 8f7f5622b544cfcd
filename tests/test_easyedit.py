"""EasyEdit's result files to runs and back, and a foreign method evaluated by the example."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from memedit.cli import cli
from memedit.edits import Draft
from memedit.errors import InputError, NotFoundError
from memedit.evaluation.easyedit import export_results, import_results, read
from memedit.evaluation.report import read as read_runs
from memedit.evaluation.report import report, to_markdown


def result(number: int, rewrite: float, **post: Any) -> dict[str, Any]:
    """A record in the form that EasyEdit writes after an edit."""
    return {
        "case_id": number,
        "requested_rewrite": {
            "prompt": f"Who runs Shop {number}?",
            "target_new": "Dana",
            "ground_truth": "<|endoftext|>",
            "subject": f"Shop {number}",
            "rephrase_prompt": f"Shop {number} is run by whom?",
            "locality": {"neighborhood": {"prompt": "Who runs Mill 3?", "ground_truth": "Ada"}},
            "portability": {},
        },
        "time": 2.5,
        "post": {
            "rewrite_acc": [rewrite],
            "rephrase_acc": [0.5],
            "locality": {"neighborhood_acc": [1.0, 0.5]},
            "portability": {"Subject_Aliasing_acc": [0.25], "reasoning_acc": [[0.5], [1.0]]},
            "fluency": {"ngram_entropy": 6.25},
            **post,
        },
        "pre": {
            "rewrite_acc": [0.0],
            "rephrase_acc": [0.125],
            "locality": {},
            "portability": {"Subject_Aliasing_acc": [0.0]},
            "fluency": {"ngram_entropy": 6.0},
        },
    }


def take(records: list[dict[str, Any]], out: Path) -> list[Path]:
    return import_results(records, out, method="rome", model="gpt2-xl", dataset="zsre")


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line)["metrics"] for line in (folder / "cases.jsonl").read_text().splitlines()]


def test_figures_land_among_the_teacher_forced(tmp_path: Path) -> None:
    rome, base = take([result(0, 1.0), result(1, 0.5)], tmp_path)
    assert metrics(rome)[0] == {
        "free": {"GE": 6.25},
        "teacher_forced": {
            "reliability": 1.0,
            "generalisation": 0.5,
            "locality": 0.75,
            "subject_alias": 0.25,
            "one_hop": 0.75,
        },
    }
    assert metrics(base)[1]["teacher_forced"] == {"reliability": 0.0, "generalisation": 0.125, "subject_alias": 0.0}
    rows = [row for run in read_runs(tmp_path) for row in run.rows]
    found = {(row["method"], row["scoring"]): row["value"] for row in rows if row["metric"] == "reliability"}
    assert found == {("rome", "teacher_forced"): 0.75, ("base", "teacher_forced"): 0.0}
    assert {row["known"] for row in rows} == {None}


def test_they_stand_beside_runs_of_memedit(tmp_path: Path) -> None:
    take([result(0, 1.0), result(1, 0.5)], tmp_path / "theirs")
    import_results([result(0, 0.5)], tmp_path / "other", method="memory", model="gpt2-xl", dataset="zsre")
    made = report([*read_runs(tmp_path / "theirs"), *read_runs(tmp_path / "other" / "memory")])
    forced = next(table for table in made.tables if table.scoring == "teacher_forced")
    assert [line.method for line in forced.lines] == ["base", "memory", "rome"]
    one = next(one for one in made.comparisons if one.metric == "reliability")
    assert (one.method, one.difference.cases, one.difference.value) == ("rome", 1, 0.5)
    assert "## Teacher-forced" in to_markdown(made)


def test_theirs_to_runs_and_back(tmp_path: Path) -> None:
    records = [result(0, 1.0), result(1, 0.5)]
    rome, base = take(records, tmp_path)
    back = export_results(rome, base)
    for old, new in zip(records, back, strict=True):
        assert {key: new[key] for key in ("case_id", "requested_rewrite", "time")} == {
            key: old[key] for key in ("case_id", "requested_rewrite", "time")
        }
        assert new["pre"] == old["pre"]
        assert new["post"] == old["post"] | {  # one figure where theirs has one per question, the usual name
            "locality": {"neighborhood_acc": [0.75]},
            "portability": {"Subject_Aliasing_acc": [0.25], "one_hop_acc": [0.75]},
        }
    again = take(back, tmp_path / "again")
    assert [metrics(folder) for folder in again] == [metrics(rome), metrics(base)]


def test_runs_to_theirs_and_back(tmp_path: Path) -> None:
    forced = {
        "reliability": 0.5,
        "generalisation": 1.0,
        "locality": 0.25,
        "same_subject": 0.75,
        "distracting": 0.125,
        "subject_alias": 0.5,
        "reversed": 0.0,
        "one_hop": 1.0,
        "logical": 0.5,
    }
    replies = [
        {"kind": kind, "prompt": f"{kind}?", "reply": "x", "expected": [kind.upper()], "right": True, "before": "said"}
        for kind in ("edit", "paraphrase", "neighbour", "one_hop")
    ]
    replies[2] |= {"expected": ["said"], "answers": ["TRUE", "so"]}
    line = {"case": "7", "known": True, "metrics": {"free": {"GE": 5.5}, "teacher_forced": forced}, "replies": replies}
    line |= {"subject": "the edit", "old": ["OLD"], "seconds": {"edit": 0.5}}
    (tmp_path / "cases.jsonl").write_text(json.dumps(line) + "\n")
    made = export_results(tmp_path)
    assert made[0]["case_id"] == 7
    assert made[0]["time"] == 0.5
    assert "pre" not in made[0]
    assert made[0]["requested_rewrite"] == {
        "prompt": "edit?",
        "target_new": "EDIT",
        "ground_truth": "OLD",
        "subject": "the edit",
        "rephrase_prompt": "paraphrase?",
        "locality": {"neighborhood": {"prompt": ["neighbour?"], "ground_truth": ["TRUE"]}},
        "portability": {"one_hop": {"prompt": ["one_hop?"], "ground_truth": ["ONE_HOP"]}},
    }
    assert metrics(take(made, tmp_path / "back")[0])[0] == {"free": {"GE": 5.5}, "teacher_forced": forced}


def test_a_run_is_written_as_their_record(tmp_path: Path) -> None:
    """Of a real run: subject and old answer are the dataset's, though the model says something else."""
    own, script = tmp_path / "own.jsonl", tmp_path / "script.json"
    rows: list[dict[str, Any]] = [
        {"prompt": "The capital of Alba is", "subject": "Alba", "target": "New Alba", "old": "Port Alba",
         "neighbour": "The capital of Zed is", "neighbour_answers": "Zedville"},
        {"prompt": "The capital of Borduria is", "subject": "Borduria", "target": "New Borduria"},
    ]  # fmt: skip
    own.write_text("".join(json.dumps(row) + "\n" for row in rows))
    script.write_text(json.dumps({"*": "hm"}))
    run = tmp_path / "run"
    arguments = ["eval", "--method", "planted:always", "--dataset", str(own), "--model", f"scripted:{script}"]
    done = CliRunner().invoke(cli, [*arguments, "--cases", "2", "--side-effects", "0", "--out", str(run)])
    assert done.exit_code == 0, done.output
    (folder,) = (run / "planted-always").iterdir()
    made = {record["requested_rewrite"]["subject"]: record["requested_rewrite"] for record in export_results(folder)}
    assert made == {
        "Alba": {
            "prompt": "The capital of Alba is",
            "target_new": "New Alba",
            "ground_truth": "Port Alba",
            "subject": "Alba",
            "locality": {"neighborhood": {"prompt": ["The capital of Zed is"], "ground_truth": ["Zedville"]}},
            "portability": {},
        },
        "Borduria": {
            "prompt": "The capital of Borduria is",
            "target_new": "New Borduria",
            "ground_truth": "<|endoftext|>",
            "subject": "Borduria",
            "locality": {},
            "portability": {},
        },
    }


def test_tokens_before_and_after_become_the_share_that_is_the_same(tmp_path: Path) -> None:
    record = result(0, 1.0, locality={"neighborhood_output": [[3, 4, 5, 6], [7]]})
    record["pre"]["locality"] = {"neighborhood_output": [[3, 4, 9, 6], [7]]}
    rome, base = take([record], tmp_path)
    assert metrics(rome)[0]["teacher_forced"]["locality"] == pytest.approx((0.75 + 1.0) / 2)
    assert metrics(base)[0]["teacher_forced"]["locality"] == 1.0


def test_what_says_that_it_was_generated_is_not_called_teacher_forced(tmp_path: Path) -> None:
    judged = result(0, 1.0, metric_meta={"rewrite": {"protocol": "free_generation_judge"}})
    other = result(1, 1.0, metric_meta={"rewrite": {"protocol": "vanilla_generation"}})
    plain = result(2, 1.0, metric_meta={"rewrite": {"protocol": "decoder_only_teacher_forcing"}})
    rome, _ = take([judged, other, plain], tmp_path)
    found = metrics(rome)
    assert found[0]["free"]["reliability"] == 1.0
    assert found[0]["teacher_forced"] == {}
    assert found[1] == {"free": {"GE": 6.25}, "teacher_forced": {}}
    assert found[2]["teacher_forced"]["reliability"] == 1.0


def test_a_figure_without_its_like_is_left_out_and_named(tmp_path: Path) -> None:
    rome, _ = take([result(0, 1.0, portability={"Compositionality_acc": [1.0]})], tmp_path)
    assert "portability" not in str(metrics(rome))
    assert "teacher_forced portability/Compositionality_acc" in read_runs(rome)[0].left_out


def test_what_is_no_result_of_theirs_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no file"):
        read(tmp_path / "absent.json")
    for text in ("{}", "[]", '[{"pre": {}}]'):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(InputError, match="no result of EasyEdit"):
            read(tmp_path / "x.json")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        read(tmp_path / "x.json")


def test_no_run_is_written_over(tmp_path: Path) -> None:
    take([result(0, 1.0)], tmp_path)
    with pytest.raises(InputError, match="there is a run at"):
        take([result(0, 1.0)], tmp_path)


def test_the_command_goes_both_ways(tmp_path: Path) -> None:
    def run(*arguments: object) -> Any:
        return CliRunner().invoke(cli, ["easyedit", *map(str, arguments)])

    file, out, back = tmp_path / "rome.json", tmp_path / "runs", tmp_path / "back.json"
    file.write_text(json.dumps([result(0, 1.0)]))
    found = run(file, out, "--method", "rome", "--model", "gpt2-xl", "--dataset", "zsre")
    assert found.exit_code == 0, found.output
    rome, base = found.stdout.split()
    assert run(rome, back, "--base", base).exit_code == 0
    assert json.loads(back.read_text())[0]["post"]["rewrite_acc"] == [1.0]
    silent = run(file, tmp_path / "more")
    assert silent.exit_code == 2
    assert "say --method, --model and --dataset" in silent.stderr
    assert "has no cases" in run(tmp_path, back).stderr


# -------------------------------------------------------------------------------------------------------------- example


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = Path(__file__).parent.parent / "examples" / "evaluate_foreign_method.py"
    spec = importlib.util.spec_from_file_location("evaluate_foreign_method", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, example: ModuleType) -> str:
    """A random GPT-2 of a few thousand weights that knows the example's words."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    texts = [f"{one.prompt} {one.target} {one.old[0]}" for one in example.CASES]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(texts, trainers.BpeTrainer(special_tokens=["<end>"], initial_alphabet=alphabet))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>", bos_token="<end>")
    torch.manual_seed(0)
    ids = {"bos_token_id": 0, "eos_token_id": 0}
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=raw.get_vocab_size(), n_positions=96, n_embd=32, n_layer=2, n_head=2, **ids)
    )
    folder = tmp_path_factory.mktemp("tiny")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return f"hf:{folder}"


def test_a_foreign_method_is_evaluated_and_the_model_left_as_it_was(
    example: ModuleType, tiny: str, tmp_path: Path
) -> None:
    import torch

    base = example.Base(tiny)
    before = {name: value.clone() for name, value in base.model._model.state_dict().items()}
    foreign = example.Foreign("steps", base, example.a_few_steps(base.model._tokenizer, steps=40, rate=1e-2))
    for system in (base, foreign):
        example.evaluate(system, base, example.CASES, tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in base.model._model.state_dict().items())
    rows = {
        (row["method"], row["scoring"], row["metric"]): row["value"]
        for run in read_runs(tmp_path)
        for row in run.rows
        if row["over"] == "all"
    }
    assert rows["steps", "teacher_forced", "reliability"] == 1.0
    assert rows["steps", "free", "reliability"] == 1.0
    assert rows["base", "free", "reliability"] == 0.0
    assert rows["base", "free", "locality"] == 1.0
    assert rows["steps", "free", "seconds_per_edit"] > 0
    assert "## Teacher-forced" in to_markdown(report(read_runs(tmp_path)))


def test_a_foreign_system_adds_and_undoes(example: ModuleType, tiny: str) -> None:
    def note(model: Any, edit: Draft) -> Any:
        model.told = [*getattr(model, "told", []), edit.subject]
        return model

    base = example.Base(tiny)
    foreign = example.Foreign("note", base, note)
    first, second, third = example.CASES
    foreign.edit((*first.edits, *second.edits))
    foreign.edit(third.edits)
    assert foreign.now.model._model.told == ["France", "Japan", "Italy"]
    assert not hasattr(base.model._model, "told")
    foreign.reset()
    assert foreign.now is base
    foreign.edit(second.edits)
    assert foreign.now.model._model.told == ["Japan"]


def test_a_method_that_returns_another_model_is_taken_at_its_word(example: ModuleType, tiny: str) -> None:
    base = example.Base(tiny)
    other = example.Base(tiny).model._model
    asked: list[Draft] = []

    def swap(model: Any, edit: Draft) -> Any:
        asked.append(edit)
        return other

    foreign = example.Foreign("swap", base, swap)
    foreign.edit(example.CASES[0].edits)
    assert foreign.now.model._model is other
    assert asked == list(example.CASES[0].edits)
