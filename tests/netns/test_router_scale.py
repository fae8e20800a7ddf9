# SPDX-License-Identifier: Apache-2.0
"""Many routers, and devices that come and go: identity, leaks, time and memory."""

import json
import os
import pathlib
import subprocess
import threading
import time

import labkit
import pytest
import routerkit
from labkit import neutron
from labkit.process import pss_bytes
from mtlab import wait_until

ALONE = "it measures the memory of the whole machine"

ROUTERS = int(os.environ.get("METATAP_TEST_ROUTERS", "200"))
MEMORY_ROUTERS = int(os.environ.get("METATAP_MEMORY_ROUTERS", "1000"))
CYCLES = int(os.environ.get("METATAP_RECREATE_CYCLES", "100"))
HOSTNAME = "/latest/meta-data/hostname"


def fetch(namespace, family, results, name):
    """One request from a namespace, without a process of its own."""
    labkit.enter_netns(namespace)
    import guesthttp
    try:
        answer = guesthttp.get(HOSTNAME, family, timeout=10)
        results[(name, family)] = (answer.status, answer.text)
    except OSError as error:
        results[(name, family)] = repr(error)


def fetch_all(lab, names, families=(4, 6)):
    """A thread a guest: threads enter namespaces one by one."""
    results, threads = {}, []
    for family in families:
        for name in names:
            threads.append(threading.Thread(target=fetch, args=(lab.guest(name).netns, family,
                                                                results, name)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def port_of(space):
    """A router's port on its network."""
    return next(word for word in routerkit.inside(space, "ip", "-o", "link").split()
                if word.startswith("qr-")).split("@")[0]


def cable(lab, guest, space, device):
    """The cable between a router and its only guest, as the lab made it first."""
    net = lab.plan.networks[guest.network]
    labkit.ip_batch([f"link add {device} netns {space} type veth peer name eth0 address "
                     f"{guest.mac} netns {guest.netns}"])
    labkit.ip_batch([f"link set {device} up", *neutron.addresses(net, device)], space)
    labkit.ip_batch(labkit.guest_commands(guest, net), guest.netns)


def test_every_guest_of_many_routers_gets_its_own(make_lab, deploy):
    lab = make_lab("router", routers=ROUTERS)
    begin = time.monotonic()
    deployment = deploy(lab)
    routerkit.wait_steered(lab, ROUTERS + 1, 30)
    took = time.monotonic() - begin
    names = [f"g{n}" for n in range(ROUTERS)]
    wrong = {}
    for begin_at in range(0, ROUTERS, 50):  # 100 at once
        results = fetch_all(lab, names[begin_at:begin_at + 50])
        wrong.update({key: value for key, value in results.items()
                      if value != (200, f"{key[0]}.novalocal")})
    assert not wrong, list(wrong.items())[:5]
    for name in routerkit.namespaces_of(lab)[::20]:
        assert routerkit.has_listener(name)
    assert len(deployment.daemons) == 1
    print(f"{ROUTERS} routers with one subnet and one guest address: all steered "
          f"{took:.2f} s after metatapd was started; {2 * ROUTERS} right answers")


def test_recreated_device_leaks_nothing(make_lab, deploy):
    lab = make_lab("router", routers=2)
    deployment = deploy(lab)
    routerkit.wait_steered(lab, 3)
    pid = deployment.data_plane.process.pid
    # Two guests behind routers that are left alone are the load; the third one's cable goes.
    guest, space = lab["g1"], routerkit.namespaces_of(lab)[1]
    device = port_of(space)

    def recreate():
        labkit.ip_batch([f"link del {device}"], space)
        cable(lab, guest, space, device)

    def counts():
        return {"fds": sum(routerkit.fds(pid).values()),
                "pins": len(routerkit.links_of(lab)),
                "devices": len(deployment.dump("mt_devices")),
                "sources": len(deployment.dump("mt_sources")),
                "slots": sum(row["formatted"]["value"]["kind"] != "MT_KIND_FREE"
                             and row["formatted"]["value"]["kind"] != 0
                             for row in deployment.dump("mt_slots"))}
    worst = 0.0
    guest.run("attempt", HOSTNAME)
    recreate()
    wait_until(lambda: guest.run("attempt", HOSTNAME, 4, 0.3) == 200, 5, "served again")
    routerkit.wait_steered(lab, 3)
    time.sleep(0.5)
    before = counts()
    lab["g0"].run("start", HOSTNAME, 4, 0.0, 5.0, module="routerload")
    lab["second1"].run("start", HOSTNAME, 6, 0.0, 5.0, module="routerload")
    try:
        for _ in range(CYCLES):
            recreate()
            begin = time.monotonic()
            wait_until(lambda: guest.run("attempt", HOSTNAME, 4, 0.2) == 200, 5, "served again")
            worst = max(worst, time.monotonic() - begin)
    finally:
        loads = [lab[name].run("stop", module="routerload") for name in ("g0", "second1")]
    assert guest.get(HOSTNAME).text == "g1.novalocal"
    routerkit.wait_steered(lab, 3)
    wait_until(lambda: counts() == before, 5, f"{before} again, not {counts()}")
    for answers, failures, _ in loads:
        assert set(answers) == {("metatap", 200)} and not failures, (answers, failures[:3])
    print(f"device re-created {CYCLES} times: served again within {worst * 1000:.0f} ms at worst; "
          f"{before}; meanwhile {sum(sum(a.values()) for a, _, _ in loads)} answers elsewhere")


def test_namespace_comes_back_under_the_same_name(make_lab, deploy):
    lab = make_lab("router", routers=2)
    deployment = deploy(lab)
    routerkit.wait_steered(lab, 3)
    space, guest = routerkit.namespaces_of(lab)[1], lab["g1"]
    device = port_of(space)
    times = []
    for _ in range(10):
        labkit.ip_batch([f"netns del {space}", f"netns add {space}"])
        labkit.ip_batch(["link set lo up"], space)
        labkit.ip_batch(["link del eth0"], guest.netns, force=True)
        cable(lab, guest, space, device)
        begin = time.monotonic()
        wait_until(lambda: guest.run("attempt", HOSTNAME, 4, 0.2) == 200, 5, "served again", 0.001)
        times.append(time.monotonic() - begin)
        assert guest.get(HOSTNAME).text == "g1.novalocal"
    assert sorted(times)[len(times) // 2] < 1.0
    routerkit.wait_steered(lab, 3)
    print(f"namespace re-created: first answer {sorted(times)[len(times) // 2] * 1000:.0f} ms after "
          f"its device was up (median of {len(times)}; worst {max(times) * 1000:.0f} ms)")


def kernel_bytes():
    """Slab, per-CPU and socket memory of the whole machine."""
    fields = {}
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        key, value = line.split(":")
        fields[key] = int(value.split()[0]) * 1024
    return fields["Slab"] + fields["Percpu"] + fields["KernelStack"] + fields["PageTables"]


def settled(measure):
    """The smallest of a few looks, because the rest of the machine is at work as well."""
    values = []
    for _ in range(10):
        values.append(measure())
        time.sleep(0.2)
    return min(values)


@pytest.fixture
def bare_namespaces():
    made = []
    yield made
    subprocess.run(["ip", "-force", "-batch", "-"], text=True,
                   input="".join(f"netns del {name}\n" for name in made))


def test_memory_of_a_thousand_routers(make_lab, bare_namespaces):
    """What each router adds to the process and to the kernel. The namespaces themselves are there
    before; only the inventory tells metatapd that they are routers."""
    lab = make_lab("router", routers=1)
    document = json.loads(lab.inventory_file.read_text())
    batch, names = [], []
    for n in range(MEMORY_ROUTERS):
        router, network = lab.plan.uuid("many", f"r{n}"), lab.plan.uuid("many", f"n{n}")
        subnet, port = lab.plan.uuid("many", f"s{n}"), lab.plan.port_uuid(f"many-{n}")
        guest = lab.plan.port_uuid(f"many-guest-{n}")
        document["routers"].append({"id": router})
        document["networks"].append({"id": network})
        document["subnets"].append({"id": subnet, "network_id": network, "cidr": "10.0.0.0/24",
                                    "ip_version": 4})
        document["ports"] += [
            {"id": port, "network_id": network, "mac_address": "fa:16:3e:ff:00:01",
             "device_id": router, "device_owner": "network:router_interface",
             "fixed_ips": [{"subnet_id": subnet, "ip_address": "10.0.0.1"}]},
            {"id": guest, "network_id": network, "mac_address": "fa:16:3e:00:00:10",
             "device_id": lab.guest("g0").instance_id, "device_owner": "compute:nova",
             "fixed_ips": [{"subnet_id": subnet, "ip_address": "10.0.0.10"}]}]
        space = f"qrouter-{router}"
        names.append(space)
        batch += [f"netns add {space}", f"-n {space} link set lo up",
                  f"-n {space} link add qr-{port[:11]} type veth peer name p0",
                  f"-n {space} link set qr-{port[:11]} up"]
    bare_namespaces += names
    made = [line for line in batch if line.startswith("netns")]
    labkit.ip_batch(made)
    for name in names:
        port_line = next(line for line in batch if line.startswith(f"-n {name} link add"))
        device = port_line.split()[4]
        labkit.ip_batch(["link set lo up", f"link add {device} type veth peer name p0",
                         f"link set {device} up"], name)
    lab.write_inventory(json.dumps(document))
    wanted = MEMORY_ROUTERS + 2

    def once(routers):
        """One daemon's life, with or without router mode: its memory, the kernel's, the time."""
        config = {"dataplane": {"slots": "16384", "routers": str(routers)}}
        idle = settled(kernel_bytes)
        daemon = routerkit.daemon_of(lab, config=config)
        begin = time.monotonic()
        daemon.start()
        try:
            if routers:
                routerkit.wait_steered(lab, wanted, 120)
            took = time.monotonic() - begin
            time.sleep(2)
            pid = daemon.process.pid
            return (pss_bytes([pid]), settled(kernel_bytes) - idle, sum(routerkit.fds(pid).values()),
                    took)
        finally:
            daemon.stop(seconds=60)

    rounds = [[after - before for before, after in zip(once(False), once(True))]
              for _ in range(3)]
    process, kernel, descriptors, took = (sorted(values)[1] for values in zip(*rounds))
    print(f"{MEMORY_ROUTERS} routers, medians of {len(rounds)} rounds: ready {took:.1f} s after "
          f"start; each adds {process / MEMORY_ROUTERS / 1024:.1f} KB to the process (PSS), "
          f"{kernel / MEMORY_ROUTERS / 1024:.1f} KB to the kernel (slab, per-CPU, page tables), "
          f"{descriptors / MEMORY_ROUTERS:.1f} descriptors")
    assert took < 60
    assert (process + kernel) / MEMORY_ROUTERS < 100 * 1024
