"""The small parts of a run: choices, the log, the folder, names of adapters."""

from pathlib import Path

import pytest

from demo.errors import InputError
from demo.finetune.events import Compared, Evaluated, Judged, Stage, Started, Step
from demo.finetune.layouts import Layout
from demo.finetune.log import EventLog, read_log, without_repeats
from demo.finetune.presets import PRESETS, Choices, fitted, presets
from demo.finetune.publish import free_name
from demo.finetune.run_folder import Request, RunFolder
from demo.finetune.train_settings import TrainSettings
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
        ({"zero_init": 1}, "Zero-init gates are either on or off."),
    ],
)
def test_a_choice_out_of_range_is_named(change, message):
    with pytest.raises(InputError) as caught:
        Choices(**change)
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
    assert Choices(layers=2).spec(config, 7).visual.feature_size == 7
    assert Choices(layers=4).spec(config, None).layers == 3  # it has no more
    settings = Choices(steps=8.0, rate=1e-2).settings()
    assert settings.steps == 8 and settings.warmup == 2 and settings.visual_rate == 2e-3
    assert settings.evaluate_every == 1 and settings.probe_every == 2


def test_a_preset_follows_the_data_and_what_was_set_by_hand_stays():
    text, pictures = presets(pictures=False), presets(pictures=True)
    assert fitted(text["taste"], pictures=True) == pictures["taste"]
    assert fitted(pictures["thorough"], pictures=False) == text["thorough"]
    assert fitted(pictures["thorough"], pictures=True) == pictures["thorough"]
    by_hand = Choices(steps=7)
    assert fitted(by_hand, pictures=True) == by_hand == fitted(by_hand, pictures=False)


def test_the_rate_warms_up_and_falls():
    settings = TrainSettings(100, warmup=20)
    scale = [settings.scale(step) for step in range(100)]
    assert scale[0] == 0.05 and scale[19] == 1.0 == max(scale) and 0 < scale[99] < 0.01
    with pytest.raises(ValueError, match="at least 1"):
        TrainSettings(100, patience=0)


def test_a_log_is_read_while_it_grows_and_half_a_line_waits(tmp_path):
    path = tmp_path / "events.jsonl"
    assert read_log(path) == ([], 0)
    log = EventLog(path)
    log.append(Stage("running"))
    first = read_log(path)
    log.append(step(1))
    assert first.events == [Stage("running")]
    assert read_log(path, first.offset).events == [step(1)]
    log.close()
    whole = path.stat().st_size
    line = b'{"event": "step", "step": 2, "lo'
    with path.open("ab") as file:
        file.write(line)
    assert read_log(path, first.offset) == ([step(1)], whole)
    log = EventLog(path)  # a killed writer's half line is ended, and passed over
    log.append(Judged({"loss": 0.5}, (Compared("q", "a", "b", "c"),)))
    events, offset = read_log(path, whole)
    assert events == [Judged({"loss": 0.5}, (Compared("q", "a", "b", "c"),))]
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
    assert without_repeats(told) == [begin, step(1), step(2), looked, again, step(3), step(4)]


def test_a_folder_keeps_what_was_asked_for(tmp_path):
    data = tmp_path / "My Rows.CSV"
    data.write_text("question,answer\na,b\n")
    request = Request(
        "me",
        "pirate",
        Choices(steps=3),
        Settings(),
        "talks",
        layout=Layout(question="q", reply="a"),
        probes=("who?",),
    )
    folder = RunFolder(tmp_path / "run")
    folder.create(request, data)
    read = folder.request()
    assert (read.owner, read.choices, read.settings) == ("me", Choices(steps=3), Settings())
    assert (read.data, read.source, read.layout) == ("data.csv", "My Rows.CSV", request.layout)
    assert (folder.data / read.data).read_text() == data.read_text()
    assert folder.read() == Stage("waiting") and not folder.alive()
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
        Request(
            **{"owner": "", "name": "x", "choices": Choices(), "settings": Settings(), **change}
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
