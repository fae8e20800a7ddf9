// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* One object holds every program, so that they share maps without pinning games. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "tap.bpf.h"
#include "return.bpf.h"
#include "router.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
