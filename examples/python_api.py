"""The toolkit in a dozen lines: run a distillation, print the result, load the student and use it."""

from __future__ import annotations

import tutelage
from tutelage import AT, KD


def main(**keys: object) -> tutelage.FinishedRun:
    run = tutelage.distill(data="digits", method=KD(temperature=4) + 10 * AT(), **keys)
    for role in ("teacher", "baseline", "student"):
        metrics = run.result[role]
        print(
            f"{role:8} {metrics['model']:6} {metrics['parameters']:7,} parameters  accuracy {metrics['accuracy']:.3f}"
        )
    print(run.result["gain"]["verdict"], run.report)

    model = tutelage.load(run.folder)
    evaluation = tutelage.evaluate(model)
    print(f"accuracy {evaluation.values['accuracy']:.3f} on the test split of {model.card.data}")
    return run


if __name__ == "__main__":
    main(seeds=3)
