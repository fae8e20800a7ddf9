# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of processor time and memory."""

import os

SCHEDSTAT = os.path.exists("/proc/self/schedstat")
TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids):
    """Processor time of all threads; exact to the nanosecond where the kernel says so."""
    total = 0.0
    for pid in pids:
        try:
            if SCHEDSTAT:
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                        total += int(file.read().split()[0]) / 1e9
            else:
                with open(f"/proc/{pid}/stat") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
                total += (int(fields[11]) + int(fields[12])) / TICK
        except (FileNotFoundError, ProcessLookupError):
            pass
    return total


def host_busy_seconds():
    """All processors, all work: user, nice, system, irq, softirq."""
    with open("/proc/stat") as file:
        fields = [int(value) for value in file.readline().split()[1:]]
    return (fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) / TICK


def kernel_bytes(cgroup):
    """Kernel memory charged to the cgroup (v1 and v2)."""
    if not cgroup:
        return None
    try:
        with open(os.path.join(cgroup, "memory.kmem.usage_in_bytes")) as file:
            return int(file.read())
    except OSError:
        pass
    try:
        with open(os.path.join(cgroup, "memory.stat")) as file:
            for line in file:
                if line.startswith("kernel "):
                    return int(line.split()[1])
    except OSError:
        pass
    return None
