"""`mounts = session`: a jail's mounts are there for its sessions and nowhere else; without them there is no session."""

from __future__ import annotations

import contextlib
import subprocess

import pytest
from machine import Machine, changes
from steps import (
    CONFIG,
    again,
    doors,
    fstab,
    jail,
    killed,
    listing,
    mounted,
    open_with_key,
    previewed,
    ready,
    shut,
    web,
    works,
)

SESSION = "[profiles]\n[[sftponly]]\nmounts = session\n"
QUIET = f"[logs]\nbackend = none\n{SESSION}"
FSTAB = "[logs]\nbackend = none\n"
LOG = "/var/log/sftp.log"
BUNDLE = "/root/keys"


def inside_mounts(machine: Machine) -> int:
    """How many mounts in the jails the host knows."""
    return sum("/srv/sftp" in line for line in machine.read("/proc/self/mountinfo").splitlines())


def client(machine: Machine, name: str, key: str, *options: str) -> subprocess.Popen[str]:
    """An sftp(1) that does what is written to it."""
    argv = machine.argv(
        "sftp", *options, "-b", "-", *machine._client(key, "-P"), f"{name}@127.0.0.1"
    )
    return subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_story(machine: Machine) -> None:
    """As the README's, and then the same with directories in each other and read-only."""
    machine.start_sshd()
    machine.start_rsyslog()
    before = machine.listing()
    machine.write(CONFIG, SESSION)
    assert "pam_namespace.so" in previewed(machine, "sftpjail", "setup")
    machine.run("sftpjail", "setup")
    again(machine, "sftpjail", "setup")
    machine.restart_rsyslog()
    web(machine)
    machine.write("/srv/media/song", "la\n")
    machine.run("adduser", "--disabled-password", "--comment", "", "--ingroup", "sftponly", "alice")
    key = open_with_key(machine, "alice")
    for command in (
        ("sftpjail", "mount", "alice", "/srv/web/example.com", "/web"),
        ("sftpjail", "mount", "--read-only", "alice", "/srv/media", "/web/media"),
    ):
        assert "/etc/sftpjail/mounts/alice" in previewed(machine, *command)
        assert "from the next session on" in machine.run(*command).out
        again(machine, *command)
    machine.run("install", "-d", "-m", "777", "/srv/web/example.com/in", "/srv/media")

    batch = [
        "get /web/index.html /tmp/got",
        "get /web/media/song /tmp/got",
        "put /etc/hostname /web/in/new",
    ]
    works(machine, "alice", key, *batch, "put /etc/hostname up")
    assert machine.sftp("alice", key, ["put /etc/hostname /web/media/no"]).code == 1
    assert (
        machine.read("/srv/web/example.com/in/new")
        == machine.read("/home/alice/up")
        == machine.read("/etc/hostname")
    )
    machine.wait_for(LOG, r'close "/home/alice/up" bytes read 0 written \d')
    assert doors(machine, "alice", key) == []
    assert inside_mounts(machine) == 0 and fstab(machine, "alice") == []
    compiled = machine.sh("find /run/sftpjail -name 'pam_session*'; stat -c %a /run/sftpjail").out
    path, _, mode = compiled.rstrip().partition("\n")
    assert path.endswith(".pyc") and mode == "700", compiled
    machine.run("truncate", "--size=99", path)
    works(machine, "alice", key, "ls /web")  # it is made once more, and is not needed

    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"
    tested = machine.run("sftpjail", "test", "alice")
    assert "alice: 18 of 18 ok\n" in tested.out, tested
    shown = machine.run("sftpjail", "show", "alice").out
    assert (
        "state\tok" in shown
        and "/web/media <- /srv/media (mount, read-only, for each session)" in shown
    )
    explained = machine.run("sftpjail", "explain", "alice").out
    assert (
        "ro,nosuid,nodev, for each session" in explained
        and "/etc/sftpjail/pam-session" in explained
    )
    assert "put" in machine.run("sftpjail", "log", "alice").out
    seen = machine.run("sftpjail", "enter", "alice", "--", "ls", "web/media", "home/alice")
    assert "song" in seen.out and "up" in seen.out and inside_mounts(machine) == 0
    previewed(machine, "sftpjail", "enter", "alice", "--", "rm", "-r", "home/alice")
    refuses = [
        "env",
        "PAM_TYPE=open_session",
        "PAM_USER=root",
        "/etc/sftpjail/pam-session",
        "session",
    ]
    done = machine.run(*refuses, check=False)
    assert done.code == 1 and "root is not jailed" in done.err, "no table, no member: no session"
    assert not machine.exists("/run/mount/utab") or "sftp" not in machine.read("/run/mount/utab")

    machine.run("sftpjail", "umount", "alice", "/web/media")
    works(machine, "alice", key, "ls /web")
    machine.run("deluser", "--remove-home", "alice")
    assert (
        machine.read("/srv/web/example.com/index.html") == "hello\n"
        and machine.read("/srv/media/song") == "la\n"
    )
    machine.run("sftpjail", "teardown")
    machine.run("rm", "-r", "/srv/web", "/srv/media")
    left = changes(before, machine.listing())
    assert [
        path
        for path in left
        if not path.startswith((CONFIG, "/etc/sub", "/var/mail", "/var/lib/logrotate"))
    ] == []


def test_fifty_sessions_at_once_and_none_of_them_is_left(machine: Machine) -> None:
    machine.write(CONFIG, SESSION)
    machine.start_sshd("-o", "MaxStartups=100")
    machine.start_rsyslog()
    machine.run("sftpjail", "setup")
    machine.restart_rsyslog()
    web(machine)
    names = [f"u{number}" for number in range(10)]
    keys = {}
    for name in names:
        keys[name] = jail(machine, name)
        machine.run("sftpjail", "mount", name, "/srv/web/example.com", "/web")
        machine.run("sftpjail", "mount", "--read-only", name, "/srv/web", "/web/again", check=False)
    assert inside_mounts(machine) == 0
    with contextlib.ExitStack() as stack:
        clients = []
        for number in range(50):
            name = names[number % 10]
            clients.append(stack.enter_context(client(machine, name, keys[name])))
        for number, process in enumerate(clients):
            assert process.stdin
            process.stdin.write(
                f"get /web/index.html /tmp/got{number}\nput /etc/hostname up{number}\npwd\n"
            )
            process.stdin.flush()
        for number, process in enumerate(clients):
            assert process.stdout
            assert any("Remote working directory" in line for line in process.stdout), number
        assert inside_mounts(machine) == 0, "while all of them are open"
        machine.sh("pgrep -f 'sshd(-session)?: u[0-9] ' | xargs kill -9")
    assert inside_mounts(machine) == 0
    for number in range(50):
        machine.wait_for(LOG, rf'close "/home/u{number % 10}/up{number}" bytes read 0 written \d')
    works(machine, "u0", keys["u0"])
    assert machine.run("sftpjail", "check").out == "10 jails checked, no problems\n"


def test_from_fstab_to_sessions_and_back_while_files_come_in(machine: Machine) -> None:
    """No transfer breaks, no file is lost, and the host is as it was."""
    ready(machine, FSTAB)
    names = [f"u{number}" for number in range(20)]
    web(machine)
    machine.run("chmod", "o+w", "/srv/web/example.com")
    keys = {}
    for name in names:
        keys[name] = jail(machine, name)
        machine.run("sftpjail", "mount", name, "/srv/web/example.com", "/web")
    machine.write("/root/file", "x" * 100_000)
    machine.restart_sshd("-o", "MaxStartups=100")
    before, points = listing(machine, times=False), mounted(machine)
    assert len(points) == 40
    uploads = {}
    with contextlib.ExitStack() as stack:
        for name in names:
            # Slowly, so that sessions are open over all that follows.
            batch = "".join(
                f"put /root/file {n}\nput /root/file /web/{name}-{n}\n!sleep 0.2\n"
                for n in range(40)
            )
            uploads[name] = stack.enter_context(client(machine, name, keys[name], "-l", "40000"))
            assert uploads[name].stdin
            uploads[name].stdin.write(batch)
            uploads[name].stdin.flush()
        for name in names:
            machine.wait_for(f"/home/{name}/0")
        machine.write(CONFIG, QUIET)
        said = machine.run("sftpjail", "apply")
        assert fstab(machine, "u0") == [], said
        assert mounted(machine) == points, "somebody is at work there"
        works(machine, "u0", keys["u0"], "ls /web/index.html")
        machine.write(CONFIG, FSTAB)
        machine.run("sftpjail", "apply")
        assert mounted(machine) == points and len(fstab(machine, "u0")) == 2
        machine.write(CONFIG, QUIET)
        machine.run("sftpjail", "apply")
        for name, upload in uploads.items():
            out = upload.communicate(timeout=120)[0]
            assert upload.returncode == 0, f"{name}: {out[-2000:]}"
    for name in names:
        theirs = f"cd /home/{name} && stat -c %s $(seq 0 39); cd /srv/web/example.com && stat -c %s {name}-*"
        sizes = machine.sh(theirs).out
        assert sizes.split() == ["100000"] * 80, name
    assert machine.run("sftpjail", "apply").code == 0
    assert mounted(machine) == [], "now nobody is"
    assert machine.run("sftpjail", "check").out == "20 jails checked, no problems\n"
    works(machine, "u0", keys["u0"], "ls /web/index.html")
    machine.write(CONFIG, FSTAB)
    machine.run("sftpjail", "apply")
    machine.sh("rm -f /home/u*/[0-9]* /srv/web/example.com/u*")
    assert mounted(machine) == points
    assert changes(before, listing(machine, times=False)) == {}


@pytest.fixture
def doors_locked(machine: Machine) -> Machine:
    """A host with the jailed alice and with bob, who is nobody's prisoner; root may log in too."""
    ready(machine, QUIET)
    web(machine)
    jail(machine, "alice")
    machine.run("sftpjail", "mount", "alice", "/srv/web/example.com", "/web")
    machine.run("useradd", "-m", "-s", "/bin/sh", "bob")
    key = machine.keygen("bob")
    machine.write("/home/bob/.ssh/authorized_keys", machine.read(f"{key}.pub"), 0o644)
    machine.write("/root/.ssh/authorized_keys", machine.read(f"{key}.pub"), 0o600)
    machine.sh("chmod 700 /root /root/.ssh")
    works(machine, "alice", f"{BUNDLE}/alice")
    others_log_in(machine)
    machine.start_rsyslog()
    return machine


def others_log_in(machine: Machine) -> None:
    for name in ("bob", "root"):
        assert "uid=" in machine.ssh(name, f"{BUNDLE}/bob", "id").out


HANGS = r"sed -i 's/^def main(.*/&\n    import time; time.sleep(100)/'"


@pytest.mark.parametrize(
    ("breaks", "says", "fixes"),
    [
        ("rm /etc/sftpjail/pam-session", "pam-session is missing", "sftpjail setup"),
        ("chmod a-x /etc/sftpjail/pam-session", "is not executable", "sftpjail setup"),
        ("rm /etc/sftpjail/pam_session.py", "pam_session.py is missing", "sftpjail setup"),
        (f"{HANGS} /etc/sftpjail/pam_session.py", "not end within 5 seconds", "sftpjail setup"),
        (
            "mv /srv/web/example.com /srv/gone",
            "alice/web is to show, is missing",
            "mv /srv/gone /srv/web/example.com",
        ),
        ("rm /etc/security/namespace.d/sftpjail.conf", "old or missing rules", "sftpjail setup"),
        (
            "rmdir /var/lib/sftpjail/session",
            "/var/lib/sftpjail/session is missing",
            "sftpjail setup",
        ),
        ("rm /etc/sftpjail/mounts/alice", "", ""),
        # The cause is named, and not the session's end that follows from it.
        ("rmdir /srv/sftp/alice/web", "/srv/sftp/alice/web (", "sftpjail apply"),
    ],
)
def test_locked_doors(doors_locked: Machine, breaks: str, says: str, fixes: str) -> None:
    """Whatever is broken, nobody sees an emptier jail, and nobody else notices."""
    machine = doors_locked
    if breaks.startswith(HANGS):  # PAM's own patience is longer than a test's
        machine.sh(
            "sed -i 's/timeout 30/timeout 2/' /etc/pam.d/sshd /etc/pam.d/sftpjail-session 2>/dev/null || :"
        )
    machine.sh(breaks)
    others_log_in(machine)
    if not says:
        works(
            machine, "alice", f"{BUNDLE}/alice"
        )  # the script has it made again, as for somebody never seen
        return
    shut(machine, "alice", f"{BUNDLE}/alice")
    explained = machine.run("sftpjail", "--json", "explain", "alice", check=False)
    assert explained.code == 3 and says in explained.out, explained
    if "/web" in says:
        refused = r"sftpjail: session of alice closed: will not show .*: No such file or directory"
        machine.wait_for("/var/log/auth.log", refused)
    machine.sh(fixes)
    works(machine, "alice", f"{BUNDLE}/alice", "ls /web/index.html")
    others_log_in(machine)


def test_setup_takes_back_what_would_lock_somebody_out(machine: Machine) -> None:
    """A PAM module that is not there, a script that fails: seen by logins before anything is live."""
    machine.start_sshd()
    before = listing(machine, times=False)
    machine.write(CONFIG, QUIET)
    step = "/usr/lib/python3/dist-packages/sftpjail/system/login_step.py"
    machine.sh(f"cp {step} /root/step && sed -i 's/^def main(.*/&\\n    sys.exit(7)/' {step}")
    done = machine.run("sftpjail", "setup", check=False)
    assert done.code == 1 and "does not say who is jailed: ok" in done.err, done
    machine.run("cp", "/root/step", step)
    left = changes(before, listing(machine, times=False))
    assert [path for path in left if not path.startswith("/etc/sftpjail/sftpjail.conf")] == []
    module = machine.sh("find /usr/lib -name pam_namespace.so").out.strip()
    machine.run("mv", module, f"{module}.away")
    done = machine.run("sftpjail", "setup", check=False)
    assert done.code == 1 and "does not say who is jailed: ok" in done.err, done
    assert changes(left and before, listing(machine, times=False)).keys() <= {
        "/etc/sftpjail/sftpjail.conf"
    }
    machine.run("mv", f"{module}.away", module)
    machine.run("sftpjail", "setup")


FORMS = """
[logs]
backend = none
[profiles]
[[homes]]
chroot = %h
mounts = session
[[insides]]
home = inside
mounts = session
[[plain]]
"""


def test_every_form_side_by_side(machine: Machine) -> None:
    """Three profiles, two of them with session mounts: each account gets its own."""
    ready(machine, FORMS)
    web(machine)
    starts = {"homes": "/files", "insides": "/files", "plain": "/home/plain"}
    keys = {}
    for name, start in starts.items():
        machine.run("useradd", "-M" if name == "insides" else "-m", "-N", "-G", name, name)
        keys[name] = open_with_key(machine, name)
        under = ["--under-home"] if name == "homes" else []
        machine.run("sftpjail", "mount", *under, name, "/srv/web/example.com", "/web")
        done = works(machine, name, keys[name], "get /web/index.html /tmp/got")
        assert f"directory: {start}\n" in done.out, done
    assert mounted(machine, "/srv/sftp") == ["/srv/sftp/plain/home/plain", "/srv/sftp/plain/web"]
    assert machine.run("sftpjail", "check").out == "3 jails checked, no problems\n"
    assert machine.run("sftpjail", "test", "--all").code == 0


def test_a_mount_busy_when_the_setting_changed_gives_no_rights(machine: Machine) -> None:
    """The host's, writable, comes along into each session's namespace, where mount -a would pass by what is mounted."""
    ready(machine, FSTAB)
    key = jail(machine, "alice")
    machine.run("install", "-d", "-m", "777", "/srv/my web")
    machine.run("sftpjail", "mount", "alice", "/srv/my web", "/my web")
    machine.sh(
        "cd '/srv/sftp/alice/my web' && exec setsid sleep 100 >/dev/null 2>&1 </dev/null & echo $! >/run/busy"
    )
    machine.sh(
        'until [ "$(readlink /proc/$(cat /run/busy)/cwd)" = "/srv/sftp/alice/my web" ]; do sleep 0.1; done'
    )
    machine.write(CONFIG, QUIET)
    machine.run("sftpjail", "setup", check=False)
    machine.run("sftpjail", "umount", "alice", "/my web", check=False)
    machine.run("sftpjail", "mount", "--read-only", "alice", "/srv/my web", "/my web")
    assert "/srv/sftp/alice/my web" in mounted(machine), "busy"
    done = machine.sftp("alice", key, ['put /etc/hostname "/my web/x"'])
    assert done.code == 1 and not machine.exists("/srv/my web/x"), done
    assert machine.sftp("alice", key, ['ls "/my web"', "put /etc/hostname mine"]).code == 0
    machine.sh("kill $(cat /run/busy)")


def test_two_first_logins_at_once(machine: Machine) -> None:
    """Of somebody whose jail no hook has made."""
    ready(machine, QUIET)
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    key = open_with_key(machine, "alice")
    machine.run("sftpjail", "remove", "alice")
    machine.run("gpasswd", "-a", "alice", "sftponly")
    machine.run("sftpjail", "key", "add", "alice", f"{key}.pub")
    assert not machine.exists("/etc/sftpjail/mounts/alice")
    for process in [client(machine, "alice", key) for _ in range(6)]:
        out = process.communicate("pwd\nput /etc/hostname up\n", timeout=60)[0]
        assert process.returncode == 0 and "directory: /home/alice" in out, out


@pytest.mark.halved
@pytest.mark.parametrize("layout", ["home = inside", "chroot = %h"])
def test_a_killed_adoption_closes_no_login(machine: Machine, layout: str) -> None:
    """A jail without mounts has a table too, and who has one can log in before the next run recovers."""
    ready(machine, f"{QUIET}{layout}\n")
    machine.run("useradd", "-m", "bob")
    key = machine.keygen("bob")
    machine.sh(
        "install -d -m 700 -o bob -g bob /home/bob/.ssh;"
        f"install -m 600 -o bob -g bob {key}.pub /home/bob/.ssh/authorized_keys"
    )
    killed(machine, "user-create", "sftpjail", "adopt", "bob")
    assert machine.sftp("bob", key, ["pwd"]).code == 0
    assert machine.exists("/var/lib/sftpjail/journal"), "a login recovers nothing"
    machine.run("sftpjail", "apply")
    machine.run("sftpjail", "adopt", "bob")
    table = "/etc/sftpjail/mounts/bob"
    assert machine.read(table) == "# x-sftpjail.user=bob\n"
    assert machine.sftp("bob", key, ["pwd"]).code == 0
    again(machine, "sftpjail", "apply")
    killed(machine, "user-remove", "sftpjail", "remove", "bob")
    assert machine.sftp("bob", key, ["pwd"]).code == 0
    machine.run("sftpjail", "apply")
    machine.run("rm", table)  # as of a jail that an earlier version made
    assert machine.sftp("bob", key, ["pwd"]).code == 0
    assert machine.exists(table)
    machine.run("sftpjail", "remove", "bob")
    assert not machine.exists(table)


def test_a_user_has_no_say_in_the_environment_of_the_script(machine: Machine) -> None:
    """Debian 12 reads ~/.pam_environment, which a user can upload, and pam_exec hands it on to programs of root."""
    ready(machine, QUIET)
    key = jail(machine, "alice")
    machine.write(
        "/root/env", "LD_DEBUG DEFAULT=files\nLD_DEBUG_OUTPUT DEFAULT=/root/written-by-root\n"
    )
    works(machine, "alice", key, "put /root/env .pam_environment")
    works(machine, "alice", key)
    assert "written-by-root" not in machine.run("ls", "-A", "/root").out
