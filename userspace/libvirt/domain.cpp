// SPDX-License-Identifier: Apache-2.0
#include "libvirt/domain.hpp"

#include <libxml/parser.h>
#include <libxml/tree.h>

#include <array>
#include <memory>

#include "base/ascii.hpp"
#include "base/spelling.hpp"
#include "base/text.hpp"
#include "metatap/address.hpp"

namespace metatap::libvirt {
namespace {

struct FreeDocument {
  void operator()(xmlDoc* document) const { xmlFreeDoc(document); }
};

std::string_view view(const xmlChar* text) {
  return text == nullptr ? std::string_view() : reinterpret_cast<const char*>(text);
}

std::string taken(xmlChar* text) {
  std::string copy(view(text));
  xmlFree(text);
  return copy;
}

std::string content_of(xmlNode* node) {
  return taken(xmlNodeGetContent(node));
}

std::string attribute(xmlNode* node, const char* name) {
  return node == nullptr ? std::string()
                         : taken(xmlGetNoNsProp(node, reinterpret_cast<const xmlChar*>(name)));
}

template <class F>
void each_element(xmlNode* parent, F&& f) {
  for (xmlNode* node = parent == nullptr ? nullptr : parent->children; node != nullptr;
       node = node->next) {
    if (node->type == XML_ELEMENT_NODE) {
      f(node, view(node->name));
    }
  }
}

/// nullptr: there is none.
xmlNode* child(xmlNode* parent, std::string_view name) {
  xmlNode* found = nullptr;
  each_element(parent, [&](xmlNode* node, std::string_view its_name) {
    if (found == nullptr && its_name == name) {
      found = node;
    }
  });
  return found;
}

std::string text_of(xmlNode* parent, std::string_view name) {
  xmlNode* node = child(parent, name);
  return node == nullptr ? std::string() : std::string(trimmed(content_of(node), kWhiteSpace));
}

/// Text without what XML's own layout puts around it, or bytes in base64.
Result<std::string> bytes_of(xmlNode* node) {
  const auto encoding = attribute(node, "encoding");
  const auto text = content_of(node);
  if (encoding.empty()) {
    const auto first = text.find_first_not_of(kWhiteSpace);
    return first == std::string::npos ? "" : text.substr(first);
  }
  std::string digits = text;
  std::erase_if(digits, [](char c) { return kWhiteSpace.find(c) != std::string_view::npos; });
  auto bytes = encoding == "base64" && is_base64(digits) ? base64_decoded(digits) : std::nullopt;
  if (!bytes) {
    return fail(ErrorCode::invalid, "<" + std::string(view(node->name)) + ">: not " + encoding);
  }
  return *std::move(bytes);
}

Status read_element(xmlNode* node, std::string_view name, GuestData& into) {
  const auto text = std::string(trimmed(content_of(node), kWhiteSpace));
  if (name == "hostname") {
    into.hostname = text;
  } else if (name == "project") {
    into.project_id = text;
  } else if (name == "ssh-key") {
    into.ssh_keys.push_back(text);
  } else if (name == "meta") {
    const auto key = attribute(node, "key");
    if (key.empty()) {
      return fail(ErrorCode::invalid, "<meta> needs a \"key\"");
    }
    into.metadata.emplace_back(key, text);
  } else if (name == "user-data" || name == "vendor-data") {
    auto bytes = bytes_of(node);
    if (!bytes) {
      return tl::make_unexpected(std::move(bytes.error()));
    }
    (name == "user-data" ? into.user_data : into.vendor_data) = *std::move(bytes);
  } else {
    const auto meant =
        meant_key(name, {"hostname", "project", "ssh-key", "meta", "user-data", "vendor-data"});
    return fail(ErrorCode::invalid,
                "there is no <" + std::string(name) + ">" +
                    (meant.empty() ? "" : "; did you mean <" + std::string(meant) + ">?"));
  }
  return {};
}

Result<std::optional<GuestData>> read_metadata(xmlNode* domain) {
  xmlNode* ours = nullptr;
  each_element(child(domain, "metadata"), [&](xmlNode* node, std::string_view) {
    if (node->ns != nullptr && view(node->ns->href) == kMetadataNamespace) {
      ours = node;
    }
  });
  if (ours == nullptr) {
    return std::nullopt;
  }
  GuestData data;
  std::string mistakes;
  each_element(ours, [&](xmlNode* node, std::string_view name) {
    if (const auto read = read_element(node, name, data); !read) {
      mistakes += (mistakes.empty() ? "<metadata>: " : "; ") + read.error().message;
    }
  });
  if (!mistakes.empty()) {
    return fail(ErrorCode::invalid, std::move(mistakes));
  }
  return data;
}

/// As ds-identify has it (cloud-init's tools/ds-identify, dscheck_OpenStack).
bool says_openstack(xmlNode* domain) {
  xmlNode* os = child(domain, "os");
  if (icontains(text_of(os, "cmdline"), "ds=openstack")) {
    return true;
  }
  bool said = false;
  const bool told = attribute(child(os, "smbios"), "mode") == "sysinfo";
  each_element(domain, [&](xmlNode* node, std::string_view name) {
    if (told && name == "sysinfo" && attribute(node, "type") == "smbios") {
      each_element(child(node, "system"), [&](xmlNode* entry, std::string_view) {
        const auto value = content_of(entry);
        said = said || (attribute(entry, "name") == "product" &&
                        (value == "OpenStack Nova" || value == "OpenStack Compute"));
      });
    }
  });
  return said;
}

/// Why a kind of interface has no device of which a guest's frames come out; empty: it has.
std::string_view why_not(std::string_view type) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kWithout{
      {{"direct", "macvtap's frames pass no hook of the host's"},
       {"hostdev", "it is a device of the guest's alone"},
       {"vhostuser", "its frames do not pass the kernel"},
       {"user", "QEMU's own network has no device"},
       {"vdpa", "its frames do not pass the kernel"},
       {"mcast", "QEMU's own network has no device"}}};
  for (const auto& [name, reason] : kWithout) {
    if (name == type) {
      return reason;
    }
  }
  return {};
}

/// One spelling of each, so that two who claim the same are seen to; what is none stays as it is.
std::string one_spelling(std::string mac) {
  const auto address = parse_mac(mac);
  return address ? to_string(*address) : std::move(mac);
}

void read_interface(xmlNode* node, Domain& into) {
  const auto type = attribute(node, "type");
  DomainInterface interface{attribute(child(node, "target"), "dev"),
                            one_spelling(attribute(child(node, "mac"), "address")),
                            attribute(child(node, "source"), "network")};
  if (interface.network.empty()) {
    interface.network = attribute(child(node, "source"), "bridge");
  }
  if (interface.network.empty()) {
    interface.network = "default";
  }
  const auto reason = why_not(type);
  if (!reason.empty() || interface.device.empty()) {
    into.left_out.push_back("interface " + interface.mac + " of type " + type + ": " +
                            (reason.empty() ? "it has no device" : std::string(reason)));
    return;
  }
  into.interfaces.push_back(std::move(interface));
}

}  // namespace

Result<Domain> parse_domain(std::string_view xml) {
  constexpr int kQuietly = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING;
  const std::unique_ptr<xmlDoc, FreeDocument> document(
      xmlReadMemory(xml.data(), static_cast<int>(xml.size()), "domain.xml", nullptr, kQuietly));
  xmlNode* root = document ? xmlDocGetRootElement(document.get()) : nullptr;
  if (root == nullptr || view(root->name) != "domain") {
    return fail(ErrorCode::invalid, "not the XML of a domain");
  }
  Domain domain{text_of(root, "name"), text_of(root, "uuid"), {}, {},
                read_metadata(root),   says_openstack(root)};
  if (domain.name.empty() || domain.uuid.empty()) {
    return fail(ErrorCode::invalid, "a domain without a name or a uuid");
  }
  each_element(child(root, "devices"), [&](xmlNode* node, std::string_view name) {
    if (name == "interface") {
      read_interface(node, domain);
    }
  });
  return domain;
}

}  // namespace metatap::libvirt
