"""The planner's model: a question -> the name it asks about and the chain of relations from there to the answer.

    python -m memedit.training.planner --data DIR [--out DIR] [--minutes M] [--resume] [--seed S]
    python -m memedit.training.planner --ship --data DIR [--out DIR]       calibrate, export as the package ships it
    python -m memedit.training.planner --evaluate --data DIR               what the shipped files get right

What it reads is in `planner_text.py`, how it is run without torch in `memedit/planning.py`. MiniLM reads the question;
six learned slots, one a hop and one for the end, attend to one another and to the word pieces (like object queries,
Carion et al. 2020, section 3.2) and score each relation. Scores of hops and of one relation following another make a
linear-chain CRF (Lafferty et al. 2001), so that a chain has an exact probability. Two heads over the word pieces tell
where the name begins and ends.

Every weight matrix is trained under four-bit rounding, straight through (Bengio et al. 2013), so that what ships is
what was trained. The table of word pieces is rounded once and frozen: it is half of the file, and the names it must
tell from other words are seen too seldom to train it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from memedit import planning
from memedit.parsing import normalise
from memedit.planning import CONFIG, FORMAT, Floats
from memedit.relations import fill, relations
from memedit.training.planner_text import (
    LONGEST_CHAIN,
    Asked,
    PlannerSources,
    PlannerWriter,
    case_templates,
    inventory,
    labels,
    mquake_cases,
    part,
    read,
)
from memedit.training.scope import rate_factor
from memedit.training.scope_export import OPSET, Graph, Precision

BLOCK, TABLE_BLOCK = 32, 64
"""Weights of a matrix's row, and of a word piece's vector, that share one scale."""
MOST_TOKENS = 96


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, besides the data and the time given."""

    seed: int = 0
    batch: int = 48
    """Questions in a step."""
    rate: float = 2e-4
    """Peak learning rate of the encoder; falls to nought."""
    head_rate: float = 8e-4
    """The same, of what is new."""
    span_weight: float = 0.5
    """Of the two span losses together, against the chain's."""


def rounded(weight: Tensor, block: int) -> Tensor:
    """The weight as four bits tell it: one scale for each `block` of a row, whole steps from -7 to 7."""
    rows = weight.reshape(-1, block)
    scale = rows.abs().amax(1, keepdim=True).clamp_min(1e-8) / 7
    return (torch.round(rows / scale) * scale).reshape(weight.shape)


class Rounded(nn.Module):
    """A parametrization: forward with the rounded weight, backward as if it were the weight."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (rounded(weight, BLOCK) - weight).detach()


class Slots(nn.Module):
    """One layer of slots that attend to one another, then to the word pieces, then think."""

    def __init__(self, width: int, slots: int, heads: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(slots, width) * 0.02)
        self.heads = heads
        self.own, self.own_seen = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.seen = nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        def split(x: Tensor) -> Tensor:
            return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

        seen = nn.functional.scaled_dot_product_attention(split(query), split(key), split(value), mask)
        return seen.transpose(1, 2).flatten(2)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """(batch, length, width), (batch, length) -> (batch, slots, width)."""
        x = self.queries.expand(len(states), -1, -1)
        own = self.own(x).chunk(3, -1)
        x = self.norms[0](x + self.own_seen(self.attend(own[0], own[1], own[2], None)))
        allowed = mask[:, None, None, :].bool()
        seen = self.attend(self.query(x), self.key(states), self.value(states), allowed)
        x = self.norms[1](x + self.seen(seen))
        return self.norms[2](x + self.narrow(nn.functional.gelu(self.wide(x))))  # type: ignore[no-any-return]


class Planner(nn.Module):
    """The model. `labels` counts the end of a chain, number 0."""

    def __init__(self, base: Path, labels: int) -> None:
        from transformers import BertModel

        super().__init__()
        self.encoder: Any = BertModel.from_pretrained(
            base, add_pooling_layer=False, hidden_dropout_prob=0.05, attention_probs_dropout_prob=0.05
        )
        width = self.encoder.config.hidden_size
        table = self.encoder.embeddings.word_embeddings.weight
        with torch.no_grad():
            table.copy_(rounded(table, min(TABLE_BLOCK, width)))
        table.requires_grad_(False)
        self.slots = Slots(width, LONGEST_CHAIN + 1, self.encoder.config.num_attention_heads // 2)
        self.relations = nn.Linear(width, labels)
        self.span = nn.Linear(width, 2)
        self.follows = nn.Parameter(torch.zeros(labels, labels))
        for module in self.modules():
            if isinstance(module, nn.Linear) and module is not self.span and module is not self.relations:
                nn.utils.parametrize.register_parametrization(module, "weight", Rounded())

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, length) both -> hops (batch, slots, labels), spans (batch, 2, length) with -1e4 where padded."""
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        hops = self.relations(self.slots(states, mask)).float()
        spans = self.span(states).float().transpose(1, 2)
        return hops, spans.masked_fill(mask[:, None, :] == 0, -1e4)


def chain_score(hops: Tensor, follows: Tensor, chains: Sequence[Sequence[int]]) -> Tensor:
    """(batch,) scores of the given chains (numbers from 1 on; the end is added where the chain is not the longest)."""
    length = max(len(chain) for chain in chains) + 1
    at = torch.zeros(len(chains), length, dtype=torch.long)
    live = torch.zeros(len(chains), length)
    for row, chain in enumerate(chains):
        at[row, : len(chain)] = torch.tensor(chain, dtype=torch.long)
        live[row, : len(chain) + 1] = 1
    before = torch.cat([torch.zeros(len(chains), 1, dtype=torch.long), at[:, :-1]], 1)
    own = hops[:, :length].gather(2, at.unsqueeze(-1)).squeeze(-1)
    return ((own + follows[before, at]) * live).sum(1)


def all_chains_score(hops: Tensor, follows: Tensor, longest: int = LONGEST_CHAIN) -> Tensor:
    """(batch,) log of the summed exponentials of the scores of every chain of at most `longest` relations."""
    ended = [hops[:, 0, 0] + follows[0, 0]]
    alive = hops[:, 0, 1:] + follows[0, 1:]
    for hop in range(1, longest + 1):
        ended.append(torch.logsumexp(alive + follows[1:, 0], 1) + hops[:, hop, 0])
        if hop < longest:
            alive = torch.logsumexp(alive.unsqueeze(2) + follows[1:, 1:], 1) + hops[:, hop, 1:]
    return torch.logsumexp(torch.stack(ended, 1), 1)


@dataclass(frozen=True)
class Batch:
    """Questions as the model reads them. spans: (n, 2) word pieces where the name begins and ends, -1 for none."""

    ids: Tensor
    mask: Tensor
    chains: list[tuple[int, ...]]
    short: Tensor
    spans: Tensor


def batches(tokenizer: Any, asked: Sequence[Asked], at_once: int) -> list[Batch]:
    """In order of length, so that little is padding."""
    read = [tokenizer.encode(one.text) for one in asked]
    order = sorted(range(len(asked)), key=lambda at: len(read[at].ids))
    made = []
    for start in range(0, len(order), at_once):
        some = order[start : start + at_once]
        longest = min(MOST_TOKENS, len(read[some[-1]].ids))
        ids = torch.zeros(len(some), longest, dtype=torch.long)
        mask = torch.zeros(len(some), longest, dtype=torch.long)
        spans = torch.full((len(some), 2), -1)
        for row, at in enumerate(some):
            found = read[at].ids[:longest]
            ids[row, : len(found)] = torch.tensor(found)
            mask[row, : len(found)] = 1
            if asked[at].entity is not None:
                spans[row] = torch.tensor(pieces(read[at].offsets[:longest], asked[at].entity))
        made.append(
            Batch(ids, mask, [asked[at].chain for at in some], torch.tensor([asked[at].short for at in some]), spans)
        )
    return made


def pieces(offsets: Sequence[tuple[int, int]], entity: tuple[int, int] | None) -> tuple[int, int]:
    """First and last word piece of a span of characters; -1 where it is cut off."""
    if entity is None:
        return -1, -1
    inside = [at for at, (start, end) in enumerate(offsets) if end > start and start >= entity[0] and end <= entity[1]]
    return (inside[0], inside[-1]) if inside else (-1, -1)


def loss_of(model: Planner, batch: Batch, span_weight: float) -> Tensor:
    """Summed over the batch's questions."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hops, spans = model(batch.ids, batch.mask)
    every = all_chains_score(hops, model.follows)
    right = torch.where(
        batch.short, all_chains_score(hops, model.follows, longest=1), chain_score(hops, model.follows, batch.chains)
    )
    loss = (every - right).sum()
    for side in (0, 1):
        wanted = batch.spans[:, side]
        loss = loss + span_weight / 2 * nn.functional.cross_entropy(
            spans[:, side], wanted, ignore_index=-1, reduction="sum"
        )
    return loss


# ------------------------------------------------------------------------------------------------------------ training


class Trainer:
    """Trains in a folder of checkpoints; with `resume` it goes on from what is there."""

    def __init__(
        self,
        sources: PlannerSources,
        base: Path,
        out: Path,
        recipe: Recipe,
        *,
        minutes: float = 38.0,
        steps: int | None = None,
        resume: bool = False,
        report: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    ) -> None:
        from tokenizers import Tokenizer

        self.recipe, self.out, self.minutes, self.step_budget, self.report = recipe, out, minutes, steps, report
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.writer = PlannerWriter(sources, recipe.seed)
        self.tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.model = Planner(base, len(inventory()) + 1)
        old = [p for p in self.model.encoder.parameters() if p.requires_grad]
        known = set(map(id, old))
        new = [p for p in self.model.parameters() if p.requires_grad and id(p) not in known]
        self.optimizer = torch.optim.AdamW(
            [{"params": old, "rate": recipe.rate}, {"params": new, "rate": recipe.head_rate}],
            weight_decay=0.01, betas=(0.9, 0.98), fused=True,
        )  # fmt: skip
        self.seconds, self.steps = 0.0, 0
        if resume and (out / "checkpoint.pt").exists():
            state = torch.load(out / "checkpoint.pt", weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.seconds, self.steps = state["seconds"], state["steps"]

    @property
    def spent(self) -> float:
        """Share of the budget that is used up, 0..1."""
        if self.step_budget is not None:
            return self.steps / self.step_budget
        return self.seconds / (60 * self.minutes)

    def save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "seconds": self.seconds,
            "steps": self.steps,
        }
        partial = self.out / "checkpoint.partial"
        torch.save(state, partial)
        partial.replace(self.out / "checkpoint.pt")

    def run(self) -> None:
        clock = shown = saved = time.perf_counter()
        losses: list[float] = []
        self.model.train()
        while self.spent < 1.0:
            losses.append(self.step())
            now = time.perf_counter()
            self.seconds += now - clock
            clock = now
            if now - shown > 30:
                self.report(
                    f"{time.strftime('%H:%M:%S')} {self.spent:.1%}  step {self.steps}  "
                    f"loss {sum(losses) / len(losses):.4f}  {(now - shown) / len(losses):.2f} s/step"
                )
                losses, shown = [], now
            if now - saved > 180:
                self.save()
                saved = time.perf_counter()
        self.save()

    def step(self) -> float:
        """One step; -> its loss a question. Its text depends on the seed and its number alone."""
        self.writer.seed(self.recipe.seed * 1_000_003 + self.steps)
        asked = self.writer.questions(self.recipe.batch)
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * rate_factor(self.spent)
        groups = batches(self.tokenizer, asked, self.recipe.batch // 3)
        with nn.utils.parametrize.cached():  # each weight is rounded once a step
            loss = torch.stack([loss_of(self.model, batch, self.recipe.span_weight) for batch in groups]).sum()
        loss = loss / len(asked)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        return loss.item()


# -------------------------------------------------------------------------------------------------- export and figures


def four_bits(weight: Floats, block: int) -> tuple[NDArray[np.uint8], Floats]:
    """(rows, width) -> (rows, width) steps around 8, 1..15, and (rows, width / block) scales: `rounded`, kept."""
    parts = weight.reshape(len(weight), -1, block)
    scale = np.maximum(np.abs(parts).max(-1), 1e-8) / 7
    steps = np.rint(parts / scale[..., None]) + 8
    return steps.astype(np.uint8).reshape(weight.shape), scale.astype(np.float32)


class PlannerGraph(Graph):
    """The gate's graph with matrices of four bits, and the slots behind it. `float32`: nothing is rounded."""

    def linear(self, x: str, *names: str) -> str:
        if self.precision == "float32":
            return super().linear(x, *names)
        name = "+".join(names)
        weight = np.concatenate([self.weights[f"{each}.weight"] for each in names])
        bias = self.constant(f"{name}.bias", np.concatenate([self.weights[f"{each}.bias"] for each in names]))
        outputs, inputs = weight.shape
        steps, scale = four_bits(weight, BLOCK)
        pairs = steps.reshape(outputs, inputs // BLOCK, BLOCK // 2, 2)
        packed = (pairs[..., 0] | pairs[..., 1] << 4).astype(np.uint8)
        return self.add(
            "MatMulNBits",
            [x, self.constant(f"{name}.pairs", packed), self.constant(f"{name}.scale", scale), "", "", bias],
            domain="com.microsoft",
            K=inputs,
            N=outputs,
            bits=4,
            block_size=BLOCK,
            accuracy_level=4,  # activations are int8, with a scale for each row and block
        )

    def rows(self, name: str, operator: str, *at: str) -> str:
        table = self.weights[name]
        if self.precision == "float32" or name != "embeddings.word_embeddings.weight":
            return self.add(operator, [self.weight(name), *at])
        block, half = min(TABLE_BLOCK, table.shape[1]), table.shape[1] // 2
        steps, scale = four_bits(table, block)
        packed = self.constant(f"{name}.pairs", steps[:, :half] | steps[:, half:] << 4)
        scales = self.constant(f"{name}.scale", scale.astype(np.float16))
        got = self.add(operator, [packed, *at])
        low = self.add("BitwiseAnd", [got, self.constant("low", np.array(15, np.uint8))])
        high = self.add("BitShift", [got, self.constant("four", np.array(4, np.uint8))], direction="RIGHT")
        both = self.add("Cast", [self.add("Concat", [low, high], axis=-1)], to=1)
        around = self.add("Sub", [both, self.constant("eight", np.array(8, np.float32))])
        parts = self.constant("blocks", np.array([0, 0, -1, block], np.int64))
        whole = self.constant("whole", np.array([0, 0, -1], np.int64))
        scaled = self.add("Unsqueeze", [self.add("Cast", [self.add(operator, [scales, *at])], to=1), "last"])
        self.constant("last", np.array([-1], np.int64))
        return self.add("Reshape", [self.add("Mul", [self.add("Reshape", [around, parts]), scaled]), whole])


def export(model: Planner, out: Path, precision: Precision = "int8") -> None:
    """Write the graph: input_ids, attention_mask (batch, length) -> hops (batch, slots, labels), spans (batch, 2,
    length). Spans are not masked: texts of one length, or one by one."""
    import onnx
    from onnx import helper, numpy_helper

    slots, configured = model.slots, model.encoder.config
    plain = {
        name.replace(".parametrizations.weight.original", ".weight"): value.detach().numpy().astype(np.float32)
        for name, value in model.state_dict().items()
        if value.dtype.is_floating_point
    }
    weights = {name.removeprefix("encoder.").replace("slots.", ""): value for name, value in plain.items()}
    table = "embeddings.position_embeddings.weight"
    weights[table] = weights[table][:MOST_TOKENS]
    config = {
        "model_type": "bert",
        "hidden_size": configured.hidden_size,
        "num_attention_heads": configured.num_attention_heads,
        "num_hidden_layers": configured.num_hidden_layers,
        "layer_norm_eps": configured.layer_norm_eps,
    }
    graph = PlannerGraph(weights, config, precision)
    states = graph.body(token_types=False)
    # Until they look at the question the slots are the same for all questions.
    with torch.no_grad():
        x = slots.queries.unsqueeze(0)
        own = slots.own(x).chunk(3, -1)
        before = slots.norms[0](x + slots.own_seen(slots.attend(own[0], own[1], own[2], None)))
        asked = slots.query(before)
    size = graph.add("Shape", ["input_ids"], start=0, end=1)
    rest = graph.constant("slots", np.array(before.shape[1:], np.int64))
    shape = graph.add("Concat", [size, rest], axis=0)
    x0 = graph.add("Expand", [graph.constant("slots.before", before[0].numpy()), shape])
    query = graph.add("Expand", [graph.constant("slots.query", asked[0].numpy()), shape])
    key, value = graph.linear(states, "key"), graph.linear(states, "value")
    mask = graph.add("Cast", ["attention_mask"], to=6)
    seen = graph.add("MultiHeadAttention", [query, key, value, "", mask], domain="com.microsoft", num_heads=slots.heads)
    x1 = graph.normalised(graph.add("Add", [graph.linear(seen, "seen"), x0]), "norms.1")
    wide = graph.add("Gelu", [graph.linear(x1, "wide")])
    x2 = graph.normalised(graph.add("Add", [graph.linear(wide, "narrow"), x1]), "norms.2")

    def plainly(states: str, name: str) -> str:
        weight = graph.constant(f"{name}.weight", weights[f"{name}.weight"].T)
        return graph.add("Add", [graph.add("MatMul", [states, weight]), graph.weight(f"{name}.bias")])

    hops, spans = plainly(x2, "relations"), graph.add("Transpose", [plainly(states, "span")], perm=[0, 2, 1])
    graph.nodes.append(helper.make_node("Identity", [hops], ["hops"], name="hops"))
    graph.nodes.append(helper.make_node("Identity", [spans], ["spans"], name="spans"))
    labels = len(weights["relations.bias"])
    made = helper.make_graph(
        graph.nodes,
        "memedit-planner",
        [
            helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["batch", "length"])
            for name in ("input_ids", "attention_mask")
        ],
        [
            helper.make_tensor_value_info("hops", onnx.TensorProto.FLOAT, ["batch", before.shape[1], labels]),
            helper.make_tensor_value_info("spans", onnx.TensorProto.FLOAT, ["batch", 2, "length"]),
        ],
        [numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
    onnx_model = helper.make_model(made, opset_imports=opsets, producer_name="memedit", ir_version=9)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(onnx_model.SerializeToString(deterministic=True))


def ship(model: Planner, base: Path, out: Path, training: Mapping[str, Any]) -> None:
    """Write what `memedit.planning.Planner` reads into a folder: graph, tokenizer, and a config not yet calibrated."""
    export(model, out / "planner.onnx")
    shutil.copyfile(base / "tokenizer.json", out / "tokenizer.json")
    config = {
        "format": FORMAT,
        "files": {
            name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in ("planner.onnx", "tokenizer.json")
        },
        "max_tokens": MOST_TOKENS,
        "longest": LONGEST_CHAIN,
        "temperature": 1.0,
        "several": 0.5,
        "sure": 0.3,
        "training": dict(training),
        "relations": [
            {"names": list(label.names), "question": relations()[label.name].questions[0]} for label in inventory()
        ],
        "follows": [[round(float(x), 3) for x in row] for row in model.follows.detach().numpy()],
    }
    write_config(out, config)


def write_config(out: Path, config: Mapping[str, Any]) -> None:
    """One line for each relation and each row of numbers, so that a change can be read."""
    parts = []
    for name, value in config.items():
        if name in ("relations", "follows"):
            rows = ",\n  ".join(json.dumps(row) for row in value)
            parts.append(f'"{name}": [\n  {rows}\n ]')
        else:
            parts.append(f'"{name}": {json.dumps(value)}')
    (out / CONFIG).write_text("{\n " + ",\n ".join(parts) + "\n}\n", encoding="utf-8")


def calibrate(folder: Path, data: Path) -> dict[str, float]:
    """Find the temperature on cases that are neither trained on nor evaluated, and write it into the config."""
    planner = planning.Planner(folder)
    follows = np.asarray(planner.config["follows"], np.float32)
    scored = []
    for row in mquake_cases(data):
        if part(row["case_id"]) == "kept":
            for template in case_templates(row):
                found = planner.scores(fill(template.wording, template.subject))
                if found is not None:
                    scored.append((found[0], template.chain))

    def loss(temperature: float) -> float:
        total = 0.0
        for hops, chain in scored:
            likely = dict(planning.best_chains(hops / temperature, follows / temperature, planner.longest, number=100))
            total -= math.log(likely.get(chain, 1e-6))
        return total / len(scored)

    losses = {step / 5: loss(step / 5) for step in range(4, 13)}
    best = min(losses, key=lambda t: losses[t])
    write_config(folder, planner.config | {"temperature": best})
    return {"temperature": best, "loss": losses[best], "questions": len(scored)}


def figures(folder: Path, data: Path, which: str = "unseen") -> dict[str, float]:
    """What a planner gets right of the cases of a part: chain and name, by question and for one of a case's three."""
    planner = planning.Planner(folder)
    known = labels()
    count: Counter[str] = Counter()
    for row in mquake_cases(data):
        if part(row["case_id"]) != which:
            continue
        best, within = [], []
        for template in case_templates(row):
            reading = planner.read(fill(template.wording, template.subject))
            wanted = (normalise(template.subject), template.chain)
            made = [(normalise(plan.entity), tuple(known[hop.names[0]] for hop in plan.hops)) for plan in reading.plans]
            best.append(made[:1] == [wanted])
            within.append(wanted in made[:3])
            count["questions"] += 1
            count["question"] += best[-1]
            count["question_within_three"] += within[-1]
            count["name"] += bool(made) and made[0][0] == wanted[0]
            count["chain"] += bool(made) and made[0][1] == wanted[1]
            count["sure"] += reading.sure
        count["cases"] += 1
        count["case"] += any(best)
        four = len(row["orig"]["new_triples"]) == len(row["orig"]["edit_triples"]) == 4
        count["four_edit_cases"] += four
        count["four_edit_case"] += four and any(best)
    shares = {
        name: count[name] / max(1, count[of])
        for of, names in {
            "questions": ("question", "question_within_three", "name", "chain", "sure"),
            "cases": ("case",),
            "four_edit_cases": ("four_edit_case",),
        }.items()
        for name in names
    }
    return {**shares, **{name: count[name] for name in ("questions", "cases", "four_edit_cases")}}


# -------------------------------------------------------------------------------------------------------- command line


def main(argv: Sequence[str] | None = None) -> None:
    """Train, ship or evaluate (see the module's docstring)."""
    parser = argparse.ArgumentParser(prog="python -m memedit.training.planner", description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("MEMEDIT_DATA"), help="folder of datasets")
    parser.add_argument("--out", type=Path, default=Path(".checkpoints/planner"), help="folder of checkpoints")
    parser.add_argument("--minutes", type=float, default=38.0, help="of training in all")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipe", default="{}", help="other fields of Recipe, as JSON")
    parser.add_argument("--ship", action="store_true", help="export and calibrate what is trained, do not train")
    parser.add_argument("--evaluate", action="store_true", help="print what the shipped planner gets right")
    given = parser.parse_args(argv)
    if given.data is None:
        parser.error("--data (or MEMEDIT_DATA) must name the folder of the datasets")
    from memedit.encoders.sentence_transformers import packaged

    data = Path(given.data)
    if given.evaluate:
        print(json.dumps(figures(planning.shipped(), data), indent=1))
        return
    if given.ship:
        state = torch.load(given.out / "checkpoint.pt", weights_only=True)
        model = Planner(packaged(), len(inventory()) + 1)
        model.load_state_dict(state["model"])
        training = {**json.loads((given.out / "recipe.json").read_text()), "steps": state["steps"]}
        ship(model.eval(), packaged(), planning.shipped(), {**training, "minutes": round(state["seconds"] / 60, 1)})
        print(json.dumps(calibrate(planning.shipped(), data)))
        return
    recipe = Recipe(seed=given.seed, **json.loads(given.recipe))
    trainer = Trainer(read(data), packaged(), given.out, recipe, minutes=given.minutes, resume=given.resume)
    (given.out / "recipe.json").write_text(json.dumps(asdict(recipe)))
    trainer.run()


if __name__ == "__main__":
    main()
