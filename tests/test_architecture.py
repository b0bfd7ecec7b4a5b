"""The house rules that no single package can hold: who imports whom, and what stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]

# design: devices imports none of the others, and so on up; edgeproof.py may import all.
MAY_IMPORT = {
    "devices": set(),
    "edge_runtime": {"devices"},
    "trainer": {"edge_runtime"},
    "converters": {"edge_runtime"},
}
# The device side must never need them, not even inside a function.
WORKSTATION_ONLY = {
    "tf_keras",
    "tensorflow",
    "keras",
    "litert_quantizer",
    "tf2onnx",
    "onnx",
    "sklearn",
}
PACKAGES = {*MAY_IMPORT, "edgeproof"}


def imported_by(package: str) -> dict[str, set[str]]:
    """Top-level names imported anywhere in each file, also inside functions."""
    found = {}
    for file in sorted((REPOSITORY / package).rglob("*.py")):
        names: set[str] = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
        found[str(file.relative_to(REPOSITORY))] = names
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_only_what_lies_below(package: str):
    files = imported_by(package)
    assert files
    for file, names in files.items():
        wrong = (names & PACKAGES) - MAY_IMPORT[package] - {package}
        assert not wrong, f"{file} imports {wrong}"


@pytest.mark.parametrize("package", ["devices", "edge_runtime"])
def test_the_device_side_knows_nothing_of_the_workstation(package: str):
    for file, names in imported_by(package).items():
        # Each engine imports its own runtime, and is itself imported on first use only.
        own = {"onnx"} if file == "edge_runtime/engines/onnx_reference.py" else set()
        wrong = names & WORKSTATION_ONLY - own
        assert not wrong, f"{file} imports {wrong}"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import edgeproof", {"numpy", "cv2", "tensorflow", "keras", "pydantic", "rich.table"}),
        ("import devices", {"numpy", "cv2", "pydantic"}),
        (
            "from edge_runtime import Bundle, Classifier, open_source",
            {"tensorflow", "keras", "sklearn", "matplotlib", "jinja2", "onnxruntime", "rich"},
        ),
        ("import trainer, converters", {"tensorflow", "keras", "sklearn", "matplotlib"}),
    ],
)
def test_importing_is_light(statement: str, absent: set[str]):
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    loaded = set(done.stdout.split())
    assert not absent & loaded


def test_the_only_resize_is_the_preprocess_one():
    """A second resize or colour conversion somewhere is how training and camera drift apart."""
    allowed = {"edge_runtime/preprocess.py"}
    # Pictures for people to look at, not for the model.
    drawn = {"trainer/report.py", "trainer/digits.py"}
    for package in MAY_IMPORT:
        for file in (REPOSITORY / package).rglob("*.py"):
            name = file.relative_to(REPOSITORY).as_posix()
            text = file.read_text(encoding="utf-8")
            if name not in allowed | drawn:
                assert "cv2.resize(" not in text, name
                assert "cv2.cvtColor(" not in text, name


def stubs(source: str) -> list[int]:
    """Lines that raise NotImplementedError, and functions that hold nothing but `pass`."""

    def is_stub(node: ast.AST) -> bool:
        if isinstance(node, ast.FunctionDef):
            return all(isinstance(statement, ast.Pass) for statement in node.body)
        return isinstance(node, ast.Raise) and "NotImplementedError" in ast.dump(node)

    return [node.lineno for node in ast.walk(ast.parse(source)) if is_stub(node)]


def test_no_stub_is_left():
    files = [f for package in MAY_IMPORT for f in (REPOSITORY / package).rglob("*.py")]
    for file in [*files, REPOSITORY / "edgeproof.py"]:
        assert not stubs(file.read_text(encoding="utf-8")), file


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    raise NotImplementedError",
        "def f():\n    raise NotImplementedError('later')",
        "def f():\n    pass",
    ],
)
def test_a_stub_would_be_found(source: str):
    assert stubs(source)
