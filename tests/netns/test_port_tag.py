# SPDX-License-Identifier: Apache-2.0
"""The port tag between a proxy and an agent that are two processes: believed by its signature,
whoever runs the agent, and refused where it cannot be believed."""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess

import mtlab
import pytest

STABLE = "/openstack/2012-08-10/meta_data.json"
NOBODY, NOGROUP = 65534, 65534
UNPRIVILEGED = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOGROUP}", "--clear-groups"]
TWINS = ["red1", "blue1"]  # of two tenants, with the same address
NEIGHBOURS = ["red1", "red2"]  # of one network
REFUSED = "port tag is not signed with our key"


def write_config(lab, name, sections):
    path = lab.state / f"{name}.conf"
    path.write_text("".join(
        f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in options.items())
        for section, options in sections.items()))
    return path


def swapped_addresses(lab):
    """The inventory as an agent has it that is a moment behind: two neighbours have each other's
    address. Whoever looks them up by address answers each with the other's metadata."""
    document = json.loads(lab.inventory_file.read_text())
    one, two = (next(port for port in document["ports"] if port["id"] == lab[name].port_id)
                for name in NEIGHBOURS)
    one["fixed_ips"], two["fixed_ips"] = two["fixed_ips"], one["fixed_ips"]
    path = lab.state / "agent-inventory.json"
    path.write_text(json.dumps(document))
    return path


class Split:
    """API, agent and proxy as three processes; the agent has options, a user and a program of its
    own, and an inventory in which addresses lead astray."""

    def __init__(self, lab, first, proxy=None, agent=None, unprivileged=False):
        self.lab = lab
        run, state = lab.state / "run", lab.state / "agent-state"
        state.mkdir(exist_ok=True)
        more = {}
        if unprivileged:
            os.chown(state, NOBODY, NOGROUP)
            os.chown(run, 0, NOGROUP)
            run.chmod(0o770)
            copy = lab.state / "another-metatapd"
            shutil.copy(mtlab.BIN / "metatapd", copy)
            more = {"program": copy, "prefix": UNPRIVILEGED}
        self.api = self.daemon("api", {})
        self.agent = self.daemon("agent", {"DEFAULT": {"state_path": state, **(agent or {})},
                                           "inventory": {"file": swapped_addresses(lab)}}, **more)
        self.proxy = self.daemon("dataplane,proxy", {"DEFAULT": proxy or {}})
        self.order = [self.api] + ([self.agent, self.proxy] if first == "agent"
                                   else [self.proxy, self.agent])

    def daemon(self, stages, sections, **more):
        name = stages.replace(",", "+")
        return mtlab.Daemon(name, self.lab.state, [
            "--config-file", self.lab.config_file,
            "--config-file", write_config(self.lab, name, sections), "--stages", stages], **more)

    def __enter__(self):
        try:
            for daemon in self.order:
                daemon.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for daemon in reversed(self.order):
            daemon.stop()

    def at_the_agents_socket(self, *headers):
        """What haproxy would do with a request that has these headers: (status, headers, body)."""
        connection = http.client.HTTPConnection("169.254.169.254")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(10)
        connection.sock.connect(str(self.lab.state / "run/metadata_proxy"))
        try:
            connection.putrequest("GET", STABLE)
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            return response.status, response.headers, response.read().decode()
        finally:
            connection.close()


@pytest.fixture()
def lab():
    made = mtlab.TestLab()
    try:
        yield made.up()
    finally:
        made.close()


def uuid_of(guest):
    answer = guest.get(STABLE)
    assert answer.status == 200, answer.status
    return json.loads(answer.body)["uuid"]


@pytest.mark.parametrize("first", ["agent", "proxy"])
def test_an_unprivileged_agent_of_another_program_believes_our_proxy(lab, first):
    with Split(lab, first, unprivileged=True) as split:
        for name in dict.fromkeys(TWINS + NEIGHBOURS):
            assert uuid_of(lab[name]) == lab[name].instance_id, name
        key = lab.state / "run/port_tag.key"
        found = key.stat()
        assert found.st_mode & 0o7777 == 0o640 and found.st_gid == NOGROUP
        assert found.st_uid == NOBODY
        assert [path.name for path in key.parent.glob("port_tag*")] == ["port_tag.key"]
        before = key.read_bytes()
        assert len(before) == 32
        # One after the other is upgraded; the key stays.
        for daemon in (split.agent, split.proxy):
            daemon.stop()
            daemon.start()
            assert uuid_of(lab["red1"]) == lab["red1"].instance_id
        assert key.read_bytes() == before
        for daemon in split.order:
            assert REFUSED not in daemon.log.read_text()


def test_two_keys_answer_503_and_say_what_to_do(lab):
    ours, theirs = "1" * 64, "2" * 64
    with Split(lab, "agent", proxy={"port_tag_key": ours}, agent={"port_tag_key": theirs}) as split:
        for name in dict.fromkeys(TWINS + NEIGHBOURS):
            for _ in range(5):
                answer = lab[name].get(STABLE)
                assert answer.status == 503 and int(answer.header("retry-after")) >= 1
                for other in lab.guests.values():
                    assert other.instance_id not in answer.text
        told = [line for line in split.agent.log.read_text().splitlines() if REFUSED in line]
        assert len(told) == 1, "a line a minute at most"
        assert "port_tag_key" in told[0] and "port_tag.key" in told[0] and "run_path" in told[0]
        for daemon in split.order:
            assert not re.search(f"{ours}|{theirs}", daemon.log.read_text())
        assert not (lab.state / "run/port_tag.key").exists(), "no key is made that nobody uses"

        split.agent.stop()
        config = lab.state / "agent.conf"
        config.write_text(config.read_text().replace(theirs, ours))
        split.agent.start()
        assert uuid_of(lab["red1"]) == lab["red1"].instance_id


def test_a_tag_through_neutrons_haproxy_is_refused_and_hurts_nobody_else(lab):
    """haproxy passes on the headers a guest writes. This guest claims its neighbour's port."""
    guest, victim = lab["blue1"], lab["blue2"]
    place = [("X-Neutron-Network-ID", lab.plan.networks[guest.network].id),
             ("X-Forwarded-For", guest.ip4)]
    claim = ("X-Metatap-Port-ID", victim.port_id)
    with Split(lab, "proxy") as split:  # the agent last: the admin socket is its
        status, _, body = split.at_the_agents_socket(*place)
        assert status == 200 and json.loads(body)["uuid"] == guest.instance_id
        for forged in ([claim], [claim, ("X-Metatap-Port-Signature", "0" * 64)],
                       [claim, ("X-Metatap-Port-Signature", "")], [claim, claim],
                       [("X-Metatap-Port-ID", "")], [("X-Metatap-Port-Signature", "0" * 64)],
                       [("x-METATAP-port-id", victim.port_id)]):
            status, headers, body = split.at_the_agents_socket(*place, *forged)
            assert status == 503 and headers["Retry-After"], forged
            assert victim.instance_id not in body and guest.instance_id not in body
        admin = lab.state / "run/admin.sock"
        shown = json.loads(mtlab.metatap(admin, "status", "--json").stdout)
        assert shown["agent"] == {"refused_port_tags": 7}
        findings = json.loads(mtlab.metatap(admin, "doctor", "--json", check=False).stdout)
        assert any("port_tag_key" in finding["advice"] for finding in findings)
        # Another name, which nobody reads.
        status, _, body = split.at_the_agents_socket(*place, ("X_Metatap_Port_ID", victim.port_id))
        assert status == 200 and json.loads(body)["uuid"] == guest.instance_id
        for name in dict.fromkeys(TWINS + NEIGHBOURS):
            assert uuid_of(lab[name]) == lab[name].instance_id


def check(lab, stages, config=None):
    arguments = ["--config-file", lab.config_file, *(["--config-file", config] if config else [])]
    done = subprocess.run([str(mtlab.BIN / "metatapd"), *map(str, arguments), "--stages", stages,
                           "--check"], capture_output=True, text=True, timeout=30)
    return done.returncode, done.stderr


@pytest.mark.parametrize("stages", ["agent", "dataplane,proxy"])
def test_a_key_that_cannot_be_believed_is_an_error_at_start(lab, stages):
    key = lab.state / "run/port_tag.key"
    assert check(lab, stages)[0] == 0
    assert not key.exists(), "a check makes nothing"
    neutron = write_config(lab, "neutron", {"proxy": {"neutron_agent": "true"}})
    for content, mode, said in ((b"x" * 32, 0o644, "0640"), (b"x" * 31, 0o600, "31 bytes")):
        key.write_bytes(content)
        key.chmod(mode)
        daemon = mtlab.Daemon("refused", lab.state,
                              ["--config-file", lab.config_file, "--stages", stages])
        daemon.start(wait=False)
        try:
            assert daemon.process.wait(15) != 0
        finally:
            daemon.stop()
        status, error = check(lab, stages)
        assert status != 0
        for text in (daemon.tail(), error):
            assert str(key) in text and said in text
        # Where no tag crosses a socket, nobody asks for the key.
        assert check(lab, "dataplane,proxy,agent")[0] == 0
        assert check(lab, "api")[0] == 0
        if stages != "agent":
            assert check(lab, stages, neutron)[0] == 0
    short = write_config(lab, "short", {"DEFAULT": {"port_tag_key": "hunter2"}})
    status, error = check(lab, stages, short)
    assert status == 78 and "port_tag_key" in error and "hunter2" not in error
