"""Scripts: every fault is named with its place; the examples can be used; the checklist says what will be done."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from custodians import Custodian, ceremony, root_script
from intaglio.ceremony import checklist, steps
from intaglio.ceremony.examples import NAMES, example
from intaglio.ceremony.reading import read
from intaglio.ceremony.steps import Input
from intaglio.errors import ContentRefused, Malformed

EXAMPLES = Path(__file__).parents[2] / "examples/ceremonies"
ZEROS = "0" * 64


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_are_what_plan_writes_and_can_be_used(name: str) -> None:
    text = (EXAMPLES / f"{name}.toml").read_text()
    assert text == ceremony("plan", "--example", name)[1]
    script = read(text.encode())
    shown = checklist.as_text(script)
    for step in script.steps:
        assert f"{step.id}: {checklist.sentence(step)}"[:60] in shown
    assert max(map(len, shown.splitlines())) <= 110


def test_there_is_no_example_besides() -> None:
    assert sorted(path.stem for path in EXAMPLES.iterdir()) == sorted(NAMES)


def test_the_checklist_says_who_what_in_which_order_and_the_hash(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(example("issuing"))
    text = ceremony("plan", path)[1]
    sha256 = json.loads(ceremony("plan", path, "--json")[1])["sha256"]
    assert checklist.grouped(sha256) in text
    wanted = [
        "Quorum",
        "alice, Key custodian",
        "certificate: Sign the request with offline-root",
        "reads issuing-2.csr",
        "writes issuing-2.crt",
        "2 officers confirm",
        "crl: Sign the next CRL of offline-root",
    ]
    places = [text.index(one) for one in wanted]
    assert places == sorted(places)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_a_script_says_is_left_out_of_its_checklist(name: str) -> None:
    """Officers agree on what they read: whatever has an effect must stand there."""
    script = read(example(name).encode())
    shown = " ".join(checklist.as_text(script).split())
    for step in script.steps:
        for field in step.__struct_fields__:
            value = getattr(step, field)
            said = value.path if isinstance(value, Input) else str(value)
            if isinstance(value, Input) and value.sha256:
                assert checklist.grouped(value.sha256) in shown
            if not isinstance(value, bool) and value is not None:
                assert " ".join(said.split()) in shown, field
    for step in script.steps:
        if isinstance(step, steps.CreateRoot | steps.RequestAuthority):
            changed = msgspec.structs.replace(step, hsm=True, test=True)
            assert checklist.sentence(changed).count("TEST") == 1
            assert "HSM" in checklist.sentence(changed)


def test_a_script_does_not_reach_a_terminal_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    for old, new in (
        ("new = true", 'new = true\nauthorities = { "\\u001b[2Jx" = "ab" }'),
        ('id = "crl"', 'id = "\\u001b[2J"'),
        ('action = "publish-crl"', 'action = "\\u001b[2J"'),
        ('role = "Auditor"', 'role = "x"\n"\\u001b[2J" = 1'),
    ):
        path.write_text(example("root").replace(old, new))
        code, _, errors = ceremony("plan", path, ok=False)
        assert (code, "\x1b" in errors) == (1, False)


RSA = """
[[officers]]
name = "dave"
role = "Officer"
confirms = "pkcs11"
module = "lib.so"
token = "card"
public_key = "AAAA"
"""


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("format = 1", "format = 2", "format"),
        ("format = 1", "format = 1\nfromat = 1", "script"),
        ("quorum = 2", "quorum = 1", "quorum"),
        ("quorum = 2", "quorum = 4", "quorum"),
        ("quorum = 2", 'quorum = "2"', "quorum"),
        ('title = "Root of', 'title = "\\u001b[2KRoot of', "title"),
        ('title = "Root of', 'title = "\\u202eRoot of', "title"),
        ("new = true", "new = false", "steps[0].action"),
        ("new = true", 'new = true\nauthorities = { root = "ab" }', "home.authorities.root"),
        ("http://pki.example.com", "https://pki.example.com", "home.public_url"),
        ("1.3.6.1.4.1.32473", "1.3.x", "home.policy_arc"),
        ('name = "bob"', 'name = "alice"', "officers"),
        ('name = "bob"', 'name = "Bob B"', "officers[1].name"),
        ('confirms = "secret"', 'confirms = "nod"', "officers[0].confirms"),
        ("# OFFICERS", RSA, "officers[3].module"),
        ("# OFFICERS", RSA, "officers[3].key"),
        ("# OFFICERS", RSA, "officers[3].public_key"),
        ('role = "Auditor"', "", "witnesses[0]"),
        ('action = "create-root"', 'action = "create-toor"', "steps[1].action"),
        ('algorithm = "p-256"', 'algorithm = "p-521"', "steps[1].algorithm"),
        ('algorithm = "p-256"', "", "steps[1]"),
        ("hsm = false", "hms = false", "steps[1]"),
        ("hsm = false", "confirm = false", "steps[1].confirm"),
        ('name = "offline-root"', 'name = "../root"', "steps[1].name"),
        ('title = "Offline Root CA"', f'title = "{"A long title " * 5}"', "steps[1].title"),
        ('certificate = "offline-root.crt"', 'certificate = "../root.crt"', "steps[1].certificate"),
        ('certificate = "offline-root.crt"', 'certificate = "/root.crt"', "steps[1].certificate"),
        ('certificate = "offline-root.crt"', 'certificate = "offline-root.crl"', "steps[2].crl"),
        ('issuer = "offline-root"', 'issuer = "other"', "steps[2]"),
        ('id = "crl"', 'id = "root"', "steps"),
        ('id = "crl"', 'id = "ceremony"', "steps[2].id"),
        ('action = "publish-crl"', 'action = "create-home"', "steps[2]"),
    ],
)  # fmt: skip
def test_every_fault_is_named_with_its_place(officers: dict[str, Custodian], old: str, new: str, place: str) -> None:
    text = root_script(list(officers.values()))
    text = text.replace("[[witnesses]]", "# OFFICERS\n[[witnesses]]") if old == "# OFFICERS" else text
    assert old in text
    with pytest.raises(ContentRefused) as refused:
        read(text.replace(old, new, 1).encode())
    assert place in refused.value.fields


def test_faults_of_different_places_are_named_together(officers: dict[str, Custodian]) -> None:
    text = root_script(list(officers.values()))
    text = text.replace('"p-256"', '"p-521"').replace('role = "Auditor"', "").replace("public_url", "pubic_url")
    with pytest.raises(ContentRefused) as refused:
        read(text.encode())
    assert {"home", "witnesses[0]", "steps[1].algorithm"} <= refused.value.fields.keys()


def test_inputs_are_agreed_on_by_hash_or_by_a_quorum() -> None:
    text = example("install")
    assert 'crl = { path = "offline-root-2.crl" }' in text
    unpinned = text.replace('id = "crl"', 'id = "crl"\nconfirm = false')
    with pytest.raises(ContentRefused) as refused:
        read(unpinned.encode())
    assert "steps[0].crl.sha256" in refused.value.fields
    read(unpinned.replace('-2.crl" }', f'-2.crl", sha256 = "{ZEROS}" }}').encode())
    later = example("rollover").replace('{ path = "issuing-2.csr" }', '{ path = "issuing-2.crt" }', 1)
    with pytest.raises(ContentRefused, match="cannot be used") as refused:
        read(later.encode())
    assert "later step" in refused.value.fields["steps[1].request.path"]


def test_two_officers_do_not_share_a_card() -> None:
    script = example("root")
    keys = re.findall(r'public_key = "(.*)"', script)
    for number, name in enumerate(("bob", "carol")):
        # Samples of Ed25519 are no keys for cards, which is one fault more.
        card = (
            f'confirms = "pkcs11"\nmodule = "/m.so"\ntoken = "card"\nkey = "{name}"\npublic_key = "{keys[number + 1]}"'
        )
        script = script.replace(f'confirms = "secret"\npublic_key = "{keys[number + 1]}"', card)
    with pytest.raises(ContentRefused) as refused:
        read(script.encode())
    assert "one PIN would confirm for both" in refused.value.fields["officers[2].token"]


@pytest.mark.parametrize("raw", [b"\xff", b"= 1", b"x" * (2 << 20), b""])
def test_what_is_no_script_is_refused(raw: bytes) -> None:
    with pytest.raises((Malformed, ContentRefused)):
        read(raw)
