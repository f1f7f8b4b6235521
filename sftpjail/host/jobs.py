"""What runs for an account outside its logins."""

from __future__ import annotations

import re
import stat
from collections.abc import Collection, Mapping
from functools import cached_property

from ..paths import LINGER
from ..system import processes
from .files import Files


class Jobs:
    """The jobs, services and processes of the host's accounts. Each spool is read once."""

    def __init__(self, files: Files) -> None:
        self.files = files

    @cached_property
    def crontabs(self) -> Mapping[str, str]:
        """The path of each user's crontab, by name.

        Debian uses the first directory, other distributions the second.
        """
        found: dict[str, str] = {}
        for directory in ("/var/spool/cron/crontabs", "/var/spool/cron", "/var/spool/cron/tabs"):
            for name in self._spooled(directory):
                found.setdefault(name, f"{directory}/{name}")
        return found

    @cached_property
    def incron_tables(self) -> Mapping[str, str]:
        """The path of each user's incrontab(5), by name."""
        return {name: f"/var/spool/incron/{name}" for name in self._spooled("/var/spool/incron")}

    @cached_property
    def at_jobs(self) -> Mapping[int, tuple[str, ...]]:
        """The paths of the jobs of at(1), by their owner's uid.

        atd.c names them by queue, number and minute.
        """
        found: dict[int, list[str]] = {}
        for directory in ("/var/spool/cron/atjobs", "/var/spool/at", "/var/spool/atd"):
            for name in self._spooled(directory):
                job = self.files.lstat(f"{directory}/{name}")
                if job and re.fullmatch(r"[a-zA-Z][0-9a-f]{13}", name):
                    found.setdefault(job.st_uid, []).append(f"{directory}/{name}")
        return {uid: tuple(paths) for uid, paths in found.items()}

    def _spooled(self, directory: str) -> list[str]:
        """Return the names of the regular files in a spool.

        Names that begin with a dot are ignored, as in cron's database.c.
        """
        names = [name for name in self.files.listdir(directory) if not name.startswith(".")]
        found = ((name, self.files.lstat(f"{directory}/{name}")) for name in names)
        return [name for name, file in found if file and stat.S_ISREG(file.st_mode)]

    @cached_property
    def cron_lines(self) -> Mapping[str, tuple[str, ...]]:
        """The lines of the system's crontabs (crontab(5)) as FILE:LINE, by the user they run as."""
        found: dict[str, list[str]] = {}
        for path in (
            "/etc/crontab",
            *(f"/etc/cron.d/{name}" for name in self._spooled("/etc/cron.d")),
        ):
            for number, line in enumerate(self.files.text(path).split("\n"), 1):
                user = re.match(r"\s*(?:@\w+|(?:[\d*][^\s=]*\s+){3}\S+\s+\S+)\s+(\S+)\s+\S", line)
                if user:
                    found.setdefault(user[1], []).append(f"{path}:{number}")
        return {name: tuple(places) for name, places in found.items()}

    @cached_property
    def _user_processes(self) -> Mapping[int, list[int]]:
        if self.files.root:
            return {}
        return processes.of_users()

    def outside(self, uid: int) -> list[processes.OutsideProcess]:
        """Return the processes of a user that run outside any jail. /proc is searched once."""
        return processes.outside(uid, self._user_processes.get(uid, []))

    def sshd_processes(self) -> set[int]:
        """Return the pids of sshd's processes that run now; see `unfinished_logins`."""
        if self.files.root:
            return set()
        return processes.of_name(("sshd", "sshd-session"))

    def unfinished_logins(
        self, name: str, uid: int, among: Collection[int] | None = None
    ) -> list[processes.OutsideProcess]:
        """Return the logins of an account that sshd has begun, by the rules of that moment.

        Args:
            name: the account.
            uid: its uid.
            among: from `sshd_processes`, so that many accounts cost one look; None looks itself.
        """
        found = []
        if not self.files.root:
            found = processes.unfinished_logins(name, uid, among)
        return [processes.OutsideProcess(pid, "unfinished login") for pid in found]

    def has_manager(self, uid: int) -> bool:
        """Return whether `systemd --user` runs for the account now.

        It does if the cgroup of user@UID.service exists.
        """
        cgroup = processes.manager_cgroup(uid)
        return any(self.files.lstat(f"{tree}/{cgroup}") is not None for tree in self._cgroups)

    @cached_property
    def _cgroups(self) -> tuple[str, ...]:
        return tuple(tree for tree in processes.CGROUPS if self.files.is_dir(tree))

    def lingers(self, name: str) -> bool:
        """Return whether an account's services start at boot (`loginctl enable-linger`)."""
        return self.files.lstat(f"{LINGER}/{name}") is not None
