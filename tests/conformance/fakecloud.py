# SPDX-License-Identifier: Apache-2.0
"""Keystone, Neutron and Nova in one small server: the answers have the shape that real services' have
(api-ref of Identity v3, Networking v2.0, Compute v2.1), it pages and refuses as Keystone 22, Neutron 21 and Nova 26 were
seen to, and what may go wrong with them is to be had on demand."""

import http.server
import json
import threading
import time
import urllib.parse

PASSWORD, SECRET = "correct horse", "app-secret"
NETWORK = "11111111-3333-4333-8333-000000000001"
PROJECT, USER = "84db5c77d1b755f193cb8f0e36fc6553", "5c0a5ea0a55f4e4d9b0fdc1b8ff7c3aa"


def stamp(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def port(number, network, subnet, address, server="", **more):
    """As Neutron shows a port to an administrator, with ML2 and its usual extensions."""
    return {"id": f"{number:08x}-2222-4222-8222-{number:012x}", "name": f"port-{number}", "network_id": network,
            "tenant_id": PROJECT, "project_id": PROJECT, "mac_address": f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}",
            "admin_state_up": True, "status": "ACTIVE", "device_id": server,
            "device_owner": "compute:nova" if server else "",
            "fixed_ips": [{"subnet_id": subnet, "ip_address": address}], "allowed_address_pairs": [],
            "extra_dhcp_opts": [], "security_groups": ["b0d6a1b4-0ab2-4f63-b0cf-f1f5e1b2a3c4"], "description": "",
            "binding:vnic_type": "normal", "binding:profile": {}, "binding:host_id": "compute-1",
            "binding:vif_type": "ovs", "binding:vif_details": {"port_filter": True}, "port_security_enabled": True,
            "qos_policy_id": None, "qos_network_policy_id": None, "resource_request": None,
            "ip_allocation": "immediate", "numa_affinity_policy": None, "dns_name": "", "dns_domain": "",
            "dns_assignment": [], "tags": [], "created_at": stamp(time.time()), "updated_at": stamp(time.time()),
            "revision_number": 3, **more}


def server(number, name, ports, networks, **more):
    """As Nova 2.96 shows a server to an administrator. `networks`: labels of the ports' networks, in order."""
    addresses = {}
    for each, label in zip(ports, networks):
        addresses.setdefault(label, []).append({
            "version": 4, "addr": each["fixed_ips"][0]["ip_address"], "OS-EXT-IPS:type": "fixed",
            "OS-EXT-IPS-MAC:mac_addr": each["mac_address"]})
    return {"id": f"{number:08x}-1111-4111-8111-{number:012x}", "name": name, "status": "ACTIVE", "tenant_id": PROJECT,
            "user_id": USER, "metadata": {"zeta": "1", "alpha": "2"}, "hostId": "2e9c" * 14,
            "image": {"id": "70a599e0-31e7-49b7-b260-868f441e862b", "links": []},
            "flavor": {"vcpus": 1, "ram": 512, "disk": 1, "ephemeral": 0, "swap": 0, "original_name": "m1.tiny",
                       "extra_specs": {}},
            "created": stamp(time.time()), "updated": stamp(time.time()), "addresses": addresses, "accessIPv4": "",
            "accessIPv6": "", "links": [], "OS-DCF:diskConfig": "MANUAL", "progress": 0,
            "OS-EXT-AZ:availability_zone": "az-1", "config_drive": "", "key_name": "mykey",
            "OS-SRV-USG:launched_at": "2026-01-02T03:04:05.000000", "OS-SRV-USG:terminated_at": None,
            "OS-EXT-SRV-ATTR:host": "compute-1", "OS-EXT-SRV-ATTR:hypervisor_hostname": "compute-1",
            "OS-EXT-SRV-ATTR:instance_name": f"instance-{number:08x}", "OS-EXT-SRV-ATTR:hostname": name,
            "OS-EXT-SRV-ATTR:reservation_id": f"r-{number:08d}", "OS-EXT-SRV-ATTR:launch_index": 0,
            "OS-EXT-SRV-ATTR:kernel_id": "", "OS-EXT-SRV-ATTR:ramdisk_id": "",
            "OS-EXT-SRV-ATTR:root_device_name": "/dev/vda",
            "OS-EXT-SRV-ATTR:user_data": "I2Nsb3VkLWNvbmZpZwo=", "OS-EXT-STS:task_state": None,
            "OS-EXT-STS:vm_state": "active", "OS-EXT-STS:power_state": 1,
            "os-extended-volumes:volumes_attached": [], "locked": False, "locked_reason": None, "description": None,
            "tags": [], "trusted_image_certificates": None, "host_status": "UP",
            "security_groups": [{"name": "default"}], "server_groups": [], **more}


class Cloud:
    """`broken[path]` is called with the handler first; where it returns nothing, all goes on as usual."""

    def __init__(self):
        self.network = {
            "id": NETWORK, "name": "private", "tenant_id": PROJECT, "project_id": PROJECT,
            "admin_state_up": True, "mtu": 1442, "status": "ACTIVE", "subnets": [], "shared": False,
            "availability_zone_hints": [], "availability_zones": ["nova"], "ipv4_address_scope": None,
            "ipv6_address_scope": None, "router:external": False, "description": "", "port_security_enabled": True,
            "qos_policy_id": None, "is_default": None, "l2_adjacency": True, "provider:network_type": "geneve",
            "provider:physical_network": None, "provider:segmentation_id": 5, "dns_domain": "", "tags": [],
            "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z", "revision_number": 1}
        self.second = {**self.network, "id": "11111111-3333-4333-8333-000000000002", "name": "second"}
        subnet = {
            "id": "22222222-4444-4444-8444-000000000001", "name": "private-4", "tenant_id": PROJECT,
            "project_id": PROJECT, "network_id": self.network["id"], "ip_version": 4, "cidr": "10.1.0.0/16",
            "gateway_ip": "10.1.0.1", "enable_dhcp": True, "allocation_pools": [{"start": "10.1.0.2", "end": "10.1.255.254"}],
            "dns_nameservers": ["192.0.2.53"], "host_routes": [], "ipv6_ra_mode": None, "ipv6_address_mode": None,
            "subnetpool_id": None, "service_types": [], "segment_id": None, "dns_publish_fixed_ip": False, "tags": [],
            "router:external": False, "description": "", "created_at": "2026-01-02T03:04:05Z",
            "updated_at": "2026-01-02T03:04:05Z", "revision_number": 0}
        other = {**subnet, "id": "22222222-4444-4444-8444-000000000002", "network_id": self.second["id"],
                 "cidr": "10.2.0.0/16", "gateway_ip": None}
        self.subnet = subnet
        router = {
            "id": "33333333-5555-4555-8555-000000000001", "name": "router", "tenant_id": PROJECT, "project_id": PROJECT,
            "admin_state_up": True, "status": "ACTIVE", "external_gateway_info": None, "routes": [],
            "distributed": False, "ha": False, "flavor_id": None, "availability_zones": ["nova"],
            "availability_zone_hints": [], "enable_ndp_proxy": False, "tags": [], "description": "",
            "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z", "revision_number": 2}
        first_server, second_server = (f"{n:08x}-1111-4111-8111-{n:012x}" for n in (1, 2))
        ports = [port(9, self.network["id"], subnet["id"], "10.1.0.9", first_server),
                 port(2, self.second["id"], other["id"], "10.2.0.2", first_server),
                 port(3, self.network["id"], subnet["id"], "10.1.0.3", second_server),
                 port(4, self.network["id"], subnet["id"], "10.1.0.1", router["id"],
                      device_owner="network:router_interface")]
        self.tables = {
            "networks": {each["id"]: each for each in (self.network, self.second)},
            "subnets": {each["id"]: each for each in (subnet, other)},
            "routers": {router["id"]: router},
            "ports": {each["id"]: each for each in ports},
            "servers": {each["id"]: each for each in (
                server(1, "web-1", ports[:2], ["private", "second"]), server(2, "db-1", ports[2:3], ["private"],
                                                                            key_name=None))}}
        self.deleted = {}              # servers that changes-since tells of
        self.keypairs = {(USER, "mykey"): "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAlice alice"}
        self.microversion = "2.96"
        self.page = 1000               # the most objects in one
        self.filters_by_time = False   # Neutron's changed_since: refused, unless filter_validation is off
        self.token_uses = None         # a token is refused after so many
        self.uses = {}
        self.broken = {}
        self.asked = []                # (method, path with query, headers)
        self.sign_ins = []
        self.lock = threading.Lock()
        cloud = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                cloud.get(self)

            def do_POST(self):
                cloud.sign_in(self)

            def log_message(self, *_):
                pass

            def answer(self, status, body, headers=()):
                raw = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()
        self.catalog = [self.service("network", ""), self.service("compute", "/compute/v2.1")]

    def service(self, kind, path):
        return {"type": kind, "name": kind, "id": kind, "endpoints": [
            {"id": interface, "interface": interface, "region": "RegionOne", "region_id": "RegionOne",
             "url": self.url + path} for interface in ("admin", "internal", "public")]}

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def environment(self, **more):
        return {"OS_AUTH_URL": self.url + "/identity", "OS_USERNAME": "admin", "OS_PASSWORD": PASSWORD,
                "OS_PROJECT_NAME": "admin", "OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_NAME": "Default",
                "OS_REGION_NAME": "RegionOne", **more}

    def sign_in(self, handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        if self.broken.get("sign-in", lambda _: None)(handler):
            return
        if handler.path != "/identity/v3/auth/tokens":
            handler.answer(404, b"<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n")
            return
        auth = json.loads(body)["auth"]
        identity = auth["identity"]
        with self.lock:
            self.sign_ins.append(auth)
            token = f"token-{len(self.sign_ins)}"
            self.uses[token] = 0
        good = (identity.get("password", {}).get("user", {}).get("password") == PASSWORD
                or identity.get("application_credential", {}).get("secret") == SECRET
                or identity.get("token", {}).get("id") == "a-token-of-mine")
        unknown = ""  # what Keystone does not know is not there; what does not fit is refused
        if identity.get("application_credential", {}).get("id", "app") != "app":
            unknown = f"Could not find Application Credential: {identity['application_credential']['id']}."
        elif identity.get("token", {}).get("id") == "nonsense":
            unknown = "Could not recognize Fernet token"
        if unknown:
            handler.answer(404, {"error": {"code": 404, "message": unknown, "title": "Not Found"}})
            return
        if not good:
            handler.answer(401, {"error": {"code": 401, "title": "Unauthorized",
                                           "message": "The request you have made requires authentication."}})
            return
        answer = {"methods": identity["methods"], "expires_at": stamp(time.time() + 3600).replace("Z", ".000000Z"),
                  "issued_at": stamp(time.time()).replace("Z", ".000000Z")}
        if "scope" in auth or "application_credential" in identity:
            answer["catalog"] = self.catalog  # a token of no project has no endpoints
        handler.answer(201, {"token": answer}, [("X-Subject-Token", token)])

    def get(self, handler):
        path, _, query = handler.path.partition("?")
        query = dict(urllib.parse.parse_qsl(query))
        with self.lock:
            self.asked.append((handler.command, handler.path, dict(handler.headers)))
        if self.broken.get(path, lambda _: None)(handler):
            return
        if path == "/compute/v2.1/":
            handler.answer(200, {"version": {"id": "v2.1", "status": "CURRENT", "version": self.microversion,
                                             "min_version": "2.1", "updated": "2013-07-23T11:33:21Z", "links": []}})
            return
        with self.lock:
            token = handler.headers.get("X-Auth-Token", "")
            self.uses[token] = self.uses.get(token, 10**6) + 1
            refused = token not in self.uses or self.uses[token] > (self.token_uses or 10**6 - 1)
        if refused:
            handler.answer(401, {"error": {"code": 401, "message": "The request you have made requires authentication.",
                                           "title": "Unauthorized"}})
            return
        if path.startswith("/v2.0/"):
            self.neutron(handler, path.removeprefix("/v2.0/"), query)
        else:
            self.nova(handler, path.removeprefix("/compute/v2.1/"), query)

    def give_page(self, handler, key, objects, query):
        """As both services page: by limit and the id after which it goes on, with a link to the next page where this
        one is full, whether or not anything follows."""
        ids = [each["id"] for each in objects]
        marker = query.get("marker", "")
        if marker and marker not in ids:
            if key == "servers":
                handler.answer(400, {"badRequest": {"code": 400, "message": f"marker [{marker}] not found"}})
                return
            if key != "subnets":  # Neutron begins anew there
                handler.answer(404, {"NeutronError": {"type": "PortNotFound", "detail": "",
                                                      "message": f"Port {marker} could not be found."}})
                return
        first = ids.index(marker) + 1 if marker in ids else 0
        count = min(int(query.get("limit", 1000)), self.page)
        page = objects[first:first + count]
        path = f"{self.url}{handler.path.partition('?')[0]}"
        links = []
        if len(page) == count:
            links.append({"rel": "next", "href": f"{path}?{urllib.parse.urlencode({**query, 'marker': page[-1]['id']})}"})
        if key != "servers":
            before = {"marker": page[0]["id"]} if page else {}
            links.append({"rel": "previous",
                          "href": f"{path}?{urllib.parse.urlencode({**query, **before, 'page_reverse': True})}"})
        handler.answer(200, {key: page, **({f"{key}_links": links} if links else {})})

    def neutron(self, handler, key, query):
        with self.lock:
            objects = sorted(self.tables.get(key, {}).values(), key=lambda each: each["id"])
        if key not in self.tables or key == "servers":
            handler.answer(404, {"NeutronError": {"type": "HTTPNotFound", "message": "The resource could not be found.",
                                                  "detail": ""}})
            return
        if "changed_since" in query and not self.filters_by_time:
            handler.answer(400, {"NeutronError": {"type": "HTTPBadRequest", "detail": "",
                                                  "message": "['changed_since'] is invalid attribute for filtering"}})
            return
        if "changed_since" in query:
            objects = [each for each in objects if each["updated_at"] >= query["changed_since"]]
        if query.get("fields") == "id":
            objects = [{"id": each["id"]} for each in objects]
        self.give_page(handler, key, objects, query)

    def nova(self, handler, path, query):
        version = handler.headers.get("OpenStack-API-Version", "compute 2.1").removeprefix("compute 2.")
        if int(version) > int(self.microversion.removeprefix("2.")):
            handler.answer(406, {"computeFault": {"code": 406, "message": f"Version 2.{version} is not supported by the API. "
                                                  f"Minimum is 2.1 and maximum is {self.microversion}."}})
        elif path == "servers/detail":
            with self.lock:
                objects = list(self.tables["servers"].values())
                if "changes-since" in query:
                    objects = [each for each in objects + list(self.deleted.values())
                               if each["updated"] >= query["changes-since"]]
            objects = [self.as_of(int(version), each) for each in objects]
            self.give_page(handler, "servers", objects, query)
        elif path.startswith("os-keypairs/"):
            name = urllib.parse.unquote(path.removeprefix("os-keypairs/"))
            user = query.get("user_id", USER)
            if (user, name) not in self.keypairs:
                handler.answer(404, {"itemNotFound": {"code": 404, "message": f"Keypair {name} not found"}})
            else:
                handler.answer(200, {"keypair": {"name": name, "type": "ssh", "user_id": user, "id": 1, "deleted": False,
                                                 "public_key": self.keypairs[user, name], "fingerprint": "7e:eb",
                                                 "created_at": "2026-01-02T03:04:05.000000"}})
        elif path.startswith("flavors/"):
            handler.answer(200, {"flavor": {"id": path.removeprefix("flavors/"), "name": "m1.old", "links": []}})
        else:
            handler.answer(404, {"itemNotFound": {"code": 404, "message": "The resource could not be found."}})

    @staticmethod
    def as_of(version, each):
        """Before 2.47 a flavor is its id, and before 2.3 there are no extended attributes."""
        each = dict(each)
        if version < 47:
            each["flavor"] = {"id": "1", "links": []}
        if version < 3:
            for key in [key for key in each if key.startswith("OS-EXT-SRV-ATTR:") and
                        key.rpartition(":")[2] not in ("host", "instance_name", "hypervisor_hostname")]:
                del each[key]
        return each
