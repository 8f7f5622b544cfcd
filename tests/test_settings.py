"""Settings: file < environment < what the caller says; what is wrong is named with where it came from."""

from pathlib import Path

import pytest

from memedit.errors import InputError, NotFoundError
from memedit.settings import load_settings


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("CONFIG", "MEMORY", "NAMESPACE", "MODEL", "ENCODER", "FALSE_FIRE"):
        monkeypatch.delenv(f"MEMEDIT_{name}", raising=False)


def test_each_source_overrides_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().memory == "facts"
    Path("memedit.toml").write_text('memory = "from-file"\nmodel = "from-file"\n')
    assert load_settings().memory == "from-file"
    monkeypatch.setenv("MEMEDIT_MEMORY", "from-environment")
    assert load_settings().memory == "from-environment"
    assert load_settings(memory="said").memory == "said"
    assert load_settings(memory=None).memory == "from-environment"
    assert load_settings().model == "from-file"


def test_the_users_own_config_is_read_where_the_folder_has_none(tmp_path: Path) -> None:
    file = tmp_path / "config" / "memedit" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('namespace = "mine"\n')
    assert load_settings().namespace == "mine"
    Path("memedit.toml").write_text('namespace = "folder"\n')
    assert load_settings().namespace == "folder"


def test_an_unknown_key_is_refused_with_the_known_ones() -> None:
    Path("memedit.toml").write_text('memroy = "x"\n')
    with pytest.raises(InputError, match=r"memroy.*known keys: memory, namespace"):
        load_settings()


@pytest.mark.parametrize("value", ["0", "1", "-0.1", "often"])
def test_a_false_fire_rate_outside_its_range_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMEDIT_FALSE_FIRE", value)
    with pytest.raises(InputError, match="false_fire"):
        load_settings()


def test_a_named_config_must_be_there_and_be_toml(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEMEDIT_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(NotFoundError, match="MEMEDIT_CONFIG"):
        load_settings()
    (tmp_path / "none.toml").write_text("memory = \n")
    with pytest.raises(InputError, match="cannot be read"):
        load_settings()
