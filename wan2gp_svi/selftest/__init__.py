"""The self-test: SVI checked in the user's own WanGP, with a tiny random model, in two minutes.

    command   the command line: finds WanGP and its Python, shows progress and results (no torch)
    copying   the throw-away copy of WanGP, with the user's settings
    plan      the videos, and how they should be conditioned and joined
    session   the process in the copy that makes the videos (needs WanGP's packages)
    model     the tiny random model
    watch     what WanGP's transformer, VAE and CLIP get
    measure   tensors -> numbers
    facts     what was seen, in numbers
    checks    facts -> results
    passed    the last self-test that passed, and whether WanGP changed since

The expected values are written here again, from the authors' scripts. Taken from the package, a
bug there would be compared with itself.
"""
