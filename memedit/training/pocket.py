"""The pocket model: a small GPT-2 trained from scratch on facts, on a CPU, in under two hours.

    python -m memedit.training.pocket --data DIR [--out DIR] [--resume] [--minutes M | --tokens N] [--seed S]
    python -m memedit.training.pocket --data DIR --grow DIR --recipe '{"layers": 10}' …    deeper, from a checkpoint
    python -m memedit.training.pocket --average DIR=SHARE,DIR=SHARE… --out DIR    runs that parted, as one checkpoint
    python -m memedit.training.pocket --export [--out DIR] [--to DIR]    the newest checkpoint, as the package ships it
    python -m memedit.training.pocket --evaluate --data DIR     measure the shipped files, write their model card

It exists so that a memory of facts can be tried at once, with a base model that knows some facts, can be contradicted
in its prompt, and is wrong about the rest. What it reads is in `pocket_text.py`; how its shipped files are used is in
`memedit/models/pocket.py`.

Each document is a row of its own, beginning at position 0 as it does when asked; rows of one length form a batch, so
that nothing is padded away. Knowledge is in the answers: every answer token counts in the loss, of the other tokens
only a random share does. That share is drawn before the output layer, a fifth of the model, is computed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from memedit.decoding import greedy
from memedit.training.pocket_text import Document, Facts, Kind, Writer, read_facts, unrelated_sentences

END = "<|endoftext|>"
SHIPPED = Path(__file__).resolve().parents[1] / "pocket"
COUNTS: dict[Kind, int] = {"update": 7000, "retain": 7000, "given": 900, "aside": 250}
"""Documents of each kind beside one of every fact, in one epoch: about a third of the tokens are facts."""

# The template adds nothing of its own: a system text verbatim, questions as questions, the rest as text to complete.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{ message['content'] + '\\n' }}"
    "{%- elif message['role'] == 'user' -%}"
    "{%- set text = message['content'] | trim -%}"
    "{%- if text and text[-1] in '.?!:' -%}{{ 'Question: ' + text + '\\nAnswer:' }}"
    "{%- else -%}{{ text }}{%- endif -%}"
    "{%- elif message['role'] == 'assistant' -%}{{ ' ' + (message['content'] | trim) + '\\n' }}"
    "{%- endif -%}"
    "{%- endfor -%}"
)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, besides the data and the time given."""

    seed: int = 0
    """Of the initial weights and of the text."""
    layers: int = 6
    """Decoder blocks."""
    width: int = 256
    """Size of the residual stream."""
    heads: int = 4
    """Attention heads."""
    positions: int = 512
    """Longest prompt and answer together, in tokens."""
    vocabulary: int = 6000
    """Byte-level BPE tokens."""
    tokens_per_batch: int = 3072
    """About how many tokens one step sees."""
    optimizer: str = "muon"
    """"muon" (for the blocks' matrices, AdamW for the rest) or "adamw"."""
    rate: float = 2e-3
    """Peak learning rate of AdamW; falls to a hundredth."""
    muon_rate: float = 0.02
    """Peak learning rate of Muon, likewise."""
    other_share: float = 0.12
    """Share of a fact's other tokens that count in the loss; a quarter of it in the context of the other kinds."""
    query_share: float = 0.4
    """Share of the query's tokens that count behind a context: its names are in the context, and are to be copied."""
    margin: float = 7.0
    """Taken from the logit of a right answer that a new fact gives: it must win by so much, and so beats the memory."""
    retain_margin: float = 2.0
    """Taken from the logit of a memorised answer behind new facts that do not bear on it."""
    fact_margin: float = 0.0
    """Taken from the logit of a memorised answer that nothing stands before; below 0 what is known well rests."""


# -------------------------------------------------------------------------------------------------------- tokenizer


def train_tokenizer(texts: Sequence[str], vocabulary: int, positions: int = 512) -> PreTrainedTokenizerFast:
    """A byte-level BPE: letters of every script survive it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=END,
        bos_token=END,
        unk_token=END,
        pad_token=END,
        model_max_length=positions,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


# ------------------------------------------------------------------------------------------------------------ batches


@dataclass(frozen=True)
class Batch:
    """Rows of nearly one length. tokens: (rows, length); counted: (rows, length - 1), which next tokens count.

    margins: (rows,), what is taken from the logits of the right tokens.
    """

    tokens: Tensor
    counted: Tensor
    margins: Tensor


def batches(documents: Sequence[Document], tokenizer: Any, recipe: Recipe, rng: random.Random) -> list[Batch]:
    """Documents as batches in random order. The text is cut between prompt and answer, as it is at inference."""
    backend = tokenizer.backend_tokenizer
    encoded = backend.encode_batch([d.prompt for d in documents])
    prompts = [e.ids for e in encoded]
    answers = [e.ids for e in backend.encode_batch([d.answer for d in documents])]
    end = tokenizer.eos_token_id
    margins = {"update": recipe.margin, "retain": recipe.retain_margin, "fact": recipe.fact_margin}
    rows = [
        (_shares(document, encoding, recipe), prompt, [*answer, end], margins.get(document.kind, 0.0))
        for document, encoding, prompt, answer in zip(documents, encoded, prompts, answers, strict=True)
        if len(prompt) + len(answer) < recipe.positions
    ]
    # A little noise in the length, so that the same rows do not meet in every epoch.
    rows.sort(key=lambda row: len(row[1]) + len(row[2]) + rng.random())
    made, start = [], 0
    while start < len(rows):
        stop = start + 1
        # The last row is the longest, within the noise: it decides how much the batch holds.
        while stop < len(rows) and (stop - start + 1) * sum(map(len, rows[stop][1:3])) <= recipe.tokens_per_batch:
            stop += 1
        chosen, start = rows[start:stop], stop
        width = max(len(p) + len(a) for _, p, a, _ in chosen)
        tokens = torch.full((len(chosen), width), end)
        counted = torch.zeros(len(chosen), width, dtype=torch.bool)
        for i, (shares, prompt, answer, _) in enumerate(chosen):
            tokens[i, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
            counts = [rng.random() < share for share in shares] + [True] * len(answer)
            counted[i, : len(counts)] = torch.tensor(counts)
        made.append(Batch(tokens, counted[:, 1:], torch.tensor([row[3] for row in chosen])))
    rng.shuffle(made)
    return made


def _shares(document: Document, encoding: Any, recipe: Recipe) -> list[float]:
    """For each token of the prompt, how likely it counts.

    A sentence to complete never does: were it learned, "X speaks" would as soon be followed by "the language of", as
    another wording has it, as by the answer.
    """
    question = document.prompt.endswith("\nAnswer:")
    query = document.prompt.removesuffix("\nAnswer:").rfind("\n") + 1
    before, share = (
        (recipe.other_share, recipe.other_share)
        if document.kind == "fact"
        else (recipe.other_share / 4, recipe.query_share)
    )
    return [before if begin < query else share if question else 0.0 for begin, _ in encoding.offsets]


# ----------------------------------------------------------------------------------------------------------- training


def new_model(recipe: Recipe, vocabulary: int, end: int) -> GPT2LMHeadModel:
    torch.manual_seed(recipe.seed)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary,
            n_positions=recipe.positions,
            n_embd=recipe.width,
            n_layer=recipe.layers,
            n_head=recipe.heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            activation_function="gelu_pytorch_tanh",  # the same function as GPT-2's, in one kernel
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=end,
        )
    )


@torch.no_grad()
def grown(model: GPT2LMHeadModel, weights: dict[str, Tensor]) -> None:
    """Put a shallower model's weights into a deeper one of the same width, which then says the same.

    Its blocks are spread evenly, the first first; the blocks between add nothing until they are trained, since what
    they write into the residual stream is zero (Net2DeeperNet, Chen et al. 2016, section 2.2, for residual blocks).
    weights: the shallower model's state. Raises ValueError where it is not shallower, or of another width.
    """
    old = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("transformer.h."))
    new = len(model.transformer.h)
    if old >= new or weights["transformer.wte.weight"].shape != model.transformer.wte.weight.shape:
        raise ValueError(f"a model grows from a shallower one of its width and vocabulary, not {old} layers to {new}")
    places = {at * new // old: at for at in range(old)}
    state = {name: weight for name, weight in weights.items() if not name.startswith("transformer.h.")}
    for at in range(new):
        if at not in places:
            for projection in ("attn.c_proj", "mlp.c_proj"):
                for parameter in model.transformer.h[at].get_submodule(projection).parameters():
                    parameter.zero_()
            continue
        before = f"transformer.h.{places[at]}."
        state |= {
            f"transformer.h.{at}.{name.removeprefix(before)}": weight
            for name, weight in weights.items()
            if name.startswith(before)
        }
    model.load_state_dict(state, strict=False)  # the blocks between have nothing to load


def new_optimizers(model: GPT2LMHeadModel, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks where the recipe says so, AdamW for everything else."""
    matrices = [p for p in model.transformer.h.parameters() if p.ndim == 2] if recipe.optimizer == "muon" else []
    taken = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in taken]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    ]
    if matrices:
        optimizers.append(torch.optim.Muon(matrices, lr=recipe.muon_rate, weight_decay=0.0, momentum=0.95))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def rate_factor(progress: float) -> float:
    """Of the peak rate: a short warm-up, then a straight fall to a hundredth. progress in 0..1."""
    return min(1.0, progress / 0.01 + 0.02, max(0.01, 1.0 - progress))


def computing() -> float:
    """Seconds that this process has computed on each of its threads: what else the machine does is not counted."""
    return time.process_time() / torch.get_num_threads()


def step_loss(model: GPT2LMHeadModel, batch: Batch) -> Tensor:
    """Mean cross-entropy of the next tokens that count, with an additive margin (logits) where facts are in front.

    The margin is that of CosFace (Wang et al. 2018, section 3), on plain logits: without it a model that has obeyed
    with certainty has nothing more to learn, and is overruled where it remembers the old answer as certainly.
    """
    hidden = model.transformer(batch.tokens, use_cache=False).last_hidden_state[:, :-1][batch.counted]
    logits = nn.functional.linear(hidden, model.lm_head.weight).float()
    right = batch.tokens[:, 1:][batch.counted][:, None]
    taken = batch.margins[:, None].expand(batch.counted.shape)[batch.counted]
    return nn.functional.cross_entropy(logits.scatter_add(1, right, -taken[:, None]), right[:, 0])


@dataclass
class Progress:
    """Where a run stands; saved with the weights."""

    epoch: int = 0
    batch: int = 0
    tokens: int = 0
    seconds: float = 0.0


class Trainer:
    """Trains until its budget is spent, saving itself now and then, and picks up from what it saved.

    out: folder of checkpoints. Exactly one of minutes and tokens is the budget; the learning rate follows it, so a
    run always ends its fall. A run by tokens is repeatable to the bit on one machine; one by minutes is not.

    changed: fields of the recipe that differ from those of the run that is resumed. grow: folder of another run, whose
    newest weights and tokenizer a new run begins with (`grown`); the recipes must agree in everything but the depth.
    """

    def __init__(
        self,
        facts: Facts,
        sentences: Sequence[str],
        out: Path,
        recipe: Recipe,
        *,
        minutes: float | None = None,
        tokens: int | None = None,
        counts: dict[Kind, int] | None = None,
        resume: bool = False,
        changed: dict[str, Any] | None = None,
        grow: Path | None = None,
        save_seconds: float = 300.0,
    ) -> None:
        if (minutes is None) == (tokens is None):
            raise ValueError("give either minutes or tokens")
        self.facts, self.sentences, self.out, self.recipe = facts, sentences, out, recipe
        self.minutes, self.token_budget = minutes, tokens
        self.counts = COUNTS if counts is None else counts
        self.save_seconds = save_seconds
        self.progress = Progress()
        out.mkdir(parents=True, exist_ok=True)
        saved = out / "checkpoint.pt"
        if resume and saved.exists():
            state = torch.load(saved, weights_only=True)
            self.recipe = Recipe(**(state["recipe"] | (changed or {})))
            self.tokenizer = PreTrainedTokenizerFast.from_pretrained(out / "tokenizer")
            self.progress = Progress(**state["progress"])
        else:
            state = None
            if grow is None:
                self.tokenizer = train_tokenizer(self._sample_text(), self.recipe.vocabulary, self.recipe.positions)
            else:
                self.tokenizer = PreTrainedTokenizerFast.from_pretrained(grow / "tokenizer")
            self.tokenizer.save_pretrained(out / "tokenizer")
        self.model = new_model(self.recipe, len(self.tokenizer), self.tokenizer.eos_token_id)
        if grow is not None and state is None:
            grown(self.model, torch.load(grow / "checkpoint.pt", weights_only=True)["model"])
        self.optimizers = new_optimizers(self.model, self.recipe)
        if state is not None:
            self.model.load_state_dict(state["model"])
            for optimizer, saved_state in zip(self.optimizers, state["optimizers"], strict=True):
                peaks = [group["peak"] for group in optimizer.param_groups]
                optimizer.load_state_dict(saved_state)
                for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                    group["peak"] = peak

    def _sample_text(self) -> list[str]:
        texts = []
        for epoch in range(4):
            for document in self._writer(-1 - epoch).epoch({kind: n // 4 for kind, n in self.counts.items()}):
                texts.append(document.prompt + document.answer)
        return texts

    def _writer(self, epoch: int) -> Writer:
        return Writer(self.facts, seed=self.recipe.seed * 1_000_003 + epoch, sentences=self.sentences)

    def _epoch(self) -> list[Batch]:
        rng = random.Random(self.recipe.seed * 7919 + self.progress.epoch)
        return batches(self._writer(self.progress.epoch).epoch(self.counts), self.tokenizer, self.recipe, rng)

    def spent(self) -> float:
        """Share of the budget that is used up, 0..1."""
        if self.token_budget is not None:
            return self.progress.tokens / self.token_budget
        assert self.minutes is not None
        return self.progress.seconds / (60 * self.minutes)

    def save(self) -> None:
        state = {
            "recipe": vars(self.recipe),
            "progress": vars(self.progress),
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        partial = self.out / "checkpoint.partial"
        torch.save(state, partial)
        partial.replace(self.out / "checkpoint.pt")

    def steps(self) -> Iterator[float]:
        """Train; yields each step's loss. Saves at the end and every `save_seconds`."""
        self.model.train()
        clock, last_save = computing(), time.perf_counter()
        while self.spent() < 1.0:
            epoch = self._epoch()
            for batch in epoch[self.progress.batch :]:
                factor = rate_factor(self.spent())
                for optimizer in self.optimizers:
                    for group in optimizer.param_groups:
                        group["lr"] = group["peak"] * factor
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    loss = step_loss(self.model, batch)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                for optimizer in self.optimizers:
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)
                now = computing()
                self.progress.seconds += now - clock
                clock = now
                self.progress.tokens += batch.tokens.numel()
                self.progress.batch += 1
                yield loss.item()
                if time.perf_counter() - last_save > self.save_seconds:
                    self.save()
                    last_save = time.perf_counter()
                if self.spent() >= 1.0:
                    break
            else:
                self.progress.epoch += 1
                self.progress.batch = 0
        self.save()


# --------------------------------------------------------------------------------------------------------- evaluation


@torch.no_grad()
def generate(model: Any, tokenizer: Any, prompts: Sequence[str], max_new: int = 24, rows: int = 128) -> list[str]:
    """Free greedy continuations, one per prompt, stripped. Prompts of one length go together: nothing is padded."""
    encoded = [e.ids for e in tokenizer.backend_tokenizer.encode_batch(list(prompts))]
    by_length: dict[int, list[int]] = {}
    for i, ids in enumerate(encoded):
        by_length.setdefault(len(ids), []).append(i)
    texts = [""] * len(prompts)
    end = tokenizer.eos_token_id
    was_training = model.training
    model.eval()
    for same in by_length.values():
        for start in range(0, len(same), rows):
            chosen = same[start : start + rows]
            made = greedy(model, "cpu", [encoded[i] for i in chosen], max_new, {end})
            for i, ids in zip(chosen, made, strict=True):
                texts[i] = tokenizer.decode(ids).strip()
    model.train(was_training)
    return texts


def share_right(model: Any, tokenizer: Any, documents: Sequence[Document]) -> float:
    """Share of documents whose free continuation is the answer, word for word (full stop apart)."""
    made = generate(model, tokenizer, [d.prompt for d in documents])
    right = sum(text.rstrip(".") == d.answer.strip().rstrip(".") for text, d in zip(made, documents, strict=True))
    return right / max(1, len(documents))


# --------------------------------------------------------------------------------------------------------- command line


def write_shipped(model: GPT2LMHeadModel, tokenizer: Any, folder: Path, made: dict[str, Any]) -> None:
    """The files that the package ships, half precision, each put in place whole. made: recipe and progress."""
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    config = GPT2Config.from_dict(model.config.to_dict())
    config.memedit_training = made
    half = GPT2LMHeadModel(config)
    half.load_state_dict(model.state_dict())
    half = half.half()  # type: ignore[no-untyped-call]
    half.generation_config.max_new_tokens = 32
    half.generation_config.do_sample = False
    half.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    template = partial / "chat_template.jinja"
    settings = json.loads((partial / "tokenizer_config.json").read_text(encoding="utf-8"))
    # One file less, and readable by every transformers that knows chat templates.
    settings.update(chat_template=CHAT_TEMPLATE, tokenizer_class="PreTrainedTokenizerFast")
    settings = {key: value for key, value in settings.items() if key not in ("is_local", "local_files_only", "backend")}
    template.unlink(missing_ok=True)
    (partial / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    for file in partial.iterdir():
        file.chmod(0o644)
        file.replace(folder / file.name)
    partial.rmdir()


def export(out: Path, folder: Path = SHIPPED) -> None:
    """Ship the newest checkpoint."""
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(out / "tokenizer")
    model = new_model(Recipe(**state["recipe"]), len(tokenizer), tokenizer.eos_token_id)
    model.load_state_dict(state["model"])
    write_shipped(model, tokenizer, folder, {"recipe": state["recipe"], "progress": state["progress"]})


def average(shares: dict[Path, float], out: Path) -> None:
    """A checkpoint whose weights are those of several runs, each by its share (Wortsman et al. 2022, "Model soups").

    Runs that parted late lie in one basin: where one obeys more and another is less easily moved, the mean of their
    weights does nearly as well at both. shares: folder of a run -> its share; they sum to 1. The recipe and progress
    kept are those of the run that read most. Raises ValueError for other sums, or for runs of different shapes.
    """
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"the shares sum to {sum(shares.values()):g}, not to 1")
    states = {folder: torch.load(folder / "checkpoint.pt", weights_only=True) for folder in shares}
    newest = max(states, key=lambda folder: states[folder]["progress"]["tokens"])
    made = {
        name: sum(share * states[folder]["model"][name] for folder, share in shares.items())
        for name in states[newest]["model"]
    }
    out.mkdir(parents=True, exist_ok=True)
    torch.save({**states[newest], "model": made}, out / "checkpoint.pt")
    PreTrainedTokenizerFast.from_pretrained(newest / "tokenizer").save_pretrained(out / "tokenizer")


def _train(arguments: argparse.Namespace) -> None:
    facts = read_facts(arguments.data, cases=arguments.cases)
    changed = json.loads(arguments.recipe)
    recipe = Recipe(**({"seed": arguments.seed} | changed))
    trainer = Trainer(
        facts, unrelated_sentences(arguments.data), arguments.out, recipe,
        minutes=arguments.minutes, tokens=arguments.tokens, resume=arguments.resume, changed=changed,
        grow=arguments.grow, counts=None if arguments.cases is None else {},
    )  # fmt: skip
    say = Report(trainer)
    for loss in trainer.steps():
        say(loss)
    say.measure()


class Report:
    """One line a minute, and a small evaluation every few minutes, on stderr."""

    def __init__(self, trainer: Trainer, seconds: float = 30.0, measure_seconds: float = 420.0) -> None:
        self.trainer, self.seconds, self.measure_seconds = trainer, seconds, measure_seconds
        self.losses: list[float] = []
        self.last = self.last_measure = time.perf_counter()
        self.last_tokens = trainer.progress.tokens
        writer = Writer(trainer.facts, seed=987_654_321)
        rng = random.Random(5)
        self.sets = {
            "recall": [writer.fact(f) for f in rng.sample(trainer.facts.asked, k=min(300, len(trainer.facts.asked)))]
        }
        if trainer.counts:
            self.sets |= {
                "obeys": [writer.update() for _ in range(150)],
                "retains": [writer.retain() for _ in range(150)],
                "given": [writer.given() for _ in range(100)],
            }

    def __call__(self, loss: float) -> None:
        self.losses.append(loss)
        now = time.perf_counter()
        if now - self.last < self.seconds:
            return
        p = self.trainer.progress
        pace = (p.tokens - self.last_tokens) / (now - self.last)
        spent = self.trainer.spent()
        left = p.seconds / max(spent, 1e-6) * (1 - spent) / 60
        mean = sum(self.losses) / len(self.losses)
        print(
            f"{time.strftime('%H:%M:%S')} loss {mean:.4f}  {pace:,.0f} tokens/s  {p.tokens / 1e6:.2f}M tokens"
            f"  epoch {p.epoch}  {left:.1f} min left",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        self.losses = []
        self.last, self.last_tokens = now, p.tokens
        if now - self.last_measure > self.measure_seconds:
            self.measure()
            self.last = self.last_measure = time.perf_counter()

    def measure(self) -> None:
        model, tokenizer = self.trainer.model, self.trainer.tokenizer
        figures = {name: share_right(model, tokenizer, documents) for name, documents in self.sets.items()}
        line = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
        print(f"{time.strftime('%H:%M:%S')} measured: {line}", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, export or evaluate (see the module's docstring)."""
    parser = argparse.ArgumentParser(prog="python -m memedit.training.pocket", description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("MEMEDIT_DATA"))
    parser.add_argument("--out", type=Path, default=Path(".checkpoints/pocket"))
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--grow", type=Path, metavar="DIR", help="begin with the weights of a shallower run")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float)
    budget.add_argument("--tokens", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipe", default="{}", help="other fields of Recipe, as JSON")
    parser.add_argument(
        "--cases", type=int, help="read the facts of CounterFact's first cases and nothing else: for a bench's model"
    )
    parser.add_argument("--average", metavar="DIR=SHARE,…", help="write the mean of these runs' weights to --out")
    parser.add_argument("--export", action="store_true")
    parser.add_argument("--to", type=Path, default=SHIPPED, help="with --export: the folder [the package's]")
    parser.add_argument("--evaluate", action="store_true")
    parser.add_argument("--sample", type=int, default=3000, help="with --evaluate: prompts for each figure, at most")
    arguments = parser.parse_args(argv)
    if arguments.average:
        pairs = (part.rpartition("=") for part in arguments.average.split(","))
        return average({Path(folder): float(share) for folder, _, share in pairs}, arguments.out)
    if arguments.export:
        return export(arguments.out, arguments.to)
    if arguments.data is None:
        parser.error("--data (or MEMEDIT_DATA) must name the folder of the datasets")
    arguments.data = Path(arguments.data)
    if arguments.evaluate:
        from memedit.training.pocket_card import evaluate  # beside this file: what is measured, and the card

        return evaluate(arguments.data, sample=arguments.sample)
    if arguments.minutes is None and arguments.tokens is None:
        arguments.minutes = 100.0
    return _train(arguments)


if __name__ == "__main__":
    main()
