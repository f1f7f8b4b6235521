"""What is done when a session opens.

By which PAM service, with which script, and where it finds the mounts.

sshd opens the PAM session as root, before its chroot (session.c). pam_namespace(8) gives that login
a mount namespace, pam_exec(8) runs our script in it. A profile needs this for `mounts = session`,
and for members whom a directory service brings, because no useradd runs for them.
"""

from __future__ import annotations

from ..host import Host
from ..model import Profile
from ..paths import BIN, TABLES

SCRIPT = "/etc/sftpjail/pam-session"
# pam_namespace mounts a tmpfs on it, for a session alone:
# so whoever finds one there is in such a namespace.
MARK = "/var/lib/sftpjail/session"
# Who is jailed by what a directory service says; see plugins/pam.py.
GATE = "/etc/sftpjail/directory"
# Who is shut out and has no line in shadow(5); see jails/closing.py.
CLOSED = "/etc/sftpjail/closed"
SECONDS = 30  # until a script that hangs has failed
# The services of `mounts = session`, and of `mounts = fstab` on a host with a directory.
SERVICES = {"session": "sftpjail-session", "fstab": "sftpjail"}


def at_login(profile: Profile, host: Host) -> bool:
    """Return whether something is to be done for a profile when a session opens."""
    return profile.mounts == "session" or bool(host.directory_services)


def service(profile: Profile, host: Host) -> str:
    """Return the PAM service of a profile's own, or "".

    See sshd_config(5), PAMServiceName, since OpenSSH 9.8.
    """
    if at_login(profile, host) and host.openssh >= (9, 8):
        return SERVICES[profile.mounts]
    return ""


def denied(path: str) -> str:
    """Return the account rule (pam.d(5)) that lets nobody in whose name is a line of PATH.

    The file may be missing.
    """
    return f"account required pam_listfile.so item=user sense=deny file={path} onerr=succeed quiet"


def table(name: str) -> str:
    """Return the path of an account's mounts, a file of fstab(5)'s form."""
    return f"{TABLES}/{name}"


def rules(kind: str) -> tuple[str, ...]:
    """Return the session rules (pam.d(5)) of a profile whose `mounts` is KIND."""
    script = (
        "session required pam_exec.so quiet type=open_session "
        f"/usr/bin/timeout {SECONDS} {SCRIPT} {kind}"
    )
    if kind != "session":
        return (script,)
    # mount_private: what is mounted in a session stays there.
    return "session required pam_namespace.so mount_private", script


def program() -> str:
    """Return the one file that is run at a login and at boot, which needs nothing of the package.

    It is there, and the jails work, after the package has gone. Python's -I and -S: no directory,
    no variable and no site's module has a say in what root runs.
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
