"""Hooks in and out of a text: wan2gp_svi.install.patches."""

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from wan2gp_svi.install.patches import (
    MARKER,
    PatchError,
    hooked,
    parse_patch,
    present,
    read_series,
    unhooked,
)

BOM = b"\xef\xbb\xbf"
HEADER = "Description: what it is for\n and more of it\nAuthor: somebody\nForwarded: not-needed\n\n"
FILES = "diff --git a/models/x.py b/models/x.py\n--- a/models/x.py\n+++ b/models/x.py\n"


def patch(*hunks):
    return HEADER + FILES + "".join(hunks)


def hunk(*lines, at=100):
    added = sum(line.startswith("+") for line in lines)
    context = sum(line.startswith(" ") for line in lines)
    removed = sum(line.startswith("-") for line in lines)
    old, new = context + removed, context + added
    return f"@@ -{at},{old} +{at},{new} @@ def f():\n" + "".join(f"{line}\n" for line in lines)


AFTER = hunk("     a = 1", f"+    b = hook(a)  {MARKER}")
BEFORE = hunk(f"+    hook()  {MARKER}", "     a = 1")


def put(source, *hunks):
    return hooked(source, parse_patch(patch(*hunks)))


def test_reads_path_and_hunks():
    read = parse_patch(patch(AFTER, BEFORE))
    assert read.path == "models/x.py"
    assert [one.before for one in read.hunks] == [False, True]
    assert {one.anchor for one in read.hunks} == {"a = 1"}


def test_reads_a_patch_with_windows_line_endings_counts_left_out_and_a_git_signature():
    text = patch("@@ -7 +7,2 @@\n", "     a = 1\n", f"+    b  {MARKER}\n", "-- \n2.39.1\n\n")
    assert parse_patch(text.replace("\n", "\r\n")) == parse_patch(text)


def test_a_patch_without_git_line_is_read_too():
    assert parse_patch(HEADER + FILES.split("\n", 1)[1] + AFTER).path == "models/x.py"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nothing at all\n", "one file"),
        (patch(AFTER) + FILES + AFTER, "one file"),
        (patch(), "no hunk"),
        (patch(hunk("     a = 1", "     b = 2", f"+    c  {MARKER}")), "one context line"),
        (patch(hunk(f"+    c  {MARKER}")), "one context line"),
        (patch(hunk("     ", f"+    c  {MARKER}")), "one context line"),
        (patch(hunk("-    x = 1", "     a = 1", f"+    c  {MARKER}")), "removes"),
        (patch(hunk("     a = 1", "+    c")), MARKER),
        (patch(hunk("     a = 1", f"+    c  {MARKER}", "+    d")), MARKER),
        (patch(hunk(f"+    c  {MARKER}", "     a = 1", f"+    c  {MARKER}")),
         "all before or all after"),
        (patch(hunk("     a = 1", *[f"+    c  {MARKER}"] * 4)), "1 to 3"),
        (patch(hunk("     a = 1")), "1 to 3"),
        (patch(hunk("     a = 1", f"+\tc  {MARKER}")), "tabs"),
        (patch("@@ -1,1 +1,3 @@\n     a = 1\n", f"+    c  {MARKER}\n"),
         "neither added nor context"),
        (patch("@@ -1,1 +1,2 @@\n     a = 1"), "shorter"),
        (patch(AFTER, f"+    and more  {MARKER}\n"), "is in no hunk"),
        (patch(AFTER).replace("b/models/x.py", "b/../x.py"), "inside WanGP"),
        (patch(AFTER).replace("b/models/x.py", "/etc/x.py"), "inside WanGP"),
        (patch(AFTER).replace("b/models/x.py", "C:\\x.py"), "inside WanGP"),
    ],
)
def test_a_malformed_patch_is_an_error_that_says_what(text, complaint):
    with pytest.raises(PatchError, match=complaint):
        parse_patch(text)


def test_a_hook_takes_the_indentation_that_the_anchor_has_in_the_file():
    deeper = hunk("     a = 1", f"+        b  {MARKER}")
    assert put(b"\t\ta = 1\n", AFTER) == b"\t\ta = 1\n\t\tb = hook(a)  # wan2gp_svi\n"
    assert put(b"  a = 1\n", deeper) == b"  a = 1\n      b  # wan2gp_svi\n"


def test_a_hook_can_be_indented_less_than_its_anchor():
    less = hunk(f"+    b  {MARKER}", "         a = 1")
    assert put(b"      a = 1\n", less) == b"  b  # wan2gp_svi\n      a = 1\n"
    with pytest.raises(PatchError, match="too little"):
        put(b"a = 1\n", less)


def test_hooks_before_and_after_one_anchor():
    assert put(b"a = 1\n", AFTER, BEFORE, AFTER).split(b"\n") == [
        b"hook()  # wan2gp_svi",
        b"a = 1",
        b"b = hook(a)  # wan2gp_svi",
        b"b = hook(a)  # wan2gp_svi",
        b"",
    ]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_hooks_take_the_line_ending_of_their_anchor(ending):
    assert put(b"x" + ending + b"a = 1" + ending, BEFORE) == ending.join(
        [b"x", b"hook()  # wan2gp_svi", b"a = 1", b""]
    )


def test_byte_order_mark_stays_at_the_front():
    result = put(BOM + b"a = 1\n", BEFORE)
    assert result == BOM + b"hook()  # wan2gp_svi\na = 1\n"
    assert unhooked(result) == BOM + b"a = 1\n"


@pytest.mark.parametrize("source", [b"a = 1", b"x\r\na = 1", BOM + b"a = 1"])
def test_a_missing_last_newline_stays_missing(source):
    result = put(source, BEFORE, AFTER)
    assert not result.endswith((b"\n", b"\r"))
    assert unhooked(result) == source


def test_an_anchor_that_is_not_there_once_is_refused_with_file_line_and_count():
    for source, count in ((b"", 0), (b"b = 1\n", 0), (b"a = 1\n  a = 1\n", 2),
                          (b"if x: a = 1\n", 0)):
        with pytest.raises(PatchError,
                           match=f"models/x.py: the line 'a = 1' was found {count} times"):
            put(source, AFTER)


def test_bytes_that_are_no_text_are_left_alone():
    source = b"# \xff\xfe\x00 caf\xe9\x0c\xe2\x80\xa8 x\na = 1\n"
    assert unhooked(put(source, AFTER)) == source


def test_present_counts_hooks_that_are_whole():
    two = hunk("     a = 1", f"+    b  {MARKER}", f"+    c  {MARKER}")
    one = hunk("     z = 1", f"+    d  {MARKER}")
    read = parse_patch(patch(two, one))
    source = b"a = 1\nz = 1\n"
    assert present(source, read) == 0
    assert present(hooked(source, read), read) == 2
    assert present(hooked(source, read).replace(b"c  # wan2gp_svi\n", b""), read) == 1


HEAD = "@@ -7,1 +7,2 @@ before the statement with model.make in f or g\n"
CALL = f"{HEAD}+    x = hook()  {MARKER}\n     y = model.make(\n"
ELSEWHERE = f"@@ -7,1 +7,2 @@\n+    x = hook()  {MARKER}\n     y = other(model.make,\n"
SOURCE = b"def g():\n    while 1:\n        y = CALL\n            1)\n"


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("call", [b"model.make(", b"other(model.make,", b"third(by=model.make, x=",
                                  b"z = model.make("])
def test_a_statement_is_found_by_what_it_refers_to(call, ending):
    source = SOURCE.replace(b"CALL", call).replace(b"\n", ending)
    result = put(source, CALL, ELSEWHERE)
    assert result == source.replace(b"        y",
                                    b"        x = hook()  # wan2gp_svi" + ending + b"        y")
    assert unhooked(result) == source and put(result, CALL, ELSEWHERE) == result
    assert put(BOM + source, CALL, ELSEWHERE) == BOM + result


def test_a_statement_is_looked_for_in_the_first_function_that_is_there_and_must_be_the_only_one():
    twice = b"def g():\n    y = model.make(1)\n\ndef f():\n    y = model.make(2)\n"
    assert put(twice,
               CALL).endswith(b"def f():\n    x = hook()  # wan2gp_svi\n    y = model.make(2)\n")
    with pytest.raises(PatchError,
                       match=r"2 statements refer to model.make in f \(line 5 and line 6\)"):
        put(twice + b"    print(model.make)\n", CALL)
    with pytest.raises(PatchError, match=r"no statement refers to model.make in f, "):
        put(twice.replace(b"make(2)", b"made(2)"), CALL)
    with pytest.raises(PatchError, match="there is no function f or g"):
        put(b"y = model.make(\n    1)\n", CALL)


def test_where_python_cannot_read_the_file_the_anchors_count():
    broken = b"def g(:\n    y = model.make(\n"
    assert put(broken, CALL,
               ELSEWHERE) == b"def g(:\n    x = hook()  # wan2gp_svi\n    y = model.make(\n"
    other = broken.replace(b"model.make(", b"other(model.make,")
    assert put(other, CALL, ELSEWHERE) == other.replace(b"    y",
                                                        b"    x = hook()  # wan2gp_svi\n    y")
    twice = "'y = model.make\\(' was found 0 times and the line .* 0 times, not once"
    with pytest.raises(PatchError, match=twice):
        put(b"def g(:\n", CALL, ELSEWHERE)


def test_hunks_that_add_the_same_lines_at_other_anchors_are_one_hook_and_one_of_them_must_fit():
    one, other = AFTER, AFTER.replace("a = 1", "z = 1")
    read = parse_patch(patch(one, BEFORE, other))
    assert len(read.hunks) == 2 and [each.anchor for each in read.hunks[0].others] == ["z = 1"]
    assert put(b"a = 1\n", one, other) == b"a = 1\nb = hook(a)  # wan2gp_svi\n"
    assert put(b"z = 1\n", one, other) == b"z = 1\nb = hook(a)  # wan2gp_svi\n"
    assert present(put(b"z = 1\n", one, other), parse_patch(patch(one, other))) == 1
    for source in (b"a = 1\nz = 1\n", b"x = 1\n", b"a = 1\na = 1\n", b"a = 1\nz = 1\nz = 1\n"):
        with pytest.raises(PatchError, match="not once"):
            put(source, one, other)


@pytest.mark.parametrize("head", ["before the statement with a.b",
                                  "after the statement with a.b in f",
                                  "before the statement with a b in f",
                                  "before the statement with a.b in f, g"])
def test_a_head_that_names_a_statement_wrongly_is_an_error(head):
    with pytest.raises(PatchError, match="its head is not of the form"):
        parse_patch(patch(CALL.replace(HEAD, f"@@ -7,1 +7,2 @@ {head}\n")))
    with pytest.raises(PatchError, match="its head says before, and its lines come after"):
        parse_patch(patch(f"{HEAD}     y = 1\n+    x  {MARKER}\n"))
    with pytest.raises(PatchError, match="two heads name a statement"):
        parse_patch(patch(CALL, CALL.replace("y = model.make(", "y = 2")))


def test_the_series_gives_the_order(tmp_path):
    (tmp_path / "series").write_text("# comment\n\nb.patch # why\na.patch\n", encoding="utf-8")
    (tmp_path / "a.patch").write_text(patch(AFTER), encoding="utf-8")
    (tmp_path / "b.patch").write_text(patch(AFTER).replace("models/x.py", "y.py"), encoding="utf-8")
    assert [one.path for one in read_series(tmp_path)] == ["y.py", "models/x.py"]
    (tmp_path / "b.patch").write_text("broken", encoding="utf-8")
    with pytest.raises(PatchError, match="b.patch"):
        read_series(tmp_path)
    (tmp_path / "b.patch").write_text(patch(AFTER), encoding="utf-8")
    with pytest.raises(PatchError, match="another patch"):
        read_series(tmp_path)
    (tmp_path / "b.patch").unlink()
    with pytest.raises(PatchError, match="cannot be read"):
        read_series(tmp_path)


filler = st.binary(max_size=12).filter(
    lambda line: b"wan2gp" not in line and line.strip(b" \t\r\n\x0b\x0c") != b"a = 1"
)
sources = st.builds(
    lambda bom, above, indent, below, end, last: (
        bom + end.join([*above, indent + b"a = 1", *below]) + (end if last else b"")
    ),
    st.sampled_from([b"", BOM]),
    st.lists(filler, max_size=4),
    st.sampled_from([b"", b"    ", b"\t"]),
    st.lists(filler, max_size=4),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
)


@given(sources, st.lists(st.sampled_from([AFTER, BEFORE]), min_size=1, max_size=3))
@example(b"a = 1", [BEFORE, AFTER])
@example(BOM + b"a = 1\r\n", [BEFORE])
@example(b"x\r\ra = 1", [AFTER])
def test_taking_out_gives_back_every_byte_and_putting_in_twice_changes_nothing(source, hunks):
    texts = [line.strip() for line in source.removeprefix(BOM).splitlines()]
    assume(texts.count(b"a = 1") == 1)
    once = put(source, *hunks)
    assert once != source
    assert unhooked(once) == source
    assert put(once, *hunks) == once


@given(st.binary().filter(lambda source: b"wan2gp" not in source))
@example(BOM)
@example(b"x\r")
def test_a_file_without_hooks_is_not_touched(source):
    assert unhooked(source) == source
