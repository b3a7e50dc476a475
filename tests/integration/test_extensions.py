"""Compiled extensions of the project: their file counts for all that reaches them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

ROOT = str(Path(__file__).resolve().parents[2])
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
INCLUDE = Path(sysconfig.get_path("include"))
pytestmark = pytest.mark.skipif(
    COMPILER is None or not (INCLUDE / "Python.h").exists(),
    reason="needs a C compiler and the headers of Python",
)

SOURCE = """
#include <Python.h>
static PyObject *add(PyObject *self, PyObject *x) { return PyLong_FromLong(PyLong_AsLong(x) + AMOUNT); }
static PyObject *twice(PyObject *self, PyObject *x) { return PyLong_FromLong(PyLong_AsLong(x) * 2); }
static PyMethodDef functions[] = {{"add", add, METH_O, ""}, {"twice", twice, METH_O, ""}, {0}};

static PyObject *go(PyObject *self, PyObject *x) { return PyLong_FromLong(PyLong_AsLong(x) * AMOUNT); }
static PyMethodDef methods[] = {{"go", go, METH_O, ""}, {0}};
static PyType_Slot slots[] = {{Py_tp_methods, methods}, {0}};
static PyType_Spec spec = {NAME ".Engine", sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
static PyTypeObject Fixed = {PyVarObject_HEAD_INIT(NULL, 0) .tp_name = NAME ".Fixed", .tp_basicsize = sizeof(PyObject),
    .tp_flags = Py_TPFLAGS_DEFAULT, .tp_methods = methods, .tp_new = PyType_GenericNew};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, NAME, 0, -1, functions};
PyMODINIT_FUNC INIT(void) {
    PyObject *made = PyModule_Create(&module);
    if (PyType_Ready(&Fixed) < 0) return NULL;
    PyModule_AddObject(made, "Engine", PyType_FromSpec(&spec));
    PyModule_AddObjectRef(made, "Fixed", (PyObject *)&Fixed);
    PyModule_AddIntConstant(made, "AMOUNT", AMOUNT);
    return made;
}
"""

DRIVER = """
import json, sys
sys.path.insert(0, sys.argv[1])
import tasklineage as tl
tl.configure(store=sys.argv[2])
with tl.run("case") as run:
    import main
    value = main.run(3)
why = [[cause.kind, cause.name, cause.text] for group in tl.why(run).groups for cause in group.causes]
print(json.dumps([value, run.executed, why]))
"""

USES = {
    "module attribute": "import fast\n@task\ndef run(x): return fast.add(x)",
    "from import": "from fast import add\n@task\ndef run(x): return add(x)",
    "in the body": "@task\ndef run(x):\n    from fast import add\n    return add(x)",
    "helper": "import fast\ndef helper(x): return fast.add(x)\n@task\ndef run(x): return helper(x)",
    "type": "import fast\n@task\ndef run(x): return fast.Engine().go(x)",
    "static type": "import fast\n@task\ndef run(x): return fast.Fixed().go(x)",
    "instance": "import fast\nENGINE = fast.Engine()\n@task\ndef run(x): return ENGINE.go(x)",
    "instance of a static type": "import fast\nENGINE = fast.Fixed()\n@task\ndef run(x): return ENGINE.go(x)",
    "subclass": "import fast\nclass Mine(fast.Engine): pass\n@task\ndef run(x): return Mine().go(x)",
    "bound method": "import fast\ngo = fast.Engine().go\n@task\ndef run(x): return go(x)",
    "function in a dict": "import fast\nTABLE = {'add': fast.add}\n@task\ndef run(x): return TABLE['add'](x)",
    "partial": "import fast, functools\nadd = functools.partial(fast.add, 3)\n@task\ndef run(x): return add()",
    "argument": "import fast\n@task\ndef call(f, x): return f(x)\ndef run(x): return call(fast.add, x)",
    "computed name": "import importlib\n@task\ndef run(x):\n    return importlib.import_module('fa' + str('st')).add(x)",
    "constant": "import fast\n@task\ndef run(x): return x + fast.AMOUNT",
}


def _build(folder: Path, amount: int, name: str = "fast") -> Path:
    """A compiled module with a constant in it, put into the place of the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / f"{name}.c"
    source.write_text(SOURCE)
    made, place = folder / f"{name}.new", folder / f"{name}{EXTENSION_SUFFIXES[0]}"
    defines = [f"-DAMOUNT={amount}", f'-DNAME="{name}"', f"-DINIT=PyInit_{name}"]
    flags = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
    subprocess.run(
        [str(COMPILER), "-shared", "-fPIC", "-O0", f"-I{INCLUDE}", *flags, *defines, str(source), "-o", str(made)],
        check=True, capture_output=True,
    )  # fmt: skip
    made.replace(place)
    source.unlink()
    return place


def _run(folder: Path, driver: str = DRIVER) -> Any:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TASKLINEAGE_")}
    done = subprocess.run(
        [sys.executable, "-c", driver, str(folder), str(folder.parent / "store")],
        env={**environment, "PYTHONPATH": ROOT, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def _project(folder: Path, text: str) -> Path:
    _build(folder, 1)
    _build(folder, 1, "other")
    (folder / "main.py").write_text(f"from tasklineage import task\nimport other\n{dedent(text)}\n")
    return folder


@pytest.mark.parametrize("use", USES)
def test_an_extension_that_is_built_anew_counts_for_what_reaches_it(
    tmp_path: Path, use: str
) -> None:
    folder = _project(tmp_path / "project", USES[use])
    first, executed, _ = _run(folder)
    assert executed == 1
    _build(folder, 1)  # to the same content, at another time
    _build(folder, 7, "other")
    assert _run(folder)[:2] == [first, 0]
    _build(folder, 5)
    value, executed, why = _run(folder)
    assert executed == 1, "STALE"
    assert value != first
    assert len(why) == 1, why
    _build(folder, 1)
    assert _run(folder)[:2] == [first, 0]


def test_an_extension_in_a_package_counts(tmp_path: Path) -> None:
    folder = _project(
        tmp_path / "project", "from pack import add\n@task\ndef run(x): return add(x)"
    )
    _build(folder / "pack", 1, "_fast")
    (folder / "pack" / "__init__.py").write_text("from ._fast import add\n")
    assert _run(folder)[:2] == [4, 1]
    assert _run(folder)[:2] == [4, 0]
    _build(folder / "pack", 2, "_fast")
    assert _run(folder)[:2] == [5, 1]


def test_python_in_the_place_of_an_extension_counts(tmp_path: Path) -> None:
    folder = _project(tmp_path / "project", USES["module attribute"])
    assert _run(folder)[:2] == [4, 1]
    (folder / f"fast{EXTENSION_SUFFIXES[0]}").unlink()
    (folder / "fast.py").write_text("def add(x): return x + 10\n")
    assert _run(folder)[:2] == [13, 1]


SWAPPED = DRIVER.replace("    value = ", "    import shutil, os\n    swap()\n    value = ").replace(
    "import json, sys\n",
    "import json, sys\ndef swap():\n    os.replace(sys.argv[1] + '/next', main.fast.__file__)\n",
)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says which file is mapped")
def test_an_extension_that_is_built_while_the_program_runs_lends_its_file_to_nothing(
    tmp_path: Path,
) -> None:
    folder = _project(tmp_path / "project", USES["module attribute"])
    place = _build(folder, 1)
    new = _build(tmp_path / "built", 5)
    new.replace(folder / "next")
    assert _run(folder, SWAPPED)[0] == 4  # computed by the code that was loaded
    value, executed, _ = _run(folder)
    assert place.exists()
    assert (value, executed) == (8, 1), "STALE"
