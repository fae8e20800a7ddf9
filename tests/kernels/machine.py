# SPDX-License-Identifier: Apache-2.0
"""A machine of another kernel with this one's files: QEMU, which shares the root read only; what is
written there is in memory and gone with it."""

import lzma
import pathlib
import shutil
import subprocess

# What mounts the root; everything else the kernel finds by itself, from /lib/modules.
MODULES = ["virtio_pci", "9pnet_virtio", "9p", "overlay"]

INIT = """#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
for module in $(cat /modules/order); do insmod /modules/$module; done
share() { mount -t 9p -o "trans=virtio,version=9p2000.L,msize=524288,$3" "$1" "$2"; }
mkdir -p /lower /memory /root
mount -t devtmpfs dev /dev
share host /lower ro,cache=loose
mount -t tmpfs -o size=1g memory /memory
mkdir /memory/upper /memory/work
mount -t overlay -o lowerdir=/lower,upperdir=/memory/upper,workdir=/memory/work root /root
mount -t proc proc /root/proc
mount -t sysfs sys /root/sys
mount -t bpf bpf /root/sys/fs/bpf
mount -t devtmpfs dev /root/dev
mkdir -p /root/dev/shm /root/dev/pts
mount -t tmpfs shm /root/dev/shm
mount -t devpts pts /root/dev/pts
mount -t tmpfs run /root/run
mount -t tmpfs tmp /root/tmp
mkdir -p /root/run/job /root/run/modules
share job /root/run/job rw
share modules /root/run/modules ro,cache=loose
mkdir -p /root/usr/lib/modules
mount -o bind /root/run/modules /root/usr/lib/modules
exec switch_root /root /usr/bin/python3 -B INSIDE /run/job
"""


def write_initramfs(file, kernel, folder, inside):
    """busybox, the modules that lead to the root, and what mounts it."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "bin").mkdir(parents=True)
    (folder / "modules").mkdir()
    for name in ("dev", "proc", "sys"):
        (folder / name).mkdir()
    shutil.copy("/bin/busybox", folder / "bin/busybox")
    names = []
    for module in kernel.module_files(*MODULES):
        data = module.read_bytes()
        names.append(module.name.removesuffix(".xz"))
        (folder / "modules" / names[-1]).write_bytes(lzma.decompress(data) if module.suffix == ".xz" else data)
    (folder / "modules/order").write_text("\n".join(names) + "\n")
    (folder / "init").write_text(INIT.replace("INSIDE", str(inside)))
    (folder / "init").chmod(0o755)
    listing = "\n".join(str(path.relative_to(folder)) for path in sorted(folder.rglob("*")))
    with open(file, "wb") as archive:
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], input=listing.encode(), cwd=folder,
                       stdout=archive, check=True)


class Machine:
    """Runs until its `inside` has ended. One virtual processor without help of the real one's; its
    clock counts its own instructions, so that no deadline in it depends on what else runs here."""

    def __init__(self, kernel, job, inside, memory=1536):
        self.console = pathlib.Path(job) / "console.log"
        initramfs = pathlib.Path(job) / "initramfs"
        write_initramfs(initramfs, kernel, pathlib.Path(job) / "initramfs.d", inside)
        shares = {"host": "/", "modules": kernel.base / "lib/modules", "job": job}
        argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
                "-machine", "pc", "-accel", "tcg,thread=single", "-icount", "shift=1,sleep=on",
                "-cpu", "Nehalem", "-smp", "1", "-m", str(memory), "-nic", "none",
                "-serial", f"file:{self.console}",
                "-kernel", str(kernel.image), "-initrd", str(initramfs),
                "-append", "console=ttyS0 panic=-1 quiet rdinit=/init"]
        for tag, path in shares.items():
            readonly = "" if tag == "job" else ",readonly=on"
            argv += ["-fsdev", f"local,id={tag},path={path},security_model=none,multidevs=remap{readonly}",
                     "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT, text=True, start_new_session=True)

    @property
    def running(self):
        return self._process.poll() is None

    def last_words(self):
        """Why it ended without having told anything."""
        said = self._process.stdout.read().strip() if not self.running else ""
        console = self.console.read_text(errors="replace") if self.console.exists() else ""
        lines = [line for line in (said + "\n" + console).splitlines() if line.strip()]
        # What follows a panic is registers.
        end = next((at + 1 for at, line in enumerate(lines) if "Kernel panic" in line), len(lines))
        return "\n".join(lines[max(0, end - 8):end])

    def close(self):
        if self.running:
            self._process.kill()
        self._process.wait()
        self._process.stdout.close()
