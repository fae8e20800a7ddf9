# SPDX-License-Identifier: Apache-2.0
"""What an operator sees of guests: ports, port, explain, doctor, on a lab that runs."""

import contextlib
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import signal
import socketserver
import struct
import subprocess
import termios
import threading
import time

import bpfkit
import labkit
import mtlab
import pytest
import routerkit

PATH = "/latest/meta-data/instance-id"
DONE, FAILED, NOT_FOUND, CONFLICT, UNREACHABLE, DENIED, OTHER_VERSION, NOBODY_READS, WARNED = 0, 1, 3, 4, 5, 7, 8, 9, 10


def command(text):
    subprocess.run(text.split(), check=True, capture_output=True)


@pytest.fixture(scope="module")
def served(make_lab, deploy):
    """Its guests do not ask again who their neighbours are: some seconds after each request that
    would be counted."""
    lab = make_lab()
    for guest in lab.guests.values():
        labkit.write_sysctls(guest.netns, {
            f"net/{family}/neigh/{guest.device}/base_reachable_time_ms": 3_600_000
            for family in ("ipv4", "ipv6")})
    return deploy(lab)


def metatap(deployment, *arguments):
    return mtlab.metatap(deployment.admin_socket, *arguments, check=False)


def shown(deployment, *arguments):
    """Exit status, and what it said as JSON."""
    done = metatap(deployment, "--json", *arguments)
    return done.returncode, json.loads(done.stdout)


def counters(deployment):
    """All that is counted and read by people, but for the daemon's own look, what the kernels of the
    guests send to others, and what the one in the metadata namespace says by itself at its start
    (nobody's: slot 0)."""
    text = mtlab.admin_get(deployment.admin_socket, "/metrics")
    rows = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and line[0] != "#")
    ours = re.compile(r"self_probe|(age|uptime|time|cpu|memory|probe)\w*_(seconds|bytes)|"
                      r"^metatap_overload|^process_|return_foreign|not_metadata|mt_counters 0$")
    for name in ("mt_counters", "mt_buckets", "mt_addresses", "mt_aliases", "mt_slot_reasons", "mt_elsewhere"):
        for row in deployment.dump(name):
            row = row.get("formatted", row)
            rows[f"{name} {row['key']}"] = row["value"]
    return {name: value for name, value in rows.items() if not ours.search(name)}


def differences(before, after):
    return {name: (before.get(name), after.get(name)) for name in before | after
            if before.get(name) != after.get(name)}


def at_rest(deployment):
    """The counters, once what was under way has come to its end."""
    last = [None]

    def same():
        before, last[0] = last[0], counters(deployment)
        return before == last[0] and last[0]
    return mtlab.wait_until(same, 10, "nothing is counted any more", pause=0.1)


def stages(explanation, verdict):
    return [stage["stage"] for stage in explanation["stages"] if stage["verdict"] == verdict]


# ---- ports and port

def test_one_row_a_port(served):
    status, rows = shown(served, "ports")
    assert status == DONE
    by_id = {row["id"]: row for row in rows}
    assert len(by_id) == len(rows)
    red = served.lab["red1"]
    assert by_id[red.port_id]["state"] == "steered" and by_id[red.port_id]["via"] == "tap"
    assert by_id[red.port_id]["instance"] == "red1"


@pytest.mark.parametrize("by", ["port_id", "host_device", "instance_id"])
def test_a_port_by_whatever_is_known(served, by):
    red = served.lab["red1"]
    red.get(PATH)
    status, port = shown(served, "port", getattr(red, by))
    assert status == DONE and port["port"]["id"] == red.port_id
    place, = port["places"]
    assert place["served"]["where"] == red.host_device and place["traffic"]["connections"] > 0
    assert {row["reason"] for row in place["packets"]} >= {"steered_v4", "return_v4"}
    assert any(row["address"] == red.ip4 and row["from"] == "fixed" for row in place["addresses"])


def test_an_address_of_several_is_said_so(served):
    done = metatap(served, "port", served.lab["red1"].ip4)
    assert done.returncode == CONFLICT and not done.stdout
    for guest in ("red1", "blue1"):
        assert served.lab[guest].port_id in done.stderr


class OtherVersion(socketserver.ThreadingUnixStreamServer):
    """The admin socket of a daemon that knows nothing of what it is asked."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            if not self.request.recv(4096):
                return  # only a look whether somebody listens
            body = b'{"error": {"code": "not_found", "message": "there is no /v1/that"}}'
            self.request.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nServer: metatapd 0.1\r\n"
                                 b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)


@pytest.fixture(scope="module")
def nobody_to_ask(served, tmp_path_factory):
    """{exit status: how the command line has to begin}"""
    folder = tmp_path_factory.mktemp("sockets")
    binary = [str(mtlab.BIN / "metatap"), "--socket"]
    with OtherVersion(str(folder / "old.sock"), OtherVersion.Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {UNREACHABLE: [*binary, str(folder / "none.sock")],
               DENIED: ["setpriv", "--reuid=1", "--clear-groups", *binary, str(served.admin_socket)],
               OTHER_VERSION: [*binary, str(folder / "old.sock")]}
        server.shutdown()


@pytest.mark.parametrize("status", [UNREACHABLE, DENIED, OTHER_VERSION])
@pytest.mark.parametrize("view", ["status", "ports", "port PORT", "explain PORT", "trace", "trace PORT", "top", "doctor",
                                  "config show", "export", "instance list"])
def test_where_nobody_answers_one_sentence_says_why(served, nobody_to_ask, view, status):
    words = view.replace("PORT", served.lab["red1"].port_id).split()
    done = subprocess.run([*nobody_to_ask[status], *words], capture_output=True, text=True, timeout=30)
    said = done.stderr if view != "doctor" else done.stdout.partition("        ->")[0]
    assert (done.returncode, len(said.splitlines())) == (status, 1), done
    assert {UNREACHABLE: "none.sock", DENIED: "Permission denied", OTHER_VERSION: "metatapd 0.1"}[status] in said


def test_exit_codes_tell_apart(served):
    assert metatap(served, "port", "nobody").returncode == NOT_FOUND
    assert metatap(served, "explain", "nobody").returncode == NOT_FOUND
    closed = subprocess.run(f"{mtlab.BIN}/metatap --socket {served.admin_socket} ports >&-", shell=True,
                            capture_output=True)
    assert closed.returncode == NOBODY_READS


# ---- explain

@pytest.fixture()
def untouched(served):
    """Nothing of what people read is different afterwards."""
    served.lab["red1"].get(PATH)
    before = at_rest(served)
    yield
    assert not differences(before, counters(served))


def test_a_healthy_port(served, untouched):
    status, told = shown(served, "explain", served.lab["red1"].port_id)
    assert status == DONE and told["healthy"]
    assert {"port", "device", "packet", "proxy", "agent", "api"} <= set(stages(told, "ok"))
    text = " ".join(stage["what"] for stage in told["stages"])
    for reason in ("arp_answered", "steered_v4", "nd_answered", "steered_v6"):
        assert reason in text


def test_without_an_instance(served, untouched):
    ghost = served.lab["ghost"]
    status, told = shown(served, "explain", ghost.port_id)
    assert status == FAILED and stages(told, "bad") == ["api"]
    assert ghost.instance_id in told["because"] and "instance add" in told["advice"]


def test_a_tap_that_is_absent(served):
    lab = served.lab
    lab.unplug("onlink")
    try:
        mtlab.wait_until(lambda: shown(served, "explain", lab["onlink"].port_id)[1]["stages"][1]["verdict"] == "bad",
                         5, "it is seen to be absent")
        status, told = shown(served, "explain", lab["onlink"].port_id)
        assert status == FAILED and told["because"].startswith("device: ")
        assert lab["onlink"].host_device in told["because"] and "absent" in told["because"]
    finally:
        lab.replug("onlink")


def test_a_wrong_address(make_lab, deploy):
    """The guest uses an address that is not its port's: it is named, though nobody was told."""
    lab = make_lab()
    deployment = deploy(lab, config={"dataplane": {"drop_sample": "1"}})
    red = lab["red2"]
    address = ["10.0.0.99/24", "dev", red.spec.device]
    subprocess.run(["ip", "-n", red.spec.netns, "addr", "add", *address], check=True)
    assert red.run("attempt", "/", source="10.0.0.99") != 200
    told = mtlab.wait_until(lambda: (answer := shown(deployment, "explain", red.port_id))[0] == FAILED and answer[1],
                            5, "it is seen")
    assert "10.0.0.99" in told["because"] and "spoofed_v4" in told["because"]
    found = shown(deployment, "doctor")[1]
    assert any("10.0.0.99" in finding["message"] and red.port_id in finding["message"] for finding in found)
    place, = shown(deployment, "port", red.port_id)[1]["places"]
    assert place["strangers"][0]["source"] == "10.0.0.99"
    # And in the log, once, however often it tries.
    lines = lambda: re.findall(r".*packets refused: .*", deployment.data_plane.log.read_text())  # noqa: E731
    line, = mtlab.wait_until(lines, 10, "the log says so")
    assert " W " in line and f"port {red.port_id}, {red.host_device}: " in line
    assert "not an address of the port (spoofed_v4); its guest uses 10.0.0.99, MAC" in line
    red.run("attempt", "/", source="10.0.0.99", timeout=0.3)
    time.sleep(3)
    assert lines() == [line]


def test_the_api_is_stopped(make_lab, deploy):
    lab = make_lab()
    api = deploy(lab, "api")
    front = deploy(lab, "dataplane,proxy,agent")
    red = lab["red1"]
    assert shown(front, "explain", red.port_id)[0] == DONE
    api.stop()
    assert health_of(front) == "ok\n"  # nobody has asked since
    status, told = shown(front, "explain", red.port_id)
    assert status == FAILED and stages(told, "bad") == ["api"]
    assert f"127.0.0.1:{lab.plan.api_port()} cannot be reached" in told["because"]
    assert "to api: it has not answered" in health_of(front)
    api.start()
    assert shown(front, "explain", red.port_id)[0] == DONE
    assert health_of(front) == "ok\n"


def health_of(deployment):
    return mtlab.admin_get(deployment.admin_socket, "/healthz")


def test_the_api_hangs(make_lab, deploy):
    """It is waited for as long as a person waits, and told apart from one that is not there."""
    lab = make_lab()
    api = deploy(lab, "api")
    front = deploy(lab, "dataplane,proxy,agent")
    red = lab["red1"]
    assert shown(front, "explain", red.port_id)[0] == DONE
    api.data_plane.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        status, told = shown(front, "explain", red.port_id)
        assert status == FAILED and stages(told, "bad") == ["api"]
        assert "504: no answer in time" in told["because"] and time.monotonic() - began < 20
        assert "to api: it has not answered" in health_of(front)
        assert "guests are NOT served" in metatap(front, "status").stdout
    finally:
        api.data_plane.process.send_signal(signal.SIGCONT)
    assert shown(front, "explain", red.port_id)[0] == DONE
    assert health_of(front) == "ok\n"


def test_a_port_that_needs_tokens(make_lab, deploy):
    """What a dry run, which shows none, would not tell."""
    lab = make_lab()
    deployment = deploy(lab, config={"proxy": {"tokens": "required", "boot_window": 0}})
    red = lab["red1"]
    assert red.get(PATH).status == 401
    status, told = shown(deployment, "explain", red.port_id)
    assert status == DONE and "need a session token" in next(
        stage["what"] for stage in told["stages"] if stage["verdict"] == "note" and stage["stage"] == "proxy")


def test_while_the_inventory_changes(served):
    """Whatever is there at each moment: an answer, or that there is no such port."""
    lab, port = served.lab, served.lab["blue2"].port_id

    def without(document):
        document["ports"] = [row for row in document["ports"] if row["id"] != port]
    good = lab.inventory_file.read_text()
    try:
        for _ in range(3):
            lab.edit_inventory(without)
            assert metatap(served, "explain", port).returncode in (DONE, FAILED, NOT_FOUND)
            lab.write_inventory(good)
            assert metatap(served, "explain", port).returncode in (DONE, FAILED, NOT_FOUND)
    finally:
        lab.write_inventory(good)
    mtlab.wait_until(lambda: metatap(served, "explain", port).returncode == DONE, 10, "healthy again")


def test_a_guest_behind_a_router(make_lab, deploy):
    lab = make_lab("router", routers=1)
    deployment = deploy(lab)
    routerkit.wait_served(lab)
    guest = next(iter(lab.guests))
    lab[guest].get(PATH)
    row = next(row for row in shown(deployment, "ports")[1] if row["id"] == lab[guest].port_id)
    assert row["state"] == "steered" and row["where"].startswith("qrouter-")
    before = at_rest(deployment)
    status, told = shown(deployment, "explain", lab[guest].port_id)
    assert status == DONE, told
    assert "router_v4" in " ".join(stage["what"] for stage in told["stages"])
    assert not differences(before, counters(deployment))


# ---- doctor

def findings(deployment, severity=None):
    return [finding for finding in shown(deployment, "doctor")[1]
            if severity is None or finding["severity"] == severity]


def test_doctor_probes_each_family(served):
    for family in ("IPv4", "IPv6"):
        mtlab.wait_until(lambda: any(
            finding["subject"] == f"self-probe {family}" and finding["severity"] == "ok"
            for finding in findings(served)), 5, f"{family} is answered")


@pytest.mark.parametrize("what,said", [
    ("ip link del {host}", "{host} is gone"),
    ("ip -n {space} addr flush dev lo", "169.254.169.254 is nobody's"),
])
def test_what_somebody_broke_is_named(served, what, said):
    space = f"{served.lab.id}-metatap"
    host = next(link["ifname"] for link in json.loads(subprocess.run(
        ["ip", "-j", "link"], capture_output=True, text=True).stdout)
        if link["ifname"].startswith("mt-" + served.lab.id[:6]))
    command(what.format(host=host, space=space))
    said = said.format(host=host)
    mtlab.wait_until(lambda: said in mtlab.admin_get(served.admin_socket, "/healthz"), 2, "healthz names it")
    assert any(said in finding["message"] for finding in findings(served, "warning") + findings(served, "error"))
    assert mtlab.wait_until(lambda: served.lab["red1"].run("attempt", PATH, timeout=0.3) == 200, 2, "served")


def test_a_program_that_eats_packets_is_named(served):
    if not bpfkit.has_tcx():
        pytest.skip("no TCX")
    device = served.lab["red2"].host_device
    link = bpfkit.tcx_attach(bpfkit.load("eater", bpfkit.DROP), device, first=True)
    try:
        mtlab.wait_until(lambda: "eater" in mtlab.admin_get(served.admin_socket, "/healthz"), 2, "healthz names it")
        assert any("eater" in finding["message"] for finding in findings(served))
    finally:
        os.close(link)


def test_doctor_names_a_port_without_instance_and_ends_with_its_severity(served):
    done = metatap(served, "doctor")
    assert done.returncode in (1, 10)
    assert served.lab["ghost"].instance_id in done.stdout and "-> metatap instance add" in done.stdout


def test_a_terminal_of_twenty_columns_without_colours(served):
    done = subprocess.run(
        ["script", "-qec", f"stty cols 20; TERM=dumb {mtlab.BIN}/metatap --socket {served.admin_socket} "
         f"explain {served.lab['red1'].port_id}", "/dev/null"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and "\x1b[" not in done.stdout and "is answered" in done.stdout


# ---- status

def test_status_says_first_how_it_is_and_then_who_it_is(served):
    status, told = shown(served, "status")
    assert status == DONE and next(iter(told)) == "health"
    assert told["health"] == {"guests_are_served": True, "problems": [], "notes": told["health"]["notes"]}
    daemon = told["daemon"]
    assert daemon["stages"] == ["dataplane", "proxy", "agent", "api"] and daemon["steering"] == "bpf"
    version = subprocess.run([mtlab.BIN / "metatapd", "--version"], capture_output=True, text=True).stdout
    assert version == f"metatapd {daemon['version']}, commit {daemon['commit']}, ABI {daemon['abi']}\n"
    for process in ("supervisor", "worker"):
        ticks = int(pathlib.Path(f"/proc/{told[process]['pid']}/stat").read_text().rpartition(")")[2].split()[19])
        age = float(pathlib.Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
        assert abs(told[process]["uptime_s"] - age) < 5
    text = mtlab.wait_until(lambda: "self probe" in (said := metatap(served, "status").stdout) and said, 5, "its first look")
    assert text.startswith("guests are served\n")
    for words in (r"stages +dataplane, proxy, agent, api", r"uptime +\d+ (s|min|h)", r"age +\d+ s",
                  r"file applied +\d+ (s|min) ago", r"IPv4 +yes +\d+ s ago", r"pid +\d+"):
        assert re.search(words, text), words


def test_status_tells_how_the_stages_elsewhere_are(make_lab, deploy):
    lab = make_lab()
    api = deploy(lab, "api")
    front = deploy(lab, "dataplane,proxy,agent")
    red = lab["red1"]
    assert shown(front, "status")[1]["to api"]["answered_at"] == 0
    red.get(PATH)
    mtlab.wait_until(lambda: shown(front, "status")[1]["to api"]["answered_at"], 10, "it was seen to answer")
    api.stop()
    assert red.run("attempt", PATH) == 503
    said = mtlab.wait_until(lambda: "guests are NOT served" in (text := metatap(front, "status").stdout) and text, 10,
                            "it is seen")
    assert "to api: it has not answered for" in said
    assert "to api: it has not answered for" in mtlab.admin_get(front.admin_socket, "/readyz")


# ---- again and again

@contextlib.contextmanager
def on_a_terminal(deployment, *arguments, columns=80, rows=24):
    """`metatap` on a terminal of its own: the process, the terminal's other end, its settings before."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    before = termios.tcgetattr(its)
    process = subprocess.Popen(["setsid", "--ctty", mtlab.BIN / "metatap", "--socket", deployment.admin_socket, *arguments],
                               stdin=its, stdout=its, stderr=its, env={**os.environ, "TERM": "xterm"})
    try:
        yield process, ours
        assert termios.tcgetattr(its) == before, "the terminal is as it was"
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(its)


CLEAR = b"\x1b[H\x1b[2J"


def read_until(terminal, seen, seconds=10):
    """What came until seen(all of it)."""
    told, until = b"", time.monotonic() + seconds
    while not seen(told):
        assert select.select([terminal], [], [], max(0, until - time.monotonic()))[0], told
        told += os.read(terminal, 1 << 16)
    return told


@pytest.mark.parametrize("view", ["status", "ports", "port", "explain", "doctor"])
def test_watched_on_a_narrow_terminal_until_ctrl_c(served, view):
    port = [served.lab["red1"].port_id] if view in ("port", "explain") else []
    with on_a_terminal(served, view, *port, "--watch", "0.1", columns=20, rows=12) as (process, terminal):
        told = read_until(terminal, lambda text: text.count(CLEAR) == 4)
        for picture in told.split(CLEAR)[1:-1]:
            lines = re.sub(r"\x1b\[[0-9;]*m", "", picture.decode()).split("\r\n")
            assert lines[0] and sum(max(1, -(-len(line) // 20)) for line in lines) <= 12, picture
        os.write(terminal, b"\x03")
        assert process.wait(5) in (DONE, FAILED, WARNED)


@pytest.mark.parametrize("view", ["trace", "top"])
def test_what_goes_on_ends_with_ctrl_c(served, view):
    with on_a_terminal(served, view) as (process, terminal):
        served.lab["red1"].run("start_polling", PATH)
        try:
            read_until(terminal, bool)
        finally:
            served.lab["red1"].run("stop_polling")
        os.write(terminal, b"\x03")
        assert process.wait(5) == DONE


@pytest.mark.parametrize("view", ["status --watch 0.1", "ports --watch 0.1", "trace", "top"])
def test_a_pipe_that_closes(served, view):
    served.lab["red1"].run("start_polling", PATH)
    done = subprocess.run(["bash", "-c", f"timeout 20 {mtlab.BIN}/metatap --socket {served.admin_socket} {view} | head -1; "
                           "echo ${PIPESTATUS[0]} >&2"], capture_output=True, text=True)
    served.lab["red1"].run("stop_polling")
    assert done.stderr.split() == [str(NOBODY_READS)] and done.stdout


# ---- trace and top

def looking_on(deployment, *arguments):
    """`metatap trace`, once it looks on."""
    flags = lambda: deployment.dump("mt_config")[0]["formatted"]["value"]["flags"]  # noqa: E731
    mtlab.wait_until(lambda: not flags() & 4, 10, "nobody else looks on")
    process = subprocess.Popen([mtlab.BIN / "metatap", "--socket", deployment.admin_socket, "--json", "trace",
                                *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    mtlab.wait_until(lambda: flags() & 4, 5, "the programs tell")
    return process


def test_trace_shows_packets_and_requests_and_costs_nothing_afterwards(served):
    red = served.lab["red1"]
    process = looking_on(served, red.port_id)
    try:
        red.get(PATH)
        served.lab["blue1"].get(PATH)
        red.run("attempt", "/no/such/path")
        lines = []
        while not any(line.get("status") == 404 for line in lines):
            lines.append(json.loads(process.stdout.readline()))
    finally:
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == DONE
    assert {line["port"] for line in lines} == {red.port_id}
    packet = next(line for line in lines if line["kind"] == "packet" and line["reason"] == "steered_v4")
    assert packet["source"] == red.ip4 and packet["outcome"] == "steer"
    request = next(line for line in lines if line["kind"] == "request")
    assert request["path"] == PATH and request["status"] == 200 and request["api_us"] <= request["total_us"]
    mtlab.wait_until(lambda: not served.dump("mt_config")[0]["formatted"]["value"]["flags"] & 4, 10,
                     "the programs tell nobody any more")


def test_filters(served):
    red = served.lab["red1"]
    process = looking_on(served, "--status", "4xx", "-n", "1")
    red.get(PATH)
    red.run("attempt", "/no/such/path")
    out, _ = process.communicate(timeout=20)
    assert json.loads(out)["status"] == 404
    assert metatap(served, "trace", "nobody").returncode == NOT_FOUND


def traced(deployment, *arguments, happens):
    """The first line that a filter lets through, while these things happen."""
    process = looking_on(deployment, *arguments, "-n", "1")
    for what in happens:
        what()
    out, err = process.communicate(timeout=20)
    assert process.returncode == DONE, err
    return json.loads(out)


def test_each_filter_shows_what_it_says_and_nothing_else(served):
    red = served.lab["red1"]
    good, other = lambda: red.get(PATH), lambda: red.run("attempt", "/no/such/path")  # noqa: E731
    assert traced(served, "--path", "no/such", happens=[good, other])["path"] == "/no/such/path"
    assert traced(served, "--status", "404", happens=[good, other])["status"] == 404
    line = traced(served, served.lab["blue1"].port_id, "--status", "2xx",
                  happens=[good, lambda: served.lab["blue1"].get(PATH)])
    assert line["port"] == served.lab["blue1"].port_id
    address = ["10.0.0.98/24", "dev", red.spec.device]
    subprocess.run(["ip", "-n", red.spec.netns, "addr", "add", *address], check=True)
    try:
        line = traced(served, "--verdict", "drop", happens=[
            good, lambda: red.run("attempt", "/", source="10.0.0.98", timeout=0.2)])
    finally:
        subprocess.run(["ip", "-n", red.spec.netns, "addr", "del", *address], check=True)
    assert (line["outcome"], line["reason"], line["source"]) == ("drop", "spoofed_v4", "10.0.0.98")
    assert (line["port"], line["device"]) == (red.port_id, red.host_device)


@pytest.mark.parametrize("said,status,reason,path", [
    (b"GET /a%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed", "/a%zz"),
    (b"good morning\r\n\r\n", 400, "malformed", None),
    (b"PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 400, "token_denied", "/latest/api/token"),
    (b"GET /" + 3000 * b"a" + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "malformed", None),
])
def test_what_the_proxy_answers_itself_is_traced_with_its_reason(served, said, status, reason, path):
    red = served.lab["red1"]
    line = traced(served, "--status", "4xx", happens=[lambda: red.get(PATH), lambda: red.run("raw", said)])
    assert (line["status"], line["reason"], line.get("path")) == (status, reason, path)
    assert line["port"] == red.port_id and line["source"] == red.ip4 and "agent_us" not in line


def test_a_slow_reader_slows_nobody(served):
    """It reads nothing at all: guests are served as before."""
    red = served.lab["red1"]
    process = looking_on(served)
    try:
        for _ in range(200):
            assert red.get(PATH).status == 200
    finally:
        process.kill()
        process.communicate()


def test_top(served):
    red = served.lab["red1"]
    process = subprocess.Popen([mtlab.BIN / "metatap", "--socket", served.admin_socket, "--json", "top", "-n", "2"],
                               stdout=subprocess.PIPE, text=True)
    while process.poll() is None:
        red.get(PATH)
    tables = [json.loads(line) for line in process.stdout]
    assert process.returncode == DONE and len(tables) == 2
    busiest = tables[-1][0]
    assert busiest["port"] == red.port_id and busiest["requests"] > 0 and busiest["bytes"] > 0
    assert 0 < busiest["p50_us"] <= busiest["p99_us"]


def test_top_on_a_small_terminal_is_sorted_by_keys_and_ends_with_q(served):
    with on_a_terminal(served, "top", columns=20, rows=8) as (process, terminal):
        shown_by = {}
        told = read_until(terminal, lambda text: CLEAR in text and text.endswith(b"\n"))
        for key, title in (("e", "ERR/S"), ("d", "REFUSED/S"), ("9", "P99 US"), ("r", "REQ/S")):
            os.write(terminal, key.encode())
            told = read_until(terminal, lambda text, wanted=title.encode(): wanted in text and text.endswith(b"\n"))
            shown_by[title] = told.split(CLEAR)[-1].decode().split("\r\n")
        for title, lines in shown_by.items():
            assert lines[0].split(maxsplit=1)[1] == title
            assert all(len(line) <= 20 for line in lines) and len(lines) <= 8, lines
        os.write(terminal, b"q")
        assert process.wait(5) == DONE


# ---- the document

DOCUMENT = mtlab.labkit.ROOT / "docs/troubleshooting.md"


def test_each_command_of_the_document_works(served):
    lab, done = served.lab, 0
    for line in DOCUMENT.read_text().splitlines():
        if not line.startswith("    metatap "):
            continue
        words = line.replace("PORT", lab["red1"].port_id).split()[1:]
        process = subprocess.Popen([mtlab.BIN / "metatap", "--socket", served.admin_socket, *words],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        address = ["10.0.0.98/24", "dev", lab["red1"].spec.device]
        subprocess.run(["ip", "-n", lab["red1"].spec.netns, "addr", "add", *address], check=True)
        try:
            while process.poll() is None:  # what it may wait for
                lab["red1"].run("attempt", "/no/such/path", timeout=0.3)
                lab["red1"].run("attempt", "/", source="10.0.0.98", timeout=0.1)
        finally:
            subprocess.run(["ip", "-n", lab["red1"].spec.netns, "addr", "del", *address], check=True)
        out, err = process.communicate()
        assert process.returncode in (0, 1, 10) and out.strip(), f"{line}: {out}{err}"
        done += 1
    assert done >= 9
