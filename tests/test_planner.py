"""The planner: chains against every chain there is, the text it learns from, and its files from training to runtime."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from gates import torch_folder
from test_training_scope import SOURCES as SCOPE

from memedit import planning
from memedit.errors import ModelError
from memedit.planning import Hop, Planner, best_chains, best_names, load_planner, strange
from memedit.relations import relations
from memedit.training import planner as training
from memedit.training.planner_text import (
    LONGEST_CHAIN,
    PlannerSources,
    PlannerWriter,
    Template,
    case_templates,
    inventory,
    labels,
    part,
    phrases,
)

MEGABYTE = 1_000_000


@pytest.fixture
def sources() -> PlannerSources:
    known = labels()
    return PlannerSources(
        cases=(
            Template(
                "Who leads the country where {subject} holds citizenship?",
                (known["citizenship"], known["head_of_state"]),
                "Ann Bo",
            ),
            Template(
                "In which city was the person who wrote {subject} born?", (known["author"], known["birthplace"]), "Q"
            ),
        ),
        single=(Template("By whom was {subject} penned?", (known["author"],), "The Long Tea"),),
        scope=SCOPE,
        evaluated=frozenset({"ann bo"}),
    )


# --- decoding


def every_chain(hops: np.ndarray, follows: np.ndarray, longest: int) -> dict[tuple[int, ...], float]:
    """Each chain's score, added up step by step."""
    found = {}
    for length in range(longest + 1):
        for chain in itertools.product(range(1, hops.shape[1]), repeat=length):
            whole = [0, *chain, 0]
            found[chain] = sum(
                float(hops[at, after] + follows[before, after])
                for at, (before, after) in enumerate(itertools.pairwise(whole))
            )
    return found


@pytest.mark.parametrize("seed", range(4))
def test_chains_are_the_best_of_all_with_their_exact_probabilities(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hops, follows = rng.normal(0, 2, (4, 4)).astype(np.float32), rng.normal(0, 1, (4, 4)).astype(np.float32)
    scores = every_chain(hops, follows, 3)
    whole = math.log(sum(math.exp(score) for score in scores.values()))
    expected = sorted(scores.items(), key=lambda pair: -pair[1])[:5]
    found = best_chains(hops, follows, 3, number=5, beam=100)
    assert [chain for chain, _ in found] == [chain for chain, _ in expected]
    for (_, probability), (_, score) in zip(found, expected, strict=True):
        assert probability == pytest.approx(math.exp(score - whole), rel=1e-4)


def test_training_scores_chains_as_decoding_does() -> None:
    rng = np.random.default_rng(1)
    labels_, slots = 5, LONGEST_CHAIN + 1
    hops = rng.normal(0, 1, (2, slots, labels_)).astype(np.float32)
    follows = rng.normal(0, 1, (labels_, labels_)).astype(np.float32)
    chains = [(3, 1), (2, 2, 4, 1, 3)]
    every = training.all_chains_score(torch.tensor(hops), torch.tensor(follows))
    own = training.chain_score(torch.tensor(hops), torch.tensor(follows), chains)
    for row, chain in enumerate(chains):
        found = dict(best_chains(hops[row], follows, LONGEST_CHAIN, number=4000, beam=2000))
        assert math.exp(own[row] - every[row]) == pytest.approx(found[chain], rel=1e-3)
    short = training.all_chains_score(torch.tensor(hops), torch.tensor(follows), longest=1)
    likely = dict(best_chains(hops[0], follows, LONGEST_CHAIN, number=4000, beam=2000))
    at_most_one = sum(probability for chain, probability in likely.items() if len(chain) < 2)
    assert math.exp(short[0] - every[0]) == pytest.approx(at_most_one, rel=1e-3)


def test_steps_that_no_question_means_are_told() -> None:
    def odd(before: str, after: str) -> bool:
        return bool(strange([Hop((before,) if before else (), ""), Hop((after,), "")])[0, 1])

    steps = [("citizenship", "author"), ("country_of_origin", "country_of_origin"), ("author", "capital")]
    assert all(odd(*step) for step in steps)
    steps = [("author", "citizenship"), ("citizenship", "capital"), ("sport", "country_of_origin")]
    assert not any(odd(*step) for step in steps)
    assert all(odd(*step) for step in [("continent", "continent"), ("position_held", "officeholder")])
    assert not any(odd(*step) for step in [("mother", "mother"), ("mother", "child"), ("location", "location")])
    assert not odd("", "capital")  # of which no relation is known

    reading = load_planner().read("What is the continent of the country of origin of Zoltan Perry's sport?")
    likely = [plan for plan in reading.plans if plan.probability > 0.03]
    assert likely
    assert not any(strange(step)[0, 1] for plan in likely for step in itertools.pairwise(plan.hops))


def test_a_name_is_cut_out_without_its_quotation_marks() -> None:
    question = 'Who sings "Blue Rain" for Sam Bo Jr.?'
    words = [(4, 9), (10, 11), (11, 15), (16, 20), (20, 21), (26, 29), (30, 32), (33, 35), (35, 36)]
    offsets = [(0, 0), *words, (0, 0)]

    def spans(first: int, last: int) -> np.ndarray:
        made = np.full((2, len(offsets)), -9.0, np.float32)
        made[0, first], made[1, last] = 9.0, 9.0
        return made

    assert best_names(spans(2, 5), offsets, question)[0][0] == "Blue Rain"
    name, probability = best_names(spans(6, 9), offsets, question)[0]
    assert (name, probability > 0.99) == ("Sam Bo Jr.", True)


# --- text


def test_questions_carry_their_names_and_chains(sources: PlannerSources) -> None:
    writer = PlannerWriter(sources, 0)
    asked = writer.questions(400)
    planned = [one for one in asked if one.chain]
    assert 0.5 < len(planned) / len(asked) < 0.95
    assert max(len(one.chain) for one in planned) <= LONGEST_CHAIN
    for one in planned:
        assert one.entity is not None
        name = one.text[slice(*one.entity)]
        assert name
        assert name == name.strip()
        assert "\x00" not in one.text
    assert all(one.entity is None for one in asked if not one.chain)


def test_the_same_seed_asks_the_same_questions(sources: PlannerSources) -> None:
    first, second = PlannerWriter(sources, 0), PlannerWriter(sources, 1)
    first.questions(5)
    first.seed(8)
    second.seed(8)
    assert first.questions(30) == second.questions(30)


def test_names_of_kept_cases_are_never_asked_about(sources: PlannerSources) -> None:
    writer = PlannerWriter(sources, 0)
    for _ in range(300):
        one = writer.case_question()
        assert one.entity is not None
        assert one.text[slice(*one.entity)] != "Ann Bo"


def test_a_lengthened_question_keeps_its_own_chain_at_the_end(sources: PlannerSources) -> None:
    writer = PlannerWriter(sources, 2)
    own = {template.chain for template in (*sources.cases, *sources.single)}
    longer = [one.chain for one in (writer.lengthened() for _ in range(60))]
    assert all(any(chain[-len(known) :] == known for known in own) for chain in longer)
    assert any(len(chain) > 2 for chain in longer)


def test_every_relation_has_one_label_and_kin_share_it() -> None:
    known = labels()
    assert known["head_of_state"] == known["president"] == known["P35"] != known["head_of_government"]
    assert 0 not in known.values()
    assert len(inventory()) == max(known.values())
    names = [name for label in inventory() for name in label.names]
    assert len(names) == len(set(names))
    assert set(names) <= set(relations())


def test_phrases_name_the_target() -> None:
    assert "the country which {subject} is associated with" in phrases("country")
    assert "the capital of {subject}" in phrases("capital")


def test_parts_are_fixed_and_all_there() -> None:
    parts = [part(number) for number in range(500)]
    assert parts == [part(str(number)) for number in range(500)]
    shares = {name: parts.count(name) / 500 for name in ("train", "kept", "unseen")}
    assert shares["unseen"] > 0.3
    assert shares["train"] > 0.45
    assert 0.01 < shares["kept"] < 0.12


def test_a_case_gives_templates_where_it_names_its_subject() -> None:
    row = {
        "questions": ["Who is the spouse of the author of Grue?", "Nobody is named here?"],
        "orig": {
            "triples_labeled": [["Grue", "author", "X"], ["X", "spouse", "Y"]],
            "new_triples": [["Q1", "P50", "Q2"], ["Q2", "P26", "Q3"]],
        },
    }
    wording = "Who is the spouse of the author of {subject}?"
    assert case_templates(row) == [Template(wording, (labels()["author"], labels()["spouse"]), "Grue")]


# --- from training to the files, with tiny random weights


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[training.Planner, Path, Path]:
    """A random planner, its base, and the folder that it was shipped to."""
    base, out = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("planner")
    torch_folder(base)
    torch.manual_seed(0)
    model = training.Planner(base, len(inventory()) + 1).eval()
    with torch.no_grad():
        model.follows.normal_()
    training.ship(model, base, out, {"seed": 0})
    return model, base, out


QUESTION = "who is the capital of freedonia?"


def by_torch(model: training.Planner, ids: list[int]) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad():
        hops, spans = model(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long))
    return hops[0].numpy(), spans[0].numpy()


def test_the_graph_says_what_the_model_says(tiny: tuple[training.Planner, Path, Path], tmp_path: Path) -> None:
    import onnxruntime

    model, _, out = tiny
    planner = Planner(out)
    found = planner.scores(QUESTION)
    assert found is not None
    ids = planner._session[1].encode(QUESTION).ids
    hops, spans = by_torch(model, ids)
    assert np.abs(found[0] - hops).max() < 0.12 * np.abs(hops).max()
    assert np.abs(found[1] - spans).max() < 0.12 * np.abs(spans).max()
    # Without rounding of the activations and with the very weights that training rounds to, they are the same.
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and torch.nn.utils.parametrize.is_parametrized(module):
            assert torch.equal(module.weight, training.rounded(module.parametrizations.weight.original, training.BLOCK))
    plain = training.Planner(tiny[1], len(inventory()) + 1).eval()
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        for module in plain.modules():
            if isinstance(module, torch.nn.Linear) and torch.nn.utils.parametrize.is_parametrized(module):
                original = module.parametrizations.weight.original
                original.copy_(training.rounded(original, training.BLOCK))
    training.export(plain, tmp_path / "plain.onnx", "float32")
    session = onnxruntime.InferenceSession(str(tmp_path / "plain.onnx"), providers=["CPUExecutionProvider"])
    row = np.array([ids], np.int64)
    exact = session.run(["hops", "spans"], {"input_ids": row, "attention_mask": np.ones_like(row)})
    assert np.allclose(exact[0][0], hops, atol=1e-3)
    assert np.allclose(exact[1][0], spans, atol=1e-3)


def test_four_bits_are_what_training_rounds_to() -> None:
    weight = np.random.default_rng(0).normal(0, 1, (6, 64)).astype(np.float32)
    steps, scale = training.four_bits(weight, 32)
    assert steps.min() >= 1
    assert steps.max() <= 15
    back = (steps.reshape(6, 2, 32).astype(np.float32) - 8) * scale[..., None]
    assert np.allclose(back.reshape(6, 64), training.rounded(torch.tensor(weight), 32).numpy(), atol=1e-6)


def test_a_reading_is_ordered_and_repeatable(tiny: tuple[training.Planner, Path, Path]) -> None:
    planner = Planner(tiny[2])
    reading = planner.read(QUESTION)
    probabilities = [plan.probability for plan in reading.plans]
    assert probabilities == sorted(probabilities, reverse=True)
    assert probabilities[0] > 0
    assert all(len(plan.hops) > 1 and plan.entity in QUESTION for plan in reading.plans)
    assert planner.read(QUESTION) is reading
    assert planner.scores("who " * 500) is None
    assert planner.read("who " * 500).sure is False


def test_a_few_steps_teach_a_tiny_planner(sources: PlannerSources, tmp_path: Path) -> None:
    base = torch_folder(tmp_path / "base", max_position_embeddings=128)
    recipe = training.Recipe(seed=3, batch=12, rate=1e-3, head_rate=1e-2)
    lines: list[str] = []

    def trainer(steps: int, resume: bool = False) -> training.Trainer:
        return training.Trainer(
            sources, base, tmp_path / "out", recipe, steps=steps, resume=resume, report=lines.append
        )

    first = trainer(30)
    losses = [first.step() for _ in range(15)]
    assert sum(losses[-3:]) < 0.6 * sum(losses[:3])
    first.save()
    goes_on = trainer(30, resume=True)
    assert goes_on.steps == 15
    assert goes_on.step() == pytest.approx(first.step(), rel=1e-3)


def test_pieces_cover_the_name() -> None:
    offsets = [(0, 0), (0, 3), (4, 6), (6, 9), (0, 0)]
    assert training.pieces(offsets, (4, 9)) == (2, 3)
    assert training.pieces(offsets, (20, 25)) == training.pieces(offsets, None) == (-1, -1)


@pytest.mark.parametrize("what", ["missing", "format", "changed", "no graph"])
def test_a_folder_that_is_no_planner_is_named(
    tiny: tuple[training.Planner, Path, Path], tmp_path: Path, what: str
) -> None:
    folder = tmp_path / "planner"
    if what != "missing":
        folder.mkdir()
        for file in tiny[2].iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
    if what == "format":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"format": 99}))
    if what == "changed":
        (folder / "tokenizer.json").write_text("{}")
    if what == "no graph":
        (folder / "planner.onnx").unlink()
    with pytest.raises(ModelError, match=str(folder)):
        Planner(folder).read("who is it?")


# --- what ships


def test_the_shipped_planner_reads_chains_of_names_nobody_has() -> None:
    planner = load_planner()
    for question, name, chain in (
        (
            "What is the capital of the country that Zorbina Quell is a citizen of?",
            "Zorbina Quell",
            ("citizenship", "capital"),
        ),
        ("Who is the spouse of the author of The Mauve Ledger?", "The Mauve Ledger", ("author", "spouse")),
        (
            "On which continent is the country where the founder of Plimworth Tools was born?",
            "Plimworth Tools",
            ("founder", "birthplace", "continent"),
        ),
    ):
        reading = planner.read(question)
        assert reading.sure, question
        likely = [(plan.entity, tuple(hop.names[0] for hop in plan.hops)) for plan in reading.plans[:3]]
        assert name in {entity for entity, _ in likely}
        if chain[0] != "founder":
            assert (name, chain) in likely


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of France?",
        "How do I reverse a list in Python?",
        "Hi there!",
        "Is Paris the capital of France?",
        "Why is the sky blue?",
        "",
    ],
)
def test_the_shipped_planner_declines_what_takes_no_chain(text: str) -> None:
    assert not load_planner().read(text).sure


def test_what_ships_is_small_and_is_what_its_config_says() -> None:
    folder = planning.shipped()
    assert (folder / "planner.onnx").stat().st_size <= 15 * MEGABYTE
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert [tuple(each["names"]) for each in config["relations"]] == [label.names for label in inventory()]
    assert len(config["follows"]) == len(inventory()) + 1
    assert (folder / "README.md").is_file()
