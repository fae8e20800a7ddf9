# SPDX-License-Identifier: Apache-2.0
"""A host whose ports are known from Open vSwitch and OVN alone: the inventory has instances, and no
port. Real ovsdb-servers with the real schemas; no datapath of Open vSwitch is needed."""

import contextlib
import json
import pathlib
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
import uuid

import mtlab
import pytest

SCHEMAS = [pathlib.Path(place) for place in
           ("/usr/share/openvswitch", "/usr/share/ovn", "/usr/local/share/metatap/schema")]
CHASSIS = "host-1"


def schema(name):
    return next((place / name for place in SCHEMAS if (place / name).exists()), None)


def missing():
    for program in ("ovsdb-server", "ovsdb-tool", "ovsdb-client", "ovs-appctl"):
        if not shutil.which(program):
            return f"{program} is not installed (package openvswitch-common)"
    for name in ("vswitch.ovsschema", "ovn-sb.ovsschema"):
        if not schema(name):
            return f"{name} is not there (scripts/ovn-schemas.sh fetches it)"
    return None


pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


class Database:
    """One ovsdb-server."""

    def __init__(self, directory, name):
        self.base = pathlib.Path(directory, name)
        self.remote = f"unix:{self.base}.sock"
        self.raft = f"unix:{self.base}.raft"
        self.process = None

    def tool(self, *arguments):
        subprocess.run(["ovsdb-tool", *arguments], check=True, capture_output=True, text=True)

    def create(self, schema_name):
        self.tool("create", f"{self.base}.db", str(schema(schema_name)))
        return self

    def create_cluster(self, schema_name):
        self.tool("create-cluster", f"{self.base}.db", str(schema(schema_name)), self.raft)
        return self

    def join(self, database, member):
        self.tool("join-cluster", f"{self.base}.db", database, self.raft, member.raft)
        return self

    def start(self):
        self.process = subprocess.Popen(
            ["ovsdb-server", "--no-chdir", f"--unixctl={self.base}.ctl",
             f"--remote=p{self.remote}", "-vconsole:warn", f"{self.base}.db"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True)
        mtlab.wait_until(pathlib.Path(f"{self.base}.sock").exists, 10, "ovsdb-server listens")
        return self

    def leads(self, database):
        done = subprocess.run(["ovs-appctl", "-t", f"{self.base}.ctl", "cluster/status", database],
                              capture_output=True, text=True)
        return "Role: leader" in done.stdout

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
            for ending in ("sock", "ctl"):
                pathlib.Path(f"{self.base}.{ending}").unlink(missing_ok=True)


def transact(remotes, database, *operations):
    done = subprocess.run(
        ["ovsdb-client", "--timeout=20", "transact", remotes, json.dumps([database, *operations])],
        capture_output=True, text=True, check=True)
    results = json.loads(done.stdout)
    assert not any(isinstance(result, dict) and result.get("error") for result in results), results
    return results


def table(**columns):
    return ["map", [[key, value] for key, value in columns.items()]]


class Ovn:
    """The two databases of one host, and what Nova, Neutron and OVN would write into them."""

    def __init__(self, directory, ports, members=1):
        self.ports = {port["id"]: port for port in ports}
        self.local = Database(directory, "ovs").create("vswitch.ovsschema").start()
        self.members = [Database(directory, "sb1")]
        if members == 1:
            self.members[0].create("ovn-sb.ovsschema").start()
        else:
            self.members[0].create_cluster("ovn-sb.ovsschema").start()
            for number in range(2, members + 1):
                self.members.append(Database(directory, f"sb{number}")
                                    .join("OVN_Southbound", self.members[0]).start())
            mtlab.wait_until(self.leader, 30, "the cluster has a leader")
        self.keys = 0
        transact(self.local.remote, "Open_vSwitch",
                 {"op": "insert", "table": "Open_vSwitch",
                  "row": {"external_ids": table(**{"system-id": CHASSIS})}})
        self.networks = {}
        self.sign_on()
        self.write({"op": "insert", "table": "SB_Global", "row": {"nb_cfg": 1}})

    @property
    def remotes(self):
        return ",".join(member.remote for member in self.members)

    def leader(self):
        return next((member for member in self.members
                     if member.process and member.leads("OVN_Southbound")), None)

    def write(self, *operations):
        return transact(self.remotes, "OVN_Southbound", *operations)

    def network(self, network_id):
        if network_id not in self.networks:
            self.keys += 1
            self.networks[network_id] = self.write(
                {"op": "insert", "table": "Datapath_Binding",
                 "row": {"tunnel_key": self.keys,
                         "external_ids": table(name=f"neutron-{network_id}")}})[0]["uuid"]
        return self.networks[network_id]

    def sign_on(self):
        """What ovn-controller writes when it begins."""
        self.keys += 1
        self.chassis = self.write(
            {"op": "insert", "table": "Encap", "uuid-name": "e",
             "row": {"type": "geneve", "ip": f"192.0.2.{self.keys}", "chassis_name": CHASSIS}},
            {"op": "insert", "table": "Chassis", "uuid-name": "c",
             "row": {"name": CHASSIS, "hostname": CHASSIS, "encaps": ["named-uuid", "e"]}},
            {"op": "insert", "table": "Chassis_Private",
             "row": {"name": CHASSIS, "chassis": ["named-uuid", "c"]}},
        )[1]["uuid"]

    def sign_off(self):
        """What it does at an orderly end; the databases clear what pointed at the chassis."""
        for name in ("Chassis", "Chassis_Private"):
            self.write({"op": "delete", "table": name, "where": [["name", "==", CHASSIS]]})

    def row_of(self, guest):
        """A port as Neutron's ML2/OVN driver and ovn-northd fill it; nobody has bound it yet."""
        port = self.ports[guest.port_id]
        self.keys += 1
        addresses = f"{guest.mac} {guest.ip4} {guest.ip6}"
        return {
            "logical_port": guest.port_id, "datapath": self.network(port["network_id"]),
            "tunnel_key": self.keys,
            "mac": ["set", [addresses, "00:00:5e:00:01:01"]],  # VRRP's sorts before the port's
            "port_security": ["set", [addresses, "00:00:5e:00:01:01 203.0.113.1"]],
            "options": table(**{"requested-chassis": CHASSIS, "mcast_flood_reports": "true"}),
            "external_ids": table(**{
                "name": guest.name, "neutron:port_name": guest.name,
                "neutron:cidrs": f"{guest.ip4}/24 {guest.ip6}/64",
                "neutron:device_id": guest.instance_id, "neutron:device_owner": "compute:nova",
                "neutron:project_id": port["project_id"], "neutron:revision_number": "4",
                "neutron:network_name": f"neutron-{port['network_id']}",
                "neutron:security_group_ids": "", "neutron:vnic_type": "normal"})}

    def bind(self, guest):
        """What follows when Neutron has a port for this guest: ovn-controller binds it."""
        self.write({"op": "insert", "table": "Port_Binding",
                    "row": {**self.row_of(guest), "chassis": self.chassis}})

    def claim(self, guest, chassis):
        self.write({"op": "update", "table": "Port_Binding",
                    "where": [["logical_port", "==", guest.port_id]], "row": {"chassis": chassis}})

    def unbind(self, guest):
        self.write({"op": "delete", "table": "Port_Binding",
                    "where": [["logical_port", "==", guest.port_id]]})

    def agent_shown(self):
        """What Neutron reads of the metadata agent of this host."""
        rows = self.write({"op": "select", "table": "Chassis_Private",
                           "where": [["name", "==", CHASSIS]]})[0]["rows"]
        return dict(rows[0]["external_ids"][1]) if rows else {}

    def plug(self, guest, device=None, instance=None):
        """What Nova and ovs-vswitchd write when the guest's tap is there."""
        device = device or guest.host_device
        ifindex = int(pathlib.Path("/sys/class/net", device, "ifindex").read_text())
        transact(
            self.local.remote, "Open_vSwitch",
            {"op": "insert", "table": "Interface", "uuid-name": "i",
             "row": {"name": device, "ifindex": ifindex,
                     "external_ids": self.plugged(guest, instance)}},
            {"op": "insert", "table": "Port", "uuid-name": "p",
             "row": {"name": device, "interfaces": ["named-uuid", "i"]}},
            {"op": "insert", "table": "Bridge", "uuid-name": "b",
             "row": {"name": f"br-{device}", "ports": ["named-uuid", "p"]}},
            {"op": "mutate", "table": "Open_vSwitch", "where": [],
             "mutations": [["bridges", "insert", ["set", [["named-uuid", "b"]]]]]})

    @staticmethod
    def plugged(guest, instance=None):
        return table(**{"iface-id": guest.port_id, "attached-mac": guest.mac, "iface-status": "active",
                        "vm-uuid": instance or guest.instance_id})

    def there(self, guest):
        """What ovs-vswitchd writes of each device when it begins: the database forgets it."""
        ifindex = int(pathlib.Path("/sys/class/net", guest.host_device, "ifindex").read_text())
        transact(self.local.remote, "Open_vSwitch",
                 {"op": "update", "table": "Interface", "where": [["name", "==", guest.host_device]],
                  "row": {"ifindex": ifindex}})

    def own(self, guest, other):
        """Neutron says whose the port is now: another guest's, and of that one's project."""
        theirs = dict(self.row_of(other)["external_ids"][1])
        ids = self.row_of(guest)["external_ids"]
        ids[1] = [[key, theirs[key] if key in ("neutron:device_id", "neutron:project_id") else value]
                  for key, value in ids[1]]
        self.write({"op": "update", "table": "Port_Binding",
                    "where": [["logical_port", "==", guest.port_id]], "row": {"external_ids": ids}})

    def hand_over(self, guest, instance):
        """The port is another instance's now, plugged in as the same device."""
        transact(self.local.remote, "Open_vSwitch",
                 {"op": "update", "table": "Interface", "where": [["name", "==", guest.host_device]],
                  "row": {"external_ids": self.plugged(guest, instance)}})

    def close(self):
        for database in (self.local, *self.members):
            database.kill()


def nameless(lab):
    """A device name that no port's id begins with."""
    return f"v{lab.id}"


@pytest.fixture()
def host(request, tmp_path_factory):
    """A lab whose metatapd knows the instances, and of the ports only what OVN will say."""
    lab = mtlab.TestLab()
    ovn = deployment = None
    try:
        lab.up()
        ports = json.loads(lab.inventory_file.read_text())["ports"]
        lab.edit_inventory(lambda document: document.update(ports=[]))
        ovn = Ovn(tmp_path_factory.mktemp("ovn"), ports, getattr(request, "param", 1))
        # Neutron's own file, as a deployment has it.
        theirs = lab.state / "neutron_ovn_metadata_agent.ini"
        theirs.write_text(f"""[DEFAULT]
debug = False
agent_down_time = 9
nova_metadata_host = 192.0.2.10
metadata_workers = 2
[agent]
root_helper = sudo neutron-rootwrap /etc/neutron/rootwrap.conf
[ovs]
ovsdb_connection = {ovn.local.remote}
ovsdb_connection_timeout = 180
[ovn]
ovn_sb_connection = {ovn.remotes}
ovsdb_probe_interval = 60000
""")
        deployment = mtlab.Deployment(lab, arguments=["--config-file", str(theirs)], config={
            "agent": {"directory": "ovn"},
            "dataplane": {"devices": f"tap{lab.plan.tag}*,{nameless(lab)}"}}).start()
        yield lab, ovn, deployment
    finally:
        if deployment:
            deployment.close()
        if ovn:
            ovn.close()
        lab.close()


def who(guest, family=4):
    try:
        answer = guest.get("/openstack/2012-08-10/meta_data.json", family, timeout=0.5)
    except mtlab.RemoteError:
        return None
    return json.loads(answer.body)["uuid"] if answer.status == 200 else answer.status


def test_a_binding_and_an_interface_make_a_tap_answer(host):
    lab, ovn, _ = host
    red, blue = lab["red1"], lab["blue1"]
    # A name that says nothing: only the Interface row tells which port is behind it.
    lab.unplug("red1")
    lab.replug("red1", host_device=nameless(lab))
    assert who(red) is None
    ovn.bind(red)
    assert who(red) is None
    ovn.plug(red, nameless(lab))
    mtlab.wait_until(lambda: who(red) == red.instance_id, 5, "the new tap is served")
    assert who(red, 6) == red.instance_id
    ovn.plug(blue)
    ovn.bind(blue)
    mtlab.wait_until(lambda: who(blue) == blue.instance_id, 5, "the other tenant's tap is served")
    assert who(red) == red.instance_id


def test_a_port_that_moves_away_is_served_no_longer(host):
    lab, ovn, _ = host
    red = lab["red1"]
    ovn.bind(red)
    ovn.plug(red)
    mtlab.wait_until(lambda: who(red) == red.instance_id, 5, "the tap is served")
    ovn.unbind(red)
    mtlab.wait_until(lambda: who(red) is None, 3, "the tap is served no longer")


def test_a_request_waits_until_ovn_says_whose_it_is(host):
    lab, ovn, _ = host
    red = lab["red1"]
    assert who(red) is None
    red.send("get", "/openstack/2012-08-10/meta_data.json", 4, device=red.device, timeout=10)
    ovn.bind(red)
    answer = red.receive()
    assert answer.status == 200 and json.loads(answer.body)["uuid"] == red.instance_id


@contextlib.contextmanager
def asked(guest):
    """The guest asks without a pause for the time of a `with` block; what it was told."""
    answers, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            answers.append(who(guest))
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield answers
    finally:
        stop.set()
        asking.join()


@pytest.mark.parametrize("host", [3], indirect=True)
def test_losing_the_leader_under_load_loses_no_request(host):
    lab, ovn, deployment = host
    red, blue = lab["red1"], lab["blue1"]
    ovn.bind(red)
    ovn.plug(red)
    mtlab.wait_until(lambda: who(red) == red.instance_id, 5, "the tap is served")
    with asked(red) as answers:
        time.sleep(0.3)
        ovn.leader().kill()
        mtlab.wait_until(ovn.leader, 30, "another member leads")
        ovn.bind(blue)
        ovn.plug(blue)
        mtlab.wait_until(lambda: who(blue) == blue.instance_id, 15,
                         "a port bound after the change of leader is served")
    assert len(answers) > 10 and set(answers) == {red.instance_id}
    status = json.loads(mtlab.metatap(deployment.admin_socket, "--json", "status").stdout)
    assert status["ovn"]["ports"] == 2


def kept(file):
    """The ports that the file knows."""
    if not file.exists():
        return set()
    with contextlib.closing(sqlite3.connect(file, timeout=10)) as database:
        try:
            return {row[0] for row in database.execute("SELECT id FROM object WHERE kind = 'ports'")}
        except sqlite3.OperationalError:
            return set()  # its tables are being made


def shown(deployment, *what):
    return json.loads(mtlab.metatap(deployment.admin_socket, "--json", *what, check=False).stdout)


def held_back(guest):
    """The guest is told to come again."""
    try:
        answer = guest.get("/openstack/2012-08-10/meta_data.json", timeout=2)
    except mtlab.RemoteError:
        return False
    headers = {name.lower(): value for name, value in answer.headers}
    return answer.status == 503 and int(headers["retry-after"]) > 0


def metrics_of(deployment):
    with socket.socket(socket.AF_UNIX) as admin:
        admin.settimeout(10)
        admin.connect(str(deployment.admin_socket))
        admin.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = b"".join(iter(lambda: admin.recv(65536), b"")).decode()
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("metatap_ovn_"))


def test_a_start_without_the_southbound_database_serves_who_is_still_the_same(host):
    lab, ovn, deployment = host
    red, blue, green = lab["red1"], lab["blue1"], lab["red2"]
    for guest in (red, blue):
        ovn.bind(guest)
        ovn.plug(guest)
    for guest in (red, blue):
        mtlab.wait_until(lambda guest=guest: who(guest) == guest.instance_id, 5, "served")
    ports = lab.state / "state" / "ovn.snapshot"
    mtlab.wait_until(lambda: kept(ports) == {red.port_id, blue.port_id}, 5, "the ports are kept")
    deployment.stop()
    ovn.members[0].kill()
    # Meanwhile one of them changes hands, and another guest comes.
    ovn.hand_over(blue, red.instance_id)
    ovn.plug(green)
    deployment.start()
    assert who(red) == red.instance_id
    assert who(red, 6) == red.instance_id
    assert held_back(blue), "who has the port now is not known"
    assert who(green) is None, "nobody knows whose that device is"
    status = shown(deployment, "status")["ovn"]
    assert (status["ports"], status["doubtful"], status["southbound"]["connected"]) == (2, 1, False)
    assert {row["id"]: row["ovn"] for row in shown(deployment, "ports")} == \
        {red.port_id: "remembered", blue.port_id: "doubtful"}
    mtlab.wait_until(lambda: shown(deployment, "status")["ovn"]["age"] > 0, 5, "its age is shown")
    metrics = metrics_of(deployment)
    assert float(metrics["metatap_ovn_age_seconds"]) > 0
    assert float(metrics["metatap_ovn_ports_doubtful"]) == 1
    # One that goes while nobody can be asked is not remembered for the next who takes the device.
    ovn.hand_over(red, blue.instance_id)
    mtlab.wait_until(lambda: held_back(red), 5, "in doubt, too")

    ovn.members[0].start()
    ovn.hand_over(red, red.instance_id)
    ovn.own(blue, red)
    mtlab.wait_until(lambda: who(red) == red.instance_id, 15, "it is back")
    mtlab.wait_until(lambda: who(blue) == red.instance_id, 5, "whose it is now is known")
    status = shown(deployment, "status")["ovn"]
    assert (status["doubtful"], status["age"]) == (0, 0)


def test_a_start_without_open_vswitch_tells_guests_to_come_again(host):
    lab, ovn, deployment = host
    red = lab["red1"]
    ovn.bind(red)
    ovn.plug(red)
    mtlab.wait_until(lambda: who(red) == red.instance_id, 5, "served")
    mtlab.wait_until(lambda: kept(lab.state / "state" / "ovn.snapshot") == {red.port_id}, 5, "kept")
    deployment.stop()
    ovn.local.kill()
    deployment.start()
    assert held_back(red), "nothing shows that it is the same guest"
    assert shown(deployment, "status")["ovn"]["doubtful"] == 1
    ovn.local.start()
    ovn.there(red)
    mtlab.wait_until(lambda: who(red) == red.instance_id, 15, "it is back")


def test_a_restart_of_ovn_controller_loses_no_request(host):
    lab, ovn, _ = host
    red = lab["red1"]
    ovn.bind(red)
    ovn.plug(red)
    mtlab.wait_until(lambda: who(red) == red.instance_id, 5, "the tap is served")

    def some(number):
        begin = len(answers)
        mtlab.wait_until(lambda: len(answers) >= begin + number, 10, "guests go on asking")

    with asked(red) as answers:
        ovn.claim(red, ["set", []])
        some(20)
        ovn.claim(red, ovn.chassis)
        ovn.sign_off()
        some(20)
        ovn.sign_on()
        some(20)
        ovn.claim(red, ovn.chassis)
        some(20)
    assert set(answers) == {red.instance_id}


def test_neutron_sees_the_agent_alive(host):
    _, ovn, _ = host
    expected = uuid.uuid5(uuid.uuid5(uuid.UUID("d34bf9f6-da32-4871-9af8-15a4626b41ab"), CHASSIS),
                          "metadata_agent")
    mtlab.wait_until(lambda: ovn.agent_shown().get("neutron:ovn-metadata-sb-cfg") == "1", 5,
                     "the agent is shown")
    assert ovn.agent_shown()["neutron:ovn-metadata-id"] == str(expected)
    ovn.write({"op": "update", "table": "SB_Global", "where": [], "row": {"nb_cfg": 2}})
    mtlab.wait_until(lambda: ovn.agent_shown()["neutron:ovn-metadata-sb-cfg"] == "2", 10,
                     "the question who is alive is answered")


def test_what_an_operator_sees(host):
    lab, ovn, deployment = host
    red, blue = lab["red1"], lab["blue1"]
    ovn.bind(red)
    ovn.plug(red)
    broken = ovn.row_of(blue)
    broken["external_ids"] = table(**{"neutron:cidrs": f"{blue.ip4}/24"})
    ovn.write({"op": "insert", "table": "Port_Binding", "row": {**broken, "chassis": ovn.chassis}})
    mtlab.wait_until(lambda: who(red) == red.instance_id, 5, "the tap is served")
    (row,) = shown(deployment, "ports")
    assert (row["id"], row["ovn"], row["state"], row["name"]) == \
        (red.port_id, "bound", "steered", red.name)
    assert row["mac_address"] == red.mac
    (skipped,) = shown(deployment, "status")["ovn"]["skipped"]
    assert (skipped["port"], skipped["reason"]) == (blue.port_id, "no_owner")
    assert any(finding["subject"] == f"port {blue.port_id}" for finding in shown(deployment, "doctor"))

    # What neutron-ovn-metadata-agent has left: named, and left alone.
    network = ovn.ports[red.port_id]["network_id"]
    old = f"ovnmeta-{network}"
    subprocess.run(["ip", "netns", "add", old], check=True)
    try:
        (left,) = [finding for finding in shown(deployment, "doctor") if finding["subject"] == old]
        assert "removable" in left["advice"] and f"tap{network[:10]}0" in left["advice"]
        ovn.write({"op": "update", "table": "Port_Binding",
                   "where": [["logical_port", "==", blue.port_id]],
                   "row": {"type": "external", "datapath": ovn.network(network),
                           "external_ids": table(**{"neutron:device_id": blue.instance_id,
                                                    "neutron:cidrs": f"{blue.ip4}/24"})}})
        mtlab.wait_until(lambda: len(shown(deployment, "ports")) == 2, 5, "the external port is known")
        (needs,) = [finding for finding in shown(deployment, "doctor")
                    if finding["subject"] == f"port {blue.port_id}" and "no tap" in finding["message"]]
        assert f"keep {old}" in needs["advice"]
    finally:
        subprocess.run(["ip", "netns", "delete", old], check=True)
    assert who(red) == red.instance_id
