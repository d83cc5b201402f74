import json


def test_it_writes_the_page_and_prints_what_it_found(tutelage, finished):
    code, output = tutelage("explain", str(finished), "only=[agreement,outputs]", "samples=100")
    assert code == 0, output
    assert "agreement: Of 100 test rows" in output
    assert "outputs: its outputs are classes, which agreement compares" in output
    assert str(finished / "explain.html") in output.replace("\n", "")
    assert set(json.loads((finished / "explain.json").read_text())["groups"]) == {"agreement", "outputs"}


def test_one_group_needs_no_brackets(tutelage, finished):
    code, output = tutelage("explain", str(finished), "only=capacity")
    assert code == 0, output
    assert set(json.loads((finished / "explain.json").read_text())["groups"]) == {"capacity"}


def test_wrong_words_are_named(tutelage, finished, stopped):
    for words, part in (
        (["only=[agrement]"], "agreement"),
        (["samples=3"], "16"),
        (["epochs=3"], "only="),
        (["probe=nothing"], "nothing"),
    ):
        code, output = tutelage("explain", str(finished), *words)
        assert code == 2, output
        assert part in output
    code, output = tutelage("explain", str(stopped))
    assert code, output
    assert "tutelage resume" in output
    assert not list(finished.glob("explain.*"))
