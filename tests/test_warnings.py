"""A warning at our own door is an error; one of somebody else's package is shown and counted, and stops nobody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("module", "passes"),
    [
        ("memedit.memory", False),
        ("test_anything", False),
        ("somebody.elses", True),
        ("transformers.models.llama", True),
    ],
)
def test_whose_warning_it_is_decides(tmp_path: Path, module: str, passes: bool) -> None:
    file = tmp_path / "test_one.py"
    file.write_text(
        "import warnings\n\n\ndef test_it():\n"
        f"    warnings.warn_explicit('old', DeprecationWarning, 'file.py', 1, module={module!r})\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-n0", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, str(file)], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode == 0) == passes, done.stdout
    assert ("1 warning" in done.stdout) == passes, done.stdout
