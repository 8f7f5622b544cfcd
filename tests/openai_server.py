"""An OpenAI-compatible server on localhost whose replies are a script: what a provider says, without a provider."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[list[dict[str, Any]], int], str]
"""(the request's messages, how many requests came before) -> what the model says."""


@dataclass
class Server:
    """`url` is what a client's base_url is set to; `requests` are the bodies received, in order."""

    reply: Reply
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def conversations(self) -> list[list[dict[str, Any]]]:
        return [request["messages"] for request in self.requests]


@contextmanager
def serving(reply: Reply) -> Iterator[Server]:
    """A server while the block runs. Replies stream by server-sent events where the request asks for it."""
    served = Server(reply)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self.path.endswith("/chat/completions"):
                self.send_error(404)
                return
            with served.lock:
                number = len(served.requests)
                served.requests.append(body)
            text = served.reply(body["messages"], number)
            if body.get("stream"):
                self._stream(text)
            else:
                message = {"role": "assistant", "content": text}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
                self._send({"object": "chat.completion", "choices": [choice], "usage": usage})

        def _send(self, payload: dict[str, Any]) -> None:
            data = json.dumps({"id": "c-1", "created": 1, "model": "scripted", **payload}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _stream(self, text: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            pieces = [text[at : at + 40] for at in range(0, len(text), 40)]
            deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": p} for p in pieces), {}]
            try:
                for delta in deltas:
                    choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}
                    event = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
                    self.wfile.write(f"data: {json.dumps({**event, 'choices': [choice]})}\n\n".encode())
                self.wfile.write(b"data: [DONE]\n\n")
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client has heard enough
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        served.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield served
        finally:
            http.shutdown()
            thread.join()
