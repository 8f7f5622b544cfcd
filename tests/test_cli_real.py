"""The main job through the command, with the encoder and the model that ship."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from memedit.cli import cli


def test_an_edit_takes_and_leaves_the_rest_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("MEMEDIT_MEMORY", str(tmp_path / "facts"))
    for name in ("MODEL", "ENCODER", "SCOPE", "ANSWERER", "FALSE_FIRE", "STORE"):
        monkeypatch.delenv(f"MEMEDIT_{name}", raising=False)

    def run(*arguments: str) -> dict[str, object]:
        result = CliRunner().invoke(cli, [*arguments, "--json"])
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert isinstance(found, dict)
        return found

    asked = "What is Danielle Darrieux's native language?"
    other = "What is the mother tongue of Michel Rocard?"
    before, untouched = run("ask", asked), run("ask", other)
    run("add", "The mother tongue of Danielle Darrieux is English")
    after = run("ask", asked)
    assert after["in_scope"] is True
    assert after["base_untouched"] is False
    assert str(after["text"]).startswith("English")
    still = run("ask", other)
    assert [still[key] for key in ("text", "in_scope", "base_untouched")] == [untouched["text"], False, True]
    run("undo", "--last", "1", "--yes")
    assert run("ask", asked)["text"] == before["text"]
