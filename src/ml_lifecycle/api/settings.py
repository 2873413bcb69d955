"""Settings of the service, from environment variables; within the project, its configuration gives the defaults."""

import ipaddress
import os
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from omegaconf import DictConfig, OmegaConf
from pydantic import AliasChoices, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from ml_lifecycle.errors import ConfigurationError
from ml_lifecycle.signing.keys import Keys

PREFIX = "API_"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ProjectDefaults(PydanticBaseSettingsSource):
    """What ``conf/base`` and the environment KEDRO_ENV say of the registry, the tracking server and the prediction log.

    Outside the project there is no such folder, and the variables say it all.
    """

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - of the base class
        """Not asked field by field."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Read the files; what they leave open is left out."""
        project = Path.cwd()
        folders = [project / "conf" / name for name in dict.fromkeys(("base", os.environ.get("KEDRO_ENV", "base")))]
        if not (folders[0] / "globals.yml").is_file():
            return {}
        names, tracking = (_merged(folders, file) for file in ("globals.yml", "mlflow.yml"))

        def in_project(text: str) -> str:
            return re.sub(r"\$\{in_project:([^}]*)\}", lambda found: str(project / found[1]), text)

        def raw(node: DictConfig, path: str) -> Any:
            group, _, key = path.partition(".")
            return OmegaConf.to_container(node, resolve=False)[group].get(key)  # type: ignore[index,union-attr,call-overload]

        output = f"{raw(names, 'paths.model_output')}/prediction_log"
        found = {
            "model": raw(names, "registry.model"),
            "alias": raw(names, "registry.alias"),
            "tracking_uri": raw(tracking, "server.mlflow_tracking_uri"),
            "prediction_log": output if "://" in output else str(project / output),
        }
        return {name: in_project(value) for name, value in found.items() if value is not None}


def _merged(folders: list[Path], file: str) -> DictConfig:
    found = [OmegaConf.load(folder / file) for folder in folders if (folder / file).is_file()]
    merged = OmegaConf.merge(*found)
    assert isinstance(merged, DictConfig)  # noqa: S101 - both files are mappings: tests/test_conf.py
    return merged


class Settings(BaseSettings):
    """Everything that can be set, each by a variable of its name in capitals after ``API_``.

    ``key_hashes`` are SHA-256 digests of the keys that callers may show, with commas between; several at once let keys
    be changed without a gap. ``authentication`` can be off only where nobody but this machine can ask. The rest stands
    beside each setting.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    model: str = Field(description="name of the registered model")
    alias: str = Field(description="whose version answers")
    tracking_uri: str = Field(
        validation_alias=AliasChoices("tracking_uri", "API_TRACKING_URI", "MLFLOW_TRACKING_URI"),
        description="where the registry is; without it MLFLOW_TRACKING_URI",
    )
    host: str = Field("127.0.0.1", description="where it listens")
    port: int = Field(8000, ge=0, le=65535, description="0 takes a free one")
    workers: int = Field(1, ge=1, le=256, description="processes that answer")
    cache: Path = Field(Path("build/serving"), description="folder of this service: models, segments of the log")
    keys_folder: Path = Field(
        Path(".keys"), description="with the public key, unless MODEL_VERIFYING_KEYS names others"
    )

    authentication: Literal["on", "off"] = Field("on", description="off: on loopback only")
    key_hashes: Annotated[tuple[str, ...], NoDecode] = Field((), description="SHA-256 of each key, commas between")

    max_body_bytes: int = Field(10 * 2**20, gt=0, description="of a request; more is refused with 413")
    max_rows: int = Field(10_000, gt=0, description="of a request; more is refused with 422")
    max_waiting_rows: int = Field(100_000, gt=0, description="at once; beyond, requests are refused with 503")
    max_connections: int = Field(10_000, gt=0, description="to one process; beyond, idle ones are closed")
    body_seconds: float = Field(10.0, gt=0, description="for a request to arrive; later it is refused with 408")
    idle_seconds: float = Field(15.0, gt=0, description="for a connection to begin its next request")
    shutdown_seconds: float = Field(20.0, gt=0, description="for what was accepted to be finished")

    reload_seconds: float = Field(2.0, gt=0, description="between two looks at the alias")
    start_seconds: float | None = Field(None, gt=0, description="without a model for so long, it ends; unset: it waits")

    prediction_log: str = Field(description="folder or address that fsspec knows, such as s3://bucket/folder")
    log_max_bytes: int = Field(2**30, gt=0, description="of answers on this disk, on their way to the prediction log")
    log_segment_bytes: int = Field(16 * 2**20, gt=0, description="after which a segment is moved")
    log_seconds: float = Field(20.0, gt=0, description="after which a segment is moved")
    log_when_full: Literal["drop", "refuse"] = Field(
        "drop", description="drop: answer, count what is not logged; refuse: answer 503"
    )
    log_requests: bool = Field(True, description="a line of JSON for each request, on the standard error")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - `make serve` reads .env
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - of the base class
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The first that knows a setting wins."""
        return init_settings, env_settings, ProjectDefaults(settings_cls)

    @field_validator("key_hashes", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("key_hashes")
    @classmethod
    def _are_digests(cls, hashes: tuple[str, ...]) -> tuple[str, ...]:
        for number, digest in enumerate(hashes, start=1):
            if not _DIGEST.fullmatch(digest):  # perhaps the key itself, so it is not told
                raise ValueError(
                    f"entry {number} is no SHA-256: 64 of the digits 0-9 and a-f. `python -m ml_lifecycle.api.keys` "
                    "makes a key and its digest"
                )
        return hashes

    @model_validator(mode="after")
    def _is_guarded(self) -> Self:
        if self.authentication == "on" and not self.key_hashes:
            raise ValueError(
                f"{PREFIX}KEY_HASHES names no key, so nobody could ask. `python -m ml_lifecycle.api.keys` makes one; "
                f"on this machine alone, {PREFIX}AUTHENTICATION=off asks for none"
            )
        if self.authentication == "off" and not self.is_on_loopback:
            raise ValueError(
                f"{PREFIX}AUTHENTICATION=off is allowed on loopback only (127.0.0.1, ::1, localhost), got the host "
                f"{self.host}. Give {PREFIX}KEY_HASHES: `python -m ml_lifecycle.api.keys` makes a key"
            )
        return self

    @property
    def is_on_loopback(self) -> bool:
        """Whether only this machine can ask."""
        return is_loopback(self.host)

    @cached_property
    def keys(self) -> Keys:
        """The public keys whose models are trusted."""
        return Keys(self.keys_folder)


def is_loopback(host: str) -> bool:
    """Tell whether an address is that of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_settings(**given: Any) -> Settings:
    """Read the settings.

    Raises:
        ConfigurationError: one is missing, or cannot be used.
    """
    try:
        return Settings(**given)
    except ValidationError as error:
        raise ConfigurationError(" ".join(_told(problem) for problem in error.errors())) from None


def _told(problem: Any) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else ""
    variable = f"{name if name.startswith(PREFIX) else PREFIX + name.upper()}: " if name else ""
    if problem["type"] == "missing":
        about = Settings.model_fields[name.removeprefix(PREFIX).lower()].description
        return f"{variable}is not set: {about}."
    got = "" if problem["type"] == "value_error" else f" (got {problem['input']!r})"
    return f"{variable}{problem['msg'].removeprefix('Value error, ')}{got}."
