"""The edit memory at size: how fast facts go in, are found, and come back after a restart; and how right the index is.

The whole path is the real one: facts are written with their vectors by `EditMemory.add_many` (durable when it returns),
the index catches up from the journal, and searches go through the index as every question does. Only the vectors are
made, since encoding a million sentences takes an hour. The recipe, all from one seed:

1. The pool, encoded: the edits of counterfact/edit.json where a folder of datasets is given (--data or MEMEDIT_DATA;
   "pool": "datasets"), else statements of made-up people, firms and places in the wordings of relations.json
   ("pool": "made-up").
2. An edit's vector is a mixture of two random members of the pool, of weights w and 1 - w with w uniform in [0.5, 1],
   perturbed by 0.5. Further keys of an edit are its vector perturbed by 0.75.
3. A query is a stored key perturbed by 0.85, which leaves a cosine of 0.76.

To perturb a unit vector by r is to add r times a unit vector that is half a difference of two members of the pool, half
noise, and to normalise. So made, 7,000 vectors have the nearest neighbours of as many real CounterFact edits (cosine of
the first in the median .64, of the tenth .41, of the hundredth .32; real .59, .48, .35), and queries are as far from
their edit as real rephrasings are (.76; real .72).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from memedit import terminal
from memedit.edits import DEFAULT_NAMESPACE, Draft
from memedit.encoders import Encoder, load_encoder
from memedit.errors import MemEditError, NotFoundError
from memedit.settings import load_settings

SEED = 20
POOL = 5_000
BLOCK = 10_000
GIVEN = 50_000
"""Edits in one call of `add_many`, which writes as many in one transaction."""
SINGLE_ADDS = 200
QUERIES = 1_000
CHECKED = 200
K = 10

Rows = NDArray[np.float32]


class Given:
    """An encoder that only says which one the vectors are of: all of them are there already."""

    def __init__(self, identity: str, dimension: int) -> None:
        self.identity = identity
        self.dimension = dimension

    def encode(self, texts: object) -> Rows:
        raise MemEditError("the benchmark brought its own vectors, and yet something asked for encoding")


def unit(rows: Rows) -> Rows:
    made: Rows = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)
    return made


def perturbed(rows: Rows, share: float, pool: Rows, random: np.random.Generator) -> Rows:
    pair = random.integers(len(pool), size=(len(rows), 2))
    noise = unit(random.standard_normal(rows.shape, dtype=np.float32))
    return unit(rows + share * unit(unit(pool[pair[:, 0]] - pool[pair[:, 1]]) + noise))


@dataclass(frozen=True)
class Recipe:
    """The vectors of so many edits with so many keys each, mixed from a pool; made anew, block by block, when asked."""

    edits: int
    keys: int
    pool: Rows

    def block(self, number: int) -> Rows:
        """(size, keys, dimension); the same for the same number always."""
        size, random = min(BLOCK, self.edits - number * BLOCK), np.random.default_rng([SEED, number])
        pair = random.integers(len(self.pool), size=(size, 2))
        weight = random.uniform(0.5, 1, size=(size, 1)).astype(np.float32)
        mixed = unit(weight * self.pool[pair[:, 0]] + (1 - weight) * self.pool[pair[:, 1]])
        first = perturbed(mixed, 0.5, self.pool, random)
        further = [perturbed(first, 0.75, self.pool, random) for _ in range(self.keys - 1)]
        return np.stack([first, *further], axis=1)

    def blocks(self) -> Iterator[Rows]:
        return map(self.block, range(-(-self.edits // BLOCK)))

    def queries(self, count: int) -> Rows:
        """(count, dimension): random keys of random edits, perturbed."""
        random = np.random.default_rng([SEED, 1 << 20])
        edits = np.sort(random.integers(self.edits, size=count))
        keys = random.integers(self.keys, size=count)
        rows = np.empty((count, self.pool.shape[1]), np.float32)
        for number in np.unique(edits // BLOCK):
            here = edits // BLOCK == number
            rows[here] = self.block(int(number))[edits[here] % BLOCK, keys[here]]
        return random.permutation(perturbed(rows, 0.85, self.pool, random))

    def nearest(self, queries: Rows, k: int) -> NDArray[np.int64]:
        """(q, k) numbers of the nearest edits by exact search over what is stored (float16)."""
        scores, names = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
        for number, vectors in enumerate(self.blocks()):
            stored = vectors.astype(np.float16).astype(np.float32)
            of_edits = np.max([queries @ stored[:, key].T for key in range(self.keys)], axis=0)
            here = np.arange(number * BLOCK, number * BLOCK + len(vectors))
            scores = np.concatenate([scores, of_edits], axis=1)
            names = np.concatenate([names, np.broadcast_to(here, of_edits.shape)], axis=1)
            scores, names = best_of(scores, names, k)
        return names


def best_of(scores: Rows, names: NDArray[np.int64], k: int) -> tuple[Rows, NDArray[np.int64]]:
    columns = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    return np.take_along_axis(scores, columns, 1), np.take_along_axis(names, columns, 1)


def name(number: int) -> str:
    """A made-up name for each number, such as "Bomade Rilo"."""
    syllables = ("ba", "do", "fi", "gu", "ka", "le", "mo", "ni", "pe", "ri", "so", "tu", "va", "we", "xi", "zo")
    digits = [number >> shift & 15 for shift in range(0, 24, 4)]
    letters = [syllables[digit] for digit in digits]
    return f"{''.join(letters[:3]).capitalize()} {''.join(letters[3:]).capitalize()}"


def statements(count: int) -> list[str]:
    """Made-up facts in the wordings of relations.json."""
    from memedit.relations import fill, relations

    random = np.random.default_rng(SEED)
    known = list(relations().values())
    made = []
    for number in random.permutation(1 << 20)[:count]:
        relation = known[random.integers(len(known))]
        wording = relation.statements[random.integers(len(relation.statements))]
        made.append(fill(wording, name(int(number)), name(int(number) + (1 << 21))))
    return made


def _edits_in(data: Path) -> Path:
    return data / "counterfact" / "edit.json"


def statements_of(data: Path, count: int) -> list[str]:
    from memedit.datasets.counterfact import drafts

    path = _edits_in(data)
    if not path.is_file():
        raise NotFoundError(f"there is no {path}; give a folder of datasets that holds it, or none")
    return [drafts(row)[0].statement for row in islice(json.loads(path.read_text(encoding="utf-8")), count)]


def draft(number: int) -> Draft:
    subject, target = name(number), name(number * 7 + 1)
    statement = f"The capital of {subject} {number} is {target}"
    return Draft(statement=statement, subject=f"{subject} {number}", relation="capital", target=target)


def run(
    *,
    edits: int = 10_000,
    keys: int = 1,
    encoder: str = "onnx",
    data: Path | None = None,
    folder: Path | None = None,
) -> dict[str, object]:
    """Measure a memory of so many edits with so many keys each.

    Seconds and milliseconds are wall time; adding and rebuilding may use all cores, searching uses one. "add_ms_p50" is
    one fact by `EditMemory.add`. "bulk_adds_per_s" counts writing and indexing, without "train_s", the learning of
    centroids. "open_s" is from `EditMemory.open` to the first answer, "search_ms" of `Index.sync` and `Index.search`
    for ten edits, "search_edits_ms" of `EditMemory.search`, which reads those edits from the journal as well,
    "bytes_per_edit_memory" the growth of resident memory, mapped files included, after 1,000 searches:
    all in a fresh process after its imports, with the files in the system's cache: they are read through just before,
    since some systems let go of them within seconds, and how fast a disk is read is not the question here.
    "recall_at_10" is against exact search. "pool" says what the vectors are mixed from: "datasets", the folder `data`,
    or "made-up" without one. `folder` is where to work, a temporary one by default; it is emptied. Raises NotFoundError
    for a `data` without counterfact/edit.json.
    """
    work = Path(tempfile.mkdtemp(prefix="memedit-bench-", dir=folder))
    try:
        return _run(edits, keys, load_encoder(encoder), data, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _run(edits: int, keys: int, encoder: Encoder, data: Path | None, work: Path) -> dict[str, object]:
    from memedit.memory import EditMemory

    size = min(edits, POOL)
    recipe = Recipe(edits, keys, encoder.encode(statements(size) if data is None else statements_of(data, size)))
    facts = work / "facts"
    with EditMemory.open(facts, encoder=Given(encoder.identity, encoder.dimension)) as memory:
        writing, start = 0.0, 0
        blocks = recipe.blocks()
        while some := list(islice(blocks, GIVEN // BLOCK)):
            vectors = np.concatenate(some)
            drafts = [draft(number) for number in range(start, start + len(vectors))]
            start += len(vectors)
            began = perf_counter()
            memory.add_many(drafts, vectors=vectors[:, 0] if keys == 1 else list(vectors))
            writing += perf_counter() - began
        began = perf_counter()
        memory.sync()
        indexing = perf_counter() - began
        train = float(memory._index(DEFAULT_NAMESPACE).stats()["learning_s"])
        began = perf_counter()
        memory.rebuild()
        rebuild = perf_counter() - began
    queries = recipe.queries(QUERIES)
    np.save(work / "queries.npy", queries)
    files = [path for path in facts.rglob("*") if path.is_file()]
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass
    probed = _fresh_process(work, encoder)
    disk = sum(path.stat().st_size for path in files)
    # The first edits of an empty journal have the sequence numbers 1, 2, …
    found = [{seq - 1 for seq in line} for line in probed["found"]]
    true = recipe.nearest(queries[: len(found)], min(K, edits))
    recall = float(
        np.mean([len(line & set(names.tolist())) / len(names) for line, names in zip(found, true, strict=True)])
    )
    with EditMemory.open(facts, encoder=encoder) as memory:
        adds = []
        for number in range(edits, edits + SINGLE_ADDS):
            one = draft(number)
            began = perf_counter()
            memory.add(one.statement, subject=one.subject, relation=one.relation, target=one.target)
            adds.append(perf_counter() - began)
    return {
        "edits": edits,
        "keys": keys,
        "pool": "made-up" if data is None else "datasets",
        "bulk_adds_per_s": round(edits / (writing + indexing - train)),
        "train_s": round(train, 2),
        "add_ms_p50": round(1000 * median(adds), 2),
        "search_ms_p50": round(1000 * probed["p50"], 3),
        "search_ms_p99": round(1000 * probed["p99"], 3),
        "search_edits_ms_p50": round(1000 * probed["edits_p50"], 3),
        "recall_at_10": round(recall, 4),
        "open_s": round(probed["open_s"], 3),
        "rebuild_s": round(rebuild, 4),
        "bytes_per_edit_disk": round(disk / edits),
        "bytes_per_edit_memory": round(probed["memory"] / edits),
    }


def _fresh_process(work: Path, encoder: Encoder) -> dict[str, Any]:
    code = "import sys; from memedit.bench.store import probe; probe(*sys.argv[1:])"
    one_core = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-c", code, str(work), encoder.identity, str(encoder.dimension)]
    done = subprocess.run(command, env=os.environ | one_core, capture_output=True, text=True, cwd=work)
    if done.returncode:
        raise MemEditError(f"the process that searches failed: {done.stderr.strip()}")
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def probe(folder: str, identity: str, dimension: str) -> None:
    """Open the memory, search, and print what that took as JSON: the part of the benchmark that is a fresh process."""
    import faiss  # noqa: F401 - imports are not part of opening

    import memedit.index
    import memedit.stores.faiss  # noqa: F401
    from memedit.memory import EditMemory

    queries = np.load(Path(folder) / "queries.npy")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    before = resident()
    began = perf_counter()
    with EditMemory.open(Path(folder) / "facts", encoder=Given(identity, int(dimension))) as memory:
        index = memory._index(DEFAULT_NAMESPACE)
        index.sync()
        index.search(queries[:1], K)
        open_s = perf_counter() - began
        found, times = [], []
        for query in queries:
            began = perf_counter()
            index.sync()
            hits = index.search(query, K)[0]
            times.append(perf_counter() - began)
            found.append([seq for seq, _, _ in hits])
        memory_ = resident() - before
        whole = []
        for query in queries:
            began = perf_counter()
            memory.search(query, k=K)
            whole.append(perf_counter() - began)
    p50, p99 = np.percentile(times, [50, 99]).tolist()
    told = {"open_s": open_s, "p50": p50, "p99": p99, "memory": memory_, "edits_p50": median(whole)}
    print(json.dumps(told | {"found": found[:CHECKED]}))


def resident() -> int:
    """Bytes of this process in memory, mapped files included."""
    status = Path("/proc/self/status")
    if not status.exists():
        raise MemEditError("`memedit bench store` reads /proc, so it runs on Linux only")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


@click.command(epilog="\b\nExample:\n  memedit bench store --edits 100000 --json")
@click.option("--edits", type=click.IntRange(min=1), default=10_000, metavar="N", help="How many edits [10000].")
@click.option("--keys", type=click.IntRange(1, 16), default=1, metavar="K", help="Vectors per edit [1].")
@click.option("--encoder", default="onnx", metavar="NAME", help="Encoder of the pool.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Mix from the edits of counterfact/edit.json there [env: MEMEDIT_DATA; without: made-up ones].",
)
@click.option("--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Where to work.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(edits: int, keys: int, encoder: str, data: Path | None, folder: Path | None, as_json: bool) -> None:
    """Measure adding, searching, opening and rebuilding a memory of N edits."""
    if data is None and (data := load_settings().data) is not None and not _edits_in(data).is_file():
        terminal.notice(f"there is no {_edits_in(data)}: the pool is of made-up statements")
        data = None
    found = run(edits=edits, keys=keys, encoder=encoder, data=data, folder=folder)
    if as_json:
        terminal.emit(found)
    else:
        terminal.facts(terminal.flat(found))
