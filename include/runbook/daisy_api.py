"""Ask Daisy's REST API, and read what it answers piece by piece. Only GET is ever sent.

Nothing that it answers is trusted: every reader below says by name what is missing or is something else.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from include.runbook.site_draft import SourceUnusable

PAGE = 100
"""Entries asked for at a time; Daisy may return fewer."""

MOST_PAGES = 1_000
LARGEST_ANSWER = 8 * 1024 * 1024
"""Bytes; a host with every interface that it can have takes some ten thousand."""

LONGEST_ANSWER = 30.0
"""Seconds for one whole answer; each wait within it may take a third of that."""

Entry = Mapping[str, Any]


class DaisyApi:
    """A session with one Daisy. Use it in a `with` block. Every method raises SourceUnusable for an unusable answer."""

    def __init__(self, url: str) -> None:
        self.url = _base(url)
        # trust_env: a proxy meant for the internet must not be asked for an address of a management network
        self._http = httpx.Client(timeout=LONGEST_ANSWER / 3, trust_env=False, headers={"Accept-Encoding": "identity"})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def one(self, path: str, key: str) -> Entry:
        """Return the object that the answer holds under the key."""
        return object_in(self._get(path, {}), key, path)

    def every(self, path: str, key: str, **filters: str) -> list[Entry]:
        """Return the entries of all pages of a list."""
        found: dict[str, Entry] = {}
        marker: dict[str, str] = {}
        for _ in range(MOST_PAGES):
            answer = self._get(path, {**filters, **marker, "limit": str(PAGE)})
            entries = {text_in(entry, "id", path): entry for entry in list_in(answer, key, path) if entry}
            # A page may be shorter than asked for and yet not the last; and whoever ignores the marker repeats the first.
            if entries.keys() <= found.keys():
                return list(found.values())
            found.update(entries)
            marker = {"marker": list(entries)[-1]}
        raise SourceUnusable(f"GET {self.url}{path}: no end after {MOST_PAGES} pages of the list '{key}'")

    def _get(self, path: str, params: Mapping[str, str]) -> Any:
        where = f"GET {self.url}{path}"
        until = time.monotonic() + LONGEST_ANSWER
        body = bytearray()
        try:
            with self._http.stream("GET", self.url + path, params=params) as answer:
                _accepted(answer, where)
                for piece in answer.iter_raw():
                    body += piece
                    if len(body) > LARGEST_ANSWER:
                        raise SourceUnusable(
                            f"{where}: the answer is larger than {LARGEST_ANSWER:,} bytes; this is not Daisy"
                        )
                    if time.monotonic() > until:
                        raise SourceUnusable(f"{where}: no whole answer within {LONGEST_ANSWER:g} s")
        except httpx.TimeoutException:
            raise SourceUnusable(
                f"{where}: no answer within {LONGEST_ANSWER / 3:g} s; check that Daisy's API runs"
            ) from None
        except (httpx.TransportError, UnicodeError) as failed:  # the latter: a host's name that DNS cannot hold
            raise SourceUnusable(f"{where}: {failed}; check the address, and that Daisy's API runs there") from None
        try:
            return json.loads(bytes(body))
        except (ValueError, RecursionError):
            kind = ascii(answer.headers.get("content-type", "of no type"))
            raise SourceUnusable(
                f"{where}: the answer ({kind}, {len(body)} bytes) is not JSON; this is not Daisy"
            ) from None


def _base(url: str) -> str:
    """Return the address without a path; refuse what is no plain address of an HTTP server."""
    expected = "expected one such as http://10.43.203.10:19292"
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as refused:
        raise SourceUnusable(f"FROM={shown(url)}: {refused}; {expected}") from None
    if parsed.userinfo:  # not shown: it holds a password
        raise SourceUnusable(f"FROM: holds a login, and others can read a command line; {expected}")
    more = parsed.path != "/" or parsed.query or parsed.fragment
    if parsed.scheme not in ("http", "https") or not parsed.host or more or (parsed.port or 80) > 65_535:
        raise SourceUnusable(f"FROM={shown(url)}: not the address of Daisy's API; {expected}")
    return str(parsed).rstrip("/")


def _accepted(answer: httpx.Response, where: str) -> None:
    if answer.has_redirect_location:
        target = shown(answer.headers["location"])
        raise SourceUnusable(f"{where}: redirected to {target}, which is not followed; give Daisy's own address")
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise SourceUnusable(f"{where}: not found (404); check the address and CLUSTER_ID")
    if answer.status_code != httpx.codes.OK:
        raise SourceUnusable(f"{where}: answered with {answer.status_code}; expected 200. Look into Daisy's log")
    if "content-encoding" in answer.headers:
        raise SourceUnusable(f"{where}: the answer is compressed, which was not asked for; this is not Daisy")


def object_in(entry: object, key: str, where: str) -> Entry:
    """Return the object under the key."""
    return as_object(_member(entry, key, where), f"{where}, {key}")


def list_in(entry: object, key: str, where: str) -> list[Any]:
    """Return the list under the key."""
    found = _member(entry, key, where)
    if not isinstance(found, list):
        raise SourceUnusable(f"{where}, {key}: found {_kind(found)}; expected a list")
    return found


def text_in(entry: object, key: str, where: str) -> str:
    """Return the text under the key."""
    found = _member(entry, key, where)
    if not isinstance(found, str):
        raise SourceUnusable(f"{where}, {key}: found {_kind(found)}; expected text")
    return found


def flag_in(entry: Entry, key: str, where: str) -> bool:
    """Return the flag under the key, which databases keep as 0 or 1."""
    found = _member(entry, key, where)
    if found not in (0, 1):
        raise SourceUnusable(f"{where}, {key}: found {shown(found)}; expected 0 or 1")
    return bool(found)


def _member(entry: object, key: str, where: str) -> Any:
    known = as_object(entry, where)
    if key not in known:
        raise SourceUnusable(
            f"{where}: no key '{key}' in Daisy's answer; this is another version of Daisy, or not Daisy"
        )
    return known[key]


def as_object(found: object, where: str) -> Entry:
    """Return what was found when it is an object."""
    if not isinstance(found, dict):
        raise SourceUnusable(f"{where}: found {_kind(found)}; expected an object")
    return found


def _kind(found: object) -> str:
    return {type(None): "null", list: "a list", dict: "an object", str: "text", bool: "true or false"}.get(
        type(found), "a number"
    )


def shown(found: object) -> str:
    """Return the value for a message: on one line, short, and without letters that a terminal would take for orders."""
    text = ascii(found)[1:-1] if isinstance(found, str) else _kind(found)
    return text if len(text) <= 60 else text[:57] + "..."
