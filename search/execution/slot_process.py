"""The program of a slot's process, which loads what a slot needs."""

from __future__ import annotations

from ...storage.program import run_program


def main() -> None:
    """Run the process of a slot until no work is left."""
    from .slot import main as work

    work()


if __name__ == "__main__":
    run_program(main)
