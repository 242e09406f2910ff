"""Whatever a plugin of this project adds to Airflow's web server refuses those who are not logged in."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.routing import BaseRoute, Mount
from starlette.testclient import TestClient

PROJECT = Path(__file__).parents[2]
VERBS = ("GET", "POST")


def plugins() -> list[Any]:
    """Every plugin in a file of the plugins' folder, as Airflow finds them."""
    from airflow.plugins_manager import AirflowPlugin

    found: list[Any] = []
    for file in sorted((PROJECT / "plugins").glob("*.py")):
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += [
            each
            for each in vars(module).values()
            if isinstance(each, type) and issubclass(each, AirflowPlugin) and each is not AirflowPlugin
        ]
    assert found, "no plugin is found"
    return found


def routes(of: Sequence[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every verb and path that is answered; of what serves a folder, some path in it."""
    for route in of:
        path = prefix + str(getattr(route, "path", ""))
        if isinstance(route, Mount) and route.routes:
            yield from routes(route.routes, path)
        else:
            for verb in sorted(getattr(route, "methods", None) or VERBS):
                yield verb, re.sub(r"\{.*?\}", "1", path) + ("/1" if isinstance(route, Mount) else "")


def open_routes(of: Sequence[Any]) -> list[str]:
    """What the plugins' web applications answer to somebody who is not logged in."""
    from airflow.api_fastapi.app import init_auth_manager

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    for each in (each for plugin in of for each in plugin.fastapi_apps):
        app.mount(each["url_prefix"], each["app"])
    mounted = list(routes(app.routes))
    init_auth_manager(app)
    client = TestClient(app, raise_server_exceptions=False, follow_redirects=False)
    return [f"{verb} {path}" for verb, path in mounted if client.request(verb, path).status_code not in (401, 403)]


def beside_the_login(of: Sequence[Any]) -> list[str]:
    """What the plugins add that Airflow's login does not guard, or that would show what lies elsewhere."""
    unguarded = ("flask_blueprints", "appbuilder_views", "appbuilder_menu_items", "fastapi_root_middlewares")
    added = [f"{plugin.name}: {kind}" for plugin in of for kind in unguarded if getattr(plugin, kind)]
    shown = [view for plugin in of for view in (*plugin.external_views, *plugin.react_apps)]
    addresses = [str(view.get("href") or view.get("bundle_url")) for view in shown]
    prefixes = tuple(each["url_prefix"] for plugin in of for each in plugin.fastapi_apps)
    return added + [address for address in addresses if not prefixes or not address.startswith(prefixes)]


def test_no_route_of_a_plugin_answers_without_a_login() -> None:
    assert open_routes(plugins()) == []
    assert beside_the_login(plugins()) == []


@pytest.fixture
def careless() -> Any:
    """A plugin with one route that asks for a login, and others that do not."""
    from airflow.api_fastapi.core_api.security import get_user
    from airflow.plugins_manager import AirflowPlugin

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/guarded/{run_id}", dependencies=[Depends(get_user)])
    def guarded(run_id: str) -> str:
        return run_id

    @app.post("/runs/{run_id}")
    def forgotten(run_id: str) -> str:
        return run_id

    class Careless(AirflowPlugin):
        name = "careless"
        fastapi_apps = [{"app": app, "url_prefix": "/careless", "name": "careless"}]  # noqa: RUF012
        external_views = [{"name": "elsewhere", "href": "https://example.org/"}]  # noqa: RUF012

    return Careless


def test_a_route_that_forgot_to_ask_for_a_login_is_found(careless: Any) -> None:
    assert open_routes([careless]) == ["POST /careless/runs/1"]
    assert beside_the_login([careless]) == ["https://example.org/"]
