"""A folder is a registry: every entry can be listed without loading anything heavy, and every listed entry loads."""

import subprocess
import sys
from importlib import import_module

import pytest

from memedit.errors import NotFoundError
from memedit.registry import Registry

FOLDERS = {
    "memedit.answerers": "answerers",
    "memedit.bench": "benchmarks",
    "memedit.datasets": "datasets",
    "memedit.encoders": "encoders",
    "memedit.models": "models",
    "memedit.scope": "scopes",
    "memedit.stores": "stores",
}


def registry(folder: str) -> Registry:
    found = getattr(import_module(folder), FOLDERS[folder])
    assert isinstance(found, Registry)
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_entry_is_listed_with_a_summary_and_loads(folder: str) -> None:
    summaries = registry(folder).summaries()
    assert summaries
    assert list(summaries) == registry(folder).names() == sorted(summaries)
    for name, summary in summaries.items():
        assert summary, f"{folder}/{name}.py has no docstring"
        assert registry(folder).get(name) is not None


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match=r"no store is named 'redis'; there are: exact, faiss"):
        registry("memedit.stores").get("redis")


def test_listing_and_importing_load_nothing_heavy() -> None:
    code = f"""
import sys
from importlib import import_module
import memedit
for folder, attribute in {FOLDERS!r}.items():
    getattr(import_module(folder), attribute).summaries()
heavy = {{"torch", "transformers", "sentence_transformers", "langchain", "langchain_core", "faiss"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)
