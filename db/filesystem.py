"""Telling file systems apart, because not each of them lets memory be shared through a file.

SQLite's WAL needs memory shared by all who open the file; a map that is written to needs room that was reserved.
"""

from __future__ import annotations

import sys
from pathlib import Path

_NETWORK = frozenset((
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "glusterfs",
    "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "smb3", "smbfs", "wekafs",
))  # fmt: skip


# Where what fallocate reserved is there when a map is written to. btrfs, ZFS and overlays write a changed block to
# another place, and XFS does with blocks that a copy of the file shares (`cp` makes such): on a full disk, SIGBUS.
_RESERVING = frozenset(("ext4", "tmpfs"))

MOUNTS = "/proc/self/mounts"


def network_type(path: Path, mounts: str = MOUNTS) -> str | None:
    """The kind of network file system that holds `path`; None for a local one, or where it cannot be told."""
    kind = _type(path, mounts)
    return kind if kind in _NETWORK else None


def reserves_room(path: Path, mounts: str = MOUNTS) -> bool:
    """Whether room that was reserved for a file at `path` is kept for it, so that a map of it is safe to write to."""
    return sys.maxsize > 2**32 and _type(path, mounts) in _RESERVING


def _type(path: Path, mounts: str) -> str | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        table = Path(mounts).read_text(encoding="utf-8", errors="replace")
        target = path.resolve()
    except OSError:
        return None
    best, kind = -1, None
    for line in table.splitlines():
        fields = line.split()
        # Spaces in a mount point are written as octal escapes.
        mount = Path(fields[1].encode().decode("unicode_escape"))
        if target.is_relative_to(mount) and len(mount.parts) >= best:
            best, kind = len(mount.parts), fields[2]
    return kind
