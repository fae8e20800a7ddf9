# SPDX-License-Identifier: Apache-2.0
"""cloud-init's own data source classes, run inside a guest's namespace.

usage: cloudinit_crawl.py openstack|ec2|ec2-tokens [--url URL]   prints what they got as one JSON object

The classes are taken as the distribution ships them. Only what concerns the machine is answered
for it: that the platform is OpenStack (a namespace has no DMI table of its own); and for ec2-tokens that it is
Amazon's, where the class uses session tokens.
"""

import argparse
import base64
import ctypes
import json
import logging
import os
import shutil
import sys
import tempfile
import time

CLONE_NEWNS = 0x00020000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000


def own_files(folder):
    """A view of the file system as the guest would have it: cloud-init reads MAC addresses in
    /sys/class/net, and looks names up to detect resolvers that redirect (here: no resolver)."""
    resolver = os.path.join(folder, "resolv.conf").encode()
    with open(resolver, "w") as file:
        file.write("nameserver 127.0.0.1\n")
    libc = ctypes.CDLL(None, use_errno=True)
    if (libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
            or libc.mount(b"sysfs", b"/sys", b"sysfs", 0, None)
            or libc.mount(resolver, b"/etc/resolv.conf", None, MS_BIND, None)):
        raise OSError(ctypes.get_errno(), "a view of the file system for the guest")


def record_requests():
    """Notes every request that cloud-init makes: (path, status, milliseconds)."""
    import requests
    seen, original = [], requests.Session.request

    def request(self, *args, **kwargs):
        started = time.monotonic()
        url, status = kwargs.get("url") or args[1], None
        try:
            answer = original(self, *args, **kwargs)
            status = answer.status_code
            return answer
        finally:
            seen.append([url, status, round((time.monotonic() - started) * 1000, 2)])
    requests.Session.request = request
    return seen


def jsonable(value):
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [jsonable(item) for item in value]
    return value


def hostname_of(source):
    name = source.get_hostname()
    return getattr(name, "hostname", name)  # newer releases say more than the name


def crawl(kind, url, folder):
    from cloudinit import distros, helpers
    from cloudinit.sources import DataSourceEc2, DataSourceOpenStack
    paths = helpers.Paths({"cloud_dir": f"{folder}/cloud", "run_dir": f"{folder}/run"})
    for name in ("cloud/data", "cloud/instance", "run"):
        os.makedirs(f"{folder}/{name}", exist_ok=True)
    distro = distros.fetch("debian")("debian", {}, paths)
    options = {"max_wait": 10, "timeout": 10}
    if url:
        options["metadata_urls"] = [url]
    if kind == "openstack":
        DataSourceOpenStack.detect_openstack = lambda **_: True
        DataSourceOpenStack.DataSourceOpenStack.ds_detect = lambda self: True  # newer releases
        source = DataSourceOpenStack.DataSourceOpenStack(
            {"datasource": {"OpenStack": options}, "datasource_list": ["OpenStack"]}, distro, paths)
    else:
        names = DataSourceEc2.CloudNames
        DataSourceEc2.identify_platform = lambda: names.AWS if kind == "ec2-tokens" else names.UNKNOWN
        source = DataSourceEc2.DataSourceEc2(
            {"datasource": {"Ec2": {**options, "strict_id": False}}, "datasource_list": ["Ec2"]},
            distro, paths)
        # The class puts a warning on the console of machines that are not Amazon's.
        DataSourceEc2.warn_if_necessary = lambda *_: None
    started = time.monotonic()
    found = source.get_data()
    seconds = time.monotonic() - started
    result = {"class": type(source).__name__, "found": bool(found),
              "milliseconds": round(seconds * 1000, 1)}
    if found:
        result.update(
            address=source.metadata_address,
            instance_id=source.get_instance_id(),
            hostname=hostname_of(source),
            public_keys=source.get_public_ssh_keys(),
            availability_zone=source.availability_zone,
            metadata=source.metadata,
            userdata=source.get_userdata_raw(),
            vendordata=source.get_vendordata_raw())
        if kind == "openstack":
            result.update(version=source.version, ec2_metadata=source.ec2_metadata,
                          network_json=source.network_json, network_config=source.network_config,
                          files=source.files)
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["openstack", "ec2", "ec2-tokens"])
    parser.add_argument("--url")
    args = parser.parse_args()
    log = tempfile.TemporaryFile("w+")
    logging.basicConfig(stream=log, level=logging.DEBUG, force=True)
    seen = record_requests()
    folder = tempfile.mkdtemp(prefix="metatap-crawl-")
    try:
        own_files(folder)
        result = crawl(args.kind, args.url, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    result["requests"] = seen
    if not result["found"]:
        log.seek(0)
        result["log"] = log.read()[-4000:]
    json.dump(jsonable(result), sys.stdout)
    print()


if __name__ == "__main__":
    main()
