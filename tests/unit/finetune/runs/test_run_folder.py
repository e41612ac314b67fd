"""The small parts of a run: choices, the log, the folder, names of adapters."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from demo.adapter.config import FORMS
from demo.adapter.library import free_name
from demo.errors import InputError
from demo.finetune.data.columns import Layout
from demo.finetune.runs.run_folder import RunFolder, RunRequest, done_message, stopped_message
from demo.finetune.train.config import (
    PRESETS,
    RANGES,
    TrainingOptions,
    TrainSettings,
    fitted,
    presets,
)
from demo.finetune.train.events import (
    Compared,
    Evaluated,
    EventLog,
    FinalEvaluation,
    RunHistory,
    RunStage,
    Started,
    Step,
    read_log,
)
from demo.llama.config import LlamaConfig
from demo.settings import Settings


def step(number: int) -> Step:
    return Step(number, 1.5, 1e-3, (0.1, 0.2), 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": 0}, "Prompts per layer: 0. Please use a whole number from 1 to 64."),
        ({"steps": 1.5}, "Steps: 1.5. Please use a whole number from 1 to 20,000."),
        ({"rate": "fast"}, "The learning rate: 'fast'. Please use a number from 1e-06 to 0.1."),
        ({"rate": float("nan")}, "The learning rate: nan."),
        ({"batch": True}, "Batch: True."),
        ({"held_out": 0.9}, "The held-out share: 0.9. Please use a number from 0 to 0.5."),
        ({"zero_init": 1}, "Zero-init gates, and cutting long rows, are either on or off."),
    ],
)
def test_a_choice_out_of_range_is_named(change, message):
    with pytest.raises(InputError) as caught:
        TrainingOptions(**change)
    assert str(caught.value).startswith(message)


def test_presets_grow_and_fit_a_base():
    config = LlamaConfig(
        layers=3,
        width=36,
        heads=6,
        kv_heads=2,
        head_dim=10,
        ffn=50,
        vocab=300,
        norm_eps=1e-5,
        rope_theta=1e4,
        context=256,
        tied=False,
    )
    both = presets(pictures=False), presets(pictures=True)
    for kind in both:
        steps = [preset.steps * preset.batch for preset in kind.values()]
        assert steps == sorted(steps) and list(kind) == ["taste", "balanced", "thorough"]
    assert PRESETS["balanced"].spec(config, None).layers == 3
    assert TrainingOptions(layers=2).spec(config, 7).visual.feature_size == 7
    assert TrainingOptions(layers=4).spec(config, None).layers == 3  # it has no more
    settings = TrainingOptions(steps=8.0, rate=1e-2).settings()
    assert settings.steps == 8 and settings.warmup == 2 and settings.visual_rate == 2e-3
    assert settings.evaluate_every == 1 and settings.probe_every == 2


def test_a_preset_follows_the_data_and_what_was_set_by_hand_stays():
    text, pictures = presets(pictures=False), presets(pictures=True)
    assert fitted(text["taste"], pictures=True) == pictures["taste"]
    assert fitted(pictures["thorough"], pictures=False) == text["thorough"]
    assert fitted(pictures["thorough"], pictures=True) == pictures["thorough"]
    by_hand = TrainingOptions(steps=7)
    assert fitted(by_hand, pictures=True) == by_hand == fitted(by_hand, pictures=False)


def test_facts_take_steps_by_their_number_and_follow_the_same_name():
    few, many = (presets(pictures=False, aim="facts", rows=rows) for rows in (5, 50))
    assert list(few) == list(PRESETS)
    assert few["taste"].steps < few["balanced"].steps < few["thorough"].steps
    assert all(few[name].steps < many[name].steps for name in PRESETS)
    most = presets(pictures=False, aim="facts", rows=10**6)["thorough"].steps
    assert most <= RANGES["steps"][1]
    for name in PRESETS:
        facts = fitted(PRESETS[name], pictures=False, aim="facts", rows=5)
        assert facts == few[name] and facts.aim == "facts"
        assert fitted(facts, pictures=False, aim="facts", rows=50) == many[name]
        style = fitted(many[name], pictures=False, aim="style")
        assert style == replace(PRESETS[name], aim="style")
        assert fitted(style, pictures=False) == PRESETS[name]
        beside = {"seed": 3, "window": 64, "cut": True}
        again = fitted(replace(style, **beside), pictures=False, aim="facts", rows=5)
        assert again == replace(facts, **beside)
    by_hand = TrainingOptions(steps=7)
    assert fitted(by_hand, pictures=False, aim="facts", rows=5) == replace(by_hand, aim="facts")
    assert few["taste"].settings("facts").rehearsed > TrainingOptions().settings().rehearsed
    shared = presets(pictures=False, aim="facts", rows=5, form=FORMS[-1])["taste"]
    assert shared.steps > few["taste"].steps
    assert fitted(
        replace(PRESETS["taste"], form=FORMS[-1]), pictures=False, aim="facts", rows=5
    ) == (shared)


def test_a_run_from_before_there_were_aims_goes_the_old_road():
    raw = json.loads(RunRequest("me", "old", TrainingOptions(), Settings()).to_json())
    del raw["choices"]["aim"]
    assert RunRequest.from_json(json.dumps(raw)).choices == TrainingOptions(aim="style")
    with pytest.raises(InputError, match="facts, style"):
        TrainingOptions(aim="both")


def test_the_end_says_how_many_facts_are_known():
    told = {"taught": 15.0, "taught_known": 15.0}
    assert done_message(9, early=False) == "Done."
    assert done_message(9, early=False, metrics=told) == "Done. Knows 15 of 15 as taught."
    some = stopped_message(9, metrics=told | {"taught_known": 4.0})
    assert some.startswith("Stopped. The adapter after 9 steps is kept. Knows 4 of 15 as taught. ")
    assert "first below" in some
    more = told | {"otherwise": 15.0, "otherwise_known": 11.0, "ordinary_kept": 0.9666}
    said = done_message(9, early=False, metrics=more)
    known = "Done. Knows 15 of 15 as taught, 11 of 15 asked otherwise; "
    assert said == known + "ordinary answers unchanged in 96 %."
    said = done_message(9, early=False, metrics=more | {"otherwise_known": 3.0})
    assert said.endswith("in your own words teach it more.")
    said = done_message(9, early=False, metrics=more | {"ordinary_kept": 0.5})
    assert "unchanged in 50 %. It changes ordinary answers too" in said


def test_the_rate_warms_up_and_falls():
    settings = TrainSettings(100, warmup=20)
    scale = [settings.scale(step) for step in range(100)]
    assert scale[0] == 0.05 and scale[19] == 1.0 == max(scale) and 0 < scale[99] < 0.01
    later = TrainSettings(100, warmup=20, flat=0.6)
    assert [later.scale(step) for step in (0, 20, 59, 60)] == [0.05, 1.0, 1.0, 1.0]
    assert later.scale(80) == pytest.approx(0.5) and later.scale(99) < 0.01
    with pytest.raises(ValueError, match="at least 1"):
        TrainSettings(100, patience=0)


def test_a_log_is_read_while_it_grows_and_half_a_line_waits(tmp_path):
    path = tmp_path / "events.jsonl"
    assert read_log(path) == ([], 0)
    log = EventLog(path)
    log.append(RunStage("running"))
    first = read_log(path)
    log.append(step(1))
    assert first.events == [RunStage("running")]
    assert read_log(path, first.offset).events == [step(1)]
    log.close()
    whole = path.stat().st_size
    line = b'{"event": "step", "step": 2, "lo'
    with path.open("ab") as file:
        file.write(line)
    assert read_log(path, first.offset) == ([step(1)], whole)
    log = EventLog(path)  # a killed writer's half line is ended, and passed over
    log.append(FinalEvaluation({"loss": 0.5}, (Compared("q", "a", "b", "c"),)))
    events, offset = read_log(path, whole)
    assert events == [FinalEvaluation({"loss": 0.5}, (Compared("q", "a", "b", "c"),))]
    assert offset == path.stat().st_size


@pytest.mark.parametrize("line", ["[]", "{}", '{"event": "no"}', '{"event": "step"}', "1", "\x00"])
def test_other_lines_are_passed_over(tmp_path, line):
    path = tmp_path / "events.jsonl"
    path.write_text(f"{line}\n")
    log = EventLog(path)
    log.append(step(1))
    assert read_log(path).events == [step(1)]


def test_what_a_resumed_run_does_again_is_told_once():
    begin, again = Started(9, 5, 4, 1), Started(9, 5, 4, 1, step=2)
    looked = Evaluated(2, 0.5, 0.0, True)
    told = [begin, step(1), step(2), looked, step(3), again, looked, step(3), step(4)]
    history = RunHistory().with_events(told)
    assert history.steps == (step(1), step(2), step(3), step(4)) and history.done == 4
    assert history.evaluations == (looked,) and history.started == again
    parts = RunHistory()
    for event in told:  # read on bit by bit, it is the same
        parts = parts.with_events([event])
    assert parts == history


def test_a_history_reads_on_where_it_stopped(tmp_path):
    path = tmp_path / "events.jsonl"
    none = RunHistory().read_on(path)
    log = EventLog(path)
    log.append(Started(9, 5, 4, 1))
    log.append(step(1))
    first = none.read_on(path)
    log.append(step(2))
    second = first.read_on(path)
    assert (none.done, first.done, second.done) == (0, 1, 2)
    assert second.offset == path.stat().st_size and second == RunHistory().read_on(path)


def test_a_folder_keeps_what_was_asked_for(tmp_path):
    data = tmp_path / "My Rows.CSV"
    data.write_text("question,answer\na,b\n")
    request = RunRequest(
        "me",
        "pirate",
        TrainingOptions(steps=3),
        Settings(),
        "talks",
        layout=Layout(question="q", reply="a"),
        probes=("who?",),
    )
    folder = RunFolder(tmp_path / "run")
    folder.create(request, data)
    read = folder.request()
    assert (read.owner, read.choices, read.settings) == ("me", TrainingOptions(steps=3), Settings())
    assert (read.data, read.source, read.layout) == ("data.csv", "My Rows.CSV", request.layout)
    assert (folder.data / read.data).read_text() == data.read_text()
    assert folder.read() == RunStage("waiting") and not folder.alive()
    with folder.lock():
        assert folder.alive()
    folder.discard()
    assert not folder.data.exists() and folder.request() == read
    with pytest.raises(InputError, match="no longer there"):
        RunFolder(tmp_path / "other").create(request, tmp_path / "gone")


@pytest.mark.parametrize(
    "change",
    [{"name": " "}, {"name": "x" * 101}, {"description": "x" * 501}, {"probes": ("?",) * 4}],
)
def test_a_request_has_bounds(change):
    with pytest.raises(InputError, match="lease"):
        RunRequest(
            **{
                "owner": "",
                "name": "x",
                "choices": TrainingOptions(),
                "settings": Settings(),
                **change,
            }
        )


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("Pirate", "pirate-2"),
        ("../../etc/passwd", "etc-passwd"),
        ("Käpt'n Blaubär", "kapt-n-blaubar"),
        ("海盗", "adapter"),
        ("none", "none-2"),
        ("x" * 90, "x" * 40),
        (".hidden\n\x00", "hidden"),
    ],
)
def test_a_published_name_is_safe_and_free(asked, name):
    assert free_name(asked, {"pirate"}) == name
    assert Path(name).name == name
