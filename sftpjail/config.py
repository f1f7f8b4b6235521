"""sftpjail.conf(5): ConfigObj with a configspec.

A missing file is the default; a wrong one stops everything.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from shlex import quote
from typing import Any, NamedTuple

from .errors import UsageError, did_you_mean, unreadable
from .model import (
    REQUESTS,
    Profile,
    components,
    frozen,
    is_roots,
    networks,
    normal,
    size,
    valid_name,
)
from .paths import KEYS_DIR, LIB

PATH = "/etc/sftpjail/sftpjail.conf"

SPEC = """
[sshd]
subsystem = option('keep', 'internal-sftp', default='keep')
[keys]
scope = option('jails', 'everyone', default='jails')
[mounts]
allow = force_list(default=list())
as = force_list(default=list())
[logs]
backend = option('auto', 'journald', 'rsyslog', 'syslog-ng', 'none', default='auto')
file = string(default='/var/log/sftp.log')
facility = option('DAEMON', 'USER', 'AUTH', 'AUTHPRIV', LOCALS, default='AUTH')
level = option('QUIET', 'FATAL', 'ERROR', 'INFO', 'VERBOSE', \
'DEBUG', 'DEBUG1', 'DEBUG2', 'DEBUG3', default='VERBOSE')
[history]
keep = integer(0, 1200, default=0)
[metrics]
file = string(default='')
accounts = boolean(default=True)
check = boolean(default=True)
[events]
user = string(default='')
workers = integer(1, 64, default=4)
timeout = integer(1, 86400, default=60)
retries = integer(0, 100, default=8)
queue = integer(10, 10000000, default=100000)
[plugins]
allow = force_list(default=list())
disable = force_list(default=list())
[[__many__]]
___many___ = string
[profiles]
[[__many__]]
group = string(default='')
match_user = force_list(default=list())
chroot = string(default='/srv/sftp/%u')
home = option('bind', 'inside', 'none', default='bind')
mounts = option('auto', 'fstab', 'session', default='auto')
files = string(default='files')
shell = string(default='/usr/sbin/nologin')
read_only = boolean(default=False)
umask = string(default='')
start = string(default='')
deny = force_list(default=list())
sshd_options = force_list(default=list())
keys_command = string(default='')
keys_command_user = string(default='nobody')
trusted_ca = string(default='')
principals = string(default='')
passwords = option('host', 'yes', 'no', default='host')
authentication_methods = force_list(default=list())
addresses = force_list(default=list())
connections = integer(0, 10000, default=0)
quota = string(default='')
""".replace("LOCALS", ", ".join(f"'LOCAL{n}'" for n in range(8)))

# The profile of a file that says nothing: setup decides where its mounts are.
UNSAID = Profile("sftponly", mounts="auto")


@frozen
class Logs:
    """The section [logs]: which daemon, which file, and internal-sftp's -f and -l."""

    backend: str = "auto"
    file: str = "/var/log/sftp.log"
    facility: str = "AUTH"
    level: str = "VERBOSE"


@frozen
class Metrics:
    """The section [metrics]: the file for node_exporter, "" for none, and what is in it.

    `accounts`: series of each account, and not only sums. `check`: how many problems there are.
    """

    file: str = ""
    accounts: bool = True
    check: bool = True


@frozen
class Events:
    """The section [events]: who runs what `watch` hands out, "" for nobody, and how.

    `workers`: accounts at once. `timeout`: seconds for one script. `retries`: how often one that
    failed is run again. `queue`: how many events of one account may wait, and be put aside.
    """

    user: str = ""
    workers: int = 4
    timeout: int = 60
    retries: int = 8
    queue: int = 100_000


class Taken(NamedTuple):
    """A Match block of an administrator's that `import` replaces by one of ours.

    Its file, its lines with their newlines, and what the comment above them is to say.
    """

    path: str
    lines: tuple[str, ...]
    note: str


@frozen
class Config:
    """The configuration, checked.

    `settings` holds each plugin's own subsection of [plugins], `plugins_packaged` those that a
    package of the system allows. `keep_history` is in months, 0 for ever. Four are
    in no file: `taken` has the blocks that `import` replaces, `given_back` those that are in force
    again, and `released` the accounts that these jail; `agreed` says that an administrator wants
    members shut out by what the file says.
    """

    profiles: tuple[Profile, ...] = (Profile("sftponly"),)
    subsystem: str = "keep"
    scope: str = "jails"
    allow_sources: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    logs: Logs = Logs()
    plugins_allow: tuple[str, ...] = ()
    plugins_disable: tuple[str, ...] = ()
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    plugins_packaged: tuple[str, ...] = ()
    keep_history: int = 0
    metrics: Metrics = Metrics()
    events: Events = Events()
    taken: tuple[Taken, ...] = ()
    given_back: tuple[Taken, ...] = ()
    released: tuple[str, ...] = ()
    agreed: bool = False

    def profile(self, name: str) -> Profile:
        """Return a profile by its name; the first one for "".

        Raises:
            UsageError: there is none of that name.
        """
        for profile in self.profiles:
            if name in ("", profile.name):
                return profile
        known = ", ".join(p.name for p in self.profiles)
        meant = did_you_mean(name, (p.name for p in self.profiles))
        raise UsageError(f"there is no profile {name!r}; the configuration has {known}{meant}")


def load(path: str = PATH) -> Config:
    """Read and check a configuration.

    Args:
        path: the file; the default one may be missing.

    Raises:
        UsageError: it has an unknown key or a wrong value; says which and where.
        SftpJailError: it cannot be read; see `errors.unreadable`.
    """
    try:
        with open(path, encoding="utf-8") as handle:
            _refuse_strange(path, os.fstat(handle.fileno()))
            text = handle.read()
    except FileNotFoundError:
        if path == PATH:
            return Config((UNSAID,), plugins_packaged=_packaged())
        raise UsageError(f"there is no configuration file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(f"the configuration {path}", error) from error
    return replace(parse(text, path), plugins_packaged=_packaged())


def _refuse_strange(path: str, found: os.stat_result) -> None:
    """Refuse, as root, what others could change.

    It names programs that sshd runs, and plugins that are root's.
    """
    if os.geteuid() == 0 and not is_roots(found):
        fix = ""
        if _leads_only_there(path):
            fix = f"chown root {quote(path)} && chmod go-w {quote(path)}"
        raise UsageError(f"the configuration {path} can be changed by others than root", fix)


def _leads_only_there(path: str) -> bool:
    """Return whether only root can put something else in a path's place.

    Then a command on it is safe to print.
    """
    if not path.startswith("/") or os.path.islink(path):
        return False
    above = [os.lstat(directory) for directory in components(posixpath.dirname(path))]
    return all(stat.S_ISDIR(found.st_mode) and is_roots(found) for found in above)


def _packaged() -> tuple[str, ...]:
    """Return the plugins that came with a package.

    As its hook scripts, they need no leave of the configuration.
    """
    try:
        return tuple(sorted(os.listdir(f"{LIB}/plugins.d")))
    except OSError:
        return ()


def parse(text: str, path: str = PATH) -> Config:
    """Check a configuration's text; `path` is for errors. Raises UsageError as `load` does."""
    # Imported late: an entry script for an account that is not ours never gets here.
    from configobj import ConfigObj, ConfigObjError, flatten_errors, get_extra_values
    from configobj.validate import Validator

    spec = ConfigObj(SPEC.splitlines(), list_values=False, interpolation=False, _inspec=True)
    try:
        raw = ConfigObj(text.splitlines(), configspec=spec, interpolation=False)
    except ConfigObjError as error:
        raise UsageError(
            f"{path}: {error}", advice=f"correct it in {path}; see sftpjail.conf(5)"
        ) from error
    result = raw.validate(Validator(), preserve_errors=True)
    for sections, key, problem in flatten_errors(raw, result if isinstance(result, dict) else {}):
        where = f"{_section(sections)} {key or ''}".rstrip()
        raise UsageError(
            f"{path}: {where}: {problem or 'is missing'}",
            advice=f"correct it in {path}; see sftpjail.conf(5)",
        )
    for sections, name in get_extra_values(raw):
        if sections[:1] != ("plugins",):
            what = f"unknown setting {name!r} {_section(sections)}".rstrip()
            raise UsageError(
                f"{path}: {what}{did_you_mean(name, _known(spec, sections))}",
                advice="see sftpjail.conf(5)",
            )
    return _build(raw, path)


def _known(spec: Any, sections: Sequence[str]) -> list[str]:
    """Return the settings and sections that a section may have."""
    for name in sections:
        if name in spec:
            spec = spec[name]
        else:
            spec = spec.get("__many__", {})
    return [name for name in spec if name != "__many__"]


def _section(names: Sequence[str]) -> str:
    return " ".join("[" * depth + name + "]" * depth for depth, name in enumerate(names, 1))


def _build(raw: Any, path: str) -> Config:
    sections = raw["profiles"] or {"sftponly": None}
    deeper = [name for name in raw["plugins"].sections if raw["plugins"][name].sections]
    if deeper:
        raise UsageError(
            f"{path}: [plugins] [[{deeper[0]}]]: a plugin's settings have no sections of their own"
        )
    profiles = tuple(_profile(name, raw["profiles"].get(name), path) for name in sections)
    groups = [p.group for p in profiles if p.group]
    if len(set(groups)) < len(groups):
        raise UsageError(
            f"{path}: [profiles]: two profiles have one group; each needs a group of its own"
        )
    logs = Logs(**{key: raw["logs"][key] for key in ("backend", "file", "facility", "level")})
    if not re.fullmatch(r"/[A-Za-z0-9_./+-]+", _absolute(logs.file, f"{path}: [logs] file")):
        raise UsageError(
            f"{path}: [logs] file: {logs.file!r} "
            "has a character that logrotate and the daemons would mind"
        )
    plugins = raw["plugins"]
    return Config(
        profiles,
        raw["sshd"]["subsystem"],
        raw["keys"]["scope"],
        tuple(_absolute(source, f"{path}: [mounts] allow") for source in raw["mounts"]["allow"]),
        _owners(raw["mounts"]["as"], path),
        logs,
        tuple(filter(None, plugins["allow"])),
        tuple(filter(None, plugins["disable"])),
        {name: dict(plugins[name]) for name in plugins.sections},
        keep_history=raw["history"]["keep"],
        metrics=_metrics(raw["metrics"], path),
        events=_events(raw["events"], path),
    )


def _metrics(raw: Any, path: str) -> Metrics:
    where = f"{path}: [metrics] file"
    file = ""
    if raw["file"]:
        file = _absolute(raw["file"], where)
    if file and not is_for_node_exporter(file):
        raise UsageError(f"{where}: {file!r} must end in .prom: node_exporter reads no other file")
    return Metrics(file, raw["accounts"], raw["check"])


def is_for_node_exporter(path: str) -> bool:
    """Return whether node_exporter's textfile collector reads a file of that name."""
    return path.endswith(".prom") and posixpath.basename(path) != ".prom"


def _events(raw: Any, path: str) -> Events:
    try:
        user = ""
        if raw["user"]:
            user = valid_name(raw["user"])
    except UsageError as error:
        raise UsageError(
            f"{path}: [events] user: {error.message}",
            advice=f"correct it in {path}; see sftpjail.conf(5)",
        ) from error
    return Events(user, raw["workers"], raw["timeout"], raw["retries"], raw["queue"])


def _owners(values: Iterable[str], path: str) -> tuple[str, ...]:
    """Return who may own what is mounted by `mount --as`: OWNER, or OWNER:GROUP."""
    for value in values:
        owner, colon, group = value.partition(":")
        try:
            valid_name(owner)
            valid_name(group if colon else owner, "group")
        except UsageError as error:
            raise UsageError(
                f"{path}: [mounts] as: {error.message}",
                advice=f"correct it in {path}; see sftpjail.conf(5)",
            ) from error
    return tuple(values)


def _absolute(value: str, where: str) -> str:
    if not value.startswith("/") or _unprintable(value):
        raise UsageError(f"{where}: {value!r} is not an absolute path")
    return posixpath.normpath(value)


def _unprintable(value: str) -> bool:
    # Neither are bytes that are not UTF-8 printable, nor line breaks of Unicode.
    return not value.isprintable()


def _profile(name: str, raw: Any, path: str) -> Profile:
    where = f"{path}: [profiles] [[{name}]]"
    if raw is None:
        return replace(UNSAID, name=name)
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()
    }
    # Commas separate the methods of one list, as sshd has it; quoted or not.
    methods = ",".join(values["authentication_methods"]).split()
    values["authentication_methods"] = " ".join(methods)
    if not values["group"] and not values["match_user"]:
        values["group"] = name
    quota = values.pop("quota")
    profile = Profile(name, **values)
    try:
        valid_name(name, "profile")
        profile = replace(profile, addresses=_networks(profile.addresses), quota=_quota(quota))
        _check_profile(profile)
    except UsageError as error:
        raise UsageError(
            f"{where}: {error.message}", advice=f"correct it in {path}; see sftpjail.conf(5)"
        ) from error
    return profile


# Settings of a profile that may be empty: the form of others, and what it must be.
_FORMS = {
    "umask": (r"0?[0-7]{3}", "three octal digits as 027"),
    "start": (r"/[A-Za-z0-9_./%u@+-]*", "a path inside the jail without spaces"),
    "shell": (r"/[^:\s]*", "an absolute path, or empty to leave shells alone"),
    # What sshd would refuse only at a login, or read as something else: sshd_config(5).
    "keys_command": (
        r"/[^\s\"'\\#]+( [^\"'\\#]+)?",
        "an absolute path and arguments without quotes",
    ),
    "trusted_ca": (r"/[A-Za-z0-9_./%+@-]+", "an absolute path without spaces"),
    "principals": (r"/[A-Za-z0-9_./%+@-]+", "an absolute path without spaces"),
}


def _check_profile(profile: Profile) -> None:
    if profile.group:
        valid_name(profile.group, "group")
    for name in profile.match_user:
        valid_name(name, "account")
    valid_name(profile.keys_command_user, "keys_command_user")
    _check_chroot(profile)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", profile.files):
        raise UsageError(f"files = {profile.files}: must be one plain directory name")
    for name, (form, what) in _FORMS.items():
        value = getattr(profile, name)
        if value and not re.fullmatch(form, value):
            raise UsageError(f"{name} = {value}: must be {what}")
    if _unprintable(profile.keys_command):
        raise UsageError("keys_command: has a control character")
    if profile.principals and not profile.trusted_ca:
        raise UsageError("principals requires trusted_ca")
    unknown = sorted(set(profile.deny) - REQUESTS.keys())
    if unknown:
        raise UsageError(
            f"deny: sftp has no request {', '.join(unknown)}; "
            "see `/usr/lib/openssh/sftp-server -Q requests`"
        )
    _check_methods(profile)
    for option in profile.sshd_options:
        _check_option(option)


def _quota(text: str) -> int:
    """Return how many bytes `quota` is, 0 for any number. Raises UsageError."""
    try:
        if not text:
            return 0
        return size(text)
    except UsageError as error:
        raise UsageError(f"quota = {error.message}") from error


def _networks(words: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return networks(words)
    except UsageError as error:
        raise UsageError(f"addresses: {error.message}") from error


# sshd_config(5), AuthenticationMethods; "none" would let anybody in.
_METHODS = ("gssapi-with-mic", "hostbased", "keyboard-interactive", "password", "publickey")
_OF_PASSWORDS = ("keyboard-interactive", "password")


def _check_methods(profile: Profile) -> None:
    """Refuse lists of methods that sshd does not know, or that nobody can go through."""
    lists = [one.split(",") for one in profile.authentication_methods.split()]
    if lists == [["any"]]:
        return
    names = {method.partition(":")[0] for one in lists for method in one}
    unknown = sorted(names - set(_METHODS))
    if unknown:
        raise UsageError(
            f"authentication_methods: sshd has no method {unknown[0]!r}; "
            f"it has {', '.join(_METHODS)}, and any alone{did_you_mean(unknown[0], _METHODS)}"
        )
    open_to = [one for one in lists if not any(m.startswith(_OF_PASSWORDS) for m in one)]
    if lists and not open_to and profile.passwords == "no":
        raise UsageError(
            "authentication_methods: each list asks for a password, and passwords = no takes none"
        )


def _check_chroot(profile: Profile) -> None:
    if profile.in_home:
        if profile.home == "inside":
            raise UsageError(
                "home = inside needs chroot = /DIRECTORY/%u: with %h the jail is the home already"
            )
        return
    # Beneath a directory of its own, named by %u alone:
    # what a tree of jails is, and what can be judged and removed.
    base, last = posixpath.split(profile.chroot)
    if last != "%u" or "%" in base or not base.startswith("/") or normal(base) == "/":
        raise UsageError(f"chroot = {profile.chroot}: must be %h or /DIRECTORY/%u")
    if normal(base) != base or _unprintable(base) or re.search(r"[\s\"'\\#]", base):
        raise UsageError(f"chroot = {profile.chroot}: a plain path, without spaces, quotes or //")


def _check_option(option: str) -> None:
    if _unprintable(option) or " " not in option.strip():
        raise UsageError(f"sshd_options: {option!r} is not `Keyword value` of sshd_config(5)")
    if re.match(r"(?i)(match|include|subsystem)\b", option.strip()):
        raise UsageError(f"sshd_options: {option.split()[0]} cannot stand in a Match block")


def keyfile(name: str) -> str:
    """Return the path of an account's authorized_keys file."""
    return os.path.join(KEYS_DIR, name)
