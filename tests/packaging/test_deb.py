# SPDX-License-Identifier: Apache-2.0
"""The Debian package, in the hands of an operator: installed, serving guests, upgraded, removed,
purged. In a copy of this system, whose own files are not touched."""

import json
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]
import labkit  # noqa: E402
from labkit.clean_root import CleanRoot  # noqa: E402

BUILD = labkit.BIN.parent
STABLE = "/openstack/2012-08-10/meta_data.json"
IN_PLACE = [
    "/etc/default/metatapd", "/etc/metatap/metatapd.conf", "/etc/metatap/metatapd.conf.d",
    "/usr/bin/metatap", "/usr/sbin/metatapd", "/usr/lib/metatap/metatap.bpf.o",
    "/usr/lib/systemd/system/metatapd.service", "/usr/lib/systemd/system/metatapd@.service",
    "/usr/lib/systemd/system/metatap-agent.service", "/usr/lib/systemd/system/metatap-api.service",
    "/usr/lib/sysusers.d/metatap.conf", "/usr/lib/tmpfiles.d/metatap.conf",
    "/usr/share/bash-completion/completions/metatap", "/usr/share/doc/metatap/README.md",
    "/usr/share/doc/metatap/docs/architecture.md", "/usr/share/man/man1/metatap.1.gz",
    "/usr/share/man/man8/metatapd.8.gz", "/usr/share/man/man5/metatapd.conf.5.gz",
    *(f"/usr/share/metatap/{name}" for name in (
        "agent.conf", "api.conf", "proxy.conf", "metatap.rules.yml", "metatap.dashboard.json",
        "metatap-inventory.schema.json")),
    *(f"/usr/share/doc/metatap/docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]


def needs(*programs):
    lacking = [name for name in programs if not shutil.which(name)]
    return pytest.mark.skipif(bool(lacking), reason=f"{', '.join(lacking)} not installed")


@pytest.fixture(scope="module")
def debs(tmp_path_factory):
    """The package as cpack makes it of the build, and the same with a higher version."""
    for name in ("cpack", "dpkg-shlibdeps"):
        if not shutil.which(name):
            pytest.skip(f"{name} is not installed")
    folder = tmp_path_factory.mktemp("deb")
    done = subprocess.run(["cpack", "--config", str(BUILD / "CPackConfig.cmake"), "-B", str(folder),
                           "-D", "CPACK_DEBIAN_COMPRESSION_TYPE=gzip"],  # xz takes long
                          capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (first,) = folder.glob("metatap_*.deb")
    tree, second = folder / "tree", folder / "next.deb"
    subprocess.run(["dpkg-deb", "-R", str(first), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*", r"\g<0>+next", control.read_text(), flags=re.M))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "-b", str(tree), str(second)],
                   check=True, stdout=subprocess.DEVNULL)
    return first, second


def field(deb, name):
    return subprocess.run(["dpkg-deb", "-f", str(deb), name], capture_output=True, text=True,
                          check=True).stdout.strip()


@needs("lintian")
def test_lintian_finds_no_error(debs):
    said = subprocess.run(["lintian", "--allow-root", "--fail-on", "error", str(debs[0])],
                          capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


def test_it_depends_on_what_its_programs_load(debs):
    """No package too few and, but for what makes its user and folders, none too many."""
    files = set()
    for program in map(str, (labkit.BIN / "metatap", labkit.BIN / "metatapd")):
        needed = re.findall(r"NEEDED +(\S+)", subprocess.run(
            ["objdump", "-p", program], capture_output=True, text=True, check=True).stdout)
        paths = dict(re.findall(r"(\S+) => (\S+)", subprocess.run(
            ["ldd", program], capture_output=True, text=True, check=True).stdout))
        files |= {os.path.realpath(paths[name]) for name in needed}
    # Packages older than the merged /usr have them in /lib.
    names = files | {name.removeprefix("/usr") for name in files}
    owners = subprocess.run(["dpkg", "-S", *names], capture_output=True, text=True).stdout
    loaded = {line.split(":")[0] for line in owners.splitlines()}
    # A library whose interface has a flavour is depended on by the name of that.
    goes_by = {name: {name, *re.findall(r"[\w.+-]+", subprocess.run(
        ["dpkg-query", "-W", "-f", "${Provides}", name], capture_output=True, text=True).stdout)}
        for name in loaded}
    depends = {re.split(r"[ :(]", alternative.strip())[0]
               for alternative in field(debs[0], "Depends").split(",")} - {"systemd"}
    assert not [name for name, names in goes_by.items() if not names & depends], depends
    assert not depends.difference(*goes_by.values()), loaded


def test_the_programs_are_hardened(debs, tmp_path):
    """As a distribution builds what reads strangers' bytes."""
    subprocess.run(["dpkg-deb", "-x", str(debs[0]), str(tmp_path)], check=True)
    for program in ("usr/sbin/metatapd", "usr/bin/metatap"):
        said = subprocess.run(["readelf", "-W", "-h", "-l", "-d", "--dyn-syms", str(tmp_path / program)],
                              capture_output=True, text=True, check=True).stdout
        if re.search(r"NEEDED.*lib[at]san", said):
            pytest.skip("a build with sanitizers has checks of its own")
        assert "DYN (Position-Independent Executable file)" in said, program
        assert re.search(r"GNU_STACK .* RW ", said), "its stack is not code"
        assert "GNU_RELRO" in said and re.search(r"FLAGS_1.*NOW", said), program
        assert "__stack_chk_fail" in said and re.search(r"__\w+_chk@", said), program


@pytest.fixture(scope="module")
def root():
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not pathlib.Path("/dev/net/tun").exists():
        pytest.skip("needs /dev/net/tun")
    for name in ("unshare", "nsenter", "dpkg", "systemd-sysusers", "systemd-tmpfiles"):
        if not shutil.which(name):
            pytest.skip(f"{name} is not installed")
    if pathlib.Path("/usr/sbin/metatapd").exists():
        pytest.skip("metatap is installed on this machine")
    try:
        made = CleanRoot(ROOT, BUILD)
    except OSError as error:
        pytest.skip(f"no overlay, or no namespaces: {error}")
    yield made
    made.close()


class Host:
    """The copy of this system, with two guests of different tenants and the same address."""

    def __init__(self, root):
        self.root = root
        root.stand_in_for_systemd()
        root.path("/usr/sbin/policy-rc.d").unlink(missing_ok=True)
        root.path("/run/systemd/system").mkdir(parents=True)
        root.run(sys.executable, "-B", HERE.parent / "lab/lab.py", "up", "--id", "deb",
                 env={**os.environ, "METATAP_BIN": str(labkit.BIN)})
        plan = json.loads(root.path("/run/metatap-lab/deb/lab.json").read_text())
        self.guests = {name: plan["guests"][name] for name in ("red1", "blue1")}
        self.before = self.files()

    def __getattr__(self, name):
        return getattr(self.root, name)

    def dpkg(self, *arguments):
        # Without what other packages do then: the index of all manual pages takes half a minute.
        return self.run("dpkg", "--no-triggers", *arguments,
                        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})

    def install(self, deb):
        shutil.copy(deb, self.path("/tmp"))
        return self.dpkg("--install", f"/tmp/{deb.name}")

    def answers(self):
        """What each guest is told to be; nothing where nobody answers."""
        told = {}
        for name, guest in self.guests.items():
            body = self.run("ip", "netns", "exec", guest["netns"], "curl", "-s", "-m", "2",
                            f"http://169.254.169.254{STABLE}", check=False)
            told[name] = json.loads(body)["uuid"] if body else None
        return told

    def files(self):
        """Where a package could leave something: all there are, but for what is not the package's: dpkg's own,
        backups of the list of users, and what the stand-in for systemctl keeps."""
        others = ("/var/lib/dpkg/", "/var/cache/", "/var/log/", "/run/systemctl", "/run/systemd/", "/run/metatap-lab/",
                  "/run/netns/", "/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/etc/.pwd.lock")
        found = self.run("find", "/etc", "/usr", "/var", "/run", "/opt", "/sys/fs/bpf", "-xdev")
        return {path for path in found.splitlines() if not path.startswith(others) and "__pycache__" not in path}

    def pid(self, unit):
        return int(self.path(f"/run/systemctl/{unit}.pid").read_text())

    @property
    def all_served(self):
        return {name: guest["instance_id"] for name, guest in self.guests.items()}

    def programs(self):
        """How many are attached to the host's devices."""
        return int(self.run(sys.executable, "-B", HERE / "attached.py"))

    def journal(self, name="metatapd.service"):
        return self.path(f"/var/log/{name}.log").read_text()


@pytest.fixture(scope="module")
def host(root):
    return Host(root)


@pytest.fixture(scope="module")
def installed(host, debs):
    host.install(debs[0])
    return host


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_is_in_its_place(installed):
    for name in IN_PLACE:
        assert installed.path(name).exists(), name
    for name in ("metatap", "metatapd"):
        said = installed.run(name, "--version")
        assert re.fullmatch(rf"{name} \d+\.\d+\.\d+, commit [\w.-]+, ABI \d+\n", said), said
    group = int(installed.run("getent", "group", "metatap").split(":")[2])
    for name in ("metatapd.conf", "metatapd.conf.d/port_tag_key.conf"):
        path = installed.path(f"/etc/metatap/{name}")
        assert (mode(path), path.stat().st_gid) == (0o640, group), name
    assert mode(installed.path("/etc/metatap")) == 0o2750
    # It waits for the operator.
    assert "start" not in installed.path("/run/systemctl.log").read_text()


def test_units_are_what_systemd_expects(installed):
    for name in ("metatapd.service", "metatapd@one.service", "metatap-agent.service",
                 "metatap-api.service"):
        said = installed.run("systemd-analyze", "verify", "--recursive-errors=no", name, check=False)
        assert "metatap" not in said, said


def configure(host):
    """What the README asks of an operator."""
    conf = host.path("/etc/metatap/metatapd.conf")
    conf.write_text(conf.read_text().replace("# workers = 2", "workers = 1"))
    inventory = host.path("/run/metatap-lab/deb/inventory.json").read_text()
    host.path("/etc/metatap/inventory.json").write_text(inventory)
    host.run("chgrp", "metatap", "/etc/metatap/inventory.json")


def test_units_never_give_up(installed):
    """However often a daemon ends, guests wait for the next one."""
    for name in ("metatapd.service", "metatapd@.service", "metatap-agent.service", "metatap-api.service"):
        text = installed.path(f"/usr/lib/systemd/system/{name}").read_text()
        for line in ("StartLimitIntervalSec=0", "Restart=always", "Type=notify", "WatchdogSec=30"):
            assert f"\n{line}\n" in text, name


TEMPLATE = """[DEFAULT]
run_path = /run/metatap/second
state_path = /var/lib/metatap/second
[dataplane]
namespace = metatap-second
pin_path = /sys/fs/bpf/metatap-second
[proxy]
workers = 1
[inventory]
file = /etc/metatap/second.json
"""


def test_a_daemon_of_the_template(installed):
    """With names of its own, as the manual page says."""
    host = installed
    configure(host)
    host.path("/etc/metatap/second.conf").write_text(TEMPLATE)
    host.path("/etc/metatap/inventory.json").rename(host.path("/etc/metatap/second.json"))
    host.run("chgrp", "metatap", "/etc/metatap/second.json", "/etc/metatap/second.conf")
    host.run("systemctl", "start", "metatapd@second.service")
    try:
        assert host.answers() == host.all_served, host.journal("metatapd@second.service")
        assert "metatap-second" in host.run("metatap", "--socket", "/run/metatap/second/admin.sock", "status")
        page = (ROOT / "packaging/man/metatapd.8").read_text()
        assert TEMPLATE.replace("second", "NAME").split("[proxy]")[0] in page
    finally:
        host.run("systemctl", "stop", "metatapd@second.service")
        for name in ("second.conf", "second.json"):
            host.path(f"/etc/metatap/{name}").unlink()
    assert nothing_of_the_data_plane(host)


def nothing_of_the_data_plane(host):
    """No pin, no namespace, no device, no program."""
    pins = [path for path in host.path("/sys/fs/bpf").iterdir() if path.is_dir()]
    namespaces = host.run("ip", "netns", "list").splitlines()
    return not (pins or any(name.startswith("metatap") for name in namespaces)
                or "mt-metatap" in host.run("ip", "link") or host.programs())


def test_life_of_a_package(installed, debs):
    host = installed
    configure(host)
    host.run("systemctl", "start", "metatapd.service")
    assert host.answers() == host.all_served, host.journal()
    assert host.programs()
    # The unit has mounts of its own; the namespace is there for others, too.
    assert "169.254.169.254" in host.run("ip", "-n", "metatap", "addr", "show", "dev", "lo")
    first_pid = host.path("/run/systemctl/metatapd.service.pid").read_text()
    assert "metatap" in host.run("metatap", "status")

    # Upgraded: the daemon is the new one, the configuration the operator's.
    host.install(debs[1])
    assert field(debs[1], "Version") == host.run("dpkg-query", "-W", "-f", "${Version}", "metatap")
    assert "\nworkers = 1" in host.path("/etc/metatap/metatapd.conf").read_text()
    assert host.path("/run/systemctl/metatapd.service.pid").read_text() != first_pid
    assert host.answers() == host.all_served, host.journal()

    # Removed: the guests are back on their network's own path, the configuration stays.
    host.dpkg("--remove", "metatap")
    assert host.answers() == dict.fromkeys(host.guests)
    assert nothing_of_the_data_plane(host)
    for name in IN_PLACE:
        assert host.path(name).exists() == name.startswith("/etc/"), name
    good = host.run("ip", "netns", "exec", host.guests["red1"]["netns"], "ping", "-c1", "-W2", "10.0.0.11")
    assert "1 received" in good

    host.dpkg("--purge", "metatap")
    assert host.files() == host.before


def split_up(host):
    """As two users without privileges, one process that has them, and a second daemon beside it."""
    configure(host)
    host.path("/etc/default/metatapd").write_text(
        re.sub(r"^# (METATAPD_OPTIONS=)", r"\1", host.path("/etc/default/metatapd").read_text(),
               flags=re.M).replace('METATAPD_OPTIONS=""\n', ""))
    said = host.run("systemctl", "start", "metatap-api.service", check=False)
    assert "[DEFAULT] metadata_proxy_shared_secret" in said  # two processes need one
    host.path("/etc/metatap/metatapd.conf.d/shared_secret.conf").write_text(
        "[DEFAULT]\nmetadata_proxy_shared_secret = a-secret\n")
    host.path("/etc/metatap/second.conf").write_text(TEMPLATE)
    host.path("/etc/metatap/second.json").write_text('{"format": "metatap-inventory/1"}')
    host.run("sh", "-c", "chgrp metatap /etc/metatap/metatapd.conf.d/shared_secret.conf /etc/metatap/second.*")
    host.run("systemctl", "start", *SPLIT)


SPLIT = ("metatap-api.service", "metatap-agent.service", "metatapd.service", "metatapd@second.service")


def test_split_units_over_an_upgrade(installed, debs):
    host = installed
    host.install(debs[0])
    split_up(host)
    pids = {unit: host.pid(unit) for unit in SPLIT}
    assert host.answers() == host.all_served, host.journal() + host.journal("metatap-agent.service")
    configuration = {name: host.path(name).read_text() for name in host.files() - host.before
                     if name.startswith("/etc/") and host.path(name).is_file()}
    assert len(configuration) > 5

    host.install(debs[1])
    assert not {unit for unit in SPLIT if host.pid(unit) == pids[unit]}
    assert host.answers() == host.all_served, host.journal() + host.journal("metatap-agent.service")
    assert {name: host.path(name).read_text() for name in configuration} == configuration
    assert "metatap-second" in host.run("metatap", "--socket", "/run/metatap/second/admin.sock", "status")
    for unit in SPLIT[:2]:
        shown = host.path(f"/proc/{host.pid(unit)}/status").read_text()
        assert re.search(r"^CapEff:\s+0+$", shown, re.M) and not re.search(r"^Uid:\s+0\s", shown, re.M), unit

    host.dpkg("--purge", "metatap")  # of what runs
    assert nothing_of_the_data_plane(host) and host.files() == host.before
    assert not re.findall(r"^[^Z].* metatap(?:d|-worker)$", host.run("ps", "-eo", "stat,comm"), re.M)


def test_purge_after_a_crash(installed, debs):
    """What a killed daemon leaves goes, too."""
    host = installed
    host.install(debs[1])
    configure(host)
    host.run("systemctl", "start", "metatapd.service")
    assert host.answers() == host.all_served
    host.run("kill", "-KILL", host.path("/run/systemctl/metatapd.service.pid").read_text())
    assert not nothing_of_the_data_plane(host)
    host.dpkg("--purge", "metatap")
    assert nothing_of_the_data_plane(host) and host.files() == host.before
