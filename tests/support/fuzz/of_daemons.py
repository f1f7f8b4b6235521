"""Targets: the sshds of a host by their command lines, whom they let in, and whether somebody has logged in."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from target import BETWEEN, Target, host_of, one_line, parts, refusing

from sftpjail import config
from sftpjail.engine.engine import Engine
from sftpjail.engine.manager import Manager
from sftpjail.errors import SftpJailError
from sftpjail.errors.escapes import Advice
from sftpjail.host import userdb
from sftpjail.jails import states
from sftpjail.model import Account, Shadow
from sftpjail.openssh import (
    admission,
    daemons,
    pam_account,
    patterns,
    profile_edit,
    settings,
    stale,
)
from sftpjail.operations import logins
from sftpjail.system import listeners
from sftpjail.system.programs import Answer
from sftpjail.testing.made import MadeHost

SSHD = "/usr/sbin/sshd"
ANN = Account("ann", 1000, 1000, "/home/ann", "/bin/sh")
# On tmpfs, where fsync(2) costs nothing.
PLACE = Path(tempfile.mkdtemp(prefix="sftpjail-fuzz-", dir="/dev/shm"))


def command_lines(data: bytes) -> None:
    """What is told of a command line says the same again; so does the title that sshd makes of it."""
    (text,) = parts(data, 1)
    options = listeners.told(text.split("\0"))
    if options is None:
        return
    words = []
    for name, value in options:
        assert len(name) == 1
        words += [f"-{name}", value] if name in listeners._VALUED else [f"-{name}"]
    assert listeners.told(words) == options
    title = f"sshd: {SSHD} {' '.join(words)} [listener] 0 of 10-100 startups"
    called = listeners._CALLED.match(title)
    assert called is not None and called[0] == "sshd: "
    found = listeners._TITLE.match(title[called.end() :])
    assert found is not None and found["words"] == f"{SSHD} {' '.join(words)}"
    again = listeners.told(found["words"].split(" ")[1:])
    if "" not in words and not re.search(r"(?:^| )-", " ".join(value for _, value in options)):
        assert again == options, (again, options)


def units(data: bytes) -> None:
    sockets, services, variables, line, state = parts(data, 5)

    def answer(argv: object, stdin: str) -> Answer:
        words = " ".join(argv)  # type: ignore[call-overload]
        said = sockets if "--type=socket" in words else services if "ExecStart" in words else state
        return Answer(0, said, "")

    contents = {SSHD: "", "/run/systemd/system/x": "", "/etc/default/ssh": variables}
    contents |= {"/proc/7/root/etc/ssh/sshd_config": ""}
    host = host_of(contents, answer)
    options = listeners.told(line.split("\0"))
    places = (("0.0.0.0", 22), ("::", 2222))
    apart = ("mnt",) if len(line) % 2 else ()
    host.daemons.listening = [
        listeners.Listener(7, SSHD, options, places, "ssh.service", 5.0, apart),
        listeners.Listener(8, "/tmp/sshd", options, (("", 1),)),
    ]
    found = daemons.daemons(host)
    for daemon in (*found, daemons.primary(host)):
        assert all(option in ("-f", "-o") for option in daemon.arguments[::2])
        assert not (daemon.unknown and daemon.arguments) and daemon.config
        assert daemon.command == (daemon.program, *daemon.arguments)
        assert daemon.is_plain == (not daemon.peculiar and not daemon.unknown)
        SftpJailError(str(daemon)), daemon.local
        assert daemons.changed_state(daemon, host) >= 0
    others = daemons.others(host)
    assert set(others) <= set(found) and daemons.primary(host) not in others


def is_read(data: bytes) -> None:
    out, err, pid, state = parts(data, 4)

    def answer(argv: object, stdin: str) -> Answer:
        return Answer(0, state if "systemctl" in argv else out, err)  # type: ignore[operator]

    contents = {"/run/sshd.pid": pid, "/run/systemd/system/x": "", SSHD: ""}
    contents |= {"/etc/ssh/sshd_config": "", "/etc/ssh/sshd_config.d/a.conf": ""}
    host = host_of(contents, answer)
    # Another one goes by a file of its own.
    arguments = ("-f", "/etc/ssh/other") if len(pid) > 3 else ()
    daemon = daemons.Daemon(SSHD, arguments, 7, (("", 22),), "ssh.service", "", -1.0)
    since = refusing(stale.has_read, daemon, host)
    unread = refusing(stale.unread, daemon, host)
    assert (since is None) == (unread is None)
    for path in unread or ():
        assert path.startswith("/") and host.stat(path)


def admitted(data: bytes) -> None:
    out, name, groups = parts(data, 3)
    found = refusing(settings.effective, host_of({}, lambda argv, _: Answer(0, out, "")), "ann")
    if found is None:
        return
    names = tuple(groups.split("\n")[:20])
    why = list(admission.denials(found, name, names))
    assert admission.admits(found, name, names) == (why == [])
    assert len(why) <= 2 + len(found.words("denyusers")) + len(found.words("denygroups"))
    for line in why:
        assert "\n" not in line
    for pattern in found.words("denyusers")[:50]:
        wanted = _reference(pattern[:40])
        for other in (name[:40], pattern[:40]):
            assert patterns.matches(other, pattern[:40]) == bool(wanted.fullmatch(other))
    assert patterns.matches(name, "*" * 5) and patterns.matches(name, "?" * len(name))
    assert "," in name or not patterns.listed((name,), f"*,!{name}")
    # Whom sshd's Match lines treat alike is one kind; other words between change nothing.
    for criteria in out.split("\n")[:20]:
        both = states.holds(criteria, name, names)
        assert isinstance(both, bool)
        if criteria[:1].isalpha():
            assert states.holds(f"final {criteria}", name, names) == both
        if re.fullmatch("[a-z]+", name):
            assert not states.holds(f"all user !{name},*", name, names)


def _reference(pattern: str) -> re.Pattern[str]:
    """Return what match.c means by a pattern, as a regular expression."""
    short = re.sub(r"\*+", "*", pattern)
    signs = {"*": ".*", "?": "."}
    return re.compile("".join(signs.get(sign, re.escape(sign)) for sign in short), re.DOTALL)


def way_in(data: bytes) -> None:
    """The lines of shadow(5) and of a key file that decide about a jail's state."""
    shadow, keys, answers = parts(data, 3)
    fields = [*shadow.split(":"), *[""] * 5][:5]
    found = settings.Settings({"usepam": (answers,), "passwordauthentication": ("yes",)}, {}, ())
    one_line(states.State("locked", states.why_locked(Shadow(*fields), found)).why)
    used = states.usable_password(Shadow(*fields), found)
    assert not used or fields[0][:1] not in ("!", "*")
    for line in keys.split("\n"):
        assert states.has_key(line) == bool(line.strip() and not line.startswith("#"))
        one_line(states.State("open", line[:1000]).why)


def account_rules(data: bytes) -> None:
    said, out, rules = parts(data, 3)

    def answer(argv: object, stdin: str) -> Answer:
        asked = pam_account.PROGRAM in argv  # type: ignore[operator]
        return Answer(len(rules) % 2, said, "x") if asked else Answer(0, out, "")

    host = host_of({"/etc/pam.d/sshd": rules}, answer)
    facts, problems = pam_account.account_rules(ANN, host, "192.0.2.1")
    assert len(facts) == 1 and len(problems) <= 1
    assert not problems or facts[0].bad
    for problem in problems:
        one_line(problem.what), one_line(problem.advice)


def profile_lines(data: bytes) -> None:
    """A printed command makes of the file what was tried: carried out, the profile has the setting."""
    text, option = parts(data, 2)
    option = option.replace("\0", "")  # no line of sshd -T and no shell of passwd has one
    known = refusing(config.parse, text)
    if known is None or not option.strip():
        return
    host = host_of({config.PATH: text})
    profile = known.profiles[-1]
    for command, key in (
        (refusing(profile_edit.set_option, profile, option, host), "sshd_options"),
        (refusing(profile_edit.set_shell, profile, option, host), "shell"),
    ):
        if command is None or isinstance(command, Advice):
            continue
        now = _carried_out(command, text)
        before = getattr(profile, key)
        wanted = (*before, option) if key == "sshd_options" else option
        changed = config.parse(now).profile(profile.name)
        assert getattr(changed, key) == wanted, (command, text, now)
        assert replace(changed, **{key: before}) == profile


def _carried_out(command: str, text: str) -> str:
    """Return what a command makes of sftpjail.conf; what follows it is `sftpjail …`."""
    words = shlex.split(command)
    edit = words[: words.index("&&")]
    assert words[words.index("&&") + 1] == "sftpjail"
    file = PLACE / "sftpjail.conf"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    if edit[0] == "printf":
        assert edit[1] == "%s\\n" and edit[-1] == f">>{config.PATH}", edit
        lines = "".join(word + "\n" for word in edit[2:-1])
        with file.open("ab") as handle:
            handle.write(lines.encode("utf-8", "surrogateescape"))
    else:
        assert edit[:2] == ["sed", "-i"] and edit[3:] == [config.PATH], edit
        subprocess.run(["sed", "--sandbox", "-i", edit[2], str(file)], check=True)
    return file.read_bytes().decode("utf-8", "surrogateescape")


def other_names(data: bytes) -> None:
    entries, passwd, services = parts(data, 3)
    contents = {f"{userdb.USERDB[0]}/{name}": "" for name in entries.split("\n")}
    contents[userdb.PASSWD["extrausers"]] = passwd
    found = list(userdb.names(services.split(), host_of(contents).files))
    assert len(found) <= len(contents) + passwd.count("\n") + 1
    for name in found:
        assert ":" not in name and "\n" not in name
    if "systemd" not in services.split() and "extrausers" not in services.split():
        assert found == []


def used(data: bytes) -> None:
    """A line of a login since that moment says yes; a log that begins later never says no."""
    log, out, since = parts(data, 3)
    moment = 1790000000 + len(since)
    path = PLACE / "host" / logins.FILES[0].lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(log.encode("utf-8", "surrogateescape"))
    host = MadeHost(str(PLACE / "host"))
    asked = host_of({}, lambda argv, _: Answer(0, out, ""))
    host.programs = asked.programs
    host.which, host.ask, host.as_user = asked.which, asked.ask, asked.as_user
    host.daemons.pids = {"rsyslog": 7}
    engine = Engine(config.Config(), host, Manager(config.Config()))
    if _is_refused(engine, moment):
        return
    # It said no: then there is a line with a stamp, which may be from before.
    assert any(line[:1].isdigit() or line[:1].isalpha() for line in log.split("\n"))
    with path.open("a") as handle:
        handle.write("\n2099-01-01T00:00:00Z host sshd[5]: Accepted x for ann from y\n")
    assert _is_refused(engine, moment)


def _is_refused(engine: Engine, since: int) -> bool:
    try:
        logins.refuse_if_used(ANN, since, engine, 4)
    except SftpJailError as error:
        one_line(str(error))
        return True
    return False


_UNIT = (
    "Id=ssh.socket\nTriggers=ssh.service\nAccept=no\nActiveState=active\nListen=[::]:22 (Stream)"
)
_EACH = "Id=sshd.socket\nTriggers=\nAccept=yes\nActiveState=active\nListen=0.0.0.0:2222 (Stream)"
_START = "{ path=/usr/sbin/sshd ; argv[]=/usr/sbin/sshd -i $SSHD_OPTS -o Port=${PORT} ; x=y }"
_SERVICE = (
    f"Id=sshd@sftpjail.service\nExecStart={_START}\nEnvironment=PORT=5 SSHD_OPTS='-o \"UseDNS no\"'"
    "\nEnvironmentFiles=/etc/default/ssh (ignore_errors=yes)\nEnvironmentFiles=/none (x)"
)
_STATE = "Id=ssh.service\nMainPID=7\nReloadResult=success\nStateChangeTimestampMonotonic=12000000"
_OPTIONS = "-D\0-p\0002222\0-oPort=22\0-f\0/etc/ssh/other\0-o\0AllowUsers\0ann\0bob"
_CONF = "[profiles]\n[[sftponly]]\nsshd_options = MaxSessions 2,\nshell = /bin/sh\n"
_YES = "usepam yes\nloglevel INFO\nsyslogfacility AUTH\npidfile /run/sshd.pid"
_LOG = "2026-09-01T00:00:00Z host cron[1]: x\n2099-01-01T00:00:00Z host sshd[2]: hello\n"

DAEMONS = (
    Target(
        "the command lines of sshds",
        ("system/listeners.py",),
        command_lines,
        (_OPTIONS, "-De\0-4\0-E/var/log/x", "-o", "-o\0\0-d", "-ddd\0-o\0-D\0-x", "x\0-D"),
        ("\0", "-", "-o", "-D", " ", "-f", "=", "p22"),
        ("told", "_cluster", "_wants_value"),
    ),
    Target(
        "the sshds that systemd starts",
        ("openssh/daemons.py",),
        units,
        (
            BETWEEN.join((f"{_UNIT}\n\n{_EACH}\n", _SERVICE, "PORT=7\n#x\nA='b c'", "-D", _STATE)),
            BETWEEN.join((_EACH, _SERVICE.replace("no\"'", "no"), "", "-D\0-f\0rel", "")),
            BETWEEN.join((_EACH, "Id=x\nExecStart=y\n\nnothing", "", "-f\0/a\0-oPort=1", _STATE)),
            BETWEEN.join((_EACH, _SERVICE.replace("-i $", "-i x$"), "x", "x", _STATE[:-8])),
            BETWEEN.join(("Id=a\nActiveState=active\nTriggers=b c", "", "", "-o\0B=1", "Id=")),
            BETWEEN.join(("", "", "", "", _STATE.replace("success", "exit-code"))),
            BETWEEN.join(("", "", "", "-D\0-4", _STATE.replace("=7", "=8"))),
        ),
        (
            "Id=",
            "\n\n",
            "ExecStart=",
            "argv[]=",
            " ; ",
            "$X",
            "${X}",
            "'",
            ":22 (Stream)",
            "\0-o\0",
        ),
    ),
    Target(
        "whether an sshd has read its files",
        ("openssh/stale.py",),
        is_read,
        (
            BETWEEN.join((_YES, "debug2: load_server_config: filename /etc/ssh/other", "7", "")),
            BETWEEN.join((_YES, "", "8", _STATE)),
            BETWEEN.join((_YES, "", "70000", _STATE)),
            BETWEEN.join((_YES.replace("/run", "run"), "", "", "")),
            BETWEEN.join(("pidfile none", "", "", _STATE)),
        ),
        ("pidfile ", "\n", "7", "MainPID=", "debug2: load_server_config: filename /"),
    ),
    Target(
        "whom an sshd lets in",
        ("openssh/admission.py", "openssh/patterns.py"),
        admitted,
        (
            BETWEEN.join(
                ("denyusers bob a*\ndenyusers ann@10.0.0.1\nallowgroups x", "ann", "x\ny")
            ),
            BETWEEN.join(("allowusers *@h\ndenygroups a?b*c", "[a]", "axbxxc")),
            BETWEEN.join(("allowusers bob\nallowgroups y", "eve", "")),
            BETWEEN.join(
                ("denyusers *a*b*?c\nuser [!a]* group x,!y\nall\nfinal user bob", "a", "y")
            ),
        ),
        ("denyusers ", "allowusers ", "denygroups ", "allowgroups ", "*", "?", "[", "!", ",", "\n"),
    ),
    Target(
        "what closes an account, and its keys",
        ("jails/states.py",),
        way_in,
        (
            BETWEEN.join(("$y$x:19000:99999::", "# c\n\nssh-ed25519 AAAA", "yes")),
            BETWEEN.join(("!:0:1::", " \n#", "yes")),
            BETWEEN.join(("!x:10:5::", "x", "no")),
            BETWEEN.join(("::::", "", "yes")),
        ),
        (":", "!", "*", "0", "99999", "\n", "#", "²"),
        ("State.*", "has_key", "usable_password", "why_locked"),
    ),
    Target(
        "what PAM's account rules say",
        ("openssh/pam_account.py",),
        account_rules,
        (
            BETWEEN.join(("0 Success", _YES, "account required pam_access.so\n ")),
            BETWEEN.join(("7 Permission denied", _YES, "account required pam_access.so\n")),
            BETWEEN.join(("13 expired", _YES, "")),
            BETWEEN.join(("x", "usepam no", "")),
            BETWEEN.join(("", _YES, "")),
        ),
        ("usepam ", "pamservicename ", "0 ", "7 ", "²", "\n", "account required pam_x.so\n"),
    ),
    Target(
        "sections of sftpjail.conf that a command edits",
        ("openssh/profile_edit.py",),
        profile_lines,
        (
            BETWEEN.join((_CONF, "MaxStartups 3")),
            BETWEEN.join((_CONF, "MaxSessions 3")),
            BETWEEN.join((_CONF.replace(",\n", "\n"), "Banner /etc/a b")),
            BETWEEN.join(("", "/bin/bash")),
            *(
                BETWEEN.join((conf, "Banner /x|y&z\\1\\t"))
                for conf in (_CONF, "[history]\nkeep = 1", "[profiles]\n[[a]]\nhome = bind\n")
            ),
            BETWEEN.join(("[profiles]\n[[a]]\nshell = /bin/sh\n", "/bin/x\\t&|")),
            BETWEEN.join((f"{_CONF}[[b]] # c\nshell = /x\n", "Banner /etc/it's")),
            BETWEEN.join((f"{_CONF}[ [ b ] ]\n[[c]]\nhome = inside\n", "/bin/sh")),
        ),
        ("[[sftponly]]\n", "sshd_options = ", "shell = ", ",", '"', "'", "\\", "|", "&", "\n", "#"),
    ),
    Target(
        "names in userdb and extrausers",
        ("host/userdb.py",),
        other_names,
        (
            BETWEEN.join(("ann.user\n1000.user\nann:web.membership", "bob:x:5:\n", "systemd")),
            BETWEEN.join(("x\n.user\na.b.user", "bob\n::\n", "extrausers altfiles systemd")),
            BETWEEN.join(("a.user", "b:x", "files")),
        ),
        (".user", ".membership", ":", "\n", "systemd", "extrausers", " "),
    ),
    Target(
        "whether somebody has logged in",
        ("operations/logins.py",),
        used,
        (
            BETWEEN.join((_LOG, _YES, "")),
            BETWEEN.join((f"{_LOG}2099-01-01T00:00:00Z Accepted x for ann from y", _YES, "")),
            BETWEEN.join((_LOG, _YES.replace("INFO", "QUIET"), "")),
            BETWEEN.join((_LOG, _YES.replace("AUTH", "LOCAL3"), "")),
            BETWEEN.join((f"Sep  1 10:00:00 host x\n{_LOG}", _YES, "x" * 50)),
            BETWEEN.join(("2099-01-01T00:00:00Z session opened for user ann(uid=5)", _YES, "")),
        ),
        ("2026-09-01T", "2099-01-01T00:00:00Z ", "Accepted x for ann from ", "\n", "Sep  1 "),
        ("refuse_if_used", "_logged", "_lines"),
    ),
)
