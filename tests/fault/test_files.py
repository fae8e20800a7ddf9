# SPDX-License-Identifier: Apache-2.0
"""Files that cannot be read, that go while they are read, on file systems that hang or are full:
what was known is served on, whoever waits is told, and nobody else waits."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import threading
import time

import hungfs
import mtlab
import pytest
from aloneapi import LIMIT, SAMPLE

VENDORDATA = "/openstack/latest/vendor_data.json"


def named(name):
    """The sample, its first instance with that host name."""
    document = json.loads(SAMPLE.read_text())
    document["instances"][0]["hostname"] = name
    return json.dumps(document)


def put(file, text=None, link=None):
    """In one step, as an operator's tool does: a file, or a link."""
    fresh = file.with_suffix(".new")
    if link:
        fresh.symlink_to(link)
    else:
        fresh.write_text(text)
    fresh.rename(file)


def serves(daemon, name, seconds=7):
    mtlab.wait_until(lambda: daemon.ask()[::2] == (200, f"{name}.novalocal"), seconds, f"{name} is served")


def file_error(daemon):
    return daemon.status()["file_error"]


def test_reading_that_fails_is_one_log_line(api, tmp_path):
    file = tmp_path / "inventory.json"
    put(file, named("first"))
    daemon = api({"file": file}).start()
    put(file, link="/proc/self/mem")  # a regular file; EIO for whoever reads its beginning
    mtlab.wait_until(lambda: "Input/output error" in file_error(daemon), 5, "told")
    for number in range(5):
        (tmp_path / f"another-{number}").touch()  # each an occasion to look again
        time.sleep(0.1)
    serves(daemon, "first")
    assert daemon.log.read_text().count("Input/output error") == 1
    assert daemon.admin("/healthz")[0] == 503
    put(file, named("second"))
    serves(daemon, "second")
    assert file_error(daemon) == ""
    assert daemon.admin("/healthz") == (200, "ok\n")


def test_start_with_a_file_whose_reading_fails_is_503_until_it_does_not(api, tmp_path):
    file = tmp_path / "inventory.json"
    put(file, link="/proc/self/mem")
    daemon = api({"file": file}).start()
    status, retry_after, _ = daemon.ask()
    assert (status, int(retry_after) > 0) == (503, True)
    assert "Input/output error" in daemon.status()["unknown_because"]
    put(file, named("second"))
    serves(daemon, "second")


def test_file_that_goes_and_comes_while_it_is_read(api, tmp_path):
    file = tmp_path / "inventory.json"
    put(file, named("first"))
    daemon = api({"file": file}).start()
    stop = threading.Event()

    def torment():
        while not stop.is_set():
            file.unlink()
            file.write_text(named("first")[:-100])  # not yet whole
            put(file, named("first"))
    thread = threading.Thread(target=torment)
    thread.start()
    try:
        for _ in range(60):
            assert daemon.ask()[::2] == (200, "first.novalocal")
            time.sleep(0.02)
    finally:
        stop.set()
        thread.join()
    put(file, named("last"))
    serves(daemon, "last")
    assert file_error(daemon) == ""


@pytest.mark.parametrize("how", ["deleted", "renamed"])
def test_directory_that_goes_and_is_made_again(api, tmp_path, how):
    folder = tmp_path / "inventory"
    folder.mkdir()
    file = folder / "inventory.json"
    put(file, named("first"))
    daemon = api({"file": file}).start()
    if how == "deleted":
        shutil.rmtree(folder)
    else:
        folder.rename(tmp_path / "aside")
    mtlab.wait_until(lambda: "No such file" in file_error(daemon), 7, "told")
    serves(daemon, "first")
    folder.mkdir()
    put(file, named("second"))
    serves(daemon, "second")
    for name in ("third", "fourth", "fifth"):  # each sooner than the slow look, so by an event
        put(file, named(name))
        serves(daemon, name, 3)


# --- file systems that hang ------------------------------------------------------------------------

@pytest.fixture
def hung(tmp_path):
    try:
        one = hungfs.HungFileSystem(tmp_path / "hung")
    except hungfs.Unavailable as why:
        pytest.skip(str(why))
    yield one
    one.close()


def test_start_with_files_on_a_file_system_that_hangs(api, hung, tmp_path):
    """Also their directory cannot be looked at."""
    there = tmp_path / "hung" / "etc"
    daemon = api({"file": there / "inventory.json"},
                 f"[api]\nvendordata_jsonfile_path = {there}/vendordata.json\n").start()
    for _ in range(3):
        daemon.wait_until_told("WATCHDOG=1", 1)
        status, retry_after, _ = daemon.ask()
        assert (status, int(retry_after) > 0) == (503, True)
        daemon.status()
    mtlab.wait_until(lambda: "does its file system answer?" in daemon.status()["unknown_because"],
                     LIMIT + 8, "it says why")
    assert daemon.log.read_text().count("does its file system answer?") == 1
    hung.close()
    there.mkdir()
    put(there / "vendordata.json", '{"a": 1}')
    put(there / "inventory.json", named("first"))
    serves(daemon, "first")
    mtlab.wait_until(lambda: json.loads(daemon.ask(VENDORDATA)[2]) == {"a": 1}, 5, "vendordata, too")


def test_files_that_hang_hold_up_nobody(api, hung, tmp_path):
    file, vendordata = tmp_path / "inventory.json", tmp_path / "vendordata.json"
    put(file, named("first"))
    put(vendordata, '{"a": 1}')
    daemon = api({"file": file}, f"[api]\nvendordata_jsonfile_path = {vendordata}\n").start()
    assert json.loads(daemon.ask(VENDORDATA)[2]) == {"a": 1}
    for one in (file, vendordata):
        put(one, link=tmp_path / "hung" / one.name)
    mtlab.wait_until(lambda: "does its file system answer?" in file_error(daemon), LIMIT + 8, "told")
    started = time.monotonic()
    status, retry_after, _ = daemon.post_password("c2VjcmV0")
    assert (status, int(retry_after) > 0) == (503, True), "what stores waits for the file"
    assert time.monotonic() - started < LIMIT + 2
    for _ in range(3):
        daemon.wait_until_told("WATCHDOG=1", 1)
        serves(daemon, "first", 1)
        assert json.loads(daemon.ask(VENDORDATA)[2]) == {"a": 1}
        daemon.status()
    put(file, named("second"))
    put(vendordata, '{"b": 2}')
    hung.close()
    serves(daemon, "second")
    mtlab.wait_until(lambda: json.loads(daemon.ask(VENDORDATA)[2]) == {"b": 2}, 5, "vendordata, too")
    assert file_error(daemon) == ""
    assert daemon.post_password("c2VjcmV0")[0] in (200, 409), "409: the first one was stored late"


def test_daemon_ends_while_a_file_system_hangs(api, hung, tmp_path):
    daemon = api({"file": tmp_path / "hung" / "etc" / "inventory.json"}).start()
    daemon.stop()
    assert daemon.process.returncode == 0


# --- disks that are full ---------------------------------------------------------------------------

@contextlib.contextmanager
def small_disk(folder):
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "metatap-test", folder],
                          capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(file):
    with open(file, "wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(b"x" * 4096)


def test_full_disk_keeps_no_copy_until_there_is_room(api, database, tmp_path):
    """The database is elsewhere and has room; what is missing is the copy for a start without it."""
    with small_disk(tmp_path / "state") as state:
        daemon = api({"database": database.url()}).start()
        apply = tmp_path / "apply.json"

        def change(name):
            document = json.loads(named(name))
            document["instances"][0]["user_data"] = base64.b64encode(os.urandom(45_000)).decode()
            apply.write_text(json.dumps(document))
            daemon.metatap("apply", str(apply))
            serves(daemon, name, 1)
        try:
            change("first")
            fill(state / "filler")
            for number in range(5):  # the log may have room for a few more pages
                change(f"full-{number}")
            assert daemon.log.read_text().count("no copy is kept for a start without it") == 1
            (state / "filler").unlink()
            change("last")
            assert "a copy is kept again" in daemon.log.read_text()
            daemon.stop()
            database.stop()
            daemon.start()
            serves(daemon, "last", 1)
            assert daemon.status()["served_from"] == "this host's copy"
        finally:
            daemon.stop()
