"""`import`: turn jails that were made by hand into profiles, and back for `undo`."""

from __future__ import annotations

import posixpath
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from shlex import quote
from typing import Any

from ..actions import Check, Configure, MakeDir, Remove
from ..config import UNSAID, Config, Taken, keyfile, parse
from ..engine.engine import Engine
from ..engine.plan import Event, OnKeyMigrate, OnSetup, OnTeardown, Plan, Step
from ..errors import SftpJailError
from ..errors.escapes import look_at, some
from ..host import Host
from ..jails.handmade import Found, Member, command_of, find_handmade
from ..jails.leftovers import has_remains
from ..jails.membership import find, jailed
from ..model import Account, Problem, Profile, frozen, normal
from ..openssh import public_keys
from ..openssh.auto_mounts import decided
from ..openssh.connections import connections
from ..openssh.match_blocks import DOORS
from ..openssh.settings import Settings, effective
from ..openssh.sshd import spec
from .apply import for_config, still_jailed
from .events import create_events, remove_events
from .keys import add_events, old_place, present

IMPORT = "import"  # stands for a plugin's name
# Keywords that are compared separately, may be written differently, or that we only restrict.
_APART = {"chrootdirectory", "forcecommand", "authorizedkeysfile", "subsystem", "pamservicename"}
_APART |= {door.split()[0].lower() for door in DOORS}
_MOST = 8  # names in one sentence
_HEADER = "# Configuration of sftpjail, see sftpjail.conf(5).\n"


@frozen
class Proposal:
    """What an import would do.

    Args:
        found: every block with a chroot, including those that stay as they are.
        config: the configuration with the new profiles, and the blocks that it replaces.
        text: the new content of sftpjail.conf.
        notes: what will change for the whole host.
    """

    found: tuple[Found, ...]
    config: Config
    text: str
    notes: tuple[str, ...] = ()

    @property
    def wanted(self) -> list[Found]:
        """The blocks that become profiles."""
        return [one for one in self.found if one.profiles]

    @property
    def members(self) -> dict[str, Member]:
        """The accounts that these blocks jail, by name."""
        return {member.account.name: member for one in self.wanted for member in one.members}


# -- the proposal ---------------------------------------------------------------------------------


def propose(host: Host, config: Config, path: str) -> Proposal:
    """Return the jails made by hand, and a configuration that describes them.

    Args:
        host: the facts.
        config: the present configuration.
        path: its file.

    Raises:
        SftpJailError: sshd refuses its configuration.
    """
    # A package's default profiles do not count before somebody has run setup.
    as_written = tuple(map(_as_written, config.profiles))
    unused = not host.records.is_set_up and as_written == (UNSAID,)
    kept = () if unused else config.profiles
    found = find_handmade(host, replace(config, profiles=kept))
    found = [_valid(one) for one in found]
    wanted = [one for one in found if one.profiles]
    day = time.strftime("%Y-%m-%d")
    text = host.text(path) or _HEADER
    if not wanted:
        return Proposal(tuple(found), config, text)
    sections = [line for one in wanted for line in _sections(one, day)]
    text = with_profiles(text, sections, anew=unused)
    logs, notes = _logs(wanted, config)
    if unused and logs and not re.search(r"(?m)^\s*\[\s*logs\s*\]", text):
        text = f"{text.rstrip()}\n\n[logs]\n{logs}"
        notes = []
    new = parse(text, path)
    imported = tuple(profile for one in wanted for profile in one.profiles)
    if new.profiles != (*(() if unused else as_written), *imported):
        raise SftpJailError(f"the profiles cannot be written into {path} as it stands")
    new = replace(decided(new, host, ask=True), plugins_packaged=config.plugins_packaged)
    note = f"{day}: replaced by a profile; `sftpjail undo` or `sftpjail teardown` gives it back"
    taken = tuple(Taken(one.block.path, one.block.lines, note) for one in wanted)
    return Proposal(tuple(found), replace(new, taken=taken), text, tuple(notes))


def _as_written(profile: Profile) -> Profile:
    """Return a profile with what the file says of its mounts."""
    if profile.mounts_because:
        return replace(profile, mounts="auto")
    return profile


def _valid(found: Found) -> Found:
    """Return a block, with problems added if its profiles are not valid in sftpjail.conf(5)."""
    problems = []
    for profile in found.profiles:
        try:
            text = "\n".join(["[profiles]", *section(profile)])
            if parse(text, "").profiles != (profile,):
                problems.append(f"{found.block}: no profile can say this block")
        except SftpJailError as error:
            words = error.message.partition("]]: ")[2] or error.message
            problems.append(f"{found.block}: {words}")
    if not problems:
        return found
    return replace(found, profiles=(), problems=(*found.problems, *problems))


def _logs(found: Sequence[Found], config: Config) -> tuple[str, list[str]]:
    """Return the lines of [logs] on which the blocks agree, and notes about what will change."""
    lines, notes = "", []
    for name in ("facility", "level"):
        said = {getattr(one.command, name) for one in found} - {""}
        if said - {getattr(config.logs, name)}:
            values = " and ".join(sorted(said))
            now = getattr(config.logs, name)
            notes.append(f"internal-sftp logs with {name} {now}, not {values}")
            if len(said) == 1:
                lines += f"{name} = {said.pop()}\n"
    return lines, notes


def _sections(found: Found, day: str) -> Iterator[str]:
    for profile in found.profiles:
        yield ""
        yield f"# Imported on {day} from {found.block}."
        yield from section(profile)


def section(profile: Profile) -> Iterator[str]:
    """Yield the lines of a profile for sftpjail.conf(5), without default values.

    Where its mounts are is always said: an import leaves nothing to setup.

    Raises:
        SftpJailError: a value cannot be quoted.
    """
    default = Profile(profile.name, group="", mounts="auto")
    yield f"[[{profile.name}]]"
    for name, value in vars(profile).items():
        if name == "name" or value == getattr(default, name):
            continue
        if isinstance(value, tuple):
            yield f"{name} = {', '.join(map(_quoted, value))}{',' if len(value) == 1 else ''}"
        else:
            yield f"{name} = {_quoted({True: 'yes', False: 'no'}.get(value, value))}"


def _quoted(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_./%@+:-]+", value):
        return value
    quote = next((quote for quote in "\"'" if quote not in value), "")
    if not quote:
        raise SftpJailError(f"{value}: both kinds of quotes in one value")
    return f"{quote}{value}{quote}"


def with_profiles(text: str, sections: Sequence[str], anew: bool) -> str:
    """Return a configuration with profiles added after those that it has.

    Where it names none, it has the one that then is the default, which is written down.

    Args:
        text: the content of sftpjail.conf.
        sections: the lines of the new profiles.
        anew: remove the profiles that it has.
    """
    lines = text.split("\n")
    heads = [at for at, line in enumerate(lines) if re.match(r"\s*\[\s*[^\s\[]", line)]
    begin = next((at for at in heads if re.match(r"\s*\[\s*profiles\s*\]", lines[at])), None)
    if begin is None:
        lines = [*text.rstrip("\n").split("\n"), "", "[profiles]"]
        begin = len(lines) - 1
    end = next((at for at in heads if at > begin), len(lines))
    own = [lines[begin]] if anew else lines[begin:end]
    while own and not own[-1].strip():
        own.pop()
    if not (anew or any(line.lstrip().startswith("[[") for line in own)):
        own.append(f"[[{UNSAID.name}]]")
    return "\n".join([*lines[:begin], *own, *sections, "", *lines[end:]]).rstrip("\n") + "\n"


# -- the import -----------------------------------------------------------------------------------


def seen_by_setup(host: Host, config: Config, path: str) -> list[Problem]:
    """Return the jails made by hand on a host that is to be set up, and what an import would do.

    Args:
        host: the facts.
        config: the present configuration.
        path: its file.

    Raises:
        SftpJailError: setup would move accounts out of jails that an import would keep.
    """
    try:
        found = propose(host, config, path).found
    except SftpJailError:
        return []  # setup itself reports why
    jails = jailed(config, host)
    problems = []
    for one in found:
        whom = [member for member in one.members if member.account.name in jails]
        if whom and one.profiles and not host.records.is_set_up:
            raise _moving(one, whom, jails)
        names = some([member.account.name for member in one.members], _MOST) or "nobody"
        what = f"{one.block} ({one.block.heading}) jails {names} by hand"
        if whom:
            what += ", and setup makes other jails for them"
        elif one.problems:
            what += "; no profile can say that"
        advice = "`sftpjail import` shows what it is, and what of it can be taken over"
        problems.append(Problem(what, "", advice=advice, severity="advice", about="host"))
    return problems


def _moving(found: Found, whom: Sequence[Member], jails: Mapping[str, Account]) -> SftpJailError:
    name, chroot = whom[0].account.name, whom[0].chroot
    names = some([member.account.name for member in whom], _MOST)
    return SftpJailError(
        f"{found.block} ({found.block.heading}) jails {names} by hand, and setup would make other "
        f"jails for them: {name} is in {chroot} now, and would be in {jails[name].jail}",
        choices=(("to take these jails over as they are", "sftpjail import --apply"),),
        advice="or remove that block from the file if setup is to make new jails",
    )


def plan_import(engine: Engine, proposal: Proposal, path: str) -> Plan:
    """Return the plan that turns the blocks into profiles.

    Args:
        engine: with the new configuration.
        proposal: from `propose`, with something to do.
        path: the path of sftpjail.conf.

    Raises:
        SftpJailError: a veto.
    """
    host = engine.host
    jails = jailed(engine.config, host)
    _refuse_others(proposal, jails)
    events: list[Event] = [OnSetup()]
    for name, member in proposal.members.items():
        account = jails.get(name, member.account)
        events += create_events(account, host, engine.manager)
        events += add_events(account, list(member.keys), host)
    patterns = {name: member.pattern for name, member in proposal.members.items()}
    brings = tuple(profile.name for one in proposal.wanted for profile in one.profiles)
    members, blocks = tuple(patterns.items()), engine.config.taken
    write = Configure(path, proposal.text, keep=True, brings=brings, members=members, blocks=blocks)
    also = [Step(write, IMPORT)]
    if not host.is_dir(posixpath.dirname(path)):
        also.insert(0, Step(MakeDir(posixpath.dirname(path)), IMPORT))
    return engine.plan(events, also=also)


def _refuse_others(proposal: Proposal, jails: Mapping[str, Account]) -> None:
    """Refuse a profile that would jail an account to which other lines of sshd apply now.

    sshd reads our Match blocks first, so these lines would no longer apply.

    Raises:
        SftpJailError: names one such account.
    """
    brought = {profile.name for one in proposal.wanted for profile in one.profiles}
    for name, account in jails.items():
        profile = account.profile
        if profile and profile.name in brought and name not in proposal.members:
            raise SftpJailError(
                f"nothing was imported: profile {profile.name} would jail {name}, "
                "to whom other lines of sshd's configuration apply",
                advice=f"take {name} out of {profile.group or 'its Match line'} first",
            )


Stage = Callable[[Engine], Plan]


def proof(engine: Engine, proposal: Proposal) -> Stage:
    """Return the stage that retires the old key files and proves that no login has changed.

    sshd is asked now, and again when the stage is planned.

    Args:
        engine: with the present facts.
        proposal: what is about to be done.
    """
    before = {name: _settings(name, engine.host) for name in proposal.members}

    def prove(later: Engine) -> Plan:
        for name, member in proposal.members.items():
            account = find(name, later.config, later.host)
            after = _settings(name, later.host)
            for kind, old in before[name].items():
                differs = _difference(member, account, old, after.get(kind) or old, later.host)
                if differs:
                    raise SftpJailError(
                        f"{name} would not log in as before, so nothing was imported: {differs}",
                        look_at("sftpjail import"),
                    )
        jails = jailed(later.config, later.host)
        return later.plan(
            OnKeyMigrate(jails[name], old_place(member.account))
            for name, member in proposal.members.items()
            if normal(old_place(member.account)) in member.files and name in jails
        )

    return prove


def _settings(name: str, host: Host) -> dict[str, Settings]:
    """Return sshd's settings for an account, by the kind of connection."""
    return {kind: effective(host, name, kind) for kind in connections(host)}


def _difference(
    member: Member, account: Account, before: Settings, after: Settings, host: Host
) -> str:
    """Return what has changed for an account, or ""."""
    place = normal(account.expand(after.get("chrootdirectory")))
    was = normal(account.expand(before.get("chrootdirectory")))
    if place != was:
        return f"its chroot would be {place} and is {was}"
    old, new = command_of(before), command_of(after)
    for name in ("start", "umask", "read_only", "deny"):
        if getattr(old, name) != getattr(new, name):
            return f"{name} would be {getattr(new, name)!r} and is {getattr(old, name)!r}"
    for keyword in {*before.values, *after.values} - _APART:
        if before.values.get(keyword) != after.values.get(keyword):
            now = " / ".join(after.values.get(keyword, ("unset",)))
            then = " / ".join(before.values.get(keyword, ("unset",)))
            return f"{keyword} would be {now} and is {then}"
    known = {public_keys.blob(key): key.options for key in member.keys}
    if {blob: key.options for blob, key in present(account, host).items()} != known:
        return "its keys would be others"
    return ""


# -- the undo -------------------------------------------------------------------------------------


def imported(items: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return what a transaction has imported, or None."""
    return next((item for item in items if item["event"] == "imported"), None)


def engine_without(item: Mapping[str, Any], engine: Engine) -> Engine:
    """Return an engine with the configuration without an import's profiles.

    The accounts that sshd's own blocks jail again are marked as released.
    """
    config = engine.config
    profiles = tuple(one for one in config.profiles if one.name not in item["profiles"])
    names = tuple(name for name, _ in item["members"])
    blocks = tuple(Taken(path, tuple(lines), note) for path, lines, note in item["blocks"])
    changed = replace(config, profiles=profiles, given_back=blocks, released=names)
    return for_config(engine, changed)


def plan_back(
    item: Mapping[str, Any], first: bool, keys: Collection[str], now: Config, engine: Engine
) -> Plan:
    """Return the plan that restores the jails made by hand.

    Args:
        item: from `imported`.
        first: the import has set the host up.
        keys: the lines of the keys that it has copied.
        now: the configuration with the import's profiles.
        engine: from `engine_without`.

    Raises:
        SftpJailError: changes to the host since then make this impossible.
    """
    host, path, text = engine.host, item["path"], item["before"]
    jails = jailed(now, host)
    brought = {
        name: account
        for name, account in jails.items()
        if account.profile and account.profile.name in item["profiles"]
    }
    patterns = dict(item["members"])
    _refuse_more(brought, patterns, keys, host)
    others = [name for name in jails if name not in brought]
    if first and others:
        raise still_jailed(others)
    events: list[Event] = []
    # If there was a file before, it is the administrator's. Otherwise it is the import's.
    conf = Remove(path, ours=True) if text is None else Configure(path, text, keep=True)
    also = [Step(conf, IMPORT)]
    for name, pattern in patterns.items():
        events += _unjailed(name, brought.get(name), host)
        argv = (host.which("sshd"), "-T", "-C", spec(name))
        line = f"chrootdirectory {pattern}"
        also.append(Step(Check(argv, f"{name} must be jailed as before", lines=(line,)), IMPORT))
    last = OnTeardown() if first else OnSetup()
    return engine.plan([*events, last], also=also)


def _unjailed(name: str, account: Account | None, host: Host) -> list[Event]:
    """Return the events that remove our jail. Memberships stay, because they are not ours.

    Raises:
        SftpJailError: it is no longer jailed.
    """
    if account is None or account.profile is None:
        raise SftpJailError(f"{name} is no longer jailed by a profile of that import")
    if not has_remains(name, host):
        return []
    plain = replace(account.profile, group="", match_user=())
    return remove_events(replace(account, profile=plain), host, deleted=False)


def _refuse_more(
    brought: Mapping[str, Account], known: Collection[str], keys: Collection[str], host: Host
) -> None:
    """Refuse if there are accounts, keys or mounts that the old blocks did not have.

    Raises:
        SftpJailError: names the command that removes them first.
    """
    for name, account in brought.items():
        if name not in known:
            raise SftpJailError(
                f"{name} was added to these jails after the import",
                choices=(("to make it an ordinary account", f"sftpjail remove {quote(name)}"),),
            )
        ours = keyfile(name) in host.origin(name).made
        if ours and any(key.line not in keys for key in present(account, host).values()):
            words = f"{name} has keys that were added after the import"
            raise SftpJailError(words, look_at(f"sftpjail key list {quote(name)}"))
        for bind in host.binds(name):
            if bind.role == "mount":
                target = bind.target.removeprefix(account.jail)
                raise SftpJailError(
                    f"{name} has mounts that were made after the import",
                    choices=(
                        ("to remove this one", f"sftpjail umount {quote(name)} {quote(target)}"),
                    ),
                )
