"""The store benchmark measures what it says, on few edits."""

import numpy as np

from memedit.bench.store import Recipe, perturbed, run, statements, unit


def test_a_small_run() -> None:
    found = run(edits=300, keys=2, encoder="letters")
    assert list(found) == [
        *("edits", "keys", "bulk_adds_per_s", "train_s", "add_ms_p50", "search_ms_p50", "search_ms_p99"),
        *("search_edits_ms_p50", "recall_at_10", "open_s", "rebuild_s", "bytes_per_edit_disk", "bytes_per_edit_memory"),
    ]
    assert found["edits"] == 300
    assert found["keys"] == 2
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
