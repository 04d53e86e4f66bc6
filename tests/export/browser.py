"""Programs run by a headless Chromium, whose GPU is SwiftShader."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
OPTIONS = [
    "--headless=new", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader",
    "--no-first-run", "--disable-background-networking", "--hide-scrollbars",
]  # fmt: skip
# Networks with one of each kind of term, for what takes long for all.
FEW = ["siren", "spline", "wavelet", "edge-tanh", "moved knots of order 3", "many intervals"]
# Scripts answer with `answer(value)`. On localhost all interfaces of browsers are to be had.
PREAMBLE = """
function answer(value) { return fetch("/answer", {method: "POST", body: JSON.stringify(value)}); }
window.addEventListener("error", event => answer({failed: event.message}));
window.addEventListener("unhandledrejection", event => answer({failed: String(event.reason)}));
"""


def answer_of(page: str, script: str, *, query: str = "", size: str = "800,600") -> Any:
    """What `script`, at the end of the HTML `page`, answers. Fails if it raises an error, or after
    five minutes."""
    assert CHROMIUM
    content = f"<script>{PREAMBLE}</script>{page}<script>{script}</script>"
    # Chromium's own processes may still write into the profile when the browser has ended.
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with _served(content) as (port, done, answers), folder as profile:
        address = f"http://127.0.0.1:{port}/{query}"
        command = [
            CHROMIUM,
            *OPTIONS,
            f"--window-size={size}",
            f"--user-data-dir={profile}",
            address,
        ]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as browser:
            try:
                assert done.wait(300), "the browser did not answer"
            finally:
                browser.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    browser.wait(10)
                browser.kill()
    found = answers[0]
    assert not (isinstance(found, dict) and "failed" in found), found["failed"]
    return found


@contextlib.contextmanager
def _served(content: str) -> Iterator[tuple[int, threading.Event, list[Any]]]:
    done, answers = threading.Event(), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # it asks for icons, and may end before
                self.wfile.write(content.encode())

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            answers.append(json.loads(self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()
            done.set()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1], done, answers
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
