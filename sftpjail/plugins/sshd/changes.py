"""The Match blocks. sshd itself is asked, before and after, whether members are jailed and others see no change."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ... import Account, Check, Fact, Finding, Notify, Profile, Remove, SftpJailError, WriteFile, hookimpl
from ...actions import Action
from ...config import Config
from ...formats.tagged_lines import Style, edit
from ...host import Host
from ...jails.closing import match_block
from ...jails.membership import is_valid, jailed
from ...openssh.connections import conditions, connections, peculiar
from ...openssh.match_blocks import DROPIN, FOLDER, MAIN, WORDS, block, match_blocks, settings
from ...openssh.repair import broken_line, comment_out, match_line, reload_command, unit
from ...openssh.settings import PROBE, Settings, effective
from ...openssh.sshd import LOCAL, spec
from ...paths import KEYS_DIR

HEADER = "# Made by `sftpjail setup` from /etc/sftpjail/sftpjail.conf; changes here are lost."

SUBSYSTEM = "Subsystem sftp internal-sftp"
GLOBAL_KEYS = f"AuthorizedKeysFile {KEYS_DIR}/%u"
PENDING = "setup is pending: the configuration has changed since it ran, or our Match block has"
OTHERS = 20  # of the accounts outside the jails so many are compared before and after


def _ask(host: Host, user: str, files: dict[str, bytes | None], connection: str = LOCAL) -> str:
    answer = host.ask_sshd("-T", "-C", spec(user, connection), files=files)
    if answer.code != 0:
        raise SftpJailError(f"sshd does not tell its settings for {user}: {answer.words}", "sshd -T")
    return answer.out


def _value(said: str, keyword: str) -> str:
    return next((line.partition(" ")[2] for line in said.splitlines() if line.startswith(keyword + " ")), "")


def _included(host: Host) -> bool:
    """Return whether sshd reads our drop-in: asked with a probe in its place, not by reading Include lines."""
    if not host.is_dir(FOLDER):
        return False
    probe = f"Match User {PROBE}\n    PermitTTY no\n    Banner /{PROBE}\n".encode()
    return _value(_ask(host, PROBE, {DROPIN: probe}), "banner") == f"/{PROBE}"


def _without_us(text: str) -> str:
    """Return sshd_config as it was before us."""
    for tag, style in (("sftpjail", Style.BLOCK), ("global", Style.TOP)):
        text = edit(text, {tag: ()}, style)
    return re.sub(r"(?m)^#sftpjail# ", "", text)


def _refusal(words: str) -> str:
    return f"sshd refuses its present configuration: {words}"


def candidate(host: Host, config: Config) -> dict[str, str | None]:
    """Return the files that jail: the drop-in and sshd_config; None for one that is not to be there.

    Raises:
        SftpJailError: sshd's present configuration is broken, or its Subsystem line is out of reach.
    """
    answer = host.ask_sshd("-t")
    if answer.code != 0:
        raise SftpJailError(f"sshd refuses its present configuration: {answer.words}", broken_line(answer.words, host))
    if host.openssh < (8, 2):
        raise SftpJailError("this OpenSSH is older than 8.2 and has no Include")
    main = _without_us(host.text(MAIN))
    top: list[str] = []
    if config.scope == "everyone":
        top.append(GLOBAL_KEYS)
    before = _value(_ask(host, "root", {MAIN: _bytes(main), DROPIN: None}), "subsystem")
    if config.subsystem == "internal-sftp" and before and before != "sftp internal-sftp":
        main = re.sub(r"(?mi)^(?=\s*subsystem[\s=]+\"?sftp\b)", "#sftpjail# ", main)
        before = _value(_ask(host, "root", {MAIN: _bytes(main), DROPIN: None}), "subsystem")
        if before:
            raise SftpJailError(
                f"the line `Subsystem {before}` is not in {MAIN}, so it cannot be replaced from there",
                f"grep -rn Subsystem {FOLDER}",
            )
    if not before:
        top.append(SUBSYSTEM)
    lines = [*match_block(host), *match_blocks(config, host)]
    if _included(host):
        return {DROPIN: "\n".join([HEADER, *top, *lines]) + "\n", MAIN: main}
    if top:
        main = edit(main, {"global": tuple(top)}, Style.TOP)
    return {DROPIN: None, MAIN: edit(main, {"sftpjail": tuple(lines)}, Style.BLOCK)}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _staged(files: dict[str, str | None]) -> dict[str, bytes | None]:
    return {path: None if text is None else _bytes(text) for path, text in files.items()}


def _changes(host: Host, files: dict[str, str | None]) -> list[Action]:
    actions: list[Action] = []
    for path, text in files.items():
        if text is None:
            actions.append(Remove(path, ours=True))
        elif path == DROPIN:
            actions.append(WriteFile(path, text))
        elif text != host.text(path):
            actions.append(WriteFile(path, text, keep=True))
    return actions


def _others(host: Host, jails: dict[str, Account]) -> list[str]:
    """Return whom we compare before and after: root, people with a shell, then anybody, none of them jailed.

    Nor those whom our present blocks jail by name: if they are in no profile any more, they were let go; see _released.
    """
    live = host.text(DROPIN) + host.text(MAIN).partition("# BEGIN sftpjail sftpjail")[2].partition("# END sftpjail")[0]
    named = {name for names in re.findall(r"(?m)^Match User (\S+)$", live) for name in names.split(",")}
    ordered = sorted(host.accounts.values(), key=lambda a: (a.uid != 0, a.shell.endswith(("nologin", "false")), a.uid))
    names = [account.name for account in ordered if account.name not in named and account.name not in jails]
    return [name for name in names if is_valid(name)][:OTHERS]


def _strangers(host: Host, files: dict[str, str | None], names: list[str], intended: tuple[str, ...]) -> list[Action]:
    """Return the checks that nobody outside notices: asked of the candidate now, and of the live files once they are.

    Raises:
        SftpJailError: sshd would tell somebody outside other settings than before.
    """
    sshd = host.which("sshd")
    checks: list[Action] = []
    for name in names:
        before = _ask(host, name, {})
        after = _ask(host, name, _staged(files))
        kept = [[line for line in said.splitlines() if not line.startswith(intended)] for said in (before, after)]
        if kept[0] != kept[1]:
            changed = next(line for line in [*kept[1], *kept[0]] if kept[0].count(line) != kept[1].count(line))
            raise SftpJailError(f"{name} is not jailed and must not notice, but would get: {changed}", "sshd -T")
        why = f"{name} is not jailed and must not notice"
        checks.append(Check((sshd, "-T", "-C", spec(name)), why, prints=before, ignoring=intended))
    return checks


def _member(profile: Profile, host: Host, match_user: bool) -> tuple[str, dict[str, bytes | None]]:
    """Return a name that the profile must jail, and the files in which there is such an account: a group that is empty,
    or not made yet, gets a member for the length of the question.
    """
    if match_user:
        return profile.match_user[0], {}
    group = host.group(profile.group)
    gid = group.gid if group else 2000000001
    lines = "" if group else f"{profile.group}:x:{gid}:\n"
    passwd = f"{PROBE}:x:2000000001:{gid}::/nonexistent:/usr/sbin/nologin\n"
    files = {"/etc/passwd": passwd, "/etc/group": lines}
    return PROBE, {path: _bytes(_ended(host.text(path)) + added) for path, added in files.items() if added}


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _opens(line: str, said: str) -> bool:
    """Return whether a jail is open where sshd does not say this line of its settings: SAID has what it says."""
    keyword, _, wanted = line.partition(" ")
    now = _value(said, keyword)
    if keyword == "chrootdirectory":
        return now in ("", "none")
    return wanted in ("yes", "no") or (keyword == "forcecommand" and not now.startswith("internal-sftp"))


def _where(connection: str) -> str:
    return f" for connections with {peculiar(connection)}" if peculiar(connection) else ""


@dataclass(frozen=True)
class Lack:
    """A setting that sshd would not give the members of a profile, at least in one kind of connections."""

    profile: Profile
    line: str
    connection: str
    is_open: bool

    def __str__(self) -> str:
        return f"{self.line} is not in force{_where(self.connection)}"


def lacks(host: Host, config: Config, files: dict[str, str | None]) -> list[Lack]:
    """Return what is missing of each profile's settings, one thing for each Match block, one that opens the jail first.

    Not only connections to port 22 of this host are asked about.
    """
    found = []
    staged = _staged(files)
    kinds = connections(host)
    for profile in config.profiles:
        for match_user in (*((True,) if profile.match_user else ()), *((False,) if profile.group else ())):
            name, extra = _member(profile, host, match_user)
            for kind in kinds:
                said = _ask(host, name, staged | extra, kind)
                missing = [line for line in settings(profile, config, host) if line not in said.splitlines()]
                if missing:
                    line = min(missing, key=lambda line: not _opens(line, said))
                    found.append(Lack(profile, line, kind, _opens(line, said)))
                    break
    return found


def _released(host: Host, config: Config, files: dict[str, str | None], jails: dict[str, Account]) -> list[str]:
    """Return whom sshd jails now and would jail no more, because the configuration has changed."""
    staged = _staged(files)
    names = [name for name in host.recorded() if name not in jails and host.account(name) is not None]
    return [
        name
        for name in names[:OTHERS]
        if _value(_ask(host, name, {}), "chrootdirectory") not in ("", "none")
        and _value(_ask(host, name, staged), "chrootdirectory") in ("", "none")
    ]


@hookimpl
def on_setup(host: Host, config: Config) -> list[Action]:
    files = candidate(host, config)
    changes = _changes(host, files)
    for lack in lacks(host, config, files):
        raise SftpJailError(
            f"sshd would not jail the members of {lack.profile.group or lack.profile.name}: {lack}, "
            "something above our Match block wins",
            f"grep -in -A9 ^match {MAIN} {FOLDER}/*.conf",
        )
    if not any(action.pending(host, "") for action in changes):
        return []
    answer = host.ask_sshd("-t", files=_staged(files))
    if answer.code != 0:
        raise SftpJailError(f"sshd would refuse the configuration: {answer.words}", "sshd -t")
    jails = jailed(config, host)
    released = _released(host, config, files, jails)
    if released:
        raise SftpJailError(
            f"{', '.join(released)}: jailed until now, in no profile of the configuration any more, so open after this",
            f"sftpjail remove {released[0]}, or put it into a group that has a profile",
        )
    now = "\n".join(host.text(path) for path in files)
    new = "\n".join(text or "" for text in files.values())
    # What the configuration itself changes for everybody, or no longer changes.
    intended = tuple(
        keyword
        for keyword, line in (("subsystem", SUBSYSTEM), ("authorizedkeysfile", GLOBAL_KEYS))
        if f"\n{line}" in now or f"\n{line}" in new
    )
    return [
        *changes,
        Check((host.which("sshd"), "-t"), "sshd must accept the configuration", "sshd -t"),
        *_strangers(host, files, _others(host, jails), intended),
        *_live_checks(host, config, jails),
        Notify("sshd"),
    ]


def _live_checks(host: Host, config: Config, jails: dict[str, Account]) -> list[Action]:
    """Return one check for a member of each profile that has one."""
    samples = {a.profile.name: a for a in reversed(list(jails.values())) if a.profile}
    return [
        Check(
            (host.which("sshd"), "-T", "-C", spec(name)),
            f"{name} must be jailed",
            f"grep -in -A9 ^match {MAIN} {FOLDER}/*.conf",
            lines=tuple(settings(account.profile, config, host)),
        )
        for name, account in ((a.name, a) for a in samples.values())
        if account.profile
    ]


@hookimpl
def on_teardown(host: Host, config: Config) -> list[Action]:
    files: dict[str, str | None] = {DROPIN: None, MAIN: _without_us(host.text(MAIN))}
    changes = _changes(host, files)
    if not any(action.pending(host, "") for action in changes):
        return []
    if not host.which("sshd"):
        return changes  # nobody is left to ask
    intended = ("subsystem", "authorizedkeysfile")
    checks = _strangers(host, files, _others(host, jailed(config, host)), intended)
    return [*changes, *checks, Notify("sshd")]


def _written(profile: Profile, host: Host, config: Config) -> bool:
    """Return whether a Match block of the profile stands in our files as it is to be."""
    lines = "\n".join(f"    {line}" for line in block(profile, config, host))
    return lines in host.text(DROPIN) or lines in host.text(MAIN)


@hookimpl
def on_user_create(account: Account, host: Host, config: Config) -> None:
    # By its text and not by asking sshd: useradd waits for us. `setup` and `check` ask.
    assert account.profile is not None
    if not host.preparing and not _written(account.profile, host, config):
        raise SftpJailError(
            f"sshd does not jail {account.name} as profile {account.profile.name} says: no Match block, or an old one",
            "sftpjail setup",
        )


def _stands_for(account: Account, host: Host) -> bool:
    """Return whether sshd must be asked about this very account: where many are looked at, only if a Match line that
    is not ours could single it out. Match lines on addresses and hosts say nothing about accounts.
    """
    if host.thorough:
        return True
    groups = host.groups_of(account.name)
    for criteria in effective(host, PROBE).criteria:
        for kind, patterns in conditions(criteria):
            names = {"user": (account.name,), "group": groups}.get(kind, ())
            own = account.profile and patterns in (account.profile.group, ",".join(account.profile.match_user))
            if not own and any(fnmatchcase(name, pattern) for name in names for pattern in patterns.split(",")):
                return True
    return False


def _differences(account: Account, host: Host, config: Config) -> list[Finding]:
    """Return where sshd's settings for a member are not the profile's, one finding for each file that is to blame, in
    the first kind of connections where they are not.
    """
    kinds = (_differing(account, kind, host, config) for kind in connections(host, account.name))
    return next(filter(None, kinds), [])


def _differing(account: Account, connection: str, host: Host, config: Config) -> list[Finding]:
    assert account.profile is not None
    found = effective(host, account.name, connection)
    blamed: dict[str, list[str]] = {}
    for line in settings(account.profile, config, host):
        keyword, _, wanted = line.partition(" ")
        if found.get(keyword) != wanted:
            foreign = _in_foreign_match(keyword, found, host)
            blamed.setdefault(found.origins[keyword][0] if foreign else "", []).append(keyword)
    findings = []
    for path, keywords in blamed.items():
        now = ", ".join(f"{keyword} {found.get(keyword) or 'unset'}" for keyword in keywords) + _where(connection)
        if not path:
            what = f"sshd does not jail {account.name} as profile {account.profile.name} says: {now}"
            why = "sshd does not read our Match block" if _written(account.profile, host, config) else PENDING
            if host.openssh < (10, 4) and len(found.get("forcecommand").split()) > WORDS:
                dropped = " ".join(found.get("forcecommand").split()[WORDS:])
                why = f"sshd drops what stands behind the {WORDS}th word of ForceCommand: {dropped}"
            findings.append(Finding(what, why, "sftpjail setup"))
            continue
        places = [found.origins[keyword] for keyword in keywords]
        match = match_line(places[0], host) or "its global part"
        what = f"{path} takes {account.name} out of its jail's settings: {now} ({match}, line {places[0][1]})"
        why = "it stands before our Match block, and the first value wins"
        findings.append(Finding(what, why, comment_out(places, host)))
    return findings


def _in_foreign_match(keyword: str, found: Settings, host: Host) -> bool:
    """Return whether a setting comes from a Match block that is not ours: a global line never beats one of ours, and
    commenting it out would change other people's logins.
    """
    place = found.origins.get(keyword)
    if place is None or place[0] == DROPIN or not match_line(place, host):
        return False
    above = "\n".join(host.text(place[0]).split("\n")[: place[1]])
    return place[0] != MAIN or "# BEGIN sftpjail sftpjail" not in above


@hookimpl
def on_check(account: Account | None, host: Host, config: Config) -> list[Finding]:
    if account is not None:
        return _differences(account, host, config) if _stands_for(account, host) else []
    answer = host.ask_sshd("-t")
    if answer.code != 0:
        why = "the running daemon has an older one, and will not start again"
        return [Finding(_refusal(answer.words), why, broken_line(" / ".join(answer.err.splitlines()), host))]
    findings = [
        Finding(
            f"sshd does not jail the members of profile {lack.profile.name}: {lack}",
            "the jail is open" if lack.is_open else _short_of(lack.profile, host, config),
            _blame(lack, host),
        )
        for lack in lacks(host, config, {})
    ]
    if not any(value.startswith("sftp ") for value in effective(host, "root").values.get("subsystem", ())):
        why = "sshd refuses SFTP, also where ForceCommand says internal-sftp"
        findings.append(Finding("sshd has no line Subsystem sftp", why, "sftpjail setup"))
    return findings + _daemon(host)


def _short_of(profile: Profile, host: Host, config: Config) -> str:
    """Return why a jail holds and is not what it should be."""
    return "the jail holds, but not all of its settings" if _written(profile, host, config) else PENDING


def _blame(lack: Lack, host: Host) -> str:
    """Return the command that puts a profile's setting in force again."""
    group = host.group_members(lack.profile.group) if lack.profile.group else ()
    names = [name for name in (*lack.profile.match_user, *(group or ())) if is_valid(name)]
    if lack.connection != LOCAL:
        names.append(PROBE)  # a Match line on the connection means everybody
    found = effective(host, names[0], lack.connection) if names else None
    keyword = lack.line.partition(" ")[0]
    if found and _in_foreign_match(keyword, found, host):
        return comment_out([found.origins[keyword]], host)
    return "sftpjail setup" if lack.connection == LOCAL else f"grep -in -A9 ^match {MAIN} {FOLDER}/*.conf"


def _daemon(host: Host) -> list[Finding]:
    """Return what is wrong with the daemon itself: not there, or with an older configuration than the files have."""
    if host.systemd and host.ask(["systemctl", "is-active", "--quiet", f"{unit(host)}.socket"]).code == 0:
        return []  # each connection starts an sshd, which reads the files
    if not _soon(lambda: host.running("sshd") is not None):
        install = f"install -d -m 755 /run/sshd && {host.which('sshd')}"
        start = f"systemctl start {unit(host)}" if host.systemd else install
        return [Finding("sshd does not run", "nobody can log in", start)]
    unread = [] if _soon(lambda: not _unread(host)) else _unread(host)
    why = "it still does what the old configuration says"
    return [
        Finding(f"sshd has not read {path} since it was changed", why, reload_command(host)) for path in unread[-1:]
    ]


def _unread(host: Host) -> list[str]:
    """Return the files that have changed since sshd wrote its pid file: at its start and after SIGHUP (sshd.c)."""
    pidfile = host.lstat(effective(host, "root").get("pidfile"))
    files = {FOLDER, MAIN, *(path for path, _ in effective(host, PROBE).origins.values())}
    files |= {f"{FOLDER}/{name}" for name in host.listdir(FOLDER) if name.endswith(".conf")}
    return [path for path in sorted(files) if pidfile and (s := host.stat(path)) and s.st_mtime > pidfile.st_mtime]


def _soon(true: Callable[[], bool]) -> bool:
    """Return whether something is so within half a second: an sshd that was just told to reload is on its way."""
    deadline = time.monotonic() + 0.5
    while not (answer := true()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


@hookimpl
def on_explain(account: Account, host: Host, config: Config) -> list[Fact]:
    found = effective(host, account.name)
    wanted = dict(line.split(" ", 1) for line in settings(account.profile, config, host)) if account.profile else {}
    facts = []
    block = found.origins.get("chrootdirectory")
    winner = match_line(block, host) if block else ""
    facts.append(
        Fact("sshd", winner or "no Match block with a chroot", "", _short(found.where("chrootdirectory")), not winner)
    )
    for keyword, value in wanted.items():
        now, where = found.get(keyword) or "unset", _short(found.where(keyword))
        facts.append(Fact("sshd", keyword, now, where if now == value else f"{where}, wanted {value}", now != value, 1))
    for keyword in ("authenticationmethods", "pubkeyauthentication", "passwordauthentication", "usepam", "subsystem"):
        facts.append(Fact("sshd", keyword, found.get(keyword) or "unset", _short(found.where(keyword))))
    return facts + _hazards(account, host, found)


def _short(place: str) -> str:
    return place.rpartition("/")[2]


def _hazards(account: Account, host: Host, found: Settings) -> list[Fact]:
    """Return what this version of OpenSSH does otherwise than its manual lets one expect (FACTS of the project)."""
    version = "{}.{}".format(*host.openssh)
    notes = []
    if host.openssh < (10, 4):
        notes.append(f"keeps {WORDS} words of ForceCommand internal-sftp and drops the rest in silence")
    if host.openssh < (10, 0):
        notes.append("leaves X11 and agent forwarding open with DisableForwarding alone; each door is shut by name")
    elif host.openssh < (10, 4):
        notes.append("leaves PermitTunnel open with DisableForwarding alone; each door is shut by name")
    if account.profile and account.profile.umask:
        notes.append("does not hold a client that sends modes to the umask of -u")
    return [Fact("sshd", "OpenSSH", version), *(Fact("sshd", "", f"It {note}.") for note in notes)]
