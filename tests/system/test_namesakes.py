"""What userdel must not delete through, and what nobody inherits: neither by a name nor by a uid."""

from __future__ import annotations

import pytest
from machine import Machine, changes
from steps import (
    QUIET,
    choice,
    fstab,
    jail,
    mounted,
    previewed,
    programs_of,
    ready,
    refused,
    shut,
    snapshot,
    works,
)

pytestmark = pytest.mark.halved

IN_HOME = f"[profiles]\n[[sftponly]]\nchroot = %h\n{QUIET}"
INSIDE = f"[profiles]\n[[sftponly]]\nhome = inside\nmounts = session\n{QUIET}"
WEB = "/srv/web"


def furnished(machine: Machine, config: str = IN_HOME) -> str:
    """Alice, to whom a directory shows as /web, and her key; where the jail is her home, the mount is below that."""
    machine.write(f"{WEB}/data", "precious\n")
    ready(machine, config)
    key = jail(machine, "alice")
    machine.run(
        "sftpjail", "mount", "alice", WEB, "/web", *(["--under-home"] if config == IN_HOME else [])
    )
    return key


def stopped(machine: Machine, name: str, *says: str) -> None:
    """`userdel -rf` deletes neither the account nor a byte, and says what is in the way."""
    done = machine.run("userdel", "-rf", name, check=False)
    assert machine.read(f"{WEB}/data") == "precious\n", done
    assert done.code == 1 and machine.run("id", name).out, done
    for words in says:
        assert words in done.err, done


def fix(machine: Machine, name: str) -> None:
    """The commands that userdel's refusal names are enough."""
    err = machine.run("userdel", "-rf", name, check=False).err
    for command in (
        line.removeprefix("  fix: ") for line in err.splitlines() if line.startswith("  fix: ")
    ):
        machine.sh(command)
    machine.run("userdel", "-rf", name)
    assert machine.read(f"{WEB}/data") == "precious\n"


@pytest.mark.parametrize("config", [IN_HOME, QUIET], ids=["home", "directory"])
def test_every_layer_of_a_mount_goes(machine: Machine, config: str) -> None:
    furnished(machine, config)
    target = "/home/alice/web" if config == IN_HOME else "/srv/sftp/alice/web"
    machine.sh(f"mount {target}; mount {target}")
    if config == QUIET:
        machine.run("mount", "/srv/sftp/alice/home/alice")
    machine.run("sftpjail", "remove", "alice")
    assert mounted(machine) == [] == mounted(machine, "/home")
    machine.run("sftpjail", "adopt", "alice")
    machine.run(
        "sftpjail", "mount", "alice", WEB, "/web", *(["--under-home"] if config == IN_HOME else [])
    )
    machine.run("mount", target)
    machine.run("userdel", "-rf", "alice")
    assert machine.read(f"{WEB}/data") == "precious\n"
    assert mounted(machine) == [] == mounted(machine, "/home")


def test_userdel_deletes_through_no_mount(machine: Machine) -> None:
    """Renamed, moved, an administrator's own mounts, of who was never jailed, and where sftpjail does nothing."""
    furnished(machine)
    machine.run("usermod", "-l", "bob", "alice")
    stopped(machine, "bob", "umount '/home/alice/web'")
    machine.run("usermod", "-l", "alice", "bob")
    machine.run("usermod", "-d", "/home/new", "-m", "alice")
    stopped(machine, "alice", "umount '/home/new/web'")
    machine.run("usermod", "-d", "/home/alice", "-m", "alice")
    machine.sh(
        "mv /usr/bin/sftpjail /root/real; printf '#!/bin/sh\\n' >/usr/bin/sftpjail; chmod 755 /usr/bin/sftpjail"
    )
    stopped(machine, "alice", "/home/alice/web is still mounted")
    machine.run("mv", "/root/real", "/usr/bin/sftpjail")
    machine.sh(
        "mkdir '/home/alice/it'\"'\"'s mine'; mount --bind /srv/web '/home/alice/it'\"'\"'s mine'"
    )
    stopped(machine, "alice", "umount '/home/alice/it'\\''s mine'")
    machine.sh("cd /home/alice; mkdir x1 'x*'; mount --bind /srv/web 'x*'")
    stopped(machine, "alice", "umount '/home/alice/x*'")
    fix(machine, "alice")

    machine.sh(
        "useradd -m carol; ln -s /home /homes; usermod -d /homes/carol/ carol; mkdir /home/carol/files"
    )
    machine.sh("mount --bind /srv/web /home/carol/files")
    stopped(machine, "carol", "umount '/home/carol/files'")
    machine.sh(
        "useradd -m -d /home/carol2 -u 1500 dan; useradd -M -d / erin"
    )  # a home of the same beginning; all of /
    machine.run("userdel", "-r", "dan")
    machine.run("userdel", "erin")
    machine.run("userdel", "carol")  # without -r it deletes no file
    assert machine.exists("/home/carol/files/data")


def test_a_home_on_a_mount_point_is_ordinary_unless_it_is_ours(machine: Machine) -> None:
    furnished(machine)
    machine.sh("mkdir /home/carol; mount -t tmpfs carol /home/carol; useradd -d /home/carol carol")
    machine.sh("chown carol: /home/carol; touch /home/carol/file")
    done = machine.run("userdel", "-r", "carol", check=False)
    assert "sftpjail" not in done.err and machine.run("id", "carol", check=False).code, done
    assert not machine.exists("/home/carol/file")  # it is busy, and what is in it goes as always
    machine.sh("useradd -d /home/alice/web dan")
    stopped(machine, "dan", "umount '/home/alice/web'")


def test_apply_mounts_nothing_while_userdel_runs(machine: Machine) -> None:
    furnished(machine)
    hook = "#!/bin/sh\n(sftpjail apply; sftpjail mount alice /srv/web /all --under-home;"
    hook += " sftpjail key remove alice none) >/root/said 2>&1\nexit 0\n"
    machine.write(
        "/etc/shadow-maint/userdel-pre.d/zz-later", hook, 0o755
    )  # after ours and before it deletes
    machine.run("userdel", "-rf", "alice")
    said = machine.read("/root/said")
    assert (
        "alice is skipped: userdel is deleting it" in said and "userdel is deleting alice" in said
    )
    assert "does not have the key" in said and "userdel stopped" not in said, said
    assert machine.read(f"{WEB}/data") == "precious\n" and mounted(machine, "/home") == []
    assert not fstab(machine, "alice") and not machine.exists("/etc/ssh/authorized_keys/alice")


@pytest.mark.parametrize("prefix", ["-P /img", "--prefix /img", "--prefix=/img"])
def test_accounts_of_another_root_are_not_ours(machine: Machine, prefix: str) -> None:
    """shadow runs the host's hooks for them too, with nothing but the name."""
    machine.sh("mkdir -p /img/etc; cd /etc; cp passwd shadow group gshadow login.defs /img/etc")
    key = furnished(machine, QUIET)
    before = snapshot(machine)
    for command in (
        f"useradd {prefix} alice",
        f"userdel -rf {prefix} alice",
        f"useradd -G games {prefix} alice",
    ):
        machine.sh(f"{command} || [ $? -eq 12 ]")
        assert changes(before, snapshot(machine)) == {}, command
    works(machine, "alice", key, "ls /web/data")
    # This one is the host's.
    machine.run("userdel", "-rf", "-P", "//", "alice")
    assert mounted(machine) == [] and not machine.exists("/etc/ssh/authorized_keys/alice")


def test_hooks_of_an_account_that_lives_do_nothing(machine: Machine) -> None:
    """Where the stub could not see by what it was called."""
    key = furnished(machine, QUIET)
    machine.sh("chage -d 2020-01-01 alice")
    before = snapshot(machine)
    for event in ("userdel-post", "useradd-post", "adduser-post"):
        machine.run("sftpjail", "hook", event, "alice")
        assert changes(before, snapshot(machine)) == {}, event
    works(machine, "alice", key)


def test_key_file_of_who_was_never_jailed_is_the_administrators(machine: Machine) -> None:
    ready(machine)
    machine.start_rsyslog()
    machine.run("useradd", "-m", "bob")
    machine.write("/etc/ssh/authorized_keys/bob", "# mine\n")
    machine.run("userdel", "-r", "bob")
    assert machine.read("/etc/ssh/authorized_keys/bob") == "# mine\n"
    machine.wait_for("/var/log/auth.log", "bob is gone; /etc/ssh/authorized_keys/bob")
    assert (
        "/etc/ssh/authorized_keys/bob belongs to no account"
        in machine.run("sftpjail", "check", check=False).out
    )


def test_who_takes_a_name_over_inherits_nothing(machine: Machine) -> None:
    """The earlier one has another name now, and keeps what is its own for when somebody says so."""
    key = furnished(machine, QUIET)
    machine.sh(
        "usermod -l oldalice -d /home/oldalice -m alice; groupmod -n oldalice alice; useradd -m alice"
    )
    machine.run("sftpjail", "adopt", "alice")
    shut(machine, "alice", key)
    assert mounted(machine, "/srv/sftp/alice") == ["/srv/sftp/alice/home/alice"]
    assert not machine.exists("/srv/sftp/alice/web")
    assert machine.mode("/srv/sftp/alice/home/alice").startswith("alice:alice")
    done = machine.run("sftpjail", "apply", check=False)
    machine.sh(choice(done.err, "only if it is the same one"))
    works(machine, "oldalice", key, "ls /web/data")
    shut(machine, "alice", key)
    assert machine.run("sftpjail", "apply").out.startswith("nothing to do")
    found = machine.run("sftpjail", "check", check=False).out
    assert "alice has no key" in found and "1 problem\n" in found, found


def test_a_namesake_of_the_same_uid_inherits_nothing(
    machine: Machine,
) -> None:
    key = furnished(machine, QUIET)
    machine.sh(
        "sed -i '/^alice:/d' /etc/passwd /etc/shadow /etc/group /etc/gshadow; rm -rf /home/alice/"
    )
    machine.sh("useradd -m -u 1000 alice; gpasswd -a alice sftponly; sftpjail apply")
    assert machine.run("id", "-u", "alice").out == "1000\n"
    shut(machine, "alice", key)
    assert mounted(machine) == ["/srv/sftp/alice/home/alice"]


@pytest.mark.parametrize("config", [QUIET, IN_HOME], ids=["directory", "home"])
def test_another_uid_is_let_in_by_nobody_but_an_administrator(
    machine: Machine, config: str
) -> None:
    """An editor deleted the earlier account, or `usermod -u` did: the host does not tell which."""
    key = furnished(machine, config)
    keys = machine.read("/etc/ssh/authorized_keys/alice")
    rename = "sed -i '/^alice:/d' /etc/passwd /etc/shadow /etc/group /etc/gshadow; rm -rf /var/mail/alice"
    machine.sh(f"{rename}; sed -i 's/,alice$//; s/:alice$/:/' /etc/group /etc/gshadow")
    # newusers calls no hook, as little as an editor does.
    machine.write("/root/new", "alice:*:1700:1700::/home/alice:/usr/sbin/nologin\n")
    machine.sh("newusers /root/new; gpasswd -a alice sftponly")
    done = machine.run("sftpjail", "apply", check=False)
    assert done.code == 1 and "is of uid 1000, and alice has uid 1700" in done.err, done
    done = machine.sftp("alice", key, ["ls /", "ls /web", "ls /home/alice", "put /etc/hostname x"])
    assert done.code == 255 and done.out == "", done
    assert machine.run("getent", "shadow", "alice").out.split(":")[7] == "1", "expired"
    assert machine.read("/etc/ssh/authorized_keys/alice") == keys and fstab(machine, "alice")
    for argv in (
        ("sftpjail", "adopt", "alice"),
        ("sftpjail", "apply"),
        ("sftpjail", "check", "alice"),
    ):
        done = machine.run(*argv, check=False)
        assert done.code and "uid 1700" in done.out + done.err, done


def test_same_person_with_another_uid(machine: Machine) -> None:
    """Both ways that the refusal names: she is the same, or she is not."""
    key = furnished(machine, QUIET)
    before = snapshot(machine)
    machine.run("usermod", "-u", "1500", "alice")
    done = machine.run("sftpjail", "apply", check=False)
    same = choice(done.err, "only if it is the same one")
    other = choice(done.err, "if it is another person")
    machine.sh(same)
    works(machine, "alice", key, "ls /web/data")
    names = {
        name
        for name in changes(before, snapshot(machine))
        if not name.startswith(("/etc/passwd", "/home/alice"))
    }
    assert names == {"/var/lib/sftpjail/accounts/alice"}
    machine.run("usermod", "-u", "1600", "alice")
    machine.run("sftpjail", "apply", check=False)
    machine.sh(other)
    shut(machine, "alice", key)
    assert machine.mode("/srv/sftp/alice") == "root:root 755" and not machine.exists(
        "/srv/sftp/alice/web"
    )


@pytest.mark.parametrize("config", [IN_HOME, INSIDE], ids=["home", "inside"])
def test_another_person_is_never_outside_of_a_jail(machine: Machine, config: str) -> None:
    """Also where the new jail cannot be made at once: what the earlier one left is in the way."""
    key = furnished(machine, config)
    works(machine, "alice", key, "put /etc/hostname mine")
    machine.run("usermod", "-u", "1500", "alice")
    found = machine.run("sftpjail", "check", check=False).out
    assert "\n  fix: " not in found and "1 problem\n" in found, "nothing is given to her yet"
    machine.run("sftpjail", "apply", check=False)
    done = machine.run("sftpjail", "adopt", "--another-person", "alice", check=False)
    shut(machine, "alice", key)
    assert "sftponly" in machine.run("id", "-nG", "alice").out.split()
    assert done.code == 1 and machine.run("sftpjail", "list").out.endswith("closed\n"), done
    assert machine.run("getent", "shadow", "alice").out.split(":")[7] == "1", "expired"
    machine.sh(done.err.partition("  fix: ")[2].partition("\n")[0])
    machine.run("sftpjail", "key", "add", "alice", f"{machine.keygen('new')}.pub")
    works(machine, "alice", "/root/keys/new")
    shut(machine, "alice", key)
    machine.run("sftpjail", "remove", "alice")
    assert config == INSIDE or machine.mode("/home/alice").startswith("alice:alice")


@pytest.mark.parametrize("config", [QUIET, IN_HOME, INSIDE], ids=["directory", "home", "inside"])
def test_a_renamed_account_keeps_what_is_its_own(machine: Machine, config: str) -> None:
    key = furnished(machine, config)
    works(machine, "alice", key, "put /etc/hostname mine")
    machine.run("usermod", "-l", "zoe", "alice")
    shut(machine, "zoe", key)
    done = machine.run("sftpjail", "check", check=False)
    assert "alice was renamed" in done.out and "fix: sftpjail apply\n" in done.out, done
    assert "1 problem\n" in done.out and "nobody" not in done.out, done
    assert machine.run("sftpjail", "apply").out.startswith("alice is zoe now")
    works(machine, "zoe", key, "ls mine", "ls /web/data")
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"
    assert "nothing to do" in machine.run("sftpjail", "apply").out
    old = machine.sh(
        "find /etc/ssh /etc/sftpjail /srv /var/lib/sftpjail/accounts -name '*alice*'"
    ).out
    assert [path for path in old.split() if "/home/alice" not in path] == []
    machine.run("sftpjail", "remove", "zoe")
    assert not machine.exists("/var/lib/sftpjail/accounts")


def test_names_that_change_hands_take_nothing_of_each_others(machine: Machine) -> None:
    """Bob was renamed to carol, and alice to bob; then the two swapped. Names of the dead are free."""
    keys = {"alice": furnished(machine, QUIET), "bob": jail(machine, "bob")}
    machine.run("useradd", "-m", "-G", "sftponly", "carol")
    machine.run("sftpjail", "key", "add", "carol", f"{machine.keygen('carol')}.pub")
    machine.sh("mv /etc/shadow-maint /etc/away; userdel -r carol; mv /etc/away /etc/shadow-maint")
    machine.sh("usermod -l carol bob; usermod -l bob alice")
    for key in keys.values():
        shut(machine, "carol", key)
    shut(machine, "bob", keys["alice"])
    previewed(machine, "sftpjail", "apply")
    assert machine.run("sftpjail", "apply").out.splitlines()[:3] == [
        "what an earlier carol left is removed",
        "bob is carol now, and so is all of its own",
        "alice is bob now, and so is all of its own",
    ]
    works(machine, "bob", keys["alice"], "ls /web/data")
    works(machine, "carol", keys["bob"])
    machine.sh("usermod -l tmp bob; usermod -l bob carol; usermod -l carol tmp")
    done = machine.run("sftpjail", "check", "--fix")
    assert "no problems\n" in machine.run("sftpjail", "check").out, done
    works(machine, "carol", keys["alice"], "ls /web/data")
    works(machine, "bob", keys["bob"])
    shut(machine, "bob", keys["alice"])
    names = machine.sh("ls /etc/ssh/authorized_keys /srv/sftp /var/lib/sftpjail/accounts").out
    assert sorted(name for name in names.split() if "/" not in name) == ["bob"] * 3 + ["carol"] * 3


def test_a_name_whose_files_are_left_is_free_when_they_are(machine: Machine) -> None:
    """Zoe, who is gone, has left files in her jail; what check says first is done, and in that order."""
    key = furnished(machine, f"[profiles]\n[[sftponly]]\nhome = inside\n{QUIET}")
    machine.sh("useradd -G sftponly zoe; echo hers >/srv/sftp/zoe/files/letter; userdel zoe")
    machine.run("usermod", "-l", "zoe", "alice")
    for _ in range(2):
        done = machine.run("sftpjail", "apply", check=False)
        assert done.code == 1 and "/srv/sftp/zoe is there already" in done.err, done
    for argv in (("key", "add", "zoe", f"{key}.pub"), ("mount", "zoe", WEB, "/pub")):
        refused(machine, "sftpjail", *argv, says="alice was renamed")
    found = machine.run("sftpjail", "check", check=False).out.splitlines()
    (command,) = [line.removeprefix("  fix: ") for line in found if line.startswith("  fix: ")]
    machine.sh(command)
    works(machine, "zoe", key, "ls /web/data", "put /etc/hostname mine")
    assert machine.sh("cat /srv/sftp/zoe.old/files/letter").out == "hers\n"
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"


def test_a_uid_that_is_given_again_inherits_nothing(machine: Machine) -> None:
    """An editor deleted alice, and zoe got her uid: neither a hook nor the uid takes her for alice."""
    key = furnished(machine, QUIET)
    machine.sh("sed -i '/^alice:/d' /etc/passwd /etc/shadow /etc/group /etc/gshadow")
    machine.sh("sed -i 's/,alice$//; s/:alice$/:/' /etc/group /etc/gshadow")
    machine.write("/root/new", "zoe:*:1000:1000::/home/zoe:/usr/sbin/nologin\n")
    machine.sh("newusers /root/new; gpasswd -a zoe sftponly")
    done = machine.run("sftpjail", "apply", check=False)
    assert done.code == 1 and "zoe has the uid 1000, which alice had" in done.err, done
    shut(machine, "zoe", key)
    machine.sh(choice(done.err, "if it is another person"))
    shut(machine, "zoe", key)
    assert not machine.exists("/etc/ssh/authorized_keys/alice") and fstab(machine, "alice") == []
    assert machine.run("sftpjail", "list").out.startswith("zoe\t")


def test_home_is_given_back_to_whoever_she_is_by_now(machine: Machine) -> None:
    furnished(machine)
    machine.run("usermod", "-u", "1500", "alice")
    machine.run("sftpjail", "remove", "alice")
    assert machine.mode("/home/alice").startswith("alice:alice")


def test_userdel_of_others_costs_few_small_programs(machine: Machine) -> None:
    """Our hook alone, for an account with a home, as if files went too: no Python, however much is mounted."""
    furnished(machine)
    machine.run("useradd", "-m", "bob")
    hook = ("env", "SUBJECT=bob", "/etc/shadow-maint/userdel-pre.d/sftpjail")
    few = programs_of(machine, *hook)
    machine.sh("for i in $(seq 300); do mkdir -p /srv/m/$i; mount --bind /srv/web /srv/m/$i; done")
    assert programs_of(machine, *hook) == few
    assert len(few) <= 5 and not [program for program in few if "python" in program], few


@pytest.mark.halved
def test_a_uid_that_is_given_again_gives_no_keys_away(machine: Machine) -> None:
    ready(machine)
    jail(machine, "alice")
    uid = machine.run("id", "-u", "alice").out.strip()
    machine.sh(f"useradd -o -u {uid} -M -d /home/alice other; userdel alice")
    machine.run("sftpjail", "apply", check=False)
    assert machine.run("ls", "/etc/ssh/authorized_keys").out == ""
    machine.run("userdel", "other")
    # Of the end of this one no hook hears, and its name is somebody's again.
    jail(machine, "alice")
    uid = machine.run("id", "-u", "alice").out.strip()
    machine.sh(
        "umount /srv/sftp/alice/home/alice; rm -r /home/alice;"
        " for f in passwd shadow group gshadow; do sed -i '/^alice:/d' /etc/$f; done"
    )
    machine.sh(f"useradd -m -u {uid} bob; chage -d 2026-01-01 bob")
    key = jail(machine, "alice", "-u", "4711")
    machine.run("sftpjail", "apply", check=False)
    assert not machine.exists("/etc/ssh/authorized_keys/bob")
    works(machine, "alice", key)
