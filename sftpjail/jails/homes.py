"""Which directories may be an account's home, and which ones its jail may show.

All these rules are here: for a home that becomes the jail (`chroot = %h`), for a home that a jail
shows (`home = bind`), and for directories that `mount` shows.
"""

from __future__ import annotations

from ..config import Config
from ..host import Host
from ..model import Account, Profile, components, inside

# These, and everything below SYSTEM, never become jails, whoever owns them.
SYSTEM = (
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lost+found",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
    "/var/cache",
    "/var/log",
    "/var/spool",
)
TOPS = (
    "/",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/srv",
    "/tmp",
    "/var",
    "/var/lib",
    "/var/local",
    "/var/mail",
    "/var/opt",
    "/var/tmp",
)
# Neither these nor anything above or below them is shown in a jail, unless the configuration names
# exactly that directory.
FORBIDDEN = ("/proc", "/sys", "/dev", "/etc", "/root", "/run", "/boot", "/var/lib/sftpjail")


def refusal(account: Account, host: Host, config: Config) -> str:
    """Return a sentence that says why an account's home can be neither its jail nor in it, or "".

    If there is a reason, no command may be printed that creates anything in that home, or changes
    an owner or mode there, because the home may belong to somebody else.

    Args:
        account: with its profile.
        host: the facts.
        config: names other users' directories that may be shown.
    """
    profile = account.profile
    if profile is None or host.lstat(account.home) is None:
        return ""
    home = host.realpath(account.home)
    if profile.in_home:
        wrong = home_problem(account, home, host)
        begin = f"the home {account.home} of {account.name} cannot become its jail: it"
        if not wrong:
            return ""
        return f"{begin} {wrong}"
    if profile.home != "bind" or home in config.allow_sources:
        return ""
    if home == "/" and not (account.home and _needs_home(profile)):
        return ""  # nothing is shown; `add` may not know the home yet
    wrong = source_problem(account, home, "home", host, config)
    begin = f"will not show the home {account.home} of {account.name} in its jail:"
    if not wrong:
        return ""
    return f"{begin} {wrong}"


def _needs_home(profile: Profile) -> bool:
    """Return whether the sessions of a profile that shows homes start and write in them."""
    writes = not profile.read_only and not {"open", "write"} & set(profile.deny)
    return writes and not profile.start


def home_problem(account: Account, home: str, host: Host) -> str:
    """Return why `chroot = %h` may not turn a home into a jail, or "".

    It must not contain anything of the system or of another user, because the session sees it all.
    """
    if home in TOPS or any(inside(home, directory) for directory in SYSTEM):
        return "is a directory of the system"
    if account.profile and account.profile.in_home and is_own_jail(account, host):
        return ""
    found = host.stat(home)
    if found is not None and found.st_uid not in (account.uid, 0):
        return f"belongs to uid {found.st_uid}"
    others = [
        name
        for name in host.people.accounts_with_home_around(home)[1]
        if host.accounts[name].uid != account.uid
    ]
    if others:
        return f"is or holds the home of {others[0]} too"
    if found is not None and found.st_uid == 0 and not _is_meant_for(account, home, host):
        return f"belongs to root, and nothing in it to {account.name}"
    return ""


def is_own_jail(account: Account, host: Host) -> bool:
    """Return whether a home is the account's jail already.

    If so, it remains one, even if it is another account's home by now.
    """
    files = host.lstat(account.files)
    if files is not None and files.st_uid == account.uid:
        return True
    origin = host.origin(account.name)
    return host.realpath(account.home) in (*origin.made, *origin.owners)


def _is_meant_for(account: Account, home: str, host: Host) -> bool:
    """Return whether root's directory is a jail that an administrator made for an account.

    It is then empty, or has a file that belongs to the account or is writable by its groups.
    """
    names = host.listdir(home)
    gids = {account.gid, *host.people.local_gids(account.name)} - {0}
    for name in names:
        found = host.lstat(f"{home}/{name}")
        if found is None:
            continue
        by_group = found.st_gid in gids and found.st_mode & 0o020 and not found.st_mode & 0o002
        if found.st_uid == account.uid or by_group:
            return True
    return not names


def _places(host: Host, config: Config) -> list[tuple[str, str, frozenset[str]]]:
    """Return the directories that no jail shows, each with its real path and what that lies in."""
    bases = tuple(profile.base for profile in config.profiles if profile.base)

    def find() -> list[tuple[str, str, frozenset[str]]]:
        reals = [(directory, host.realpath(directory)) for directory in (*FORBIDDEN, *bases)]
        return [(directory, real, frozenset(components(real))) for directory, real in reals]

    return host.files.once((_places, bases), find)


def source_problem(account: Account, real: str, role: str, host: Host, config: Config) -> str:
    """Return why a directory may not be shown in an account's jail, or "".

    Args:
        account: with its profile.
        real: the directory, without links.
        role: see `model.Bind`. A home that belongs to the account may be shown, even if it is or
            contains the home of another account.
        host: the facts.
        config: names the directories of the jails.
    """
    parts = components(real)
    for directory, other, around in _places(host, config):
        if other in parts:
            if real == other:
                return f"{real} is {directory}"
            return f"{real} lies in {directory}"
        if real in around:
            return f"{real} holds {directory}"
    own = host.realpath(account.home)
    found = host.stat(real)
    if role == "home" and found is not None and found.st_uid == account.uid:
        return ""
    if inside(own, real) and own != real:
        return f"{real} holds the home of {account.name}, and may hold others in future"
    return _whose(account, real, own, host)


def _whose(account: Account, real: str, own: str, host: Host) -> str:
    """Return a sentence that says whose home a directory is, contains or lies in, or ""."""
    above, below = host.people.accounts_with_home_around(real)
    for names, relation in ((above, "belongs to"), (below, "is or holds")):
        others = [name for name in names if _is_other(account, host.accounts[name], host)]
        if relation == "belongs to" and inside(real, own):
            # Its home may be in another one. Everything in its home is its own, except other homes.
            others = [name for name in others if not inside(own, _home(name, host))]
        if others:
            return f"{real} {relation} the home of {others[0]}"
    found = host.stat(real)
    owner = None
    if found is not None:
        owner = host.people.name_of(found.st_uid)
    other = None
    if owner:
        other = host.account(owner)
    if other and not other.local and other.uid != account.uid and host.realpath(other.home) == real:
        return f"{real} is or holds the home of {other.name}"  # of a directory service
    return ""


def _home(name: str, host: Host) -> str:
    return host.realpath(host.accounts[name].home)


def _is_other(account: Account, other: Account, host: Host) -> bool:
    return other.uid != account.uid and not host.is_system(other) and other.home not in ("", "/")
