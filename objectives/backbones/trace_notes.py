"""What a trace could not see into, with the reasons: each makes a backbone slower or leaves fewer places to cut."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import fx

_KEY = "frostline:notes"


@dataclass
class TraceNotes:
    """The detours of one trace; a network that is traced completely has none.

    Attributes:
        kept_whole: Reasons by name of the modules that could not be traced.
        unsized: Reasons by operation whose sizes could not be computed without data.
        chain: Reason why the network runs as a chain of its children; empty if its own forward was traced.
        real_data: Reason why shapes and operations were measured with real data; empty if fake tensors were enough.
        mode: Reason why the network computes in training mode what it computes in evaluation mode, although its forward
            reads ``self.training``; empty if it follows.

    Example:
        >>> from frostline.objectives.backbones.trace_notes import TraceNotes
        >>> TraceNotes(kept_whole={"layer4": "data-dependent control flow"}).sentences
        ('layer4 is kept whole, because torch.fx cannot trace it: data-dependent control flow.',)
    """

    kept_whole: dict[str, str] = field(default_factory=dict)
    unsized: dict[str, str] = field(default_factory=dict)
    chain: str = ""
    real_data: str = ""
    mode: str = ""

    @property
    def sentences(self) -> tuple[str, ...]:
        """One plain sentence for each detour."""
        notes = [
            f"{name} is kept whole, because torch.fx cannot trace it: {reason}."
            for name, reason in self.kept_whole.items()
        ]
        notes += [
            f"The sizes of {operation} are unknown until it runs: {reason}."
            for operation, reason in self.unsized.items()
        ]
        if self.chain:
            notes.append(
                f"The network runs as a chain of its children, because torch.fx cannot trace it: {self.chain}."
            )
        if self.real_data:
            notes.append(f"It was measured with real data, which is slower: {self.real_data}.")
        return (*notes, *self.warnings)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The sentences about what trains in another way than the network would by itself."""
        if not self.mode:
            return ()
        return (
            f"Its own forward does in training what it does in evaluation, because {self.mode}. Move what reads "
            "self.training into a module of its own: that is kept whole, and follows.",
        )


def keep_notes(traced: fx.GraphModule, notes: TraceNotes) -> None:
    """Keep notes with their trace."""
    traced.meta[_KEY] = notes


def notes_of(traced: fx.GraphModule) -> TraceNotes:
    """The notes of a trace, to read or to add to."""
    return traced.meta[_KEY]


def first_line(error: Exception) -> str:
    """First line of an error's message, or its type if it has none, without a full stop."""
    return (next(iter(str(error).splitlines()), "") or type(error).__name__).rstrip(".")
