"""The page's last section: how the student is loaded and used, and what it costs to ask it."""

from __future__ import annotations

from tutelage.report.components import Block, Code, Facts, Missing, Section, bytes_of, count, duration, is_number
from tutelage.report.run_record import RunRecord

ANSWERS = {
    "classification": "print(model.card.classes[int(answers[0].argmax())], float(answers[0].softmax(0).max()))",
    "segmentation": "mask = answers.argmax(1)  # of model.card.classes, one a pixel",
}


def use(run: RunRecord) -> Section:
    """A program that asks the student, its latency and its file."""
    file = run.path / "student.safetensors"
    if not file.exists():
        raise Missing("the folder holds no student.safetensors")
    summary, where = run.summary("student"), run.environment
    threads = (
        f", {where['threads']} thread{'s' if where['threads'] != 1 else ''}" if is_number(where.get("threads")) else ""
    )
    facts = [
        ("file", f"student.safetensors, {bytes_of(file.stat().st_size)}"),
        ("parameters", count(summary.get("parameters"))),
    ]
    if is_number(summary.get("latency_ms")):
        facts.append(
            ("latency of one image", f"{duration(summary['latency_ms'] / 1000)} ({where.get('device', '–')}{threads})")
        )
    blocks: list[Block] = [Facts("What it costs to ask", facts), Code("Load it and ask it", program(run))]
    return Section("Use the student", "Its weights are the first seed's.", blocks)


def program(run: RunRecord) -> str:
    """Python that loads the student and asks it about an image."""
    named = str(run.config.get("student"))
    made = f", model={named.partition(':')[2]}(…)" if named.startswith("object:") else ""
    shape = ", ".join(map(str, (run.data.get("channels", 3), *(run.data.get("size") or (224, 224)))))
    lines = [
        "import torch",
        "import tutelage",
        "",
        f"model = tutelage.load({str(run.path)!r}{made})  # in eval mode",
        f"picture = torch.rand({shape})  # yours: a file's path, a PIL image, bytes, or floats from 0 to 1",
        "images = model.card.preprocess(picture)[None]  # resized, cropped and normalised as in evaluation",
        "with torch.inference_mode():",
        "    answers = model(images)",
        ANSWERS.get(str(run.result.get("task")), "print(answers.shape)  # scores of model.card.classes"),
    ]
    return "\n".join(lines)
