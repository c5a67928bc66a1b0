"""Names of tilings, in file names and indices. Nothing is imported: the plan names them too."""


def tiling_name(size: int, mpp: float) -> str:
    """Name of the tiling with tiles of `size` pixels at `mpp` µm per pixel, for instance ``256px_0.5mpp``."""
    return f"{size}px_{mpp:g}mpp"
