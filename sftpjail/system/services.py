"""Daemons: make them reread their configuration, and stop user managers."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Collection, Sequence

from ..errors import SftpJailError
from ..formats import user_managers as refusal
from . import programs, safe_path
from .listeners import Listener, listeners
from .processes import booted, running, user_managers

START = 300.0  # seconds for a unit of ours to become ready
_UNITS = {
    "sshd": ("ssh.service", "sshd.service"),
    "rsyslog": ("rsyslog.service",),
    "syslog-ng": ("syslog-ng.service",),
}


def forbids(service: str, how: str) -> bool:
    """Return whether policy-rc.d forbids a maintainer script to do this.

    See Debian Policy 9.3.3 and invoke-rc.d(8).

    Args:
        service: as in `notify`.
        how: start, reload or restart.
    """
    policy = "/usr/sbin/policy-rc.d"
    if "DPKG_MAINTSCRIPT_PACKAGE" not in os.environ or not os.access(policy, os.X_OK):
        return False
    return programs.run([policy, {"sshd": "ssh"}.get(service, service), how]).code == 101


def notify(service: str, how: str) -> str:
    """Notify a daemon that its configuration changed.

    Args:
        service: systemd itself, sshd (whatever its unit is called), the user managers of members,
            or the name of a unit and pid file.
        how: reload, restart or daemon-reload; for user managers stop.

    Returns:
        what the administrator must do, or "".

    Raises:
        SftpJailError: the daemon refused; has its own message.
    """
    if service == refusal.SERVICE:
        if not booted():
            return ""
        return _stop_managers()
    kept = f"policy-rc.d forbids the {how} of {service}: until then it uses its old configuration"
    if booted():
        if service == "systemd":
            programs.must(["systemctl", how], timeout=120.0)
            return ""
        if service == "sshd" and not forbids(service, how):
            reload_sshds(other_than=_UNITS["sshd"])
        for unit in _UNITS.get(service, (f"{service}.service",)):
            if programs.run(["systemctl", "is-active", "--quiet", unit]).code == 0:
                if forbids(service, how):
                    return kept
                programs.must(["systemctl", how, unit], timeout=120.0)
                return ""
        return ""
    pid = None
    if service != "systemd":
        pid = running(service)
    if pid is None:
        return ""
    if forbids(service, how):
        return kept
    if service == "sshd":
        reload_sshds()
        return ""
    if how == "reload":
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)
        return ""
    if os.access(f"/etc/init.d/{service}", os.X_OK):
        programs.must([f"/etc/init.d/{service}", how], timeout=120.0)
        return ""
    return (
        f"restart {service} (pid {pid}): its configuration changed,"
        " and no service manager is here to do it"
    )


def start_again(unit: str) -> None:
    """Start a unit that is enabled and does not run: at once, where systemd would do so later.

    Raises:
        SftpJailError: that failed.
    """
    if not booted() or forbids(unit, "start"):
        return
    for verb, wanted in (("is-enabled", True), ("is-active", False)):
        if (programs.run(["systemctl", verb, "--quiet", unit]).code == 0) != wanted:
            return
    # Not start: that waits as long as systemd does between two attempts.
    programs.must(["systemctl", "restart", unit], timeout=START)


def tell_ready() -> None:
    """Tell the service manager that we are ready, if it waits for that; see sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    import socket  # late: only a service needs it

    # One that begins with @ is in the abstract name space; see unix(7).
    name = address
    if address[0] == "@":
        name = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(b"READY=1", name)


_CONFIG = "/etc/ssh/sshd_config"


def reload_sshds(other_than: Collection[str] = ()) -> None:
    """Make every sshd that uses /etc/ssh/sshd_config reread it, by SIGHUP (sshd(8)).

    An sshd that would not start again with its command line is left alone.

    Args:
        other_than: units whose sshd systemd reloads.
    """
    for one in listeners():
        options = dict(one.options or ())
        if one.options is None or options.get("f", _CONFIG) != _CONFIG or one.unit in other_than:
            continue
        reload_sshd(one)


def _is_roots(program: str) -> bool:
    """Return whether a program exists, and only root can replace it."""
    try:
        fd = safe_path.open_path(program, follow=True, strict=True)
    except (OSError, safe_path.PathRefused):
        return False
    try:
        return not safe_path.flaw(os.fstat(fd))
    finally:
        os.close(fd)


def reload_sshd(one: Listener) -> bool:
    """Make an sshd reread its configuration, unless `sshd -t` fails; return whether it was sent."""
    words = [f"-{name}{value}" for name, value in one.options or () if name in "foch"]
    if not _is_roots(one.program) or programs.run([one.program, *words, "-t"]).failed:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(one.pid, signal.SIGHUP)
    return True


STOPPING = 10.0  # seconds for user managers to stop their units, which may ignore SIGTERM


def _stop_managers() -> str:
    """Stop every user manager that the drop-in of `setup` forbids now.

    This is decided at the end of a change and not when it is planned, so that no user manager
    started meanwhile is missed. Sessions go on, because they are scopes of their own.

    Returns:
        a sentence that names those that still run, or "".
    """
    try:
        with open(refusal.DROPIN, encoding="utf-8", errors="surrogateescape") as handle:
            decides = refusal.script(handle.read())
    except FileNotFoundError:
        return ""
    left = stop_managers([uid for uid in user_managers() if decides and _denies(decides, uid)])
    units = " ".join(f"user@{uid}.service" for uid in left)
    if not left:
        return ""
    return f"still running: {units}; they end with: systemctl stop {units}"


def stop_managers(uids: Sequence[int]) -> list[int]:
    """Stop the user managers of these uids with all their units; return the uids that still run.

    They are killed if a unit delays the stop or a login cancels it.
    """
    units = [f"user@{uid}.service" for uid in uids]
    if units and not _succeeds(["systemctl", "stop", *units]):
        for argv in (["kill", "--signal=KILL"], ["stop"], ["reset-failed"]):
            _succeeds(["systemctl", *argv, *units])
    return [uid for uid in user_managers() if uid in uids]


def _denies(decides: str, uid: int) -> bool:
    return programs.run(["/bin/sh", "-c", decides.replace("%i", str(uid))]).code == 1


def _succeeds(argv: Sequence[str]) -> bool:
    with contextlib.suppress(SftpJailError):  # it took too long
        return programs.run(argv, timeout=STOPPING).code == 0
    return False
