"""All targets, and which modules need none."""

from __future__ import annotations

from of_daemons import DAEMONS
from of_formats import FORMATS
from of_logs import LOGS
from of_openssh import OPENSSH
from of_records import RECORDS

TARGETS = (*DAEMONS, *FORMATS, *LOGS, *OPENSSH, *RECORDS)

# Modules that look like parsers, and why they are none, or what else tries them.
_PROGRAMS = "what a program of the host says of itself; tests/system asks the real one"
_OURS = "what this program has made just now"
_KERNEL = "what the kernel says of processes"
_HANDS_ON = "takes lines apart for the module that reads each"
NO_PARSERS = {
    **dict.fromkeys(
        (f"{room}/__init__.py" for room in ("accounts_file", "formats", "openssh", "transferlog")),
        "nothing",
    ),
    **dict.fromkeys(
        (
            "formats/digest.py",
            "formats/exposition.py",
            "formats/fixes.py",
            "transferlog/backend.py",
            "transferlog/matching.py",
            "openssh/sshd.py",
            "openssh/pam_session.py",
        ),
        "reads nothing",
    ),
    **dict.fromkeys(
        (
            "engine/summary.py",
            "host/jobs.py",
            "system/processes.py",
            "system/arrivals.py",
            "system/waits.py",
            "plugins/entry.py",
        ),
        _KERNEL,
    ),
    **dict.fromkeys(
        ("plugins/mail.py", "plugins/login.py"),
        _PROGRAMS,
    ),
    "plugins/sshd/differences.py": _PROGRAMS,
    **dict.fromkeys(
        ("actions/files.py", "cli/selftest.py", "testing/play.py", "watch/worker.py"), _OURS
    ),
    **dict.fromkeys(
        (
            *("cli/accounts_file.py", "jails/addresses.py", "jails/closing.py"),
            *("jails/directory.py", "openssh/auto_mounts.py", "operations/export.py"),
            *(
                "operations/keys.py",
                "plugins/sshd/methods.py",
                "transferlog/since.py",
                "transferlog/following.py",
            ),
        ),
        _HANDS_ON,
    ),
    **dict.fromkeys(
        (f"plugins/keys/{name}.py" for name in ("changes", "check", "sources")), _HANDS_ON
    ),
    **dict.fromkeys(("host/mounts.py", "plugins/mounts/check.py"), _HANDS_ON),
}
