"""Public files of labelled texts are read in each of their forms, and split without a leak."""

import pytest

from demo.bench.taught.label_files import Labelled, read_labelled, split


def test_lines_with_a_coarse_and_a_fine_label(tmp_path):
    path = tmp_path / "questions.label"
    path.write_bytes("HUM:ind Who was \xc5sa ?\nLOC:city Where is Rome ?\n".encode("latin-1"))
    assert read_labelled(path) == [
        Labelled("Who was Åsa ?", "HUM"), Labelled("Where is Rome ?", "LOC"),
    ]  # fmt: skip


def test_lines_with_a_label_before_a_tab(tmp_path):
    path = tmp_path / "messages.tsv"
    path.write_text('ham\tSee you: at 5\nspam\t"Win  NOW"\nham\tSee you: at 5\n', "utf-8")
    assert read_labelled(path) == [Labelled("See you: at 5", "ham"), Labelled("Win NOW", "spam")]


def test_a_table_with_numbers_for_labels(tmp_path):
    path = tmp_path / "news.csv"
    path.write_text('"2","A goal","in the, end"\n"1","A vote","today"\n', "utf-8")
    assert [row.label for row in read_labelled(path)] == ["2", "1"]
    (tmp_path / "classes.txt").write_text("World\nSports\n", "utf-8")
    assert read_labelled(path) == [
        Labelled("A goal in the, end", "Sports"), Labelled("A vote today", "World"),
    ]  # fmt: skip


def test_a_folder_with_a_file_for_each_label(tmp_path):
    (tmp_path / "positive.txt").write_text("good\n\nfine\n" + "x" * 2_000, "utf-8")
    (tmp_path / "negative.txt").write_text("bad\n", "utf-8")
    assert read_labelled(tmp_path) == [
        Labelled("bad", "negative"), Labelled("good", "positive"), Labelled("fine", "positive"),
    ]  # fmt: skip


def test_what_has_one_label_is_refused(tmp_path):
    path = tmp_path / "one.tsv"
    path.write_text("ham\tone\nham\ttwo\n", "utf-8")
    with pytest.raises(SystemExit, match="fewer than two"):
        read_labelled(path)


def test_rows_to_judge_by_are_the_same_for_each_seed_and_never_learned():
    rows = [Labelled(str(number), "ab"[number % 2]) for number in range(40)]
    first, second = split(rows, 20, 10, 0), split(rows, 20, 10, 1)
    assert first[1] == second[1] and first[0] != second[0]
    for learned, judged in (first, second):
        assert len(set(learned)) == 20 and len(judged) == 10 and not set(learned) & set(judged)
    with pytest.raises(SystemExit, match="too few"):
        split(rows, 40, 1, 0)
