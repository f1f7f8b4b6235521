"""The log socket in jails, and the log daemon's rule for the log file.

internal-sftp logs to /dev/log inside the chroot, and sshd does not forward its messages (seen with
OpenSSH 9.2 and 10.0). Jails therefore get a bind mount that survives a restart of the log daemon.
Under systemd it is journald's socket, which PID 1 owns. Elsewhere the daemon has one socket for all
jails in a directory of its own, and the directory is mounted, since a daemon recreates its socket
when it starts. A new jail thus costs one mount, and no change or restart of the daemon.
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
SHARED = "/var/lib/sftpjail/log"  # not in /run: fstab is mounted before any daemon runs
LOGROTATE = "/etc/logrotate.d/sftpjail"  # installed with us; administrators may edit it
ROTATED = "/etc/logrotate.d/sftpjail-file"  # written by us, for other log files
RULES = {
    "rsyslog": "/etc/rsyslog.d/10-sftpjail.conf",
    "syslog-ng": "/etc/syslog-ng/conf.d/sftpjail.conf",
}
TESTS = {"rsyslog": ("-N1",), "syslog-ng": ("--syntax-only", "--no-caps")}


# What gives a daemon the socket of the jails, where systemd has none for them.
_RSYSLOG_SOCKET = (
    'ruleset(name="sftpjail") {\n'
    "    set $.sftpjail_uid = $!uid;\n"
    "    set $.sftpjail_pid = $!pid;\n"
    "    call RSYSLOG_DefaultRuleset\n"
    "}\n"
    f'input(type="imuxsock" Socket="{SHARED}/log" CreatePath="on" Annotate="on"'
    ' ParseTrusted="on" ruleset="sftpjail")\n'
)
_SYSLOG_NG_SOCKET = (
    f'source s_sftpjail {{ unix-dgram("{SHARED}/log" create-dirs(yes) perm(0666)); }};\n'
    "log { source(s_sftpjail); };\n"
)


def socket_of(host: Host, config: Config) -> str:
    """Return the socket that is mounted in jails, or ""."""
    if backend(host, config) == "none":
        return ""
    if host.systemd:
        return JOURNAL
    return f"{SHARED}/log"


def rsyslog_rule(host: Host, config: Config) -> str:
    """Return the drop-in for rsyslogd: the jails' socket, unless systemd has one, and the file.

    ParseTrusted (imuxsock) stores the sender's uid and pid in `$!`. Message parsers such as
    mmjsonparse store values there too, so ours are copied before other rules see the message. The
    uid precedes everything that a process can send; if it is unknown, `uid=` is empty.
    """
    own = ""
    if not host.systemd:
        own = _RSYSLOG_SOCKET
    return (
        "# Made by `sftpjail setup`; changes here are lost.\n"
        'template(name="sftpjail" type="string" string="%timegenerated:::date-rfc3339% %hostname%'
        " uid=%$.sftpjail_uid% internal-sftp[%$.sftpjail_pid%]:"
        '%msg:::sp-if-no-1st-sp%%msg:::drop-last-lf%\\n")\n'
        f'{own}if $programname == "internal-sftp" then {{\n'
        '    if $.sftpjail_uid == "" then { set $.sftpjail_pid = $procid; }\n'
        f'    action(type="omfile" file="{config.logs.file}"'
        ' fileOwner="root" fileGroup="adm" fileCreateMode="0640"\n'
        '        template="sftpjail")\n'
        "}\n"
    )


def syslog_ng_rule(host: Host, config: Config) -> str:
    """Return the same for syslog-ng.

    The rule matches all sources, since the name of the system's source differs. Messages from a
    socket have the sender's `.unix.uid`, those from the journal `.journald._UID`. Newlines in a
    message are replaced, since a sender could forge lines with them.
    """
    own = ""
    if not host.systemd:
        own = _SYSLOG_NG_SOCKET
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
    """Return the installed logrotate rule, changed for a log file that it does not name."""
    installed = host.text(LOGROTATE)
    if re.search(rf"(?m)^{re.escape(config.logs.file)}\s", installed):
        return ""
    rule = re.sub(rf"(?m)^{re.escape(Logs.file)}(?=\s)", config.logs.file, installed)
    if rule == installed:
        return ""
    return f"# Made by `sftpjail setup` from {LOGROTATE}; changes here are lost.\n{rule}"


@hookimpl
def on_setup(host: Host, config: Config) -> list[Action]:
    name = backend(host, config)
    actions: list[Action] = [Remove(path) for other, path in RULES.items() if other != name]
    if name not in RULES:
        return [*actions, Remove(ROTATED)]
    path = RULES[name]
    if not host.is_dir(posixpath.dirname(path)):
        raise SftpJailError(
            f"{posixpath.dirname(path)} is missing: {name} is only partly installed"
        )
    rotation = logrotate(host, config)
    actions.append(WriteFile(ROTATED, rotation) if rotation else Remove(ROTATED))
    if not host.systemd:
        actions.append(MakeDir(SHARED))
    write_rule = {"rsyslog": rsyslog_rule, "syslog-ng": syslog_ng_rule}[name]
    test = (host.which(PROGRAMS[name]), *TESTS[name])
    return [
        *actions,
        WriteFile(path, write_rule(host, config)),
        Check(test, f"{name} must accept the rule", candidate=(path,)),
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
    if profile and not profile.is_filled:
        return []  # a socket there is the administrator's
    if not source or (profile and profile.in_home and not host.is_dir(account.home)):
        return []  # useradd without -m
    if source == JOURNAL and host.lstat(JOURNAL):
        options = (*MOUNT_OPTIONS, "x-systemd.after=systemd-journald-dev-log.socket")
        return [Bind(JOURNAL, f"{account.jail}/dev/log", role="log", options=options)]
    if source != JOURNAL and host.is_dir(SHARED):
        return [Bind(SHARED, f"{account.jail}/dev", role="log")]
    return []
