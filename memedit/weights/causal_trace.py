"""Causal tracing: which hidden states, restored to what they were, bring a fact back that noise has wiped out.

As in Meng et al. 2022, "Locating and Editing Factual Associations in GPT", section 2. Three runs: clean; corrupted,
with Gaussian noise on the embeddings of the subject's tokens; corrupted with restoration, where some states of the
clean run are put back. What a restoration wins back of the answer's probability is its indirect effect. Attribution,
next door, asks about single neurons, by gradients.

All tokens of a layer and all samples of the noise go through the model in one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from memedit.errors import InputError
from memedit.weights.layout import layout_of
from memedit.weights.prediction import log_probabilities, predictions_of, target_log_probabilities
from memedit.weights.tokens import subject_span
from memedit.weights.trace import Trace, by_token

if TYPE_CHECKING:  # torch costs more than a second; who has a model has paid already
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from memedit.weights.language_model import LanguageModel

Progress = Callable[[int, int | None], None]

RESTORATIONS: dict[str, str] = {
    "state": "one state restored",
    "mlp": "MLP outputs of {window} restored",
    "attention": "attention outputs of {window} restored",
    "state_without_mlp": "one state restored, the token's later MLPs kept as corrupted",
    "state_without_attention": "one state restored, the token's later attention kept as corrupted",
}
"""What is restored -> its title. The last two sever a path: what the state then still does, it does without it."""

ROLES: tuple[str, ...] = (
    "first subject token",
    "middle subject tokens",
    "last subject token",
    "first subsequent token",
    "further tokens",
    "last token",
)
"""What a token is in its prompt: the rows of an average. A subject of one token is its last; a prompt's last token is
the last token, whatever else it is, save a subject token."""


@dataclass(frozen=True)
class Prompt:
    """A prompt to be traced; `attribute` is the answer expected, None: whatever the model says."""

    prompt: str
    subject: str
    attribute: str | None = None


@dataclass(frozen=True, eq=False)
class Traced:
    """One prompt's trace. Probabilities are of the first token of the answer, means over the samples of the noise."""

    prompt: str
    subject: str
    answer: str
    """The token whose probability is traced, as text."""
    predicted: bool
    """Whether it is what the model says."""
    tokens: tuple[str, ...]
    """The prompt's tokens as text."""
    span: tuple[int, int]
    """The subject's tokens, end exclusive."""
    clean: float
    corrupted: float
    restored: Mapping[str, NDArray[np.float64]]
    """Kind -> (tokens, layers) probability with the token's states restored around or at the layer."""
    window: int
    """Layers in a window of the kinds mlp and attention, centred on the layer, cut off at the ends."""
    noise: float
    """Standard deviation of the noise."""

    @property
    def total_effect(self) -> float:
        """What the noise takes away."""
        return self.clean - self.corrupted

    def effect(self, kind: str) -> NDArray[np.float64]:
        """(tokens, layers) indirect effects: what each restoration wins back."""
        return self.restored[kind] - self.corrupted

    def roles(self) -> tuple[str, ...]:
        """Each token's role, one of ROLES, or "" for a token before the subject."""
        start, end = self.span
        last = len(self.tokens) - 1
        names = []
        for at in range(len(self.tokens)):
            if start <= at < end:
                names.append(ROLES[2] if at == end - 1 else ROLES[0] if at == start else ROLES[1])
            else:
                names.append("" if at < start else ROLES[5] if at == last else ROLES[3] if at == end else ROLES[4])
        return tuple(names)

    def as_json(self) -> dict[str, Any]:
        """Everything, JSON-ready; "effects": {kind: [token][layer]}."""
        return {
            "prompt": self.prompt,
            "subject": self.subject,
            "answer": self.answer,
            "predicted": self.predicted,
            "tokens": list(self.tokens),
            "subject_tokens": list(self.span),
            "clean": self.clean,
            "corrupted": self.corrupted,
            "total_effect": self.total_effect,
            "noise": self.noise,
            "window": self.window,
            "effects": {kind: self.effect(kind).tolist() for kind in self.restored},
        }


@dataclass(frozen=True, eq=False)
class AverageTrace:
    """Indirect effects averaged over prompts, by the tokens' roles. NaN where no prompt has such a token."""

    prompts: int
    """How many were averaged."""
    skipped: int
    """How many were left out: the model does not predict their attribute."""
    clean: float
    corrupted: float
    mean: Mapping[str, NDArray[np.float64]]
    """Kind -> (roles, layers) average indirect effect."""
    low: Mapping[str, NDArray[np.float64]]
    """The 95 % confidence interval's lower end, by bootstrap over prompts."""
    high: Mapping[str, NDArray[np.float64]]
    """Its upper end."""
    window: int
    noise: float

    def as_json(self) -> dict[str, Any]:
        """Everything, JSON-ready; "effects": {kind: {role: [{"mean", "low", "high"} per layer, null if none]}}."""
        return {
            "prompts": self.prompts,
            "skipped": self.skipped,
            "clean": self.clean,
            "corrupted": self.corrupted,
            "total_effect": self.clean - self.corrupted,
            "noise": self.noise,
            "window": self.window,
            "effects": {
                kind: {role: self._layers(kind, number) for number, role in enumerate(ROLES)} for kind in self.mean
            },
        }

    def _layers(self, kind: str, role: int) -> list[dict[str, float] | None]:
        cells = zip(self.mean[kind][role], self.low[kind][role], self.high[kind][role], strict=True)
        return [None if m != m else {"mean": float(m), "low": float(a), "high": float(b)} for m, a, b in cells]


@dataclass(frozen=True, kw_only=True)
class CausalTrace:
    """How to trace. The same settings and seed give the same trace.

    Raises InputError for a kind that is not in RESTORATIONS, and for settings below their least values.
    """

    samples: int = 10
    """Samples of the noise, 1 or more; each restoration is made under the same ones."""
    strength: float = 3.0
    """Standard deviation of the noise, in standard deviations of the embeddings (`spread`)."""
    window: int | None = None
    """Layers in a window; None: 10, as published for 28 layers and more, and in proportion for shallower models."""
    kinds: tuple[str, ...] = ("state", "mlp", "attention")
    """What to restore, of RESTORATIONS."""
    seed: int = 0
    tokens_at_once: int = 2048
    """Bound on the size of a batch, rows times tokens."""

    def __post_init__(self) -> None:
        if unknown := [kind for kind in self.kinds if kind not in RESTORATIONS]:
            raise InputError(
                f"nothing can be restored that is called {', '.join(unknown)}; there are: {', '.join(RESTORATIONS)}"
            )
        if self.samples < 1 or self.strength < 0 or (self.window is not None and self.window < 1):
            raise InputError("samples and window must be 1 or more, and strength 0 or more")

    def window_of(self, layers: int) -> int:
        """The window's width for a model of so many layers."""
        return self.window or min(10, max(1, round(10 * layers / 28)))

    def trace(
        self, model: LanguageModel, prompt: Prompt, *, spread: float | None = None, progress: Progress | None = None
    ) -> Traced:
        """One prompt's trace; `spread` is that of the embeddings, None: of the model's whole vocabulary.

        Raises InputError where the prompt does not hold the subject.
        """
        return self._traced(_Run(model, prompt, self, spread), progress)

    def average(
        self,
        model: LanguageModel,
        prompts: Iterable[Prompt],
        *,
        limit: int | None = None,
        resamples: int = 1000,
        progress: Progress | None = None,
    ) -> tuple[AverageTrace, list[Traced]]:
        """The average over prompts, and each one's trace. Prompts whose attribute the model does not say are skipped.

        The noise is measured in the spread of these prompts' subjects, as published. Of the prompts that the model
        answers the first `limit` are traced. Raises InputError where there is none.
        """
        import numpy as np

        given = list(prompts)
        spread = embedding_spread(model, [prompt.subject for prompt in given])
        traced: list[Traced] = []
        skipped = 0
        for number, prompt in enumerate(given):
            run = _Run(model, prompt, self, spread)
            if run.predicted:
                traced.append(self._traced(run))
            else:
                skipped += 1
            if progress is not None:
                progress(number + 1, len(given))
            if limit is not None and len(traced) == limit:
                break
        if not traced:
            raise InputError(
                f"the model predicts the attribute of none of {len(given)} prompts; give it facts it knows"
            )
        by_role = {kind: np.stack([_by_role(one, kind) for one in traced]) for kind in self.kinds}
        draws = np.random.default_rng(self.seed).integers(len(traced), size=(resamples, len(traced)))
        intervals = {kind: _interval(values, draws) for kind, values in by_role.items()}
        return AverageTrace(
            prompts=len(traced),
            skipped=skipped,
            clean=float(np.mean([one.clean for one in traced])),
            corrupted=float(np.mean([one.corrupted for one in traced])),
            mean={kind: _mean(values) for kind, values in by_role.items()},
            low={kind: interval[0] for kind, interval in intervals.items()},
            high={kind: interval[1] for kind, interval in intervals.items()},
            window=traced[0].window,
            noise=traced[0].noise,
        ), traced

    def _traced(self, run: _Run, progress: Progress | None = None) -> Traced:
        restored = {}
        for number, kind in enumerate(self.kinds):
            restored[kind] = run.restored(kind)
            if progress is not None:
                progress(number + 1, len(self.kinds))
        return Traced(
            prompt=run.prompt.prompt,
            subject=run.prompt.subject,
            answer=run.answer,
            predicted=run.predicted,
            tokens=run.texts,
            span=run.span,
            clean=run.clean,
            corrupted=float(run.corrupted.mean()),
            restored=restored,
            window=run.window,
            noise=run.noise,
        )


def embedding_spread(model: LanguageModel, subjects: Sequence[str] = ()) -> float:
    """Standard deviation of the components of token embeddings: of the subjects' tokens, or the whole vocabulary."""
    import torch

    embed = model.model.get_submodule(layout_of(model.model).embedding())
    with torch.no_grad():
        if not subjects:
            return float(embed(torch.arange(embed.num_embeddings, device=model.device)).float().std(correction=0))
        tokens = [model.tokenizer(subject, add_special_tokens=False)["input_ids"] for subject in subjects]
        flat = torch.tensor([token for some in tokens for token in some], device=model.device)
        return float(embed(flat).float().std(correction=0))


class _Run:
    """The clean and the corrupted run of one prompt, and what restorations are made of."""

    def __init__(self, model: LanguageModel, prompt: Prompt, settings: CausalTrace, spread: float | None) -> None:
        import torch

        self.model, self.prompt, self.settings = model, prompt, settings
        self.layout = layout_of(model.model)
        self.layers = self.layout.layers(model.model)
        self.window = settings.window_of(self.layers)
        self.span = subject_span(model.tokenizer, prompt.prompt, prompt.subject)
        asked = predictions_of(model, [(prompt.prompt, prompt.attribute or "?")], first=True)
        with torch.no_grad(), Trace(model.model, self._names()) as seen:
            spoken = int(log_probabilities(model, asked).argmax())
        self.clean_outputs = {name: by_token(value, 1)[0] for name, value in seen.outputs.items()}
        self.predicted = prompt.attribute is None or spoken == int(asked.tokens)
        if prompt.attribute is None:
            asked = replace(asked, tokens=torch.full_like(asked.tokens, spoken))
        self.row = asked
        self.answer = model.tokenizer.decode([int(asked.tokens)]).strip()
        tokens = asked.inputs["input_ids"][0].tolist()
        self.texts = tuple(model.tokenizer.decode([token]) for token in tokens)
        width = self.clean_outputs[self.layout.embedding()].shape[-1]
        self.noise = settings.strength * (embedding_spread(model) if spread is None else spread)
        drawn = torch.Generator().manual_seed(settings.seed)  # on the CPU: the same on every device
        shape = (settings.samples, self.span[1] - self.span[0], width)
        self._noise = (self.noise * torch.randn(shape, generator=drawn)).to(model.device)
        every = torch.arange(settings.samples, device=model.device)
        with torch.no_grad():
            self.clean = float(target_log_probabilities(model, self.row).exp())
            with Trace(model.model, self._names()[1:]) as seen:
                self.corrupted = self._probabilities(every, {}, every)
        self.corrupted_outputs = {name: by_token(value, len(every)) for name, value in seen.outputs.items()}
        self.plain = not {self.layout.block(layer) for layer in range(self.layers)} & seen.bundled
        """Whether blocks pass on one tensor and nothing besides, so that they can be passed over."""

    def _names(self) -> list[str]:
        """The embedding, then every module whose output may be put back."""
        of = (self.layout.block, self.layout.mlp, self.layout.attention)
        return [self.layout.embedding(), *(name(layer) for layer in range(self.layers) for name in of)]

    def _probabilities(self, samples: Tensor, values: Mapping[str, Tensor], tokens: Tensor, known: int = 0) -> Tensor:
        """(rows,) the answer's probability in rows of noise `samples`; at each row's token the named outputs are put.

        samples, tokens: (rows,). values: module -> (rows, width). The first `known` blocks pass on what they did in the
        corrupted run, and are not run again.
        """
        import torch

        start, end = self.span
        rows = torch.arange(len(samples), device=samples.device)

        def edit(name: str, output: Tensor) -> Tensor:
            changed = output.clone()
            if name == self.layout.embedding():
                changed[:, start:end] += self._noise[samples].to(output.dtype)
            if name in values:
                by_token(changed, len(rows))[rows, tokens] = values[name]
            return changed

        skip = {}
        if known:
            passed = self.corrupted_outputs[self.layout.block(known - 1)][samples]
            skip = {self.layout.block(layer): passed for layer in range(known)}
        with Trace(self.model.model, [self.layout.embedding(), *values], edit, skip=skip):
            return target_log_probabilities(self.model, self.row.take(torch.zeros_like(samples))).exp()

    def restored(self, kind: str) -> NDArray[np.float64]:
        """(tokens, layers) mean probability over the samples."""
        import numpy as np
        import torch

        count, samples = len(self.texts), self.settings.samples
        # In a causal model no noise reaches the tokens before the subject: there is nothing to restore.
        first = self.span[0] if self.layout.causal else 0
        found = np.full((count, self.layers), float(self.corrupted.mean()))
        per_batch = max(1, self.settings.tokens_at_once // count)
        device = self.model.device
        tokens = torch.arange(first, count, device=device).repeat_interleave(samples)
        noise = torch.arange(samples, device=device).repeat(count - first)
        batches = list(zip(torch.split(tokens, per_batch), torch.split(noise, per_batch), strict=True))
        with torch.no_grad():
            for layer in range(self.layers):
                clean, corrupted, known = self._put(kind, layer)
                parts = []
                for at, of in batches:
                    values = {name: self.clean_outputs[name][at] for name in clean}
                    values |= {name: self.corrupted_outputs[name][of, at] for name in corrupted}
                    parts.append(self._probabilities(of, values, at, known if self.plain else 0))
                found[first:, layer] = torch.cat(parts).view(count - first, samples).double().mean(1).cpu()
        return found

    def _put(self, kind: str, layer: int) -> tuple[list[str], list[str], int]:
        """What restores `kind` at a layer.

        (modules whose clean outputs are put, modules whose corrupted outputs are, how many of the first blocks do, but
        for what is put, as they did in the corrupted run).
        """
        of = {"mlp": self.layout.mlp, "attention": self.layout.attention}
        if kind in of:
            begin = max(0, layer - self.window // 2)
            return [of[kind](n) for n in range(begin, min(self.layers, layer + (self.window + 1) // 2))], [], begin
        severed = kind.removeprefix("state_without_")
        later = range(layer + 1, self.layers) if severed in of else ()
        return [self.layout.block(layer)], [of[severed](n) for n in later], layer + 1


def _by_role(traced: Traced, kind: str) -> NDArray[np.float64]:
    """(roles, layers) indirect effects, averaged over the tokens of a role; NaN where there is none."""
    import numpy as np

    effects, roles = traced.effect(kind), np.array(traced.roles())
    return np.stack([_mean(effects[roles == role]) for role in ROLES])


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the first axis of what is no NaN; NaN where there is nothing (numpy's own would warn)."""
    import numpy as np

    there = ~np.isnan(values)
    counts = there.sum(0)
    sums = np.where(there, values, 0.0).sum(0)
    mean: NDArray[np.float64] = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return mean


def _interval(values: NDArray[np.float64], draws: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The 95 % percentile interval of the mean over prompts; draws: (resamples, prompts) which prompts each takes."""
    import numpy as np

    there = ~np.isnan(values)
    # A resample is how often it takes each prompt, so that all of them are two products of matrices.
    weights = np.stack([np.bincount(draw, minlength=len(values)) for draw in draws]).astype(float)
    sums = np.tensordot(weights, np.where(there, values, 0.0), axes=1)
    counts = np.tensordot(weights, there.astype(float), axes=1)
    means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    low, high = np.full(values.shape[1:], np.nan), np.full(values.shape[1:], np.nan)
    known = there.any(0)
    low[known], high[known] = np.nanpercentile(means[:, known], [2.5, 97.5], axis=0)
    return low, high


def prompts_of(text: str) -> list[Prompt]:
    """Prompts from a JSON list or JSON lines of {"prompt", "subject", "attribute"}, as ROME's known facts have them.

    Raises InputError that names the record at fault.
    """
    import json

    try:
        records = (
            json.loads(text)
            if text.lstrip().startswith("[")
            else [json.loads(x) for x in text.splitlines() if x.strip()]
        )
    except json.JSONDecodeError as error:
        raise InputError(f"the prompts are neither a JSON list nor JSON lines: {error}") from error
    made = []
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict) or not all(isinstance(record.get(key), str) for key in ("prompt", "subject")):
            raise InputError(f'prompt {number} must be {{"prompt": text, "subject": text, "attribute": text}}')
        made.append(Prompt(record["prompt"].strip(), record["subject"].strip(), record.get("attribute")))
    return made
