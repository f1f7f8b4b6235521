"""What happens when a session opens: the PAM service, its script, and the table of mounts.

sshd opens the PAM session as root, before it calls chroot (session.c). pam_namespace(8) gives the
login a mount namespace of its own, and pam_exec(8) runs our script there. Profiles with
`mounts = session` need this, and so do members from a directory service, for whom useradd never
runs.
"""

from __future__ import annotations

from ..host import Host
from ..model import Profile
from ..paths import BIN, TABLES

SCRIPT = "/etc/sftpjail/pam-session"
# pam_namespace mounts a tmpfs here for the session alone, so its presence shows that a process
# is in such a namespace.
MARK = "/var/lib/sftpjail/session"
# Accounts that are jailed by a directory service's group; see plugins/pam.py.
GATE = "/etc/sftpjail/directory"
# Accounts without a line in shadow(5) that are shut out; see jails/closing.py.
CLOSED = "/etc/sftpjail/closed"
SECONDS = 30  # after which a script that hangs has failed
# PAM services, by `mounts`; the one for fstab is for hosts with a directory service.
SERVICES = {"session": "sftpjail-session", "fstab": "sftpjail"}


def at_login(profile: Profile, host: Host) -> bool:
    """Return whether a profile needs our script when a session opens."""
    return profile.mounts == "session" or bool(host.people.directory_services)


def service(profile: Profile, host: Host) -> str:
    """Return the name of a profile's PAM service, or "".

    See PAMServiceName in sshd_config(5), new in OpenSSH 9.8.
    """
    if at_login(profile, host) and host.openssh >= (9, 8):
        return SERVICES[profile.mounts]
    return ""


def denied(path: str) -> str:
    """Return the account rule (pam.d(5)) that denies the users listed in PATH, if it exists."""
    return f"account required pam_listfile.so item=user sense=deny file={path} onerr=succeed quiet"


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


def program() -> str:
    """Return the program that runs at login and at boot.

    It is one file and needs nothing from the package, so the jails keep working when the package is
    removed. Python's -I and -S keep the working directory, the environment and site-packages from
    affecting what root runs.
    """
    from pathlib import Path  # late: only `setup` writes this

    here = Path(__file__).parents[1] / "system"
    paths = (here / "safe_path.py").read_text(encoding="utf-8")
    step = (here / "login_step.py").read_text(encoding="utf-8")
    _, _, body = step.partition("from __future__ import annotations\n")
    own = [line for line in body.split("\n") if not line.startswith("from .")]
    return "\n".join(
        [
            "#!/usr/bin/python3 -IS",
            "# Made by `sftpjail setup`; changes here are lost.",
            paths,
            f"BIN = {BIN!r}",
            *own,
            'if __name__ == "__main__":',
            "    # At once: taking the interpreter apart would hold up every login.",
            "    os._exit(main(sys.argv[1:]))",
            "",
        ]
    )
