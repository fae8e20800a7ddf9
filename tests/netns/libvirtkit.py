# SPDX-License-Identifier: Apache-2.0
"""A host with a real libvirtd and QEMU guests, in a copy of this system: libvirt's and metatap's own
names are free there, and the configuration of this machine's libvirt is neither seen nor touched.

The guests have no operating system. Their network card's own boot ROM (iPXE) asks for an address by
DHCP and then for its metadata, first once for all of it, which stays in its memory, and from then on
again and again. No processor of this machine's is needed for that, and it takes a few seconds."""

import json
import pathlib
import re
import shutil

import labkit
import mtlab
from labkit.clean_root import CleanRoot

PACKAGING = labkit.ROOT / "packaging"
GATEWAY = "10.77.0.1"
# What else of libvirt's would be this machine's.
PRIVATE = ["/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt"]

LIBVIRTD = """unix_sock_ro_perms = "0777"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
"""
# No cgroups, no other users, no virtlogd: what a namespace on any machine has.
QEMU = """user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""
IPXE = """#!ipxe
isset ${net1/mac} && ifclose net0 && ifconf -c dhcp net1 ||
set metadata http://169.254.169.254
imgfetch --name all ${metadata}/openstack/latest/meta_data.json ||
imgfetch --name user_data ${metadata}/openstack/latest/user_data ||
:again
imgfetch --name id ${metadata}/latest/meta-data/instance-id && imgfree id ||
sleep 1
goto again
"""


def missing():
    for program, package in (("libvirtd", "libvirt-daemon"), ("virsh", "libvirt-clients"),
                             ("qemu-system-x86_64", "qemu-system-x86"), ("dnsmasq", "dnsmasq-base"),
                             ("unshare", "util-linux"), ("systemd-sysusers", "systemd")):
        if not shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin"):
            return f"{program} is not installed (package {package}; scripts/install-deps.sh --for libvirt)"
    if not list(pathlib.Path("/usr/lib").glob("*/libvirt/connection-driver/libvirt_driver_qemu.so")):
        return "libvirt's driver for QEMU is not installed (package libvirt-daemon-driver-qemu)"
    if pathlib.Path("/usr/sbin/metatapd").exists():
        return "metatap is installed on this machine"
    return None


def domain_xml(text):
    """The domain of the manual, as one that these machines can run: without KVM, with little memory,
    and booted from its network card."""
    for old, new in (("type='kvm'", "type='qemu'"), ("2048", "64"),
                     ("<smbios", "<boot dev='network'/>\n    <smbios")):
        assert old in text
        text = text.replace(old, new)
    return text


class LibvirtHost:
    def __init__(self):
        self.root = CleanRoot(labkit.ROOT, labkit.BIN.parent)
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self):
        run = self.run
        for folder in PRIVATE:
            run("mkdir", "-p", folder)
            run("mount", "-t", "tmpfs", "none", folder)
        self.write("/etc/libvirt/libvirtd.conf", LIBVIRTD)
        self.write("/etc/libvirt/qemu.conf", QEMU)
        self.write("/run/libvirt.sysusers", "u libvirt-qemu -\n")  # as libvirt-daemon-system has it
        run("systemd-sysusers", "/run/libvirt.sysusers")
        self._install_metatap()
        run("ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        run("ip", "address", "add", f"{GATEWAY}/24", "dev", "br0")
        run("ip", "address", "add", "fd77::1/64", "dev", "br0", "nodad")
        run("ip", "link", "set", "br0", "up")
        run("mkdir", "-p", "/tmp/tftp")
        self.write("/tmp/tftp/guest", IPXE)
        run("dnsmasq", "--conf-file=/dev/null", "--port=0", "--user=root", "--interface=br0", "--bind-interfaces",
            "--dhcp-range=10.77.0.10,10.77.0.99,255.255.255.0", f"--dhcp-option=3,{GATEWAY}", "--no-ping",
            "--dhcp-authoritative", "--enable-ra", "--dhcp-range=fd77::,ra-only", "--dhcp-boot=guest", "--enable-tftp", "--tftp-root=/tmp/tftp",
            "--dhcp-leasefile=/run/leases", "--pid-file=/run/dnsmasq.pid")

    def _install_metatap(self):
        """As the package does, with the programs as they were built."""
        self.root.stand_in_for_systemd()
        for name, place in (("metatapd", "/usr/sbin/metatapd"), ("metatap", "/usr/bin/metatap")):
            self.run("ln", "-s", labkit.BIN / name, place)
        for name, place in (("metatapd.service", "/usr/lib/systemd/system/metatapd.service"),
                            ("metatap.sysusers", "/usr/lib/sysusers.d/metatap.conf"),
                            ("metatap.tmpfiles", "/usr/lib/tmpfiles.d/metatap.conf"),
                            ("metatapd.conf", "/etc/metatap/metatapd.conf")):
            self.run("mkdir", "-p", pathlib.Path(place).parent)
            self.write(place, (PACKAGING / name).read_text())
        self.run("systemd-sysusers", "metatap.conf")
        self.run("systemd-tmpfiles", "--create", "metatap.conf")
        self.write("/etc/metatap/metatapd.conf.d/test.conf", "[proxy]\nworkers = 1\naccess_log_sample = 1\n")

    def close(self):
        self.root.close()

    def run(self, *argv, **more):
        return self.root.run(*argv, **more)

    def shell(self, text, **more):
        return self.run("/bin/sh", "-ec", text, **more)

    def path(self, name):
        return self.root.path(name)

    def write(self, name, text):
        self.path(name).write_text(text)

    # ---- libvirt

    def start_libvirtd(self):
        self.run("libvirtd", "--daemon", "--pid-file", "/run/libvirtd.pid")
        mtlab.wait_until(lambda: self.virsh("uri", check=False).startswith("qemu:///system"), 20, "libvirtd answers")

    def signal_libvirtd(self, name):
        self.shell(f"kill -{name} $(cat /run/libvirtd.pid)")

    def stop_libvirtd(self):
        self.signal_libvirtd("TERM")
        mtlab.wait_until(lambda: not self.path("/run/libvirtd.pid").exists(), 20, "libvirtd ends")

    def virsh(self, *arguments, **more):
        return self.run("virsh", "-q", "-c", "qemu:///system", *arguments, **more)

    def define(self, xml):
        self.write("/tmp/domain.xml", xml)
        self.virsh("define", "/tmp/domain.xml")

    # ---- metatap

    def metatap(self, *arguments):
        said = self.run("metatap", "--json", *arguments, check=False)
        try:
            return json.loads(said)
        except ValueError:
            raise AssertionError(f"metatap {' '.join(arguments)}: {said}") from None

    def instances(self):
        return {row["name"]: row for row in self.metatap("instance", "list")}

    def ports(self):
        """By device."""
        return {row["device"]: row for row in self.metatap("ports")}

    def log(self):
        return self.path("/var/log/metatapd.service.log").read_text()

    def answers(self):
        """What guests have been answered: port, path and status of each."""
        return re.findall(r'access port=(\S+) .* status=(\d+) .*"GET (\S+)"', self.log())

    def wait_answered(self, port, path, seconds=60):
        """Until that guest has been answered there once more."""
        def answered():
            return self.answers().count((port, "200", path))
        before = answered()
        mtlab.wait_until(lambda: answered() > before, seconds, f"port {port} asks for {path}", pause=0.2)

    def memory_of(self, domain):
        """All that the guest has been told, and what else it has in its memory."""
        file = f"/tmp/{domain}.memory"
        self.virsh("qemu-monitor-command", "--hmp", domain, f'pmemsave 0 {64 << 20} "{file}"')
        data = self.path(file).read_bytes()
        self.path(file).unlink()
        return data
