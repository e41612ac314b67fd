"""A small Hub on this machine, which keeps what is pushed to it."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SHA = "a" * 40
Files = dict[str, dict[str, bytes]]  # by repository and name


class Keeper(BaseHTTPRequestHandler):
    """What of the Hub's protocol a push and a pull use."""

    files: Files
    asked: list[tuple[str, str]]  # method and path, and who asked

    def log_message(self, *words: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.asked.append((f"POST {self.path}", self.headers.get("authorization", "")))
        if not self.headers.get("authorization"):
            return self._say({"error": "who are you?"}, 401)
        if self.path == "/api/repos/create":
            fields = json.loads(body)
            name = f"{fields.get('organization') or 'me'}/{fields['name']}"
            self.files.setdefault(name, {})
            return self._say({"url": f"http://{self.headers['host']}/{name}", "name": name})
        if self.path == "/api/validate-yaml":
            return self._say({"errors": [], "warnings": []})
        name = "/".join(self.path.split("/")[3:5])
        if "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            plain = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            return self._say({"files": [{"path": file["path"], **plain} for file in asked]})
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                content = base64.b64decode(entry["value"]["content"])
                self.files[name][entry["value"]["path"]] = content
        return self._say(
            {"commitOid": SHA, "commitUrl": f"http://{self.headers['host']}/{name}/commit/{SHA}"}
        )

    def do_GET(self) -> None:
        self.asked.append((f"GET {self.path}", self.headers.get("authorization", "")))
        parts = self.path.partition("?")[0].split("/")
        name = "/".join(parts[3:5] if parts[1] == "api" else parts[1:3])
        if name not in self.files:
            return self._say(
                {"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"}
            )
        if parts[1] == "api":
            files = [{"rfilename": k, "size": len(v)} for k, v in self.files[name].items()]
            return self._say({"id": name, "sha": SHA, "siblings": files})
        content = self.files[name][parts[-1]]
        named = {"ETag": hashlib.sha1(content).hexdigest(), "X-Repo-Commit": SHA}
        return self._send(content, 200, named)

    do_HEAD = do_GET

    def _say(self, answer: Any, code: int = 200, headers: dict[str, str] | None = None) -> None:
        kind = {"content-type": "application/json"}
        self._send(json.dumps(answer).encode(), code, kind | (headers or {}))

    def _send(self, content: bytes, code: int, headers: dict[str, str]) -> None:
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@dataclass
class SmallHub:
    """A running Hub: where it is, what it keeps, and who asked what of it."""

    endpoint: str = ""
    files: Files = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def small_hub() -> Iterator[SmallHub]:
    """Run one, ended afterwards."""
    hub = SmallHub()
    handler = type("OneKeeper", (Keeper,), {"files": hub.files, "asked": hub.asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    yield hub
    server.shutdown()
    server.server_close()
