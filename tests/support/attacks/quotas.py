"""The setting of a quota, for the suites that kill it or have it fail: what the kernel enforces is judged too.

On btrfs, in a root of its own: no other file system of the tests can limit a directory.
"""

from __future__ import annotations

from commands import CASES, LAYOUTS, Case, Trial, ours
from machine import Machine
from steps import QUIET

NAME = "set --quota"
FILES = "/vol/sftp/alice/files"
VOLUME = (
    "[ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237;"
    " for n in 0 1 2 3 4 5 6 7; do [ -e /dev/loop$n ] || mknod /dev/loop$n b 7 $n; done;"
    " truncate -s 300M /root/img && mkfs.btrfs -q /root/img >/dev/null 2>&1 && mkdir -p /vol"
    " && mount -o loop /root/img /vol && btrfs quota enable /vol && mkdir /vol/sftp"
)
LAYOUT = f"{QUIET}[profiles]\n[[sftponly]]\nmounts = fstab\nchroot = /vol/sftp/%u\nhome = inside\n"


class QuotaTrial(Trial):
    def __init__(self, machine: Machine, calls: str) -> None:
        self.case = Case(ours("set", "alice", "--quota", "8M"), "sftpjail set alice --quota none")
        CASES[NAME], LAYOUTS["quota"] = self.case, LAYOUT
        try:
            super().__init__(machine, NAME, "quota", calls)
        finally:  # others go through all of them
            del CASES[NAME], LAYOUTS["quota"]

    def prepare(self) -> None:
        self.machine.sh(VOLUME)
        super().prepare()
        self.machine.sh(
            f"mv {FILES} /vol/old; btrfs subvolume create {FILES};"
            f" chown --reference=/vol/old {FILES}; chmod --reference=/vol/old {FILES}; rm -r /vol/old"
        )

    def state(self) -> tuple[str, str]:
        found, why = super().state()
        shown = self.machine.run("btrfs", "qgroup", "show", "--raw", "-ref", FILES).out
        limit = shown.splitlines()[-1].split()[3]
        wanted = {"before": "none", "after": str(8 << 20), "": limit}[found]
        return (found, why) if limit == wanted else ("", f"as {found}, with the limit {limit}")
