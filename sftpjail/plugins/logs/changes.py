"""The log socket in the jail, and the daemon's rule for the file.

internal-sftp logs through /dev/log inside the chroot, and sshd forwards nothing for it (seen with
OpenSSH 9.2 and 10.0). A jail gets a bind of a socket that outlives the log daemon: under systemd
PID 1 owns journald's, elsewhere the daemon has one socket for all jails in a directory, and the
directory is bound, since a daemon makes its socket anew when it starts. So a jail costs one bind,
and never a line in the daemon's configuration or its restart.
"""

from __future__ import annotations

import posixpath
import re

from ... import (
    Account,
    Bind,
    Check,
    MakeDir,
    Notify,
    Remove,
    SftpJailError,
    WriteFile,
    hookimpl,
)
from ...actions import MOUNT_OPTIONS, Action
from ...config import Config, Logs
from ...host import Host
from ...transferlog.backend import PROGRAMS, backend

JOURNAL = "/run/systemd/journal/dev-log"
SHARED = (
    "/var/lib/sftpjail/log"  # not in /run: fstab mounts it before a daemon could have made it there
)
LOGROTATE = (
    "/etc/logrotate.d/sftpjail"  # `make install` put it there, and it is the administrator's
)
ROTATED = "/etc/logrotate.d/sftpjail-file"  # ours, for another file
RULES = {
    "rsyslog": "/etc/rsyslog.d/10-sftpjail.conf",
    "syslog-ng": "/etc/syslog-ng/conf.d/sftpjail.conf",
}
TESTS = {"rsyslog": ("-N1",), "syslog-ng": ("--syntax-only", "--no-caps")}


def socket_of(host: Host, config: Config) -> str:
    """Return the socket that jails get to see, or ""."""
    if backend(host, config) == "none":
        return ""
    return JOURNAL if host.systemd else f"{SHARED}/log"


def rsyslog_rule(host: Host, config: Config) -> str:
    """Return the drop-in for rsyslogd: the jails' socket where systemd has none, and the file.

    ParseTrusted (imuxsock) puts the uid and pid of the sending process into `$!`. What parses
    messages, as mmjsonparse, could put its finds there too, so that those of our socket are copied
    before any other rule sees the message. The uid stands in front of everything that a process can
    send; where nobody knows it, `uid=` is empty.
    """
    own = (
        'ruleset(name="sftpjail") {\n'
        "    set $.sftpjail_uid = $!uid;\n"
        "    set $.sftpjail_pid = $!pid;\n"
        "    call RSYSLOG_DefaultRuleset\n"
        "}\n"
        f'input(type="imuxsock" Socket="{SHARED}/log" CreatePath="on" Annotate="on"'
        ' ParseTrusted="on" ruleset="sftpjail")\n'
    )
    return (
        "# Made by `sftpjail setup`; changes here are lost.\n"
        'template(name="sftpjail" type="string" string="%timegenerated:::date-rfc3339% %hostname%'
        " uid=%$.sftpjail_uid% internal-sftp[%$.sftpjail_pid%]:"
        '%msg:::sp-if-no-1st-sp%%msg:::drop-last-lf%\\n")\n'
        f'{"" if host.systemd else own}if $programname == "internal-sftp" then {{\n'
        '    if $.sftpjail_uid == "" then { set $.sftpjail_pid = $procid; }\n'
        f'    action(type="omfile" file="{config.logs.file}"'
        ' fileOwner="root" fileGroup="adm" fileCreateMode="0640"\n'
        '        template="sftpjail")\n'
        "}\n"
    )


def syslog_ng_rule(host: Host, config: Config) -> str:
    """Return the same for syslog-ng.

    The name of the system's source differs, so the rule catches all sources. A socket's messages
    have the sender's `.unix.uid`, those of the journal its `.journald._UID`. A message may hold
    newlines, which would begin a line of the sender's own making.
    """
    own = (
        ""
        if host.systemd
        else f'source s_sftpjail {{ unix-dgram("{SHARED}/log" create-dirs(yes) perm(0666)); }};\n'
        "log { source(s_sftpjail); };\n"
    )
    return (
        "# Made by `sftpjail setup`; changes here are lost.\n"
        f'{own}filter f_sftpjail {{ program("^internal-sftp$" type("pcre")); }};\n'
        "rewrite r_sftpjail {\n"
        '    subst("\\n", "#012", value("MESSAGE") flags("global"));\n'
        '    subst("[[:space:]]", "_", value("HOST") flags("global"));\n'
        '    subst("[[:space:]]", "_", value("PID") flags("global"));\n'
        "};\n"
        'template t_sftpjail { template("${R_ISODATE} ${HOST}'
        ' uid=$(or \\"${.unix.uid}\\" \\"${.journald._UID}\\")'
        ' internal-sftp[$(or \\"${.unix.pid}\\" \\"${.journald._PID}\\" \\"${PID}\\")]:'
        ' ${MESSAGE}\\n"); };\n'
        f'destination d_sftpjail {{ file("{config.logs.file}" template(t_sftpjail)\n'
        '    owner("root") group("adm") perm(0640)); };\n'
        "log { filter(f_sftpjail); rewrite(r_sftpjail);"
        " destination(d_sftpjail); flags(catchall); };\n"
    )


def logrotate(host: Host, config: Config) -> str:
    """Return logrotate's rule for a file that the installed one lacks: that one, with this file."""
    installed = host.text(LOGROTATE)
    if re.search(rf"(?m)^{re.escape(config.logs.file)}\s", installed):
        return ""
    rule = re.sub(rf"(?m)^{re.escape(Logs.file)}(?=\s)", config.logs.file, installed)
    return (
        f"# Made by `sftpjail setup` from {LOGROTATE}; changes here are lost.\n{rule}"
        if rule != installed
        else ""
    )


@hookimpl
def on_setup(host: Host, config: Config) -> list[Action]:
    name = backend(host, config)
    actions: list[Action] = [Remove(path) for other, path in RULES.items() if other != name]
    rotation = logrotate(host, config) if name in RULES else ""
    actions.append(WriteFile(ROTATED, rotation) if rotation else Remove(ROTATED))
    if name not in RULES:
        return actions
    rule = rsyslog_rule(host, config) if name == "rsyslog" else syslog_ng_rule(host, config)
    if not host.is_dir(posixpath.dirname(RULES[name])):
        raise SftpJailError(
            f"{posixpath.dirname(RULES[name])} is missing: {name} is only partly installed"
        )
    if not host.systemd:
        actions.append(MakeDir(SHARED))
    path = RULES[name]
    program = host.which(PROGRAMS[name])
    return [
        *actions,
        WriteFile(path, rule),
        Check((program, *TESTS[name]), f"{name} must accept the rule", candidate=(path,)),
        Notify(name, "restart", required=True),
    ]


@hookimpl
def on_teardown(host: Host) -> list[Action]:
    actions: list[Action] = [Remove(path) for path in (*RULES.values(), ROTATED)]
    present = [name for name, path in RULES.items() if host.lstat(path)]
    return [
        *actions,
        Remove(f"{SHARED}/log", ours=True),
        Remove(SHARED),
        *(Notify(name, "restart") for name in present),
    ]


@hookimpl
def on_jail_binds(account: Account, host: Host, config: Config) -> list[Bind]:
    source = socket_of(host, config)
    profile = account.profile
    if not source or (profile and profile.in_home and not host.is_dir(account.home)):
        return []  # adduser has yet to make the home
    if source == JOURNAL:
        after = ("x-systemd.after=systemd-journald-dev-log.socket",)
        target = f"{account.jail}/dev/log"
        return (
            [Bind(source, target, role="log", options=(*MOUNT_OPTIONS, *after))]
            if host.lstat(source)
            else []
        )
    return [Bind(SHARED, f"{account.jail}/dev", role="log")] if host.is_dir(SHARED) else []
