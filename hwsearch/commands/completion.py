"""``hwsearch completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from hwsearch.commands import print_json, subcommand

SHELLS = ("bash", "zsh", "fish")


@subcommand
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str, as_json: bool) -> None:
    """Print what makes a shell complete hwsearch's commands and options.

    bash: eval "$(hwsearch completion bash)" in ~/.bashrc; zsh: the same in ~/.zshrc;
    fish: hwsearch completion fish > ~/.config/fish/completions/hwsearch.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None and context.parent is not None
    script = kind(context.parent.command, {}, "hwsearch", "_HWSEARCH_COMPLETE").source()
    if as_json:
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)
