"""Every Airflow setting of the embedded stack, in one place, each with its reason.

Production deployments do not use this file: they set their own executor, database and login.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Place:
    """Where one embedded stack keeps its files and where it answers."""

    state: Path
    dags: Path
    port: int
    database: str
    lab: Path | None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def home(self) -> Path:
        return self.state / "airflow"

    @property
    def passwords(self) -> Path:
        return self.home / "passwords.json"


@dataclass(frozen=True)
class Secrets:
    """Random values made once per state folder and kept readable by their owner only."""

    admin_password: str
    jwt_secret: str
    fernet_key: str


def loopback_name() -> str:
    """Airflow's host name for this machine; no DNS is asked, and logs are read from local files."""
    return "localhost"


def airflow_environment(place: Place, secrets: Secrets) -> dict[str, str]:
    """The variables that make every Airflow process of this stack one installation on the loopback."""
    settings = {
        "AIRFLOW_HOME": str(place.home),
        # include and console; the plugins' package tecs; airflow_local_settings.py
        "PYTHONPATH": f"{PROJECT}:{PROJECT / 'plugins'}:{PROJECT / 'config'}",
        "AIRFLOW__CORE__DAGS_FOLDER": str(place.dags),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        # more slots than cores: a step mostly waits for a remote host
        "AIRFLOW__CORE__PARALLELISM": "16",
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "16",
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "console.airflow_settings.loopback_name",
        # SQLite locks under fan-out, so the database is PostgreSQL on a Unix socket
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": place.database,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(place.port),
        "AIRFLOW__API__BASE_URL": place.url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": secrets.jwt_secret,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{place.url}/execution/",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.jwt_secret,
        "AIRFLOW__CORE__FERNET_KEY": secrets.fernet_key,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(place.passwords),
        # runs are shorter than with the default of 1 s; more often is no faster on two processors, and a third more work for them
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.4",
        # a killed worker is noticed after about 20 s instead of 300 s
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
        # the first call after a start builds the API's models, which takes about as long as the default of 5 s
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
        # a new DAG file is seen within seconds (a changed one always is)
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        # reading unchanged ones again is a seventh of a busy machine's work; a new inventory is seen after so many seconds
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "120",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        # where the pages of runs are kept, so that they outlive the stack's Airflow
        "TECS_RECORDS": str(place.state / "records"),
    }
    if place.lab is not None:
        settings["AIRFLOW__SECRETS__BACKEND"] = "airflow.secrets.local_filesystem.LocalFilesystemBackend"
        settings["AIRFLOW__SECRETS__BACKEND_KWARGS"] = json.dumps(
            {"connections_file_path": str(place.lab / "connections.json")}
        )
        settings["TECS_CLUSTERS"] = str(place.lab / "clusters")
    return settings
