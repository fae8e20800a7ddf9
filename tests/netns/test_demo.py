# SPDX-License-Identifier: Apache-2.0
"""The demo, as a person runs it; the build is there already."""

import ctypes
import os
import pathlib
import secrets
import signal
import struct
import subprocess
import time

import mtlab
import pytest

DEMO = mtlab.labkit.ROOT / "tests/lab/demo.py"


@pytest.fixture()
def name():
    """A lab id of this run, removed whatever happens."""
    run = os.environ.get("METATAP_TEST_RUN", "")
    id = "mt" + run + secrets.token_hex(3 - len(run) // 2)
    yield id
    mtlab.labkit.Lab(id).down()


def left_of(id):
    places = ("/run/netns", "/sys/class/net", "/sys/fs/bpf", "/run/metatap-lab")
    tag = mtlab.labkit.Plan(id, "tap", {}).tag
    found = [f"{place}/{entry}" for place in places if os.path.isdir(place)
             for entry in os.listdir(place) if entry.startswith((id, f"tap{tag}"))]
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if f"/metatap-lab/{id}/".encode() in (entry / "cmdline").read_bytes():
                found.append(str(entry))
        except OSError:
            pass
    return found


def demo(id, *arguments, **more):
    return subprocess.Popen([mtlab.PYTHON, "-B", str(DEMO), "--id", id, *arguments],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, **more)


def test_shows_each_guest_its_own_and_cleans_up(name):
    process = demo(name)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "Every guest got its own" in output
    for guest in ("red1", "blue1", "subport", "onlink"):
        assert f"{guest}.novalocal" in output
    assert "✗" not in output
    assert left_of(name) == []


def test_interrupted_it_cleans_up(name):
    process = demo(name)
    for line in process.stdout:
        if "What each guest gets" in line:
            break
    process.send_signal(signal.SIGINT)
    output = process.stdout.read()
    assert process.wait(60) == 130, output
    process.stdout.close()
    assert left_of(name) == []


def test_keep_leaves_it_running(name):
    process = demo(name, "--keep")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "Left running" in output
    lab = mtlab.labkit.Lab.load(name)
    told = mtlab.labkit.run(*mtlab.labkit.inside(lab.guest("red1").netns), "curl", "-sS", "--max-time",
                            "5", "http://169.254.169.254/latest/meta-data/hostname")
    assert told == "red1.novalocal"
    lab.down()
    time.sleep(0.2)
    assert left_of(name) == []


def refuse_bpf():
    """As containers do: the bpf system call fails with EPERM."""
    number = {"x86_64": 321, "aarch64": 280, "riscv64": 280}[os.uname().machine]
    code = b"".join(struct.pack("=HBBI", *step) for step in (
        (0x20, 0, 0, 0),  # load the system call's number
        (0x15, 0, 1, number),
        (0x06, 0, 0, 0x00050001),  # EPERM
        (0x06, 0, 0, 0x7fff0000)))
    buffer = ctypes.create_string_buffer(code)
    filter = struct.pack("=HxxxxxxQ", 4, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(38, 1, 0, 0, 0)
    if libc.prctl(22, 2, ctypes.c_char_p(filter), 0, 0) != 0:
        os._exit(99)


def test_without_bpf_it_says_so_and_shows_the_rest(name):
    process = demo(name, preexec_fn=refuse_bpf)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "BPF programs" in output and "CAP_BPF" in output
    for guest in ("g0", "g1", "g2", "red1", "blue1"):
        assert guest in output
    assert "✗" not in output and "✓ its own" in output
    assert left_of(name) == []
