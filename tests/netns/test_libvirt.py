# SPDX-License-Identifier: Apache-2.0
"""Guests of a real libvirtd: the manual's commands as they stand there, and what becomes of guests
when domains and libvirtd come, change and go. One host for all, in the order of a day's work."""

import os
import re

import labkit
import libvirtkit
import mtlab
import pytest

pytestmark = pytest.mark.skipif(libvirtkit.missing() is not None, reason=str(libvirtkit.missing()))

MANUAL = (labkit.ROOT / "docs/libvirt.md").read_text()
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMetatapsOwnKeyForItsTests0000000000000000 me@host"
ALL = "/openstack/latest/meta_data.json"
AGAIN = "/latest/meta-data/instance-id"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", MANUAL, re.M | re.S)


@pytest.fixture(scope="module")
def host():
    try:
        made = libvirtkit.LibvirtHost()
    except OSError as error:
        pytest.skip(f"no overlay, or no namespaces: {error}")
    try:
        made.start_libvirtd()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def recipe(host):
    """The manual's guest, defined and started by the manual's commands."""
    (xml,) = blocks("xml")
    commands, _ = blocks("sh")
    host.run("mkdir", "-p", "/root/.ssh", "/var/lib/libvirt/images")
    host.write("/root/.ssh/id_ed25519.pub", KEY + "\n")
    host.run("truncate", "-s", "1M", "/var/lib/libvirt/images/vm1.img")
    host.write("/tmp/vm1.xml", libvirtkit.domain_xml(xml))
    host.said = host.shell("cd /tmp\n" + commands, env={**os.environ, "HOME": "/root"})
    return host


def wait_served(host, device, instance):
    """Its tap is steered, for that instance."""
    def served():
        port = host.ports().get(device, {})
        return port.get("state") == "steered" and port["instance"] == instance and port
    return mtlab.wait_until(served, 20, f"{device} is {instance}'s", pause=0.1)


def problem(host, domain):
    return host.metatap("status")["libvirt"]["problems"].get(domain, "")


def wait_problem(host, domain, words):
    mtlab.wait_until(lambda: words in problem(host, domain), 20, f"of {domain}: {words}", pause=0.1)


def second_domain(host, name, device, changes=()):
    """Another like the manual's, without a disk."""
    (xml,) = blocks("xml")
    text = re.sub(r" *<disk.*</disk>\n", "", libvirtkit.domain_xml(xml), flags=re.S)
    for old, new in (("vm1-eth0", device), ("vm1", name), *changes):
        text = text.replace(old, new)
    host.define(text)


def test_the_manuals_commands(recipe):
    """As they stand there: the guest asks, and gets what its folder says."""
    host = recipe
    assert "vm1" in host.said and "vm1-eth0" in host.said
    instance = host.instances()["vm1"]
    port = wait_served(host, "vm1-eth0", "vm1")
    assert instance["uuid"] == host.virsh("domuuid", "vm1").strip()
    host.wait_answered(port["id"], ALL)
    host.wait_answered(port["id"], AGAIN)
    memory = host.memory_of("vm1")
    for words in (b'"hostname": "web1.novalocal"', KEY.encode(), b"#cloud-config\npackages: [nginx]\n",
                  instance["uuid"].encode()):
        assert words in memory, words
    status = host.metatap("status")["libvirt"]
    assert status["connected"] and status["domains"] == 1 and status["problems"] == {}


def test_it_is_read_without_rights(recipe):
    """Of the two processes it is the one without rights that is connected to libvirt, with the unit's
    restrictions, to the socket that is everybody's."""
    host = recipe
    user = host.run("id", "-u", "metatap").strip()
    pid = host.path("/run/systemctl/metatapd.service.pid").read_text()
    workers = host.run("pgrep", "-P", pid, "metatap-worker").split()
    assert len(workers) == 1
    shown = host.run("cat", f"/proc/{workers[0]}/status")
    assert re.search(rf"^Uid:\s+{user}\s+{user}\s", shown, re.M)
    assert re.search(r"^CapEff:\s+0+$", shown, re.M) and re.search(r"^Seccomp:\s+2$", shown, re.M)
    assert "libvirt-sock-ro" in host.run("ss", "-xp")


def test_metadata_of_a_running_domain(recipe):
    """The manual's other commands. What makes no sense changes nothing."""
    host = recipe
    _, commands = blocks("sh")
    host.shell(commands, env={**os.environ, "HOME": "/root"})
    mtlab.wait_until(lambda: host.metatap("instance", "show", "vm1")["hostname"] == "web2", 20, "it is web2")
    def say(guest):
        host.virsh("metadata", "vm1", "--uri", "urn:metatap:guest:1", "--key", "metatap", "--live", "--set", guest)
    say("<guest><hostnam>web3</hostnam><meta>x</meta></guest>")
    wait_problem(host, "vm1", "did you mean <hostname>?; <meta> needs a \"key\"; it is told on what")
    assert host.metatap("instance", "show", "vm1")["hostname"] == "web2"
    doctor = {row["subject"]: row for row in host.metatap("doctor")}
    assert "hostname" in doctor["domain vm1"]["message"]
    say("<guest><hostname>web3</hostname></guest>")
    mtlab.wait_until(lambda: host.metatap("instance", "show", "vm1")["hostname"] == "web3", 20, "it is web3")
    assert problem(host, "vm1") == ""


def test_a_second_interface(recipe):
    """It is served as soon as it is plugged in; the guest asks by it when it has booted again."""
    host = recipe
    host.virsh("attach-interface", "vm1", "bridge", "br0", "--target", "vm1-eth1", "--model", "virtio", "--live")
    port = wait_served(host, "vm1-eth1", "vm1")
    assert wait_served(host, "vm1-eth0", "vm1")["id"] != port["id"]
    host.virsh("reset", "vm1")
    host.wait_answered(port["id"], ALL)


def test_libvirtd_that_stops_answers_and_ends(recipe):
    """Its guests are served meanwhile, and what has changed is seen when it is back."""
    host = recipe
    port = wait_served(host, "vm1-eth1", "vm1")
    host.signal_libvirtd("STOP")
    try:
        host.wait_answered(port["id"], AGAIN)
        if os.environ.get("METATAP_LONG"):
            mtlab.wait_until(lambda: "libvirt" in host.run("metatap", "doctor", check=False) and
                             not host.metatap("status")["libvirt"]["connected"], 60, "it is noticed")
    finally:
        host.signal_libvirtd("CONT")
    host.stop_libvirtd()
    mtlab.wait_until(lambda: not host.metatap("status")["libvirt"]["connected"], 20, "it is noticed")
    assert "qemu:///system" in host.run("metatap", "status", check=False)
    host.wait_answered(port["id"], AGAIN)
    assert set(host.instances()) == {"vm1"}
    host.start_libvirtd()
    mtlab.wait_until(lambda: host.metatap("status")["libvirt"]["connected"], 20, "it is connected again")
    host.wait_answered(port["id"], AGAIN)
    wait_served(host, "vm1-eth0", "vm1")


def test_who_was_there_first_keeps_a_mac(recipe):
    """The second one's uuid comes before the first one's in any order."""
    host = recipe
    mac = re.search(r"vm1-eth0 .*(52:54:\S+)", host.virsh("domiflist", "vm1"))[1]
    second_domain(host, "vm2", "vm2-eth0", [
        ("<name>", "<uuid>00000000-0000-4000-8000-000000000002</uuid><name>"),
        ("<source bridge", f"<mac address='{mac}'/><source bridge")])
    host.virsh("start", "vm2")
    try:
        wait_problem(host, "vm2", f"{mac} of network br0 is vm1's already")
        wait_served(host, "vm1-eth0", "vm1")
        assert "vm2-eth0" not in host.ports() and "vm2" not in host.instances()
        # Nor does who is asked first after a start.
        host.run("systemctl", "restart", "metatapd.service")
        wait_problem(host, "vm2", f"{mac} of network br0 is vm1's already")
        wait_served(host, "vm1-eth0", "vm1")
    finally:
        host.virsh("destroy", "vm2")
    mtlab.wait_until(lambda: not problem(host, "vm2"), 20, "the claim is gone")
    host.virsh("undefine", "vm2")


def test_what_never_made_sense_is_not_served(recipe):
    """For cloud-init would take the half of it for all there is. Nor would it look for what there is on
    a machine that says no OpenStack, of which doctor knows."""
    host = recipe
    second_domain(host, "vm3", "vm3-eth0", [("OpenStack Nova", "Standard PC")])
    host.run("mkdir", "-p", "/etc/metatap/guests/vm3")
    host.write("/etc/metatap/guests/vm3/user-data", "#!/bin/sh\n")
    host.write("/etc/metatap/guests/vm3/network-config", "version: 2\n")
    host.virsh("start", "vm3")
    try:
        wait_problem(host, "vm3", "it is not served until that makes sense")
        assert "vm3" not in host.instances()
        host.path("/etc/metatap/guests/vm3/network-config").unlink()
        wait_served(host, "vm3-eth0", "vm3")
        noted = {row["subject"]: row["message"] for row in host.metatap("doctor")}
        assert noted["SMBIOS"] == "domain vm3 does not say OpenStack there"
        # The daemon's user must be able to read it; what it knew it tells on.
        host.path("/etc/metatap/guests/vm3/user-data").chmod(0o600)
        wait_problem(host, "vm3", "user-data: Permission denied")
        assert "vm3" in host.instances()
    finally:
        host.virsh("destroy", "vm3")
    host.virsh("undefine", "vm3")


def test_another_name_is_the_same_guest(recipe):
    host = recipe
    before = host.metatap("instance", "show", "vm1")
    host.virsh("destroy", "vm1")
    mtlab.wait_until(lambda: not host.instances() and "vm1-eth0" not in host.ports(), 20, "it is gone")
    host.virsh("domrename", "vm1", "web")
    host.virsh("start", "web")
    wait_served(host, "vm1-eth0", "web")
    after = host.metatap("instance", "show", "web")
    for key in ("uuid", "ec2_ids", "reservation_id"):
        assert after[key] == before[key]
    host.virsh("destroy", "web")
    mtlab.wait_until(lambda: not host.instances(), 20, "it is gone")
