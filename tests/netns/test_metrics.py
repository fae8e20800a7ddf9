# SPDX-License-Identifier: Apache-2.0
"""[admin] metrics_listen: metrics, health and the status page by TCP, and what cannot be done to it."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import browser
import mtlab
import pytest

ROOT = mtlab.labkit.ROOT
PATH = "/openstack/latest/meta_data.json"
SECRETS = re.compile(r"shared_secret|user_data|admin_pass|password_0|ssh-rsa")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(port, path="/metrics", method="GET"):
    """Status, headers, text."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


def values(text, name):
    """{labels: value} of a metric."""
    found = {}
    for labels, value in re.findall(rf"^metatap_{name}(?:{{(.*)}})? (\S+)$", text, re.M):
        found[labels] = float(value)
    return found


@pytest.fixture(scope="module")
def port():
    return free_port()


@pytest.fixture(scope="module")
def deployment(lab, deploy, port):
    return deploy(lab, config={"admin": {"metrics_listen": f"127.0.0.1:{port}"},
                               "proxy": {"access_log_sample": 1, "ledger": "$state_path/ledger"}})


@contextlib.contextmanager
def other(stages, text):
    """A daemon of other stages, which has other metrics."""
    with tempfile.TemporaryDirectory(prefix="mt-metrics-") as folder:
        os.chmod(folder, 0o755)
        listen = free_port()
        config = pathlib.Path(folder, "metatapd.conf")
        config.write_text(f"[DEFAULT]\nstate_path = {folder}/state\nrun_path = {folder}/run\nuser = root\n"
                          f"metadata_proxy_shared_secret = s3cret\n[admin]\n"
                          f"metrics_listen = 127.0.0.1:{listen}\n{text}")
        daemon = mtlab.Daemon(stages, folder, ["--config-file", config, "--stages", stages])
        daemon.start()
        try:
            yield listen
        finally:
            daemon.stop()


@pytest.fixture(scope="module")
def scrapes(deployment, port):
    """What our processes have between them, whatever they run."""
    deployment.lab["red1"].get(PATH)
    texts = [mtlab.wait_until(lambda: "self_probe_answered" in (text := get(port)[2]) and text, 10, "its first look")]
    for text in ("[agent]\ndirectory = neutron\nshield = true\n[neutron]\nauth_type = none\nendpoint_override = http://127.0.0.1:1\n",
                 "[agent]\ndirectory = ovn\n[ovs]\novsdb_connection = unix:/nowhere/db.sock\n"):
        with other("agent", text) as listen:
            texts.append(get(listen)[2])
    return "\n".join(texts)


@pytest.fixture(scope="module")
def names(scrapes):
    return set(re.findall(r"^(metatap_\w+)", scrapes, re.M))


def test_a_request_is_seen_in_every_stage(deployment, port):
    red = deployment.lab["red1"]
    before = get(port)[2]
    assert red.get(PATH).status == 200
    assert red.get("/nothing/at/all").status == 404
    time.sleep(1.1)  # what was made is shown for a second
    after = get(port)[2]

    def grown(labels, name="requests_total"):
        return values(after, name).get(labels, 0) - values(before, name).get(labels, 0)
    for stage in ("proxy", "agent", "api"):
        assert grown(f'stage="{stage}",path="meta_data",status="200"') == 1
        assert grown(f'stage="{stage}",path="other",status="404"') == 1
        assert grown(f'stage="{stage}"', "request_duration_seconds_count") == 2
        assert grown(f'stage="{stage}",le="+Inf"', "request_duration_seconds_bucket") == 2
    assert {label.split('"')[1] for label in values(after, "process_threads")} == {"worker", "supervisor"}
    assert values(after, "build_info") and values(after, "dataplane_packets_total")
    device = red.spec.host_device
    assert any(device in labels for labels in values(after, "port_packets_total"))


def test_the_last_look_at_the_way_in_and_out_is_told_by_family(deployment, port):
    def ages():
        told = values(get(port)[2], "self_probe_last_answer_timestamp_seconds")
        return {family: time.time() - when for family, when in told.items()}
    families = {'family="IPv4"', 'family="IPv6"'}
    mtlab.wait_until(lambda: (now := ages()).keys() == families and max(now.values()) < 4, 10, "both are answered")
    assert values(get(port)[2], "self_probe_answered") == dict.fromkeys(families, 1.0)


needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (prometheus) is not installed")
RULES, RULES_TEST = ROOT / "packaging/metatap.rules.yml", ROOT / "tests/data/metatap.rules.test.yml"


@needs_promtool
def test_promtool_has_nothing_to_say(deployment, port, names):
    for arguments, text in ((["check", "metrics"], get(port)[2]),
                            (["check", "rules", str(RULES)], None)):
        done = subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr


@needs_promtool
def test_each_alert_is_given_where_it_should_be_and_nowhere_else():
    done = subprocess.run(["promtool", "test", "rules", RULES_TEST.name], cwd=RULES_TEST.parent, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    tested = set(re.findall(r"alertname: (\w+)", RULES_TEST.read_text()))
    assert tested == set(re.findall(r"alert: (\w+)", RULES.read_text()))


def labels_of(text):
    """{metric: {label: its values}} of lines that begin with a series."""
    found = {}
    for name, labels in re.findall(r"(metatap_\w+){(.*?)}", text):
        for label, value in re.findall(r'(\w+)="(.*?)"', labels):
            found.setdefault(name, {}).setdefault(label, set()).add(value)
    return found


def test_alerts_are_tried_with_the_series_that_there_are(scrapes, names):
    """Names of labels, and their values, but for those that a host may have in hundreds."""
    real, tried = labels_of(scrapes), labels_of(RULES_TEST.read_text())
    assert len(tried) > 10 and not tried.keys() - names
    for name, labels in tried.items():
        for of_prometheus in ("instance", "job"):
            labels.pop(of_prometheus, None)
        assert labels.keys() == real.get(name, {}).keys(), name
        for label in labels.keys() - {"status", "path", "version", "commit", "abi"}:
            assert labels[label] <= real[name][label], (name, label)


DOCUMENTS = sorted(str(file.relative_to(ROOT)) for file in [*ROOT.glob("docs/*.md"), ROOT / "README.md"])


@pytest.mark.parametrize("file", ["packaging/metatap.rules.yml", "packaging/metatap.dashboard.json", "documents"])
def test_every_metric_that_is_named_is_there(names, file):
    text = "\n".join((ROOT / name).read_text() for name in (DOCUMENTS if file == "documents" else [file]))
    if file.endswith(".json"):
        text = "\n".join(target["expr"] for panel in json.loads(text)["panels"] for target in panel["targets"])
    named = set(re.findall(r"metatap_\w+", text))
    assert len(named) > 10
    # In documents some stand for all that begin so. One appears with the first connection that is forwarded.
    stems = tuple(names | {"metatap_port_forwarded_total"})
    assert not {name for name in named if not any(real == name or real.startswith(name.rstrip("_") + "_") for real in stems)}


def test_nothing_can_be_changed_and_no_secret_is_shown(deployment, port):
    for path in ("/v1/inventory", "/v1/instances", "/v1/config", "/v1/instances/x/password", "/etc/passwd",
                 "/v1/../v1/inventory"):
        assert get(port, path)[0] == 404, path
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert get(port, "/v1/ports", method)[0] == 405
    for path in ("/", "/metrics", "/v1/status", "/v1/ports", "/v1/doctor"):
        status, headers, text = get(port, path)
        assert status == 200 and headers["X-Content-Type-Options"] == "nosniff"
        assert path == "/" or not SECRETS.search(text), path
    policy = get(port, "/")[1]["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_health_is_what_was_seen(deployment, port):
    assert get(port, "/healthz")[::2] == (200, "ok\n")
    assert get(port, "/readyz")[::2] == (200, "ok\n")
    good = deployment.lab.inventory_file.read_text()
    with other("api", "[inventory]\nfile = /nowhere.json\ndatabase = postgresql://nobody@127.0.0.1:1/x\n"
                      "[DEFAULT]\nmetadata_listen = 127.0.0.1\nmetadata_listen_port = " + str(free_port()) + "\n") as listen:
        for path in ("/healthz", "/readyz"):
            status, _, text = get(listen, path)
            assert status == 503 and "inventory: not known yet" in text
        assert "database: " in get(listen, "/healthz")[2]
        assert "database: " not in get(listen, "/readyz")[2]
    assert deployment.lab.inventory_file.read_text() == good


def test_scrapers_that_never_read_and_two_hundred_of_them(deployment, port):
    red = deployment.lab["red1"]
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            scraper = stack.enter_context(socket.socket())
            scraper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            scraper.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                scraper.connect(("127.0.0.1", port))
            with contextlib.suppress(OSError):
                scraper.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        for _ in range(20):
            assert red.get(PATH).status == 200
        assert mtlab.metatap(deployment.admin_socket, "status").returncode == 0
    mtlab.wait_until(lambda: probe(port) == 200, 20, "who reads is answered again")
    threads = values(get(port)[2], "process_threads")
    assert max(threads.values()) < 32


def probe(port):
    with contextlib.suppress(OSError):
        return get(port, "/readyz")[0]
    return None


def test_the_socket_waits_for_the_next_worker(deployment, port):
    """The supervisor holds it: whoever scrapes while a worker dies is answered by the next one."""
    worker = mtlab.children_of(deployment.data_plane.process.pid)[0]
    os.kill(worker, 9)
    mtlab.wait_until(lambda: probe(port) == 200, 10, "the next worker is there")
    time.sleep(1.1)
    assert values(get(port)[2], "worker_restarts_total") == {"": 1.0}


def test_another_process_at_the_address_is_an_error_at_the_start(lab):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = {"admin": {"metrics_listen": f"127.0.0.1:{taken.getsockname()[1]}"}}
        second = mtlab.TestLab()
        try:
            deployment = mtlab.Deployment(second.up(), config=config)
            daemon = deployment.daemons[0].start(wait=False)
            assert daemon.process.wait(20) == 1
            assert "[admin] metrics_listen: listen on 127.0.0.1" in daemon.tail()
        finally:
            second.close()


def test_the_access_log_says_who_asked_what_and_how_long_it_took(deployment):
    lab = deployment.lab
    red = lab["red1"]
    marker = len(deployment.data_plane.log.read_text())
    red.get(PATH)
    red.get("/a%zz")
    said = mtlab.wait_until(lambda: re.findall(r"access (.*)", deployment.data_plane.log.read_text()[marker:])
                            [1:] and deployment.data_plane.log.read_text()[marker:], 5, "two lines")
    first, second = re.findall(r"access (.*)", said)[:2]
    fields = dict(pair.split("=", 1) for pair in first.split(' "')[0].split())
    row = next(one for one in json.loads(lab.inventory_file.read_text())["ports"] if one["id"] == fields["port"])
    assert fields["instance"] == row["device_id"] and fields["network"] == row["network_id"]
    assert fields["status"] == "200" and int(fields["bytes"]) > 100 and fields["device"] == red.spec.host_device
    assert float(fields["stages"]) > 0 and float(fields["write"]) > 0
    assert first.endswith(f'"GET {PATH}"') and "status=400" in second
    assert not SECRETS.search(said)


def test_a_change_is_logged_with_who_made_it(tmp_path):
    with other("api", "[DEFAULT]\nmetadata_listen = 127.0.0.1\nmetadata_listen_port = " + str(free_port()) + "\n") as listen:
        folder = next(pathlib.Path(tempfile.gettempdir()).glob("mt-metrics-*"))
        document = tmp_path / "one.json"
        document.write_text('{"uuid": "u-1", "name": "one", "user_data": "aHVzaA=="}')
        mtlab.metatap(folder / "run/admin.sock", "instance", "add", str(document))
        log = (folder / "metatapd-api.log").read_text()
        assert re.search(r"inventory: revision \d+ by uid 0, pid \d+: 1 instances added \(u-1\)", log), log
        assert "aHVzaA" not in log and get(listen, "/readyz")[0] == 200


def test_the_journal_gets_priorities(tmp_path):
    """Standard error is the journal where systemd says so, and is what it says."""
    config = tmp_path / "metatapd.conf"
    config.write_text("[proxy]\nmax_head = 1\n")
    with open(tmp_path / "stderr", "wb") as said:
        stat = os.fstat(said.fileno())
        for stream in (f"{stat.st_dev}:{stat.st_ino}", "1:2"):
            subprocess.run([mtlab.BIN / "metatapd", "--check", "--config-file", config], stderr=said, timeout=30,
                           env={**os.environ, "JOURNAL_STREAM": stream}, check=False)
    journal, plain = (tmp_path / "stderr").read_text().splitlines()
    assert journal.startswith("<3>" + str(config))
    assert re.match(r"\d{4}-\d\d-\d\d .* E " + str(config), plain)


# What is to be seen of a plot: pixels of the colour of its first line.
DRAWN = """['rate', 'latency', 'cpu'].map(id => {
  const canvas = at(id), pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const wanted = getComputedStyle(document.querySelector('.one')).color.match(/\\d+/g).map(Number);
  let count = 0;
  for (let i = 0; i < pixels.length; i += 4) {
    count += pixels[i + 3] > 200 && wanted.every((value, part) => Math.abs(value - pixels[i + part]) < 30);
  }
  return count;
})"""
CUT_OFF = """[...document.querySelectorAll('.tile b, .tile span, figcaption, #state, h1, h2')]
  .filter(one => one.scrollWidth > one.clientWidth && one.clientWidth).map(one => one.textContent)"""
SMALL = """[...document.querySelectorAll('body *')].filter(one => one.childElementCount === 0 && one.textContent.trim() &&
  one.offsetParent && parseFloat(getComputedStyle(one).fontSize) < 12).map(one => one.textContent)"""


def test_the_page_in_a_browser(deployment, port, tmp_path):
    """It runs under its own policy, and shows what there is, live: in a window, and on a phone."""
    if not browser.PROGRAM:
        pytest.skip("chromium is not installed")
    red = deployment.lab["red1"]
    red.run("start_polling", PATH)
    artifacts = pathlib.Path(os.environ.get("METATAP_ARTIFACTS", tmp_path))
    try:
        with browser.Browser(tmp_path / "profile") as page:
            for name, width, height in (("status-page", 1280, 1400), ("status-page-phone", 390, 844)):
                page.screen(width, height, phone=width < 500)
                page.open(f"http://127.0.0.1:{port}/")
                mtlab.wait_until(lambda: page.run("typeof at === 'function' && Math.min(..." + DRAWN + ")") > 20, 30,
                                 "all plots show a line", pause=0.3)
                assert page.run("at('state').textContent") == "guests are served"
                assert page.run("at('findings').textContent.includes('self-probe IPv4')")
                for table in ("ports", "busiest"):
                    assert red.spec.host_device in page.run(f"at('{table}').textContent")
                assert "meta_data" in page.run("at('answers').textContent")
                assert page.run("document.documentElement.scrollWidth") == width, "nothing is wider than the page"
                assert page.run(CUT_OFF) == [] and page.run(SMALL) == []
                picture = artifacts / f"{name}.png"
                page.picture(picture)
                assert picture.stat().st_size > 10_000
            # Browsers ask for an icon by themselves; there is none.
            assert not [said for said in page.complaints if "favicon.ico" not in said]
    finally:
        red.run("stop_polling")
