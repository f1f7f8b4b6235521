"""The lines of a profile's Match blocks, and how `sshd -T` prints them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..config import Config
from ..errors import SftpJailError
from ..formats.tagged_lines import Style
from ..host import Host
from ..model import Account, Profile, normal
from ..paths import KEYS_DIR
from .pam_session import SERVICES, service

MAIN = "/etc/ssh/sshd_config"
DIRECTORY = "/etc/ssh/sshd_config.d"
DROPIN = f"{DIRECTORY}/10-sftpjail.conf"

# Each kind is named: DisableForwarding alone missed X11 and agents before OpenSSH 10.0,
# and tunnels before 10.4.
DOORS = (
    "DisableForwarding yes",
    "AllowTcpForwarding no",
    "AllowStreamLocalForwarding no",
    "AllowAgentForwarding no",
    "X11Forwarding no",
    "PermitTunnel no",
    "PermitTTY no",
    "PermitUserRC no",
)
# Above a profile's settings: what its `mounts = auto` is here, and why; see auto_mounts.py.
AUTO = "# mounts = auto: "
UNSAID = "its Match block had it so"  # of a block that an earlier version wrote, and does not say
WORDS = 9  # before 10.4 sshd silently drops further arguments of internal-sftp (session.c)


def force_command(profile: Profile, config: Config) -> str:
    """Return the value of ForceCommand: internal-sftp, each option joined with its argument.

    Raises:
        SftpJailError: it has more arguments than sshd keeps.
    """
    words = ["internal-sftp"]
    if config.logs.backend != "none":
        words += [f"-f{config.logs.facility}", f"-l{config.logs.level}"]
    if profile.umask:
        words.append(f"-u{profile.umask.zfill(4)}")
    start = profile.start or (f"/{profile.files}" if profile.in_home and profile.is_filled else "")
    if start:
        words.append(f"-d{start}")
    if profile.read_only:
        words.append("-R")
    if profile.deny:
        words.append(f"-P{','.join(profile.deny)}")
    command = " ".join(words)
    if len(command.split()) > WORDS:
        raise SftpJailError(
            f"profile {profile.name}: ForceCommand has more than the {WORDS} words that sshd keeps"
        )
    return command


def start_of(account: Account, host: Host, config: Config) -> str:
    """Return the directory in which sessions start: -d, else the home if it exists, else /.

    sshd calls chdir(home) inside the chroot, and stays in / if that fails (session.c, do_child).

    Args:
        account: with its profile.
        host: the facts.
        config: what is logged, and how.
    """
    assert account.profile is not None
    words = force_command(account.profile, config).split()
    start = next((word[2:] for word in words if word.startswith("-d")), "")
    if start:
        return normal(account.expand(start))
    home = normal(account.home)
    if host.is_dir(host.mount_tables.behind(account.name, account.jail + home)):
        return home
    return "/"


def block(profile: Profile, config: Config, host: Host) -> list[str]:
    """Return a profile's settings as written in its Match blocks."""
    note = []
    if profile.mounts_because not in ("", UNSAID):
        note.append(f"{AUTO}{profile.mounts}, {profile.mounts_because}")
    return [*note, *_own(profile, config, host), *profile.sshd_options]


def _own(profile: Profile, config: Config, host: Host) -> Iterator[str]:
    yield f"ChrootDirectory {profile.chroot}"
    yield f"ForceCommand {force_command(profile, config)}"
    yield f"AuthorizedKeysFile {KEYS_DIR}/%u"
    if profile.keys_command:
        yield f"AuthorizedKeysCommand {profile.keys_command}"
        yield f"AuthorizedKeysCommandUser {profile.keys_command_user}"
    if profile.trusted_ca:
        yield f"TrustedUserCAKeys {profile.trusted_ca}"
    if profile.principals:
        yield f"AuthorizedPrincipalsFile {profile.principals}"
    if profile.passwords != "host":
        yield f"PasswordAuthentication {profile.passwords}"
        yield f"KbdInteractiveAuthentication {profile.passwords}"
    if profile.authentication_methods:
        yield f"AuthenticationMethods {profile.authentication_methods}"
    yield from DOORS
    if service(profile, host):
        yield f"PAMServiceName {service(profile, host)}"


# Of a client whose address is none of those allowed; DenyUsers takes USER@HOST.
ELSEWHERE = "*@*"


def elsewhere(criteria: str, addresses: Sequence[str]) -> list[str]:
    """Return the Match block that refuses connections from other addresses.

    For the addresses themselves, the block does not apply, and nothing changes. DenyUsers of
    several blocks add up (servconf.c), so no other block can cancel it.

    Args:
        criteria: for whom.
        addresses: see `model.networks`; none for no block.
    """
    if not addresses:
        return []
    places = ",".join(["*", *(f"!{address}" for address in addresses)])
    return [f"Match {criteria} Address {places}", f"    DenyUsers {ELSEWHERE}"]


def address_blocks(config: Config) -> Iterator[str]:
    """Yield the lines of all Match blocks that refuse members who come from elsewhere.

    As with all settings, the first profile of an account decides: a block is about nobody of an
    earlier one.
    """
    users: list[str] = []
    groups: list[str] = []
    for profile in config.profiles:
        own = [name for name in profile.match_user if name not in users]
        if own:
            yield from elsewhere(f"User {','.join(own)}", profile.addresses)
        users += own
    for profile in config.profiles:
        if not profile.group:
            continue
        of_group = ",".join([profile.group, *(f"!{group}" for group in groups)])
        others = ""
        if users:
            others = f" User *,{','.join(f'!{name}' for name in users)}"
        yield from elsewhere(f"Group {of_group}{others}", profile.addresses)
        groups.append(profile.group)


def match_blocks(config: Config, host: Host) -> Iterator[str]:
    """Yield the lines of all Match blocks, users before groups, since the first value wins."""
    yield from address_blocks(config)
    for kind in ("User", "Group"):
        for profile in config.profiles:
            for head in heads(profile):
                if head.startswith(f"Match {kind} "):
                    yield head
                    yield from (f"    {line}" for line in block(profile, config, host))


def heads(profile: Profile) -> list[str]:
    """Return the Match lines of a profile's blocks."""
    users = []
    if profile.match_user:
        users = [f"Match User {','.join(profile.match_user)}"]
    return [*users, *([f"Match Group {profile.group}"] if profile.group else [])]


def as_recorded(config: Config, host: Host) -> Config:
    """Return a configuration with what setup has decided once in the place of `mounts = auto`.

    A profile that has no block yet is left as it is; see auto_mounts.py.
    """
    return replace(config, profiles=tuple(_as_recorded(one, host) for one in config.profiles))


def _as_recorded(profile: Profile, host: Host) -> Profile:
    lines = []
    if profile.mounts == "auto":
        lines = lines_of(profile, host)
    if not lines:
        return profile
    for line in lines:
        kind, _, because = line.removeprefix(AUTO).partition(", ")
        if line.startswith(AUTO) and kind in SERVICES and because:
            return replace(profile, mounts=kind, mounts_because=because)
    # Made before there was an `auto`, or while the configuration said which.
    by_session = any(line.endswith(f"PAMServiceName {SERVICES['session']}") for line in lines)
    return replace(profile, mounts="session" if by_session else "fstab", mounts_because=UNSAID)


def lines_of(profile: Profile, host: Host) -> list[str]:
    """Return the lines of a profile's Match block, without their indentation; [] for none."""
    ours = [line.strip() for line in host.text(DROPIN).split("\n")]
    ours += [line.strip() for line in host.tagged(MAIN, Style.BLOCK).get("sftpjail", ())]
    for head in heads(profile):
        if head in ours:
            after = ours[ours.index(head) + 1 :]
            end = next((n for n, line in enumerate(after) if line.startswith("Match ")), None)
            return after[:end]
    return []


def profiles_in_force(host: Host) -> tuple[Profile, ...]:
    """Return the profiles of our Match blocks, which may differ from the configuration's by now.

    They have nothing but whom they jail, and where.
    """
    ours = [line.strip() for line in host.text(DROPIN).split("\n")]
    ours += [line.strip() for line in host.tagged(MAIN, Style.BLOCK).get("sftpjail", ())]
    found: list[Profile] = []
    kind, whom = "", ""
    for line in ours:
        keyword, _, value = line.partition(" ")
        if keyword == "Match":
            kind, _, whom = value.partition(" ")
        elif keyword == "ChrootDirectory" and kind == "User":
            found.append(Profile(whom, "", tuple(whom.split(",")), chroot=value))
        elif keyword == "ChrootDirectory" and kind == "Group":
            found.append(Profile(whom, whom, chroot=value))
    return tuple(found)


def with_former_methods(config: Config, host: Host) -> Config:
    """Return a configuration in which jails keep the login methods of the present Match blocks.

    Profiles without a block are left unchanged.
    """
    text = host.text(DROPIN) + host.text(MAIN)
    profiles = tuple(_with_methods(profile, text) for profile in config.profiles)
    return replace(config, profiles=profiles)


def _with_methods(profile: Profile, text: str) -> Profile:
    for head in heads(profile):
        _, found, rest = text.partition(f"{head}\n    ChrootDirectory ")
        if not found:
            _, found, rest = text.partition(f"{head}\n    {AUTO}")
        if found:
            said = _said(rest)
            methods = said.get("AuthenticationMethods", "")
            passwords = said.get("PasswordAuthentication", "host")
            return replace(profile, passwords=passwords, authentication_methods=methods)
    return profile


def _said(lines: str) -> dict[str, str]:
    """Return the settings of what is left of a block; the first value of each counts."""
    found: dict[str, str] = {}
    for line in lines.split("\n")[1:]:
        if not line.startswith("    "):
            break
        keyword, _, value = line.strip().partition(" ")
        found.setdefault(keyword, value)
    return found


def settings(profile: Profile, config: Config, host: Host) -> Iterator[str]:
    """Yield a profile's settings as `sshd -T` prints them: keywords in lower case, yes and no."""
    for line in _own(profile, config, host):
        keyword, _, value = line.partition(" ")
        yield f"{keyword.lower()} {value}"
