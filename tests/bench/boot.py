#!/usr/bin/python3
"""How long a boot takes on a host of many jails, by systemd-analyze(1).

usage: python3 tests/bench/boot.py [ROOT [KIND]], as root and outside of a sandbox; default: trixie

Each jail has a key, its home and a mount. With mounts in fstab each is three mounts that the boot
makes, with session mounts none.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests/support")]

from machine import Machine  # noqa: E402

SIZES = {"fstab": (0, 300, 1000), "session": (3000, 10_000)}
CONF = "[profiles]\n[[sftponly]]\nmounts = {}\n"


def seconds(machine: Machine) -> float:
    """Restart the system; return the seconds from its first process to the end of its boot."""
    machine.reboot(timeout=600)
    said = machine.run("systemd-analyze", "time").out
    found = re.search(r" in (?:(\d+)min )?([\d.]+)(ms|s)\b", said)
    assert found, said
    return 60 * int(found[1] or 0) + float(found[2]) / (1000 if found[3] == "ms" else 1)


def main() -> None:
    root, *kinds = sys.argv[1:] or ["trixie"]
    print("| jails | mounts | boot, s | mounts of the host |\n|---|---|---|---|", flush=True)
    for kind, sizes in SIZES.items():
        if kinds and kind not in kinds:
            continue
        with Machine(boot=True, root=root) as machine:
            machine.install()
            machine.write("/etc/sftpjail/sftpjail.conf", CONF.format(kind))
            machine.sh("mkdir /srv/shown && sftpjail setup", timeout=300)
            key = machine.read(f"{machine.keygen('key')}.pub").strip()
            for size in sizes:
                rows = "".join(f"u{n},{key},/srv/shown:/shown\n" for n in range(size))
                machine.write("/root/file", f"name,keys,mounts\n{rows}")
                machine.run("sftpjail", "apply", "/root/file", timeout=600)
                taken = seconds(machine)
                mounts = len(machine.read("/proc/self/mountinfo").splitlines())
                print(f"| {size} | {kind} | {taken:.1f} | {mounts} |", flush=True)


if __name__ == "__main__":
    main()
