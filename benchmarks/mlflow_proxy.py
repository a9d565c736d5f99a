"""A server between a search and MLflow that passes everything on, or answers as broken servers do."""

from __future__ import annotations

import http.client
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

# What an answer is like, by name; "good" passes everything on.
ANSWERS = ("good", "500", "401", "404", "429", "slow", "never", "garbage", "cut", "redirect")
SLOW_SECONDS = 1.0
_HOP = {"connection", "transfer-encoding", "content-length", "server", "date"}


class Proxy:
    """A running proxy.

    Attributes:
        uri: Where it listens.
    """

    def __init__(self, uri: str, answer: Path) -> None:
        self.uri = uri
        self._answer = answer

    def set(self, answer: str) -> None:
        """From now on, answer so; any process may say it."""
        assert answer in ANSWERS
        self._answer.write_text(answer)


@contextmanager
def proxying(target: str, folder: Path) -> Iterator[Proxy]:
    """Run a proxy in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    answer = folder / "answer.txt"
    answer.write_text("good")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(urlsplit(target).netloc, answer))
    pid = os.fork()
    if pid == 0:
        server.serve_forever()
    port = server.server_port
    server.socket.close()
    try:
        yield Proxy(f"http://127.0.0.1:{port}", answer)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _handler(target: str, answer: Path) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            kind = answer.read_text()
            if kind == "slow":
                time.sleep(SLOW_SECONDS)
            if kind in ("good", "slow"):
                return self._pass_on(body)
            if kind == "never":
                time.sleep(3600)
            if kind == "garbage":
                return self._send(200, b"<html>It works!</html>", {"Content-Type": "text/html"})
            if kind == "redirect":
                return self._send(302, b"", {"Location": self.path})
            if kind == "cut":
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b'{"experiment"')
                self.close_connection = True
                return None
            return self._send(int(kind), b'{"error_code": "BROKEN", "message": "broken on purpose"}', {})

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def _pass_on(self, body: bytes) -> None:
            connection = http.client.HTTPConnection(target, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            try:
                connection.request(self.command, self.path, body, headers)
                answered = connection.getresponse()
                content = answered.read()
                kept = {name: value for name, value in answered.getheaders() if name.lower() not in _HOP}
                self._send(answered.status, content, kept)
            except OSError:
                with suppress(OSError):
                    self._send(502, b"", {})
            finally:
                connection.close()

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _answer  # noqa: N815

    return Handler
