"""Facts: read once, however many accounts there are; and who is jailed by what."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import ME, FakeHost, Programs, Tree
from hypothesis import given
from hypothesis import strategies as st

from sftpjail.config import Config
from sftpjail.errors import SftpJailError, UsageError
from sftpjail.formats.origin_record import parse_origin, render_origin
from sftpjail.host import Host
from sftpjail.host.files import Files
from sftpjail.jails.guards import guard, is_namesake, why_not
from sftpjail.jails.leftovers import leftover, leftovers
from sftpjail.jails.membership import find, find_jailed, jailed, untaken
from sftpjail.jails.renames import refuse_other
from sftpjail.model import Account, Bind, Group, Origin, Profile
from sftpjail.system.programs import Answer

MANY = 10_000


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often each file was opened by files.py."""
    counted: Counter[str] = Counter()
    real = os.open

    def counting(path: Any, *arguments: Any, **options: Any) -> int:
        counted[str(path)] += 1
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", counting)
    yield counted


@pytest.fixture
def crowd(tree: Tree) -> FakeHost:
    names = [f"user{n}" for n in range(MANY)]
    tree.people += [
        f"{name}:x:{n}:{n}::/home/{name}:/bin/bash" for n, name in enumerate(names, 2000)
    ]
    tree.group("sftponly", 500, *names)
    tree.fstab(
        *(
            f"/home/{n} /srv/sftp/{n}/home/{n} none bind,nofail,x-sftpjail.user={n},x-sftpjail.role=home 0 0"
            for n in names
        )
    )
    return tree.host()


def test_ten_thousand_accounts_cost_one_reading(crowd: FakeHost, opens: Counter[str]) -> None:
    found = jailed(Config(), crowd)
    assert len(found) == MANY
    for name, account in list(found.items())[:300]:
        assert crowd.account(name) is not None and crowd.in_group(name, "sftponly")
        assert crowd.binds(name)[0].target == f"{account.jail}{account.home}"
        assert crowd.mount_at("/x") is None
        assert crowd.is_system(account) is False
    assert set(opens.values()) == {1}, opens


def test_guard_rails_cost_no_reading_for_each_account(
    crowd: FakeHost, opens: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    for account in list(jailed(Config(), crowd).values())[:300]:
        guard(account, crowd)
    assert set(opens.values()) <= {1}, opens.most_common(3)


def test_one_look_reads_each_file_once(tree: Tree, opens: Counter[str]) -> None:
    host, path = tree.host(), f"{tree.root}/etc/shells"
    tree.write("/etc/shells", "/bin/sh\n")
    with host.files.one_look():
        assert {host.text("/etc/shells") for _ in range(3)} == {"/bin/sh\n"}
        assert host.read("/nothing") is None and host.read("/nothing") is None
        assert (opens[path], opens[f"{tree.root}/nothing"]) == (1, 1)
    tree.write("/etc/shells", "x" * 70_000)  # more than is read at once
    assert host.text("/etc/shells") == "x" * 70_000 and opens[path] == 2


def test_one_look_sees_a_mount_that_comes_meanwhile(tree: Tree) -> None:
    host = tree.host()
    with host.files.one_look():
        assert host.mount_at("/mnt") is None and not host.mount_changed("/mnt")
        tree.write("/proc/self/mountinfo", "36 35 8:1 / /mnt rw - ext4 /dev/sda1 rw\n")
        assert host.mount_at("/mnt") is None and host.mount_changed("/mnt")


def test_no_table_is_looked_for_where_none_is(tree: Tree, opens: Counter[str]) -> None:
    assert tree.host().binds("ann") == ()
    tree.write("/etc/sftpjail/mounts/bob", "")
    assert not [path for path in opens if "/etc/sftpjail/mounts" in path]
    assert tree.host().binds("ann") == () and opens[f"{tree.root}/etc/sftpjail/mounts/ann"] == 1


def test_expiry_of_many_reads_shadow_once(crowd: FakeHost, tree: Tree, opens: Counter[str]) -> None:
    tree.write("/etc/shadow", "".join(f"user{n}:*:1:0:9:7:::\n" for n in range(50)))
    for n in range(50):
        assert crowd.expiry(f"user{n}") == ""
    assert opens[f"{tree.root}/etc/shadow"] == 1


def test_broken_lines_and_doubles(tree: Tree) -> None:
    tree.account("ann", 1001)
    tree.people += [
        "ann:x:0:0::/evil:/bin/sh",
        "short:x:1",
        "# comment",
        "",
        "+::::::",
        "x:x:notanumber:1::/:",
        "a\udcff:x:7:7::/h:/s",
    ]
    tree.root.joinpath("etc/passwd").write_bytes(
        "\n".join(tree.people).encode("utf-8", "surrogateescape")
    )
    host = FakeHost(str(tree.root))
    assert host.accounts["ann"].uid == 1001
    assert host.account("a\udcff") is not None
    assert set(host.accounts) == {"root", "www-data", "ann", "a\udcff"}


def test_accounts_and_groups(tree: Tree) -> None:
    tree.account("ann", 1001)
    tree.account("bob", 1002, gid=500)
    tree.group("sftponly", 500, "ann", "ghost")
    host = tree.host()
    assert host.account("ann") == Account("ann", 1001, 1001, "/home/ann", "/bin/bash")
    assert host.account("nobody-at-all") is None
    assert host.group_members("sftponly") == ("ann", "ghost", "bob")
    assert host.group_members("none") is None
    assert host.in_group("bob", "sftponly") and not host.in_group("root", "sftponly")
    assert set(host.groups_of("ann")) == {"ann", "sftponly"} and host.groups_of("ghost") == ()


def test_login_defs_decides_what_a_system_account_is(tree: Tree) -> None:
    tree.account("ann", 1001)
    tree.account("low", 999)
    host = tree.host()
    assert [host.is_system(host.accounts[name]) for name in ("ann", "low", "root")] == [
        False,
        True,
        True,
    ]
    tree.write("/etc/login.defs", "UID_MIN\t\t  500 \n#UID_MAX 10\nUID_MAX 1000\n")
    host = tree.host()
    assert [host.is_system(host.accounts[name]) for name in ("ann", "low")] == [True, False]
    assert not host.is_system(Account("ldap", 5_000_000, 1, "/h", local=False))


@pytest.mark.parametrize("value", ["0x3e8", "01750"])
def test_login_defs_may_count_as_c_does(tree: Tree, value: str) -> None:
    # login.defs(5): octal and hexadecimal are fine.
    tree.account("ann", 1001)
    tree.write("/etc/login.defs", f"UID_MIN {value}\n")
    host = tree.host()
    assert not host.is_system(host.accounts["ann"])


def test_binds_come_from_fstab(tree: Tree) -> None:
    tree.fstab(
        "/srv/a /j/ann/a none bind,nosuid,nofail,x-sftpjail.user=ann 0 0",
        "/srv/b /j/ann/b none bind,ro,x-sftpjail.user=ann,x-sftpjail.role=log 0 0",
        "/srv/c /j/bob/c none bind,x-sftpjail.user=bob 0 0",
        "/srv/d /j/eve/d none bind 0 0",
    )
    host = tree.host()
    assert host.binds("ann") == (
        Bind("/srv/a", "/j/ann/a", False, "mount", ("bind", "nosuid", "nofail")),
        Bind("/srv/b", "/j/ann/b", True, "log", ("bind", "ro")),
    )
    assert host.mount_tables.bind_users == ("ann", "bob") and host.binds("eve") == ()


def test_a_mount_point_behind_a_link(tree: Tree) -> None:
    tree.directory("/data/sftp/ann/web")
    tree.link("/srv/sftp", "/data/sftp")
    tree.mounted(("/data/sftp/ann/web", "ro,nosuid"))
    host = tree.host()
    point = host.mount_at("/srv/sftp/ann/web")
    assert point is not None and point.options == ("ro", "nosuid")
    assert host.mount_at("/srv/sftp/ann") is None


def test_files(tree: Tree) -> None:
    tree.write("/etc/x", b"a\xffb")
    tree.link("/etc/y", "/etc/x")
    host = tree.host()
    assert (
        host.text("/etc/x") == "a\udcffb" == host.text("/etc/y")
        and host.text("/none") == host.text("/etc/x/below") == ""
    )
    assert (
        host.read("/none") is None and host.listdir("/none") == [] and host.lstat("/none/x") is None
    )
    assert host.same_file("/etc/x", "/etc/y") and not host.same_file("/etc/x", "/none")
    assert host.realpath("/etc/y") == "/etc/x"
    with pytest.raises(SftpJailError, match="cannot read /etc"):
        host.read("/etc")


# -- a file in a user's directory ----------------------------------------------------------------


@pytest.fixture
def home(tree: Tree) -> Tree:
    tree.write("/secret", "root:$6$…\n", 0o600)
    tree.directory("/home/ann/.ssh")
    tree.root.joinpath("home/ann").chmod(0o777)
    tree.root.joinpath("home/ann/.ssh").chmod(0o777)
    return tree


KEYS = "/home/ann/.ssh/authorized_keys"


def test_read_owned(home: Tree) -> None:
    home.write(KEYS, "key\n")
    assert home.host().owned.read(KEYS, ME[0]) == b"key\n"
    with pytest.raises(SftpJailError, match="others can write /home/ann"):
        home.host().owned.read(KEYS, ME[0], "/home/ann")  # sshd would not believe it either
    assert home.host().owned.read("/home/ann/.ssh/none", ME[0]) is None
    assert home.host().owned.read("/home/none/.ssh/none", ME[0]) is None


@pytest.mark.parametrize(
    "how", ["link", "hard link", "directory link", "fifo", "directory", "large", "open", "foreign"]
)
def test_read_owned_is_not_led_astray(
    home: Tree, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = home.root / KEYS.lstrip("/")
    uid = ME[0]
    if how == "link":
        place.symlink_to(home.root / "secret")
    elif how == "hard link":
        os.link(home.root / "secret", place)
    elif how == "directory link":
        place.parent.rmdir()
        home.write("/elsewhere/authorized_keys", "key\n")
        place.parent.symlink_to(home.root / "elsewhere")
    elif how == "fifo":
        os.mkfifo(place)
    elif how == "directory":
        place.mkdir()
    elif how == "large":
        place.write_bytes(b"x" * (1 << 20) + b"x")
    elif how == "open":
        place.write_text("key\n")
        place.chmod(0o622)
    else:
        place.write_text("key\n")
        real = os.fstat

        def foreign(fd: int) -> os.stat_result:
            found = real(fd)
            return os.stat_result((*found[:4], found[4] + 77, *found[5:10]))

        monkeypatch.setattr(os, "fstat", foreign)
    with pytest.raises(SftpJailError) as caught:
        home.host().owned.read(KEYS, uid)
    assert KEYS in caught.value.message and "$6$" not in caught.value.message


@pytest.mark.parametrize("how", ["directory", "link", "link on the way", "file", "none"])
def test_list_owned_is_not_led_astray(home: Tree, how: str) -> None:
    home.write("/elsewhere/units/theirs.service", "x\n")
    place = "/home/ann/units"
    if how == "directory":
        home.write(f"{place}/own.service", "x\n")
    elif how == "link":
        (home.root / place[1:]).symlink_to(home.root / "elsewhere/units")
    elif how == "link on the way":
        (home.root / "home/ann/way").symlink_to(home.root / "elsewhere")
        place = "/home/ann/way/units"
    elif how == "file":
        home.write(place, "x\n")
    assert home.host().owned.names(place) == ["own.service"] * (how == "directory")


# -- records -------------------------------------------------------------------------------------

# What names are made of: letters, and bytes that are no UTF-8 as `surrogateescape` has them.
text = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")
    | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF),
    max_size=20,
)


@given(
    origin=st.builds(
        Origin,
        st.lists(text).map(tuple),
        st.dictionaries(text, text),
        st.dictionaries(text, st.tuples(*[st.integers(0, 65535)] * 3)),
        st.dictionaries(text, text),
        st.booleans(),
        st.integers(-1, 1 << 32),
    )
)
def test_a_record_says_what_it_was_told(origin: Origin) -> None:
    assert parse_origin("x", render_origin(origin)) == origin


@pytest.mark.parametrize(
    "damaged", ["{", "[]", '{"owners": {"/x": [1]}}', '{"made": 3}', '{"was": 7}', "3", "\x00"]
)
def test_a_damaged_record_is_named(tree: Tree, damaged: str) -> None:
    tree.write("/var/lib/sftpjail/accounts/ann", damaged)
    with pytest.raises(SftpJailError, match="/var/lib/sftpjail/accounts/ann is damaged") as caught:
        tree.host().origin("ann")
    assert caught.value.fix


def test_a_record_without_a_uid_is_of_nobody_else(tree: Tree) -> None:
    tree.account("ann", 1001)
    for record, other in (
        ("{}", False),
        ('{"uid": 1001}', False),
        ('{"uid": 1000}', True),
        ('{"uid": 0}', True),
    ):
        tree.write("/var/lib/sftpjail/accounts/ann", record)
        host = tree.host()
        ann = host.accounts["ann"]
        assert is_namesake(ann, host) == other, record
        assert not is_namesake(replace(ann, uid=-1), host)
        if other:
            with pytest.raises(SftpJailError, match="ann has uid 1001") as caught:
                refuse_other(ann, host)
            other_one, same = caught.value.choices
            assert other_one.command == "sftpjail adopt --another-person ann"
            assert same.label.startswith("only if")
            assert same.command == "sftpjail adopt --same-person ann"
        # Another's shell and home are nothing to give back to this one.
        assert leftover("ann", Config(), host).local == (not other)


def test_no_record_is_no_origin(tree: Tree) -> None:
    tree.write("/var/lib/sftpjail/host", json.dumps({"made": ["/srv/sftp"]}))
    host = tree.host()
    assert (
        host.origin("ann") == Origin()
        and host.origin("").made == ("/srv/sftp",)
        and [*host.records.recorded] == []
    )


def test_a_host_that_is_root_asks_nss() -> None:
    host = Host()
    assert host.accounts["root"].uid == 0 and host.account("root") == host.accounts["root"]
    assert host.account("no-such-account-here") is None
    assert host.in_group("root", "root") and "root" in host.groups_of("root")


# -- jails ---------------------------------------------------------------------------------------


def config(*profiles: Profile) -> Config:
    return Config(profiles=profiles)


def test_match_user_precedes_groups_and_the_first_profile_wins(tree: Tree) -> None:
    for n, name in enumerate(("ann", "bob", "cat", "dan"), 1001):
        tree.account(name, n)
    tree.group("one", 501, "ann", "bob", "ghost")
    tree.group("two", 502, "bob", "cat")
    one, two = Profile("one", "one"), Profile("two", "two")
    late = Profile("late", "", match_user=("ann", "ghost2"))
    settings = config(two, one, late)
    found = jailed(settings, tree.host())
    assert {name: account.profile for name, account in found.items()} == {
        "ann": late,
        "bob": two,
        "cat": two,
    }
    assert find("dan", settings, tree.host()).profile is None


@given(data=st.data())
def test_one_by_one_or_all_at_once_the_answer_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    tree = Tree(tmp_path_factory.mktemp("host"))
    people = ["ann", "bob", "cat"]
    groups = ["g1", "g2", "g3"]
    gids = {name: data.draw(st.sampled_from([1000, 501, 502, 503])) for name in people}
    for n, name in enumerate(people, 1001):
        tree.account(name, n, gid=gids[name], make_home=False)
    for n, name in enumerate(groups, 501):
        tree.group(name, n, *data.draw(st.lists(st.sampled_from(people), unique=True)))
    some = st.lists(st.sampled_from(people), max_size=2, unique=True).map(tuple)
    profiles = [
        Profile(f"p{n}", data.draw(st.sampled_from(["", group])), data.draw(some))
        for n, group in enumerate(groups)
    ]
    settings = config(*data.draw(st.permutations(profiles)))
    host = tree.host()
    all_at_once = jailed(settings, host)
    for name in people:
        assert find(name, settings, host) == all_at_once.get(name, host.accounts[name])


def test_find_refuses_names_and_strangers(tree: Tree) -> None:
    with pytest.raises(UsageError):
        find("../x", Config(), tree.host())
    with pytest.raises(SftpJailError, match="no account ann") as caught:
        find("ann", Config(), tree.host())
    assert caught.value.fix == "sftpjail add ann"
    tree.account("bob", 1002)
    with pytest.raises(
        SftpJailError, match="^bob is not jailed: it is in no profile's group$"
    ) as caught:
        find_jailed("bob", Config(), tree.host())
    assert caught.value.fix == "sftpjail adopt bob"
    with pytest.raises(
        SftpJailError, match="root is not jailed: .*, and must not be jailed: it has uid 0"
    ) as caught:
        find_jailed("root", Config(), tree.host())
    assert caught.value.fix == "", "adopt would refuse it"


def test_guard_rails(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SUDO_USER", "DOAS_USER"):
        monkeypatch.delenv(name, raising=False)
    tree.account("ann", 1001)
    tree.account("admin", 1002)
    tree.account("toor", 0, gid=1003)
    tree.account("daemon2", 998)
    tree.account("me", 1004)
    tree.account("wheeler", 1005, gid=10)
    tree.group("wheel", 10)
    tree.write("/proc/self/loginuid", "1004")
    host = tree.host()
    reasons = {
        name: why_not(host.accounts[name], host)
        for name in ("ann", "admin", "toor", "daemon2", "me", "wheeler", "root")
    }
    assert reasons.pop("ann") == ""
    expected = {
        "admin": "group sudo",
        "toor": "uid 0",
        "daemon2": "system account",
        "me": "it is you",
        "wheeler": "group wheel",
        "root": "uid 0",
    }
    for name, words in expected.items():
        assert words in reasons[name]
        with pytest.raises(SftpJailError, match=f"will not jail {name}: .*{words}") as caught:
            guard(host.accounts[name], host)
        assert caught.value.fix == "" and caught.value.choices == (
            ("if you are sure", f"sftpjail adopt --force {name}"),
        )
        guard(replace(host.accounts[name], forced=True), host)


def test_who_asks(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.account("me", 1004)
    for name in ("SUDO_USER", "DOAS_USER"):
        monkeypatch.delenv(name, raising=False)
    tree.write("/proc/self/loginuid", "4294967295")
    assert tree.host().invoker == set()
    tree.write("/proc/self/loginuid", "1004")
    monkeypatch.setenv("SUDO_USER", "someone")
    assert tree.host().invoker == {"me", "someone"}
    monkeypatch.setenv("SUDO_USER", "root")
    assert tree.host().invoker == {"me"}


def test_leftovers(tree: Tree) -> None:
    tree.account("ann", 1001)
    tree.account("left", 1002)
    tree.group("sftponly", 500, "ann")
    for name in ("ann", "left", "gone"):
        tree.write(f"/var/lib/sftpjail/accounts/{name}", json.dumps({"made": [f"/jails/{name}"]}))
    tree.fstab("/srv/a /srv/sftp/bound/a none bind,x-sftpjail.user=bound 0 0")
    for name in ("orphan", "left", "ann", ".orphan.sftpjail-old~"):
        tree.write(f"/etc/ssh/authorized_keys/{name}", "key\n")
    settings = config(Profile("sftponly"), Profile("other", "other", chroot="/jails/%u"))
    found = leftovers(settings, tree.host(), jailed(settings, tree.host()))
    assert set(found) == {"left", "gone", "bound"}  # a key file alone may be an administrator's
    assert {name: account.profile and account.profile.name for name, account in found.items()} == {
        "left": "other", "gone": "other", "bound": "sftponly",
    }  # fmt: skip
    assert found["left"].uid == 1002 and found["gone"].uid == -1 and not found["gone"].local
    assert found["left"] == replace(tree.host().accounts["left"], profile=settings.profiles[1])


def test_a_record_with_a_name_that_is_none_does_not_reach_a_path(tree: Tree) -> None:
    tree.fstab("/srv/a /srv/sftp/x none bind,x-sftpjail.user=../../etc 0 0")
    assert leftovers(Config(), tree.host(), {}) == {}
    with pytest.raises(SftpJailError, match="no account's name"):
        leftover("../../etc", Config(), tree.host())


# -- names, numbers and modes at their edges -----------------------------------------------------


def test_a_name_that_begins_like_another_is_another(tree: Tree, programs: Programs) -> None:
    names = ("ann", "anna", "an", "ann-x", "ann.x")
    for number, name in enumerate(names, 1001):
        tree.account(name, number)
        tree.fstab(f"/src/{name} /srv/sftp/{name}/x none bind,x-sftpjail.user={name} 0 0")
        tree.write(f"/var/lib/sftpjail/accounts/{name}", f'{{"uid": {number}}}')
    tree.group("sftp", 501, "anna")
    tree.group("sftponly", 502, "ann")
    tree.group("sftponly2", 503, "an")
    settings = config(Profile("only"), Profile("first", "sftp"), Profile("two", "sftponly2"))
    host = tree.host()
    for name in names:
        assert [bind.source for bind in host.binds(name)] == [f"/src/{name}"]
        assert host.in_group(name, "sftponly") == (name == "ann")
    found = {name: account.profile for name, account in jailed(settings, host).items()}
    assert found == dict(zip(("ann", "anna", "an"), settings.profiles, strict=True))
    for name in names:
        assert find(name, settings, host).profile == found.get(name)
    assert set(leftovers(settings, host, jailed(settings, host))) == {"ann-x", "ann.x"}
    assert host.mount_tables.mount_place_below("/srv/sftp/ann") == "/srv/sftp/ann/x"
    assert host.mount_tables.mount_place_below("/srv/sftp/a") == ""
    assert host.mount_tables.behind("ann", "/srv/sftp/ann/xy") == "/srv/sftp/ann/xy"


@pytest.mark.parametrize(
    ("uid", "system"),
    [(0, True), (1, True), (999, True), (1000, False), (60000, False), (60001, True)],
)
def test_uid_min_and_uid_max_are_no_system_accounts(tree: Tree, uid: int, system: bool) -> None:
    tree.account("eve", uid, gid=4000)
    host = tree.host()
    assert host.is_system(host.accounts["eve"]) == system
    assert not host.is_system(replace(host.accounts["eve"], local=False))
    (tree.root / "etc/login.defs").unlink()
    assert tree.host().is_system(host.accounts["eve"]) == system, "as by default"


def test_the_last_number_is_no_id(tree: Tree) -> None:
    for name, uid in (("last", 2**32 - 2), ("none", 2**32 - 1), ("more", 2**32)):
        tree.account(name, uid, gid=4000, make_home=False)
    assert {"last", "none", "more"} & set(tree.host().accounts) == {"last"}


@pytest.mark.parametrize("bit", [1 << number for number in range(12)], ids=oct)
def test_who_else_may_write_is_asked_bit_by_bit(tree: Tree, bit: int) -> None:
    loose = bit in (0o020, 0o002)
    tree.write("/jail/in/file", "x\n", 0o600 | bit)
    tree.directory("/jail", 0o700 | bit)
    host = tree.host()
    assert bool(host.flaw("/jail")) == loose
    assert host.files.loose_parent("/jail/in/file") == ("/jail" if loose else "")
    assert host.files.loose_parent("/jail/in/file", {"/jail"}) == ""
    assert host.trusted_path("/jail/in/file") == ("" if loose else "/jail/in/file")
    if loose:
        with pytest.raises(SftpJailError, match="others can write /jail/in/file"):
            host.owned.read("/jail/in/file", ME[0])
    else:
        assert host.owned.read("/jail/in/file", ME[0]) == b"x\n"
    (tree.root / "jail/in/file").chmod(0o600)
    if loose:
        with pytest.raises(SftpJailError, match="others can write /jail$"):
            host.owned.read("/jail/in/file", ME[0], "/jail")
    else:
        assert host.owned.read("/jail/in/file", ME[0], "/jail") == b"x\n"


@pytest.mark.parametrize("uid", [0, 1, 1001, 65534])
def test_a_jail_is_roots_and_a_path_also_ones_own(tree: Tree, uid: int) -> None:
    tree.directory("/jail/in", 0o755)
    tree.owners["/jail"] = (uid, uid)
    host = tree.host()
    words = "" if uid == 0 else f"belongs to uid {uid} and not to root"
    assert host.flaw("/jail") == words
    assert host.trusted_path("/jail/in", 1001) == ("/jail/in" if uid in (0, 1001) else "")
    assert host.trusted_path("/jail/in") == ("" if uid else "/jail/in")
    tree.write("/jail/file", "x")
    assert tree.host().flaw("/jail/file") == "is not a directory"


@pytest.mark.parametrize("size", [0, 9, 10, 11])
def test_a_file_may_have_as_many_bytes_as_are_allowed(tree: Tree, size: int) -> None:
    tree.write("/home/file", b"x" * size)
    if size > 10:
        with pytest.raises(SftpJailError, match="has more than 10 bytes"):
            tree.host().owned.read("/home/file", ME[0], limit=10)
    else:
        assert tree.host().owned.read("/home/file", ME[0], limit=10) == b"x" * size


@pytest.mark.parametrize("who", ["owner", "group", "member", "other"])
@pytest.mark.parametrize("what", ["r", "w", "x"])
def test_whose_bits_count(tree: Tree, who: str, what: str) -> None:
    bit = {"r": 4, "w": 2, "x": 1}[what]
    tree.account("ann", 1001)
    tree.group("team", 70, *(["ann"] if who == "member" else []))
    owner = {"owner": (1001, 0), "group": (0, 1001), "member": (0, 70), "other": (0, 71)}[who]
    shift = {"owner": 6, "group": 3, "member": 3, "other": 0}[who]
    for mode, may in ((bit << shift, True), (0o777 & ~(bit << shift), False)):
        tree.directory("/place", 0o755)
        tree.owners["/place"] = owner
        host = tree.host()
        (tree.root / "place").chmod(mode)
        assert host.may(host.accounts["ann"], "/place", what) == may
    (tree.root / "place").chmod(0o755)
    host.files.unwritable = {"/place"}
    (tree.root / "place").chmod(0o777)
    assert host.may(host.accounts["ann"], "/place", what) == (what != "w")


@pytest.mark.parametrize(
    ("numbers", "full"),
    [
        ((10, 1, 10, 1), False),
        ((10, 0, 10, 1), True),
        ((10, 1, 10, 0), True),
        ((0, 0, 0, 0), False),
        ((0, 0, 10, 0), True),
        ((1, 0, 0, 0), True),
    ],
)
def test_full_is_no_block_or_no_inode_for_users(
    monkeypatch: pytest.MonkeyPatch, numbers: tuple[int, ...], full: bool
) -> None:
    found = SimpleNamespace(
        **dict(zip(("f_blocks", "f_bavail", "f_files", "f_favail"), numbers, strict=True))
    )
    monkeypatch.setattr(Files, "_statvfs", lambda self, path: found)
    assert Host().files.full("/x") == full


def test_names_that_are_being_written_are_no_accounts(tree: Tree) -> None:
    for name in ("ann", ".ann.sftpjail-old~", ".bob.sftpjail-new~"):
        tree.write(f"/var/lib/sftpjail/accounts/{name}", "{}")
        tree.write(f"/etc/sftpjail/mounts/{name}", "/a /srv/sftp/ann/a none bind 0 0\n")
        tree.write(f"/var/spool/cron/crontabs/{name}", "")
    host = tree.host()
    assert (
        [*host.records.recorded]
        == [*host.records.known]
        == [*host.mount_tables.bind_users]
        == [*host.jobs.crontabs]
        == ["ann"]
    )


@pytest.mark.parametrize("primary", [False, True])
@pytest.mark.parametrize("group", ["sudo", "wheel", "admin", "sudoers", "adm"])
def test_administrators_are_in_one_of_three_groups(tree: Tree, group: str, primary: bool) -> None:
    tree.group_lines = ["root:x:0:"]
    tree.account("eve", 1001, gid=70 if primary else 1001)
    tree.group(group, 70, *([] if primary else ["eve"]))
    host = tree.host()
    reason = why_not(host.accounts["eve"], host)
    named = f"it is in the group {group}; an administrator would be locked out"
    assert reason == (named if group in ("sudo", "wheel", "admin") else "")


@pytest.mark.parametrize("variable", ["SUDO_USER", "DOAS_USER", "loginuid", ""])
def test_who_runs_us_is_an_administrator(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("SUDO_USER", "DOAS_USER"):
        monkeypatch.delenv(name, raising=False)
    tree.account("ann", 1001)
    tree.account("anna", 10011)
    if variable == "loginuid":
        tree.write("/proc/self/loginuid", "1001\n")
    elif variable:
        monkeypatch.setenv(variable, "ann")
    host = tree.host()
    assert bool(why_not(host.accounts["ann"], host)) == bool(variable)
    assert why_not(host.accounts["anna"], host) == ""
    assert host.invoker == ({"ann"} if variable else set())


# -- accounts that only a name service knows -----------------------------------------------------


class Service:
    """A name service with people of its own beside local files; `lists` says whether it tells them all."""

    def __init__(self, tree: Tree, patch: pytest.MonkeyPatch) -> None:
        self.people = {"ida": (7001, 600), "ivo": (7002, 601), "iris": (7003, 601)}
        self.groups = {"staff": (600, ["ivo"]), "other": (601, [])}
        self.lists = True
        self.also: list[str] = []  # whom groups list, and who are said to be in none
        self.tree = tree
        self.asked: list[str] = []
        for module, name in (("pwd", "getpwnam"), ("pwd", "getpwuid"), ("pwd", "getpwall")):
            patch.setattr(f"sftpjail.host.accounts.{module}.{name}", getattr(self, name))
        patch.setattr("sftpjail.host.accounts.grp.getgrnam", self.getgrnam)
        patch.setattr("sftpjail.host.accounts.grp.getgrgid", self.getgrgid)
        patch.setattr("sftpjail.host.accounts.os.getgrouplist", self.getgrouplist)

    def entry(self, name: str) -> SimpleNamespace:
        uid, gid = self.people[name]
        return SimpleNamespace(
            pw_name=name, pw_uid=uid, pw_gid=gid, pw_dir=f"/home/{name}", pw_shell="/bin/sh"
        )

    def getpwnam(self, name: str) -> SimpleNamespace:
        self.asked.append(name)
        return self.entry(name)

    def getpwuid(self, uid: int) -> SimpleNamespace:
        return next(
            self.entry(n) for n in [*self.people, "nobody-else"] if self.people[n][0] == uid
        )

    def getpwall(self) -> list[SimpleNamespace]:
        local = SimpleNamespace(pw_name="ann", pw_gid=600)
        return [local, *(self.entry(name) for name in self.people if self.lists)]

    def getgrnam(self, name: str) -> SimpleNamespace:
        self.asked.append(name)
        return SimpleNamespace(gr_gid=self.groups[name][0], gr_mem=self.groups[name][1])

    def getgrgid(self, gid: int) -> SimpleNamespace:
        return SimpleNamespace(gr_name={g: n for n, (g, _) in self.groups.items()}[gid])

    def getent(self, argv: Sequence[str], _: object) -> Answer:
        assert argv[:-1] == ["getent", "-s", "group:sss", "group"]
        found = [
            f"{name}:*:{gid}:{','.join([*members, *self.also])}\n"
            for name, (gid, members) in self.groups.items()
            if str(gid) == argv[-1]
        ]
        return Answer(2 * (not found), "".join(found), "")

    def getgrouplist(self, name: str, gid: int) -> list[int]:
        return [gid, *(g for g, members in self.groups.values() if name in members), 9999]

    def host(self) -> Host:
        """A host that asks it, and reads the tree's files."""
        played = self.tree.host()
        files = Files()
        vars(files).update(text=played.text, listdir=played.listdir)
        return Host(files)


@pytest.fixture
def service(tree: Tree, monkeypatch: pytest.MonkeyPatch, programs: Programs) -> Service:
    tree.account("ann", 1001, gid=600)
    tree.write("/etc/nsswitch.conf", "passwd: files sss\ngroup: files sss\n")
    service = Service(tree, monkeypatch)
    programs.answer_by("getent", service.getent)
    return service


def test_a_directory_is_asked_by_name(service: Service) -> None:
    host = service.host()
    assert host.account("ida") == Account("ida", 7001, 600, "/home/ida", "/bin/sh", local=False)
    assert host.account("zoe") is None and host.account("a\0b") is None
    assert (host.people.uid_of("ida"), host.people.uid_of("ann"), host.people.uid_of("zoe")) == (
        7001,
        1001,
        None,
    )
    assert (host.people.name_of(7001), host.people.name_of(1001), host.people.name_of(9)) == (
        "ida",
        "ann",
        None,
    )
    assert host.groups_of("ivo") == ("other", "staff") and host.groups_of("zoe") == ()
    assert host.in_group("ivo", "staff") and not host.in_group("ida", "other")
    service.people["odd"] = (2**32 - 1, 600)
    assert host.account("odd") is None, "that is no uid"


def test_a_local_group_takes_the_name_of_a_services_gid(
    service: Service, tree: Tree, programs: Programs
) -> None:
    """getgrgid(3) asks group(5) first, and never shows the other one."""
    tree.group_lines = ["crew:x:601:", "sftponly:x:700:"]
    tree.account("bob", 1002)
    people = service.host().people
    assert people.known_as("other") == "crew" and people.known_as("staff") == "staff"
    assert people.known_as("nobody") == "nobody" and people.known_as("crew") == "crew"
    service.groups["eng"], service.also = (700, ["ann", "ida"]), ["bob"]
    assert [(one.name, one.members) for one in people.known_by("sftponly")] == [("eng", ("ann",))]
    assert people.known_by("other") == [], "the local one has its name"
    assert people.in_group("ann", "sftponly") and not people.in_group("bob", "sftponly")
    assert people.group_members("sftponly") == ("ann",)
    assert people.unseen_members("sftponly") == ["ida"]
    assert len([argv for argv in programs.asked if argv[-1] == "700"]) == 1


def test_a_gid_has_the_name_of_its_first_group(tree: Tree) -> None:
    """getgrgid(3), by which sshd knows groups: whoever lists the account, and for its primary one."""
    tree.group_lines = ["staff:x:600:", "second:x:600:ann", "third:x:700:ann", "fourth:x:700:bob"]
    tree.account("ann", 1001, gid=900)
    tree.account("bob", 1002, gid=600)
    people = tree.host().people
    assert set(people.groups_of("ann")) - {"ann"} == {"staff", "third"}
    assert set(people.groups_of("bob", thorough=False)) - {"bob"} == {"staff", "third"}


def test_nobody_is_asked_about_names_of_files_alone(service: Service, tree: Tree) -> None:
    """The C library reads a file from its beginning for each name: N names would cost N² lines."""
    service.people |= {"half": (1009, 600)}
    tree.write("/etc/nsswitch.conf", "passwd: files\ngroup: files # alone\n")
    tree.group("here", 700, "ann")
    tree.people.append("half:x:1009:600")
    host = service.host()
    assert [host.account(name) for name in ("ida", "zoe")] == [None, None]
    assert host.group("staff") is None and host.group("here") == Group("here", 700, ("ann",))
    assert service.asked == []
    assert host.account("half") is not None and service.asked == ["half"], (
        "we do not understand its line"
    )


def test_a_second_name_is_no_account(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """winbind answers to ALICE and CORP/alice for alice, of whom sshd's and PAM's lists know one."""
    monkeypatch.setattr(
        "sftpjail.host.accounts.pwd.getpwnam", lambda name: service.entry(name.lower())
    )
    monkeypatch.setattr("sftpjail.host.accounts.People.is_silent", lambda *_: False)
    people = service.host().people
    assert people.account("IDA") is None and people.account("ida") is not None
    assert (people.own_name("IDA"), people.own_name("ida")) == ("ida", "")
    assert (people.own_name("ann"), people.own_name("ZOE")) == ("", "")
    with pytest.raises(SftpJailError, match="IDA is a second name of ida") as error:
        find("IDA", Config(), service.host())
    assert error.value.advice == "name it as the directory service does: ida"
    with pytest.raises(SftpJailError, match="there is no account ZOE"):
        find("ZOE", Config(), service.host())


def test_members_that_get_no_jail_are_named_unseen(service: Service) -> None:
    """Since nobody with such a name can have been here. Who comes by a name that is taken has a jail then."""
    names = ["jürgen", "o'neil", "ivo", "JÜRGEN"]
    service.people |= {name: (7010 + at, 601) for at, name in enumerate(names[:2])}
    service.groups["staff"] = (600, names)
    assert list(untaken(config(Profile("p", "staff")), service.host())) == ["jürgen", "o'neil"]


def test_a_directory_that_has_nobody_left_may_be_down(
    service: Service, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """winbind and SSSD deny everybody where they have lost both server and cache."""
    monkeypatch.setattr("sftpjail.host.accounts.People.is_silent", lambda *_: False)
    tree.write("/etc/sftpjail/directory", "ida\nivo\n")
    people = service.host().people
    assert people.denied == () and people.is_gone("zoe")
    del service.people["ida"]
    people = service.host().people
    assert people.denied == () and people.is_gone("ida"), "ivo tells that it answers"
    del service.people["ivo"]
    people = service.host().people
    assert people.denied == ("ida", "ivo") and not people.is_gone("ida")
    assert not people.is_gone("zoe") and not people.is_gone("ann")
    tree.write("/etc/nsswitch.conf", "passwd: files\n")
    assert service.host().people.denied == ()


def test_of_a_directorys_group_only_who_was_here_counts(service: Service, tree: Tree) -> None:
    host = service.host()
    assert host.group_members("staff") == ("ann",) and host.group_members("none") is None
    assert host.people.unseen_members("staff") == ["ivo", "ida"]
    tree.write("/var/lib/sftpjail/accounts/ivo", "{}")
    host = service.host()
    assert host.group_members("staff") == ("ivo", "ann")
    assert (
        host.people.unseen_members("staff") == ["ida"] and host.people.unseen_members("none") == []
    )
    service.lists = False
    assert service.host().people.unseen_members("other") is None, "it does not tell"
    assert service.host().people.unseen_members("staff") == []
    tree.group("other", 601)
    assert service.host().people.unseen_members("other") == [], "a local group has no others"
    tree.write("/etc/nsswitch.conf", "passwd: files systemd\n")
    assert service.host().people.unseen_members("staff") == []


def test_a_local_group_has_members_of_every_source(service: Service, tree: Tree) -> None:
    tree.group("staff", 600, "bob", "ann")
    service.groups["staff"] = (600, ["ivo", "bob"])
    group = service.host().group("staff")
    assert group is not None and group.members == ("bob", "ann", "ivo")
    assert service.host().group_members("staff") == ("bob", "ann", "ivo")


@pytest.mark.parametrize("name", ["-x", ".x", "a b", "a,b", "a*", "ä", "@x", "a" * 257])
def test_a_strange_name_in_a_jails_group_is_no_jail_of_ours(tree: Tree, name: str) -> None:
    tree.account("ann", 1001)
    tree.account(name, 1002, make_home=False, home="/home/x")
    tree.group("sftponly", 500, "ann", name)
    tree.account("a" * 256, 1003, gid=500, make_home=False, home="/home/y")
    host = tree.host()
    assert name in host.accounts
    assert list(jailed(Config(), host)) == ["ann", "a" * 256]
    settings = config(Profile("p", "", match_user=(name, "ann")))
    assert list(jailed(settings, host)) == ["ann"]


@pytest.mark.parametrize(
    "record",
    [
        '{"owners": {"/home/left": [1002, 1002, 448]}}',
        '{"made": ["/home/left"]}',
        '{"made": ["/home/left/other"]}',
    ],
)
def test_remains_speak_of_the_profile_they_are_of(tree: Tree, record: str) -> None:
    tree.account("left", 1002)
    tree.write("/var/lib/sftpjail/accounts/left", record)
    settings = config(Profile("sftponly"), Profile("homes", "homes", chroot="%h"))
    found = leftover("left", settings, tree.host()).profile
    assert found == settings.profiles["other" not in record]


def test_who_lives_in_a_directory_goes_by_components(tree: Tree) -> None:
    homes = ("/home/a", "/home/a-b", "/home/a/c", "/home/a.d", "/home/a0", "/home", "/home/a")
    tree.people = [
        f"{name}:x:{n}:{n}::{home}:"
        for n, (name, home) in enumerate(zip("abcdefg", homes, strict=True), 2000)
    ]
    host = tree.host()
    assert host.people.accounts_with_home_around("/home/a") == (["f"], ["a", "g", "c"])
    assert host.people.accounts_with_home_around("/home/a/c") == (["f", "a", "g"], ["c"])
    assert host.people.accounts_with_home_around("/home/a/none") == (["f", "a", "g"], [])
