"""Names, tokens and paths."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sftpjail.errors import UsageError
from sftpjail.errors.escapes import one_line
from sftpjail.model import Account, Profile, free_text, frozen, in_units, inside, size, valid_name

SPECIAL = set(" \t\r\n\v\f\0,=*?!/\\'\"#%:;|&<>()[]{}`~")


@given(name=st.text() | st.text(st.sampled_from("aZ0_.@-$,/*?! \n#=:%\\\"'~")))
@example(name="alice\n")
@example(name="..")
@example(name="a,b")
@example(name="\u3164")
def test_no_accepted_name_means_anything_special(name: str) -> None:
    try:
        valid_name(name)
    except UsageError as error:
        assert one_line(repr(name)) in error.message
        return
    assert name.isascii() and name.isprintable()
    assert not set(name) & SPECIAL
    assert name[0] not in ".-@+" and name not in (".", "..")
    assert "$" not in name[:-1]
    assert 0 < len(name) <= 256


@pytest.mark.parametrize(
    "name",
    ["alice", "Mixed.Case", "user@example.org", "machine$", "_apt", "a-b", "0day", "x" * 256],
)
def test_accepted_names(name: str) -> None:
    assert valid_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "-rf", "@x", "a/b", "a b", "a,b", "a$b", "x" * 257, "é", "a\n", "*", "!a"],
)
def test_refused_names(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        valid_name(name, "group")
    assert "group name" in caught.value.message
    assert caught.value.exit_code == 2


def account(chroot: str, home: str = "/home/alice", **more: str) -> Account:
    return Account("alice", 1001, 1001, home, profile=Profile("p", chroot=chroot, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("chroot", "jail"),
    [
        ("/srv/sftp/%u", "/srv/sftp/alice"),
        ("%h", "/home/alice"),
        ("/a/%%u/%u", "/a/%u/alice"),
        ("/a/%%%u", "/a/%alice"),
        ("/srv//sftp/./%u/", "/srv/sftp/alice"),
        ("/jails%h", "/jails/home/alice"),
    ],
)
def test_chroot_tokens(chroot: str, jail: str) -> None:
    assert account(chroot).jail == jail


def test_a_token_in_a_value_is_not_expanded_again() -> None:
    assert account("%h", home="/home/%u").jail == "/home/%u"


def test_no_profile_no_jail() -> None:
    assert Account("alice", 1001, 1001, "/home/alice").jail == ""


def test_profile_forms() -> None:
    assert Profile("p", chroot="%h").in_home and Profile("p", chroot="%h").base == ""
    assert not Profile("p").in_home and Profile("p").base == "/srv/sftp"
    assert account("%h").files == "/home/alice/files"
    assert account("/srv/sftp/%u", files="up").files == "/srv/sftp/alice/up"


@pytest.mark.parametrize(
    ("path", "directory", "answer"),
    [
        ("/a/b", "/a", True),
        ("/a", "/a", True),
        ("/a/", "/a", True),
        ("/a", "/a/", True),
        ("/ab", "/a", False),
        ("/a", "/a/b", False),
        ("/a/../b", "/a", False),
        ("/a", "/", True),
        ("/", "/", True),
        ("/", "/a", False),
        ("//a/b", "/a", True),
        ("/a/b", "//a", True),
    ],
)
def test_inside(path: str, directory: str, answer: bool) -> None:
    assert inside(path, directory) is answer


parts = st.lists(st.sampled_from(["a", "b", "ab", ".", "..", ""]), max_size=5)


@given(path=parts, directory=parts, below=parts)
def test_inside_goes_by_components(path: list[str], directory: list[str], below: list[str]) -> None:
    one, other = "/" + "/".join(path), "/" + "/".join(directory)
    if ".." not in below:
        assert inside("/".join([other.rstrip("/"), *below]) or "/", other)
    if inside(one, other) and inside(other, one):
        assert list(_plain(one)) == list(_plain(other))


def _plain(path: str) -> list[str]:
    done: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del done[-1:]
        elif part not in ("", "."):
            done.append(part)
    return done


def test_sizes_are_read_and_shown_in_powers_of_1024() -> None:
    assert [size(text) for text in ("1M", "10G", "2048K", "1048576")] == [
        1 << 20,
        10 << 30,
        2 << 20,
        1 << 20,
    ]
    assert [in_units(count) for count in (0, 512, 1536, 10 << 20, 1 << 40, 5000 << 40)] == [
        "0",
        "512",
        "1.5K",
        "10M",
        "1T",
        "5000T",
    ]
    for text in ("", "10", "1.5G", "10GB", "-1M", "9" * 19 + "T"):
        with pytest.raises(UsageError):
            size(text)


@pytest.mark.parametrize(
    "text", ["a\nb", "a\n", "a\rb", "a\tb", "a\x1b[1m", "a\x85b", "a\u2028b", "a\0"]
)
def test_words_of_an_administrator_are_one_line(text: str) -> None:
    with pytest.raises(UsageError, match="--reason has a line break or another control character"):
        free_text(text, "--reason")


def test_words_of_an_administrator_have_an_end() -> None:
    assert free_text(" é" * 100 + "  ", "--reason") == "é" + " é" * 99
    with pytest.raises(UsageError, match="--reason has 201 characters, and may have 200"):
        free_text("x" * 201, "--reason")


@frozen
class Place:
    path: str
    mode: int = 0o755
    because: str = dataclasses.field(default="", compare=False)
    secret: str = dataclasses.field(default="", repr=False)


@frozen
class Room(Place):
    names: tuple[str, ...] = ()


def test_frozen_does_what_a_frozen_dataclass_does() -> None:
    one = Room("/srv", because="of a test", secret="x", names=("a",))
    same = dataclasses.replace(one, because="of another")
    assert one == same and hash(one) == hash(same) and len({one, same}) == 1
    for changed in ({"path": "/"}, {"mode": 0}, {"secret": "y"}, {"names": ()}):
        other = dataclasses.replace(one, **changed)
        assert one != other and hash(one) != hash(other), changed
    assert Room("/srv") != Place("/srv") and Place("/srv") != ("/srv", 0o755, "", "")
    assert repr(one) == "Room(path='/srv', mode=493, because='of a test', names=('a',))"
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.mode = 0  # type: ignore[misc]


def test_a_plugin_may_derive_a_dataclass_of_its_own() -> None:
    @dataclasses.dataclass(frozen=True)
    class Mine(Room):
        size: int = 0

    assert Mine("/srv", size=1) == Mine("/srv", size=1) != Mine("/srv", size=2)
    assert repr(Mine("/srv", size=1)).endswith("names=(), size=1)")
