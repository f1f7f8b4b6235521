"""Faults of the host: the hooks of useradd, the log, hook scripts and plugins."""

from __future__ import annotations

from collections.abc import Iterator

from faults import JAIL, LOG, Jail, arrival, fault, later, log
from steps import CONFIG

STUB = "/etc/shadow-maint/useradd-post.d/sftpjail"


@fault(r"useradd-post", arrival, explained=False, fixed=True)
def hook_is_not_executable(good: Jail) -> None:
    good.sh(f"chmod -x {STUB}")


@fault(r"useradd-post", arrival, explained=False, fixed=True)
def hook_was_deleted(good: Jail) -> None:
    good.sh(f"rm {STUB}")


@fault(r"useradd-post", arrival, explained=False, fixed=True)
def hook_was_emptied(good: Jail) -> None:
    good.sh(f": >{STUB}")


SCRIPT = "/etc/sftpjail/hooks/user-create.d/note"


def script_runs(good: Jail) -> str:
    """The administrator's script runs for a new account."""
    if not good.machine.exists(SCRIPT):
        return arrival(good)
    good.sh("rm -f /run/noted")
    return arrival(good) or (
        "" if good.machine.exists("/run/noted") else "the hook script did not run"
    )


@fault(r"user-create.d/note", script_runs, explained=False)
def hook_script_is_group_writable(good: Jail) -> Iterator[None]:
    good.machine.write(SCRIPT, "#!/bin/sh\n: >/run/noted\n", 0o775)
    yield
    good.sh(f"rm {SCRIPT}")


@fault(r"nonesuch", arrival, explained=False)
def plugin_does_not_load(good: Jail) -> Iterator[None]:
    good.machine.write(CONFIG, "[plugins]\nallow = nonesuch,\n")
    yield
    good.machine.write(CONFIG, "")


# -- the log -------------------------------------------------------------------------------------


@fault(r"rsyslog|log", log, explained=False, booted=True, fixed=True)
def log_rule_was_deleted(good: Jail) -> None:
    # reset-failed: systemd counts restarts, and stops when there are many in a short time.
    good.sh(
        "rm /etc/rsyslog.d/10-sftpjail.conf; systemctl restart rsyslog; systemctl reset-failed rsyslog"
    )


@fault(r"rsyslog", log, booted=True)
def log_daemon_is_stopped(good: Jail) -> None:
    good.sh("systemctl stop syslog.socket rsyslog.service 2>&1")


@fault(
    r"sftp.log.*(deleted|missing|not there|gone)|deleted.*sftp.log",
    log,
    explained=False,
    booted=True,
)
def log_file_was_deleted(good: Jail) -> None:
    good.sh(f"[ -e {LOG} ] || exit; rm {LOG}")


@fault(r"/var/log/jails", log, explained=False, booted=True)
def log_directory_was_deleted(good: Jail) -> Iterator[None]:
    good.configure("[logs]\nfile = /var/log/jails/all.log\n")
    assert later(log, good) == ""
    good.sh("rm -r /var/log/jails")
    yield
    good.configure("")


@fault(r"/dev.*(log|socket)", log, mounts="fstab", fixed=True)
def log_socket_is_an_orphan(good: Jail) -> Iterator[None]:
    """As the recipe does it: a bind of the socket itself, which the daemon makes anew when it starts again."""
    good.sh(
        f"umount {JAIL}/dev; umount -q {JAIL}/dev/log || :; : >{JAIL}/dev/log;"
        f"mount --bind /var/lib/sftpjail/log/log {JAIL}/dev/log"
    )
    good.machine.restart_rsyslog()
    yield  # apply mounts the directory over it, and this mount lies hidden below
    good.sh(
        f"umount {JAIL}/dev; umount -q {JAIL}/dev/log || :; rm -f {JAIL}/dev/log; sftpjail apply"
    )


@fault(r"/dev.*(log|socket|mount)", log, mounts="fstab", fixed=True)
def dev_was_replaced(good: Jail) -> None:
    good.sh(f"umount {JAIL}/dev; [ -e {JAIL}/dev/null ] || mknod {JAIL}/dev/null c 1 3")
