#!/usr/bin/python3
"""What sftpjail costs beside the alternatives, as JSON on standard output: see tests/bench/run.

As root, in a throw-away machine. What is compared is measured in turns, and each figure is a median.
Times of an account are those of the program alone: what takes it away again does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
CONFIG = """\
[logs]
backend = none
[mounts]
as = www-data,
[profiles]
[[sftponly]]
mounts = session
"""
KEY, FILE, SHOWN, SHARED = "/root/bench-key", "/root/bench.csv", "/srv/shown", "/srv/shared"
HOOKS, AWAY = "/etc/shadow-maint", "/etc/shadow-maint.away"
# The others of its kind, where the machine has them: tests/sandbox --root trixie-bench.
JAILKIT = """set -e
useradd -m "$1"
jk_jailuser -m -j /srv/jailkit -s /usr/sbin/jk_lsh "$1"
install -D -m 644 /root/bench-key.pub "/srv/recipe-keys/$1"
"""
UNDO_JAILKIT = """userdel -r "$1" 2>/dev/null
sed -i "/^$1:/d" /srv/jailkit/etc/passwd /srv/jailkit/etc/group
rm -rf "/srv/jailkit/home/$1" "/srv/recipe-keys/$1"
"""
PROFTPD_PORT = 2322
PROFTPD = f"""\
LoadModule mod_xfer.c
LoadModule mod_ls.c
LoadModule mod_sftp.c
ServerType standalone
ServerName bench
UseIPv6 off
Port {PROFTPD_PORT}
PidFile /run/proftpd-bench.pid
ScoreboardFile /run/proftpd-bench.scoreboard
User nobody
Group nogroup
DefaultRoot ~
RequireValidShell off
AllowOverwrite on
AuthPAM off
WtmpLog off
SFTPEngine on
SFTPHostKey /root/bench-host
SFTPAuthMethods publickey
SFTPAuthorizedUserKeys file:/root/bench-rfc4716
"""
PACKAGES = ("openssh-server", "passwd", "systemd", "util-linux", "python3-pluggy", "python3-rich")
PACKAGES += ("jailkit", "proftpd-mod-crypto", "mysecureshell")
PATIENCE = 600.0  # seconds after which what is measured is killed
SAMPLE = 20  # accounts of the recipe in a loop, which is slow
RECIPE = """set -e
useradd -m -G recipe "$1"
mkdir -p "/srv/recipe/$1/home/$1" "/srv/recipe/$1/shown"
echo "/home/$1 /srv/recipe/$1/home/$1 none bind 0 0" >>/etc/fstab
echo "/srv/shown /srv/recipe/$1/shown none bind 0 0" >>/etc/fstab
mount "/srv/recipe/$1/home/$1"
mount "/srv/recipe/$1/shown"
install -D -m 644 /root/bench-key.pub "/srv/recipe-keys/$1"
"""
UNDO_RECIPE = """umount "/srv/recipe/$1/shown" "/srv/recipe/$1/home/$1"
sed -i "\\\\#/srv/recipe/$1/#d" /etc/fstab
userdel -r "$1" 2>/dev/null
rm -rf "/srv/recipe/$1" "/srv/recipe-keys/$1"
"""
# What a size leaves, without a userdel(8) for each account.
CLEAN = """sed -i "/^u[0-9]*:/d" /etc/passwd /etc/shadow /etc/group /etc/gshadow
sed -E -i "/^sftponly:/{s/\\\\bu[0-9]+,?//g;s/,$//}" /etc/group /etc/gshadow
for place in /srv/sftp /home /etc/ssh/authorized_keys /etc/sftpjail/mounts \\
    /var/lib/sftpjail/accounts; do
    find "$place" -mindepth 1 -maxdepth 1 -name "u[0-9]*" -exec rm -rf {} +
done
sftpjail check
"""
ABSENT = "it is not in this machine; tests/bench/run --root trixie-bench has it"
Row = dict[str, Any]


class Bench:
    """The rows, and how they are made."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.rows, self.start = given, list[Row](), 0.0
        self.count = 0

    def say(self, words: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)

    def add(self, point: int, what: str, times: Sequence[float], **more: Any) -> float:
        """Add a row; return its median, in ms."""
        median = statistics.median(times)
        row: Row = {"point": point, "what": what, "median": median, "unit": "ms"}
        row |= {"range": [min(times), max(times)]} if len(times) > 1 else {}
        self.rows.append(row | more)
        return median

    def limit(self, words: str, met: bool) -> None:
        """Mark the last row."""
        self.rows[-1] |= {"limit": words, "met": met}

    def skip(self, point: int, what: str, why: str) -> None:
        self.rows.append({"point": point, "what": what, "skipped": why})

    def name(self) -> str:
        self.count += 1
        return f"one{self.count}"

    def turns(self, does: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
        """Return the times of several things, done in turns and in both orders."""
        taken: dict[str, list[float]] = {what: [] for what in does}
        for number in range(self.given.rounds):
            order = list(does) if number % 2 else list(reversed(does))
            for what in order:
                taken[what].append(does[what]())
        return taken


def run(*argv: str, check: bool = True, text: str | None = None) -> float:
    """Run a command and return how many milliseconds it took; a failure is this script's."""
    return measured(*argv, check=check, text=text)[0]


def measured(*argv: str, check: bool = True, text: str | None = None) -> tuple[float, float]:
    """Return the milliseconds of a command, and the MiB that it had at most."""
    with open("/root/bench-in", "w", encoding="utf-8") as handle:
        handle.write(text or "")
    with open("/root/bench-in", "rb") as given, open("/root/bench-out", "wb") as out:
        began = time.monotonic()
        process = subprocess.Popen(argv, stdin=given, stdout=out, stderr=subprocess.STDOUT)
        watch = threading.Timer(PATIENCE, process.kill)
        watch.start()
        _, status, used = os.wait4(process.pid, 0)
        taken = (time.monotonic() - began) * 1000
    watch.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    if check and process.returncode:
        said = Path("/root/bench-out").read_text(encoding="utf-8", errors="replace")
        raise SystemExit(f"{' '.join(argv)} exited with {process.returncode}: {said[-2000:]}")
    return taken, used.ru_maxrss / 1024


def prepare() -> int:
    """Install the checkout and set the host up; return sshd's port."""
    run("make", "-C", str(PROJECT), "install", "prefix=/usr")
    os.makedirs("/etc/sftpjail", exist_ok=True)
    Path("/etc/sftpjail/sftpjail.conf").write_text(CONFIG, encoding="utf-8")
    for directory in (SHOWN, "/srv/recipe", "/srv/recipe-keys", "/run/sshd"):
        os.makedirs(directory, exist_ok=True)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY)
    run("groupadd", "recipe")
    run("ssh-keygen", "-A")
    if not os.path.isdir("/run/systemd/system"):
        run("/usr/sbin/sshd", "-p", "2222", "-o", "PidFile=/run/sshd.pid")
    run("sftpjail", "setup")
    if shutil.which("jk_init"):
        run("jk_init", "-j", "/srv/jailkit", "sftp", "jk_lsh")
    return 22 if os.path.isdir("/run/systemd/system") else 2222


def fill(size: int) -> str:
    """Write a file of so many accounts with keys and mounts; return its path."""
    key = Path(f"{KEY}.pub").read_text(encoding="utf-8").strip()
    rows = "".join(f"u{number},{key},{SHOWN}:/shown\n" for number in range(size))
    Path(FILE).write_text(f"name,keys,mounts\n{rows}", encoding="utf-8")
    return FILE


def one_account(bench: Bench, size: int) -> None:
    """Point 1, on a host that has so many accounts already."""

    def made(*argv: str) -> Callable[[], float]:
        def does() -> float:
            name = bench.name()
            taken = run(*(name if word == "NAME" else word for word in argv))
            run("sftpjail", "remove", "--delete-account", name, check=False)
            run("userdel", "-rf", name, check=False)
            run("rm", "-rf", f"/home/{name}")
            return taken

        return does

    def recipe() -> float:
        name = bench.name()
        taken = run("sh", "-c", RECIPE, "sh", name)
        run("sh", "-c", UNDO_RECIPE, "sh", name, check=False)
        return taken

    def jailkit() -> float:
        name = bench.name()
        taken = run("sh", "-c", JAILKIT, "sh", name)
        run("sh", "-c", UNDO_JAILKIT, "sh", name, check=False)
        return taken

    methods: dict[str, Callable[[], float]] = {
        "bare useradd": made("useradd", "-m", "NAME"),
        "useradd with our hook": made("useradd", "-m", "-G", "sftponly", "NAME"),
        "sftpjail add --key --mount": made(
            *("sftpjail", "add", "NAME", "--key", f"{KEY}.pub", "--mount", f"{SHOWN}:/shown")
        ),
        "the recipe by hand": recipe,
    }
    if shutil.which("jk_jailuser"):
        methods["jailkit, without a mount"] = jailkit
    else:
        bench.skip(1, "jailkit", ABSENT)
    taken = bench.turns(methods)
    bare = statistics.median(taken["bare useradd"])
    for what, times in taken.items():
        median = bench.add(1, what, times, size=size)
        bench.rows[-1] |= {"ratio": median / bare, "of": "bare useradd"}
        if what == "useradd with our hook":
            starts = (median - bare) / bench.start
            words = f"the hook ≤ 3.5 starts of a Python with argparse (here {starts:.1f})"
            bench.limit(words, starts <= 3.5)


def many(bench: Bench, size: int, each: dict[int, float]) -> None:
    """Point 2: the accounts come by one file, and stay."""
    taken, mib = measured("sftpjail", "apply", fill(size))
    each[size] = taken / size
    bench.add(2, "sftpjail apply FILE", [taken / 1000], size=size, unit="s", mib=mib)
    if size == 10_000:
        bench.limit("≤ 15 s and ≤ 150 MiB", taken <= 15_000 and mib <= 150)
    if 100 in each and size == 10_000:
        bench.add(2, "of these, for each account", [each[size]], size=size)
        bench.rows[-1] |= {"ratio": each[size] / each[100], "of": "that of 100"}
        bench.limit("< 1.5", each[size] < 1.5 * each[100])


def beside(bench: Bench, size: int) -> None:
    """Point 2: systemd-sysusers for bare accounts, and the recipe in a loop."""
    lines = "".join(f"u bare{number} - - /home/bare{number}\n" for number in range(size))
    taken = run("systemd-sysusers", "-", text=lines)
    bench.add(2, "systemd-sysusers, bare accounts", [taken / 1000], size=size, unit="s")
    for file in ("passwd", "shadow", "group", "gshadow"):
        run("sed", "-i", "/^bare[0-9]*:/d", f"/etc/{file}")
    loop = 'n=0; while [ $n -lt "$2" ]; do sh -c "$1" sh "loop$n"; n=$((n + 1)); done'
    count = min(SAMPLE, size)
    taken = run("sh", "-c", loop, "sh", RECIPE, str(count))
    run("sh", "-c", loop, "sh", UNDO_RECIPE, str(count), check=False)
    words = f"the recipe in a loop (from a sample of {count})"
    bench.add(2, words, [taken / count * size / 1000], size=size, unit="s")


LIMITS = {
    "sftpjail apply, nothing to do": 1500,
    "sftpjail check": 4000,
    "sftpjail list": 600,
    "one change (set --expires)": 200,
}


def commands(bench: Bench, size: int) -> None:
    """Point 3, on a host that has so many accounts."""
    dates = iter(f"2099-{1 + n % 12:02}-{1 + n // 12 % 28:02}" for n in range(10_000))
    does = {
        "sftpjail apply, nothing to do": lambda: ["apply"],
        "sftpjail apply FILE, nothing to do": lambda: ["apply", FILE],
        "sftpjail check": lambda: ["check"],
        "sftpjail list": lambda: ["list"],
        "sftpjail review": lambda: ["review"],
        "sftpjail explain USER": lambda: ["explain", "u1"],
        "one change (set --expires)": lambda: ["set", "u1", "--expires", next(dates)],
    }
    peak: dict[str, float] = {}

    def timed(what: str) -> Callable[[], float]:
        def does_it() -> float:
            taken, mib = measured("sftpjail", *does[what]())
            peak[what] = max(mib, peak.get(what, 0))
            return taken

        return does_it

    rounds, bench.given.rounds = bench.given.rounds, max(3, bench.given.rounds // 3)
    taken = bench.turns({what: timed(what) for what in does})
    bench.given.rounds = rounds
    for what, times in taken.items():
        median = bench.add(3, what, times, size=size, mib=peak[what])
        if what in LIMITS and size == 10_000:
            bench.limit(f"≤ {LIMITS[what]} ms", median <= LIMITS[what])


def strangers(bench: Bench) -> None:
    """Point 4: useradd of somebody else, with and without our hook."""

    def made(hooked: bool) -> float:
        name = bench.name()
        if not hooked:
            os.rename(HOOKS, AWAY)
        taken = run("useradd", "-m", name)
        if not hooked:
            os.rename(AWAY, HOOKS)
        run("userdel", "-r", name, check=False)
        return taken

    taken = bench.turns({"without": lambda: made(False), "with": lambda: made(True)})
    without = bench.add(4, "useradd of a stranger without our hook", taken["without"])
    median = bench.add(4, "useradd of a stranger with our hook", taken["with"])
    bench.rows[-1] |= {"ratio": median / without, "of": "without"}
    bench.limit(f"+ 4 ms (here {median - without:+.1f})", median - without <= 4)
    version = bench.turns({"it": lambda: run("sftpjail", "--version")})["it"]
    bench.add(4, "sftpjail --version", version)


def client(user: str, port: int) -> list[str]:
    """Return the command line of sftp(1) for an account."""
    words = ["BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=no", "LogLevel=ERROR"]
    options = [f"-o{word}" for word in (*words, "UserKnownHostsFile=/dev/null")]
    argv = ["sftp", "-q", "-b", "-", "-F", "none", "-i", KEY, "-P", str(port), *options]
    return [*argv, f"{user}@127.0.0.1"]


def sftp(user: str, port: int, batch: str) -> float:
    return run(*client(user, port), text=batch)


def works(user: str, port: int, batch: str) -> bool:
    """Return whether a transfer ends at all: MySecureShell 2.0 hangs in the get of a large file."""
    argv = ["timeout", "60", *client(user, port)]
    return (
        subprocess.run(argv, input=batch.encode(), capture_output=True, check=False).returncode == 0
    )


def ordinary(name: str, shell: str) -> None:
    """Make an ordinary account that logs in with the key."""
    run("useradd", "-m", "-s", shell, name)
    run("install", "-d", "-o", name, "-m", "700", f"/home/{name}/.ssh")
    run("install", "-o", name, "-m", "600", f"{KEY}.pub", f"/home/{name}/.ssh/authorized_keys")


def others(bench: Bench, port: int) -> dict[str, tuple[str, int]]:
    """Start what else serves SFTP alone; return who logs in where, by what it is."""
    found = {}
    if shutil.which("mysecureshell"):
        ordinary("mine", shutil.which("mysecureshell") or "")
        found["MySecureShell"] = ("mine", port)
    else:
        bench.skip(4, "MySecureShell", ABSENT)
    if shutil.which("proftpd"):
        ordinary("ftp-user", "/bin/sh")
        run("ssh-keygen", "-q", "-m", "PEM", "-t", "rsa", "-N", "", "-f", "/root/bench-host")
        run("sh", "-c", f"ssh-keygen -e -f {KEY}.pub >/root/bench-rfc4716")
        Path("/root/proftpd.conf").write_text(PROFTPD, encoding="ascii")
        run("proftpd", "-c", "/root/proftpd.conf")
        found["proftpd with mod_sftp"] = ("ftp-user", PROFTPD_PORT)
    else:
        bench.skip(4, "proftpd with mod_sftp", ABSENT)
    return found


def sessions(bench: Bench, port: int) -> None:
    """Point 4: logins and transfers in a jail beside an ordinary account's on the same sshd."""
    ordinary("plain", "/bin/sh")
    run("sftpjail", "add", "jailed", "--key", f"{KEY}.pub", "--mount", f"{SHOWN}:/shown")
    mib, files = bench.given.mib, bench.given.files
    run("sh", "-c", f"head -c {mib}M /dev/urandom >/root/big; mkdir -p /root/small")
    run("sh", "-c", f"cd /root/small && seq {files} | while read n; do echo $n >$n; done")
    batches = {
        "login": ("pwd\n", "≤ 1.0 when booted", lambda ratio: ratio <= 1.0),
        f"put of {mib} MiB": (
            "put /root/big big\n",
            "≥ 0.95 of its speed",
            lambda ratio: ratio <= 1 / 0.95,
        ),
        f"get of {mib} MiB": (
            "get big /dev/null\n",
            "≥ 0.95 of its speed",
            lambda ratio: ratio <= 1 / 0.95,
        ),
        f"put of {files} small files": ("-mkdir small\nput /root/small/* small/\n", "", None),
        f"get of {files} small files": ("get -r small /root/got\n", "", None),
    }
    rounds, booted = bench.given.rounds, os.path.isdir("/run/systemd/system")
    rivals = others(bench, port)
    for what, (batch, words, judged) in batches.items():
        bench.given.rounds = rounds if what == "login" else min(rounds, 5)
        bench.say(what)
        able = {}
        for rival, where in rivals.items():
            if works(*where, batch):
                able[rival] = where
            else:
                bench.skip(4, f"{what}, {rival}", "it failed, or had not ended after a minute")
        who = {"plain": ("plain", port), "jailed": ("jailed", port), **able}
        taken = bench.turns({one: partial(sftp, *where, batch) for one, where in who.items()})
        plain = bench.add(4, f"{what}, an ordinary account", taken["plain"])
        jailed = bench.add(4, f"{what}, in a jail", taken["jailed"])
        bench.rows[-1] |= {"ratio": jailed / plain, "of": "an ordinary account's"}
        if judged and (booted or what != "login"):
            bench.limit(words, judged(jailed / plain))
        for rival in able:
            median = bench.add(4, f"{what}, {rival}", taken[rival])
            bench.rows[-1] |= {"ratio": median / plain, "of": "an ordinary account's"}
    bench.given.rounds = rounds


def shared(bench: Bench, port: int) -> None:
    """Point 4: transfers through a mount that maps owners, beside one that does not."""
    os.makedirs(SHARED)  # a tmpfs, since the overlay of the machine cannot map owners
    run("mount", "-t", "tmpfs", "-o", "mode=755,nosuid", "none", SHARED)
    for name, owner in (("own", "jailed"), ("as", "www-data")):
        run("install", "-d", "-o", owner, "-g", owner, f"{SHARED}/{name}")
    run("sftpjail", "mount", "jailed", f"{SHARED}/own", "/own")
    run("sftpjail", "mount", "jailed", f"{SHARED}/as", "/as", "--as", "www-data")
    mib, files = bench.given.mib, bench.given.files
    for what, batch in {
        f"put of {mib} MiB": "put /root/big /{}/big\n",
        f"put of {files} small files": "put -r /root/small /{}/small\n",
    }.items():
        rounds, bench.given.rounds = bench.given.rounds, min(bench.given.rounds, 5)
        bench.say(f"{what}, mapped")
        both = ("own", "as")
        taken = bench.turns({one: partial(sftp, "jailed", port, batch.format(one)) for one in both})
        own = bench.add(4, f"{what}, in a mount", taken["own"])
        mapped = bench.add(4, f"{what}, in a mount with --as", taken["as"])
        bench.rows[-1] |= {"ratio": mapped / own, "of": "a mount's"}
        bench.given.rounds = rounds


def machine() -> dict[str, str]:
    """Return what was measured on."""
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    release = dict(line.split("=", 1) for line in lines if "=" in line)
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    cpus = [line for line in lines if "model name" in line]
    found = {
        "release": release["PRETTY_NAME"].strip('"'),
        "kernel": platform.release(),
        "processors": f"{os.cpu_count()}, {cpus[0].partition(':')[2].strip() if cpus else '?'}",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') >> 20} MiB",
        "systemd": "booted" if os.path.isdir("/run/systemd/system") else "not booted",
        "load at the beginning": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
    }
    for name in PACKAGES:
        argv = ["dpkg-query", "-W", "-f", "${Version}", name]
        said = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
        found[name] = said or "not installed"
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10,100,1000,10000", help="accounts, ascending")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--mib", type=int, default=1024, help="of the file that is moved")
    parser.add_argument("--files", type=int, default=10_000, help="small ones that are moved")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    bench, about = Bench(given), machine()
    sizes, each = [int(size) for size in given.sizes.split(",")], dict[int, float]()
    port = prepare()
    times = bench.turns({"it": lambda: run("python3", "-Ic", "import argparse")})["it"]
    bench.start = bench.add(4, "a start of Python with argparse", times)
    median = bench.add(
        3, "sftpjail list", bench.turns({"it": lambda: run("sftpjail", "list")})["it"], size=0
    )
    bench.rows[-1] |= {"ratio": median / bench.start, "of": "a start"}
    bench.limit("≤ 3 starts", median <= 3 * bench.start)
    strangers(bench)
    sessions(bench, port)
    shared(bench, port)
    for size in sizes:
        bench.say(f"{size} accounts")
        beside(bench, size)
        many(bench, size, each)
        commands(bench, size)
        one_account(bench, size)
        run("sh", "-c", CLEAN)
    date = time.strftime("%Y-%m-%d %H:%M")
    found = {"date": date, "rounds": given.rounds, "machine": about, "rows": bench.rows}
    print(json.dumps(found, indent=1))


main()
