# SPDX-License-Identifier: Apache-2.0
"""What a real Nova answered, asked again through Neutron's haproxy, our agent and our API: status,
content type and body of every path that was recorded."""

import base64
import json
import os
import pathlib
import re
import shutil
import subprocess

import mtlab
import pytest
from labkit import inside, run
from test_agent import DHCP_BINDS, haproxy_in, namespace  # noqa: F401 (a fixture)

SAMPLE = pathlib.Path(__file__).resolve().parents[1] / "data/nova-sample"
SECRET = "peers-shared-secret"
SEED = re.compile(rb'"random_seed": "([^"]*)"')
MEANT = re.compile(r"/openstack/[^/]+/content/?$")  # 404 where Nova has an internal error

# Runs in the guest's namespace: one connection, all paths.
CRAWLER = """
import base64, http.client, json, sys
source, paths = json.load(sys.stdin)
connection = http.client.HTTPConnection("169.254.169.254", 80, timeout=10,
                                        source_address=(source, 0))
answers = []
for method, path in paths:
    connection.putrequest(method, path, skip_accept_encoding=True)
    connection.endheaders()
    response = connection.getresponse()
    answers.append([response.status, response.getheader("Content-Type"),
                    base64.b64encode(response.read()).decode()])
json.dump(answers, sys.stdout)
"""

pytestmark = pytest.mark.skipif(not shutil.which("haproxy") or os.geteuid() != 0,
                                reason="needs haproxy and root")


@pytest.mark.parametrize("name,address", [("full", "10.70.0.11"), ("dhcp", "10.73.0.32")])
def test_a_recorded_crawl(name, address, namespace, tmp_path):  # noqa: F811
    inventory = json.loads((SAMPLE / "inventory.json").read_text())
    network = next(port["network_id"] for port in inventory["ports"]
                   for ip in port["fixed_ips"] if ip["ip_address"] == address
                   and port["device_id"] in {i["uuid"] for i in inventory["instances"]
                                             if i["name"] == name})
    config = tmp_path / "metatapd.conf"
    config.write_text(f"""[DEFAULT]
state_path = {tmp_path}
run_path = {tmp_path}/run
user = root
metadata_proxy_shared_secret = {SECRET}
[inventory]
file = {SAMPLE}/inventory.json
[api]
vendordata_jsonfile_path = {SAMPLE}/vendordata.json
newest_openstack_version = 2020-10-14
""")
    run(*inside(namespace), "ip", "addr", "add", f"{address}/32", "dev", "lo")
    recorded = [json.loads(line)
                for line in (SAMPLE / "crawl" / f"{name}.jsonl").read_text().splitlines()]
    daemon = mtlab.Daemon("haproxy-replay", tmp_path,
                          ["--config-file", config, "--stages", "agent,api"]).start()
    haproxy = haproxy_in(namespace, tmp_path, network, DHCP_BINDS, "network",
                         tmp_path / "metadata_proxy")
    try:
        def listens():
            return ":80 " in run(*inside(namespace), "ss", "-Hltn")
        mtlab.wait_until(listens, 10, "haproxy listens")
        done = subprocess.run(
            [*inside(namespace), mtlab.PYTHON, "-c", CRAWLER], capture_output=True, text=True, timeout=120,
            input=json.dumps([address, [[row["m"], row["p"]] for row in recorded]]), check=True)
    finally:
        haproxy.terminate()
        haproxy.wait(10)
        daemon.stop()
    answers = json.loads(done.stdout)
    assert len(answers) == len(recorded) > 400
    wrong = []
    for row, (status, content_type, body) in zip(recorded, answers):
        if row["s"] == 500 and MEANT.search(row["p"]):
            assert status == 404, row["p"]
            continue
        body = base64.b64decode(body)
        if row.get("rs"):
            assert len(base64.b64decode(SEED.search(body).group(1))) == 512
            body = SEED.sub(b'"random_seed": "@RANDOM_SEED@"', body)
        expected = (SAMPLE / "bodies" / row["b"]).read_bytes() if "b" in row else b""
        if (status, content_type, body) != (row["s"], dict(row["h"]).get("Content-Type"), expected):
            wrong.append((row["p"], status, content_type, row["s"]))
    assert wrong == []
