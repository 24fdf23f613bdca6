"""HTTP over one kept-alive socket, as bytes: nothing is interpreted that the test wants to look at."""

import json
import pathlib
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from gate import STOOD_STILL  # noqa: E402


class Answer:
    __slots__ = ("status", "head", "headers", "data", "body", "raw")

    def __init__(self, status, head, headers, data):
        self.status, self.head, self.headers, self.data = status, head, headers, data
        self.raw = head + b"\r\n\r\n" + data
        try:
            self.body = json.loads(data) if data else None
        except ValueError:
            self.body = None


class Wire:
    def __init__(self, authority, timeout=120):
        host, port = authority.split(":")
        self.address, self.host, self.timeout = (host, int(port)), authority, timeout
        self.socket, self.buffer = None, b""

    def close(self):
        if self.socket:
            self.socket.close()
        self.socket, self.buffer = None, b""

    def call(self, method, path, headers=(), body=None):
        """Asks again, as `gate.Http` does, when the disk of a shared machine stood still."""
        for again in range(4):
            answer = self.once(method, path, headers, body)
            if answer.status != 503 or STOOD_STILL not in answer.data or again == 3:
                return answer
            time.sleep(1)

    def once(self, method, path, headers=(), body=None):
        head = [f"{method} {path} HTTP/1.1", f"Host: {self.host}", *[f"{name}: {value}" for name, value in headers]]
        if body is not None:
            head.append(f"Content-Length: {len(body)}")
        sent = ("\r\n".join(head) + "\r\n\r\n").encode("latin-1", "replace") + (body or b"")
        for attempt in (1, 2):
            try:
                if self.socket is None:
                    self.socket = socket.create_connection(self.address, timeout=self.timeout)
                    self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.socket.sendall(sent)
                return self.receive(method)
            except (ConnectionError, EOFError):
                self.close()
                if attempt == 2:
                    raise

    def more(self):
        got = self.socket.recv(262144)
        if not got:
            raise EOFError
        self.buffer += got

    def receive(self, method):
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            self.more()
        head, self.buffer = self.buffer[:end], self.buffer[end + 4:]
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ", 2)[1])
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        known = dict(headers)
        if method == "HEAD" or status in (204, 304) or status < 200:
            data = b""
        elif "chunked" in known.get("transfer-encoding", ""):
            data = self.chunks()
        else:
            length = int(known.get("content-length", 0))
            while len(self.buffer) < length:
                self.more()
            data, self.buffer = self.buffer[:length], self.buffer[length:]
        if known.get("connection", "").lower() == "close":
            self.socket.close()
            self.socket, self.buffer = None, b""
        return Answer(status, head, headers, data)

    def chunks(self):
        data = b""
        while True:
            while b"\r\n" not in self.buffer:
                self.more()
            size, _, self.buffer = self.buffer.partition(b"\r\n")
            length = int(size.split(b";")[0], 16)
            while len(self.buffer) < length + 2:
                self.more()
            data, self.buffer = data + self.buffer[:length], self.buffer[length + 2:]
            if length == 0:
                return data
