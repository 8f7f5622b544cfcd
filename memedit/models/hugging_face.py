"""Any causal language model of the transformers library, by hub name or folder.

A model whose tokenizer has a chat template is asked by it. One without is asked to complete: the system message
verbatim, then the user's text, as `Question: …` / `Answer:` where it ends like a sentence, and bare where it breaks off
("The capital of France is"); its reply ends at the end of the line.

Tokens are drawn by a loop of our own rather than by `generate`: a reply streams without a thread of its own, is
abandoned the moment the consumer leaves, and is seeded without touching the random state of the process.
"""

from __future__ import annotations

import copy
import os
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from memedit.decoding import Reading
from memedit.edits import Message
from memedit.errors import InputError, ModelError
from memedit.models._asynchronous import in_thread
from memedit.models._folders import asks_for_code, code_refused, refuse_code, refuse_pickles, trusted

if TYPE_CHECKING:  # torch and transformers are imported late: together they cost seconds
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from memedit.models._heeding import Heeding
    from memedit.weights.language_model import LanguageModel, Request

_MARKER = "\u27e6what is said\u27e7"
"""Words that no template writes by itself, to see what it writes around what is said."""

# Parameter -> what it is when the caller says nothing. None: not applied.
PARAMETERS: dict[str, Any] = {
    "max_new_tokens": None,  # 256 for chat, 64 for completion
    "max_tokens": None,  # another name of max_new_tokens
    "temperature": 0.0,  # 0: greedy
    "top_k": None,
    "top_p": None,
    "min_p": None,
    "repetition_penalty": None,
    "seed": None,
    "stop": None,  # a string or strings at which the reply ends, themselves left out
    "against": None,  # the same conversation without the facts in front: these then count for more (`_heeding.py`)
    "emphasis": 0.5,  # with `against`: by how much
}


class HuggingFace:
    """A causal language model by hub `name` or folder. Weights are read from safetensors; pickles are refused.

    `device` is "cuda" or "mps" where there is one, else "cpu"; `dtype` is float32 on the CPU, else what the weights are
    stored in. Code that the model brings along is run only with `trust_remote_code`; None is the setting of that name.
    Parameters of a call: max_new_tokens, temperature (0, the default, is greedy), top_k, top_p, min_p,
    repetition_penalty, seed, stop, against, emphasis.

    Raises ModelError where the model cannot be loaded, or is no causal language model; InputError for a parameter that
    is not known; ModelError for a conversation longer than the model's context.
    """

    emphasis = 0.0
    """How much more than by itself it should heed facts in front of a question; a small model needs some."""

    def __init__(
        self,
        name: str,
        *,
        device: str | None = None,
        dtype: str | None = None,
        trust_remote_code: bool | None = None,
    ) -> None:
        import torch

        self.name = f"hf:{name}"
        self.device = device or best_device()
        self._tokenizing = Lock()
        self._tokenizer, self._model = load_pretrained(
            name, dtype or ("float32" if self.device == "cpu" else "auto"), trust_remote_code=trust_remote_code
        )
        self._model = self._model.to(torch.device(self.device)).eval()
        self.style: Literal["chat", "completion"] = "chat" if self._tokenizer.chat_template else "completion"
        config = self._model.config.get_text_config()
        self.context_tokens: int | None = getattr(config, "max_position_embeddings", None)
        ends = self._model.generation_config.eos_token_id
        self._ends = {*(ends if isinstance(ends, list) else [ends]), self._tokenizer.eos_token_id} - {None}

    @property
    def reply_tokens(self) -> int:
        """Tokens of a reply, at most, where a call does not say."""
        return 256 if self.style == "chat" else 64

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """Texts that the tokenizer reads as marks rather than as text; no fact may bring them into a prompt."""
        added = (str(token) for token in self._tokenizer.get_added_vocab())
        return tuple(sorted({*self._tokenizer.all_special_tokens, *added}))

    def render(self, messages: Sequence[Message]) -> str:
        """The text that the model is given for a conversation."""
        return self._render_chat(messages) if self.style == "chat" else render_completion(messages)

    def gap(self, messages: Sequence[Message]) -> str | None:
        """What the template writes between `render(messages)` and a reply: a line break, a blank, nothing.

        Where it does not say, nothing behind white space and behind a mark, else a blank. None without a template: what
        a plain text has there (`memedit.weights.tokens.blank_behind`).
        """
        if self.style == "completion":
            return None
        asked = self.render(messages)
        try:
            both = self._render_chat([*messages, Message("assistant", _MARKER)], reply=True)
        except ModelError:  # it knows no replies
            both = ""
        between = both[len(asked) :].partition(_MARKER)[0] if both.startswith(asked) and _MARKER in both else "?"
        if not between.strip():
            return between
        return "" if asked[-1:].isspace() or asked.endswith(self.special_tokens) else " "

    def asked(self, request: Request) -> Request:
        """The request in the very words that the model is given when it is asked the request's prompt.

        Raises ModelError where the chat template refuses it.
        """
        from memedit.weights.language_model import Frame

        messages = [Message("user", request.prompt)]
        text, gap = self.render(messages), self.gap(messages)
        if gap is None:
            return replace(request, prompt=text.strip())
        probe = f"{_MARKER}{request.prompt[-1:]}"  # a template may look at how the words end
        head, _, tail = self.render([Message("user", probe)]).partition(probe)
        if f"{head}{request.prompt}{tail}" != text:  # the template says it in words of its own
            return replace(request, prompt=text, frame=Frame(gap=gap))
        return replace(request, frame=Frame(head, tail, gap))

    def stream(self, messages: Sequence[Message], **parameters: Any) -> Iterator[str]:
        if unknown := parameters.keys() - PARAMETERS.keys():
            raise InputError(
                f"{self.name} knows no parameter {', '.join(sorted(unknown))}; there are: {', '.join(PARAMETERS)}"
            )
        given = {**PARAMETERS, **parameters}
        limit = given["max_new_tokens"] or given["max_tokens"] or self.reply_tokens
        prompt = self._prompt(messages, limit)
        stops = [given["stop"]] if isinstance(given["stop"], str) else list(given["stop"] or ())
        if self.style == "completion":
            stops.append("\n")
        heeding = self._heeding(prompt, limit, given) if given["against"] is not None else None
        return _until(stops, self._pieces(self._tokens(prompt, limit, given, heeding)))

    def astream(self, messages: Sequence[Message], **parameters: Any) -> AsyncIterator[str]:
        return in_thread(self.stream(messages, **parameters))

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` alone, by the model's own tokenizer."""
        return len(self._encode(text))

    @cached_property
    def language_model(self) -> LanguageModel:
        """The weights that answer, to be read and fitted on. Its tokenizer is a copy: no two threads may use one."""
        from memedit.weights.language_model import LanguageModel

        return LanguageModel(self._model, copy.deepcopy(self._tokenizer), self.name)

    def with_weights(self, model: LanguageModel) -> HuggingFace:
        """The same model answering with other weights, such as an `edited` twin's; this one is not changed."""
        made = copy.copy(self)
        made.__dict__.pop("language_model", None)
        made._model = model.model
        return made

    @property
    def vocabulary(self) -> dict[str, int]:
        """Token -> number; two models with the same one can be mixed."""
        vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        return vocabulary

    @property
    def ends(self) -> frozenset[int]:
        """The tokens that end a reply."""
        return frozenset(self._ends)

    def probabilities(self, messages: Sequence[Message], drawn: Sequence[int] = ()) -> NDArray[np.float64]:
        """(vocabulary,) probabilities of the token after the conversation and the tokens `drawn`, which sum to 1."""
        import torch

        sequence = torch.tensor([[*self._prompt(messages, 16), *drawn]], device=self.device)
        with torch.inference_mode():
            out = self._model(input_ids=sequence, attention_mask=torch.ones_like(sequence))
        probabilities: NDArray[np.float64] = out.logits[0, -1].double().softmax(dim=-1).cpu().numpy()
        return probabilities

    def text_of(self, tokens: Sequence[int]) -> str:
        """What these tokens say, marks left out."""
        return self._decode(list(tokens))

    def _encode(self, text: str, *, specials: bool = False) -> list[int]:
        with self._tokenizing:  # a fast tokenizer must not be used by two threads at once
            tokens: list[int] = self._tokenizer(text, add_special_tokens=specials, verbose=False)["input_ids"]
        return tokens

    def _prompt(self, messages: Sequence[Message], limit: int) -> list[int]:
        """The conversation as tokens, at least one token of the context left for the reply."""
        # A chat template writes the begin-of-text mark itself; for completion the tokenizer knows whether there is one.
        tokens = self._encode(self.render(messages), specials=self.style == "completion")
        if not tokens:
            begin = self._tokenizer.bos_token_id
            tokens = [min(self._ends, default=0) if begin is None else begin]
        room = (self.context_tokens or len(tokens) + limit) - min(limit, 16)
        if len(tokens) > room:
            raise ModelError(
                f"the conversation is {len(tokens)} tokens and {self.name} takes {room} with room for a reply; shorten "
                "it, or use a model with a longer context"
            )
        return tokens

    def _render_chat(self, messages: Sequence[Message], *, reply: bool = False) -> str:
        """`reply` says that the last message is the reply, which nothing is written behind that would ask for one."""
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return self._templated(turns, reply)
        except Exception as error:  # jinja2's own: some templates know no system role, so the user's turn carries it
            system = "\n\n".join(turn["content"] for turn in turns if turn["role"] == "system")
            rest = [turn for turn in turns if turn["role"] != "system"]
            if not system or not rest or rest[0]["role"] != "user":
                raise ModelError(f"the chat template of {self.name} refuses this conversation: {error}") from error
            rest[0] = {"role": "user", "content": f"{system}\n\n{rest[0]['content']}"}
            try:
                return self._templated(rest, reply)
            except Exception as again:
                raise ModelError(f"the chat template of {self.name} refuses this conversation: {again}") from again

    def _templated(self, turns: list[dict[str, str]], reply: bool) -> str:
        text: str = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=not reply)
        return text

    def _heeding(self, prompt: list[int], limit: int, given: dict[str, Any]) -> Heeding:
        from memedit.models._heeding import Heeding

        emphasis = float(given["emphasis"] or 0.0)
        if emphasis < 0:
            raise InputError(f"emphasis must be 0 (none) or more, not {emphasis}")
        question = self._prompt(given["against"], limit)
        return Heeding(prompt, question, Reading(self._model, self.device), emphasis=emphasis, ends=self._ends)

    def _tokens(
        self, prompt: list[int], limit: int, given: dict[str, Any], heeding: Heeding | None = None
    ) -> Iterator[int]:
        """New tokens one by one, up to `limit`, the model's end mark or the end of its context."""
        import torch

        choose = _chooser(given, torch.device(self.device))
        limit = min(limit, (self.context_tokens or len(prompt) + limit) - len(prompt))
        reading, unread = Reading(self._model, self.device), prompt
        for _ in range(limit):
            scores = reading.read(unread)
            token = choose(reading.sequence, scores if heeding is None else heeding(scores))
            if token in self._ends:
                return
            yield token
            if heeding is not None:
                heeding.drew(token)
            unread = [token]

    def _pieces(self, tokens: Iterator[int]) -> Iterator[str]:
        """Tokens as text, as soon as it is whole: half a character waits for its other half."""
        pending: list[int] = []
        shown: list[int] = []  # the tokens before: a token's text depends on its neighbour (leading spaces)
        for token in tokens:
            pending.append(token)
            text = self._decode([*shown, *pending])[len(self._decode(shown)) :]
            if text and not text.endswith("�"):
                yield text
                shown, pending = pending, []
        if pending and (rest := self._decode([*shown, *pending])[len(self._decode(shown)) :]):
            yield rest

    def _decode(self, tokens: list[int]) -> str:
        # No "cleaning up" of spaces: it would make the text of some tokens depend on how many are decoded at once.
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


def best_device() -> str:
    """ "cuda" or "mps" where there is one, else "cpu"."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@contextmanager
def _no_bar() -> Iterator[None]:
    """No progress bar for reading weights from the disk; a download from the hub keeps its own."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _unpacking(place: Path) -> tuple[Path, dict[str, str]]:
    """(folder, what tells transformers to take its weights from a GGUF file, if there is one to take).

    `place` is a folder or such a file. Raises ModelError where it cannot be told which file is meant, or the package
    that reads them is missing.
    """
    if place.suffix.lower() == ".gguf" and place.is_file():
        folder, name = place.parent, place.name
    elif (
        place.is_dir() and not any(place.glob("*.safetensors")) and (found := sorted(place.glob("*.[gG][gG][uU][fF]")))
    ):
        folder, name = place, found[0].name
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise ModelError(f"{place} holds several GGUF files: {names}; name one of them")
    else:
        return place, {}
    if find_spec("gguf") is None:
        raise ModelError(f"{name} is a GGUF file, which takes one package more: pip install 'memedit[gguf]'")
    return folder, {"gguf_file": name}


def load_pretrained(
    name: str, dtype: str, *, causal: bool = True, trust_remote_code: bool | None = None
) -> tuple[Any, Any]:
    """(tokenizer, model) by hub name, folder or GGUF file, on the CPU. `causal=False` also takes T5, BART and BERT.

    The model's `checkpoint_dtype` is what its configuration says that its weights are stored in; None: it says nothing.

    Raises ModelError where it cannot be loaded, with `causal` for the others, for pickled weights, and for code of the
    model's own that is not permitted (memedit.models._folders).
    """
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForMaskedLM,
        AutoModelForSeq2SeqLM,
        AutoTokenizer,
    )

    looks_like_path = name.startswith((".", "~", os.sep)) or name.count("/") > 1
    folder, packed = _unpacking(Path(name).expanduser())
    refuse_pickles(folder)
    trust = trusted(trust_remote_code)
    if not trust:
        refuse_code(folder)
    if looks_like_path and not folder.is_dir():
        raise ModelError(f"there is no folder {name!r} to load a model from; check the path")
    where = str(folder) if folder.is_dir() else name
    try:
        config = AutoConfig.from_pretrained(where, trust_remote_code=trust, **packed)
        encodes = getattr(config, "is_encoder_decoder", False)
        masked = not encodes and _masked(config)
        if causal and (encodes or masked):
            kind = "an encoder-decoder" if encodes else "a masked model, which fills gaps and goes on from no prompt"
            raise ModelError(
                f"{name!r} is {kind} ({config.model_type}); memedit asks causal language models, such as GPT-2, Llama "
                "or Qwen, and of others only changes the weights (`memedit forget --out`, memedit.methods)"
            )
        auto: Any = AutoModelForSeq2SeqLM if encodes else AutoModelForMaskedLM if masked else AutoModelForCausalLM
        with _no_bar():
            tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=trust, **packed)
            model = auto.from_pretrained(where, dtype=dtype, trust_remote_code=trust, use_safetensors=True, **packed)
        model.checkpoint_dtype = getattr(config.get_text_config(), "dtype", None) or getattr(config, "dtype", None)
        return tokenizer, model
    except (OSError, ValueError, KeyError, ImportError, IndexError, struct.error) as error:
        if not trust and asks_for_code(error):
            raise code_refused(name, "auto_map in its configuration") from error
        advice = "check its files" if folder.is_dir() else "check the name, and that the hub can be reached"
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{name!r} cannot be loaded as a {'causal ' if causal else ''}language model; {advice}: {reason}"
        ) from error


def _masked(config: Any) -> bool:
    """Whether the configuration is of a model that sees what comes after a token, such as BERT."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED

    left_to_right = getattr(config, "is_decoder", False) or getattr(config, "causal", False)
    return config.model_type in MASKED and not left_to_right


def render_completion(messages: Sequence[Message]) -> str:
    """A conversation as the text that a model without a chat template is given to go on from."""
    parts = []
    for message in messages:
        text = message.content
        if message.role == "user":
            text = text.strip()
            parts.append(f"Question: {text}\nAnswer:" if text.endswith((".", "?", "!", ":")) else text)
        elif message.role == "assistant":
            parts.append(f" {text.strip()}\n")
        else:
            parts.append(f"{text}\n")
    return "".join(parts)


def _chooser(given: dict[str, Any], device: torch.device) -> Any:
    """The function (sequence, logits) -> token that the parameters describe."""
    import torch
    from transformers import (
        LogitsProcessorList,
        MinPLogitsWarper,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    temperature = float(given["temperature"] or 0.0)
    if temperature < 0:
        raise InputError(f"temperature must be 0 (greedy) or more, not {temperature}")
    makers: dict[str, Any] = {"repetition_penalty": RepetitionPenaltyLogitsProcessor}
    if temperature > 0:
        makers |= {"top_k": TopKLogitsWarper, "top_p": TopPLogitsWarper, "min_p": MinPLogitsWarper}
    processors: Any = LogitsProcessorList([TemperatureLogitsWarper(temperature)] if temperature > 0 else [])
    for parameter, maker in makers.items():
        if given[parameter] is not None:
            try:
                processors.append(maker(given[parameter]))
            except ValueError as error:
                raise InputError(f"{parameter}={given[parameter]!r} is not usable: {error}") from error
    generator = torch.Generator(device=device)
    if given["seed"] is None:
        generator.seed()
    else:
        generator.manual_seed(int(given["seed"]))

    def choose(sequence: torch.Tensor, logits: torch.Tensor) -> int:
        scores = processors(sequence, logits)
        if temperature == 0:
            return int(scores.argmax(dim=-1))
        return int(torch.multinomial(scores.softmax(dim=-1), 1, generator=generator))

    return choose


def _until(stops: Sequence[str], pieces: Iterator[str]) -> Iterator[str]:
    """The pieces, the white space in front left out, up to the first of `stops`; a stop may span pieces."""
    held = ""  # what may turn out to be the beginning of a stop
    begun = False
    for piece in pieces:
        held += piece
        if not begun:
            held = held.lstrip()
            begun = bool(held)
        found = [at for stop in stops if stop and (at := held.find(stop)) >= 0]
        if found:
            held = held[: min(found)]
            break
        keep = max((n for stop in stops for n in range(1, len(stop)) if held.endswith(stop[:n])), default=0)
        if whole := held[: len(held) - keep]:
            yield whole
        held = held[len(held) - keep :]
    if held:
        yield held
