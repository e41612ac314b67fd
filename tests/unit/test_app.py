"""The front door: every flag is also a variable, and wrong ones are named."""

import argparse
from dataclasses import fields
from pathlib import Path

import pytest

import app
from demo.errors import InputError
from demo.settings import Settings

SAMPLE = {
    "llama": ("some/model", "some/model"),
    "clip": ("ViT-B-32:laion2b_s34b_b79k", "ViT-B-32:laion2b_s34b_b79k"),
    "adapters": ("a folder", Path("a folder")),
    "cache": ("elsewhere", Path("elsewhere")),
    "device": ("cpu", "cpu"),
    "threads": ("3", 3),
    "context": ("512", 512),
    "slots": ("2", 2),
    "queue": ("5", 5),
    "kv-mb": ("64", 64),
    "kv-bits": ("32", 32),
    "reply-seconds": ("1.5", 1.5),
    "keep-chats": ("off", False),
    "chats": ("a folder", Path("a folder")),
    "chats-days": ("7", 7),
    "chats-mb": ("64", 64),
    "training": ("off", False),
    "runs": ("a folder", Path("a folder")),
    "waiting-runs": ("3", 3),
    "runs-mb": ("512", 512),
    "data-rows": ("10", 10),
    "data-mb": ("1", 1),
    "data-zip-mb": ("7", 7),
    "data-pictures": ("9", 9),
    "host": ("0.0.0.0", "0.0.0.0"),
    "port": ("8123", 8123),
    "share": ("yes", True),
    "auth": ("ada:secret", "ada:secret"),
    "root-path": ("/studio", "/studio"),
    "hosts": ("a.example,b.example", "a.example,b.example"),
    "origins": ("https://a.example", "https://a.example"),
    "calls-a-minute": ("60", 60),
}


def parsed(*arguments: str, **environment: str) -> argparse.Namespace:
    return app.build_parser(environment).parse_args(arguments)


def value(options: argparse.Namespace, name: str) -> object:
    return getattr(options, name.replace("-", "_"))


def test_every_flag_is_tried_and_every_setting_has_one() -> None:
    names = {name.replace("_", "-") for name in app.FLAGS}
    assert names == set(SAMPLE)
    assert {field.name.replace("_", "-") for field in fields(Settings)} <= names


@pytest.mark.parametrize("name", SAMPLE)
def test_flag_and_variable_say_the_same(name: str) -> None:
    text, expected = SAMPLE[name]
    variable = "LLAMA_ADAPTER_" + name.upper().replace("-", "_")
    assert value(parsed(f"--{name}", text), name) == expected
    assert value(parsed(**{variable: text}), name) == expected
    assert value(parsed(f"--{name}", text, **{variable: "9"}), name) == expected
    assert value(parsed(**{variable: ""}), name) == value(parsed(), name)


def test_help_names_each_flag_and_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parsed("--help")
    shown = capsys.readouterr().out
    assert stop.value.code == 0
    for name in SAMPLE:
        assert f"--{name}" in shown
        assert f"[LLAMA_ADAPTER_{name.upper().replace('-', '_')}]" in shown


def test_defaults_follow_the_place() -> None:
    assert (parsed().host, parsed().port, parsed().share) == ("127.0.0.1", 7860, False)
    assert parsed(SPACE_ID="ada/studio").host == "0.0.0.0"
    assert parsed(GRADIO_SERVER_PORT="7000").port == 7000
    assert parsed(GRADIO_SERVER_PORT="7000", LLAMA_ADAPTER_PORT="7001").port == 7001
    assert parsed("--share").share is True
    assert parsed("--share", "no", LLAMA_ADAPTER_SHARE="yes").share is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "many"], "argument --port: invalid int value: 'many'"),
        (["--share", "maybe"], "'maybe' is neither yes nor no"),
    ],
)
def test_wrong_value_is_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        parsed(*arguments)
    assert stop.value.code == app.EXIT_WRONG_FLAG
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value", "limits"),
    [("threads", "0", "1 to 256"), ("port", "0", "1 to 65535"), ("port", "99999", "1 to 65535")],
)
def test_setting_out_of_range_ends_before_anything_starts(
    flag: str, value: str, limits: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main([f"--{flag}", value]) == app.EXIT_WRONG_FLAG
    assert f"{flag} is {value}; please use {limits}." in capsys.readouterr().err


@pytest.mark.matrix("D11")
def test_less_memory_than_the_page_takes_ends_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("demo.memory.available", lambda: 100 * 2**20)
    assert app.main([]) == app.EXIT_NOT_SERVED
    said = capsys.readouterr().err
    assert said.startswith("app.py: This program needs ") and "100 MB are free" in said


def test_auth_is_a_pair_or_a_file_of_pairs(tmp_path: Path) -> None:
    file = tmp_path / "people"
    file.write_text("ada:one:two\n\nalan:three\n")
    assert app.read_auth(None) is None
    assert app.read_auth("ada:one") == [("ada", "one")]
    assert app.read_auth(str(file)) == [("ada", "one:two"), ("alan", "three")]
    for wrong in ("ada", "ada:", ":one"):
        with pytest.raises(InputError, match="user:password"):
            app.read_auth(wrong)


@pytest.mark.parametrize(("space", "trusted"), [("ada/studio", app.PROXIES), ("", None)])
def test_the_proxy_of_a_space_says_who_asks(
    space: str, trusted: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"SPACE_ID": space} if space else {}
    seen: list[str | None] = []

    def serve(*arguments: object) -> int:
        seen.append(environment.get("FORWARDED_ALLOW_IPS"))
        return 0

    monkeypatch.setattr(app.os, "environ", environment)
    monkeypatch.setattr(app.signal, "signal", lambda *arguments: None)
    monkeypatch.setattr(app, "serve", serve)
    assert app.main([]) == 0
    assert seen == [trusted]


def test_the_door_knows_whom_the_page_is_served_to() -> None:
    local = ("localhost", "127.0.0.1", "[::1]")
    assert app.door_rules(app.Address()).hosts == local
    assert app.door_rules(app.Address(host="0.0.0.0")).hosts == ()
    assert app.door_rules(app.Address(share=True)).hosts == ()
    rules = app.door_rules(app.Address(hosts="A.example, b.example", origins="https://c.example/"))
    assert rules.hosts == ("a.example", "b.example") and rules.origins == ("https://c.example",)
