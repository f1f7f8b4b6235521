"""The PAM configuration for sessions of jailed accounts.

Since OpenSSH 9.8 jails have PAM services of their own. Earlier versions get marked rules at the top
of sshd's service, which skip everybody else. On a host with a directory service there are rules
that deny logins as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from .. import (
    Account,
    Check,
    Fact,
    MakeDir,
    Problem,
    Profile,
    Remove,
    SetLines,
    SftpJailError,
    Style,
    WriteFile,
    hookimpl,
)
from ..actions import Action, Phase
from ..config import Config
from ..errors.escapes import some
from ..host import Host
from ..jails import addresses
from ..jails.closing import needs_rule
from ..openssh.pam_session import (
    CLOSED,
    LIMITS,
    MARK,
    PROGRAM,
    PROVE,
    SCRIPT,
    SERVICES,
    at_login,
    denied,
    is_about_names,
    most,
    named,
    program,
    rules,
    script,
    service,
    table,
)
from ..openssh.pam_stack import SSHD, is_asked, user_environment
from ..openssh.settings import PROBE, effective
from ..paths import ADDRESSES, CONNECTIONS, GATE, LIMITED, MOST, TABLES

NAMESPACES = "/etc/security/namespace.d"
NAMESPACE = f"{NAMESPACES}/sftpjail.conf"
HEADER = "# Made by `sftpjail setup`; changes here are lost.\n"
# Without a polyinstantiated directory, pam_namespace makes no namespace. namespace.init would have
# nothing to do there.
POLYDIR = f"{HEADER}{MARK} tmpfs tmpfs:noinit root\n"
TAG = "session"
REHEARSAL = 5  # seconds
# Runs the session's script in a mount namespace like a session's; only its output remains.
_REHEARSE = (
    'mount -n -t tmpfs sftpjail "$1" '
    '&& PAM_TYPE=open_session PAM_USER=$2 exec timeout "$3" "$4" session'
)


def service_file(kind: str) -> str:
    """Return the PAM service of jails with `mounts = KIND`: our rules, followed by sshd's.

    Ours come first for two reasons. pam_exec passes PAM's environment to a program that it runs as
    root, and pam_env may set that from a user's file (user_readenv=1 in Debian 12). And a
    `sufficient` rule of sshd's cannot skip ours.
    """
    same = [f"{what} include sshd" for what in ("auth", "account", "password", "session")]
    return HEADER + "".join(f"{rule}\n" for rule in (*rules(kind), *same))


def sshd_rules(config: Config, host: Host) -> list[str]:
    """Return the rules for the top of sshd's own stack; for the reasons see `service_file`.

    Each profile's rules follow a test that skips them unless the user is a member for certain. As
    with Match, the first profile wins.
    """
    tests = [("in", ":".join(p.match_user), p) for p in config.profiles if p.match_user]
    tests += [("ingroup", p.group, p) for p in config.profiles if p.group]
    lines: list[str] = []
    for test, names, profile in reversed(tests):
        after = f"session [success={len(lines)} default=ignore]"
        if at_login(profile, host):
            own = [*rules(profile.mounts)]
            if lines:
                own.append(f"{after} pam_permit.so")
            skip = f"[success={len(own)} auth_err=ignore default={len(own)}]"
            lines = [f"session {skip} pam_succeed_if.so quiet user not{test} {names}", *own, *lines]
        elif lines:
            lines.insert(0, f"{after} pam_succeed_if.so quiet user {test} {names}")
    return lines


def account_rules(config: Config, host: Host) -> list[str]:
    """Return the rules that deny accounts that are shut out, or whose directory is unreachable.

    While a directory service does not answer, sshd takes its users for members of no group, so that
    no Match Group applies (groupaccess.c), and a key in the home would open a shell. Accounts that
    are jailed by a directory service's group are therefore denied unless they are in the jail. With
    OpenSSH 9.8 and later the PAM service shows that, and before it membership as PAM sees it.

    All of these go by the name that was typed, so that has to be the account's own; see `named`.
    """
    lines = []
    if needs_rule(host):
        lines.append(denied(CLOSED))
    if addresses.planned(host):
        lines += LIMITS
    if not host.people.directory_services:
        return lines
    lines += named(config)
    if host.openssh >= (9, 8):
        tests = [f"service in {':'.join(SERVICES.values())}"]
    else:
        tests = [f"user ingroup {profile.group}" for profile in config.profiles if profile.group]
    for index, test in enumerate(tests):
        skip = f"success={len(tests) - index}"
        lines.append(f"account [{skip} default=ignore] pam_succeed_if.so quiet {test}")
    return [*lines, denied(GATE)]


def _by_directory(account: Account, host: Host) -> bool:
    """Return whether only a directory service knows that an account is jailed."""
    profile = account.profile
    if profile is None or not host.people.directory_services or account.name in profile.match_user:
        return False
    group = host.people.groups.get(profile.group)
    return group is None or (account.name not in group.members and account.gid != group.gid)


def _wanted(config: Config, host: Host) -> list[Action]:
    """Return the actions that write the files needed, and remove the others."""
    profiles = [profile for profile in config.profiles if at_login(profile, host)]
    kinds = {profile.mounts for profile in profiles}
    services = {service(profile, host) for profile in profiles}
    actions: list[Action] = []
    for kind, name in SERVICES.items():
        path = f"/etc/pam.d/{name}"
        actions.append(WriteFile(path, service_file(kind)) if name in services else Remove(path))
    if profiles or host.lstat(SSHD):
        lines = _sshd_lines(config, host)
    else:
        lines = ()
    if lines or host.lstat(SSHD):
        actions.append(SetLines(SSHD, TAG, lines, Style.TOP))
    if "session" in kinds:
        actions += [MakeDir(NAMESPACES), MakeDir(MARK, 0o700), MakeDir(TABLES)]
        actions.append(WriteFile(NAMESPACE, POLYDIR))
    else:
        actions += [Remove(NAMESPACE), Remove(NAMESPACES), Remove(MARK), Remove(TABLES)]
    actions.append(WriteFile(MOST, most(config)) if most(config) else Remove(MOST))
    # At boot it checks the mounts in fstab.
    # The module first, because a login may come between the two.
    return [*actions, WriteFile(PROGRAM, program()), WriteFile(SCRIPT, script(), mode=0o755)]


@hookimpl
def on_setup(host: Host, config: Config) -> list[Action]:
    _refuse_edit(config, host)
    actions = _wanted(config, host)
    needing = [profile for profile in config.profiles if at_login(profile, host)]
    pending = [action for action in actions if action.pending(host, "")]
    in_stack = any(action.key[1] == SSHD for action in pending)
    if not pending or not (needing or in_stack):
        return actions
    if not needing:
        if _sshd_lines(config, host) and is_asked(host):
            actions += [_proof(profile, host, actions, "none") for profile in config.profiles[:1]]
        return actions
    _refuse_no_pam(needing[0], host)
    _refuse_stack(config, host)
    where = user_environment(host)
    if where:
        raise SftpJailError(
            f"{where} lets users set the environment of the programs that PAM runs as root",
            advice="take user_readenv out",
        )
    return [*actions, *(_proof(profile, host, actions, profile.mounts) for profile in needing)]


def _refuse_no_pam(profile: Profile, host: Host) -> None:
    """Refuse a profile that needs PAM where sshd does not ask it."""
    if effective(host, "root").get("usepam") == "yes":
        return
    why = "members of a directory service"
    if profile.mounts == "session":
        why = "mounts = session"
    elif profile.connections:
        why = f"connections = {profile.connections}"
    raise SftpJailError(
        f"profile {profile.name}: {why} need PAM, and sshd runs with UsePAM no",
        advice="set UsePAM yes: see sshd_config(5)",
    )


def _refuse_stack(config: Config, host: Host) -> None:
    """Refuse where sshd asks for another stack than ours, or there is none to edit."""
    if host.people.directory_services and not is_asked(host):
        found = effective(host, "root")
        raise SftpJailError(
            "members of a directory service need PAM's service sshd, and sshd asks for "
            f"{found.get('pamservicename')}",
            advice=f"take PAMServiceName out: {found.where('pamservicename')}",
        )
    if _sshd_lines(config, host) and host.lstat(SSHD) is None:
        raise SftpJailError(
            f"{SSHD} is missing, and one with our rules alone would keep everybody out",
            f"cp /usr/lib/pam.d/sshd {SSHD}",
        )


def _refuse_edit(config: Config, host: Host) -> None:
    """Refuse to edit sshd's own stack for session mounts that nobody has asked for.

    An earlier setup has decided for them, with a newer OpenSSH.
    """
    decided = tuple(
        profile
        for profile in config.profiles
        if profile.mounts == "session" and profile.mounts_because and not service(profile, host)
    )
    if decided:
        from ..openssh.auto_mounts import refused  # late: useradd waits

        raise refused(decided, host)


def _proof(profile: Profile, host: Host, actions: list[Action], kind: str) -> Check:
    """Return the check that a member of a profile and somebody else can still log in.

    The same is tried before the change, for comparison.
    """
    if profile.group:
        name = PROBE
    else:
        name = profile.match_user[0]
    argv = (PROVE, name, profile.group)
    before = host.programs.preview([*argv, "none"])
    files = (f.path for f in actions if isinstance(f, WriteFile | SetLines | Remove))
    proof = Check(
        (*argv, kind),
        f"with PAM's new rules all must log in as before: profile {profile.name}, mounts {kind}",
        # Accounts that could not log in before need not be able to now.
        lines=tuple(line for line in before.out.splitlines() if line.endswith(": ok")),
        candidate=(*files, "/etc/ssh/sshd_config.d/10-sftpjail.conf", "/etc/ssh/sshd_config"),
        fix=" ".join((*argv, kind)),
    )
    if before.failed:
        why = f"the logins of profile {profile.name} cannot be tried: {before.words}"
        error = SftpJailError(why)
        error.action = proof
        raise error
    return proof


@hookimpl
def on_teardown(host: Host) -> list[Action]:
    from ..jails import connections  # late: useradd waits

    paths = [f"/etc/pam.d/{name}" for name in SERVICES.values()]
    paths += [NAMESPACE, NAMESPACES, MARK, TABLES, SCRIPT, PROGRAM, MOST]
    lists: list[Action] = []
    for path, when in ((GATE, Phase.FILES), (CLOSED, Phase.OPENING)):
        names = host.tagged(path, Style.LINE)  # our file is removed with its last line
        lists += [SetLines(path, name, (), Style.LINE, when=when) for name in names]
        if not names:
            lists.append(Remove(path))
    limited = [act for name in addresses.listed(host) for act in addresses.forget(name, host)]
    lists += limited or [Remove(ADDRESSES), Remove(LIMITED)]
    counted = [act for name in connections.listed(host) for act in connections.limit(name, 0, host)]
    lists += counted or [Remove(CONNECTIONS)]
    return [SetLines(SSHD, TAG, (), Style.TOP), *(Remove(path) for path in paths), *lists]


def _sshd_lines(config: Config, host: Host) -> tuple[str, ...]:
    """Return all our rules for the top of sshd's own stack."""
    lines = account_rules(config, host)
    if any(at_login(profile, host) and not service(profile, host) for profile in config.profiles):
        lines += sshd_rules(config, host)
    return tuple(lines)


def _in_place(profile: Profile, config: Config, host: Host) -> bool:
    """Return whether PAM's files are as a profile needs them."""
    if profile.mounts == "session" and (host.text(NAMESPACE) != POLYDIR or not host.is_dir(TABLES)):
        return False
    own = service(profile, host)
    if own and host.text(f"/etc/pam.d/{own}") != service_file(profile.mounts):
        return False
    now = host.tagged(SSHD, Style.TOP).get(TAG, ())
    return _of_profiles(now) == _of_profiles(_sshd_lines(config, host))


def _of_profiles(lines: Iterable[str]) -> list[str]:
    """Return the rules that profiles need; those about lists of accounts may wait for a setup."""
    lists = (denied(CLOSED), *LIMITS)
    return [rule for rule in lines if rule not in lists and not is_about_names(rule)]


@hookimpl
def on_user_create(account: Account, host: Host, config: Config) -> list[Action]:
    # As in plugins/sshd, the files are compared, because useradd waits.
    profile = account.profile
    assert profile is not None
    in_place = partial(_in_place, profile, config, host)
    needed = at_login(profile, host) and not host.preparing
    if needed and not host.files.once((_in_place, profile.name), in_place):
        raise SftpJailError(
            f"PAM does not open a session of {account.name} as profile {profile.name} says: "
            "old or missing rules",
            "sftpjail setup",
        )
    if _by_directory(account, host):
        return [SetLines(GATE, account.name, (account.name,), Style.LINE)]
    return _out_of_gate(account, host)


@hookimpl
def on_user_remove(account: Account, host: Host) -> list[Action]:
    return _out_of_gate(account, host)


def _out_of_gate(account: Account, host: Host) -> list[Action]:
    if account.name not in host.tagged(GATE, Style.LINE):
        return []
    return [SetLines(GATE, account.name, (), Style.LINE)]


def _rehearsed(account: Account, host: Host) -> str:
    """Return why the script would end a session of the account, or ""."""
    found = host.stat(SCRIPT)
    if found is None:
        return f"{SCRIPT} is missing"
    # That of an earlier version is one file, and lets sessions open until setup replaces it.
    if host.stat(PROGRAM) is None and host.text(SCRIPT) == script():
        return f"{PROGRAM} is missing"
    if not found.st_mode & 0o100:
        return f"{SCRIPT} is not executable"
    if not host.is_dir(MARK):
        return f"{MARK} is missing"
    argv = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", _REHEARSE, "sh"]
    answer = host.ask([*argv, MARK, account.name, str(REHEARSAL), SCRIPT])
    if answer.code == 124:
        return f"{SCRIPT} did not end within {REHEARSAL} seconds"
    if not answer.code:
        return ""
    return answer.words.removeprefix("sftpjail: ")


@hookimpl
def on_check(account: Account | None, host: Host, config: Config) -> list[Problem]:
    """Report whether sessions open; the plan of `setup` covers the files."""
    if account is None:
        return [*_unlimited(host), *_nicknamed(host, config)]
    if account.profile is None or account.profile.mounts != "session":
        return []
    missing = any(
        bind.role != "log" and not host.is_dir(bind.source) for bind in host.binds(account.name)
    )
    if missing or not host.thorough:
        return []  # the plugin mounts reports what is missing
    if host.lstat(table(account.name)) is None:
        return []  # there is nothing to mount, or the plan reports it
    reason = _rehearsed(account, host)
    if not reason:
        return []
    what = f"PAM closes the sessions of {account.name}: {reason}"
    why, fix = "it shows all of a jail or nothing", "sftpjail setup && sftpjail apply"
    return [Problem(what, why, fix, follows=True)]


def _unlimited(host: Host) -> list[Problem]:
    """Return that accounts may come from anywhere, though the list says from where."""
    names = sorted(addresses.listed(host))
    if not names:
        return []
    if addresses.is_enforced(host):
        return [_asks_another(name, host) for name in addresses.asks_another(host)]
    what = f"{some(names, 8)} can log in from any address: nothing reads {ADDRESSES}"
    why = "the list says from where"
    return [Problem(what, why, "sftpjail setup", severity="open")]


def _nicknamed(host: Host, config: Config) -> list[Problem]:
    """Return that a second name of a directory's accounts gets round what is said of the first."""
    now = host.tagged(SSHD, Style.TOP).get(TAG, ())
    if not host.people.directory_services or set(named(config)) <= set(now):
        return []
    strangers = {name for profile in config.profiles for name in profile.match_user}
    strangers |= {*host.tagged(CLOSED, Style.LINE), *addresses.listed(host)}
    names = sorted(name for name in strangers if _is_stranger(name, host))
    if not names:
        return []
    what = f"a second name of {some(names, 8)}, as the directory service has it, is let in"
    why = "Match User and PAM's lists know the first one only"
    return [Problem(what, why, "sftpjail setup", severity="open")]


def _is_stranger(name: str, host: Host) -> bool:
    account = host.account(name)
    return account is not None and not account.local


def _asks_another(name: str, host: Host) -> Problem:
    """Return that somebody's PAMServiceName keeps an account from being judged by the list."""
    found = effective(host, name)
    what = f"{name} can log in from any address: sshd asks PAM for {found.get('pamservicename')}"
    advice = f"take PAMServiceName out: {found.where('pamservicename')}"
    why = f"only the service sshd reads {ADDRESSES}"
    return Problem(what, why, advice=advice, severity="open", about=name)


@hookimpl
def on_explain(account: Account, host: Host) -> list[Fact]:
    if account.profile is None or not at_login(account.profile, host):
        return []
    own = service(account.profile, host)
    where = SSHD
    if own:
        where = f"/etc/pam.d/{own}"
    return [Fact("account", "at login", SCRIPT, where)]
