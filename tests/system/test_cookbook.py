"""sftpjail-cookbook(7): the page's own commands, run in their order, and real logins by which its promises are held.

A recipe's literal blocks are taken apart by the tests, so that a block more or less is noticed.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from directory import PIDFILES, Directory
from handing import deliver
from machine import Machine, changes
from steps import (
    CONFIG,
    as_shipped,
    by_password,
    open_with_key,
    running,
    shut,
    snapshot,
    wait_line,
    works,
)

PAGE = Path(__file__).resolve().parents[2] / "man/sftpjail-cookbook.7.scd"
# The configuration that the recipes add their profiles to.
PLAIN = "[logs]\nbackend = none\n[profiles]\n[[sftponly]]\n"
HERE = "/root/keys"  # where the page's files are
PEOPLE = ("alice", "bob", "carol", "dora", "eve", "frank", "ci", "new")
WRONG = re.compile(
    r"^.*(?:Permission denied|Failure|No such|not found|Invalid|not support).*$", re.M
)


def blocks(title: str) -> list[str]:
    """The literal blocks of a recipe, as a reader sees them."""
    text = PAGE.read_text(encoding="utf-8")
    assert f"\n# {title}\n" in text, f"no recipe {title}"
    recipe = text.partition(f"\n# {title}\n")[2].partition("\n# ")[0]
    found = re.findall(r"^```\n(.*?)^```$", recipe, re.MULTILINE | re.DOTALL)
    return [str(block).replace("\\\\", "\\") for block in found]


def follow(machine: Machine, block: str, key: str = "") -> str:
    """Do what a block of the page has: a profile, a session of sftp(1), or commands; what was said."""
    if block.startswith("[["):
        machine.append(CONFIG, block)
        return ""
    if block.startswith("$ sftp "):
        return transfer(machine, block, key)
    script = ("bash", "-e", "-o", "pipefail", "-c", block)
    done = machine.run(*script, cwd=HERE, timeout=120)
    return done.out + done.err


def transfer(machine: Machine, block: str, key: str) -> str:
    """A session as it is printed: the same commands, and the same errors and no others."""
    first, *lines = block.splitlines()
    user = first.removeprefix("$ sftp ").partition("@")[0]
    typed = [line.removeprefix("sftp> ") for line in lines if line.startswith("sftp> ")]
    shown = [line for line in lines if not line.startswith("sftp> ")]
    argv = ["sftp", *machine._client(key or f"{HERE}/{user}", "-P"), f"{user}@127.0.0.1"]
    done = machine.run(
        *("sh", "-c", 'exec "$@" 2>&1', "sh", *argv), input="\n".join(typed) + "\n", cwd=HERE
    )
    errors = [line for line in WRONG.findall(done.out) if not line.startswith("sftp> ")]
    assert [error.strip() for error in errors] == shown, done
    return done.out


def start(machine: Machine) -> None:
    """A host that is set up, and the files that the page counts on."""
    machine.write(CONFIG, PLAIN)
    machine.append("/etc/ssh/sshd_config.d/05-patience.conf", machine.patience())
    machine.start_sshd()
    machine.run("sftpjail", "setup")
    for name in PEOPLE:
        key = machine.keygen(name)
        machine.sh(f"sed -i 's/ {name}$/ {name}@laptop/' {key}.pub")
    machine.write(f"{HERE}/page.html", "hello\n", 0o644)
    machine.write(f"{HERE}/invoice.pdf", "invoice\n", 0o644)


def populated(machine: Machine) -> None:
    """The accounts of the first three recipes."""
    start(machine)
    for title in ("ONE DIRECTORY, SEVERAL ACCOUNTS", "A DROP BOX", "AN AUDITOR"):
        profile, commands, _ = blocks(title)
        follow(machine, profile)
        follow(machine, commands)


def moving_out(machine: Machine, user: str, block: str) -> None:
    """Follow a block while a session is open, which it ends."""
    argv = ["sftp", *machine._client(f"{HERE}/{user}", "-P"), f"{user}@127.0.0.1"]
    with running(machine, *argv) as process:
        assert process.stdin
        process.stdin.write("pwd\n")
        wait_line(process, "Remote working directory: ")
        follow(machine, block)
        process.stdin.write("ls\n")
        assert process.wait(20), "its session has ended"


def refused(machine: Machine, user: str, *batch: str) -> None:
    for line in batch:
        done = machine.sftp(user, f"{HERE}/{user}", [line])
        assert WRONG.search(done.err), done


def test_one_directory_a_drop_box_and_an_auditor(machine: Machine) -> None:
    start(machine)
    profile, commands, replace = blocks("ONE DIRECTORY, SEVERAL ACCOUNTS")
    follow(machine, profile)
    follow(machine, commands)
    works(machine, "alice", f"{HERE}/alice", f"put {HERE}/page.html /site/page.html")
    assert machine.mode("/srv/web/site/page.html") == "alice:editors 644"
    machine.write(f"{HERE}/page.html", "bob's\n")
    refused(machine, "bob", f"put {HERE}/page.html /site/page.html")
    follow(machine, replace)
    assert machine.read("/srv/web/site/page.html") == "bob's\n"
    works(machine, "alice", f"{HERE}/alice", "rm /site/page.html", "mkdir /site/new")
    assert machine.mode("/srv/web/site/new") == "alice:editors 2775"
    works(machine, "bob", f"{HERE}/bob", "rmdir /site/new", f"put {HERE}/page.html /site/page.html")

    profile, commands, deliver = blocks("A DROP BOX")
    follow(machine, profile)
    assert "advice" not in follow(machine, commands), "what the profile forbids is not missed"
    follow(machine, deliver)
    assert machine.mode("/srv/drop/invoice.pdf") == "carol:intake 640"
    machine.sftp("carol", f"{HERE}/carol", [f"put {HERE}/page.html invoice.pdf"], check=True)
    refused(machine, "carol", "ls /", "mkdir d", "ln -s /etc/passwd p", "ln invoice.pdf p")
    refused(
        machine, "dora", "ls", "get invoice.pdf /dev/null", "rm invoice.pdf", "rename invoice.pdf x"
    )
    refused(machine, "dora", f"put {HERE}/page.html invoice.pdf")
    machine.sh("setpriv --reuid=intake --regid=intake --init-groups cat /srv/drop/invoice.pdf")

    profile, commands, look = blocks("AN AUDITOR")
    follow(machine, profile)
    assert "advice" not in follow(machine, commands)
    follow(machine, look)
    assert machine.read(f"{HERE}/invoice.pdf") == "bob's\n"
    machine.sftp(
        "eve", f"{HERE}/eve", ["ls /drop/invoice.pdf", "get /site/page.html /dev/null"], True
    )
    refused(machine, "eve", f"put {HERE}/page.html x", "mkdir /site/d", "chmod 777 /site/page.html")
    machine.run("sftpjail", "test", "alice", "carol", "eve", timeout=120)
    machine.run("sftpjail", "check")
    machine.sh("setpriv --reuid=intake --regid=intake --init-groups rm /srv/drop/invoice.pdf")


def test_passwords_ends_new_keys_and_renames(machine: Machine) -> None:
    populated(machine)
    machine.append("/etc/ssh/sshd_config.d/05-patience.conf", "PasswordAuthentication no\n")
    profile, commands = blocks("PASSWORDS")
    follow(machine, profile)
    word = follow(machine, commands).splitlines()[-1]
    assert by_password(machine, "frank", word=word) == 0 and by_password(machine, "frank") == 255
    machine.sh(f"echo 'alice:{word}' | chpasswd")
    assert by_password(machine, "alice", word=word) == 255, "the others have keys alone"

    end, let_in, prolong = blocks("ACCOUNTS AND KEYS THAT END")
    moving_out(machine, "bob", end)
    ends(machine)
    follow(machine, let_in)
    works(machine, "bob", f"{HERE}/bob")
    follow(machine, prolong)
    assert "2100-12-31" in machine.run("sftpjail", "export", "--format", "csv", "alice").out

    replace, take_out = blocks("A NEW KEY FOR AN OLD ONE")
    said = follow(machine, replace)
    assert "expiry-time=" in said and "new@laptop" in said, said
    for key in ("alice", "new"):
        works(machine, "alice", f"{HERE}/{key}")
    follow(machine, take_out)
    shut(machine, "alice", f"{HERE}/alice")
    works(machine, "alice", f"{HERE}/new")

    (rename,) = blocks("RENAMES FROM ONE MOUNT TO ANOTHER")
    follow(machine, rename, f"{HERE}/new")
    assert machine.read("/srv/web/site/draft.html") == machine.read(f"{HERE}/page.html")
    assert not machine.exists("/home/alice/draft.html")


def ends(machine: Machine) -> None:
    """On the days after: the host's own words for a day that is past."""
    shut(machine, "bob", f"{HERE}/bob")
    for key in ("alice", "ci"):
        works(machine, "alice", f"{HERE}/{key}")
    file = "/etc/ssh/authorized_keys/alice"
    was = machine.read(file)
    machine.sh(
        f"cp {file} /run/keys; sed -Ei 's/expiry-time=\"[0-9]+/expiry-time=\"20200101/' {file}"
    )
    shut(machine, "alice", f"{HERE}/ci")
    works(machine, "alice", f"{HERE}/alice")
    machine.write(file, was)
    machine.run("chage", "-E", "2020-01-01", "alice")
    shut(machine, "alice", f"{HERE}/alice")
    listed = machine.run("sftpjail", "list").out
    assert re.search("(?m)^alice.*expired$", listed) and re.search("(?m)^bob.*disabled$", listed)
    machine.run("chage", "-E", "2099-12-31", "alice")


@contextmanager
def ssh_to(machine: Machine, other: Machine) -> Iterator[None]:
    """In MACHINE `ssh other` is the other one's own sshd, over a socket instead of a network."""
    path = "/run/other"
    other.write("/root/.ssh/authorized_keys", machine.read(f"{machine.keygen('root')}.pub"), 0o600)
    other.sh("install -d /run/sshd; ssh-keygen -A; chmod 700 /root/.ssh")
    pipe = (
        "import os, socket, threading; s = socket.socket(socket.AF_UNIX); s.connect('/run/other')\n"
        "def move(a, b, end):\n"
        "    while d := os.read(a, 65536):\n        while d: d = d[os.write(b, d):]\n"
        "    end()\n"
        "t = threading.Thread(target=move, args=(0, s.fileno(), lambda: s.shutdown(1)), daemon=True)\n"
        "t.start(); move(s.fileno(), 1, lambda: None)\n"
    )
    machine.write("/run/pipe.py", pipe)
    machine.write(
        "/root/.ssh/config",
        f"Host other\n ProxyCommand python3 /run/pipe.py\n IdentityFile {HERE}/root\n"
        " BatchMode yes\n StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n"
        " LogLevel ERROR\n",
        0o600,
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/{machine.pid}/root{path}")
        listener.listen()
        daemon = threading.Thread(target=_serve, args=(listener, other), daemon=True)
        daemon.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            daemon.join(10)


def _serve(listener: socket.socket, other: Machine) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            argv = other.argv("/usr/sbin/sshd", "-i")
            subprocess.Popen(argv, stdin=connection, stdout=connection, stderr=subprocess.DEVNULL)


@pytest.mark.halved
def test_moving_to_another_host(machine: Machine, installed: Path) -> None:
    populated(machine)
    machine.run("sftpjail", "disable", "dora")
    machine.sh("useradd -m ann")  # who has the next uid there
    first, last = blocks("MOVING TO ANOTHER HOST")
    works(machine, "alice", f"{HERE}/alice", f"put {HERE}/page.html first.html")
    with Machine(layer=installed) as other, ssh_to(machine, other):
        other.start_sshd()
        follow(machine, first)
        batch = [f"put {HERE}/page.html last.html", f"put {HERE}/page.html /site/page.html"]
        works(machine, "alice", f"{HERE}/alice", *batch)
        machine.sftp("carol", f"{HERE}/carol", [f"put {HERE}/invoice.pdf"], check=True)
        moving_out(machine, "bob", last)
        shut(machine, "alice", f"{HERE}/alice")
        machine.sh(f"tar -c {HERE} | ssh other tar -xC /")
        works(other, "alice", f"{HERE}/alice", "ls first.html last.html", "rm /site/page.html")
        works(other, "bob", f"{HERE}/bob", f"put {HERE}/page.html /site/page.html")
        assert other.mode("/home/alice/last.html").startswith("alice:")
        assert other.mode("/srv/drop/invoice.pdf") == "carol:intake 640"
        other.sftp("eve", f"{HERE}/eve", ["get /drop/invoice.pdf /dev/null"], check=True)
        other.sftp("carol", f"{HERE}/carol", [f"put {HERE}/invoice.pdf again"], check=True)
        shut(other, "dora", f"{HERE}/dora")


@pytest.mark.halved
def test_backup_restore_and_moving_the_homes(machine: Machine, installed: Path) -> None:
    populated(machine)
    machine.run("sftpjail", "disable", "dora")
    for user in ("alice", "bob"):
        works(machine, user, f"{HERE}/{user}", f"put {HERE}/page.html page.html")
    backup, restore, file, undelete = blocks("BACKUP AND RESTORE")
    follow(machine, backup)
    assert machine.sh("stat -c %a /backup /backup/accounts").out == "700\n600\n"
    machine.sh("rm /home/alice/page.html; userdel -r bob")
    follow(machine, file)
    works(machine, "alice", f"{HERE}/alice", "ls page.html", "rm page.html")
    follow(machine, undelete)
    works(machine, "bob", f"{HERE}/bob", "ls page.html", "rm page.html", "ls /site")
    with Machine(layer=installed) as fresh:
        for place in ("/backup", HERE):
            shutil.copytree(f"/proc/{machine.pid}/root{place}", f"/proc/{fresh.pid}/root{place}")
        fresh.start_sshd()
        follow(fresh, restore)
        for user in ("alice", "bob"):
            batch = ["ls page.html", f"put {HERE}/page.html /site/{user}"]
            works(fresh, user, f"{HERE}/{user}", *batch)
        fresh.sftp("carol", f"{HERE}/carol", [f"put {HERE}/invoice.pdf"], check=True)
        shut(fresh, "dora", f"{HERE}/dora")

    homes, _, one = blocks("MOVING THE HOMES")
    machine.sh("mkdir /data; mount -t tmpfs -o mode=755 disk /data; touch /home/alice/page.html")
    moving_out(machine, "alice", homes)
    works(machine, "alice", f"{HERE}/alice", "ls page.html", f"put {HERE}/page.html new.html")
    assert machine.exists("/data/home/alice/new.html")
    follow(machine, one)
    done = works(machine, "bob", f"{HERE}/bob", f"put {HERE}/page.html page.html")
    assert "Remote working directory: /data/other/bob" in done.out
    assert machine.exists("/data/other/bob/page.html")
    machine.run("sftpjail", "check")


@pytest.mark.halved
@pytest.mark.parametrize("mounts", ["fstab", "session"])
def test_jails_with_homes_inside_move_to_a_disk(machine: Machine, mounts: str) -> None:
    start(machine)
    machine.write(CONFIG, f"{PLAIN}home = inside\nmounts = {mounts}\n")
    machine.sh("sftpjail setup; mkdir -m 777 /srv/web; echo hello >/srv/web/file")
    machine.sh("sftpjail add alice --key alice.pub --mount '/srv/web:/my web'", cwd=HERE)
    works(machine, "alice", f"{HERE}/alice", f"put {HERE}/page.html before")
    machine.sh("mkdir /data; mount -t tmpfs -o mode=755 disk /data")
    moving_out(machine, "alice", blocks("MOVING THE HOMES")[1])
    works(machine, "alice", f"{HERE}/alice", "ls before", f"put {HERE}/page.html after")
    works(machine, "alice", f"{HERE}/alice", "ls '/my web/file'")
    assert machine.exists("/data/sftp/alice/files/after"), "on the disk"
    assert machine.sh("ls '/data/sftp/alice/my web'").out == "", "what is mounted was not copied"
    assert "nothing to do" in machine.run("sftpjail", "apply").out


BY_HAND = """
Match Group sftponly
   ChrootDirectory %h
   ForceCommand internal-sftp
   AllowTcpForwarding no
   PermitTunnel no
   X11Forwarding no
"""


@pytest.mark.halved
def test_a_host_made_by_hand(machine: Machine) -> None:
    as_shipped(machine)
    key = machine.keygen("dave")
    machine.sh(
        "groupadd sftponly; useradd -M -G sftponly dave; install -d /home/dave /srv/web/example.com;"
        "install -d -o dave -g dave /home/dave/web; chown dave /srv/web/example.com;"
        "mount --bind /srv/web/example.com /home/dave/web;"
        "echo '/srv/web/example.com /home/dave/web none bind' >>/etc/fstab;"
        f"install -D -m 644 {key}.pub /etc/ssh/authorized_keys/dave"
    )
    machine.write(CONFIG, PLAIN)
    machine.append(
        "/etc/ssh/sshd_config.d/05-keys.conf", "AuthorizedKeysFile /etc/ssh/authorized_keys/%u\n"
    )
    machine.append("/etc/ssh/sshd_config", BY_HAND)
    machine.start_sshd()
    before = snapshot(machine)
    uploads = ["put /etc/hostname /web/proof", "rm /web/proof"]
    machine.sftp("dave", key, uploads, check=True)
    take, undo = blocks("A HOST WHOSE JAILS WERE MADE BY HAND")
    said = follow(machine, take)
    assert "imported 1 account" in said and "\tok\n" in said, said
    machine.sftp("dave", key, uploads, check=True)
    machine.run("sftpjail", "check")
    follow(machine, undo)
    assert changes(before, snapshot(machine)) == {}
    machine.sftp("dave", key, uploads, check=True)


@pytest.mark.halved
def test_names_from_active_directory(machine: Machine) -> None:
    """What needs no directory: which forms of names are taken. Another test has one."""
    start(machine)
    sssd, winbind, look, profile, commands = blocks("NAMES FROM ACTIVE DIRECTORY")
    assert "use_fully_qualified_names" in sssd and "winbind" in winbind
    machine.sh(
        f"groupadd sftp_users; useradd -m -G sftp_users bob; "
        f"install -D -m 644 {HERE}/bob.pub /etc/ssh/authorized_keys/bob"
    )
    follow(machine, look)
    follow(machine, profile)
    follow(machine, commands)
    works(machine, "bob", open_with_key(machine, "bob"))
    members = ["bob", "zoe@corp.example", "CORP\\bob"]
    for number, name in enumerate(members[1:], 5000):
        machine.append("/etc/passwd", f"{name}:x:{number}:100::/home/{number}:/bin/sh\n")
        machine.append("/etc/shadow", f"{name}:*:20000:0:99999:7:::\n")
        machine.sh(f"install -d -o {number} /home/{number}")
    group = machine.read("/etc/group")
    machine.write("/etc/group", group.replace(":bob\n", f":{','.join(members)}\n"))
    assert machine.run("sftpjail", "apply", check=False).code == 1
    works(machine, "zoe@corp.example", open_with_key(machine, "zoe@corp.example"))
    said = machine.run("sftpjail", "check", check=False)
    assert said.code == 3 and '"CORP\\\\bob" is in the group sftp_users' in said.out, said
    assert said.out.endswith("1 problem\n"), said


@pytest.mark.directory
def test_names_from_sssd_with_blanks(machine: Machine, directory: Directory) -> None:
    """The page's settings with an LDAP server in Active Directory's place, whose names SSSD writes small."""
    if directory.client == "nslcd":
        return  # which has no such settings
    sssd, _, look, profile, commands = blocks("NAMES FROM ACTIVE DIRECTORY")
    settings = dict(re.findall(r"(?m)^(\w+) = (\w+)$", sssd))
    machine.wait_for(PIDFILES["sssd"], r"\d")
    directory.restart_client(case_sensitive="False", **settings)
    directory.add_group("SFTP Users", 20000, "Bob", "John Doe")
    for number, name in enumerate(("Bob", "John Doe"), 20010):
        directory.add_person(name, number, gid=20000, home=f"/home/{number}")
    start(machine)
    said = follow(machine, look)
    assert "bob:" in said and "sftp_users:" in said, said
    follow(machine, profile)
    follow(machine, commands)
    for name in ("bob", "john_doe"):
        machine.run("install", "-m", "644", f"{HERE}/bob.pub", f"/etc/ssh/authorized_keys/{name}")
        works(machine, name, f"{HERE}/bob")
    assert machine.run("sftpjail", "list").out.count("\tok\n") == 2


@pytest.mark.monitor
def test_uploads_are_scanned_collected_and_reported(machine: Machine) -> None:
    start(machine)
    key = f"{HERE}/alice"
    settings, commands = blocks("WHEN A FILE ARRIVES")
    machine.append(CONFIG, settings)
    machine.sh(f"cd {HERE} && useradd -m -G sftponly alice && sftpjail key add alice alice.pub")
    follow(machine, commands)
    # A database of one hash, and what stands for a mail server and a web server.
    machine.sh(
        f"echo a file that is known as bad >{HERE}/bad; rm -f /var/lib/clamav/*; mkdir -p /run/clamav; chown clamav /run/clamav"
    )
    digest = machine.sh(f"md5sum <{HERE}/bad").out.split()[0]
    machine.write("/var/lib/clamav/one.hdb", f"{digest}:28:One.Test\n", 0o644)
    machine.write("/etc/clamav/clamd.conf", CLAMD, 0o644)
    machine.write("/usr/sbin/sendmail", "#!/bin/sh\ncat >>/srv/inbox/mail\n", 0o755)
    machine.write("/run/web.py", WEB)
    machine.sh("python3 /run/web.py >/dev/null 2>&1 & clamd", timeout=300)
    machine.wait_for("/run/clamav/clamd.ctl", timeout=60)
    works(machine, "alice", key, f"put {HERE}/bad bad", f"put {HERE}/page.html 'good one'")
    events = (
        {"kind": "upload", "path": f"/home/alice/{name}", "id": f"1-{name[:3]}"}
        for name in ("bad", "good one")
    )
    bad, good = deliver(machine, *({"user": "alice", **event} for event in events))
    assert bad[0] == "done" and "One.Test" in bad[1] and good == ("done", "")
    assert machine.sh("ls /home/alice /var/lib/sftpjail/quarantine").out.split() == [
        *("/home/alice:", "good", "one", "/var/lib/sftpjail/quarantine:", "1-bad", "1-bad.json")
    ]
    assert machine.sh("ls /srv/inbox").out.split() == ["1-goo", "1-goo.json", "mail"]
    assert machine.read("/srv/inbox/1-goo") == machine.read(f"{HERE}/page.html")
    posted = machine.read("/run/posted").splitlines()
    assert [json.loads(line)["path"] for line in posted] == ["/home/alice/good one"]
    assert machine.read("/srv/inbox/mail").count("Subject: ") == 1
    machine.sh("kill $(cat /run/web.pid); pkill -x clamd")
    assert [
        result
        for result, _ in deliver(
            machine, {"kind": "upload", "user": "alice", "path": "/home/alice/good one"}
        )
    ] == ["failed"]


CLAMD = "LocalSocket /run/clamav/clamd.ctl\nDatabaseDirectory /var/lib/clamav\nUser clamav\n"
WEB = """
import http.server, os
class Posted(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open("/run/posted", "ab") as file:
            file.write(body)
        self.send_response(204)
        self.end_headers()
open("/run/web.pid", "w").write(str(os.getpid()))
http.server.HTTPServer(("127.0.0.1", 8080), Posted).serve_forever()
"""
