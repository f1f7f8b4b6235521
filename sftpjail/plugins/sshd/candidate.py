"""The files that `setup` would write for sshd, and how sshd interprets them."""

from __future__ import annotations

import re

from ... import Profile, Remove, SftpJailError, WriteFile
from ...actions import Action
from ...config import Config
from ...errors.escapes import look_at
from ...formats.tagged_lines import Style, edit
from ...host import Host
from ...jails import addresses
from ...jails.closing import match_block
from ...model import frozen
from ...openssh.daemons import Daemon
from ...openssh.match_blocks import (
    DIRECTORY,
    DROPIN,
    MAIN,
    address_blocks,
    block,
    heads,
    match_blocks,
    settings,
)
from ...openssh.repair import broken_line
from ...openssh.settings import PROBE
from ...openssh.sshd import LOCAL, ask_sshd, spec
from ...paths import KEYS_DIR

HEADER = "# Made by `sftpjail setup` from /etc/sftpjail/sftpjail.conf; changes here are lost."

SUBSYSTEM = "Subsystem sftp internal-sftp"
GLOBAL_KEYS = f"AuthorizedKeysFile {KEYS_DIR}/%u"


def ask(
    host: Host,
    user: str,
    files: dict[str, bytes | None],
    connection: str = LOCAL,
    daemon: Daemon | None = None,
) -> str:
    asked = daemon.command if daemon else ()
    answer = ask_sshd(host, "-T", "-C", spec(user, connection), files=files, daemon=asked)
    if answer.failed:
        raise SftpJailError(
            f"sshd does not report its settings for {user}: {answer.words}",
            look_at("sshd -T"),
        )
    return answer.out


def value_of(said: str, keyword: str) -> str:
    return next(
        (line.partition(" ")[2] for line in said.splitlines() if line.startswith(keyword + " ")), ""
    )


def _included(host: Host) -> bool:
    """Return whether sshd reads our drop-in.

    A probe in its place answers this, rather than a look at Include lines.
    """
    if not host.is_dir(DIRECTORY):
        return False
    probe = f"Match User {PROBE}\n    PermitTTY no\n    Banner /{PROBE}\n".encode()
    return value_of(ask(host, PROBE, {DROPIN: probe}), "banner") == f"/{PROBE}"


def without_us(text: str) -> str:
    """Return sshd_config without our changes."""
    for tag, style in (("sftpjail", Style.BLOCK), ("global", Style.TOP)):
        text = edit(text, {tag: ()}, style)
    return re.sub(r"(?m)^#sftpjail# ", "", text)


def refusal(words: str) -> str:
    return f"sshd refuses its present configuration: {words}"


def candidate(host: Host, config: Config) -> dict[str, str | None]:
    """Return the content of our drop-in and sshd_config; None for a file that should not exist.

    Raises:
        SftpJailError: sshd's current configuration is broken, or its Subsystem line is not in a
            file that we may change.
    """
    answer = ask_sshd(host, "-t")
    if answer.failed:
        raise SftpJailError(
            f"sshd refuses its present configuration: {answer.words}",
            broken_line(answer.words, host),
        )
    if host.openssh < (8, 2):
        raise SftpJailError("this OpenSSH is older than 8.2 and has no Include")
    texts = _of_others(host, config)
    main = without_us(texts.pop(MAIN))
    rest: dict[str, str | None] = {**texts, DROPIN: None}
    top: list[str] = []
    if config.scope == "everyone":
        top.append(GLOBAL_KEYS)
    before = value_of(ask(host, "root", encoded({MAIN: main, **rest})), "subsystem")
    if config.subsystem == "internal-sftp" and before and before != "sftp internal-sftp":
        main = re.sub(r"(?mi)^(?=\s*subsystem[\s=]+\"?sftp\b)", "#sftpjail# ", main)
        before = value_of(ask(host, "root", encoded({MAIN: main, **rest})), "subsystem")
        if before:
            raise SftpJailError(
                f"the line `Subsystem {before}` is not in {MAIN}, "
                "so it cannot be replaced from there",
                look_at(f"grep -rn Subsystem {DIRECTORY}"),
            )
    if not before:
        top.append(SUBSYSTEM)
    lines = [*match_block(host), *addresses.match_blocks(host), *match_blocks(config, host)]
    dropin = None
    if _included(host):
        dropin = "\n".join([HEADER, *top, *lines]) + "\n"
    else:
        main = edit(main, {"global": tuple(top)} if top else {}, Style.TOP)
        main = edit(main, {"sftpjail": tuple(lines)}, Style.BLOCK)
    # At every moment there is a block that jails: the new one is there before the old one goes.
    if config.given_back:
        return {**texts, MAIN: main, DROPIN: dropin}
    return {DROPIN: dropin, MAIN: main, **texts}


def _of_others(host: Host, config: Config) -> dict[str, str]:
    """Return sshd_config, and what else changes where a block by hand is replaced or comes back."""
    from ...openssh.handmade import comment_out, uncomment  # late: for `import`, and useradd waits

    texts = {MAIN: host.text(MAIN)}
    for one in config.taken:
        text = texts.get(one.path, host.text(one.path))
        texts[one.path] = comment_out(text, one.lines, one.note)
    for one in config.given_back:
        text = texts.get(one.path, host.text(one.path))
        texts[one.path] = uncomment(text, one.lines, one.note)
    return texts


def all_given_back(host: Host) -> dict[str, str]:
    """Return sshd's other files that have a block which `import` replaced, with that again."""
    from ...openssh.handmade import uncomment_blocks  # late: as above

    texts = {
        f"{DIRECTORY}/{name}": host.text(f"{DIRECTORY}/{name}")
        for name in host.listdir(DIRECTORY)
        if f"{DIRECTORY}/{name}" != DROPIN
        if not name.startswith(".") and not host.is_dir(f"{DIRECTORY}/{name}")
    }
    return {path: back for path, text in texts.items() if (back := uncomment_blocks(text)) != text}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def encoded(files: dict[str, str | None]) -> dict[str, bytes | None]:
    return {path: None if text is None else _bytes(text) for path, text in files.items()}


def changes_of(host: Host, files: dict[str, str | None]) -> list[Action]:
    actions: list[Action] = []
    for path, text in files.items():
        if text is None:
            actions.append(Remove(path, ours=True))
        elif path == DROPIN:
            actions.append(WriteFile(path, text))
        elif text != host.text(path):
            actions.append(WriteFile(path, text, keep=True))
    return actions


def _member(profile: Profile, host: Host, match_user: bool) -> tuple[str, dict[str, bytes | None]]:
    """Return a name that the profile must jail, and the account files to ask sshd with.

    A group that is empty or does not exist yet gets a member there, for this question only.
    """
    if match_user:
        return profile.match_user[0], {}
    group = host.group(profile.group)
    gid = 2000000001
    if group:
        gid = group.gid
    lines = ""
    if not group:
        lines = f"{profile.group}:x:{gid}:\n"
    passwd = f"{PROBE}:x:2000000001:{gid}::/nonexistent:/usr/sbin/nologin\n"
    files = {"/etc/passwd": passwd, "/etc/group": lines}
    return PROBE, {
        path: _bytes(_ended(host.text(path)) + added) for path, added in files.items() if added
    }


def _ended(text: str) -> str:
    if not text or text.endswith("\n"):
        return text
    return text + "\n"


def opens(line: str, said: str) -> bool:
    """Return whether a jail is open if sshd's answer SAID lacks this line of its settings."""
    keyword, _, wanted = line.partition(" ")
    now = value_of(said, keyword)
    if keyword == "chrootdirectory":
        return now in ("", "none")
    if keyword in ("passwordauthentication", "kbdinteractiveauthentication"):
        return False  # who knows the password is in the jail
    return wanted in ("yes", "no") or (
        keyword == "forcecommand" and not now.startswith("internal-sftp")
    )


def where_from(connection: str) -> str:
    from ...openssh.connections import peculiar  # late: useradd waits

    if not peculiar(connection):
        return ""
    return f" for connections with {peculiar(connection)}"


@frozen
class Lack:
    """A setting that sshd does not apply to a profile's members in some kind of connection."""

    profile: Profile
    line: str
    connection: str
    is_open: bool

    def __str__(self) -> str:
        return f"{self.line} is not in force{where_from(self.connection)}"


def lacks(
    host: Host, config: Config, files: dict[str, str | None], daemon: Daemon | None = None
) -> list[Lack]:
    """Return a missing setting for each incomplete Match block.

    One that opens the jail is preferred. All kinds of connections are tried, not only those to port
    22 of this host. Without DAEMON, it is sshd as /etc/ssh/sshd_config alone has it.
    """
    from ...openssh.connections import connections  # late: useradd waits

    found = []
    staged = encoded(files)
    kinds = connections(host, daemon=daemon)
    for profile in config.profiles:
        for match_user in (
            *((True,) if profile.match_user else ()),
            *((False,) if profile.group else ()),
        ):
            name, extra = _member(profile, host, match_user)
            for kind in kinds:
                said = ask(host, name, staged | extra, kind, daemon)
                missing = [
                    line
                    for line in settings(profile, config, host)
                    if line not in said.splitlines()
                ]
                if missing:
                    line = min(missing, key=lambda line: not opens(line, said))
                    found.append(Lack(profile, line, kind, opens(line, said)))
                    break
    return found


def is_written(profile: Profile, host: Host, config: Config) -> bool:
    """Return whether our files have the profile's Match blocks as they should be."""
    lines = "".join(f"\n    {line}" for line in block(profile, config, host))
    wanted = ["\n".join(address_blocks(config)), *(f"{head}{lines}\n" for head in heads(profile))]
    return any(
        all(part in text for part in wanted) for text in (host.text(DROPIN), host.text(MAIN))
    )
