"""The planner as it runs: a question -> the name it asks about and the likely chains of relations, without torch.

`memedit/planner/` holds the model (ONNX), its tokenizer and a config that names its relations; how it was made is in
`memedit/training/planner.py`. The graph scores each relation for each hop; here those scores become chains. Scores of
hops and of one relation following another make a linear-chain CRF, so that the probability of a chain is exact. What
is done with a plan is the affair of `memedit/answerers/planned.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memedit.errors import ModelError
from memedit.relations import relations

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FORMAT = 1
CONFIG = "config.json"
LONGEST_NAME = 32
"""Word pieces of a name, at most."""
SINGLE = 0.3
"""Probability from which a plan of one hop is told: it is acted on only where the memory has that name and relation."""
UNLIKELY = 0.1
"""Share of the likeliest name's probability below which a name is left out: "Hitomi" of "Hitomi Shimatani"."""
_PLACES = frozenset({"country", "city", "place"})
_PERSONS_AND_WORKS = frozenset(
    {
        *("person", "player", "artist", "musician", "singer", "character"),
        *("work", "book", "song", "film", "show", "series", "software", "product"),
    }
)
STRANGE = 4.0
"""Nats against a step that a question hardly means (`strange`).

What was learnt of one relation following another is little; of the 4,229 steps in MQuAKE-CF-3k 3 are such.
"""
CHAINS, PLANS = 60, 24
"""Chains that are looked at, and plans that a reading holds: an unlikely one may be what the memory knows."""

Floats = NDArray[np.float32]

_LOADING = Lock()


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a plan: `names` are the relations of `relations.json` that it may be, the first canonical.

    `question` asks it of a name: a wording with {subject}, to be filled by `memedit.relations.fill`. `names` is empty
    where only the question is known.
    """

    names: tuple[str, ...]
    question: str


@dataclass(frozen=True, slots=True)
class Plan:
    """From `entity` through each hop in turn. `probability` in (0, 1] is the planner's."""

    entity: str
    hops: tuple[Hop, ...]
    probability: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What the planner makes of a question: plans of two hops or more, the likeliest first.

    `several` in [0, 1] is the probability that it takes two hops or more, by relations that the planner knows; `sure`
    whether that, and the best plans together, reach the planner's thresholds. `single` are plans of one hop, where the
    question is not sure to take several, each of some probability.
    """

    plans: tuple[Plan, ...]
    several: float
    sure: bool
    single: tuple[Plan, ...] = ()


def shipped() -> Path:
    """The folder of the shipped planner."""
    return Path(__file__).parent / "planner"


@cache
def load_planner(folder: Path | None = None) -> Planner:
    """The planner in a folder (None: the shipped one), loaded once. Raises ModelError where it cannot be."""
    return Planner(folder or shipped())


class Planner:
    """A planner in a folder. Safe to use from threads.

    Raises ModelError where the files are missing, of another format, or not those that the config names.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            form = self.config["format"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"there is no planner in {folder}: {error}; reinstall memedit, or make one with "
                "`python -m memedit.training.planner`"
            ) from error
        if form != FORMAT:
            raise ModelError(f"the planner in {folder} has format {form}; this memedit reads format {FORMAT}")
        self.hops = tuple(Hop(tuple(each["names"]), each["question"]) for each in self.config["relations"])
        self.longest = int(self.config["longest"])
        self._read = lru_cache(maxsize=256)(self._reading)

    @cached_property
    def _session(self) -> tuple[Any, Tokenizer, Floats]:
        """The session, the tokenizer, and the scores of one relation following another."""
        import onnxruntime  # late: a listing of answerers needs none of these
        from tokenizers import Tokenizer

        for name, wanted in self.config["files"].items():
            path = self.folder / name
            if not path.is_file():
                raise ModelError(f"the planner's file {path} is missing; reinstall memedit")
            if hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
                raise ModelError(f"{path} is not the file that {CONFIG} beside it names; reinstall memedit")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            str(self.folder / "planner.onnx"), options, providers=["CPUExecutionProvider"]
        )
        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        follows = np.asarray(self.config["follows"], np.float32)
        follows[1:, 1:] -= STRANGE * strange(self.hops)
        return session, tokenizer, follows

    def scores(self, question: str) -> tuple[Floats, Floats, list[tuple[int, int]]] | None:
        """(slots, labels) of hops, (2, length) of a name's beginning and end, where the pieces stand in the text.

        None for a text of more word pieces than the model reads.
        """
        with _LOADING:
            session, tokenizer, _ = self._session
        # No word piece of an ordinary question stands for so many letters; the tokenizer is spared a whole book.
        if len(question) > 40 * self.config["max_tokens"]:
            return None
        read = tokenizer.encode(question)
        if len(read.ids) > self.config["max_tokens"]:
            return None
        ids = np.array([read.ids], np.int64)
        hops, spans = session.run(["hops", "spans"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        return hops[0], spans[0], read.offsets

    def read(self, question: str) -> Reading:
        """What the planner makes of a question; remembered for the last few."""
        return self._read(question)

    def _reading(self, question: str) -> Reading:
        found = self.scores(question)
        if found is None:
            return Reading((), 0.0, False)
        hops, spans, offsets = found
        temperature = float(self.config["temperature"])
        follows = self._session[2] / temperature
        chains = best_chains(hops / temperature, follows, self.longest, CHAINS)
        names = best_names(spans, offsets, question)
        several = 1.0 - sum(probability for chain, probability in chains if len(chain) < 2)
        made = [
            Plan(name, tuple(self.hops[number - 1] for number in chain), likely * named)
            for chain, likely in chains
            for name, named in names
        ]
        made.sort(key=lambda plan: -plan.probability)
        plans = [plan for plan in made if len(plan.hops) > 1][:PLANS]
        sure = several >= self.config["several"] and sum(p.probability for p in plans[:3]) >= self.config["sure"]
        single = () if sure else tuple(plan for plan in made if len(plan.hops) == 1 and plan.probability >= SINGLE)
        return Reading(tuple(plans), several, sure, single)


def strange(hops: Sequence[Hop]) -> NDArray[np.bool_]:
    """(n, n): whether a question hardly means one hop and then the other.

    Either what the first leads to is a place and the next asks of a person or work, or the other way round; or the next
    leads nowhere new: it is the first again, or its inverse, where that is between unlike kinds ("the continent of the
    continent", "who holds the office that she holds"; a mother's mother is somebody else).
    """
    known = relations()
    told = [[known[name] for name in hop.names if name in known] for hop in hops]

    def all_in(kinds: frozenset[str], side: str) -> NDArray[np.bool_]:
        return np.array([bool(each) and all(getattr(one, side) in kinds for one in each) for each in told])

    place, other = (all_in(kinds, "target_type") for kinds in (_PLACES, _PERSONS_AND_WORKS))
    of_place, of_other = (all_in(kinds, "subject_type") for kinds in (_PLACES, _PERSONS_AND_WORKS))
    found = np.outer(place, of_other) | np.outer(other, of_place)
    places: dict[str, list[int]] = {}
    for at, hop in enumerate(hops):
        for name in hop.names:
            places.setdefault(name, []).append(at)
    for at, each in enumerate(told):
        if each and all(one.subject_type != one.target_type for one in each):
            nowhere = {name for one in each for name in (one.name, one.inverse)}
            found[at, [back for name in nowhere for back in places.get(name or "", ())]] = True
    return found


def best_chains(
    hops: Floats, follows: Floats, longest: int, number: int, beam: int = 64
) -> list[tuple[tuple[int, ...], float]]:
    """The likeliest chains of at most `longest` labels (from 1 on) and their probabilities, the best first.

    hops: (longest + 1, labels) with label 0 for the end; follows: (labels, labels), row 0 for the beginning. The
    probabilities are exact; the search keeps `beam` beginnings a hop.
    """
    whole = _log_sum(hops, follows, longest)
    ended: list[tuple[tuple[int, ...], float]] = [((), float(hops[0, 0] + follows[0, 0]))]
    # What may still be gained by going on, so that beginnings of unlike length need no comparing: kept by hop.
    alive: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    for hop in range(longest):
        scores = np.concatenate(
            [score + hops[hop, 1:] + follows[chain[-1] if chain else 0, 1:] for chain, score in alive]
        )
        kept = np.argsort(-scores)[:beam]
        width = hops.shape[1] - 1
        alive = [((*alive[at // width][0], int(at % width) + 1), float(scores[at])) for at in kept.tolist()]
        ended += [(chain, score + float(follows[chain[-1], 0] + hops[hop + 1, 0])) for chain, score in alive]
    ended.sort(key=lambda pair: -pair[1])
    return [(chain, math.exp(min(0.0, score - whole))) for chain, score in ended[:number]]


def _log_sum(hops: Floats, follows: Floats, longest: int) -> float:
    """log of the summed exponentials of the scores of all chains."""
    ended = [float(hops[0, 0] + follows[0, 0])]
    alive = hops[0, 1:] + follows[0, 1:]
    for hop in range(1, longest + 1):
        ended.append(float(_lse(alive + follows[1:, 0], 0) + hops[hop, 0]))
        if hop < longest:
            alive = _lse(alive[:, None] + follows[1:, 1:], 0) + hops[hop, 1:]
    return float(_lse(np.array(ended), 0))


def _lse(x: NDArray[Any], axis: int) -> Any:
    top = x.max(axis=axis)
    return top + np.log(np.exp(x - np.expand_dims(top, axis)).sum(axis=axis))


_MARKS = "\"'“”‘’«»`,;:?!. "


def best_names(
    spans: Floats, offsets: list[tuple[int, int]], question: str, number: int = 3
) -> list[tuple[str, float]]:
    """The likeliest names in a question with their probabilities, the best first. spans: (2, length)."""
    inside = np.array([end > start for start, end in offsets])
    begin, end = (np.exp(row - _lse(row, 0)) for row in np.where(inside, spans, -1e4))
    tops = [np.argsort(-side)[:6].tolist() for side in (begin, end)]
    pairs = [(a, b) for a in tops[0] for b in tops[1] if a <= b < a + LONGEST_NAME and inside[a] and inside[b]]
    found: dict[str, float] = {}
    for a, b in sorted(pairs, key=lambda pair: -begin[pair[0]] * end[pair[1]]):
        name = _tidied(question[offsets[a][0] : offsets[b][1]])
        if name:
            found[name] = found.get(name, 0.0) + float(begin[a] * end[b])
    ordered = sorted(found.items(), key=lambda pair: -pair[1])[:number]
    return [pair for pair in ordered if pair[1] >= UNLIKELY * ordered[0][1]]


def _tidied(name: str) -> str:
    """Without quotation marks and stops around it; the stop of "Jr." and "D.C." stays."""
    bare = name.strip(_MARKS)
    if f"{bare}." in name and (bare[-2:-1] in (".", " ") or bare.endswith(("Jr", "Sr", "Inc", "Ltd", "Co", "Bros"))):
        bare += "."
    return bare.removesuffix("'s").removesuffix("’s")
