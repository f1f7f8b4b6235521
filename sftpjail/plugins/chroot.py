"""The jail's folders. sshd refuses a chroot of which any component is not root's alone; so do we, with a reason."""

from __future__ import annotations

import posixpath
import stat
from shlex import quote

from .. import Account, Bind, Finding, MakeDir, Remove, SetOwner, SftpJailError, hookimpl
from ..actions import Action
from ..config import Config
from ..host import Host
from ..model import components, inside, normal

# A home that is one of these is no home, whoever owns it; nor is one inside the first ones.
SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/proc", "/root", "/run", "/sbin", "/sys", "/usr")
TOPS = ("/", "/home", "/media", "/mnt", "/opt", "/srv", "/tmp", "/var", "/var/lib", "/var/mail", "/var/tmp")


def mend(path: str, host: Host) -> str:
    """Return the command that makes a component good."""
    found = host.stat(path)
    if found is None or not stat.S_ISDIR(found.st_mode):
        return f"mv {quote(path)} {quote(path + '.old')}"
    commands = [f"chown root {quote(path)}"] if found.st_uid != 0 else []
    commands += [f"chmod go-w {quote(path)}"] if found.st_mode & 0o022 else []
    return " && ".join(commands)


def home_flaw(account: Account, home: str, host: Host) -> str:
    """Return why a home may not become a jail by `chroot = %h`, or "": it must be the account's own alone."""
    if home in TOPS or any(inside(home, folder) for folder in SYSTEM):
        return "is a folder of the system"
    found = host.stat(home)
    if found is not None and found.st_uid not in (account.uid, 0):
        return f"belongs to uid {found.st_uid}"
    others = [name for name in host.dwellers(home)[1] if host.accounts[name].uid != account.uid]
    return f"is or holds the home of {others[0]} too" if others else ""


def judged(path: str, host: Host, ours: tuple[str, ...]) -> list[Action]:
    """Return what makes every component of PATH as sshd wants it: missing ones made, ours mended.

    Raises:
        SftpJailError: one that we did not make is wrong; it is not changed behind the administrator's back.
    """
    actions: list[Action] = []
    for component in components(path):
        wrong = host.flaw(component)
        if wrong and component in ours:
            actions.append(SetOwner(component, 0, 0, 0o755, remember=False))
        elif wrong:
            raise SftpJailError(f"sshd will refuse the chroot {path}: {component} {wrong}", mend(component, host))
        elif host.stat(component) is None:
            actions.append(MakeDir(component))
    return actions


@hookimpl
def on_setup(host: Host, config: Config) -> list[Action]:
    bases = dict.fromkeys(profile.base for profile in config.profiles if profile.base)
    return [action for base in bases for action in judged(base, host, host.origin("").made)]


@hookimpl
def on_teardown(host: Host, config: Config) -> list[Action]:
    return [Remove(path) for profile in config.profiles if profile.base for path in components(profile.base)[1:]]


@hookimpl
def on_user_create(account: Account, host: Host) -> list[Action]:
    profile = account.profile
    assert profile is not None
    ours = host.origin(account.name).made + host.origin("").made
    if profile.in_home:
        home = host.realpath(account.home)
        if not host.is_dir(home):
            return []  # adduser makes the home after useradd's hook; adduser.local comes again
        wrong = home_flaw(account, home, host)
        if wrong:
            raise SftpJailError(
                f"the home {account.home} of {account.name} cannot become its jail: it {wrong}",
                f"usermod -d /home/{account.name} -m {account.name}",
            )
        actions = judged(posixpath.dirname(home), host, ours)
        found = host.stat(home)
        if found is not None and found.st_uid == 0 and home not in host.origin(account.name).owners:
            actions += judged(home, host, ours)  # an administrator made it a jail by hand
        else:
            actions.append(SetOwner(home, 0, 0, 0o755))
    elif profile.home == "inside":
        actions = judged(account.jail, host, ours)
    else:
        return judged(account.jail, host, ours)
    found = host.lstat(account.files)
    if found is None:
        actions.append(MakeDir(account.files, 0o700, account.uid, account.gid))
    elif not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid:
        raise SftpJailError(
            f"{account.files} is already there and is not a folder of {account.name}: "
            f"it belongs to uid {found.st_uid}, perhaps to an earlier account of that name",
            f"mv {quote(account.files)} {quote(account.files + '.old')}",
        )
    return actions


@hookimpl
def on_user_remove(account: Account, deleted: bool, host: Host) -> list[Action]:
    profile = account.profile
    assert profile is not None
    actions: list[Action] = []
    if profile.in_home:
        home = host.realpath(account.home)
        owner = host.origin(account.name).owners.get(home)
        if owner and account.exists:
            actions.append(SetOwner(home, *owner))
    else:
        actions.append(Remove(account.jail, folder=True))
    if deleted or profile.home != "inside" or "home" in host.origin(account.name).was:
        actions.append(Remove(account.files, folder=True))
    return actions


@hookimpl
def jail_binds(account: Account, host: Host) -> list[Bind]:
    profile = account.profile
    assert profile is not None
    home = normal(account.home)
    if profile.in_home or profile.home != "bind" or home == "/":
        return []
    # uid -1 is an account that a dry run of `add` only thinks of; its home will be there.
    if account.exists and not host.is_dir(home):
        return []
    return [Bind(home, account.jail + home, role="home")]


@hookimpl
def on_check(account: Account | None, host: Host) -> list[Finding]:
    if account is None or account.profile is None:
        return []
    findings = [
        Finding(
            f"{component} {host.flaw(component)}",
            "sshd refuses the chroot and closes the login",
            mend(component, host),
        )
        for component in components(account.jail)
        if host.flaw(component)
    ]
    if not host.is_dir(account.home) and account.profile.home == "bind":
        findings.append(
            Finding(
                f"the home {account.home} does not exist",
                "the session has no folder to start and write in",
                f"mkhomedir_helper {account.name} && sftpjail apply",
            )
        )
    return findings
