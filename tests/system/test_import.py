"""import: hosts whose jails somebody made by hand, each taken over, with logins as before, and given back byte for byte."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from machine import Machine, changes
from steps import again, as_shipped, refused, settings, snapshot

pytestmark = pytest.mark.halved

MAIN = "/etc/ssh/sshd_config"
SEED = """\
   ForceCommand internal-sftp
   AllowTcpForwarding no
   PermitTunnel no
   X11Forwarding no
"""


@dataclass(frozen=True)
class Byhand:
    """A host as somebody made it: what stands at the end of sshd_config, and what a shell did beside it.

    `where` is the directory in which a session starts, `write` one in which it can write.
    """

    block: str
    script: str = ""
    users: tuple[str, ...] = ("ann",)
    where: str = "/"
    write: str = "/web"
    path: str = MAIN
    says: tuple[str, ...] = ()
    mode: str = "-rw-r--r--"
    keys: int = 1


GROUP = "groupadd sftponly"
# An account of the recipe: root's home, and a directory in it where the account can write.
HOME = """
useradd -M -G sftponly -s /bin/false USER
install -d -o root -g root /home/USER && install -d -o USER -g USER /home/USER/web
"""
# The recipe's place for keys.
KEYS = "install -d /etc/ssh/authorized_keys && cp /root/keys/USER.pub /etc/ssh/authorized_keys/USER"
# And that of most tutorials.
DOTSSH = """
install -d -m 700 -o USER -g USER /home/USER/.ssh
install -m 600 -o USER -g USER /root/keys/USER.pub /home/USER/.ssh/authorized_keys
"""


def each(script: str, *users: str) -> str:
    return "\n".join(script.replace("USER", user) for user in users)


HOSTS = {
    "the recipe, a group": Byhand(
        "\nAuthorizedKeysFile /etc/ssh/authorized_keys/%u\nMatch Group sftponly\n"
        f"   ChrootDirectory %h\n{SEED}",
        GROUP + each(HOME + KEYS, "ann", "ben"),
        ("ann", "ben"),
    ),
    "srv, -d, -u, -f, in a drop-in": Byhand(
        "# ours\nMatch Group sftponly\n    ChrootDirectory /srv/sftp/%u\n"
        "    ForceCommand internal-sftp -f LOCAL3 -l INFO -u 0027 -d /web\n"
        "    PasswordAuthentication no\n    AllowTcpForwarding no # never\n    MaxSessions 4\n\n# end",
        GROUP
        + each(
            "\nuseradd -m -G sftponly USER\ninstall -d /srv/sftp/USER\n"
            "install -d -o USER /srv/sftp/USER/web" + DOTSSH,
            "ann",
            "ben",
        ),
        ("ann", "ben"),
        where="/web",
        path="/etc/ssh/sshd_config.d/50-sftp.conf",
        mode="-rw-r-----",
    ),
}
SFTP = "ForceCommand internal-sftp"
# Those with --all.
MORE = {
    "the recipe, a user, keys in the home": Byhand(
        f"Match User ann\n   ChrootDirectory %h\n{SEED}",
        GROUP + each(HOME + DOTSSH, "ann"),
    ),
    "two groups and a user, in two files": Byhand(
        f"Match Group one,two\n    ChrootDirectory %h\n    {SFTP} -u 077\nMatch User eve\n"
        f"    ChrootDirectory /home/eve/\n    {SFTP} -u 022\n",
        "groupadd one; groupadd two\n"
        + each(HOME.replace("sftponly", "one") + DOTSSH, "ann")
        + each(HOME.replace("sftponly", "two") + DOTSSH, "ben")
        + each(HOME.replace("-G sftponly", "") + DOTSSH, "eve"),
        ("ann", "ben", "eve"),
        mode="-rw-",
    ),
    "a fixed path of one user": Byhand(
        f"Match User ann\n    ChrootDirectory /srv/drop/ann\n    {SFTP} -P rmdir,mkdir",
        "useradd -m ann; install -d /srv/drop/ann; install -d -o ann /srv/drop/ann/web"
        + each(DOTSSH, "ann"),
    ),
    "two keys, of a role's accounts": Byhand(
        "AuthorizedKeysFile .ssh/authorized_keys\nMatch Group sftpusers\n"
        "    AuthorizedKeysFile /etc/ssh/keys/%u .ssh/authorized_keys\n"
        f"    ChrootDirectory /srv/sftp/%u\n    {SFTP}\n    X11Forwarding no\n"
        "    PasswordAuthentication no\n    AuthenticationMethods publickey,publickey\n"
        "    AllowTcpForwarding no\n    Banner none\n",
        "groupadd sftpusers; install -d /etc/ssh/keys\n"
        + each(
            "\nuseradd -M -d /web -g sftpusers -s /usr/sbin/nologin USER\n"
            "install -d /srv/sftp/USER; install -d -o USER /srv/sftp/USER/web\n"
            "cat /root/keys/USER.pub /root/keys/USER-2.pub >/etc/ssh/keys/USER",
            "ann",
            "ben",
        ),
        ("ann", "ben"),
        where="/web",
        keys=2,
    ),
    "binds and a log socket": Byhand(
        f"Match Group sftponly\n    ChrootDirectory %h\n    {SFTP} -f AUTH -l VERBOSE\n",
        GROUP
        + each(HOME + DOTSSH, "ann")
        + """
install -d /srv/example.com /home/ann/dev; chown ann /srv/example.com
mount --bind /srv/example.com /home/ann/web
echo '/srv/example.com /home/ann/web none bind 0 0' >>/etc/fstab
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("/home/ann/dev/log")'
""",
        says=("stays as it is: /srv/example.com at /home/ann/web (/etc/fstab)",),
    ),
    "homes named by /home/%u, with an answer to each door": Byhand(
        "Match Group sftponly\n    ChrootDirectory /home/%u\n    DisableForwarding yes\n"
        f"    PermitTTY no\n    PermitUserRC no\n    {SFTP} -l INFO -u 0027\n"
        "    AuthenticationMethods publickey\n    ClientAliveInterval 60\n",
        GROUP + each(HOME + DOTSSH, "ann", "ben"),
        ("ann", "ben"),
        mode="-rw-r-----",
    ),
    "users by name, each below one directory": Byhand(
        f"Match User ann,ben\n    ChrootDirectory /sftp/%u\n    {SFTP} -d /incoming\n"
        "    PasswordAuthentication no\n    PermitTunnel no\n",
        each(
            "\nuseradd -M -d /sftp/USER -s /sbin/nologin USER\ninstall -d /sftp/USER\n"
            "install -d -o USER /sftp/USER/incoming" + DOTSSH.replace("/home/", "/sftp/"),
            "ann",
            "ben",
        ),
        ("ann", "ben"),
        where="/incoming",
        write="/incoming",
    ),
    "no Include": Byhand(
        f"Match Group sftponly\n    ChrootDirectory %h\n    {SFTP}\nMatch all\n    PrintMotd yes",
        GROUP
        + each(HOME + DOTSSH, "ann")
        + "\nsed -i '/^Include/d' /etc/ssh/sshd_config; rm -r /etc/ssh/sshd_config.d",
    ),
}


def by_hand(machine: Machine, host: Byhand) -> None:
    """Make such a host; sshd runs."""
    as_shipped(machine)
    for user in host.users:
        machine.keygen(user)
        machine.keygen(f"{user}-2")
    machine.sh(f"set -e; {host.script}")
    machine.append(host.path, host.block)
    machine.start_sshd()
    machine.start_rsyslog()


def login(machine: Machine, host: Byhand, user: str) -> str:
    """What a session of an account sees and does."""
    batch = ["pwd", "ls -1 /", f"cd {host.write}", "put /etc/passwd x", "ls -l x", "rm x"]
    more = ["-i", f"/root/keys/{user}-2"] if host.keys == 2 else []
    argv = ["sftp", "-b", "-", *machine._client(f"/root/keys/{user}", "-P"), *more]
    done = machine.run(*argv, f"{user}@127.0.0.1", input="\n".join(batch) + "\n", check=False)
    assert done.code == 0, done
    assert f"Remote working directory: {host.where}" in done.out, done
    assert "/etc" not in done.out.split() and host.mode in done.out, done
    return re.sub(r"(?m)^-.*", "", done.out)  # its time is not the same


def imported(machine: Machine, host: Byhand) -> None:
    """It is shown, taken over, and given back."""
    by_hand(machine, host)
    before, sshd = snapshot(machine), {user: settings(machine, user) for user in host.users}
    seen = {user: login(machine, host, user) for user in host.users}
    if "sftponly" in host.script:
        refused(
            machine, "sftpjail", "setup", says="and setup would make other jails for them: ann is"
        )
    shown = machine.run("sftpjail", "import")
    assert "cannot be imported" not in shown.out, shown
    assert all(f"account {user}: " in shown.out for user in host.users), shown
    for words in host.says:
        assert words in shown.out, shown
    machine.run("sftpjail", "--json", "import")
    machine.run("sftpjail", "--dry-run", "import", "--apply")
    assert changes(before, snapshot(machine)) == {}
    done = machine.run("sftpjail", "import", "--apply")
    assert f"imported {len(host.users)} account" in done.out, done
    for user in host.users:
        assert login(machine, host, user) == seen[user]
        assert "forcecommand internal-sftp -f" in settings(machine, user)
    listed = machine.run("sftpjail", "list").out
    assert listed.count("\tok\n") == len(host.users), listed
    again(machine, "sftpjail", "import", "--apply")
    again(machine, "sftpjail", "apply")
    assert [
        line for line in machine.run("sftpjail", "check").out.splitlines() if "advice" not in line
    ]
    machine.run("sftpjail", "undo")
    assert changes(before, snapshot(machine)) == {}
    for user in host.users:
        assert settings(machine, user) == sshd[user]
        assert login(machine, host, user) == seen[user]


@pytest.mark.parametrize("name", HOSTS)
def test_jails_by_hand_are_taken_over_and_given_back(machine: Machine, name: str) -> None:
    imported(machine, HOSTS[name])


@pytest.mark.whole
@pytest.mark.parametrize("name", MORE)
def test_other_jails_by_hand_are_taken_over(machine: Machine, name: str) -> None:
    imported(machine, MORE[name])


def test_what_no_profile_says_stays_as_it_is(machine: Machine) -> None:
    block = f"Match Group sftponly\n    ChrootDirectory /srv/all\n    {SFTP}\n"
    block += f"Match User eve Address 10.0.0.0/8\n    ChrootDirectory %h\n    {SFTP}\n"
    block += "Match Group staff\n    ChrootDirectory %h\n    X11Forwarding yes\n"
    script = GROUP + "\nuseradd -m -G sftponly ann; useradd -m -G staff eve; mkdir /srv/all"
    by_hand(machine, Byhand(block, script, ()))
    lines = machine.read(MAIN).splitlines()
    at = lines.index("Match Group sftponly") + 1
    shown = machine.run("sftpjail", "import").out
    for number, words in (
        (at + 1, "the chroot /srv/all is one directory for all of them"),
        (at + 3, "a profile applies to a group or to users by name, not to Match User eve Ad"),
        (at + 6, "without ForceCommand internal-sftp"),
        (at + 8, "X11Forwarding yes: every jail shuts that"),
        (at + 6, "sshd refuses the logins of eve: /home/eve "),
    ):
        assert f"cannot be imported: {MAIN}:{number}: {words}" in shown, (number, words, shown)
    refused(machine, "sftpjail", "import", "--apply", says="none of 3 blocks can be imported: ")
    done = machine.run("sftpjail", "--dry-run", "setup")
    assert (
        f"{MAIN}:{at} (Match Group sftponly) jails ann by hand, and setup makes other" in done.err
    )


def test_a_login_that_would_differ_is_no_import(machine: Machine) -> None:
    # The first value wins, and our file is read before this one.
    block = f"Match User ann\n    MaxSessions 1\nMatch Group sftponly\n    ChrootDirectory %h\n    {SFTP}\n"
    script = GROUP + each(HOME + DOTSSH, "ann")
    by_hand(machine, Byhand(block + "    MaxSessions 7\n", script))
    says = (
        "ann would not log in as before, so nothing was imported: maxsessions would be 7 and is 1"
    )
    refused(machine, "sftpjail", "import", "--apply", says=says)
    assert not machine.exists("/etc/ssh/sshd_config.d/10-sftpjail.conf")


@pytest.mark.whole
def test_teardown_makes_the_old_block_one_again(machine: Machine) -> None:
    host = MORE["the recipe, a user, keys in the home"]
    by_hand(machine, host)
    before = machine.read(MAIN), settings(machine, "ann")
    # What is said for programs is held against the schemas.
    machine.run("sftpjail", "--json", "--dry-run", "import", "--apply")
    machine.run("sftpjail", "--json", "import", "--apply")
    machine.run("sftpjail", "--json", "history")
    said = machine.run("sftpjail", "test", "ann").out
    assert "/ is an administrator's, and not to be written in" in said, said
    refused(machine, "sftpjail", "teardown", says="still jailed: ann")
    machine.run("sftpjail", "teardown", "--close-accounts")
    assert (machine.read(MAIN), settings(machine, "ann")) == before


def test_whom_other_lines_let_out_is_not_jailed(machine: Machine) -> None:
    """Our Match blocks are read before those lines, which would count no more."""
    block = f"Match User bob\n    ChrootDirectory none\nMatch Group sftponly\n    ChrootDirectory %h\n    {SFTP}\n"
    script = GROUP + each(HOME + DOTSSH, "ann") + "\nuseradd -m -G sftponly bob"
    by_hand(machine, Byhand(block, script))
    refused(
        machine, "sftpjail", "import", "--apply", says="profile sftponly would jail bob, to whom"
    )


def test_an_undo_loses_nothing_that_came_since(machine: Machine) -> None:
    script = GROUP + each(HOME + DOTSSH, "ann")
    by_hand(machine, Byhand(f"Match Group sftponly\n    ChrootDirectory %h\n    {SFTP}", script))
    machine.write("/etc/sftpjail/sftpjail.conf", "[logs]\nbackend = none\n[profiles]\n[[others]]\n")
    machine.run("sftpjail", "setup")
    before = snapshot(machine)
    machine.run("sftpjail", "import", "--apply")
    machine.append("/etc/sftpjail/sftpjail.conf", "# mine\n")
    refused(machine, "sftpjail", "undo", says="sftpjail.conf was changed since")
    machine.sh("sed -i '/^# mine/d' /etc/sftpjail/sftpjail.conf")
    key, other = "/etc/ssh/authorized_keys/ann", machine.keygen("other")
    machine.sh(f"cp {key} /root/kept; cat {other}.pub >>{key}")
    refused(machine, "sftpjail", "undo", says="ann has keys that were added after the import")
    machine.sh(f"cat /root/kept >{key}")
    machine.sh("useradd -m eve && usermod -aG sftponly eve")
    refused(machine, "sftpjail", "undo", says="eve was added to these jails after the import")
    machine.sh("userdel -r eve")
    machine.run("sftpjail", "undo")
    assert [
        path for path in changes(before, snapshot(machine)) if "/var/lib/sftpjail/" not in path
    ] == []
    refused(machine, "sftpjail", "undo", says="gave jails by hand back, and is not undone")
