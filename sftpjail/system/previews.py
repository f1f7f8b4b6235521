"""Run a program that reads configuration on a trial one, in a private mount namespace."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence

from ..errors import SftpJailError
from ..paths import RUN_DIR
from .locks import passwd_locked
from .namespaces import WITH_SSHD
from .programs import Answer, run

# Bind the pairs given before `--`, make sshd's directory if no running sshd has, and run the
# program. If somebody replaces a file, as useradd replaces passwd, the kernel removes our mount on
# it (vfs_rename in namei.c). The mounts are counted at the end; exit code 124 means "one is gone".
_PREVIEW = (
    WITH_SSHD
    + """
stage=$1; shift; pairs=0
[ -d /run/sshd ] || { mkdir "$stage/run" && with_sshd "$stage/run"; } || exit 125
while [ "$1" != -- ]; do mount -n --bind "$1" "$2" || exit 125; pairs=$((pairs + 1)); \
shift 2; done; shift
"$@"; code=$?
[ "$(cut -d" " -f4 /proc/self/mountinfo | grep -cF "/${stage##*/}/")" = $pairs ] || exit 124
exit $code
"""
)

# Else nscd(8) would answer from its cache who is in which group, and not the trial file.
_WITHOUT_NSCD = """
[ ! -d /run/nscd ] || mount -n -t tmpfs -o mode=755 sftpjail /run/nscd || exit 125
"""


def preview(
    argv: Sequence[str], files: Mapping[str, bytes | None], timeout: float = 60.0
) -> Answer:
    """Run ARGV in a private mount namespace in which FILES already have the given content.

    The host does not change.

    Args:
        argv: a program that reads configuration, such as `sshd -t`.
        files: content by path; None is a missing file.
        timeout: seconds.

    Raises:
        SftpJailError: there can be no private mount namespace, or the files change all the time, or
            as `run`.
    """
    for _ in range(10):
        with passwd_locked() if "/etc/passwd" in files else contextlib.nullcontext():
            answer = _preview(argv, files, timeout)
        if answer.code != 124:
            return answer
    raise SftpJailError(
        f"{', '.join(files)}: these are replaced again and again, so {argv[0]} could not be run"
    )


def _preview(argv: Sequence[str], files: Mapping[str, bytes | None], timeout: float) -> Answer:
    if not files and os.path.isdir("/run/sshd"):
        return run(argv, timeout=timeout)  # it may see the host as it is
    if not os.path.exists("/proc/self/mountinfo"):
        raise SftpJailError(
            f"cannot try {argv[0]}: /proc is not mounted", "mount -t proc proc /proc"
        )
    os.makedirs(RUN_DIR, mode=0o700, exist_ok=True)
    with _stage() as stage:
        script = _PREVIEW
        if "/etc/group" in files:
            script = _WITHOUT_NSCD + _PREVIEW
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
        command += [stage, *_pairs(stage, files), "--", *argv]
        answer = run(command, timeout=timeout)
    if answer.code == 125 or "unshare failed" in answer.err:
        raise SftpJailError(f"cannot try {argv[0]} in a mount namespace of its own: {answer.words}")
    return answer


@contextlib.contextmanager
def _stage() -> Iterator[str]:
    """Yield a directory for the files of a preview.

    If it cannot be removed, it stays until the next boot, which is no reason to fail. Python's
    TemporaryDirectory would retry for ever if removal is not permitted.
    """
    import tempfile  # late: no hook of useradd makes a preview

    stage = tempfile.mkdtemp(dir=RUN_DIR)
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _pairs(stage: str, files: Mapping[str, bytes | None]) -> list[str]:
    """Write the files into STAGE; return the sources of binds, each followed by its target."""
    pairs, directories = [], dict[str, str]()
    # New and removed files come first: the copy of their directory has the other files too.
    changes = sorted(
        files.items(), key=lambda item: item[1] is not None and os.path.exists(item[0])
    )
    for number, (path, content) in enumerate(changes):
        path = os.path.realpath(path)
        parent = os.path.dirname(path)
        if content is not None and os.path.exists(path) and parent not in directories:
            staged = f"{stage}/{number}"
            shutil.copy2(path, staged)
            pairs += [staged, path]
        elif os.path.isdir(parent):
            # There is no bind for a new or removed file, so bind a copy of its directory.
            if parent not in directories:
                directories[parent] = f"{stage}/{number}.d"
                shutil.copytree(parent, directories[parent], symlinks=True)
                pairs += [directories[parent], parent]
            staged = os.path.join(directories[parent], os.path.basename(path))
        else:
            continue  # nothing reads a directory that does not exist yet
        _put(staged, content)
    return pairs


def _put(path: str, content: bytes | None) -> None:
    if content is None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    with open(path, "wb") as handle:
        handle.write(content)
        if content.startswith(b"#!"):
            os.fchmod(handle.fileno(), 0o755)
