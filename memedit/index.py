"""The index: one namespace's store, kept up with the journal.

The journal is the truth, the index can be made again from it at any time. It follows the journal's feed of changes by
sequence number: a search is preceded by one cheap look at the journal's head. Vectors of edits are kept in the journal
(float16), so only an edit that nobody has encoded yet costs the encoder anything.

Small namespaces have no files: reading their vectors is as fast. A large one keeps its store in a file beside the
journal, under a sidecar that says what it is:

    index.json                   written last and swapped in whole, with a checksum over itself
    vectors-SEQ-CHECKSUM.index   never changed once written, so that other processes may have it mapped

A file is only used if the sidecar is whole and speaks of this encoder, this journal (the time of record SEQ), and this
generation (no purge since), and if the SHA-256 over the whole file is right: 0.25 s for a million rows with the
processor's SHA instructions. So a torn, flipped, stale or foreign file is never searched, but made anew from the
journal's vectors. Changes after SEQ are replayed from the journal; when they are many, the file is written anew.

Processes do not wait for each other: who finds another writing the file goes on in memory. A full disk does no more
harm than that either; `stats` has a note of it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from memedit.errors import IndexFileError, JournalError
from memedit.stores import Ids, Persistent, Store, Vectors, stores
from memedit.stores.exact import best

if TYPE_CHECKING:
    from memedit.encoders import Encoder
    from memedit.journal import Journal

try:
    import fcntl
except ImportError:  # no such locks on Windows: two processes may both write, and the later sidecar counts
    fcntl = None  # type: ignore[assignment]

FORMAT = 2
SIDECAR = "index.json"
KEY_BITS = 8
KEYS_PER_EDIT = 16
"""Keys of an edit that are indexed; the journal writes no more."""
ENCODED_AT_ONCE = 256
READ_AT_ONCE = 10_000
COMPARED_AT_ONCE = 64
LOOSE_ROWS = 20_000
LOOSE_SHARE = 16
"""A file is written anew when more rows than LOOSE_ROWS, and than one in LOOSE_SHARE, have changed since."""
SPARE = 10
"""Candidates beyond the hits that are scored again with the journal's vectors, where the store's are approximate.

Each is a page from anywhere in a large file. Of a million mixed edits recall@10 is .998 with 10 or 30, .9975 with 2.
"""
INEXACT = 0.05
"""An approximate score is nearer to the exact one than this; of 40,000 by 8-bit codes the worst was off by 0.010."""

NONE: Ids = np.empty(0, np.int64)

Progress = Callable[[int, int | None], object]
Found = list[tuple[int, int, float]]


def row_ids(edit_seqs: Sequence[int] | Ids, keys: Sequence[int] | Ids | None = None) -> Ids:
    """Row ids of edits with so many keys each (None: all that they may have)."""
    seqs = np.asarray(edit_seqs, np.int64)
    counts = np.full(len(seqs), KEYS_PER_EDIT) if keys is None else np.asarray(keys, np.int64)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    made: Ids = (np.repeat(seqs, counts) << KEY_BITS) | (np.arange(counts.sum()) - starts)
    return made


@dataclass(frozen=True)
class Held:
    """A store and the state of the journal that it shows. `file_seq` is that of the file it came from, or None."""

    store: Store
    seq: int
    generation: int
    file_seq: int | None = None


class Index:
    """Nearest edits of one namespace, by vector.

    `encoder` is called when vectors are first needed; `store` is a name in memedit.stores; `folder` is where this
    namespace's files may be, None for nowhere. Safe to use from several threads; `rows` of an edit are its keys.
    """

    def __init__(
        self, journal: Journal, namespace: str, encoder: Callable[[], Encoder], store: str, folder: Path | None
    ) -> None:
        self.journal = journal
        self.namespace = namespace
        self.folder = folder
        self.notes: list[str] = []
        self._encoder = encoder
        self._store = store
        self._held: Held | None = None
        self._unkept: dict[int, bytes] = {}
        self._write_from_seq = 0
        self._syncing = RLock()

    # --- keeping up

    def sync(self, progress: Progress | None = None) -> None:
        """Catch up with the journal. Cheap when nothing was written since.

        `progress(done, total)` counts edits. Raises ModelError where edits must be encoded and the encoder cannot be
        loaded; the index then stays at the state before, or partly ahead of it.
        """
        if self.shows(self.journal.head()):
            return
        with self._syncing:
            held, head = self._held, self.journal.head()
            if held is not None and held.seq == head:
                return
            generation = self.journal.generation(self.namespace)
            if held is not None and (held.generation != generation or held.seq > head):
                held = None  # a purge, or a journal put back from a backup
                self._unkept.clear()
            if held is None:
                held = self._opened(head, generation) or self._built(head, generation, progress)
            held = self._caught_up(held, head, progress)
            if isinstance(held.store, Persistent) and held.store.outgrown:
                held = self._built(head, generation, progress)
            self._held = held
            self._keep_file()

    def shows(self, head: int) -> bool:
        """Whether it is at this record of the journal, so that there is nothing to `sync`."""
        held = self._held
        return held is not None and held.seq == head

    def rebuild(self, progress: Progress | None = None) -> None:
        """Make the store anew from the journal's vectors, whatever the files say."""
        with self._syncing:
            head, generation = self.journal.head(), self.journal.generation(self.namespace)
            self._delete_files()
            self._held = self._built(head, generation, progress)
            self._write_from_seq = 0
            self._keep_file()

    def compact(self) -> None:
        """Merge the changes since the file was written into a new one; nothing for a small namespace."""
        self.sync()
        with self._syncing:
            self._keep_file(least=0)

    def erase(self) -> None:
        """Forget everything, in memory and in files; the next search makes it anew. Part of a purge."""
        with self._syncing:
            self._held = None
            self._unkept.clear()
            self._delete_files()

    def close(self) -> None:
        """Let go of memory and mapped files."""
        with self._syncing:
            self._held = None

    def _new_store(self) -> Store:
        made: Store = stores.get(self._store)(self._encoder().dimension)
        return made

    def _caught_up(self, held: Held, head: int, progress: Progress | None) -> Held:
        """The same after the changes until record `head`. They may be applied twice without harm."""
        last = {edit: live for _, edit, live in self.journal.changes(self.namespace, held.seq, head)}
        come = sorted(edit for edit, live in last.items() if live)
        # First in, then out: a search that runs meanwhile may find an old edit too, but never lacks a new one.
        done = 0
        for ids, vectors in self._rows(come):
            held.store.add(ids, vectors)
            done += edits_in(ids)
            if progress is not None:
                progress(done, len(come))
        gone = [edit for edit, live in last.items() if not live]
        if gone:
            held.store.remove(row_ids(gone))
        return Held(held.store, head, held.generation, held.file_seq)

    def _built(self, head: int, generation: int, progress: Progress | None) -> Held:
        """A store of all live edits. Changes that come in between are seen or not; they are applied after `head`."""
        store = self._new_store()
        total = self.journal.live_count(self.namespace)
        if isinstance(store, Persistent) and (drawn := self._drawn(store, total)) is not None:
            store.fill(*drawn, self._told(self._live_rows(), 0, total, progress))
            return Held(store, head, generation)
        random = np.random.default_rng(0)
        rows, done, size, share = 0, 0, 0, 0.0
        held_back: list[tuple[Ids, Vectors]] = []  # all rows of a small store, a random sample of a large one's
        for ids, vectors in self._live_rows():
            edits = edits_in(ids)
            if not rows and isinstance(store, Persistent):
                guess = max(total, edits) * len(ids) // edits
                size = store.sample_size(guess)
                share = 1.2 * size / guess
            rows, done = rows + len(ids), done + edits
            chosen = random.random(len(ids)) < share if size else slice(None)
            held_back.append((ids[chosen], vectors[chosen]))
            if progress is not None:
                progress(min(done, total), 2 * total if size else total)
        if isinstance(store, Persistent):
            sample = (
                np.concatenate([vectors for _, vectors in held_back]) if held_back else np.empty((0, 1), np.float32)
            )
            wanted = store.sample_size(rows)
            sample = sample[random.permutation(len(sample))[:wanted]] if wanted else sample
            store.fill(sample, rows, self._told(self._live_rows(), total, total, progress) if size else held_back)
        else:
            for ids, vectors in held_back:
                store.add(ids, vectors)
        return Held(store, head, generation)

    def _drawn(self, store: Persistent, total: int) -> tuple[Vectors, int] | None:
        """Rows of random edits for a large store to learn from, and about how many rows there are.

        None where the store stays small by the number of edits, and where some have no vectors yet: then all rows are
        gone through, encoded on the way.
        """
        wanted = store.sample_size(total)
        if not wanted:
            return None
        random = np.random.default_rng(0)
        live = np.concatenate([np.asarray(seqs, np.int64) for seqs in self.journal.live(self.namespace)])
        found = self._stored(np.sort(random.permutation(live)[:wanted]).tolist())
        if len(found) < min(wanted, len(live)):
            return None
        _, vectors = unpacked(np.array(list(found), np.int64), list(found.values()), self._encoder().dimension)
        rows = round(len(vectors) / len(found) * total)
        return vectors[random.permutation(len(vectors))[: store.sample_size(rows)]], rows

    @staticmethod
    def _told(
        batches: Iterable[tuple[Ids, Vectors]], before: int, total: int, progress: Progress | None
    ) -> Iterator[tuple[Ids, Vectors]]:
        """The same batches; the progress is told, in edits, after as many as were gone through `before`."""
        done = 0
        for ids, vectors in batches:
            yield ids, vectors
            done += edits_in(ids)
            if progress is not None:
                progress(before + min(done, total), before + total)

    # --- vectors

    def _live_rows(self) -> Iterator[tuple[Ids, Vectors]]:
        """The rows of all live edits, each edit once; those that lack vectors come last and are encoded."""
        seen = [np.empty(0, np.int64)]
        encoder = self._encoder()
        for seqs, blobs in self.journal.live_vectors(encoder.identity, self.namespace, batch=READ_AT_ONCE):
            sound = [is_sound(blob, encoder.dimension) for blob in blobs]
            if not all(sound):
                seqs, blobs = seqs[sound], [blob for blob, good in zip(blobs, sound, strict=True) if good]
            seen.append(seqs)
            if len(seqs):
                yield unpacked(seqs, blobs, encoder.dimension)
        live = [np.asarray(seqs, np.int64) for seqs in self.journal.live(self.namespace)]
        if live:
            missing = np.setdiff1d(np.concatenate(live), np.concatenate(seen), assume_unique=True)
            yield from self._rows(missing.tolist())

    def _rows(self, edit_seqs: Sequence[int]) -> Iterator[tuple[Ids, Vectors]]:
        """The rows of these edits, in parts; those that lack vectors come last and are encoded. Purged ones are not."""
        encoder = self._encoder()
        for start in range(0, len(edit_seqs), READ_AT_ONCE):
            some = edit_seqs[start : start + READ_AT_ONCE]
            found = self._stored(some)
            if found:
                yield unpacked(np.array(list(found), np.int64), list(found.values()), encoder.dimension)
            missing = [seq for seq in some if seq not in found]
            for first in range(0, len(missing), ENCODED_AT_ONCE):
                made = self._encoded(missing[first : first + ENCODED_AT_ONCE])
                if made:
                    yield unpacked(np.array(list(made), np.int64), list(made.values()), encoder.dimension)

    def _stored(self, edit_seqs: Sequence[int]) -> dict[int, bytes]:
        """edit seq -> float16 rows, of those that have been encoded before."""
        encoder = self._encoder()
        found = {seq: self._unkept[seq] for seq in edit_seqs if seq in self._unkept} if self._unkept else {}
        stored = self.journal.vectors(encoder.identity, edit_seqs)
        return found | {seq: blob for seq, blob in stored.items() if is_sound(blob, encoder.dimension)}

    def _encoded(self, edit_seqs: Sequence[int]) -> dict[int, bytes]:
        """edit seq -> float16 rows, made now and put into the journal; where that cannot be written, kept in memory."""
        encoder = self._encoder()
        keys = {seq: texts[:KEYS_PER_EDIT] for seq, texts in self.journal.keys(edit_seqs).items()}
        rows = encoder.encode([text for texts in keys.values() for text in texts]).astype(np.float16)
        made, start = {}, 0
        for seq, texts in keys.items():
            made[seq] = rows[start : start + len(texts)].tobytes()
            start += len(texts)
        try:
            self.journal.put_vectors(encoder.identity, encoder.dimension, made)
        except JournalError as error:
            self._unkept.update(made)
            self._note(f"vectors are kept in memory only: {error}")
        return made

    # --- searches

    def search(self, vectors: Vectors, k: int, exclude_edits: Sequence[int] = (), floor: float = -1.0) -> list[Found]:
        """For each of (q, dimension) unit vectors the up to `k` nearest edits, the nearest first.

        Each is (edit seq, number of its nearest key, inner product in [`floor`, 1]). Edits in `exclude_edits` are left
        out before the search. Where nothing comes near the floor, nothing is read from the journal. What was written
        since the last `sync` is not seen; the first search calls it.
        """
        held = self._held
        if held is None:
            self.sync()
            held = self._held
        assert held is not None
        vectors = np.ascontiguousarray(np.atleast_2d(vectors), np.float32)
        store, exclude = held.store, row_ids(exclude_edits) if len(exclude_edits) else NONE
        approximate = bool(getattr(store, "large", False))  # isinstance of a protocol would cost 0.1 ms
        rows = len(store)
        # Candidates to score again; or room for an edit's second key, which may well be among the nearest too.
        asked = max(1, min(rows, k + SPARE if approximate else 2 * k))
        least = floor - INEXACT if approximate else floor
        while True:
            scores, ids = store.search(vectors, asked, exclude)
            more = (ids[:, -1] >= 0) & (scores[:, -1] >= least)  # beyond the last there may be others to find
            if asked >= rows or not more.any() or not (edits_in_rows(ids[more]) < k).any():
                break
            asked = min(rows, 2 * asked)
        if approximate:
            near = scores >= least
            scores, ids = np.where(near, scores, -np.inf), np.where(near, ids, -1)
            if near.any():
                scores = self._exact(vectors, scores, ids)
        return [nearest_edits(s, i, k, floor) for s, i in zip(scores, ids, strict=True)]

    def scan(self, vectors: Vectors, edit_seqs: Sequence[int], k: int, floor: float = -1.0) -> list[Found]:
        """The same among the given edits, by comparing every one: what the past needs, whose edits may not be live."""
        vectors = np.ascontiguousarray(np.atleast_2d(vectors), np.float32)
        parts = [(np.empty((len(vectors), 0), np.float32), np.empty((len(vectors), 0), np.int64))]
        for ids, rows in self._rows(list(edit_seqs)):
            parts.append(best(vectors @ rows.T, ids, min(len(ids), k * KEYS_PER_EDIT)))
        scores, names = (np.concatenate(side, axis=1) for side in zip(*parts, strict=True))
        return [nearest_edits(s, i, k, floor) for s, i in zip(scores, names, strict=True)]

    def _exact(self, vectors: Vectors, scores: Vectors, ids: Ids) -> Vectors:
        """The scores of the same rows by the journal's vectors; a row whose vector is not there keeps its score."""
        exact = scores.copy()
        for start in range(0, len(ids), COMPARED_AT_ONCE):
            part = slice(start, start + COMPARED_AT_ONCE)
            stored = self._stored(sorted({name >> KEY_BITS for name in ids[part].ravel().tolist() if name >= 0}))
            if stored:
                seqs = sorted(stored)
                names, rows = unpacked(np.array(seqs, np.int64), [stored[seq] for seq in seqs], vectors.shape[1])
                at = np.minimum(np.searchsorted(names, ids[part]), len(names) - 1)
                again = np.take_along_axis(vectors[part] @ rows.T, at, axis=1)
                exact[part] = np.where(names[at] == ids[part], again, scores[part])
        return exact

    # --- files

    def _opened(self, head: int, generation: int) -> Held | None:
        """What the files hold, if they are whole and of this journal and encoder; else None, and a note of why."""
        store = self._new_store()
        if self.folder is None or not isinstance(store, Persistent) or not (self.folder / SIDECAR).exists():
            return None
        for last_try in (False, True):
            try:
                return self._read(store, head, generation)
            except FileNotFoundError as error:  # another process may just have put a newer one in its place
                if last_try:
                    self._note(f"an index file is missing, so the index is made anew: {error}")
            except (IndexFileError, OSError) as error:
                self._note(f"the index files in {self.folder} cannot be used, so the index is made anew: {error}")
                break
        return None

    def fault(self) -> str | None:
        """Why the index files cannot be used; None where they can, or where there are none."""
        store = self._new_store()
        if self.folder is None or not isinstance(store, Persistent) or not (self.folder / SIDECAR).exists():
            return None
        try:
            self._read(store, self.journal.head(), self.journal.generation(self.namespace))
        except (IndexFileError, OSError) as error:
            return str(error)
        return None

    def _read(self, store: Persistent, head: int, generation: int) -> Held:
        """Raises IndexFileError for files that are damaged or of something else, OSError where they cannot be read."""
        assert self.folder is not None
        facts = read_sidecar(self.folder)
        if facts.get("format") != FORMAT:
            raise IndexFileError(f"they are of format {facts.get('format')}, not {FORMAT}")
        if facts.get("generation") != generation:
            self._delete_files()  # they may hold what a purge erased
            raise IndexFileError("they were written before a purge")
        strange = [
            f"{name} is {facts.get(name)}, not {value}"
            for name, value in self._facts(facts["seq"], generation).items()
            if facts.get(name) != value
        ]
        if facts["seq"] > head:
            strange.append(f"it is at record {facts['seq']}, the journal only at {head}")
        if strange:
            raise IndexFileError("; ".join(strange))
        path = self.folder / facts["file"]
        verify(path, facts["bytes"], facts["sha256"])
        store.read(path, facts["store_facts"])
        return Held(store, facts["seq"], generation, facts["seq"])

    def _facts(self, seq: int, generation: int) -> dict[str, Any]:
        """What must be the same where a file was written and where it is read. `written` tells journals apart."""
        encoder = self._encoder()
        return {
            "format": FORMAT,
            "store": self._store,
            "metric": "inner product",
            "dimension": encoder.dimension,
            "encoder": encoder.identity,
            "namespace": self.namespace,
            "generation": generation,
            "written": self.journal.at(seq).t,
        }

    def _keep_file(self, least: int | None = None) -> None:
        """Write the store to a file if more than `least` rows changed since; no harm where that cannot be done."""
        held = self._held
        if held is None or self.folder is None or not isinstance(held.store, Persistent) or not held.store.large:
            return
        store = held.store
        if least is None:
            least = max(LOOSE_ROWS, len(store) // LOOSE_SHARE)
        if (held.file_seq is not None and store.loose <= least) or held.seq < self._write_from_seq:
            return
        if self.journal.obstacle is not None:
            self._note(f"the index is kept in memory only: {self.journal.obstacle}")
            return
        try:
            with self._alone() as alone:
                if not alone:
                    return
                store.compact()
                path, facts = self._write(store, held)
                if self.journal.generation(self.namespace) != held.generation:
                    self._delete_files()  # a purge came in between: what was just written may hold what it erased
                    return
                store.read(path, facts)
            self._held = Held(store, held.seq, held.generation, held.seq)
        except (OSError, IndexFileError) as error:
            self._write_from_seq = held.seq + LOOSE_ROWS
            self._note(f"the index is kept in memory only, its file could not be kept: {error}")

    def _write(self, store: Persistent, held: Held) -> tuple[Path, dict[str, int]]:
        assert self.folder is not None
        for left_over in self.folder.glob("*.part"):  # of a process that was killed: the lock says nobody writes now
            left_over.unlink(missing_ok=True)
        part, sidecar = (self.folder / f"{os.getpid()}-{name}.part" for name in ("vectors", "sidecar"))
        try:
            digest, size = hashlib.sha256(), 0
            with part.open("wb") as file:

                def write(data: bytes) -> None:
                    nonlocal size
                    file.write(data)
                    digest.update(data)
                    size += len(data)

                store_facts = store.write(write)
                file.flush()
                os.fsync(file.fileno())
            path = self.folder / f"vectors-{held.seq}-{digest.hexdigest()[:16]}.index"
            part.replace(path)
            facts = self._facts(held.seq, held.generation) | {
                "seq": held.seq,
                "file": path.name,
                "bytes": size,
                "sha256": digest.hexdigest(),
                "store_facts": store_facts,
            }
            with sidecar.open("w", encoding="utf-8") as file_:
                json.dump({"facts": facts, "sha256": checksum(facts)}, file_, indent=1)
                file_.flush()
                os.fsync(file_.fileno())
            sidecar.replace(self.folder / SIDECAR)
            sync_folder(self.folder)
        except BaseException:
            for path in (part, sidecar):
                path.unlink(missing_ok=True)
            raise
        for old in self.folder.glob("vectors-*.index"):  # a process that has one mapped keeps what it sees
            if old != path:
                old.unlink(missing_ok=True)
        return path, store_facts

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether this process is the one that may write the files now. Nobody waits. Raises OSError."""
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("ab") as file:
            try:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def _delete_files(self) -> None:
        if self.folder is None or self.journal.obstacle is not None:
            return
        with suppress(OSError):  # a folder that cannot be written: the sidecar's generation keeps it from being used
            for pattern in (SIDECAR, "vectors-*.index", "*.part"):
                for path in self.folder.glob(pattern):
                    path.unlink(missing_ok=True)

    # --- telling

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def stats(self) -> dict[str, Any]:
        """JSON-ready facts about the index as it stands; nothing is loaded or caught up."""
        held = self._held
        store = held.store if held else None
        return {
            "store": self._store,
            "loaded": held is not None,
            "rows": len(store) if store is not None else None,
            "seq": held.seq if held else None,
            "generation": held.generation if held else None,
            "large": store.large if isinstance(store, Persistent) else False,
            "loose_rows": store.loose if isinstance(store, Persistent) else 0,
            "learning_s": round(getattr(store, "learning_s", 0.0), 3),
            "file_seq": held.file_seq if held else None,
            "file_bytes": sum(path.stat().st_size for path in self.folder.glob("*.index")) if self.folder else 0,
            "notes": list(self.notes),
        }


# --- rows


def is_sound(blob: bytes, dimension: int) -> bool:
    """Whether a blob is one or more whole float16 rows."""
    return len(blob) > 0 and len(blob) % (2 * dimension) == 0


def unpacked(edit_seqs: Ids, blobs: Sequence[bytes], dimension: int) -> tuple[Ids, Vectors]:
    """Row ids and float32 rows of edits whose float16 rows are given."""
    counts = np.fromiter(map(len, blobs), np.int64, len(blobs)) // (2 * dimension)
    rows = np.frombuffer(b"".join(blobs), np.float16).reshape(-1, dimension).astype(np.float32)
    ids = row_ids(edit_seqs, counts)
    if counts.max(initial=0) > KEYS_PER_EDIT:
        within = np.concatenate([np.arange(count) < KEYS_PER_EDIT for count in counts])
        return ids[within], rows[within]
    return ids, rows


def edits_in(ids: Ids) -> int:
    """How many edits the rows are of."""
    edits = np.sort(ids >> KEY_BITS)  # np.unique would import masked arrays, in a cold start
    return int((edits[1:] != edits[:-1]).sum()) + bool(len(edits))


def edits_in_rows(ids: Ids) -> Ids:
    """(q, n) row ids -> (q,) numbers of edits found."""
    edits = np.sort(ids >> KEY_BITS, axis=1)
    made: Ids = (edits[:, 0] >= 0).astype(np.int64) + ((edits[:, 1:] != edits[:, :-1]) & (edits[:, 1:] >= 0)).sum(
        axis=1
    )
    return made


def nearest_edits(scores: Vectors, ids: Ids, k: int, floor: float = -1.0) -> Found:
    """Up to `k` edits by their best row of at least `floor`, falling; equal scores in order of the newer edit."""
    found: dict[int, tuple[int, int, float]] = {}
    for at in np.lexsort((-ids, -scores)):
        score = float(min(1.0, max(-1.0, scores[at])))
        if ids[at] < 0 or score < floor:
            break
        edit = int(ids[at]) >> KEY_BITS
        if edit not in found:
            found[edit] = (edit, int(ids[at]) & ((1 << KEY_BITS) - 1), score)
            if len(found) == k:
                break
    return list(found.values())


# --- sidecar


def checksum(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_sidecar(folder: Path) -> dict[str, Any]:
    """The facts in a sidecar. Raises IndexFileError where it is not whole, OSError where it cannot be read."""
    try:
        read = json.loads((folder / SIDECAR).read_text(encoding="utf-8"))
        facts: dict[str, Any] = read["facts"]
        whole = read["sha256"] == checksum(facts)
    except (ValueError, KeyError, TypeError) as error:
        raise IndexFileError(f"{SIDECAR} is not whole") from error
    if not whole:
        raise IndexFileError(f"{SIDECAR} does not match its checksum")
    return facts


def verify(path: Path, size: int, sha256: str) -> None:
    """Raises IndexFileError where the file is not the one with this size and checksum."""
    found = path.stat().st_size
    if found != size:
        raise IndexFileError(f"{path.name} has {found} bytes, not {size}")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise IndexFileError(f"{path.name} does not match its checksum")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    with suppress(OSError):  # not every file system lets a folder be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
