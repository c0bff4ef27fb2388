"""The installer: one-line hooks into WanGP, package and profiles beside them, and all of it out again.

Standard library only; of the package nothing but what needs no more is imported here.

    patches      hooks in and out of the text of a file (pure)
    filter       hooks that survive git: what git runs
    git_clone    the filter in a clone's .git, set up and taken out
    locate       which folder is WanGP, and is it one that the hooks fit
    shipped      what the distribution holds, and where in WanGP it goes
    state        what an installation has written, by hash
    legacy       the earlier distribution, and how it comes out
    plan         from all of this to a list of changes (reads, never writes)
    transaction  carries the changes out, all or none
    loras        where WanGP keeps LoRA files, and how they get there
    programs     git and others, asked
    doctor       what a bug report needs
    cli          arguments and messages
"""

from __future__ import annotations


class Refused(Exception):
    """The installer cannot do what was asked. The message is one line: what, why, and what to do."""
