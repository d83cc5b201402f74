"""Self-distillation: targets from the student's deeper layers, its past outputs or its other views."""
