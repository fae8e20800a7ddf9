# SPDX-License-Identifier: Apache-2.0
"""What a reviewer should not have to look for."""

import ast
import pathlib
import platform
import re
import shutil
import subprocess
import sysconfig

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def tracked(*patterns):
    listed = subprocess.run(["git", "-c", f"safe.directory={ROOT}", "ls-files", "-co",
                             "--exclude-standard", *patterns], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        names = listed.stdout.split()
    else:  # an unpacked archive
        names = [str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.rglob(pattern)
                 if not path.relative_to(ROOT).parts[0].startswith("build")]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def in_c(path):
    return path.suffix in (".c", ".h", ".cpp", ".hpp")


def test_formatting():
    program = shutil.which("clang-format-19")
    if not program:
        pytest.skip("clang-format-19 is not installed")
    files = [str(path) for path in tracked("*.cpp", "*.hpp", "*.c", "*.h")]
    done = subprocess.run([program, "--dry-run", "--Werror", *files], capture_output=True, text=True)
    wrong = sorted({line.split(":")[0] for line in done.stderr.splitlines() if "error:" in line})
    assert done.returncode == 0, "run clang-format-19 -i on:\n" + "\n".join(wrong)


def test_licence_line():
    files = tracked("*.cpp", "*.hpp", "*.c", "*.h", "*.py", "*.sh")
    assert files
    wrong = []
    for path in files:
        head = path.read_text().splitlines()[:2]
        if not any("SPDX-License-Identifier:" in line for line in head):
            wrong.append(str(path.relative_to(ROOT)))
    assert not wrong


# Who may include what: the layers of docs/architecture.md. A pattern is looked for in the text
# between <> or "" of every include line.
STAGES = {"dataplane", "proxy", "agent", "api", "admin"}
BPF = re.compile(r"^(bpf/|.*\.skel\.h)")
BEAST = re.compile(r"^boost/beast")


def layer_of(include):
    """Headers of ours end in .hpp; <sys/stat.h> is the system's."""
    return include.split("/")[0] if "/" in include and include.endswith(".hpp") else None


def forbidden(layer, include):
    """Why `userspace/<layer>` may not include this, or None."""
    other = layer_of(include)
    if BPF.match(include) and layer != "dataplane":
        return "libbpf only in dataplane"
    if BEAST.match(include) and layer != "http":
        return "Beast only in http"
    allowed = {
        "base": set(),
        "sys": {"base"},
        "channel": {"base", "sys"},
        "inventory": {"base", "sys"},
        "libvirt": {"base", "sys", "inventory"},
        "ledger": {"base", "sys"},
        "http": {"base", "sys"},
        "openstack": {"http", "base"},
        "importer": {"openstack", "http", "base", "inventory"},
        "dataplane": {"base", "sys", "inventory"},
        "proxy": {"http", "base", "inventory", "sys", "ledger"},
        "agent": {"openstack", "http", "base", "inventory", "sys"},
        "api": {"http", "base", "inventory", "sys"},
        "admin": {"importer", "http", "base", "inventory", "sys", "ledger"},
    }
    known = STAGES | {"base", "sys", "channel", "inventory", "libvirt", "ledger", "http", "openstack", "importer"}
    if layer in allowed and other in known and other != layer and other not in allowed[layer]:
        return f"{layer} does not see {other}"
    return None


def includes(path):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
        if found:
            yield number, found.group(1)


@pytest.mark.parametrize("layer", sorted(
    path.name for path in (ROOT / "userspace").iterdir() if path.is_dir() and path.name != "apps"))
def test_layer_sees_only_what_it_may(layer):
    wrong = []
    for path in filter(in_c, sorted((ROOT / "userspace" / layer).rglob("*"))):
        for number, include in includes(path):
            why = forbidden(layer, include)
            if why:
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {include} ({why})")
    assert not wrong, "\n".join(wrong)


def test_kernel_abi_is_plain_c():
    wrong = [f"{path.relative_to(ROOT)}:{number}: {include}"
             for path in sorted((ROOT / "include/metatap/abi").rglob("*.h"))
             for number, include in includes(path)
             if include != "linux/types.h" and not include.startswith("metatap/abi/")
             and include not in ("stddef.h", "cstddef", "assert.h")]
    assert not wrong, "\n".join(wrong)


def test_bpf_programs_see_only_kernel_headers():
    wrong = [f"{path.relative_to(ROOT)}:{number}: {include}"
             for path in filter(in_c, sorted((ROOT / "bpf").rglob("*")))
             for number, include in includes(path)
             if include.endswith(".hpp") or "boost" in include]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", tracked("bpf/*.h", "bpf/lib/*.h"), ids=lambda path: str(path.relative_to(ROOT)))
def test_bpf_header_includes_what_it_uses(path, tmp_path):
    """By itself and before all others: no file depends on the order in metatap.bpf.c."""
    clang = next(filter(None, map(shutil.which, ("clang-14", "clang-16", "clang-19", "clang"))), None)
    if not clang:
        pytest.skip("no clang for BPF")
    source = tmp_path / "alone.bpf.c"
    source.write_text(f'#include "{path}"\n')
    multiarch = sysconfig.get_config_var("MULTIARCH") or f"{platform.machine()}-linux-gnu"
    done = subprocess.run([clang, "-target", "bpf", "-fsyntax-only", "-Wall", "-Wno-unused-function", "-Werror",
                           f"-I{ROOT}/include", f"-I{ROOT}/bpf", "-isystem", f"/usr/include/{multiarch}",
                           str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


BPF_FUNCTION_LINES = 90


def long_functions(text, limit):
    """Functions of kernel style, with `{` and `}` alone in the first column, that have more lines."""
    lines = text.splitlines()
    for start in (number for number, line in enumerate(lines) if line == "{"):
        length = lines.index("}", start) - start + 1
        if length > limit:
            yield f"{start + 1}: {length} lines"


def test_bpf_functions_fit_a_screen():
    wrong = [f"{path.relative_to(ROOT)}:{where}" for path in tracked("bpf/*.h", "bpf/lib/*.h", "bpf/*.c")
             for where in long_functions(path.read_text(), BPF_FUNCTION_LINES)]
    assert not wrong, "\n".join(wrong)
    assert list(long_functions("int f(void)\n{\n\treturn 0;\n}\n", 2))


def test_the_layering_rules_bite():
    assert forbidden("dataplane", "boost/beast/http.hpp")
    assert forbidden("api", "dataplane/loader.hpp")
    assert forbidden("http", "bpf/libbpf.h")
    assert forbidden("proxy", "agent/agent.hpp")
    assert forbidden("agent", "metatap_bpf.skel.h")
    assert not forbidden("dataplane", "bpf/libbpf.h")
    assert forbidden("base", "sys/netns.hpp")
    assert forbidden("proxy", "channel/link.hpp")
    assert forbidden("proxy", "openstack/service.hpp")
    assert forbidden("agent", "importer/wish.hpp")
    assert not forbidden("base", "sys/stat.h")
    assert not forbidden("proxy", "http/server.hpp")
    assert not forbidden("agent", "openstack/service.hpp")


def test_no_coroutine_ends_in_silence():
    """Asio's `detached` drops what is thrown; http/spawn.hpp does not."""
    wrong = [str(path.relative_to(ROOT)) for path in filter(in_c, tracked("userspace/*"))
             if re.search(r"asio/detached\.hpp|\basio::detached\b", path.read_text())]
    assert not wrong, "\n".join(wrong)


def included_of_ours(path):
    """What a file includes of userspace/ and include/, by itself and by its headers."""
    found, todo = set(), [path]
    while todo:
        for _, include in includes(todo.pop()):
            header = next((folder / include for folder in (ROOT / "userspace", ROOT / "include")
                           if include.endswith(".hpp") and (folder / include).is_file()), None)
            if header and header not in found:
                found.add(header)
                todo.append(header)
    return found


def test_the_fuzzed_parsers_are_built_with_all_they_need():
    """libFuzzer's targets are linked of a list of files, and built only when somebody fuzzes."""
    text = (ROOT / "tests/fuzz/CMakeLists.txt").read_text()
    lists = re.findall(r"(?:set\(|APPEND )parsers\s([^)]*)\)", text)
    listed = {ROOT / "userspace" / f"{name}.cpp" for words in lists for name in words.split()}
    assert len(lists) == 2 and all(path.is_file() for path in listed), sorted(map(str, listed))
    fuzzers = [ROOT / f"tests/fuzz/{name}_fuzz.cpp"
               for name in re.findall(r"metatap_fuzzer\((\w+) \w+\)", text)]
    assert fuzzers
    wrong = []
    for path in [*listed, *fuzzers]:
        for header in included_of_ours(path):
            # What include/metatap/ declares is in base, if it is more than a header.
            folder = ROOT / "userspace/base" if header.parent == ROOT / "include/metatap" else header.parent
            source = folder / f"{header.stem}.cpp"
            if source.is_file() and source not in listed:
                wrong.append(f"{source.relative_to(ROOT / 'userspace')}, for {path.name}")
    assert not wrong, "\n".join(sorted(wrong))


SHELL = tracked("*.sh", ".ci/run", "packaging/debian/p*", "*.bash-completion")


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shell_scripts_parse(path):
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_shellcheck():
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", "-S", "warning", *map(str, SHELL)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_python_parses():
    for path in tracked("*.py"):
        ast.parse(path.read_text(), str(path))

# How long a function and a file may be: what is longer does several things.
LONGEST_FILE = 600
LONGEST_FUNCTION = {"userspace": 100, "bpf": 90}


def code_of(text):
    """Without comments, and with nothing in the quotes; lines stay where they are."""
    def blank(found):
        return re.sub(r"[^\n]", " ", found.group(0))
    raw = re.sub(r'R"(\w*)\(.*?\)\1"', blank, text, flags=re.S)
    return re.sub(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|(?<![\w'])'(?:\\.|[^'\\\n])+'",
                  blank, raw, flags=re.S)


def functions(text):
    """(line, length in lines, what stands before the brace) of each function's body."""
    code = "\n".join("" if line.lstrip().startswith("#") else line
                     for line in code_of(text).split("\n"))
    scopes, since = [], 0
    for at, char in enumerate(code):
        if char in ";{}":
            before = " ".join(code[since:at].split())
            since = at + 1
        if char == "{":
            outside = all(kind == "scope" for kind, _, _ in scopes)
            if outside and re.search(r"\b(namespace|class|struct|enum|union|extern)\b[^()=]*$", before):
                kind = "scope"
            elif outside and "(" in before and not before.endswith("="):
                kind = "function"
            else:
                kind = "block"
            scopes.append((kind, code.count("\n", 0, at), before))
        elif char == "}" and scopes:
            kind, began, before = scopes.pop()
            if kind == "function":
                yield began + 1, code.count("\n", 0, at) - began + 1, before[-60:]


def too_long(layer):
    wrong = []
    for path in filter(in_c, tracked(f"{layer}/*")):
        text = path.read_text()
        lines = text.count("\n")
        if lines > LONGEST_FILE:
            wrong.append(f"{path.relative_to(ROOT)}: {lines} lines")
        wrong += [f"{path.relative_to(ROOT)}:{line}: {length} lines: {name}"
                  for line, length, name in functions(text) if length > LONGEST_FUNCTION[layer]]
    return wrong


@pytest.mark.parametrize("layer", sorted(LONGEST_FUNCTION))
def test_no_function_and_no_file_is_too_long(layer):
    wrong = too_long(layer)
    assert not wrong, "\n".join(wrong)


def test_the_length_rule_bites():
    long = "int f(int a)\n{\n" + "  a++;  // }\n" * 120 + "}\n"
    assert [length for _, length, _ in functions(long)] == [122]
    inside = "namespace n {\nclass C {\n  void g() {\n" + "    h(\"{\");\n" * 101 + "  }\n};\n}\n"
    assert [length for _, length, _ in functions(inside)] == [103]
    lambdas = "void f() {\n  auto g = [](int x) {\n" + "    x;\n" * 50 + "  };\n}\n"
    assert [length for _, length, _ in functions(lambdas)] == [54]
