"""`sftpjail test`: good jails of every form are all ok; whatever promise a jail breaks, just that probe fails."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping

import pytest
from machine import Machine, changes
from steps import CONFIG, QUIET, jail, ready, refused, web, works

pytestmark = pytest.mark.halved

BLOCK = "/etc/ssh/sshd_config.d/10-sftpjail.conf"
NAMES = (
    "authenticates",
    "lands in the start directory",
    "transfers files",
    "cannot write to /",
    "does not see the host",
    "no command, no shell",
    "no user manager",
    "no terminal",
    "no environment",
    "no other subsystem",
    "no TCP forwarding",
    "no unix sockets",
    "no agent",
    "no X11",
    "no tunnel",
    "the deny list holds",
    "is logged",
    "nothing outside of it",
)
# What every login writes, through PAM or sshd, and the log daemon's own.
BY_LOGINS = (
    "/var/log/wtmp",
    "/var/log/wtmp.db",
    "/var/log/lastlog",
    "/var/lib/lastlog/*",
    "/var/lib/wtmpdb/*",
    "/run/utmp",
    "/run/motd.dynamic",
    "/var/log/auth.log",
    "/var/log/syslog",
    "/var/log/messages",
    "/var/log/user.log",
    "/var/log/sftp.log",
)


def proofs(machine: Machine, *users: str) -> dict[str, dict[str, str]]:
    """Run the test; return the failed probes of each user, with their words. The exit code fits."""
    done = machine.run("sftpjail", "--json", "test", *users, check=False)
    assert done.code in (0, 3) and not done.err, done
    answer = json.loads(done.out)
    assert answer["command"] == "test" and [t["user"] for t in answer["tests"]] == sorted(users), (
        done
    )
    found = {}
    for test in answer["tests"]:
        assert [probe["name"] for probe in test["probes"]] == list(NAMES), done
        found[test["user"]] = {p["name"]: p["words"] for p in test["probes"] if not p["ok"]}
        assert test["ok"] == (not found[test["user"]])
    assert done.code == (3 if any(found.values()) else 0), done
    return found


def failed(machine: Machine, user: str = "alice") -> dict[str, str]:
    return proofs(machine, user)[user]


def by_hand(machine: Machine, *lines: str) -> None:
    """Set lines of the Match block, as somebody with vi would; `-Keyword` takes one out."""
    text = machine.read(BLOCK)
    for line in lines:
        keyword = line.lstrip("-").split()[0]
        new = "" if line.startswith("-") else f"    {line}\n"
        text, count = re.subn(rf"(?m)^    {keyword} .*\n", new.replace("\\", "\\\\"), text)
        text = text if count else text + new
    machine.write(BLOCK, text)


def processes(machine: Machine) -> set[str]:
    """Every process but those that list them."""
    lines = machine.run("ps", "-e", "-o", "pid=,args=").out.splitlines()
    return {line for line in lines if "ps -e" not in line}


def everything(machine: Machine) -> dict[str, tuple[object, ...]]:
    return machine.listing(
        "/etc", "/srv", "/home", "/run", "/var", "/root", exclude=BY_LOGINS, times=True
    )


def test_good_jail_and_nothing_is_left(machine: Machine) -> None:
    machine.start_rsyslog()
    ready(machine, "")
    machine.restart_rsyslog()
    jail(machine, "alice")
    works(machine, "alice", "/root/keys/alice")  # the files of the log and of logins are there
    machine.sh("touch -d '2 days ago' /home/alice")
    before, running = everything(machine), processes(machine)
    done = machine.run("sftpjail", "test", "alice")
    assert done.out.splitlines()[-2] == "alice: 18 of 18 ok", done
    assert [line.partition(":")[0] for line in done.out.splitlines()[:-2]] == [
        f"ok      {name}" for name in NAMES
    ]
    assert changes(before, everything(machine)) == {}
    assert processes(machine) == running
    machine.wait_for("/var/log/sftp.log", r"session closed .* from \[UNKNOWN\]")
    told = map(json.loads, machine.run("sftpjail", "--json", "log").out.splitlines())
    own = [(one["kind"], one["how"]) for one in told if one.get("from") == "UNKNOWN"]
    assert own == [("session", "test")]


def test_without_sshd_and_its_directory(machine: Machine) -> None:
    """The host's /run stays as it is, and /dev/log of the jail goes on to work."""
    machine.start_rsyslog()
    ready(machine, "")
    machine.restart_rsyslog()
    jail(machine, "alice")
    works(machine, "alice", "/root/keys/alice")
    machine.stop_sshd()
    machine.run("rmdir", "/run/sshd")
    machine.run(
        "sftpjail", "check", check=False
    )  # /run/sftpjail comes with the first question to sshd
    before, running = everything(machine), processes(machine)
    assert failed(machine) == {}
    assert {
        path for path in changes(before, everything(machine)) if path != "/run/sftpjail"
    } == set()
    assert processes(machine) == running


def test_every_form(machine: Machine) -> None:
    machine.run("useradd", "-m", "guest")
    machine.append(
        "/etc/passwd", "user@domain:x:2000:2000::/home/user@domain:/bin/sh\n"
    )  # as from a directory
    machine.append("/etc/shadow", "user@domain:*:20000:0:99999:7:::\n")
    machine.run("install", "-d", "-o", "2000", "/home/user@domain")
    web(machine)
    ready(
        machine,
        QUIET
        + """[profiles]
[[sftponly]]
[[recipe]]
chroot = %h
umask = 027
[[inside]]
home = inside
deny = remove, rmdir, rename, posix-rename
[[dropbox]]
home = inside
deny = read, remove, rmdir, rename, posix-rename
[[guests]]
match_user = guest, user@domain
read_only = yes
[[start]]
start = /home/%u/in
[[slash]]
start = /
[[shut]]
deny = open, opendir, stat, lstat, realpath, close
[[elsewhere]]
chroot = /srv/other/%u
""",
    )
    machine.run("sftpjail", "apply")
    for name in ("recipe", "inside", "dropbox", "start", "slash", "shut", "elsewhere"):
        machine.run("sftpjail", "add", f"u-{name}", "--profile", name)
    machine.run("install", "-d", "-o", "u-start", "/home/u-start/in")
    machine.run("useradd", "--badname", "-m", "-G", "sftponly", "Mixed.Case", check=False)
    machine.run("useradd", "-m", "-d", "/home/a b c", "-G", "sftponly", "spaces")
    machine.run("sftpjail", "mount", "spaces", "/srv/web", "/web", "--read-only")
    machine.run("sftpjail", "apply", check=False)
    before = machine.listing("/etc", "/srv", "/home", times=True)
    users = sorted(
        json.loads(machine.run("sftpjail", "--json", "list").out)["jails"],
        key=lambda j: str(j["user"]),
    )
    names = [str(found["user"]) for found in users]
    assert {
        "guest",
        "user@domain",
        "Mixed.Case",
        "spaces",
        "u-recipe",
        "u-dropbox",
        "u-shut",
    } <= set(names)
    assert {name: bad for name, bad in proofs(machine, *names).items() if bad} == {}
    assert changes(before, machine.listing("/etc", "/srv", "/home", times=True)) == {}
    done = machine.run("sftpjail", "test", "--all")
    assert done.out.splitlines()[:-1] == [f"ok      {name}" for name in names]


# What somebody writes into the block, which probe fails, and what it says.
HOLES: Mapping[str, tuple[tuple[str, ...], str, str]] = {
    "chroot": (
        ("-ChrootDirectory",),
        "does not see the host",
        "/etc/passwd of the host, /run/sftpjail-test-",
    ),
    "command": (("ForceCommand none",), "no command, no shell", "forcecommand none in sshd -T"),
    "terminal": (
        ("PermitTTY yes",),
        "no terminal",
        "sshd gave a terminal; permittty yes in sshd -T",
    ),
    "environment": (
        ("AcceptEnv SFTPJAIL_*",),
        "no environment",
        "sshd takes SFTPJAIL_TEST from the client",
    ),
    "rc": (("PermitUserRC yes",), "no environment", "permituserrc yes in sshd -T"),
    "tcp guard": (
        ("AllowTcpForwarding yes",),
        "no TCP forwarding",
        "only DisableForwarding still shuts this door",
    ),
    "tcp disable": (
        ("-DisableForwarding",),
        "no TCP forwarding",
        "disableforwarding no in sshd -T",
    ),
    "-L": (("AllowTcpForwarding local", "-DisableForwarding"), "no TCP forwarding", "-L, -D, -W"),
    "-R": (("AllowTcpForwarding remote", "-DisableForwarding"), "no TCP forwarding", "(-R)"),
    "unix guard": (
        ("AllowStreamLocalForwarding yes",),
        "no unix sockets",
        "only DisableForwarding still shuts",
    ),
    "agent guard": (
        ("AllowAgentForwarding yes",),
        "no agent",
        "allowagentforwarding yes in sshd -T",
    ),
    "x11 guard": (("X11Forwarding yes",), "no X11", "x11forwarding yes in sshd -T"),
    "tunnel guard": (("PermitTunnel yes",), "no tunnel", "permittunnel yes in sshd -T"),
}
# The same with DisableForwarding gone too, so that the request itself is granted; TCP's guard
# notices that as well.
OPENED: Mapping[str, tuple[str, str, str]] = {
    "unix local": (
        "AllowStreamLocalForwarding local",
        "no unix sockets",
        "sshd connects to unix sockets",
    ),
    "unix remote": (
        "AllowStreamLocalForwarding remote",
        "no unix sockets",
        "sshd would listen on a unix socket",
    ),
    "agent": ("AllowAgentForwarding yes", "no agent", "sshd forwards the agent"),
    "x11": ("X11Forwarding yes", "no X11", "sshd forwards X11"),
    "tunnel 3": ("PermitTunnel point-to-point", "no tunnel", "sshd would make a tunnel of mode 1"),
    "tunnel 2": ("PermitTunnel ethernet", "no tunnel", "sshd would make a tunnel of mode 2"),
}


def test_each_hole_is_found_by_its_probe(machine: Machine) -> None:
    ready(machine, QUIET + "[sshd]\nsubsystem = internal-sftp\n")
    jail(machine, "alice")
    block = machine.read(BLOCK)
    assert failed(machine) == {}
    for name, (lines, probe, words) in HOLES.items():
        by_hand(machine, *lines)
        found = failed(machine)
        assert set(found) == {probe}, (name, found)
        assert words in found[probe], (name, found)
        machine.write(BLOCK, block)
    # For a real grant the agent's socket needs a directory, and X11 the program.
    machine.run("install", "-d", "-m", "1777", "/srv/sftp/alice/tmp")
    machine.write("/srv/sftp/alice/usr/bin/xauth", "#!/bin/sh\n", 0o755)
    for name, (line, probe, words) in OPENED.items():
        by_hand(machine, line, "-DisableForwarding")
        found = failed(machine)
        assert set(found) == {probe, "no TCP forwarding"}, (name, found)
        assert words in found[probe], (name, found)
        machine.write(BLOCK, block)
    assert failed(machine) == {}


def test_no_jail_at_all(machine: Machine) -> None:
    """A real command and a real subsystem."""
    ready(machine, QUIET + "[sshd]\nsubsystem = internal-sftp\n")
    jail(machine, "alice", "-s", "/bin/sh")
    machine.run("usermod", "-s", "/bin/sh", "alice")
    machine.append("/etc/ssh/sshd_config", "\nSubsystem talk /bin/echo hello\nStrictModes no\n")
    by_hand(machine, "ForceCommand none", "-ChrootDirectory")
    machine.run("chmod", "1777", "/")
    found = failed(machine)
    open_doors = {
        "cannot write to /",
        "does not see the host",
        "no command, no shell",
        "no other subsystem",
    }
    assert set(found) == open_doors, found
    assert "a file and a directory could be made in /" in found["cannot write to /"]
    assert "through a symbolic link" in found["does not see the host"]
    assert (
        machine.run(
            "find", "/", "-maxdepth", "1", "-regex", "/[0-9a-f]*.?[df]?", "-name", "??????*"
        ).out
        == ""
    )
    assert "a command ran; forcecommand none" in found["no command, no shell"]
    assert "answers b'hello" in found["no other subsystem"]


def test_the_tenth_word(machine: Machine) -> None:
    """sshd before 10.4 drops it in silence."""
    ready(machine, QUIET)
    jail(machine, "alice")
    words = "internal-sftp -f AUTH -l VERBOSE -u 0027 -d /home/%u"
    before = machine.listing("/home", "/srv", times=True)
    for option, probe, complaint in (
        ("-P remove", "the deny list holds", "sshd does not refuse remove"),
        (
            "-R",
            "transfers files",
            "should be read-only, but sshd does not refuse open for writing, copy-data, fsetstat,",
        ),
    ):
        by_hand(machine, f"ForceCommand {words} {option}")
        found = failed(machine)
        assert set(found) == {probe} and complaint in found[probe], found
        assert changes(before, machine.listing("/home", "/srv", times=True)) == {}
    by_hand(machine, "ForceCommand internal-sftp -fAUTH -lVERBOSE -u0027 -d/home/%u -Premove -R")
    assert failed(machine) == {}


def test_the_profile_says_more_than_the_block(machine: Machine) -> None:
    ready(machine, QUIET)
    jail(machine, "alice")
    machine.write(CONFIG, QUIET + "[profiles]\n[[sftponly]]\ndeny = mkdir, symlink\n")
    found = failed(machine)
    assert (
        set(found) == {"the deny list holds"}
        and "does not refuse mkdir, symlink" in found["the deny list holds"]
    )


def test_logins_that_fail(machine: Machine) -> None:
    """The right probe, with sshd's own words; nothing after it counts as ok."""
    ready(machine, QUIET)
    jail(machine, "alice")
    before = machine.listing("/home", "/srv", times=True)
    for spoil, fix, good, words in (
        (
            "chage -E 1 alice",
            "chage -E -1 alice",
            0,
            "sshd: .*account.*PAM|sshd: .*PAM.*account|expired",
        ),
        (
            "chmod 775 /srv",
            "chmod 755 /srv",
            1,
            "bad ownership or modes for chroot directory component",
        ),
        ("mv /srv/sftp/alice /x", "mv /x /srv/sftp/alice", 1, "chroot.*No such file"),
        (
            "chage -d 0 alice",
            "chage -d 20000 alice",
            1,
            "required to change your password|[Pp]assword change required",
        ),
        (
            "echo DenyUsers alice >>/etc/ssh/sshd_config",
            "sed -i '$d' /etc/ssh/sshd_config",
            0,
            "listed in DenyUsers",
        ),
    ):
        machine.sh(spoil)
        found = failed(machine)
        assert list(found) == list(NAMES[good:]), (spoil, found)
        assert re.search(words, found[NAMES[good]]), (spoil, found)
        assert all(found[name] == "not run: there is no session" for name in NAMES[good + 1 :]), (
            spoil,
            found,
        )
        machine.sh(fix)
    assert failed(machine) == {}
    assert machine.listing("/home", times=True).keys() == {
        path for path in before if path.startswith("/home")
    }


def test_no_home(machine: Machine) -> None:
    ready(machine, QUIET)
    jail(machine, "alice")
    machine.sh("umount /srv/sftp/alice/home/alice; rmdir /srv/sftp/alice/home/alice")
    found = failed(machine)
    assert set(found) == {"transfers files"} and "permission denied" in found["transfers files"], (
        found
    )


def test_home_that_cannot_be_written(machine: Machine) -> None:
    ready(machine, QUIET)
    jail(machine, "alice")
    machine.run("chown", "root", "/home/alice")
    machine.run("chmod", "755", "/home/alice")
    found = failed(machine)
    assert (
        set(found) == {"transfers files"} and "open: permission denied" in found["transfers files"]
    ), found


def test_lands_elsewhere_and_root_that_is_open(machine: Machine) -> None:
    ready(machine, QUIET + "[profiles]\n[[sftponly]]\nstart = /in\n")
    jail(machine, "alice")
    found = failed(machine)
    assert found["lands in the start directory"].startswith(
        "the session starts in /home/alice and not in /in"
    ), found
    assert set(found) == {"lands in the start directory", "transfers files"}
    machine.run("install", "-d", "-o", "alice", "/srv/sftp/alice/in")
    assert failed(machine) == {}
    machine.run("setfacl", "-m", "u:alice:rwx", "/srv/sftp/alice")
    machine.run(
        "chmod", "g-w", "/srv/sftp/alice"
    )  # the mask: for sshd all is well then, and for alice
    assert failed(machine) == {}


def test_log_that_is_dead(machine: Machine) -> None:
    machine.start_rsyslog()
    ready(machine, "")
    machine.restart_rsyslog()
    jail(machine, "alice")
    assert failed(machine) == {}
    machine.stop_rsyslog()
    found = failed(machine)
    assert set(found) == {"is logged"} and "in 3 seconds" in found["is logged"], found


def test_block_at_the_end_of_sshd_config(machine: Machine) -> None:
    """Where no directory is included; what is global above the block, as X11Forwarding yes, does not count for jails."""
    machine.sh(
        "sed -i '/^Include/d; 1i AllowTcpForwarding yes\\nPermitTTY yes' /etc/ssh/sshd_config"
    )
    ready(machine, QUIET)
    jail(machine, "alice")
    assert not machine.exists(BLOCK)
    assert failed(machine) == {}


def test_configurations_of_administrators(machine: Machine) -> None:
    """Keys by certificate only, passwords only, two factors, few ciphers: none of this is about the jail."""
    ready(machine, QUIET)
    jail(machine, "alice")
    main = machine.read("/etc/ssh/sshd_config")
    for lines in (
        "PubkeyAuthentication no",
        "AuthenticationMethods publickey,password",
        "AuthenticationMethods password",
        "PubkeyAcceptedAlgorithms ssh-ed25519-cert-v01@openssh.com",
        "KexAlgorithms sntrup761x25519-sha512@openssh.com\nCiphers aes256-cbc",
        "LogLevel QUIET\nMaxSessions 3\nBanner /etc/motd",
        "Match User alice\nAuthenticationMethods password\nMatch all",
    ):
        machine.write("/etc/ssh/sshd_config", f"{lines}\n{main}")
        machine.run("/usr/sbin/sshd", "-t")
        assert failed(machine) == {}, lines
    machine.write("/etc/ssh/sshd_config", f"AcceptEnv *\n{main}")
    assert set(failed(machine)) == {"no environment"}


def test_a_user_who_expects_us(machine: Machine) -> None:
    """Links in the home lead root nowhere."""
    ready(machine, QUIET + "[profiles]\n[[sftponly]]\nstart = /home/%u/in\n")
    jail(machine, "alice")
    machine.sh("mkdir /srv/victim; chown alice /srv/victim; ln -s /srv/victim /home/alice/in")
    before = machine.listing("/srv/victim", times=True)
    assert "lands in the start directory" in failed(machine)
    assert changes(before, machine.listing("/srv/victim", times=True)) == {}


OUTSIDE = {
    "outside of its jail alice has a crontab": "echo '@daily id' | crontab -u alice -",
    "alice lingers": "mkdir -p /var/lib/systemd/linger && touch /var/lib/systemd/linger/alice",
    "/srv/sftp/alice/web/in is no place for a mount: /srv/site": "chmod 777 /srv/site",
    "will not show /srv/one/two in a jail: /srv/one belongs to": "chown alice /srv/one",
}


@pytest.mark.parametrize("says", OUTSIDE)
def test_what_no_session_can_show(machine: Machine, says: str) -> None:
    """What runs for the account outside of its jail, and mounts that have become unsafe since."""
    ready(machine, QUIET)
    jail(machine, "alice")
    machine.sh("mkdir -p /srv/site/in /srv/inner /srv/one/two")
    for source, target in (
        ("/srv/site", "/web"),
        ("/srv/inner", "/web/in"),
        ("/srv/one/two", "/two"),
    ):
        machine.run("sftpjail", "mount", "alice", source, target)
    assert failed(machine) == {}
    machine.sh(OUTSIDE[says])
    found = failed(machine)
    assert list(found) == ["nothing outside of it"] and found["nothing outside of it"].startswith(
        says
    ), found
    checked = machine.run("sftpjail", "check", check=False)
    assert checked.code == 3 and f"alice: {says}" in checked.out, checked


@pytest.mark.parametrize(
    "number", ["INT", *(pytest.param(name, marks=pytest.mark.whole) for name in ("TERM", "HUP"))]
)
def test_stopped_in_the_middle(machine: Machine, number: str) -> None:
    """At any moment: of the beginning, the logins, the probes and the end."""
    ready(machine, QUIET)
    for name in ("alice", "bob"):
        jail(machine, name)
    proofs(machine, "alice", "bob")
    before, running = everything(machine), processes(machine)
    script = 'delay=$1; shift; sftpjail test "$@" & sleep "$delay"; kill -s $0 $!; wait $!; echo "code $?"'
    began = time.monotonic()
    machine.run("sftpjail", "test", "alice")
    whole, stopped = time.monotonic() - began, 0
    for users in (["alice"], ["alice", "bob"]):
        for part in range(
            2, 11
        ):  # of the time that it takes on this machine, under what else runs there
            delay = f"{whole * part / 10:.3f}"
            done = machine.run("sh", "-c", script, number, delay, *users, check=False)
            assert (
                re.search(r"code (0|1|129|130|143)$", done.out.strip())
                and "Traceback" not in done.err
            ), (
                delay,
                done,
            )
            stopped += f"stopped by SIG{number}" in done.err
            assert changes(before, everything(machine)) == {}, (delay, done)
            assert processes(machine) == running, (delay, done)
    assert stopped > 6


def test_what_it_refuses(machine: Machine) -> None:
    ready(machine, QUIET)
    jail(machine, "alice")
    machine.run("useradd", "-m", "bob")
    refused(machine, "sftpjail", "test", "bob", says="not jailed")
    refused(machine, "sftpjail", "test", "alice", "nobody-here", says="no account nobody-here")
    refused(machine, "sftpjail", "test", code=2, says="--all")
    refused(machine, "sftpjail", "test", "--all", "alice", code=2, says="--all")
    machine.sh("mv /usr/lib/python3/dist-packages/paramiko /root")
    refused(machine, "sftpjail", "test", "alice", says="apt install python3-paramiko")


def test_a_bad_one_among_many(machine: Machine) -> None:
    ready(machine, QUIET)
    for number in range(6):
        machine.run("useradd", "-m", "-G", "sftponly", f"user{number}")
    machine.run("chmod", "775", "/srv/sftp/user3")
    done = machine.run("sftpjail", "test", "--all", check=False)
    lines = done.out.splitlines()
    assert done.code == 3, done
    users = [f"ok      user{number}" for number in range(6)]
    users[3] = "FAILED  user3, 16 not run: there is no session"
    assert [line for line in lines if not line.startswith(" ")][:-1] == users
    assert (
        "        FAILED  lands in the start directory: the server hung up; sshd: bad ownership"
        in done.out
    ), done


@pytest.mark.booted
def test_under_systemd(booted: Machine) -> None:
    """With journald and logind, whose manager for the user goes by itself some seconds after any session."""
    booted.write(CONFIG, "[logs]\nbackend = journald\n")
    booted.run("sftpjail", "setup")
    booted.run("useradd", "-m", "-G", "sftponly", "alice")
    assert failed(booted) == {}
    booted.sh(
        "for n in $(seq 200); do pgrep -u alice >/dev/null || exit 0; sleep 0.1; done; exit 1",
        timeout=30,
    )
    assert booted.sh("ls -d /run/sftpjail-test-* || true").out == ""
