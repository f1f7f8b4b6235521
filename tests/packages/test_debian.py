"""The Debian package as its maintainer sees it: lintian, piuparts, autopkgtest, the same bytes twice."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from builds import Build, copy, make
from hosts import Debian
from machine import Machine

MAN = (
    "man8/sftpjail.8",
    "man5/sftpjail.conf.5",
    "man5/sftpjail-accounts.5",
    "man7/sftpjail-plugins.7",
    "man7/sftpjail-cookbook.7",
)


def run(*argv: str | Path, **options: object) -> str:
    done = subprocess.run(  # type: ignore[call-overload]
        argv, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    assert done.returncode == 0, f"{argv}\n{done.stdout[-40000:]}"
    return str(done.stdout)


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine of this very root."""
    with Machine() as machine:
        yield machine


def hashes(build: Build) -> dict[str, str]:
    files = [
        path
        for path in build.directory.glob("*/*")
        if path.suffix in (".deb", ".xz", ".dsc", ".zst")
    ]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.arch
@pytest.mark.debian
def test_two_builds_of_one_commit_are_the_same(built: Build, target: str) -> None:
    """On another day, in another place, by somebody with other habits."""
    env = {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "HOME": "/nonexistent", "USER": "somebody"}
    os.umask(0o022)
    first, place = hashes(built), built.directory.parent
    elsewhere = copy(umask=0o027)
    assert elsewhere != place
    if (
        target == "native-pacman"
    ):  # which holds where it was built, for whoever would build it again (BUILDINFO(5))
        aside = place.rename(place.with_name("aside"))
        again = hashes(make(elsewhere.rename(place), target, env))
        shutil.rmtree(place)
        aside.rename(place)
    else:
        again = hashes(make(elsewhere, target, env))
    assert again == first
    assert len(first) == (1 if target == "native-pacman" else 4)


@pytest.mark.debian
def test_lintian_has_nothing_to_say(built: Build) -> None:
    print(run("lintian", "--allow-root", "--fail-on", "error,warning", "--info", built.changes))


@pytest.mark.debian
def test_files(built: Build) -> None:
    listed = run("dpkg-deb", "--contents", built.deb).splitlines()
    paths = [line.split(maxsplit=5)[5].removeprefix(".") for line in listed]
    assert not [path for path in paths if path.startswith("/usr/local") or "__pycache__" in path]
    assert not [line for line in listed if line.split()[1] != "root/root"]
    wanted = {
        *(
            "/usr/bin/sftpjail",
            "/usr/lib/sftpjail/maintainer",
            "/usr/lib/sftpjail/entry/useradd-post",
        ),
        *("/usr/lib/sftpjail/hooks/", "/usr/lib/sftpjail/plugins.d/", "/etc/sftpjail/hooks/"),
        *(
            "/etc/sftpjail/sftpjail.conf",
            "/etc/logrotate.d/sftpjail",
            "/usr/lib/sysusers.d/sftpjail.conf",
        ),
        *(
            "/usr/lib/tmpfiles.d/sftpjail.conf",
            "/usr/lib/python3/dist-packages/sftpjail/cli/main.py",
        ),
        *(f"/usr/lib/systemd/system/sftpjail.{kind}" for kind in ("path", "timer", "service")),
        *(f"/usr/share/man/{page}.gz" for page in MAN),
        "/usr/share/bash-completion/completions/sftpjail",
        *(
            "/usr/share/zsh/vendor-completions/_sftpjail",
            "/usr/share/fish/vendor_completions.d/sftpjail.fish",
        ),
        *("/usr/share/doc/sftpjail/examples/quota", "/usr/share/doc/sftpjail/changelog.Debian.gz"),
        *(f"/usr/share/doc/sftpjail/{name}.md.gz" for name in ("README", "SECURITY")),
    }
    assert wanted <= set(paths)
    launcher = run(
        "sh", "-c", 'dpkg-deb --fsys-tarfile "$1" | tar -xO ./usr/bin/sftpjail', "sh", built.deb
    )
    assert launcher.startswith("#!/usr/bin/python3 -IS\n"), (
        "nobody's environment chooses what root runs"
    )


@pytest.mark.debian
def test_the_manual_is_well_formed(built: Build, tmp_path: Path) -> None:
    run("dpkg-deb", "-x", built.deb, tmp_path)
    for page in MAN:
        path = tmp_path / "usr/share/man" / f"{page}.gz"
        env = {**os.environ, "MANROFFSEQ": "", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"}
        said = subprocess.run(
            ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", path],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
        )
        assert said.stderr == ""
        assert f'"{Path(page).name.rpartition(".")[0]} - ' in run("lexgrog", path)


@pytest.mark.debian
@pytest.mark.parametrize(
    ("shell", "script", "words"),
    [
        (
            "bash",
            "source usr/share/bash-completion/completions/sftpjail; COMP_WORDS=(sftpjail key rem); COMP_CWORD=2\n"
            "COMP_LINE='sftpjail key rem'; COMP_POINT=16; $(complete -p sftpjail | sed 's/.*-F //; s/ .*//')\n"
            'echo "${COMPREPLY[@]}"',
            ["remove"],
        ),
        (
            "zsh",
            "zsh -n usr/share/zsh/vendor-completions/_sftpjail && head -1 usr/share/zsh/vendor-completions/_sftpjail",
            ["#compdef sftpjail"],
        ),
        (
            "fish",
            'source usr/share/fish/vendor_completions.d/sftpjail.fish; complete -C "sftpjail key rem"',
            ["remove"],
        ),
        (
            "fish",
            'source usr/share/fish/vendor_completions.d/sftpjail.fish; complete -C "sftpjail --js"',
            ["--json"],
        ),
        (
            "fish",
            'source usr/share/fish/vendor_completions.d/sftpjail.fish; complete -C "sftpjail add a --wi"',
            ["--with"],
        ),
    ],
)
def test_completions(
    built: Build, tmp_path: Path, shell: str, script: str, words: list[str]
) -> None:
    run("dpkg-deb", "-x", built.deb, tmp_path)
    said = run(shell, "-c", script, cwd=tmp_path)
    assert [line.split("\t")[0] for line in said.splitlines()] == words


@pytest.mark.debian
def test_autopkgtest(built: Build, machine: Machine) -> None:
    path = Debian(machine).put(built.deb)
    shutil.copytree(
        built.directory.parent,
        f"/proc/{machine.pid}/root/run/source",
        ignore=shutil.ignore_patterns("build"),
    )
    machine.run("cp", "-r", "/run/source/packaging/debian", "/run/source/debian")
    done = machine.run(
        "autopkgtest",
        "--no-built-binaries",
        path,
        "/run/source/",
        "--",
        "null",
        timeout=300,
        check=False,
    )
    assert done.code == 0 and "login                PASS" in done.out + done.err, done


@pytest.mark.debian
def test_piuparts(built: Build, previous: Build, tmp_path: Path) -> None:
    """Installed and purged, and upgraded from the previous version, in the smallest system of the release."""
    release = run("sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME").strip()
    # The release as far as the clean root has it, and the previous version: there is no network.
    repository = tmp_path / "more/opt/release"
    clean = Path(f"/roots/{release}-clean")
    shutil.copytree(
        clean / "var/cache/apt/archives",
        repository,
        ignore=shutil.ignore_patterns("lock", "partial"),
    )
    shutil.copy(previous.deb, repository)
    run("sh", "-c", "dpkg-scanpackages . >Packages", cwd=repository)
    source = tmp_path / "more/etc/apt/sources.list.d/release.list"
    source.parent.mkdir(parents=True)
    source.write_text("deb [trusted=yes] file:/opt/release ./\n")
    base = tmp_path / "base.tar.gz"
    aside = [f"--exclude=./{path}" for path in ("var/cache/apt/archives/*", "var/lib/apt/lists/*")]
    aside.append("--exclude=./etc/apt/sources.list")
    added = ("-C", tmp_path / "more", "./opt", "./etc/apt/sources.list.d/release.list")
    run("tar", "-I", "gzip -1", "-cf", base, *aside, "-C", clean, ".", *added)
    # systemd, which ours would bring along, leaves directories behind when it is purged; so it is
    # there before.
    script = tmp_path / "scripts/post_setup_systemd"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\napt-get -y --no-install-recommends install systemd-sysv\n")
    script.chmod(0o755)
    options = (
        "--basetgz",
        base,
        "--distribution",
        release,
        "--keep-sources-list",
        "--scriptsdir",
        script.parent,
    )
    said = run("piuparts", *options, built.deb, timeout=600)
    assert f"Unpacking sftpjail ({built.version}) over ({previous.version})" in said, said[-4000:]
    for test in ("Installation and purging", "Installation, upgrade and purging"):
        assert f"PASS: {test} test" in said
