"""The last section of the page: code that loads and runs the student, its latency and its size."""

from __future__ import annotations

from tutelage.report.components import (
    Block,
    Code,
    MissingDataError,
    PropertyList,
    Section,
    format_bytes,
    format_count,
    format_duration,
    is_number,
)
from tutelage.report.run_record import RunRecord


def usage(run: RunRecord) -> Section:
    """Build the section with code that runs the student, its latency and its file."""
    file = run.path / "student.safetensors"
    if not file.exists():
        raise MissingDataError("the folder has no student.safetensors")
    summary, environment = run.summary("student"), run.environment
    threads = (
        f", {environment['threads']} thread{'s' if environment['threads'] != 1 else ''}"
        if is_number(environment.get("threads"))
        else ""
    )
    facts = [
        ("file", f"student.safetensors, {format_bytes(file.stat().st_size)}"),
        ("parameters", format_count(summary.get("parameters"))),
    ]
    if is_number(summary.get("latency_ms")):
        facts.append(
            (
                "latency of one sample",
                f"{format_duration(summary['latency_ms'] / 1000)} ({environment.get('device', '–')}{threads})",
            )
        )
    blocks: list[Block] = [PropertyList("Latency and size", facts), Code("Load and run it", usage_code(run))]
    return Section("Use the student", "The weights are those of the first seed.", blocks)


def usage_code(run: RunRecord) -> str:
    """Return Python code that loads the student and runs it on a sample."""
    name = str(run.config.get("student"))
    argument = f", model={name.partition(':')[2]}(…)" if name.startswith("object:") else ""
    shape = ", ".join(map(str, (run.data.get("channels", 3), *run.data.get("size", (224, 224)))))
    is_image = run.data.get("modality", "image") == "image"
    forms = "image: a path, a PIL image, bytes, or floats from 0 to 1" if is_image else "sample, a tensor of this shape"
    done = "resized, cropped and normalised" if is_image else "normalised"
    lines = [
        "import torch",
        "import tutelage",
        "",
        f"model = tutelage.load({str(run.path)!r}{argument})  # in eval mode",
        f"sample = torch.rand({shape})  # replace it by your {forms}",
        f"inputs = model.card.preprocess(sample)[None]  # {done} as in evaluation",
        "with torch.inference_mode():",
        "    outputs = model(inputs)",
        str(run.result.get("usage", "print(outputs.shape)")),
    ]
    return "\n".join(lines)
