/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The programs are compiled twice: into what is attached to devices, and (MT_DRY_RUN, see
 * dry_run.bpf.c) into what the daemon runs itself on packets that nobody has sent, to explain what
 * would become of them. A dry run reads the same maps and changes none of them: it counts, learns
 * and forgets nothing and takes nothing from a budget. It says why in skb->cb, which only who runs
 * a program with BPF_PROG_TEST_RUN gets back. A constant decides, so what is attached has no trace
 * of it.
 */
#ifndef METATAP_DRY_RUN_H
#define METATAP_DRY_RUN_H

#include <stdbool.h>

#include <linux/bpf.h>

#include "metatap/abi/abi.h"

#ifdef MT_DRY_RUN
#define MT_IS_DRY_RUN 1
#else
#define MT_IS_DRY_RUN 0
#endif

static const bool dry_run = MT_IS_DRY_RUN;

/* To whoever runs us: why, and whose packet it was. */
static __always_inline void tell_dry_runner(struct __sk_buff *skb, __u32 slot, __u32 reason)
{
	skb->cb[MT_DRY_RUN_REASON] = reason + 1;
	skb->cb[MT_DRY_RUN_SLOT] = slot;
}

#endif
