"""A real HTTP server on 127.0.0.1 that speaks OpenAI's chat completions: it says which colour a picture has, and
misbehaves on request. No tests here.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

COLOURS = ("red", "green", "blue")  # the channel that is brightest
MODEL = "tiny-vlm"


class CaptionServer(ThreadingHTTPServer):
    """`asked` holds every request that was answered; `refuse` gives the status and text of those that are not."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.asked: list[dict] = []
        self.keys: set[str | None] = set()
        self.at_once = self.most_at_once = 0
        self.delay = 0.0
        self.lock = threading.Lock()

    def refuse(self, colour: str) -> tuple[int, bytes] | None:
        """Nothing is refused; a test puts its own here."""
        return None

    def __enter__(self) -> CaptionServer:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: CaptionServer

    def do_POST(self) -> None:
        server = self.server
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
            server.keys.add(self.headers.get("Authorization"))
        time.sleep(server.delay)
        status, said = self.answer(asked)
        with server.lock:
            server.at_once -= 1
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # a client that needs no answer any more
            self.wfile.write(said)

    def answer(self, asked: dict) -> tuple[int, bytes]:
        """Return status and body. A request that is not of the API's form is refused as real servers do."""
        (message,) = asked["messages"]
        shown, text = message["content"]
        proper = (
            self.path == "/v1/chat/completions"
            and asked["model"] == MODEL
            and set(asked) == {"model", "messages", "max_tokens", "temperature", "top_p", "seed"}
            and set(message) == {"role", "content"}
            and set(shown) == {"type", "image_url"}
            and set(text) == {"type", "text"}
        )
        if not proper:
            return 400, json.dumps({"error": {"message": f"not of the API: {sorted(asked)}"}}).encode()
        data = base64.b64decode(shown["image_url"]["url"].removeprefix("data:image/jpeg;base64,"))
        pixels = np.asarray(Image.open(io.BytesIO(data)))
        colour = COLOURS[int(pixels.mean((0, 1)).argmax())]
        refused = self.server.refuse(colour)
        if refused is not None:
            return refused
        with self.server.lock:
            self.server.asked.append(
                {"colour": colour, "prompt": text["text"], "seed": asked["seed"], "size": pixels.shape}
            )
        answer = f"a {colour}\npicture"
        body = {"object": "chat.completion", "choices": [{"message": {"role": "assistant", "content": answer}}]}
        return 200, json.dumps(body).encode()

    def log_message(self, *_: object) -> None:
        pass
