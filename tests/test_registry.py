"""A folder is a registry: every entry can be listed without loading anything heavy, and every listed entry loads."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from memedit.errors import InputError, NotFoundError
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


# --- settings in a name


def test_settings_in_a_name_are_read_by_the_fields_types() -> None:
    from memedit.answerers import answerers
    from memedit.scope import scopes

    made = answerers.get("mello:published=true; hops=4")()
    assert (made.published, made.hops, made.calls) == (True, 4, 16)
    assert made.name == "mello:published=true; hops=4"
    assert made.with_retriever(None).name == made.name  # a copy for one call is still of that name
    assert answerers.get("mello")().name == "mello"
    assert answerers.get("verbatim:form=target;source=no")().form == "target"
    assert answerers.get("verbatim:form=none")().form is None
    assert answerers.get("counterfactual:model=hf:some/model")().model == "hf:some/model"
    assert answerers.get("ike:share=0.5;demonstrations=2")().demonstrations == 2
    assert answerers.get("auto:several_hops=mello+planned")().several_hops == ("mello", "planned")
    assert answerers.get("language_patch:false_fire=0.1").kinds == frozenset({"patch"})
    assert scopes.get("recipe:prototype=some/file.json")().prototype == Path("some/file.json")
    assert scopes.get("two_stage:stages=proposer")().stages == ("proposer",)
    assert scopes.get("serac:variant=cross_attention")().variant == "cross_attention"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mello:", r"'' in 'mello:' is no setting; write mello:FIELD=VALUE"),
        ("mello:published", r"'published' in 'mello:published' is no setting"),
        ("mello:hops=1;hops=2", r"sets hops twice"),
        ("mello:publishd=true", r"'mello' has no setting 'publishd'; there are: hops \(a whole number\), .*published"),
        ("mello:retrieve=x", r"no setting 'retrieve'"),
        ("mello:name=x", r"no setting 'name'"),
        ("mello:hops=many", r"hops of the answerer 'mello' takes a whole number, not 'many'"),
        ("mello:published=perhaps", r"takes true or false, not 'perhaps'"),
        ("planned:planner=large", r"planner of the answerer 'planned' takes small or chat, not 'large'"),
        ("melo:hops=1", r"no answerer is named 'melo'; there are: auto"),
    ],
)
def test_settings_that_cannot_be_are_answered_with_those_there_are(name: str, said: str) -> None:
    from memedit.answerers import answerers

    with pytest.raises(InputError, match=said):
        answerers.get(name)


def test_a_scope_by_name_with_settings() -> None:
    from memedit.scope import load_scope

    assert load_scope("two_stage:stages=verifier", false_fire=0.02).false_fire == 0.02  # type: ignore[attr-defined]
    assert load_scope("two_stage:false_fire=0.1", false_fire=0.02).false_fire == 0.1  # type: ignore[attr-defined]
    assert load_scope("serac:variant=cross_attention").name == "serac:variant=cross_attention"
    with pytest.raises(InputError, match="stages is proposer and verifier"):
        load_scope("two_stage:stages=verifier+proposer")
    with pytest.raises(InputError, match="not set by a false-fire rate"):
        load_scope("serac:threshold=0.4", false_fire=0.1)
