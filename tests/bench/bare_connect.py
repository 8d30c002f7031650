"""The bare loop of `connect`, GET network, pwrite: `SOCKET API NETWORK SOURCE FILE...`."""

import http.client
import json
import os
import socket
import sys

path, api, network, source, *targets = sys.argv[1:]


def connection() -> http.client.HTTPConnection:
    made = http.client.HTTPConnection("engine")
    made.sock = socket.socket(socket.AF_UNIX)
    made.sock.connect(path)
    return made


def ask(question: http.client.HTTPConnection, url: str) -> http.client.HTTPResponse:
    question.request("GET", f"/v{api}{url}")
    return question.getresponse()


def write(line: str) -> None:
    for file in files:
        os.pwrite(file, line.encode(), 0)


files = [os.open(target, os.O_RDWR) for target in targets]
question, stream = connection(), connection()
wanted = '{"event":["create","connect","disconnect"]}'.replace('"', "%22")
events = ask(stream, f"/events?filters={wanted}")
print("ready", flush=True)
while line := events.readline():
    event = json.loads(line)
    subject = event["Actor"]["Attributes"].get("container", event["Actor"]["ID"])
    if event["Type"] == "container" and event["Action"] == "create":
        source = subject
    elif subject == source and event["Action"] == "disconnect":
        write("#")
    elif subject == source and event["Action"] == "connect":
        members = json.load(ask(question, f"/networks/{network}"))["Containers"]
        address = members.get(source, {"IPv4Address": "#"})["IPv4Address"]
        write(f"{address.partition('/')[0]:15} db\n")
