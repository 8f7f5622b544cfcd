"""False fires and recall of language patches, the lookups of feedback, and the time limit of patterns.

Ordinary questions are the half of NQ-open and WebQuestions that nothing was calibrated on; conditions are those of
`training/patch_pairs.json`, each by itself and several at once. Lookups of feedback are judged on MemPrompt's pairs of
questions, of one kind or of two: the paper's rule (an edit distance below 6), ours, and both. The pairs hold only 15
wordings, which were looked at when the rule by distance was made; the cosine comes from other questions.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memedit import terminal
from memedit.errors import InputError

if TYPE_CHECKING:
    from memedit.encoders import Encoder

ADDRESS = "the user asks for another person's address"
RATES = (0.01, 0.005, 0.004, 0.002)
AT_ONCE = (1, 5, 20)
CATASTROPHIC = (r"(a|aa)+$", r"(a|a)*$", r"(?:a|aa)+\d")
TEXT = "a" * 60 + "!"


def run(data: Path, encoder: Encoder) -> dict[str, Any]:
    """Figures, ready to be printed as JSON; what `data` lacks is left out. Raises InputError where it holds nothing."""
    from memedit.bench._questions import nq_questions, webquestions
    from memedit.training.patches import half

    asked = {"nq": half(nq_questions(data), 1), "webquestions": half(webquestions(data), 1)}
    found: dict[str, Any] = {"patterns": patterns()}
    if any(asked.values()):
        found["conditions"] = conditions({name: some for name, some in asked.items() if some}, encoder)
    path = data / "memprompt" / "similarity.jsonl"
    if path.is_file():
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        found["lookups"] = lookups([(row["sentence1"], row["sentence2"], row["label"] > 0.5) for row in rows], encoder)
    if len(found) == 1:
        raise InputError(f"there is nothing to measure in {data}; --data names a folder of datasets")
    return found


def conditions(questions: dict[str, list[str]], encoder: Encoder) -> dict[str, Any]:
    """False fires on ordinary questions, recall and near misses, at each rate; and the patch on addresses by itself."""
    import numpy as np

    from memedit.answerers._conditions import figures
    from memedit.answerers.language_patch import LanguagePatch
    from memedit.training.patches import pairs, standing_out

    rows = pairs()
    names = [row["condition"] for row in rows]
    apart = {name: standing_out(some, names, encoder) for name, some in questions.items()}
    met, near = (
        np.concatenate([standing_out(row[kind], [row["condition"]], encoder)[:, 0] for row in rows])
        for kind in ("in", "out")
    )
    random = np.random.default_rng(0)
    made = []
    for size in AT_ONCE:
        drawn = [random.permutation(len(rows))[:size] for _ in range(40)]
        for rate in RATES:
            bound = figures().score(rate, size)
            fires = {
                name: float(np.mean([(scores[:, some].max(1) >= bound).mean() for some in drawn]))
                for name, scores in apart.items()
            }
            row = {"patches": size, "rate": rate, "bound": bound, "recall": float((met >= bound).mean())}
            made.append({**row, "near_misses": float((near >= bound).mean()), "false_fires": fires})
    place = names.index(ADDRESS)
    bound = figures().score(LanguagePatch().false_fire, 1)
    address = {name: float((scores[:, place] >= bound).mean()) for name, scores in apart.items()}
    return {
        "conditions": len(rows),
        "questions": {name: len(some) for name, some in questions.items()},
        "rows": made,
        "address_false_fires": address,
    }


def lookups(pairs: Sequence[tuple[str, str, bool]], encoder: Encoder) -> dict[str, Any]:
    """Accuracy, precision and recall of each lookup on pairs of questions that are of one kind or not."""
    from memedit.answerers.mem_prompt import MemPrompt, distance, key, levenshtein, similar, worded

    kinds = {text: worded(text) for pair in pairs for text in pair[:2]}
    texts = list(dict.fromkeys(kinds.values()))
    vectors = dict(zip(texts, encoder.encode(texts), strict=True))
    least = similar(encoder.identity)
    verdicts: dict[str, list[bool]] = {"published_distance": [], "distance": [], "similarity": [], "both": []}
    for one, other, _ in pairs:
        by_letters = distance(one, other) <= MemPrompt().distance
        alike = least is not None and float(vectors[kinds[one]] @ vectors[kinds[other]]) >= least
        verdicts["published_distance"].append(levenshtein(" ".join(key(one)), " ".join(key(other))) < 6)
        verdicts["distance"].append(by_letters)
        verdicts["similarity"].append(alike)
        verdicts["both"].append(by_letters or alike)
    truth = [same for _, _, same in pairs]
    return {"pairs": len(pairs), **{name: _scores(said, truth) for name, said in verdicts.items()}}


def _scores(said: Sequence[bool], truth: Sequence[bool]) -> dict[str, float]:
    right = sum(one == other for one, other in zip(said, truth, strict=True))
    both = sum(one and other for one, other in zip(said, truth, strict=True))
    return {
        "accuracy": right / len(truth),
        "precision": both / max(sum(said), 1),
        "recall": both / max(sum(truth), 1),
    }


def patterns() -> dict[str, float]:
    """The most time that a pattern which would take for ever was given, in seconds by the clock, and the limit."""
    from memedit.answerers.regex import Regex
    from memedit.patches import Substitution

    answerer, most = Regex(), 0.0
    answerer.substituted(TEXT, [("e-0000000000", Substitution("output", "b", ""))])  # what is imported is not timed
    for pattern in CATASTROPHIC:
        began = time.perf_counter()
        answerer.substituted(TEXT, [("e-0000000000", Substitution("output", pattern, ""))])
        most = max(most, time.perf_counter() - began)
    return {"limit_s": answerer.seconds, "most_s": most}


@click.command(epilog="\b\nExample:\n  memedit bench patches --data DIR --json")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Folder of datasets [env: MEMEDIT_DATA].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(data: Path | None, as_json: bool) -> None:
    """Measure patches: false fires on ordinary questions, recall, lookups of feedback."""
    from memedit.encoders import load_encoder
    from memedit.settings import load_settings

    settings = load_settings(data=data)
    if settings.data is None:
        raise InputError("say where the datasets are, with --data DIR or MEMEDIT_DATA")
    found = run(settings.data, load_encoder(settings.encoder))
    if as_json:
        terminal.emit(found)
        return
    terminal.facts(terminal.flat(found))
