"""Trace which states of a model carry a fact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from memedit import terminal
from memedit.cli import Session, verb
from memedit.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from memedit.weights.causal_trace import AverageTrace, Traced


@verb(
    'memedit trace "The Eiffel Tower is in" --subject "The Eiffel Tower"\n'
    "memedit trace --average known_facts.json --out average.png",
    name="trace",
    json=True,
)
@click.argument("prompt", required=False)
@click.option("--subject", metavar="TEXT", help="What the prompt is about, as it stands in it.")
@click.option("--answer", metavar="TEXT", help="The answer whose probability is traced [what the model says].")
@click.option("--average", type=click.Path(path_type=Path), metavar="FILE", help="Average over a file of prompts.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Of the file, the first N that it knows.")
@click.option("--model", metavar="SPEC", help="pocket or hf:NAME_OR_PATH [env: MEMEDIT_MODEL].")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Where to write the picture (PNG).")
@click.option("--samples", type=click.IntRange(min=1), default=10, metavar="N", help="Samples of the noise [10].")
@click.option("--strength", type=float, default=3.0, metavar="X", help="Noise in spreads of the embeddings [3].")
@click.option("--window", type=click.IntRange(min=1), metavar="N", help="Layers restored together [by depth, to 10].")
@click.option("--severed", is_flag=True, help="Also restore states with the later MLPs or attention cut off.")
@click.option("--seed", type=int, default=0, metavar="N", help="Seed of the noise [0].")
def command(
    session: Session,
    prompt: str | None,
    subject: str | None,
    answer: str | None,
    average: Path | None,
    limit: int | None,
    model: str | None,
    out: Path | None,
    samples: int,
    strength: float,
    window: int | None,
    severed: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Trace which states carry a fact.

    Noise on the subject's tokens makes the model forget; states of the clean run, put back one by one, show by what
    they win back where the fact is read. FILE is a JSON list or JSON lines of {"prompt", "subject", "attribute"}.
    """
    if (average is None) == (prompt is None or subject is None):
        raise InputError("say a PROMPT and its --subject, or --average FILE")
    if average is not None and not average.is_file():
        raise NotFoundError(f"there is no file {average}")
    from memedit.weights import plots
    from memedit.weights.causal_trace import RESTORATIONS, CausalTrace, Prompt, prompts_of
    from memedit.weights.language_model import load

    kinds = tuple(RESTORATIONS)[: None if severed else 3]
    tracer = CausalTrace(samples=samples, strength=strength, window=window, kinds=kinds, seed=seed)
    prompts = prompts_of(average.read_text(encoding="utf-8")) if average is not None else []
    held = load(session.settings(model=model).model)
    with session.progress("tracing") as report:
        if average is not None:
            mean, _ = tracer.average(held, prompts, limit=limit, progress=report)
            picture, figures = plots.average_heat_map, mean
        else:
            one = tracer.trace(held, Prompt(prompt or "", subject or "", answer), progress=report)
            picture, figures = plots.heat_map, one  # type: ignore[assignment]
    if out is not None:
        out.write_bytes(picture(figures))
        session.notice(f"the picture is in {out}")
    if as_json:
        terminal.emit(figures.as_json())
    else:
        _show(session, figures)


def _show(session: Session, figures: Traced | AverageTrace) -> None:
    """The strongest layer of each kind and token, and what it wins back."""
    from memedit.weights.causal_trace import ROLES, Traced

    single = isinstance(figures, Traced)
    about = f"says {figures.answer!r}" if isinstance(figures, Traced) else f"{figures.prompts} prompts"
    session.notice(f"{about}: {figures.clean:.3f} clean, {figures.corrupted:.3f} corrupted")
    names = figures.tokens if isinstance(figures, Traced) else ROLES
    rows = []
    for kind in figures.restored if isinstance(figures, Traced) else figures.mean:
        effects = figures.effect(kind) if isinstance(figures, Traced) else figures.mean[kind]
        for name, line in zip(names, effects, strict=True):
            if line[0] == line[0]:  # a role that no token has is NaN
                rows.append((kind, name.strip(), int(line.argmax()), f"{line.max():.3f}"))
    terminal.table(("restored", "token" if single else "role", "best layer", "effect"), rows, wide=1)
