import itertools

from hypothesis import given, strategies as st

from openmodels.output.text_scan import StopStringFilter

ALPHABET = st.text(alphabet="ab\n", max_size=30)
STOPS = st.lists(st.text(alphabet="ab\n", min_size=1, max_size=4), max_size=3)


def play(pieces, stops):
    """Return the pieces given out and the stop string found."""
    holder = StopStringFilter(stops)
    out = []
    for piece in pieces:
        out.append(holder.feed(piece))
        if holder.matched is not None:
            return out, holder.matched
    out.append(holder.flush())
    return out, None


def expected(text, stops):
    """Return the text before the stop string that is complete first, and whether there is one."""
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    return (text[: min(ends)[1]], True) if ends else (text, False)


@given(ALPHABET, STOPS, st.data())
def test_output_is_the_text_before_the_first_stop_however_it_is_split(text, stops, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    edges = [0, *cuts, len(text)]
    out, found = play([text[a:b] for a, b in itertools.pairwise(edges)], stops)
    assert ("".join(out), found is not None) == expected(text, stops)
    assert found == play(list(text), stops)[1]


@given(ALPHABET, STOPS)
def test_nothing_given_out_one_character_at_a_time_holds_a_stop(text, stops):
    out, _ = play(list(text), stops)
    assert not any(stop in "".join(out) for stop in stops)


def test_text_that_cannot_become_a_stop_is_given_out_at_once():
    holder = StopStringFilter(["###"])
    assert [holder.feed("ab"), holder.feed("#"), holder.feed("#c"), holder.feed("##")] == ["ab", "", "##c", ""]
    assert holder.flush() == "##"


def test_after_a_stop_nothing_comes():
    holder = StopStringFilter(["x"])
    assert holder.feed("axb") == "a"
    assert (holder.matched, holder.feed("more"), holder.flush()) == ("x", "", "")


def test_hidden_text_counts_for_a_stop_and_is_never_given_out():
    holder = StopStringFilter(["<eot>", "b<x>c"])
    assert [holder.feed("a"), holder.feed("<eot>", hidden=True)] == ["a", ""]
    assert holder.matched == "<eot>"
    holder = StopStringFilter(["b<x>c"])
    pieces = [holder.feed("ab"), holder.feed("<x>", hidden=True), holder.feed("cd")]
    assert (pieces, holder.matched) == (["a", "", ""], "b<x>c")


@given(st.lists(st.tuples(st.text(alphabet="ab<", max_size=4), st.booleans()), max_size=8), STOPS)
def test_hidden_text_is_left_out_wherever_it_stands(pieces, stops):
    holder = StopStringFilter(stops)
    shown = "".join(holder.feed(text, hidden=hidden) for text, hidden in pieces)
    if holder.matched is None:
        assert shown + holder.flush() == "".join(text for text, hidden in pieces if not hidden)
    else:
        assert "".join(text for text, hidden in pieces if not hidden).startswith(shown)
