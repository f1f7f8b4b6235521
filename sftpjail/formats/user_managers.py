"""The drop-in of user@.service: its text, and back.

It keeps systemd from starting a user manager for a member. systemd --user runs on the host and
obeys units in the home (systemd.unit(5)), which a jail makes writable. Whoever may have none
is decided when one is to be started, by a shell script that stands in the unit and needs
nothing of ours.

logind asks for a manager at each login. So the script leaves a mark, and while that is there, PID 1
refuses by itself, without a process. The mark lies in the user's runtime directory, which goes when
the last session has ended. It can only deny: a user who removes it is judged by the script again,
and one who makes it gets no manager.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

DIRECTORY = "/etc/systemd/system/user@.service.d"
DROPIN = f"{DIRECTORY}/10-sftpjail.conf"
SERVICE = "user-managers"  # what a Notify calls all of them
# Below /run/user/UID, which user-runtime-dir@UID.service makes first; see user@.service(5).
_MARK = "sftpjail.no-manager"
_RECORDS = "/var/lib/sftpjail/accounts"

_HEADER = (
    "# Made by `sftpjail setup`; changes here are lost.\n"
    "#\n"
    "# A user manager (systemd --user) runs outside of any jail and obeys units in the home: "
    "members of the jail groups get\n"
    "# none, whatever wants to start it. Nobody else is concerned. "
    "While the name service does not answer, those count as\n"
    "# members who have a record in /var/lib/sftpjail/accounts.\n"
)

# For sh(1); %i is the uid. Exit code 1 denies, 0 allows: ExecCondition= in systemd.service(5). No
# single quote and no backslash may stand in it, and no word that begins with # (a comment of the
# unit's, at the start of a line).
_UID = 'u="%i"; [ "$u" != 0 ] || exit 0;'
# mkdir(2) follows no link at the end, and nobody but root can move the directory above.
_NONE = f"none() {{ mkdir /run/user/$u/{_MARK} 2>/dev/null; exit 1; }};"
# "1001(ann) groups=1001(ann),990(sftponly)", in the words of no locale, and from the first "groups"
# on: a name may have blanks. A gid that two groups have is there by the name of the first one.
_GROUPS = (
    'groups=$(LC_ALL=C timeout 5 id "$u" 2>/dev/null); known=$?; groups=",${groups#* groups=},";'
)
_IN_GROUP = "case $groups in {patterns}) none;; esac;"
# Nothing but the gids: a member of a directory service may be called CORP\carl, which echo obeys.
_GIDS = "set -- $(timeout 5 getent group {groups} 2>/dev/null | cut -d: -f3);"
_BY_GID = 'for gid; do case $groups in *",$gid"[,"("]*) none;; esac; done;'
_BY_NAME = 'case $(timeout 5 id -nu "$u" 2>/dev/null) in {names}) none;; esac;'
_NO_GROUPS = '[ "$known" != 0 ] || exit 0;'
_ALL_KNOWN = '[ "$known" != 0 ] || [ "$#" -lt {count} ] || exit 0;'
# A record as origin_record.py writes it, with a blank in front of each name of the outer object.
_RECORDED = f'! grep -rqsxE " .uid.: $u,?" {_RECORDS}'


def mark(uid: int | str) -> str:
    """Return the directory that says, while a user has sessions, that it gets no manager."""
    return f"/run/user/{uid}/{_MARK}"


def condition(groups: Sequence[str], users: Sequence[str]) -> list[str]:
    """Return the script that decides about one uid, line by line.

    Args:
        groups: the groups whose members get no manager.
        users: accounts that get none by their name.
    """
    lines = [_UID, _NONE, _GROUPS]
    if groups:
        lines.append(_IN_GROUP.format(patterns="|".join(f'*"({group})"*' for group in groups)))
        lines += [_GIDS.format(groups=" ".join(groups)), _BY_GID]
    if users:
        lines.append(_BY_NAME.format(names="|".join(users)))
    lines.append(_ALL_KNOWN.format(count=len(groups)) if groups else _NO_GROUPS)
    return [*lines, _RECORDED]


def render(groups: Sequence[str], users: Sequence[str]) -> str:
    """Return the drop-in; see `condition`.

    With `+` root runs the script, and nothing of the user's: no PAM stack.
    """
    script = " \\\n    ".join(line.replace("$", "$$") for line in condition(groups, users))
    known = f"[Unit]\nConditionPathExists=!{mark('%i')}\n"
    return f"{_HEADER}{known}[Service]\nExecCondition=+/bin/sh -c '\\\n    {script}'\n"


def script(text: str) -> str:
    """Return the script of a drop-in as sh(1) gets it, but for %i.

    It is "" where there is none of ours.
    """
    found = re.search(r"(?m)^ExecCondition=\+/bin/sh -c '\\\n([^']*)'$", text)
    if not found:
        return ""
    return found[1].replace(" \\\n", "").replace("$$", "$").strip()


def loaded(shown: str, text: str, uid: int) -> bool:
    """Return whether systemd decides by this drop-in about a user manager.

    Args:
        shown: what `systemctl show -p ExecCondition` says of user@UID.service.
        text: the drop-in as it should be.
        uid: of that service.
    """
    wanted = script(text).replace("$", "$$").replace("%i", str(uid))
    return f"argv[]=/bin/sh -c {' '.join(wanted.split())} ;" in " ".join(shown.split())
