// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* The same programs, for packets that nobody has sent: see lib/dry_run.h. */
#define MT_DRY_RUN
#include "metatap.bpf.c"
