# SPDX-License-Identifier: Apache-2.0
"""scripts/demo.sh: two tenants with the same addresses, each gets its own metadata."""

import argparse
import ctypes
import hashlib
import hmac
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import labkit  # noqa: E402
from labkit import topologies  # noqa: E402
from labkit.process import Readiness  # noqa: E402

PYTHON = "/usr/bin/python3"
CRAWLER = labkit.ROOT / "tests/conformance/cloudinit_crawl.py"
COLOURS = {"red": 31, "blue": 34, "bold": 1, "dim": 2, "green": 32}
colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def paint(text, how):
    return f"\033[{COLOURS[how]}m{text}\033[0m" if colour and how in COLOURS else str(text)


def width_of(text):
    return len(re.sub(r"\033\[\d+m", "", text))


def table(rows, indent="  "):
    """The first row is the heading; cells may be painted."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(width_of(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [cell + " " * (width - width_of(cell)) for cell, width in zip(row, widths)]
        print(indent + "  ".join(paint(cell, "bold") if number == 0 else cell for cell in cells).rstrip())
        if number == 0:
            print(indent + paint("  ".join("─" * width for width in widths), "dim"))


def chapter(title, text=""):
    print(f"\n{paint(title, 'bold')}")
    if text:
        print(paint("  " + text.replace("\n", "\n  "), "dim"))
    print()


def say(text):
    print(f"  {text}", flush=True)


# --------------------------------------------------------------------------- what the machine can

def try_bpf():
    """None, or why the kernel refuses BPF: a map and a TC program of two instructions are tried."""
    class Program(ctypes.Structure):
        _fields_ = [("type", ctypes.c_uint32), ("count", ctypes.c_uint32), ("code", ctypes.c_uint64),
                    ("license", ctypes.c_uint64), ("rest", ctypes.c_uint8 * 104)]
    numbers = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(bytes([0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]))
    licence = ctypes.create_string_buffer(b"GPL")
    program = Program(3, 2, ctypes.addressof(code), ctypes.addressof(licence))
    fd = libc.syscall(numbers.get(os.uname().machine, 280), 5, ctypes.byref(program),
                      ctypes.sizeof(program))
    if fd < 0:
        return os.strerror(ctypes.get_errno())
    os.close(fd)
    return None


def try_namespace():
    pid = os.fork()
    if pid == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        os._exit(0 if libc.unshare(labkit.CLONE_NEWNET) == 0 else ctypes.get_errno())
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return os.strerror(status) if status else None


def try_tun():
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        return error.strerror
    return None


def missing_of_machine():
    """{what: why}, in the words of somebody who has to do something about it."""
    missing = {}
    if why := try_namespace():
        missing["network namespaces"] = f"{why}: needs root with CAP_SYS_ADMIN"
    if why := try_tun():
        missing["TAP devices"] = f"/dev/net/tun: {why}: load the tun module, or give this container the device"
    if why := try_bpf():
        missing["BPF programs"] = f"{why}: needs CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN"
    return missing


# --------------------------------------------------------------------------- the parts of the show

class Show:
    def __init__(self, args):
        self.args = args
        self.lab = labkit.Lab(args.id)
        self.daemons = []

    def guests(self):
        return [guest for guest in self.lab.guests.values() if guest.instance is not None]

    def tenant(self, guest):
        return self.lab.plan.networks[guest.network].tenant

    def inside(self, guest, *command, timeout=60):
        return subprocess.run([*labkit.inside(guest.netns), *command], capture_output=True,
                              text=True, timeout=timeout)

    def curl(self, guest, url):
        options = ["curl", "-sS", "--max-time", "3", "--noproxy", "*", "-g"]
        if guest.kind == "vlan":
            options += ["--interface", guest.device]
        done = self.inside(guest, *options, url)
        return done.stdout if done.returncode == 0 else paint(done.stderr.strip(), "red")

    def start_daemon(self, *arguments):
        started = time.monotonic()
        name = "-".join(["metatapd", *arguments[1::2]])
        with Readiness(self.lab.state / "notify") as readiness:
            daemon = self.lab.start(name, [str(labkit.BIN / "metatapd"), "--config-file",
                                           str(self.lab.config_file), *arguments],
                                    environment=readiness.environment)
            self.daemons.append(daemon)
            try:
                readiness.wait(daemon)
            except labkit.LabError as error:
                raise labkit.LabError(f"metatapd {error}:\n{self.log_tail(name)}") from None
        return daemon.pid, time.monotonic() - started

    def log_tail(self, name="metatapd"):
        return "\n".join((self.lab.state / f"{name}.log").read_text().splitlines()[-15:])

    # ---- chapters

    def raise_lab(self):
        chapter("The lab", "Two tenants on one host. red1 and blue1 have the same IPv4 and IPv6 address, the same MAC and\n"
                "so the same link-local address; nothing in their packets tells them apart.")
        self.lab.up()
        rows = [["guest", "tenant", "IPv4", "MAC", "IPv6", "behind", "host device"]]
        for guest in self.guests():
            tenant = self.tenant(guest)
            rows.append([guest.name, paint(tenant, tenant), guest.ip4, guest.mac, guest.ip6,
                         guest.behind, guest.host_device])
        table(rows)

    def serve(self):
        chapter("metatapd", f"build/bin/metatapd --config-file {self.lab.config_file}")
        pid, seconds = self.start_daemon()
        ports = len(self.lab.guests)
        memory = 0
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                memory = int(line.split()[1]) / 1024
        say(f"ready after {seconds * 1000:.0f} ms: {ports} ports, one process (pid {pid}, "
            f"{memory:.0f} MB), all stages in it")

    def curl_table(self):
        v4, v6 = "http://169.254.169.254", "http://[fe80::a9fe:a9fe%25{}]"
        chapter("What each guest gets", f"curl {v4}/latest/meta-data/hostname, and the same over "
                f"{v6.format('eth0')}")
        rows = [["guest", "tenant", "hostname, IPv4", "hostname, IPv6", "instance-id", "local-ipv4",
                 "tenant in meta_data.json", ""]]
        wrong = 0
        for guest in self.guests():
            tenant = self.tenant(guest)
            path = "/latest/meta-data"
            names = [self.curl(guest, f"{base}{path}/hostname")
                     for base in (v4, v6.format(guest.device))]
            try:
                document = json.loads(self.curl(guest, v4 + "/openstack/latest/meta_data.json"))
            except ValueError:
                document = {}
            told = document.get("meta", {}).get("tenant", "?")
            right = document.get("uuid") == guest.instance_id and told == tenant and all(
                name.startswith(guest.name) for name in names)
            wrong += not right
            rows.append([guest.name, paint(tenant, tenant), *names,
                         self.curl(guest, f"{v4}{path}/instance-id"),
                         self.curl(guest, f"{v4}{path}/local-ipv4"), paint(told, told),
                         paint("✓ its own", "green") if right else paint("✗ NOT its own", "red")])
        table(rows)
        return wrong

    def claims(self):
        liar = self.lab.guests["red1"]
        victim = self.lab.guests["blue1"]
        chapter("A guest that lies", "red1 claims to be blue1, in every header that names an instance, a network or an address.")
        headers = {"X-Instance-ID": victim.instance_id, "X_Instance_ID": victim.instance_id,
                   "X-Forwarded-For": victim.ip4,
                   "X-Neutron-Network-ID": self.lab.plan.networks["blue"].id,
                   "X-Metadata-Provider": self.lab.plan.networks["blue"].id}
        words = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
        done = self.inside(liar, "curl", "-sS", "--max-time", "5", *words,
                           "http://169.254.169.254/latest/meta-data/hostname")
        good = done.stdout.startswith("red1.")
        say(f"it is told: {paint(done.stdout or done.stderr, 'bold')}   "
            + (paint("✓ still itself", "green") if good else paint("✗", "red")))
        address = "10.0.0.11/24"
        labkit.ip_batch([f"addr add {address} dev eth0"], liar.netns)
        done = self.inside(liar, "curl", "-sS", "--max-time", "1", "--interface", "10.0.0.11",
                           "http://169.254.169.254/")
        labkit.ip_batch([f"addr del {address} dev eth0"], liar.netns)
        say(f"with red2's source address: curl: {done.stderr.strip().removeprefix('curl: ') or done.stdout}   "
            + (paint("✓ dropped, and counted below as spoofed_v4", "green") if done.returncode else paint("✗", "red")))
        return (not good) + (done.returncode == 0)

    def cloud_init(self):
        version = subprocess.run([PYTHON, "-c", "import cloudinit.version as v; print(v.version_string())"],
                                 capture_output=True, text=True)
        if version.returncode != 0:
            chapter("cloud-init", "is not installed (scripts/install-deps.sh --for test); left out")
            return 0
        chapter(f"cloud-init {version.stdout.strip()}",
                "Its own DataSourceOpenStack and DataSourceEc2, run inside the guests' namespaces.")
        rows = [["guest", "data source", "instance id", "hostname", "SSH key", "user data", "NIC",
                 "requests", "time", ""]]
        wrong = 0
        for name in ("red1", "blue1", "red2", "onlink"):
            guest = self.lab.guests[name]
            for kind in ("openstack", "ec2"):
                done = self.inside(guest, PYTHON, "-B", str(CRAWLER), kind, timeout=180)
                try:
                    got = json.loads(done.stdout)
                except ValueError:
                    got = {"found": False, "class": kind, "requests": [], "milliseconds": 0}
                right = got["found"] and (got.get("userdata") or "").find(f"hostname: {name}\n") > 0
                wrong += not right
                nic = (got.get("network_config") or {}).get("config", [{}])[0].get("name", "")
                key = (got.get("public_keys") or ["-"])[0].split()[-1]
                first = next((line for line in (got.get("userdata") or "").splitlines()
                              if line.startswith("hostname")), "-")
                tenant = self.tenant(guest)
                rows.append([paint(name, tenant), got["class"].removeprefix("DataSource"),
                             got.get("instance_id", "-"), got.get("hostname", "-"), key, first,
                             nic, len(got["requests"]), f"{got['milliseconds']:.0f} ms",
                             paint("✓", "green") if right else paint("✗", "red")])
        table(rows)
        return wrong

    def maps(self):
        pins = pathlib.Path("/sys/fs/bpf", self.lab.id)

        def dump(name):
            done = subprocess.run(["bpftool", "-j", "map", "dump", "pinned", str(pins / name)],
                                  capture_output=True, text=True)
            if done.returncode != 0:
                raise labkit.LabError(f"bpftool map dump pinned {pins / name}: {done.stdout}{done.stderr}")
            return [row.get("formatted", row) for row in json.loads(done.stdout)]
        chapter("Seen with bpftool", f"bpftool map dump pinned {pins}/mt_slots, mt_counters, mt_slot_reasons, mt_reasons\n"
                "(the rows in use; ids are text in the maps themselves)")
        counters = {row["key"]: row["value"] for row in dump("mt_counters")}
        names = re.findall(r'^MT_REASON\((\w+), "([^"]*)"',
                           (labkit.ROOT / "include/metatap/abi/reasons.def").read_text(), re.M)
        rows = [["slot", "device", "vlan", "port", "network", "SYNs", "packets", "bytes in", "bytes out", "drops"]]
        for row in dump("mt_slots"):
            slot, value = row["key"], row["value"]
            if value["kind"] in (0, "MT_KIND_FREE"):
                continue
            count = counters.get(slot, {})
            rows.append([slot, text(value["device"]), value["vlan"] or "", text(value["port_id"]),
                         text(value["network_id"])[:8] + "…",
                         *[count.get(key, 0) for key in ("syns", "packets", "bytes", "answer_bytes",
                                                         "drops")]])
        table(rows)
        print()
        total = [["reason", "packets", "meaning"]]
        for row in dump("mt_reasons"):
            packets = sum(item["value"] for item in row["values"])
            if packets and row["key"] < len(names):
                total.append([names[row["key"]][0], packets, names[row["key"]][1]])
        table(total)

    def finish(self, keep):
        if not keep:
            return
        conf = self.lab.config_file
        id_words = "" if self.lab.id == "demo" else f" --id {self.lab.id}"
        chapter("Left running", f"configuration {conf}, log {self.lab.state}/metatapd.log")
        sock = self.lab.state / "run/admin.sock"
        for command, what in (
                (f"scripts/lab.sh exec{id_words} red1 curl http://169.254.169.254/openstack/latest/meta_data.json", "ask as red1"),
                (f"scripts/lab.sh exec{id_words} blue1 sh", "be blue1"),
                (f"bpftool map dump pinned /sys/fs/bpf/{self.lab.id}/mt_ports", "device to slot"),
                (f"build/bin/metatap --socket {sock} status", "the daemon's own view"),
                (f"build/bin/metatap --socket {sock} ports", "each port"),
                (f"$EDITOR {self.lab.inventory_file}", "change it: served as soon as it is saved"),
                (f"scripts/lab.sh down{id_words}", "remove all of it")):
            say(f"{command}\n      {paint(what, 'dim')}")

    def without_bpf(self):
        """Namespaces and taps work, BPF does not: listeners in the routers' own namespaces."""
        chapter("Without BPF: metatapd --steering=listen", "Neutron's layout: three routers whose tenants chose the same subnet and the same guest\n"
                "address. The one process holds a plain listener in each router's namespace.")
        self.lab = labkit.Lab(self.args.id, "router", routers=3).up()
        pid, seconds = self.start_daemon("--steering", "listen")
        say(f"ready after {seconds * 1000:.0f} ms, one process (pid {pid})")
        # Routers are followed, not waited for: ready means that the daemon is.
        deadline = time.monotonic() + 5
        while any(not self.curl(guest, "http://169.254.169.254/").startswith("1.0")
                  for guest in self.guests()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.curl_table()

    def without_data_plane(self):
        """What needs neither BPF nor namespaces, nor root: two of the stages, each asked the way its
        OpenStack neighbour would ask."""
        chapter("Without the data plane", "The agent and API stages need no privilege: a request as Neutron's proxy sends it,\n"
                "over the UNIX socket, and one as Neutron's agent sends it, to port 8775 (here another).")
        self.lab = labkit.Lab(self.args.id)
        topologies.build(self.lab.plan)
        folder = pathlib.Path(tempfile.mkdtemp(prefix="metatap-demo-"))
        folder.chmod(0o755)  # the stages are not root's
        self.lab.state = folder
        try:
            for name in ("run", "state"):
                (folder / name).mkdir()
            self.lab.save()
            self.start_daemon("--stages", "api")
            self.start_daemon("--stages", "agent")
            rows = [["asked of", "as", "answer", ""]]
            for name in ("red1", "blue1"):
                guest = self.lab.guests[name]
                net = self.lab.plan.networks[guest.network]
                with socket.socket(socket.AF_UNIX) as agent:
                    agent.connect(str(folder / "run/metadata_proxy"))
                    agent.sendall(("GET /latest/meta-data/hostname HTTP/1.0\r\nHost: 169.254.169.254\r\n"
                                   f"X-Forwarded-For: {guest.ip4}\r\n"
                                   f"X-Neutron-Network-ID: {net.id}\r\n\r\n").encode())
                    answer = b""
                    while more := agent.recv(65536):
                        answer += more
                lines = answer.decode().splitlines()
                rows.append(["agent", f"{guest.ip4} in network {paint(net.name, net.tenant)}",
                             f"{lines[0].split(' ', 1)[1]}: {lines[-1]}",
                             self.mark(lines[-1].startswith(name + "."))])
                signature = hmac.new(f"secret-of-{self.lab.id}".encode(), guest.instance_id.encode(),
                                     hashlib.sha256).hexdigest()
                request = urllib.request.Request(
                    f"http://127.0.0.1:{self.lab.plan.api_port()}/openstack/latest/meta_data.json",
                    headers={"X-Instance-ID": guest.instance_id, "X-Tenant-ID": net.project_id,
                             "X-Forwarded-For": guest.ip4, "X-Instance-ID-Signature": signature})
                opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
                document = json.loads(opener.open(request, timeout=5).read())
                rows.append(["API", f"instance {guest.instance_id[:8]}…, signed",
                             f"200 OK: {document['name']} of tenant {document['meta']['tenant']}",
                             self.mark(document["name"] == name)])
            table(rows)
        finally:
            self.stop_daemons()
            shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def mark(good, yes="✓", no="✗"):
        return paint(yes, "green") if good else paint(no, "red")

    def stop_daemons(self):
        while self.daemons:
            daemon = self.daemons.pop()
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def close(self):
        self.stop_daemons()
        self.lab.down()


def text(value):
    """A char array as bpftool prints it: a string, or a list of numbers or characters."""
    if isinstance(value, str):
        return value
    letters = [item if isinstance(item, str) and len(item) == 1 else chr(int(item)) for item in value]
    return "".join(letters).split("\0")[0]


def main():
    parser = argparse.ArgumentParser(prog="scripts/demo.sh", description=__doc__.split(": ")[1])
    parser.add_argument("--keep", action="store_true", help="leave it running, and say what to try")
    parser.add_argument("--id", default="demo", help="name of the lab (default: demo)")
    args = parser.parse_args()
    show = Show(args)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    status = 1
    missing = missing_of_machine()
    if missing:
        print("This machine cannot show the whole of it:")
        for what, why in missing.items():
            say(f"{paint(what, 'bold')}: {why}")
        try:
            wrong = 0
            if list(missing) == ["BPF programs"]:
                try:
                    wrong = show.without_bpf()
                finally:
                    show.close()
            show.without_data_plane()
            return 1 if wrong else 0
        except (labkit.LabError, OSError) as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    try:
        show.raise_lab()
        show.serve()
        wrong = show.curl_table()
        if wrong:
            raise labkit.LabError("guests are not served as they should be; the daemon says:\n"
                                  + show.log_tail())
        wrong += show.claims()
        wrong += show.cloud_init()
        show.maps()
        print()
        if wrong:
            print(paint(f"{wrong} of these are not as they should be.", "red"))
        else:
            print(paint("Every guest got its own, and nothing but its own.", "green"))
        status = 1 if wrong else 0
        if args.keep:
            show.finish(True)
            return status
    except KeyboardInterrupt:
        print("\ninterrupted")
        status = 130
    except (labkit.LabError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # cleaning up takes less than a second; let it
    show.close()
    say(paint("Cleaned up: no namespace, device, process or pin is left.", "dim"))
    return status


if __name__ == "__main__":
    sys.exit(main())
