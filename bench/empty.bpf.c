// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Does nothing: what remains of a test run when the program is taken away. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

SEC("tc")
int bench_empty(struct __sk_buff* skb) {
  return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
