"""`mounts = auto`: session mounts if sshd supports a PAM service for jails alone, else fstab.

The first `setup` with the profile decides it, and writes the decision and its reason above the
settings in the profile's Match block. The decision stays, whatever OpenSSH is installed later.
"""

from __future__ import annotations

from dataclasses import replace

from ..config import Config
from ..errors import SftpJailError
from ..host import Host
from ..model import Profile
from .match_blocks import MAIN, as_recorded, lines_of
from .pam_session import SERVICES

PROVED = "setup has tried it with logins"
FAILED = "setup's trial logins with session mounts failed"
UNDECIDED = "setup has not decided yet"
PROBE = f"\nMatch User sftpjail-probe\n    PAMServiceName {SERVICES['session']}\n"


def decided(config: Config, host: Host, ask: bool) -> Config:
    """Return the configuration with each `auto` replaced by the decision for this host.

    Args:
        config: the configuration.
        host: the facts.
        ask: decide about profiles that have no Match block of ours yet, for which sshd is asked.
    """
    known = as_recorded(config, host).profiles
    return replace(config, profiles=tuple(_decided(profile, host, ask) for profile in known))


def is_new(profile: Profile, host: Host) -> bool:
    """Return whether a profile has no Match block of ours yet."""
    return not lines_of(profile, host)


def has_lost_records(config: Config, host: Host) -> bool:
    """Return whether the host was set up but its record is lost, as after restoring /etc."""
    known = not all(is_new(profile, host) for profile in config.profiles)
    return known and not host.records.is_set_up


def takes_service(host: Host) -> bool:
    """Return whether sshd accepts PAMServiceName in a Match block.

    Versions since 9.8 do, except 10.4, so sshd is asked. If it refuses something else, such as its
    host keys, that is no reason to blame this.
    """
    from .sshd import ask_sshd  # late, as all that only a decision needs: useradd waits

    text = host.text(MAIN) + PROBE
    answer = ask_sshd(host, "-t", files={MAIN: text.encode("utf-8", "surrogateescape")})
    return answer.code == 0 or "pamservicename" not in (answer.err + answer.out).lower()


def refused(profiles: tuple[Profile, ...], host: Host) -> SftpJailError:
    """Return the error that sshd does not accept a setting that some profiles' jails need."""
    from .profile_edit import set_mounts

    names = ", ".join(profile.name for profile in profiles)
    version = "{}.{}".format(*host.openssh)
    return SftpJailError(
        f"OpenSSH {version} takes no PAMServiceName in a Match block, and the sessions of jails of "
        f"profile {names} get their mounts by it",
        choices=tuple(
            (
                f"to have the mounts of profile {profile.name} in /etc/fstab from now on",
                set_mounts(profile, "fstab", host),
            )
            for profile in profiles
            if profile.mounts == "session"
        ),
        advice="install an OpenSSH that takes it (9.8 to 10.3, 10.5 or later), "
        "then run sftpjail setup",
        why="those jails are closed until then",
    )


def _decided(profile: Profile, host: Host, ask: bool) -> Profile:
    if profile.mounts != "auto":
        return profile
    kind, because = _new(host, ask)
    return replace(profile, mounts=kind, mounts_because=because)


def _new(host: Host, ask: bool) -> tuple[str, str]:
    """Return the decision for a profile without a Match block of ours."""
    if any(entry.option("x-sftpjail.user") for entry in host.fstab):
        return "fstab", "jails of this host have their mounts there"
    if not ask or not host.which("sshd"):
        return "fstab", UNDECIDED
    try:
        reason = _why_not(host)
    except SftpJailError:  # sshd does not answer, and setup will say so
        reason = UNDECIDED
    if reason:
        return ("fstab", reason)
    return ("session", PROVED)


def _why_not(host: Host) -> str:
    """Return why jails cannot have session mounts without a change to /etc/pam.d/sshd, or "".

    What only a login shows, setup's trial logins do.
    """
    from .pam_stack import user_environment
    from .settings import effective

    if not takes_service(host):
        version = "{}.{}".format(*host.openssh)
        return f"OpenSSH {version} takes no PAMServiceName in a Match block"
    if effective(host, "root").get("usepam") != "yes":
        return "sshd runs with UsePAM no"
    where = user_environment(host)
    if not where:
        return ""
    return f"{where} lets users set the environment of PAM's programs"
