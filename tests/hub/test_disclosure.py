"""What files disclose by accident, and what is none."""

from __future__ import annotations

import json

import pytest

from biomeformer.hub import disclosure
from biomeformer.hub.disclosure import EMAIL, PATH, TOKEN, USER, disclosures, user_names

SECRET = "a1B2c3D4" * 5
HOLDS = [
    (f"hf_{SECRET[:34]}", TOKEN),
    ("AKIAIOSFODNN7EXAMPLE", TOKEN),
    (f"export AWS_SECRET_ACCESS_KEY={SECRET}", TOKEN),
    (f"ghp_{SECRET[:36]}", TOKEN),
    (f"github_pat_{SECRET}", TOKEN),
    (f"api_key: '{SECRET}'", TOKEN),
    ("https://ada:secret@example.com/data", TOKEN),
    ("-----BEGIN OPENSSH PRIVATE KEY-----", TOKEN),
    ("write to ada.lovelace+1@uni-lab.ac.uk.", EMAIL),
    ("/home/ada/models", PATH),
    ("read from (/Users/ada/x.csv)", PATH),
    ("/cluster-7/deep/folder", PATH),
    ("~/models/esm", PATH),
    ("~ada/models", PATH),
    ("file:///tmp/x", PATH),
    ("C:\\Users\\Ada\\model", PATH),
    ("at D:/models/esm now", PATH),
    ("\\\\server\\share\\model", PATH),
    ("trained by lovelace", USER),
    ("../../lovelace/model", USER),
]
HOLDS_NOTHING = [
    "https://huggingface.co/lab/model/blob/main/README.md",
    "lab/model",
    "recipes/configs/smoke.yaml",
    "and/or 3/4 of /100 g, 5 m/s",
    "/kg",
    "@misc{arxiv_2405_05998,",
    "[PAD] <|endoftext|> </s>",
    "0123456789abcdef" * 4,
    "ratio 1:2, C: 3",
    "Lovelaceia sp., lovelaces",
    "2026-01-02T03:04:05",
    "A~B/C",
    "tokens/second",
]


@pytest.fixture(autouse=True)
def user(monkeypatch):
    monkeypatch.setattr(disclosure, "user_names", lambda: ("lovelace",))


@pytest.mark.parametrize(("text", "kind"), HOLDS)
@pytest.mark.parametrize("file", ["x.json", "x.md", "x.csv", "x.yaml"])
def test_it_is_found_in_every_kind_of_file(tmp_path, text, kind, file):
    path = tmp_path / file
    path.write_text(json.dumps({"a": [{"b": text}]}) if file == "x.json" else f"first\n{text}\n")
    kinds = {(hit.field, hit.kind) for hit in disclosures(path)}
    assert kinds == {("a[0].b" if file == "x.json" else "line 2", kind)}


@pytest.mark.parametrize("text", HOLDS_NOTHING)
def test_what_discloses_nothing(tmp_path, text):
    for name, content in (("x.json", json.dumps({"a": [{"b": text}]})), ("x.md", text)):
        (tmp_path / name).write_text(content)
        assert list(disclosures(tmp_path / name)) == []


def test_names_of_fields_are_searched_and_tell_secrets(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(
        json.dumps({"/home/ada/x": 1, "access_token": SECRET, "pad_token": "[PAD]", "n_tokens": "12345678901234"})
    )
    hits = list(disclosures(path))
    assert [(hit.field, hit.kind) for hit in hits] == [("a name in the file", PATH), ("access_token", TOKEN)]
    assert SECRET not in str(hits)


def test_pieces_of_words_of_a_tokenizer_are_no_paths(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": {"vocab": {"/usr/bin": 1}, "merges": ["/tmp /x"]}, "from": "/home/ada/t"}))
    assert [hit.field for hit in disclosures(path)] == ["from"]


def test_common_users_are_no_names(monkeypatch):
    monkeypatch.setattr(disclosure, "user_names", user_names)
    monkeypatch.setattr("getpass.getuser", lambda: "root")
    monkeypatch.setattr("pathlib.Path.home", lambda: disclosure.Path("/home/countess"))
    monkeypatch.delenv("SUDO_USER", raising=False)
    user_names.cache_clear()
    assert user_names() == ("countess",)
    user_names.cache_clear()


def test_what_is_allowed_is_allowed_as_a_whole(tmp_path):
    path = tmp_path / "x.md"
    path.write_text("lovelace/model by ada@lab.org.\nada@lab.org.uk and /home/lovelace/x\n")
    hits = [(hit.field, hit.value) for hit in disclosures(path, {"lovelace/model", "lovelace", "ada@lab.org", "lab"})]
    assert hits == [("line 2", "ada@lab.org.uk"), ("line 2", "/home/lovelace/x")]
