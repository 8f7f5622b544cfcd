"""The scope classifier's two models: a bi-encoder that proposes edits, a cross-encoder that decides.

    python -m memedit.training.scope --data DIR [--out DIR] [--base FOLDER] [--minutes M] [--resume] [--seed S]
    python -m memedit.training.scope --ship [--out DIR]     export the newest models as the package ships them

What they read is in `scope_text.py`. Three stages, each resumable:

1. The bi-encoder (MiniLM, or `--base`) learns by a pairwise sigmoid loss over the batch (Zhai et al. 2023, section 3):
   every query against every edit's key, a learned scale and bias, no softmax, so that several edits or none may fit.
   After a third of its time half of each batch is mined: edits that the model itself takes for one another.
2. The verifier (its first three layers, a new head) learns on what the finished bi-encoder proposes from a memory of
   some thousand edits: the right edit and the nearest wrong ones.
3. A linear head over the query's vector tells questions that need an edit on the way from those that do not; such a
   head is learned beside the bi-encoder already, with a small weight, so that its vectors can tell.

Pairs of which nobody can say whether they belong together (the same subject in a kindred relation, say) count in no
loss.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from memedit.training.pocket import computing
from memedit.training.scope_text import Case, QueryKind, ScopeWriter, Sources, read_sources

VERIFIER_LAYERS = 3
HEAD_SCALE = 20.0
"""Of the multi-hop head's sums over unit vectors, whose parts are small."""
LEFT_TO_THE_VERIFIER = ("multi_hop", "restated")
"""Negatives that hold a right question whole: to keep them apart by one vector each would blur all others."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, besides the data and the time given."""

    seed: int = 0
    """Of batches and new weights."""
    cases: int = 48
    """Edits in a batch of the bi-encoder."""
    encoder_rate: float = 2e-4
    """Peak learning rate of the bi-encoder; falls to nought."""
    verifier_rate: float = 2.5e-4
    """Peak learning rate of the verifier; likewise."""
    pairs: int = 96
    """Pairs in a batch of the verifier."""
    pool: int = 4000
    """Edits in the memory that negatives are mined from."""
    encoder_share: float = 0.5
    """Share of the time for the bi-encoder; the verifier has nearly all the rest."""
    hops: int = 12
    """Questions in several hops in a batch of the bi-encoder, and as many of one."""
    hops_weight: float = 0.2
    """Of their loss."""
    tokens: int = 72
    """Longest text in training, in word pieces; a pair may have half as many again."""


def rate_factor(progress: float) -> float:
    """Of the peak rate: a short warm-up, then a straight fall. progress in 0..1."""
    return min(1.0, progress / 0.04 + 0.02, max(0.005, 1.0 - progress))


# ---------------------------------------------------------------------------------------------------------- bi-encoder


def embed(model: Any, tokenizer: Any, texts: Sequence[str], tokens: int, at_once: int = 24) -> Tensor:
    """(n, dimension) unit rows: the mean over a text's tokens, as sentence-transformers pools.

    Texts of like length go together: one long text would have all others padded to its length.
    """
    ids = [encoding.ids for encoding in tokenizer(list(texts), truncation=True, max_length=tokens).encodings]
    order = sorted(range(len(ids)), key=lambda at: len(ids[at]))
    parts = []
    for start in range(0, len(order), at_once):
        some = order[start : start + at_once]
        longest = len(ids[some[-1]])
        padded = torch.zeros(len(some), longest, dtype=torch.long)
        mask = torch.zeros(len(some), longest, dtype=torch.long)
        for row, at in enumerate(some):
            padded[row, : len(ids[at])] = torch.tensor(ids[at])
            mask[row, : len(ids[at])] = 1
        hidden = model(input_ids=padded, attention_mask=mask).last_hidden_state.float()
        weights = mask.unsqueeze(-1).float()
        parts.append((hidden * weights).sum(1) / weights.sum(1))
    back = torch.empty(len(order), dtype=torch.long)
    back[torch.tensor(order)] = torch.arange(len(order))
    return nn.functional.normalize(torch.cat(parts)[back], dim=-1)


@torch.no_grad()
def embed_all(model: Any, tokenizer: Any, texts: Sequence[str], tokens: int = 128) -> NDArray[np.float32]:
    """(n, dimension) unit rows of many texts, without gradients."""
    was_training = model.training
    model.eval()
    rows = np.zeros((len(texts), model.config.hidden_size), np.float32)
    for start in range(0, len(texts), 1024):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rows[start : start + 1024] = embed(model, tokenizer, texts[start : start + 1024], tokens).numpy()
    model.train(was_training)
    return rows


@dataclass(frozen=True)
class Pairing:
    """A batch: texts of both sides and which belong together. labels: (queries, keys), 1 yes, 0 no, -1 unknown."""

    queries: tuple[str, ...]
    keys: tuple[str, ...]
    labels: NDArray[np.int8]


def pairing(cases: Sequence[Case], rng: random.Random) -> Pairing:
    """One key of each case, drawn, against all its queries and negatives."""
    keys, forwards, backwards = [], [], []
    for case in cases:
        roles = [role(case, key) for key in case.keys]
        wanted = rng.choices(("statement", "question", "reversed"), (0.6, 0.28, 0.12))[0]
        choices = [at for at, its in enumerate(roles) if its == wanted] or [0]
        at = rng.choice(choices)
        keys.append(case.keys[at])
        forwards.append(roles[at] != "reversed")
        backwards.append(roles[at] != "question")
    queries: list[str] = []
    rows: list[list[int]] = []
    folded = [(case.fact.subject.casefold(), case.fact.target.casefold()) for case in cases]
    for number, case in enumerate(cases):
        for kind, text in case.queries:
            fits = backwards if kind == "reversed" else forwards
            row = []
            for other, its in enumerate(cases):
                answer = its.answers(case, kind)
                row.append(-1 if answer is None or (answer and not fits[other]) else int(answer))
            queries.append(text)
            rows.append(row)
        for negative, text in case.negatives:
            if negative in LEFT_TO_THE_VERIFIER:
                continue
            low = text.casefold()
            # Its own edit does not answer it, by its making; another one that it names may.
            unsure = [
                other != number and (subject in low or target in low) for other, (subject, target) in enumerate(folded)
            ]
            queries.append(text)
            rows.append([-1 if doubt else 0 for doubt in unsure])
    return Pairing(tuple(queries), tuple(keys), np.array(rows, np.int8))


def role(case: Case, key: str) -> str:
    """What a key of a case is: its statement in some form, a question for the target, or one for the subject."""
    if not key.endswith("?"):
        return "statement"
    names = (case.fact.subject, *case.fact.aliases)
    return "question" if any(name in key for name in names) else "reversed"


def sigmoid_loss(cosines: Tensor, labels: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Mean over queries of the log losses of all their pairs that are known (Zhai et al. 2023, equation 1)."""
    signs = labels.float() * 2 - 1
    losses = nn.functional.softplus(-signs * (cosines * scale.exp() + bias))
    return (losses * (labels >= 0)).sum() / len(labels)


class Mined:
    """Cases of a pool, and for each those that the model takes for it."""

    def __init__(
        self, cases: Sequence[Case], keys: NDArray[np.float32], queries: NDArray[np.float32], near: int = 6
    ) -> None:
        """keys, queries: (cases, dimension), of each case's statement and of its first query."""
        self.cases = cases
        found = np.concatenate([np.argsort(-(part @ keys.T), axis=1)[:, :near] for part in np.array_split(queries, 16)])
        self.near = [[int(other) for other in row if other != at] for at, row in enumerate(found)]

    def group(self, rng: random.Random) -> list[Case]:
        """A case and two of those taken for it."""
        at = rng.randrange(len(self.cases))
        return [
            self.cases[at],
            *(self.cases[other] for other in rng.sample(self.near[at], k=min(2, len(self.near[at])))),
        ]


# ------------------------------------------------------------------------------------------------------------ training


@dataclass
class Progress:
    """Seconds spent in each stage, and steps done."""

    encoder: float = 0.0
    verifier: float = 0.0
    steps: int = 0


class Trainer:
    """Trains both models and the head in a folder of checkpoints; with `resume` it goes on from what is there.

    base: folder of the encoder to start from. minutes: of training in all. steps: instead, so many steps a stage, which
    makes a run repeatable.
    """

    def __init__(
        self,
        sources: Sources,
        base: Path,
        out: Path,
        recipe: Recipe,
        *,
        minutes: float = 75.0,
        steps: int | None = None,
        resume: bool = False,
        report: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    ) -> None:
        from transformers import AutoTokenizer, BertForSequenceClassification, BertModel

        self.sources, self.out, self.recipe = sources, out, recipe
        self.minutes, self.step_budget, self.report = minutes, steps, report
        self.progress = Progress()
        self._made = ScopeWriter(sources, recipe.seed)
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(base)
        self._bert, self._classifier = BertModel, BertForSequenceClassification
        without: Any = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        self.encoder: Any = BertModel.from_pretrained(base, add_pooling_layer=False, **without)
        self.scale = nn.Parameter(torch.tensor(3.4))
        self.bias = nn.Parameter(torch.tensor(-15.0))
        self.verifier: Any = None
        self._state: dict[str, Any] = {}
        if resume and (out / "checkpoint.pt").exists():
            self._state = torch.load(out / "checkpoint.pt", weights_only=True)
            self.progress = Progress(**self._state["progress"])
            self.encoder.load_state_dict(self._state["encoder"])
            with torch.no_grad():
                self.scale.copy_(self._state["scale"])
                self.bias.copy_(self._state["bias"])

    # --- budget

    def spent(self, stage: str) -> float:
        """Share of the stage's budget that is used up, 0..1."""
        if self.step_budget is not None:
            return self.progress.steps / self.step_budget
        share = self.recipe.encoder_share if stage == "encoder" else 1 - self.recipe.encoder_share
        seconds: float = getattr(self.progress, stage)
        return seconds / (60 * self.minutes * share)

    def save(self, optimizer: torch.optim.Optimizer | None) -> None:
        state = {
            "progress": vars(self.progress),
            "encoder": self.encoder.state_dict(),
            "scale": self.scale.detach(),
            "bias": self.bias.detach(),
            "verifier": None if self.verifier is None else self.verifier.state_dict(),
            "optimizer": None if optimizer is None else optimizer.state_dict(),
        }
        partial = self.out / "checkpoint.partial"
        torch.save(state, partial)
        partial.replace(self.out / "checkpoint.pt")

    def _steps(
        self, stage: str, parameters: Sequence[nn.Parameter], rate: float, loss_of: Callable[[int], Tensor]
    ) -> None:
        """Steps of one stage until its budget is spent, saving now and then."""
        optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01, betas=(0.9, 0.98), fused=True)
        if self._state.get("optimizer") is not None:
            optimizer.load_state_dict(self._state["optimizer"])
        self._state = {}
        clock, shown, saved = computing(), time.perf_counter(), time.perf_counter()
        losses: list[float] = []
        while self.spent(stage) < 1.0:
            for group in optimizer.param_groups:
                group["lr"] = rate * rate_factor(self.spent(stage))
            loss = loss_of(self.progress.steps)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.item())
            now, spent = time.perf_counter(), computing()
            setattr(self.progress, stage, getattr(self.progress, stage) + spent - clock)
            clock = spent
            self.progress.steps += 1
            if now - shown > 30:
                mean = sum(losses) / len(losses)
                self.report(
                    f"{time.strftime('%H:%M:%S')} {stage} {self.spent(stage):.1%}  step {self.progress.steps}  "
                    f"loss {mean:.4f}  {(now - shown) / len(losses):.2f} s/step"
                )
                losses, shown = [], now
            if now - saved > 240:
                self.save(optimizer)
                saved = time.perf_counter()
        self.progress.steps = 0

    # --- stages

    def run(self) -> None:
        """All three stages; what was finished before is not done again."""
        done = self.out / "stages.json"
        finished: list[str] = json.loads(done.read_text()) if done.exists() and self._state else []
        for stage in ("encoder", "verifier", "head"):
            if stage not in finished:
                getattr(self, f"train_{stage}")()
                finished.append(stage)
                done.write_text(json.dumps(finished))

    def train_encoder(self) -> None:
        model, recipe = self.encoder.train(), self.recipe
        mined: Mined | None = None
        mined_at = 0.0

        def loss_of(step: int) -> Tensor:
            nonlocal mined, mined_at
            spent = self.spent("encoder")
            if spent > 0.3 and (mined is None or spent > mined_at + 0.3):
                mined, mined_at = self._mined(int(100 * spent)), spent
            rng = random.Random(f"{recipe.seed} encoder {step}")
            cases = self._writer(step).cases(recipe.cases if mined is None else recipe.cases // 2)
            seen = {id(case) for case in cases}
            while mined is not None and len(cases) < recipe.cases:
                group = [case for case in mined.group(rng) if id(case) not in seen]
                seen.update(map(id, group))
                cases += group
            pairs = pairing(cases, rng)
            several = [self._made.multi_hop() for _ in range(recipe.hops)]
            single = [self._made.single_hop() for _ in range(recipe.hops)]
            with torch.autocast("cpu", dtype=torch.bfloat16):
                queries = embed(model, self.tokenizer, [*pairs.queries, *several, *single], recipe.tokens)
                keys = embed(model, self.tokenizer, pairs.keys, recipe.tokens)
            told = head(queries[len(pairs.queries) :])[:, 0] * HEAD_SCALE
            wanted = torch.tensor([1.0] * recipe.hops + [0.0] * recipe.hops)
            loss = sigmoid_loss(
                queries[: len(pairs.queries)] @ keys.T, torch.from_numpy(pairs.labels), self.scale, self.bias
            )
            return loss + recipe.hops_weight * nn.functional.binary_cross_entropy_with_logits(told, wanted)

        head = nn.Linear(model.config.hidden_size, 1)
        parameters = [p for p in model.parameters() if p.requires_grad]
        self._steps(
            "encoder", [*parameters, self.scale, self.bias, *head.parameters()], recipe.encoder_rate, loss_of
        )  # fmt: skip
        self.save(None)
        folder = self.out / "encoder"
        model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        write_pooling(folder, model.config.hidden_size)

    def train_verifier(self) -> None:
        recipe = self.recipe
        folder = self.out / "verifier"
        model: Any = self._classifier.from_pretrained(
            self.out / "encoder", num_hidden_layers=VERIFIER_LAYERS, num_labels=1,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout=0.0,
        )  # fmt: skip
        if self._state.get("verifier") is not None:
            model.load_state_dict(self._state["verifier"])
        self.verifier = model.train()
        proposals: list[tuple[str, str, int]] = []

        def loss_of(step: int) -> Tensor:
            nonlocal proposals
            if len(proposals) < recipe.pairs:
                proposals = self.proposals(self._writer(50_000_000 + step))
            some, proposals = proposals[: recipe.pairs], proposals[recipe.pairs :]
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = judge(model, self.tokenizer, [(q, t) for q, t, _ in some], recipe.tokens * 3 // 2)
            wanted = torch.tensor([float(label) for _, _, label in some])
            return nn.functional.binary_cross_entropy_with_logits(logits, wanted)

        self._steps("verifier", list(model.parameters()), recipe.verifier_rate, loss_of)
        self.save(None)
        model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def train_head(self, questions: int = 6000) -> None:
        writer = self._writer(90_000_000)
        texts = [writer.multi_hop() for _ in range(questions)] + [writer.single_hop() for _ in range(2 * questions)]
        rows = embed_all(self.encoder, self.tokenizer, texts)
        labels = np.array([1.0] * questions + [0.0] * (2 * questions))
        weights, bias = logistic(rows, labels)
        right = ((rows @ weights + bias > 0) == (labels > 0)).mean()
        self.report(f"multi-hop head: {right:.4f} of its training questions right")
        self.out.joinpath("head.json").write_text(json.dumps({"weights": weights.tolist(), "bias": bias}))

    # --- pieces

    def _writer(self, step: int) -> ScopeWriter:
        """One writer for the whole run: making its tables takes longer than a step. The step alone decides its text."""
        self._made.seed(self.recipe.seed * 1_000_003 + step)
        return self._made

    def _mined(self, seed: int) -> Mined:
        cases = self._writer(70_000_000 + seed).cases(self.recipe.pool)
        keys = embed_all(self.encoder, self.tokenizer, [case.keys[0] for case in cases])
        queries = embed_all(self.encoder, self.tokenizer, [case.queries[0][1] for case in cases])
        return Mined(cases, keys, queries)

    def proposals(self, writer: ScopeWriter, near: int = 2) -> list[tuple[str, str, int]]:
        """(query, the edit's text, 1 or 0): the right edits and the nearest wrong ones in a memory, shuffled."""
        # Other names are what the encoder tells apart; other relations of the name are left to the verifier.
        cases = writer.cases(self.recipe.pool // 2, queries=2, negatives=2, renamed=0.2)
        keys = embed_all(self.encoder, self.tokenizer, [case.keys[0] for case in cases])
        asked: list[tuple[int, QueryKind | None, str]] = []
        for number, case in enumerate(cases):
            asked += [(number, kind, text) for kind, text in case.queries]
            asked += [(number, None, text) for _, text in case.negatives]
        rows = embed_all(self.encoder, self.tokenizer, [text for _, _, text in asked])
        found = np.concatenate(
            [np.argsort(-(part @ keys.T), axis=1)[:, : near + 1] for part in np.array_split(rows, 32)]
        )
        made = []
        for (number, kind, text), nearest in zip(asked, found, strict=True):
            own = cases[number]
            if kind is not None:
                made.append((text, own.text, 1))
            else:
                made.append((text, own.text, 0))
            for other in [cases[int(at)] for at in nearest if int(at) != number][: near if kind is None else 1]:
                if kind is not None:
                    if other.answers(own, kind) is False:
                        made.append((text, other.text, 0))
                elif (
                    other.fact.subject.casefold() not in text.casefold()
                    and other.fact.target.casefold() not in text.casefold()
                ):
                    made.append((text, other.text, 0))
        writer.rng.shuffle(made)
        return made


def judge(model: Any, tokenizer: Any, pairs: Sequence[tuple[str, str]], tokens: int, at_once: int = 24) -> Tensor:
    """(n,) log odds that each query falls under its edit. Pairs of like length go together."""
    order = sorted(range(len(pairs)), key=lambda at: len(pairs[at][0]) + len(pairs[at][1]))
    parts = []
    for start in range(0, len(order), at_once):
        some = [pairs[at] for at in order[start : start + at_once]]
        read = tokenizer(
            [query for query, _ in some], [text for _, text in some],
            padding=True, truncation="longest_first", max_length=tokens, return_tensors="pt",
        )  # fmt: skip
        parts.append(model(**read).logits[:, 0].float())
    back = torch.empty(len(order), dtype=torch.long)
    back[torch.tensor(order)] = torch.arange(len(order))
    logits: Tensor = torch.cat(parts)[back]
    return logits


def logistic(
    rows: NDArray[np.float32], labels: NDArray[np.float64], decay: float = 1e-4
) -> tuple[NDArray[np.float32], float]:
    """Weights and bias of a logistic regression, by L-BFGS."""
    x, y = torch.from_numpy(rows), torch.from_numpy(labels).float()
    weights, bias = torch.zeros(x.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(x @ weights + bias, y) + decay * (weights**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach().numpy(), bias.item()


def write_pooling(folder: Path, dimension: int) -> None:
    """The small files that make a BERT folder one that sentence-transformers loads: mean pooling, unit length."""
    names = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(names)
    ]
    folder.joinpath("modules.json").write_text(json.dumps(modules, indent=1))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": dimension, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    (folder / "2_Normalize").mkdir(exist_ok=True)
    folder.joinpath("sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 128, "do_lower_case": False}))


# -------------------------------------------------------------------------------------------------------- command line


def ship(out: Path) -> None:
    """Export the trained models into the package, with the linear head."""
    from memedit.encoders.onnx import shipped
    from memedit.training.scope_export import ship as export

    recipe = json.loads((out / "recipe.json").read_text())
    progress = torch.load(out / "checkpoint.pt", weights_only=True)["progress"]
    training = {
        "base": recipe["base"],
        "seed": recipe["seed"],
        "encoder_minutes": round(progress["encoder"] / 60, 1),
        "verifier_minutes": round(progress["verifier"] / 60, 1),
    }
    head = json.loads((out / "head.json").read_text())
    export(
        out / "encoder", out / "verifier", shipped(), multi_hop=head, base=recipe["base"], training=training
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Train or ship (see the module's docstring)."""
    parser = argparse.ArgumentParser(prog="python -m memedit.training.scope", description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("MEMEDIT_DATA"), help="folder of datasets")
    parser.add_argument("--out", type=Path, default=Path(".checkpoints/scope"), help="folder of checkpoints")
    parser.add_argument("--base", type=Path, help="folder of the encoder to start from [the packaged MiniLM]")
    parser.add_argument("--minutes", type=float, default=75.0, help="of training in all")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipe", default="{}", help="other fields of Recipe, as JSON")
    parser.add_argument("--ship", action="store_true", help="export what is trained, do not train")
    given = parser.parse_args(argv)
    if given.ship:
        return ship(given.out)
    if given.data is None:
        parser.error("--data (or MEMEDIT_DATA) must name the folder of the datasets")
    from memedit.encoders.sentence_transformers import packaged

    recipe = Recipe(seed=given.seed, **json.loads(given.recipe))
    trainer = Trainer(
        read_sources(Path(given.data)), given.base or packaged(), given.out, recipe,
        minutes=given.minutes, resume=given.resume,
    )  # fmt: skip
    base = "sentence-transformers/all-MiniLM-L6-v2" if given.base is None else given.base.name
    (given.out / "recipe.json").write_text(json.dumps({**asdict(recipe), "base": base}))
    trainer.run()
    return None


if __name__ == "__main__":
    main()
