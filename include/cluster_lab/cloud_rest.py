"""The cloud's own HTTP APIs, asked as its administrator.

The `openstack` client costs two seconds of a processor for each call, this some milliseconds.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

from include.cluster_lab.cloud_files import PASSWORD
from include.cluster_lab.cloud_services import PORTS
from include.lab.errors import LabError

ANSWERS_WITHIN = 30.0
"""Seconds that one request may take."""
TOKEN_LASTS = 1800.0
"""Seconds for which a token is used; Keystone's own limit is an hour."""
COMPUTE_API = "2.74"
"""Nova's microversion in Zed's range that knows `networks: none`, migration to `auto`, and services by UUID."""
POLL = 0.2

_SCOPE = {"project": {"name": "admin", "domain": {"id": "default"}}}
_ADMIN = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
_LOGIN = {"auth": {"identity": {"methods": ["password"], "password": {"user": _ADMIN}}, "scope": _SCOPE}}


class CloudRest:
    """The APIs at one address."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._token = ""
        self._token_until = 0.0

    def get(self, service: str, path: str) -> Any:
        """The JSON that the path shows."""
        return self.ask("GET", service, path)

    def ask(self, method: str, service: str, path: str, body: Any = None, **headers: str) -> Any:
        """The JSON answer to a request, None for an empty one; LabError with what the service said if it refuses.

        `body` is sent as JSON, or as it is when it is bytes.
        """
        sent = {"X-Auth-Token": self._valid_token(), "OpenStack-API-Version": f"compute {COMPUTE_API}", **headers}
        return self._send(method, service, path, body, sent)[0]

    def wait_until_open(self, service: str, deadline: float) -> None:
        """The service answers requests; LabError when it does not by `deadline`, a reading of the monotonic clock."""
        while True:
            try:
                with urllib.request.urlopen(f"http://{self._address}:{PORTS[service]}/", timeout=ANSWERS_WITHIN):
                    return
            except urllib.error.HTTPError:
                return  # whoever refuses a request is there
            except OSError as problem:
                if time.monotonic() > deadline:
                    raise LabError(
                        f"cloud: {service} at {self._address}:{PORTS[service]} does not answer ({problem}); "
                        f"read `journalctl` on the host cloud"
                    ) from problem
                time.sleep(POLL)

    def _valid_token(self) -> str:
        if time.monotonic() > self._token_until:
            _, headers = self._send("POST", "keystone", "/v3/auth/tokens", _LOGIN, {})
            self._token, self._token_until = headers["X-Subject-Token"], time.monotonic() + TOKEN_LASTS
        return self._token

    def _send(
        self, method: str, service: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[Any, dict[str, str]]:
        url = f"http://{self._address}:{PORTS[service]}{path}"
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=ANSWERS_WITHIN) as answer:
                text = answer.read()
                return json.loads(text) if text else None, dict(answer.headers)
        except urllib.error.HTTPError as refused:
            told = refused.read().decode(errors="replace")[:1000]
            raise LabError(f"cloud: {method} {url} was refused with {refused.code}: {told}") from refused
        except (OSError, ValueError) as problem:
            raise LabError(f"cloud: {method} {url} failed: {problem}") from problem
