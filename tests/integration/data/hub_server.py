"""A small server on 127.0.0.1 that answers what huggingface_hub's file system asks of a private data set.

No tests here. It stands for the hub in form alone: listings, facts of a file, and byte ranges, for who shows the token.
"""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

REPO = "org/photos"
TOKEN = "hf_" + "s3cretTokenOfTheTests"
COMMIT = "c0ffee" + "0" * 34


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.calls: list[str] = []
        self.refused = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


def start_hub(folder: Path) -> Hub:
    server = Hub(folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, code: int, body: bytes, **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def entry(self, path: Path) -> dict[str, object]:
        name = path.relative_to(self.server.folder).as_posix()
        if path.is_dir():
            return {"type": "directory", "oid": "0" * 40, "size": 0, "path": name}
        sha = hashlib.sha256(path.read_bytes()).hexdigest()
        size = path.stat().st_size
        lfs = {"oid": sha, "size": size, "pointerSize": 130}
        return {"type": "file", "oid": sha[:40], "size": size, "path": name, "lfs": lfs}

    def do_GET(self) -> None:
        self.handle_call()

    def do_HEAD(self) -> None:
        self.handle_call()

    def do_POST(self) -> None:
        self.handle_call()

    def handle_call(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.server.calls.append(f"{self.command} {path}")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.server.refused += REPO in path
            self.answer(401, b"{}", X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
            return
        api, files = f"/api/datasets/{REPO}", f"/datasets/{REPO}/resolve/"
        if path.startswith(f"{api}/tree/"):
            folder = self.server.folder / path.removeprefix(f"{api}/tree/").partition("/")[2]
            deep = "recursive=true" in self.path.lower()
            if not folder.is_dir():
                self.answer(404, b"{}", X_Error_Code="EntryNotFound")
                return
            found = sorted(folder.rglob("*") if deep else folder.iterdir())
            self.answer(200, json.dumps([self.entry(p) for p in found]).encode(), Content_Type="application/json")
        elif path.startswith(f"{api}/paths-info/"):
            wanted = json.loads(body)["paths"] if body.startswith(b"{") else _form(body)
            found = [self.server.folder / name for name in wanted if (self.server.folder / name).exists()]
            self.answer(200, json.dumps([self.entry(p) for p in found]).encode(), Content_Type="application/json")
        elif path == api or path.startswith(f"{api}/revision/"):
            info = {"id": REPO, "sha": COMMIT, "private": True, "siblings": [], "tags": [], "downloads": 0, "likes": 0}
            self.answer(200, json.dumps(info).encode(), Content_Type="application/json")
        elif path.startswith(files):
            file = self.server.folder / path.removeprefix(files).partition("/")[2]
            self.send_file(file)
        else:
            self.answer(404, b"{}")

    def send_file(self, file: Path) -> None:
        if not file.is_file():
            self.answer(404, b"{}", X_Error_Code="EntryNotFound")
            return
        data = file.read_bytes()
        if given := self.headers.get("Range"):
            first, _, last = given.removeprefix("bytes=").partition("-")
            part = data[int(first) : int(last) + 1 if last else None]
            self.answer(206, part, Content_Range=f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
        else:
            self.answer(200, data, ETag=f'"{hashlib.sha256(data).hexdigest()}"', X_Repo_Commit=COMMIT)


def _form(body: bytes) -> list[str]:
    from urllib.parse import parse_qs

    return parse_qs(body.decode()).get("paths", [])
