"""Root's commands while a user exchanges directories for links under them: root is never led, and nothing hangs.

Each test is a target. Its attackers are processes of the user's (or of another who can write the
same directories), beside the jail unless the test says otherwise, since they reach more from there
than by SFTP.
"""

from __future__ import annotations

import subprocess

import pytest
from machine import Machine
from race import FILES, KEYS, LIMIT, Race
from steps import CONFIG, open_with_key, ready

FORMS = {
    "jails": "[profiles]\n[[sftponly]]\nmounts = fstab\n",
    "sessions": "[profiles]\n[[sftponly]]\nmounts = session\n",
    "homes": "[profiles]\n[[sftponly]]\nchroot = %h\nmounts = fstab\n",
    "inside": "[profiles]\n[[sftponly]]\nhome = inside\nmounts = fstab\n",
}
ALLOWED = "[mounts]\nallow = /home/alice/pub\n"
VETO = "#!/bin/sh\nsleep 0.$(($$ % 4))\nexit 1\n"
# Kills the run that calls it.
KILLER = "#!/bin/sh\nsleep 0.$(($$ % 3))\nkill -9 $PPID\nsleep 5\n"
SSH = [f"/home/alice/.ssh={KEYS[0]}", f"/home/alice/.ssh/authorized_keys={FILES[1]}"]
HOME = [
    *SSH,
    "/home/alice/dev",
    f"/home/alice/dev/log={FILES[0]}",
    "/home/alice/files",
    "/home/alice/web",
]


@pytest.fixture
def rounds(thorough: bool) -> int:
    return 60 if thorough else 3


def host(machine: Machine, form: str, more: str = "", logs: bool = True) -> None:
    """A host that is set up, with an account alice that has no jail yet."""
    if logs:
        machine.start_rsyslog()
    ready(machine, more + FORMS[form] + ("" if logs else "[logs]\nbackend = none\n"))
    if logs:
        machine.restart_rsyslog()
    machine.sh(
        "useradd -m -s /bin/sh alice; mkdir -p /srv/web /srv/team; su alice -c 'mkdir -m 700 ~/pub ~/dev'"
    )


def hook(machine: Machine, event: str, script: str = VETO) -> str:
    """A hook script that makes a command fail late, so that everything is put back."""
    path = f"/etc/sftpjail/hooks/{event}.d/late"
    machine.write(path, script, 0o755)
    return path


def adopting(machine: Machine) -> tuple[str, ...]:
    """The command that jails alice although her processes, the attackers, run."""
    keep = (
        ("--keep", "processes")
        if "--keep" in machine.run("sftpjail", "adopt", "--help").out
        else ()
    )
    return ("sftpjail", "adopt", *keep, "alice")


def with_keys(machine: Machine) -> None:
    """alice has a file of keys in her home, and nothing of ours beside it."""
    key = machine.keygen("alice") if not machine.exists("/root/keys/alice") else "/root/keys/alice"
    machine.sh(
        "rm -rf /home/alice/.ssh; install -d -m 700 -o alice -g alice /home/alice/.ssh; "
        f"install -m 600 -o alice -g alice {key}.pub /home/alice/.ssh/authorized_keys"
    )


def keys_of(race: Race) -> None:
    """No key of others is alice's now."""
    race.see_text(
        race.calm("cat", "/etc/ssh/authorized_keys/alice", check=False).out, "alice's keys"
    )


@pytest.mark.parametrize(
    "form", ["jails", "homes", pytest.param("inside", marks=pytest.mark.whole)]
)
def test_adopt_and_remove(machine: Machine, form: str, rounds: int) -> None:
    host(machine, form)
    adopt = adopting(machine)
    with_keys(machine)
    prey = HOME if form == "jails" else HOME[2:]  # keys that cannot be read end it early
    with Race(machine, f"adopt, remove ({form})", prey, rounds) as race:
        for _ in race.each():
            with_keys(machine)
            done = race.attack(*adopt)
            keys_of(race)
            if done.code == 0:
                race.attack("sftpjail", "remove", "alice")
            race.calm("sftpjail", "remove", "alice", check=False)


@pytest.mark.parametrize("form", [pytest.param("jails", marks=pytest.mark.whole), "homes"])
def test_adopt_that_is_put_back(machine: Machine, form: str, rounds: int) -> None:
    host(machine, form)
    adopt = adopting(machine)
    hook(machine, "user-create")
    with_keys(machine)
    with Race(machine, f"adopt, put back ({form})", HOME[2:], rounds) as race:
        for _ in race.each():
            with_keys(machine)
            race.attack(*adopt, codes=(1,))


@pytest.mark.booted
def test_adopt_with_the_log_socket_of_a_booted_host(booted: Machine, rounds: int) -> None:
    """The socket is a file, and so what a link of the user's leads to may be one."""
    booted.run("systemctl", "start", "ssh")
    booted.write(CONFIG, FORMS["homes"])
    booted.run("sftpjail", "setup")
    booted.sh("useradd -m -s /bin/sh alice")
    adopt = adopting(booted)
    prey = [f"/home/alice/dev/log={FILES[0]}"]
    with Race(
        booted, "adopt, a log socket (homes, booted)", prey, 3 * rounds, kinds=("sneak",)
    ) as race:
        for _ in race.each():
            race.attack(*adopt)
            race.calm("sftpjail", "remove", "alice", check=False)


def test_removal_that_is_put_back(machine: Machine, rounds: int) -> None:
    """The home is the user's for a moment, and then the mounts in it are made again."""
    host(machine, "homes", logs=False)
    machine.run("sftpjail", "adopt", "alice")
    machine.run("sftpjail", "mount", "--under-home", "alice", "/srv/web", "/web")
    hook(machine, "user-remove")
    prey = ["/home/alice/web", "/home/alice/files/x"]
    with Race(machine, "remove, put back (homes)", prey, rounds) as race:
        for _ in race.each():
            race.attack("sftpjail", "remove", "alice", codes=(1,))
            race.calm("sftpjail", "apply", check=False)


def test_recovery_of_a_killed_removal(machine: Machine, rounds: int) -> None:
    host(machine, "homes", logs=False)
    adopt = adopting(machine)
    machine.run(*adopt)
    machine.run("sftpjail", "mount", "--under-home", "alice", "/srv/web", "/web")
    prey = ["/home/alice/web", "/home/alice/files", "/home/alice/files/x"]
    with Race(machine, "recovery of a killed remove (homes)", prey, rounds) as race:
        for _ in race.each():
            late = hook(machine, "user-remove", KILLER)
            race.attack("sftpjail", "remove", "alice", codes=(-9,), says="")
            race.calm("rm", late)
            race.attack("sftpjail", "apply")
            race.calm("sftpjail", "apply", check=False)


@pytest.mark.parametrize("form", ["jails", pytest.param("homes", marks=pytest.mark.whole)])
def test_key_migrate(machine: Machine, form: str, rounds: int) -> None:
    host(machine, form, logs=False)
    machine.run("sftpjail", "adopt", "alice")
    if form == "homes":
        machine.sh("install -d -m 700 -o alice -g alice /home/alice/.ssh")
    with_keys(machine)
    with Race(machine, f"key migrate ({form})", SSH, 2 * rounds) as race:
        for number in race.each():
            machine.run("rm", "-f", "/etc/ssh/authorized_keys/alice")
            with_keys(machine)
            race.attack(
                "sftpjail", "key", "migrate", "--all" if number % 2 else "alice", codes=(0, 1, 3)
            )
            keys_of(race)


def unsafe(machine: Machine, form: str) -> list[str]:
    """A jail of which a nested mount point and two sources are in what has become the user's; returns the paths."""
    host(machine, form, ALLOWED, logs=False)
    machine.run("sftpjail", "adopt", "alice")
    machine.sh("mkdir -p /srv/team/web /srv/team/site")
    for source, target in (
        ("/srv/team", "/team"),
        ("/srv/web", "/team/web"),
        ("/srv/team/site", "/site"),
    ):
        machine.run("sftpjail", "mount", "alice", source, target)
    machine.run("sftpjail", "mount", "alice", "/home/alice/pub", "/pub", check=False)
    return ["/srv/team/web", "/srv/team/site", "/home/alice/pub"]


def given_away(machine: Machine) -> None:
    """What the administrator does later, with our own words or others': the directory is the user's now."""
    machine.sh("chown -R alice /srv/team")


def login(race: Race, key: str) -> None:
    """A session under attack, held until all mounts have been looked at; or one that is closed."""
    machine = race.machine
    race.go()
    argv = machine.argv("sftp", *machine._client(key, "-P"), "alice@127.0.0.1")
    pipe = subprocess.PIPE
    client = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)
    assert client.stdin and client.stdout
    try:
        client.stdin.write("pwd\n")
        client.stdin.flush()
        opened = "Remote working directory" in "".join(_until(client, "Remote working directory"))
        race.see_all()
        said, _ = client.communicate(
            "ls -1 /pub\nls -1 /site\nls -1 /team\n" if opened else None, timeout=LIMIT
        )
        race.see_text(said, "the session")
    except subprocess.TimeoutExpired as error:
        race.hangs.append(str(error))
    finally:
        client.kill()
        client.wait()
        race.pause()
    race.done += opened
    race.refused += not opened


def _until(client: subprocess.Popen[str], words: str) -> list[str]:
    lines = []
    assert client.stdout
    for line in client.stdout:
        lines.append(line)
        if words in line:
            break
    return lines


def test_login_with_a_nested_mount_point(machine: Machine, rounds: int) -> None:
    """Session mounts, whose outer directory was root's when they were made."""
    prey = unsafe(machine, "sessions")
    key = open_with_key(machine, "alice")
    given_away(machine)
    with Race(machine, "login, a nested mount point (sessions)", prey[:1], 2 * rounds) as race:
        for _ in race.each():
            login(race, key)


def test_enter_with_a_nested_mount_point(machine: Machine, rounds: int) -> None:
    prey = unsafe(machine, "sessions")
    given_away(machine)
    with Race(machine, "enter, a nested mount point (sessions)", prey[:1], 2 * rounds) as race:
        for _ in race.each():
            table = race.attack(
                "sftpjail",
                "enter",
                "alice",
                "--",
                "cat",
                "/proc/self/mountinfo",
                says="will not show",
            )
            race.see_table(table.out, "enter")


def test_login_with_a_source(machine: Machine, rounds: int) -> None:
    """The directory around a source has become the user's."""
    prey = unsafe(machine, "sessions")
    key = open_with_key(machine, "alice")
    machine.run("sftpjail", "umount", "alice", "/team/web")
    given_away(machine)
    with Race(machine, "login, a source (sessions)", prey[1:2], 2 * rounds) as race:
        for _ in race.each():
            login(race, key)


def test_login_with_an_allowed_source(machine: Machine, rounds: int) -> None:
    """The administrator has allowed a source in the home: what is shown is the user's, or nothing."""
    prey = unsafe(machine, "sessions")
    key = open_with_key(machine, "alice")
    with Race(
        machine, "login, mount, umount, an allowed source (sessions)", prey[2:], 2 * rounds
    ) as race:
        for _ in race.each():
            login(race, key)
            race.attack("sftpjail", "umount", "alice", "/pub", codes=(0, 1))
            race.attack("sftpjail", "mount", "alice", "/home/alice/pub", "/pub")


def test_login_with_a_source_whose_owners_are_mapped(machine: Machine, rounds: int) -> None:
    """A map lends the rights of its owner, so it must never be on what somebody else has chosen."""
    host(machine, "sessions", "[mounts]\nas = www-data,\n", logs=False)
    machine.run("sftpjail", "adopt", "alice")
    key = open_with_key(machine, "alice")
    machine.sh(
        "mount -t tmpfs -o mode=755,nosuid none /srv/team; mkdir /srv/team/site;"
        " chown www-data:www-data /srv/team/site"
    )
    mount = ("sftpjail", "mount", "alice", "/srv/team/site", "/site", "--as", "www-data")
    machine.run(*mount)
    prey = ["/srv/team/site"]
    with Race(machine, "login, mount --as, apply, umount (sessions)", prey, rounds) as race:
        for _ in race.each():
            given_away(machine)
            login(race, key)
            race.attack("sftpjail", "apply")
            race.attack("sftpjail", "umount", "alice", "/site")
            machine.sh("chown root /srv/team; chown www-data:www-data /srv/team/site")
            race.attack(*mount)
            race.calm(*mount)


@pytest.mark.parametrize("form", ["jails", "sessions"])
def test_a_directory_that_a_group_shares(machine: Machine, form: str, rounds: int) -> None:
    """Root gives it to the group and takes it back, while the directory around it is the user's."""
    host(machine, form, logs=False)
    machine.sh("groupadd editors; usermod -aG editors alice; mkdir -p /srv/team/site/below")
    machine.run("sftpjail", "adopt", "alice")
    mount = ("sftpjail", "mount", "alice", "/srv/team/site", "/site", "--group", "editors")
    prey = ["/srv/team/site", "/srv/team/site/below"]
    with Race(machine, f"mount --group, apply, umount ({form})", prey, rounds) as race:
        for number in race.each():
            race.attack(*mount)
            race.calm(*mount)
            given_away(machine)
            race.attack("sftpjail", "apply")
            if number % 2:
                race.attack("sftpjail", "umount", "alice", "/site")
            race.attack("sftpjail", "remove", "alice")
            machine.sh("chown root /srv/team /srv/team/site")
            race.calm("sftpjail", "adopt", "--keep", "processes", "alice", check=False)


def test_apply_check_and_boot(machine: Machine, rounds: int) -> None:
    """What is mounted again, and its source or the directory around its mount point is the user's by now."""
    prey = unsafe(machine, "jails")
    given_away(machine)
    lost = "for point in team/web site pub team; do umount -l /srv/sftp/alice/$point 2>/dev/null || :; done"
    with Race(machine, "apply, check --fix (jails)", prey, rounds) as race:
        for _ in race.each():
            machine.sh(lost)
            race.attack("sftpjail", "apply")
            machine.sh(lost)
            race.attack("sftpjail", "check", "--fix", codes=(0, 1, 3))
            race.attack("sftpjail", "umount", "alice", "/site")
            race.attack("sftpjail", "mount", "alice", "/srv/team/site", "/site")
    # mount(8) judges nothing; what it brought is judged right after.
    with Race(machine, "boot (jails)", ["/srv/team/site"], rounds, passing=False) as race:
        for _ in race.each():
            machine.sh(lost)
            race.attack(
                "sh",
                "-c",
                "mount -a -O x-sftpjail.user=alice; /etc/sftpjail/pam-session boot",
                says="",
            )


def test_apply_for_who_is_inside(machine: Machine, rounds: int) -> None:
    """The attackers are in the jail, as in an SFTP session."""
    host(machine, "jails", logs=False)
    adopt = adopting(machine)
    machine.run(*adopt)
    machine.sh("install -d -o alice -g alice /home/alice/sub /srv/team")
    machine.run("sftpjail", "mount", "alice", "/srv/team", "/team")
    prey = ["/home/alice/sub", f"/home/alice/.ssh={KEYS[0]}", "/team/sub"]
    inside = {"root": "/srv/sftp/alice"}
    with Race(machine, "apply, mount, remove, from inside (jails)", prey, rounds, **inside) as race:
        for _ in race.each():
            with_keys(machine)
            race.attack("sftpjail", "apply")
            race.attack("sftpjail", "mount", "alice", "/srv/web", "/web")
            race.attack("sftpjail", "key", "migrate", "alice")
            keys_of(race)
            race.attack("sftpjail", "umount", "alice", "/web")
            race.attack("sftpjail", "remove", "alice")
            race.calm(*adopt, check=False)


def test_setup_and_teardown(machine: Machine, rounds: int) -> None:
    """A member is there before the host is set up."""
    machine.start_rsyslog()
    machine.write(CONFIG, FORMS["homes"])
    machine.start_sshd()
    machine.sh(
        "groupadd sftponly; useradd -m -s /bin/sh -G sftponly alice; su alice -c 'mkdir -m 700 ~/dev'"
    )
    with_keys(machine)
    with Race(machine, "setup, teardown (homes)", HOME, rounds) as race:
        for _ in race.each():
            with_keys(machine)
            race.attack("sftpjail", "setup")
            race.attack("sftpjail", "apply")
            race.attack("sftpjail", "teardown", "--close-accounts")
            race.calm("sftpjail", "teardown", "--close-accounts", check=False)
            race.calm("usermod", "-e", "", "alice")


@pytest.mark.parametrize("form", ["jails", "homes"])
def test_accounts_that_come_and_go(machine: Machine, form: str, rounds: int) -> None:
    """The attackers are another who can write the home: one's own processes would stop userdel."""
    host(machine, form)
    machine.sh("groupadd crew; useradd -M -g crew mallory")
    prey = [
        "/home/carl/sub",
        "/home/carl/dev",
        "/home/carl/files",
        "/home/carl/.ssh",
        "/home/carl/web",
    ]
    # No `deluser --remove-home`: it deletes by path what it has listed before, and loses such a
    # race without any jail.
    ends = [
        ("sftpjail", "remove", "--delete-account", "carl"),
        ("userdel", "-r", "carl"),
        ("deluser", "--quiet", "carl"),
    ]
    more = ("--under-home",) if form == "homes" else ()
    who = {"user": "mallory", "group": "crew"}
    with Race(machine, f"useradd, userdel, deluser ({form})", prey, rounds, **who) as race:
        for number in race.each():
            race.attack(
                "useradd", "-m", "-K", "HOME_MODE=0770", "-g", "crew", "-G", "sftponly", "carl"
            )
            race.attack("sftpjail", "mount", *more, "carl", "/srv/web", "/web")
            race.attack(*ends[number % 3], codes=(0, 1, 6, 8, 12), says="")
            race.calm("sftpjail", "remove", "carl", check=False)
            race.calm("userdel", "-f", "carl", check=False)
            race.calm("sftpjail", "apply", "--prune", check=False)
            machine.run(
                "rm", "-rf", "--one-file-system", "/home/carl", "/srv/sftp/carl", "/var/mail/carl"
            )
