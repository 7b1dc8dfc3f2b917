"""What is installed: each state that FAISS can be in, and `biomeformer inspect --environment`."""

import json
import sys
import types
from importlib import metadata

import pytest
import torch
from typer.testing import CliRunner

import biomeformer
from biomeformer.cli import app
from biomeformer.errors import MissingDependencyError
from biomeformer.inference.environment import describe_environment
from biomeformer.inference.faiss_build import faiss_state, import_faiss

find_distributions = metadata.distributions


def build(gpu):
    """A package like FAISS's."""
    module = types.ModuleType("faiss")
    module.__version__, module.Clustering = "1.15.1", object
    if gpu:
        module.StandardGpuResources = object
    return module


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Put distributions of these names into an environment of their own, where `import faiss` gives `module`."""

    def install(module, *names):
        for name in ("numpy", "faiss-helpers", *names):
            folder = tmp_path / f"{name.replace('-', '_')}-1.15.1.dist-info"
            folder.mkdir()
            (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.15.1\n")
        monkeypatch.setattr(metadata, "distributions", lambda: find_distributions(path=[str(tmp_path)]))
        monkeypatch.setitem(sys.modules, "faiss", module)

    return install


CPU, GPU, EMPTY = build(gpu=False), build(gpu=True), types.ModuleType("faiss")


@pytest.mark.parametrize(
    ("module", "names", "state", "imports", "advice"),
    [
        (None, (), "none", None, "install one build: pip install 'biomeformer[cpu]'"),
        (CPU, ("faiss-cpu",), "cpu", "cpu", None),
        (GPU, ("faiss-gpu",), "gpu", "gpu", None),
        (GPU, ("faiss-gpu-cu11",), "gpu", "gpu", None),
        (GPU, ("faiss_gpu_cu12",), "gpu", "gpu", None),
        (GPU, ("faiss-gpu-cu13",), "gpu", "gpu", None),
        # Built by hand or by conda.
        (CPU, (), "cpu", "cpu", None),
        (CPU, ("faiss-cpu", "faiss-gpu"), "both", "cpu", "pip uninstall faiss-cpu faiss-gpu, then install one build"),
        (None, ("faiss-cpu", "faiss-gpu-cu12"), "both", None, "pip uninstall faiss-cpu faiss-gpu-cu12, then"),
        (EMPTY, ("faiss-gpu",), "broken", None, "pip uninstall faiss-gpu, then install one build"),
        (None, ("faiss-cpu",), "broken", None, "pip uninstall faiss-cpu, then install one build"),
        (EMPTY, (), "broken", None, "delete the folder faiss that is left in site-packages, then install one build"),
    ],
)
def test_states_of_faiss(installed, module, names, state, imports, advice):
    installed(module, *names)
    found = faiss_state()
    assert (found.state, found.imports) == (state, imports)
    assert found.distributions == {name.replace("_", "-"): "1.15.1" for name in names}
    assert found.version == (None if imports is None else "1.15.1")
    assert (found.error is None) == (imports is not None)
    if advice is None:
        assert found.advice == ""
    else:
        assert advice in found.advice and found.advice.count(".") >= 1
    if imports is None:
        with pytest.raises(MissingDependencyError) as error:
            import_faiss()
        assert found.error in str(error.value) and found.advice in str(error.value)
    else:
        assert import_faiss() is module


def test_a_gpu_build_without_its_cuda_libraries(installed, monkeypatch):
    """As faiss-gpu 1.15.1 raises where a wheel of NVIDIA's is missing."""
    installed(None, "faiss-gpu")
    monkeypatch.delitem(sys.modules, "faiss")

    def fail(name, *arguments, **options):
        if name == "faiss":
            raise RuntimeError("faiss-gpu installed but nvidia-curand-cu12 is missing")
        return real(name, *arguments, **options)

    real = biomeformer.inference.faiss_build.import_module
    monkeypatch.setattr("biomeformer.inference.faiss_build.import_module", fail)
    assert faiss_state().state == "broken" and "nvidia-curand-cu12" in faiss_state().error
    with pytest.raises(MissingDependencyError, match="nvidia-curand-cu12"):
        import_faiss()


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_inspect_environment_prints_installed_versions():
    result = run("inspect", "--environment", "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    versions = record["versions"]
    assert versions["biomeformer"] == biomeformer.__version__ and versions["torch"] == torch.__version__
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    for name in ("transformers", "accelerate", "datasets"):
        assert versions[name] == metadata.version(name)
    assert record["devices"]["torch_cuda_build"] == torch.version.cuda
    assert len(record["devices"]["cuda"]) == (torch.cuda.device_count() if torch.cuda.is_available() else 0)
    assert record["faiss"]["state"] in ("cpu", "gpu") and record["faiss"]["distributions"]
    assert record["threads"]["torch"] == torch.get_num_threads()
    shown = run("inspect", "--environment").stdout
    for text in ("versions", "devices", "faiss", "threads", torch.__version__, record["faiss"]["version"]):
        assert text in shown


def test_inspect_environment_shows_what_is_wrong(installed, monkeypatch):
    installed(EMPTY, "faiss-gpu")
    shown = " ".join(run("inspect", "--environment").stdout.split())
    assert "state broken" in shown and "the package is empty" in shown and "pip uninstall faiss-gpu" in shown


def test_environment_lists_cuda_devices(monkeypatch):
    gigabyte = 1 << 30
    properties = types.SimpleNamespace(name="NVIDIA H100", major=9, minor=0, total_memory=80 * gigabyte)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 92000)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: properties)

    def free(number):
        if number == 1:
            raise RuntimeError("CUDA error: all devices are busy\nmore")
        return 70 * gigabyte, 80 * gigabyte

    monkeypatch.setattr(torch.cuda, "mem_get_info", free)
    devices = describe_environment()["devices"]
    first = {"device": "cuda:0", "name": "NVIDIA H100", "capability": "9.0", "memory_bytes": 80 * gigabyte}
    assert devices["cuda"][0] == {**first, "free_bytes": 70 * gigabyte} and devices["advice"] == ""
    assert devices["cuda"][1]["error"] == "CUDA error: all devices are busy"
    shown = run("inspect", "--environment").stdout
    assert "cuda:0.name" in shown and "NVIDIA H100" in shown and "85,899,345,920" in shown

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    devices = describe_environment()["devices"]
    assert devices["cuda"] == [] and "nvidia-smi" in devices["advice"]
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "built for the CPU" in describe_environment()["devices"]["advice"]


@pytest.mark.parametrize("arguments", [(), ("metagenbert-mini", "--environment"), ("--environment", "--revision", "x")])
def test_inspect_takes_one_of_both(arguments):
    result = run("inspect", *arguments)
    assert result.exit_code == 2 and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
