# SPDX-License-Identifier: Apache-2.0
"""What the router tests share: stand-ins for Neutron's agent, loads that outlive a daemon, and
views into namespaces."""

import collections
import json
import pathlib
import re
import socketserver
import subprocess
import threading

import labkit
from labkit import process
from mtlab import Daemon, LocalServer, metatap, wait_until


class StubAgent:
    """Listens where an agent would and answers with what it was sent, as JSON. Like the newest
    Neutron agents it reads once, at most 4096 bytes."""

    def __init__(self, path, name="stub", read_once=True):
        self.path, self.name, self.read_once = str(path), name, read_once
        pathlib.Path(self.path).unlink(missing_ok=True)
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                data = self.request.recv(4096)
                while not outer.read_once and b"\r\n\r\n" not in data:
                    data += self.request.recv(4096)
                head, _, body = data.partition(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")
                answer = json.dumps({
                    "from": outer.name, "request": first, "size": len(data),
                    "headers": [[line.split(":", 1)[0].lower(), line.split(":", 1)[1].strip()]
                                for line in lines], "body": body.decode("latin-1")}).encode()
                self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                                     b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(answer)
                                     + answer)

        class Server(LocalServer):
            request_queue_size = 1024

        self.server = Server(self.path, Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        pathlib.Path(self.path).unlink(missing_ok=True)


def inside(namespace, *argv, check=True):
    """A command's output in a namespace. Not by `ip netns exec`, which hides the BPF filesystem."""
    return subprocess.run([*labkit.inside(namespace), *argv], check=check, text=True,
                          capture_output=True).stdout


def has_listener(namespace, address="240.254.98.254:80"):
    try:
        return address in inside(namespace, "ss", "-Hltn")
    except subprocess.CalledProcessError:
        return False


def wait_haproxy(namespace):
    """Labs do not wait for Neutron's own proxy, which takes its time on a slow machine."""
    wait_until(lambda: has_listener(namespace, ":9697"), 30, "Neutron's haproxy listens")


def namespaces_of(lab, kind="qrouter"):
    return [name for name in lab.plan.namespaces if name.startswith(kind)]


def served(lab, daemon):
    """How many of the lab's namespaces have our listener, by the daemon's own sockets."""
    return sum(has_listener(name) for name in lab.plan.namespaces
               if name.startswith(("qrouter-", "qdhcp-")))


def wait_served(lab, seconds=10, listen=False):
    names = [name for name in lab.plan.namespaces if name.startswith(("qrouter-", "qdhcp-"))]
    address = "169.254.169.254:80" if listen else "240.254.98.254:80"
    for name in names:
        wait_until(lambda: has_listener(name, address), seconds, f"a listener in {name}")


def links_of(lab):
    """Pinned links of router mode; filters have none."""
    folder = pathlib.Path("/sys/fs/bpf", lab.id, "links")
    return sorted(path.name for path in folder.glob("q*_*")) if folder.exists() else []


def steered(lab):
    """How many devices in namespaces the daemon says it steers."""
    said = metatap(lab.state / "run/admin.sock", "--json", "status", check=False)
    if said.returncode != 0:
        return 0  # it is not there yet, or not any more
    devices = json.loads(said.stdout).get("routers", {}).get("devices", [])
    return sum(device["state"] == "steered" for device in devices)


def wait_steered(lab, devices, seconds=10):
    wait_until(lambda: steered(lab) == devices, seconds, f"{devices} devices steered")


def daemon_of(lab, stages="dataplane,proxy,agent,api", name="fused", arguments=(), config=None,
              **more):
    overlay = lab.state / f"test-{name}.conf"
    overlay.write_text(labkit.config_text(config or {}))
    return Daemon(name, lab.state, ["--config-file", lab.config_file, "--config-file", overlay,
                                    "--stages", stages, *arguments], **more)


def fds(pid):
    """What a process has open, by kind."""
    return collections.Counter(re.sub(r"[:\[].*", "", kind) for kind in process.descriptors(pid))
