"""Fall back to fstab if `mounts = auto` chose session mounts and the trial logins fail."""

from __future__ import annotations

from dataclasses import replace

from ..actions import Check
from ..engine.engine import Engine
from ..errors import SftpJailError
from ..errors.escapes import some
from ..model import Problem, Profile
from ..openssh.auto_mounts import FAILED, is_new
from ..openssh.pam_session import PROVE
from .apply import for_config


def after_trial(engine: Engine, error: SftpJailError) -> tuple[Engine, Problem]:
    """Return an engine that uses fstab for profiles whose session mounts failed in a trial login.

    This applies only to profiles that are set up for the first time. Earlier decisions are kept.

    Args:
        engine: its setup failed and was rolled back.
        error: why.

    Returns:
        the engine, and a problem that reports this.

    Raises:
        SftpJailError: ERROR itself, if setup failed for another reason.
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
