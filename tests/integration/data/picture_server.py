"""A real HTTP server on 127.0.0.1 that gives good pictures and everything that goes wrong on the web. No tests here."""

from __future__ import annotations

import contextlib
import io
import struct
import threading
import time
import zlib
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
from PIL import Image

FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}


def picture(index: int, kind: str = "PNG", size: tuple[int, int] = (48, 40), **options: object) -> bytes:
    """A picture of one colour per index with a bright corner at its top left."""
    pixels = np.full((size[1], size[0], 3), (index * 37 % 200, index * 91 % 200, index * 13 % 200), np.uint8)
    pixels[: size[1] // 4, : size[0] // 4] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG of a few hundred bytes that declares 50,000 x 50,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10_000)))
        + chunk(b"IEND", b"")
    )


def sixteen_bits() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((40, 48), 0x4000, np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: its bright top left corner ends at the top right
    return picture(1, "JPEG", exif=exif, quality=95)


def cmyk() -> bytes:
    buffer = io.BytesIO()
    Image.new("CMYK", (48, 40), (0, 200, 200, 0)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    hits: ClassVar[Counter[str]] = Counter()
    agents: ClassVar[set[str]] = set()
    lock: ClassVar[threading.Lock] = threading.Lock()

    def log_message(self, *_: object) -> None:
        pass

    def send(self, body: bytes, code: int = 200, kind: str = "image/png", **headers: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def redirect(self, target: str, body: bytes = b"") -> None:
        self.send(body, 302, Location=target)

    def do_GET(self) -> None:
        with self.lock:
            self.hits[self.path] += 1
            self.agents.add(self.headers["User-Agent"])
            hit = self.hits[self.path]
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client gives up, as it should
            self.answer(self.path, hit)

    def answer(self, path: str, hit: int) -> None:
        port = self.server.server_address[1]
        if path.startswith("/good/"):
            index, _, extension = path.removeprefix("/good/").partition(".")
            time.sleep(int(index) % 7 / 500)  # so that answers come in another order than they were asked for
            self.send(picture(int(index), FORMATS[extension]), kind=f"image/{extension}")
        elif path.startswith("/flaky/"):
            self.send(picture(1)) if hit > 1 else self.send(b"sorry", 500)
        elif path == "/always500":
            self.send(b"sorry", 503)
        elif path == "/drip":
            self.send_response(200)
            self.end_headers()
            for byte in picture(1) * 100:
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)
        elif path == "/drip_header":
            for _ in range(1000):
                self.wfile.write(b"H")
                time.sleep(0.05)
        elif path == "/silent":
            time.sleep(4)
        elif path == "/html":
            self.send(b"<html><body>Not found, but politely</body></html>", kind="image/jpeg")
        elif path == "/huge_declared":
            self.send_response(200)
            self.send_header("Content-Length", str(2**40))
            self.end_headers()
        elif path in ("/huge_endless", "/redirect_endless"):
            self.send_response(200 if path == "/huge_endless" else 302)
            self.send_header("Location", f"http://127.0.0.1:{port}/good/1.png")
            self.end_headers()
            for _ in range(400):
                self.wfile.write(bytes(2**20))
        elif path == "/broken":
            self.send(picture(3, "JPEG")[:300] + b"garbage" * 20)
        elif path == "/bomb":
            self.send(bomb())
        elif path == "/sixteen":
            self.send(sixteen_bits())
        elif path == "/rotated":
            self.send(rotated())
        elif path == "/cmyk":
            self.send(cmyk())
        elif path == "/tiny":
            self.send(picture(1, size=(6, 6)))
        elif path == "/empty":
            self.send(b"")
        elif path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(picture(1))
        elif path == "/hang_up":
            self.close_connection = True
        elif path == "/to_good":
            self.redirect("/good/1.png")
        elif path == "/to_localhost":
            self.redirect(f"http://localhost:{port}/good/2.png")
        elif path == "/to_other_host":
            self.redirect(f"http://127.0.0.2:{port}/good/2.png")
        elif path == "/loop":
            self.redirect("/loop")
        elif path.startswith("/chain/"):
            self.redirect(f"/chain/{int(path.removeprefix('/chain/')) + 1}")
        elif path == "/to_file":
            self.redirect("file:///etc/passwd")
        elif path == "/to_ftp":
            self.redirect("ftp://127.0.0.1/x")
        elif path == "/noai":
            self.send(picture(1), X_Robots_Tag="noai, max-snippet:10")
        elif path == "/noindex":
            self.send(picture(1), X_Robots_Tag="pixsem: noindex")
        elif path == "/other_bot":
            self.send(picture(1), X_Robots_Tag="otherbot: noindex")
        elif path == "/%C3%BC%20x.png?q=%C3%A4":
            self.send(picture(1))
        else:
            self.send(b"no", 404)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        pass


def start_server(host: str = "127.0.0.1") -> Server:
    Handler.hits.clear()
    server = Server((host, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
