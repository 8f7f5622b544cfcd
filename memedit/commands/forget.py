"""Forget private texts (right to be forgotten)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memedit import terminal
from memedit.cli import Session, verb
from memedit.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from memedit.weights.exposure import Exposure

METHODS: dict[str, dict[str, Any]] = {"depn": {}, "kn": {"operation": "erase"}}
"""Methods that forget, and what they are told for it."""


@verb(
    'memedit forget "Ann Doe lives at 12 Elm Row" --secret "12 Elm Row"\n'
    'memedit forget "Ann Doe lives at 12 Elm Row" --out forget.safetensors',
    name="forget",
    json=True,
)
@click.argument("texts", nargs=-1, metavar="TEXT...")
@click.option("--secret", metavar="PART", help="What of the texts is private [a fact's target, else nearly all].")
@click.option("--file", type=click.Path(path_type=Path), metavar="FILE", help="More texts, one a line.")
@click.option("--method", type=click.Choice(list(METHODS)), default="depn", help="How to forget [depn].")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting of the method.")
@click.option("--model", metavar="SPEC", help="pocket or hf:NAME_OR_PATH [env: MEMEDIT_MODEL].")
@click.option("--keep", multiple=True, metavar="TEXT", help="A text that must survive: measured before and after.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Picture of the attributions (PNG).")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Put the change there [the journal].")
def command(
    session: Session,
    texts: tuple[str, ...],
    secret: str | None,
    file: Path | None,
    method: str,
    settings: tuple[str, ...],
    model: str | None,
    keep: tuple[str, ...],
    plot: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Forget private texts (right to be forgotten).

    The neurons that carry the texts together are found and silenced. The model itself is not written: the change goes
    into the journal as an edit, which says nothing of the texts and is undone as any; or, with --out, into a file.
    """
    if file is not None and not file.is_file():
        raise NotFoundError(f"there is no file {file}")
    lines = file.read_text(encoding="utf-8").splitlines() if file is not None else []
    wanted = [text for text in (*texts, *lines) if text.strip()]
    if not wanted:
        raise InputError("say what is to be forgotten: TEXT or --file FILE")
    from memedit.methods import make
    from memedit.methods._settings import given as given_settings
    from memedit.weights.change import edited
    from memedit.weights.exposure import exposures, private
    from memedit.weights.language_model import load

    requests = [private(text, secret) for text in wanted]
    kept = [private(text) for text in keep]
    given = {**METHODS[method], **given_settings(settings)}
    made, spec = make(method, **given), session.settings(model=model).model
    if out is None:
        from memedit.baking import forget

        with session.open(create=True) as memory:
            edit, held, change = forget(
                memory, requests, model=spec, method=method, settings=given, namespace=session.scope_of
            )
    else:
        held = load(spec)
        change = made.fit(held, requests)
        change.save(out)
    after, where = edited(held, change), edit.id if out is None else out
    report: dict[str, Any] = {
        "method": method,
        "change": where,
        "neurons": sum(delta.rank or 0 for delta in change.deltas),
        "forgotten": [
            {"text": text, "secret": request.target, "before": b, "after": a}
            for text, request, b, a in zip(
                wanted, requests, exposures(held, requests), exposures(after, requests), strict=True
            )
        ],
        "kept": [
            {"text": text, "before": b.perplexity, "after": a.perplexity}
            for text, b, a in zip(keep, exposures(held, kept), exposures(after, kept), strict=True)
        ],
    }
    if plot is not None:
        plot.write_bytes(_picture(held, made, requests))
    if as_json:
        terminal.emit(report)
        return
    session.notice(f"{report['neurons']} neurons are silenced by the change {where}; the model itself is as it was")
    known = [one for one in report["forgotten"] if one["after"].mrr == 1]
    if known:
        session.notice(
            f"{len(known)} of {len(wanted)} are still what the model says: silence more neurons (--set neurons=N), or "
            "forget unlike texts one at a time"
        )
    rows = [(one["text"], *_columns(one["before"], one["after"])) for one in report["forgotten"]]
    rows += [(f"(kept) {one['text']}", f"{one['before']:.3g} → {one['after']:.3g}", "", "") for one in report["kept"]]
    terminal.table(("text", "perplexity", "reciprocal rank", "exposure"), rows, wide=0)


def _columns(before: Exposure, after: Exposure) -> tuple[str, str, str]:
    return (
        f"{before.perplexity:.3g} → {after.perplexity:.3g}",
        f"{before.mrr:.2f} → {after.mrr:.2f}",
        f"{before.exposure:.1f} → {after.exposure:.1f}",
    )


def _picture(model: Any, method: Any, requests: Any) -> bytes:
    from memedit.methods.depn import attributions
    from memedit.weights.plots import attribution_map

    scores = attributions(model, requests, steps=method.steps).mean(0)
    located = method.locate(model, requests)
    chosen = located if isinstance((located or [()])[0], tuple) else [n for neurons in located for n in neurons]
    return attribution_map(scores, chosen, f"{len(requests)} texts, mean attribution")
