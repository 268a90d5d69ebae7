"""Telling a network file system from a disk, because SQLite's WAL needs memory shared by all who open the file."""

from __future__ import annotations

import sys
from pathlib import Path

_NETWORK = frozenset((
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "glusterfs",
    "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "smb3", "smbfs", "wekafs",
))  # fmt: skip


def network_type(path: Path, mounts: str = "/proc/self/mounts") -> str | None:
    """The kind of network file system that holds `path`; None for a local one, or where it cannot be told."""
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
    return kind if kind in _NETWORK else None
