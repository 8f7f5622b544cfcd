"""Where a subject stands among a prompt's tokens, and where a target begins behind them, whatever the tokenizer.

A token belongs to the subject if it covers any visible character of it: so a blank glued to the first token, a begin
mark, and a token that runs on beyond the subject all come out right. Where a tokenizer cannot say which characters its
tokens cover, the tokens are decoded one more at a time.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from memedit.errors import InputError


def blank_behind(prompt: str) -> str:
    """What stands between a plain text and what goes on from it: a blank, but behind white space and behind Chinese or
    Japanese letters nothing."""
    wide = bool(prompt) and unicodedata.east_asian_width(prompt[-1]) in "WF"
    return "" if wide or prompt[-1:].isspace() else " "


def continued(
    encode: Callable[[str], Sequence[int]], prompt: str, target: str, gap: str | None = None
) -> tuple[list[int], int]:
    """The tokens of a prompt and a target behind it, and where the target begins (>= 1).

    Fitting, asking and scoring meet here: both are encoded as one text, since some tokenizers write a word otherwise
    where it stands alone, and the target begins where the encodings with and without it part. `gap` is what stands
    between them, None what a plain text has (`blank_behind`); what of it is a token of its own is the target's.
    """
    alone = encode(prompt)
    whole = encode(f"{prompt}{blank_behind(prompt) if gap is None else gap}{target}")
    pairs = enumerate(zip(alone, whole, strict=False))
    return list(whole), max(1, next((at for at, (a, b) in pairs if a != b), len(alone)))


def subject_span(
    tokenizer: Any,
    prompt: str,
    subject: str,
    *,
    occurrence: int = -1,
    padded_to: int | None = None,
    specials: bool = True,
) -> tuple[int, int]:
    """(start, end) of the subject's tokens in `tokenizer(prompt)`, special tokens counted; end is exclusive.

    `occurrence` says which, where the subject stands there more than once: 0 is the first, -1 (the default) the last,
    since a prefix put before a prompt may name the subject too. `padded_to` is the length of the batch's rows: with a
    tokenizer that pads on the left, the positions move by the padding. `specials` says whether the tokenizer puts its
    own tokens around the text.

    Raises InputError where the prompt lacks the subject, or that occurrence of it.
    """
    wanted = subject.strip()
    tokens, covers, text = _covers(tokenizer, prompt, specials)
    found = _occurrences(text, wanted)
    if not found and text is not prompt:
        found = _occurrences(text.casefold(), wanted.casefold())  # a tokenizer that lowers what it reads
    if not found:
        raise InputError(
            f"the subject {subject!r} does not stand in the prompt {prompt!r}; write it as it stands there"
        )
    try:
        start, end = found[occurrence]
    except IndexError:
        raise InputError(
            f"the subject {subject!r} stands {len(found)} times in the prompt {prompt!r}; there is no occurrence "
            f"{occurrence} (0 is the first, -1 the last)"
        ) from None
    positions = [at for at, (a, b) in enumerate(covers) if text[max(a, start) : min(b, end)].strip()]
    if not positions:
        raise InputError(f"no token of {prompt!r} covers the subject {subject!r}: the tokenizer drops it")
    shift = padded_to - tokens if padded_to is not None and tokenizer.padding_side == "left" else 0
    return positions[0] + shift, positions[-1] + 1 + shift


def _occurrences(text: str, wanted: str) -> list[tuple[int, int]]:
    """Where `wanted` stands as whole words; where it does so nowhere (scripts without blanks), wherever it stands."""
    if not wanted:
        return []
    literal = re.escape(wanted)
    found = list(re.finditer(rf"(?<!\w){literal}(?!\w)", text)) or list(re.finditer(literal, text))
    return [match.span() for match in found]


def _covers(tokenizer: Any, prompt: str, specials: bool) -> tuple[int, Sequence[tuple[int, int]], str]:
    """(number of tokens, the characters that each covers, the text whose characters are counted)."""
    if getattr(tokenizer, "is_fast", False):
        encoded = tokenizer(prompt, add_special_tokens=specials, return_offsets_mapping=True, verbose=False)
        offsets = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        # The blank that some tokenizers put before a text is said to cover its first letter; it covers nothing.
        covers = [
            (int(a), int(b)) if a or _decoded(tokenizer, [token]).strip() else (0, 0) for token, (a, b) in offsets
        ]
        return len(covers), covers, prompt
    tokens = tokenizer(prompt, add_special_tokens=specials, verbose=False)["input_ids"]
    text = _decoded(tokenizer, tokens)
    # What a shorter prefix decodes to may end in half a character, so only what both agree on counts.
    ends = [_agreed(text, _decoded(tokenizer, tokens[:count])) for count in range(len(tokens) + 1)]
    return len(tokens), list(pairwise(ends)), text


def _agreed(a: str, b: str) -> int:
    """How many characters two texts begin with in common."""
    return next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _decoded(tokenizer: Any, tokens: Sequence[int]) -> str:
    text: str = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text
