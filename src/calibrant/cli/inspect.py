"""`calibrant inspect`: what an artifact holds and where every byte goes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calibrant.artifact import Artifact, Summary, read, summary
from calibrant.cli.console import emit, out, plain, size, table
from calibrant.cli.options import ArtifactPath, Json, Verify
from calibrant.core.program import Op, Program
from calibrant.engine import variants

CONTENTS = {
    "weights": "packed at their bits",
    "bias": "one a channel",
    "multiplier": "requantization, one a channel",
    "shift": "requantization, one a channel",
    "scale": "of the weights, one a channel",
    "feedback": "how errors flow back",
    "coreset": "samples to learn from",
    "preprocess": "standardization, one a channel",
    "reference": "usual activations",
    "home": "usual pre-activations, to correct drift",
    "recognition": "what home looks like, to know domains again",
    "header and manifest": "program, settings, hashes, report",
}


def inspect(artifact: ArtifactPath, verify: Verify = None, json: Json = False) -> None:
    """Show an artifact's model, layers, bytes, memory plan, thresholds, report and signature.

    Example: calibrant inspect har.cal --verify maker.pub
    """
    held = read(artifact, verify=verify)
    file = summary(artifact)
    if json:
        emit(
            _facts(held)
            | {
                "file": str(artifact),
                "file_bytes": file.file_bytes,
                "bytes": _groups(file),
                "feedback_share": _groups(file)["feedback"] / file.file_bytes,
                "sections": file.sections,
                "format_version": file.format_version,
                "tool_version": file.tool_version,
                "signed": file.signed,
                "verified": verify is not None,
            }
        )
        return
    _model(artifact, held, file, verify)
    _layers(held)
    _bytes(_groups(file))
    if held.report:
        out.print()
        _report(held.report)


def _groups(held: Summary) -> dict[str, int]:
    """Bytes per group of sections (the part of a name before the slash); the rest is header and manifest."""
    groups = {"header and manifest": held.file_bytes - sum(held.sections.values())}
    for name, count in held.sections.items():
        group = name.partition("/")[0]
        groups[group] = groups.get(group, 0) + count
    return groups


def _facts(held: Artifact) -> dict[str, Any]:
    program = held.program
    return {
        "input_shape": held.input_shape,
        "classes": held.classes,
        "weights": program.weight_count,
        "arena_bytes": program.arena_bytes,
        "coreset": len(held.coreset.y),
        "coreset_bits": held.coreset.bits,
        "layers": [
            plain(layer)
            | {"bytes": _packed(layer.weight_count, layer.bits), "kernel": op.kind, "why": _why(program, op)}
            for layer, op in zip(program.layers, _ops(program), strict=True)
        ],
        "variant": variants()[-1],
        "ops": [op.kind for op in program.ops],
        "settings": held.settings,
        "thresholds": held.thresholds,
        "report": held.report,
    }


def _packed(count: int, bits: int) -> int:
    return -(-count * bits // 8)


def _model(path: Path, held: Artifact, file: Summary, verify: Path | None) -> None:
    facts = table("", "", left=2)
    program = held.program
    signature = "none"
    if file.signed:
        signature = f"verified with {verify}" if verify is not None else "present, not verified (use --verify KEY)"
    rows = {
        "file": f"{path}, {size(file.file_bytes)}, format {file.format_version}, made by release {file.tool_version}",
        "input": " x ".join(map(str, held.input_shape)),
        "classes": f"{len(held.classes)}: {', '.join(held.classes)}",
        "weights": f"{program.weight_count:,}",
        "arena": f"{size(program.arena_bytes)} of working memory for activations",
        "coreset": f"{len(held.coreset.y)} samples at {held.coreset.bits} bits",
        "updater": ", ".join(f"{name} {value}" for name, value in plain(held.settings).items()),
        "thresholds": ", ".join(f"{name} {value:g}" for name, value in held.thresholds.items()) or "-",
        "signature": signature,
    }
    for name, value in rows.items():
        facts.add_row(name, value)
    out.print(facts)
    out.print()


def _layers(held: Artifact) -> None:
    title = f"Layers, and what runs them here ({variants()[-1]})"
    rows = table("layer", "kernel", "why", "out x h x w x in", "bits", "weights", "bytes", title=title, left=3)
    for layer, op in zip(held.program.layers, _ops(held.program), strict=True):
        shape = " x ".join(map(str, layer.weight_shape))
        packed = _packed(layer.weight_count, layer.bits)
        cells = (layer.name, op.kind, _why(held.program, op), shape, str(layer.bits))
        rows.add_row(*cells, f"{layer.weight_count:,}", f"{packed:,}")
    out.print(rows)
    out.print()


def _ops(program: Program) -> list[Op]:
    """The op of each layer."""
    return sorted((op for op in program.ops if op.layer >= 0), key=lambda op: op.layer)


def _why(program: Program, op: Op) -> str:
    """Why a layer is not binary, or why a binary one gives what it does."""
    binary = program.layers[op.layer].binary
    if op.output == program.output:
        return "gives the scores"
    if not binary:
        return "reads the input" if op.inputs[0] == program.input else "as the model has it"
    if program.tensors[op.output].bits == 1:
        return "gives signs"
    readers = dict.fromkeys(reader.kind for reader in program.ops if op.output in reader.inputs)
    return f"gives codes, for {' and '.join(readers)}"


def _bytes(groups: Mapping[str, int]) -> None:
    total = sum(groups.values())
    rows = table("section", "what it is", "bytes", "share", title="Where every byte goes", left=2)
    for name, count in sorted(groups.items(), key=lambda item: -item[1]):
        rows.add_row(name, CONTENTS.get(name, ""), f"{count:,}", f"{count / total:.1%}")
    rows.add_row("total", "", f"{total:,}", "")
    out.print(rows)


def _report(report: Mapping[str, Any]) -> None:
    rows = table("", "", left=2, title="Report of `prepare`")
    for name, value in _flat(report):
        rows.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    out.print(rows)


def _flat(report: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in report.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", value))
    return rows
