"""Completions, as the shells themselves compute them."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tinykan.commands import COMMANDS, completion, module
from tinykan.runs.command_line import flags
from tinykan.runs.presets import MODELS

CASES = [
    ("tinykan fit-", {"fit-image", "fit-function"}),
    ("tinykan --v", {"--version"}),
    ("tinykan render --w", {"--width"}),
    ("tinykan render --he", {"--height", "--help"}),
    ("tinykan fit-image --model s", {name for name in MODELS if name.startswith("s")}),
    ("tinykan fit-image a.png --qu", {"--quiet"}),
    ("tinykan fit-image --steps ", set()),
    ("tinykan fit-image cam", {"camera.png"}),
    ("tinykan fit-image --out cam", {"camera.png"}),
    ("tinykan completion ", {"bash", "zsh", "fish"}),
]

# What the Tab key does, in a folder with one file: the function, or else the names of files.
IN_BASH = """
source ./script
COMP_WORDS=($1)
[[ $1 == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
fallback=1
compopt() { fallback=; }
_tinykan
((${#COMPREPLY[@]})) || COMPREPLY=(${fallback:+$(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")})
printf '%s\\n' "${COMPREPLY[@]}"
"""
# A terminal inside zsh. Its completion widget lists all matches; fish has a command for it.
IN_ZSH = """
zmodload zsh/zpty
zpty terminal zsh -f -i
send() { zpty -w terminal "$1" }
send 'PS1=; unsetopt zle_bracketed_paste; autoload -U compinit; compinit -u -D; fpath=(. $fpath)'
send 'source ./script; zstyle ":completion:*" verbose no; COLUMNS=300'
send 'list() { compadd() { builtin compadd -A found "$@"; print -l -r -- "$found[@]" >> found;'
send 'builtin compadd "$@" }; _main_complete; touch done }'
send 'zle -C list complete-word list; bindkey "^X" list'
zpty -w -n terminal "$1"$'\\x18'
for n in {1..200}; do [[ -e done ]] && break; sleep 0.05; done
cat found 2>/dev/null
exit 0
"""
SHELLS = {
    "bash": ["bash", "--norc", "-c", IN_BASH, "bash"],
    "zsh": ["zsh", "-f", "-c", IN_ZSH, "zsh"],
    "fish": ["fish", "--no-config", "-c", "source ./script; complete -C $argv[1]"],
}


@pytest.fixture(scope="module")
def scripts():
    return {shell: getattr(completion, shell)() for shell in SHELLS}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("line", "expected"), CASES, ids=[line for line, _ in CASES])
def test_a_shell_completes(scripts, tmp_path, shell, line, expected):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "camera.png").touch()
    (tmp_path / "script").write_text(scripts[shell])
    result = subprocess.run(
        [*SHELLS[shell], line], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert not result.stderr, result.stderr
    found = {row.split("\t")[0] for row in result.stdout.splitlines()} - {""}
    assert found - {"script", "found", "done"} == expected


@pytest.mark.parametrize("shell", SHELLS)
def test_every_option_of_every_command_is_in_the_script(scripts, shell):
    for command in COMMANDS:
        for flag in flags(module(command).Config):
            if not flag.positional:
                name = flag.text.removeprefix("--") if shell == "fish" else flag.text
                assert name in scripts[shell], f"{command} {flag.text}"
