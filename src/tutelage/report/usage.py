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

PRINT_LINES = {
    "classification": "print(model.card.classes[int(outputs[0].argmax())], float(outputs[0].softmax(0).max()))",
    "segmentation": "mask = outputs.argmax(1)  # a class of model.card.classes per pixel",
}


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
                "latency of one image",
                f"{format_duration(summary['latency_ms'] / 1000)} ({environment.get('device', '–')}{threads})",
            )
        )
    blocks: list[Block] = [PropertyList("Latency and size", facts), Code("Load and run it", usage_code(run))]
    return Section("Use the student", "The weights are those of the first seed.", blocks)


def usage_code(run: RunRecord) -> str:
    """Return Python code that loads the student and runs it on an image."""
    name = str(run.config.get("student"))
    argument = f", model={name.partition(':')[2]}(…)" if name.startswith("object:") else ""
    shape = ", ".join(map(str, (run.data.get("channels", 3), *(run.data.get("size") or (224, 224)))))
    lines = [
        "import torch",
        "import tutelage",
        "",
        f"model = tutelage.load({str(run.path)!r}{argument})  # in eval mode",
        f"image = torch.rand({shape})  # replace it by your image: a path, a PIL image, bytes, or floats from 0 to 1",
        "images = model.card.preprocess(image)[None]  # resized, cropped and normalised as in evaluation",
        "with torch.inference_mode():",
        "    outputs = model(images)",
        PRINT_LINES.get(str(run.result.get("task")), "print(outputs.shape)  # logits of model.card.classes"),
    ]
    return "\n".join(lines)
