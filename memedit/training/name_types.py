"""Trains the linear model of memedit.name_types: `python -m memedit.training.name_types --data DIR`.

It learns from phrases that were written for it (`name_types.tsv` beside this file: a kind and a phrase a line), and
from such as are put together from lists (`name_types.json`); from labels of Wikidata (CC0) as TREx has them in the
folder of datasets: subjects and objects of relations that tell what they are; and from single words by their parts of
speech (lemminflect, which has to be installed). A tenth of the written phrases, chosen by a hash, is held out, and what
it gets right of them is printed.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import click

from memedit.name_types import BUCKETS, KINDS, features

SEED = 7
_LABELS = {  # kind -> (relation of TREx, which of its two labels)
    "person_name": (("P19", "sub"), ("P103", "sub"), ("P1412", "sub"), ("P106", "sub"), ("P413", "sub")),
    "place_name": (
        *(("P17", "obj"), ("P36", "obj"), ("P36", "sub"), ("P19", "obj"), ("P30", "sub"), ("P47", "obj")),
        *(("P131", "obj"), ("P276", "obj"), ("P17", "sub"), ("P131", "sub"), ("P47", "sub"), ("P20", "obj")),
    ),
    "organisation_name": (("P159", "sub"), ("P740", "sub"), ("P176", "obj"), ("P178", "obj"), ("P449", "obj")),
    "thing_name": (("P176", "sub"), ("P178", "sub"), ("P449", "sub"), ("P364", "sub"), ("P495", "sub")),
    "language": (("P37", "obj"), ("P103", "obj"), ("P364", "obj")),
    "quality": (("P106", "obj"), ("P136", "obj"), ("P1303", "obj"), ("P413", "obj"), ("P101", "obj"), ("P140", "obj")),
}
_MOST_LABELS = 8000


def _held_out(phrase: str) -> bool:
    return hashlib.sha256(phrase.encode()).digest()[0] < 26


def written() -> list[tuple[str, str]]:
    """(kind, phrase) of each line that was written for it."""
    text = files("memedit.training").joinpath("name_types.tsv").read_text(encoding="utf-8")
    pairs = (line.split("\t") for line in text.splitlines())
    return [(kind, phrase) for kind, phrase in pairs]


def put_together(seed: int = SEED) -> list[tuple[str, str]]:
    """(kind, phrase) of phrases put together at random from the lists, each once, a third in small letters."""
    text = files("memedit.training").joinpath("name_types.json").read_text(encoding="utf-8")
    lists: dict[str, list[str]] = {
        name: [item.strip() for item in (said.split(",") if "," in said else said.split())]
        for name, said in json.loads(text).items()
        if name != "about"
    }
    chance = random.Random(seed)

    def any_of(*names: str) -> str:
        return chance.choice(lists[chance.choice(names)])

    def name() -> str:
        first, last = any_of("firsts"), any_of("lasts")
        return chance.choice(
            (first, f"{first} {last}", f"{first} {last}", f"{any_of('titles')} {last}", f"{first[0]}. {last}")
        )

    def made_up() -> str:
        return "".join(any_of("syllables") for _ in range(chance.choice((1, 2, 2)))).capitalize()

    def numbered(*names: str) -> str:
        return f"{any_of(*names).capitalize()} {chance.randint(1, 10 ** chance.randint(1, 6))}"

    def town() -> str:
        if chance.random() < 0.1:
            return numbered("places")
        return chance.choice(("", "", "", "Port ", "New ", "Upper ", "Lake ", "the ")) + made_up() + any_of("towns")

    def determiner() -> str:
        own = chance.choice((f"{any_of('firsts')}'s", f"my {any_of('roles')}'s"))
        return chance.choice(("the", "the", "my", "our", "a", "her", "his", "their", "your", "this", own))

    def described() -> str:
        return chance.choice(("", "", "", "new ", "old ", "other ", "main ", "small ", "blue ", "second ", "night "))

    def common(*names: str) -> str:
        return f"{determiner()} {described()}{any_of(*names)}"

    def person() -> str:
        more = chance.choice(("", "", "", f" {any_of('firsts')}", f" from {town()}", " next door"))
        return chance.choice((common("roles") + more, common("roles"), any_of("roles"), "I", "we", "she", "he"))

    def thing() -> str:
        what = any_of("things")
        beside = f"{any_of('things')} {chance.choice(('for', 'of', 'with', 'in'))} {common('things', 'places')}"
        return chance.choice((what, f"{determiner()} {described()}{what}", f"{determiner()} {beside}"))

    def organisation() -> str:
        if chance.random() < 0.1:
            return numbered("bodies")
        return chance.choice((f"{made_up()} {any_of('firms')}", f"{any_of('lasts')} {any_of('firms')}", made_up()))

    def product() -> str:
        if chance.random() < 0.1:
            return numbered("things")
        return f"{made_up()} {any_of('products')}"

    def year() -> str:
        return str(chance.randint(1400, 2060))

    def date() -> str:
        day, month = chance.randint(1, 31), any_of("months")
        hour = f"{chance.randint(1, 23)}{chance.choice((':30', ':15', ' am', ' pm', ' o’clock', 'h'))}"
        plain = (
            f"{month} {day}",
            f"{day} {month}",
            f"{day} {month} {year()}",
            f"{month} {day}, {year()}",
            year(),
            month,
        )
        short = (
            f"{day}.{chance.randint(1, 12)}.{year()}",
            f"{year()}-0{chance.randint(1, 9)}-{day:02}",
            f"the {day}th",
        )
        part = (f"mid-{month}", f"early {month}", f"the end of {month}", f"Q{chance.randint(1, 4)} {year()}")
        said = (any_of("days"), f"next {any_of('days')}", f"{any_of('days')} at {hour}", hour, f"{month} {year()}")
        return chance.choice(chance.choice((plain, plain, short, part, said)))

    def amount() -> str:
        value = chance.choice((str(chance.randint(0, 9999)), f"{chance.randint(1, 999)}.{chance.randint(1, 99)}"))
        money = f"{chance.choice('$€£')}{value}"
        counted = f"{chance.choice((value, value, any_of('numbers')))} {any_of('units')}"
        code = chance.choice((f"+{value} {chance.randint(100, 999)} {value}", f"v{value}", f"555-{value}", f"{value}%"))
        rate = f"{chance.choice((money, counted))} {any_of('rates')}"
        return chance.choice((value, any_of("numbers"), money, counted, counted, rate, code))

    def predicate() -> str:
        put = (
            "on",
            "in",
            "at",
            "out of",
            "from",
            "with",
            "by",
            "for",
            "to",
            "under",
            "near",
            "until",
            "about",
            "after",
        )
        beside = chance.choice((thing, person, town, name, date, organisation, lambda: common("places")))()
        where = f"{chance.choice(put)} {beside}"
        how = chance.choice(("very", "too", "not", "no longer", "still", "always", "never", "quite", "a bit", "also"))
        state = any_of("states", "states", "doings")
        return chance.choice((state, state, where, where, f"{how} {state}", f"{state} {where}", f"{how} {where}"))

    makers: dict[str, tuple[Callable[[], str], int]] = {
        "person_name": (name, 2500),
        "person_common": (person, 1500),
        "place_name": (town, 1500),
        "place_common": (lambda: common("places"), 1200),
        "organisation_name": (organisation, 1500),
        "organisation_common": (lambda: common("bodies"), 800),
        "thing_name": (product, 1200),
        "thing_common": (thing, 2500),
        "date": (date, 1500),
        "amount": (amount, 2000),
        "predicate": (predicate, 4000),
    }
    found: dict[str, str] = {}
    for kind, (make, count) in makers.items():
        for _ in range(count):
            phrase = make()
            found.setdefault(phrase.casefold() if chance.random() < 1 / 3 else phrase, kind)
    return [(kind, phrase) for phrase, kind in found.items()]


def lexicon() -> list[tuple[str, str]]:
    """Words of the gate's vocabulary by lemminflect's dictionary: such as are only nouns, and such as need not be."""
    from lemminflect import getAllLemmas  # type: ignore[import-not-found,unused-ignore]

    vocabulary = json.loads(files("memedit.gate").joinpath("tokenizer.json").read_text(encoding="utf-8"))
    words: list[str] = [
        word for word in vocabulary["model"]["vocab"] if word.isascii() and word.isalpha() and len(word) > 2
    ]
    found = []
    for word in words:
        classes = set(getAllLemmas(word))
        if "ADJ" in classes or (classes and classes <= {"ADV", "VERB", "AUX"}):
            found.append(("predicate", word))
        elif classes == {"NOUN"}:
            found.append(("thing_common", word))
    return found


def labels(data: Path) -> list[tuple[str, str]]:
    """(kind, label) of what TREx's relations tell of, at most so many of a kind."""
    found = []
    for kind, places in _LABELS.items():
        names: dict[str, None] = {}
        for relation, side in places:
            for line in (data / f"pararel/trex_lms_vocab/{relation}.jsonl").read_text(encoding="utf-8").splitlines():
                names[json.loads(line)[f"{side}_label"]] = None
        ranked = list(names)  # the relations that tell best come first
        found += [(kind, name) for name in ranked[:_MOST_LABELS]]
        if kind == "person_name":  # most people are told of by their first names
            firsts = dict.fromkeys(name.partition(" ")[0] for name in ranked if " " in name)
            found += [(kind, name) for name in firsts if len(name) > 2 and name.isalpha()][:_MOST_LABELS]
    return found


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of the datasets.")
@click.option("--epochs", default=40, show_default=True)
def main(data: Path, epochs: int) -> None:
    """Train, print what is got right of the held-out phrases, and write name_types.bin."""
    import torch

    torch.manual_seed(SEED)
    phrases = written()
    held = [pair for pair in phrases if _held_out(pair[1])]
    train = [(pair, 1.5) for pair in phrases if not _held_out(pair[1])]
    train += [(pair, 0.5) for pair in put_together()]
    train += [(pair, 2.0) for pair in labels(data)]
    named = {name.casefold() for (kind, name), _ in train if kind.endswith("_name")}
    train += [(pair, 1.0) for pair in lexicon() if pair[1] not in named]  # a dictionary has France as a noun
    counts = dict.fromkeys(KINDS, 0.0)
    for (kind, _), weight in train:
        counts[kind] += weight
    table = torch.zeros(BUCKETS, len(KINDS), requires_grad=True)
    bias = torch.zeros(len(KINDS), requires_grad=True)
    given = [torch.tensor(list(features(phrase))) for (_, phrase), _ in train]
    wanted = torch.tensor([KINDS.index(kind) for (kind, _), _ in train])
    heavy = torch.tensor([weight * (2000 / (counts[kind] + 1000)) for (kind, _), weight in train])
    optimiser = torch.optim.Adam([table, bias], lr=0.02)
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(train)), 256):
            # Some features are left out each time, so that a phrase is known by all of its parts.
            rows = [given[i] for i in batch.tolist()]
            lengths = torch.tensor([len(row) for row in rows])
            kept = (torch.rand(int(lengths.sum())) > 0.3).float()
            owner = torch.arange(len(rows)).repeat_interleave(lengths)
            counted = torch.zeros(len(rows)).index_add(0, owner, kept).clamp(min=1)
            starts = lengths.cumsum(0) - lengths
            summed = torch.nn.functional.embedding_bag(
                torch.cat(rows), table, starts, mode="sum", per_sample_weights=kept
            )
            logits = summed / counted.sqrt()[:, None] + bias
            loss = (torch.nn.functional.cross_entropy(logits, wanted[batch], reduction="none") * heavy[batch]).mean()
            loss = loss + 5e-7 * (table**2).sum()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    scale = float(table.detach().abs().max()) / 127
    weights = (table.detach() / scale).round().to(torch.int8)
    head = {"kinds": KINDS, "biases": [round(one, 4) for one in bias.tolist()], "scale": scale, "seed": SEED}
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
