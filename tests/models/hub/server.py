"""A server on loopback that speaks the protocol of the Hugging Face Hub, and fails in the ways that one does.

It serves what huggingface_hub really asks for: HEAD and GET of ``resolve`` with ETag, X-Repo-Commit and, for files of
the large file storage, a redirect with X-Linked-Size and X-Linked-ETag and the offer of Xet, which must not be taken
up; Range; the ``api/models`` page of a revision; and the requests of a commit: create, validate-yaml, preupload, the
LFS batch, the upload, its verification, commit.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_token_of_the_tests"
CHUNK_BYTES = 8192


@dataclass
class Fault:
    """Something that goes wrong a number of times.

    Args:
        path: part of the path of the requests that it befalls.
        times: how often.
        method: of the requests.
        status: answer with this instead.
        headers: and with these headers.
        cut: bytes after which the connection breaks.
        flip: change the last byte.
        pause_s: wait before every piece of the answer.
    """

    path: str
    times: int = 1
    method: str = "GET"
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    flip: bool = False
    pause_s: float = 0.0


@dataclass
class Repository:
    """Files by revision; the last revision is that of the main branch."""

    revisions: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: bool = False
    gated: bool = False

    def commit(self, files: Mapping[str, bytes]) -> str:
        """Add files to those of the last revision, and return the new one."""
        everything = {**(next(reversed(self.revisions.values())) if self.revisions else {}), **files}
        content = b"".join(name.encode() + data for name, data in sorted(everything.items()))
        revision = hashlib.sha1(str(len(self.revisions)).encode() + content).hexdigest()
        self.revisions[revision] = everything
        return revision

    def find(self, revision: str) -> str | None:
        """The commit that a branch or a commit means."""
        head = next(reversed(self.revisions), None)
        return head if revision in ("main", "HEAD") else revision if revision in self.revisions else None


class HubServer(ThreadingHTTPServer):
    """Repositories by name, the faults to come, and the requests that came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def storage_url(self) -> str:
        """Large files come from another host, which must not see the user's token."""
        return f"http://localhost:{self.server_port}"

    def add(self, name: str, files: Mapping[str, bytes]) -> str:
        """Commit files to a repository, which is made if need be; returns the revision."""
        return self.repositories.setdefault(name, Repository()).commit(files)

    def asked(self, method: str, part: str) -> int:
        """Number of requests of a kind that came."""
        return sum(1 for kind, path, _ in self.requests if kind == method and part in path)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away in the middle are a part of the tests."""


@contextmanager
def serve() -> Iterator[HubServer]:
    """Run a server in a thread."""
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def is_large(name: str) -> bool:
    """True if the Hub keeps a file of this name in its large file storage."""
    return name.endswith(".onnx")


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = self._read_chunks()
        path = unquote(urlsplit(self.path).path)
        with self.server.lock:
            self.server.requests.append((self.command, path, dict(self.headers)))
            self.fault = next(
                (
                    item
                    for item in self.server.faults
                    if item.times > 0 and item.method == self.command and item.path in path
                ),
                None,
            )
            if self.fault is not None:
                self.fault.times -= 1
        if self.fault is not None and self.fault.status:
            time.sleep(self.fault.pause_s)
            self._send(self.fault.status, b"", self.fault.headers)
            return
        for pattern, call in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match:
                call(self, *match.groups())
                return
        self._send(404, b"")

    def _read_chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    # --- reading ---

    def _repository(self, name: str) -> Repository | None:
        found = self.server.repositories.get(name)
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if found is None or (found.private and not known):
            self._send(404 if known else 401, b"", {"X-Error-Code": "RepoNotFound"})
            return None
        if found.gated and not known:
            self._send(403, b"", {"X-Error-Code": "GatedRepo"})
            return None
        return found

    def _revision(self, name: str, revision: str) -> tuple[Repository, str] | None:
        """Find a revision that the client may see; else answer why not."""
        found = self._repository(name)
        commit = found and found.find(revision)
        if found is None or commit is None:
            if found is not None:
                self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return None
        return found, commit

    def _resolve(self, name: str, revision: str, file: str) -> None:
        place = self._revision(name, revision)
        if place is None:
            return
        found, commit = place
        if file not in found.revisions[commit]:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        content = found.revisions[commit][file]
        common = {"X-Repo-Commit": commit}
        if is_large(file):
            sha256 = hashlib.sha256(content).hexdigest()
            self.server.objects[sha256] = content
            linked = {"X-Linked-Size": str(len(content)), "X-Linked-ETag": f'"{sha256}"'}
            where = {"Location": f"{self.server.storage_url}/storage/{sha256}", "ETag": '"of the redirect"'}
            route = f"{self.server.url}/api/models/{name}/xet-read-token/{commit}"
            xet = {"X-Xet-Hash": sha256, "Link": f'<{route}>; rel="xet-auth"'}  # offered, as the Hub does
            self._send(302, b"", {**common, **linked, **where, **xet})
        else:
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            self._send_file(content, {**common, "ETag": f'"{git}"'})

    def _stored(self, oid: str) -> None:
        self._send_file(self.server.objects[oid], {"ETag": f'"{oid}"'})

    def _model_info(self, name: str, revision: str = "main") -> None:
        place = self._revision(name, revision)
        if place is None:
            return
        found, commit = place
        files = [{"rfilename": file} for file in found.revisions[commit]]
        self._send_json({"id": name, "modelId": name, "sha": commit, "siblings": files, "tags": [], "private": False})

    # --- writing ---

    def _authorised(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._send(401, b'{"error": "Invalid credentials in Authorization header"}')
        return False

    def _create(self) -> None:
        if not self._authorised():
            return
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.server.repositories:
            self._send_json({"error": "You already created this model repo", "url": f"{self.server.url}/{name}"}, 409)
            return
        private = asked.get("private", False) or asked.get("visibility") == "private"
        self.server.repositories[name] = Repository(private=private)
        self.server.add(name, {".gitattributes": b"*.onnx filter=lfs\n"})
        self._send_json({"url": f"{self.server.url}/{name}", "name": name, "id": name})

    def _validate_yaml(self) -> None:
        asked = json.loads(self.body)
        good = asked["content"].startswith("---\n") and asked["repoType"] == "model"
        errors = [] if good else [{"message": "no metadata"}]
        self._send_json({"errors": errors, "warnings": []}, 200 if good else 400)

    def _preupload(self, _name: str, _revision: str) -> None:
        if not self._authorised():
            return
        files = [
            {
                "path": item["path"],
                "uploadMode": "lfs" if is_large(item["path"]) else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for item in json.loads(self.body)["files"]
        ]
        self._send_json({"files": files})

    def _batch(self, name: str) -> None:
        if not self._authorised():
            return
        objects = []
        for item in json.loads(self.body)["objects"]:
            answer: dict[str, object] = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.server.objects:
                answer["actions"] = {
                    "upload": {"href": f"{self.server.url}/storage/{item['oid']}"},
                    "verify": {"href": f"{self.server.url}/{name}.git/info/lfs/verify"},
                }
            objects.append(answer)
        self._send_json({"transfer": "basic", "objects": objects})

    def _store(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            self._send(400, b"")
            return
        self.server.objects[oid] = self.body
        self._send(200, b"")

    def _verify(self, _name: str) -> None:
        asked = json.loads(self.body)
        whole = len(self.server.objects.get(asked["oid"], b"")) == asked["size"]
        self._send_json({}, 200 if whole else 404)

    def _commit(self, name: str, _revision: str) -> None:
        if not self._authorised():
            return
        files: dict[str, bytes] = {}
        for line in self.body.decode().splitlines():
            item = json.loads(line)
            if item["key"] == "file":
                files[item["value"]["path"]] = base64.b64decode(item["value"]["content"])
            elif item["key"] == "lfsFile":
                files[item["value"]["path"]] = self.server.objects[item["value"]["oid"]]
        commit = self.server.add(name, files)
        self._send_json(
            {"success": True, "commitOid": commit, "commitUrl": f"{self.server.url}/{name}/commit/{commit}"}
        )

    # --- answers ---

    def _send_json(self, content: object, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send_file(self, content: bytes, headers: Mapping[str, str]) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        part = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if wanted else {}
        if self.fault is not None and self.fault.flip:
            content = content[:-1] + bytes([content[-1] ^ 1])
        self._send(206 if wanted else 200, content[start:], {**headers, **part, "Accept-Ranges": "bytes"})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = self.fault.cut if self.fault is not None else None
        sent = content if cut is None else content[:cut]
        for at in range(0, len(sent), CHUNK_BYTES):
            if self.fault is not None and self.fault.pause_s:
                time.sleep(self.fault.pause_s)
            self.wfile.write(sent[at : at + CHUNK_BYTES])
        if cut is not None:
            self.close_connection = True


_NAME = r"([\w.-]+/[\w.-]+)"
_ROUTES = (
    (rf"/{_NAME}/resolve/([^/]+)/(.+)", _Handler._resolve),
    (r"/storage/([0-9a-f]{64})", lambda handler, oid: handler._store(oid) if handler.body else handler._stored(oid)),
    (rf"/api/models/{_NAME}", _Handler._model_info),
    (rf"/api/models/{_NAME}/revision/(.+)", _Handler._model_info),
    ("/api/repos/create", _Handler._create),
    ("/api/validate-yaml", _Handler._validate_yaml),
    (rf"/api/models/{_NAME}/preupload/(.+)", _Handler._preupload),
    (rf"/{_NAME}\.git/info/lfs/objects/batch", _Handler._batch),
    (rf"/{_NAME}\.git/info/lfs/verify", _Handler._verify),
    (rf"/api/models/{_NAME}/commit/(.+)", _Handler._commit),
)
