"""All settings in one place: config file < environment (`MEMEDIT_…`) < what the caller says.

The config file is `memedit.toml` in the working directory, else `$XDG_CONFIG_HOME/memedit/config.toml`
(`~/.config/…`); `MEMEDIT_CONFIG` names another. Unknown keys in it are refused, with the known ones named. That code of
a model's own may run cannot be said in a `memedit.toml`: it may have come with the folder, as the model did.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from memedit.edits import DEFAULT_NAMESPACE, checked_namespace
from memedit.errors import InputError, NotFoundError

_HERE = Path("memedit.toml")


def config_path() -> Path | None:
    """The config file in force, or None. Raises NotFoundError if MEMEDIT_CONFIG names a file that is not there."""
    named = os.environ.get("MEMEDIT_CONFIG")
    if named:
        path = Path(named)
        if not path.is_file():
            raise NotFoundError(f"MEMEDIT_CONFIG names {named}, which is no file; correct it or unset it")
        return path
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    candidates = (_HERE, home / "memedit" / "config.toml")
    return next((path for path in candidates if path.is_file()), None)


def _empty_namespace() -> dict[str, Any]:
    """The namespace where `MEMEDIT_NAMESPACE` is set to nothing: an empty variable is as good as none for any other
    setting, but whoever meant a namespace and lost its name must not read and write the default one."""
    return {"namespace": ""} if os.environ.get("MEMEDIT_NAMESPACE") == "" else {}


class Settings(BaseSettings):
    """What a run is made with. Each field is a key of the config file and, upper-cased, of `MEMEDIT_…`."""

    model_config = SettingsConfigDict(env_prefix="MEMEDIT_", extra="forbid", env_ignore_empty=True)

    memory: str = Field("facts", description="folder or database URL of the edit memory")
    namespace: str = Field(DEFAULT_NAMESPACE, description="namespace to read and write")
    model: str = Field("pocket", description="base model: pocket, hf:NAME_OR_PATH, provider:model, scripted:FILE")
    encoder: str = Field("onnx", description="encoder, name or name:argument")
    store: str = Field("faiss", description="vector store")
    scope: str = Field("two_stage", description="scope that gates retrieval")
    answerer: str = Field("auto", description="answerer for questions that edits bear on")
    false_fire: float | None = Field(
        None, gt=0, lt=1, description="share of unrelated questions on which the gate may fire, in (0, 1)"
    )
    calibration: Path | None = Field(None, description="calibration file of your own, made by `memedit calibrate`")
    parser: str | None = Field(None, description="chat model that parses sentences which the rules cannot")
    author: str | None = Field(None, description="name written beside each edit")
    data: Path | None = Field(None, description="folder of datasets")
    trust_remote_code: bool = Field(False, description="whether code that a model's folder brings along is run")

    @field_validator("namespace")
    @classmethod
    def _named(cls, namespace: str) -> str:
        return checked_namespace(namespace)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = config_path()
        file = (TomlConfigSettingsSource(settings_cls, path),) if path else ()
        if file and path == _HERE and "trust_remote_code" in file[0].toml_data:
            raise InputError(
                f"trust_remote_code in {path} is not heeded, since a folder may bring that file; set "
                "MEMEDIT_TRUST_REMOTE_CODE, or put it in ~/.config/memedit/config.toml"
            )
        return (init_settings, _empty_namespace, env_settings, *file)


def load_settings(**given: Any) -> Settings:
    """The settings in force; keyword arguments that are None count as not given.

    Raises InputError that names the key at fault and where it came from.
    """
    try:
        return Settings(**{key: value for key, value in given.items() if value is not None})
    except InputError:
        raise
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e.get('ctx', {}).get('error', e['msg'])}" for e in error.errors()
        )
        where = config_path()
        raise InputError(
            f"settings are not usable: {faults}. They come from {where or 'no config file'}, MEMEDIT_… and options; "
            f"known keys: {', '.join(Settings.model_fields)}"
        ) from error
    except ValueError as error:  # a config file that is not TOML
        raise InputError(f"the config file {config_path()} cannot be read: {error}") from error
