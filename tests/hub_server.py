"""A Hugging Face hub on this machine, as far as a model goes up and down: repositories, preupload, LFS, commits, trees, files; with tokens.

It answers as the hub does what huggingface_hub 2.4 asks; what it was asked is in `asked`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_a_test"


@dataclass
class Repository:
    """Commits in order: {path: content} by sha."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes]) -> str:
        sha = hashlib.sha1(f"{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits[sha] = files
        return sha

    def sha(self, revision: str) -> str | None:
        return list(self.commits)[-1] if revision == "main" else revision if revision in self.commits else None


@dataclass
class Hub:
    """What the server knows."""

    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def files(self, name: str) -> dict[str, bytes]:
        """The newest state of a model."""
        repository = self.repositories[name]
        return repository.commits[str(repository.sha("main"))]


class Refused(Exception):
    """A status, the hub's own code of an error, and what it answers besides."""


def _is_lfs(path: str) -> bool:
    return path.endswith(".safetensors")


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None: ...

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        try:
            answer = self._api(path.split("/")[1:])
            content, headers = answer if isinstance(answer, tuple) else (json.dumps(answer).encode(), {})
            status = 200
        except Refused as error:
            status, code = error.args[:2]
            content = json.dumps(error.args[2] if len(error.args) > 2 else {}).encode()
            headers = {"X-Error-Code": code, "X-Error-Message": f"test hub: {code}"}
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _repository(self, name: str, *, write: bool = False) -> Repository:
        repository = self.hub.repositories.get(name)
        is_known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repository is None or (repository.private or write) and not is_known:
            raise Refused(404 if is_known else 401, "RepoNotFound")
        return repository

    def _api(self, parts: list[str]) -> Any:
        match parts:
            case ["api", "repos", "create"]:
                return self._create(json.loads(self.body))
            case ["api", "validate-yaml"]:
                return {"errors": [], "warnings": []}
            case ["api", "models", organization, name]:
                return self._info(f"{organization}/{name}", "main")
            case ["api", "models", organization, name, "revision", *revision]:
                return self._info(f"{organization}/{name}", "/".join(revision))
            case ["api", "models", organization, name, "tree", revision, *_]:
                return self._tree(f"{organization}/{name}", revision)
            case ["api", "models", organization, name, "preupload", _]:
                self._repository(f"{organization}/{name}", write=True)
                return {"files": [self._mode(file) for file in json.loads(self.body)["files"]]}
            case ["api", "models", organization, name, "commit", _]:
                return self._commit(f"{organization}/{name}")
            case [organization, name, "info", "lfs", "objects", "batch"]:
                self._repository(f"{organization}/{name.removesuffix('.git')}", write=True)
                return self._batch()
            case ["lfs", oid]:
                assert hashlib.sha256(self.body).hexdigest() == oid
                self.hub.blobs[oid] = self.body
                return b"", {"ETag": f'"{oid}"'}
            case [organization, name, "resolve", revision, *path]:
                return self._file(f"{organization}/{name}", revision, "/".join(path))
        raise Refused(404, "EntryNotFound")

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Refused(401, "Unauthorized")
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repositories:
            raise Refused(409, "RepoExists", {"url": f"{self.hub.endpoint}/{name}"})
        private = asked.get("private", False) or asked.get("visibility") == "private"
        self.hub.repositories[name] = Repository(private=private)
        self.hub.repositories[name].commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        return {"url": f"{self.hub.endpoint}/{name}", "id": name, "name": name}

    def _sha(self, repository: Repository, revision: str) -> str:
        if (sha := repository.sha(revision)) is None:
            raise Refused(404, "RevisionNotFound")
        return sha

    def _info(self, name: str, revision: str) -> dict[str, Any]:
        repository = self._repository(name)
        sha = self._sha(repository, revision)
        files = [{"rfilename": path} for path in repository.commits[sha]]
        return {"id": name, "modelId": name, "sha": sha, "private": repository.private, "siblings": files, "tags": []}

    def _tree(self, name: str, revision: str) -> list[dict[str, Any]]:
        repository = self._repository(name)
        found = []
        for path, content in repository.commits[self._sha(repository, revision)].items():
            entry = {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            if _is_lfs(path):
                digest = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
            found.append(entry)
        return found

    def _mode(self, file: dict[str, Any]) -> dict[str, Any]:
        mode = "lfs" if _is_lfs(file["path"]) else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}

    def _batch(self) -> dict[str, Any]:
        objects = json.loads(self.body)["objects"]
        actions = [{"upload": {"href": f"{self.hub.endpoint}/lfs/{o['oid']}"}} for o in objects]
        return {"transfer": "basic", "objects": [o | {"actions": a} for o, a in zip(objects, actions, strict=True)]}

    def _commit(self, name: str) -> dict[str, Any]:
        repository = self._repository(name, write=True)
        files = dict(self.hub.files(name))
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        sha = repository.commit(files)
        return {"success": True, "commitUrl": f"{self.hub.endpoint}/{name}/commit/{sha}", "commitOid": sha}

    def _file(self, name: str, revision: str, path: str) -> tuple[bytes, dict[str, str]]:
        repository = self._repository(name)
        sha = self._sha(repository, revision)
        if (content := repository.commits[sha].get(path)) is None:
            raise Refused(404, "EntryNotFound")
        return content, {"X-Repo-Commit": sha, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}


@contextmanager
def hub_server() -> Iterator[Hub]:
    """Yields what a running server knows."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
