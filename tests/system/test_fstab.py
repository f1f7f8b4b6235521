"""fstab: odd names in it, other people's lines, what a boot makes of it, and mounts that came to differ from it."""

from __future__ import annotations

from machine import Machine, changes
from steps import (
    again,
    fstab,
    jail,
    mounted,
    open_with_key,
    ready,
    refused,
    running,
    snapshot,
    web,
    works,
)

HOME = "/srv/sftp/alice/home/alice"
NAMES = (
    "My Music",
    "täbless",
    "it's #1",
    'quo"ted',
    "back\\slash",
    "comma,colon:",
    "-dash",
    "$(id)",
    "non\u00a0break",
)


def furnished(machine: Machine) -> str:
    web(machine)
    ready(machine)
    return jail(machine, "alice")


def mount(machine: Machine, *words: str) -> None:
    machine.run("sftpjail", "mount", "alice", *words)


def reboot(machine: Machine) -> None:
    """What a boot does with fstab, after everything is unmounted."""
    for point in reversed(mounted(machine)):
        machine.run("umount", "--", point)
    assert mounted(machine) == []
    machine.run("mount", "-a")


def test_odd_names_and_nesting(machine: Machine) -> None:
    key = furnished(machine)
    for name in NAMES:
        web(machine, f"/srv/{name}")
        mount(machine, f"/srv/{name}", f"/{name}")
    again(machine, "sftpjail", "mount", "alice", f"/srv/{NAMES[-1]}", f"/{NAMES[-1]}")
    mount(machine, "/srv/web", "/outer")
    mount(machine, "/srv/My Music", "/outer/example.com/new")
    mount(machine, "/srv/My Music", "/later/inner/directory")
    refused(machine, "sftpjail", "mount", "alice", "/srv/web", "/later", says="would hide")
    live = mounted(machine)
    assert len(live) == len(NAMES) + 4 == len(fstab(machine, "alice"))
    machine.run("findmnt", "--verify", "--tab-file", "/etc/fstab")
    wanted = [
        'get "/My Music/index.html" /root/a',
        "get /outer/example.com/new/deep/down/page.html /root/b",
    ]
    works(machine, "alice", key, *wanted)
    reboot(machine)
    assert mounted(machine) == live
    works(machine, "alice", key, *wanted)
    assert "nothing to do" in machine.run("sftpjail", "apply").out

    for target in ("/outer/example.com/new", "/outer", *(f"/{name}" for name in NAMES[:4])):
        machine.run("sftpjail", "umount", "alice", target)
    refused(machine, "sftpjail", "umount", "alice", "/outer", says="has no mount")
    assert not machine.exists("/srv/sftp/alice/My Music") and machine.exists(
        "/srv/My Music/index.html"
    )
    machine.run("userdel", "-rf", "alice")
    assert mounted(machine) == [] and not machine.exists("/srv/sftp/alice")
    assert all(machine.exists(f"/srv/{name}/deep/down/page.html") for name in NAMES)
    assert machine.listing("/srv/web/example.com").keys() == {
        f"/srv/web/example.com{path}"
        for path in ("", "/index.html", "/deep", "/deep/down", "/deep/down/page.html")
    }


def test_lines_that_somebody_put_in_the_wrong_order(machine: Machine) -> None:
    """mount -a works from the top: the next change puts the outer one first again."""
    key = furnished(machine)
    mount(machine, "/srv/web", "/outer")
    mount(machine, "/srv/web", "/outer/example.com/new")
    machine.sh("tac /etc/fstab >/root/fstab; cat /root/fstab >/etc/fstab")
    mount(machine, "/srv/web", "/another")
    live = mounted(machine)
    reboot(machine)
    assert mounted(machine) == live
    works(machine, "alice", key, "ls /outer/example.com/new/example.com/index.html")


def test_what_a_boot_needs(machine: Machine) -> None:
    furnished(machine)
    before = machine.read("/etc/fstab").splitlines()
    machine.append("/etc/fstab", "# mine, with no newline at its end")
    mount(machine, "/srv/web", "/web", "--read-only")
    others = [
        line
        for line in machine.read("/etc/fstab").splitlines()
        if line not in fstab(machine, "alice")
    ]
    assert others == [*before[:-1], "# mine, with no newline at its end"]
    options = (
        next(line for line in fstab(machine, "alice") if "/web " in line).split()[3].split(",")
    )
    assert {"bind", "ro", "nosuid", "nodev", "nofail", "x-sftpjail.user=alice"} <= set(options)
    machine.sh(
        "mv /srv/web /srv/away; umount /srv/sftp/alice/web; mount -a"
    )  # a source that is gone stops no boot
    done = machine.run("sftpjail", "check", check=False)
    assert done.code == 3 and "/srv/web" in done.out
    machine.run("sftpjail", "umount", "alice", "/web")
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"


def test_read_only_stays_so(machine: Machine) -> None:
    key = furnished(machine)
    machine.sh("chmod -R a+rwX /srv/web/example.com")
    mount(machine, "/srv/web/example.com", "/docs", "--read-only")
    for spoil in (["mount", "-a"], ["mount", "-o", "remount,bind,rw", "/srv/sftp/alice/docs"]):
        machine.run(*spoil)
        machine.run("sftpjail", "apply")
        works(machine, "alice", key, "get /docs/index.html /root/got")
        for batch in ("put /etc/hostname /docs/up", "rm /docs/index.html", "mkdir /docs/directory"):
            assert machine.sftp("alice", key, [batch]).code == 1, batch
        options = machine.run("findmnt", "-n", "-o", "OPTIONS", "/srv/sftp/alice/docs").out.split(
            ","
        )
        assert {"ro", "nosuid", "nodev"} <= set(options)
    assert {"rw", "nosuid", "nodev"} <= set(
        machine.run("findmnt", "-n", "-o", "OPTIONS", HOME).out.split(",")
    )


def test_a_transfer_holds_its_mount(machine: Machine) -> None:
    key = furnished(machine)
    mount(machine, "/srv/web", "/web")
    machine.run("truncate", "-s", "100M", "/srv/web/big")
    before = snapshot(machine)
    slowly = (
        "sftp",
        "-l",
        "8",
        *machine._client(key, "-P"),
        "alice@127.0.0.1:/web/big",
        "/root/big",
    )
    with running(machine, *slowly):
        machine.sh("until [ -e /root/big ]; do sleep 0.05; done")
        said = refused(
            machine,
            "sftpjail",
            "umount",
            "alice",
            "/web",
            says='/srv/sftp/alice/web is in use by "sshd',
        )
        pid = said.rpartition("kill ")[2].split()[0]
        assert machine.read(f"/proc/{pid}/comm").startswith("sshd")
    assert changes(before, snapshot(machine)) == {}
    machine.run("sftpjail", "umount", "alice", "/web")
    assert mounted(machine) == [HOME]


def test_a_directory_that_was_replaced(machine: Machine) -> None:
    """A home or source that was deleted and made again, as a backup does: the mount still shows the deleted one."""
    key = furnished(machine)
    mount(machine, "/srv/web", "/web")
    machine.sh("rm -r /home/alice /srv/web; install -d -o alice -g alice /home/alice")
    web(machine)
    done = machine.run("sftpjail", "check", check=False)
    assert done.code == 3, done
    assert "fix: sftpjail apply\n" in done.out and "umount" not in done.out, done
    machine.run("sftpjail", "apply")
    works(machine, "alice", key, "put /etc/hostname up", "ls /web/example.com/index.html")
    assert machine.exists("/home/alice/up")


def test_add_with_mounts_is_one_transaction(machine: Machine) -> None:
    furnished(machine)
    options = ["--mount", "/srv/web:/a:ro", "--mount", "/srv/web:/rw:rw"]
    refused(
        machine, "sftpjail", "add", "bob", *options, "--mount", "/srv/none:/none", says="/srv/none"
    )
    machine.run("sftpjail", "add", "bob", *options)
    works(
        machine,
        "bob",
        open_with_key(machine, "bob"),
        "ls /a/example.com/index.html",
        "ls /rw/example.com",
    )
