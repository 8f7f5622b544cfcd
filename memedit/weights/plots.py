"""Pictures of traces and attributions as PNG; the figures themselves are made next door, and are JSON-ready there."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from memedit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from memedit.weights.causal_trace import AverageTrace, Traced

COLOURS = {"state": "Purples", "mlp": "Greens", "attention": "Reds"}
"""Restoration -> colour map, as in the paper; what is severed has its state's."""


def heat_map(traced: Traced) -> bytes:
    """A panel for each restoration, tokens down and layers across; the subject's tokens have an asterisk."""
    start, end = traced.span
    labels = [f"{text}*" if start <= at < end else text for at, text in enumerate(traced.tokens)]
    figure, panels = _panels(len(traced.restored), height=1.2 + 0.24 * len(labels))
    for axes, kind in zip(panels, traced.restored, strict=True):
        _map(figure, axes, kind, traced.restored[kind], labels, f"p({traced.answer})", traced.window)
        axes.images[0].set_clim(min(traced.corrupted, float(traced.restored[kind].min())))
    figure.suptitle(f"{traced.prompt}   {traced.clean:.3f} clean, {traced.corrupted:.3f} corrupted", fontsize=9)
    return _png(figure)


def average_heat_map(trace: AverageTrace) -> bytes:
    """As `heat_map`, tokens by their roles; below, the lines of each role with their confidence intervals."""
    from memedit.weights.causal_trace import ROLES

    figure, grid = _panels(len(trace.mean), height=6.5, rows=2)
    for above, below, kind in zip(grid[: len(trace.mean)], grid[len(trace.mean) :], trace.mean, strict=True):
        _map(figure, above, kind, trace.mean[kind], list(ROLES), "AIE", trace.window)
        layers = range(trace.mean[kind].shape[1])
        for number, role in enumerate(ROLES):
            below.plot(layers, trace.mean[kind][number], label=role, linewidth=1, marker=".", color=f"C{number}")
            below.fill_between(layers, trace.low[kind][number], trace.high[kind][number], alpha=0.2, color=f"C{number}")
        below.set(xlabel="layer", ylabel="average indirect effect", xticks=list(layers))
        below.tick_params(labelsize=7)
    grid[-1].legend(fontsize=6)
    figure.suptitle(f"{trace.prompts} prompts; {trace.clean:.3f} clean, {trace.corrupted:.3f} corrupted", fontsize=9)
    return _png(figure)


def attribution_map(scores: Tensor, chosen: Sequence[tuple[int, int]], title: str) -> bytes:
    """Each neuron's attribution by its layer, those chosen marked. scores: (layers, neurons)."""
    import numpy as np

    figure, (axes,) = _panels(1, height=4.0)
    values = scores.double().numpy()
    layers = np.repeat(np.arange(values.shape[0]), values.shape[1])
    axes.scatter(layers, values.ravel(), s=4, color="#bbb", label="neurons")
    if chosen:
        axes.scatter(
            [at[0] for at in chosen], [values[at] for at in chosen], s=14, color="C3", label=f"chosen ({len(chosen)})"
        )
    axes.set(xlabel="layer", ylabel="attribution", xticks=range(values.shape[0]))
    axes.legend(fontsize=7)
    figure.suptitle(title[:110], fontsize=9)
    return _png(figure)


def _map(figure: Any, axes: Any, kind: str, values: Any, labels: Sequence[str], scale: str, window: int) -> None:
    from memedit.weights.causal_trace import RESTORATIONS

    colours = COLOURS[kind] if kind in COLOURS else COLOURS["state"]
    image = axes.imshow(values, aspect="auto", cmap=colours, interpolation="nearest")
    # A dollar would begin a formula.
    axes.set_yticks(range(len(labels)), [label.replace("$", r"\$") for label in labels], fontsize=7)
    axes.set_xticks(range(values.shape[1]))
    axes.tick_params(axis="x", labelsize=7)
    layers = "1 layer" if window == 1 else f"{window} layers"
    axes.set_title(RESTORATIONS[kind].format(window=layers), fontsize=7)
    axes.set_xlabel("centre of the window" if "{window}" in RESTORATIONS[kind] else "layer", fontsize=8)
    bar = figure.colorbar(image, ax=axes)
    bar.set_label(scale.replace("$", r"\$"), fontsize=7)
    bar.ax.tick_params(labelsize=6)


def _panels(count: int, *, height: float, rows: int = 1) -> tuple[Any, list[Any]]:
    try:
        # not pyplot: it picks a window system and keeps every figure
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("a picture needs matplotlib: pip install 'memedit[bench]', or ask for --json") from error
    figure = Figure(figsize=(4.2 * count, height), layout="constrained")
    return figure, list(figure.subplots(rows, count, squeeze=False).flat)


def _png(figure: Any) -> bytes:
    made = io.BytesIO()
    figure.savefig(made, format="png", dpi=120, metadata={"Software": None})
    return made.getvalue()
