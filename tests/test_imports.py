"""Imports run one way, and importing the package loads nothing heavy."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import tutelage

ROOT = Path(tutelage.__file__).parent

ORDER = [
    "errors", "utils", "structures", "settings", "policies", "nn", "losses", "data", "models", "cache", "report",
    "tasks", "objective", "teachers", "schemes", "recipes", "config", "training", "runs", "explanation", "study",
    "verify", "api", "cli", "__main__",
]  # fmt: skip
"""A part imports from itself and those before it alone, at any place in its files and by name too."""

HEAVY = {"timm", "torchvision", "transformers", "matplotlib", "plotly", "onnx", "ray", "lightning", "torchmetrics"}


def part(module: str) -> str:
    """tutelage.losses.response.kd → losses."""
    return module.split(".")[1] if "." in module else ""


def imports(path: Path) -> set[str]:
    """The tutelage modules that a file imports when it is itself imported."""
    found: set[str] = set()
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or is_for_types(node):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {
                f"{node.module}.{a.name}" if is_module(f"{node.module}.{a.name}") else node.module for a in node.names
            }
        pending += ast.iter_child_nodes(node)
    return {module for module in found if module.split(".")[0] == "tutelage"}


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split(".")[1:])
    return path.is_dir() or path.with_suffix(".py").exists()


FILES = {
    path: ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
}


def named(path: Path) -> set[str]:
    """The tutelage modules that a file names anywhere: in any import, for types too, or in a text."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{a.name}" if node.module == "tutelage" else node.module for a in node.names}
        if isinstance(node, ast.Constant) and re.fullmatch(r"tutelage(\.\w+)+", str(node.value)):
            found.add(str(node.value))
    return {module for module in found if is_module(module)} - {"tutelage"}


def test_every_part_has_its_place():
    assert {part(module) for module in FILES.values()} - {""} == set(ORDER)


def test_imports_run_down_the_list():
    against = {
        f"{module} imports {other}"
        for path, module in FILES.items()
        for other in named(path)
        if part(module) and part(other) and ORDER.index(part(other)) > ORDER.index(part(module))
    }
    assert against == set()


def test_no_module_imports_itself_by_a_detour():
    graph = {module: imports(path) & set(FILES.values()) - {module} for path, module in FILES.items()}
    while True:
        leaves = {module for module, others in graph.items() if not others}
        if not leaves:
            break
        graph = {module: others - leaves for module, others in graph.items() if module not in leaves}
    cycle = {m: o for m, o in graph.items() if any(m in others for others in graph.values())}
    assert cycle == {}


def third_party(path: Path) -> set[tuple[str, bool]]:
    """The packages that a file imports from elsewhere, also by name, and whether that happens on its own import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        node for part in ast.walk(tree) if isinstance(part, ast.FunctionDef | ast.ClassDef) for node in ast.walk(part)
    }
    packages = set()
    for node in ast.walk(tree):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom) and not node.level:
            modules = [node.module or ""]
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = ast.unparse(node.func).rpartition(".")[2]
            modules = [str(node.args[0].value)] if name in ("import_module", "import_required", "find_spec") else []
        packages |= {(module.partition(".")[0], node not in inside) for module in modules}
    return {(name, early) for name, early in packages if name not in {*sys.stdlib_module_names, "tutelage"}}


def distributions(requirements: list[str]) -> set[str]:
    return {normalised(re.match(r"[\w.-]+", requirement)[0]) for requirement in requirements}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_what_is_imported_is_declared_and_extras_are_imported_only_where_they_are_used():
    project = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = distributions(project["dependencies"])
    users = {name: requirements for name, requirements in project["optional-dependencies"].items() if name != "dev"}
    optional = distributions([requirement for requirements in users.values() for requirement in requirements])
    providers = packages_distributions()
    undeclared = {
        f"{FILES[path]} imports {package}"
        for path in FILES
        if is_code(path)
        for package, early in third_party(path)
        if not {normalised(name) for name in providers.get(package, [package])}
        & (required if early else required | optional)
    }
    assert undeclared == set()


PUBLIC_UNDERSCORES = {"_asdict"}
"""Documented names with an underscore: a named tuple's, so that fields may have any name."""


def test_other_libraries_private_names_are_in_one_file():
    trees = {module: ast.parse(path.read_text(encoding="utf-8")) for path, module in FILES.items() if is_code(path)}
    nodes = [(module, node) for module, tree in trees.items() for node in ast.walk(tree)]
    defined = {name for _, node in nodes for name in names_of(node)}
    private = {
        f"{module} uses {name}"
        for module, node in nodes
        if module != "tutelage.utils.compat"
        for name in used(node) - defined - PUBLIC_UNDERSCORES
        if re.match(r"_[^_]", name)
    }
    assert private == set()


def is_code(path: Path) -> bool:
    return "templates" not in path.parts


def names_of(node: ast.AST) -> set[str]:
    """The names that a node of our code defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {target.id if isinstance(target, ast.Name) else getattr(target, "attr", "") for target in targets}


def used(node: ast.AST) -> set[str]:
    """The attributes and the parts of foreign modules that a node uses."""
    if isinstance(node, ast.Attribute):
        return {node.attr}
    if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] != "tutelage":
        return {*node.module.split("."), *(alias.name for alias in node.names)}
    return set()


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_loads_nothing_heavy():
    assert (
        loaded_by("import tutelage, tutelage.runs.run\nfrom tutelage import KD, AT, distill, Trainer") & HEAVY == set()
    )


def test_configuration_and_catalogue_need_no_torch():
    code = "from tutelage.config import schema; schema.read(words=['epochs=3', 'method=kd+at'])"
    assert loaded_by(code) & {"torch", "numpy", *HEAVY} == set()


def test_every_public_name_is_there():
    for name in dir(tutelage):
        assert getattr(tutelage, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tutelage.nothing
