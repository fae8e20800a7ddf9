// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The programs as another version of metatap might have them, for tests of an upgrade: other
 * instructions (CMakeLists.txt: another set of them), one map more, and one program more.
 */
#include "metatap.bpf.c"

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, __u64);
} mt_next SEC(".maps");

SEC("tc")
int mt_next_program(struct __sk_buff* skb) {
  __u32 zero = 0;
  __u64* count = bpf_map_lookup_elem(&mt_next, &zero);

  if (count) {
    ++*count;
  }
  return TC_ACT_UNSPEC;
}
