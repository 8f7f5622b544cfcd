"""A language model as a method takes it: modules, tokenizer and the hash by which a change knows its model again.

`memedit.models` holds models that are asked; here one is held whose weights are read and written. `Request` is a fact
as a method needs it: where `edits.py` may leave parts unsaid, nothing is missing here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from memedit.edits import Draft, Edit
from memedit.errors import InputError

if TYPE_CHECKING:  # torch costs more than a second; who has a model has paid already
    import torch

    from memedit.schema import Row


@dataclass(frozen=True)
class Frame:
    """What a chat template writes before and behind the user's words, special tokens included, and between that and
    the reply."""

    head: str = ""
    tail: str = ""
    gap: str = ""


@dataclass(frozen=True)
class Request:
    """A fact to be written into weights: after `prompt`, which names `subject`, the model shall say `target`.

    No blanks at either end; `text` puts the one between. With a `frame` the prompt is a chat model's user's words.
    """

    prompt: str
    subject: str
    target: str
    frame: Frame | None = None

    @property
    def text(self) -> str:
        """The whole sentence."""
        return f"{self.prompt} {self.target}"

    def read(self, before: str = "") -> str:
        """What the model reads before the target, `before` put in front of the prompt as it is."""
        frame = self.frame or Frame()
        return f"{frame.head}{before}{self.prompt}{frame.tail}"


def request_of(fact: Edit | Draft | Row) -> Request:
    """The request of an edit, a draft, or a row about to be written; what it does not say is parsed, as everywhere.

    A fact without a prompt is asked for by its question. The words are the fact's own: `HuggingFace.asked` makes of
    them what a model is given. Raises InputError that names what the parse lacks, or where the prompt does not name the
    subject.
    """
    from memedit.parsing import parse

    prompt = fact.prompt or fact.question
    known = parse(fact.statement, subject=fact.subject, relation=fact.relation, target=fact.target, prompt=prompt)
    parts = {"subject": known.subject, "target": known.target, "prompt": prompt or known.prompt}
    given = {name: part.strip() for name, part in parts.items() if part and part.strip()}
    if missing := [name for name in parts if name not in given]:
        raise InputError(
            f"{fact.statement!r} cannot be written into weights: what it lacks is its {', '.join(missing)}; say it "
            f"outright ({', '.join('--' + name for name in missing)})"
        )
    there = re.search(re.escape(given["subject"]), given["prompt"], re.IGNORECASE)
    if there is None:
        raise InputError(
            f"{fact.statement!r} cannot be written into weights: its prompt {given['prompt']!r} does not name its "
            f"subject {given['subject']!r}; say a --prompt that does"
        )
    if given["subject"] not in given["prompt"]:
        given["subject"] = there[0]  # "The Eiffel Tower" within a sentence
    return Request(given["prompt"], given["subject"], given["target"])


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A transformers model with a head, in evaluation mode, and its tokenizer."""

    model: Any
    tokenizer: Any
    name: str = ""
    _digests: dict[str, tuple[tuple[Any, ...], bytes]] = field(default_factory=dict, init=False, repr=False)

    @property
    def device(self) -> torch.device:
        """Where its first weight is, which is where its inputs go."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def hash(self) -> str:
        """SHA-256 over names, shapes, types and bytes of all weights, a tied weight once; 64 hexadecimal digits.

        Each weight's own digest is kept for as long as the weight is the same: the same memory, the same count of
        writes, and the same sum of its bits, since a write through `.data` is not counted. Only what has changed is
        read again, so that putting a change in and taking it out costs the weights it touches.
        """
        from hashlib import sha256

        whole = sha256()
        for name, weight in self.model.named_parameters():
            state = (weight.data_ptr(), _writes(weight), weight.shape, weight.dtype, _bits(weight))
            kept = self._digests.get(name)
            if kept is None or kept[0] != state:
                kept = self._digests[name] = (state, sha256(_bytes(weight)).digest())
            whole.update(f"{name} {weight.dtype} {tuple(weight.shape)} ".encode())
            whole.update(kept[1])
        return whole.hexdigest()


def _writes(weight: torch.Tensor) -> int:
    """How often it was written; weights made under inference mode do not count."""
    return -1 if weight.is_inference() else int(weight._version)


def _bits(weight: torch.Tensor) -> int:
    """The sum of the weight's bits read as whole numbers, modulo 2**64: reading it all, but far faster than a hash."""
    import torch

    whole = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.element_size()]
    return int(weight.detach().view(whole).sum(dtype=torch.int64))


def _bytes(weight: torch.Tensor) -> memoryview:
    import torch

    flat = weight.detach().cpu().contiguous().view(-1)
    return flat.view(torch.uint8).numpy().data


def load(spec: str, dtype: str = "float32") -> LanguageModel:
    """The model for `pocket` or `hf:NAME_OR_PATH`, for its weights: causal ones, T5, BART and BERT.

    `dtype` is float32, bfloat16, float16, or auto (as stored). The pocket model stays on the CPU, others go to the
    best device. Raises InputError for a model whose weights are not on this machine and for an unknown dtype,
    ModelError where it cannot be loaded.
    """
    from memedit.models.hugging_face import best_device, load_pretrained
    from memedit.models.pocket import pocket_folder

    kind, _, argument = spec.partition(":")
    if dtype not in (known := ("float32", "bfloat16", "float16", "auto")):
        raise InputError(f"no dtype is named {dtype!r}; there are: {', '.join(known)}")
    if kind == "pocket":
        with pocket_folder(argument or None) as folder:
            tokenizer, model = load_pretrained(str(folder), dtype)
        return LanguageModel(model.eval(), tokenizer, spec)
    if kind == "hf" and argument:
        tokenizer, model = load_pretrained(argument, dtype, causal=False)
        return LanguageModel(model.to(best_device()).eval(), tokenizer, spec)
    raise InputError(
        f"{spec!r} is not a model whose weights can be read and written; say pocket, or hf:NAME_OR_PATH for one of the "
        "transformers library"
    )
