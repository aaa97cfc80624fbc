"""Stand for the extension winit.stream where it was not built; where it was, Python imports that and not this."""

raise ImportError(
    "winit.stream is compiled code, and this winit was installed without it (WINIT_NO_EXTENSIONS=1); "
    "install it again without, on a machine with a C compiler"
)
