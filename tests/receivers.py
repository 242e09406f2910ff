"""A mail server and a web server on the loopback that keep what they are sent, and can be made to fail or to hang."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_string, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast


class MailServer(socketserver.ThreadingTCPServer):
    """Speaks as much SMTP as Airflow's notifier does. `mails` are those it took; while `hangs` is set, it says nothing."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _MailSession)
        self.mails: list[EmailMessage] = []
        self.hangs = threading.Event()
        self.let_go = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _MailSession(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server = cast("MailServer", self.server)
        if server.hangs.is_set():
            server.let_go.wait(60)
            return
        self.wfile.write(b"220 mail.example.org\r\n")
        while line := self.rfile.readline():
            word = line.split(b" ", 1)[0].strip().upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                server.mails.append(self._mail())
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")

    def _mail(self) -> EmailMessage:
        lines = iter(self.rfile.readline, b".\r\n")
        text = b"".join(line.removeprefix(b".") if line.startswith(b"..") else line for line in lines).decode()
        return cast("EmailMessage", message_from_string(text, policy=policy.default))


class WebServer(ThreadingHTTPServer):
    """Takes JSON by POST and answers with `status`. `posts` pairs each path with what came there."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _WebSession)
        self.posts: list[tuple[str, dict[str, Any]]] = []
        self.status = 200

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def until(self, came: Callable[[dict[str, Any]], bool]) -> None:
        """Wait for a post that is as wanted: Airflow takes a run to have ended before its last task's callbacks are called."""
        ends = time.monotonic() + 60
        while not any(came(posted) for _, posted in list(self.posts)):
            assert time.monotonic() < ends, f"only these came: {self.posts}"
            time.sleep(0.1)


class _WebSession(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = cast("WebServer", self.server)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.posts.append((self.path, json.loads(body)))
        self.send_response(server.status)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: the tests look at what has arrived."""


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    """The server answers while the block lasts."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
