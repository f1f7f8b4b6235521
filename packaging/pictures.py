"""Draws README's pictures from what sftpjail really prints on a terminal.

Run by `packaging/demo --pictures` in a throw-away machine, as root, when sftpjail is installed: it
makes jails with the real programs, and prints a JSON object of pictures (SVG) by name. What differs
from run to run is made alike: times, keys and pids. README shows the files of packaging/pictures/,
and tests/system/test_demo.py compares them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

COLUMNS = 80
PICTURES = {
    "list": "sftpjail list",
    "log": "sftpjail log",
    "test": "sftpjail test alice",
    "check": "sftpjail check",
}
# The host that they show. Before `check` something breaks.
STORY = r"""
set -e
exec >&2
mkdir -p /run/sshd
sftpjail setup
rsyslogd
/usr/sbin/sshd
for user in alice bob carol; do
    useradd -m -G sftponly $user
    ssh-keygen -q -t ed25519 -N '' -C $user@laptop -f /root/$user
    sftpjail key add $user /root/$user.pub
done
mkdir -p /srv/web/example.com /srv/music
chown alice /srv/web/example.com
echo '<h1>Hello</h1>' >/srv/web/example.com/index.html
head -c 3500000 /dev/zero >/srv/music/song.ogg
sftpjail mount alice /srv/web/example.com /web
sftpjail mount --read-only bob /srv/music /Music
log() {
    user=$1
    shift
    printf '%s\n' "$@" | sftp -q -b - -i /root/$user -o StrictHostKeyChecking=accept-new \
        "$user@127.0.0.1"
    sleep 1.1
}
cd /root
echo 'Dear diary' >diary.txt
head -c 48000 /dev/urandom >report.pdf
log alice 'put diary.txt' 'put report.pdf /web/' 'get /web/index.html'
log bob 'get /Music/song.ogg'
log bob '-rename /Music/song.ogg /Music/mine.ogg'
sftpjail disable carol --reason 'the contract has ended'
for n in $(seq 100); do
    [ "$(grep -c 'session closed for local user' /var/log/sftp.log)" -lt 3 ] || exit 0
    sleep 0.1
done
exit 1
"""
BREAK = "chmod g+w /srv/sftp; chage -d 0 alice"
# In turn, what is different in each run, and what a picture has in its place.
ALIKE = (
    (r"SHA256:[A-Za-z0-9+/]{43}", "SHA256:qQB9kD4ls+mPSK9mrTFkgSbNP+k0AbQ/4mTWhnGOkDw"),
    (r"\d{4}-\d\d-\d\d", "2026-12-01"),
    (r"\d\d:\d\d:\d\d", "10:15:00"),
    (r"\b(pid|port) \d+", r"\1 1234"),
)
# rich's own, without the address from which a browser would fetch a font.
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font: {char_height}px monospace; line-height: {line_height}px; }}
.{unique_id}-title {{ font: bold 18px sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def screen(command: str) -> str:
    """Return what a command prints on a terminal of 80 columns, with its colours."""
    inside = f"stty cols {COLUMNS} rows 50; {command}"
    env = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    argv = ["script", "-qec", inside, "/dev/null"]
    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.stdout.replace("\r", "")


def alike(text: str) -> str:
    """Return a screen with what differs from run to run made alike."""
    for pattern, put in ALIKE:
        text = re.sub(pattern, put, text)
    return text


def picture(name: str, command: str, text: str) -> str:
    """Return a screen as SVG."""
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text(f"# {command}", style="bold"))
        console.print(Text.from_ansi(text.rstrip("\n")))
        drawn = console.export_svg(
            title=command, theme=SVG_EXPORT_THEME, code_format=FORMAT, unique_id=f"sftpjail-{name}"
        )
    return "".join(f"{line.strip()}\n" for line in drawn.splitlines() if line.strip())


def main() -> None:
    """Make the host, draw it, and print the pictures."""
    subprocess.run(["bash", "-c", STORY], check=True, stdin=subprocess.DEVNULL)
    drawn = {}
    for name, command in PICTURES.items():
        if name == "check":
            subprocess.run(["sh", "-c", BREAK], check=True)
        drawn[name] = picture(name, command, alike(screen(command)))
    json.dump(drawn, sys.stdout)


if __name__ == "__main__":
    main()
