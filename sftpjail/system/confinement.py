"""The restrictions of a process of root's: its capabilities and its mount namespace.

systemd units set them (SANDBOXING in systemd.exec(5)), and proc_pid_status(5) shows them.
"""

from __future__ import annotations

import os
import re

from ..model import frozen

# The capabilities of linux/capability.h in its order. Newer ones are named by their number.
_NAMES = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO
    SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
    SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
    WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
""".split()  # noqa: SIM905 (41 lines otherwise)


@frozen
class Confinement:
    """How a process is confined in comparison with us.

    Args:
        lacks: the numbers of the capabilities missing from its bounding set and not from ours.
        no_new_privileges: whether set-user-ID programs and the like give it no privileges.
        apart: whether its mount namespace differs from ours.
    """

    lacks: tuple[int, ...] = ()
    no_new_privileges: bool = False
    apart: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the capabilities that it lacks."""
        return tuple(
            f"CAP_{_NAMES[number]}" if number < len(_NAMES) else f"cap_{number}"
            for number in self.lacks
        )

    def prefix(self, pid: int) -> list[str]:
        """Return the words to put before a command to confine it like the process PID."""
        words = list[str]()
        if self.apart:
            words += ["nsenter", f"--mount=/proc/{pid}/ns/mnt"]
        limits = [f"--bounding-set={','.join(f'-cap_{n}' for n in self.lacks)}"] * bool(self.lacks)
        limits += ["--no-new-privs"] * self.no_new_privileges
        if limits:
            return [*words, "setpriv", *limits]
        return words

    def __str__(self) -> str:
        """Return the confinement in words, or "" if there is none."""
        words = ["in its own mount namespace"] * self.apart
        words += [f"without {', '.join(self.names)}"] * bool(self.lacks)
        return ", ".join(words + ["with NoNewPrivileges"] * self.no_new_privileges)


def confinement(pid: int) -> Confinement:
    """Return how a process is confined.

    Raises:
        OSError: it has ended.
    """
    theirs, ours = _status(pid), _status(os.getpid())
    missing = int(ours["CapBnd"], 16) & ~int(theirs["CapBnd"], 16)
    return Confinement(
        tuple(n for n in range(64) if missing >> n & 1),
        theirs.get("NoNewPrivs") == "1" and ours.get("NoNewPrivs") != "1",
        os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt"),
    )


def _status(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as handle:
        return dict(re.findall(r"(?m)^(\w+):\s+(\S+)", handle.read()))
