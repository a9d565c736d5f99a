from .default_space import COMPETING, default_tables
from .parsing import channel_faults, create_space, resolve_space, with_head
from .plugins import load_plugins
from .space import Domain, Space, is_integer, optuna_name
from .space_file import domain_text, read_space, read_tables, space_of, tables_of, write_space

__all__ = [
    "COMPETING",
    "Domain",
    "Space",
    "channel_faults",
    "create_space",
    "default_tables",
    "domain_text",
    "is_integer",
    "load_plugins",
    "optuna_name",
    "read_space",
    "read_tables",
    "resolve_space",
    "space_of",
    "tables_of",
    "with_head",
    "write_space",
]
