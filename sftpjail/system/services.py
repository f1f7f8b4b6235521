"""Daemons: how each hears that its configuration changed, and how user managers end."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Sequence

from ..errors import SftpJailError
from ..formats import user_managers as refusal
from . import programs
from .processes import booted, running, user_managers

_UNITS = {
    "sshd": ("ssh.service", "sshd.service"),
    "rsyslog": ("rsyslog.service",),
    "syslog-ng": ("syslog-ng.service",),
}


def forbids(service: str, how: str) -> bool:
    """Return whether policy-rc.d forbids it to a maintainer script.

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
    """Tell a daemon that its configuration changed; return "" or what the administrator must do.

    Args:
        service: systemd itself, sshd (whatever its unit is called), the user managers of members,
            or the name of a unit and pid file.
        how: reload, restart or daemon-reload; of user managers stop.

    Raises:
        SftpJailError: the daemon refused, in its own words.
    """
    if service == refusal.SERVICE:
        return _stop_managers() if booted() else ""
    kept = (
        f"policy-rc.d keeps {service} from its {how}: until then it goes by its old configuration"
    )
    if booted():
        if service == "systemd":
            programs.must(["systemctl", how], timeout=120.0)
            return ""
        for unit in _UNITS.get(service, (f"{service}.service",)):
            if programs.run(["systemctl", "is-active", "--quiet", unit]).code == 0:
                if forbids(service, how):
                    return kept
                programs.must(["systemctl", how, unit], timeout=120.0)
                return ""
        return ""
    pid = None if service == "systemd" else running(service)
    if pid is None:
        return ""
    if forbids(service, how):
        return kept
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


STOPPING = 10.0  # seconds for user managers to stop their units, which may ignore SIGTERM


def _stop_managers() -> str:
    """Stop every user manager that systemd would not start any more.

    The drop-in of `setup` decides that now. Asked at the end of a change and not planned by its
    facts, so that none that began meanwhile is missed. Sessions are scopes of their own and go on.

    Returns:
        "", or which ones still run.
    """
    try:
        with open(refusal.DROPIN, encoding="utf-8", errors="surrogateescape") as handle:
            decides = refusal.script(handle.read())
    except FileNotFoundError:
        return ""
    left = stop_managers([uid for uid in user_managers() if decides and _denies(decides, uid)])
    units = " ".join(f"user@{uid}.service" for uid in left)
    return f"still running: {units}; they end with: systemctl stop {units}" if left else ""


def stop_managers(uids: Sequence[int]) -> list[int]:
    """Stop the user managers of these uids, and all that they run; return whose still run.

    A unit of the user's may hold that up, and a login cancel it: then they are killed.
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
