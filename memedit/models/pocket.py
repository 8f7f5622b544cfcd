"""The model in the box: a small decoder that knows a few thousand facts and answers from facts put in front of it.

It is a Hugging Face model like any other, read from the package's own folder. Although its tokenizer has a chat
template it is asked by completion, in the one format that it was trained on, and it needs no demonstrations.
It reads nothing but Latin letters.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

from memedit.errors import ModelError
from memedit.models.hugging_face import HuggingFace


@contextmanager
def pocket_folder(folder: str | None = None) -> Iterator[Path]:
    """The shipped model's files, or those in `folder`. Raises ModelError where they are missing."""
    with as_file(files("memedit") / "pocket") as shipped:
        path = Path(folder) if folder else shipped
        if not (path / "config.json").is_file():
            raise ModelError(
                f"the pocket model is not in {path}; reinstall memedit, or train it with "
                "`python -m memedit.training.pocket`"
            )
        yield path


def pocket_context(folder: str | None = None) -> int | None:
    """Tokens of the model's context, read without loading the model; None where its files are missing."""
    try:
        with pocket_folder(folder) as path:
            tokens: int | None = json.loads((path / "config.json").read_text(encoding="utf-8")).get("n_positions")
    except ModelError:
        return None
    return tokens


class Pocket(HuggingFace):
    """The shipped model, or the one in `folder`. Raises ModelError where its files are missing."""

    demonstrations = 0
    emphasis = 0.5

    def __init__(self, folder: str | None = None) -> None:
        with pocket_folder(folder) as path:
            super().__init__(str(path), device="cpu")
        self.name = "pocket"
        self.style: Literal["chat", "completion"] = "completion"

    def reads(self, text: str) -> bool:
        """Whether the model was trained on the letters of a text: half of them, at least, are Latin."""
        letters = [letter for letter in text if letter.isalpha()]
        return 2 * sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters) >= len(letters)
