"""The wheel and the sdist build from a tree without git, install, import, and carry the data files they need."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CARRIED = [
    "memedit/gate/config.json",
    "memedit/gate/encoder.onnx",
    "memedit/gate/tokenizer.json",
    "memedit/gate/verifier.onnx",
    "memedit/evaluation/page/page.css",
    "memedit/planner/config.json",
    "memedit/planner/planner.onnx",
    "memedit/planner/tokenizer.json",
    "memedit/pocket/model.safetensors",
    "memedit/prompts/ike_chat.txt",
    "memedit/relations.json",
    "memedit/scope/characters.json",
    "memedit/scope/recipe.json",
    "memedit/scope/similarity.json",
    "memedit/scope/two_stage.json",
    "memedit/py.typed",
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a wheel and an sdist, the wheel built from the sdist, as an index's users get it."""
    tree = tmp_path_factory.mktemp("tree") / "memedit"
    skipped = shutil.ignore_patterns(".git", ".venv", ".checkpoints", ".*_cache", "__pycache__", ".hypothesis", "dist")
    shutil.copytree(ROOT, tree, symlinks=True, ignore=skipped)
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", str(tree)], check=True, capture_output=True)
    return tree / "dist"


def test_the_sdist_leaves_the_links_out(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        inside = {member.name.partition("/")[2] for member in archive.getmembers()}
    assert {"pyproject.toml", "README.md", *CARRIED} <= inside
    assert not any(name.split("/")[0] in ("stores", "prompts") for name in inside)


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        inside = set(archive.namelist())
    assert set(CARRIED) <= inside
    assert {name.split("/")[0].partition("-")[0] for name in inside} == {"memedit"}


def test_the_installed_wheel_adds_and_lists(built: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    wheel = str(next(built.glob("*.whl")))
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), wheel]
    subprocess.run(install, check=True)
    environment = os.environ | {"PYTHONPATH": str(site), "MEMEDIT_MEMORY": str(tmp_path / "facts")}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], env=environment, cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout

    assert run("-c", "import memedit; print(memedit.__file__)").startswith(str(site))
    run("-m", "memedit", "add", "The capital of Ruritania is Strelsau")
    assert "Strelsau" in run("-m", "memedit", "list")
