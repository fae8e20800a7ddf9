# SPDX-License-Identifier: Apache-2.0
"""The access ledger: who read what, over restarts, deaths, replaced workers and a full disk."""

import contextlib
import json
import signal
import subprocess

import mtlab

PATH = "/openstack/2012-08-10/meta_data.json"
USER_DATA = "/openstack/latest/user_data"


def audit(deployment, *arguments, check=True):
    return mtlab.metatap(deployment.admin_socket, "audit", *arguments, check=check)


def records(deployment, *arguments):
    return [json.loads(line) for line in audit(deployment, "--json", *arguments).stdout.splitlines()]


def answers(deployment, guest):
    return [record for record in records(deployment, "--port", guest.port_id)
            if record["kind"] == "access"]


def kinds(deployment):
    return [record["kind"] for record in records(deployment) if record["kind"] != "access"]


def status(deployment):
    return json.loads(mtlab.metatap(deployment.admin_socket, "status", "--json").stdout)["ledger"]


@contextlib.contextmanager
def serving(directory="$state_path/ledger", **options):
    with mtlab.serving(config={"proxy": {"ledger": directory, **options}}) as deployment:
        yield deployment


def another_worker(deployment, number, pid, old):
    subprocess.run(["kill", f"-{number.value}", str(pid)], check=True)
    supervisor = deployment.data_plane.process.pid
    mtlab.wait_until(lambda: mtlab.children_of(supervisor) not in ([], [old]) and
                     len(mtlab.children_of(supervisor)) == 1, 30, "another worker is alone")
    mtlab.wait_until(lambda: mtlab.metatap(deployment.admin_socket, "status", check=False).returncode
                     == 0, 20, "it answers")


def test_each_guests_reads_stand_in_it_over_restarts_deaths_and_replaced_workers():
    with serving() as deployment:
        lab = deployment.lab
        red, blue = lab["red1"], lab["blue1"]
        assert red.get(USER_DATA).status == 200
        assert blue.get("/latest//user%2ddata").status == 200
        assert blue.get("/nothing", headers=[("X-metadata-token", "bad")]).status == 401
        mtlab.wait_until(lambda: len(answers(deployment, blue)) == 2, 10, "they are written")
        (read,) = answers(deployment, red)
        assert (read["path"], read["token"], read["verdict"]) == ("user_data", "none", "answered")
        assert read["instance"] == red.instance_id and read["bytes"] > 0
        first, second = answers(deployment, blue)
        assert first["path"] == "user_data"
        assert (second["verdict"], second["reason"]) == ("refused", "token_invalid")
        assert answers(deployment, lab["red2"]) == []
        assert kinds(deployment) == ["file", "start"]

        supervisor = deployment.data_plane.process.pid
        (worker,) = mtlab.children_of(supervisor)
        another_worker(deployment, signal.SIGHUP, supervisor, worker)
        assert red.get(USER_DATA).status == 200
        mtlab.wait_until(lambda: len(answers(deployment, red)) == 2, 10, "it goes on")
        # Whether the former one was the last that wrote is a matter of which was quicker.
        assert kinds(deployment) in (["file", "start", "start"], ["file", "start", "end", "start"])

        (worker,) = mtlab.children_of(supervisor)
        another_worker(deployment, signal.SIGKILL, worker, worker)
        mtlab.wait_until(lambda: kinds(deployment)[-2:] == ["gap", "start"], 10,
                         "what died is missed")
        deployment.data_plane.stop()
        where = lab.state / "state/ledger"
        found = subprocess.run([str(mtlab.BIN / "metatap"), "--json", "audit", "--verify", where],
                               capture_output=True, text=True)
        assert found.returncode == 0, found.stdout + found.stderr
        assert json.loads(found.stdout)["gaps"] == 1
        deployment.data_plane.start()
        assert red.get(USER_DATA).status == 200
        mtlab.wait_until(lambda: len(answers(deployment, red)) == 3, 10, "it goes on")
        assert kinds(deployment)[-3:] == ["start", "end", "start"]

        (newest,) = where.glob("access-*.jsonl")
        assert newest.stat().st_mode & 0o777 == 0o600
        text = newest.read_text()
        newest.write_text(text.replace('"path":"user_data"', '"path":"meta_data"', 1))
        broken = audit(deployment, "--verify", check=False)
        assert broken.returncode == 1 and "record 3" in broken.stdout


def test_a_full_disk_costs_records_and_no_answer():
    with serving(ledger_file_size=65536, ledger_files=1000) as deployment:
        lab, where = deployment.lab, deployment.lab.state / "state/ledger"
        guest = lab["red1"]
        deployment.data_plane.stop()
        where.rename(where.with_name("former"))
        where.mkdir(mode=0o700)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "none", where],
                       check=True)
        try:
            former = where.with_name("former").stat()
            subprocess.run(["chown", f"{former.st_uid}:{former.st_gid}", where], check=True)
            deployment.data_plane.start()

            def full():
                assert guest.get(PATH).status == 200
                return status(deployment)["problem"] != ""
            mtlab.wait_until(full, 60, "the disk is full")
            for _ in range(20):
                assert guest.get(PATH).status == 200
            assert status(deployment)["waiting"] > 0
            health = mtlab.metatap(deployment.admin_socket, "doctor", check=False).stdout
            assert "No space left" in status(deployment)["problem"], health
            subprocess.run(["mount", "-o", "remount,size=4m", where], check=True)
            mtlab.wait_until(lambda: status(deployment)["problem"] == "" and
                             status(deployment)["waiting"] == 0, 10, "it is written again")
            audit(deployment, "--verify")
            assert kinds(deployment).count("gap") == 0  # they have waited
        finally:
            try:
                deployment.data_plane.stop()
            finally:
                subprocess.run(["umount", "-l", where], check=True)
