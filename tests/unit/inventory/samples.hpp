// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace metatap {

/// A document that uses every field once.
inline constexpr std::string_view kSample = R"({
 "format": "metatap-inventory/1",
 "networks": [
  {"id": "n-1", "name": "main", "project_id": "t-1", "mtu": 1450, "admin_state_up": true,
   "metatap": {"forwarded_inside": "allow", "syn_rate": 300, "connections": 32}},
  {"id": "n-2", "admin_state_up": false}],
 "subnets": [
  {"id": "s-4", "name": "four", "network_id": "n-1", "cidr": "10.70.0.0/22", "ip_version": 4,
   "gateway_ip": "10.70.0.1", "enable_dhcp": true, "dns_nameservers": ["10.70.0.2"],
   "host_routes": [{"destination": "192.0.2.0/24", "nexthop": "10.70.3.254"}]},
  {"id": "s-6", "network_id": "n-1", "cidr": "fd00:70::/64", "ip_version": 6, "gateway_ip": null,
   "ipv6_address_mode": "slaac", "advanced_service_providers": ["edge-1"]}],
 "routers": [{"id": "r-1", "name": "edge", "project_id": "t-1"}],
 "ports": [
  {"id": "p-1", "network_id": "n-1", "mac_address": "FA:16:3E:00:00:1F", "device_id": "i-1",
   "device_owner": "compute:nova", "project_id": "t-1", "device": "tap0", "vlan": 7,
   "fixed_ips": [{"subnet_id": "s-4", "ip_address": "10.70.0.31"},
                 {"subnet_id": "s-6", "ip_address": "FD00:70:0::1f"}],
   "allowed_address_pairs": [{"ip_address": "10.70.1.0/24"},
                             {"ip_address": "10.70.0.99", "mac_address": "02:00:00:00:00:01"}],
   "address_policy": "learn", "mac_policy": "any",
   "binding:host_id": "h-1", "binding:profile": {"migrating_to": "h-2", "os_vif_delegation": true},
   "metatap": {"tokens": "ratchet", "boot_window": 900, "read_once": ["user_data"],
               "when_down": "refuse"}},
  {"id": "p-2", "network_id": "n-1", "mac_address": "fa:16:3e:00:00:20", "device_id": "i-2",
   "fixed_ips": [{"subnet_id": "s-4", "ip_address": "10.70.0.32"}], "admin_state_up": false}],
 "instances": [
  {"uuid": "i-1", "name": "full", "project_id": "t-1", "user_id": "u-1", "display_name": "Full",
   "hostname": "full", "launch_index": 2, "availability_zone": "zone-a",
   "reservation_id": "r-abcdefgh", "image_ref": "image-1", "kernel_id": "image-2",
   "ramdisk_id": "image-3",
   "ec2_ids": {"instance_id": "i-0000000a", "ami_id": "ami-00000005"},
   "flavor": {"name": "m1.large"}, "key_name": "k", "key_data": "ssh-ed25519 AAAA",
   "keypairs": [{"name": "k", "type": "ssh", "public_key": "ssh-ed25519 AAAA"}],
   "metadata": {"z": "größe", "a/b": "", "c": "{\"x\": 1}"},
   "system_metadata": {"boot_roles": "admin,member"},
   "user_data": "I2Ns\nb3Vk", "vendor_data": "#cloud-config\n", "root_device_name": "/dev/vda",
   "default_ephemeral_device": "/dev/vdb", "default_swap_device": "/dev/vdc",
   "block_device_mappings": [{"source_type": "image", "destination_type": "local",
     "guest_format": null, "device_name": "/dev/vda", "boot_index": 0, "volume_id": null,
     "volume_size": 1, "tag": "root"}],
   "device_metadata": [{"kind": "disk", "bus": {"type": "scsi", "address": null}, "serial": null,
     "tags": ["a", "b"]},
     {"kind": "nic", "bus": {"type": "pci", "address": "0000:00:03.0"},
      "mac": "fa:16:3e:00:00:1f", "vlan": 5, "vf_trusted": false},
     {"kind": "share", "share_id": "x", "tag": "data", "path": "/x"}],
   "numa_topology": [{"id": 0, "cpuset": [0, 1], "pcpuset": [4, 2]}],
   "security_groups": ["web", "web"],
   "network_info": [{"zz": 1, "id": "p-1",
                     "network": {"subnets": [{"cidr": "10.70.0.0/22"}]}, "aa": null}],
   "personality": [{"path": "/etc/x", "contents": "AAEC"}],
   "admin_pass": "s3cret", "config_drive": true,
   "metatap": {"sealed": false}},
  {"uuid": "i-2"}]
})";

}  // namespace metatap
