"""Which file system a folder is on, and whether the kernel's locks hold between the machines that share it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

#: File systems that several machines may share.
SHARED = (
    *("nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "fuse.glusterfs", "fuse.ceph", "cifs", "smb3"),
    *("smbfs", "afs", "9p", "orangefs", "panfs", "wekafs", "fuse.sshfs", "fuse.s3fs", "fuse.juicefs"),
)

#: Those of them whose flock excludes other machines' processes, unless a mount option keeps it at home.
HOLDING = ("nfs", "nfs4", "lustre", "gpfs", "ceph")

MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True)
class Mount:
    """What is mounted where a folder is.

    Attributes:
        kind: of the file system, as the kernel calls it.
        options: it is mounted with, those of the file system included.
        place: where.
    """

    kind: str
    options: frozenset[str]
    place: Path

    @property
    def shared(self) -> bool:
        """Whether other machines may have it mounted too."""
        return self.kind in SHARED

    @property
    def holds(self) -> bool:
        """Whether flock is known to hold between the machines."""
        return self.kind in HOLDING and not self.locks_locally

    @property
    def locks_locally(self) -> str:
        """The option by which flock holds on this machine alone; empty where there is none."""
        alone = ("nolock", "local_lock=all", "local_lock=flock", "localflock", "noflock", "nobrl")
        return next((option for option in alone if option in self.options), "")


def mounted(path: Path) -> Mount | None:
    """The file system of an existing path; None where the kernel does not tell."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    path = path.resolve()
    found = None
    for line in lines:  # of several at one place the last one is seen
        fields = line.split(" ")
        place = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        rest = fields[fields.index("-") + 1 :]
        if place in (path, *path.parents) and (found is None or len(place.parts) >= len(found.place.parts)):
            options = frozenset([*fields[5].split(","), *rest[2].split(",")])
            found = Mount(rest[0], options, place)
    return found
