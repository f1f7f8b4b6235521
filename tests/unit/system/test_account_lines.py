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
    monkeypatch.setattr(account_lines, "accounts_still", lambda: contextlib.nullcontext(True))
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
    monkeypatch.setattr(account_lines, "accounts_still", lambda: contextlib.nullcontext(locked))
    with pytest.raises(SftpJailError, match=message):
        account_lines.put_back("ann", lines)
    assert read(etc) == before


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
        patch.setattr(account_lines, "accounts_still", lambda: contextlib.nullcontext(True))
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
