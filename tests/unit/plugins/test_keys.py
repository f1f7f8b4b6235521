"""keys: /etc/ssh/authorized_keys/USER."""

from __future__ import annotations

import os

import pytest
from fakes import ME, Tree
from golden import Fire, Sshd, ann

from sftpjail import Key, MakeDir, Profile, Remove, Rename, SetLines, SftpJailError, Style
from sftpjail.actions import Move
from sftpjail.config import Config
from sftpjail.model import Account

DIRECTORY = "/etc/ssh/authorized_keys"
FILE = f"{DIRECTORY}/ann"
KEY = Key("ssh-ed25519 AAAA ann", "ssh-ed25519", 256, "SHA256:x", "ann")
EVERYONE = Config(scope="everyone")


def line(text: str, present: bool = True, name: str = "ann") -> SetLines:
    return SetLines(f"{DIRECTORY}/{name}", text, (text,) if present else (), Style.LINE, own=True)


SEEN = MakeDir("/var/lib/sftpjail/seen", 0o700)  # when keys were last used


def test_on_setup_makes_the_directory_for_everybody_to_read(tree: Tree, fire: Fire) -> None:
    assert fire("keys", "on_setup", tree.host()) == [MakeDir(DIRECTORY, 0o755, 0, 0), SEEN]


def test_on_setup_for_everyone_copies_each_line_of_each_file(
    tree: Tree, fire: Fire, sshd: Sshd
) -> None:
    # A file must belong to its account; whoever runs the tests is the account.
    tree.people = [
        "root:x:0:0:root:/root:/bin/bash",
        f"eve:x:{ME[0] or 1009}:1009::/home/eve:/bin/bash",
    ]
    tree.directory("/root")
    tree.write(
        "/home/eve/.ssh/authorized_keys", "# mine\nssh-rsa AAAA one\n\nrestrict ssh-rsa BBBB two\n"
    )
    tree.write("/home/eve/.ssh/authorized_keys2", "ssh-rsa AAAA one\nssh-rsa CCCC three")
    assert fire("keys", "on_setup", tree.host(), EVERYONE) == [
        MakeDir(DIRECTORY),
        SEEN,
        *(
            line(text, name="eve")
            for text in ("ssh-rsa AAAA one", "restrict ssh-rsa BBBB two", "ssh-rsa CCCC three")
        ),
    ]


def test_on_setup_a_second_time_brings_no_revoked_key_back(
    tree: Tree, fire: Fire, sshd: Sshd
) -> None:
    tree.write("/home/bob/.ssh/authorized_keys", "ssh-rsa AAAA revoked\n")
    tree.write("/etc/ssh/sshd_config", f"AuthorizedKeysFile {DIRECTORY}/%u\n")
    assert fire("keys", "on_setup", tree.host(), EVERYONE) == [MakeDir(DIRECTORY), SEEN]


def test_on_setup_for_everyone_stops_at_a_file_that_is_a_link(
    tree: Tree, fire: Fire, sshd: Sshd
) -> None:
    tree.write("/etc/shadow", "secret\n")
    tree.directory("/home/bob/.ssh", 0o777)
    os.symlink(tree.root / "etc/shadow", tree.root / "home/bob/.ssh/authorized_keys")
    with pytest.raises(SftpJailError, match="/home/bob/.ssh/authorized_keys"):
        fire("keys", "on_setup", tree.host(), EVERYONE)


def test_on_teardown_removes_what_we_made(tree: Tree, fire: Fire) -> None:
    tree.write("/var/lib/sftpjail/host", f'{{"made": ["/srv/sftp", "{DIRECTORY}", "{FILE}"]}}')
    actions = fire("keys", "on_teardown", tree.host())
    assert set(actions) == {Remove(FILE), Remove(DIRECTORY)}
    seen = "/var/lib/sftpjail/seen"
    tree.write(f"{seen}/1001", "SHA256:x 1 ::1 2\n")
    more = set(fire("keys", "on_teardown", tree.host())) - set(actions)
    assert more == {Remove(f"{seen}/1001", ours=True)}


def test_on_teardown_leaves_no_key_to_a_later_namesake(tree: Tree, fire: Fire) -> None:
    assert Remove(FILE, ours=True) not in fire("keys", "on_teardown", tree.host()), (
        "an administrator's file"
    )
    tree.write("/var/lib/sftpjail/accounts/ann", f'{{"made": ["{FILE}"]}}')
    assert Remove(FILE, ours=True) in fire("keys", "on_teardown", tree.host())


def test_on_key_add_and_on_key_remove_are_one_line(tree: Tree, fire: Fire) -> None:
    assert fire("keys", "on_key_add", tree.host(), account=ann(), key=KEY) == [
        MakeDir(DIRECTORY),
        line(KEY.line),
    ]
    tree.directory(DIRECTORY)
    assert fire("keys", "on_key_add", tree.host(), account=ann(), key=KEY) == [line(KEY.line)]
    assert fire("keys", "on_key_remove", tree.host(), account=ann(), key=KEY) == [
        line(KEY.line, present=False)
    ]


def test_on_key_migrate_renames_the_old_file(tree: Tree, fire: Fire, sshd: Sshd) -> None:
    old = "/home/ann/.ssh/authorized_keys"
    tree.write(
        "/etc/ssh/sshd_config.d/10-sftpjail.conf",
        f"Match Group sftponly\nAuthorizedKeysFile {DIRECTORY}/%u\n",
    )
    tree.host()
    assert fire("keys", "on_key_migrate", tree.host(), account=ann(), path=old) == [
        Rename(old, f"{old}.sftpjail")
    ]


def test_on_key_migrate_waits_until_sshd_reads_the_new_place(
    tree: Tree, fire: Fire, sshd: Sshd
) -> None:
    with pytest.raises(SftpJailError, match=f"sshd does not read {FILE} yet") as caught:
        fire(
            "keys",
            "on_key_migrate",
            tree.host(),
            account=ann(),
            path="/home/ann/.ssh/authorized_keys",
        )
    assert caught.value.fix == "sftpjail setup"


def test_on_user_remove_while_the_account_stays(tree: Tree, fire: Fire) -> None:
    old = "/home/ann/.ssh/authorized_keys"
    tree.write("/var/lib/sftpjail/accounts/ann", f'{{"renamed": {{"{old}.sftpjail": "{old}"}}}}')
    host = tree.host()
    assert fire("keys", "on_user_remove", host, account=ann(), deleted=False) == [
        Remove(FILE),
        Rename(f"{old}.sftpjail", old, early=True),
    ]
    assert Remove(FILE) not in fire(
        "keys", "on_user_remove", host, EVERYONE, account=ann(), deleted=False
    )
    assert fire("keys", "on_user_remove", host, account=ann(), deleted=True) == [], (
        "userdel may still refuse"
    )


def test_on_user_remove_leaves_no_keys_to_a_later_namesake(tree: Tree, fire: Fire) -> None:
    gone = Account("ann", -1, -1, "/nonexistent/ann", profile=Profile("sftponly"), local=False)
    for config in (Config(), EVERYONE):
        assert fire("keys", "on_user_remove", tree.host(), config, account=gone, deleted=True) == [
            Remove(FILE, ours=True)
        ]


def test_on_user_rename_moves_the_key_file(tree: Tree, fire: Fire) -> None:
    assert fire("keys", "on_user_rename", tree.host(), account=ann(), old="joe") == []
    tree.write(f"{DIRECTORY}/joe", "ssh-rsa AAAA joe\n")
    move = [Move(f"{DIRECTORY}/joe", FILE)]
    assert fire("keys", "on_user_rename", tree.host(), account=ann(), old="joe") == move
    tree.write(FILE, "ssh-rsa BBBB ann\n")
    assert fire("keys", "on_user_rename", tree.host(), account=ann(), old="ann") == []
    with pytest.raises(SftpJailError, match="under its former name") as caught:
        fire("keys", "on_user_rename", tree.host(), account=ann(), old="joe")
    assert [choice.command for choice in caught.value.choices] == [
        f"mv -nT {DIRECTORY}/ann {DIRECTORY}/.ann.old && sftpjail apply",
        f"mv -nT {DIRECTORY}/joe {DIRECTORY}/.joe.old && sftpjail apply",
    ]


def test_who_gets_a_used_uid_has_used_no_key(tree: Tree, fire: Fire) -> None:
    file = f"/var/lib/sftpjail/seen/{ann().uid}"
    people = [*tree.people]
    tree.write(file, "SHA256:x 1 ::1 5\n")
    assert fire("keys", "on_user_create", tree.host(), account=ann()) == [Remove(file, ours=True)]
    tree.people = [*people, f"twin:x:{ann().uid}:1009::/home/eve:/bin/bash"]
    assert fire("keys", "on_user_create", tree.host(), account=ann()) == [], "it is another's too"
