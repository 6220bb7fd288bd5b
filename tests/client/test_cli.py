"""The command line as far as it goes without a service."""

from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from intaglio_client.batch import jobs_for, write_whole
from intaglio_client.cli import app
from intaglio_client.errors import Unusable

from .conftest import START, certificate

CONTRACT = Path(__file__).parents[2] / "examples/contract/contract.pdf"


@pytest.mark.parametrize("command", [[], ["sign"], ["verify"], ["status"], ["whoami"]])
def test_help_is_there(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Exit codes" in result.output


def test_a_missing_base_url_is_told_with_what_to_do(tmp_path: Path) -> None:
    signed = tmp_path / "out.pdf"
    result = CliRunner().invoke(app, ["sign", str(CONTRACT), str(signed), "--cn", "Jane"], env={"INTAGLIO_PROFILE": ""})
    assert result.exit_code == 2
    assert "--base-url" in result.output
    assert not signed.exists()


def test_an_unsigned_document_is_not_valid(tmp_path: Path) -> None:
    root = tmp_path / "root.pem"
    root.write_text(certificate(START, START + timedelta(days=1)))
    result = CliRunner().invoke(app, ["verify", str(CONTRACT), "--trust", str(root)])
    assert result.exit_code == 1
    assert "no signature" in result.output


@pytest.mark.parametrize(
    "content", ["no certificate", "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_root_that_is_no_certificate_is_told(tmp_path: Path, content: str) -> None:
    root = tmp_path / "root.pem"
    root.write_text(content)
    result = CliRunner().invoke(app, ["verify", str(CONTRACT), "--trust", str(root)])
    assert result.exit_code == 2
    assert "certificate" in result.output


def test_one_document_and_one_output(tmp_path: Path) -> None:
    (job,) = jobs_for([CONTRACT, tmp_path / "signed.pdf"], None, overwrite=False)
    assert (job.source, job.target) == (CONTRACT, tmp_path / "signed.pdf")


def test_many_documents_go_to_a_folder_under_their_names(tmp_path: Path) -> None:
    (job,) = jobs_for([CONTRACT], tmp_path, overwrite=False)
    assert job.target == tmp_path / "contract.pdf"


def test_files_that_would_be_lost_are_refused(tmp_path: Path) -> None:
    taken = tmp_path / "taken.pdf"
    taken.write_bytes(b"x")
    with pytest.raises(Unusable, match="--overwrite"):
        jobs_for([CONTRACT, taken], None, overwrite=False)
    assert jobs_for([CONTRACT, taken], None, overwrite=True)
    with pytest.raises(Unusable, match="signed self"):
        jobs_for([taken, taken], None, overwrite=True)
    with pytest.raises(Unusable, match="same name"):
        jobs_for([CONTRACT, CONTRACT], tmp_path, overwrite=True)
    with pytest.raises(Unusable, match="no document"):
        jobs_for([tmp_path / "none.pdf"], tmp_path / "out", overwrite=False)
    with pytest.raises(Unusable, match="--out-dir"):
        jobs_for([CONTRACT], None, overwrite=False)


def test_a_file_is_written_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    write_whole(tmp_path / "new" / "a.pdf", b"signed")
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["a.pdf"]
    with pytest.raises(Unusable, match="cannot be written"):
        write_whole(tmp_path / "new" / "a.pdf" / "b.pdf", b"x")
