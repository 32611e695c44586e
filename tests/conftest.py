"""What tests of several packages share: a Ray cluster that stays up while they run."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before PyTorch is imported, here and in processes that tests start: more threads would only wait.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_CLUSTER = """
import sys, ray
ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


# Test modules that train, start processes or servers, or hold networks of full size.
_SLOW = (
    "cli/test_bad_input.py",
    "cli/test_bench.py",
    "cli/test_check.py",
    "cli/test_commands.py",
    "cli/test_download.py",
    "cli/test_evaluate.py",
    "cli/test_live.py",
    "cli/test_separate_many.py",
    "cli/test_separate_more.py",
    "datasets/storage/test_remote.py",
    "datasets/test_captions.py",
    "datasets/test_prepare.py",
    "datasets/test_sounds.py",
    "evaluation/",
    "examples/",
    "finding/",
    "media/test_damage.py",
    "models/test_golden.py",
    "paper/download/",
    "paper/test_checkpoints.py",
    "parallel/",
    "queries/test_clip.py",
    "recipes/",
    "separation/files/test_figure.py",
    "separation/masking/test_combining.py",
    "separation/test_cost.py",
    "serving/",
    "test_light.py",
    "test_mini.py",
    "test_plugins.py",
    "test_site.py",
    "training/callbacks/",
    "training/data/test_other_clips.py",
    "training/test_config.py",
    "training/test_resume.py",
    "training/test_task.py",
    "training/test_train.py",
    "workflows/",
)


def _is_slow(path: Path) -> bool:
    name = path.relative_to(Path(__file__).parent).as_posix()
    return name.startswith(_SLOW)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import what would be left out: PyTorch Lightning alone takes seconds."""
    if "not slow" in config.option.markexpr and collection_path.suffix == ".py":
        return _is_slow(collection_path) or None
    return None


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Set the markers by which `make check` chooses, and by which processes share the tests."""
    for item in items:
        path = Path(item.path).relative_to(Path(__file__).parent).as_posix()
        if "ray_address" in getattr(item, "fixturenames", ()) or "Ray]" in item.name:
            item.add_marker("ray")
        if path.startswith(("datasets/storage/test_remote", "datasets/storage/test_s3")):
            item.add_marker("remote")
        if _is_slow(Path(item.path)) or "processes]" in item.name:
            item.add_marker("slow")
        if config.pluginmanager.hasplugin("xdist"):
            item.add_marker(pytest.mark.xdist_group(_group(item, path)))


def _group(item: pytest.Item, path: str) -> str:
    """Tests of one group run in one process, so that what they share is made once."""
    if item.get_closest_marker("ray"):
        return "ray"  # one cluster
    return "serving" if path.startswith("serving/") else path  # one server


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is cached is neither the user's nor another test's, whose encoders may be fakes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """Address of a Ray of two workers on this machine."""
    pytest.importorskip("ray")
    root = Path(__file__).parents[1]
    paths = os.pathsep.join([str(root), str(root / "src")])  # workers import what tests define
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # for the cluster and who connects to it
    environment = {**os.environ, "PYTHONPATH": paths, "RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.Popen(
        [sys.executable, "-c", _CLUSTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    yield process.stdout.readline().strip()
    process.stdin.close()
    process.wait(60)
    del os.environ["RAY_AUTH_TOKEN"]


@pytest.fixture
def place(request: pytest.FixtureRequest) -> dict:
    """Arguments that say where many items are worked on: "here", "processes" or "Ray"."""
    if request.param == "Ray":
        return {"workers": 2, "ray": request.getfixturevalue("ray_address")}
    return {"workers": {"here": 1, "processes": 2}[request.param]}


def pytest_configure() -> None:
    """Hear Ctrl-C also where a shell started the tests in the background, which ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
