"""What keeps an sshd that refuses the PAM service of jails from not starting at all.

OpenSSH 10.4 takes no PAMServiceName in a Match block. After an upgrade to it nobody could log in,
jailed or not. A unit that systemd starts before sshd, each time, has the line give way to one that
shuts the members of those jails out. It stays when the package is removed, as the Match blocks do.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from dataclasses import replace
from itertools import chain

from ... import MakeDir, Notify, Problem, Remove, WriteFile
from ...actions import Action
from ...config import Config
from ...host import Host
from ...model import Profile
from ...openssh.auto_mounts import PROBE, refused, takes_service
from ...openssh.daemons import primary, running
from ...openssh.match_blocks import DROPIN, MAIN
from ...openssh.pam_session import SERVICES, service
from ...openssh.repair import has_unit, unit

SCRIPT = "/etc/sftpjail/sshd-guard"
UNIT = "/etc/systemd/system/sftpjail-guard.service"
REFUSED = "# sshd refused: "  # the line that it has taken out
_NAMES = "|".join(SERVICES.values())
_LINE = f"^    (PAMServiceName ({_NAMES}))$"
_TAKEN_OUT = f"^    {REFUSED}(PAMServiceName ({_NAMES}))$"
STAGED = ".sftpjail-guard."  # how the names begin of the files that it makes beside another
# What it takes out is not put back unless sshd still blames the same file, whatever else is wrong
# on a host that boots: keys or directories that are not made yet.
_SCRIPT = f"""\
#!/bin/sh
# Made by `sftpjail setup`; changes here are lost.
#
# sftpjail-guard.service runs this before sshd starts. Where sshd refuses the PAM service of jails,
# it would not start, and nobody could log in. Then that line gives way to one that shuts the
# members of those jails out. Where sshd takes it again, the line comes back.
PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
export PATH LC_ALL

set -- %(command)s
[ -x "$1" ] || set -- "$(command -v sshd)"
[ -x "$1" ] || exit 0
probe=
trap 'rm -f "$probe"' EXIT

# Whether sshd has said something of a line of the file, and of the PAM service there.
blamed() {{
    printf '%%s\\n' "$words" | grep -F -e "$1 line " -e "$1: line " | grep -q "${{2-}}"
}}

# Edit a file by a program of sed(1), unless sshd blames the outcome: of its administrator's files
# beside it none is touched, and a symbolic link stays one.
edit() {{
    real=$(readlink -f "$1") && beside=${{real%%/*}}/{STAGED} || exit 1
    rm -f "$beside"*
    was=$(mktemp "$beside"XXXXXX) && new=$(mktemp "$beside"XXXXXX) || exit 1
    cp -p "$real" "$was" && cp -p "$real" "$new" || exit 1
    sed -E "$2" "$was" >"$new" && sync "$new" && mv "$new" "$real" || exit 1
    shift 2
    if words=$("$@" -t 2>&1) || ! blamed "$file"; then
        rm -f "$was"
    else
        mv "$was" "$real"
        return 1
    fi
}}

# Whether sshd takes the PAM service in a copy of its configuration. Before it starts, its directory
# in /run may not be there yet, of which it complains without a line.
taken() {{
    probe=$(mktemp /run/sftpjail-guard.XXXXXX) || return 1
    cat %(main)s - >"$probe" <<'EOF' || return 1%(probe)sEOF
    words=$("$@" -f "$probe" -t 2>&1) && return
    case $words in *" line "*) return 1 ;; esac
}}

if grep -Eqs '{_TAKEN_OUT}' {DROPIN} {MAIN} && taken "$@"; then
    for file in {DROPIN} {MAIN}; do
        grep -Eqs '{_TAKEN_OUT}' "$file" || continue
        edit "$file" '/{_TAKEN_OUT}/{{
            N
            s/^    {REFUSED}([^\\n]*)\\n    DenyUsers \\*$/    \\1/
        }}' "$@" && echo "sftpjail: sshd takes the PAM service of jails again" >&2
    done
fi
for file in {DROPIN} {MAIN}; do
    grep -Eqs '{_LINE}' "$file" || continue
    words=$("$@" -t 2>&1) && exit 0
    blamed "$file" PAMServiceName || continue
    said=$words
    edit "$file" 's/{_LINE}/    {REFUSED}\\1\\
    DenyUsers */' "$@" || continue
    echo "sftpjail: sshd refuses the PAM service of jails, whose members are shut out: $said" >&2
done
"""
_SERVICE = f"""\
# Made by `sftpjail setup`; changes here are lost.
[Unit]
Description=Take the PAM service of SFTP jails out of a configuration that sshd refuses
Documentation=man:sftpjail(8)
Before=ssh.service sshd.service
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart={SCRIPT}
# sshd waits for it, and is worth more than it is.
TimeoutStartSec=20
"""
_WANTS = (
    "# Made by `sftpjail setup`; changes here are lost.\n[Unit]\nWants=sftpjail-guard.service\n"
)
# Where each connection has an sshd of its own, an upgrade needs no restart: each is asked first.
# The guard's own Before= cannot name a template.
_EACH = f"{_WANTS}After=sftpjail-guard.service\n"
_TEMPLATES = ("ssh@", "sshd@")


def _drop_ins(host: Host) -> dict[str, str]:
    """Return the drop-ins by which sshd's units start the guard; "" for one that is not to be."""
    texts = {name: _WANTS if name == unit(host) else "" for name in ("ssh", "sshd")}
    texts |= {name: _EACH if has_unit(f"{name}.service", host) else "" for name in _TEMPLATES}
    place = "/etc/systemd/system/{}.service.d/10-sftpjail.conf"
    return {place.format(name): text for name, text in texts.items()}


def guard(config: Config, host: Host) -> list[Action]:
    """Return what is left to do for the guard, where a jail has a PAM service of its own."""
    needed = any(service(profile, host) for profile in config.profiles)
    if not needed or not host.which("systemctl") or _is_masked(host):
        return no_guard(host)
    actions: list[Action] = [WriteFile(SCRIPT, _script(host), mode=0o755)]
    actions.append(WriteFile(UNIT, _SERVICE))
    for drop_in, text in _drop_ins(host).items():
        directory = posixpath.dirname(drop_in)
        if text:
            actions += [MakeDir(directory), WriteFile(drop_in, text)]
        else:
            actions += [Remove(drop_in), Remove(directory)]
    return _left(actions, host)


def no_guard(host: Host) -> list[Action]:
    """Return what is left to do so that there is no guard."""
    actions: list[Action] = [Remove(SCRIPT)]
    if not _is_masked(host):
        actions.append(Remove(UNIT))
    for directory in sorted({posixpath.dirname(host.realpath(path)) for path in (MAIN, DROPIN)}):
        left = [name for name in host.listdir(directory) if name.startswith(STAGED)]
        actions += [Remove(f"{directory}/{name}", ours=True) for name in left]
    for drop_in in _drop_ins(host):
        actions += [Remove(drop_in), Remove(posixpath.dirname(drop_in))]
    return _left(actions, host)


def _is_masked(host: Host) -> bool:
    """Return whether an administrator wants no guard: systemctl(1), mask."""
    return host.realpath(UNIT) == "/dev/null"


def _script(host: Host) -> str:
    """Return the script. It asks the sshd that runs, or ran when the script was last written."""
    if running(host):
        daemon = primary(host)
        # What is its own, such as where it listens, decides nothing here, and may be another at the
        # next start.
        command = [daemon.program, *chain.from_iterable(daemon.peculiar)]
        main = daemon.config
    else:
        found = re.search("(?m)^set -- (.*)$", host.text(SCRIPT))
        before = []
        if found:
            before = shlex.split(found[1])
        command = before or [host.which("sshd")]
        main = MAIN
        if "-f" in command[:-1]:
            main = command[command.index("-f") + 1]
    return _SCRIPT % {
        "command": shlex.join(command),
        "main": shlex.quote(main),
        "probe": PROBE,
    }


def _left(actions: list[Action], host: Host) -> list[Action]:
    """Return those actions that are not done, and that systemd reads its units again then.

    Those of the same plugin that reload sshd do not go along: its configuration stays.
    """
    left = [action for action in actions if action.pending(host, "")]
    if not left:
        return []
    return [*left, Notify("systemd", "daemon-reload")]


def shut(config: Config, host: Host) -> tuple[Profile, ...]:
    """Return the profiles whose members the guard has shut out."""
    found = [
        profile
        for profile in config.profiles
        for name in [service(profile, host)]
        if name and f"    {REFUSED}PAMServiceName {name}\n" in host.text(DROPIN) + host.text(MAIN)
    ]
    return tuple(found)


def shut_out(profiles: tuple[Profile, ...], host: Host) -> Problem:
    """Return the problem of profiles whose members the guard has shut out."""
    if not takes_service(host):
        return replace(Problem.of(refused(profiles, host)), hides=True)
    names = ", ".join(profile.name for profile in profiles)
    what = f"sshd has refused the PAM service of profile {names}, and takes it now"
    why = "its members are shut out"
    return Problem(what, why, "sftpjail setup", hides=True)
