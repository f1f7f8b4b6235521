"""What happens when a session opens: the PAM service, its script, and the table of mounts.

sshd opens the PAM session as root, before it calls chroot (session.c). pam_namespace(8) gives the
login a mount namespace of its own, and pam_exec(8) runs our script there. Profiles with
`mounts = session` need this, and so do members from a directory service, for whom useradd never
runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..config import Config
from ..host import Host
from ..model import Profile
from ..paths import ADDRESSES, BIN, LIB, LIMITED, RUN_DIR, SEEN, TABLES

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = "/etc/sftpjail/pam-session"
PROGRAM = "/etc/sftpjail/pam_session.py"  # what SCRIPT runs; Python compiles a module once
# pam_namespace mounts a tmpfs here for the session alone, so its presence shows that a process
# is in such a namespace.
MARK = "/var/lib/sftpjail/session"
# Accounts without a line in shadow(5) that are shut out; see jails/closing.py.
CLOSED = "/etc/sftpjail/closed"
PROVE = f"{LIB}/entry/prove-login"  # setup's trial logins
# How PAM treats the result of a rule of ours that denies logins. Passing it proves nothing. If
# that counted as a success, as with `required`, a stack with only `sufficient` rules below would
# accept any password, and expired accounts (pam.conf(5)).
_DENY = "[success=ignore ignore=ignore default=bad]"
# The account rules (pam.d(5)) that read who may come from which addresses only. pam_access refuses
# everybody where its file is missing, so it is asked about nobody but the accounts that are named.
LIMITS = (
    "account [success=1 default=ignore] "
    f"pam_listfile.so item=user sense=deny file={LIMITED} onerr=succeed quiet",
    f"account {_DENY} pam_access.so accessfile={ADDRESSES} nodefgroup",
)
# A directory service may answer to more than one name of an account: SSSD to ida@example, and to
# IDA if it is told to ignore the case; winbind to CORP\ida too. pam_listfile, pam_access and Match
# User compare what was typed. A password login is judged before anything else is asked, because
# pam_winbind then puts the account's name into the place of what was typed.
_LOCAL = "{} [success=1 default=ignore] pam_localuser.so"
SECONDS = 30  # after which a script that hangs has failed
_JUDGE = f"pam_exec.so quiet /usr/bin/timeout {SECONDS} {SCRIPT} name"
_NAMED = f"{{}} {_DENY} {_JUDGE}"
_FORMERLY = f"{{}} required {_JUDGE}"
_SCRIPT = f"""\
#!/usr/bin/python3 -IS
# Made by `sftpjail setup`; changes here are lost.
from __future__ import annotations

import os
import sys

os.umask(0o077)
sys.path.insert(0, "{PROGRAM.rpartition("/")[0]}")
sys.pycache_prefix = "{RUN_DIR}/compiled"
try:
    import pam_session
except Exception:  # what is kept there is damaged: it is not worth a login
    sys.pycache_prefix, sys.dont_write_bytecode = None, True
    import pam_session
sys.pycache_prefix = None
del sys.path[0]
# At once: taking the interpreter apart would hold up every login.
os._exit(pam_session.main(sys.argv[1:]))
"""
# PAM services, by `mounts`; the one for fstab is for hosts with a directory service.
SERVICES = {"session": "sftpjail-session", "fstab": "sftpjail"}


def at_login(profile: Profile, host: Host) -> bool:
    """Return whether a profile needs our script when a session opens."""
    needed = profile.mounts == "session" or profile.connections > 0
    return needed or bool(host.people.directory_services)


def service(profile: Profile, host: Host) -> str:
    """Return the name of a profile's PAM service, or "".

    See PAMServiceName in sshd_config(5), new in OpenSSH 9.8.
    """
    if at_login(profile, host) and host.openssh >= (9, 8):
        return SERVICES[profile.mounts]
    return ""


def most(config: Config) -> str:
    """Return how many sessions the members of each profile may have, for the script.

    A line for each name and group in the order of the Match blocks; the first one decides.
    """
    lines = [
        f"name {name} {profile.connections}"
        for profile in config.profiles
        for name in profile.match_user
    ]
    lines += [f"group {p.group} {p.connections}" for p in config.profiles if p.group]
    needed = any(profile.connections for profile in config.profiles)
    if not needed:
        return ""
    return "".join(f"{line}\n" for line in lines)


def denied(path: str) -> str:
    """Return the account rule (pam.d(5)) that denies the users listed in PATH, if it exists."""
    return f"account {_DENY} pam_listfile.so item=user sense=deny file={path} onerr=succeed quiet"


def named(config: Config) -> tuple[str, ...]:
    """Return the rules (pam.d(5)) that accept an account of a directory only by its own name.

    They apply to accounts that we know or shut out, and to those in match_user. All other accounts
    log in as before. For local accounts, nothing of ours runs.
    """
    names = ":".join(name for profile in config.profiles for name in profile.match_user)
    rules = (_LOCAL, f"{_NAMED} {names}".rstrip())
    return tuple(rule.format(kind) for kind in ("auth", "account") for rule in rules)


def is_about_names(rule: str) -> bool:
    """Return whether a rule is one of `named`, with any names."""
    kind = rule.partition(" ")[0]
    begins = tuple(one.format(kind) for one in (_NAMED, _FORMERLY))
    return rule == _LOCAL.format(kind) or rule.startswith(begins)


def table(name: str) -> str:
    """Return the path of an account's table of mounts, in the format of fstab(5)."""
    return f"{TABLES}/{name}"


def rules(kind: str) -> tuple[str, ...]:
    """Return the session rules (pam.d(5)) for profiles with `mounts = KIND`."""
    script = (
        "session required pam_exec.so quiet type=open_session "
        f"/usr/bin/timeout {SECONDS} {SCRIPT} {kind}"
    )
    if kind != "session":
        return (script,)
    # mount_private: mounts made in a session stay there.
    return "session required pam_namespace.so mount_private", script


def _own_lines(path: Path) -> list[str]:
    """Return the lines of a module below its first import, without the imports of ours."""
    text = path.read_text(encoding="utf-8")
    body = text.partition("from __future__ import annotations\n")[2]
    return [line for line in body.split("\n") if not line.startswith("from .")]


def program() -> str:
    """Return the program that runs at login and at boot, the module that `script` imports.

    It is one file and needs nothing from the package, so the jails keep working when the package is
    removed.
    """
    from pathlib import Path  # late: only `setup` writes this

    here = Path(__file__).parents[1] / "system"
    paths = (here / "safe_path.py").read_text(encoding="utf-8")
    step, use = (_own_lines(here / name) for name in ("login_step.py", "last_use.py"))
    return "\n".join(
        [
            "# Made by `sftpjail setup`; changes here are lost.",
            paths,
            f"BIN, SEEN = {BIN!r}, {SEEN!r}",
            *step,
            "LAST_USE = r'''",
            *use,
            "'''",
            "",
        ]
    )


def script() -> str:
    """Return what PAM and the unit of boot execute: it runs `program`.

    Compiling that takes as long as starting Python, so the compiled module is kept until the next
    boot, where only root can write. Python's -I and -S keep the working directory, the environment
    and site-packages from affecting what root runs.
    """
    return _SCRIPT


def installed_program(host: Host) -> str:
    """Return the text of the program that runs at login, or "". Earlier versions had one file."""
    return host.text(PROGRAM) or host.text(SCRIPT)
