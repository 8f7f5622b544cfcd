"""The verifier: a small cross-encoder reads query and edit together -> log odds that the query falls under the edit.

It decides where the encoder has only proposed. A pair costs about as much as encoding a text of its length, so it reads
a few pairs; its files lie beside the encoder's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memedit.encoders.onnx import each, joined, read_config, session, tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Verifier:
    """The verifier in a gate's folder. Safe to use from threads.

    `identity` names the weights by their checksum. A pair longer than `max_tokens` is cut on its longer side. Raises
    ModelError where the files are missing or are not those that `config.json` names; for the model itself this is
    found out at the first pair.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._facts = read_config(folder)["verifier"]
        self.identity = f"memedit-gate-verifier@{self._facts['sha256'][:16]}"
        self.max_tokens = int(self._facts["max_tokens"])

    def logits(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts),) log odds that the query falls under the edit of each text (memedit.scope's `edit_text`)."""
        return self.pairs([(query, text) for text in texts])

    def pairs(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """The same for (query, text) pairs of any queries; many are spread over the cores."""
        return np.array(each(self._one, pairs), np.float32)

    def _one(self, pair: tuple[str, str]) -> float:
        read = joined(self._tokenizer, *pair, longest=self.max_tokens)
        ids = np.array([read.ids], np.int64)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.array([read.type_ids])}
        return float(self._session.run(None, given)[0][0, 0])

    @cached_property
    def _session(self) -> Any:
        return session(self.folder, self._facts)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return tokenizer(self.folder)
