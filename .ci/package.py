"""Build the package from the tracked files alone, look at what is in it, and install it into an empty environment.

The sdist holds every tracked file, the wheel built from it the package and nothing else, byte for byte the wheel that
is built from the checkout: so `readme`, whose second command installs the checkout into an empty environment and runs
all tests against what was installed, tests this wheel.
"""

import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

USE = """
import importlib.metadata, sys
import jax.numpy as jnp, jaxinfo

assert jaxinfo.__file__.startswith(sys.prefix), jaxinfo.__file__
assert importlib.metadata.version("jaxinfo") == jaxinfo.__version__ == sys.argv[1]
loss = jaxinfo.softmax_cross_entropy(jnp.array([20.0, 0.0]), jnp.array(0))
assert jnp.allclose(loss, 2.0611537e-09, rtol=1e-6, atol=0), loss
print("-- jaxinfo", jaxinfo.__version__, "in an empty environment, from", jaxinfo.__file__)
"""


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command quietly; show what it said if it fails."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)  # type: ignore[call-overload]
    if done.returncode and options.get("check", True):
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done


def copy_tracked(target: Path) -> set[str]:
    """Copy the tracked files that are there to `target`; return their names."""
    names = run("git", "ls-files", "-z").stdout.split("\0")
    tracked = {name for name in names if name and Path(name).is_file()}
    for name in tracked:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, target / name)
    return tracked


def contents(wheel: Path) -> dict[str, bytes]:
    """Return the files of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def check_contents(sdist: Path, wheel: Path, from_tree: Path, tracked: set[str]) -> None:
    """Fail unless sdist and wheel hold what they should."""
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()} - {"PKG-INFO"}
    expect("sdist", packed, tracked)
    files = contents(wheel)
    package = {name for name in tracked if name.startswith("jaxinfo/") or name == "pytest_jaxinfo.py"}
    expect("wheel", {name for name in files if ".dist-info/" not in name}, package)
    if "jaxinfo/py.typed" not in files:
        sys.exit("The wheel lacks jaxinfo/py.typed.")
    if files != contents(from_tree):
        sys.exit("The wheel built from the sdist differs from the one built from the checkout.")
    print(f"-- {sdist.name}: {len(packed)} files; {wheel.name}: {len(package)} files, the same from sdist and checkout")


def expect(what: str, found: set[str], wanted: set[str]) -> None:
    """Fail with the names that are missing or too many."""
    if found != wanted:
        sys.exit(f"The {what} lacks {sorted(wanted - found)} and should not hold {sorted(found - wanted)}.")


def check_use(wheel: Path, home: Path) -> None:
    """Install the wheel, without any extra, into an empty environment and use it from an empty directory."""
    venv.create(home / "env", with_pip=True)
    python, elsewhere = home / "env/bin/python", home / "elsewhere"
    elsewhere.mkdir()
    run(python, "-m", "pip", "install", "--quiet", wheel)
    print(run(python, "-c", USE, wheel.name.split("-")[1], cwd=elsewhere).stdout, end="")
    command = run(home / "env/bin/jaxinfo", "--version", cwd=elsewhere, check=False)
    if command.returncode != 2 or "pip install 'jaxinfo[data]'" not in command.stderr:
        sys.exit(f"Without its extra the command line should name it in one sentence, said: {command.stderr}")


def main() -> None:
    """Build, look, install, use."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        tracked = copy_tracked(home / "tree")
        run(sys.executable, "-m", "build", "--outdir", home / "dist", home / "tree")
        run(sys.executable, "-m", "build", "--wheel", "--outdir", home / "from_tree", home / "tree")
        (sdist,), (wheel,) = (home / "dist").glob("*.tar.gz"), (home / "dist").glob("*.whl")
        check_contents(sdist, wheel, next((home / "from_tree").glob("*.whl")), tracked)
        check_use(wheel, home)


if __name__ == "__main__":
    main()
