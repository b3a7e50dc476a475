"""Values of a GPU are stored like their copies on the CPU, and come back there unless asked."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.key.digest import digest
from tasklineage.storage.codecs.placing import device_name

ROOT = Path(__file__).resolve().parents[2]


def tensors(torch: Any) -> dict[str, Any]:
    """Tensors of every dtype and layout that one may have in hand."""
    plain = torch.arange(24.0).reshape(4, 6)
    found = {
        "transposed": plain.T,
        "strided": plain[::2, 1::2],
        "expanded": torch.arange(3.0)[:, None].expand(3, 4),
        "permuted": torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(3.5),
        "wants a gradient": torch.ones(3, requires_grad=True),
        "result of a graph": torch.ones(3, requires_grad=True) * 2,
        "parameter": torch.nn.Parameter(torch.ones(2, 2)),
        "frozen": torch.nn.Parameter(torch.ones(2), requires_grad=False),
        "conjugated": torch.ones(2, dtype=torch.complex64).conj(),
        "negated": torch.ones(2, dtype=torch.complex64).conj().imag,
        "channels last": torch.ones(1, 2, 3, 4).to(memory_format=torch.channels_last),
    }
    for dtype in (
        torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16,
        torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128,
        torch.float8_e4m3fn, torch.float8_e5m2,
    ):  # fmt: skip
        found[str(dtype)] = torch.tensor([0, 1, 1], dtype=torch.float32).to(dtype)
    return found


def module(torch: Any) -> Any:
    torch.manual_seed(1)
    made = torch.nn.Sequential(
        torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2).bfloat16()
    )
    made[0].weight.grad = torch.ones(3, 4)
    return made


@task
def given(value: Any) -> Any:
    return value


@task(device="meta")
def far_away(value: Any) -> Any:
    return value


def bits(tensor: Any) -> bytes:
    import torch

    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return bytes(plain.reshape(-1).view(torch.uint8).numpy()) if plain.numel() else b""


def test_every_tensor_comes_back_with_its_digest() -> None:
    torch = pytest.importorskip("torch")
    for name, tensor in tensors(torch).items():
        given(tensor)
        again = given(tensor)
        assert again is not tensor, name
        assert digest(again) == digest(tensor), name
        assert type(again) is type(tensor), name
        assert (again.dtype, again.shape) == (tensor.dtype, tensor.shape), name
        assert again.requires_grad == tensor.requires_grad, name
        assert bits(again) == bits(tensor), name


def test_a_module_and_its_state_come_back() -> None:
    torch = pytest.importorskip("torch")
    model = module(torch)
    for value in (model, model.state_dict()):
        given(value)
        assert digest(given(value)) == digest(value)
    again = given(model)
    assert again is not model
    assert again[2].weight.dtype is torch.bfloat16
    assert torch.equal(again[0].weight.grad, model[0].weight.grad)


# The device `meta` is one that every machine has: what is put there is no longer on the CPU.


def test_a_value_is_loaded_on_the_device_that_is_asked_for() -> None:
    torch = pytest.importorskip("torch")
    large = torch.ones(100_000)
    with tl.run() as run:
        given({"w": torch.ones(3), "large": [large], "p": torch.nn.Parameter(torch.ones(2))})
    (call,) = run.calls
    for loaded in (tl.load(call, device="meta"), call.output.load(device=torch.device("meta"))):
        assert {str(one.device) for one in (loaded["w"], loaded["large"][0], loaded["p"])} == {
            "meta"
        }
        assert type(loaded["p"]) is torch.nn.Parameter
    for loaded in (tl.load(call), call.output.load(), call.result):
        assert {one.device.type for one in (loaded["w"], loaded["large"][0])} == {"cpu"}


def test_a_module_is_loaded_on_the_device_that_is_asked_for() -> None:
    torch = pytest.importorskip("torch")
    with tl.run() as run:
        given(module(torch))
    loaded = tl.load(run["given"], device="meta")
    assert {one.device.type for one in loaded.parameters()} == {"meta"}
    assert loaded[1].running_mean.device.type == "meta"
    assert loaded[0].weight.grad.device.type == "meta"


@pytest.mark.parametrize("size", [3, 100_000])
@pytest.mark.parametrize("executor", ["inline", "threads:2", "processes:1"])
def test_hits_of_a_task_are_on_its_device(executor: str, size: int) -> None:
    torch = pytest.importorskip("torch")
    value = torch.full((size,), 1.5)
    with tl.run(executor=executor) as run:
        far_away(value)
        (executed,) = tl.map(far_away, [value + 1])
        assert far_away(value).device.type == "meta"
        assert far_away.submit(value).result().device.type == "meta"
        assert tl.map(far_away, [value])[0].device.type == "meta"
    assert run.executed == 2
    away = executor.startswith("processes") or size > 10_000  # it was read from the store
    assert executed.device.type == ("meta" if away else "cpu")
    assert far_away.options(device=None)(value).device.type == "cpu"


def test_a_device_that_is_not_there_is_an_error_and_no_reason_to_execute() -> None:
    torch = pytest.importorskip("torch")
    value = torch.full((3,), 2.5)
    nowhere = given.options(device="cuda:7")
    with tl.run() as run:
        given(value)
        with pytest.raises(tl.ConfigError, match=r"device='cuda:7': torch cannot put"):
            nowhere(value)
        with pytest.raises(tl.ConfigError, match=r"device='nowhere'"):
            tl.load(run["given"], device="nowhere")
        model = module(torch)
        given(model)
        with pytest.raises(tl.ConfigError, match="cuda:7"):
            nowhere(model)
    assert run.executed == 2


@pytest.mark.parametrize("wrong", ["", "cuda:", "cuda:x", 3, "a b"])
def test_what_names_no_device_is_refused(wrong: Any) -> None:
    with pytest.raises(tl.ConfigError, match="device="):
        task(device=wrong)(lambda: 1)
    with pytest.raises(tl.ConfigError, match="device="):
        device_name(wrong)


JAX = """
    import jax, jax.numpy as jnp, numpy as np
    import tasklineage as tl
    from tasklineage import task
    from tasklineage.key.digest import digest

    first, second = jax.devices()

    @task
    def given(value):
        return value

    for value in (
        jnp.arange(6.0).reshape(2, 3), jnp.ones(3, jnp.bfloat16), jnp.zeros((0, 2)),
        jnp.array(True), jax.random.key(3), jnp.ones(100_000), jnp.arange(6).reshape(2, 3).T,
    ):
        other = jax.device_put(value, second)
        assert digest(value) == digest(other), value
        with tl.run() as run:
            given(other)
            hit = given(value)
        (executed, answered) = run.calls
        assert answered.hit, value
        assert hit.devices() == {first}, value
        assert tl.load(answered, device="cpu:1").devices() == {second}
        assert tl.load(answered, device=second).devices() == {second}
        assert digest(tl.load(answered, device=second)) == digest(value)
    try:
        tl.load(answered, device="cuda")
    except tl.ConfigError as error:
        print(error)
"""


def test_arrays_of_jax_on_another_device_are_those_of_the_first_one(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(JAX)],
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": "--xla_force_host_platform_device_count=2"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "device='cuda': jax cannot put a value there" in done.stdout


class _Array:
    """What is used of an array of cupy; its elements are on no GPU."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain

    @property
    def dtype(self) -> Any:
        return self._plain.dtype

    def get(self) -> Any:
        return self._plain.copy()


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Any:
    fake: Any = ModuleType("cupy")
    _Array.__module__, _Array.__qualname__ = "cupy", "ndarray"
    fake.ndarray = _Array
    fake.asarray = _Array
    monkeypatch.setitem(sys.modules, "cupy", fake)
    return fake


@pytest.mark.parametrize("size", [3, 100_000])
def test_arrays_of_cupy_are_stored_like_those_of_numpy(cupy: Any, size: int) -> None:
    plain = np.arange(float(size))
    there = cupy.asarray(plain)
    assert digest(there) == digest(plain)
    assert digest({"x": [there]}) == digest({"x": [plain]})
    with tl.run() as run:
        assert given(there) is there
        assert np.array_equal(given(plain), plain)
        given([there, 1])
    assert [call.hit for call in run.calls] == [False, True, False]
    call, _, in_list = run.calls
    assert call.output is not None
    assert type(call.result) is np.ndarray
    assert type(in_list.result[0]) is np.ndarray
    assert type(tl.load(call, device="cpu")) is np.ndarray
    assert type(tl.load(call, device="cuda")) is cupy.ndarray


@pytest.mark.gpu
def test_on_a_gpu_every_tensor_has_the_digest_of_its_copy() -> None:
    torch = pytest.importorskip("torch")
    for name, tensor in tensors(torch).items():
        there = tensor.detach().cuda().requires_grad_(tensor.requires_grad)
        if type(tensor) is torch.nn.Parameter:
            there = torch.nn.Parameter(there.detach(), tensor.requires_grad)
        assert digest(there) == digest(tensor), name
        with tl.run() as run:
            given(there)
            again = given(tensor)
        assert run.calls[-1].hit, name
        assert again.device.type == "cpu", name
        on_gpu = tl.load(run.calls[-1], device="cuda")
        assert on_gpu.device.type == "cuda", name
        assert digest(on_gpu) == digest(tensor), name
        assert bits(on_gpu) == bits(tensor), name


@pytest.mark.gpu
def test_on_a_gpu_a_module_has_the_digest_of_its_copy() -> None:
    torch = pytest.importorskip("torch")
    model = module(torch)
    there = module(torch).cuda()
    there[0].weight.grad = there[0].weight.grad.cuda()
    assert digest(there.state_dict()) == digest(model.state_dict())
    assert digest(there) == digest(model)
    with tl.run() as run:
        given(there)
    assert {one.device.type for one in run["given"].result.parameters()} == {"cpu"}
    loaded = tl.load(run["given"], device="cuda")
    assert {one.device.type for one in loaded.parameters()} == {"cuda"}


@pytest.mark.gpu
def test_on_a_gpu_memory_and_devices_are_those_of_the_call() -> None:
    pytest.importorskip("torch")

    @task(resources={"GPU": 1})
    def allocate(megabytes: int) -> Any:
        import torch

        there = torch.ones(megabytes * 250_000, device="cuda")
        return os.environ.get("CUDA_VISIBLE_DEVICES"), there[:3]

    with tl.run(executor="processes:1") as run:
        found = tl.map(allocate, [400, 10]).results()
    assert all("," not in devices for devices, _ in found)
    assert all(part.device.type == "cpu" for _, part in found)
    large, small = (call.peak_gpu_memory or 0 for call in run.calls)
    assert 400e6 <= large < 800e6
    assert 10e6 <= small < 100e6
