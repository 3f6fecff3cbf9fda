"""How a fit gets on: a bar with its rate and the time left, and scalars for TensorBoard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import progress as bars
from rich.console import Console
from tensorboardX import SummaryWriter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = ["Progress"]

_SCALARS = ("loss", "rate", "images_per_second")


class Progress:
    """Told after every epoch; a terminal shows a bar for each stage, anything else a line for each epoch.

    Parameters
    ----------
    run : Path
        Event files go into its folder ``tensorboard``, one set of curves for each stage, by epoch; a fit that
        is taken up goes on with them.
    console : Console, optional
        By default standard error.
    """

    def __init__(self, run: Path, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._events = SummaryWriter(str(run / "tensorboard"))
        self._bars = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.TextColumn("epoch {task.completed:.0f} of {task.total:.0f}"),
            bars.TextColumn("{task.fields[said]}"),
            bars.TimeRemainingColumn(elapsed_when_finished=True),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[int, bars.TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
        self._events.close()

    def __call__(self, line: Mapping[str, Any]) -> None:
        """Show and write the figures of one epoch, as `training.loop.Fit` reports them."""
        stage, epoch = int(line["stage"]), int(line["epoch"])
        for name in _SCALARS:
            self._events.add_scalar(f"stage-{stage}/{name}", line[name], epoch)
        self._events.flush()
        said = f"loss {line['loss']:.4f}, {line['images_per_second']:.1f} images/s"
        description = f"stage {stage}, {line['size']} px"
        if self._bars.disable:
            self._console.print(f"{description}: epoch {epoch} of {line['of']}, {said}", markup=False)
            return
        if stage not in self._tasks:
            # Epochs of an earlier run took none of this one's time.
            self._tasks[stage] = self._bars.add_task(
                description, total=line["of"], completed=epoch - 1, said=said
            )
        self._bars.update(self._tasks[stage], completed=epoch, said=said)
