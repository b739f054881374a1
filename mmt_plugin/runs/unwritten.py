"""Which of a run's scalars an event writer has still to write."""

from fastreid.utils.events import EventWriter, get_event_storage


def written_until(writer: EventWriter) -> dict[str, int]:
    """The last iteration of each scalar that a writer has written; to be updated where a run is resumed."""
    return vars(writer).setdefault("_written", {})


def unwritten_scalars(writer: EventWriter) -> list[tuple[str, float, int]]:
    """(name, value, iteration) of the scalars that have changed since this writer's last call."""
    written = written_until(writer)
    latest = get_event_storage().latest_with_smoothing_hint(writer._window_size)
    fresh = [(name, value, i) for name, (value, i) in latest.items() if i > written.get(name, -1)]
    written.update({name: i for name, _, i in fresh})
    return fresh
