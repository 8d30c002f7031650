"""The bare loop that relinkd is measured against: one source, one file, nothing else.

`python bare.py SOCKET API NETWORK CONTAINER FILE`: synchronous, raw unix sockets, own process.
"""

import json
import os
import socket
import sys

path, api, network, container, target = sys.argv[1:]


def ask(url: str, answer: socket.socket | None = None) -> socket.socket:
    connection = answer or socket.socket(socket.AF_UNIX)
    if answer is None:
        connection.connect(path)
    connection.sendall(f"GET /v{api}{url} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
    return connection


file = os.open(target, os.O_RDWR)
question = ask("/_ping")
question.recv(65536)
events = ask(
    '/events?filters={"type":["network"],"event":["connect","disconnect"]}'.replace('"', "%22")
)
print("ready", flush=True)
while data := events.recv(65536):
    if container.encode() not in data:
        continue
    if b'"disconnect"' in data:
        os.pwrite(file, b"#", 0)
    if b'"connect"' in data:
        body = b""
        ask(f"/networks/{network}", question)
        while not body.endswith((b"}\n", b"0\r\n\r\n")):
            body += question.recv(65536)
        start, end = body.index(b'{"Name"'), body.rindex(b"}") + 1
        found = json.loads(body[start:end])["Containers"][container]["IPv4Address"]
        os.pwrite(file, f"{found.partition('/')[0]:15} db\n".encode(), 0)
