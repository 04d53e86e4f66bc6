"""Completion of the command line, from the dataclasses that define it."""

from __future__ import annotations

import shlex
from dataclasses import MISSING, dataclass

from tinykan.commands import COMMANDS, module
from tinykan.runs.command_line import Flag, flags, option


@dataclass(kw_only=True)
class Config:
    """Prints what makes a shell complete commands, options and their values:

    bash:  tinykan completion bash > ~/.local/share/bash-completion/completions/tinykan
    zsh:   tinykan completion zsh > DIR/_tinykan, where DIR is a folder of fpath
    fish:  tinykan completion fish > ~/.config/fish/completions/tinykan.fish"""

    shell: str = option(MISSING, "the shell", choices=("bash", "zsh", "fish"), positional=True)


def main(config: Config) -> None:
    print({"bash": bash, "zsh": zsh, "fish": fish}[config.shell](), end="")


def options() -> dict[str, list[Flag]]:
    """The command lines of all commands."""
    return {command: flags(module(command).Config) for command in COMMANDS}


def bash() -> str:
    """Numbers and unknown options complete to nothing, and what may be a path to files."""
    values, names, arguments = [], [], []
    for command, found in options().items():
        named = [flag.text for flag in found if not flag.positional] + ["--help"]
        names.append(f"{command}) words={shlex.quote(' '.join(named))} ;;")
        for flag in found:
            if flag.choices and flag.positional:
                arguments.append(f"{command}) words={shlex.quote(' '.join(flag.choices))} ;;")
            elif flag.choices:
                listed = shlex.quote(" ".join(flag.choices))
                values.append(f"'{command} {flag.text}') words={listed} ;;")
            elif flag.kind in (int, float):
                values.append(f"'{command} {flag.text}') compopt +o default ;;")
            elif flag.kind is str and not flag.positional:
                values.append(f"'{command} {flag.text}') ;;")
    indent = "\n        "
    return f"""\
_tinykan() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} command=${{COMP_WORDS[1]}} words=
    if ((COMP_CWORD == 1)); then
        words={shlex.quote(" ".join([*COMMANDS, "--help", "--version"]))}
    else
        case "$command ${{COMP_WORDS[COMP_CWORD - 1]}}" in
        {indent.join(values)}
        *)
            if [[ $current == -* ]]; then
                compopt +o default
                case $command in
                {(indent + "        ").join(names)}
                esac
            else
                case $command in
                {(indent + "        ").join(arguments)}
                esac
            fi ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _tinykan tinykan
"""


def zsh() -> str:
    """As a file `_tinykan` in fpath, and sourced, too."""
    cases = []
    for command, found in options().items():
        lines = [shlex.quote(_zsh_argument(flag)) for flag in found] + ["'--help[print the help]'"]
        joined = " \\\n            ".join(lines)
        cases.append(f"{command}) _arguments \\\n            {joined} ;;")
    first = COMMANDS | {"--help": "print the help", "--version": "print the version"}
    described = [shlex.quote(f"{name}:{summary}") for name, summary in first.items()]
    indent = "\n        "
    return f"""\
#compdef tinykan
_tinykan() {{
    if ((CURRENT == 2)); then
        local -a commands=(
            {(indent + "    ").join(described)}
        )
        _describe command commands
        return
    fi
    shift words
    ((CURRENT--))
    case $words[1] in
        {indent.join(cases)}
    esac
}}
if [[ $funcstack[1] == _tinykan ]]; then
    _tinykan "$@"
else
    compdef _tinykan tinykan
fi
"""


def _zsh_argument(flag: Flag) -> str:
    """One specification of `_arguments`: its colons and brackets are escaped in texts."""
    about = _help(flag)
    for character in "\\:[]":
        about = about.replace(character, f"\\{character}")
    values = f"({' '.join(flag.choices)})" if flag.choices else ""
    values = values or ("" if flag.kind in (int, float) else "_files")
    if flag.positional:
        return f":{about}:{values}"
    name = flag.text.removeprefix("--")
    return f"{flag.text}[{about}]" + ("" if flag.kind is bool else f":{name}:{values}")


def fish() -> str:
    lines = ["complete -c tinykan -n __fish_use_subcommand -f -l help -d 'print the help'"]
    lines += ["complete -c tinykan -n __fish_use_subcommand -f -l version -d 'print the version'"]
    for name, summary in COMMANDS.items():
        about = _fish_quoted(summary)
        lines.append(f"complete -c tinykan -n __fish_use_subcommand -f -a {name} -d {about}")
    for command, found in options().items():
        start = f"complete -c tinykan -n '__fish_seen_subcommand_from {command}'"
        lines.append(f"{start} -l help -d 'print the help'")
        for flag in found:
            if flag.positional:
                lines += [f"{start} -f -a '{' '.join(flag.choices)}'"] if flag.choices else []
                continue
            values = "" if flag.kind is bool else " -r" if flag.kind is str else " -x"
            values = f" -x -a '{' '.join(flag.choices)}'" if flag.choices else values
            lines.append(
                f"{start} -l {flag.text.removeprefix('--')}{values} -d {_fish_quoted(_help(flag))}"
            )
    return "\n".join(lines) + "\n"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _help(flag: Flag) -> str:
    return flag.help.replace("%%", "%")  # as argparse prints it
