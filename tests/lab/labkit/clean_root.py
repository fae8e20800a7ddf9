# SPDX-License-Identifier: Apache-2.0
"""A copy of this system to install into: its files under an overlay, with namespaces of its own for
mounts, processes and the network, so that a package's own names (/run/metatap, /sys/fs/bpf/metatap)
are free. Its first process ends with it, and all that is in it ends with that process."""

import os
import pathlib
import signal
import subprocess
import tempfile

# The last line makes mounts shared, as systemd has them; as the first process it waits for orphans, too.
SETUP = r"""
set -e
work=$1 source=$2 build=$3
mount -t tmpfs none "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$work/root"
cd "$work/root"
mkdir -p .outside
mount -t proc proc proc
mount -t sysfs sys sys
mount -t bpf bpf sys/fs/bpf
mount --rbind /dev dev
mount -t tmpfs none run
mount -t tmpfs none tmp
for folder in "$source" "$build"; do
  mkdir -p ".$folder"
  mount --rbind "$folder" ".$folder"
done
pivot_root . .outside
exec chroot . /bin/sh -c 'umount -l /.outside; mount --make-rshared /; ip link set lo up; echo ready; sleep 600 & wait $!'
"""


class CleanRoot:
    def __init__(self, source, build):
        self._work = tempfile.mkdtemp(prefix="metatap-root-")
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", SETUP,
             "sh", self._work, str(source), str(build)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True)
        if self._holder.stdout.readline() != "ready\n":
            why = self._holder.stderr.read().strip()
            self.close()
            raise OSError(why)
        children = pathlib.Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        self._first = int(children.read_text().split()[0])

    def close(self):
        if self._holder.poll() is None:
            os.killpg(self._holder.pid, signal.SIGKILL)
        self._holder.wait()
        self._holder.stdout.close()
        self._holder.stderr.close()
        os.rmdir(self._work)

    def run(self, *argv, check=True, **more):
        """A command in it: its output, both kinds."""
        done = subprocess.run(
            ["nsenter", "--target", str(self._first), "--mount", "--net", "--pid", "--root=/proc/"
             f"{self._first}/root", "--wdns=/", *map(str, argv)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, **more)
        if check:
            assert done.returncode == 0, f"{' '.join(map(str, argv))}: {done.stdout}"
        return done.stdout

    def stand_in_for_systemd(self):
        """systemctl starts and stops what units say, though no systemd runs here."""
        here = pathlib.Path(__file__).resolve().parent
        stand_in = self.path("/usr/bin/systemctl")
        stand_in.unlink(missing_ok=True)
        stand_in.write_text((here / "systemctl.py").read_text().replace("@LAB@", str(here.parent)))
        stand_in.chmod(0o755)

    def path(self, name):
        """Where a file of it is, seen from outside."""
        return pathlib.Path(f"/proc/{self._first}/root{name}")
