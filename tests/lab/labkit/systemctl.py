#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Stands in for systemctl where systemd is not the first process: starts and stops services by what
their units say, and notes what it was asked for in /run/systemctl.log."""

import fnmatch
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, "@LAB@")
from labkit import process, unit  # noqa: E402

UNITS = pathlib.Path("/usr/lib/systemd/system")
STATE = pathlib.Path("/run/systemctl")


class Service:
    def __init__(self, name):
        self.name = name
        base, at, self.instance = name.removesuffix(".service").partition("@")
        self.file = UNITS / f"{base}{at}.service"
        self.pid_file = STATE / f"{name}.pid"

    @property
    def pid(self):
        try:
            pid = int(self.pid_file.read_text())
        except OSError:
            return None
        return pid if process.is_alive(pid) else None

    def folder(self, said, parent, settings):
        path = pathlib.Path(parent, said)
        path.mkdir(parents=True, exist_ok=True)
        shutil.chown(path, settings.get("User", "root"), settings.get("Group", "root"))

    def start(self):
        if self.pid:
            return
        text = self.file.read_text().replace("%i", self.instance)
        file = STATE / self.name
        file.write_text(text)
        settings = unit.Unit(file)
        for option, parent in (("RuntimeDirectory", "/run"), ("StateDirectory", "/var/lib")):
            if settings.get(option):
                self.folder(settings.get(option), parent, settings)
        environment = {}
        defaults = pathlib.Path(settings.get("EnvironmentFile", "-/nothing").lstrip("-"))
        if defaults.exists():
            environment = dict(line.split("=", 1) for line in defaults.read_text().splitlines()
                               if "=" in line and not line.startswith("#"))
            environment = {key: shlex.split(value)[0] for key, value in environment.items()}
        with process.Readiness(STATE / f"{self.name}.notify") as readiness, \
                open(f"/var/log/{self.name}.log", "ab") as log:
            started = subprocess.Popen(
                [sys.executable, "-B", unit.__file__, str(file),
                 *settings.command(environment=environment)],
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **readiness.environment},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            self.pid_file.write_text(str(started.pid))
            try:
                readiness.wait(started)
            except Exception as error:
                said = pathlib.Path(f"/var/log/{self.name}.log").read_text()
                sys.exit(f"{self.name} {error}\n{said}")

    def stop(self):
        pid = self.pid
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while self.pid:
            if time.monotonic() > deadline:
                sys.exit(f"{self.name} does not end")
            time.sleep(0.02)
        self.pid_file.unlink()


def main():
    STATE.mkdir(exist_ok=True)
    with open("/run/systemctl.log", "a") as log:
        print(*sys.argv[1:], file=log)
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    verb, names = words[0], [name.removesuffix(".service") + ".service" for name in words[1:]]
    known = [file.name.removesuffix(".pid") for file in STATE.glob("*.pid")]
    services = []
    for name in names:
        services += [Service(match) for match in fnmatch.filter(known, name)] if "*" in name \
            else [Service(name)]
    if verb == "start":
        for service in services:
            service.start()
    elif verb == "stop":
        for service in services:
            service.stop()
    elif verb in ("restart", "try-restart"):
        for service in services:
            if service.pid or verb == "restart":
                service.stop()
                service.start()
    elif verb == "is-active":
        sys.exit(0 if all(service.pid for service in services) else 3)


if __name__ == "__main__":
    main()
