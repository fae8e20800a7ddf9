# SPDX-License-Identifier: Apache-2.0
"""Makes networks, routers and ports by Neutron's API and instances by Nova's own objects, as a
cloud that has booted these guests holds them. Run inside the control plane's namespace with Nova's
configuration files as arguments; the guests come as JSON on standard input, the ids that Neutron
chose go to standard output."""

import base64
import json
import sys
import urllib.request

from nova import config, context, objects
from nova.network import model, neutron

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBenchBenchBenchBenchBenchBenchBenchBenchBenc bench"


def ask(wanted, method, path, **body):
    request = urllib.request.Request(wanted["neutron"] + "/v2.0/" + path, json.dumps(body).encode(),
                                     {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        sys.exit(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}")


def make_network(wanted, network):
    project = wanted["project"]
    net = ask(wanted, "POST", "networks", network={"name": network["name"], "project_id": project})["network"]["id"]
    subnet = ask(wanted, "POST", "subnets", subnet={
        "network_id": net, "project_id": project, "ip_version": 4, "cidr": "10.0.0.0/16",
        "gateway_ip": "10.0.0.1"})["subnet"]["id"]
    router = ask(wanted, "POST", "routers", router={"name": network["name"], "project_id": project})["router"]["id"]
    interface = ask(wanted, "PUT", f"routers/{router}/add_router_interface", subnet_id=subnet)["port_id"]
    ports = [ask(wanted, "POST", "ports", port={
        "network_id": net, "project_id": project, "mac_address": guest["mac"],
        "fixed_ips": [{"subnet_id": subnet, "ip_address": guest["address"]}],
        "device_id": guest["instance"], "device_owner": "compute:nova"})["port"]["id"]
        for guest in network["guests"]]
    return {"id": net, "subnet": subnet, "router": router, "router_port": interface, "ports": ports}


def flavor(admin):
    one = objects.Flavor(admin, name="m1.small", flavorid="2", memory_mb=2048, vcpus=1, root_gb=20,
                         ephemeral_gb=0, swap=0, rxtx_factor=1.0, vcpu_weight=0, disabled=False,
                         is_public=True, extra_specs={}, projects=[])
    try:
        one.create()
    except Exception as error:  # made for the guests of another system
        if "already exists" not in str(error):
            raise
        one = objects.Flavor.get_by_flavor_id(admin, "2")
    return one


def make_instance(admin, cell, small, wanted, uuid):
    project = wanted["project"]
    instance = objects.Instance(
        cell, uuid=uuid, project_id=project, user_id=project, hostname="bench", display_name="bench",
        host="compute1", node="compute1", launched_on="compute1", vm_state="active", power_state=1,
        availability_zone="nova", launch_index=0, reservation_id="r-bench001", image_ref=wanted["image"],
        kernel_id="", ramdisk_id="", instance_type_id=small.id, memory_mb=2048, vcpus=1, root_gb=20,
        ephemeral_gb=0, root_device_name="/dev/vda", key_name="bench", key_data=KEY,
        user_data=base64.b64encode(b"#cloud-config\nruncmd: [true]\n").decode(),
        metadata={"role": "bench"}, system_metadata={"image_base_image_ref": wanted["image"]},
        flavor=small, old_flavor=None, new_flavor=None)
    instance.keypairs = objects.KeyPairList(objects=[objects.KeyPair(
        user_id=project, name="bench", type="ssh", public_key=KEY, fingerprint="")])
    instance.info_cache = objects.InstanceInfoCache(instance_uuid=uuid, network_info=model.NetworkInfo())
    instance.create()
    mapping = objects.InstanceMapping(admin, instance_uuid=uuid, project_id=project, user_id=project,
                                      cell_mapping=wanted["cell"], queued_for_delete=False)
    mapping.create()
    # What a compute host does at boot: Nova's picture of the ports, kept in its own database.
    neutron.API().get_instance_nw_info(cell, instance, force_refresh=True)


def main():
    wanted = json.load(sys.stdin)
    files = sys.argv[1:]
    config.parse_args(["bench"], default_config_files=files)
    objects.register_all()
    admin = context.get_admin_context()
    cells = objects.CellMappingList.get_all(admin)
    wanted["cell"] = next(cell for cell in cells if cell.name == "cell1")
    small = flavor(admin)
    made = [make_network(wanted, network) for network in wanted["networks"]]
    with context.target_cell(admin, wanted["cell"]) as cell:
        for network in wanted["networks"]:
            for guest in network["guests"]:
                make_instance(admin, cell, small, wanted, guest["instance"])
    json.dump(made, sys.stdout)


main()
