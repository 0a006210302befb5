"""Where the commands keep what they have to remember."""

from pathlib import Path


def state_folder(part: str) -> Path:
    """`gpufarm/PART` in the XDG state home, which need not exist yet."""
    import platformdirs

    return Path(platformdirs.user_state_dir("gpufarm")) / part
