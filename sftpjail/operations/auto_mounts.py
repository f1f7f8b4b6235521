"""What setup does where `mounts = auto` was to be session mounts, and its trial logins fail."""

from __future__ import annotations

from dataclasses import replace

from ..actions import Check
from ..engine.engine import Engine
from ..errors import SftpJailError
from ..escapes import some
from ..model import Problem, Profile
from ..openssh.auto_mounts import FAILED, is_new
from ..openssh.pam_session import PROVE
from .apply import for_config


def after_trial(engine: Engine, error: SftpJailError) -> tuple[Engine, Problem]:
    """Return an engine that keeps in fstab what a trial login has shown not to work in sessions.

    Only a profile that is set up for the first time: what an earlier setup has decided holds.

    Args:
        engine: whose setup failed, and was put back.
        error: why.

    Returns:
        The engine, and what to say of it.

    Raises:
        SftpJailError: it failed for another reason, which is ERROR.
    """
    tried = isinstance(error.action, Check) and error.action.argv[0] == PROVE
    host = engine.host.anew()
    new = [p for p in engine.config.profiles if p.mounts_because and p.mounts == "session"]
    new = [profile for profile in new if is_new(profile, host)]
    if not tried or not new:
        raise error

    def settled(profile: Profile) -> Profile:
        if profile not in new:
            return profile
        return replace(profile, mounts="fstab", mounts_because=FAILED)

    config = replace(engine.config, profiles=tuple(map(settled, engine.config.profiles)))
    names = some([profile.name for profile in new], 8)
    problem = Problem(
        f"session mounts do not work on this host, so /etc/fstab has those of profile {names}",
        error.message,
        severity="advice",
    )
    return for_config(engine.on(host), config), problem
