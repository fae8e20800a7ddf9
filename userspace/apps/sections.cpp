// SPDX-License-Identifier: Apache-2.0
#include "apps/sections.hpp"

#include <array>

namespace metatap::apps {
namespace {

constexpr std::array kSections{
    OptionSection{"DEFAULT", false,
                  "The process, and what Neutron's metadata_agent.ini and Nova's nova.conf have in "
                  "this section."},
    OptionSection{"dataplane", true, "How packets are picked out and steered."},
    OptionSection{"proxy", true, "What guests may ask, and how much."},
    OptionSection{"inventory", true, "Which networks, ports and instances there are."},
    OptionSection{"admin", true, "What whoever operates the host is shown."},
    OptionSection{"agent", false, "Which port belongs to which instance. Also Neutron's."},
    OptionSection{"api", false, "What guests are told. Also Nova's."},
    OptionSection{"metadata_haproxy", false, "Timeouts towards guests and agent, as Neutron's."},
    OptionSection{"metadata_rate_limiting", false, "Limits of requests, as Neutron's."},
    OptionSection{"neutron", false,
                  "The agent's shared secret as Nova has it; and how Neutron is asked, where "
                  "[agent] directory = neutron. Without auth_url here, [keystone_authtoken] is "
                  "read in its place."},
    OptionSection{"keystone_authtoken", false,
                  "Stands in for [neutron], with the same options, where that has no auth_url."},
    OptionSection{"cache", false,
                  "How long Neutron's answers are good, where [agent] directory = neutron."},
    OptionSection{"ovs", false,
                  "Open vSwitch's database on this host, where [agent] directory = ovn."},
    OptionSection{"ovn", false, "OVN's southbound database, where [agent] directory = ovn."}};

}  // namespace

std::span<const OptionSection> sections() {
  return kSections;
}

}  // namespace metatap::apps
