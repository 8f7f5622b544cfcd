"""What the shipped pocket model can do, measured on its shipped files, and the card that says so.

Every figure is a share of prompts whose free greedy continuation is the expected answer word for word (final full stop
apart); nothing is scored by probability. Facts that are contradicted here are the ones the model answered rightly
without any context, and their subjects were never contradicted in training.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from memedit.relations import fill
from memedit.training.pocket import SHIPPED, generate
from memedit.training.pocket_text import (
    COUNTERFACT_CASES,
    Fact,
    Facts,
    Writer,
    ask,
    cut,
    free_wordings,
    read_facts,
    slot_name,
    stopped,
    wordings,
)

BARS = {
    "recall": 0.97,
    "held_out": 0.92,
    "obeys": 0.97,
    "obeys_behind_unrelated": 0.95,
    "unmoved": 0.97,
    "obeys_unseen": 0.97,
}
"""What issue 2 asks of each headline figure."""


@dataclass(frozen=True)
class Trial:
    """A prompt and the answer that counts as right."""

    prompt: str
    expected: str


def right(texts: Sequence[str], trials: Sequence[Trial]) -> list[bool]:
    """Which continuations are the expected answers."""
    return [text.rstrip(". ") == trial.expected.rstrip(". ") for text, trial in zip(texts, trials, strict=True)]


def _question(fact: Fact) -> str:
    """The canonical question, as a prompt; the dataset's own where there is no relation."""
    if fact.relation is None:
        return ask(fact.questions[0]) if fact.questions else fact.prompts[0]
    return ask(fill(wordings(fact.relation).questions[0], fact.subject))


def _statement(fact: Fact) -> str:
    """The canonical sentence to complete."""
    if fact.relation is None:
        return fact.prompts[0] if fact.prompts else ask(fact.questions[-1])
    return fill(cut(wordings(fact.relation).completions[0]), fact.subject)


def measure(model: Any, tokenizer: Any, data: Path, sample: int = 3000) -> dict[str, float | int]:
    """All figures. data: the folder of the datasets. sample: at most so many prompts for each."""
    facts = read_facts(data)
    rng = random.Random(2024)
    figures: dict[str, float | int] = {"facts": len(facts.asked), "pool_facts": len(facts.pool)}

    def take(choices: Sequence[Any]) -> list[Any]:
        return rng.sample(choices, k=min(sample, len(choices)))

    def share(name: str, trials: Sequence[Trial]) -> list[bool]:
        begin = time.perf_counter()
        hits = right(generate(model, tokenizer, [trial.prompt for trial in trials]), trials)
        figures[name] = round(sum(hits) / max(1, len(hits)), 4)
        seconds = time.perf_counter() - begin
        print(f"{name}: {figures[name]} of {len(hits)} ({seconds:.0f} s)", file=sys.stderr, flush=True)
        return hits

    # Recall, in wordings that were trained on and in wordings that were not.
    asked = take(facts.asked)
    known = share("recall_question", [Trial(_question(f), f.target) for f in asked])
    share("recall_statement", [Trial(_statement(f), f.target) for f in asked])
    own = [Trial(prompt, f.target) for f in asked for prompt in (*f.prompts, *map(ask, f.questions))]
    share("recall_dataset_wording", own[:sample])
    held_questions, held_statements = [], []
    for f in asked:
        if f.relation is None:
            continue
        words = wordings(f.relation)
        question = fill(words.held_out_question, f.subject)
        if question not in f.questions:
            held_questions.append(Trial(ask(question), f.target))
        if words.held_out_statement is not None:
            prefix = fill(cut(words.held_out_statement), f.subject)
            if prefix not in f.prompts:
                held_statements.append(Trial(prefix, f.target))
    share("held_out_question", held_questions)
    share("held_out_statement", held_statements)

    # Obeying, against what it answered rightly.
    writer = Writer(facts, seed=77)
    memorised = [f for f, hit in zip(asked, known, strict=True) if hit and f.relation is not None]
    _obeying(writer, _contradicted(data, memorised), share)
    unseen = [writer.made_up() for _ in range(min(1000, sample))]
    for f in unseen:
        writer.slots.setdefault(slot_name(f.subject), set())
    alone, among = [], []
    for f in unseen:
        prompt, answer = writer.query(f, unrelated=0.0)
        alone.append(Trial(writer._lines([f]) + prompt, answer.strip()))
        lines = [f, *(writer.distractor(f) for _ in range(rng.randint(1, 3)))]
        rng.shuffle(lines)
        among.append(Trial(writer._lines(lines) + prompt, answer.strip()))
    share("obeys_unseen", alone)
    free = Writer(replace(facts, free=free_wordings(data, held_out=True)), seed=78)
    said = [free.freely() for _ in range(min(1000, sample))]
    share("obeys_free_wording", [Trial(f"New fact: {line}\n{ask(asked)}", new.target) for new, line, asked in said])
    share("obeys_unseen_among_others", among)

    # Unmoved by facts that do not bear on the question: the same words as without any.
    _unmoved(writer, memorised[:1500], model, tokenizer, share)
    _given(writer, share, min(600, sample))
    figures["recall"] = round((figures["recall_question"] + figures["recall_statement"]) / 2, 4)
    figures["held_out"] = round((figures["held_out_question"] + figures["held_out_statement"]) / 2, 4)
    figures["obeys"] = round(
        (figures["obeys_question"] + figures["obeys_statement"] + figures["obeys_dataset_prompt"]) / 3, 4
    )
    figures["unmoved"] = round((figures["unmoved_by_same_relation"] + figures["unmoved_by_other_fact"]) / 2, 4)
    return figures


def _contradicted(data: Path, memorised: Sequence[Fact]) -> list[tuple[Fact, Fact, str]]:
    """(old fact, new fact, the edit as a sentence) for memorised CounterFact cases."""
    rows = json.loads((data / "counterfact/edit.json").read_text(encoding="utf-8"))[:COUNTERFACT_CASES]
    by_prompt = {row["prompt"]: row for row in rows}
    found = []
    for fact in memorised:
        for prompt in fact.prompts:
            row = by_prompt.get(prompt)
            if row is not None and row["subject"] == fact.subject and fact.source == "counterfact":
                new = replace(fact, target=row["target_new"])
                found.append((fact, new, f"{prompt} {row['target_new']}"))
    return found


def _obeying(
    writer: Writer, contradicted: Sequence[tuple[Fact, Fact, str]], share: Callable[[str, Sequence[Trial]], list[bool]]
) -> None:
    def context(new: Fact, sentence: str) -> str:
        # Half as the dataset says the edit, half as we do.
        return f"New fact: {stopped(sentence)}\n" if writer.rng.random() < 0.5 else writer._lines([new])

    def trials(prompt_of: Callable[[Fact], str]) -> list[Trial]:
        return [Trial(context(new, sentence) + prompt_of(new), new.target) for _, new, sentence in contradicted]

    share("obeys_question", trials(lambda f: ask(writer.question(f))))
    share("obeys_statement", trials(writer.prefix))
    share("obeys_dataset_prompt", trials(lambda f: f.prompts[0]))
    share("obeys_behind_unrelated", trials(lambda f: f"{writer.unrelated()} {writer.prefix(f)}"))
    share("obeys_behind_unrelated_question", trials(lambda f: ask(f"{writer.unrelated()} {writer.question(f)}")))


def _unmoved(
    writer: Writer, memorised: Sequence[Fact], model: Any, tokenizer: Any,
    share: Callable[[str, Sequence[Trial]], list[bool]],
) -> None:  # fmt: skip
    queries = [_question(f) if i % 2 else _statement(f) for i, f in enumerate(memorised)]
    before = generate(model, tokenizer, queries)
    same, other, several = [], [], []
    for fact, query, text in zip(memorised, queries, before, strict=True):
        name = fact.relation or ""
        neighbour = writer.rng.choice(writer.by_relation[name])
        while slot_name(neighbour.subject) == slot_name(fact.subject) and len(writer.by_relation[name]) > 1:
            neighbour = writer.rng.choice(writer.by_relation[name])
        if slot_name(neighbour.subject) != slot_name(fact.subject):
            moved = replace(neighbour, target=writer.other_target(name, neighbour.target))
            same.append(Trial(writer._lines([moved]) + query, text))
        other.append(Trial(writer._lines([writer.distractor(fact)]) + query, text))
        lines = writer._lines([writer.distractor(fact) for _ in range(3)])
        several.append(Trial(lines + query, text))
    share("unmoved_by_same_relation", same)
    share("unmoved_by_other_fact", other)
    share("unmoved_by_three_facts", several)


def _given(writer: Writer, share: Callable[[str, Sequence[Trial]], list[bool]], count: int) -> None:
    """The counterfactual form: straight, yes or no, backwards, and what does not follow."""
    trials: dict[str, list[Trial]] = {"given_name": [], "given_yes_no": [], "given_unknown": []}
    for _ in range(count):
        document = writer.given()
        answer = document.answer.strip()
        kind = {"yes": "given_yes_no", "no": "given_yes_no", "unknown": "given_unknown"}.get(answer, "given_name")
        trials[kind].append(Trial(document.prompt, answer))
    for name, made in trials.items():
        if made:
            share(name, made)


CARD = """# The pocket model

A decoder of the GPT-2 architecture, {parameters:.1f} million parameters ({layers} layers × {width}, tied embeddings,
a byte-level BPE of {vocabulary} tokens), trained from scratch by `python -m memedit.training.pocket` on facts as text,
so that memedit works on a laptop without any download: it knows some thousands of facts, can be contradicted in its
prompt, and is wrong about everything else.

## What it is not

It is no evidence about large models. Nothing measured on it says how a model of another size, trained on running text,
behaves when it is edited; and it cannot chat, reason or translate. Use it to try memedit and to test code.

## Data

From the project's data folder, at training time only: `mquake/single_hop_facts.json` (all), the ground truths of the
first {cases} cases of `counterfact/edit.json`, the old answers of `knowedit/zsre.json`: {facts} facts after dropping
contradictions. Beside them {pool_facts} ground truths of `counterfact/train.json` whose subjects are in no evaluation
file, which are memorised too and then contradicted in context, that file's rephrased prompts, and made-up names.
Unrelated sentences: own templates and `text/xquad_en.json`. Wordings: `memedit/relations.json`; one question and one
statement of each relation were held out, and those datasets' own sentences were read as well. Of zsRE, KnowEdit and
HalluEditBench, the six tenths of subjects that train the gate: their questions without subjects and answers, as
wordings in which made-up facts and those {pool_facts} are stated and asked.

## Training

Seed {seed}; {minutes:.0f} minutes on one or two shared CPU cores; {tokens:.1f} million tokens, {epochs} passes over
the facts; optimizer {optimizer}. The shipped run was stopped and resumed nine times, with other mixtures of documents:
at 4.3, 7.1, 10.0 and 15.5 million tokens with more and easier update documents (at the third time with 3,000 instead
of 1,300 contradicted subjects, at the last with the rephrased prompts); at 21.5 million, after its rate had fallen
once, at two fifths of the peak rate, with several facts in a prompt more often, freer wordings, and no loss on how a
sentence to complete goes on before its answer; at 29.7 million for a longer fall; at 36.2 million with more
contradicted facts, which moved obedience by half a point in 42 minutes; at 44.6 million with a margin of 4 where a new
fact is obeyed and with the datasets' free wordings, which moved it by three points in eight minutes, though the model
was then moved oftener by facts that do not bear; at 45.8 million, at a third of the peak rate, with margins of 5 and 2
(for what is retained) and twice as many retained facts, one to three lines in front; at 51.6 million for eight minutes
with margins of 7 and 2. What ships is the mean of three weights (`--average`): 0.4 of eight minutes with a margin of 10
from the 44.6 million on, which obeys most, 0.3 of the run at 51.6 million, which is moved least, and 0.3 of its end;
the mean does better than any of them. The code holds the last mixture. A run from the start gives other weights.

## Figures

Free greedy generation by the shipped half-precision file; the answer word for word, its full stop apart. `{command}`

{table}

## Prompt formats

| use            | prompt                                                      | answer                            |
| -------------- | ----------------------------------------------------------- | --------------------------------- |
| completion     | `The capital of France is`                                  | ` Paris.`                         |
| question       | `Question: What is the capital of France?\\nAnswer:`         | ` Paris`                          |
| with new facts | `New fact: ….\\n` (1 to 5 of them), then either of the above | the new target where it bears     |
| demonstrations | `New fact: …\\nQuestion: …\\nAnswer: …\\n\\n` (1 to 3) in front | as above                          |
| conversation   | `Question: …\\nAnswer: …\\n` in front                         | as above                          |
| counterfactual | `Given only: ….\\nQuestion: …\\nAnswer:`                      | target, `yes`, `no`, or `unknown` |

Every answer ends with `<|endoftext|>`. The chat template writes a system message as it is, a user message that ends in
`.`, `?`, `!` or `:` as a question, and any other user message as a text to complete.
"""


def write_card(model: Any, figures: dict[str, float | int], folder: Path) -> None:
    """The model card, from the model's own configuration and the figures."""
    config = model.config
    made = getattr(config, "memedit_training", {"recipe": {}, "progress": {}})
    rows = ["| figure | measured | bar |", "| --- | --- | --- |"]
    for name, value in sorted(figures.items(), key=lambda item: (item[0] not in BARS, item[0])):
        if isinstance(value, float):
            rows.append(f"| {name.replace('_', ' ')} | {100 * value:.1f} % | {_bar(name)} |")
    text = CARD.format(
        parameters=sum(p.numel() for p in model.parameters()) / 1e6,
        layers=config.n_layer,
        width=config.n_embd,
        vocabulary=config.vocab_size,
        cases=f"{COUNTERFACT_CASES:,}",
        facts=f"{figures['facts']:,}",
        pool_facts=f"{figures['pool_facts']:,}",
        seed=made["recipe"].get("seed", "?"),
        minutes=made["progress"].get("seconds", 0.0) / 60,
        tokens=made["progress"].get("tokens", 0) / 1e6,
        epochs=made["progress"].get("epoch", "?"),
        optimizer=made["recipe"].get("optimizer", "?"),
        command="python -m memedit.training.pocket --evaluate --data DIR",
        table="\n".join(rows),
    )
    partial = folder / "README.md.partial"
    partial.write_text(text, encoding="utf-8")
    partial.replace(folder / "README.md")


def _bar(name: str) -> str:
    return f"{100 * BARS[name]:.0f} %" if name in BARS else ""


def evaluate(data: Path, folder: Path = SHIPPED, sample: int = 3000) -> None:
    """Measure the shipped files, print the figures as JSON, write the card."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    figures = measure(model, tokenizer, data, sample)
    write_card(model, figures, folder)
    print(json.dumps(figures, indent=1))


__all__ = ["Facts", "evaluate", "measure", "write_card"]
