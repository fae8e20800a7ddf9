# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL of one test, that can be stopped, killed, or made to hang."""

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time


def missing():
    """Why there can be none here, or nothing."""
    return None if binaries() else "PostgreSQL's server programs are not installed"


def binaries():
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"),
                   key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else None


class Postgres:
    """Reached by a UNIX socket only, or also by listen(). It refuses to run as root, so it runs as
    nobody then."""

    def __init__(self):
        self.prefix, self.more = [], ["-h", ""]
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="metatap-postgres-"))
        self.process = None
        self.folder.chmod(0o755)  # its data is closed to others, its socket is not
        self.user = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self.user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._run("initdb", "-D", self.folder / "data", "-U", "metatap", "-A", "trust", "-N",
                  "--no-instructions")
        self.start()

    def _run(self, program, *arguments):
        done = subprocess.run([binaries() / program, *arguments], cwd=self.folder,
                              capture_output=True, text=True, **self.user)
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
        return done.stdout

    def url(self, database="postgres"):
        return f"postgresql://metatap@/{database}?host={self.folder}"

    def sql(self, text, database="postgres"):
        return self._run("psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", text,
                         self.url(database)).strip()

    def start(self):
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, binaries() / "postgres", "-D", self.folder / "data", "-k", self.folder,
                 *self.more, "-c", "fsync=off"], cwd=self.folder, stdout=log, stderr=log, **({} if self.prefix else self.user))
        deadline = time.monotonic() + 20
        while subprocess.run([binaries() / "pg_isready", "-q", "-h", self.folder]).returncode != 0:
            assert time.monotonic() < deadline and self.process.poll() is None, \
                (self.folder / "log").read_text()
            time.sleep(0.05)

    def listen(self, addresses, namespace, certificate=None):
        """From now on also by TCP, there, for anybody; with TLS where there is a certificate (and its
        key, `.crt` and `.key`)."""
        self.stop()
        with open(self.folder / "data/pg_hba.conf", "w", encoding="ascii") as rules:
            rules.write("local all all trust\nhost all all all trust\n")
        self.more = ["-h", ",".join(addresses)]
        if certificate:
            own = self.folder / "server.crt", self.folder / "server.key"
            for source, target in zip((certificate, certificate.with_suffix(".key")), own):
                shutil.copy(source, target)
                os.chown(target, self.user["user"], self.user["group"])
                target.chmod(0o600)
            self.more += ["-c", "ssl=on", "-c", f"ssl_cert_file={own[0]}", "-c", f"ssl_key_file={own[1]}"]
        nobody = self.user["user"], self.user["group"]
        self.prefix = ["nsenter", f"--net=/run/netns/{namespace}", "setpriv", f"--reuid={nobody[0]}",
                       f"--regid={nobody[1]}", "--clear-groups"]
        self.start()

    def _signal(self, number):
        """To each of its processes."""
        pid = self.process.pid
        os.kill(pid, number)
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), number)

    def hang(self):
        """It answers nothing any more, but its connections stand, and new ones are accepted."""
        self._signal(signal.SIGSTOP)

    def go_on(self):
        self._signal(signal.SIGCONT)

    def stop(self):
        if self.process is not None:
            self.go_on()
            self.process.send_signal(signal.SIGQUIT)  # at once, as a crash would
            self.process.wait(20)
            self.process = None

    def close(self):
        self.stop()
        shutil.rmtree(self.folder)
