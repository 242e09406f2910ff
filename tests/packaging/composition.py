"""docker-compose.yaml as Docker Compose reads it: merged, with its variables filled in or refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = PROJECT / "docker-compose.yaml"
VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?:(?P<required>:\?(?P<advice>[^}]*))|:-(?P<otherwise>[^}]*))?\})"
)


class MissingVariableError(Exception):
    """A variable that the composition needs is absent or empty; the message is the one that Compose would print."""


@dataclass(frozen=True)
class Service:
    """One service: what it runs, with which variables, and the command that tells its health."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    health: tuple[str, ...]


def compose_text() -> dict[str, Any]:
    """The file as it is written, with YAML's own merges done and no variable filled in."""
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())
    return loaded


def variables() -> set[str]:
    """The names of all variables that the file cannot do without."""
    return {found["name"] for found in VARIABLE.finditer(COMPOSE_FILE.read_text()) if found["required"]}


def filled(value: Any, given: Mapping[str, str]) -> Any:
    """The value with its variables filled in. Raises MissingVariableError for a required one that is not given."""
    if isinstance(value, str):
        return VARIABLE.sub(lambda found: _text_of(found, given), value)
    if isinstance(value, Mapping):
        return {key: filled(entry, given) for key, entry in value.items()}
    if isinstance(value, list):
        return [filled(entry, given) for entry in value]
    return value


def services(given: Mapping[str, str]) -> dict[str, Service]:
    """Every service by name, with its variables filled in."""
    return {
        name: Service(
            name,
            tuple(service.get("command", ())),
            dict(service["environment"]),
            _health(service.get("healthcheck", {}).get("test", [])),
        )
        for name, service in filled(compose_text()["services"], given).items()
    }


def image_environment() -> dict[str, str]:
    """The variables that the Dockerfile sets."""
    lines = (PROJECT / "Dockerfile").read_text().splitlines()
    return dict(line.removeprefix("ENV ").split("=", 1) for line in lines if line.startswith("ENV "))


def _text_of(found: re.Match[str], given: Mapping[str, str]) -> str:
    if found["dollar"]:
        return "$"
    if found["required"] and not given.get(found["name"]):
        raise MissingVariableError(f"required variable {found['name']} is missing a value: {found['advice']}")
    return given.get(found["name"]) or found["otherwise"] or ""


def _health(test: list[str]) -> tuple[str, ...]:
    if not test:
        return ()
    kind, *words = test
    return ("sh", "-c", *words) if kind == "CMD-SHELL" else tuple(words)
