"""The lines of an account are put back to the byte, whatever useradd or userdel did to them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpjail import SftpJailError
from sftpjail.system import account_lines

BEFORE = {
    "passwd": "root:x:0:0::/root:/bin/sh\nann:x:1001:1001::/home/ann:/bin/sh\nanna:x:5:5::/:/bin/sh\n",
    "shadow": "root:*:1::::::\nann:$y$hash:19000:0:99999:7::20000:\nanna:!:1::::::\n",
    "group": "root:x:0:\nusers:x:100:anna,ann,bob\nann:x:1001:\nsudo:x:27:anna\n",
    "gshadow": "root:*::\nusers:!:ann:anna,ann,bob\nann:!::\nsudo:*:anna:anna\n",
    "subuid": "ann:100000:65536\nanna:165536:65536\nann:300000:10\n",
}


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(account_lines, "ETC", str(tmp_path))
    monkeypatch.setattr(account_lines, "passwd_locked", lambda: contextlib.nullcontext(True))
    fill(tmp_path, BEFORE)
    return tmp_path


def fill(etc: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (etc / name).write_text(text)


def read(etc: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in etc.iterdir()}


def without(text: str, name: str) -> str:
    """As userdel(8) leaves a file."""
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith(f"{name}:")]
    members = [line.replace(f",{name},", ",").replace(f":{name}:", "::") for line in lines]
    return "".join(members)


def remembered(name: str) -> account_lines.Lines:
    """As the journal has it: through JSON."""
    lines: account_lines.Lines = json.loads(json.dumps(account_lines.read_lines(name)))
    return lines


def test_a_deleted_account_is_back_to_the_byte(etc: Path) -> None:
    (etc / "shadow").chmod(0o640)
    lines = remembered("ann")
    fill(etc, {name: without(text, "ann") for name, text in BEFORE.items()})
    assert "anna,bob" in (etc / "group").read_text()
    account_lines.put_back("ann", lines)
    assert read(etc) == BEFORE and (etc / "shadow").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("done", range(len(BEFORE) + 1))
def test_so_it_is_when_userdel_was_killed(etc: Path, done: int) -> None:
    lines = remembered("ann")
    fill(etc, {name: without(text, "ann") for name, text in [*BEFORE.items()][:done]})
    account_lines.put_back("ann", lines)
    assert read(etc) == BEFORE


@pytest.mark.parametrize("done", range(len(BEFORE) + 1))
def test_a_new_account_leaves_no_line(etc: Path, done: int) -> None:
    lines = remembered("eve")
    new = {
        "passwd": BEFORE["passwd"] + "eve:x:1002:1002::/home/eve:/bin/sh\n",
        "shadow": BEFORE["shadow"] + "eve:*:20000::::::\n",
        "group": BEFORE["group"].replace("ann,bob", "ann,bob,eve") + "eve:x:1002:\n",
        "gshadow": BEFORE["gshadow"].replace("ann,bob", "ann,bob,eve") + "eve:!::\n",
        "subuid": BEFORE["subuid"] + "eve:400000:65536\n",
    }
    fill(etc, dict([*new.items()][:done]))
    account_lines.put_back("eve", lines)
    assert read(etc) == BEFORE


def test_what_others_changed_meanwhile_stays(etc: Path) -> None:
    lines = remembered("ann")
    after = {name: without(text, "ann") for name, text in BEFORE.items()}
    after["passwd"] = after["passwd"].replace("root:x", "toor:x") + "new:x:7:7::/:/bin/sh\n"
    after["group"] = after["group"].replace("anna,bob", "bob,carl")
    fill(etc, after)
    account_lines.put_back("ann", lines)
    assert (etc / "passwd").read_text().splitlines()[-1].startswith("ann:"), "root's line is gone"
    assert "users:x:100:bob,carl,ann\n" in (etc / "group").read_text()
    assert "new:x:7:7" in (etc / "passwd").read_text()


@pytest.mark.parametrize(("locked", "message"), [(False, "another program has locked")])
def test_nothing_is_changed_without_the_lock(
    etc: Path, monkeypatch: pytest.MonkeyPatch, locked: bool, message: str
) -> None:
    lines = remembered("ann")
    fill(etc, {name: without(text, "ann") for name, text in BEFORE.items()})
    before = read(etc)
    monkeypatch.setattr(account_lines, "passwd_locked", lambda: contextlib.nullcontext(locked))
    with pytest.raises(SftpJailError, match=message):
        account_lines.put_back("ann", lines)
    assert read(etc) == before


@pytest.mark.parametrize("what", ["fields", "lines", "passwords"])
def test_files_are_read_once_they_are_locked(
    etc: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """What another program has written while we waited for it stays."""
    lines = remembered("ann")

    @contextlib.contextmanager
    def waiting() -> Iterator[bool]:
        with (etc / "shadow").open("a") as file:
            file.write("new:!:2::::::\n")
        yield True

    monkeypatch.setattr(account_lines, "passwd_locked", waiting)
    if what == "fields":
        account_lines.set_shadow({"ann": {4: "99"}})
    elif what == "lines":
        (etc / "shadow").write_text("root:*:1::::::\n")
        account_lines.put_back("ann", lines)
    else:
        given = {"ann": account_lines.digest("$y$hash")}
        account_lines.put_passwords_back({"ann": ("$y$old", "1")}, given)
    text = (etc / "shadow").read_text()
    assert text != BEFORE["shadow"] + "new:!:2::::::\n" and "new:!:2" in text


def test_who_was_made_since_is_another(etc: Path) -> None:
    lines = remembered("ann")
    assert not account_lines.is_another("ann", lines)
    fill(etc, {"passwd": without(BEFORE["passwd"], "ann")})
    assert not account_lines.is_another("ann", lines), "userdel was killed"
    fill(etc, {"passwd": BEFORE["passwd"].replace("ann:x:1001", "ann:x:1009")})
    assert account_lines.is_another("ann", lines)
    fill(etc, {"passwd": BEFORE["passwd"]})
    fill(etc, {"shadow": BEFORE["shadow"].replace("$y$hash", "$y$new")})
    assert account_lines.is_another("ann", lines)


def test_a_line_is_synced_before_it_has_its_name(
    etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    real = account_lines.files.write_staged

    def staged(path: str, *arguments: object, **more: object) -> None:
        order.append(Path(path).name)
        real(path, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(account_lines.files, "write_staged", staged)
    monkeypatch.setattr(account_lines.files, "sync_dirs", lambda paths: order.append(*paths))
    lines = remembered("ann")
    fill(etc, {name: without(text, "ann") for name, text in BEFORE.items()})
    account_lines.put_back("ann", lines)
    assert order[-2:] == ["passwd", str(etc)], "whoever is back has hash and groups by then"
    order.clear()
    account_lines.put_back("eve", {"passwd": {"own": [], "listed": {}}})
    fill(etc, {"passwd": BEFORE["passwd"] + "eve:x:9:9::/:/bin/sh\n", "shadow": "eve:*:::::::\n"})
    order.clear()
    account_lines.put_back("eve", {name: {"own": [], "listed": {}} for name in BEFORE})
    assert order == ["passwd", "shadow", str(etc)]


NAMES = st.sampled_from(["ann", "anna", "an", "bob", "root"])


@st.composite
def groups(draw: st.DrawFn) -> str:
    lines = []
    for number, name in enumerate(draw(st.permutations(["a", "b", "ann", "c"]))):
        members = draw(st.lists(NAMES, unique=True))
        lines.append(f"{name}:x:{number}:{','.join(members)}")
    return "\n".join(lines) + draw(st.sampled_from(["\n", "", "\n\n"]))


@contextlib.contextmanager
def placed(directory: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(account_lines, "ETC", str(directory))
        patch.setattr(account_lines, "passwd_locked", lambda: contextlib.nullcontext(True))
        yield


@given(before=groups(), name=NAMES)
def test_any_group_file_is_given_back(
    tmp_path_factory: pytest.TempPathFactory, before: str, name: str
) -> None:
    directory = tmp_path_factory.mktemp("etc")
    with placed(directory):
        fill(directory, {"group": before})
        lines = remembered(name)
        account_lines.put_back(name, {"group": {"own": [], "listed": {}}})
        now = (directory / "group").read_text()
        assert not any(
            line.startswith(f"{name}:") or name in line.split(":")[-1].split(",")
            for line in now.splitlines()
        )
        account_lines.put_back(name, lines)
        assert (directory / "group").read_text() == before


def test_several_lines_of_one_name_keep_their_order(etc: Path) -> None:
    fill(etc, {"subuid": "ann:100000:65536\nann:300000:10\nann:400000:10\nbob:500000:10\n"})
    before = account_lines.read_lines("ann")
    was = read(etc)
    fill(etc, {"subuid": "bob:500000:10\n"})
    account_lines.put_back("ann", before)
    assert read(etc) == was


def test_a_line_that_was_cut_short_has_no_place_for_a_member(etc: Path) -> None:
    before = account_lines.read_lines("ann")
    fill(etc, {"group": "root:x:0:\nusers:x\nann:x:1001:\nsudo:x:27:anna\n"})
    account_lines.put_back("ann", before)
    assert "users:x\n" in read(etc)["group"]


# -- a group ---------------------------------------------------------------------------------------


def remembered_group(name: str) -> account_lines.Lines:
    """As the journal has it: through JSON."""
    lines: account_lines.Lines = json.loads(json.dumps(account_lines.read_group(name)))
    return lines


def without_group(text: str, name: str) -> str:
    """As groupdel(8) leaves a file."""
    kept = (line for line in text.splitlines(keepends=True) if not line.startswith(f"{name}:"))
    return "".join(kept)


@pytest.mark.parametrize("gone", [("group", "gshadow"), ("group",), ("gshadow",), ()])
@pytest.mark.parametrize("name", ["users", "ann"])  # the second is an account's name too
def test_a_deleted_group_is_back_in_its_place(etc: Path, name: str, gone: tuple[str, ...]) -> None:
    lines = remembered_group(name)
    fill(etc, {file: without_group(BEFORE[file], name) for file in gone})
    assert account_lines.put_group_back(name, lines) == ""
    assert read(etc) == BEFORE
    assert account_lines.put_group_back(name, lines) == "" and read(etc) == BEFORE


def test_a_group_below_a_blank_line_is_back_there(etc: Path) -> None:
    fill(etc, {"group": "root:x:0:\n\nusers:x:100:\n\nann:x:1001:\n\n"})
    before = read(etc)
    for name in ("users", "ann"):
        lines = remembered_group(name)
        fill(etc, {file: without_group(before[file], name) for file in ("group", "gshadow")})
        assert account_lines.put_group_back(name, lines) == ""
        assert read(etc) == before


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("users:x:7:", "there is another group users by now"),
        ("web:x:100:", "the gid 100 of the group users belongs to web by now"),
    ],
)
def test_a_group_comes_back_only_to_what_is_free(etc: Path, line: str, why: str) -> None:
    lines = remembered_group("users")
    fill(etc, {file: without_group(BEFORE[file], "users") for file in ("group", "gshadow")})
    with (etc / "group").open("a") as handle:
        handle.write(line + "\n")
    before = read(etc)
    assert account_lines.put_group_back("users", lines) == why and read(etc) == before


# -- an account that was deleted, and is to come back ----------------------------------------------


def test_what_is_remembered_of_a_deleted_account_has_no_hash(etc: Path) -> None:
    (etc / "gshadow").write_text("users:$6$group:ann:anna\nann:!::\n")
    text = json.dumps(account_lines.without_hashes(account_lines.read_lines("ann")))
    assert "$" not in text and "ann:!:19000:0:99999:7::20000:" in text
    assert "ann:x:1001:1001::/home/ann:/bin/sh" in text


@pytest.mark.parametrize("password", ["*", "!", "!*", "!!"])
def test_an_account_without_a_password_is_as_it_was(etc: Path, password: str) -> None:
    (etc / "shadow").write_text(f"ann:{password}:19000::::::\n")
    assert f"ann:{password}:19000" in json.dumps(
        account_lines.without_hashes(account_lines.read_lines("ann"))
    )


@pytest.mark.parametrize(
    ("file", "line", "why"),
    [
        ("passwd", "ann:x:7:7::/:/bin/sh", "there is an account ann again"),
        ("passwd", "eve:x:1001:7::/:/bin/sh", "its uid 1001 belongs to eve now"),
        ("group", "ann:x:7:", "there is a group ann again"),
        ("group", "web:x:1001:", "the gid 1001 of its group belongs to web now"),
        ("subuid", "eve:165535:1", "its range in /etc/subuid belongs to eve now"),
        ("subuid", "eve:1:99999", ""),
        ("passwd", "eve:x:1002:1001::/:/bin/sh", ""),
    ],
)
def test_an_account_comes_back_only_to_what_is_free(
    etc: Path, file: str, line: str, why: str
) -> None:
    lines = remembered("ann")
    fill(etc, {name: without(text, "ann") for name, text in BEFORE.items()})
    fill(etc, {"subuid": "anna:165536:65536\n"})
    with (etc / file).open("a") as handle:
        handle.write(line + "\n")
    before = read(etc)
    assert account_lines.in_the_way("ann", lines) == why
    if why:
        with pytest.raises(SftpJailError, match="cannot come back"):
            account_lines.put_back("ann", lines, only_new=True)
        assert read(etc) == before


def test_an_account_whose_group_is_gone_does_not_come_back(etc: Path) -> None:
    fill(etc, {"passwd": "ann:x:1001:100::/home/ann:/bin/sh\n", "group": "users:x:100:\n"})
    lines = remembered("ann")
    fill(etc, {"passwd": "", "group": "", "subuid": ""})
    assert account_lines.in_the_way("ann", lines) == "there is no group with its gid 100 any more"


def test_many_new_accounts_are_taken_away_at_once(etc: Path) -> None:
    lines = account_lines.left_lines(["u1", "u2", "bob"])
    assert set(lines) == {"bob"}  # a group lists a name that is no account's
    found = read(etc)
    for number in (1, 2):
        for file, line in {
            "passwd": f"u{number}:x:{number}:{number}::/files:/bin/sh",
            "shadow": f"u{number}:$6$hash:1::::::",
            "group": f"u{number}:x:{number}:",
            "gshadow": f"u{number}:!::",
        }.items():
            found[file] += f"{line}\n"
    members = {"ann,bob\n": "ann,bob,u1,u2\n"}
    for file in ("group", "gshadow"):
        for old, new in members.items():
            found[file] = found[file].replace(old, new)
    found["passwd"] += "bob:x:9:9::/:/bin/sh\n"
    fill(etc, found)
    made = {"u1": ["1", "1", "/files", "/bin/sh"], "u2": ["2", "2", "/files", "/bin/sh"]}
    made["bob"] = ["9", "9", "/", "/bin/sh"]
    assert account_lines.take_away(made, json.loads(json.dumps(lines))) == []
    assert read(etc) == BEFORE
    assert account_lines.take_away(made, lines) == []
    assert read(etc) == BEFORE


def test_members_are_in_their_former_order_again(etc: Path) -> None:
    fill(etc, {"group": "a:x:1:root,ann\nb:x:2:root,ann\n", "gshadow": "a:!::root,ann\n"})
    joined = json.loads(json.dumps(account_lines.group_lines(["a", "b", "none"])))
    by_now = "b:x:2:ann,bob,root,u1\nu1:x:5:\n"
    fill(etc, {"group": f"a:x:1:ann,root,u1\n{by_now}", "gshadow": "a:!::ann,root,u1\nu1:!::\n"})
    account_lines.take_away({"u1": ["5", "5", "/", "/bin/sh"]}, {}, joined)
    assert (etc / "group").read_text() == "a:x:1:root,ann\nb:x:2:ann,bob,root\n", "b has another"
    assert (etc / "gshadow").read_text() == "a:!::root,ann\n"


@pytest.mark.parametrize("fields", ["3:1::/files:/bin/sh", "1:1::/home/u1:/bin/sh", "cut"])
def test_an_account_of_somebody_else_stays(etc: Path, fields: str) -> None:
    before = account_lines.left_lines(["u1", "bob"])
    for file, line in {
        "passwd": f"u1:x:{fields}\nbob:x:8:8::/:/bin/sh",
        "shadow": "u1:$6$a:::::::",
    }.items():
        with (etc / file).open("a") as handle:
            handle.write(f"{line}\n")
    now = read(etc)
    made = {"u1": ["1", "1", "/files", "/bin/sh"], "bob": ["9", "9", "/", "/bin/sh"]}
    assert account_lines.take_away(made, before) == ["bob", "u1"]
    assert read(etc) == now


def test_new_accounts_are_refused_where_one_is_there_by_now(etc: Path) -> None:
    account_lines.refuse_taken(["u1", "users"])
    with pytest.raises(SftpJailError, match="just made these accounts: ann"):
        account_lines.refuse_taken(["u1", "ann"])


def test_fields_of_shadow_are_set_for_those_that_are_there(etc: Path) -> None:
    (etc / "shadow").write_text("ann:*:1\nanna:!:1::::::\n")
    account_lines.set_shadow({"ann": {4: "99", 7: "20000"}, "nobody": {1: "x"}})
    assert (etc / "shadow").read_text() == "ann:*:1::99:::20000:\nanna:!:1::::::\n"


def test_fields_of_many_are_changed_in_their_first_lines(etc: Path) -> None:
    twice = "ann:x:1:1::/:/bin/other\n"
    fill(etc, {"passwd": BEFORE["passwd"] + twice, ".passwd.sftpjail-new~": ""})

    def change(now: dict[str, dict[str, str]]) -> None:
        assert now.keys() == {"ann", "root"} and now["ann"]["expire"] == "20000"
        now["ann"] |= {"comment": "Ann", "expire": ""}
        now["root"]["shell"] = "/bin/bash"

    account_lines.edit_fields(["ann", "root", "nobody"], change)
    now = read(etc)
    assert (
        now["passwd"]
        == BEFORE["passwd"]
        .replace("1001::/home", "1001:Ann:/home")
        .replace("/root:/bin/sh", "/root:/bin/bash")
        + twice
    )
    assert now["shadow"] == BEFORE["shadow"].replace(":20000:", "::")
    files = etc / "passwd"
    stamp = files.stat().st_ino
    account_lines.edit_fields(["ann"], lambda now: None)
    assert files.stat().st_ino == stamp, "nothing to write"


def test_an_edit_completes_no_broken_line(etc: Path) -> None:
    """Else the broken line would count from then on, here with no password."""
    whole = {"passwd": "bob:x:7:7::/h:/bin/sh\n", "shadow": "bob:*:1:0:9:7:::\n"}
    fill(etc, {"passwd": "bob:x\n" + whole["passwd"], "shadow": "bob::\n" + whole["shadow"]})

    def change(now: dict[str, dict[str, str]]) -> None:
        now["bob"] |= {"shell": "/bin/false", "expire": "1"}

    account_lines.edit_fields(["bob"], change)
    now = read(etc)
    assert now["passwd"] == "bob:x\nbob:x:7:7::/h:/bin/false\n"
    assert now["shadow"] == "bob::\nbob:*:1:0:9:7::1:\n"


def test_a_password_that_somebody_set_since_stays(etc: Path) -> None:
    """A run that was killed after chpasswd is taken back later, and others have gone on."""
    before = {"ann": ["$y$hash", "19000"], "anna": ["!", "1"], "gone": ["$y$old", "1"]}
    given = {name: account_lines.digest(f"$y$new{name}") for name in before}
    set_since = BEFORE["shadow"].replace("$y$hash:19000", "$y$newann:20000")
    fill(etc, {"shadow": set_since.replace("anna:!:1", "anna:$y$theirs:20001")})
    assert account_lines.put_passwords_back(before, given) == ["anna"]
    after = BEFORE["shadow"].replace("anna:!:1", "anna:$y$theirs:20001")
    assert (etc / "shadow").read_text() == after
    fill(etc, BEFORE)
    assert account_lines.put_passwords_back(before, given) == [], "killed before chpasswd"
    assert read(etc) == BEFORE


def many(names: tuple[str, ...]) -> account_lines.Lines:
    lines: account_lines.Lines = json.loads(json.dumps(account_lines.read_all(names)))
    return lines


UIDS = {"ann": 1001, "anna": 5}


def test_many_are_taken_out_at_once_and_back_to_the_byte(etc: Path) -> None:
    lines = many(("ann", "anna"))
    account_lines.take_out(UIDS)
    wanted = {name: without(without(text, "ann"), "anna") for name, text in BEFORE.items()}
    wanted["group"] = "root:x:0:\nusers:x:100:bob\nsudo:x:27:\n"
    wanted["gshadow"] = "root:*::\nusers:!::bob\nsudo:*::\n"
    assert read(etc) == wanted
    assert account_lines.bring_back(lines) == [] and read(etc) == BEFORE
    assert account_lines.bring_back(lines) == [] and read(etc) == BEFORE
    # Cut short at each file: passwd(5) is the first.
    for file in BEFORE:
        fill(etc, BEFORE | {name: wanted[name] for name in ("passwd", file)})
        assert account_lines.bring_back(lines) == [] and read(etc) == BEFORE


def test_what_others_did_meanwhile_stays(etc: Path) -> None:
    lines = many(("ann", "anna"))
    with pytest.raises(SftpJailError, match="removed or changed these accounts: anna, zoe"):
        account_lines.take_out({"ann": 1001, "anna": 6, "zoe": 7})
    assert read(etc) == BEFORE
    account_lines.take_out(UIDS)
    for file, line in (("passwd", "anna:x:9:9::/new:/bin/sh\n"), ("group", "new:x:9:ann,zoe\n")):
        (etc / file).write_text((etc / file).read_text() + line)
    group = (etc / "group").read_text().replace("users:x:100:bob", "users:x:100:zoe")
    (etc / "group").write_text(group)
    assert account_lines.bring_back(lines) == ["anna"]
    assert "ann:x:1001:1001" in (etc / "passwd").read_text()
    assert (etc / "passwd").read_text().count("anna:") == 1
    assert "users:x:100:zoe,ann\n" in (etc / "group").read_text()
    assert "new:x:9:ann,zoe\n" in (etc / "group").read_text()
    assert "anna" not in (etc / "shadow").read_text()


def test_lines_of_many_are_each_ones_own(etc: Path) -> None:
    every = account_lines.of_each(account_lines.read_all(("ann", "anna")))
    assert list(every) == ["ann", "anna"]
    assert every["ann"]["passwd"] == account_lines.read_lines("ann")["passwd"]
    assert every["ann"]["group"]["listed"] == {"users": "users:x:100:ann"}
    assert every["anna"]["gshadow"]["listed"] == {
        "users": "users:!::anna",
        "sudo": "sudo:*:anna:anna",
    }
    account_lines.take_out(UIDS)
    for name, lines in every.items():
        account_lines.put_back(name, lines)
    members = {line: sorted(line) for line in BEFORE["group"].splitlines()}
    assert sorted(map(sorted, (etc / "group").read_text().splitlines())) == sorted(members.values())
    assert read(etc)["passwd"] == BEFORE["passwd"] and read(etc)["shadow"] == BEFORE["shadow"]
