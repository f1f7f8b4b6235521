"""Targets: pure text. What is read and written again is the same."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from target import BETWEEN, Target, one_line, parts, refusing

from sftpjail.accounts_file.atmoz import read_users
from sftpjail.accounts_file.entry import Entry, MountWanted
from sftpjail.accounts_file.reading import FORMATS as FORMS
from sftpjail.accounts_file.reading import form_of, read
from sftpjail.accounts_file.writing import write
from sftpjail.errors import SftpJailError
from sftpjail.errors.escapes import Advice, command, is_shown, remedy, shown
from sftpjail.errors.escapes import one_line as escaped
from sftpjail.formats import (
    acl,
    fstab,
    origin_record,
    quotas,
    retention,
    tagged_lines,
    user_managers,
)
from sftpjail.formats.access_list import access_line, addresses_of
from sftpjail.formats.tagged_lines import Style
from sftpjail.model import networks, number, valid_name
from sftpjail.system import login_step

OURS = "/srv/web /srv/sftp/ann/web none bind,nosuid,x-sftpjail.user=ann 0 0"


def fstab_lines(data: bytes) -> None:
    (text,) = parts(data, 1)
    found = [entry for line in text.split("\n") if (entry := fstab.parse_line(line))]
    for entry in found:
        entry.option("x-sftpjail.user")
        line = refusing(entry.line)
        if line is not None and entry.source and entry.target:
            assert fstab.parse_line(line) == entry, line
    # At a login another program reads the same lines.
    said = login_step.entries(text)
    assert said == [(entry.source, entry.target, entry.options) for entry in found]
    field = refusing(fstab.escape, text)
    if field is not None:
        assert fstab.unescape(field) == text == login_step.unescaped(field)
        assert field.split() == ([field] if field else [])
    for target, point in fstab.parse_mountinfo(text).items():
        assert point.target == target and "\0" not in target


ANN = Entry(
    "ann",
    uid=1001,
    comment="=1+1, 'x'",
    profile="web",
    password="$6$salt$0123456789",
    keys=('from="10.0.0.0/8" ssh-ed25519 AAAA ann', "ssh-ed25519 BBBB"),
    mounts=(MountWanted("/srv/a b:c", "/web", True),),
    expires="2099-12-31",
    disabled=True,
    reason="left",
    until="2099-12-31",
)
BOB = Entry("bob", comment="", password="", keys=(), mounts=(), expires="", disabled=False)


def accounts(data: bytes) -> None:
    """Whatever is understood is written in each form, and read again as the same."""
    (text,) = parts(data, 1)
    for form in dict.fromkeys([form_of(text) or "csv", *FORMS]):
        found = refusing(read, text, form, "FILE")
        if found is None:
            continue
        for fault in found.faults:
            one_line(fault.words("FILE"))
        # Of a cell that is empty nothing is known by then: all have all columns.
        whole = [_whole(entry) for entry in found.entries]
        for other in FORMS:
            written = refusing(write, whole, other)
            if written is not None and whole:
                again = read(written, other, "FILE")
                assert [_whole(entry) for entry in again.entries] == whole, (other, written)
                assert form_of(written) == other and not again.faults


def users_conf(data: bytes) -> None:
    (text,) = parts(data, 1)
    users, faults = read_users(text)
    for fault in faults:
        one_line(fault.words("FILE"))
    for user in users:
        assert valid_name(user.name) == user.name and ":" not in user.password
        assert all(".." not in part.split("/") for part in user.directories)
    assert len(users) + len(faults) <= text.count("\n") + text.count("\r") + 1


def _whole(entry: Entry) -> Entry:
    given = {key: value for key, value in vars(entry).items() if value is not None}
    return replace(BOB, **{"password": None} | given | {"line": 0})


def tagged(data: bytes) -> None:
    about, tag_line, new, text = parts(data, 4)
    style = list(Style)[len(about) % 5]
    tag = "".join(c for c in tag_line if c.isalnum() or c in " ./-").strip()[:80] or "hosts"
    lines = tuple(line for line in new.split("\n") if line and not line.startswith("# "))
    if style is Style.FSTAB:
        user = tagged_lines.fstab_tag(OURS) or ""
        tag, lines = user, (OURS,)
    elif style is Style.USER:
        tag, lines = "ann", (access_line("ann", ("192.0.2.0/24", "2001:db8::1")),)
        assert tagged_lines.user_tag(lines[0]) == tag
    elif style is Style.LINE:
        tag, lines = (lines or ("line",))[0], (lines or ("line",))[:1]
    assert "".join(tagged_lines.split(text)) == text
    there = tagged_lines.tagged(text, style)
    assert tagged_lines.small_keywords(text).lower() == text.lower()
    _put_and_taken(text, tag, lines, style, there)


def access(data: bytes) -> None:
    name, words, text = parts(data, 3)
    addresses_of(text)
    found = refusing(networks, words.split(","))
    if found and tagged_lines.user_tag(f"-:{name}:") == name:
        assert refusing(networks, found) == found, "their usual form is taken again"
        line = access_line(name, found)
        assert addresses_of(line) == found and tagged_lines.user_tag(line) == name


def _put_and_taken(
    text: str, tag: str, lines: tuple[str, ...], style: Style, there: dict[str, tuple[str, ...]]
) -> None:
    put = tagged_lines.edit(text, {tag: lines}, style)
    inside = style is Style.TOP and text.startswith("# BEGIN sftpjail ")
    if lines and not inside:
        assert tagged_lines.edit(put, {tag: lines}, style) == put
        assert tagged_lines.tagged(put, style).get(tag) == lines
    gone = tagged_lines.edit(put, {tag: ()}, style)
    # What is not ours stays, byte for byte; a line of fstab that means the same is taken over.
    taken = (
        "x-sftpjail.user=" in text or OURS.split()[1] in text
        if style is Style.FSTAB
        else f"sftpjail {tag}" in text
    )
    if tag not in there and not taken:
        assert gone == text, (text, put, gone)
    if style in (Style.BLOCK, Style.TOP):
        _others_stay(text, gone, tag)


def _others_stay(text: str, gone: str, tag: str) -> None:
    """Between our own marks nothing of others is lost, and nowhere else."""
    left = gone.split("\n")
    ours = False
    for line in text.split("\n"):
        if line.startswith(f"# BEGIN sftpjail {tag}"):
            ours = True
        if not ours and line != f"# END sftpjail {tag}":
            assert line in left, (line, gone)
        if line == f"# END sftpjail {tag}":
            ours = False


def origin(data: bytes) -> None:
    (text,) = parts(data, 1)
    found = refusing(origin_record.parse_origin, "/var/lib/sftpjail/accounts/ann", text)
    if found is not None:
        again = origin_record.parse_origin("/x", origin_record.render_origin(found))
        assert again == found, (again, found)


def managers(data: bytes) -> None:
    groups, users, text, said = parts(data, 4)
    names = [refusing(valid_name, name) for name in (*groups.split("\n"), *users.split("\n"))]
    cut = groups.count("\n") + 1
    some, others = (list(filter(None, part)) for part in (names[:cut], names[cut:]))
    made = user_managers.render(some, others)
    script = user_managers.script(made)
    assert script.split() == " ".join(user_managers.condition(some, others)).split()
    assert user_managers.loaded(f"{{ argv[]=/bin/sh -c {_seen(script)} ; }}", made, 1000)
    user_managers.loaded(said, text, 1000)
    user_managers.script(text)


def _seen(script: str) -> str:
    """A script as systemctl shows it."""
    return script.replace("$", "$$").replace("%i", "1000")


def escapes(data: bytes) -> None:
    text, fix, label = parts(data, 3)
    line = escaped(text)
    assert escaped(line) == line and is_shown(line)
    most = (1 << 18) + 11 * len(data)  # "\\U0010ffff" is the longest escape
    one_line(shown(text), most)
    assert command(text) in ("", text)
    for choices in ([], [(label, fix)], [(label, fix), (text, label)]):
        for given in (fix, Advice(fix)):
            made = remedy(given, choices, text)
            assert not (made.fix and made.advice)
            for words in (made.fix, made.advice, *(part for pair in made.choices for part in pair)):
                assert is_shown(words)
    error = SftpJailError(text, fix, choices=[(label, fix)], advice=label, why=text)
    one_line(str(error.saying(label)), most)


def names(data: bytes) -> None:
    text, digits = parts(data, 2)
    with contextlib.suppress(SftpJailError):
        assert valid_name(text) == text and not set(text) & set("/ ,:*?!\n\0")
        assert text[0] not in ".-@" and len(text) <= 256
    found = number(digits)
    assert found is None or (digits.isascii() and found == int(digits) < 0xFFFFFFFF)


def sizes(data: bytes) -> None:
    listed, lines = parts(data, 2)
    for group in quotas.quota_groups(listed).values():
        assert group.used >= 0 and group.limit >= 0 and group.number.isascii()
    size = quotas.own_size(lines.split("\n"))
    if size is not None:
        assert quotas.own_size([quotas.quota_line("ann", size, by_profile=False)]) == size
        assert quotas.own_size([quotas.quota_line("ann", size, by_profile=True)]) is None


def ages(data: bytes) -> None:
    (text,) = parts(data, 1)
    for directory, days in retention.ages_of(text.split("\n")).items():
        assert retention.ages_of([retention.setting(directory, days)]) == {directory: days}
        if retention.is_writable(directory):
            line = one_line(retention.line(directory, days))
            assert line.startswith("e ") and line.endswith(f" - - - m:{days}d"), line


def access_of_directories(data: bytes) -> None:
    text, gid = parts(data, 2)
    now = acl.read(text)
    if now is None:
        return
    assert acl.read(acl.written(now)) == now
    after = acl.shared(now, int(gid) if gid.isascii() and gid.isdigit() else 1000)
    assert acl.read(acl.written(after)) == after
    assert acl.shared(after, after.gid) == after  # asked for twice, it stays
    steps = [*acl.stages(now, after)]
    assert steps[0] == now and steps[-1] == after


FORMATS = (
    Target(
        "who has what in a directory",
        ("formats/acl.py",),
        access_of_directories,
        (
            "1000:755::" + BETWEEN + "33",
            "33:2775:AgAAAAEABwD_____AgAHAOgDAAAEAAUA_____xAABwD_____IAAFAP____8:" + BETWEEN + "50",
            "0:700:AgAA:AgAAAAEABwD_____" + BETWEEN,
        ),
        (":", "=", "A", "_", "\u0661", "9999999999", "7777", "AgAAAAgABwAhAAAA"),
    ),
    Target(
        "the sizes of quotas",
        ("formats/quotas.py",),
        sizes,
        (
            "qgroupid rfer excl max_rfer max_excl path\n0/5 16384 16384 none none <toplevel>\n"
            "0/256 1048576 16384 2097152 none home/ann\n"
            + BETWEEN
            + "user ann 5\nuser ann 7 profile",
            "0/256 1 1 none 5 a b \n" + BETWEEN + "user bob x\n\nuser",
        ),
        (" ", "\n", "none", "0/257", "9" * 5000, "\u0661", "-1", "profile", "user ann "),
    ),
    Target(
        "directories that lose their old files",
        ("formats/retention.py",),
        ages,
        (
            "# /web: 30d\ne /srv/web - - - m:30d\n# /a b: 7d",
            "# /x: 5d: 6d\n# /50%: 1d\n# /: 0d\n# /q'\"\\{}: 12w",
        ),
        ("# /", ": ", "d", "\n", "*", "?", "%", " ", "\u2028", "99999", "\u0661d"),
    ),
    Target(
        "fstab, and what a login reads of it",
        ("formats/fstab.py", "system/login_step.py"),
        fstab_lines,
        (
            f"# fstab\nUUID=1 / ext4 errors=remount-ro 0 1\n{OURS}\n",
            "/srv/a\\040b\t/srv/c\\134d none bind,ro 0 0\n\n  LABEL=x /y\\011 ext4 rw\n#x y z a\n",
            "21 1 0:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n30 21 0:1 /x /srv/a\\040b ro - tmpfs x rw\n31\n",
        ),
        ("\\040", "\\000", "\\134", "\\8", " - ", "x-sftpjail.user=", "bind", "#", "\t", "\0", ","),
        ("*.fstab", "unescaped", "entries"),
    ),
    Target(
        "lines of ours among those of others",
        ("formats/tagged_lines.py",),
        tagged,
        (
            BETWEEN.join(
                (
                    "",
                    "hosts",
                    "one\ntwo",
                    "above\n# BEGIN sftpjail hosts\nold\n# END sftpjail hosts\nbelow\n",
                )
            ),
            BETWEEN.join(("1", "match ann", "x", "#!/bin/sh\nexit 0")),
            BETWEEN.join(
                (
                    "11",
                    "",
                    "",
                    f"{OURS}\n/a /srv/sftp/ann/web/b none bind,x-sftpjail.user=ann 0 0\n",
                )
            ),
            BETWEEN.join(("11", "", "", "/srv/web /srv/sftp/ann/web none bind,nosuid 0 0")),
            BETWEEN.join(("111", "", "/bin/x", "/bin/sh\n/bin/x\n/bin/bash")),
            BETWEEN.join(("", "a", "x", "# BEGIN sftpjail b (newline added)\nq\n# END sftpjail b")),
        ),
        (
            "# BEGIN sftpjail hosts\n",
            "# END sftpjail hosts\n",
            " (newline added)",
            "\n",
            BETWEEN,
            "\r\n",
            "x-sftpjail.user=ann",
        ),
    ),
    Target(
        "addresses of accounts",
        ("formats/access_list.py",),
        access,
        (
            f"ann{BETWEEN}192.0.2.7,10.0.0.0/8,2001:db8::/32{BETWEEN}-:ann:ALL EXCEPT 192.0.2.7 ::1",
            f"bob@corp{BETWEEN}::ffff:1.2.3.4,1.2.3.4/0{BETWEEN}-:bob:ALL",
            f"x{BETWEEN}{BETWEEN}",
        ),
        ("ALL EXCEPT ", "-:", ":", "/24", "::", ",", " ", BETWEEN),
    ),
    Target(
        "origin records",
        ("formats/origin_record.py",),
        origin,
        (
            '{"made": ["/srv/sftp/ann"], "was": {"shell": "/bin/sh"}, "owners": {"/home/ann": [1000, 1000, 493]},'
            ' "renamed": {"a": "b"}, "forced": true, "uid": 1000, "kept": ["x"]}',
            '{"closed": {"why": "gone", "by": "apply", "until": "", "expire": "20000"}}',
            '{"closed": {"why": "gone", "expire": null}}',
            '{"closed": []}',
            *(
                '{"made": [5]}',
                '{"made": ["\\u0000"]}',
                '{"owners": {"/x": [4294967296, 0, 0]}}',
                '{"uid": "x"}',
            ),
            "",
        ),
        (
            '"made"',
            '"was"',
            '"owners"',
            '"closed"',
            '"why"',
            "null",
            "[",
            "{",
            "1e999",
            "-1",
            "NaN",
            "\\u0000",
            "\\ud800",
            "9" * 30,
        ),
    ),
    Target(
        "files of accounts",
        tuple(f"accounts_file/{name}.py" for name in ("entry", "formulas", "reading", "writing")),
        accounts,
        tuple(write([ANN, BOB], form) for form in FORMS),
        (
            *("\n[", "]\n", "uid = ", '"""', "'''", ", ", "\ufeff", "\r\n", "=1+1", "'="),
            *('{"accounts": [', '"name": ', "null", "true", "NaN", "1e999", "\\ud800", "\\072"),
            *("never", "none", "/..", ":ro", "\udcff", "\u2028", "\x85", "\u3000"),
        ),
    ),
    Target(
        "users.conf of atmoz/sftp",
        ("accounts_file/atmoz.py",),
        users_conf,
        ("# x\nfoo:123:1001:100\nbar:$1$a$b:e:1002:100:upload,in/box\n\nbaz::\n",),
        (":e:", "::", ",", "..", "/", "\r\n", "\ufeff", "4294967295", "\u0661"),
    ),
    Target(
        "the drop-in of user managers",
        ("formats/user_managers.py",),
        managers,
        (
            BETWEEN.join(("sftponly\nweb", "ann", user_managers.render(["sftponly"], []), "x")),
            BETWEEN.join(
                ("", "", user_managers.render([], ["ann", "bob"]), "argv[]=/bin/sh -c x ;")
            ),
        ),
        ("ExecCondition=+/bin/sh -c '\\\n", "'", "$", "%i", " \\\n"),
    ),
    Target(
        "escapes of other people's words",
        ("errors/escapes.py",),
        escapes,
        (
            BETWEEN.join(("name\n  fix: rm", "mv -n 'a' 'b'", "one")),
            BETWEEN.join(('e\u0301 \u202e \u3164 "q" \\', "ls \x1b[2K", "\u0301\u0301\u0301")),
        ),
        ("\u0301", "\u202e", "\u2028", "\x1b", "\x9b", "\u3164", "\U000e0100", '"', "\\"),
    ),
    Target(
        "names and numbers",
        ("model.py",),
        names,
        (
            BETWEEN.join(("ann", "1000")),
            BETWEEN.join(("-x", "0x10")),
            BETWEEN.join(("a$", "4294967295")),
        ),
        ("$", "@", ".", "-", "\u0661", "\n", "/", "4294967294", "0000000000"),
        ("valid_name", "number"),
    ),
)
