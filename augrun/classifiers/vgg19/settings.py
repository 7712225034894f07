"""Names that VGG19's settings and its training share."""

from __future__ import annotations

FIT = "fit"  # the folder of the checkpoints
