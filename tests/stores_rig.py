"""Servers on loopback that hold objects: S3 (moto) and a plain web server, which count, and fail when they are told to.

A rule looks at each request before it is answered, and says what becomes of it:

    None       it is answered
    "deny"     403
    "cut"      the answer's head, and half of its body
    "vanish"   the connection ends without an answer
    "silent"   it stays, and nothing comes until `released` is set
"""

from __future__ import annotations

import http.server
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Rule = Callable[["Request"], str | None]

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

DENIED = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `name` is the last name of its path, `sent` how many bytes of a body it was answered with."""

    method: str
    path: str
    query: str
    sent: int = 0

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass
class S3:
    """An S3 server that holds everything in memory."""

    requests: list[Request] = field(default_factory=list)
    rule: Rule = lambda request: None
    released: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    def __post_init__(self) -> None:
        import boto3
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log(self, *_: object) -> None:
                """Say nothing."""

        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", self.port, self._answer, threaded=True, request_handler=Quiet)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        keys = {name.lower(): value for name, value in KEYS.items()}
        self._client = boto3.client("s3", endpoint_url=self.url, region_name="us-east-1", **keys)

    def close(self) -> None:
        """Stop answering: connections are refused from now on."""
        self._server.shutdown()
        self._server.server_close()

    def environment(self) -> dict[str, str]:
        """Return the variables that lead a client here."""
        return {"AWS_ENDPOINT_URL": self.url, "AWS_DEFAULT_REGION": "us-east-1", **KEYS}

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def undisturbed(self) -> Iterator[Any]:
        """Give a client whose requests are neither ruled nor counted."""
        rule, self.rule = self.rule, lambda request: None
        before = len(self.requests)
        try:
            yield self._client
        finally:
            self.rule = rule
            del self.requests[before:]

    def make(self, bucket: str) -> None:
        """Make a bucket."""
        with self.undisturbed() as client:
            client.create_bucket(Bucket=bucket)

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """Put an object."""
        with self.undisturbed() as client:
            client.put_object(Bucket=bucket, Key=key, Body=content)

    def fill(self, bucket: str, folder: str, source: Path) -> None:
        """Put the files of a folder of this machine into one of a bucket."""
        with self.undisturbed() as client:
            for file in sorted(source.iterdir()):
                client.put_object(Bucket=bucket, Key=f"{folder}/{file.name}", Body=file.read_bytes())

    def objects(self, bucket: str, folder: str = "") -> dict[str, bytes]:
        """Return the objects of a bucket below a folder, by their path there."""
        prefix = f"{folder}/" if folder else ""
        with self.undisturbed() as client:
            listed = client.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
            return {
                entry["Key"][len(prefix) :]: client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
                for entry in listed
            }

    def sizes(self, bucket: str, folder: str) -> dict[str, int]:
        """Return how long the objects below a folder of a bucket are."""
        with self.undisturbed() as client:
            listed = client.list_objects_v2(Bucket=bucket, Prefix=f"{folder}/").get("Contents", [])
            return {entry["Key"][len(folder) + 1 :]: entry["Size"] for entry in listed}

    def get(self, bucket: str, key: str) -> bytes:
        """Return what an object holds."""
        with self.undisturbed() as client:
            return bytes(client.get_object(Bucket=bucket, Key=key)["Body"].read())

    def empty(self, bucket: str) -> None:
        """Remove every object of a bucket."""
        names = list(self.objects(bucket))
        with self.undisturbed() as client:
            for name in names:
                client.delete_object(Bucket=bucket, Key=name)

    def unfinished(self, bucket: str) -> int:
        """Return how many uploads in parts were begun and not ended."""
        with self.undisturbed() as client:
            return len(client.list_multipart_uploads(Bucket=bucket).get("Uploads", []))

    def fetched(self) -> dict[str, int]:
        """Return how many bytes of which objects were read."""
        read: dict[str, int] = {}
        for request in self.requests:
            if request.method == "GET" and request.path.count("/") > 1 and "list-type" not in request.query:
                read[request.name] = read.get(request.name, 0) + request.sent
        return read

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING", ""))
        fate = self.rule(request)
        if fate == "deny":
            start("403 Forbidden", [("Content-Type", "application/xml"), ("Content-Length", str(len(DENIED)))])
            return [b"" if request.method == "HEAD" else DENIED]
        if fate == "vanish":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        if fate == "silent":
            self.released.wait(timeout=60)
            raise ConnectionResetError
        body = b"".join(self._app(environ, start))
        self.requests.append(Request(request.method, request.path, request.query, len(body)))
        return [body[: len(body) // 2] if fate == "cut" else body]


@contextmanager
def web_server(folder: Path, seen: list[str]) -> Iterator[str]:
    """Give the URL of a server that sends the files of a folder, whole, and lists nothing; `seen` gets the requests."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, directory=os.fspath(folder), **settings)

        def do_GET(self) -> None:
            seen.append(f"GET {self.path}")
            if self.path.startswith("/denied/"):
                self.send_error(403)
            else:
                super().do_GET()

        def do_HEAD(self) -> None:
            seen.append(f"HEAD {self.path}")
            if self.path.startswith("/denied/"):
                self.send_error(403)
            else:
                super().do_HEAD()

        def list_directory(self, path: str | os.PathLike[str]) -> None:  # type: ignore[override]
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
