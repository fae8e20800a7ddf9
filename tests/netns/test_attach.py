# SPDX-License-Identifier: Apache-2.0
"""Who else is on the device: programs, policers and qdiscs of others, before, beside and after us.
Guests are served, or `ports` says who may be in the way; what is others' stays as it was."""

import contextlib
import ctypes
import json
import os
import pathlib
import re
import signal
import subprocess

import bpfkit
import mtlab
import pytest
import routerkit
from bpfkit import tc

ALONE = "it looks at how the kernel of all is set (rcu_expedited)"

HOSTNAME = "/latest/meta-data/hostname"
MODES = bpfkit.WAYS


@pytest.fixture(scope="module")
def lab(make_lab):
    return make_lab()


@pytest.fixture()
def daemon(lab, request):
    """daemon("clsact"): a running daemon that attaches so."""
    made = []

    def start(attach="auto"):
        made.append(mtlab.Deployment(lab, config={"dataplane": {"attach": attach}}))
        return made[-1].start()
    yield start
    for deployment in made:
        deployment.close()


@pytest.fixture()
def device(lab):
    """red1's tap, bare before and after."""
    name = lab["red1"].host_device
    yield name
    tc("qdisc", "del", "dev", name, "ingress", check=False)
    tc("qdisc", "del", "dev", name, "clsact", check=False)


def served(lab, seconds=2, name="red1"):
    mtlab.wait_until(lambda: lab[name].run("attempt", HOSTNAME, timeout=0.3) == 200, seconds,
                     f"{name} is served")
    return True


def port_row(deployment, name="red1"):
    rows = json.loads(mtlab.metatap(deployment.admin_socket, "--json", "ports").stdout)
    return next(row for row in rows if row.get("device") == deployment.lab[name].host_device)


def findings(deployment, device):
    rows = json.loads(mtlab.metatap(deployment.admin_socket, "--json", "doctor",
                                    check=False).stdout)
    return [row for row in rows if row["subject"] == device]


def devices_of(space):
    return [link["ifname"] for link in json.loads(routerkit.inside(space, "ip", "-j", "link"))]


def qdiscs(device):
    return re.findall(r"qdisc (ingress|clsact) ffff:", tc("qdisc", "show", "dev", device))


# --------------------------------------------------------------------------- TCX

@pytest.fixture()
def foreign():
    if not bpfkit.has_tcx():
        pytest.skip("this kernel has no TCX (6.6)")
    program = bpfkit.load("foreign_ok", bpfkit.OK)
    yield program
    os.close(program)


@pytest.mark.parametrize("when", ["before us", "after us"])
def test_program_that_ends_the_chain_does_not_take_our_packets(lab, daemon, foreign, device, when):
    link = bpfkit.tcx_attach(foreign, device) if when == "before us" else None
    try:
        deployment = daemon()
        link = link or bpfkit.tcx_attach(foreign, device)
        assert served(lab)
        chain = bpfkit.tcx_programs(device)
        assert len(chain) == 2 and chain[1] == bpfkit.id_of(foreign)
        assert not port_row(deployment).get("reason")
        deployment.close()
        assert bpfkit.tcx_programs(device) == [bpfkit.id_of(foreign)], "theirs stays"
    finally:
        os.close(link)


def test_program_that_was_put_first_while_we_were_dead(lab, daemon, foreign, device):
    deployment = daemon()
    deployment.data_plane.stop(signal.SIGKILL)
    link = bpfkit.tcx_attach(foreign, device, first=True)
    try:
        deployment.data_plane.start()
        assert served(lab)
        assert len(bpfkit.tcx_programs(device)) == 2, "moved, not attached once more"
    finally:
        os.close(link)


def test_program_that_insists_on_being_first_is_overtaken_thrice_and_then_named(
        lab, daemon, foreign, device):
    deployment = daemon()
    assert served(lab)
    link = None
    name = f"foreign_ok (id {bpfkit.id_of(foreign)})"
    try:
        for _ in range(3):
            if link is not None:
                os.close(link)
            link = bpfkit.tcx_attach(foreign, device, first=True)
            mtlab.wait_until(lambda: bpfkit.tcx_programs(device)[1:] == [bpfkit.id_of(foreign)], 8,
                             "we are first again")
            assert served(lab)
            # The next one comes before the look that would find us undisturbed.
        os.close(link)
        link = bpfkit.tcx_attach(foreign, device, first=True)
        row = mtlab.wait_until(lambda: (lambda row: row.get("before") and row)(
            port_row(deployment)), 8, "the port's row names it")
        assert row["before"] == [name] and row["state"] == "steered"
        assert row["reason"] == f"after {name}, which may take packets first"
        assert bpfkit.tcx_programs(device)[0] == bpfkit.id_of(foreign)
        (finding,) = findings(deployment, device)
        assert finding["severity"] == "warning" and name in finding["message"]
    finally:
        if link is not None:
            os.close(link)
    mtlab.wait_until(lambda: not port_row(deployment).get("reason"), 8, "first again, and said so")


def test_tcx_is_before_every_filter_and_named(lab, daemon, foreign, device):
    link = bpfkit.tcx_attach(foreign, device)
    try:
        row = port_row(daemon("clsact"))
        assert row["before"] == [f"foreign_ok (id {bpfkit.id_of(foreign)})"]
    finally:
        os.close(link)


# --------------------------------------------------------------------------- policers

RATE = ["rate", "8kbit", "burst", "2000"]


def by_ovs(device):
    """netdev-linux.c: any policer goes, then a new one comes."""
    tc("qdisc", "del", "dev", device, "handle", "ffff:", "ingress", check=False)
    tc("qdisc", "add", "dev", device, "handle", "ffff:", "ingress")
    tc("filter", "add", "dev", device, "parent", "ffff:", "protocol", "all", "prio", "49", "basic",
       "police", *RATE, "mtu", "65535", "drop")


def by_ovs_matchall(device):
    tc("qdisc", "del", "dev", device, "handle", "ffff:", "ingress", check=False)
    tc("qdisc", "add", "dev", device, "handle", "ffff:", "ingress")
    tc("filter", "add", "dev", device, "parent", "ffff:", "protocol", "all", "prio", "49",
       "matchall", "action", "police", *RATE, "mtu", "65535", "conform-exceed", "drop/ok")


def by_neutron(device):
    """tc_lib: update_filters_bw_limit()."""
    tc("qdisc", "del", "dev", device, "ingress", check=False)
    tc("qdisc", "add", "dev", device, "ingress")
    tc("filter", "add", "dev", device, "parent", "ffff:", "protocol", "all", "prio", "49", "u32",
       "match", "u32", "0", "0", "police", *RATE, "mtu", "64kb", "drop", "flowid", ":1")


def by_libvirt(device):
    """virNetDevBandwidthSet(), which clears first."""
    tc("qdisc", "del", "dev", device, "ingress", check=False)
    tc("qdisc", "add", "dev", device, "ingress")
    tc("filter", "add", "dev", device, "parent", "ffff:", "protocol", "all", "u32", "match", "u32",
       "0", "0", "police", *RATE, "mtu", "64kb", "drop", "flowid", ":1")


def stand_in(device, *where):
    """For kernels without act_police: a filter that ends the chain for every packet, as a policer
    does whose packets conform, and drops the big ones."""
    program = bpfkit.load("police", bpfkit.DROP, beyond=1000)
    pin = f"/sys/fs/bpf/police_{device}"
    bpfkit.pin(program, pin)
    os.close(program)
    try:
        tc("filter", "add", "dev", device, "parent", "ffff:", "protocol", "all", *where, "bpf", "da",
           "object-pinned", pin)
    finally:
        os.unlink(pin)


def as_ovs_and_neutron(device):
    tc("qdisc", "del", "dev", device, "handle", "ffff:", "ingress", check=False)
    tc("qdisc", "add", "dev", device, "handle", "ffff:", "ingress")
    stand_in(device, "prio", "49")


def as_libvirt(device):
    """Its filter has the pref that the kernel gives."""
    tc("qdisc", "del", "dev", device, "ingress", check=False)
    tc("qdisc", "add", "dev", device, "ingress")
    stand_in(device)


POLICERS = [by_ovs, by_ovs_matchall, by_neutron, by_libvirt, as_ovs_and_neutron, as_libvirt]


@pytest.fixture(params=POLICERS, ids=lambda policer: policer.__name__)
def policer(request, lab, device):
    """Sets the bandwidth limit as its owner would; fails if its owner would fail."""
    try:
        request.param(device)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this kernel has not what {request.param.__name__} takes: "
                    f"{error.stderr.splitlines()[0]}")
    tc("qdisc", "del", "dev", device, "ingress")
    return lambda: request.param(device)


def policed(lab, loss=50):
    """The tenant's own traffic, far beyond the limit, is cut."""
    shown = lab["red1"].run("command", ["sh", "-c", "ping -q -c 30 -i 0.002 -s 1400 -W 1 10.0.0.1;"
                                                    "true"])
    return float(re.search(r"([\d.]+)% packet loss", str(shown))[1]) > loss


def theirs(device):
    """What tc shows of qdisc and filters, without what moves by itself."""
    shown = tc("qdisc", "show", "dev", device) + tc("filter", "show", "dev", device, "parent",
                                                    "ffff:")
    return re.sub(r"\b(rule hit|success|used|installed) \d+( sec)?", "", shown)


@pytest.mark.parametrize("attach", MODES)
def test_policer_that_was_there_is_left_as_it_was(lab, daemon, device, policer, attach):
    policer()
    before = theirs(device)
    deployment = daemon(attach)
    assert served(lab)
    assert policed(lab)
    # Not a conforming packet is left of that limit for a while: ours do not go through it.
    assert lab["red1"].run("attempt", HOSTNAME) == 200
    assert not port_row(deployment).get("reason")
    deployment.close()
    assert theirs(device) == before
    assert policed(lab)


@pytest.mark.parametrize("attach", MODES)
def test_policer_that_comes_while_we_are_there(lab, daemon, device, policer, attach):
    deployment = daemon(attach)
    assert served(lab)
    assert "clsact" not in qdiscs(device)
    for _ in range(3):
        policer()  # fails if we hold what it needs
        assert served(lab, 2)
        assert policed(lab)
    assert attach == "tcx" or "mt_tap" in theirs(device)
    deployment.close()
    assert qdiscs(device) == ["ingress"]
    left = theirs(device)
    assert "mt_" not in left and "police" in left
    assert policed(lab)


def test_limit_that_is_taken_off_takes_our_filter_along_for_a_moment(lab, daemon, device):
    deployment = daemon("clsact")
    assert served(lab)
    for _ in range(3):
        tc("qdisc", "del", "dev", device, "ingress")
        mtlab.wait_until(lambda: qdiscs(device), 2, "a qdisc of ours again")
        assert served(lab, 1)
    assert "took our filter away" in deployment.data_plane.log.read_text()
    deployment.close()
    assert qdiscs(device) == [], "which is ours to remove"


# --------------------------------------------------------------------------- what we made

def test_killed_and_stopped_leaves_no_qdisc(lab, daemon, device):
    deployment = daemon("clsact")
    devices = [lab[name].host_device for name in ("red1", "blue1", "red2", "multi", "onlink")]
    assert all(qdiscs(name) == ["ingress"] for name in devices)
    for _ in range(2):
        deployment.data_plane.stop(signal.SIGKILL)
        assert all(qdiscs(name) == ["ingress"] for name in devices)
        deployment.data_plane.start()
        assert served(lab)
    deployment.close()
    assert [qdiscs(name) for name in devices] == [[]] * len(devices)


def test_filter_of_others_on_our_qdisc_survives(lab, daemon, device):
    deployment = daemon("clsact")
    deployment.data_plane.stop(signal.SIGKILL)
    deployment.data_plane.start()
    tc("filter", "add", "dev", device, "parent", "ffff:", "protocol", "all", "prio", "60", "u32",
       "match", "u32", "0", "0", "flowid", ":1")
    assert served(lab)
    deployment.close()
    left = tc("filter", "show", "dev", device, "parent", "ffff:")
    assert "pref 60 u32" in left and "mt_" not in left


def test_clsact_of_others_is_used_and_stays(lab, daemon, device):
    tc("qdisc", "add", "dev", device, "clsact")
    tc("filter", "add", "dev", device, "egress", "protocol", "all", "prio", "7", "u32", "match",
       "u32", "0", "0", "flowid", ":1")
    deployment = daemon("clsact")
    assert served(lab)
    deployment.close()
    assert qdiscs(device) == ["clsact"]
    assert "pref 7 u32" in tc("filter", "show", "dev", device, "egress")
    assert tc("filter", "show", "dev", device, "ingress") == ""


def test_filter_with_the_first_priority_is_before_us_and_named(lab, daemon, device, tmp_path):
    """Cilium's, as it was before TCX: pref 1."""
    program = bpfkit.load("cil_from_netdev", bpfkit.OK)
    pin = f"/sys/fs/bpf/{lab.id}_foreign"
    bpfkit.pin(program, pin)
    try:
        tc("qdisc", "add", "dev", device, "clsact")
        tc("filter", "add", "dev", device, "ingress", "prio", "1", "handle", "1", "bpf", "da",
           "object-pinned", pin)
        deployment = daemon("clsact")
        name = f"cil_from_netdev (id {bpfkit.id_of(program)}, pref 1)"
        row = port_row(deployment)
        assert row["before"] == [name], row
        assert name in findings(deployment, device)[0]["message"]
        tc("filter", "del", "dev", device, "ingress", "prio", "1")
        mtlab.wait_until(lambda: not port_row(deployment).get("reason"), 1, "said when it is gone")
        assert served(lab)
    finally:
        os.unlink(pin)
        os.close(program)


def test_lower_priority_that_becomes_free_is_taken(lab, daemon, device):
    tc("qdisc", "add", "dev", device, "ingress")
    for priority in ("2", "3"):
        tc("filter", "add", "dev", device, "parent", "ffff:", "protocol", "all", "prio", priority, "u32",
           "match", "u32", "0", "0", "flowid", ":1")
    deployment = daemon("clsact")
    assert port_row(deployment)["before"] == ["u32 filter (pref 2)", "u32 filter (pref 3)"]
    tc("filter", "del", "dev", device, "parent", "ffff:", "prio", "2")
    mtlab.wait_until(lambda: not port_row(deployment).get("reason"), 8, "it is first")
    assert served(lab)
    left = tc("filter", "show", "dev", device, "parent", "ffff:")
    assert "pref 3 u32" in left and re.search(r"pref 2 bpf .*mt_tap", left), left


@pytest.mark.skipif(not bpfkit.has_tcx(), reason="this kernel has no TCX (6.6)")
@pytest.mark.parametrize("first,then", [("tcx", "clsact"), ("clsact", "tcx")])
def test_other_way_of_attaching_after_a_kill(lab, daemon, device, first, then):
    deployment = daemon(first)
    deployment.data_plane.stop(signal.SIGKILL)
    deployment = daemon(then)
    assert served(lab)
    assert qdiscs(device) == (["ingress"] if then == "clsact" else [])
    assert len(bpfkit.tcx_programs(device)) == (0 if then == "clsact" else 1)


def test_router_killed_and_stopped_leaves_no_qdisc(make_lab):
    lab = make_lab("router", routers=2)
    daemon = routerkit.daemon_of(lab, config={"dataplane": {"attach": "clsact"}}).start()
    spaces = routerkit.namespaces_of(lab)
    try:
        for again in (True, False):
            for name in lab.guests:
                mtlab.wait_until(lambda: lab[name].run("attempt", HOSTNAME) == 200, 5, name)
            if again:
                daemon.stop(signal.SIGKILL)
                daemon.start()
    finally:
        daemon.stop()
    for space in spaces:
        assert "ffff:" not in routerkit.inside(space, "tc", "qdisc", "show")


@pytest.mark.parametrize("attach", MODES)
@pytest.mark.parametrize("gone", ["router", "interface"])
def test_what_goes_while_nobody_runs_keeps_nothing_of_ours(make_lab, attach, gone):
    """A killed daemon's successor undoes also what is none of its business any more."""
    lab = make_lab("router", routers=2)
    space = routerkit.namespaces_of(lab)[0]
    router = space.removeprefix("qrouter-")
    if gone == "interface":  # the first router has two
        doomed = next(device for device in devices_of(space) if device.startswith("qr-"))

    def state():
        return [routerkit.inside(space, *what.split()) for what in (
            "tc qdisc show", "ip route show table local", "sysctl net.ipv4.tcp_fwmark_accept")]

    def change(document):
        if gone == "router":
            document["routers"] = [row for row in document["routers"] if row["id"] != router]
        document["ports"] = [row for row in document["ports"] if row.get("device_id") != router or
                             gone == "interface" and not row["id"].startswith(doomed[3:])]
    before = state()
    daemon = routerkit.daemon_of(lab, config={"dataplane": {"attach": attach}}).start()
    try:
        routerkit.wait_steered(lab, 3)
        daemon.stop(signal.SIGKILL)
        lab.edit_inventory(change)
        daemon.start()
        routerkit.wait_steered(lab, 1 if gone == "router" else 2)
        if gone == "router":
            mtlab.wait_until(lambda: state() == before, 3, f"{state()} is {before} again")
        else:
            mtlab.wait_until(lambda: f"ffff: dev {doomed}" not in state()[0], 3, f"{doomed} is bare: {state()[0]}")
    finally:
        daemon.stop()
    assert state() == before


# --------------------------------------------------------------------------- the machine's switch

SWITCH = pathlib.Path("/sys/kernel/rcu_expedited")


@contextlib.contextmanager
def writes_to(file):
    """How often it was written to in a `with` block, by whomever: a list of one number, when it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    seen = []
    try:
        assert libc.inotify_add_watch(watch, os.fsencode(file), 0x2) >= 0  # IN_MODIFY
        yield seen
        with contextlib.suppress(BlockingIOError):
            seen.append(len(os.read(watch, 65536)) // 16)
            return
        seen.append(0)
    finally:
        os.close(watch)


@pytest.mark.parametrize("expedite", ["true", "false"])
def test_the_machines_switch_is_touched_only_if_that_is_allowed(lab, expedite):
    """Tap mode, and as many devices as make it worth while."""
    if SWITCH.read_text().strip() != "0":
        pytest.skip("rcu_expedited is on already, by whoever")
    before = lab.inventory_file.read_text()
    names = []

    def add_ports(document):
        template = next(port for port in document["ports"] if "device" not in port)
        for number in range(20):
            own = f"{template['id'][:6]}90-{number:02x}"
            document["ports"].append({**template, "id": own + template["id"][11:], "device_id": "",
                                      "fixed_ips": [], "mac_address": f"fa:16:3e:7e:00:{number:02x}"})
            names.append("tap" + own)
    deployment = mtlab.Deployment(lab, config={"dataplane": {"expedite_rcu": expedite}})
    try:
        lab.edit_inventory(add_ports)
        mtlab.labkit.ip_batch([f"tuntap add dev {name} mode tap" for name in names])
        with writes_to(SWITCH) as writes:
            deployment.start()
            rows = json.loads(mtlab.metatap(deployment.admin_socket, "--json", "ports").stdout)
            deployment.close()
        assert {row["device"] for row in rows if row["state"] == "steered"} > set(names)
        assert (writes[0] > 0) == (expedite == "true")
        assert SWITCH.read_text().strip() == "0"
    finally:
        deployment.close()
        mtlab.labkit.ip_batch([f"link del {name}" for name in names])
        lab.write_inventory(before)


def test_rcu_expedited_is_put_back_after_a_kill(lab, daemon):
    if SWITCH.read_text().strip() != "0":
        pytest.skip("rcu_expedited is on already, by whoever")
    record = lab.state / "run/dataplane/rcu_expedited.before"
    record.write_text("0")  # what a process leaves that is killed in such a moment
    SWITCH.write_text("1")
    try:
        daemon()
        assert SWITCH.read_text().strip() == "0"
        assert not record.exists()
    finally:
        SWITCH.write_text("0")
