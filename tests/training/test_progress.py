from __future__ import annotations

import io

import pytest
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event

from training.progress import Progress


def line(stage, epoch, loss):
    return {
        "stage": stage,
        "size": 96,
        "epoch": epoch,
        "of": 3,
        "loss": loss,
        "rate": 1e-3,
        "images_per_second": 31.4,
    }


def events(folder):
    """Scalars of all event files: (tag, step) to value. A record is its length, a check, itself, a check."""
    found = {}
    for path in sorted((folder / "tensorboard").iterdir()):
        stream = io.BytesIO(path.read_bytes())
        while head := stream.read(8):
            stream.read(4)
            event = Event.FromString(stream.read(int.from_bytes(head, "little")))
            stream.read(4)
            found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
    return found


@pytest.mark.parametrize("terminal", [False, True])
def test_every_epoch_is_shown_and_kept_for_tensorboard(tmp_path, terminal):
    shown = io.StringIO()
    with Progress(tmp_path, Console(file=shown, force_terminal=terminal, width=120)) as progress:
        for stage, epoch, loss in ((1, 2, 0.75), (1, 3, 0.5), (2, 1, 0.25)):
            progress(line(stage, epoch, loss))
    scalars = events(tmp_path)
    losses = {place: value for place, value in scalars.items() if place[0].endswith("loss")}
    assert losses == {("stage-1/loss", 2): 0.75, ("stage-1/loss", 3): 0.5, ("stage-2/loss", 1): 0.25}
    assert scalars["stage-2/images_per_second", 1] == pytest.approx(31.4)
    assert scalars["stage-1/rate", 3] == pytest.approx(1e-3)
    text = shown.getvalue()
    assert "stage 2, 96 px" in text
    assert "epoch 1 of 3" in text
    assert "loss 0.2500, 31.4 images/s" in text


def test_an_epoch_is_a_line_where_nobody_watches(tmp_path):
    shown = io.StringIO()
    with Progress(tmp_path, Console(file=shown, width=60, soft_wrap=True)) as progress:
        progress(line(1, 1, 0.5))
        assert shown.getvalue() == "stage 1, 96 px: epoch 1 of 3, loss 0.5000, 31.4 images/s\n"
