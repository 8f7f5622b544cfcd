"""Trains the linear model of memedit.name_types: `python -m memedit.training.name_types --data DIR`.

It learns from phrases that were written for it (`name_types.tsv` beside this file: a kind and a phrase a line) and from
labels of Wikidata (CC0) as TREx has them in the folder of datasets: subjects and objects of relations that tell what they
are. A tenth of the written phrases, chosen by a hash, is held out, and what it gets right of them is printed.
"""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path

import click

from memedit.name_types import BUCKETS, KINDS, features

SEED = 7
_LABELS = {  # kind -> (relation of TREx, which of its two labels)
    "person_name": (("P19", "sub"), ("P103", "sub"), ("P1412", "sub"), ("P106", "sub"), ("P413", "sub")),
    "place_name": (("P19", "obj"), ("P36", "obj"), ("P17", "sub"), ("P131", "sub"), ("P47", "sub"), ("P276", "obj")),
    "organisation_name": (("P159", "sub"), ("P740", "sub"), ("P176", "obj"), ("P178", "obj"), ("P449", "obj")),
    "thing_name": (("P176", "sub"), ("P178", "sub"), ("P449", "sub"), ("P364", "sub"), ("P495", "sub")),
    "language": (("P37", "obj"), ("P103", "obj"), ("P364", "obj")),
    "quality": (("P106", "obj"), ("P136", "obj"), ("P1303", "obj"), ("P413", "obj"), ("P101", "obj"), ("P140", "obj")),
}
_MOST_LABELS = 2500


def _held_out(phrase: str) -> bool:
    return hashlib.sha256(phrase.encode()).digest()[0] < 26


def written() -> list[tuple[str, str]]:
    """(kind, phrase) of each line that was written for it."""
    text = files("memedit.training").joinpath("name_types.tsv").read_text(encoding="utf-8")
    pairs = (line.split("\t", 1) for line in text.splitlines() if "\t" in line)
    return [(kind, phrase) for kind, phrase in pairs]


def labels(data: Path) -> list[tuple[str, str]]:
    """(kind, label) of what TREx's relations tell of, at most so many of a kind."""
    found = []
    for kind, places in _LABELS.items():
        names: dict[str, None] = {}
        for relation, side in places:
            for line in (data / f"pararel/trex_lms_vocab/{relation}.jsonl").read_text(encoding="utf-8").splitlines():
                names[json.loads(line)[f"{side}_label"]] = None
        ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
        found += [(kind, name) for name in ranked[:_MOST_LABELS]]
    return found


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of the datasets.")
@click.option("--epochs", default=30, show_default=True)
def main(data: Path, epochs: int) -> None:
    """Train, print what is got right of the held-out phrases, and write name_types.bin."""
    import torch

    torch.manual_seed(SEED)
    phrases = written()
    held = [pair for pair in phrases if _held_out(pair[1])]
    train = [(pair, 1.0) for pair in phrases if not _held_out(pair[1])] + [(pair, 0.15) for pair in labels(data)]
    counts = dict.fromkeys(KINDS, 0.0)
    for (kind, _), weight in train:
        counts[kind] += weight
    table = torch.zeros(BUCKETS, len(KINDS), requires_grad=True)
    bias = torch.zeros(len(KINDS), requires_grad=True)
    given = [torch.tensor(list(features(phrase))) for (_, phrase), _ in train]
    wanted = torch.tensor([KINDS.index(kind) for (kind, _), _ in train])
    heavy = torch.tensor([weight * (1000 / (counts[kind] + 500)) for (kind, _), weight in train])
    optimiser = torch.optim.Adam([table, bias], lr=0.02)
    for _ in range(epochs):
        for batch in torch.randperm(len(train)).split(256):
            # Some features are left out each time, so that a phrase is known by all of its parts.
            rows = [given[i][torch.rand(len(given[i])) > 0.3] for i in batch.tolist()]
            logits = torch.stack([table[row].sum(0) / max(1, len(row)) ** 0.5 for row in rows]) + bias
            loss = (torch.nn.functional.cross_entropy(logits, wanted[batch], reduction="none") * heavy[batch]).mean()
            loss = loss + 2e-5 * (table**2).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    scale = float(table.detach().abs().max()) / 127
    weights = (table.detach() / scale).round().to(torch.int8)
    head = {"kinds": KINDS, "biases": [round(float(one), 4) for one in bias], "scale": scale, "seed": SEED}
    path = Path(str(files("memedit").joinpath("name_types.bin")))
    path.write_bytes(json.dumps(head).encode() + b"\n" + weights.numpy().tobytes())

    from memedit import name_types

    name_types._model.cache_clear()
    right = dict.fromkeys(KINDS, 0)
    total = dict.fromkeys(KINDS, 0)
    for kind, phrase in held:
        total[kind] += 1
        shares = name_types.kinds(phrase)
        right[kind] += max(shares, key=shares.__getitem__) == kind
    for kind in KINDS:
        click.echo(f"{kind}\t{right[kind]}/{total[kind]}")
    click.echo(f"all\t{sum(right.values())}/{sum(total.values())}")


if __name__ == "__main__":
    main()
