"""What fpm is told makes the same packages as the distributions' own tools do.

fpm is in no release of Debian, so something that only takes notes stands in for it here.
"""

from __future__ import annotations

import email
import gzip
import re
import shlex
import shutil
import stat
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from builds import PROJECT, Build, copy

NOTES = """#!/bin/sh
[ "$*" != --help ] || exec echo "--fpm-options-file FILE"
printf '%s\\n\\0' "$@" >"$0.notes"
"""
FLAGS = ("--force", "--deb-no-default-config-files")
SCRIPTS = {"postinst": "after-install", "prerm": "before-remove", "postrm": "after-remove"}
CLEAN = "/usr/lib/sftpjail/maintainer clean"


@dataclass(frozen=True)
class Told:
    """What fpm is told, and the directory that it is to pack."""

    options: dict[str, list[str]]
    checkout: Path
    stage: Path

    def one(self, name: str) -> str:
        (value,) = self.options[name]
        return value

    def file(self, name: str) -> str:
        return (self.checkout / self.one(name)).read_text()

    def script(self, name: str) -> list[str]:
        return code(self.file(name))


def tell(kind: str, directory: Path) -> Told:
    checkout, fpm = copy(), directory / "fpm"
    fpm.write_text(NOTES)
    fpm.chmod(0o755)
    subprocess.run(
        ["make", "-C", checkout, kind, f"fpm={fpm}"], check=True, stdout=subprocess.DEVNULL
    )
    words = [
        word.removesuffix("\n") for word in (directory / "fpm.notes").read_text().split("\0")[:-1]
    ]
    assert words[0] == "--fpm-options-file" and words[-1] == "."
    # Every line is split by itself, and knows no comments (Shellwords).
    lines = [shlex.split(line) for line in (checkout / words[1]).read_text().splitlines()]
    options: dict[str, list[str]] = {}
    rest = iter([word for line in lines for word in line] + words[2:-1])
    for name in rest:
        assert name.startswith("--")
        options.setdefault(name, []).append("" if name in FLAGS else next(rest))
    return Told(options, checkout, checkout / options["--chdir"][0])


def code(text: str) -> list[str]:
    """A script without comments and empty lines."""
    return [
        line.strip()
        for line in text.splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]


def files(directory: Path, *python: str) -> Iterator[tuple[str, tuple[str, bytes]]]:
    """Path, mode and content; where Python's modules are, and what Python is called, is the same for all."""
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        content = path.read_bytes() if path.is_file() else b""
        for here in python:
            name = f"{name}/".replace(here, "usr/lib/PYTHON/").rstrip("/")
            content = content.replace(here.rstrip("/").encode(), b"usr/lib/PYTHON")
        yield (
            name,
            (
                stat.filemode(path.stat().st_mode),
                re.sub(rb"/usr/bin/python3?\b", b"/usr/bin/python", content),
            ),
        )


def unlike(ours: dict[str, tuple[str, bytes]], theirs: dict[str, tuple[str, bytes]]) -> set[str]:
    return {path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path)}


def out(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@pytest.mark.debian
def test_the_debian_package(built: Build, tmp_path: Path) -> None:
    told = tell("deb", tmp_path)
    field = dict(email.message_from_string(out("dpkg-deb", "-f", built.deb)).items())
    ours = dict(email.message_from_string(told.file("--deb-custom-control")).items())
    # fpm adds the changelogs later, and compresses none of our own pages.
    assert abs(int(field.pop("Installed-Size")) - int(ours.pop("Installed-Size"))) < 100
    assert field.pop("Version") == f"{told.one('--version')}-{told.one('--iteration')}"
    assert ours.pop("Version") == f"{told.one('--version')}-{told.one('--iteration')}"
    assert ours == field
    named = [told.one(f"--{name}") for name in ("name", "architecture")]
    assert named == [field["Package"], field["Architecture"]]

    run = ["dpkg-deb", "-e", built.deb, tmp_path / "control"]
    subprocess.run(run, check=True)
    control = {path.name: path.read_text() for path in (tmp_path / "control").iterdir()}
    assert control.pop("control") and control.pop("md5sums")
    assert control.pop("conffiles").split() == [
        f"/{path}" for path in told.options["--config-files"]
    ]
    interests = [f"interest-noawait {path}" for path in told.options["--deb-interest-noawait"]]
    assert [
        line for line in control.pop("triggers").splitlines() if not line.startswith("#")
    ] == interests
    # Nothing but these, which our script does for all packages.
    added = re.compile(
        r"(?s)# Automatically added by (dh_\w+).*?# End automatically added section\n"
    )
    helpers = {name for text in control.values() for name in added.findall(text)}
    assert helpers - {"dh_installsystemd"} == {"dh_python3", "dh_installtmpfiles"}
    own = {name: code(added.sub("", text)) for name, text in control.items()}
    assert own.pop("preinst", ["set -e"]) == ["set -e"]
    assert own == {name: told.script(f"--{option}") for name, option in SCRIPTS.items()}

    subprocess.run(["dpkg-deb", "-x", built.deb, tmp_path / "files"], check=True)
    native, staged = dict(files(tmp_path / "files")), dict(files(told.stage))
    doc, info = (
        "usr/share/doc/sftpjail",
        f"usr/lib/python3/dist-packages/sftpjail-{told.one('--version')}.dist-info",
    )
    for log, option in (
        ("changelog", "deb-upstream-changelog"),
        ("changelog.Debian", "deb-changelog"),
    ):
        text = (PROJECT / told.one(f"--{option}")).read_bytes()  # fpm puts it there
        assert gzip.decompress(native.pop(f"{doc}/{log}.gz")[1]) == text
    for page in ("README.md", "SECURITY.md"):
        text = staged.pop(f"{doc}/{page}")[1]
        assert text == gzip.decompress(native.pop(f"{doc}/{page}.gz")[1])
    native.pop(f"{info}/INSTALLER", None)  # dh_python3's, where it is new enough
    assert unlike(native, staged) == set()


@pytest.mark.debian
def test_lintian_finds_nothing_that_debhelper_fills_in(tmp_path: Path) -> None:
    told = tell("deb", tmp_path)
    shutil.copytree(told.stage, tmp_path / "package")
    control = tmp_path / "package/DEBIAN"
    control.mkdir()
    (control / "control").write_text(told.file("--deb-custom-control"))
    for name, option in SCRIPTS.items():
        (control / name).write_text(told.file(f"--{option}"))
        (control / name).chmod(0o755)
    run = ["dpkg-deb", "--root-owner-group", "-b", tmp_path / "package", tmp_path / "it.deb"]
    subprocess.run(run, check=True)
    said = subprocess.run(
        ["lintian", "--allow-root", tmp_path / "it.deb"],
        check=False,
        capture_output=True,
        text=True,
    ).stdout
    # These are in what fpm adds.
    known = r".* (no-md5sums-control-file|no-changelog|non-etc-file|file-in-etc-not-marked).*"
    assert [line for line in said.splitlines() if not re.fullmatch(known, line)] == []


@pytest.mark.arch
def test_the_arch_package(built: Build, tmp_path: Path) -> None:
    told = tell("pacman", tmp_path)
    subprocess.run(["bsdtar", "-xf", built.arch, "-C", tmp_path], check=True)
    info: dict[str, list[str]] = {}
    for line in (tmp_path / ".PKGINFO").read_text().splitlines():
        if not line.startswith("#"):
            info.setdefault(line.partition(" = ")[0], []).append(line.partition(" = ")[2])
    assert info["pkgver"] == [f"{told.one('--version')}-{told.one('--iteration')}"]
    same = {
        "pkgname": "name",
        "arch": "architecture",
        "license": "license",
        "pkgdesc": "description",
    }
    same |= {"depend": "depends", "optdepend": "pacman-optional-depends", "backup": "config-files"}
    same["conflict"] = "conflicts"
    assert {name: info[name] for name in same} == {
        name: told.options[f"--{option}"] for name, option in same.items()
    }

    functions = re.findall(r"(?ms)^(\w+)\(\) \{\n(.*?)^\}", (tmp_path / ".INSTALL").read_text())
    options = {
        "post_install": "after-install",
        "post_upgrade": "after-upgrade",
        "pre_remove": "before-remove",
    }
    assert {name for name, _ in functions} == options.keys()
    for name, body in functions:
        script = told.script(f"--{options[name]}")
        assert [line for line in script if line != CLEAN] == code(body)
    # What the package brings there as files, fpm's makes on the host.
    assert (
        told.script("--before-upgrade") == [CLEAN] and told.script("--before-remove")[-1] == CLEAN
    )
    assert {name for name in told.options if name.startswith(("--after-", "--before-"))} == {
        *(f"--{option}" for option in options.values()),
        "--before-upgrade",
    }

    purelib = sysconfig.get_path("purelib").lstrip("/") + "/"
    native = dict(files(tmp_path, purelib, "usr/lib/sftpjail/"))
    native = {
        name: file
        for name, file in native.items()
        if re.match("etc|usr", name) and "__pycache__" not in name
    }
    del native[str(Path(purelib).parent)]
    staged = dict(files(told.stage, "usr/lib/sftpjail/"))
    assert {f"usr/share/doc/sftpjail/{name}.md" for name in ("README", "SECURITY")} <= native.keys()
    assert unlike(native, staged) == set()


@pytest.mark.debian
@pytest.mark.parametrize("kind", ["deb", "pacman"])
def test_where_there_is_no_fpm(kind: str) -> None:
    for fpm in ("/nonexistent/fpm", "/usr/bin/true"):  # nothing, and another program of that name
        run = ["make", "-C", PROJECT, kind, f"fpm={fpm}"]
        done = subprocess.run(run, check=False, capture_output=True, text=True)
        assert done.returncode and "there is no fpm here" in done.stderr
        assert "Traceback" not in done.stderr and not (PROJECT / "build/fpm").exists()
