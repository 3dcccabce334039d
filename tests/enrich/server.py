"""A chat completions endpoint on this machine that answers, or misbehaves, as a test wants."""

import http.server
import json
import re
import socket
import struct
import threading
import time
from collections import Counter


class Server:
    """Answers every request well, unless ``script`` holds an action for it: the first action for the first request.

    Attributes:
        bodies: of all requests, as they came; ``headers`` the same.
        hold: an ``Event`` that answers wait for, from request number ``hold_after`` on; ``held``: their bodies.
    """

    def __init__(self):
        self.script, self.bodies, self.headers = [], [], []
        self.hold, self.hold_after, self.held = None, 0, []
        self.usage = {"prompt_tokens": 100, "completion_tokens": 200}
        self._lock = threading.Lock()
        self.most_at_once = self._at_once = 0

    def __enter__(self):
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server._lock:
                    server.bodies.append(body)
                    server.headers.append(dict(self.headers))
                    action = server.script.pop(0) if server.script else good
                    hold = server.hold if len(server.bodies) > server.hold_after else None
                    server.held += [body] if hold else []
                    server._at_once += 1
                    server.most_at_once = max(server.most_at_once, server._at_once)
                try:
                    if hold:
                        hold.wait(30)
                    action(self, body, server)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client has left
                finally:
                    with server._lock:
                        server._at_once -= 1

            def log_message(self, *args):
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error):
        if self.hold:
            self.hold.set()
        self._http.shutdown()
        self._http.server_close()

    def wait_for(self, number):
        """Wait until so many requests have come."""
        end = time.monotonic() + 30
        while len(self.bodies) < number:
            assert time.monotonic() < end, f"{len(self.bodies)} of {number} requests came"
            time.sleep(0.005)

    def asked(self, bodies=None):
        """How often each question came, or is among ``bodies``."""
        return Counter(json.dumps(body, sort_keys=True) for body in (self.bodies if bodies is None else bodies))


def question(body):
    return body["messages"][-1]["content"]


def texts_for(body, names=("drawing", "picture", "figure")):
    """As many texts as the question wants, about its object."""
    number = int(re.search(r"exactly (\d+) strings", question(body))[1])
    name = re.search(r'"object": "(.*?)"', question(body))
    name = name[1] if name else "design"
    return [f"This is the {names[i % len(names)]} number {i} of the {name} in a patent." for i in range(number)]


def send(handler, content, status=200, headers=()):
    content = content if isinstance(content, bytes) else content.encode()
    handler.send_response(status)
    for name, value in [("Content-Length", str(len(content))), *headers]:
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)


def completion(content, usage, **choice):
    found = {"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop", **choice}]}
    return json.dumps({**found, "usage": usage} if usage is not None else found)


def good(handler, body, server):
    send(handler, completion(json.dumps(texts_for(body)), server.usage))


def says(content, **choice):
    """An action: the model writes ``content``, a text or what a function makes of the body."""

    def action(handler, body, server):
        send(handler, completion(content(body) if callable(content) else content, server.usage, **choice))

    return action


def status(code, content="", **headers):
    return lambda handler, body, server: send(
        handler, content, code, [(name.replace("_", "-"), value) for name, value in headers.items()]
    )


def raw(content):
    """An action: these bytes as an answer of status 200."""
    return lambda handler, body, server: send(handler, content)


def slow(seconds):
    def action(handler, body, server):
        time.sleep(seconds)
        good(handler, body, server)

    return action


def dripping(seconds):
    """An action: a good answer, a byte every 10 ms, for so long at most."""

    def action(handler, body, server):
        content = completion(json.dumps(texts_for(body)), server.usage).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        for place in range(int(seconds * 100)):
            handler.wfile.write(content[place : place + 1])
            handler.wfile.flush()
            time.sleep(0.01)

    return action


def cut_short(handler, body, server):
    """Half of an answer, then the end of the connection."""
    content = completion(json.dumps(texts_for(body)), server.usage).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    handler.close_connection = True


def reset(handler, body, server):
    """The connection is torn down."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True
    raise ConnectionResetError
