# SPDX-License-Identifier: Apache-2.0
"""What is written about options, and what is said of a configuration before and after the start."""

import json
import os
import pathlib
import pwd
import re
import sqlite3
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("METATAP_BIN", ROOT / "build" / "bin"))
SAMPLE = ROOT / "tests" / "data" / "nova-sample" / "inventory.json"

pytestmark = pytest.mark.skipif(not (BIN / "metatapd").exists(), reason=f"{BIN}/metatapd is not built")


@pytest.mark.parametrize("form,file", [("markdown", "docs/configuration.md"),
                                       ("manual", "packaging/man/metatapd.conf.5")])
def test_the_document_is_what_the_program_says(form, file):
    said = subprocess.run([BIN / "metatapd", "--options", form], capture_output=True, text=True,
                          check=True, timeout=30).stdout
    assert (ROOT / file).read_text() == said, f"build/bin/metatapd --options {form} >{file}"


def test_every_section_is_described_and_every_option_has_its_meaning():
    text = (ROOT / "docs/configuration.md").read_text()
    sections = re.split(r"\n## \[", text)[1:]
    assert len(sections) > 10
    for section in sections:
        name, rest = section.split("]\n", 1)
        assert re.match(r"\n\S.*\.\n", rest), name
        rows = [line for line in rest.splitlines() if line.startswith("| `")]
        assert rows, name
        for row in rows:
            assert re.fullmatch(r"\| `[a-z0-9_]+` \| .+ \| .+ \| .{5,} \|", row), row


def test_documents_name_no_option_that_there_is_not():
    known, group = set(), None
    for line in (ROOT / "docs/configuration.md").read_text().splitlines():
        section, option = re.match(r"## \[(\w+)\]", line), re.match(r"\| `(\w+)` \|", line)
        group = section[1] if section else group
        known |= {(group, option[1])} if option else set()
    named = set()
    for file in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "packaging/man").glob("*.[18]")]:
        if file.name != "configuration.md":  # which has older names of Nova's and Neutron's, too
            named |= set(re.findall(r"\[(\w+)\]`? `?([a-z][a-z0-9]*_\w+)\b", file.read_text()))
    assert len(named) > 30 and not named - known


def test_the_command_of_the_document_on_openstack(tmp_path):
    """With Neutron's own file as it is, and the two lines that it lacks."""
    document = (ROOT / "docs/openstack.md").read_text()
    (command,) = re.findall(r"^    (metatapd (?:.*\\\n)?.*)$", document, re.M)
    neutron = tmp_path / "neutron_ovn_metadata_agent.ini"
    neutron.write_text("[DEFAULT]\nnova_metadata_host = 127.0.0.1\nmetadata_proxy_shared_secret = s3cret\nmetadata_workers = 2\n"
                       "use_stderr = true\n[ovs]\novsdb_connection = tcp:127.0.0.1:6640\n"
                       "[ovn]\novn_sb_connection = tcp:127.0.0.1:6642\n[agent]\nroot_helper = sudo neutron-rootwrap\n")
    ours = tmp_path / "metatapd.conf"
    (two_lines,) = re.findall(r"^    (\[agent\])\n    (directory = ovn)$", document, re.M)
    ours.write_text(f"[DEFAULT]\nstate_path = {tmp_path}/state\n" + "\n".join(two_lines) + "\n")
    command = command.replace("\\\n", " ").replace(f"/etc/neutron/{neutron.name}", str(neutron))
    words = command.replace(f"/etc/metatap/{ours.name}", str(ours)).split()
    assert words[0] == "metatapd" and "/etc/" not in command.replace("/etc/metatap", "")
    done = subprocess.run([BIN / words[0], "--check", *words[1:]], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and "the configuration is good" in done.stderr, done.stderr


def test_the_sample_has_no_option_that_there_is_not(tmp_path):
    """Also those that are commented out."""
    sample = (ROOT / "packaging/metatapd.conf").read_text()
    lines = [re.sub(r"^# ?(?=[a-z_]+ =)", "", line) for line in sample.splitlines()]
    lines = [line for line in lines if not line.startswith(("metadata_proxy_shared_secret", "port_tag_key",
                                                            "file =", "user =", "database ="))]
    status, said = check(tmp_path, "\n".join(lines))
    assert status == 0 and "is not an option" not in said, said


OURSELVES = pwd.getpwuid(os.geteuid()).pw_name


def check(folder, text, stages="agent,api"):
    """What `metatapd --check` makes of a configuration: exit status and words."""
    config = folder / "checked.conf"
    config.write_text(f"[DEFAULT]\nstate_path = {folder}/state\nuser = {OURSELVES}\n{text}")
    done = subprocess.run([BIN / "metatapd", "--check", "--stages", stages, "--config-file", config],
                          capture_output=True, text=True, timeout=30)
    return done.returncode, done.stderr.replace(str(folder) + "/", "")


def unfit(value):
    """Values that an option is not to have, by how the document describes those that it may."""
    if span := re.match(r"(\d+) to (\d+)", value):
        return ["soon" if span[1] == "0" else "0", str(int(span[2]) + 1)]
    return ["no-such"] if value.startswith("`") else []


def is_named(folder, directory, section, option, wrong):
    """With what must be there where Neutron is asked; its options and OVN's count only where they are."""
    ask = "" if (section, option) == ("agent", "directory") else f"[agent]\ndirectory = {directory}\n"
    text = f"[neutron]\nendpoint_override = http://n\nauth_type = none\n{ask}[{section}]\n{option} = {wrong}\n"
    status, said = check(folder, text)
    place = rf"checked\.conf:{text.count(chr(10)) + 3}: \[{section}\] {option}( = '{wrong}')?: expected "
    return status == 78 and re.search(place, said) is not None


def test_every_value_that_does_not_fit_is_named_with_its_place(tmp_path):
    """Of all options that are numbers, switches or choices: ours, Neutron's and Nova's."""
    looked_at = 0
    for section in re.split(r"\n## \[", (ROOT / "docs/configuration.md").read_text())[1:]:
        name, rest = section.split("]\n", 1)
        for option, value in re.findall(r"^\| `([a-z0-9_]+)` \| ([^|]+) \|", rest, re.M):
            for wrong in unfit(value):
                assert any(is_named(tmp_path, directory, name, option, wrong)
                           for directory in ("neutron", "ovn")), (name, option, wrong)
                looked_at += 1
    assert looked_at > 100


@pytest.mark.parametrize("options,said", [
    ("when_down = refuse\n", True),
    ("when_down = refuse\nrouters = false\n", False),
    ("when_down = pass\n", False),
])
def test_what_refusing_cannot_do_behind_routers_is_said(tmp_path, options, said):
    status, text = check(tmp_path, "[dataplane]\n" + options, "dataplane,proxy,agent,api")
    assert status == 0, text
    assert ("when_down = refuse holds at taps. In router and DHCP namespaces" in text) == said, text


@pytest.mark.parametrize("text,wrong", [
    ("[proxy]\nwokers = 2\n", "[proxy] wokers: there is no such option; did you mean workers?"),
    ("[dataplan]\nrouters = false\n", "there is no such option; did you mean [dataplane]?"),
    ("[inventory]\ndrain_time = 3\n", "did you mean [DEFAULT] drain_time?"),
    ("[admin]\nmetrics_listen = 0.0.0.0:9775\n", "expected one address of this host that no guest can reach"),
    ("[admin]\nmetrics_listen = 192.0.2.1:9775\n", "[admin] metrics_listen: listen on 192.0.2.1:0"),
    ("[inventory]\nfile = /nowhere/inventory.json\n", "[inventory] file, as user "),
    ("[DEFAULT]\nport_tag_key = " + 32 * "a1" + "\nrun_path = /dev/null/run\n", "[DEFAULT] run_path: /dev/null: Not a directory"),
    ("[DEFAULT]\nrun_path = /run/" + 120 * "a" + "\n", "[DEFAULT] run_path: listen on "),
    ("[DEFAULT]\nstate_path = /dev/null/state\n", "[DEFAULT] state_path: /dev/null: Not a directory"),
    ("[DEFAULT]\nmetadata_proxy_socket = /dev/null\n", "[DEFAULT] metadata_proxy_socket: listen on /dev/null: something"),
    ("[agent]\ndirectory = ovn\n[ovs]\novsdb_connection = ssl:127.0.0.1:6640\nssl_ca_cert_file = /nowhere\n",
     "[agent] directory = ovn: [ovs] ovsdb_connection: "),
    ("[DEFAULT]\nuser = nobody-like-that\n", "[DEFAULT] user"),
])
def test_what_a_start_would_find_wrong_is_found_before(tmp_path, text, wrong):
    status, said = check(tmp_path, text)
    assert (status, wrong in said) == (78, True), said
    assert not (tmp_path / "state").exists()


def test_an_address_that_is_not_ours_to_listen_on(tmp_path):
    secret = "metadata_proxy_shared_secret = s3cret\nmetadata_listen = 192.0.2.1\n"
    status, said = check(tmp_path, secret, "api")
    assert (status, "[DEFAULT] metadata_listen" in said) == (78, True), said


def test_a_broken_inventory_is_named_with_its_place(tmp_path):
    file = tmp_path / "inventory.json"
    file.write_text(SAMPLE.read_text().replace('"network_id"', '"network_ids"', 1))
    status, said = check(tmp_path, f"[inventory]\nfile = {file}\n")
    assert status == 78 and "inventory.json: /" in said, said
    file.write_text(SAMPLE.read_text())
    assert check(tmp_path, f"[inventory]\nfile = {file}\n")[0] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_file_that_the_worker_may_not_read_is_named(tmp_path):
    """Root could read it. Who reads is another."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(folder.stat().st_mode | 0o011)
    file = tmp_path / "inventory.json"
    file.write_text(SAMPLE.read_text())
    file.chmod(0o600)
    text = f"[DEFAULT]\nuser = nobody\n[inventory]\nfile = {file}\n"
    status, said = check(tmp_path, text)
    assert status == 78 and "[inventory] file, as user nobody: " in said and "Permission denied" in said, said
    file.chmod(0o644)
    assert check(tmp_path, text)[0] == 0


def test_a_database_of_another_program_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "nova.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE instances (id INTEGER)")
    before = path.read_bytes()
    status, said = check(tmp_path, f"[inventory]\ndatabase = sqlite:///{path}\n")
    assert status == 78 and "belongs to another program" in said, said
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["checked.conf", "nova.db"]


def test_what_others_may_mean_is_noted_with_a_suggestion(tmp_path):
    status, said = check(tmp_path, "[DEFAULT]\ndrian_time = 3\n[agent]\nreport_interval = 30\n"
                                   "[libvirt]\nvirt_type = kvm\n")
    assert status == 0, said
    assert "[DEFAULT] drian_time is not an option of the parts that run here; did you mean drain_time?" in said
    assert "[agent] report_interval is not an option of the parts that run here\n" in said


def test_a_fraction_where_keystoneauth_takes_one(tmp_path):
    text = ("[agent]\ndirectory = neutron\n[neutron]\nauth_type = none\nendpoint_override = http://n\n"
            "timeout = {}\n")
    assert check(tmp_path, text.format("2.5"))[0] == 0
    status, said = check(tmp_path, text.format("0"))
    assert status == 78 and "[neutron] timeout: expected more than no time" in said, said


def test_the_running_configuration_has_the_origin_of_each_value(tmp_path):
    config = tmp_path / "metatapd.conf"
    config.write_text(f"[DEFAULT]\nstate_path = {tmp_path}/state\nrun_path = {tmp_path}/run\nuser = root\n"
                      "metadata_proxy_shared_secret = hunter2\nstray_password = hunter2\n"
                      "transport_url = rabbit://nova:hunter2@host/\n[inventory]\n")
    process = subprocess.Popen([BIN / "metatapd", "--stages", "agent,api", "--config-file", config],
                               stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if " ready after" in line:
                break
        shown = subprocess.run([BIN / "metatap", "--socket", tmp_path / "run/admin.sock", "--json", "config",
                                "show"], capture_output=True, text=True, timeout=30, check=True).stdout
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.stderr.close()
    assert "hunter2" not in shown
    rows = {f"[{row['group']}] {row['name']}": row for row in json.loads(shown)}
    assert rows["[DEFAULT] run_path"] == {"group": "DEFAULT", "name": "run_path",
                                          "value": f"{tmp_path}/run", "where": f"{config}:3"}
    assert rows["[DEFAULT] drain_time"]["where"] == "default"
    assert rows["[DEFAULT] metadata_proxy_socket"]["value"] == f"{tmp_path}/state/metadata_proxy"
    assert rows["[DEFAULT] metadata_proxy_shared_secret"]["value"] == "***"
    assert rows["[DEFAULT] stray_password"]["where"] == f"{config}:6, not used"
    assert len(rows) > 60
