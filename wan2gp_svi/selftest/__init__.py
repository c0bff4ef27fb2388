"""The self-test: SVI checked in the user's own WanGP, with a tiny random model, in two minutes or less.

    command   the command line: finds WanGP and its Python, shows progress, the table and the verdict (no torch)
    copying   the throw-away copy of WanGP in which everything runs, with the user's settings
    plan      which videos are made, and how each of them has to be conditioned and joined
    session   the process that makes them, inside the copy (needs WanGP's packages)
    model     the tiny random model
    watch     what WanGP's transformer, VAE and CLIP are given
    measure   tensors -> numbers
    facts     what was seen, as numbers
    checks    facts -> results
    passed    the last self-test that passed, and whether WanGP has changed since

What has to come out is written here a second time, from the authors' scripts, and never taken from the package that is
being tested: an error there would otherwise be compared with itself.
"""
