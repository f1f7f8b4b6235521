"""The file of accounts: three forms that say the same, and where it is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpjail.accounts_file.entry import FIELDS, Entry, MountWanted, mount_text
from sftpjail.accounts_file.formulas import guarded, plain
from sftpjail.accounts_file.reading import FORMATS, AccountsFile, form_of, read
from sftpjail.accounts_file.writing import write
from sftpjail.errors import SftpJailError, UsageError

HASH = "$6$salt$0123456789"
ANN = Entry(
    "ann",
    uid=1001,
    comment='Doe, Ann\'s "one"',
    profile="sftponly",
    password=HASH,
    keys=('from="a,b",restrict ssh-ed25519 AAAA ann\'s', "ssh-ed25519 BBBB #2"),
    mounts=(MountWanted("/srv/a b:c\\", "/web", True), MountWanted("/srv/x", "/x/y")),
    expires="",
    disabled=True,
    reason="=left, on holiday",
    until="2099-12-31",
    quota="1536M",
    retention=(("/a = b, #c's", 30), ("/web", 1)),
)
BOB = Entry(
    "bob",
    comment="",
    password="",
    keys=(),
    mounts=(),
    expires="2099-01-01",
    quota="",
    retention=(),
)


def told(text: str, form: str = "") -> AccountsFile:
    return read(text, form or form_of(text), "FILE")


def first(text: str) -> str:
    """What is wrong with a file, the first of it."""
    try:
        return told(text).faults[0].words("FILE")
    except UsageError as error:
        return error.message


def plainly(entries: tuple[Entry, ...]) -> list[Entry]:
    return [replace(entry, line=0) for entry in entries]


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_written_is_read_again(form: str) -> None:
    text = write([ANN, replace(BOB, uid=1002, disabled=False)], form)
    for variant in (text, "\ufeff" + text, text.replace("\n", "\r\n")):
        assert form_of(variant) == form
        found = told(variant)
        assert plainly(found.entries) == [ANN, replace(BOB, uid=1002, disabled=False)]
        assert found.faults == () and found.has_hashes


@pytest.mark.parametrize("quotes", ["a'''b \"", 'a"""b \'', "''' \"\"\""])
def test_a_form_that_cannot_hold_a_value_says_so(quotes: str) -> None:
    entries = [Entry("ann", keys=(f"ssh-ed25519 AAAA {quotes}",)), Entry("bob", keys=())]
    try:
        assert plainly(told(write(entries, "configobj")).entries) == entries
    except SftpJailError as error:
        assert error.message.startswith("a value of ann has quotes")
        assert error.advice == "give --format json"
    assert plainly(told(write(entries, "json")).entries) == entries


@pytest.mark.parametrize("form", ("configobj", "json"))
def test_a_field_that_does_not_stand_there_is_not_managed(form: str) -> None:
    found = told(write([Entry("ann"), BOB], form))
    assert plainly(found.entries) == [Entry("ann"), BOB] and not found.has_hashes


def test_an_empty_cell_of_uid_profile_or_password_says_nothing() -> None:
    text = "Name, UID ,profile,password,keys,expires\nann,,,,,\nbob,7,web,none,,never\n"
    ann, bob = told(text).entries
    assert plainly((ann,)) == [Entry("ann", keys=(), expires="")]
    assert (bob.uid, bob.profile, bob.password, bob.line) == (7, "web", "", 3)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("ann\nbob\n", ""),
        ("# names,name\nann\n", ""),
        ("name\n", ""),
        ("", ""),
        ('\n# x\n{"accounts": []}', "json"),
        ("\ufeff# x\r\n[ann]\r\n", "configobj"),
        ("uid,name\n", "csv"),
        ('"name","uid"\n', "csv"),
        ("ann,bob\n", ""),
        ("name;uid\n", "csv"),
        ("uid\tname\n", "csv"),
    ],
)
def test_the_form_is_seen_by_the_first_line(text: str, form: str) -> None:
    assert form_of(text) == form


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[ann]\nuid = x\n", "FILE, line 2: uid: x is not a uid"),
        ("[ann]\n[bob]\n\n[ann]\n", "FILE, line 4: Duplicate section name"),
        ("[ann]\nuid = 1\n[bob]\nuid = 1\n", "line 3: uid: 1 is the uid of ann in line 1 already"),
        ("[ann]\ncomment = a, b\n", "line 2: comment: it is a list"),
        ("[ann]\nuidd = 1\n", "line 2: there is no field uidd; did you mean uid?"),
        ("[ann]\n[[keys]]\na = b\n", "line 2: keys is a value and no section"),
        ("[ann\n", "FILE, line 1: "),
        ("[ann]\nexpires = 2027-02-30\n", "line 2: expires: 2027-02-30 is not a date"),
        ("[ann]\nexpires = 1970-01-01\n", "line 2: expires: 1970-01-01 is before 1970-01-02"),
        ("[ann]\nuntil = 1900-01-01\n", "line 2: until: 1900-01-01 is before 1970-01-02"),
        (f"[ann]\ncomment = {'x' * 1001}\n", "line 2: comment: it has 1001 characters"),
        ("[ann]\ndisabled = perhaps\n", "line 2: disabled: perhaps is neither yes nor no"),
        ("[ann]\nkeys = '''\nx\n'''\nmounts = /a\n", "line 5: mounts: /a is not SOURCE:TARGET"),
        ("[ann]\nmounts = /a:/b, /c:/b\n", "line 2: mounts: /b is the place of two mounts"),
        ("[ann]\nmounts = /a:/b, /c://b/\n", "line 2: mounts: /b is the place of two mounts"),
        ('{"accounts": [{"name": "ann", "keys": [null]}]}', "line 1: keys: it is not a text"),
        ('{"accounts": [{"name": "ann", "mounts": [null]}]}', "line 1: mounts: it is not a text"),
        ('{"accounts": [{"name": "ann",\n"comment": "\\ud800"}]}', "line 2: comment: "),
        (
            '{"accounts": [{"name": "ann", "mounts": [{"source": "/\\udcff", "target": "/a"}]}]}',
            'mounts: "/\\udcff" is not UTF-8',
        ),
        ("name;uid\nann;1\n", "line 1: its columns are separated by semicolons; save it with"),
        ("[ann]\nmounts = /a/../b:/b\n", "mounts: /a/../b is not a path"),
        ("[ann]\nmounts = /a:/b:as=\n", "mounts: /a:/b:as= is not SOURCE:TARGET"),
        ("[ann]\nmounts = /a:/b:as=x:y:z\n", "mounts: /a:/b:as=x:y:z is not SOURCE:TARGET"),
        (
            '{"accounts": [{"name": "ann", "mounts": [{"source": "/a", "target": "/b", "as": 1}]}]}',
            "mounts: as of a mount is OWNER or OWNER:GROUP",
        ),
        ("[ann]\nquota = much\n", "line 2: quota: 'much' is not a size, such as 500M or 10G"),
        ("[ann]\nquota = 1K\n", "line 2: quota: 1K: a quota is at least 1M"),
        ("[ann]\nquota = 1M, 2M\n", "line 2: quota: it is a list"),
        ('{"accounts": [{"name": "ann", "quota": true}]}', "line 1: quota: it is not a text"),
        ("[ann]\nretention = /a\n", "line 2: retention: '/a' is not DIRECTORY=AGE"),
        ("[ann]\nretention = a=1d\n", "line 2: retention: 'a=1d' is not DIRECTORY=AGE"),
        ("[ann]\nretention = /a/../b=1d\n", "line 2: retention: '/a/../b=1d' is not"),
        ("[ann]\nretention = /a=0\n", "line 2: retention: '0' is not a number of days"),
        ("[ann]\nretention = /a=never\n", "retention: /a: to keep all files, leave it out"),
        ("[ann]\nretention = /a=1d, /a/=2d\n", "line 2: retention: /a has two ages"),
        (
            '{"accounts": [{"name": "ann", "retention": [{"directory": "/a", "days": "1"}]}]}',
            "retention: retention has a directory and days, which is a number",
        ),
        (
            '{"accounts": [{"name": "ann", "retention": [{"directory": "/a\\u200b", "days": 1}]}]}',
            "has a character that cannot be printed",
        ),
        ("[-x]\n", "line 1: name: '-x' is not a valid account name"),
        ("[ann]\npassword = secret\n", "line 2: password: it is neither a hash"),
        ('{"accounts": [{"name": "ann"},\n{"name": "ann"}]}', "line 2: name: ann stands in line 1"),
        ('{"accounts": [{"name": "ann",\n"uid": -1}]}', "line 2: uid: -1 is not a uid"),
        ('{"accounts": [\n{"name": "ann", "name": "bob"}]}', "line 2: name occurs twice"),
        ('{"accounts": [\n{"nam": 1}]}', "line 2: there is no field nam; did you mean name?"),
        ('{"accounts": [\n7]}', "line 2: an account is an object"),
        ('{"accounts": [\n{}]}', "line 2: name: '' is not a valid account name"),
        ('{"accounts": []} x', "line 1: there is more after its end"),
        ('{"accounts": [{"name": "a", "uid": NaN}]}', "NaN is no number"),
        ('{"users": []}', 'line 1: it is not {"accounts": [...]}'),
        ('{"accounts": ' + 99999 * "[", "an account is an object"),
        ("name,uid\nann\n", "line 2: it has 1 cells, and the header has 2"),
        ('name,uid\nann,1\n"bob\n', "FILE, line 3: unexpected end of data"),
        ("name,uid\n\nann,1\nann,2\n", "line 4: name: ann stands in line 3 already"),
        ("name,uid,uid\n", "line 1: the column uid occurs twice"),
        ("name,shoe\n", "line 1: there is no field shoe"),
    ],
)
def test_what_is_wrong_is_said_with_line_and_field(text: str, says: str) -> None:
    said = first(text)
    assert says in said or (text.endswith("[[") and "nested too deeply" in said), said


def test_one_wrong_account_keeps_no_other_out() -> None:
    found = told("name,uid\nann,1\nbob,x\neve,2\n")
    assert [entry.name for entry in found.entries] == ["ann", "eve"]
    assert [fault.name for fault in found.faults] == ["bob"]


@pytest.mark.parametrize(
    "text",
    [
        "[ann]\npassword = secret\n",
        "[ann]\npassword secret\n",
        f"[ann]\npassword {HASH}\n",
        f"[{HASH}]\n",
        f"[ann]\n{HASH} = x\n",
        f"name,uid,password\nann,{HASH},1\n",
        f"name,uid\n{HASH},1\n",
        f"name,{HASH}\n",
        *(f"name,{key}\nann,{HASH}\n" for key in ("comment", "expires", "disabled", "reason")),
        f"name,mounts\nann,{HASH}\n",
        f"name,mounts\nann,/a:{HASH}\n",
        f'{{"accounts": [{{"name": "ann", "{HASH}": 1}}]}}',
        f'{{"accounts": [{{"name": "ann", "uid": "{HASH}"}}]}}',
        f'{{"accounts": [{{"name": "ann", "mounts": [{{"{HASH}": 1}}]}}]}}',
    ],
)
def test_no_message_has_a_password(text: str) -> None:
    said = first(text)
    assert "secret" not in said and HASH not in said and "0123456789" not in said, said
    assert HASH not in repr(ANN)


def test_null_is_as_if_it_did_not_stand_there() -> None:
    fields = ", ".join(f'"{key}": null' for key in FIELDS[1:])
    found = told(f'{{"accounts": [{{"name": "ann", {fields}}}]}}')
    assert plainly(found.entries) == [Entry("ann")]


def test_a_cell_may_be_as_long_as_export_writes_it() -> None:
    entries = [Entry("ann", keys=tuple(f"ssh-ed25519 {n} {'x' * 1000}" for n in range(200)))]
    assert plainly(told(write(entries, "csv")).entries) == entries


def test_sizes_and_ages_have_one_form() -> None:
    sizes = {"1024M": "1G", "1048576": "1M", "1048577": "1048577", "none": "none"}
    sizes |= {"profile": "", "": "", "1536M": "1536M", "2T": "2T"}
    for text, form in sizes.items():
        assert told(f"name,quota\nann,{text}\n").entries[0].quota == form
    assert told('{"accounts": [{"name": "a", "quota": 2097152}]}').entries[0].quota == "2M"
    ages = told("name,retention\nann,/b/=2w\nbob,\n").entries
    assert [entry.retention for entry in ages] == [(("/b", 14),), ()]
    assert plainly(told(write(ages, "csv")).entries) == plainly(ages)


@given(st.text(st.sampled_from("='@+-\t\rab"), max_size=6))
def test_a_formula_is_text(cell: str) -> None:
    assert plain(guarded(cell)) == cell
    assert not guarded(cell)[:1] or guarded(cell)[0] not in "=+-@\t\r"


def test_a_formula_as_it_was_typed_is_text() -> None:
    assert told("name,comment\nann,=1+1\n").entries[0].comment == "=1+1"


hard = st.text(st.sampled_from("ab /:\\#,'\"\n\u00e9"), min_size=1, max_size=9)


@given(hard, hard, st.booleans(), st.sampled_from(["", "www-data", "Web.1:a-b$"]))
def test_a_mount_is_one_line(source: str, target: str, read_only: bool, owner: str) -> None:
    mount = MountWanted(f"/{source}", f"/{target}", read_only, owner)
    text = mount_text(mount)
    assert "\n" not in text and " " not in text
    found = told(write([Entry("ann", mounts=(mount,))], "csv"))
    assert found.entries[0].mounts == (mount,)
