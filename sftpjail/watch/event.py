"""What happened in a jail, as hooks and scripts get it: data, and nothing that can be run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Kind = Literal[
    "upload",
    "upload-failed",
    "download",
    "rename",
    "delete",
    "session-start",
    "session-end",
    "gap",
]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class TransferEvent:
    """One thing that happened in a jail, or of which the log has lost track.

    Attributes:
        id: names this happening; the same when it is handed out again, so that a script
            recognises a repetition. Letters, digits and dashes.
        kind: `upload` is a file that was written and closed; `upload-failed` one whose transfer
            ended with an error of the server's, or with its session; `gap` says that the log
            daemon dropped lines or cut one.
        at: seconds since the epoch, as the log has them.
        user: the account; "" where a gap's is unknown.
        uid: its number, or -1.
        address: the client's, or "".
        session: the process id of the session's internal-sftp, or 0.
        path: as the session saw it, absolute; "" for sessions and gaps. It is the client's.
        to: the new name of a rename, as `path`, else "".
        read: bytes that the client got.
        written: bytes that the client wrote.
        reason: why an upload failed, or what was lost in a gap; else "".
        renamed_from: of an upload that the client wrote under a temporary name and then renamed
            into place: that name, else "".
        verified: the log daemon says that a process of the account's uid wrote the line.
    """

    id: str
    kind: Kind
    at: int
    user: str
    uid: int = -1
    address: str = ""
    session: int = 0
    path: str = ""
    to: str = ""
    read: int = 0
    written: int = 0
    reason: str = ""
    renamed_from: str = ""
    verified: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object, for the queue and for scripts."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> TransferEvent:
        """Return the event of such an object.

        Raises:
            TypeError: a field is missing or unknown.
        """
        return cls(**record)
