"""A real S3 API on this machine: moto's server in a process of its own, its log of requests, and a proxy that corrupts what it passes on."""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.fs

SECRETS = {"AWS_ACCESS_KEY_ID": "AKIAQQPRIVATEQQ00001", "AWS_SECRET_ACCESS_KEY": "qq-very-private-9431/secret+key"}
SERVER = "import sys; from moto.server import main; main(sys.argv[1:])"


@dataclass(frozen=True)
class S3Server:
    """A running server with an empty bucket `bucket`."""

    port: int
    log: Path

    def environment(self, port: int | None = None) -> dict[str, str]:
        """What a process needs to reach it, or a proxy of it."""
        endpoint = f"http://127.0.0.1:{port or self.port}"
        return {
            **SECRETS, "AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip

    def gets(self) -> Counter[str]:
        """How often each object was read so far, by its path with the bucket; listings are not counted."""
        return Counter(re.findall(r'"(?:\x1b\[[\d;]*m)*GET /([^ ?]+/[^ ?]+) HTTP', self.log.read_text()))

    @property
    def objects(self) -> pyarrow.fs.FileSystem:
        """Everything on it, for a test to change."""
        return pyarrow.fs.S3FileSystem(
            endpoint_override=f"127.0.0.1:{self.port}",
            scheme="http",
            region="us-east-1",
            access_key="t",
            secret_key="t",
        )

    def put(self, path: str, content: bytes) -> None:
        """An object, by its path with the bucket."""
        with self.objects.open_output_stream(path) as out:
            out.write(content)

    def request(self, method: str, path: str, body: bytes | None = None) -> None:
        """A request that no client library has."""
        url, headers = f"http://127.0.0.1:{self.port}/{path}", {"Content-Type": "text/plain"}
        asked = urllib.request.Request(url, data=body, method=method, headers=headers)
        urllib.request.urlopen(asked, timeout=20).close()


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """The server, until the end of the body."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / "s3.log").open("w") as log:
        command = [sys.executable, "-c", SERVER, "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    server = S3Server(port, folder / "s3.log")
    try:
        for _ in range(300):
            try:
                server.request("PUT", "bucket")
                break
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError(server.log.read_text()) from None
                time.sleep(0.1)
        yield server
    finally:
        process.kill()
        process.wait()


@contextmanager
def corrupting_proxy(server: S3Server, times: dict[str, int]) -> Iterator[int]:
    """The port of a proxy that flips a byte in the first so many bodies of objects whose path ends with a name."""
    left = Counter(times)

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            behind = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            behind.request(self.command, self.path, headers=dict(self.headers))
            answer = behind.getresponse()
            body = bytearray(answer.read())
            for name in left:
                if self.command == "GET" and self.path.endswith(name) and left[name] > 0:
                    left[name] -= 1
                    body[-1] ^= 1
            self.send_response_only(answer.status)
            for header, value in answer.getheaders():
                self.send_header(header, value)
            self.end_headers()
            self.wfile.write(body)
            behind.close()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """Quiet."""

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy.server_address[1]
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()
