"""The parts of both records. A part's name begins every key of its rows, so that one can be replayed alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from replay import firmware, fixtures, server, streams
from replay.record import Row

Part = Callable[[], Iterable[Row]]

DEVICE_RECORD, SERVER_RECORD = (Path(__file__).with_name(f"{name}.json") for name in ("device", "server"))
DEVICE: dict[str, Part] = {
    **{f"artifact/{name}": partial(streams.artifact_rows, name) for name in fixtures.ARTIFACTS},
    **{f"stream/{name}": partial(streams.stream_rows, name) for name in fixtures.ARTIFACTS},
    **{
        f"export/{variant.name}/{board}": partial(firmware.export_rows, variant, board)
        for variant in firmware.VARIANTS
        for board in firmware.BOARDS
    },
    **{
        f"firmware/{variant.name}/{board}": partial(firmware.firmware_rows, variant, board)
        for variant in firmware.VARIANTS
        for board in variant.run_on
    },
}
SERVER: dict[str, Part] = {  # the longest first
    **{f"bench/{protocol}": partial(server.bench_rows, protocol) for protocol in server.PROTOCOLS},
    "demo": server.demo_rows,
    **{f"adopt/{network}": partial(server.adopted_rows, network) for network in server.NETWORKS},
    **{f"prepare/{recipe.name}": partial(server.prepared_rows, recipe) for recipe in server.RECIPES},
    "prepare/integers/sparse/8": server.integers_rows,
}
