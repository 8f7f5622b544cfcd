"""The store benchmark measures what it says, on few edits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from memedit.bench import store
from memedit.bench.store import Recipe, perturbed, run, statements, unit
from memedit.errors import NotFoundError


def counterfact(folder: Path) -> Path:
    """A folder of datasets with twenty edits in CounterFact's form."""
    (folder / "counterfact").mkdir(parents=True)
    rows = [
        {
            "case_id": number,
            "prompt": f"The capital of Isle {number} is",
            "subject": f"Isle {number}",
            "target_new": f"Port {number}",
            "ground_truth": "Elsewhere",
        }
        for number in range(20)
    ]
    (folder / "counterfact" / "edit.json").write_text(json.dumps(rows))
    return folder


@pytest.mark.parametrize("given", ["--data", "MEMEDIT_DATA"])
def test_the_pool_is_of_the_datasets_where_they_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    data, encoded = counterfact(tmp_path / "data"), []

    def run_of(size: int, keys: int, encoder: Any, data: Path | None, work: Path) -> dict[str, object]:
        encoded.append(data)
        return {"pool": "made-up" if data is None else store.statements_of(data, size)}

    monkeypatch.setattr(store, "_run", run_of)  # nothing is measured here
    options = ["--data", str(data)] if given == "--data" else []
    env = {"MEMEDIT_DATA": str(data)} if given == "MEMEDIT_DATA" else {}
    asked = ["--edits", "5", "--encoder", "letters", "--json"]
    found = json.loads(CliRunner().invoke(store.command, [*asked, *options], env=env).stdout)
    assert found["pool"][1] == "The capital of Isle 1 is Port 1"
    assert len(found["pool"]) == 5
    (data / "counterfact" / "edit.json").unlink()  # an explicit folder must hold it, one that is just there need not
    printed = CliRunner().invoke(store.command, [*asked, *options], env=env)
    if given == "--data":
        assert isinstance(printed.exception, NotFoundError)
    else:
        assert json.loads(printed.stdout)["pool"] == "made-up"
        assert "the pool is of made-up statements" in printed.stderr


def test_a_small_run_from_datasets(tmp_path: Path) -> None:
    assert run(edits=20, encoder="letters", data=counterfact(tmp_path))["pool"] == "datasets"


def test_a_small_run() -> None:
    found = run(edits=300, keys=2, encoder="letters")
    assert list(found) == [
        *("edits", "keys", "pool", "bulk_adds_per_s", "train_s", "add_ms_p50", "search_ms_p50", "search_ms_p99"),
        *("search_edits_ms_p50", "recall_at_10", "open_s", "rebuild_s", "bytes_per_edit_disk", "bytes_per_edit_memory"),
    ]
    assert found["edits"] == 300
    assert found["keys"] == 2
    assert found.pop("pool") == "made-up"
    assert found["recall_at_10"] == 1.0  # so few are compared one by one
    for name, value in found.items():
        assert isinstance(value, (int, float)), name
        assert value > 0 or name in ("train_s", "bytes_per_edit_memory"), name


def test_the_recipe_is_fixed() -> None:
    pool = unit(np.random.default_rng(0).standard_normal((50, 16)).astype(np.float32))
    recipe = Recipe(edits=25_000, keys=2, pool=pool)
    blocks = list(recipe.blocks())
    assert [len(block) for block in blocks] == [10_000, 10_000, 5_000]
    assert (recipe.block(1) == blocks[1]).all()
    queries = recipe.queries(20)
    assert (queries == recipe.queries(20)).all()
    everything = np.concatenate(blocks)
    scores = (everything @ queries.T).max(axis=1).T
    expected = np.argsort(-scores, axis=1)[:, :10]
    assert (np.sort(recipe.nearest(queries, 10), axis=1) == np.sort(expected, axis=1)).mean() > 0.99
    first = perturbed(blocks[0][:, 0], 0.85, pool, np.random.default_rng(1))
    assert 0.7 < np.mean((first * blocks[0][:, 0]).sum(axis=1)) < 0.82


def test_statements_are_made_up_and_differ() -> None:
    made = statements(500)
    assert len(set(made)) == 500
    assert made == statements(500)
